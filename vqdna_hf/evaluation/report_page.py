# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A vocabulary's report as one HTML page, which needs nothing but itself: no network, no fonts, no libraries."""

import base64
import hashlib
import html
import importlib.metadata
import importlib.resources
import json
import os
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from vqdna_hf.data.files import write_text
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.jobs import input_files
from vqdna_hf.inference.checkpoints import Checkpoint
from vqdna_hf.inference.outputs import output_ending

from .report import LevelReport, RegionReport, ReportData, vocabulary_report

ENDINGS = (".html", ".htm")

_ASSETS = "report_assets"
_FULL = 255
_SLOT = re.compile(r"@([A-Z_]+)@")
# In a script "</" would end it and "<!--" hide its end; U+2028 and U+2029 are line ends in old JavaScript.
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def write_vocabulary_report(
    checkpoint: str | os.PathLike[str] | PreTrainedModel | Checkpoint,
    genome: str | os.PathLike[str] | Genome,
    output: str | os.PathLike[str],
    *,
    annotation: str | os.PathLike[str] | None = None,
    **options: Any,
) -> ReportData:
    """Make the report of a vocabulary, and write it as one HTML page.

    Args:
        checkpoint, genome, annotation: see `vocabulary_report`.
        output: the page, `.html`; it appears whole or not at all.
        options: the others of `vocabulary_report`.

    Returns:
        What the page shows.

    Raises:
        ValueError: as `vocabulary_report`, or if the output cannot be written.

    Example:

    >>> import tempfile
    >>> from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> genome = Genome.from_sequences(["chr1"], ["ACGTTGCA" * 20])
    >>> path = os.path.join(tempfile.mkdtemp(), "report.html")
    >>> data = write_vocabulary_report(VQDNACodecModel(config), genome, path, region="chr1:1-80", progress=False)
    >>> data.region.region.length, os.path.getsize(path) < 200_000
    (80, True)
    """
    output_ending(output, ENDINGS, input_files(genome, annotation))
    data = vocabulary_report(checkpoint, genome, annotation=annotation, **options)
    write_text(os.fspath(output), render_report(data))
    return data


def render_report(data: ReportData) -> str:
    """The page, as text.

    Whatever comes from files (names of records, genes, folders) reaches it escaped, or as JSON in which no tag can end;
    the page's policy lets no script run but its own, and nothing be fetched.

    Args:
        data: of `vocabulary_report`.

    Example:

    >>> from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> genome = Genome.from_sequences(["</script>"], ["ACGTTGCA" * 20])
    >>> page = render_report(vocabulary_report(VQDNACodecModel(config), genome, progress=False))
    >>> page.count("</script>"), "https:" in page
    (2, False)
    """
    style, script = _asset("page.css"), _asset("page.js")
    text = json.dumps(_content(data), allow_nan=False, separators=(",", ":"))
    slots = {
        "TITLE": html.escape(f"Vocabulary of {data.name}"),
        "STYLE": style,
        "SCRIPT": script,
        "STYLE_HASH": _hash(style),
        "SCRIPT_HASH": _hash(script),
        "DATA": re.sub("[<>&\u2028\u2029]", lambda match: _UNSAFE[match[0]], text),
    }
    # In one pass: what is put in is not looked through again.
    return _SLOT.sub(lambda match: slots[match[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return (importlib.resources.files("vqdna_hf.evaluation") / _ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _content(data: ReportData) -> dict[str, Any]:
    return {
        "name": data.name,
        "kind": data.kind,
        "stride": data.stride,
        "objective": data.objective,
        "genome": data.genome,
        "records": data.records,
        "bases": data.bases,
        "sampled": data.sampled,
        "seed": data.seed,
        "sha256": data.codebooks_sha256,
        "version": importlib.metadata.version("vqdna_hf"),
        "levels": [_level(level) for level in data.levels],
        "region": _region(data.region),
        "history": list(data.history),
    }


def _level(level: LevelReport) -> dict[str, Any]:
    totals = level.logo.sum(-1, keepdims=True)
    shares = np.rint(level.logo / np.maximum(totals, 1) * _FULL)
    return {
        "size": level.size,
        "tap": level.tap,
        "context": level.context,
        "shown": level.shown,
        "usage": level.usage,
        "perplexity": level.perplexity,
        "counts": _packed(level.counts, "u4"),
        "occurrences": _packed(level.occurrences, "u4"),
        "shares": _packed(shares, "u1"),
        "consensus": level.consensus,
        "places": _packed(level.places, "f4"),
        "variance": level.variance.tolist(),
        "neighbours": _packed(level.neighbours, "i4"),
        "distances": _packed(level.distances, "f4"),
    }


def _region(along: RegionReport) -> dict[str, Any]:
    kind = "i2" if max(along.forward.max(initial=0), along.reverse.max(initial=0)) <= np.iinfo(np.int16).max else "i4"
    region = along.region
    return {
        "chrom": region.chrom,
        "start": region.start,
        "end": region.end,
        "name": region.name,
        "strand": region.strand,
        "sequence": along.sequence,
        "forward": [_packed(codes, kind) for codes in along.forward],
        "reverse": [_packed(codes, kind) for codes in along.reverse],
        "forward_start": along.forward_start,
        "reverse_start": along.reverse_start,
        "features": [[one.start, one.end, one.strand, one.kind, one.name] for one in along.features],
    }


def _packed(values: NDArray[Any], kind: str) -> list[str]:
    """Numbers as [type, base64], little-endian as every browser's machine is."""
    return [kind, base64.b64encode(np.ascontiguousarray(values).astype(f"<{kind}").tobytes()).decode()]
