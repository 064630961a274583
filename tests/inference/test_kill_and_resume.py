# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Verbs that take long: killed at any moment and started again they give the bytes of an uninterrupted run.

The kills are real (SIGKILL), at random moments and at every change to the disk; see `forked_commands`.
"""

import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from example_scripts import EXAMPLES, TINY_CODEC, TINY_MODEL, process_environment
from forked_commands import ForkedCommands, Result

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAForMaskedLM, VQDNAForSequenceClassification
from vqdna_hf.inference import encode

BASES = 24_000
RECORDS = 3
KILLS = 3
"""Of each verb below, at random moments."""

LEAST_KILLS = 20
COUNTED: Counter[str] = Counter()
"""Kills by what was killed."""


@dataclass(frozen=True)
class Verb:
    """A command that takes some time.

    Args:
        words: of the command; `{0}` stands for the folder of its input, `{1}` for that of its output.
        outputs: the names of the files that it writes.
        unit_bases: small, so that there are many units.
    """

    words: str
    outputs: tuple[str, ...]
    unit_bases: int

    def line(self, inputs: Path, folder: Path) -> list[str]:
        return self.words.format(inputs, folder).split()

    @property
    def environment(self) -> dict[str, str]:
        return {"VQDNA_UNIT_BASES": str(self.unit_bases)}


VERBS = {
    "encode": Verb(
        "encode {0}/g.fa -m {0}/mlm -o {1}/codes.parquet --window 300 --strand both", ("codes.parquet",), 2000
    ),
    "encode-tsv": Verb("encode {0}/g.fa -m {0}/mlm -o {1}/codes.tsv.gz --window 300", ("codes.tsv.gz",), 2000),
    "decode": Verb("decode {0}/codes.tsv -m {0}/codec -o {1}/back.fa.gz", ("back.fa.gz",), 2000),
    "variants": Verb(
        "variants {0}/g.fa {0}/calls.vcf -m {0}/mlm -o {1}/scored.vcf.gz -t {1}/scores.parquet",
        ("scored.vcf.gz", "scores.parquet"),
        20_000,
    ),
    "mutate": Verb(
        "mutate {0}/g.fa c0:101-160 -m {0}/mlm -o {1}/scan.parquet --html {1}/scan.html --window 60",
        ("scan.parquet", "scan.html"),
        20_000,
    ),
    "embed": Verb("embed {0}/g.fa -m {0}/mlm --per window -o {1}/vectors.npz", ("vectors.npz",), 1000),
    "predict": Verb("predict {0}/g.fa -m {0}/tuned --window 100 -o {1}/answers.tsv", ("answers.tsv",), 1000),
    "predict-bigwig": Verb(
        "predict {0}/g.fa -m {0}/tuned --window 100 --label LABEL_1 -o {1}/track.bw", ("track.bw",), 1000
    ),
}


@dataclass
class Place:
    """Input, and the process that runs commands."""

    inputs: Path
    commands: ForkedCommands
    references: dict[str, dict[str, bytes]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, verb: Verb, folder: Path, **options: Any) -> Result:
        return self.commands.run(*verb.line(self.inputs, folder), environments=[verb.environment], **options)

    def reference(self, name: str) -> dict[str, bytes]:
        """The files of an uninterrupted run."""
        if name not in self.references:
            folder = self.inputs.parent / f"whole-{name}"
            folder.mkdir()
            result = self.run(VERBS[name], folder)
            assert result.code == 0, result.err
            self.references[name] = {path.name: path.read_bytes() for path in folder.iterdir()}
            assert sorted(self.references[name]) == sorted(VERBS[name].outputs)
            self.seconds[name] = result.seconds
        return self.references[name]


def write_inputs(folder: Path) -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), BASES // RECORDS + 37 * number)) for number in range(RECORDS)]
    (folder / "g.fa").write_text("".join(f">c{number}\n{text}\n" for number, text in enumerate(texts)))
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    for at in range(50, 7000, 90):
        base = texts[0][at - 1]
        lines.append(f"c0\t{at}\t.\t{base}\t{'A' if base != 'A' else 'CG'}\t.\t.\tDP=7")
    (folder / "calls.vcf").write_text("\n".join(lines) + "\n")
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)).train()
    codec(torch.randint(5, 9, (8, 60)))
    codec.eval().save_pretrained(folder / "codec")
    encode(codec, folder / "g.fa", folder / "codes.tsv", window=300, progress=False)
    VQDNAForMaskedLM.from_codec(codec, **TINY_MODEL).save_pretrained(folder / "mlm")
    VQDNAForSequenceClassification.from_codec(codec, **TINY_MODEL).save_pretrained(folder / "tuned")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    inputs = tmp_path_factory.mktemp("resume") / "inputs"
    inputs.mkdir()
    write_inputs(inputs)
    with ForkedCommands(inputs.parent) as commands:
        yield Place(inputs, commands)


def check_nothing_partial(folder: Path, reference: dict[str, bytes]) -> None:
    """Under the names of outputs there stands the whole or nothing; beside them the parts alone."""
    for path in folder.iterdir():
        if path.name in reference:
            assert path.read_bytes() == reference[path.name], f"a partial {path.name}"
        else:
            assert path.name.endswith((".parts", ".unfinished")), path.name


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def files_in_if_any(folder: Path) -> dict[str, bytes]:
    """Without the folder of parts, which a crash leaves."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".parts")}


@pytest.mark.parametrize("name", VERBS)
def test_killed_at_random_moments(name: str, place: Place, tmp_path: Path) -> None:
    reference, verb = place.reference(name), VERBS[name]
    rng = random.Random(name)
    kills = resumed = 0
    patience = place.seconds[name]
    for _ in range(15 * KILLS):
        result = place.run(verb, tmp_path, kill_after=rng.uniform(0.2, 1.0) * patience)
        patience *= 1.1 if result.killed else 0.9  # how fast the machine is changes
        check_nothing_partial(tmp_path, reference)
        kills += result.killed
        COUNTED[name] += result.killed
        resumed += result.resumed
        if result.killed:
            continue
        assert result.code == 0, result.err
        assert files_in(tmp_path) == reference
        if kills >= KILLS and resumed:
            break
        for path in tmp_path.iterdir():
            path.unlink()
    else:
        pytest.fail(f"{kills} kills, and nothing was taken up: {result}")


def test_killed_before_each_change_to_the_disk(place: Place, tmp_path: Path) -> None:
    """The engine of all verbs: whatever a crash leaves, the same job ends well, and another is not misled by it."""
    job, other = (["squares", str(count), str(tmp_path / "out.txt")] for count in (3, 4))
    expected = {job[1]: b"3\n4\n7\n", other[1]: b"4\n5\n8\n13\n"}
    changes = place.commands.run(*job, kill_before_change=10**6).changes
    assert changes > 20
    refused = 0
    for number in range(1, changes + 1):
        (tmp_path / "out.txt").unlink()
        assert place.commands.run(*job, kill_before_change=number).killed
        COUNTED["engine"] += 1
        left = files_in_if_any(tmp_path)
        assert left in ({}, {"out.txt": expected["3"]}), number
        result = place.commands.run(*other)
        if result.code:
            assert "give --restart to drop it" in result.err
            assert not (tmp_path / "out.txt").exists() or left
            refused += 1
            result, asked = place.commands.run(*job), job
        else:
            asked = other
        assert result.code == 0, result.err
        assert files_in(tmp_path) == {"out.txt": expected[asked[1]]}, number
    assert 0 < refused < changes


@pytest.mark.parametrize("victim", [0, 1])
def test_of_two_processes_one_is_killed(victim: int, place: Place, tmp_path: Path) -> None:
    """At every change that it makes; the other, which would wait for it, is stopped as a launcher does."""
    job = ["squares", "5", str(tmp_path / "out.txt")]
    ranks = [{"RANK": str(rank), "WORLD_SIZE": "2"} for rank in (0, 1)]
    limits = [10**6, 10**6]
    results = place.commands.run_together([job, job], ranks, kill_before_change=limits)
    assert [result.code for result in results] == [0, 0]
    expected = files_in(tmp_path)
    assert expected == {"out.txt": b"5\n6\n9\n14\n21\n"}
    for number in range(1, results[victim].changes + 1, 3):
        (tmp_path / "out.txt").unlink()
        limits[victim] = number
        results = place.commands.run_together([job, job], ranks, kill_before_change=limits, kill_after=[0.2, 0.2])
        assert results[victim].killed
        COUNTED["one of two"] += 1
        assert files_in_if_any(tmp_path) in ({}, expected)
        results = place.commands.run_together([job, job], ranks)
        assert [result.code for result in results] == [0, 0], results
        assert files_in(tmp_path) == expected, number


@pytest.mark.parametrize("name", ["encode", "variants", "predict-bigwig"])
def test_processes_share_a_job_also_after_a_crash(name: str, place: Place, tmp_path: Path) -> None:
    reference, verb = place.reference(name), VERBS[name]
    lines = [verb.line(place.inputs, tmp_path)] * 3
    ranks = [{**verb.environment, "RANK": str(rank), "WORLD_SIZE": "3"} for rank in range(3)]
    seconds = place.seconds[name]
    place.commands.run_together(lines, ranks, kill_after=[seconds * share for share in (1.5, 1.2, 1.0)])
    check_nothing_partial(tmp_path, reference)
    results = place.commands.run_together(lines, ranks)
    assert [result.code for result in results] == [0, 0, 0], results
    assert files_in(tmp_path) == reference
    # Each has done a share of its own, which together with what was there is all.
    (tmp_path / verb.outputs[0]).unlink()
    shares = [bases_of(result) for result in place.commands.run_together(lines, ranks)]
    assert len(set(shares)) > 1 or min(shares) > 0
    assert sum(shares) == bases_of(place.run(verb, tmp_path))


def bases_of(result: Result) -> int:
    """Read by a process in this run, by its own report."""
    assert result.code == 0, result.err
    return int(result.err.split(": ")[1].split(" bases")[0].replace(",", ""))


LAUNCHERS = {
    "torchrun": "-m torch.distributed.run --nproc-per-node 2 --master-port {port} -m vqdna_hf",
    # `--cpu` would start one process only, whatever is asked for.
    "accelerate launch": "-m accelerate.commands.launch --config_file {config} --main_process_port {port} -m vqdna_hf",
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers(launcher: str, place: Place, tmp_path: Path) -> None:
    reference, verb = place.reference("encode"), VERBS["encode"]
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    words = LAUNCHERS[launcher].format(port=port, config=EXAMPLES / "accelerate" / "ddp.yaml").split()
    result = subprocess.run(
        [sys.executable, *words, *verb.line(place.inputs, tmp_path)],
        env={**process_environment(), **verb.environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert files_in(tmp_path) == reference
    reports = [line for line in result.stderr.splitlines() if line.startswith(f"{tmp_path}/codes.parquet: ")]
    assert len(reports) == 2
    assert all(0 < int(line.split()[1].replace(",", "")) < BASES for line in reports)


@pytest.mark.parametrize("name", [name for name in VERBS if name != "encode-tsv"])
def test_a_full_disk_is_one_line_and_the_job_goes_on(name: str, place: Place, tmp_path: Path) -> None:
    """No file can grow beyond a limit: of the parts, then of what they are joined into."""
    reference, verb = place.reference(name), VERBS[name]
    result = place.run(verb, tmp_path, file_size=500)  # standard error, a file too, has room
    assert (result.code, result.err.count("\n")) == (2, 1), result.err
    assert result.err.startswith(f"error: {tmp_path}: no space left")
    assert not list(tmp_path.iterdir())
    largest = max(map(len, reference.values()))
    result = place.run(verb, tmp_path, file_size=largest - 1)
    assert (result.code, result.err.count("\n")) == (2, 1), result.err
    assert "finished parts are kept, and the same command goes on from there" in result.err
    kept = int(result.err.split("; the ")[1].split()[0])
    check_nothing_partial(tmp_path, reference)
    result = place.run(verb, tmp_path)
    assert (result.code, result.resumed) == (0, kept)
    assert files_in(tmp_path) == reference


def test_there_were_enough_kills() -> None:
    """At random moments alone; those at each change to the disk come on top."""
    if not set(VERBS) <= set(COUNTED):
        pytest.skip("only some of the tests above were run")
    print(dict(COUNTED))
    assert sum(COUNTED[name] for name in VERBS) >= LEAST_KILLS
