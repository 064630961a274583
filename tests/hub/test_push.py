# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Publishing, against a Hub on loopback: one commit or none, and never half a model."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import fake_hub
import huggingface_hub.constants
import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL, process_environment
from fake_hub import FakeHub
from safetensors.torch import load_file, save_file

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAForMaskedLM
from vqdna_hf.hub import PushResult, check_publishable, export, push

CARD = "---\nlicense: apache-2.0\nlibrary_name: transformers\n---\n\n# Tiny\n"
IDS = torch.tensor([[2, 5, 6, 7, 8, 8, 5, 9, 3]])
REPO = "org/tiny"
EMBED_SUM = "vqdna.codec.quantizer.codebooks.1.embed_sum"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A language model and a codec, exported once."""
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)).train()
    codec(torch.randint(5, 9, (4, 40)))
    folder = tmp_path_factory.mktemp("made")
    export(codec, folder / "codec", CARD)
    export(VQDNAForMaskedLM.from_codec(codec.eval(), **TINY_MODEL), folder / "mlm", CARD, codec=codec)
    return {"codec": folder / "codec", "mlm": folder / "mlm"}


@pytest.fixture
def folder(made: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the language model that a test may spoil."""
    return Path(shutil.copytree(made["mlm"], tmp_path / "export"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A Hub, and a client without Xet, without stored tokens, that waits for nothing between its own retries."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with FakeHub() as server, mock.patch("huggingface_hub.utils._http.time", mock.Mock()):
        yield server


def publish(hub: FakeHub, folder: Path, **options: Any) -> PushResult:
    """Push with the writer's token."""
    return push(folder, REPO, **{"endpoint": hub.url, "token": hub.token, **options})


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def published(hub: FakeHub, revision: str = "main") -> dict[str, bytes]:
    """The repository's files, without those of its first, empty commit."""
    return {name: data for name, data in hub.files(REPO, revision).items() if name != ".gitattributes"}


def actions(result: PushResult) -> dict[str, str]:
    """What happened to each file."""
    return {file.path: file.action for file in result.files}


def edit_config(folder: Path, **values: Any) -> None:
    """Overwrite keys of config.json."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def change_weights(folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Overwrite one tensor."""
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = change(tensors[name].clone())
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def shard(folder: Path) -> None:
    """The same weights in two files and an index."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def test_create_and_update_are_one_commit_each(hub: FakeHub, folder: Path) -> None:
    first = publish(hub, folder, private=True, message="The first")
    assert first.published
    assert first.new_repository == "private"
    assert hub.repos[REPO].private
    assert published(hub) == content(folder)
    assert [commit.title for commit in hub.history(REPO)] == ["The first", "initial commit"]
    assert first.oid == hub.history(REPO)[0].oid
    assert first.url == f"{hub.url}/{REPO}/commit/{first.oid}"
    assert f'revision="{first.oid}"' in str(first)

    before = content(folder)
    change_weights(folder, "head.dense.weight", lambda weight: weight + 1)
    second = publish(hub, folder)
    assert hub.history(REPO)[0].parent == first.oid
    assert len(hub.history(REPO)) == 3
    changed = [path for path, action in actions(second).items() if action == "change"]
    assert changed == ["model.safetensors"]
    assert second.upload_bytes == (folder / "model.safetensors").stat().st_size
    assert hub.log.count("lfs_put") == 3, "the model twice, its codec once"
    assert published(hub) == content(folder)
    assert first.oid
    assert published(hub, first.oid) == before, "the pinned revision stays what it was"


def test_nothing_to_change_makes_no_commit(hub: FakeHub, folder: Path) -> None:
    first = publish(hub, folder)
    written = len(hub.writes())
    again = publish(hub, folder)
    assert not again.published
    assert again.oid == first.oid
    assert set(actions(again).values()) == {"same", "keep"}
    assert "nothing to change" in str(again)
    assert len(hub.writes()) == written
    assert len(hub.history(REPO)) == 2


def test_a_dry_run_says_what_would_happen_and_writes_nothing(hub: FakeHub, folder: Path) -> None:
    result = publish(hub, folder, dry_run=True, private=True)
    size = sum(len(data) for data in content(folder).values())
    weights = (folder / "model.safetensors").stat().st_size
    large = weights + (folder / "codec" / "model.safetensors").stat().st_size
    assert result.oid is None
    assert set(actions(result).values()) == {"add"}
    assert f"repository {REPO} (private): would be created" in str(result)
    assert f"to upload: {len(result.files)} files, {size:,} bytes, {large:,} of them lfs" in str(result)
    assert re.search(rf"add +{weights:,} bytes +lfs +model\.safetensors$", str(result), flags=re.MULTILINE)
    assert not hub.writes()
    assert not hub.repos

    publish(hub, folder)
    hub.user_commits(REPO, {"notes.md": b"mine", "modeling_vqdna_old.py": b"x = 1\n"})
    edit_config(folder, note="changed")
    state, written = dict(hub.repos[REPO].branches), len(hub.writes())
    update = publish(hub, folder, dry_run=True, revision="next")
    found = actions(update)
    assert {path for path, action in found.items() if action == "change"} == {"config.json"}
    assert found["notes.md"] == "keep"
    assert found["modeling_vqdna_old.py"] == "delete"
    assert found["model.safetensors"] == "same"
    assert "branch next: would be created" in str(update)
    assert hub.repos[REPO].branches == state
    assert len(hub.writes()) == written


def test_a_dry_run_without_the_hub_says_what_it_knows(hub: FakeHub, folder: Path) -> None:
    hub.fail("info", times=-1)
    result = publish(hub, folder, dry_run=True)
    assert set(actions(result).values()) == {"send"}
    assert "what org/tiny holds is not known: the connection to http://127.0.0.1" in str(result)
    assert "nothing was published" not in str(result)
    with mock.patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", True):
        assert "HF_HUB_OFFLINE is set" in publish(hub, folder, dry_run=True).unknown
        with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set: unset it to publish: nothing was published"):
            publish(hub, folder)
    assert not hub.log


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("hf_nobody", "log in with `hf auth login`"),
        (None, "log in with `hf auth login`"),
        (FakeHub.reader, "may not write to org/tiny .*ask for write access to org"),
    ],
)
def test_who_may_not_write_is_told_so(hub: FakeHub, folder: Path, token: str | None, words: str) -> None:
    with pytest.raises(ValueError, match=f"{words}.*: nothing was published$") as error:
        publish(hub, folder, token=token)
    assert "\n" not in str(error.value)
    assert not hub.repos


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "was not found"), (409, "conflict"), (429, "try again in some minutes"), (503, "trouble of its own")],
)
def test_what_the_hub_refuses_is_one_line(hub: FakeHub, folder: Path, status: int, words: str) -> None:
    publish(hub, folder)
    before = hub.repos[REPO].branches["main"]
    edit_config(folder, note="changed")
    hub.fail("commit", status=status)
    with pytest.raises(ValueError, match=f"{words}.*: nothing was published$") as error:
        publish(hub, folder)
    assert "\n" not in str(error.value)
    assert hub.repos[REPO].branches == {"main": before}
    assert publish(hub, folder).published


def test_a_repository_that_appears_in_between_is_updated(hub: FakeHub, folder: Path) -> None:
    publish(hub, folder)
    hub.user_commits(REPO, {"notes.md": b"mine"})
    edit_config(folder, note="changed")
    hub.fail("info", status=404, code="RepoNotFound")  # not there when we looked; creating it then answers 409
    result = publish(hub, folder)
    assert hub.log.count("create_repo") == 2
    assert actions(result)["config.json"] == "change"
    assert published(hub) == {**content(folder), "notes.md": b"mine"}


@pytest.mark.parametrize("kind", ["validate_yaml", "preupload", "lfs_batch", "lfs_put", "lfs_verify", "commit"])
def test_a_cut_connection_changes_nothing_and_a_retry_works(hub: FakeHub, folder: Path, kind: str) -> None:
    publish(hub, folder)
    before = hub.repos[REPO].branches["main"]
    old = published(hub)
    edit_config(folder, note="changed")
    (folder / "README.md").write_text(CARD + "More.\n")
    change_weights(folder, "head.dense.weight", lambda weight: weight + 2)
    hub.fail(kind, times=-1)
    with pytest.raises(ValueError, match=r"the connection to http.* failed .*: nothing was published$"):
        publish(hub, folder)
    assert hub.repos[REPO].branches == {"main": before}
    assert published(hub) == old
    hub.heal()
    publish(hub, folder)
    assert len(hub.history(REPO)) == 3
    assert published(hub) == content(folder)


def test_a_connection_cut_once_in_an_upload_is_survived(hub: FakeHub, folder: Path) -> None:
    hub.fail("lfs_put")
    hub.fail("preupload", status=503)
    assert publish(hub, folder).published
    assert published(hub) == content(folder)


def test_a_cut_after_creation_says_that_an_empty_repository_exists(hub: FakeHub, folder: Path) -> None:
    hub.fail("commit")
    with pytest.raises(ValueError, match=r"nothing was published; org/tiny exists now and is empty$"):
        publish(hub, folder)
    assert list(hub.files(REPO)) == [".gitattributes"]
    hub.repos.clear()
    hub.fail("commit")
    with pytest.raises(ValueError, match="org/tiny exists now and is empty; the branch next exists now"):
        publish(hub, folder, revision="next")
    assert publish(hub, folder, revision="next").published


def test_a_commit_whose_answer_is_lost_is_found(hub: FakeHub, folder: Path) -> None:
    hub.fail("commit", lost=True)
    result = publish(hub, folder)
    assert result.published
    assert result.oid == hub.history(REPO)[0].oid
    assert len(hub.history(REPO)) == 2
    assert published(hub) == content(folder)

    edit_config(folder, note="changed")
    hub.fail("commit", lost=True)
    hub.before["commit"] = lambda: hub.fail("info", times=-1)
    with pytest.raises(ValueError, match=r"whether the commit was made cannot be seen.*run the same push again"):
        publish(hub, folder)
    hub.heal()
    assert not publish(hub, folder).published
    assert len(hub.history(REPO)) == 3


@pytest.mark.parametrize("kind", ["info", "create_repo", "lfs_put"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_that_changes_meanwhile_is_not_published(hub: FakeHub, folder: Path, kind: str, name: str) -> None:
    hub.before[kind] = lambda: (folder / name).write_bytes(b"half")
    with pytest.raises(
        ValueError, match=r" changed while it was pushed: nothing was published.*; push again$"
    ) as error:
        publish(hub, folder)
    assert str(folder) in str(error.value)
    assert list(hub.files(REPO)) == [".gitattributes"]


def test_what_was_checked_is_published_to_the_byte(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["vqdna_hf.hub.push"], "_LFS_FROM_BYTES", 20_000)  # larger ones go by their path
    monkeypatch.setattr(fake_hub, "LFS_FROM_BYTES", 20_000)
    before = content(folder)

    def change_everything() -> None:
        for name in before:
            (folder / name).write_bytes(b"later")

    hub.before["validate_yaml"] = change_everything  # the last request before the commit
    publish(hub, folder)
    assert published(hub) == before


def test_a_file_that_comes_or_goes_meanwhile_is_seen(hub: FakeHub, folder: Path) -> None:
    publish(hub, folder)
    hub.before["info"] = lambda: (folder / "NOTICE").write_text("new")
    with pytest.raises(ValueError, match="NOTICE changed while it was pushed: nothing was published; push again"):
        publish(hub, folder)
    hub.before["preupload"] = (folder / "NOTICE").unlink
    with pytest.raises(ValueError, match="NOTICE changed while it was pushed: nothing was published; push again"):
        publish(hub, folder)
    assert len(hub.history(REPO)) == 2


@pytest.mark.parametrize(
    "name",
    [
        "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "added_tokens.json",
        "special_tokens_map.json", "pytorch_model.bin", "pytorch_model-00001-of-00002.bin",
        "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack", "model.fp16.safetensors",
        "model.safetensors.index.fp16.json", "consolidated.safetensors", "codec/adapter_config.json",
    ],
)  # fmt: skip
def test_files_that_change_what_is_loaded_are_refused(hub: FakeHub, folder: Path, name: str) -> None:
    publish(hub, folder)
    hub.user_commits(REPO, {name: b"{}"})
    edit_config(folder, note="changed")
    written = len(hub.writes())
    words = f"^the repository holds {re.escape(name)}, which would change the model that is loaded: delete it there"
    for options in ({}, {"dry_run": True}, {"revision": "next"}):
        with pytest.raises(ValueError, match=words):
            publish(hub, folder, **options)
    assert len(hub.writes()) == written
    hub.user_commits(REPO, {"tf_model.h5": b"1", "flax_model.msgpack": b"1"})
    with pytest.raises(ValueError, match=r"tf_model\.h5.*: delete them there first: nothing was published$"):
        publish(hub, folder)


def test_another_models_repository_is_refused(hub: FakeHub, folder: Path) -> None:
    publish(hub, folder)
    hub.repos[REPO].add("main", "another", {"config.json": b"{}", "model.safetensors": b"0"})
    written = len(hub.writes())
    for dry_run in (True, False):
        with pytest.raises(ValueError, match="org/tiny holds another model: choose another repository: nothing was"):
            publish(hub, folder, dry_run=dry_run)
    assert len(hub.writes()) == written
    hub.fail("info", status=404, code="RepoNotFound")  # not there when we looked
    with pytest.raises(ValueError, match="org/tiny holds another model"):
        publish(hub, folder)
    assert hub.history(REPO)[0].title == "another"


@pytest.mark.parametrize("answer", [b"<html>Log in</html>", b"[]", b'{"status": "ok"}', b"null", b'"ok"', b"\xff", b""])
@pytest.mark.parametrize("kind", ["info", "create_repo", "tree", "preupload", "commit"])
def test_an_answer_that_is_not_the_hubs_is_one_line(hub: FakeHub, folder: Path, kind: str, answer: bytes) -> None:
    hub.fail(kind, answer=answer)
    with pytest.raises(ValueError, match=r"is not the Hub|improperly formatted") as error:
        publish(hub, folder)
    assert "nothing was published" in str(error.value)
    assert "\n" not in str(error.value)
    assert not hub.repos or list(hub.files(REPO)) == [".gitattributes"]


@pytest.mark.parametrize("answer", [b"{}", b'{"id": "org/tiny"}', b'{"id": "org/tiny", "sha": 5, "siblings": []}'])
def test_a_shape_that_is_nearly_the_hubs_is_not_taken_for_an_empty_repository(
    hub: FakeHub, folder: Path, answer: bytes
) -> None:
    publish(hub, folder)
    edit_config(folder, note="changed")
    for kind in ("info", "tree"):
        hub.fail(kind, answer=answer)
        with pytest.raises(ValueError, match=r"what answers at http.* is not the Hub.*: nothing was published$"):
            publish(hub, folder)
        hub.fail(kind, answer=answer)
        assert "is not the Hub" in publish(hub, folder, dry_run=True).unknown
    hub.fail("commit", answer=answer, lost=True)
    assert publish(hub, folder).oid == hub.history(REPO)[0].oid
    assert len(hub.history(REPO)) == 3


@pytest.mark.parametrize("token", ["hf_writer\n", "hf_wri ter", " hf_writer", "hf_wr\u00efter", "hf_writer\0", ""])
def test_a_token_that_no_header_can_carry_is_not_shown(
    hub: FakeHub, folder: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"^the token that was given is empty, or holds white space") as error:
        publish(hub, folder, token=token)
    assert "writer" not in str(error.value)
    if token == "hf_wri ter":  # of the others the client mends some itself
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(ValueError, match=r"^the token that `hf auth login` or HF_TOKEN left is empty") as error:
            publish(hub, folder, token=None)
        assert "wri ter" not in str(error.value)
    assert not hub.log


@pytest.mark.parametrize("given", [True, False])
def test_what_the_hub_says_is_shown_without_the_token(
    hub: FakeHub, folder: Path, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not given:
        monkeypatch.setenv("HF_TOKEN", hub.token)
    hub.fail("create_repo", status=403, message=f"Bearer {hub.token} may not")
    with pytest.raises(ValueError, match=r"Bearer \*\*\* may not") as error:
        publish(hub, folder, token=hub.token if given else None)
    assert hub.token not in str(error.value)


def test_no_bar_for_what_is_small(hub: FakeHub, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    huggingface_hub.utils.enable_progress_bars()  # whatever ran before in this process
    hub.fail("commit", status=503)
    with pytest.raises(ValueError, match="trouble"):
        publish(hub, folder)
    publish(hub, folder)  # the weights are there already: no large file is left to send
    assert "LFS files" not in capfd.readouterr().err
    assert not huggingface_hub.utils.are_progress_bars_disabled()


def test_a_push_beside_ours_is_not_overwritten(hub: FakeHub, folder: Path) -> None:
    publish(hub, folder)
    edit_config(folder, note="changed")
    hub.before["commit"] = lambda: hub.user_commits(REPO, {"config.json": b"theirs"})
    with pytest.raises(ValueError, match=r"somebody has committed to org/tiny in the meantime.*nothing was published"):
        publish(hub, folder)
    assert hub.files(REPO)["config.json"] == b"theirs"
    assert hub.history(REPO)[0].title == "by hand"


def test_stale_files_of_an_export_go_and_the_users_own_stay(hub: FakeHub, folder: Path, made: dict[str, Path]) -> None:
    shard(folder)
    _write("onnx/model.onnx")(folder)
    publish(hub, folder)
    assert "codec/model.safetensors" in published(hub)
    mine = {"notes.md": b"mine", "onnx/model.safetensors": b"0", "my_vqdna.py": b"", ".gitattributes": b"* text\n"}
    hub.user_commits(REPO, mine)
    result = publish(hub, made["codec"])
    gone = {path for path, action in actions(result).items() if action == "delete"}
    assert gone == {
        "codec/config.json", "codec/model.safetensors", "embeddings_vqdna.py", "modeling_vqdna.py", "onnx/model.onnx",
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json",
    } | (gone & {"pipeline_vqdna.py"})  # fmt: skip
    assert hub.files(REPO) == {**content(made["codec"]), **mine}
    assert len(hub.history(REPO)) == 4


def test_a_gitignore_in_the_repository_takes_nothing_out_of_the_model(hub: FakeHub, folder: Path) -> None:
    publish(hub, folder)
    hub.user_commits(REPO, {".gitignore": b"*.safetensors\n*.json\n"})
    edit_config(folder, note="changed")
    change_weights(folder, "head.dense.weight", lambda weight: weight + 3)
    publish(hub, folder)
    assert {**published(hub), ".gitignore": b""} == {**content(folder), ".gitignore": b""}


def test_branches(hub: FakeHub, folder: Path) -> None:
    first = publish(hub, folder)
    edit_config(folder, note="changed")
    second = publish(hub, folder, revision="decade")  # a name, although its letters could be a hash's
    assert second.new_branch
    assert hub.repos[REPO].branches == {"main": first.oid, "decade": second.oid}
    assert published(hub, "decade") == content(folder)
    publish(hub, folder, revision="my-lab/v1.0_a@b")
    assert published(hub, "my-lab/v1.0_a@b") == content(folder)
    with pytest.raises(ValueError, match=r"^revision '[0-9a-f]{40}' is no branch: a commit cannot be changed"):
        publish(hub, folder, revision=first.oid)
    with pytest.raises(ValueError, match="org/tiny is a public repository"):
        publish(hub, folder, private=True)


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "org/", "org/ti ny", "", "org/tiny.git"])
def test_a_name_that_is_no_repository_is_refused(name: str, folder: Path) -> None:
    with pytest.raises(ValueError, match="is no repository of the Hub"):
        push(folder, name)


@pytest.mark.parametrize(
    "name", ["", "a b", "a..b", "a\n", "/a", "a//b", "-a", "a.", "a/.b", "a.lock", "a~1", "a:b", "@"]
)
def test_a_name_that_is_no_branch_is_refused(hub: FakeHub, folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"^revision '.*' is no name of a branch"):
        publish(hub, folder, revision=name)
    assert not hub.log


def _write(name: str, data: bytes = b"x") -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    return spoil


def _cut_weights(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def _drop_shard(folder: Path) -> None:
    shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def _two_kinds_of_weights(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    shard(folder)
    (folder / "model.safetensors").write_bytes(whole)


def _link(name: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        away = folder.parent / "away"
        (folder / name).rename(away)
        (folder / name).symlink_to(away, target_is_directory=away.is_dir())

    return spoil


def _edit_tokenizer(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        change(tokenizer)
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))

    return spoil


def _drop_buffer(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors[EMBED_SUM]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _set(name: str, value: float) -> Callable[[Path], object]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[0] = value
        return tensor

    return lambda folder: change_weights(folder, name, change)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_write("optimizer.pt"), "optimizer.pt may carry a pickle: only safetensors are published"),
        (_write("pytorch_model.bin"), "pytorch_model.bin may carry a pickle"),
        (_write("checkpoint-10/scheduler.pt"), "checkpoint-10/scheduler.pt may carry a pickle"),
        (_write("codes.npy"), "codes.npy may carry a pickle"),
        (_write(".env"), ".env is a hidden file"),
        (_write(".cache/huggingface/x.lock"), "x.lock is a hidden file"),
        (_write("reads.fa"), "reads.fa does not belong to an export"),
        (_write("trainer_state.json"), "trainer_state.json does not belong"),
        (_write("stale.py"), "stale.py does not belong"),
        (_write("checkpoint-10/model.safetensors"), "checkpoint-10/model.safetensors does not belong"),
        (lambda folder: (folder / "config.json").unlink(), "it holds no config.json"),
        (_write("config.json", b'{"model_type": "bert"}'), "model_type 'bert' is none of this package"),
        (lambda folder: edit_config(folder, auto_map=None), "has no auto_map"),
        (lambda folder: edit_config(folder, architectures=None), "architectures names None"),
        (lambda folder: edit_config(folder, num_hidden_layers=2), "config.json: .*num_hidden_layers"),
        (
            lambda folder: edit_config(folder, num_hidden_layers=2, layer_types=["full_attention"] * 2),
            r"no tensor vqdna\.backbone\.layers\.1",
        ),
        (lambda folder: edit_config(folder, intermediate_size=32), r"has the shape .* and config.json asks for"),
        (lambda folder: (folder / "quantization_vqdna.py").unlink(), "quantization_vqdna.py is missing"),
        (_write("modeling_vqdna.py", b"def (:"), r"modeling_vqdna.py is not the code of vqdna_hf \d"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (_write("tokenizer.json", b"{"), "tokenizer.json cannot be read"),
        (lambda folder: (folder / "README.md").unlink(), "README.md is missing; a model without a card"),
        (_write("README.md", b"# No metadata\n"), "README.md has no metadata"),
        (_write("README.md", b"---\ntags: [a\n---\n"), "README.md: the metadata cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (_write("tokenizer.json", b"{}"), "tokenizer.json cannot be read"),
        (_edit_tokenizer(lambda data: data["model"]["vocab"].update(A=6, C=5)), "does not give nucleotides the ids"),
        (_edit_tokenizer(lambda data: data.update(normalizer=None)), "tokenizer.json does not give nucleotides"),
        (_write("tokenizer_config.json", b"{}"), "tokenizer_config.json has no auto_map with AutoTokenizer"),
        (
            _write("tokenizer_config.json", b'{"auto_map": {"AutoTokenizer": "org/evil--tokenization_vqdna.X"}}'),
            r"auto_map\.AutoTokenizer names 'org/evil--tokenization_vqdna\.X', which is no module of this folder",
        ),
        (lambda folder: edit_config(folder, auto_map={"AutoConfig": "a.B", "AutoModel": "a.C"}), "names 'a.B'"),
        (
            lambda folder: edit_config(
                folder, auto_map={"AutoConfig": "configuration_vqdna.VQDNAConfig", "AutoModel": "modeling_vqdna.No"}
            ),
            r"auto_map\.AutoModel names No, and modeling_vqdna\.py has no such class",
        ),
        (_write("handler.py", b"import os\n"), r"handler\.py is not the code of vqdna_hf"),
        (_write("onnx/config.json", b"{}"), r"onnx/config\.json stands without onnx/model\.onnx"),
        (_write("onnx/model.onnx.data"), r"onnx/model\.onnx\.data stands without onnx/model\.onnx"),
        (_link("model.safetensors"), r"model\.safetensors is a link: copy the file itself"),
        (_link("config.json"), r"config\.json is a link: copy the file itself"),
        (_link("codec"), r"codec is a link: copy the file itself"),
        (_link("codec/model.safetensors"), r"codec/model\.safetensors is a link: copy the file itself"),
        (lambda folder: (folder / "plots").symlink_to("nowhere"), "plots is a link"),
        (_cut_weights, "model.safetensors: the weights cannot be read"),
        (_drop_shard, "is in model-00002-of-00002.safetensors, and it is not"),
        (_two_kinds_of_weights, "model.safetensors is not named in model.safetensors.index.json"),
        (_drop_buffer, f"the weights hold no tensor {EMBED_SUM}"),
        (lambda folder: (folder / "codec" / "config.json").unlink(), "codec: not a model's folder"),
        (lambda folder: _cut_weights(folder / "codec"), "codec/model.safetensors: the weights cannot be read"),
        (_write("codec/optimizer.pt"), "codec/optimizer.pt may carry a pickle"),
        (_set(EMBED_SUM, float("nan")), f"{EMBED_SUM} holds NaN or infinity"),
        (_set(EMBED_SUM.replace("embed_sum", "embed"), float("inf")), r"codebooks\.1\.embed holds NaN or infinity"),
        (_set(EMBED_SUM.replace("embed_sum", "initialized"), 0.0), r"codebooks\.1\.initialized is 0.*never trained"),
    ],
)
def test_a_folder_that_is_no_whole_export_is_refused(folder: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(folder)
    with pytest.raises(ValueError, match=words) as error:
        check_publishable(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("architectures", 5), ("architectures", [["VQDNAModel"]]), ("auto_map", 5), ("model_type", ["vqdna"]),
        ("custom_pipelines", [1]), ("custom_pipelines", {"dna": 1}), ("id2label", 5), ("codec_config", 5),
        ("quantization_config", 5), ("hidden_size", "16"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_named(folder: Path, key: str, value: Any) -> None:
    edit_config(folder, **{key: value})
    with pytest.raises(ValueError, match=f"config.json.*{key}"):
        check_publishable(folder)


def test_refusal_comes_before_anything_is_sent(hub: FakeHub, folder: Path) -> None:
    _write("optimizer.pt")(folder)
    with pytest.raises(ValueError, match=r"optimizer\.pt"):
        publish(hub, folder)
    assert not hub.log


def test_whole_exports_pass(folder: Path, made: dict[str, Path]) -> None:
    assert check_publishable(made["codec"]) == sorted(content(made["codec"]))
    _write(".eval_results/gue.yaml")(folder)
    _write("plots/usage.png")(folder)
    _write("LICENSE")(folder)
    shard(folder)
    assert check_publishable(folder) == sorted(content(folder))


STRANGER = """
import sys
sys.modules["vqdna_hf"] = None  # importing it raises ImportError
import torch
from safetensors.torch import save_file
from transformers import AutoModelForMaskedLM, AutoTokenizer
found = {}
for revision in sys.argv[2:]:
    tokenizer = AutoTokenizer.from_pretrained("org/tiny", revision=revision, trust_remote_code=True)
    model = AutoModelForMaskedLM.from_pretrained("org/tiny", revision=revision, trust_remote_code=True).eval()
    with torch.no_grad():
        found[revision] = model(**tokenizer("ACGTTAN", return_tensors="pt")).logits
save_file(found, sys.argv[1])
"""


def test_what_is_pushed_loads_elsewhere_to_the_bit_at_every_revision(
    hub: FakeHub, folder: Path, tmp_path: Path
) -> None:
    old = publish(hub, folder).oid
    before = VQDNAForMaskedLM.from_pretrained(folder).eval()(IDS).logits
    change_weights(folder, "head.dense.weight", lambda weight: weight + 1)
    after = VQDNAForMaskedLM.from_pretrained(folder).eval()(IDS).logits
    assert not torch.equal(before, after)
    environment = {
        **process_environment(),
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": hub.token,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
    }

    def run(*words: str) -> str:
        result = subprocess.run(
            [sys.executable, *words],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return result.stdout

    report = run("-m", "vqdna_hf", "push", REPO, "--folder", str(folder), "--message", "The second")
    assert [commit.title for commit in hub.history(REPO)][:2] == ["The second", "Publish with vqdna push"]
    assert len(hub.history(REPO)) == 3
    new = hub.history(REPO)[0].oid
    assert f'revision="{new}"' in report
    assert old
    run("-c", STRANGER, str(tmp_path / "logits.safetensors"), old, new)
    found = load_file(tmp_path / "logits.safetensors")
    assert torch.equal(found[old], before)
    assert torch.equal(found[new], after)
    assert os.listdir(tmp_path / "home"), "the stranger had a cache of its own"
