"""The record of a run, `run.json`: everything that a model card says, written by the run itself.

A finished run's folder holds its data, recipe, seed, versions, sizes, times, what it measured, the checksum of the
weights that were measured, and the records of the runs it started from. `vqdna_hf.hub.model_card` reads nothing else.
The record holds a checksum of itself: what is edited by hand is not believed.
"""

import hashlib
import importlib
import importlib.metadata
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from vqdna_hf.data.files import write_json

from .arguments import parse_dictionary
from .metrics import SumsFunction
from .sources import file_sha256
from .trainer import count_parameters

logger = logging.getLogger(__name__)

RUN_FILE = "run.json"
RUN_FORMAT = 1
STAGES = {"codec": "run_codec.py", "mlm": "run_mlm.py", "classification": "run_classification.py"}
"""The stages by the name that their record carries, and the script of each."""

PARENT_ARGUMENTS = ("codec_path", "model_name_or_path")
"""The arguments that name another run's folder."""

# Where a run writes and how it reports says nothing about the model; tokens must never be written down.
_NOT_RECIPE = {
    "output_dir", "run_name", "overwrite_output_dir", "resume_from_checkpoint", "local_rank", "use_cpu", "accessions",
    "report_to", "disable_tqdm", "project", "log_level", "log_level_replica", "log_on_each_node", "debug",
    "skip_memory_metrics", "eval_and_save_results", "save_model", "save_on_each_node", "dataloader_pin_memory",
    "do_train", "do_eval", "do_predict", "greater_is_better", "accelerator_config",
}  # fmt: skip
_NOT_RECIPE_PREFIXES = ("logging_", "hub_", "push_to_hub", "trackio_")
# Said even where they are the defaults: nobody should have to look those up.
_ALWAYS = {
    "seed", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "per_device_train_batch_size",
    "gradient_accumulation_steps", "num_train_epochs", "max_steps", "window", "mask_level", "mask_probability",
}  # fmt: skip
_DICTIONARIES = {"codec_config", "model_config", "weights"}
_SIZES = (
    "hidden_size", "stem_size", "num_blocks", "codec_stride", "codebook_dim", "codebook_sizes", "tap_positions",
    "receptive_field",
    "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings",
)  # fmt: skip
_CHECKSUM = "record_sha256"
_NOT_CARRIED = ("progress", _CHECKSUM)  # of a run behind another one, whose checksum covers it
_PACKAGES = ("torch", "transformers", "accelerate", "datasets")


def record_sha256(record: Mapping[str, Any]) -> str:
    """The checksum of a whole record, the runs behind it included: over JSON with sorted keys, without the checksum.

    Example:

    >>> record_sha256({"seed": 1, "stage": "mlm"}) == record_sha256({"stage": "mlm", "seed": 1, _CHECKSUM: "0"})
    True
    """
    content = {key: value for key, value in record.items() if key != _CHECKSUM}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_record(folder: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Write the record of a run, with its checksum, atomically.

    Example:

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> write_record(folder, {"format": RUN_FORMAT, "seed": 1})
    >>> read_run(folder)["seed"]
    1
    """
    write_json(Path(folder) / RUN_FILE, {**record, _CHECKSUM: record_sha256(record)})


def read_run(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Read the record of a run; None where there is none.

    Raises:
        ValueError: if it is damaged, was edited, or is of a newer format.

    Example:

    >>> import tempfile
    >>> print(read_run(tempfile.mkdtemp()))
    None
    """
    path = Path(folder) / RUN_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        checksum = record_sha256(record) if isinstance(record, dict) else ""
    except FileNotFoundError:
        return None
    except RecursionError as error:
        raise ValueError(f"{path}: cannot be read as the record of a run: it is nested too deeply") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as the record of a run: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise ValueError(f"{path}: is no record of a run (it has no format)")
    if record["format"] > RUN_FORMAT:
        raise ValueError(f"{path}: has format {record['format']}, and this vqdna_hf reads up to {RUN_FORMAT}: update")
    if _CHECKSUM not in record:
        raise ValueError(f"{path}: has no {_CHECKSUM}, which says that nobody edited it: run the stage again")
    if record[_CHECKSUM] != checksum:
        raise ValueError(f"{path}: was edited since the run wrote it (another SHA-256): run the stage again")
    return record


def weights_sha256(folder: str | os.PathLike[str]) -> dict[str, str]:
    """The checksum of every safetensors file of a folder, by name.

    Example:

    >>> import tempfile
    >>> weights_sha256(tempfile.mkdtemp())
    {}
    """
    return {path.name: file_sha256(path) for path in sorted(Path(folder).glob("*.safetensors"))}


def effective_arguments(groups: Sequence[Any]) -> dict[str, Any]:
    """The arguments that make a run what it is: those that are not defaults, and a few that are always said.

    Paths are cut down to the last part of their name; tokens, and whatever says where output goes, are left out.

    Args:
        groups: instances of the dataclasses that `parse_arguments` fills.

    Returns:
        Values that JSON can hold, by the name of the flag.

    Example:

    >>> from vqdna_hf.training import CorpusArguments
    >>> effective_arguments([CorpusArguments(train_files=["/data/yeast.fa.gz"], held_out=["XVI"])])
    {'train_files': ['yeast.fa.gz'], 'held_out': ['XVI'], 'window': 512}
    """
    found = {}
    for group in groups:
        for field in fields(group):
            if field.name in _NOT_RECIPE or field.name.startswith(_NOT_RECIPE_PREFIXES):
                continue
            value = getattr(group, field.name)
            default = field.default_factory() if field.default_factory is not MISSING else field.default
            value, default = _plain(value), None if default is MISSING else _plain(default)
            if field.name in _ALWAYS or (value != default and (value or default)):
                found[field.name] = _without_folders(
                    parse_dictionary(value, f"--{field.name}") if field.name in _DICTIONARIES else value
                )
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _without_folders(value: Any) -> Any:
    """Hub ids and patterns such as `human/*` stay; what is on this machine, or names a place on one, is cut."""
    if isinstance(value, str) and os.sep in value:
        is_local = value.startswith((os.sep, "~", ".")) or os.path.exists(value)
        return Path(value).name if is_local else value
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    if isinstance(value, dict):
        return {_without_folders(key): _without_folders(item) for key, item in value.items()}
    return value


def parent_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The record of the run whose folder another one starts from, with its `name`; `recorded` says if there is one.

    A folder whose weights are not those that its record speaks of counts as not recorded.

    Raises:
        ValueError: if its record is damaged or was edited.

    Example:

    >>> parent_record("organisation/model")
    {'name': 'organisation/model', 'recorded': False, 'weights': {}}
    """
    folder = Path(path)
    if not folder.is_dir():
        return {"name": os.fspath(path), "recorded": False, "weights": {}}
    name, weights, record = folder.resolve().name, weights_sha256(folder), read_run(folder)
    if record is None:
        return {"name": name, "recorded": False, "weights": weights}
    if not record.get("finished") or record.get("weights") != weights:
        logger.warning("%s: %s is of other weights than those in the folder: it is not carried on", folder, RUN_FILE)
        return {"name": name, "recorded": False, "weights": weights}
    return {**{key: value for key, value in record.items() if key not in _NOT_CARRIED}, "name": name, "recorded": True}


class RunRecorder(TrainerCallback):
    """Writes `run.json` into the run's folder: when training begins, at every checkpoint, and when it is over.

    Args:
        stage: a key of `STAGES`.
        groups: the filled dataclasses of arguments; the last one is the `TrainingArguments`. Hand them over as
            parsed: what code changes in them later is not the recipe.
        checkpoint: what the run resumes from; the record beside it is gone on with.

    Raises:
        ValueError: on an unknown stage, or the damaged record of a folder that this run starts from.

    Example:

    >>> import tempfile
    >>> args = TrainingArguments(output_dir=tempfile.mkdtemp(), use_cpu=True, seed=3)
    >>> recorder = RunRecorder("codec", [args])
    >>> recorder.record["seed"], recorder.record["finished"], recorder.record["parents"]
    (3, False, [])
    """

    def __init__(self, stage: str, groups: Sequence[Any], checkpoint: str | None = None) -> None:
        if stage not in STAGES:
            raise ValueError(f"there is no stage {stage!r}: use one of {', '.join(STAGES)}")
        args: TrainingArguments = groups[-1]
        self.folder = Path(str(args.output_dir))
        self.writes = args.process_index == 0
        self._bases: Tensor | None = None
        self._start = time.perf_counter()
        self._earlier: dict[str, Any] = {"seconds": 0.0, "bases": 0}
        self._first_step = 0
        before = read_run(Path(checkpoint).resolve().parent) if checkpoint else None
        self._before = before if before and before.get("stage") == stage else None
        starts = [getattr(group, name) for group in groups for name in PARENT_ARGUMENTS if hasattr(group, name)]
        self.record: dict[str, Any] = {
            "format": RUN_FORMAT,
            "finished": False,
            "stage": stage,
            "seed": args.seed,
            "recipe": effective_arguments(groups),
            "versions": _versions(),
            "parents": [parent_record(path) for path in starts if path],
        }

    def describe(self, model: nn.Module, rows: Callable[[], list[dict[str, Any]]], **sizes: int) -> None:
        """Note what is trained and what it reads; call it before training, so that bad tables are found early.

        Args:
            model: before Trainer wraps it.
            rows: makes the rows (`corpus_rows`, `table_rows`); called in one process only, since it reads all files.
            sizes: of the evaluation, such as `windows=512, window=128`.

        Raises:
            ValueError: what `rows` raises.
        """
        if not self.writes:
            return
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.record["model"] = {"class": type(base).__name__, **count_parameters(model), "config": _sizes(base.config)}
        self.record["data"] = rows()
        self.record["evaluation"] = sizes

    def counting(self, sums_function: SumsFunction) -> SumsFunction:
        """The same sums; on the way the nucleotides of training batches are counted."""

        def count(inputs: Mapping[str, Tensor], outputs: Any, config: Any) -> dict[str, Tensor]:
            sums = sums_function(inputs, outputs, config)
            if outputs["loss"].requires_grad:  # a training batch; evaluation has no gradient
                positions = sums["positions"].long()
                self._bases = positions if self._bases is None else self._bases + positions
            return sums

        return count

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin the record, or go on with that of the run that is resumed."""
        self._start, self._first_step = time.perf_counter(), state.global_step
        self.record["training"] = {"processes": args.world_size, "device": _device_name(args)}
        self.record["progress"], self.record["sessions"] = [], []
        if state.global_step:
            self._go_on(state.global_step)
        self._write()

    def _go_on(self, step: int) -> None:
        before = self._before or {}
        done = {point["step"]: point for point in before.get("progress", [])}
        # Without the record of what came before, nothing is known about it: null, never a guess.
        self._earlier = done.get(step, {"seconds": None, "bases": None})
        self.record["progress"] = [done[number] for number in sorted(done) if number <= step]
        self.record["sessions"] = [s for s in before.get("sessions", []) if s["first_step"] < step]
        changed = {
            name: [before["recipe"].get(name), self.record["recipe"].get(name)]
            for name in sorted({*before.get("recipe", {}), *self.record["recipe"]})
            if before and before["recipe"].get(name) != self.record["recipe"].get(name)
        }
        if before and _checksums(before) != _checksums(self.record):
            changed["data"] = [[row["file"] for row in record.get("data", [])] for record in (before, self.record)]
        self.record["sessions"].append({"first_step": step, "recorded": bool(before), "changed": changed})

    def _so_far(self, args: TrainingArguments) -> dict[str, Any]:
        """Seconds and bases from the first step on; all processes must call it."""
        bases = self._bases
        if dist.is_available() and dist.is_initialized() and bases is not None:
            bases = bases.detach().clone()
            dist.all_reduce(bases)
        seconds, earlier = self._earlier["seconds"], self._earlier["bases"]
        return {
            "seconds": None if seconds is None else round(seconds + time.perf_counter() - self._start, 3),
            "bases": None if earlier is None or bases is None else earlier + int(bases),
        }

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Note how far the run has come, for a session that goes on from this checkpoint."""
        point = {"step": state.global_step, **self._so_far(args)}
        progress = [other for other in self.record["progress"] if other["step"] < state.global_step]
        self.record["progress"] = [*progress, point]
        self._write()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note steps, epochs, bases and seconds."""
        so_far = self._so_far(args) if state.global_step > self._first_step else self._earlier
        self.record["training"] |= {
            "steps": state.global_step,
            "epochs": state.epoch,
            "seconds": so_far["seconds"],
            "bases": self._bases_of_epochs(state) if self._bases is None and not so_far["bases"] else so_far["bases"],
        }

    def _bases_of_epochs(self, state: TrainerState) -> int | None:
        """Where batches are not counted: known for whole passes over the training set, and only for these."""
        rows = [row for row in self.record.get("data", []) if row.get("split") == "train"]
        epochs = round(state.epoch or 0)
        if not rows or abs(epochs - (state.epoch or 0)) > 1e-9:
            return None
        return epochs * sum(row["used_bases"] for row in rows)

    def finish(self, results: Sequence[str], has_weights: bool = True) -> None:
        """Close the record of a run that was trained and measured; a run that only evaluates leaves it alone.

        Args:
            results: names of the files that hold what was measured, relative to the run's folder.
            has_weights: False where the model was not kept; weights that lie there are of an earlier run then.

        Raises:
            ValueError: if one of the files cannot be read.
        """
        if not self.writes or "steps" not in self.record.get("training", {}):
            return
        self.record["results"] = {name: _read_json(self.folder / name) for name in results}
        self.record["weights"] = weights_sha256(self.folder) if has_weights else {}
        self.record["finished"] = True
        self._write()

    def _write(self) -> None:
        if self.writes:
            write_record(self.folder, self.record)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error


def _checksums(record: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [(row["file"], row["sha256"]) for row in record.get("data", [])]


def _sizes(config: Any) -> dict[str, Any]:
    sizes = {name: getattr(config, name) for name in _SIZES if getattr(config, name, None) is not None}
    if getattr(config, "codec_config", None) is not None:
        sizes["codec_config"] = _sizes(config.codec_config)
    return sizes


def _versions() -> dict[str, str]:
    versions = {"vqdna_hf": importlib.import_module("vqdna_hf").__version__, "python": sys.version.split()[0]}
    return versions | {name: importlib.metadata.version(name) for name in _PACKAGES}


def _device_name(args: TrainingArguments) -> str:
    if args.device.type == "cuda":
        return torch.cuda.get_device_name(args.device)
    threads = f"{torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
    return f"{args.device.type.upper()}, {platform.machine()}, {threads}"
