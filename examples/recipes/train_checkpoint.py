"""Train one of the models in `checkpoints/`: corpus, vocabulary, pre-training, export.

    python examples/recipes/train_checkpoint.py vqdna-hrq-tiny --data data --output checkpoints/vqdna-hrq-tiny
    python examples/recipes/train_checkpoint.py small --data data --output checkpoints/vqdna-hrq-small --minutes 9

What is done is not done again, and what was interrupted goes on: with `--minutes` training comes in slices, each the
same command, until it prints that the model is written. The work folder, `runs/RECIPE`, is all that a slice needs of
those before. Flags that are not listed here go to both training scripts.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml

from vqdna_hf import VQDNACodecModel, VQDNAForMaskedLM
from vqdna_hf.hub import export, model_card, write_json
from vqdna_hf.training import load_pretrained, run_script

RECIPES = Path(__file__).resolve().parent
CORPUS = RECIPES / "vqdna-hrq-tiny" / "corpus.yaml"
INTERRUPTED = 130


class OutOfTime(Exception):
    """The slice is over; everything is saved."""


class Slice:
    """Runs commands until the time is up, then asks them to save and stop.

    Args:
        minutes: how long; None for as long as it takes.
    """

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    def run(self, what: str, *command: str) -> None:
        """Run a Python command to its end.

        Raises:
            OutOfTime: if it did not come to its end in time.
            ValueError: if it failed; it has said why.
        """
        process = subprocess.Popen([sys.executable, *command])
        try:
            process.wait(None if self._end is None else max(self._end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait()
        if process.returncode in (INTERRUPTED, -signal.SIGTERM):
            raise OutOfTime
        if process.returncode:
            raise ValueError(f"the {what} failed, exit code {process.returncode}")


def write_manifest(recipe: Path, data: Path, work: Path) -> Path:
    """The recipe's corpus.yaml, or that of vqdna-hrq-tiny, about the files below `data`."""
    source = recipe / "corpus.yaml" if (recipe / "corpus.yaml").is_file() else CORPUS
    manifest = yaml.safe_load(source.read_text())
    for entry in manifest["inputs"]:
        entry["files"] = str(data.resolve() / entry["files"])
    target = work / "corpus.yaml"
    target.write_text(yaml.safe_dump(manifest, sort_keys=False))
    return target


def build_corpus(piece: Slice, recipe: Path, data: Path, work: Path, window: int) -> Path:
    """Windows as Parquet, in the shares of the manifest."""
    corpus = work / "corpus"
    if not (corpus / "corpus.json").is_file():
        manifest = write_manifest(recipe, data, work)
        words = ["corpus", "build", str(manifest), "--window", str(window), "-o", str(corpus)]
        piece.run("corpus", "-m", "vqdna_cli.main", *words)
    return corpus


def train(piece: Slice, script: str, recipe: Path, output: Path, *flags: str) -> Path:
    """A stage, unless it is done."""
    if not (output / "eval_results.json").is_file():
        path = str(RECIPES.parent / f"{script}.py")
        piece.run(
            output.name, path, str(recipe), "--output_dir", str(output), "--resume_from_checkpoint", "True", *flags
        )
    return output


def write_checkpoint(codec: Path, mlm: Path, output: Path) -> None:
    """The Hub folder: the backbone in bf16, the codec in fp32, for rounded weights would say other codes."""
    model = load_pretrained(VQDNAForMaskedLM, mlm)
    codec_state = {name: value.clone() for name, value in model.vqdna.codec.state_dict().items()}
    model = model.to(torch.bfloat16)
    model.vqdna.codec.float().load_state_dict(codec_state)
    export(model, output, model_card(output.name, [mlm]), codec=load_pretrained(VQDNACodecModel, codec))
    config = json.loads((output / "config.json").read_text())
    write_json(output / "config.json", config | {"dtype": "float32"})  # what is loaded computes in fp32


def main() -> int:
    """Go on where the last call stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a folder of examples/recipes with codec.yaml and mlm.yaml")
    parser.add_argument("--data", type=Path, required=True, help="the folder that corpus.yaml's paths are below")
    parser.add_argument("--output", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, help="folder of corpus and runs; default: runs/RECIPE")
    parser.add_argument("--minutes", type=float, help="stop and save after so long")
    args, extra = parser.parse_known_args()
    recipe, work = RECIPES / args.recipe, args.work or Path("runs") / args.recipe
    for stage in ("codec", "mlm"):
        if not (recipe / f"{stage}.yaml").is_file():
            known = sorted(path.parent.name for path in RECIPES.glob("*/mlm.yaml"))
            raise ValueError(f"{args.recipe}: no such recipe; there are {', '.join(known)}")
    work.mkdir(parents=True, exist_ok=True)
    piece = Slice(args.minutes)
    window = yaml.safe_load((recipe / "mlm.yaml").read_text())["window"]
    try:
        corpus = build_corpus(piece, recipe, args.data, work, window)
        flags = ["--train_files", str(corpus), *extra]
        codec = train(piece, "run_codec", recipe / "codec.yaml", work / "codec", *flags)
        mlm = train(piece, "run_mlm", recipe / "mlm.yaml", work / "mlm", "--codec_path", str(codec), *flags)
    except OutOfTime:
        print(f"time is up, {work} is saved: the same command goes on")
        return INTERRUPTED
    write_checkpoint(codec, mlm, args.output)
    print(f"{args.output} is written")
    return 0


if __name__ == "__main__":
    run_script(main)
