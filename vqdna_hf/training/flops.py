"""Model FLOPs: how much arithmetic a step is by its formula, and the matrix rate of the machine beside which it stands.

The count follows PaLM (Chowdhery et al. 2022, arXiv 2204.02311, appendix B), with the codec in front. Matrix products
and convolutions count, at 2 operations for a multiplication and an addition; norms, activations, softmax and tables do
not. A position is a token, so a nucleotide but for the special tokens; padding is computed and counts as well. With
s = `codec_stride` everything between the codec's stem and the up-sampling has one position for s nucleotides.

    codec      stem 8 k S, joining 2 S C, and 1/s of: blocks 2 c C + 4 e C^2 each, taps 2 Q C D, distances 2 D sum K
               symmetric levels: the stem and the blocks up to their last tap once more, for the other strand
    decoder    1/s of: projection 2 D C and the blocks again; up-sampling 2 C^2 (s > 1); 2 k C S + 8 k S back to bases
    backbone   1/s of: 2 D H in front, and a layer 2 (4 H^2 + 3 H I) of weights and 4 W H of attention, W = L / s or,
               in a sliding window, at most its width; up-sampling 2 H^2 (s > 1)
    heads      masked: 2 H^2 + 2 H V, and for codes 2 H sum K (s > 1: + 2 H^2) at the positions that have a label
               token classes: 2 H^2 + 2 H labels; sequence classes: that once a sequence
    k, c kernels of stem and blocks; S, C, D widths of stem, blocks, codes; e expansion; Q, K levels and entries;
    H, I widths of the backbone; V vocabulary; L tokens a row

A masked-LM step runs the codec twice: on what the model sees, and on the clean sequence as the teacher, of which taps
and distances are computed at labelled positions alone. What is trained counts three times, once forward and twice
backward; what gradients only pass through counts twice (a backbone under adapters), what has none counts once (the
frozen codec; distances; the teacher). What gradient checkpointing computes again is not counted: it is no progress, so
MFU falls instead of the count rising.
"""

import time
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import nn

from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig, VQDNAConfig

Task = Literal["masked_lm", "tokens", "sequence", "none"]


@dataclass
class Flops:
    """Floating point operations a position, forward, by part.

    Attributes:
        codec: the encoder up to its latents.
        distances: of the quantizer.
        teacher: the codec once more, on the clean sequence.
        decoder: the codec's decoder and its window head.
        backbone: weights of the backbone, with what brings codes in and bases out.
        attention: scores and weighted sums.
        head: of the task.

    Example:

    >>> Flops(codec=1.0, head=2.0).total
    3.0
    """

    codec: float = 0.0
    distances: float = 0.0
    teacher: float = 0.0
    decoder: float = 0.0
    backbone: float = 0.0
    attention: float = 0.0
    head: float = 0.0

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return sum(getattr(self, part.name) for part in fields(self))

    def weighted(self, **times: float) -> float:
        """The sum with each part counted so many times; 1 where nothing is said.

        >>> Flops(codec=1.0, head=2.0).weighted(head=3.0)
        7.0
        """
        return sum(getattr(self, part.name) * times.get(part.name, 1.0) for part in fields(self))


def _blocks(config: VQDNACodecConfig) -> float:
    width = config.hidden_size
    return config.num_blocks * (2 * config.kernel_size * width + 4 * config.expansion * width**2)


def _encoder(config: VQDNACodecConfig, tapped_share: float = 1.0) -> tuple[float, float]:
    """Latents and distances a nucleotide; taps and distances at a share of the positions."""
    stride, width, dim = config.codec_stride, config.hidden_size, config.codebook_dim
    stem = 8 * config.stem_kernel_size * config.stem_size + 2 * config.stem_size * width
    taps = tapped_share * config.num_quantizers * 2 * width * dim
    distances = tapped_share * 2 * dim * sum(config.codebook_sizes or ())
    other_strand = 0.0
    if config.symmetric_levels:  # up to the last level that reads both
        share = (config.tap_positions or ())[config.symmetric_levels - 1] / config.num_blocks
        other_strand = stem + share * _blocks(config)
    return other_strand + stem + (_blocks(config) + taps) / stride, distances / stride


def _decoder(config: VQDNACodecConfig) -> float:
    stride, width, dim = config.codec_stride, config.hidden_size, config.codebook_dim
    unstem = 2 * config.stem_kernel_size * (width * config.stem_size + 4 * config.stem_size)
    upsampling = 2 * width**2 if stride > 1 else 0
    predicted = 2 * config.window_radius + stride if config.objective != "reconstruction" else 0
    return (2 * dim * width + _blocks(config) + 2 * dim * 4 * predicted) / stride + upsampling + unstem


def forward_flops(
    config: VQDNACodecConfig | VQDNAConfig, length: int, task: Task = "masked_lm", labelled_share: float = 0.25
) -> Flops:
    """Floating point operations a position of a forward pass, by part; the formula stands above, in the module.

    Args:
        config: of the codec (then the whole codec, with its decoder) or of a language model.
        length: of a row in tokens, special tokens included.
        task: the language model's head; `none` for the bare model.
        labelled_share: of the backbone's positions, how many stand for a labelled nucleotide; for `masked_lm`.

    Example:

    >>> flops = forward_flops(VQDNAConfig(), length=514)
    >>> [round(part / 1e6, 1) for part in (flops.codec, flops.teacher, flops.backbone, flops.attention, flops.head)]
    [15.0, 15.1, 170.5, 18.9, 2.4]
    """
    if isinstance(config, VQDNACodecConfig):
        codec, distances = _encoder(config)
        return Flops(codec=codec, distances=distances, decoder=_decoder(config))
    codec_config, hidden = config.codec_config, config.hidden_size
    stride, positions = codec_config.codec_stride, -(-length // codec_config.codec_stride)
    at_labels = labelled_share / stride
    codes = sum(codec_config.codebook_sizes or ()) if config.code_loss_weight > 0 else 0
    codec, distances = _encoder(codec_config)
    has_teacher = task == "masked_lm" and codes and config.mask_level == "nucleotide"
    layer = 2 * (4 * hidden**2 + 3 * hidden * config.intermediate_size)
    backbone = 2 * codec_config.codebook_dim * hidden + config.num_hidden_layers * layer
    widths = [
        min(positions, config.local_attention + 1) if kind == "sliding_attention" else positions
        for kind in config.layer_types or ()
    ]
    code_head = 2 * hidden * (codes + (hidden if stride > 1 and codes else 0))
    head = {
        "masked_lm": 2 * hidden**2 + 2 * hidden * config.vocab_size + at_labels * code_head,
        "tokens": 2 * hidden**2 + 2 * hidden * config.num_labels,
        "sequence": (2 * hidden**2 + 2 * hidden * config.num_labels) / length,
        "none": 0.0,
    }
    return Flops(
        codec=codec,
        distances=distances,
        teacher=sum(_encoder(codec_config, labelled_share)) if has_teacher else 0.0,
        backbone=backbone / stride + (2 * hidden**2 if stride > 1 else 0),
        attention=4 * hidden * sum(widths) / stride,
        head=head[task],
    )


def model_flops(
    config: VQDNACodecConfig | VQDNAConfig,
    length: int,
    *,
    training: bool,
    task: Task = "masked_lm",
    labelled_share: float = 0.25,
) -> float:
    """Floating point operations a position: forward, or with `training` of a whole step.

    Args:
        config, length, task, labelled_share: as for `forward_flops`.
        training: with the backward pass: three times what is trained, once a frozen codec, distances, the teacher.

    Example:

    >>> round(model_flops(VQDNAConfig(), 514, training=True) / 1e6)
    608
    >>> round(model_flops(VQDNACodecConfig(), 514, training=False) / 1e6)
    33
    """
    flops = forward_flops(config, length, task, labelled_share)
    if not training:
        return flops.total
    is_frozen = isinstance(config, VQDNAConfig) and config.freeze_codec
    return flops.weighted(codec=1 if is_frozen else 3, decoder=3, backbone=3, attention=3, head=3)


def task_of(model: nn.Module) -> Task:
    """The task of a model, by its head.

    >>> from vqdna_hf.model.modeling_vqdna import VQDNAModel
    >>> task_of(VQDNAModel(VQDNAConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)))
    'none'
    """
    name = type(model).__name__
    tasks: dict[str, Task] = {
        "ForMaskedLM": "masked_lm",
        "ForTokenClassification": "tokens",
        "ForSequenceClassification": "sequence",
    }
    return next((task for ending, task in tasks.items() if name.endswith(ending)), "none")


class StepFlops:
    """Counts the operations of a model's training steps, by what of it is trained.

    Args:
        model: of this package, adapted or not.
        labelled_share: of the positions, for masked language models.

    Example:

    >>> from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[4, 8])
    >>> count = StepFlops(VQDNACodecModel(config))
    >>> count(rows=4, length=10) == 40 * model_flops(config, 10, training=True)
    True
    """

    def __init__(self, model: Any, labelled_share: float = 0.25) -> None:
        self.config = model.config
        inner = model.get_base_model() if hasattr(model, "peft_config") else model
        self.task = task_of(inner)
        self.labelled_share = labelled_share
        self._strands = 2 if self.task == "sequence" and self.config.average_strands else 1
        self._known: dict[int, float] = {}
        if isinstance(self.config, VQDNACodecConfig):
            self._times = {"codec": 3.0, "decoder": 3.0}
            return
        base = inner.base_model
        codec = _trained_share(base.codec)
        backbone = _trained_share(base.backbone)
        reading = [_trained_share(part) for part in (base.code_projection, base.code_embeddings) if part is not None]
        passes = codec > 0 or backbone > 0 or max(reading) > 0
        self._times = {
            "codec": 1 + 2 * (codec > 0),
            "backbone": 1 + passes + backbone,
            "attention": 1 + 2 * passes,
            "head": 3.0,
        }

    def __call__(self, rows: int, length: int) -> float:
        """Of a step on a batch of so many rows of so many tokens, padding included."""
        if length not in self._known:
            flops = forward_flops(self.config, length, self.task, self.labelled_share)
            self._known[length] = flops.weighted(**self._times) * self._strands
        return self._known[length] * rows * length


def _trained_share(module: nn.Module) -> float:
    """The share of a module's weights that are trained."""
    weights = [value for value in module.parameters() if value.dim() > 1]
    trained = sum(value.numel() for value in weights if value.requires_grad)
    return trained / max(sum(value.numel() for value in weights), 1)


def measured_matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating point operations a second of large square matrix products on random data: what MFU is a share of.

    Takes well under a second: sizes double until a product takes a hundredth, or is large enough for the
    largest machine.

    Example:

    >>> measured_matrix_rate(torch.device("cpu"), torch.float32) > 1e6
    True
    """
    generator = torch.Generator(device).manual_seed(0)  # its own: training must not draw other numbers for it
    largest = 8192 if device.type == "cuda" else 2048
    size = 256
    while True:
        left, right = (torch.randn(size, size, device=device, generator=generator).to(dtype) for _ in range(2))
        torch.mm(left, right)
        taken = [_seconds(left, right) for _ in range(3)]
        if size >= largest or (device.type != "cuda" and min(taken) > 0.01):
            break
        size *= 2
    taken += [_seconds(left, right) for _ in range(5)]
    del left, right
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return float(2 * size**3 / sorted(taken)[len(taken) // 2])


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    if left.device.type == "cuda":
        torch.cuda.synchronize(left.device)
    start = time.perf_counter()
    torch.mm(left, right)
    if left.device.type == "cuda":
        torch.cuda.synchronize(left.device)
    return time.perf_counter() - start
