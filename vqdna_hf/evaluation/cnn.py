"""A plain supervised CNN on one-hot nucleotides: the baseline that is never pre-trained.

Importing this module registers it with the Auto classes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, NUM_NUCLEOTIDES, PAD_ID, VOCABULARY, is_nucleotide

__all__ = ["CNNConfig", "CNNForSequenceClassification"]


@strict
class CNNConfig(PreTrainedConfig):
    """Sizes of the CNN.

    Args:
        hidden_size: channels.
        dense_size: width of the layer between pooling and classifier.
        num_layers: convolutions, dilated by 1, 2, 4 and so on.
        stem_kernel_size: of the first convolution, which reads motifs; odd.
        kernel_size: of the others, odd.
        dropout: in front of the classifier.

    Raises:
        ValueError: on a size below 1, or an even kernel.

    Example:

    >>> CNNConfig(hidden_size=64).receptive_field
    99
    """

    model_type = "dna_cnn"

    vocab_size: int = len(VOCABULARY)
    hidden_size: int = 128
    dense_size: int = 128
    num_layers: int = 4
    stem_kernel_size: int = 15
    kernel_size: int = 7
    dropout: float | int = 0.1
    initializer_range: float = 0.02
    pad_token_id: int | None = PAD_ID

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for name in ("hidden_size", "dense_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("stem_kernel_size", "kernel_size"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name}={getattr(self, name)} must be odd, so that a position keeps its place")

    @property
    def receptive_field(self) -> int:
        """How many nucleotides a position sees before pooling."""
        return self.stem_kernel_size + (self.kernel_size - 1) * sum(2**layer for layer in range(1, self.num_layers))


class CNNForSequenceClassification(PreTrainedModel):
    """Convolutions over one-hot nucleotides, maximum and mean over the sequence, one dense layer, classes.

    N and special tokens are zeros. Padding changes no answer: it is zeroed behind every convolution and left out of
    the pooling.

    Args:
        config: `num_labels` and `problem_type` are as in Transformers.

    Example:

    >>> model = CNNForSequenceClassification(CNNConfig(hidden_size=8, dense_size=4, num_labels=3)).eval()
    >>> output = model(torch.tensor([[2, 5, 6, 7, 8, 3]]), labels=torch.tensor([1]))  # [CLS] A C G T [SEP]
    >>> output.logits.shape, output.loss.shape
    (torch.Size([1, 3]), torch.Size([]))
    """

    config: CNNConfig
    config_class = CNNConfig
    base_model_prefix = "trunk"
    main_input_name = "input_ids"

    def __init__(self, config: CNNConfig) -> None:
        super().__init__(config)
        width, kernel = config.hidden_size, config.kernel_size
        self.num_labels = config.num_labels
        self.stem = nn.Conv1d(NUM_NUCLEOTIDES, width, config.stem_kernel_size, padding=config.stem_kernel_size // 2)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=kernel // 2 * 2**layer, dilation=2**layer)
            for layer in range(1, config.num_layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.num_layers))
        self.dense = nn.Linear(2 * width, config.dense_size)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.dense_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """He's initialisation for what a GELU follows; the stock 0.02 would shrink a signal of four channels."""
        if isinstance(module, nn.Conv1d) or module is self.dense:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Classify sequences.

        Args:
            input_ids: (B, L) nucleotide ids with special tokens.
            attention_mask: (B, L), 0 at padding; default: everything but `[PAD]`.
            labels: (B,) class ids or numbers, or (B, num_labels).
            return_dict: False for a tuple.
            kwargs: of the loss.
        """
        shown = is_nucleotide(input_ids)
        if attention_mask is not None:
            shown = shown & attention_mask.bool()
        mask = shown.unsqueeze(1)  # (B, 1, L)
        letters = torch.where(shown, input_ids - FIRST_NUCLEOTIDE_ID, 0)
        one_hot = F.one_hot(letters, NUM_NUCLEOTIDES).transpose(1, 2).to(self.stem.weight.dtype) * mask
        hidden = F.gelu(self._normed(0, self.stem(one_hot))) * mask
        for layer, convolution in enumerate(self.convolutions, start=1):
            hidden = (hidden + F.gelu(self._normed(layer, convolution(hidden)))) * mask
        count = mask.sum(-1).clamp(min=1)
        highest = hidden.masked_fill(~mask, torch.finfo(hidden.dtype).min).amax(-1)
        pooled = torch.cat([torch.where(mask.any(-1), highest, 0.0), hidden.sum(-1) / count], dim=-1)
        logits = self.classifier(self.dropout(F.gelu(self.dense(pooled))))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config, **kwargs)
        output = SequenceClassifierOutput(loss=loss, logits=logits)
        return output.to_tuple() if return_dict is False else output

    def _normed(self, layer: int, hidden: Tensor) -> Tensor:
        """(B, C, L) -> (B, C, L), over channels."""
        return self.norms[layer](hidden.transpose(1, 2)).transpose(1, 2)


AutoConfig.register(CNNConfig.model_type, CNNConfig, exist_ok=True)
AutoModelForSequenceClassification.register(CNNConfig, CNNForSequenceClassification, exist_ok=True)
