# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What all verbs share: batches that fit, checkpoints with the head that is needed, files in several formats."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from example_scripts import TINY_MODEL

from vqdna_hf import VQDNACodecModel, VQDNAForMaskedLM, VQDNAForSequenceClassification, VQDNAModel
from vqdna_hf.hub import export
from vqdna_hf.inference import Batcher, OutOfMemoryError, load_checkpoint, mutate, score_variants
from vqdna_hf.inference.inputs import input_record
from vqdna_hf.inference.outputs import output_ending, write_tables
from vqdna_hf.training import add_lora


def test_batches_are_of_equal_length_and_fit() -> None:
    seen: list[list[int]] = []

    def compute(numbers: list[int]) -> list[int]:
        seen.append(numbers)
        return [number * 10 for number in numbers]

    assert Batcher(100).map([30, 50, 49, 10, 250, 10], compute) == [0, 10, 20, 30, 40, 50]
    assert seen == [[4], [1, 2], [0, 3, 5]]
    assert Batcher(100).map([], compute) == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
    ],
)
def test_batches_are_halved_when_memory_runs_out(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    sizes: list[int] = []

    def compute(numbers: list[int]) -> list[int]:
        sizes.append(len(numbers))
        if len(numbers) > 2:
            raise error
        return numbers

    batcher = Batcher(80)
    assert batcher.map([10] * 9, compute) == list(range(9))
    assert sizes == [8, 4, 2, 2, 2, 2, 1]
    assert batcher.batch_bases == 20, "what fits is remembered"
    assert "going on with 20 nucleotides a batch" in caplog.text


def test_what_does_not_fit_alone_is_told() -> None:
    def compute(numbers: list[int]) -> list[int]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemoryError, match="single sequence of 4096 nucleotides: give a smaller --window"):
        Batcher(8192).map([4096, 4096], compute)
    with pytest.raises(ValueError, match="batch_bases=0"):
        Batcher(0)

    def broken(numbers: list[int]) -> list[int]:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Batcher(8).map([1], broken)


def test_batches_fit_the_model(tiny_codec: VQDNACodecModel, tiny_masked_lm: Any) -> None:
    widest = tiny_codec.config.expansion * tiny_codec.config.hidden_size
    for model in (tiny_codec, tiny_masked_lm):
        assert load_checkpoint(model).batcher().batch_bases == 2**28 // (4 * 4 * widest)
    assert load_checkpoint(tiny_codec).batcher(77).batch_bases == 77
    assert Batcher(width=1536).batch_bases == 2**28 // (4 * 4 * 1536)


@pytest.fixture(scope="module")
def shelf(tiny_codec: VQDNACodecModel, tiny_masked_lm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for each kind of checkpoint."""
    folder = tmp_path_factory.mktemp("shelf")
    tiny_codec.save_pretrained(folder / "codec")
    tiny_masked_lm.save_pretrained(folder / "masked_lm")
    tiny_masked_lm.vqdna.save_pretrained(folder / "backbone")
    classifier = VQDNAForSequenceClassification.from_codec(tiny_codec, **TINY_MODEL)
    classifier.save_pretrained(folder / "classifier")
    export(tiny_masked_lm, folder / "export", codec=tiny_codec)
    adapted = add_lora(VQDNAForSequenceClassification.from_pretrained(folder / "classifier"), 2, 4, 0.0)
    adapted.save_pretrained(folder / "adapters")
    return folder


PARTS = {
    "codec": {"codec", "decoder"},
    "masked_lm": {"codec", "backbone", "masked_lm"},
    "backbone": {"codec", "backbone"},
    "classifier": {"codec", "backbone", "sequence"},
    "adapters": {"codec", "backbone", "sequence"},
    "export": {"codec", "backbone", "masked_lm", "decoder"},
}


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("part", ["codec", "decoder", "backbone", "masked_lm", "sequence", "token"])
def test_a_checkpoint_has_the_part_or_says_what_it_is(kind: str, part: Any, shelf: Path) -> None:
    if part in PARTS[kind]:
        checkpoint = load_checkpoint(shelf / kind, part, device="cpu")
        assert not checkpoint.model.training
        assert checkpoint.codebook_sizes == [8, 16]
        assert checkpoint.longest_window == (None if checkpoint.is_codec else 126)
    else:
        with pytest.raises(ValueError, match=rf"{kind} has no .* \(it was saved as VQDNA\w+\): "):
            load_checkpoint(shelf / kind, part)


def test_checkpoints_are_told_apart(shelf: Path, tiny_codec: VQDNACodecModel) -> None:
    first = load_checkpoint(shelf / "codec").describe()
    assert load_checkpoint(tiny_codec).describe()["sha256"] == first["sha256"]
    assert load_checkpoint(shelf / "codec", dtype="bfloat16").describe()["sha256"] != first["sha256"]
    other = VQDNACodecModel.from_pretrained(shelf / "codec")
    with torch.no_grad():
        other.encoder.quantizer.codebooks[0].embed[0, 0] += 1
    assert load_checkpoint(other).describe()["sha256"] != first["sha256"]


def test_the_vocabulary_is_the_codebooks(shelf: Path) -> None:
    """Whatever is around them, and in whatever precision."""
    dtypes = ("auto", "bfloat16")
    found = {load_checkpoint(shelf / kind, dtype=dtype).codebooks_sha256 for kind in PARTS for dtype in dtypes}
    assert len(found) == 1
    other = VQDNACodecModel.from_pretrained(shelf / "codec")
    with torch.no_grad():
        other.encoder.quantizer.codebooks[1].embed[0, 0] += 1
    assert load_checkpoint(other).codebooks_sha256 not in found


def test_no_checkpoint(tmp_path: Path, shelf: Path) -> None:
    with pytest.raises(ValueError, match="no such folder, and as a Hub id it cannot be had"):
        load_checkpoint("my-lab/absent")
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json cannot be read"):
        load_checkpoint(tmp_path)
    config = json.loads((shelf / "codec" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    with pytest.raises(ValueError, match="architectures names 'BertModel'"):
        load_checkpoint(tmp_path)


def test_the_model_is_the_one_that_was_saved(shelf: Path) -> None:
    kinds = {"masked_lm": VQDNAForMaskedLM, "backbone": VQDNAModel, "export": VQDNAForMaskedLM}
    for name, kind in kinds.items():
        assert type(load_checkpoint(shelf / name).model) is kind
    assert type(load_checkpoint(shelf / "export", "decoder").model) is VQDNACodecModel


def table() -> pa.Table:
    return pa.table(
        {
            "name": ["r1", "r2"],
            "score": pa.array([0.1, None], pa.float32()),
            "vector": pa.array([[0.1, 2.0], [3.0, 1e-9]], pa.list_(pa.float32(), 2)),
            "codes": pa.array([[1, 2], [3, 4]], pa.list_(pa.int16())),
        }
    )


def test_parquet_tsv_and_npz_hold_the_same(tmp_path: Path) -> None:
    write_tables(iter([table(), table()]), tmp_path / "a.parquet", ".parquet", {"strand": "both"})
    read = pq.read_table(tmp_path / "a.parquet")
    assert read.num_rows == 4
    assert read.slice(0, 2).equals(table())
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 2
    assert json.loads(read.schema.metadata[b"vqdna"]) == {"strand": "both"}
    write_tables([table(), table()], tmp_path / "a.tsv", ".tsv")
    lines = (tmp_path / "a.tsv").read_text().splitlines()
    assert lines[0] == "name\tscore\tvector\tcodes"
    assert lines[1] == lines[3] == "r1\t0.1\t0.1,2.0\t1,2"
    assert lines[2] == "r2\t\t3.0,1e-09\t3,4"
    write_tables([table().drop_columns("score")], tmp_path / "a.npz", ".npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["name"].tolist() == ["r1", "r2"]
        np.testing.assert_array_equal(arrays["vector"], np.array([[0.1, 2.0], [3.0, 1e-9]], np.float32))
        assert arrays["codes"].dtype == np.int16
    ragged = pa.table({"codes": [[1], [1, 2]]})
    with pytest.raises(ValueError, match="column 'codes' has lists of 1 to 2 values"):
        write_tables([ragged], tmp_path / "b.npz", ".npz")


@pytest.mark.parametrize("ending", [".parquet", ".tsv", ".tsv.gz", ".npz"])
def test_equal_tables_are_equal_bytes(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table().drop_columns("score")
    write_tables([rows], tmp_path / "a", ending)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_tables([rows], tmp_path / "b", ending)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_output_is_checked_before_the_work(tmp_path: Path) -> None:
    assert output_ending(tmp_path / "a.TSV.gz") == ".tsv.gz"
    (tmp_path / "a.tsv").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        output_ending(tmp_path / "a.tsv")
    with pytest.raises(ValueError, match=r"must end in one of \.npz"):
        output_ending("-", (".npz",))


def test_the_table_of_names_is_an_input_of_every_verb(tiny_codec: VQDNACodecModel, tmp_path: Path) -> None:
    """It is not overwritten, and another one is another job; so is `auto`."""
    genome, calls, bed = tmp_path / "g.fa", tmp_path / "c.vcf", tmp_path / "r.bed"
    genome.write_text(">q1\nACGTACGTAC\n>q2\nACGTACGTAC\n")
    calls.write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\nA\t2\t.\tC\tT\t.\t.\t.\n")
    bed.write_text("A\t0\t5\n")
    records = []
    for name in ("q1", "q2"):
        names, scores, scan = (tmp_path / f"{name}.{part}" for part in ("names.tsv", "scores.parquet", "scan.parquet"))
        names.write_text(f"A\t{name}\n")
        score_variants(tiny_codec, genome, calls, table=scores, scores="codes", rename=str(names))
        mutate(tiny_codec, genome, output=scan, bed=bed, rename=str(names))
        records.append([json.loads(pq.read_schema(file).metadata[b"vqdna"])["inputs"] for file in (scores, scan)])
        with pytest.raises(ValueError, match="is the input"):
            score_variants(tiny_codec, genome, calls, table=names, scores="codes", rename=str(names))
        with pytest.raises(ValueError, match="is the input"):
            mutate(tiny_codec, genome, output=names, bed=bed, rename=str(names))
        assert names.read_text() == f"A\t{name}\n"
    assert all(one != other for one, other in zip(*records, strict=True))
    assert input_record(genome, bed, "auto", {}) != input_record(genome, bed, None, {})
