"""Make docs/results.md of the records in benchmarks/results/evaluation/: no number in it is typed by hand.

python benchmarks/make_results.py            # writes docs/results.md
python benchmarks/make_results.py --check    # exit code 2 if that file is not what the records give
"""

import argparse
import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vqdna_hf.data.files import write_text
from vqdna_hf.evaluation.genome_codes import ROTATIONS
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
    """Mean and standard deviation as text; a mean alone for one value; nothing for none."""
    if not values:
        return ""
    text = f"{statistics.fmean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {statistics.stdev(values):.{digits}f}"


def by_name(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records of several seeds under one name, in the order of their first."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record["name"], []).append(record)
    return found


def probe_means(records: Sequence[Record], features: str, value: str = "matthews_correlation") -> list[float]:
    """For each record, the mean over the probed sets of 100 MCC; none where these features were not probed."""
    probes = [[one[features][value] for one in _probe(record).values() if features in one] for record in records]
    return [100 * statistics.fmean(values) for values in probes if values]


def _probe(record: Record) -> Mapping[str, Any]:
    return record["results"].get("probe", {})


def levels(records: Sequence[Record], form: str, of: Callable[[Record], Sequence[float]]) -> str:
    """One number a level, coarse to fine, the mean over records (seeds); nothing where a record lacks it."""
    try:
        rows = [of(record["results"]) for record in records]
    except KeyError:
        return ""
    return " / ".join(form.format(statistics.fmean(column)) for column in zip(*rows, strict=True))


CODEC_COLUMNS = [
    "vocabulary", "entries", "sees", "bases right", "used", "perplexity", "said by the 5-mer", "same on other strand",
    "codes moved", "probe: bag, cross-validated", "probe: bag", "probe: mean vector",
]  # fmt: skip


def codec_row(name: str, records: Sequence[Record]) -> list[str]:
    """One vocabulary: what it is, how it is used, what it means, how it moves, what a probe reads."""
    codec = records[0]["results"].get("codec")
    sizes = records[0]["results"]["sizes"] if codec is None else codec["codebook_sizes"]
    return [
        name,
        " / ".join(map(str, sizes)),
        "" if codec is None else str(codec["receptive_field"]),
        levels(records, "{:.3f}", lambda found: [found["reconstruction"]["accuracy"]]),
        levels(records, "{:.2f}", lambda found: [level["usage"] for level in found["usage"]]),
        levels(records, "{:.0f}", lambda found: [level["perplexity"] for level in found["usage"]]),
        levels(
            records, "{:.2f}", lambda found: [level["5"]["bits"] / level["5"]["entropy"] for level in found["kmers"]]
        ),
        levels(records, "{:.2f}", lambda found: [level["agreement"] for level in found["strand"]["levels"]]),
        levels(records, "{:.1f}", lambda found: [level["changed"] for level in found["stability"]["levels"]]),
        spread(probe_means(records, "bag", "cross_validated")),
        spread(probe_means(records, "bag")),
        spread(probe_means(records, "mean")),
    ]


def codec_notes(records: Sequence[Record]) -> str:
    """What the columns are, with the budget that the records tell."""
    train = max(one["bag"].get("train", 0) for record in records for one in _probe(record).values())
    genomes = sorted({record["results"]["genome"]["name"] for record in records if "genome" in record["results"]})
    sets = sorted({name for record in records for name in _probe(record)})
    return (
        f"One number a level, coarse to fine, measured on {', '.join(genomes) or 'no genome'}. *sees*: bases the last "
        "level's code sees; *bases right*: reconstruction accuracy; *used*, *perplexity*: of the codebook; *said by "
        "the 5-mer*: mutual information of a code with the 5-mer around its base (less what chance gives), as a share "
        "of the code's entropy: 1 is a code that is a function of it; *same on other strand*: how often a place has "
        "the same code there; *codes moved* by one substitution, on average; *probe*: MCC of logistic regression, its "
        f"strength chosen by cross-validation, on how often each code occurs, or on the mean code vector, mean over "
        f"{len(sets)} sets of GUE ({train} training sequences of each at most); *cross-validated* is within these "
        "training sequences, so what vocabularies are chosen by, the others are on the test sets."
    )


def codec_section(records: Sequence[Record]) -> str:
    """Vocabularies by themselves, a table a section of the study."""
    if unknown := {record["results"]["section"] for record in records} - set(TITLES):
        raise ValueError(f"records of the sections {', '.join(sorted(unknown))}; there are {', '.join(TITLES)}")
    text = ["## Vocabularies by themselves", "", codec_notes(records), ""]
    # The codec that others change in one thing stands above them.
    changed_in_nothing = [one for one in records if "codec" in one["results"] and not one["results"].get("changes")]
    for section, title in TITLES.items():
        chosen = [record for record in records if record["results"]["section"] == section]
        if not chosen:
            continue
        beside = [] if section == "control" else [one for one in changed_in_nothing if one not in chosen]
        rows = [codec_row(name, of_name) for name, of_name in by_name([*beside, *chosen]).items()]
        text += [f"### {title}", "", markdown_table(CODEC_COLUMNS, rows), "", budget(chosen), ""]
    if annotated := [record for record in records if record["results"].get("annotation")]:
        text += [annotation_table(annotated), ""]
    if leaks := [record for record in records if "leak" in record["results"]]:
        text += [leak_table(leaks), ""]
    text += [probe_table([record for record in records if _probe(record)]), ""]
    return "\n".join(text)


def budget(records: Sequence[Record], trained: Sequence[Record] | None = None) -> str:
    """What a table cost, and what makes it again; the bases are those of the training of `trained`, or of all."""
    commands = sorted({_whole_study(record["command"]) for record in records})
    seeds = sorted({seed for record in records for seed in record["seeds"]})
    bases = sorted({record["bases_seen"] for record in trained or records if record["bases_seen"]})
    seconds = sum(record["seconds"] or 0 for record in records)
    numbers = dict.fromkeys(f"{number / 1e6:.1f} M" for number in bases)
    seen = f"; bases seen in training: {' or '.join(numbers)}" if bases else ""
    machines = sorted({record["machine"]["gpu"] or record["machine"]["processor"] for record in records})
    return (
        f"`{'`, `'.join(commands)}`; seeds {', '.join(map(str, seeds))}{seen}; {seconds / 60:.0f} minutes in all "
        f"({', '.join(machines)})."
    )


def _whole_study(command: str) -> str:
    """The command without what chooses one entry and seed of a study."""
    return re.sub(r" --(only|seeds)( (?!-)\S+)+", "", command)


TRACKS = {"phase": "codon position", "exon": "exon", "intron": "intron", "tss": "start of transcription"}


def annotation_table(records: Sequence[Record]) -> str:
    """Mutual information with annotation, beside that of k-mers at the same places; in brackets what is no evidence."""
    words = ["3", "5"]

    def bits(of_name: Sequence[Record], track: str, k: str | None) -> str:
        found = []
        for record in of_name:
            (one,) = record["results"]["annotation"].values()
            measured = one["tracks"][track]
            found.append(measured["levels"] if k is None else [measured["controls"][k]])
        return " / ".join(_bits(column) for column in zip(*found, strict=True))

    controls = [[f"{k}-mers", *(bits(records[:1], track, k) for track in TRACKS)] for k in words]
    rows = [[name, *(bits(of_name, track, None) for track in TRACKS)] for name, of_name in by_name(records).items()]
    return (
        "### What codes tell of annotation\n\nBits of mutual information of a code, or of the word around a base, with "
        "the annotation of that base, less what chance gives at independent places. In brackets: no more than the "
        f"largest of {ROTATIONS} rotations of the annotation against the genome gives, so no evidence of anything.\n\n"
        f"{markdown_table(['vocabulary', *TRACKS.values()], [*controls, *rows])}"
    )


def _bits(seeds: Sequence[Mapping[str, float]]) -> str:
    """The mean over seeds, in brackets where that of the largest rotations reaches it."""
    mean = statistics.fmean(one["bits"] for one in seeds)
    by_rotation = statistics.fmean(one["rotated_max"] for one in seeds)
    return f"{mean:.4f}" if mean > by_rotation else f"({mean:.4f})"


def leak_table(records: Sequence[Record]) -> str:
    """How well a small predictor names hidden bases, by what is hidden."""
    accuracies: dict[str, Callable[[Record], Sequence[float]]] = {
        "commonest base": lambda found: [found["leak"]["commonest"]],
        "nucleotides hidden": lambda found: [found["leak"]["nucleotide"]["accuracy"]],
        "codes hidden": lambda found: [found["leak"]["code"]["accuracy"]],
    }
    rows = [
        [name, *(levels(of_name, "{:.3f}", of) for of in accuracies.values())]
        for name, of_name in by_name(records).items()
    ]
    return (
        "### The leak of masked codes\n\nAccuracy of a small predictor on hidden bases: where the *codes* are hidden, "
        f"their neighbours give the bases away.\n\n{markdown_table(['vocabulary', *accuracies], rows)}"
    )


def probe_table(records: Sequence[Record]) -> str:
    """The probe on bags of codes, set by set."""
    sets = list(dict.fromkeys(name for record in records for name in _probe(record)))
    rows = []
    for name, of_name in by_name(records).items():
        cells = [
            [100 * _probe(record)[one]["bag"]["matthews_correlation"] for record in of_name if one in _probe(record)]
            for one in sets
        ]
        without = probe_means(of_name, "bag", "matthews_correlation_without_overlap")
        means = probe_means(of_name, "bag") if all(cells) else []
        rows.append([name, *map(spread, cells), spread(means), spread(without if all(cells) else [])])
    columns = ["vocabulary", *sets, "mean", "mean without test sequences that stand in train"]
    return f"### The probe on bags of codes, set by set\n\n{markdown_table(columns, rows)}"


DEFAULT = "hrq"
"""The entry of the models study that other sections change in one thing: it stands above theirs."""


def model_section(records: Sequence[Record]) -> str:
    """Models with one vocabulary or another: pre-training, then MCC on each set; a table a section of the study.

    Raises:
        ValueError: if a model was fine-tuned on a set in more than one way, or there is nothing of its pre-training.
    """
    pretraining = {record["name"]: record for record in records if record["kind"] == "pretraining"}
    rows = summarize_gue([record for record in records if record["kind"] == "gue"])["rows"]
    scores: dict[str, dict[str, Any]] = {}
    for row in rows:
        of_model = scores.setdefault(row["model"].partition(" (")[0], {})
        if row["set"] in of_model:
            raise ValueError(f"models: runs of {row['model']} on {row['set']} in more than one way: remove one of them")
        of_model[row["set"]] = row
    if unknown := set(scores) - set(pretraining):
        raise ValueError(f"models: no pretraining.json of {', '.join(sorted(unknown))}, which have runs on GUE")
    protocols = ", ".join(f"`{one}`" for one in sorted({row["protocol"] for row in rows}))
    sizes = [record["results"]["parameters"] for record in pretraining.values()]
    text = [
        "## Models on them",
        "One backbone, the same windows, and as many bases for every model: what a learned vocabulary saw in its own "
        "training, others see more of in theirs. Parameters without prediction heads: within "
        f"{100 * (max(sizes) / min(sizes) - 1):.1f} % of each other. One pre-training of each, so ± is what "
        f"fine-tuning alone varies: MCC under the protocol {protocols}, mean ± sd over its seeds. Collapsed runs in "
        "brackets; they count. *Hidden bases right* is each model's own task: overlapping words hide fewer places, "
        "words side by side runs of bases, so compare it among learned vocabularies only. *Without copies*: the mean "
        "without test sequences that also stand in train.",
    ]
    beside = DEFAULT if DEFAULT in pretraining else next(iter(pretraining))
    for section in dict.fromkeys(record["results"]["section"] for record in pretraining.values()):
        names = [name for name, record in pretraining.items() if record["results"]["section"] == section]
        shown = names if beside in names else [beside, *names]
        sets = list(dict.fromkeys(one for name in names for one in scores.get(name, {})))
        table = [_model_row(name, pretraining[name], scores.get(name, {}), sets) for name in shown]
        columns = ["model", "parameters", "bases seen", "hidden bases right", *sets, "mean", "without copies"]
        text += [f"### By {section}", markdown_table(columns, table)]
    return "\n\n".join([*text, budget(records, list(pretraining.values()))]) + "\n"


def _model_row(name: str, record: Record, scores: Mapping[str, Record], sets: Sequence[str]) -> list[str]:
    evaluation, parameters = record["results"]["evaluation"], record["results"]["parameters"]
    accuracy = evaluation.get("eval_masked_accuracy")
    complete = bool(sets) and all(one in scores for one in sets)
    found = [[scores[one][value] for one in sets if one in scores] for value in ("mean", "mean_without_overlap")]
    means = [f"{statistics.fmean(values):.1f}" if complete and None not in values else "" for values in found]
    return [
        name, f"{parameters / 1e6:.2f} M", f"{record['bases_seen'] / 1e6:.1f} M" if record["bases_seen"] else "",
        "" if accuracy is None else f"{accuracy:.3f}", *(_cell(scores.get(one)) for one in sets), *means,
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


SECTIONS: list[tuple[str, set[str], Callable[[Sequence[Record]], str]]] = [
    ("codecs", {"codec"}, codec_section),
    ("models", {"pretraining", "gue"}, model_section),
    ("gue", {"gue"}, gue_section),
    ("sars_cov_2", {"sars_cov_2"}, sars_section),
]
"""Folders of records, the kinds of these, and what is made of them."""


def entries_of(name: str) -> list[str]:
    """The entries of the study of that name, in its order; none if there is no such study."""
    path = STUDIES / f"{name}.yaml"
    sections = yaml.safe_load(path.read_text())["entries"].values() if path.is_file() else ()
    return [entry for section in sections for entry in section]


def in_order_of_study(name: str, records: Sequence[Record]) -> list[Record]:
    """Records in the order in which the study of that name has its entries; others behind them."""
    order = {entry: place for place, entry in enumerate(entries_of(name))}
    return sorted(records, key=lambda record: order.get(record["name"], len(order)))


def not_run(name: str, records: Sequence[Record]) -> str:
    """The entries of the study of that name that have no record, as a line; nothing if all have."""
    there = {record["name"] for record in records}
    missing = [entry for entry in entries_of(name) if entry not in there]
    return f"\nNot run: {', '.join(missing)}.\n" if missing else ""


def results_page(folder: Path = RECORDS) -> str:
    """The whole page. Sections without records, and entries of a study without, are named as not run.

    Args:
        folder: with a folder of records for each section.

    Raises:
        ValueError: if it has no records, or a section has records of another kind, two of one name and seed, or such
            as lack what the page tells.
    """
    parts, empty = [HEAD], []
    for name, kinds, make in SECTIONS:
        there = read_records(folder / name) if (folder / name).is_dir() else []
        records = in_order_of_study(name, [record for record in there if record["kind"] != "gue-summary"])
        if foreign := {record["kind"] for record in records} - kinds:
            raise ValueError(
                f"{folder / name}: records of the kind {', '.join(foreign)} are not made into a table here"
            )
        runs = Counter((record["name"], *record["seeds"]) for record in records if record["kind"] == "codec")
        if twice := [" ".join(map(str, run)) for run, times in runs.items() if times > 1]:
            raise ValueError(f"{folder / name}: more than one record of {', '.join(twice)}: remove all but one")
        if not records:
            empty.append(name)
            continue
        try:
            parts += [make(records), not_run(name, records)]
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / name}: a record lacks what the page tells of it ({error!r})") from error
    if len(parts) == 1:
        raise ValueError(f"{folder}: no records in {', '.join(name for name, _, _ in SECTIONS)} below it")
    return "\n".join([*parts, *([f"Without records: {', '.join(empty)}.\n"] if empty else [])])


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
    args.page.parent.mkdir(parents=True, exist_ok=True)
    write_text(args.page, page)
    print(args.page)
    return 0


if __name__ == "__main__":
    run_script(main)
