"""Finished runs, checked, and the numbers they measured: each is looked up by folder, file and key."""

import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqdna_hf.training.provenance import PARENT_ARGUMENTS, RUN_FILE, STAGES, read_run, weights_sha256

Record = Mapping[str, Any]

STAGE_NAMES = {"codec": "stage 1: vocabulary", "mlm": "stage 2: pre-training", "classification": "stage 3: fine-tuning"}
_NEEDED: dict[str, type] = {
    "stage": str, "seed": int, "recipe": dict, "versions": dict, "model": dict, "data": list, "evaluation": dict,
    "training": dict, "results": dict, "weights": dict, "parents": list,
}  # fmt: skip
_EVALUATION = "eval_results.json"
_SEEDS = ("seed", "data_seed")
# Arguments that name files: which files were read is compared by their checksums, whatever they are called.
_FILES = ("train_files", "validation_files", "weights", "data_path", "train_file", "validation_file", "test_file")
_NOT_MEASURED = ("_runtime", "_per_second", "epoch")  # when and how fast: measured again, these may differ


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and its record, with the records of the runs it started from inside."""

    folder: Path
    record: Record

    def chain(self) -> list[tuple[str, Record]]:
        """(where it stands, record) of this run and of all recorded ones behind it, the earliest first."""
        found: list[tuple[str, Record]] = []

        def visit(record: Record, place: str) -> None:
            for parent in record["parents"]:
                if parent["recorded"]:
                    visit(parent, f"{place} > {parent['name']}")
            found.append((place, record))

        visit(self.record, f"{self.folder}/{RUN_FILE}")
        return found

    def unrecorded(self) -> list[str]:
        """The names of the models that the chain started from and that left no record."""
        return [parent["name"] for _, record in self.chain() for parent in record["parents"] if not parent["recorded"]]


@dataclass(frozen=True)
class Number:
    """One measured value, the seed of the run that measured it, and where it stands."""

    value: float
    seed: int
    source: str


@dataclass(frozen=True)
class Result:
    """One row of a card's table: the same measurement by one run or by several that differ in the seed.

    Args:
        stage: a key of `STAGES`.
        label: what was measured, in words.
        metric: its name on the Hub.
        measured_on: the data.
        numbers: one a seed.
        control: whether it is a baseline's or a control run's, not the model's.

    Example:

    >>> result = Result("mlm", "accuracy", "accuracy", "chrXVI", (Number(0.5, 0, "a"), Number(0.7, 1, "b")))
    >>> round(result.mean, 3), round(result.sd, 3), result.seeds
    (0.6, 0.141, [0, 1])
    """

    stage: str
    label: str
    metric: str
    measured_on: str
    numbers: tuple[Number, ...]
    control: bool = False

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(number.value for number in self.numbers)

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over the seeds; None for a single one."""
        return statistics.stdev(number.value for number in self.numbers) if len(self.numbers) > 1 else None

    @property
    def seeds(self) -> list[int]:
        """In the order of the runs."""
        return [number.seed for number in self.numbers]


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Read a finished run and check that its folder still holds what was measured.

    Args:
        folder: the `output_dir` of a stage.

    Returns:
        The run.

    Raises:
        ValueError: if there is no record, it is unfinished, damaged, edited or lacks a part (such as the seed), no
            weights were kept, the weights are others than those that were measured, or a file of results says something
            else than the run wrote.

    Example:

    >>> import tempfile
    >>> load_run(tempfile.mkdtemp())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: ...: holds no run.json: a card is written from a finished run of one of the three stages
    """
    folder = Path(folder)
    record, place = read_run(folder), folder / RUN_FILE
    if record is None:
        raise ValueError(
            f"{folder}: holds no {RUN_FILE}: a card is written from a finished run of one of the three stages"
        )
    if not record.get("finished"):
        raise ValueError(f"{place}: the run is not finished: go on with the same command and --resume_from_checkpoint")
    _check_whole(record, str(place))
    if not record["weights"]:
        raise ValueError(f"{folder}: the run kept no weights (--save_model): there is nothing to write a card about")
    now = weights_sha256(folder)
    for name in sorted({*now, *record["weights"]}):
        if now.get(name) != record["weights"].get(name):
            raise ValueError(
                f"{folder / name}: these are not the weights that were measured (another SHA-256 than in {RUN_FILE}): "
                "run the stage again"
            )
    for name, measured in record["results"].items():
        _check_unchanged(folder / name, measured)
    return Run(folder, record)


def _check_whole(record: Record, place: str) -> None:
    """The record and those behind it have all their parts."""
    if missing := [name for name, kind in _NEEDED.items() if not isinstance(record.get(name), kind)]:
        raise ValueError(f"{place}: lacks {', '.join(missing)}: it is no whole record of a run")
    if record["stage"] not in STAGES:
        raise ValueError(f"{place}: there is no stage {record['stage']!r}")
    for parent in record["parents"]:
        if not isinstance(parent, dict) or not {"name", "recorded", "weights"} <= parent.keys():
            raise ValueError(f"{place}: parents names no run: it is no whole record of a run")
        if parent["recorded"]:
            _check_whole(parent, f"{place} > {parent['name']}")


def _check_unchanged(path: Path, measured: Mapping[str, Any]) -> None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: is no file of results: run the stage again")
    for key in sorted(measured):  # what else stands in the file is never read
        if key.endswith(_NOT_MEASURED):
            continue
        one, other = found.get(key), measured.get(key)
        if one != other and not (one != one and other != other):  # NaN is refused where it is used
            raise ValueError(f"{path}: {key} is {one}, but the run wrote {other} ({RUN_FILE}): run the stage again")


def load_runs(folders: Sequence[str | os.PathLike[str]]) -> list[Run]:
    """Read runs that differ in nothing but the seed.

    Raises:
        ValueError: as `load_run`; none; two with one seed; or runs that differ in their arguments, data (whatever the
            files are called), sizes or number of processes, or in those of the runs they started from (the first
            difference is named).

    Example:

    >>> load_runs([])
    Traceback (most recent call last):
    ...
    ValueError: a card needs a finished run: give at least one folder
    """
    if not folders:
        raise ValueError("a card needs a finished run: give at least one folder")
    runs = [load_run(folder) for folder in folders]
    first = runs[0]
    for number, run in enumerate(runs):
        for other in runs[:number]:
            if run.record["seed"] == other.record["seed"]:
                raise ValueError(
                    f"{other.folder} and {run.folder} have the same seed, {run.record['seed']}: one run, not two"
                )
        _check_same(first, run)
    return runs


def load_controls(runs: Sequence[Run], folders: Sequence[str | os.PathLike[str]]) -> list[Run]:
    """Read the runs from random weights that `runs` are compared with.

    Raises:
        ValueError: as `load_runs`; or if a control differs from the runs in more than `random_init` and the seed.

    Example:

    >>> load_controls([], [])
    []
    """
    controls = load_runs(folders) if folders else []
    for control in controls:
        if not control.record["recipe"].get("random_init"):
            raise ValueError(f"{control.folder}: is no control: it was not run with --random_init")
        _check_same(runs[0], control, leave_out=("random_init",))
    return controls


def _check_same(one: Run, other: Run, leave_out: Sequence[str] = ()) -> None:
    ours, theirs = (_flat(_configuration(run.record, leave_out)) for run in (one, other))
    for key in sorted({*ours, *theirs}):
        if ours.get(key) != theirs.get(key):
            raise ValueError(
                f"{one.folder} and {other.folder} differ in more than the seed: {key} is {ours.get(key)!r} and "
                f"{theirs.get(key)!r}"
            )


def _configuration(record: Record, leave_out: Sequence[str] = ()) -> dict[str, Any]:
    """What must be equal in runs that differ in the seed; which records are held out may be the seed's choice."""
    without = (*_SEEDS, *PARENT_ARGUMENTS, *_FILES, *leave_out)
    return {
        "stage": record["stage"],
        "recipe": {name: value for name, value in record["recipe"].items() if name not in without},
        "data": sorted(
            (
                {"sha256": row.get("sha256") or row["file"], "split": row.get("split"), "weight": row.get("weight")}
                for row in record["data"]
            ),
            key=str,
        ),
        "model": record["model"],
        "processes": record["training"]["processes"],
        "parents": [
            _configuration(parent) if parent["recorded"] else {name: parent[name] for name in ("name", "weights")}
            for parent in record["parents"]
        ],
    }


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {prefix: value}
    return {key: leaf for name, item in items for key, leaf in _flat(item, f"{prefix}.{name}".lstrip(".")).items()}


def look_up(place: str, record: Record, file: str, key: str) -> Number:
    """A number that a run measured.

    Args:
        place: where the record stands, for messages.
        record: of the run.
        file: of its results.
        key: in that file.

    Raises:
        ValueError: if there is no such file or key, or its value is no finite number.

    Example:

    >>> record = {"seed": 1, "results": {"eval_results.json": {"eval_f1": float("nan")}}}
    >>> look_up("runs/a", record, "eval_results.json", "eval_f1")
    Traceback (most recent call last):
    ...
    ValueError: runs/a: eval_f1 in eval_results.json is nan: the run has diverged, and there is nothing to report
    """
    if file not in record["results"]:
        raise ValueError(f"{place}: the run wrote no {file}: evaluate it")
    if key not in record["results"][file]:
        raise ValueError(f"{place}: there is no {key} in {file}: the run did not measure it")
    value = record["results"][file][key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{place}: {key} in {file} is {value!r}, not a number")
    if not math.isfinite(value):
        raise ValueError(f"{place}: {key} in {file} is {value}: the run has diverged, and there is nothing to report")
    return Number(float(value), record["seed"], f"{place}: {file}: {key}")


def measured_results(runs: Sequence[Run], controls: Sequence[Run] = ()) -> list[Result]:
    """Everything that the runs and the recorded runs behind them measured, in the order of the stages.

    Args:
        runs: from `load_runs`.
        controls: from `load_controls`; their rows follow the rows they are compared with.

    Raises:
        ValueError: see `look_up`; or if no test set was evaluated.

    Example:

    >>> record = {"stage": "codec", "seed": 0, "parents": [], "data": [], "weights": {}, "model": {"config": {}}}
    >>> record |= {"evaluation": {"windows": 512, "window": 128}}
    >>> record |= {"results": {"eval_results.json": {"eval_reconstruction_accuracy": 0.75}}}
    >>> [(result.label, result.mean) for result in measured_results([Run(Path("runs/codec"), record)])]
    [('reconstruction accuracy', 0.75)]
    """
    results = []
    for depth, (_, record) in enumerate(runs[0].chain()):
        columns = _distinct([run.chain()[depth] for run in runs])
        file, measured_on = _test_file(*columns[0]), _measured_on(record)
        for label, key, metric in _wanted(record, file):
            numbers = tuple(look_up(place, other, _test_file(place, other), key) for place, other in columns)
            is_baseline = label.startswith(" ")
            results.append(Result(record["stage"], label, metric, measured_on, numbers, is_baseline))
            if controls and depth == len(runs[0].chain()) - 1 and key == _headline(record):
                own = [(f"{run.folder}/{RUN_FILE}", run.record) for run in controls]
                numbers = tuple(look_up(place, other, _test_file(place, other), key) for place, other in own)
                results.append(
                    Result(record["stage"], "  the same from random weights", metric, measured_on, numbers, True)
                )
    return results


def _distinct(columns: list[tuple[str, Record]]) -> list[tuple[str, Record]]:
    """Runs that share the run they started from name it once."""
    found: dict[str, tuple[str, Record]] = {}
    for place, record in columns:
        found.setdefault(json.dumps(record["weights"], sort_keys=True), (place, record))
    return list(found.values())


def _test_file(place: str, record: Record) -> str:
    if record["stage"] != "classification":
        return _EVALUATION
    found = [name for name in record["results"] if name.startswith("results/")]
    if not found:
        raise ValueError(f"{place}: no test set was evaluated: run with a test file and --do_predict")
    return found[0]


def dataset_name(record: Record) -> str:
    """The name of a labelled data set: its folder's, or the test file's.

    >>> dataset_name({"recipe": {"data_path": "prom_core_notata"}, "data": []})
    'prom_core_notata'
    """
    files = [row["file"] for row in record["data"] if row.get("split") == "test"]
    return record["recipe"].get("data_path") or (files[0].partition(".")[0] if files else "test")


def _measured_on(record: Record) -> str:
    made = ", SIMULATED" if any(row["simulated"] for row in record["data"]) else ""
    if record["stage"] == "classification":
        size = sum(row["used_sequences"] for row in record["data"] if row["split"] == "test")
        return f"test set of {dataset_name(record)} ({size:,} sequences{made})"
    evaluation = record["evaluation"]
    return f"held-out sequences ({evaluation['windows']:,} windows of {evaluation['window']:,} bases{made})"


def _headline(record: Record) -> str:
    regression = record["recipe"].get("problem_type") == "regression"
    return "eval_spearman" if regression else "eval_matthews_correlation"


def _wanted(record: Record, file: str) -> list[tuple[str, str, str]]:
    """(label, key, name of the metric on the Hub) of the rows of a stage."""
    config, measured = record["model"]["config"], record["results"].get(file, {})
    sizes = (config.get("codec_config") or config).get("codebook_sizes", [])
    levels = list(enumerate(sizes, start=1))
    if record["stage"] == "codec":
        rows = []
        for level, size in levels:
            for name in ("usage", "perplexity"):
                key = f"eval_codebook_{name}_level{level}"
                rows.append((f"codebook {name}, level {level} of {size}", key, f"codebook_{name}"))
        rows.append(("reconstruction accuracy", "eval_reconstruction_accuracy", "accuracy"))
        if "eval_window_accuracy" in measured:
            rows.append(("window accuracy", "eval_window_accuracy", "accuracy"))
        return rows
    if record["stage"] == "mlm":
        rows = [
            ("masked nucleotide accuracy", "eval_masked_accuracy", "accuracy"),
            ("  always the commonest base", "eval_commonest_base_accuracy", "accuracy"),
            ("masked nucleotide perplexity", "eval_mlm_perplexity", "perplexity"),
        ]
        return rows + [
            (f"masked code accuracy, level {level} of {size}", f"eval_code_accuracy_level{level}", "accuracy")
            for level, size in levels
            if f"eval_code_accuracy_level{level}" in measured
        ]
    if record["recipe"].get("problem_type") == "regression":
        return [
            ("test Spearman correlation, fine-tuned", "eval_spearman", "spearmanr"),
            ("test Pearson correlation, fine-tuned", "eval_pearson", "pearsonr"),
            ("test mean squared error, fine-tuned", "eval_mean_squared_error", "mse"),
        ]
    return [
        ("test MCC, fine-tuned", "eval_matthews_correlation", "matthews_correlation"),
        ("test F1 (macro), fine-tuned", "eval_f1", "f1"),
        ("test accuracy, fine-tuned", "eval_accuracy", "accuracy"),
    ]
