# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The command `vqdna`: one function a verb, one line an error, and a quick start."""

import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from example_scripts import TINY_CODEC, TINY_MODEL, assert_same_weights, process_environment
from run_folders import tuned

import vqdna_cli.main as cli
import vqdna_hf
from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAForSequenceClassification, hub
from vqdna_hf.training import add_lora

ROOT = Path(__file__).resolve().parents[1]


def verbs_of(command: Any, words: str = "") -> dict[str, Any]:
    """Every verb, by its words (`corpus build`)."""
    if hasattr(command, "commands"):
        return {
            found: verb
            for name, one in command.commands.items()
            for found, verb in verbs_of(one, f"{words} {name}").items()
        }
    return {words.strip(): command}


VERBS = verbs_of(typer.main.get_command(cli.app))
DOORS = ("learn-vocabulary", "pretrain", "finetune")
# The functions behind the verbs.
BEHIND = {
    "push": "hub.push", "export": "hub.export_run", "card": "hub.model_card", "encode": "inference.encode",
    "decode": "inference.decode", "embed": "inference.embed", "predict": "inference.predict",
    "variants": "inference.score_variants", "mutate": "inference.mutate", "corpus build": "data.shards.build_corpus",
    "corpus show": "data.built.show_corpus", "report": "evaluation.report_page.write_vocabulary_report",
    "evaluate gue": "evaluation.gue.evaluate_gue", "evaluate make-species": "evaluation.species.make_species_sets",
    "evaluate vocabulary": "evaluation.vocabulary.measure_vocabulary",
}  # fmt: skip


def make_run(kind: str, folder: Path) -> None:
    """What a finished run leaves: weights, configuration, and Trainer's own files."""
    torch.manual_seed(0)
    model: Any = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)).train()
    model(torch.randint(5, 9, (4, 40)))
    if kind == "classifier":
        model = VQDNAForSequenceClassification.from_codec(model.eval(), **TINY_MODEL)
    model.save_pretrained(folder)
    (folder / "trainer_state.json").write_text("{}")
    (folder / "optimizer.pt").write_bytes(b"no part of an export")


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"vqdna_hf {vqdna_hf.__version__}"
    for words in ([], ["--help"], ["-h"]):
        assert cli.main(words) == 0
        shown = capsys.readouterr().out
        assert all(verb.split()[0] in shown for verb in VERBS)


class _Called(Exception):
    """Raised by what stands in for the function behind a verb."""


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_shows_an_example_that_parses(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = inspect.getdoc(VERBS[verb].callback) or ""
    example = document.partition("Example: `")[2].partition("`")[0]
    assert example.startswith(f"vqdna {verb} ")
    if verb in DOORS:  # their help is the script's; tests/test_cli_stages.py
        return
    assert cli.main([*verb.split(), "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Example: {example}" in shown

    def called(*words: Any, **options: Any) -> None:
        raise _Called

    monkeypatch.setattr(f"vqdna_hf.{BEHIND[verb]}", called)
    with pytest.raises(_Called):
        cli.main(shlex.split(example)[1:])


def commands_of(page: Path) -> list[str]:
    """The `vqdna` commands of a page's code blocks, without comments; lines that end in a backslash go on."""
    blocks = re.findall(r"^```(?:bash|console)\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.removeprefix("$ ").startswith("vqdna ")]


DOCUMENTED = sorted(
    {line for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")) for line in commands_of(page)}
)


def test_the_documentation_shows_commands() -> None:
    assert len(DOCUMENTED) > 10
    assert {line.split()[1] for line in commands_of(ROOT / "README.md")} >= {"encode", "variants", "mutate"}


@pytest.mark.parametrize("line", DOCUMENTED)
def test_documented_commands_parse(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line, comments=True)[1:]
    verb = " ".join(words[:2]) if words[0] in ("corpus", "evaluate") else words[0]
    if verb in DOORS:
        assert words[1].startswith("tiny/"), "a recipe that comes along"
        return

    def called(*words: Any, **options: Any) -> None:
        raise _Called

    monkeypatch.setattr(f"vqdna_hf.{BEHIND[verb]}", called)
    with pytest.raises(_Called):
        cli.main(words)


@pytest.mark.parametrize("verb", ["encode", "decode", "embed", "predict", "variants", "mutate"])
def test_verbs_that_ask_a_model_share_their_options(verb: str) -> None:
    options = {option for parameter in VERBS[verb].params for option in parameter.opts}
    shared = {"--model", "--output", "--device", "--dtype", "--batch-bases", "--restart"}
    assert shared - options == set()
    assert ("--strand" in options) == (verb != "decode")  # the table says which strand it is of


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["psuh"], "No such command 'psuh'. Did you mean 'push'?"),
        (["--nonsense"], "No such option: --nonsense"),
        (["push"], "Missing argument 'REPO'."),
        (["push", "org/name", "--privat"], "No such option: --privat"),
        (["push", "org/name", "more"], "Got unexpected extra argument"),
        (["push", "org/name", "--folder"], "Option '--folder' requires an argument"),
        (["push", "name", "--folder", "x"], "'name' is no repository of the Hub: write organisation/name"),
        (["push", "org/name", "--folder", "no/such"], "no/such: no such folder"),
        (["export", "no/such", "place"], "no/such: no such folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    written = capsys.readouterr()
    assert written.err.startswith(f"error: {message}")
    assert written.err.count("\n") == 1
    assert not written.out


def test_push_hands_its_words_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def record(*words: Any, **options: Any) -> str:
        calls.append((*words, options))
        return "the report"

    monkeypatch.setattr(hub, "push", record)
    assert cli.main(["push", "org/name"]) == 0
    line = "push org/name --folder out --private --revision next --message why --dry-run"
    assert cli.main(line.split()) == 0
    assert capsys.readouterr().out == "the report\n" * 2
    plain = {"private": False, "revision": "main", "message": None, "dry_run": False}
    full = {"private": True, "revision": "next", "message": "why", "dry_run": True}
    assert calls == [(Path("vqdna-hrq"), "org/name", plain), (Path("out"), "org/name", full)]


def test_an_interrupt_is_130_and_a_bug_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_it(error: type[BaseException]) -> Any:
        def fail(*_: Any, **__: Any) -> None:
            raise error("why")

        return fail

    monkeypatch.setattr(hub, "push", raise_it(KeyboardInterrupt))
    assert cli.main(["push", "org/name"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    monkeypatch.setattr(hub, "push", raise_it(AttributeError))
    with pytest.raises(AttributeError):
        cli.main(["push", "org/name"])
    monkeypatch.setattr(hub, "push", raise_it(ValueError))
    monkeypatch.setenv("VQDNA_DEBUG", "1")
    with pytest.raises(ValueError, match="why"):
        cli.main(["push", "org/name"])


def test_sigterm_ends_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """As batch systems send it: what stands in `finally` happens, and the old handler is back afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    cleaned: list[bool] = []

    def wait(*_: Any, **__: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleaned.append(True)

    monkeypatch.setattr(hub, "push", wait)
    with pytest.raises(SystemExit) as done:
        cli.main(["push", "org/name"])
    assert done.value.code == 143
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("kind", ["codec", "classifier"])
def test_export_writes_the_run_in_its_own_class(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, folder = tmp_path / "run", tmp_path / "export"
    make_run(kind, run)
    name = {"codec": "VQDNACodecModel", "classifier": "VQDNAForSequenceClassification"}[kind]
    assert cli.main(["export", str(run), str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: {name}\n"
    assert_same_weights(run, folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [name]
    assert "AutoModel" in config["auto_map"]
    files = {path.name for path in folder.iterdir()}
    assert {"tokenizer.json", "configuration_vqdna.py"} <= files
    assert not files & {"README.md", "optimizer.pt", "trainer_state.json"}

    (run / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# Card\n")
    assert cli.main(["export", str(run), str(folder)]) == 0
    assert (folder / "README.md").read_text() == (run / "README.md").read_text()
    assert hub.check_publishable(folder)


def test_export_refuses_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(run: Path, folder: Path) -> str:
        assert cli.main(["export", str(run), str(folder)]) == 2
        return capsys.readouterr().err

    run = tmp_path / "run"
    run.mkdir()
    assert "it holds no config.json" in refused(run, tmp_path / "export")
    (run / "adapter_config.json").write_text("{}")
    assert "adapter_config.json: architectures names None" in refused(run, tmp_path / "export")
    (run / "adapter_config.json").unlink()
    make_run("codec", run)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    assert "is no earlier export" in refused(run, tmp_path / "thesis")
    (run / "model.safetensors").write_bytes(b"cut off")
    assert "the weights cannot be read" in refused(run, tmp_path / "export")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    assert "architectures names 'BertModel'" in refused(run, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_help_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\n"
        "from vqdna_cli.main import main\n"
        "assert main(['--help']) == main(['encode', '--help']) == 0\n"
        "heavy = ('torch', 'transformers', 'huggingface_hub', 'numpy', 'pyarrow', 'pysam', 'vqdna_hf')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=process_environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_card_from_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two seeds: their mean and sd, in the place that was asked for; a number of one's own is refused."""
    runs = [tuned(tmp_path / f"seed{seed}", seed=seed) for seed in (0, 1)]
    words = ["card", "my-lab/yeast", *map(str, runs), "--card-dir", str(tmp_path / "cards")]
    assert cli.main(words) == 0
    file = tmp_path / "cards" / "yeast.md"
    assert capsys.readouterr().out.strip() == str(file)
    assert "2 seeds" in file.read_text()
    assert cli.main([*words, "--summary", "Reaches an MCC of 0.99."]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "0.99" in shown.err


def test_the_whole_codec_goes_along(tmp_path: Path) -> None:
    make_run("codec", tmp_path / "codec")
    make_run("classifier", tmp_path / "tuned")
    words = ["export", str(tmp_path / "tuned"), str(tmp_path / "out"), "--codec", str(tmp_path / "codec")]
    assert cli.main(words) == 0
    assert_same_weights(tmp_path / "codec", tmp_path / "out" / "codec")


def test_adapters_are_merged_into_their_base(tmp_path: Path) -> None:
    """What stage 3 leaves with --use_lora becomes a plain model with the same answers."""
    make_run("classifier", tmp_path / "base")
    adapted = add_lora(VQDNAForSequenceClassification.from_pretrained(tmp_path / "base"), 2, 4, 0.0)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name or "classifier" in name:
                weight.add_(0.1)
    adapted.save_pretrained(tmp_path / "tuned")
    assert (tmp_path / "tuned" / "README.md").is_file(), "PEFT's own card, which is no card of the model"
    assert cli.main(["export", str(tmp_path / "tuned"), str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / "README.md").exists()
    ids = torch.tensor([[2, 5, 6, 7, 8, 8, 3]])
    with torch.no_grad():
        expected = adapted.eval()(input_ids=ids).logits
        found = VQDNAForSequenceClassification.from_pretrained(tmp_path / "out").eval()(ids).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
