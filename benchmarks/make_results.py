"""Make docs/results.md of the records in benchmarks/results/evaluation/: no number in it is typed by hand.

python benchmarks/make_results.py            # writes docs/results.md
python benchmarks/make_results.py --check    # exit code 2 if that file is not what the records give
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vqdna_hf.data.files import write_text
from vqdna_hf.evaluation.gue_table import gue_table, summarize_gue
from vqdna_hf.evaluation.lineage_summary import lineage_summary
from vqdna_hf.evaluation.records import read_records
from vqdna_hf.hub.card_text import markdown_table
from vqdna_hf.training import run_script

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "benchmarks" / "results" / "evaluation"
PAGE = ROOT / "docs" / "results.md"
STUDIES = ROOT / "benchmarks" / "studies"

Record = Mapping[str, Any]

TITLES = {
    "control": "Controls",
    "objective": "Objectives",
    "size": "Codebook size",
    "dimension": "Width of code vectors",
    "levels": "Levels",
    "taps": "Where levels are tapped",
    "fusion": "Mean or sum of levels",
    "together": "What helped, together",
}

HEAD = """# Results

Made by `python benchmarks/make_results.py` of the records in `benchmarks/results/evaluation/`, one JSON a run; what
gave a record, the machine and the versions stand in it. MCC is Matthews' correlation times 100 on whole test sets.
Budgets are those of a CPU: what holds at this size need not hold at another.
"""


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean and standard deviation as text; a mean alone for one value."""
    text = f"{statistics.fmean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {statistics.stdev(values):.{digits}f}"


def by_name(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records of several seeds under one name, in the order of their first."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record["name"], []).append(record)
    return found


def probe_means(record: Record, features: str) -> float | None:
    """Mean over the probed sets of 100 MCC; None where these features were not probed."""
    values = [one[features]["matthews_correlation"] for one in record["results"]["probe"].values() if features in one]
    return 100 * statistics.fmean(values) if values else None


def levels(values: Sequence[Any], form: str) -> str:
    """One number a level, coarse to fine."""
    return " / ".join(form.format(value) for value in values)


def codec_row(name: str, records: Sequence[Record]) -> list[str]:
    """One vocabulary: what it is, how it is used, what it means, how it moves, what it leaks, what a probe reads."""
    first = records[0]["results"]
    bags = [value for record in records if (value := probe_means(record, "bag")) is not None]
    means = [value for record in records if (value := probe_means(record, "mean")) is not None]
    probes = [spread(bags) if bags else "", spread(means) if means else ""]
    if "usage" not in first:
        return [name, levels(first["sizes"], "{}"), *[""] * 8, *probes]
    usage, kmers, strand = first["usage"], first["kmers"], first["strand"]["levels"]
    phase = [track["phase"]["levels"] for one in first["annotation"].values() if "phase" in (track := one["tracks"])]
    return [
        name,
        levels(first["codec"]["codebook_sizes"], "{}"),
        str(first["codec"]["receptive_field"]),
        f"{first['reconstruction']['accuracy']:.3f}" if "reconstruction" in first else "",
        levels([level["usage"] for level in usage], "{:.2f}"),
        levels([level["perplexity"] for level in usage], "{:.0f}"),
        levels([level["5"]["bits"] / level["5"]["entropy_other"] for level in kmers], "{:.2f}"),
        levels([level["agreement"] for level in strand], "{:.2f}"),
        levels([level["changed"] for level in first["stability"]["levels"]], "{:.1f}"),
        levels([level["bits"] for level in phase[0]], "{:.3f}") if phase else "",
        *probes,
    ]


CODEC_COLUMNS = [
    "vocabulary", "entries", "sees", "bases right", "used", "perplexity", "5-mer known", "same on other strand",
    "codes moved", "phase, bits", "probe: bag", "probe: mean vector",
]  # fmt: skip

CODEC_NOTES = """
One number a level, coarse to fine. *sees*: bases the last level's code sees; *bases right*: reconstruction accuracy;
*used*, *perplexity*: of the codebook, on a genome that training did not see; *5-mer known*: mutual information of a
code with the centred 5-mer, as a share of the 5-mer's entropy (less what chance gives); *same on other strand*: how
often a place has the same code there; *codes moved* by one substitution, on average; *phase*: mutual information with
the codon position in coding sequence; *probe*: MCC of logistic regression on how often each code occurs, or on the mean
code vector, mean over all complete GUE sets (6,000 training sequences each, whole test sets).
"""


def codec_section(records: Sequence[Record]) -> str:
    """Vocabularies by themselves, a table a section of the study."""
    text = ["## Vocabularies by themselves", CODEC_NOTES.strip(), ""]
    for section, title in TITLES.items():
        chosen = [record for record in records if record["results"]["section"] == section]
        if not chosen:
            continue
        rows = [codec_row(name, of_name) for name, of_name in by_name(chosen).items()]
        text += [f"### {title}", "", markdown_table(CODEC_COLUMNS, rows), "", budget(chosen), ""]
    if leaks := [record for record in records if "leak" in record["results"]]:
        text += [leak_table(leaks), ""]
    text += [probe_table(records), ""]
    return "\n".join(text)


def budget(records: Sequence[Record]) -> str:
    """What a table cost, and what makes it again."""
    commands = sorted({" ".join(record["command"].split()[:3]) for record in records})
    seeds = sorted({seed for record in records for seed in record["seeds"]})
    bases = sorted({record["bases_seen"] for record in records if record["bases_seen"]})
    seconds = sum(record["seconds"] or 0 for record in records)
    seen = f"; bases seen in training: {' or '.join(f'{number / 1e6:.1f} M' for number in bases)}" if bases else ""
    machines = sorted({record["machine"]["gpu"] or record["machine"]["processor"] for record in records})
    return (
        f"`{'`, `'.join(commands)}`; seeds {', '.join(map(str, seeds))}{seen}; {seconds / 60:.0f} minutes in all "
        f"({', '.join(machines)})."
    )


def leak_table(records: Sequence[Record]) -> str:
    """How well a small predictor names hidden bases, by what is hidden."""
    rows = []
    for name, of_name in by_name(records).items():
        leak = of_name[0]["results"]["leak"]
        rows.append(
            [name, *(f"{value:.3f}" for value in (
                leak["commonest"], leak["nucleotide"]["accuracy"], leak["code"]["accuracy"]
            ))]
        )  # fmt: skip
    columns = ["vocabulary", "commonest base", "nucleotides hidden", "codes hidden"]
    return (
        "### The leak of masked codes\n\nAccuracy of a small predictor on hidden bases: where the *codes* are hidden, "
        f"their neighbours give the bases away.\n\n{markdown_table(columns, rows)}"
    )


def probe_table(records: Sequence[Record]) -> str:
    """The probe on bags of codes, set by set."""
    sets = list(dict.fromkeys(name for record in records for name in record["results"]["probe"]))
    rows = []
    for name, of_name in by_name(records).items():
        values = [
            [100 * record["results"]["probe"][one]["bag"]["matthews_correlation"] for record in of_name] for one in sets
        ]
        rows.append([name, *map(spread, values), f"{statistics.fmean(map(statistics.fmean, values)):.1f}"])
    return f"### The probe on bags of codes, set by set\n\n{markdown_table(['vocabulary', *sets, 'mean'], rows)}"


def model_section(records: Sequence[Record]) -> str:
    """Models with one vocabulary or another: pre-training, then MCC on each set; a table a section of the study."""
    pretraining = {record["name"]: record for record in records if record["kind"] == "pretraining"}
    rows = summarize_gue([record for record in records if record["kind"] == "gue"])["rows"]
    scores: dict[str, dict[str, Any]] = {}
    for row in rows:
        scores.setdefault(row["model"].partition(" (")[0], {})[row["set"]] = row
    protocols = ", ".join(f"`{one}`" for one in sorted({row["protocol"] for row in rows}))
    text = [
        "## Models on them",
        "Equal backbone, windows, steps and parameters (within 3 %, prediction heads left out); fine-tuned under the "
        f"protocol {protocols}, MCC mean ± sd over seeds. Collapsed runs in brackets.",
    ]
    reference = next(iter(pretraining))
    for section in dict.fromkeys(record["results"]["section"] for record in pretraining.values()):
        names = [name for name, record in pretraining.items() if record["results"]["section"] == section]
        shown = names if reference in names else [reference, *names]
        sets = list(dict.fromkeys(one for name in names for one in scores.get(name, {})))
        table = [_model_row(name, pretraining[name], scores.get(name, {}), sets) for name in shown]
        columns = ["model", "parameters", "bases seen", "hidden bases right", *sets, "mean"]
        text += [f"### By {section}", markdown_table(columns, table)]
    return "\n\n".join([*text, budget(records)]) + "\n"


def _model_row(name: str, record: Record, scores: Mapping[str, Record], sets: Sequence[str]) -> list[str]:
    evaluation, parameters = record["results"]["evaluation"], record["results"]["parameters"]
    accuracy = evaluation.get("eval_masked_nucleotide_accuracy", evaluation.get("eval_nucleotide_accuracy"))
    complete = bool(sets) and all(one in scores for one in sets)
    return [
        name, f"{parameters / 1e6:.2f} M", f"{record['bases_seen'] / 1e6:.1f} M" if record["bases_seen"] else "",
        "" if accuracy is None else f"{accuracy:.3f}", *(_cell(scores.get(one)) for one in sets),
        f"{statistics.fmean([scores[one]['mean'] for one in sets]):.1f}" if complete else "",
    ]  # fmt: skip


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    return spread(row["values"]) + (f" ({row['collapsed']} collapsed)" if row["collapsed"] else "")


def gue_section(records: Sequence[Record]) -> str:
    """Checkpoints on GUE beside published numbers."""
    return f"## GUE\n\n{gue_table(summarize_gue(records))}\n{budget(records)}\n"


def sars_section(records: Sequence[Record]) -> str:
    """The analysis of lineages, as its own rules put it."""
    parts = [f"{lineage_summary(record['results'])}\n\n{budget([record])}" for record in records]
    return "## SARS-CoV-2\n\n" + "\n\n".join(parts) + "\n"


SECTIONS: list[tuple[str, Callable[[Sequence[Record]], str]]] = [
    ("codecs", codec_section),
    ("models", model_section),
    ("gue", gue_section),
    ("sars_cov_2", sars_section),
]
"""Folders of records, and what is made of them."""


def in_order_of_study(name: str, records: Sequence[Record]) -> list[Record]:
    """Records in the order in which the study of that name has its entries; others behind them."""
    path = STUDIES / f"{name}.yaml"
    entries = yaml.safe_load(path.read_text())["entries"].values() if path.is_file() else ()
    order = {entry: place for place, entry in enumerate(entry for section in entries for entry in section)}
    return sorted(records, key=lambda record: order.get(record["name"], len(order)))


def results_page(folder: Path = RECORDS) -> str:
    """The whole page; sections without records are left out.

    Args:
        folder: with a folder of records for each section.
    """
    parts = [HEAD]
    for name, make in SECTIONS:
        records = in_order_of_study(name, read_records(folder / name) if (folder / name).is_dir() else [])
        if records:
            parts.append(make(records))
    return "\n".join(parts)


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 2 if the page is out of date")
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    page = results_page(args.records)
    if args.check:
        if not args.page.is_file() or args.page.read_text() != page:
            raise ValueError(f"{args.page} is not what the records give: run python benchmarks/make_results.py")
        return 0
    write_text(args.page, page)
    print(args.page)
    return 0


if __name__ == "__main__":
    run_script(main)
