# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Files and folders appear whole or not at all."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from vqdna_hf.data.files import atomic_folder, write_json, write_text


def names(folder: Path) -> list[str]:
    """Everything in it, hidden files too."""
    return sorted(os.listdir(folder))


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "card.md"
    write_text(path, "old")
    write_text(path, "neu: äöü")
    assert path.read_text(encoding="utf-8") == "neu: äöü"
    assert names(tmp_path) == ["card.md"]
    assert path.stat().st_mode & 0o777 == 0o644, "readable by others, not as a temporary file is"


@pytest.mark.parametrize("function", ["replace", "chmod"])
def test_a_failed_write_leaves_the_old_file(function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "card.md"
    write_text(path, "old")

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["card.md"]


def test_text_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "card.md"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["card.md"]


def test_json_is_sorted_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [0.5]})
    text = (tmp_path / "a.json").read_text()
    assert text.index('"a"') < text.index('"b"')
    assert text.endswith("}\n")
    assert json.loads(text) == {"a": [0.5], "b": 1}


def test_a_folder_is_filled_beside_its_place(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with atomic_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
        assert folder.parent == target.parent, "on the same disk, so that it can be moved"
    assert names(target) == ["a"]
    assert names(target.parent) == ["model"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_an_older_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "stale").write_text("old")
    with atomic_folder(target) as folder:
        (folder / "a").write_text("new")
        assert names(target) == ["stale"]
    assert names(target) == ["a"]
    assert names(tmp_path) == ["model"]


def fill_and_fail(target: Path, error: BaseException) -> None:
    """Break off in the middle."""
    with atomic_folder(target) as folder:
        (folder / "half").write_text("new")
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_failure_inside_leaves_the_old_folder(error: BaseException, tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "good").write_text("old")
    with pytest.raises(type(error)):
        fill_and_fail(target, error)
    assert names(target) == ["good"]
    assert names(tmp_path) == ["model"]


def test_a_failed_move_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "good").write_text("old")
    original, calls = os.rename, []

    def fail_second(source: Any, destination: Any) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        original(source, destination)

    monkeypatch.setattr(os, "rename", fail_second)
    with pytest.raises(OSError, match="Input/output"), atomic_folder(target) as folder:
        (folder / "a").write_text("new")
    assert len(calls) == 3
    assert names(target) == ["good"]
    assert names(tmp_path) == ["model"]
