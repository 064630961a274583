"""Self-distillation: a vocabulary learned on what a pre-trained model makes of each position."""

import copy
import itertools
from collections.abc import Iterable
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from vqdna_hf.model.modeling_vqdna import VQDNAModel
from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecModel
from vqdna_hf.model.patching_vqdna import lay_out
from vqdna_hf.model.tokenization_vqdna import is_sequence_position

from .finetuning import load_pretrained
from .trainer import VQDNATrainer


class Teacher(nn.Module):
    """One layer of a pre-trained language model, frozen, as the target of `objective="distillation"`.

    HuBERT (Hsu et al. 2021, section II-B) clusters a middle layer of the model of the iteration before; here, as in
    BEiT v2 (Peng et al. 2022, section 2.1), the code vectors learn to predict it.

    Args:
        model: gives the features; its parameters are frozen.
        layer: which hidden state: 0 are the embeddings, `num_hidden_layers` the last; default: the middle, rounded up.

    Raises:
        ValueError: if there is no such layer.

    Example:

    >>> from vqdna_hf.model.configuration_vqdna import VQDNAConfig
    >>> config = VQDNAConfig(
    ...     hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]},
    ... )
    >>> teacher = Teacher(VQDNAModel(config))
    >>> batch = torch.randint(5, 9, (4, 12))
    >>> teacher.standardize([batch])
    >>> teacher.layer, teacher(batch).shape
    (1, torch.Size([4, 12, 16]))
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, model: PreTrainedModel, layer: int | None = None) -> None:
        super().__init__()
        last = model.config.num_hidden_layers
        self.layer = (last + 1) // 2 if layer is None else layer
        if not 0 <= self.layer <= last:
            raise ValueError(f"--teacher_layer {layer}: the teacher has the layers 0 (embeddings) to {last}")
        self.model = model.eval().requires_grad_(False)
        width = model.config.hidden_size
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    @classmethod
    def load(cls, path: str | PathLike, layer: int | None = None) -> "Teacher":
        """Load a language model's folder; see `vqdna_hf.training.load_pretrained` for the errors."""
        return cls(load_pretrained(VQDNAModel, path), layer)

    @property
    def codec_settings(self) -> dict[str, Any]:
        """The keys of `VQDNACodecConfig` that a codec needs to learn from this teacher."""
        return {"objective": "distillation", "feature_size": int(self.mean.shape[0])}

    def take_over(self, codec: VQDNACodecModel) -> VQDNACodecModel:
        """A trained codec, made ready to go on with this teacher: what only its objective needs starts anew."""
        config = copy.deepcopy(codec.config)
        config.update(self.codec_settings)
        config.validate_codec()
        pupil = VQDNACodecModel(config)
        kept = pupil.state_dict().keys() & codec.state_dict().keys()
        pupil.load_state_dict({name: codec.state_dict()[name] for name in kept}, strict=False)
        return pupil

    def train(self, mode: bool = True) -> "Teacher":
        """A teacher does not learn."""
        return super().train(False)

    @torch.no_grad()
    def standardize(self, batches: Iterable[Tensor]) -> None:
        """Take mean and standard deviation of each feature from some sequences.

        Hidden states of transformers share a large mean, beside which the cosine of any two is near 1.

        Args:
            batches: nucleotide ids, (B, L) each.
        """
        states = [self._states(ids, None)[is_sequence_position(ids)] for ids in batches]
        joined = torch.cat(states).float()
        self.mean.copy_(joined.mean(0))
        self.scale.copy_(1 / joined.std(0).clamp(min=1e-4))

    def _states(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        return self.model(input_ids, attention_mask, output_hidden_states=True).hidden_states[self.layer]

    @torch.no_grad()
    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, stride: int = 1) -> Tensor:
        """The features that the codes of a batch are to predict.

        Args:
            input_ids: (B, L) nucleotide ids, nothing hidden.
            attention_mask: (B, L), 0 at padding; default: everything but `[PAD]`.
            stride: s, of the codec that learns.

        Returns:
            (B, M, F), standardised; with s > 1 the mean over the patch.
        """
        states = (self._states(input_ids, attention_mask).float() - self.mean) * self.scale
        patches = lay_out(input_ids, attention_mask, stride)
        if patches.place is None:
            return states
        places = patches.grid_ids.shape[1]
        grid = states.new_zeros(states.shape[0], places + 1, states.shape[2])
        grid = grid.scatter(1, patches.place.unsqueeze(-1).expand_as(states), states)[:, :-1]
        filled = (patches.ids != 0).sum(-1, keepdim=True).clamp(min=1)
        return grid.unflatten(1, (-1, stride)).sum(2) / filled


class DistillationTrainer(VQDNATrainer):
    """`VQDNATrainer` for a codec that learns from a teacher: each batch gets the teacher's features.

    Args:
        teacher: is standardised on the first windows of the training set, the same for each process and after a
            resumption.
        kwargs: of `VQDNATrainer`.

    Example:

    >>> import tempfile
    >>> from transformers import TrainingArguments
    >>> from vqdna_hf.data import NucleotideCollator
    >>> from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig, VQDNAConfig
    >>> codec = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[4, 8])
    >>> model = VQDNAModel(VQDNAConfig(codec_config=codec, hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
    >>> teacher = Teacher(model)
    >>> trainer = DistillationTrainer(
    ...     model=teacher.take_over(VQDNACodecModel(codec)),
    ...     teacher=teacher,
    ...     args=TrainingArguments(
    ...         tempfile.mkdtemp(), use_cpu=True, max_steps=1, disable_tqdm=True, remove_unused_columns=False
    ...     ),
    ...     data_collator=NucleotideCollator(),
    ...     train_dataset=[{"input_ids": torch.randint(5, 9, (32,)), "seed": 0} for _ in range(8)],
    ... )
    >>> trainer.train().global_step  # doctest: +ELLIPSIS
    {'train_runtime': ...}
    1
    """

    def __init__(self, *args: Any, teacher: Teacher, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher = teacher.to(self.args.device)
        if self.train_dataset is not None:
            teacher.standardize(self._first_batches())

    def _first_batches(self, windows: int = 256, size: int = 32) -> Iterable[Tensor]:
        data: Any = self.train_dataset
        if hasattr(data, "__len__"):
            items = iter([data[index] for index in range(min(windows, len(data)))])
        else:
            items = itertools.islice(data, windows)
        while batch := list(itertools.islice(items, size)):
            yield self.data_collator(batch)["input_ids"].to(self.args.device)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As in `VQDNATrainer`, with `features` among the inputs."""
        stride = self.accelerator.unwrap_model(model).config.codec_stride
        features = self.teacher(inputs["input_ids"], inputs.get("attention_mask"), stride)
        return super().compute_loss(model, {**inputs, "features": features}, *args, **kwargs)
