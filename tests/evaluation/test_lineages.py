# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Lineages: tables read and refused, genomes, effects on proteins, codes of lineages, footprints."""

import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from simulated_virus import BASES, write_virus

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAConfig, VQDNAForMaskedLM
from vqdna_hf.data import decode_ids, read_fasta
from vqdna_hf.evaluation.lineage_codes import (
    LineageCodes,
    ReferenceCodes,
    kmer_shares,
    mean_hidden_states,
    mutation_vectors,
    split_mutations,
)
from vqdna_hf.evaluation.lineage_footprints import (
    Footprints,
    compare_groups,
    every_substitution,
    footprints,
    mutation_table,
    summarize_footprints,
    told_apart,
)
from vqdna_hf.evaluation.lineages import (
    Effect,
    Gene,
    LineageFiles,
    Lineages,
    Mutation,
    apply_mutations,
    read_genes,
    read_lineages,
    substitution_effects,
)
from vqdna_hf.evaluation.vocabularies import CodecVocabulary, bag_of_codes, mean_vectors

CODEC = VQDNACodecConfig(
    hidden_size=16, stem_size=8, num_blocks=2, tap_positions=[1, 2], codebook_sizes=[32, 64], codebook_dim=16
)


@pytest.fixture(scope="module")
def virus(tmp_path_factory: pytest.TempPathFactory) -> Lineages:
    return read_lineages(write_virus(tmp_path_factory.mktemp("virus")))


@pytest.fixture(scope="module")
def vocabulary() -> CodecVocabulary:
    torch.manual_seed(0)
    codec = VQDNACodecModel(CODEC).train()
    with torch.no_grad():  # codebooks from data, so that neighbouring codes differ
        codec.encode(torch.randint(5, 9, (8, 64)), update_codebooks=True)
    return CodecVocabulary(codec.eval(), name="tiny")


@pytest.fixture(scope="module")
def codes(virus: Lineages, vocabulary: CodecVocabulary) -> ReferenceCodes:
    return ReferenceCodes(vocabulary, virus.reference)


# Reading


def test_the_tables_are_read(virus: Lineages) -> None:
    assert len(virus.names) == 30
    assert {clade: virus.clades.count(clade) for clade in set(virus.clades)} == {"one": 10, "two": 10, "three": 10}
    assert sum(virus.carriers()) == 30 * 8 + 20  # six of the clade, two of its own, a deletion in two clades
    assert sorted(set(virus.carriers())) == [1, 10]
    assert [len(virus.genome(number)) for number in (0, 10, 20)] == [BASES, BASES - 3, BASES - 1]
    assert virus.mutations == sorted(virus.mutations)


def test_genomes_by_hand() -> None:
    mutations = [Mutation(0, 1, "T", "A1T"), Mutation(2, 4, "", "del3-4"), Mutation(5, 6, "A", "C6A")]
    assert apply_mutations("ACGTACGT", mutations) == ("TCAAGT", [0, 1, 4, 5, 6, 7])
    assert apply_mutations("ACGTACGT", mutations, 3, 6) == ("AA", [4, 5])  # a part of the deletion
    assert apply_mutations("ACGTACGT", [], 2, 4) == ("GT", [2, 3])
    lineages = Lineages("ACGTACGT", ["A"], ["x"], mutations, [(0, 1, 2)], "clade")
    assert lineages.genome(0) == "TCAAGT"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("one.0\t8782T\t", r"row 1 \(one.0\): '8782T' is no substitution"),
        ("one.0\tA0T\t", "'A0T' is no substitution"),
        ("one.0\tA5A\t", "'A5A' is no substitution"),
        ("one.0\tA5N\t", "'A5N' is no substitution"),
        ("one.0\tA601T\t", r"A601T lies behind the end of .*reference.fasta \(600 bases\)"),
        ("one.0\t\t5:6", "'5:6' is no deletion"),
        ("one.0\t\t7-5", "deletion 7-5 does not lie within"),
        ("one.0\t\t599-601", "deletion 599-601 does not lie within"),
        ("one.0\t\t10-12,11", "del10-12 and del11 are in the same place"),
        ("nobody\t\t", r"row 1 \(nobody\): .*lineage_table.tsv has no such lineage"),
        ("\t\t3", r"row 1 \(without a name\)"),
        ("one.0\t\t\none.1\t\t\none.0\t\t", "row 3: lineage 'one.0' stands in row 1 already"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    files = write_virus(tmp_path)
    files.mutations.write_text(f"lineage\tsubstitutions\tdeletions\n{row}\n")
    with pytest.raises(ValueError, match=message):
        read_lineages(files)


def test_another_reference_is_refused(tmp_path: Path) -> None:
    files = write_virus(tmp_path)
    write_virus(tmp_path / "other", seed=1)
    other = LineageFiles.in_folder(tmp_path / "other").reference
    with pytest.raises(ValueError, match=r"row 1 \(one.0\): .* does not fit .*is it another reference\?"):
        read_lineages(LineageFiles(files.mutations, files.table, other, files.genes))
    other.write_text(">a\nACGT\n>b\nACGT\n")
    with pytest.raises(ValueError, match="a reference is one record, and this file has 2"):
        read_lineages(LineageFiles(files.mutations, files.table, other, files.genes))


@pytest.mark.parametrize("name", ["mutations", "table", "reference"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    files = write_virus(tmp_path)
    getattr(files, name).unlink()
    with pytest.raises(ValueError, match=f"{getattr(files, name).name}: no such file"):
        read_lineages(files)


def test_an_absent_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no column who; it has lineage, nextstrain_clade"):
        read_lineages(write_virus(tmp_path), label="who")


def test_gzip_is_read_and_the_recombinant_have_no_clade(tmp_path: Path) -> None:
    files = write_virus(tmp_path)
    packed = tmp_path / "m.tsv.gz"
    packed.write_bytes(gzip.compress(b"lineage\tsubstitutions\tdeletions\nextra\t\t\n"))
    found = read_lineages(LineageFiles(packed, files.table, files.reference, files.genes))
    assert (found.names, found.clades, found.carried) == (["extra"], [""], [()])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (".\t.\tgene\t2\t7\t.\t-\t.\tgene_name=S", "line 1: S is on the reverse strand"),
        (".\t.\tgene\t2\t8\t.\t+\t.\tgene_name=S", "line 1: S has 7 bases"),
        (".\t.\tgene\t2\t70\t.\t+\t.\tgene_name=S", "line 1: S lies at 2-70"),
        (".\t.\tgene\t2\t7\t.\t+\t.\tx", "line 1: the gene has no name"),
        ("gene 2 7", "line 1: GFF3 has nine columns"),
        (".\t.\tregion\t2\t7\t.\t+\t.\tID=a", "there is no CDS and no gene"),
    ],
)
def test_a_broken_annotation_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "genes.gff3"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        read_genes(path, "ACGTACGTAC")


def test_effects_by_hand() -> None:
    #            M  L  *
    reference = "ATGTTATAAC"
    genes = [Gene("S", 0, 9), Gene("T", 1, 10)]
    assert substitution_effects(reference, genes[:1], 3, "C") == [Effect("S", "L2L", True)]  # TTA, CTA
    assert substitution_effects(reference, genes[:1], 4, "C") == [Effect("S", "L2S", False)]  # TCA
    assert substitution_effects(reference, genes[:1], 6, "C") == [Effect("S", "*3Q", False)]  # CAA
    assert [effect.name for effect in substitution_effects(reference, genes, 8, "G")] == ["*3*", "N3S"]  # AAC, AGC
    assert substitution_effects(reference, genes[:1], 9, "A") == []


# Codes


def test_codes_of_lineages_are_those_of_whole_genomes(virus: Lineages, codes: ReferenceCodes) -> None:
    """Every lineage, both levels: the same features as from encoding each genome whole."""
    carried = LineageCodes(virus, codes)
    assert 0 < len(carried.groups) < sum(virus.carriers())
    whole = codes.vocabulary.encode([virus.genome(number) for number in range(30)])
    for level, size in enumerate(codes.vocabulary.sizes):
        expected: list[set[int]] = []
        for number, own in enumerate(whole):
            places = np.array(apply_mutations(virus.reference, virus.mutations_of(number))[1])
            differ = own[level] != codes.reference_codes[level, places]
            expected.append(set((places[differ].astype(int) * size + own[level][differ]).tolist()))
        columns = sorted(set().union(*expected))
        found = carried.by_position([level])
        assert found.shape == (30, len(columns))
        assert [{columns[at] for at in row.indices} for row in found] == expected
        assert found.max() == 1
    assert carried.by_position().shape[1] == sum(carried.by_position([level]).shape[1] for level in (0, 1))


def test_bags_and_mean_vectors_are_those_of_whole_genomes(virus: Lineages, codes: ReferenceCodes) -> None:
    carried = LineageCodes(virus, codes)
    genomes = [virus.genome(number) for number in range(30)]
    bags = bag_of_codes(codes.vocabulary, genomes).toarray()
    np.testing.assert_allclose(carried.bags(), bags, atol=1e-6)
    np.testing.assert_allclose(carried.bags([3, 25], [1]), bags[[3, 25], 32:], atol=1e-6)
    np.testing.assert_allclose(carried.mean_vectors(), mean_vectors(codes.vocabulary, genomes), atol=1e-5)


def test_changes_are_kept_and_the_cache_knows_its_model(
    virus: Lineages, codes: ReferenceCodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = LineageCodes(virus, codes, tmp_path).by_position()
    (path,) = tmp_path.glob("changes-*.npz")
    with monkeypatch.context() as patch:
        patch.setattr(codes.vocabulary, "encode", lambda _: pytest.fail("encoded again"))
        assert (LineageCodes(virus, codes, tmp_path).by_position() != first).nnz == 0
    torch.manual_seed(1)
    other = ReferenceCodes(CodecVocabulary(VQDNACodecModel(CODEC).eval(), name="tiny"), virus.reference)
    LineageCodes(virus, other, tmp_path)
    assert len(list(tmp_path.glob("changes-*.npz"))) == 2
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"changes-.*npz: cannot be read .* delete it"):
        LineageCodes(virus, codes, tmp_path)


def test_a_stride_is_refused(virus: Lineages) -> None:
    config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16], codec_stride=4)
    with pytest.raises(ValueError, match=r"4 bases \(codec_stride\).*codec_stride=1"):
        ReferenceCodes(CodecVocabulary(VQDNACodecModel(config).eval()), virus.reference)


def test_groups_are_cut_where_no_code_sees_both() -> None:
    ones = [Mutation(10, 11, "A", "x"), Mutation(14, 18, "", "y"), Mutation(22, 23, "A", "z")]
    assert [len(group) for group in split_mutations(ones, 3)] == [2, 1]
    assert [len(group) for group in split_mutations(ones, 4)] == [3]
    assert split_mutations([], 4) == []


def test_baselines_by_hand() -> None:
    mutations = [Mutation(0, 1, "C", "A1C"), Mutation(2, 3, "", "del3")]
    lineages = Lineages("AAGT", ["a", "b"], ["", ""], mutations, [(), (0, 1)], "clade")
    assert mutation_vectors(lineages).toarray().tolist() == [[0, 0], [1, 1]]
    assert kmer_shares(lineages, 1).tolist() == [[0.5, 0, 0.25, 0.25], [1 / 3, 1 / 3, 0, 1 / 3]]
    pairs = kmer_shares(lineages, 2)  # CAT: CA, AT
    assert (pairs[1, 4], pairs[1, 3], pairs[1].sum()) == (0.5, 0.5, 1)


def test_hidden_states_are_means_over_tiles(virus: Lineages, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = VQDNAConfig(
        codec_config=CODEC, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=128,
    )  # fmt: skip
    model = VQDNAForMaskedLM(config).eval()
    codes = ReferenceCodes(CodecVocabulary(model, name="lm"), virus.reference)
    found = mean_hidden_states(virus, codes, tile=100, cache=tmp_path)
    assert found.shape == (30, 16)
    # By hand, for a lineage with a deletion: six tiles, the third three bases shorter.
    total, letters = torch.zeros(16), virus.genome(10)
    cuts = [0, 100, 200, 297, 397, 497, 597]
    tokens = {letter: number for number, letter in enumerate("ACGT", start=5)}
    for start, end in itertools.pairwise(cuts):
        ids = torch.tensor([[2, *(tokens[letter] for letter in letters[start:end]), 3]])
        with torch.no_grad():
            total += model.base_model(ids).last_hidden_state[0, 1:-1].sum(0)
    np.testing.assert_allclose(found[10], (total / 597).numpy(), atol=1e-4)
    np.testing.assert_array_equal(mean_hidden_states(virus, codes, tile=100, cache=tmp_path), found)


def test_a_codec_has_no_hidden_states(virus: Lineages, codes: ReferenceCodes) -> None:
    with pytest.raises(ValueError, match="is a codec and has no hidden states"):
        mean_hidden_states(virus, codes)


# Footprints


def test_footprints_are_those_of_whole_genomes(virus: Lineages, codes: ReferenceCodes) -> None:
    found = footprints(codes, virus.mutations)
    assert [own.changed.shape for own in found] == [(len(virus.mutations),)] * 2
    books = codes.vocabulary.vectors()
    reach = [2 + 3 * tap for tap in (1, 2)]  # stem of 5, blocks of 7
    for number in (0, 7, next(n for n, own in enumerate(virus.mutations) if own.is_deletion)):
        mutation = virus.mutations[number]
        letters, places = apply_mutations(virus.reference, [mutation])
        (whole,) = codes.vocabulary.encode([letters])
        for level, own in enumerate(found):
            differ = np.flatnonzero(whole[level] != codes.reference_codes[level, places])
            at = np.array(places)[differ]
            old, new = codes.reference_codes[level, at], whole[level][differ]
            assert own.changed[number] == len(at)
            away = np.where(at < mutation.start, mutation.start - at, np.maximum(at - mutation.end + 1, 0))
            assert own.farthest[number] == (away.max() if len(at) else 0)
            assert own.farthest[number] <= reach[level]
            total = np.linalg.norm(books[level][new] - books[level][old], axis=1).sum()
            assert own.total[number] == pytest.approx(total, rel=1e-5)
    for own in found:
        assert own.offsets.sum() == own.changed.sum()


def test_summaries_and_tables(virus: Lineages, codes: ReferenceCodes) -> None:
    found = footprints(codes, virus.mutations)
    rows = summarize_footprints(codes, found)
    for row, own in zip(rows, found, strict=True):
        assert row["changed_mean"] == pytest.approx(own.changed.mean())
        assert row["mutations"] == len(virus.mutations)
        assert row["changed_quantiles"][-1] == own.changed.max()
        assert sum(row["shares"]) == pytest.approx(own.changed.mean(), abs=0.01)
        assert row["typical"] > 0
    table = mutation_table(virus, [Gene("S", 100, 400)], virus.mutations, found)
    assert table["lineages"].tolist() == virus.carriers()
    inside = (table["position"] > 100) & (table["position"] <= 400) & (table["type"] != "deletion")
    assert set(table["class"][inside]) <= {"synonymous", "nonsynonymous"}
    assert set(table["class"][~inside]) == {"noncoding", "deletion"}
    assert table["changed_2"].tolist() == found[1].changed.tolist()


def test_mutations_told_apart_by_hand() -> None:
    sites = every_substitution("GAT", Gene("g", 1, 2))
    assert [own.name for own in sites] == ["A2C", "A2G", "A2T"]
    changed = np.array([2.0, 2.0, 0.0])
    own = Footprints(changed, changed, changed, changed, changed, [b"x", b"x", b""])
    found = told_apart(sites, own)  # of three pairs one is alike
    assert (found["seen"], found["told_apart"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_groups_compared_by_hand() -> None:
    found = compare_groups([1.0, 2.0, 3.0, 4.0], [False, True, False, True])
    assert (found["n_1"], found["mean_1"], found["mean_2"]) == (2, 3.0, 2.0)
    assert found["delta"] == 0.5  # of four pairs three are higher, one is lower
    # The groups differ only in how they are mixed of two strata: plainly 0.8, within strata nothing.
    values = [0.0] * 10 + [1.0] * 10
    groups = [True] + [False] * 9 + [True] * 9 + [False]
    strata = ["a"] * 10 + ["b"] * 10
    assert compare_groups(values, groups)["delta"] == pytest.approx(0.8)
    within = compare_groups(values, groups, strata)
    assert (within["delta"], within["p"]) == (0.0, 1.0)
    assert compare_groups(values, groups, strata) == within
    with pytest.raises(ValueError, match="no stratum has values of both"):
        compare_groups([1.0, 2.0], [True, False], ["a", "b"])
    with pytest.raises(ValueError, match="0 values of 2 are in the first group"):
        compare_groups([1.0, 2.0], [False, False])


# Real data


def test_the_real_lineages(vqdna_data: Path) -> None:
    folder = vqdna_data / "sars_cov_2"
    files = LineageFiles.in_folder(folder)
    if not files.mutations.is_file():
        pytest.skip(f"no lineages of SARS-CoV-2 ({files.mutations} does not exist)")
    lineages = read_lineages(files)
    assert (len(lineages.names), len(lineages.reference)) == (3585, 29903)
    assert sum(not mutation.is_deletion for mutation in lineages.mutations) == 5819
    assert sum(mutation.is_deletion for mutation in lineages.mutations) == 148
    genes = read_genes(files.genes, lineages.reference)
    spike = [gene for gene in genes if gene.name == "S"]
    for name, effect in (("A23403G", "D614G"), ("A23063T", "N501Y"), ("G22813T", "K417N"), ("C23604A", "P681H")):
        (mutation,) = (own for own in lineages.mutations if own.name == name)
        (found,) = substitution_effects(lineages.reference, spike, mutation.start, mutation.alt)
        assert (found.name, found.synonymous) == (effect, False)
    # Real genomes that need no alignment have the substitutions of the table, at its positions.
    known = {mutation.name for mutation in lineages.mutations}
    found_names = []
    for record in read_fasta(folder / "ncov" / "example_sequences.fasta.gz"):
        if record.bases == len(lineages.reference):
            letters = zip(lineages.reference, decode_ids(record.ids), strict=True)
            found_names += [
                f"{old}{at}{new}" for at, (old, new) in enumerate(letters, start=1) if new not in (old, "N")
            ]
    assert len(found_names) > 50
    assert sum(name in known for name in found_names) > 0.6 * len(found_names)
