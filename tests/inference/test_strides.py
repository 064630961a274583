# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""One code for s nucleotides: every verb against the plain way, whole records or windows read one by one."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL

from vqdna_cli.main import main
from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    reverse_complement,
)
from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.vcf import Allele, to_ids
from vqdna_hf.inference import decode, embed, encode, load_checkpoint, mutate, predict, score_variants
from vqdna_hf.inference.decode import DecodeTask
from vqdna_hf.inference.variant_scores import VariantScorer, cut_window
from vqdna_hf.model.patching_vqdna import SPARE_PATCHES
from vqdna_hf.model.pipeline_vqdna import plan_windows, read_nucleotides, stitch_windows
from vqdna_hf.model.tokenization_vqdna import CLS_ID, MASK_ID, SEP_ID

WIDE = [2, 4, 8]
TEXT = decode_ids(np.random.default_rng(7).integers(5, 9, 523).astype(np.uint8))
WINDOW = 250  # more than twice what the widest codec sees on both sides


@pytest.fixture(scope="module", params=WIDE)
def codec(request: pytest.FixtureRequest) -> VQDNACodecModel:
    return make_codec(request.param)


def make_codec(stride: int) -> VQDNACodecModel:
    torch.manual_seed(0)
    config = VQDNACodecConfig(**TINY_CODEC, codec_stride=stride, initializer_range=0.3)
    codec = VQDNACodecModel(config).train()
    codec(torch.randint(5, 9, (8, 64)))
    return codec.eval()


def make(kind: Any, codec: VQDNACodecModel, longest: int = 128, **values: Any) -> Any:
    """A model that reads `longest` tokens."""
    torch.manual_seed(3)
    positions = longest // codec.config.codec_stride + SPARE_PATCHES
    options = {**TINY_MODEL, "num_hidden_layers": 2, "initializer_range": 0.4, "max_position_embeddings": positions}
    return kind.from_codec(codec, **{**options, **values}).eval()


def genome_of(text: str = TEXT) -> Genome:
    return Genome.from_sequences(["c"], [text])


def single_pass(codec: VQDNACodecModel, text: str) -> np.ndarray:
    """(Q, M)."""
    with torch.inference_mode():
        return codec.encode(read_nucleotides(text)[None]).codes[0].numpy()


def rows_of(table: pa.Table, strand: str) -> list[dict[str, Any]]:
    return [row for row in table.to_pylist() if row["strand"] == strand]


def joined(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.array([[code for row in rows for code in row[f"codes_{level}"]] for level in (1, 2)])


# --- encode ---


@pytest.mark.parametrize("bases", [1, 3, 9, 249, 250, 251, 520, 521, 523])
def test_codes_are_those_of_a_single_pass_on_both_strands(codec: VQDNACodecModel, bases: int) -> None:
    stride, text = codec.config.codec_stride, TEXT[:bases]
    with genome_of(text) as genome:
        table = encode(codec, genome, strand="both", window=WINDOW)
        small = encode(codec, genome, strand="both", window=WINDOW, batch_bases=1)
        turned = encode(codec, genome, strand="reverse", window=WINDOW)
    assert small.equals(table)
    assert turned.equals(table.filter(pa.compute.equal(table["strand"], "-")))
    assert table["bases_per_code"].to_pylist() == [stride] * len(table)
    assert np.array_equal(joined(rows_of(table, "+")), single_pass(codec, text))
    assert np.array_equal(joined(rows_of(table, "-"))[:, ::-1], single_pass(codec, reverse_complement(text)))
    assert (len(rows_of(table, "+")) > 1) == (bases > WINDOW)
    for strand in "+-":
        rows = rows_of(table, strand)
        assert [row["start"] for row in rows] == [0, *(row["end"] for row in rows[:-1])]
        assert rows[-1]["end"] == bases
        for row in rows:  # whole patches, counted from where the strand begins
            assert (row["start"] if strand == "+" else bases - row["end"]) % stride == 0
            assert len(row["codes_1"]) == -(-(row["end"] - row["start"]) // stride)


def test_a_region_is_cut_from_its_own_five_prime_end(codec: VQDNACodecModel, tmp_path: Path) -> None:
    (tmp_path / "r.bed").write_text("c\t3\t406\tone\t0\t+\nc\t3\t406\ttwo\t0\t-\n")
    with genome_of() as genome:
        table = encode(codec, genome, bed=tmp_path / "r.bed", window=WINDOW)
        both = encode(codec, genome, bed=tmp_path / "r.bed", window=WINDOW, strand="both")
    assert np.array_equal(joined(rows_of(table, "+")), single_pass(codec, TEXT[3:406]))
    assert np.array_equal(joined(rows_of(table, "-"))[:, ::-1], single_pass(codec, reverse_complement(TEXT[3:406])))
    assert {row["name"] for row in rows_of(table, "-")} == {"two"}
    for strand in "+-":
        halves = [[row for row in rows_of(both, strand) if row["name"] == name] for name in ("one", "two")]
        assert np.array_equal(joined(halves[0]), joined(halves[1]))


def test_a_patch_of_n_has_no_code_and_one_with_some_has(codec: VQDNACodecModel) -> None:
    stride = codec.config.codec_stride
    text = TEXT[: 2 * stride] + "N" * (stride + 1) + TEXT[2 * stride : 4 * stride - 1] + "R"
    with genome_of(text) as genome:
        table = encode(codec, genome, strand="both")
    forward, reverse = joined(rows_of(table, "+")), joined(rows_of(table, "-"))
    assert [place for place, code in enumerate(forward[0]) if code == -1] == [2, 5]  # the last patch is one R
    assert (forward[:, 3] >= 0).all()
    assert forward.shape == reverse.shape == (2, 6)
    cut = reverse_complement(text)
    unknown = [set(cut[at : at + stride]) <= set("NY") for at in range(0, len(cut), stride)]
    assert (reverse[0][::-1] == -1).tolist() == unknown


# --- decode ---


def decoded_whole(codec: VQDNACodecModel, text: str) -> str:
    """What the codec itself makes of the codes of a whole sequence; N where there is no code."""
    stride = codec.config.codec_stride
    codes = torch.from_numpy(single_pass(codec, text)[None].copy())
    with torch.inference_mode():
        none = torch.tensor([set(text[at : at + stride]) == {"N"} for at in range(0, len(text), stride)])
        best = codec.decode(codes.masked_fill(none, -1)).argmax(-1)[0] + 5
    ids = best.masked_fill(none.repeat_interleave(stride), 9)[: len(text)]
    return decode_ids(ids.to(torch.uint8).numpy())


@pytest.mark.parametrize("ending", [".parquet", ".tsv"])
def test_decoding_is_that_of_whole_regions(codec: VQDNACodecModel, ending: str, tmp_path: Path) -> None:
    """Regions on either strand, of any remainder of a patch; a line twice; neighbours of one name; unknown bases."""
    stride = codec.config.codec_stride
    text = TEXT[:40] + "N" * (2 * stride) + TEXT[40 + 2 * stride :]
    lines = ["c\t3\t406\tone\t0\t+", "c\t3\t406\ttwo\t0\t-", "c\t3\t406\ttwo\t0\t-", "c\t406\t523\ttwo\t0\t-",
             "c\t0\t1\tone\t0\t+", "c\t1\t518\tone\t0\t+"]  # fmt: skip
    (tmp_path / "r.bed").write_text("\n".join(lines) + "\n")
    codes = tmp_path / f"codes{ending}"
    places = [line.split("\t") for line in lines]
    for strand in ("forward", "both"):
        with genome_of(text) as genome:
            encode(codec, genome, codes, bed=tmp_path / "r.bed", window=WINDOW, strand=strand)
        table = decode(codec, codes)
        for number, (_, start, end, _, _, sign) in enumerate(places):
            part = text[int(start) : int(end)]
            rows = [row for row in table.to_pylist() if row["region"] == number]
            assert (rows[0]["start"], rows[-1]["end"]) == (int(start), int(end))
            found = "".join(row["sequence"] for row in rows)
            if sign == "+":
                assert found == decoded_whole(codec, part)
            else:
                assert found == reverse_complement(decoded_whole(codec, reverse_complement(part)))
        decode(codec, codes, tmp_path / "out.fa")
        names = [line.split()[0] for line in (tmp_path / "out.fa").read_text().splitlines() if line.startswith(">")]
        assert names == [">one", ">two", ">two_2", ">two_3", ">one_2", ">one_3"]


@pytest.mark.parametrize("stride", [1, *WIDE])
def test_the_decoder_sees_as_many_neighbours_as_it_is_given(stride: int) -> None:
    codec = make_codec(stride)
    margin = DecodeTask(load_checkpoint(codec), "codes.parquet").margin
    codes = torch.randint(0, 8, (1, 2, 60))
    with torch.inference_mode():
        whole = codec.decode(codes)[0]
        for at in (20, 41):
            cut = codec.decode(codes[:, :, at - margin : at + 1 + margin])[0]
            own = slice(at * stride, (at + 1) * stride)
            torch.testing.assert_close(cut[margin * stride : (margin + 1) * stride], whole[own], atol=1e-6, rtol=0)


def test_codes_of_another_stride_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, four = (make_codec(stride) for stride in (1, 2, 4))
    with genome_of() as genome:
        for ending in (".tsv", ".parquet"):
            for codec, name in ((one, "one"), (two, "two")):
                encode(codec, genome, tmp_path / f"{name}{ending}")
    about = json.loads(pq.read_schema(tmp_path / "two.parquet").metadata[b"vqdna"])
    assert about["bases_per_code"] == 2
    assert "bases_per_code" not in json.loads(pq.read_schema(tmp_path / "one.parquet").metadata[b"vqdna"])
    assert "bases_per_code" not in pq.read_schema(tmp_path / "one.parquet").names
    with pytest.raises(ValueError, match=r"one\.tsv: there is no column bases_per_code, .* codec's for several"):
        decode(four, tmp_path / "one.tsv")
    with pytest.raises(ValueError, match=r"two\.tsv: there is a column bases_per_code, .* codec's for 1"):
        decode(one, tmp_path / "two.tsv")
    with pytest.raises(ValueError, match=r"two\.tsv, row 1: a code stands for 2 bases, one of this codec's for 4"):
        decode(four, tmp_path / "two.tsv")
    with pytest.raises(ValueError, match=r"two\.parquet: was encoded with other codebooks"):
        decode(four, tmp_path / "two.parquet")
    lines = (tmp_path / "two.tsv").read_text().splitlines()
    cells = lines[1].split("\t")
    cells[3] = str(int(cells[3]) + 2)
    (tmp_path / "two.tsv").write_text("\n".join([lines[0], "\t".join(cells)]) + "\n")
    two.save_pretrained(tmp_path / "codec")
    assert main(["decode", str(tmp_path / "two.tsv"), "-m", str(tmp_path / "codec"), "-o", "-"]) == 2
    assert "with 262 codes a level: there must be one for 2 bases" in capsys.readouterr().err


# --- windows of a model ---


def states_of(model: Any, text: str, layer: int = -1) -> torch.Tensor:
    """(n, H): what the model says of a sequence in a single pass."""
    ids = torch.tensor([[CLS_ID, *read_nucleotides(text).tolist(), SEP_ID]])
    with torch.inference_mode():
        return model.base_model(ids, output_hidden_states=True).hidden_states[layer][0, 1:-1]


@pytest.mark.parametrize("stride", WIDE)
@pytest.mark.parametrize(("window", "overlap"), [(None, None), (61, 20), (40, 0), (40, 25)])
@pytest.mark.parametrize("layer", [-1, 1])
def test_each_base_has_the_vector_of_its_patch(stride: int, window: Any, overlap: Any, layer: int) -> None:
    model = make(VQDNAForMaskedLM, make_codec(stride))
    checkpoint = load_checkpoint(model)
    assert checkpoint.longest_window == 126
    text = TEXT[:301]
    read = window or 126
    plan = plan_windows(len(text), read, read // 4 if overlap is None else overlap, stride)
    forward = stitch_windows([states_of(model, text[at.start : at.end], layer) for at in plan], plan)
    reverse = stitch_windows(
        [states_of(model, reverse_complement(text[at.start : at.end]), layer).flip(0) for at in plan], plan
    )
    for strand, expected in (("forward", forward), ("reverse", reverse), ("both", (forward + reverse) / 2)):
        options = {"window": window, "overlap": overlap, "layer": layer, "strand": strand}
        with genome_of(text) as genome:
            table = embed(checkpoint, genome, per="base", **options)
            mean = embed(checkpoint, genome, **options)
        vectors = np.array(table["embedding"].to_pylist())
        np.testing.assert_allclose(vectors, expected.numpy(), atol=2e-5)
        np.testing.assert_allclose(mean["embedding"][0].as_py(), expected.mean(0).numpy(), atol=2e-5)
    for at in plan:
        assert at.start % stride == 0
        assert (len(text) - at.end) % stride == 0


def test_a_sequence_that_fits_is_read_in_one_pass(codec: VQDNACodecModel) -> None:
    model = make(VQDNAForMaskedLM, codec)
    with genome_of(TEXT[:126]) as genome:
        found = embed(model, genome, per="base", strand="forward")["embedding"].to_pylist()
    np.testing.assert_allclose(found, states_of(model, TEXT[:126]).numpy(), atol=2e-5)


def test_the_bases_of_a_code_share_a_codecs_vector(codec: VQDNACodecModel) -> None:
    """In windows, and on both strands: those of a single pass, since a codec sees a few bases only."""
    stride = codec.config.codec_stride
    with torch.inference_mode():
        forward, reverse = (
            codec.encode(read_nucleotides(text)[None]).quantized[0].repeat_interleave(stride, 0)[: len(TEXT)]
            for text in (TEXT, reverse_complement(TEXT))
        )
    with genome_of() as genome:
        for strand, expected in (("forward", forward), ("reverse", reverse.flip(0))):
            table = embed(codec, genome, per="base", strand=strand, window=WINDOW, overlap=128)
            np.testing.assert_allclose(table["embedding"].to_pylist(), expected.numpy(), atol=1e-5)
        whole = embed(codec, genome, window=WINDOW, overlap=128)["embedding"][0].as_py()
    np.testing.assert_allclose(whole, forward.mean(0).numpy(), atol=1e-5)


def test_positions_are_predicted_from_their_patches(codec: VQDNACodecModel, tmp_path: Path) -> None:
    stride = codec.config.codec_stride
    model = make(VQDNAForTokenClassification, codec, num_labels=2)
    text = TEXT[:301]
    plan = plan_windows(len(text), 61, 20, stride)

    def logits_of(part: str) -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.tensor([[CLS_ID, *read_nucleotides(part).tolist(), SEP_ID]])).logits[0, 1:-1]

    forward = stitch_windows([logits_of(text[at.start : at.end]) for at in plan], plan)
    reverse = stitch_windows([logits_of(reverse_complement(text[at.start : at.end])).flip(0) for at in plan], plan)
    expected = ((forward + reverse) / 2).softmax(-1)[:, 1]
    with genome_of(text) as genome:
        table = predict(model, genome, strand="both", window=61, overlap=20)
        predict(
            model, genome, tmp_path / "track.bedgraph", strand="both", window=61, overlap=20, label="LABEL_1",
        )  # fmt: skip
    found = np.concatenate(table["probability_LABEL_1"].to_pylist())
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-5)
    track = np.zeros(len(text))
    for line in (tmp_path / "track.bedgraph").read_text().splitlines():
        _, start, end, value = line.split("\t")
        track[int(start) : int(end)] = float(value)
    np.testing.assert_allclose(track, expected.numpy(), atol=2e-5)


def test_sequences_are_classified_up_to_what_the_model_reads(codec: VQDNACodecModel, tmp_path: Path) -> None:
    model = make(VQDNAForSequenceClassification, codec, num_labels=2)
    table = tmp_path / "pairs.csv"
    table.write_text(f"sequence_1,sequence_2\n{TEXT[:60]},{TEXT[60:125]}\nACGTA,GG\n")
    rows = predict(model, table, sequence_column=["sequence_1", "sequence_2"]).to_pylist()
    for row, (one, other) in zip(rows, ((TEXT[:60], TEXT[60:125]), ("ACGTA", "GG")), strict=True):
        one_ids, other_ids = (read_nucleotides(text).tolist() for text in (one, other))
        with torch.inference_mode():
            logits = model(torch.tensor([[CLS_ID, *one_ids, SEP_ID, *other_ids, SEP_ID]])).logits[0]
        assert row["probability_LABEL_1"] == pytest.approx(float(logits.softmax(-1)[1]), abs=1e-5)
    with genome_of(TEXT[:126]) as genome:
        assert predict(model, genome).num_rows == 1
    with genome_of(TEXT[:127]) as genome, pytest.raises(ValueError, match="this model reads at most 126 at once"):
        predict(model, genome)


@pytest.mark.parametrize("window", [3, 8, 14])
def test_windows_that_cannot_move_by_a_patch_are_refused(window: int) -> None:
    with genome_of() as genome, pytest.raises(ValueError, match="a code of this model stands for 8 nucleotides"):
        embed(make(VQDNAForMaskedLM, make_codec(8)), genome, window=window, overlap=0)


# --- variants and mutagenesis ---

PLACES = [
    # Start, bases of REF, ALT
    (150, 1, "?"), (203, 3, "???"), (171, 0, "GATTC"), (230, 5, ""), (99, 4, "AACCGGTTA"), (261, 0, "ACGTACGT"),
    (281, 8, ""), (0, 1, "?"), (522, 1, "?"), (0, 3, ""), (520, 3, ""), (1, 0, "AA"), (310, 5, "T"),
]  # fmt: skip


def alleles(text: str = TEXT) -> list[Allele]:
    found = []
    for start, length, alt in PLACES:
        ref = text[start : start + length]
        if "?" in alt:
            alt = "".join("CGTA"["ACGT".index(base)] for base in ref)
        found.append(Allele("c", start, to_ids(ref).tobytes(), to_ids(alt).tobytes()))
    return found


@dataclass
class Haplotype:
    """A record with one allele, from `start` to `end`, and its codes (Q, M) as `encode` gives them, in either order."""

    text: str
    codes: np.ndarray
    start: int
    end: int
    turned: bool
    config: VQDNACodecConfig

    def patch(self, base: int) -> int:
        return (len(self.text) - 1 - base if self.turned else base) // self.config.codec_stride

    def code(self, base: int, level: int) -> int:
        patch = self.patch(base)
        return int(self.codes[level, self.codes.shape[1] - 1 - patch if self.turned else patch])

    def sees_allele(self, base: int) -> bool:
        """Whether the receptive field of the base's patch reaches the allele, or the gap where it is empty."""
        start, end = self.start, self.end
        if self.turned:
            start, end = len(self.text) - end, len(self.text) - start
        first = self.patch(base) * self.config.codec_stride - self.config.context
        return first < end and first + self.config.receptive_field > start


def changes_of(ref: Haplotype, alt: Haplotype, same: list[tuple[int, int]], level: int) -> tuple[list[int], list[str]]:
    """Offsets of the bases that change, and the items of `codes_1`; `same` are the places of bases that both have."""
    changed, items, last = [], [], None
    for old, new in same:
        codes, place = (ref.code(old, level), alt.code(new, level)), (ref.patch(old), alt.patch(new))
        if codes[0] == codes[1] or ref.text[old] == "N" or not (ref.sees_allele(old) or alt.sees_allele(new)):
            continue
        changed.append(old - ref.start)
        if place != last:
            items.append(f"{old - ref.start}:{codes[0]}>{codes[1]}")
        last = place
    return changed, items


@pytest.mark.parametrize("strand", ["forward", "reverse", "both"])
def test_code_changes_are_those_of_encode_on_both_haplotypes(codec: VQDNACodecModel, strand: str) -> None:
    text, turned = TEXT[:175] + "N" * 11 + TEXT[186:], strand == "reverse"
    found = VariantScorer(load_checkpoint(codec), ["codes"], strand=strand).score(genome_of(text), alleles(text))
    total = 0
    for row, allele in enumerate(alleles(text)):
        bases = decode_ids(np.frombuffer(allele.alt, np.uint8)) if allele.alt else ""
        texts = [text, text[: allele.start] + bases + text[allele.end :]]
        with Genome.from_sequences(["ref", "alt"], texts) as genome:
            table = encode(codec, genome, strand="reverse" if turned else "forward").to_pylist()
        ends = [allele.end, allele.start + len(bases)]
        ref, alt = (
            Haplotype(texts[one], joined([table[one]]), allele.start, ends[one], turned, codec.config) for one in (0, 1)
        )
        shift = ends[1] - ends[0]
        same = [(at, at) for at in range(allele.start if shift else allele.end)]
        same += [(at, at + shift) for at in range(allele.end, len(text))]
        for level in (0, 1):
            changed, items = changes_of(ref, alt, same, level)
            assert found[f"codes_{level + 1}"][row] == "|".join(items)
            assert found[f"changed_{level + 1}"][row] == len(changed)
            assert found[f"span_{level + 1}"][row] == (changed[-1] - changed[0] + 1 if changed else 0)
            total += len(items)
            if shift == 0:  # all that changes is counted
                differ = [at for at, _ in same if ref.code(at, level) != alt.code(at, level) and text[at] != "N"]
                assert changed == [at - allele.start for at in differ]
    assert total > 20


def test_swapping_ref_and_alt_swaps_the_codes(codec: VQDNACodecModel) -> None:
    scorer = VariantScorer(load_checkpoint(codec), ["codes"])
    found = scorer.score(genome_of(), alleles())
    for row, one in enumerate(alleles()):
        alt = decode_ids(np.frombuffer(one.alt, np.uint8)) if one.alt else ""
        swapped = genome_of(TEXT[: one.start] + alt + TEXT[one.end :])
        back = scorer.score(swapped, [Allele("c", one.start, one.alt, one.ref)])
        for level in (1, 2):
            assert back[f"changed_{level}"][0] == found[f"changed_{level}"][row]


def test_the_ratio_is_that_of_the_masked_base_in_its_patch(codec: VQDNACodecModel) -> None:
    """Both strands read the allele at the same place of a patch, whatever its place in the record."""
    model = make(VQDNAForMaskedLM, codec)
    checkpoint = load_checkpoint(model)
    with genome_of() as genome:
        for start in (150, 151, 203):
            allele = Allele(
                "c", start, to_ids(TEXT[start]).tobytes(), to_ids("A" if TEXT[start] != "A" else "C").tobytes()
            )
            pair = cut_window(genome, allele, 61)
            assert len(pair.left) == len(pair.right) == 30
            expected = []
            for one in (pair, pair.other_strand()):
                ids = torch.tensor([[CLS_ID, *one.left, MASK_ID, *one.right, SEP_ID]])
                with torch.inference_mode():
                    log_p = model(ids).logits[0, 31, 5:9].log_softmax(-1)
                expected.append(float(log_p[int(one.alt[0]) - 5] - log_p[int(one.ref[0]) - 5]))
            found = VariantScorer(checkpoint, ["llr", "distance"], window=61).score(genome, [allele])
            assert found["llr"][0] == pytest.approx(np.mean(expected), abs=1e-5)
            assert abs(found["llr"][0]) > 1e-4
            distances = []
            for one in (pair, pair.other_strand()):
                texts = [decode_ids(part) for part in (one.with_ref(), one.with_alt())]
                before, after = (states_of(model, text) for text in texts)
                distances.append(float((before - after).norm(dim=-1).mean()))
            assert found["l2"][0] == pytest.approx(np.mean(distances), rel=1e-4)


def test_scores_are_symmetric_and_do_not_depend_on_the_batch(codec: VQDNACodecModel) -> None:
    scorer = VariantScorer(load_checkpoint(make(VQDNAForMaskedLM, codec)), ["llr", "distance"], window=61)
    found = scorer.score(genome_of(), alleles())
    for row, one in enumerate(alleles()):
        alt = decode_ids(np.frombuffer(one.alt, np.uint8)) if one.alt else ""
        swapped = genome_of(TEXT[: one.start] + alt + TEXT[one.end :])
        back = scorer.score(swapped, [Allele("c", one.start, one.alt, one.ref)])
        assert back["llr"][0] == pytest.approx(-found["llr"][row], abs=2e-5)
        assert back["l2"][0] == pytest.approx(found["l2"][row], rel=1e-3, abs=1e-6)
        mirrored = Allele("c", len(TEXT) - one.end, *(other_strand(part) for part in (one.ref, one.alt)))
        other = scorer.score(genome_of(reverse_complement(TEXT)), [mirrored])
        for name in ("llr", "cosine", "l2"):
            assert other[name][0] == pytest.approx(found[name][row], rel=1e-3, abs=2e-5)


def other_strand(ids: bytes) -> bytes:
    text = decode_ids(np.frombuffer(ids, np.uint8)) if ids else ""
    return to_ids(reverse_complement(text)).tobytes() if text else b""


def test_mutagenesis_gives_what_variants_give(codec: VQDNACodecModel, tmp_path: Path) -> None:
    model = make(VQDNAForMaskedLM, codec)
    (tmp_path / "c.fa").write_text(f">c\n{TEXT}\n")
    table = mutate(model, tmp_path / "c.fa", "c:200-203", scores="llr,distance,codes", window=61)
    lines = ["##fileformat=VCFv4.3", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    lines += [f"c\t{row['end']}\t.\t{row['ref']}\t{row['alt']}\t.\t.\t." for row in table.to_pylist()]
    (tmp_path / "c.vcf").write_text("\n".join(lines) + "\n")
    scores = score_variants(model, tmp_path / "c.fa", tmp_path / "c.vcf", window=61).table
    for name in ("llr", "cosine", "l2", "changed_1", "changed_2"):
        np.testing.assert_allclose(scores[name].to_numpy(), table[name].to_numpy(), atol=1e-6)
    classifier = make(VQDNAForSequenceClassification, codec, num_labels=2)
    row = mutate(classifier, tmp_path / "c.fa", "c:201-260").to_pylist()[0]
    changed = row["alt"] + TEXT[201:260]
    logits = []
    for text in (changed, reverse_complement(changed)):
        with torch.inference_mode():
            logits.append(classifier(torch.tensor([[CLS_ID, *read_nucleotides(text).tolist(), SEP_ID]])).logits[0])
    assert row["probability"] == pytest.approx(float(((logits[0] + logits[1]) / 2).softmax(-1)[1]), abs=1e-5)
