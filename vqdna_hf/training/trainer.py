"""Trainer with metrics that are exact over the whole window, clean interruption and checkpoints that survive."""

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import EvalPrediction, Trainer
from transformers.trainer_utils import EvalLoopOutput, has_length

from vqdna_hf.model.modeling_vqdna_codec import IGNORED

from .callbacks import GracefulInterrupt
from .checkpoints import CheckpointError, delete_checkpoints, list_checkpoints
from .finetuning import save_adapted_config
from .metrics import MetricsFunction, Sums, SumsFunction
from .samplers import GroupedSampler, SortedSampler, lengths_of, sampler_of
from .throughput import Throughput

logger = logging.getLogger(__name__)


class VQDNATrainer(Trainer):
    """Transformers' `Trainer`, plus what the three stages need.

    Training logs tell how fast it goes, over everything since the last one and all processes: `bases_per_second`;
    `real_positions`, the share of the computed positions that is no padding; `model_tflops_per_second` and `mfu`, see
    `vqdna_hf.training.flops`. With `train_sampling_strategy="group_by_length"` batches hold sequences of like length,
    in an order that is a function of seed and epoch, while `predict` answers and `compute_metrics` sees the order of
    the data set. Answers that come batch by batch (`eval_do_concat_batches=False`, `batch_eval_metrics`) cannot be put
    back into it: then evaluation sets are not grouped.

    Args:
        sums_function: what one batch adds to the metrics (see `vqdna_hf.training.metrics`); None for none.
        metrics_function: the metrics of the added-up sums.
        log_mfu: measure the matrix rate of each process' device when training begins (well under a second), and log the
            two rates that need it.
        kwargs: of `Trainer`.

    Raises:
        ValueError: if label smoothing is asked for where it would not smooth this model's loss.

    Example:

    >>> import tempfile
    >>> from transformers import TrainingArguments
    >>> from vqdna_hf.data import NucleotideCollator
    >>> from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecConfig, VQDNACodecModel
    >>> from vqdna_hf.training.metrics import codec_metrics, codec_sums
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[4, 8])
    >>> trainer = VQDNATrainer(
    ...     model=VQDNACodecModel(config),
    ...     args=TrainingArguments(
    ...         tempfile.mkdtemp(), use_cpu=True, max_steps=1, disable_tqdm=True, remove_unused_columns=False
    ...     ),
    ...     data_collator=NucleotideCollator(),
    ...     train_dataset=[{"input_ids": torch.randint(5, 9, (32,)), "seed": 0} for _ in range(8)],
    ...     sums_function=codec_sums,
    ...     metrics_function=codec_metrics,
    ... )
    >>> trainer.train().global_step  # doctest: +ELLIPSIS
    {'train_runtime': ...}
    1
    """

    def __init__(
        self,
        *args: Any,
        sums_function: SumsFunction | None = None,
        metrics_function: MetricsFunction | None = None,
        log_mfu: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.args.label_smoothing_factor > 0:
            check_label_smoothing(self.accelerator.unwrap_model(self.model))
        if sums_function is not None:
            self.args.prediction_loss_only = True  # metrics are sums over batches: no prediction need be kept
        if not torch.accelerator.is_available():  # nothing to pin memory for; PyTorch warns at every loader
            self.args.dataloader_pin_memory = False
        self._sums_function = sums_function
        self._metrics_function = metrics_function
        self._sums: dict[str, Sums] = {"train": {}, "eval": {}}
        self._eval_batch = self._eval_rows = 0
        self._throughput = Throughput()
        self._log_mfu = log_mfu
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
        if self._sums_function is not None and not model.training:
            # Trainer counted the labels of repeated windows, too.
            inputs, num_items_in_batch = self._without_repetitions(inputs), None
        if model.training:
            self._throughput.add(inputs)
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        if self._sums_function is not None:
            window = self._sums["train" if model.training else "eval"]
            config = self.accelerator.unwrap_model(model).config
            for name, value in self._sums_function(inputs, outputs, config).items():
                window[name] = window[name] + value if name in window else value
        return (loss, outputs) if return_outputs else loss

    def _without_repetitions(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Several processes get equally many batches: the last are filled up from the front of the data set.

        What was there before is masked out, so that every window counts once.
        """
        rows = len(inputs["input_ids"])
        batch = self._eval_batch * self.accelerator.num_processes + self.accelerator.process_index
        self._eval_batch += 1
        repeated = batch * self.args.eval_batch_size + rows - self._eval_rows
        if self.accelerator.num_processes == 1 or self.accelerator.split_batches or repeated <= 0:
            return inputs
        first = max(rows - repeated, 0)
        inputs = {name: value.clone() for name, value in inputs.items()}
        inputs["attention_mask"][first:] = 0
        if "labels" in inputs:
            inputs["labels"][first:] = IGNORED
        return inputs

    def _take_metrics(self, which: str) -> dict[str, float]:
        """The metrics over everything since the last call, of all processes."""
        sums, self._sums[which] = self._sums[which], {}
        reduced = {name: self.accelerator.reduce(value, "sum") for name, value in sums.items()}
        metrics = self._metrics_function(reduced) if reduced and self._metrics_function is not None else {}
        if which == "train":
            bases = reduced["positions"].item() if "positions" in reduced else None
            metrics.update(self._throughput.take(self.accelerator, bases))
        return metrics

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As in Trainer; measures what MFU is a share of before."""
        if self._log_mfu:
            self._throughput.measure(self.accelerator.unwrap_model(self.model), self.args, self.data_collator)
        self._throughput.restart()
        return super().train(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in Trainer; training logs carry the metrics of their window."""
        if "loss" in logs:
            logs.update({name: round(value, 6) for name, value in self._take_metrics("train").items()})
        super().log(logs, start_time)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """As in Trainer; grouping by length is a function of seed and epoch."""
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length" or not has_length(dataset):
            return super()._get_train_sampler(dataset)
        size = self.args.train_batch_size * self.args.world_size  # processes wait for the one with the longest
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return GroupedSampler(lengths_of(dataset), size, seed, lambda: int(self.state.epoch or 0))

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        """As in Trainer; grouping by length sorts, and `evaluation_loop` undoes it where it has all answers at once."""
        if self.args.train_sampling_strategy != "group_by_length" or not has_length(eval_dataset):
            return super()._get_eval_sampler(eval_dataset)
        by_batch = self.args.batch_eval_metrics or not self.args.eval_do_concat_batches
        if by_batch and not self.args.prediction_loss_only:
            return SequentialSampler(eval_dataset)
        return SortedSampler(lengths_of(eval_dataset))

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As in Trainer; the metrics of the whole evaluation set are added, answers come in the data set's order."""
        loader = kwargs.get("dataloader") or args[0]
        sampler = sampler_of(loader)
        self._sums["eval"] = {}
        self._eval_batch, self._eval_rows = 0, self.num_examples(loader)
        with self._throughput.paused(), self._measuring_in_order(sampler):
            output = super().evaluation_loop(*args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        if output.metrics is not None:
            output.metrics.update({f"{prefix}_{name}": value for name, value in self._take_metrics("eval").items()})
        if isinstance(sampler, SortedSampler):
            output = output._replace(
                predictions=sampler.restore(output.predictions), label_ids=sampler.restore(output.label_ids)
            )
        return output

    @contextlib.contextmanager
    def _measuring_in_order(self, sampler: Any) -> Iterator[None]:
        """`compute_metrics` is shown the data set's order, which a metric may look up further columns by."""
        measure: Callable[..., dict[str, Any]] | None = self.compute_metrics  # type: ignore[has-type]
        if measure is None or not isinstance(sampler, SortedSampler):
            yield
            return

        def measure_restored(answers: EvalPrediction) -> dict[str, Any]:
            names = ("predictions", "label_ids", "inputs", "losses")
            return measure(EvalPrediction(**{name: sampler.restore(getattr(answers, name)) for name in names}))

        self.compute_metrics = measure_restored
        try:
            yield
        finally:
            self.compute_metrics = measure

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """As in Trainer; beside adapters goes the configuration that they were trained with."""
        super()._save(output_dir, state_dict)
        if hasattr(self.accelerator.unwrap_model(self.model), "peft_config"):
            save_adapted_config(self.accelerator.unwrap_model(self.model), str(output_dir or self.args.output_dir))

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


def check_label_smoothing(model: nn.Module) -> None:
    """Refuse `label_smoothing_factor` where Trainer's smoothed loss is not the model's with other targets.

    Trainer takes the labels away from the model and computes a cross-entropy on `logits` by itself: right for
    classes of sequences and of positions. Elsewhere a part of the loss would be gone, and nothing would say so.

    Raises:
        ValueError: for the codec, a masked language model, numbers or several labels, or a codec that is trained along.
    """
    config: Any = model.config
    if not hasattr(model, "classifier"):
        raise ValueError("label_smoothing_factor is for classification: the loss of this model has parts of its own")
    if config.problem_type in ("regression", "multi_label_classification") or config.num_labels == 1:
        raise ValueError(f"label_smoothing_factor is for one class of several, not for {config.problem_type}")
    if not config.freeze_codec:
        raise ValueError("label_smoothing_factor would leave out the codec's commitment loss: set freeze_codec=True")


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
