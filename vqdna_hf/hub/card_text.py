"""The sections of a model card, as Markdown; every number in them comes from the records of the runs."""

import itertools
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vqdna_hf.model.patching_vqdna import SPARE_PATCHES
from vqdna_hf.training.provenance import PARENT_ARGUMENTS, STAGES

from .prose import boasts
from .runs import STAGE_NAMES, Record, Result, Run, dataset_name

PAPER_CITATION = """@inproceedings{li2024vqdna,
  title={VQDNA: Unleashing the Power of Vector Quantization for Multi-Species Genomic Sequence Modeling},
  author={Li, Siyuan and Wang, Zedong and Liu, Zicheng and Wu, Di and Tan, Cheng and Zheng, Jiangbin and
          Huang, Yufei and Li, Stan Z.},
  booktitle={International Conference on Machine Learning},
  year={2024},
  note={arXiv 2405.10812}
}"""
PIPELINE_TAGS = {
    "VQDNACodecModel": "feature-extraction",
    "VQDNAModel": "feature-extraction",
    "VQDNAForMaskedLM": "fill-mask",
    "VQDNAForSequenceClassification": "text-classification",
    "VQDNAForTokenClassification": "token-classification",
}
_AUTO_CLASSES = {
    "fill-mask": "AutoModelForMaskedLM",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
}
_SMALL = 50_000_000  # parameters; published genome models begin at about this size
_NOT_RECORDED = "not recorded"
_EXAMPLE = "GGGCTATAAAAGGCGCGGAGCCTCATTGCA"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; floats are shown with four digits, and texts as they are: none can add a cell, a row or HTML.

    >>> print(markdown_table(["level", "usage"], [[1, 0.5]]))
    | level | usage |
    |---|---|
    | 1 | 0.5000 |
    """

    def show(value: Any) -> str:
        return f"{value:.4f}" if isinstance(value, float) else escape(str(value))

    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    return "\n".join(lines + [f"| {' | '.join(show(value) for value in row)} |" for row in rows])


def escape(text: str) -> str:
    """A name as plain text of one line, whatever Markdown or HTML it holds.

    >>> print(escape("a|b <b>" + chr(10) + "`c`"))
    a\\|b \\<b> \\`c\\`
    """
    return re.sub(r"([\\|<`\[])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """A name as code inside a sentence; a backtick in it does not end it.

    >>> code("a`b")
    "`a'b`"
    """
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"


def block(text: str, language: str) -> str:
    """A block of code, with a fence that is longer than any in the text.

    >>> print(block("make demo", "bash"))
    ```bash
    make demo
    ```
    """
    fence = "`" * (max([2, *map(len, re.findall("`+", text))]) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def is_simulated(run: Run) -> bool:
    """Whether any file behind a run was simulated."""
    return any(row["simulated"] for _, record in run.chain() for row in record["data"])


def opening(name: str, run: Run, summary: str) -> str:
    """Title, what kind of thing it is, and the warning about simulated data."""
    model = run.record["model"]
    config = model["config"]
    sizes = (config.get("codec_config") or config).get("codebook_sizes", [])
    books = f"{len(sizes)} codebooks" if len(sizes) > 1 else "one codebook"
    warning = (
        "> **SIMULATED DATA.** Trained on sequences that a program made up: this model knows no biology, and its "
        "numbers say nothing about real genomes.\n\n"
        if is_simulated(run)
        else ""
    )
    kind = (
        f"A VQDNA model (`{model['class']}`, {model['parameters']:,} parameters) for DNA, with a vocabulary learned "
        f"from genomes: {books} of {', '.join(f'{size:,}' for size in sizes)} entries. {_positions(config)}"
    )
    return f"# {name}\n\n{warning}{summary.strip()}\n\n{kind}" if summary.strip() else f"# {name}\n\n{warning}{kind}"


def _stride(config: Mapping[str, Any]) -> int:
    """Nucleotides a code, of a recorded configuration."""
    return int((config.get("codec_config") or config).get("codec_stride", 1))


def _positions(config: Mapping[str, Any]) -> str:
    if (stride := _stride(config)) == 1:
        return "One position is one nucleotide."
    answers = "" if config.get("codec_config") is None else ", and answers are per nucleotide all the same"
    return f"One code stands for {stride} nucleotides{answers}."


def use(name: str, run: Run) -> str:
    """How to load it, with a pinned revision."""
    tag = PIPELINE_TAGS[run.record["model"]["class"]]
    is_codec = run.record["stage"] == "codec"
    auto = _AUTO_CLASSES.get(tag)
    names = ["AutoModel", *([auto] if auto else []), "AutoTokenizer", *([] if is_codec else ["pipeline"])]
    arguments = f'"{name}", revision=revision, trust_remote_code=True'
    stride = _stride(run.record["model"]["config"])
    each = "" if stride == 1 else f"; {stride} of each code"
    one_for = "" if stride == 1 else f"; one for {stride} nucleotides"
    lines = [
        f"from transformers import {', '.join(names)}",
        "",
        'revision = "<commit>"  # the hash of the commit that you have looked at',
        f"tokenizer = AutoTokenizer.from_pretrained({arguments})",
        f'inputs = tokenizer("{_EXAMPLE}", return_tensors="pt")',
        f"model = AutoModel.from_pretrained({arguments})",
    ]
    if is_codec:
        lines += [
            "codes = model.encode(**inputs).codes  # (batch, levels, positions), coarse to fine; -1 at special tokens",
            f"bases = model.decode(codes).argmax(-1)  # 0 to 3 for A, C, G, T{each}",
        ]
    else:
        lines += [
            "output = model(**inputs)",
            "output.last_hidden_state  # behind [CLS]: hidden state i + 1 belongs to nucleotide i",
            f"output.codes  # the codes of the learned vocabulary, (batch, levels, positions), coarse to fine{one_for}",
            "",
        ]
        text = _EXAMPLE[:6] + "[MASK]" + _EXAMPLE[7:] if tag == "fill-mask" else _EXAMPLE
        more = ', targets=list("ACGT")' if tag == "fill-mask" else ""
        if auto:
            lines += [f"model = {auto}.from_pretrained({arguments})", "logits = model(**inputs).logits"]
        lines += [f'pipe = pipeline("{tag}", model={arguments})', f'print(pipe("{text}"{more}))']
    note = (
        "**Pin a revision.** The folder brings Python code that runs on your machine (`trust_remote_code=True`). With "
        '`revision="<commit>"` you get the code and the weights that you have looked at, whatever is pushed later.'
    )
    return f"## Use\n\n{block(chr(10).join(lines), 'python')}\n\n{note}"


def intended_use(more: str) -> str:
    """For what, and for what not."""
    return (
        "## Intended use\n\n"
        "Research on sequences: codes and embeddings of DNA, fine-tuning on labelled sequences, comparison of "
        "methods.\n\n"
        "Out of scope: any clinical use (diagnosis, treatment, the interpretation of a patient's variants), the "
        "identification of persons or their ancestry, and the design of sequences for release."
        + (f"\n\n{more.strip()}" if more.strip() else "")
    )


def data(run: Run) -> str:
    """A row a file: accession, species, records, bases, weight, checksum."""
    corpora: dict[str, tuple[dict[str, Any], list[str]]] = {}
    labelled: list[list[Any]] = []
    for _, record in run.chain():
        stage = STAGE_NAMES[record["stage"]].partition(":")[0]
        for row in record["data"]:
            if "split" in row:
                labelled.append(_labelled_row(record, row))
            else:
                corpora.setdefault(json.dumps(row, sort_keys=True), (row, []))[1].append(stage.removeprefix("stage "))
    parts = ["## Data"]
    if corpora:
        rows = [[*_corpus_row(row), ", ".join(stages)] for row, stages in corpora.values()]
        header = "file,accession,species,records,bases,held-out records,held-out bases,weight,SHA-256,stages"
        parts.append(markdown_table(header.split(","), rows))
        seen = {row["sha256"]: row for row, _ in corpora.values()}
        learned, kept = (sum(row[name] for row in seen.values()) for name in ("train_bases", "held_out_bases"))
        parts.append(
            f"{len(seen):,} file{'s' if len(seen) > 1 else ''}, {learned:,} bases to learn from, {kept:,} held out "
            "(whole records, or the end of one behind a gap). Where no accession is known, the names of the records "
            "stand in its place. A file of weight 2 is read twice as often per base as one of weight 1."
        )
    if labelled:
        header = "data set,file,accession,species,split,sequences,used,bases used,SHA-256"
        parts.append(markdown_table(header.split(","), labelled))
    for name in run.unrecorded():
        parts.append(f"It starts from {code(name)}, whose own data are not recorded here.")
    return "\n\n".join(parts)


def _corpus_row(row: Mapping[str, Any]) -> list[Any]:
    records = row["train_records"] + row["held_out_records"]
    shown = [name for name in row["names"] if not boasts(name)]
    names = ", ".join(shown) + (", ..." if records > len(shown) else "")
    weight = row["weight"] if isinstance(row["weight"], str) else f"{row['weight']:g}"
    counts = [row["train_records"], row["train_bases"], row["held_out_records"], row["held_out_bases"]]
    return [
        row["file"],
        row["accession"] or (f"records {names}" if shown else "unknown"),
        row["species"] or "unknown",
        *(f"{count:,}" for count in counts),
        weight,
        _short(row["sha256"]),
    ]


def _labelled_row(record: Record, row: Mapping[str, Any]) -> list[Any]:
    return [
        dataset_name(record),
        row["file"],
        row["accession"] or "unknown",
        row["species"] or "unknown",
        row["split"],
        *(f"{row[name]:,}" for name in ("sequences", "used_sequences", "used_bases")),
        _short(row["sha256"]),
    ]


def _short(sha256: str | None) -> str:
    return sha256[:16] if sha256 else _NOT_RECORDED


def results(rows: Sequence[Result], runs: Sequence[Run], controls: Sequence[Run]) -> str:
    """The table, how many seeds stand behind it, and what the control says."""
    table = markdown_table(
        ["metric", "value", "sd", "seeds", "measured on"],
        [
            [row.label, row.mean, "" if row.sd is None else row.sd, ", ".join(map(str, row.seeds)), row.measured_on]
            for row in rows
        ],
    )
    if len(runs) > 1:
        seeds = (
            f"Mean and sample standard deviation (sd) over {len(runs)} seeds; rows with one seed belong to a run that "
            f"all others started from. The weights here are those of seed {runs[0].record['seed']}."
        )
    else:
        seeds = f"One seed ({runs[0].record['seed']}): how much another seed would change is not known."
    parts = ["## Results", table, seeds]
    if collapsed := _collapsed(controls):
        parts.append(
            f"The control collapsed (seeds {', '.join(map(str, collapsed))}): it gave every test sequence the same "
            "class, so it is no measure of what pre-training is worth."
        )
    elif sentence := _against_control(rows):
        parts.append(sentence)
    parts.append("Every number was read from the files of the runs; none was typed in.")
    return "\n\n".join(parts)


def _collapsed(runs: Sequence[Run]) -> list[int]:
    """The seeds of the runs that gave every test sequence the same class."""
    return [
        run.record["seed"]
        for run in runs
        for name, measured in run.record["results"].items()
        if name.startswith("results/") and measured.get("eval_collapsed")
    ]


def _against_control(rows: Sequence[Result]) -> str:
    pairs = [
        (own, other) for own, other in itertools.pairwise(rows) if other.control and other.stage == "classification"
    ]
    if not pairs:
        return ""
    own, other = pairs[0]
    if own.mean <= other.mean:
        return "The same architecture from random weights did as well: on this task pre-training has not helped."
    spread = max(own.sd or 0.0, other.sd or 0.0)
    if min(len(own.numbers), len(other.numbers)) < 2:
        return "It did better than the same architecture from random weights; one seed cannot say by how much."
    size = "by more than" if own.mean - other.mean > spread else "but by less than"
    return f"It did better than the same architecture from random weights, {size} one standard deviation (sd)."


def training(run: Run, runs: Sequence[Run], controls: Sequence[Run], command: str) -> str:
    """What was run, and the commands that reproduce it."""
    rows, notes = [], []
    for place, record, kind in _all_records(runs, controls):
        training, versions = record["training"], record["versions"]
        rows.append(
            [
                STAGE_NAMES[record["stage"]] + kind,
                record["seed"],
                f"{record['model']['trainable']:,} of {record['model']['parameters']:,}",
                f"{training['steps']:,}",
                *(_NOT_RECORDED if training[name] is None else f"{training[name]:,}" for name in ("bases", "seconds")),
                f"{training['processes']} x {training['device']}",
                ", ".join(f"{name} {versions[name]}" for name in ("vqdna_hf", "torch", "transformers")),
            ]
        )
        notes += [_session(place, session) for session in record.get("sessions", [])]
    header = ["run", "seed", "parameters trained", "steps", "bases seen", "seconds", "on", "versions"]
    parts = ["## Training", markdown_table(header, rows)]
    if notes:
        parts.append("\n".join(notes))
    if command.strip():
        parts.append(f"All of it is one command:\n\n{block(command.strip(), 'bash')}\n\nStage by stage:")
    else:
        parts.append("To reproduce it (file names stand for their paths on your machine):")
    parts.append(block("\n".join(_commands(run)), "bash"))
    if len(runs) > 1:
        parts.append(f"The other runs differ in `--seed` alone: {', '.join(str(r.record['seed']) for r in runs)}.")
    return "\n\n".join(parts)


def _all_records(runs: Sequence[Run], controls: Sequence[Run]) -> Iterator[tuple[str, Record, str]]:
    """Every record once, the earliest stage first; controls last."""
    seen = set()
    depths = max(len(run.chain()) for run in runs)
    for depth in range(depths):
        for run in runs:
            place, record = run.chain()[depth]
            if (key := json.dumps(record["weights"], sort_keys=True)) not in seen:
                seen.add(key)
                yield place, record, ""
    for control in controls:
        yield str(control.folder), control.record, ", control from random weights"


def _session(place: str, session: Mapping[str, Any]) -> str:
    changed = "; ".join(
        f"{escape(name)} was {escape(json.dumps(before))}, then {escape(json.dumps(after))}"
        for name, (before, after) in session["changed"].items()
    )
    stage = place.rpartition("> ")[2].rpartition("/")[0] or place
    unknown = "" if session["recorded"] else "; what came before is not recorded"
    step = f"{session['first_step']:,}"
    return f"- {code(stage)} was resumed behind step {step}{'; ' + changed if changed else ''}{unknown}."


def _commands(run: Run) -> list[str]:
    """One command a recorded stage, the earliest first."""
    lines = []
    for _, record in run.chain():
        name = record.get("name") or run.folder.resolve().name
        lines.append(reproduce(record, f"runs/{name}"))
    return lines


def reproduce(record: Record, output_dir: str) -> str:
    """The command line that runs a stage as its record says.

    Args:
        record: of a run.
        output_dir: of the new run.

    Returns:
        A line for the shell; file names stand for paths, and folders of earlier stages are looked for in `runs/`.

    Example:

    >>> record = {"stage": "codec", "recipe": {"seed": 1, "train_files": ["a.fa"]}, "training": {"processes": 1},
    ...           "parents": []}
    >>> reproduce(record, "runs/codec")
    'python examples/run_codec.py --output_dir runs/codec --seed 1 --train_files a.fa'
    """
    processes = record["training"]["processes"]
    words = ["python"] if processes == 1 else ["torchrun", "--nproc_per_node", str(processes)]
    words += [f"examples/{STAGES[record['stage']]}", "--output_dir", output_dir]
    recorded = {parent["name"] for parent in record["parents"] if parent["recorded"]}
    for name in sorted(record["recipe"]):
        value = record["recipe"][name]
        if value is None:
            continue
        if name in PARENT_ARGUMENTS and value in recorded:
            value = f"runs/{value}"
        words.append(f"--{name}")
        words += [str(item) for item in value] if isinstance(value, list) else [
            json.dumps(value) if isinstance(value, dict) else str(value)
        ]  # fmt: skip
    return shlex.join(words)


def limits(rows: Sequence[Result], run: Run, runs: Sequence[Run], more: str) -> str:
    """What the records say it cannot do, and what a person adds."""
    model, lines = run.record["model"], []
    if is_simulated(run):
        lines.append("Its data are simulated: it is a test of the machinery, and of nothing else.")
    if model["parameters"] < _SMALL:
        lines.append(
            f"It is small ({model['parameters']:,} parameters). Such a model cannot be expected to score variants, to "
            "find elements that lie far apart, or to carry over to clades that it has not read."
        )
    positions = model["config"].get("max_position_embeddings")
    codec = model["config"].get("codec_config") or model["config"]
    if positions:
        stride = _stride(model["config"])
        tokens = positions if stride == 1 else (positions - SPARE_PATCHES) * stride
        lines.append(f"It reads at most {tokens - 2:,} nucleotides at once.")
    if codec.get("receptive_field"):
        where = "around its position" if (s := _stride(codec)) == 1 else f"its own {s} and those around them"
        lines.append(f"A code depends on {codec['receptive_field']} nucleotides{',' if s > 1 else ''} {where}.")
    for row in run.record["data"]:
        if row.get("split") == "train" and row["used_sequences"] < row["sequences"]:
            lines.append(
                f"It learned from {row['used_sequences']:,} of {row['sequences']:,} training sequences: its score is "
                "no benchmark's score."
            )
    if collapsed := _collapsed(runs):
        lines.append(
            f"**Collapsed** (seeds {', '.join(map(str, collapsed))}): every test sequence got the same class, so the "
            "test metrics mean nothing."
        )
    if max((len(row.numbers) for row in rows), default=0) < 3:
        lines.append("Fewer than three seeds: differences between models may be chance.")
    text = "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)
    return f"{text}\n\n{more.strip()}" if more.strip() else text


def citation(version: str, licence: str) -> str:
    """Licence, the paper, and this implementation."""
    own = (
        "@software{vqdna_hf,\n"
        "  title={vqdna_hf: VQDNA for Transformers},\n"
        "  author={{The vqdna_hf authors}},\n"
        f"  version={{{version}}},\n"
        "  note={An independent implementation; the authors of the paper released neither code nor weights}\n"
        "}"
    )
    return (
        f"## Licence\n\n{licence}. The data keep the licences of their sources.\n\n"
        f"## Citation\n\nThe method:\n\n```bibtex\n{PAPER_CITATION}\n```\n\n"
        f"This implementation:\n\n```bibtex\n{own}\n```"
    )
