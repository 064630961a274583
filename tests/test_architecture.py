"""The house rules, read off the source: import direction, what ships to the Hub, sizes, docstrings."""

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "vqdna_hf"
MODEL = sorted((PACKAGE / "model").glob("*.py"))
COMMAND = sorted((ROOT / "vqdna_cli").glob("*.py"))
SOURCES = sorted(
    [*PACKAGE.rglob("*.py"), *COMMAND, *(ROOT / "examples").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
)
# Each layer may import those to its right, and itself.
LAYERS = ["hub", "evaluation", "inference", "training", "data", "model"]
# Transformers needs all of them itself.
MODEL_THIRD_PARTY = {"torch", "transformers", "huggingface_hub", "tokenizers", "safetensors"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports_of(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """(relative level, module, names) of every import statement."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, []


def siblings_of(path: Path) -> set[str]:
    return {module for level, module, _ in imports_of(path) if level == 1}


@pytest.mark.parametrize("path", MODEL, ids=name_of)
def test_what_ships_to_the_hub_imports_only_siblings_torch_and_transformers(path: Path) -> None:
    for level, module, _ in imports_of(path):
        if level:
            # Transformers finds these by a regular expression: one file, one level, never `from . import x`.
            assert level == 1
            assert module
            assert "." not in module
        else:
            top = module.partition(".")[0]
            assert top in MODEL_THIRD_PARTY or top in sys.stdlib_module_names, module


@pytest.mark.parametrize("path", MODEL, ids=name_of)
def test_what_ships_to_the_hub_avoids_the_known_traps(path: Path) -> None:
    text = path.read_text()
    assert "from __future__ import annotations" not in text  # config_class would become a string
    imported = {f".{module}" for module in siblings_of(path)}
    for match in re.finditer(r"^\s*from\s+(\.\S*)\s+import", text, flags=re.MULTILINE):
        assert match.group(1) in imported, "looks like an import to Transformers' regular expression"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ClassDef):
            # The saver decides by that word.
            assert "Tokenizer" not in node.name or path.name == "tokenization_vqdna.py"


@pytest.mark.parametrize("entry", ["modeling_vqdna.py", "modeling_vqdna_codec.py"])
def test_modelling_files_name_every_file_they_need(entry: str) -> None:
    # Older versions of Transformers copy only direct imports of a local folder.
    direct = siblings_of(PACKAGE / "model" / entry)
    needed, queue = set(direct), list(direct)
    while queue:
        for module in siblings_of(PACKAGE / "model" / f"{queue.pop()}.py") - needed:
            needed.add(module)
            queue.append(module)
    assert needed == direct


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    if len(parts) == 1:
        return
    assert parts[0] in LAYERS
    allowed = LAYERS[LAYERS.index(parts[0]) :]
    for level, module, _ in imports_of(path):
        target = module.split(".")
        if level == 0 and target[0] == "vqdna_hf":
            assert len(target) > 1, "import the layer, not the package"
            assert target[1] in allowed, f"{parts[0]} must not import {target[1]}"
        assert level < 2, "a layer is imported by its full name"


@pytest.mark.parametrize("path", COMMAND, ids=name_of)
def test_the_command_starts_without_the_package(path: Path) -> None:
    """`vqdna --help` must be there at once: at the top of its files stand typer and the standard library alone."""
    for node in tree_of(path).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            top = name.partition(".")[0]
            assert top in {"typer", "vqdna_cli"} or top in sys.stdlib_module_names, name


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=name_of)
def test_examples_use_public_names_only(path: Path) -> None:
    for _, module, names in imports_of(path):
        if module.partition(".")[0] == "vqdna_hf":
            public = importlib.import_module(module).__all__
            assert set(names) <= set(public), f"{module}: {set(names) - set(public)}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 700
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, node.name


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_public_names_have_docstrings(path: Path) -> None:
    tree = tree_of(path)
    assert ast.get_docstring(tree), "the module"
    bodies: list[tuple[str, list[ast.stmt]]] = [("", tree.body)]
    bodies += [(node.name, node.body) for node in tree.body if isinstance(node, ast.ClassDef)]
    for owner, body in bodies:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{owner}.{node.name}"


def test_one_version() -> None:
    import vqdna_hf

    assert f'version = "{vqdna_hf.__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert vqdna_hf.__version__ in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_is_pinned() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("-", "_")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    project = (ROOT / "pyproject.toml").read_text()
    for name in re.findall(r'^\s+"([A-Za-z_-]+)(?:[><=][^"]*)?",?$', project, flags=re.MULTILINE):
        assert name.lower().replace("-", "_") in pinned | {"vqdna_hf"}, f"{name} has no exact version"
