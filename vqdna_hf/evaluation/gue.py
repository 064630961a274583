# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Fine-tune a checkpoint on the sets of GUE, several seeds each, and measure it on their whole test sets.

Everything is read and checked before the first run. A run is one set and one seed: it appears as one JSON file, whole
or not at all, and is never repeated; the best state on dev is kept in memory, so that a killed run leaves no file.
"""

import contextlib
import itertools
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import EvalPrediction, PrinterCallback, TrainerCallback, TrainingArguments

from vqdna_hf.data.files import write_text
from vqdna_hf.data.generators import check_seed
from vqdna_hf.evaluation.classifiers import Variant, checkpoint_identity, load_classifier
from vqdna_hf.evaluation.gue_protocol import Protocol, group_of, protocol_for
from vqdna_hf.evaluation.gue_sets import GueSet, find_sets, read_sets
from vqdna_hf.evaluation.gue_table import gue_table, summarize_gue
from vqdna_hf.evaluation.interrupts import Interrupt
from vqdna_hf.evaluation.metrics import classification_metrics
from vqdna_hf.evaluation.records import read_records, records_by_path, write_record
from vqdna_hf.training import VQDNATrainer, count_parameters
from vqdna_hf.training.checkpoints import check_writable

__all__ = ["SEEDS", "evaluate_gue", "measure", "run_once"]

logger = logging.getLogger(__name__)

KIND = "gue"
SEEDS = (0, 1, 2)
"""Of the runs, by default: no mean of fewer is a GUE score."""

_DEV_SEED = 0  # the part of dev that is used is the same for all seeds
_EVAL_TOKENS = 1 << 15
_MAX_EVAL_BATCH = 256


class _KeepBest(TrainerCallback):
    """The state that was best on dev, in memory: nothing is written, and nothing is left when the run is killed."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.history: list[tuple[int, float]] = []
        self.best: tuple[int, float] | None = None
        self._state: dict[str, torch.Tensor] = {}

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the state if it is better than all before."""
        value = float(kwargs["metrics"][f"eval_{self.metric}"])
        self.history.append((state.global_step, value))
        if self.best is None or value > self.best[1]:
            self.best = (state.global_step, value)
            self._state = {name: tensor.detach().cpu().clone() for name, tensor in kwargs["model"].state_dict().items()}

    def results(self) -> dict[str, Any]:
        """For the record: the best value, its step, and all values by step."""
        step, value = self.best or (None, None)
        return {"best": value, "best_step": step, "history": self.history}

    def restore(self, model: torch.nn.Module) -> None:
        """Put it back."""
        model.load_state_dict(self._state)
        self._state = {}


def measure(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> dict[str, float]:
    """`classification_metrics` for a run that may have diverged: an answer that is not finite counts as class 0.

    Args:
        logits: (N, C).
        labels: (N,) class ids.

    Returns:
        The metrics, `collapsed` (1.0 if every answer is the same class), and `diverged` (1.0 if one was not finite).

    Example:

    >>> metrics = measure(np.full((4, 2), np.nan), np.array([0, 1, 0, 1]))
    >>> metrics["matthews_correlation"], metrics["collapsed"], metrics["diverged"]
    (0.0, 1.0, 1.0)
    """
    logits = np.asarray(logits, dtype=np.float32)
    finite = np.isfinite(logits).all(axis=-1, keepdims=True)
    metrics = classification_metrics(np.where(finite, logits, 0.0), np.asarray(labels))
    return {**metrics, "diverged": float(not finite.all())}


def run_once(
    checkpoint: str | PathLike,
    gue_set: GueSet,
    protocol: Protocol,
    seed: int,
    variant: Variant | None = None,
    keep_model: str | PathLike | None = None,
) -> dict[str, Any]:
    """One run: fine-tune on train, keep the best state on dev, look at test once.

    Args:
        checkpoint: a folder, see `load_classifier`.
        gue_set: from `read_sets`.
        protocol: from `protocol_for`.
        seed: of the new head, the order of the sequences, and dropout.
        variant: what is done to the checkpoint first.
        keep_model: a folder for the fine-tuned model; None to drop it.

    Returns:
        Metrics on test (`test`), on those test sequences that are not in train (`test_without_overlap`; None if there
        is none), and on those that share no 50 bases in a row with it (`test_without_near`); `overlap` and `near`, how
        many do, and `contradicted`, how many copies have another label there; `dev`; `collapsed`, `diverged`; sizes,
        steps, and seconds.

    Raises:
        ValueError: as `load_classifier`, or if a sequence is longer than the model reads.

    Example:

    >>> protocol_for("tf/0", "cpu").max_steps  # what `run_once` would train, at most
    300
    """
    results, save = _run(checkpoint, gue_set, protocol, seed, variant or Variant(), None)
    if keep_model is not None:
        save(keep_model)
    return results


def _run(
    checkpoint: str | PathLike,
    gue_set: GueSet,
    protocol: Protocol,
    seed: int,
    variant: Variant,
    identity: Mapping[str, Any] | None,
) -> tuple[dict[str, Any], Callable[[str | PathLike], None]]:
    """The results, and what saves the model: so a run is on record before that may fail.

    Args:
        identity: what the checkpoint must be; None for whatever is there.
    """
    start, processor_start = time.perf_counter(), time.process_time()
    keeper = _KeepBest(protocol.metric)
    with Interrupt() as interrupt:
        model, tokenize = load_classifier(checkpoint, gue_set.num_labels, seed, variant=variant)
        if identity is not None and (changed := _differences(identity, checkpoint_identity(checkpoint, variant))):
            raise ValueError(
                f"{checkpoint}: has changed since this evaluation began ({changed}): bring it back and run the same "
                "command, or evaluate the new one in another --output"
            )
        datasets, test_order = _make_datasets(gue_set, tokenize, protocol)
        # Trainer makes the folder and writes nothing to it: it need not outlive a kill.
        with tempfile.TemporaryDirectory(prefix="vqdna-gue-") as folder:
            args = _training_arguments(folder, protocol, seed, gue_set, datasets, variant)
            trainer = _make_trainer(model, args, datasets, tokenize.collator, [keeper, interrupt])
        trainer.train()
        if not keeper.history or keeper.history[-1][0] != trainer.state.global_step:
            trainer.evaluate()
        keeper.restore(trainer.model)
        logits = np.asarray(trainer.predict(datasets["test"]).predictions)

    def save(folder: str | PathLike) -> None:
        trainer.save_model(str(folder))
        tokenize.tokenizer.save_pretrained(folder)

    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    results = {
        **_test_results(gue_set, logits, test_order, diverged=not np.isfinite(losses).all()),
        "dev": {**keeper.results(), "sequences": len(datasets["dev"])},
        "steps": trainer.state.global_step,
        "folder": "/".join(Path(checkpoint).resolve().parts[-2:]),  # many are called seed-0
        "precision": _precision(protocol),
        "device": args.device.type,
        "model": count_parameters(trainer.model),
        "seconds": round(time.perf_counter() - start, 2),
        "processor_seconds": round(time.process_time() - processor_start, 2),
    }
    return results, save


def _precision(protocol: Protocol) -> str:
    return "bfloat16" if protocol.mixed_precision and torch.cuda.is_available() else "float32"


def _make_trainer(
    model: Any,
    args: TrainingArguments,
    datasets: Mapping[str, Dataset],
    collator: Any,
    callbacks: list[TrainerCallback],
) -> VQDNATrainer:
    trainer = VQDNATrainer(
        model=model,
        args=args,
        data_collator=collator,
        train_dataset=datasets["train"],
        eval_dataset=datasets["dev"],
        compute_metrics=_compute_metrics,
        preprocess_logits_for_metrics=_logits_only,
        log_mfu=False,
        callbacks=callbacks,
    )
    # No checkpoint is written on Ctrl-C: the run is lost, at once, and it alone.
    trainer.remove_callback(trainer.interrupt)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _compute_metrics(answers: EvalPrediction) -> dict[str, float]:
    return measure(np.asarray(answers.predictions), np.asarray(answers.label_ids))


def _logits_only(logits: Any, labels: Any) -> Any:
    """Trainer would keep all that a model answers, hidden states included, for the whole set."""
    return logits[0] if isinstance(logits, tuple) else logits


def _make_datasets(
    gue_set: GueSet, tokenize: Any, protocol: Protocol
) -> tuple[dict[str, Dataset], NDArray[np.integer]]:
    """Token ids of each split, what is measured longest first, and the order that puts test in."""
    datasets = {split: tokenize(data, gue_set.labels[split]) for split, data in gue_set.splits.items()}
    if protocol.max_dev is not None and len(datasets["dev"]) > protocol.max_dev:
        datasets["dev"] = datasets["dev"].shuffle(seed=_DEV_SEED).select(range(protocol.max_dev))
    orders = {}
    for split in ("dev", "test"):
        lengths = np.array([len(ids) for ids in datasets[split]["input_ids"]])
        orders[split] = np.argsort(-lengths, kind="stable")
        datasets[split] = datasets[split].select(orders[split])
    return datasets, orders["test"]


def _training_arguments(
    folder: str, protocol: Protocol, seed: int, gue_set: GueSet, datasets: Mapping[str, Dataset], variant: Variant
) -> TrainingArguments:
    sequences = gue_set.sizes["train"]
    steps = protocol.steps(sequences)
    longest = max(len(datasets[split][0]["input_ids"]) for split in ("dev", "test"))
    return TrainingArguments(
        output_dir=folder,
        seed=seed,
        max_steps=steps,
        learning_rate=protocol.lora_learning_rate if variant.use_lora else protocol.learning_rate,
        lr_scheduler_type=protocol.lr_scheduler,
        warmup_steps=min(protocol.warmup_steps, steps),
        weight_decay=protocol.weight_decay,
        per_device_train_batch_size=protocol.batch_size,
        per_device_eval_batch_size=max(1, min(_MAX_EVAL_BATCH, _EVAL_TOKENS // longest)),
        eval_strategy="steps",
        eval_steps=protocol.steps_between_evaluations(sequences),
        save_strategy="no",
        logging_steps=max(1, steps // 20),
        logging_nan_inf_filter=False,  # a loss that is NaN must show
        bf16=_precision(protocol) == "bfloat16",
        dataloader_num_workers=0,  # processes cost more than they give on small sets
        disable_tqdm=True,
        report_to=[],
    )


def _test_results(
    gue_set: GueSet, logits: NDArray[np.floating], order: NDArray[np.integer], diverged: bool
) -> dict[str, Any]:
    """Metrics on the whole test set, and without the sequences that are in train, too, or near to it."""
    labels = np.asarray(gue_set.labels["test"])[order]
    test = measure(logits, labels)

    def without(left_out: NDArray[np.bool_]) -> dict[str, float] | None:
        rest = ~left_out[order]
        return measure(logits[rest], labels[rest]) if rest.any() else None

    return {
        "test": test,
        "test_without_overlap": without(gue_set.overlap),
        "test_without_near": without(gue_set.near),
        "overlap": int(gue_set.overlap.sum()),
        "near": int(gue_set.near.sum()),
        "contradicted": int(gue_set.contradicted.sum()),
        "collapsed": bool(test["collapsed"]),
        "diverged": diverged or bool(test["diverged"]),
    }


def evaluate_gue(
    checkpoint: str | PathLike,
    data: str | PathLike,
    output: str | PathLike,
    *,
    sets: Sequence[str] | None = None,
    protocol: str = "published",
    overrides: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = SEEDS,
    variant: Variant | None = None,
    keep_models: str | PathLike | None = None,
    say: Callable[[str], None] = logger.info,
    command: str | None = None,
) -> dict[str, Any]:
    """Fine-tune and measure a checkpoint on GUE, or on folders in its layout; what is there already is not repeated.

    Args:
        checkpoint: a folder, see `load_classifier`.
        data: the folder of GUE, a part of it, or one set's own.
        output: gets `<set>/seed-<n>.json`, `summary.json` and `table.md`. For one process at a time.
        sets: names such as `tf/0`; default: every complete set below `data`.
        protocol: `published` or `cpu`.
        overrides: other values for fields of `Protocol`.
        seeds: one run each.
        variant: what is done to the checkpoint first.
        keep_models: a folder, not within `output`, for the models of the runs that are made now.
        say: is told what happens, a line at a time.
        command: that records name; default: the one that runs.

    Returns:
        The summary, see `summarize_gue`.

    Raises:
        ValueError: before anything is trained: on a set, model, protocol or folder that cannot be used, or if `output`
            holds runs of another model, protocol, or data. Between two runs, if the checkpoint has changed.

    Example:
    >>> evaluate_gue("no/such/model", "no/such/folder", "out")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: no/such/model: no such model folder (in ...): ...
    """
    output, variant = Path(output), variant or Variant()
    _check_words(seeds, keep_models, output)
    protocol_of = partial(protocol_for, base=protocol, overrides=overrides)
    identity = checkpoint_identity(checkpoint, variant)
    with Interrupt():
        gue_sets = _read(data, sets, protocol_of, say)
        _check_earlier_runs(output, identity, protocol_of, gue_sets)
        missing = _missing(output, gue_sets, seeds, keep_models is not None, say)
        _check_readable(checkpoint, list({run[0].name: run[0] for run in missing}.values()), variant)

    def make(gue_set: GueSet, seed: int) -> dict[str, Any]:
        results, save = _run(checkpoint, gue_set, protocol_of(gue_set.name), seed, variant, identity)
        _write_run(output, identity, gue_set, protocol_of(gue_set.name), seed, results, command)
        if keep_models is not None:
            _keep(save, Path(keep_models) / gue_set.name / f"seed-{seed}")
        return results

    with _only_process(output):
        return _make_all(output, missing, make, say)


def _read(
    data: str | PathLike, sets: Sequence[str] | None, protocol_of: Callable[[str], Protocol], say: Callable[[str], None]
) -> list[GueSet]:
    found = find_sets(data)
    folders = found.choose(sets)
    if found.missing:
        say(f"{data}: {found.describe()}")
    for name in folders:
        protocol_of(name)  # refuses what makes no sense before thousands of sequences are read
    return read_sets(folders)


def _missing(
    output: Path, gue_sets: Sequence[GueSet], seeds: Sequence[int], keep_models: bool, say: Callable[[str], None]
) -> list[tuple[GueSet, int]]:
    """The runs that are to be made."""
    missing = [run for run in itertools.product(gue_sets, seeds) if not _path_of(output, *run).is_file()]
    made = len(gue_sets) * len(seeds) - len(missing)
    say(f"{output}: {len(missing)} runs to make of {len(missing) + made}")
    if keep_models and made:
        say(f"--keep-models: {made} runs are there already, and are not made again to keep their models")
    return missing


def _make_all(
    output: Path,
    missing: Sequence[tuple[GueSet, int]],
    make: Callable[[GueSet, int], dict[str, Any]],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """One run after the other, the summary brought up to date behind each."""
    started = time.perf_counter()
    for number, (gue_set, seed) in enumerate(missing, start=1):
        results = make(gue_set, seed)
        _write_summary(output)
        left = (time.perf_counter() - started) / number * (len(missing) - number)
        say(_progress(gue_set.name, seed, results, number, len(missing), left))
    return _write_summary(output)


def _check_words(seeds: Sequence[int], keep_models: str | PathLike | None, output: Path) -> None:
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds {','.join(map(str, seeds))}: give different numbers")
    for seed in seeds:
        check_seed(seed)
    check_writable(output, "--output")
    if keep_models is not None:
        check_writable(Path(keep_models), "--keep-models")
        if Path(keep_models).resolve().is_relative_to(output.resolve()):
            raise ValueError(f"--keep-models {keep_models}: models cannot be kept among the records in {output}")


def _keep(save: Callable[[Path], None], folder: Path) -> None:
    try:
        save(folder)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder}: the model cannot be kept ({error}); its run is on record") from error


def _path_of(output: Path, gue_set: GueSet, seed: int) -> Path:
    return output / gue_set.name / f"seed-{seed}.json"


def _check_earlier_runs(
    output: Path, identity: dict[str, Any], protocol_of: Callable[[str], Protocol], gue_sets: Sequence[GueSet]
) -> None:
    """All runs in a folder are of one model and one protocol, or its table would compare what cannot be compared."""
    if not output.is_dir():
        return
    data = {gue_set.name: gue_set for gue_set in gue_sets}
    for path, record in records_by_path(output, KIND).items():
        results = record["results"]
        name = results["set"]
        own = output / name / f"seed-{'-'.join(map(str, record['seeds']))}.json"
        if path != own:
            raise ValueError(f"{path}: is a record that belongs to {own}: move it out of {output}")
        protocol, precision = protocol_of(name), _precision(protocol_of(name))
        in_it = {**results["protocol"], "precision": results.get("precision", precision)}
        wanted = {"checkpoint": identity, "protocol": {**protocol.as_dict(), "precision": precision}}
        if name in data:
            wanted["data"] = data[name].checksums
        for key, value in wanted.items():
            if differences := _differences({**results, "protocol": in_it}[key], json.loads(json.dumps(value))):
                raise ValueError(
                    f"{path}: was made with another {key} ({differences}): give another --output, or delete that "
                    "run to have it made anew"
                )


def _differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    changed = [key for key in sorted({*there, *now}) if there.get(key) != now.get(key)]
    return ", ".join(
        key if isinstance(there.get(key), dict) or isinstance(now.get(key), dict) or key in ("train", "dev", "test")
        else f"{key} {there.get(key)!r}, now {now.get(key)!r}"
        for key in changed
    )  # fmt: skip


def _check_readable(checkpoint: str | PathLike, gue_sets: Sequence[GueSet], variant: Variant) -> None:
    """Load the model once, and turn every sequence into tokens once, before the first run begins."""
    if not gue_sets:
        return
    model, tokenize = load_classifier(checkpoint, gue_sets[0].num_labels, 0, variant=variant)
    del model
    for gue_set in gue_sets:
        for split, sequences in gue_set.splits.items():
            tokenize(sequences, gue_set.labels[split])


@contextlib.contextmanager
def _only_process(output: Path) -> Iterator[None]:
    """Two processes in one folder would make the same runs twice. The lock goes with the process, however it ends."""
    output.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # not on this system
        yield
        return
    folder = os.open(output, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{output}: another evaluation writes there: wait, or give another --output") from error
        yield
    finally:
        os.close(folder)


def _write_run(
    output: Path,
    identity: dict[str, Any],
    gue_set: GueSet,
    protocol: Protocol,
    seed: int,
    results: dict[str, Any],
    command: str | None,
) -> None:
    write_record(
        _path_of(output, gue_set, seed),
        kind=KIND,
        name=gue_set.name,
        command=command,
        seeds=[seed],
        bases_seen=round(results["steps"] * protocol.batch_size * gue_set.mean_bases()),
        seconds=results["seconds"],
        results={
            "set": gue_set.name,
            "group": group_of(gue_set.name),
            "is_gue": gue_set.is_gue,
            "labels": gue_set.num_labels,
            "sizes": gue_set.sizes,
            "checkpoint": identity,
            "protocol": protocol.as_dict(),
            "data": gue_set.checksums,
            **results,
        },
    )


def _write_summary(output: Path) -> dict[str, Any]:
    """`summary.json` and `table.md`, from the runs' own files."""
    records = read_records(output, KIND)
    summary = summarize_gue(records)
    seeds = sorted({seed for record in records for seed in record["seeds"]})
    commands = " && ".join(dict.fromkeys(record["command"] for record in records))
    write_record(
        output / "summary.json", kind=f"{KIND}-summary", name=output.name, results=summary, seeds=seeds,
        command=commands,
    )  # fmt: skip
    write_text(output / "table.md", gue_table(summary))
    return summary


def _progress(name: str, seed: int, results: dict[str, Any], number: int, of: int, seconds_left: float) -> str:
    flags = "".join(f", {flag.upper()}" for flag in ("collapsed", "diverged") if results[flag])
    left = f", about {seconds_left / 60:.0f} min left" if number < of else ""
    return (
        f"{name} seed {seed}: MCC {100 * results['test']['matthews_correlation']:.2f}{flags} "
        f"({results['steps']} steps, {results['seconds']:.0f} s; run {number} of {of}{left})"
    )
