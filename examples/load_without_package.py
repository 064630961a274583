"""Load an exported folder as a stranger does, where `vqdna_hf` cannot be imported, and evaluate it on a test set.

    python examples/load_without_package.py vqdna-hrq GUE/prom/prom_core_notata/test.csv

Prints one line of JSON: the classes that were loaded, the Matthews correlation on the whole test set, and how many
of the codebooks' entries its sequences use.
"""

import argparse
import csv
import json
import sys
from typing import Any


class RefuseThePackage:
    """First in the import path: makes `vqdna_hf` impossible to import, installed or not."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Refuse the package, leave everything else to the next finder."""
        if name.partition(".")[0] == "vqdna_hf":
            raise ImportError("vqdna_hf is not to be had in this process")


sys.meta_path.insert(0, RefuseThePackage())  # type: ignore[arg-type]

import torch  # noqa: E402
from sklearn.metrics import matthews_corrcoef  # noqa: E402
from transformers import (  # noqa: E402
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)


def main() -> None:
    """Load, predict, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("test_file")
    parser.add_argument("--batch_size", type=int, default=256)
    args = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(args.folder, trust_remote_code=True)
    model = AutoModel.from_pretrained(args.folder, trust_remote_code=True)
    classifier = AutoModelForSequenceClassification.from_pretrained(args.folder, trust_remote_code=True)
    with open(args.test_file, newline="") as stream:
        rows = list(csv.DictReader(stream))
    predictions: list[int] = []
    used: list[set[int]] = [set() for _ in model.config.codec_config.codebook_sizes]
    with torch.inference_mode():
        for start in range(0, len(rows), args.batch_size):
            batch = [row["sequence"] for row in rows[start : start + args.batch_size]]
            inputs = tokenizer(batch, padding=True, return_tensors="pt")
            predictions += classifier(**inputs).logits.argmax(-1).tolist()
            for level, codes in enumerate(model.encode(**inputs).codes.unbind(1)):
                used[level] |= set(codes[codes >= 0].tolist())
    report = {
        "classes": [type(model).__name__, type(classifier).__name__, type(tokenizer).__name__],
        "matthews_correlation": matthews_corrcoef([int(row["label"]) for row in rows], predictions),
        "codes_used": [len(codes) for codes in used],
        "codebook_sizes": list(model.config.codec_config.codebook_sizes),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
