"""Trainer with metrics that are exact over the whole window, clean interruption and checkpoints that survive."""

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer_utils import EvalLoopOutput

from .callbacks import GracefulInterrupt
from .checkpoints import CheckpointError, delete_checkpoints, list_checkpoints
from .metrics import MetricsFunction, Sums, SumsFunction

logger = logging.getLogger(__name__)


class VQDNATrainer(Trainer):
    """Transformers' `Trainer`, plus what the three stages need.

    Args:
        sums_function: what one batch adds to the metrics (see `vqdna_hf.training.metrics`); None for none.
        metrics_function: the metrics of the added-up sums.
        kwargs: of `Trainer`.
    """

    def __init__(
        self,
        *args: Any,
        sums_function: SumsFunction | None = None,
        metrics_function: MetricsFunction | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if sums_function is not None and self.args.label_smoothing_factor > 0:
            raise ValueError("label_smoothing_factor is not for this stage: its loss is the model's own")
        if sums_function is not None:
            self.args.prediction_loss_only = True  # metrics are sums over batches: no prediction need be kept
        if not torch.accelerator.is_available():  # nothing to pin memory for; PyTorch warns at every loader
            self.args.dataloader_pin_memory = False
        self._sums_function = sums_function
        self._metrics_function = metrics_function
        self._sums: dict[str, Sums] = {"train": {}, "eval": {}}
        self._window_start = time.perf_counter()
        self.interrupt = GracefulInterrupt()
        self.add_callback(self.interrupt)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """As in Trainer; the batch's sums are set aside on the way."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        if self._sums_function is not None:
            window = self._sums["train" if model.training else "eval"]
            config = self.accelerator.unwrap_model(model).config
            for name, value in self._sums_function(inputs, outputs, config).items():
                window[name] = window[name] + value if name in window else value
        return (loss, outputs) if return_outputs else loss

    def _take_metrics(self, which: str) -> dict[str, float]:
        """The metrics over everything since the last call, of all processes."""
        sums, self._sums[which] = self._sums[which], {}
        if not sums or self._metrics_function is None:
            return {}
        reduced = {name: self.accelerator.reduce(value, "sum") for name, value in sums.items()}
        metrics = self._metrics_function(reduced)
        if which == "train":
            now = time.perf_counter()
            metrics["bases_per_second"] = reduced["positions"].item() / max(now - self._window_start, 1e-9)
            self._window_start = now
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in Trainer; training logs carry the metrics of their window."""
        if "loss" in logs:
            logs.update({name: round(value, 6) for name, value in self._take_metrics("train").items()})
        super().log(logs, start_time)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As in Trainer; the metrics of the whole evaluation set are added."""
        self._sums["eval"] = {}
        started = time.perf_counter()
        output = super().evaluation_loop(*args, **kwargs)
        self._window_start += time.perf_counter() - started  # training's bases per second leave evaluation out
        prefix = kwargs.get("metric_key_prefix", "eval")
        if output.metrics is not None:
            output.metrics.update({f"{prefix}_{name}": value for name, value in self._take_metrics("eval").items()})
        return output

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """As in Trainer; a checkpoint that could not be finished is taken away, the last good one stays."""
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            # Of an earlier run; it would call the folder complete while it is being written over.
            (folder / "trainer_state.json").unlink(missing_ok=True)
        try:
            with self._explain_failed_write(folder):
                super()._save_checkpoint(model, trial)
        except CheckpointError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @contextlib.contextmanager
    def _explain_failed_write(self, folder: Path) -> Iterator[None]:
        """A full disk has three exception types; make one of them, which says what is still there."""
        try:
            yield
        except (OSError, RuntimeError, SafetensorError) as error:
            good = [path for path in list_checkpoints(self.args.output_dir) if path != folder]
            raise CheckpointError(
                f"could not write {folder}: {error}. "
                + (f"The last good checkpoint is {good[-1]}; " if good else "No checkpoint was written before; ")
                + "free some space, then go on with --resume_from_checkpoint"
            ) from error

    def train_and_report(
        self, resume_from_checkpoint: str | None, save_model: bool = True, overwrite: bool = False
    ) -> bool:
        """Train, save the model and its state, say how to resume if a signal came.

        Args:
            resume_from_checkpoint: the answer of `find_checkpoint`.
            save_model: whether to keep the model at the end.
            overwrite: delete the checkpoints of an earlier run first, unless this one goes on from them.

        Returns:
            Whether training ran to its end and no signal came.
        """
        if overwrite and resume_from_checkpoint is None:
            delete_checkpoints(str(self.args.output_dir))
        try:
            result = self.train(resume_from_checkpoint=resume_from_checkpoint)
        finally:
            self.interrupt.restore_signals()
        step = self.state.global_step
        if self.interrupt.interrupted and step < self.state.max_steps:
            logger.warning(
                "interrupted at step %d of %d and saved in %s; go on with the same command and "
                "--resume_from_checkpoint",
                step, self.state.max_steps, Path(self.args.output_dir) / f"checkpoint-{step}",
            )  # fmt: skip
            return False
        if save_model:
            with self._explain_failed_write(Path(str(self.args.output_dir))):
                self.save_model()
        self.log_metrics("train", result.metrics)
        self.save_metrics("train", result.metrics)
        self.save_state()
        if self.interrupt.interrupted:
            logger.warning("interrupted behind the last step: training is complete and saved")
        return not self.interrupt.interrupted

    def evaluate_and_report(self, dataset: Any = None, prefix: str = "eval") -> Mapping[str, float]:
        """Evaluate, print and save `<prefix>_results.json`."""
        metrics = self.evaluate(dataset, metric_key_prefix=prefix)
        self.log_metrics(prefix, metrics)
        self.save_metrics(prefix, metrics)
        return metrics


def count_parameters(model: nn.Module) -> dict[str, int]:
    """All parameters, those that are trained, and codebook values (buffers, learnt without gradients).

    >>> count_parameters(torch.nn.Linear(2, 3))
    {'parameters': 9, 'trainable': 9, 'codebook_values': 0}
    """
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trainable": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        "codebook_values": sum(value.numel() for name, value in model.named_buffers() if name.endswith(".embed")),
    }
