"""The demo, whole but short, on simulated data: it runs, and every number in its table is one that was measured."""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import matthews_corrcoef
from transformers import set_seed

from vqdna_hf import VQDNACodecModel, VQDNAForMaskedLM
from vqdna_hf.data import Corpus, MaskedNucleotideCollator, NucleotideCollator, TiledDataset
from vqdna_hf.hub import validate_card
from vqdna_hf.training import list_checkpoints

ROOT = Path(__file__).resolve().parent.parent
CARD_ROW = re.compile(r"^\| (.+?) \| (-?\d[\d.]*) \|  \| 0 \| .+? \|$", flags=re.MULTILINE)
ROW = re.compile(r"^\| (.+?) \| ([\d.-]+) \| (.+?) \|$", flags=re.MULTILINE)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(folder, what was printed) of a demo of 50 steps a stage."""
    folder = tmp_path_factory.mktemp("demo")
    command = [
        sys.executable, str(ROOT / "examples" / "demo.py"), "--simulated", "--output_dir", str(folder / "runs"),
        "--export_dir", str(folder / "vqdna-hrq"), "--max_steps", "50", "--disable_tqdm", "True", "--use_cpu", "True",
    ]  # fmt: skip
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "2"}, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return folder, result.stdout


def table(printed: str) -> dict[str, float]:
    return {name.strip(): float(value) for name, value, _ in ROW.findall(printed)}


def held_out(folder: Path) -> TiledDataset:
    """The held-out windows, found anew as the recipe's seed finds them."""
    corpus = Corpus.open([str(path) for path in sorted((folder / "runs").glob("simulated_*.fa"))])
    _, validation = corpus.split(fraction=0.05, seed=0, min_bases=128)
    return TiledDataset(validation, window=128, max_samples=512)


def test_table_is_what_the_stages_measured(run: tuple[Path, str]) -> None:
    folder, printed = run
    rows = table(printed)
    codec = json.loads((folder / "runs/codec/eval_results.json").read_text())
    mlm = json.loads((folder / "runs/mlm/eval_results.json").read_text())
    tuned = json.loads((folder / "runs/pretrained/results/pretrained/eval_results.json").read_text())
    control = json.loads((folder / "runs/random/results/random/eval_results.json").read_text())
    assert rows["codebook usage, level 1 of 1024"] == pytest.approx(codec["eval_codebook_usage_level1"], abs=1e-4)
    assert rows["codebook perplexity, level 2 of 2048"] == pytest.approx(
        codec["eval_codebook_perplexity_level2"], abs=1e-4
    )
    assert rows["masked nucleotide accuracy"] == pytest.approx(mlm["eval_masked_accuracy"], abs=1e-4)
    assert rows["always the commonest base"] == pytest.approx(mlm["eval_commonest_base_accuracy"], abs=1e-4)
    assert rows["test MCC, fine-tuned"] == pytest.approx(tuned["eval_matthews_correlation"], abs=1e-4)
    assert rows["the same from random weights"] == pytest.approx(control["eval_matthews_correlation"], abs=1e-4)
    assert "SIMULATED" in printed
    assert len(re.findall(r"^\| stage .* \| \d+ \|$", printed, flags=re.MULTILINE)) == 4


def test_codebook_numbers_anew(run: tuple[Path, str]) -> None:
    folder, printed = run
    codec = VQDNACodecModel.from_pretrained(folder / "runs/codec")
    dataset = held_out(folder)
    batch = NucleotideCollator()([dataset[index] for index in range(len(dataset))])
    with torch.no_grad():
        codes = codec.encode(**batch).codes
    for level, size in enumerate((1024, 2048)):
        _, counts = np.unique(codes[:, level][codes[:, level] >= 0].numpy(), return_counts=True)
        share = counts / counts.sum()
        rows = table(printed)
        # Latents differ in the last bits between batch shapes, so a code in ten thousand may differ.
        assert rows[f"codebook usage, level {level + 1} of {size}"] == pytest.approx(len(counts) / size, abs=0.01)
        assert rows[f"codebook perplexity, level {level + 1} of {size}"] == pytest.approx(
            np.exp(-(share * np.log(share)).sum()), rel=0.01
        )


def test_masked_accuracy_anew(run: tuple[Path, str]) -> None:
    folder, printed = run
    set_seed(0)
    model = VQDNAForMaskedLM.from_pretrained(folder / "runs/mlm")
    dataset = held_out(folder)
    batch = MaskedNucleotideCollator()([dataset[index] for index in range(len(dataset))])
    hidden = (batch["input_ids"] == 4) & (batch["labels"] >= 0)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    right = (logits.argmax(-1) == batch["labels"])[hidden].float().mean().item()
    commonest = batch["labels"][hidden].bincount().max().item() / hidden.sum().item()
    rows = table(printed)
    assert rows["masked nucleotide accuracy"] == pytest.approx(right, abs=2e-3)
    assert rows["always the commonest base"] == pytest.approx(commonest, abs=1e-4)
    # Fifty steps are enough to beat the commonest base on data with planted structure.
    assert right > commonest


def test_mcc_anew(run: tuple[Path, str]) -> None:
    folder, printed = run
    with open(folder / "runs/pretrained/results/pretrained/predictions.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    mcc = matthews_corrcoef([int(row["label"]) for row in rows], [int(row["prediction"]) for row in rows])
    assert table(printed)["test MCC, fine-tuned"] == pytest.approx(mcc, abs=1e-4)
    assert table(printed)["the exported folder, reloaded elsewhere"] == pytest.approx(mcc, abs=1e-2)
    with open(folder / "runs/simulated_promoters/test.csv", newline="") as stream:
        assert [row["sequence"] for row in csv.DictReader(stream)] == [row["sequence"] for row in rows]


def test_export_is_whole(run: tuple[Path, str]) -> None:
    folder, _ = run
    names = {path.name for path in (folder / "vqdna-hrq").iterdir()}
    assert {"README.md", "config.json", "model.safetensors", "modeling_vqdna.py", "tokenizer.json"} <= names
    card = (folder / "vqdna-hrq" / "README.md").read_text()
    assert card == (folder / "runs" / "vqdna-hrq.md").read_text()
    assert not list_checkpoints(folder / "vqdna-hrq")


def test_card_says_what_the_stages_measured(run: tuple[Path, str]) -> None:
    folder, printed = run
    text = (folder / "vqdna-hrq" / "README.md").read_text()
    card = validate_card(text)
    tuned = json.loads((folder / "runs/pretrained/results/pretrained/eval_results.json").read_text())
    measured = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert measured == {
        "matthews_correlation": tuned["eval_matthews_correlation"],
        "f1": tuned["eval_f1"],
        "accuracy": tuned["eval_accuracy"],
    }
    # The table that the demo printed and the card's are of the same numbers.
    in_card = {name.strip(): float(value) for name, value in CARD_ROW.findall(text)}
    reloaded = "the exported folder, reloaded elsewhere"
    assert in_card == {name: value for name, value in table(printed).items() if name != reloaded}
    assert len(in_card) == 14


def test_card_says_what_was_read(run: tuple[Path, str]) -> None:
    folder, _ = run
    text = (folder / "vqdna-hrq" / "README.md").read_text()
    first = text.split("---\n", 2)[2].splitlines()[:4]
    assert any("SIMULATED" in line and "knows no biology" in line for line in first)
    for name in ("simulated_0.fa", "simulated_1.fa", "simulated_promoters/train.csv"):
        path = folder / "runs" / name
        row = next(line for line in text.splitlines() if f"| {path.name} |" in line)
        assert "| none | simulated |" in row
        assert hashlib.sha256(path.read_bytes()).hexdigest()[:16] in row
    bases = [int(value.replace(",", "")) for value in re.findall(r"([\d,]+) (?:bases to learn from|held out)", text)]
    assert sum(bases) == 2 * 2_000_000
    steps = re.findall(r"^\| stage [123]: [a-z-]+(?:, control from random weights)? \| 0 \| .*? \| 50 \| ([\d,]+) \|",
                       text, flags=re.MULTILINE)  # fmt: skip
    assert steps[:2] == ["409,600", "204,800"]  # 50 steps of 64 and of 32 windows of 128 bases
