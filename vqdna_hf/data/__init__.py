# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Sequences in: FASTA and Parquet corpora, windows, collators, tables, a simulator. No modelling here."""

from vqdna_hf.data.collators import IGNORE_INDEX, MaskedNucleotideCollator, NucleotideCollator
from vqdna_hf.data.corpus import Corpus, reverse_complement_array
from vqdna_hf.data.fasta import FastaRecord, decode_ids, encode_sequence, find_fasta, read_fasta
from vqdna_hf.data.simulate import simulate_fasta, simulate_genome, simulate_promoters
from vqdna_hf.data.tables import (
    LabelledSequences,
    check_class_labels,
    check_float_labels,
    check_labels_known,
    find_split_files,
    number_of_labels,
    read_labelled,
    read_table,
)
from vqdna_hf.data.windows import TiledDataset, WindowDataset

__all__ = [
    "IGNORE_INDEX",
    "Corpus",
    "FastaRecord",
    "LabelledSequences",
    "MaskedNucleotideCollator",
    "NucleotideCollator",
    "TiledDataset",
    "WindowDataset",
    "check_class_labels",
    "check_float_labels",
    "check_labels_known",
    "decode_ids",
    "encode_sequence",
    "find_fasta",
    "find_split_files",
    "number_of_labels",
    "read_fasta",
    "read_labelled",
    "read_table",
    "reverse_complement_array",
    "simulate_fasta",
    "simulate_genome",
    "simulate_promoters",
]
