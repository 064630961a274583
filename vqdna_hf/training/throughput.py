"""How fast training goes: bases a second, share of real positions, model FLOPs utilisation."""

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vqdna_hf.model.tokenization_vqdna import PAD_ID, is_sequence_position

from .flops import StepFlops, measured_matrix_rate

logger = logging.getLogger(__name__)

_ENOUGH_REAL = 0.95


class Throughput:
    """Adds up the batches of one process, and tells the rates of all.

    Example:

    >>> from accelerate import Accelerator
    >>> throughput = Throughput()
    >>> throughput.add({"input_ids": torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]]), "attention_mask": torch.ones(2, 4)})
    >>> rates = throughput.take(Accelerator(cpu=True))
    >>> rates["real_positions"], rates["bases_per_second"] > 0, "mfu" in rates
    (1.0, True, False)
    """

    def __init__(self) -> None:
        self._step_flops: StepFlops | None = None
        self._matrix_rate = 0.0
        self._warned = False
        self.restart()

    def restart(self) -> None:
        """Forget what was added."""
        self._start = time.perf_counter()
        self._computed = 0
        self._flops = 0.0
        self._real: Tensor | float = 0.0
        self._bases: Tensor | float = 0.0

    def measure(self, model: nn.Module, args: Any, collator: Any = None) -> None:
        """Take down what is needed for MFU; whatever fails here, training goes on without.

        Args:
            model: as it is trained.
            args: Trainer's, for device and precision.
            collator: of masked language models, for the share of labels.
        """
        try:
            self._step_flops = StepFlops(model, _labelled_share(model.config, collator))
            dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else model.dtype
            self._matrix_rate = measured_matrix_rate(torch.device(args.device), dtype)
        except Exception as error:
            logger.info("MFU is not logged: %s", error)
            self._step_flops = None

    def add(self, inputs: Mapping[str, Any]) -> None:
        """Count a training batch: `input_ids` (B, L), and `attention_mask` where there is one."""
        input_ids, mask = inputs.get("input_ids"), inputs.get("attention_mask")
        if input_ids is None or input_ids.dim() != 2:
            return
        shown = input_ids != PAD_ID if mask is None or mask.dim() != 2 else mask.bool()
        # Sums stay on the device: a step must not wait for them.
        self._real = self._real + shown.sum().float()
        self._bases = self._bases + (shown & is_sequence_position(input_ids)).sum().float()
        self._computed += input_ids.numel()
        if self._step_flops is not None:
            self._flops += self._step_flops(*input_ids.shape)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave a time out, such as that of an evaluation."""
        started = time.perf_counter()
        yield
        self._start += time.perf_counter() - started

    def take(self, accelerator: Any, bases: float | None = None) -> dict[str, float]:
        """The rates since the last call; on all processes, since they are added up.

        Args:
            accelerator: Accelerate's, which adds up.
            bases: of all processes, where the caller has counted them.

        Returns:
            `bases_per_second`, `real_positions`; where `measure` was called, `model_tflops_per_second` of all processes
            and `mfu`, the share of what their devices reach in matrix products.
        """
        if not self._computed:
            return {}
        seconds = max(time.perf_counter() - self._start, 1e-9)
        counts = [self._real, self._bases, self._computed, self._flops]
        values = [torch.as_tensor(count, dtype=torch.float32, device=accelerator.device) for count in counts]
        real, counted, computed, flops = accelerator.reduce(torch.stack(values), "sum").tolist()
        has_flops = self._step_flops is not None
        self.restart()
        rates = {"bases_per_second": (counted if bases is None else bases) / seconds, "real_positions": real / computed}
        if has_flops:
            rates["model_tflops_per_second"] = flops / seconds / 1e12
            rates["mfu"] = flops / seconds / (self._matrix_rate * accelerator.num_processes)
        if rates["real_positions"] < _ENOUGH_REAL and not self._warned:
            self._warned = True
            logger.warning(
                "%.0f %% of the computed positions are padding: put sequences of like length into a batch, by "
                "--train_sampling_strategy group_by_length; windows of a corpus by --length_buckets",
                100 * (1 - rates["real_positions"]),
            )
        return rates


def _labelled_share(config: Any, collator: Any) -> float:
    """Of the backbone's positions, how many stand for a labelled nucleotide."""
    share = float(getattr(collator, "mask_probability", 0.25))
    stride = getattr(getattr(config, "codec_config", None), "codec_stride", 1)
    return share if getattr(collator, "patch_size", 1) == stride else 1 - (1 - share) ** stride
