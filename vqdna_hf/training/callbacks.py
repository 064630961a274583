"""Callbacks: stopping cleanly, and watching the codebooks."""

import logging
import signal
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)

_STEPS_BETWEEN_AGREEMENTS = 10  # several processes: asking the others waits for the device, so not every step


class GracefulInterrupt(TrainerCallback):
    """Ctrl-C (or SIGTERM) finishes the step, saves a checkpoint and stops; a second one stops at once.

    `interrupted` tells whether a signal came. `VQDNATrainer` brings one along.

    Example:

    >>> callback = GracefulInterrupt()
    >>> callback.on_train_begin(None, TrainerState(), TrainerControl())
    >>> signal.raise_signal(signal.SIGTERM)
    >>> callback.interrupted
    True
    >>> callback.restore_signals()
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._previous: dict[int, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        logger.warning("stopping after this step and saving (once more to stop at once)")

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take over the signals."""
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread: the caller keeps its own handling
                logger.debug("signals are handled by the caller")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop if a signal came, to this process or to another: all must stop after the same step."""
        if args.world_size > 1:
            if state.global_step % _STEPS_BETWEEN_AGREEMENTS and state.global_step < state.max_steps:
                return
            flag = torch.tensor(float(self.interrupted), device=args.device)
            dist.all_reduce(flag, op=dist.ReduceOp.MAX)
            self.interrupted = bool(flag)
        if self.interrupted:
            control.should_save = True
            control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Give the signals back."""
        self.restore_signals()

    def restore_signals(self) -> None:
        """Give the signals back; Trainer does not come to `on_train_end` when training fails."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


class CodebookMonitor(TrainerCallback):
    """Warn once a level when an evaluation finds its codebook collapsed: perplexity under a share of its size.

    Args:
        codebook_sizes: K of each level.
        threshold: the share of K under which a perplexity counts as collapsed.
        min_usage: the share of entries that each level must use; 0 asks for none.

    Raises:
        ValueError: in an evaluation that finds a level using fewer, which ends the training.

    Example:

    >>> monitor = CodebookMonitor([64, 128], threshold=0.1)
    >>> monitor.on_evaluate(None, None, None, metrics={"eval_codebook_perplexity_level2": 3.0})  # warns: 3 of 128
    """

    def __init__(self, codebook_sizes: list[int], threshold: float = 0.02, min_usage: float = 0.0) -> None:
        if not 0 <= min_usage <= 1:
            raise ValueError(f"min_codebook_usage={min_usage} must be in [0, 1]: it is a share of the entries")
        self.codebook_sizes = codebook_sizes
        self.threshold = threshold
        self.min_usage = min_usage
        self._warned: set[int] = set()

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Look at the metrics of the evaluation."""
        metrics = kwargs.get("metrics") or {}
        for level, size in enumerate(self.codebook_sizes, start=1):
            perplexity = metrics.get(f"eval_codebook_perplexity_level{level}")
            if perplexity is not None and perplexity < self.threshold * size and level not in self._warned:
                self._warned.add(level)
                logger.warning(
                    "the codebook of level %d has collapsed: perplexity %.1f of %d entries; lower decay or "
                    "raise dead_code_threshold in codec_config",
                    level, perplexity, size,
                )  # fmt: skip
            usage = metrics.get(f"eval_codebook_usage_level{level}", 1.0)
            if usage < self.min_usage:
                raise ValueError(
                    f"level {level} uses {usage:.0%} of its {size} entries, and min_codebook_usage asks for "
                    f"{self.min_usage:.0%}: train on more data, or give codec_config fewer entries, a lower decay or a "
                    "higher dead_code_threshold"
                )
