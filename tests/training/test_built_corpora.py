# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Stages 1 and 2 on a built corpus: its own held-out windows, its sources in the record, read whole or in streaming."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from example_scripts import TINY_CODEC, assert_same_weights, logged, mlm_arguments, run_example
from transformers import TrainingArguments

from vqdna_hf.data import Corpus, WindowDataset, decode_ids
from vqdna_hf.data.built import BuiltCorpus
from vqdna_hf.data.cutting import CutPolicy
from vqdna_hf.data.shards import build_corpus
from vqdna_hf.training import CorpusArguments, corpus_rows


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genome, a corpus of it that holds chr3 out, and one that holds nothing out."""
    folder = tmp_path_factory.mktemp("built")
    rng = np.random.default_rng(0)
    records = {
        name: "".join(rng.choice(list("ACGT"), bases))
        for name, bases in [("chr1", 4000), ("chr2", 2000), ("chr3", 600)]
    }
    (folder / "genome.fa").write_text("".join(f">{name}\n{text}\n" for name, text in records.items()))
    (folder / "index.tsv").write_text("file\taccession\tspecies\tgroup\ngenome.fa\tGCA_7\tA beast\tbeasts\n")
    policy = CutPolicy(window=32)
    build_corpus(folder / "genome.fa", folder / "corpus", policy=policy, held_out=["chr3"], shard_bases=2000)
    build_corpus(folder / "genome.fa", folder / "whole", policy=policy)
    return folder


def load(place: Path, **options: Any) -> tuple[Corpus, Corpus]:
    return CorpusArguments(**{"train_files": [str(place / "corpus")], "window": 32, **options}).load(seed=0)


def names(corpus: Corpus) -> set[str]:
    return {record.name for record in corpus.records}


def test_a_corpus_brings_its_held_out_windows(place: Path) -> None:
    train, validation = load(place)
    assert (names(train), names(validation)) == ({"chr1", "chr2"}, {"chr3"})
    assert (train.bases, validation.bases) == (6000, 600)
    assert names(Corpus.open(str(place / "corpus"))) == {"chr1", "chr2"}, "never what is held out"
    assert names(Corpus.from_parquet(str(place / "corpus"))) == {"chr1", "chr2"}
    own = load(place, validation_files=[str(place / "genome.fa")])[1]
    assert names(own) == {"chr1", "chr2", "chr3"}
    assert names(load(place, train_files=[str(place / "whole")], validation_files=[str(place / "corpus")])[1]) == {
        "chr3"
    }
    by_name = load(place, train_files=[str(place / "whole")], held_out=["chr2"])
    assert (names(by_name[0]), names(by_name[1])) == ({"chr1", "chr3"}, {"chr2"})


def test_what_would_leak_is_refused(place: Path) -> None:
    with pytest.raises(ValueError, match="corpus: this corpus holds records out already: leave --held_out away"):
        load(place, held_out=["chr1"])
    with pytest.raises(ValueError, match="whole: this corpus holds nothing out: build it with --held-out"):
        load(place, train_files=[str(place / "whole")])
    with pytest.raises(ValueError, match="leave --streaming away"):
        load(place, streaming=True)


def test_windows_shorter_than_asked_for(place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), max_steps=2, use_cpu=True)
    for options in ({}, {"streaming": True}):
        arguments = CorpusArguments(train_files=[str(place / "corpus")], **options)
        with pytest.raises(
            ValueError, match=r"corpus: the windows .* have 32 bases, fewer than --window 512: give --win"
        ):
            arguments.datasets(args)
    with pytest.raises(ValueError, match="--window 0: a window has at least 1 base"):
        CorpusArguments(train_files=[str(place / "corpus")], streaming=True, window=0).datasets(args)
    assert len(CorpusArguments(train_files=[str(place / "corpus")], window=64).datasets(args)[1]) == 18
    assert "32 bases, fewer than --window 64" in caplog.text


def test_the_record_names_the_genomes_behind_a_corpus(place: Path) -> None:
    train, validation = load(place)
    (row,) = corpus_rows(train, validation)
    assert (row["file"], row["accession"], row["species"], row["group"]) == ("genome.fa", "GCA_7", "A beast", "beasts")
    assert (row["train_records"], row["train_bases"], row["held_out_records"], row["held_out_bases"]) == (
        2,
        6000,
        1,
        600,
    )
    assert row["corpus_sha256"] == BuiltCorpus.open(place / "corpus").sha256
    by_name = load(place, train_files=[str(place / "whole")], held_out=["chr2"])
    assert [row["file"] for row in corpus_rows(*by_name)] == ["train-00000-of-00001.parquet"], "not as it was built"
    only = corpus_rows(train, Corpus.from_sequences(["ACGT"]))
    assert [(row["file"], row["held_out_bases"]) for row in only] == [("genome.fa", 0), ("<memory>", 4)]


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    return TrainingArguments(str(folder), use_cpu=True, max_steps=7, per_device_train_batch_size=4, **options)


def test_a_stream_and_its_validation(place: Path, tmp_path: Path) -> None:
    corpus = CorpusArguments(train_files=[str(place / "corpus")], window=16, streaming=True, max_eval_windows=5)
    args = arguments(tmp_path, gradient_accumulation_steps=2)
    stream, validation = corpus.datasets(args)
    assert args.accelerator_config.dispatch_batches is False
    assert args.remove_unused_columns is False
    items = list(stream)
    assert len(items) >= 7 * 4 * 2, "enough for all steps"
    assert all(len(item["input_ids"]) == 16 for item in items)
    assert len(validation) == 5
    text = "".join((place / "genome.fa").read_text().split(">chr3\n")[1].split())
    assert all(decode_ids(item["input_ids"]) in text for item in validation)
    (row,) = corpus.rows(stream, validation)
    assert (row["accession"], row["held_out_bases"]) == ("GCA_7", 600)
    corpus.validation_files = [str(place / "genome.fa")]
    rows = corpus.rows(*corpus.datasets(args))
    assert [(row["file"], row["train_bases"], row["held_out_bases"]) for row in rows] == [
        ("genome.fa", 6000, 0), ("genome.fa", 0, 6600),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_files": ["corpus", "whole"]}, "streaming reads one built corpus"),
        ({"weights": '{"x": 1}'}, "streaming reads one built corpus"),
        ({"held_out": ["chr1"]}, "streaming reads one built corpus"),
        ({"train_files": ["genome.fa"]}, "genome.fa: is no corpus"),
        ({"train_files": ["whole"]}, "has no split 'validation'"),
    ],
)
def test_streams_that_cannot_be(
    options: dict[str, Any], message: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(ValueError, match=message):
        CorpusArguments(**{"train_files": ["corpus"], "streaming": True, **options}).datasets(arguments(tmp_path))
    args = TrainingArguments(str(tmp_path), use_cpu=True)
    with pytest.raises(ValueError, match="streaming needs --max_steps"):
        CorpusArguments(train_files=["corpus"], streaming=True).datasets(args)


def codec_words(place: Path, folder: Path, **options: Any) -> dict[str, Any]:
    return {
        "train_files": place / "corpus", "output_dir": folder, "window": 32, "max_steps": 4, "save_steps": 2,
        "per_device_train_batch_size": 4, "logging_steps": 1, "disable_tqdm": True, "use_cpu": True,
        "codec_config": TINY_CODEC, **options,
    }  # fmt: skip


@pytest.mark.parametrize("streaming", [False, True])
def test_both_stages_on_a_corpus(streaming: bool, place: Path, tmp_path: Path) -> None:
    codec = codec_words(place, tmp_path / "codec", streaming=streaming)
    assert run_example("run_codec", **codec) == 0
    record = json.loads((tmp_path / "codec" / "run.json").read_text())
    assert [row["accession"] for row in record["data"]] == ["GCA_7"]
    assert record["recipe"].get("streaming", False) is streaming
    assert record["finished"]
    losses = [entry["loss"] for entry in logged(tmp_path / "codec") if "loss" in entry]
    assert len(losses) == 4
    mlm = mlm_arguments(place / "corpus", tmp_path / "codec", tmp_path / "mlm", streaming=streaming, use_cpu=True)
    assert run_example("run_mlm", **mlm) == 0
    assert json.loads((tmp_path / "mlm" / "eval_results.json").read_text())["eval_masked_accuracy"] >= 0


def test_a_stream_is_resumed_to_the_bit(place: Path, tmp_path: Path) -> None:
    words = codec_words(place, tmp_path / "straight", streaming=True)
    assert run_example("run_codec", **words) == 0
    shutil.copytree(tmp_path / "straight" / "checkpoint-2", tmp_path / "resumed" / "checkpoint-2")
    words = codec_words(place, tmp_path / "resumed", streaming=True, resume_from_checkpoint=True)
    assert run_example("run_codec", **words) == 0
    assert_same_weights(tmp_path / "straight", tmp_path / "resumed")


def test_a_window_of_the_corpus_is_a_record_to_draw_from(place: Path) -> None:
    train, _ = load(place)
    dataset = WindowDataset(train, window=20, num_samples=50, seed=0, reverse_complement=False)
    text = (place / "genome.fa").read_text()
    assert all(decode_ids(dataset[number]["input_ids"]) in text for number in range(50))
