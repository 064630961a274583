"""What a vocabulary and a model are worth: measures, probes, GUE, baselines, records, reports."""

from .baselines import build_baseline
from .gue import evaluate_gue
from .gue_protocol import Protocol, protocol_for
from .gue_sets import find_sets, read_sets
from .gue_table import gue_table, summarize_gue
from .metrics import classification_metrics, regression_metrics
from .probe import linear_probe, probe_sets
from .records import read_records, write_record
from .report_page import write_vocabulary_report
from .species import SpeciesPolicy, make_species_sets
from .vocabularies import (
    BPEVocabulary,
    CodecVocabulary,
    KmerVocabulary,
    StackedVocabulary,
    bag_of_codes,
    mean_vectors,
)
from .vocabulary import measure_vocabulary

__all__ = [
    "BPEVocabulary",
    "CodecVocabulary",
    "KmerVocabulary",
    "Protocol",
    "SpeciesPolicy",
    "StackedVocabulary",
    "bag_of_codes",
    "build_baseline",
    "classification_metrics",
    "evaluate_gue",
    "find_sets",
    "gue_table",
    "linear_probe",
    "make_species_sets",
    "mean_vectors",
    "measure_vocabulary",
    "probe_sets",
    "protocol_for",
    "read_records",
    "read_sets",
    "regression_metrics",
    "summarize_gue",
    "write_record",
    "write_vocabulary_report",
]
