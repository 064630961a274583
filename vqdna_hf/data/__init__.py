# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Sequences in: FASTA, BED, VCF, tables; corpora, windows, collators, a simulator. No modelling here."""

from vqdna_hf.data.built import BuiltCorpus, show_corpus
from vqdna_hf.data.collators import IGNORE_INDEX, MaskedNucleotideCollator, NucleotideCollator
from vqdna_hf.data.corpus import Corpus, reverse_complement_array
from vqdna_hf.data.cutting import CutPolicy
from vqdna_hf.data.fasta import FastaRecord, decode_ids, encode_sequence, find_fasta, read_fasta
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.intervals import Region, Renamer, read_bed, whole_records
from vqdna_hf.data.jobs import DiskFullError, JobReport, run_job
from vqdna_hf.data.manifest import CorpusInput, Manifest, open_manifest
from vqdna_hf.data.shards import build_corpus
from vqdna_hf.data.simulate import simulate_fasta, simulate_genome, simulate_promoters
from vqdna_hf.data.streams import stream_corpus
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
    "BuiltCorpus",
    "Corpus",
    "CorpusInput",
    "CutPolicy",
    "DiskFullError",
    "FastaRecord",
    "Genome",
    "JobReport",
    "LabelledSequences",
    "Manifest",
    "MaskedNucleotideCollator",
    "NucleotideCollator",
    "Region",
    "Renamer",
    "TiledDataset",
    "WindowDataset",
    "build_corpus",
    "check_class_labels",
    "check_float_labels",
    "check_labels_known",
    "decode_ids",
    "encode_sequence",
    "find_fasta",
    "find_split_files",
    "number_of_labels",
    "open_manifest",
    "read_bed",
    "read_fasta",
    "read_labelled",
    "read_table",
    "reverse_complement_array",
    "run_job",
    "show_corpus",
    "simulate_fasta",
    "simulate_genome",
    "simulate_promoters",
    "stream_corpus",
    "whole_records",
]
