"""Checkpoints that can be trusted: whole ones are found, half-written ones are never resumed from."""

import json
import logging
import os
import re
import shutil
import stat
from pathlib import Path

logger = logging.getLogger(__name__)

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class CheckpointError(OSError):
    """A checkpoint could not be written. What was saved before is still there.

    Example:

    >>> issubclass(CheckpointError, OSError)  # a full disk, mostly
    True
    """


def is_complete(checkpoint: Path) -> bool:
    """Whether Trainer finished writing a checkpoint: it writes `trainer_state.json` last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return True


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first.

    Args:
        output_dir: of the run; it need not be there.

    Example:

    >>> list_checkpoints("no/such/run")
    []
    """
    found = [path for path in _checkpoint_folders(output_dir) if is_complete(path)]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def _checkpoint_folders(output_dir: str | Path) -> list[Path]:
    """Complete or not, in no order."""
    folder = Path(output_dir)
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and _CHECKPOINT.fullmatch(path.name)]


def find_checkpoint(output_dir: str | Path, resume: str | bool | None, overwrite: bool = False) -> str | None:
    """Decide what a run resumes from.

    Args:
        output_dir: of the run.
        resume: the value of `--resume_from_checkpoint`: a folder, or `True` for the newest complete one.
        overwrite: start anew beside the checkpoints of an earlier run; training deletes them when it begins
            (`delete_checkpoints`), not before all other input has been read.

    Returns:
        The checkpoint's folder, or None for a fresh start.

    Raises:
        ValueError: if `output_dir` holds checkpoints and neither was asked for, or the one asked for is not there
            or was not written to its end, or `output_dir` cannot be written to.

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> print(find_checkpoint(folder, resume=None))  # nothing there: a fresh start
    None
    >>> (folder / "checkpoint-10").mkdir()
    >>> _ = (folder / "checkpoint-10" / "trainer_state.json").write_text("{}")
    >>> find_checkpoint(folder, resume="True") == str(folder / "checkpoint-10")
    True
    """
    check_output_dir(output_dir)
    checkpoints = list_checkpoints(output_dir)
    resume = str(resume or "")
    if resume and resume.lower() not in ("true", "latest", "false"):
        if not is_complete(Path(resume)):
            raise ValueError(f"{resume} is no complete checkpoint (found in {output_dir}: {_names(checkpoints)})")
        return resume
    if resume and resume.lower() != "false":
        if not checkpoints:
            logger.warning("no checkpoint in %s yet: starting from the beginning", output_dir)
            return None
        return str(checkpoints[-1])
    if checkpoints and not overwrite:
        raise ValueError(
            f"{output_dir} holds {checkpoints[-1].name} of an earlier run: go on with --resume_from_checkpoint, "
            "or start anew with --overwrite_output_dir"
        )
    return None


def delete_checkpoints(output_dir: str | Path) -> None:
    """Delete every checkpoint of a run, complete or not, and nothing else."""
    if int(os.environ.get("RANK", "0")) == 0:  # under torchrun one process deletes, the others wait in training
        for checkpoint in _checkpoint_folders(output_dir):
            shutil.rmtree(checkpoint)


def check_output_dir(output_dir: str | Path) -> None:
    """Refuse a folder that cannot be made or written to: before minutes of work, not behind.

    Nothing is made, so that bad input leaves no empty folder.

    Raises:
        ValueError: if something is in the way, or the permissions do not allow it.

    Example:

    >>> import tempfile
    >>> check_output_dir(Path(tempfile.mkdtemp()) / "runs" / "new")
    """
    folder = Path(output_dir)
    for place in (folder, *folder.absolute().parents):
        try:
            is_folder = stat.S_ISDIR(place.stat().st_mode)
        except FileNotFoundError:
            if not place.is_symlink():  # one that leads nowhere is in the way
                continue
            is_folder = False
        except OSError as error:
            raise ValueError(f"--output_dir {folder} cannot be made: {error.strerror}") from error
        if not is_folder:
            raise ValueError(f"--output_dir {folder} cannot be made: {place} is not a folder")
        if not os.access(place, os.W_OK | os.X_OK):
            raise ValueError(f"--output_dir {folder} cannot be written to")
        return


def _names(checkpoints: list[Path]) -> str:
    return ", ".join(path.name for path in checkpoints) or "none"
