"""Every Python block of the documentation runs, and prints what the documentation says it prints.

`vqdna-hrq` is a model of the tiny recipe's shape here, barely trained: shapes must agree to the letter; on lines
that show codes or probabilities, which depend on training, digits are not compared.
"""

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch
import yaml
from transformers import set_seed

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAForSequenceClassification
from vqdna_hf.hub import export

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["data", "training", "inference", "evaluation", "hub"]
PAGES = ["README.md", "examples/README.md", "docs/files.md", "docs/hub.md", "docs/speed.md", "docs/switches.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str, str | None]]:
    """(place, code, expected output) of every Python block; the output is the `text` block right behind it."""
    found = []
    for page in PAGES:
        blocks = list(BLOCK.finditer((ROOT / page).read_text()))
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            if block.group(1) != "python":
                continue
            text = (ROOT / page).read_text()
            near = following is not None and not text[block.end() : following.start()].strip()
            output = following.group(2) if following is not None and near and following.group(1) == "text" else None
            line = text[: block.start()].count("\n") + 1
            found.append((f"{page}:{line}", block.group(2), output))
    return found


def comparable(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return [re.sub(r"[\d.]+", "#", line) if line.startswith(("codes", "probab")) else line for line in lines]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `vqdna-hrq`."""
    folder = tmp_path_factory.mktemp("shelf")
    recipes = ROOT / "examples" / "recipes" / "tiny"
    set_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**yaml.safe_load((recipes / "codec.yaml").read_text())["codec_config"]))
    codec.train()(torch.randint(5, 9, (64, 128)))  # more positions than entries: equal entries would tie
    model_config = yaml.safe_load((recipes / "mlm.yaml").read_text())["model_config"]
    export(VQDNAForSequenceClassification.from_codec(codec, **model_config), folder / "vqdna-hrq")
    return folder


def test_the_readme_begins_with_an_example() -> None:
    assert len([place for place, _, output in examples() if place.startswith("README") and output]) >= 2


@pytest.mark.parametrize(("place", "code", "output"), examples(), ids=[place for place, _, _ in examples()])
def test_block_runs_and_prints(
    place: str, code: str, output: str | None, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shelf)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, place, "exec"), {"__name__": "__readme__"})
    if output is not None:
        assert comparable(printed.getvalue()) == comparable(output)


def test_first_screen() -> None:
    """One sentence, two commands, an example with its output, the three stages: in the first 60 lines."""
    first = "\n".join((ROOT / "README.md").read_text().splitlines()[:60])
    stages = ("run_codec.py", "run_mlm.py", "run_classification.py")
    for needed in ("make demo", "make test", "from_pretrained", "```text", *stages):
        assert needed in first
    assert "| test MCC, fine-tuned | 0." in (ROOT / "README.md").read_text(), "what the demo measured"


def test_docstrings_run() -> None:
    """Doctests of the whole package, collected here so that `pytest` alone runs them."""
    import doctest
    import importlib
    import pkgutil

    import vqdna_hf

    attempted = 0
    for module in pkgutil.walk_packages(vqdna_hf.__path__, "vqdna_hf."):
        result = doctest.testmod(importlib.import_module(module.name))
        assert result.failed == 0, module.name
        attempted += result.attempted
    assert attempted > 50


@pytest.mark.parametrize("module", ["vqdna_hf", *(f"vqdna_hf.{part}" for part in LAYERS)])
def test_every_public_name_has_an_example(module: str) -> None:
    import importlib
    import inspect

    public = importlib.import_module(module)
    values = {name: getattr(public, name) for name in public.__all__}
    documented = {name: value for name, value in values.items() if inspect.isclass(value) or inspect.isfunction(value)}
    assert documented
    assert [name for name, value in documented.items() if ">>> " not in (inspect.getdoc(value) or "")] == []
