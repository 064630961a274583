"""Model cards, written from the files of finished runs: what was not measured cannot get in."""

import importlib.util
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, constants
from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.repocard_data import model_index_to_eval_results
from huggingface_hub.utils import get_session, validate_repo_id
from safetensors import SafetensorError, safe_open

from vqdna_hf.data.files import write_text
from vqdna_hf.training.finetuning import ADAPTED_CONFIG, ADAPTERS, load_adapter
from vqdna_hf.training.provenance import weights_sha256
from vqdna_hf.training.saved import saved_class

from . import card_text
from .card_text import PIPELINE_TAGS
from .prose import check_name, check_prose, number_tokens
from .publishable import read_config
from .runs import Result, Run, dataset_name, load_controls, load_run, load_runs, measured_results

# The identifiers of https://huggingface.co/docs/hub/repositories-licenses that a model of this package can have.
HUB_LICENSES = {
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0",
    "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1",
    "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "lppl-1.3c",
    "ms-pl", "mpl-2.0", "odc-by", "odbl", "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense",
    "zlib", "pddl", "lgpl-lr", "unknown",
}  # fmt: skip
_SECTIONS = ("Use", "Intended use", "Data", "Results", "Training", "Limits", "Licence", "Citation")
_TAGS = ["dna", "genomics", "vqdna", "vq-vae", "custom_code"]
# Of a configuration, what says how a model answers; the codec's is compared as a whole, but for these keys.
_SETTINGS = ("id2label", "problem_type", "classifier_pooling", "average_strands")
_NOT_COMPARED = ("_name_or_path", "architectures", "auto_map", "custom_pipelines", "dtype", "transformers_version")
_MERGED = 1e-6  # merging adapters again may round otherwise
_HEADING = re.compile(r"^## (.+)$", flags=re.MULTILINE)

Folder = str | os.PathLike[str]


def model_card(
    name: str,
    runs: Sequence[Folder],
    *,
    controls: Sequence[Folder] = (),
    summary: str = "",
    limits: str = "",
    use: str = "",
    command: str = "",
    license: str = "apache-2.0",
    datasets: Sequence[str] = (),
    base_model: str | None = None,
) -> str:
    """Write a card from finished runs; no number is an argument.

    Args:
        name: of the repository, `organisation/name`, or of a local folder.
        runs: folders of finished runs that differ in the seed alone. The card is for the weights of the first one;
            values are means over all.
        controls: folders of runs with `--random_init True`, otherwise equal.
        summary: what the model is for, in a sentence or two.
        limits: what it cannot do, besides what its records say.
        use: more about what it is for.
        command: one that does all of it, such as `make demo`.
        license: an identifier of the Hub's.
        datasets: ids on the Hub, if the data stand there too.
        base_model: id on the Hub; default: what the runs started from, if that was a model on the Hub.

    Returns:
        Markdown with metadata in front, the results as a `model-index`. (The Hub's newer `.eval_results/` files are
        for data sets that are registered there as benchmarks; the data sets here are not.)

    Raises:
        ValueError: if a run cannot be used (see `load_runs`, `load_controls`, `look_up`), the name, license or an id is
            none of the Hub's, or a text or a name holds a number of its own (see `check_prose`, `check_name`).

    Example:

    >>> model_card("organisation/model", [])
    Traceback (most recent call last):
    ...
    ValueError: a card needs a finished run: give at least one folder
    """
    loaded = load_runs(runs)
    compared = load_controls(loaded, controls)
    rows = measured_results(loaded, compared)
    _check_names(name, loaded[0], datasets, base_model)
    texts = {"summary": summary, "limits": limits, "use": use, "command": command}
    tokens = _allowed_tokens(name, loaded, compared, rows)
    for where, text in texts.items():
        check_prose(text, tokens, where)
    metadata = _metadata(name, loaded[0], rows, license, datasets, base_model)
    sections = _sections(name, loaded, compared, rows, texts, license)
    card = f"---\n{metadata.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"
    validate_card(card)
    return card


def _sections(
    name: str,
    runs: Sequence[Run],
    controls: Sequence[Run],
    rows: Sequence[Result],
    texts: Mapping[str, str],
    license: str,
) -> list[str]:
    run = runs[0]
    return [
        card_text.opening(name, run, texts["summary"]),
        card_text.use(name, run),
        card_text.intended_use(texts["use"]),
        card_text.data(run),
        card_text.results(rows, runs, controls),
        card_text.training(run, runs, controls, texts["command"]),
        card_text.limits(rows, run, runs, texts["limits"]),
        card_text.citation(run.record["versions"]["vqdna_hf"], license),
    ]


def _allowed_tokens(name: str, runs: Sequence[Run], controls: Sequence[Run], rows: Sequence[Result]) -> set[str]:
    """The numbers that a person's sentences may repeat: of everything that the card says, but not of its results."""
    run = runs[0]
    return number_tokens(
        card_text.opening(name, run, ""),
        card_text.data(run),
        card_text.training(run, runs, controls, ""),
        card_text.limits(rows, run, runs, ""),
        f"{len(runs)} seeds",
        *(row.measured_on for row in rows),
    )


def _check_names(name: str, run: Run, datasets: Sequence[str], base_model: str | None) -> None:
    """No name that the card shows, of a repository or of a data set, boasts."""
    _check_file_name(name)
    for repository in (*datasets, *([base_model] if base_model else [])):
        validate_repo_id(repository)
    for where, text in (("name", name), *(("datasets", dataset) for dataset in datasets), ("base_model", base_model)):
        check_name(text or "", where)
    for place, record in run.chain():
        for parent in record["parents"]:
            if not parent["recorded"]:
                check_name(parent["name"], f"{place}: parents")
        if record["stage"] == "classification":
            check_name(dataset_name(record), f"{place}: data set")
        for row in record["data"]:
            for key in ("file", "accession", "species"):
                check_name(row[key], f"{place}: {key}")


def _check_file_name(name: str) -> None:
    validate_repo_id(name)
    if name.rpartition("/")[2].lower().removesuffix(".md") == "readme":
        raise ValueError(f"{name!r} would be kept as README.md, which is no card of a model: choose another name")


def _metadata(
    name: str,
    run: Run,
    rows: Sequence[Result],
    license: str,
    datasets: Sequence[str],
    base_model: str | None,
) -> ModelCardData:
    """What the Hub reads. No language: `dna` is an ISO code too, of a language that people speak."""
    on_hub = [parent for parent in run.unrecorded() if parent.count("/") == 1]
    base_model = base_model or (on_hub[-1] if on_hub else None)
    own = [row for row in rows if row.stage == run.record["stage"] and not row.control]
    return ModelCardData(
        license=license,
        library_name="transformers",
        pipeline_tag=PIPELINE_TAGS[run.record["model"]["class"]],
        tags=[*_TAGS, *(["simulated-data"] if card_text.is_simulated(run) else [])],
        datasets=list(datasets) or None,
        base_model=base_model,
        metrics=list(dict.fromkeys(row.metric for row in own)),
        model_name=name.rpartition("/")[2],
        eval_results=[_eval_result(row, run) for row in own],
    )


def _eval_result(row: Result, run: Run) -> EvalResult:
    """The model's own results only: what the runs behind it measured is another model's."""
    is_test = row.stage == "classification"
    arguments: dict[str, Any] = {"seeds": row.seeds}
    if row.sd is not None:
        arguments |= {"aggregation": "mean", "standard_deviation": row.sd}
    if row.metric == "f1":
        arguments["average"] = "macro"
    return EvalResult(
        task_type=PIPELINE_TAGS[run.record["model"]["class"]],
        dataset_type=dataset_name(run.record) if is_test else "held-out-sequences",
        dataset_name=row.measured_on,
        dataset_split="test" if is_test else "held-out",
        metric_type=row.metric,
        metric_name=row.label.strip(),
        metric_value=row.mean,
        metric_args=arguments,
    )


def validate_card(text: str) -> ModelCard:
    """Check a card without the network: metadata that the Hub understands and that survive a round trip.

    Args:
        text: the whole card.

    Returns:
        The card as `huggingface_hub` reads it.

    Raises:
        ValueError: if there are no metadata, they do not survive being read and written, the license is none of the
            Hub's, the task is unknown, a result is no finite number, or a section is missing.

    Example:

    >>> validate_card("# A model")
    Traceback (most recent call last):
    ...
    ValueError: the card has no metadata: it must begin with a block of YAML between two lines ---
    """
    block = REGEX_YAML_BLOCK.search(text)
    if block is None:
        raise ValueError("the card has no metadata: it must begin with a block of YAML between two lines ---")
    try:
        metadata = yaml.safe_load(block.group(2))
        card = ModelCard(text)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ValueError(f"the card's metadata cannot be read: {error}") from error
    if card.data.license not in HUB_LICENSES:
        raise ValueError(f"license {card.data.license!r} is none of the Hub's identifiers, such as apache-2.0 or mit")
    if card.data.pipeline_tag not in PIPELINE_TAGS.values():
        raise ValueError(f"pipeline_tag {card.data.pipeline_tag!r} is no task of these models")
    if not metadata.get("model-index"):
        raise ValueError("the card has no results (model-index): a card without a measured number says nothing")
    _, results = model_index_to_eval_results(metadata["model-index"])
    for result in results:
        value = result.metric_value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"the result {result.metric_name or result.metric_type} is {value!r}, no finite number")
    again = ModelCard(str(card))
    if results != card.data.eval_results or again.data.to_dict() != metadata or again.text != card.text:
        raise ValueError("the card's metadata change when they are read and written again")
    found = _HEADING.findall(card.text)
    if missing := [section for section in _SECTIONS if section not in found]:
        raise ValueError(f"the card has no section {', '.join(missing)}")
    if 'revision="<commit>"' not in card.text:
        raise ValueError("the card does not say that a revision should be pinned")
    return card


def validate_card_on_hub(text: str, endpoint: str | None = None) -> None:
    """Ask the Hub whether it accepts a card; `validate_card` comes first.

    Args:
        text: the whole card.
        endpoint: address of the Hub; default: `HF_ENDPOINT`, or the public one.

    Raises:
        ValueError: if the card is refused, here or there.
        ConnectionError: if the Hub cannot be reached.

    Example:

    >>> validate_card_on_hub("no front matter")
    Traceback (most recent call last):
    ...
    ValueError: the card has no metadata: it must begin with a block of YAML between two lines ---
    """
    validate_card(text)
    address = (endpoint or constants.ENDPOINT).rstrip("/")
    try:
        # Not `ModelCard.validate`: before version 2 of the library that asks the public Hub, wherever one works.
        question = {"repoType": "model", "content": text}
        answer = get_session().post(f"{address}/api/validate-yaml", json=question, headers={"Accept": "text/plain"})
    except Exception as error:  # the library's HTTP client has changed its name, and its exceptions with it
        raise ConnectionError(f"{address} could not check the card: {error}") from error
    if answer.status_code == 400:
        raise ValueError(f"{address} refuses the card: {answer.text}")
    if answer.status_code != 200:
        raise ConnectionError(f"{address} could not check the card: status {answer.status_code}")


def write_card_files(
    card: str, run: Folder, *, export_dir: Folder | None = None, card_dir: Folder | None = None
) -> list[Path]:
    """Write one card to all its places, each atomically.

    Args:
        card: from `model_card`.
        run: the folder whose weights the card is about, the first of the card's runs.
        export_dir: gets `README.md`. It must hold the model of `run`: class, labels, pooling, codec, and weights, of
            adapters those that are merged into their base (without PEFT the head alone can be compared).
        card_dir: gets `<name>.md`; made if need be.

    Returns:
        The files.

    Raises:
        ValueError: if the card is not valid or would be kept as README.md, the run's weights have changed, the export
            is of another model, or `card_dir` is a file.

    Example:

    >>> write_card_files("no front matter", "runs/tuned", card_dir="model_cards")
    Traceback (most recent call last):
    ...
    ValueError: the card has no metadata: it must begin with a block of YAML between two lines ---
    """
    name = validate_card(card).data.model_name
    _check_file_name(name)
    loaded, files = load_run(run), []
    if export_dir is not None:
        _check_same_model(loaded, Path(export_dir))
        files.append(Path(export_dir) / "README.md")
    if card_dir is not None:
        try:
            Path(card_dir).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ValueError(f"{card_dir} is a file, or lies in one: cards are kept in a folder") from error
        files.append(Path(card_dir) / f"{name}.md")
    for file in files:
        write_text(file, card)
    return files


def _check_same_model(run: Run, export_dir: Path) -> None:
    """The export is of this run: configuration and weights."""
    theirs = read_config(export_dir)
    cls, wanted = saved_class(export_dir / "config.json", theirs), run.record["model"]["class"]
    other = f"{export_dir} is not the export of {run.folder}"
    if cls.__name__ != wanted:
        raise ValueError(f"{other}: it is a {cls.__name__}, not a {wanted}")
    is_adapter = ADAPTERS in run.record["weights"]
    file = run.folder / (ADAPTED_CONFIG if is_adapter else "config.json")
    ours = _settings(file, cls)
    for key, value in _settings(export_dir / "config.json", cls).items():
        if value != ours[key]:
            raise ValueError(f"{other}: {key} is {value!r}, and in {file} {ours[key]!r}")
    exported = dict(_tensors(export_dir))
    measured = _adapted(run, cls) if is_adapter else dict(_tensors(run.folder))
    is_whole = not is_adapter or _has_peft()
    for name in sorted({*measured, *(exported if is_whole else ())}):
        if name not in exported or name not in measured or not _is_same(measured[name], exported[name], is_adapter):
            raise ValueError(
                f"{export_dir} holds other weights than {run.folder} ({name}): this is another model's card"
            )


def _settings(file: Path, cls: Any) -> dict[str, Any]:
    try:
        config = cls.config_class.from_dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError, AttributeError, StrictDataclassError) as error:
        raise ValueError(f"{file}: cannot be read as a configuration: {' '.join(str(error).split())}") from error
    codec = (getattr(config, "codec_config", None) or config).to_dict()
    return {name: getattr(config, name, None) for name in _SETTINGS} | {
        f"codec_config.{name}": value for name, value in sorted(codec.items()) if name not in _NOT_COMPARED
    }


def _has_peft() -> bool:
    return importlib.util.find_spec("peft") is not None


def _adapted(run: Run, cls: Any) -> dict[str, torch.Tensor]:
    """The weights that adapters make: merged into their base, or without PEFT the head that was saved with them."""
    if not _has_peft():
        saved = {name.removeprefix("base_model.model."): tensor for name, tensor in _tensors(run.folder)}
        return {name: tensor for name, tensor in saved.items() if ".lora_" not in name}
    if run.record["recipe"].get("random_init"):
        raise ValueError(f"{run.folder}: the random weights under its adapters were not kept: no export can be theirs")
    model = load_adapter(cls, run.folder).merge_and_unload()
    base = Path(json.loads((run.folder / "adapter_config.json").read_text())["base_model_name_or_path"])
    if base.is_dir() and weights_sha256(base) not in [parent["weights"] for parent in run.record["parents"]]:
        raise ValueError(f"{base}: these are not the weights that the adapters of {run.folder} were trained on")
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


def _is_same(one: torch.Tensor, other: torch.Tensor, is_merged: bool) -> bool:
    if not is_merged or one.shape != other.shape:
        return torch.equal(one, other)
    return torch.allclose(one.float(), other.float(), rtol=_MERGED, atol=_MERGED)


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118  safe_open is no dictionary
                    yield name, weights.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: the weights cannot be read: {error}") from error
