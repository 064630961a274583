# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What codes know of SARS-CoV-2: which clade a lineage is of, and which mutations it has.

Reads the consensus genomes of Pango lineages as mutations of MN908947.3, encodes them, and measures: how coarse and
fine codes separate clades (silhouette, purity of neighbours, k-means against clades, on balanced draws) beside lists
of mutations, k-mers, an untrained codec and chance; the footprint of every mutation; and the substitutions of the
spike gene that move most coarse codes. Writes into the output folder a record (`sars_cov_2.json`), its summary
(`summary.md`, also printed), tables of mutations, and a picture; a second run computes only what is new.

    python examples/sars_cov_2.py --checkpoint runs/codec --data data/sars_cov_2 --output_dir runs/sars_cov_2
"""

import argparse
import logging
import os
import time
from pathlib import Path

from vqdna_hf.evaluation import CodecVocabulary, write_record
from vqdna_hf.evaluation.lineage_analysis import Separation, analyse_lineages, draw_lineages
from vqdna_hf.evaluation.lineage_summary import lineage_summary
from vqdna_hf.evaluation.lineages import LineageFiles, read_genes, read_lineages
from vqdna_hf.hub import write_text
from vqdna_hf.training import check_writable, run_script

DATA = Path(os.environ.get("VQDNA_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data") / "sars_cov_2"


def arguments() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="codec or language model: a folder or a Hub id")
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder with pango/ and nextclade/; default: %(default)s"
    )
    for name, what in (
        ("mutations", "table of the lineages' substitutions and deletions"),
        ("table", "table of the lineages' labels"),
        ("reference", "FASTA of one record"),
        ("genes", "GFF3"),
    ):
        parser.add_argument(f"--{name}", type=Path, help=f"{what}; default: the one in --data")
    parser.add_argument("--label", default="nextstrain_clade", help="column of the table that says the clade")
    parser.add_argument("--gene", default="S", help="whose substitutions are all tried")
    parser.add_argument("--clades", type=int, default=5, help="clades a draw")
    parser.add_argument("--per_clade", type=int, default=50, help="lineages of each")
    parser.add_argument("--draws", type=int, default=10, help="draws")
    parser.add_argument(
        "--per_clade_all", type=int, default=20, help="lineages of each where all large clades are drawn"
    )
    parser.add_argument("--draws_all", type=int, default=3, help="draws of all clades that are large enough; 0: none")
    parser.add_argument("--neighbours", type=int, default=5, help="of the purity")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tile", type=int, default=512, help="bases a language model reads at once")
    parser.add_argument("--device", default="auto")
    layouts = ["auto", "umap", "tsne", "pca", "none"]
    parser.add_argument("--layout", default="auto", choices=layouts, help="of the picture; none: no picture")
    parser.add_argument("--name", help="of the record; default: the checkpoint's folder")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/sars_cov_2"))
    return parser


def main() -> int:
    """Read, measure, write."""
    args = arguments().parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    start = time.perf_counter()
    check_writable(args.output_dir, "--output_dir")
    files = LineageFiles.in_folder(args.data)
    files = LineageFiles(*(getattr(args, name) or getattr(files, name) for name in LineageFiles.__annotations__))
    lineages = read_lineages(files, args.label)
    genes = read_genes(files.genes, lineages.reference)
    vocabulary = CodecVocabulary(args.checkpoint, device=args.device, name=args.name)
    separations = [Separation(args.clades, args.per_clade, args.draws)]
    if args.draws_all:
        separations.append(Separation(0, args.per_clade_all, args.draws_all))
    analysis = analyse_lineages(
        lineages, genes, vocabulary, gene=args.gene, separations=separations, neighbours=args.neighbours,
        seed=args.seed, tile=args.tile, cache=args.output_dir / "cache",
    )  # fmt: skip
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for name, table in (("mutations", analysis.mutations), ("gene", analysis.spike)):
        write_text(args.output_dir / f"{name}.tsv", table.round(4).to_csv(sep="\t", index=False))
    record = write_record(
        args.output_dir / "sars_cov_2.json", kind="sars_cov_2", name=vocabulary.name,
        results={**analysis.results, "seconds": analysis.seconds}, seeds=[args.seed],
        seconds=time.perf_counter() - start,
    )  # fmt: skip
    summary = lineage_summary(record["results"])
    write_text(args.output_dir / "summary.md", summary)
    print(summary)
    if args.layout != "none":
        picture = args.output_dir / "lineages.png"
        draw_lineages(picture, lineages, analysis.features, layout=args.layout, seed=args.seed)
    return 0


if __name__ == "__main__":
    run_script(main)
