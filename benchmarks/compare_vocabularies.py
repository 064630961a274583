"""Does the learned vocabulary earn its place? Trains and measures everything that a study names, resumably.

    python benchmarks/compare_vocabularies.py codecs                 # vocabularies by themselves
    python benchmarks/compare_vocabularies.py models                 # models on them, and baselines, fine-tuned on GUE
    python benchmarks/compare_vocabularies.py codecs --only window-4 --seeds 1 2
    python benchmarks/compare_vocabularies.py codecs --again annotation   # a measure of all records anew

A study is a YAML in benchmarks/studies/. Trained models go to `--work`, records (one JSON a run) to
benchmarks/results/evaluation/; what is there already is not made again, so that an interrupted study goes on where it
was. `python benchmarks/make_results.py` then makes docs/results.md of all records.
"""

import argparse
import glob
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vqdna_hf import VQDNACodecConfig, VQDNAConfig
from vqdna_hf.data.files import write_json
from vqdna_hf.data.generators import check_seed
from vqdna_hf.evaluation.baselines import compared_parameters
from vqdna_hf.evaluation.classifiers import Variant, load_classifier
from vqdna_hf.evaluation.gue import evaluate_gue
from vqdna_hf.evaluation.gue_sets import find_sets, read_sets
from vqdna_hf.evaluation.probe import probe_sets
from vqdna_hf.evaluation.records import read_record, write_record
from vqdna_hf.evaluation.vocabularies import KmerVocabulary, StackedVocabulary, Vocabulary
from vqdna_hf.evaluation.vocabulary import PARTS, Budget, bases_of_training, measure_vocabulary
from vqdna_hf.training import run_script

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "evaluation"
TRAINED = "train_results.json"


def data_folder() -> Path:
    """Where the real data lie.

    Raises:
        ValueError: if there are none.
    """
    folder = Path(os.environ.get("VQDNA_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder: let VQDNA_DATA name the data that the studies are about")
    return folder


@dataclass
class Study:
    """A study's YAML, and where its trained models go.

    Attributes:
        name: of the YAML.
        values: what it says.
        work: folder of trained models; they are named by study entry and seed.
        results: folder of the study's records.
        extra: more flags for training scripts, such as a smaller --max_steps; the commands in records name them.
    """

    name: str
    values: dict[str, Any]
    work: Path
    results: Path
    extra: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, name: str, work: Path, results: Path, extra: list[str]) -> "Study":
        """Read benchmarks/studies/NAME.yaml, or the YAML at a path."""
        path = Path(name) if name.endswith((".yaml", ".yml")) else ROOT / "benchmarks" / "studies" / f"{name}.yaml"
        if not path.is_file():
            known = sorted(found.stem for found in (ROOT / "benchmarks" / "studies").glob("*.yaml"))
            raise ValueError(f"{path}: no such study; there are {', '.join(known)}, or give the path of a YAML")
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: cannot be read as a YAML: {' '.join(str(error).split())}") from error
        wanted = f"{path}: a study has `recipe`, `seeds`, and `entries`: sections of entries, each with what it changes"
        if not isinstance(values, dict) or {"recipe", "seeds", "entries"} - set(values):
            raise ValueError(wanted)
        sections = values["entries"].values() if isinstance(values["entries"], dict) else [None]
        entries = [entry for section in sections for entry in (section.values() if isinstance(section, dict) else [0])]
        if not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(wanted)
        return cls(name, values, work, results / path.stem, extra)

    def command(self, entry: str, *seeds: int) -> str:
        """What makes a record again."""
        words = ["python benchmarks/compare_vocabularies.py", self.name, "--only", entry, "--seeds", *map(str, seeds)]
        return " ".join([*words, *self.extra])

    @property
    def entries(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """By name of entry: its section, and what it changes."""
        sections = self.values["entries"].items()
        return {name: (section, values) for section, entries in sections for name, values in entries.items()}

    def paths(self, key: str) -> list[str]:
        """Files of the data that a key of the study names by patterns."""
        patterns = [str(data_folder() / pattern) for pattern in self.values[key]]
        found = [path for pattern in patterns for path in sorted(glob.glob(pattern))]
        if missing := [pattern for pattern in patterns if not glob.glob(pattern)]:
            raise ValueError(f"{self.name}: {key}: nothing matches {', '.join(missing)}")
        return found

    def is_made(self, path: Path, section: str, changes: dict[str, Any]) -> bool:
        """Whether a record is there.

        Raises:
            ValueError: if what is there is of other values than the study's.
        """
        if not path.is_file():
            return False
        there = read_record(path)["results"]
        if (there.get("section"), there.get("changes")) != (section, changes):
            raise ValueError(f"{path} is of other values, {there.get('changes')}: remove it, or give --results")
        return True

    def run(self, script: str, stage: str, folder: Path, **flags: Any) -> Path:
        """Train with one of the example scripts, unless it is done.

        Raises:
            ValueError: if what is there was trained with other values, or the training fails.
        """
        recipe = ROOT / "examples" / "recipes" / self.values["recipe"] / f"{stage}.yaml"
        words = [sys.executable, str(ROOT / "examples" / f"{script}.py"), str(recipe)]
        flags |= {"train_files": self.paths("train_files"), "validation_files": self.paths("validation_files")}
        given = {key: value for key, value in yaml.safe_load(recipe.read_text()).items() if key not in flags}
        asked = json.loads(json.dumps({"recipe": given, "extra": self.extra, "flags": flags}, default=str))
        values = folder.parent / f"{folder.name}.values.json"
        if (folder / TRAINED).is_file():
            if values.is_file() and json.loads(values.read_text()) != asked:
                raise ValueError(f"{folder} was trained with other values ({values}): remove both, or give --work")
            return folder
        flags |= {"output_dir": folder, "disable_tqdm": True, "overwrite_output_dir": True}
        for flag, value in flags.items():
            words.append(f"--{flag}")
            words += [str(item) for item in value] if isinstance(value, list) else [_word(value)]
        folder.parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        write_json(values, asked)
        log = folder.parent / f"{folder.name}.log"
        with log.open("w") as stream:
            code = subprocess.run([*words, *self.extra], stdout=stream, stderr=stream, check=False).returncode
        if code:
            raise ValueError(f"training failed, exit code {code}; see {log}: {log.read_text()[-400:]}")
        print(f"{folder}: trained in {time.perf_counter() - start:.0f} s", flush=True)
        return folder


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)


def bases_of(*folders: Path) -> int:
    """Nucleotides seen in training."""
    return sum(bases_of_training(folder) or 0 for folder in folders)


def seconds_of(*folders: Path) -> float:
    """Wall time of training, from what the scripts wrote; a CNN is not pre-trained."""
    found = [folder / TRAINED for folder in folders if (folder / TRAINED).is_file()]
    return sum(json.loads(path.read_text())["train_runtime"] for path in found)


class Codecs:
    """Vocabularies of the codecs study, made when they are asked for."""

    def __init__(self, study: Study) -> None:
        self.study = study

    def codec(self, name: str, seed: int) -> Path:
        """Stage 1, the folder of a trained codec."""
        if name not in self.study.entries:
            raise ValueError(f"{name}: no such codec in the study {self.study.name}")
        changes = dict(self.study.entries[name][1])
        teacher = changes.pop("teacher", None)
        config = {**self.study.values["codec_config"], **changes}
        flags: dict[str, Any] = {"codec_config": config, "seed": seed}
        if teacher is not None:
            config["objective"] = "distillation"
            flags["teacher"] = self.model(teacher, seed)
        return self.study.run("run_codec", "codec", self.study.work / "codec" / name / f"seed-{seed}", **flags)

    def model(self, name: str, seed: int) -> Path:
        """Stage 2 on it, the teacher of the next vocabulary."""
        folder = self.study.work / "teacher" / name / f"seed-{seed}"
        return self.study.run("run_mlm", "mlm", folder, codec_path=self.codec(name, seed), seed=seed)

    def folders(self, name: str, seed: int) -> list[Path]:
        """All that was trained for a codec, teachers and theirs included."""
        teacher = self.study.entries[name][1].get("teacher")
        before = [] if teacher is None else [*self.folders(teacher, seed), self.model(teacher, seed)]
        return [*before, self.codec(name, seed)]

    def measure(self, name: str, seed: int, again: list[str]) -> None:
        """One record of kind `codec`, unless it is there; of k-mers too, which a learned vocabulary has to beat.

        What is there gets the parts that are to be measured again.
        """
        path = self.study.results / f"{name}-seed-{seed}.json"
        section, changes = self.study.entries[name]
        if self.study.is_made(path, section, changes):
            if again and section != "control":
                record = json.loads(path.read_text())
                fresh = self._measure(self.codec(name, seed), seed, again)
                record["results"] |= {part: fresh[part] for part in again}
                write_json(path, record)
                print(f"{path}: measured again: {', '.join(again)}", flush=True)
            return
        trained = [] if section == "control" else self.folders(name, seed)
        start = time.perf_counter()
        results = self._probe_kmers(changes, seed) if section == "control" else self._measure(trained[-1], seed, None)
        seconds = time.perf_counter() - start
        write_record(
            path,
            kind="codec",
            name=name,
            results={**results, "section": section, "changes": changes},
            command=self.study.command(name, seed),
            seeds=[seed],
            bases_seen=bases_of(*trained) or None,
            seconds=seconds_of(*trained) + seconds,
        )
        print(f"{path}: measured in {seconds:.0f} s", flush=True)

    def _measure(self, folder: Path, seed: int, parts: list[str] | None) -> dict[str, Any]:
        chosen, data = self.study.values["measure"], data_folder()
        return measure_vocabulary(
            folder,
            genome=data / chosen["genome"],
            annotation=[data / annotation for annotation in chosen["annotation"]],
            gue=data / chosen["gue"],
            parts=parts or chosen.get("parts"),
            budget=Budget(seed=seed),
        )

    def _probe_kmers(self, changes: dict[str, Any], seed: int) -> dict[str, Any]:
        words, canonical = changes["kmer"], changes.get("canonical", False)
        vocabulary: Vocabulary = (
            StackedVocabulary([KmerVocabulary(k, canonical=canonical) for k in words])
            if isinstance(words, list)
            else KmerVocabulary(words, canonical=canonical)
        )
        sets = read_sets(find_sets(data_folder() / self.study.values["measure"]["gue"]).choose(None))
        return {"sizes": list(vocabulary.sizes), "probe": probe_sets(vocabulary, sets, seed=seed)}


class Models:
    """Models of the models study: pre-trained alike, fine-tuned alike."""

    def __init__(self, study: Study, codecs: Codecs) -> None:
        self.study, self.codecs = study, codecs

    def pretrained(self, name: str) -> Path:
        """Stage 2 of an entry; the seeds of the study are those of fine-tuning."""
        changes = dict(self.study.entries[name][1])
        changes.pop("sets", None)
        folder = self.study.work / "model" / name
        first = next(iter(self.study.entries))
        if changes.pop("codec", None) is None:
            like, steps = self.config(first), self.study.values["baseline_steps"]
            flags = {"model_config": like, "like": self.codec(first), "vocabulary": name, "max_steps": steps}
            return self.study.run("run_baseline", "mlm", folder, seed=0, **flags)
        changes["model_config"] = self.config(name)
        changes["model_config"]["intermediate_size"] += self._units_too_few(name, first)
        return self.study.run("run_mlm", "mlm", folder, codec_path=self.codec(name), seed=0, **changes)

    def codec(self, name: str) -> Path:
        """Stage 1 of an entry."""
        return self.codecs.codec(self.study.entries[name][1]["codec"], 0)

    def config(self, name: str) -> dict[str, Any]:
        """What an entry's backbone has, before it is made as large as the first one's."""
        return {**self.study.values["model_config"], **self.study.entries[name][1].get("model_config", {})}

    def _units_too_few(self, name: str, first: str) -> int:
        """By how many units of its feed-forward layers an entry has fewer parameters than the first."""
        own, wanted = (self._parameters(entry) for entry in (name, first))
        config = self.config(name)
        return round((wanted - own) / (3 * config["hidden_size"] * config["num_hidden_layers"]))  # they are gated

    def _parameters(self, name: str) -> int:
        codec_config = VQDNACodecConfig.from_pretrained(self.codec(name)).to_dict()
        return compared_parameters(VQDNAConfig(codec_config=codec_config, **self.config(name))).total

    def measure(self, name: str, seeds: list[int]) -> None:
        """A record of kind `pretraining`, and one of kind `gue` for each set and seed, unless they are there."""
        section, changes = self.study.entries[name]
        folder = self.pretrained(name)
        before = self.codecs.folders(changes["codec"], 0) if "codec" in changes else []
        path = self.study.results / name / "pretraining.json"
        if not self.study.is_made(path, section, changes):
            evaluated = folder / "eval_results.json"
            model, _ = load_classifier(folder, num_labels=2, seed=0)
            write_record(
                path,
                kind="pretraining",
                name=name,
                results={
                    "section": section,
                    "changes": changes,
                    "parameters": compared_parameters(model).total,
                    "evaluation": json.loads(evaluated.read_text()) if evaluated.is_file() else {},
                },
                command=self.study.command(name, 0),
                seeds=[0],
                bases_seen=bases_of(folder, *before),
                seconds=seconds_of(folder, *before),
            )
        evaluate_gue(
            folder,
            data_folder() / "gue",
            self.study.results / name / "gue",
            sets=changes.get("sets", self.study.values["sets"]),
            protocol=self.study.values["protocol"],
            seeds=seeds,
            # A CNN is not pre-trained: its folder holds one draw of random weights, and each seed gets its own.
            variant=Variant(random_init=name == "cnn"),
            say=lambda text: print(text, flush=True),
            command=self.study.command(name, *seeds),
        )


def main() -> int:
    """Make what is missing of a study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="codecs, models, or the path of a YAML like theirs")
    parser.add_argument("--only", nargs="+", metavar="ENTRY", help="entries or sections of the study; default: all")
    parser.add_argument("--seeds", nargs="+", type=int, help="default: those of the study")
    parser.add_argument("--again", nargs="+", default=[], metavar="PART", choices=PARTS, help="measure anew, of codecs")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "study", help="folder of trained models")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of records, with one for each study")
    args, extra = parser.parse_known_args()  # what is left goes to the training scripts, e.g. --max_steps 2

    if extra and RESULTS in (args.results, *args.results.parents):
        raise ValueError(f"{' '.join(extra)}: no values of the study's: give folders of your own, --results and --work")
    study = Study.read(args.study, args.work, args.results, extra)
    about_codecs = study.values.get("codecs")  # of models: the study that has their codecs
    codecs = Codecs(study if about_codecs is None else Study.read(about_codecs, args.work, args.results, extra))
    chosen = [name for name, (section, _) in study.entries.items() if not args.only or {name, section} & set(args.only)]
    if unknown := set(args.only or ()) - set(study.entries) - {section for section, _ in study.entries.values()}:
        raise ValueError(
            f"{', '.join(sorted(unknown))}: no such entry or section; there are {', '.join(study.entries)}"
        )
    seeds = args.seeds or study.values["seeds"]
    for seed in seeds:
        check_seed(seed)
    for name in chosen:
        if about_codecs is not None:
            Models(study, codecs).measure(name, seeds)
            continue
        for seed in seeds:
            codecs.measure(name, seed, args.again)
    return 0


if __name__ == "__main__":
    run_script(main)
