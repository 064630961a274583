"""From FASTA to a fine-tuned model that loads anywhere, in minutes on two CPU cores (`make demo`).

Trains stages 1, 2 and 3 with the `tiny` recipe, and stage 3 once more from random weights as a control; writes the
folder `vqdna-hrq/`; loads it from another process in which this package cannot be imported; prints a table.

Real data are read from the folder that `VQDNA_DATA` names, or from `../shared/data` beside this repository. Without
either, genomes and promoters are simulated (see `vqdna_hf.data.simulate`), and every number is labelled so.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vqdna_hf import VQDNACodecModel, VQDNAForSequenceClassification
from vqdna_hf.data import Corpus, simulate_fasta, simulate_promoters
from vqdna_hf.hub import (
    check_export_folder,
    export,
    load_controls,
    load_runs,
    markdown_table,
    measured_results,
    model_card,
    write_card_files,
    write_json,
    write_text,
)
from vqdna_hf.training import load_pretrained, run_script

EXAMPLES = Path(__file__).resolve().parent
ROOT = EXAMPLES.parent
# One file a kingdom, and human at a higher weight: stage 3 reads human promoters.
GENOMES = [
    "genomes/fungi/Saccharomyces_cerevisiae_R64-1-1.fa.gz",
    "genomes/bacteria/Escherichia_coli_K12_MG1655.fa.gz",
    "genomes/human/Homo_sapiens_GRCh37_chr7_86-87M.fa.gz",
    "genomes/human/Homo_sapiens_GRCh38_chr9_1-1M.fa.gz",
    "genomes/human/Homo_sapiens_chr3_42M.fa.gz",
    "genomes/human/Homo_sapiens_chr5_124M.fa.gz",
    "genomes/human/Homo_sapiens_hg19_MHC_chr6_cox_hap2.fa.gz",
]
HELD_OUT = ["XVI", "GRCh37_chr7_*"]
WEIGHTS = {"genomes/human/*": 3.0}
SPLITS = ["train", "dev", "test"]
GUE_SETS = ["gue/prom/prom_core_notata", "gue/prom/prom_300_tata"]


@dataclass
class Inputs:
    """What the stages read, and how it is to be called."""

    kind: str
    genomes: list[str]
    labelled: str
    held_out: list[str]
    weights: dict[str, float]


def find_inputs(folder: Path, simulated: bool) -> Inputs:
    """The real data where they are, else simulated ones, made on the spot."""
    candidates = [os.environ.get("VQDNA_DATA"), str(ROOT.parent / "shared" / "data")]
    for data in [] if simulated else [Path(path) for path in candidates if path]:
        genomes = [str(data / name) for name in GENOMES if (data / name).is_file()]
        sets = [str(data / name) for name in GUE_SETS if (data / name / "train.csv").is_file()]
        if genomes and sets:
            # A pattern that matches nothing is refused, so only those of files that are there are passed on.
            names = {record["name"] for record in Corpus.open(genomes).summary()}
            held_out = [p for p in HELD_OUT if any(n.startswith(p.rstrip("*")) for n in names)]
            weights = {p: w for p, w in WEIGHTS.items() if any("/human/" in genome for genome in genomes)}
            return Inputs("real", genomes, sets[0], held_out, weights)
        if candidates[0]:
            raise ValueError(f"VQDNA_DATA={data} holds neither genomes nor a GUE set (see GENOMES and GUE_SETS)")
    genomes = []
    for number in range(2):
        path = folder / f"simulated_{number}.fa"
        simulate_fasta(path, num_bases=2_000_000, num_contigs=4, seed=number)
        genomes.append(str(path))
    simulate_promoters(folder / "simulated_promoters", num_train=8000, num_dev=1000, num_test=1000, seed=2)
    # So that the runs' records, and with them the card, say what these files are.
    names = [Path(path).name for path in genomes] + [f"simulated_promoters/{split}.csv" for split in SPLITS]
    rows = [f"{name}\tsimulated\tnone" for name in names]
    write_text(folder / "index.tsv", "\n".join(["file\tspecies\taccession", *rows]) + "\n")
    return Inputs("SIMULATED", genomes, str(folder / "simulated_promoters"), [], {})


class Stages:
    """Runs the scripts one after the other and keeps their times."""

    def __init__(self, extra: list[str]) -> None:
        self.extra = extra
        self.seconds: dict[str, float] = {}

    def run(self, name: str, script: str, *arguments: str) -> None:
        """One script in a process of its own, as a user would call it.

        Raises:
            ValueError: if it fails.
        """
        command = [sys.executable, str(EXAMPLES / script), *arguments, *self.extra]
        print(f"\n=== {name}\n$ {' '.join(command[1:])}", flush=True)
        start = time.perf_counter()
        code = subprocess.run(command, check=False).returncode
        if code == 130:
            raise KeyboardInterrupt
        if code:
            raise ValueError(f"{name} failed with exit code {code}: see the lines above")
        self.seconds[name] = time.perf_counter() - start


def train(inputs: Inputs, folder: Path, recipe: Path, stages: Stages) -> None:
    """The three stages, and the control."""
    corpus = ["--train_files", *inputs.genomes]
    if inputs.held_out:
        corpus += ["--held_out", *inputs.held_out]
    if inputs.weights:
        corpus += ["--weights", json.dumps(inputs.weights)]
    again = ["--overwrite_output_dir", "True"]
    stages.run(
        "stage 1: vocabulary", "run_codec.py", str(recipe / "codec.yaml"), *corpus,
        "--output_dir", str(folder / "codec"), *again,
    )  # fmt: skip
    stages.run(
        "stage 2: pre-training", "run_mlm.py", str(recipe / "mlm.yaml"), *corpus,
        "--codec_path", str(folder / "codec"), "--output_dir", str(folder / "mlm"), *again,
    )  # fmt: skip
    for name, run_name, extra in (
        ("stage 3: fine-tuning", "pretrained", []),
        ("stage 3: control, random weights", "random", ["--random_init", "True"]),
    ):
        stages.run(
            name, "run_classification.py", str(recipe / "classification.yaml"),
            "--model_name_or_path", str(folder / "mlm"), "--data_path", inputs.labelled,
            "--output_dir", str(folder / run_name), "--run_name", run_name, *extra, *again,
        )  # fmt: skip


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The rows of the table, from the files that the stages wrote."""
    runs = load_runs([folder / "pretrained"])
    results = measured_results(runs, load_controls(runs, [folder / "random"]))
    return [{"metric": row.label, "value": row.mean, "measured on": row.measured_on} for row in results]


def write_export(folder: Path, export_dir: Path, card_dir: Path, command: str) -> None:
    """The fine-tuned model as a Hub folder, and its card there and in `card_dir`."""
    run = folder / "pretrained"
    card = model_card(
        export_dir.name,
        [run],
        controls=[folder / "random"],
        summary=(
            "A tiny VQDNA-HRQ: a hierarchical residual vocabulary learned from genomes, a small encoder pre-trained on "
            "it, fine-tuned to tell promoters from other sequences."
        ),
        limits="A demonstration, trained on a CPU within minutes: not a model to rely on.",
        command=command,
    )
    codec = load_pretrained(VQDNACodecModel, folder / "codec")
    export(load_pretrained(VQDNAForSequenceClassification, run), export_dir, card, codec=codec)
    write_card_files(card, run, export_dir=export_dir, card_dir=card_dir)


def reload_elsewhere(inputs: Inputs, export_dir: Path, folder: Path) -> dict[str, Any]:
    """Load the export in a process without the package, and evaluate it there.

    Raises:
        ValueError: if it does not load.
    """
    environment = os.environ | {"HF_HOME": str(folder / "hf_home"), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / "load_without_package.py"), str(export_dir), f"{inputs.labelled}/test.csv"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode:
        raise ValueError(f"{export_dir} does not load without the package: {result.stderr[-2000:]}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def main() -> int:
    """Train, export, reload, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/demo"), help="the stages' own folders")
    parser.add_argument("--export_dir", type=Path, default=Path("vqdna-hrq"), help="the finished model")
    parser.add_argument("--card_dir", type=Path, help="where <name>.md of the card goes; default: output_dir")
    parser.add_argument("--recipe", type=Path, default=EXAMPLES / "recipes" / "tiny", help="folder of three recipes")
    parser.add_argument("--simulated", action="store_true", help="simulated data even where real ones are")
    args, extra = parser.parse_known_args()  # what is left goes to every stage, e.g. --max_steps 2

    check_export_folder(args.export_dir)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    inputs = find_inputs(args.output_dir, args.simulated)
    print(f"data: {inputs.kind}: {', '.join(Path(path).name for path in inputs.genomes)}; {inputs.labelled}")
    stages = Stages(extra)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, GPU: {torch.cuda.is_available()}")
    train(inputs, args.output_dir, args.recipe, stages)
    rows = read_results(args.output_dir)
    # With other flags, the card's commands of the single stages say it all.
    whole = "make demo" if inputs.kind == "real" else "python examples/demo.py --simulated"
    command = "" if extra or args.recipe != parser.get_default("recipe") else whole
    write_export(args.output_dir, args.export_dir, args.card_dir or args.output_dir, command)
    start = time.perf_counter()
    reloaded = reload_elsewhere(inputs, args.export_dir, args.output_dir)
    stages.seconds["reload in another process, without the package"] = time.perf_counter() - start
    rows.append(
        {
            "metric": "  the exported folder, reloaded elsewhere",
            "value": float(reloaded["matthews_correlation"]),
            "measured on": f"test set of {Path(inputs.labelled).name}",
        }
    )
    write_json(
        args.output_dir / "demo.json",
        {"data": inputs.kind, "results": rows, "seconds": stages.seconds, "reloaded": reloaded},
    )
    print(f"\n{markdown_table(['metric', 'value', 'measured on'], [list(row.values()) for row in rows])}")
    total = sum(stages.seconds.values())
    seconds = [[name, f"{value:.0f}"] for name, value in [*stages.seconds.items(), ("total", total)]]
    print(f"\n{markdown_table(['stage', 'seconds'], seconds)}")
    print(f"\nwrote {args.export_dir}/: load it with")
    print(f'  AutoModel.from_pretrained("{args.export_dir}", trust_remote_code=True)')
    return 0


if __name__ == "__main__":
    run_script(main)
