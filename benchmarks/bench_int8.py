"""What int8 weights cost in accuracy: a model in fp32 and quantized by torchao, on the same test set.

    python benchmarks/bench_int8.py --classifier vqdna-hrq --mlm runs/demo/mlm --data GUE/prom/prom_core_notata

The classifier answers the whole test set, the masked language model fills 15 % of the same sequences' nucleotides.
Without `--classifier`, the demo trains both for a few steps on simulated data, which shows that everything runs and
says nothing of real accuracy. Prints a table and writes it, as JSON and with what it was measured on, into
`benchmarks/results/`. Exits with 1 if a code differs between the two: the codec is not to be quantized.
"""

import argparse
import copy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchao
import transformers
from torch import Tensor
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, PreTrainedModel

from vqdna_hf.data import (
    IGNORE_INDEX,
    MaskedNucleotideCollator,
    NucleotideCollator,
    check_class_labels,
    encode_sequence,
    find_split_files,
    read_labelled,
)
from vqdna_hf.data.files import write_json
from vqdna_hf.evaluation import classification_metrics
from vqdna_hf.hub import int8_config, markdown_table
from vqdna_hf.model.tokenization_vqdna import MASK_ID
from vqdna_hf.training import run_script

ROOT = Path(__file__).resolve().parent.parent
MASK_PROBABILITY = 0.15


def batches(items: list[dict[str, Any]], collate: Any, size: int) -> Iterator[dict[str, Tensor]]:
    """The items in order."""
    for start in range(0, len(items), size):
        yield collate(items[start : start + size])


def read_test_set(folder: Path) -> list[dict[str, Any]]:
    """Ids, labels and, for the masks, a seed of each row of the test set."""
    files = find_split_files(folder)
    if "test" not in files:
        raise ValueError(f"{folder}: there is no test set")
    table = read_labelled(files["test"])
    labels = check_class_labels(table.labels or [], table.path)
    return [
        {"input_ids": encode_sequence(text, where=f"{table.path}, row {row}"), "labels": label, "seed": row}
        for row, (text, label) in enumerate(zip(table.sequences, labels, strict=True), start=1)
    ]


def weight_bytes(folder: Path) -> int:
    """The size of the weights on disk."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def load_both(kind: Any, folder: Path) -> tuple[PreTrainedModel, PreTrainedModel, dict[str, int]]:
    """The model in fp32, the model in int8 as saved and loaded again, and the bytes of both."""
    full = kind.from_pretrained(folder).eval()
    with tempfile.TemporaryDirectory() as temporary:
        kind.from_pretrained(folder, quantization_config=int8_config()).save_pretrained(temporary)
        small = kind.from_pretrained(temporary).eval()
        sizes = {"fp32": weight_bytes(folder), "int8": weight_bytes(Path(temporary))}
    return full, small, sizes


def answers(model: PreTrainedModel, data: list[dict[str, Tensor]]) -> tuple[list[Tensor], list[Tensor], float]:
    """Logits and codes of each batch, and the seconds of the logits."""
    logits, codes, seconds = [], [], 0.0
    with torch.inference_mode():
        for batch in data:
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            start = time.perf_counter()
            logits.append(model(**inputs).logits)
            seconds += time.perf_counter() - start
            codes.append(model.base_model.encode(**inputs).codes)
    return logits, codes, seconds


def masked_accuracy(logits: list[Tensor], data: list[dict[str, Tensor]]) -> float:
    """The share of right nucleotides where the input shows `[MASK]`."""
    right = total = 0
    for predicted, batch in zip(logits, data, strict=True):
        shown = (batch["labels"] != IGNORE_INDEX) & (batch["input_ids"] == MASK_ID)
        right += int((predicted.argmax(-1) == batch["labels"])[shown].sum())
        total += int(shown.sum())
    return right / total


def measure(task: str, kind: Any, folder: Path, data: list[dict[str, Tensor]]) -> tuple[dict[str, Any], bool]:
    """One row a figure: fp32, int8, and the difference. Also whether all codes are equal."""
    full, small, sizes = load_both(kind, folder)
    result: dict[str, Any] = {"MB of weights": {name: size / 1e6 for name, size in sizes.items()}}
    runs = {"fp32": answers(full, data), "int8": answers(small, data)}
    if task == "classifier":
        labels = np.concatenate([batch["labels"].numpy() for batch in data])
        scores = {name: classification_metrics(torch.cat(run[0]).numpy(), labels) for name, run in runs.items()}
        result |= {
            key: {name: score[key] for name, score in scores.items()} for key in ("matthews_correlation", "accuracy")
        }
    else:
        result["masked_accuracy"] = {name: masked_accuracy(run[0], data) for name, run in runs.items()}
    real = [torch.ones(len(b["input_ids"]), dtype=torch.bool) if task == "classifier" else b["attention_mask"].bool()
            for b in data]  # fmt: skip
    exact, rounded = (torch.cat([x[m] for x, m in zip(runs[n][0], real, strict=True)]) for n in ("fp32", "int8"))
    result["seconds"] = {name: run[2] for name, run in runs.items()}
    result["logits: largest difference"] = {"int8": float((exact - rounded).abs().max())}
    result["logits: mean difference"] = {"int8": float((exact - rounded).abs().mean())}
    result["logits: standard deviation"] = {"fp32": float(exact.std()), "int8": float(rounded.std())}
    result["answers that change"] = {"int8": float((exact.argmax(-1) != rounded.argmax(-1)).float().mean())}
    codes_equal = all(torch.equal(*pair) for pair in zip(runs["fp32"][1], runs["int8"][1], strict=True))
    result["codes that differ"] = {
        "int8": sum(int((a != b).sum()) for a, b in zip(runs["fp32"][1], runs["int8"][1], strict=True))
    }
    return result, codes_equal


def train_simulated(folder: Path, steps: int) -> tuple[Path, Path, Path]:
    """The demo on simulated data: classifier, masked language model, and the labelled set."""
    command = [sys.executable, str(ROOT / "examples" / "demo.py"), "--simulated", "--output_dir", str(folder / "demo")]
    command += ["--export_dir", str(folder / "model"), "--max_steps", str(steps)]
    if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
        raise ValueError(f"the demo failed: run `{' '.join(command[1:])}` to see why")
    return folder / "model", folder / "demo" / "mlm", folder / "demo" / "simulated_promoters"


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table, write the results, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", type=Path, help="folder of a fine-tuned classifier")
    parser.add_argument("--mlm", type=Path, help="folder of a masked language model")
    parser.add_argument("--data", type=Path, help="folder with a labelled test set that the classifier knows")
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=60, help="of each stage, when the demo trains the models")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "int8.json")
    options = parser.parse_args(arguments)
    if options.classifier and not options.data:
        raise ValueError("--classifier needs --data, the folder of its test set")
    with tempfile.TemporaryDirectory() as temporary:
        classifier, mlm, data = options.classifier, options.mlm, options.data
        if classifier is None:
            classifier, mlm, data = train_simulated(Path(temporary), options.steps)
        items = read_test_set(data)
        unlabelled = [{key: item[key] for key in ("input_ids", "seed")} for item in items]
        tasks = {"classifier": (AutoModelForSequenceClassification, classifier, NucleotideCollator(), items)}
        if mlm is not None:
            masks = MaskedNucleotideCollator(mask_probability=MASK_PROBABILITY)
            tasks["masked language model"] = (AutoModelForMaskedLM, mlm, masks, unlabelled)
        results, equal = {}, True
        for task, (kind, folder, collate, rows) in tasks.items():
            results[task], same = measure(task, kind, folder, list(batches(rows, collate, options.batch_size)))
            equal = equal and same
    where = f"{len(items)} sequences of {'SIMULATED promoters' if options.classifier is None else data.name}"
    versions = {module.__name__: module.__version__ for module in (torch, torchao, transformers)}
    report = {"measured on": where, "results": copy.deepcopy(results), "versions": versions}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, report)
    rows = [
        [task, figure, *(values.get(name, "") for name in ("fp32", "int8"))]
        for task, figures in results.items()
        for figure, values in figures.items()
    ]
    print(f"{where}; {', '.join(f'{name} {version}' for name, version in versions.items())}\n")
    print(markdown_table(["model", "figure", "fp32", "int8"], rows))
    return 0 if equal else 1


if __name__ == "__main__":
    run_script(main)
