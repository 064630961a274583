# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The task `dna-embedding`: one vector a sequence, or one a nucleotide, for sequences of any length.

Here too, as plain functions for whoever reads long sequences window by window: `read_nucleotides` (text to ids, or an
error that names letter and position), `plan_windows` and `stitch_windows`.

Shape letters: B batch, L positions, H hidden size, n nucleotides of one sequence, s `codec_stride`.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from transformers.pipelines.base import ChunkPipeline

from .patching_vqdna import lay_out
from .tokenization_vqdna import BYTE_TO_ID, CLS_ID, IUPAC_LETTERS, SEP_ID, UNK_ID, reverse_complement_ids

POOLINGS = ("mean", "max", "cls", "none")
STRANDS = ("forward", "reverse", "both")
_OPTIONS = ("layer", "overlap", "pooling", "return_tensors", "strand", "window")
_CODEC_WINDOW = 8190
"""In nucleotides. A codec has no longest input; its window only keeps memory in hand."""


class Window(NamedTuple):
    """A stretch of a sequence that is read at once, and the part of it whose results count. Half-open, 0-based.

    Attributes:
        start, end: of what is read.
        keep_start, keep_end: of the positions for which no other window is more central.
    """

    start: int
    end: int
    keep_start: int
    keep_end: int


def plan_windows(length: int, window: int, overlap: int, stride: int = 1) -> list[Window]:
    """Cover a sequence with overlapping windows, each position owned by the window in which it is most central.

    All windows are equally long, the last ends where the sequence ends (it may overlap more than asked). Of two
    windows in which a position is equally central, the earlier owns it. A sequence that fits is one window.

    Where a code stands for s nucleotides, windows must cut the sequence into the same patches of s. So each begins a
    multiple of s behind the sequence's first nucleotide, and ends a multiple of s before its last: then the other
    strand, whose patches begin there, may be read in the same windows. That makes them up to s - 1 shorter than asked.

    Args:
        length: n, of the sequence, in nucleotides.
        window: of what is read at once, in nucleotides, special tokens not counted.
        overlap: of neighbouring windows, in nucleotides; with a stride at least.
        stride: s, nucleotides a code.

    Returns:
        Windows in order; the kept parts cover 0..n once, none of them is empty.

    Raises:
        ValueError: if the sequence is empty, or not `0 <= overlap < window`; with a stride, if windows might not move
            on by a whole patch.

    Example:

    >>> for window in plan_windows(10, window=6, overlap=2):
    ...     print(window)
    Window(start=0, end=6, keep_start=0, keep_end=5)
    Window(start=4, end=10, keep_start=5, keep_end=10)
    >>> plan_windows(4, window=6, overlap=2)
    [Window(start=0, end=4, keep_start=0, keep_end=4)]
    >>> [(window.start, window.end) for window in plan_windows(19, window=9, overlap=2, stride=4)]
    [(0, 7), (4, 11), (8, 15), (12, 19)]
    """
    if length < 1:
        raise ValueError(f"length={length}: there is no sequence to cover")
    if window < 1:
        raise ValueError(f"window={window} must be at least 1 nucleotide")
    if not 0 <= overlap < window:
        raise ValueError(f"overlap={overlap} must be in 0..window-1, with window={window}")
    if window - overlap < 2 * stride - 1:
        raise ValueError(
            f"window={window} with overlap={overlap}: a code of this model stands for {stride} nucleotides, so the "
            f"window must be at least {2 * stride - 1} longer than the overlap"
        )
    if length > window:
        window -= (window - length) % stride
    last = max(length - window, 0)
    step = (window - overlap) // stride * stride
    starts = [*range(0, last, step), last]
    ends = [min(start + window, length) for start in starts]
    # A position belongs to the earlier window while it is no nearer to that window's end than to the later's start.
    borders = [(end + start + 1) // 2 for end, start in zip(ends, starts[1:], strict=False)]
    return [Window(*bounds) for bounds in zip(starts, ends, [0, *borders], [*borders, length], strict=True)]


def stitch_windows(values: Sequence[Tensor], windows: Sequence[Window], stride: int = 1) -> Tensor:
    """Put results of windows together: each position takes its value from the window that owns it.

    Args:
        values: for each window a tensor (end - start, ...), one row a position that was read; with a stride one row a
            patch, ((end - start) / s rounded up, ...).
        windows: of `plan_windows` with the same stride.
        stride: s, where rows stand for s positions. A patch on a border belongs to the later window.

    Returns:
        (n, ...), one row a position of the sequence, or (n / s rounded up, ...).

    Raises:
        ValueError: if numbers of windows, or of rows in a window, disagree.

    Example:

    >>> windows = plan_windows(10, window=6, overlap=2)
    >>> stitch_windows([torch.arange(0, 6), torch.arange(4, 10) * 10], windows).tolist()
    [0, 1, 2, 3, 4, 50, 60, 70, 80, 90]
    >>> windows = plan_windows(10, window=6, overlap=1, stride=2)
    >>> stitch_windows([torch.arange(0, 3), torch.arange(2, 5) * 10], windows, stride=2).tolist()
    [0, 1, 20, 30, 40]
    """
    if len(values) != len(windows):
        raise ValueError(f"{len(values)} results for {len(windows)} windows")
    for value, window in zip(values, windows, strict=True):
        if len(value) != -(-(window.end - window.start) // stride):
            what = "a position" if stride == 1 else f"for {stride} positions"
            raise ValueError(f"{len(value)} rows for {window}: there must be one {what} that was read")
    kept = []
    for value, window in zip(values, windows, strict=True):
        first, last = (border // stride - window.start // stride for border in (window.keep_start, window.keep_end))
        kept.append(value[first : len(value) if window is windows[-1] else last])
    return torch.cat(kept)


def read_nucleotides(sequence: Any, name: str = "the sequence") -> Tensor:
    """Turn text into nucleotide ids without special tokens, by the alphabet policy of `tokenization_vqdna`.

    Args:
        sequence: letters of the IUPAC nucleotide alphabet, any case; U is T, ambiguity codes are N.
        name: of the sequence, for the error.

    Returns:
        (n,) ids, int64.

    Raises:
        ValueError: if `sequence` is no string, is empty, or holds another letter (gaps and white space included).

    Example:

    >>> read_nucleotides("acguN").tolist()
    [5, 6, 7, 8, 9]
    >>> read_nucleotides("AC-GT", "read 7")
    Traceback (most recent call last):
    ...
    ValueError: read 7: '-' at position 2 is no nucleotide (IUPAC letters: ACGTURYSWKMBVDHN, any case); take it out
    """
    if not isinstance(sequence, str):
        raise ValueError(f"{name} must be a string of nucleotides, got {type(sequence).__name__}")
    if not sequence:
        raise ValueError(f"{name} is empty: leave it out, or give at least one nucleotide")
    # One byte a letter, whatever the letter; what Latin-1 lacks becomes "?", which is no nucleotide either.
    ids = bytearray(sequence.encode("latin-1", errors="replace").translate(BYTE_TO_ID))
    if (position := ids.find(UNK_ID)) >= 0:
        raise ValueError(
            f"{name}: {sequence[position]!r} at position {position} is no nucleotide "
            f"(IUPAC letters: {IUPAC_LETTERS}, any case); take it out"
        )
    return torch.frombuffer(ids, dtype=torch.uint8).long()


@dataclass(frozen=True)
class _Item:
    """One input that was found good: its name in errors, and its ids (n,)."""

    name: str
    ids: Tensor


def _read_item(entry: Any, number: int | None) -> _Item:
    name = "the sequence" if number is None else f"sequence {number}"
    if isinstance(entry, Mapping):
        if "sequence" not in entry:
            raise ValueError(f"{name}: a dictionary needs the key 'sequence', got {sorted(map(str, entry))}")
        if "id" in entry:
            name = f"{name} ({entry['id']!r})"
        entry = entry["sequence"]
    return _Item(name, read_nucleotides(entry, name))


def _one_of(name: str, value: Any, known: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}={value!r}: choose one of {', '.join(known)}")


def _whole_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name}={value!r} must be a whole number")


class DNAEmbeddingPipeline(ChunkPipeline):
    """Embeddings of DNA: `pipeline("dna-embedding", model=...)`.

    Takes a string, a dictionary with the keys `sequence` and, for errors, `id`, a list of these, or any iterator or
    dataset of these. A list is checked before anything is computed, and gives a list; an iterator gives an iterator.
    Letters follow the alphabet policy: upper and lower case are equal, U is T, every ambiguity code is N. N is a
    position of the sequence, so it counts in the mean, as in the classifier's; special tokens and padding do not.

    A sequence longer than `window` is read in overlapping windows (`plan_windows`). Each nucleotide takes its hidden
    state from the window in which it is most central, then they are pooled. Windows, also those of different
    sequences, are read `batch_size` at a time.

    Args:
        pooling: over a sequence's nucleotides: `"mean"` (default), `"max"`, `"cls"` (the state of `[CLS]`; of several
            windows their mean, weighted by the nucleotides each owns) or `"none"`: one vector a nucleotide.
        strand: `"forward"` (default), `"reverse"`: of the reverse complement, or `"both"`: the mean of the two, equal
            for a sequence and its reverse complement. Row i of `pooling="none"` belongs to letter i on every strand.
        layer: whose hidden states are taken: 0 is the embedding, -1 (default) the last, after the final norm.
        window: in nucleotides; default, and at most: what the model reads (`max_input_tokens - 2`).
        overlap: of windows, in nucleotides; default a quarter of the window.
        return_tensors: False (default): lists of floats, as feature-extraction gives; True or `"pt"`: a tensor on the
            CPU; `"np"`: a numpy array. All fp32.
        batch_size: windows read at once; default 1.

    Options may be given when the pipeline is made, or when it is called. The model may have any head, which is passed
    by, or be a codec: then the vectors are the code vectors, and there are no layers to choose from. With
    `codec_stride` s > 1 windows begin at multiples of s, and the s nucleotides of a code share its vector, and the
    hidden states below the last.

    Returns:
        For each sequence (H,), or (n, H) with `pooling="none"`.

    Raises:
        ValueError: for an empty sequence, a letter that is no nucleotide, something that is no string, or an option
            that does not exist or fit. The message names the item, counted from 0.

    Example:

    >>> from transformers import pipeline
    >>> from vqdna_hf import VQDNAConfig, VQDNAModel, build_tokenizer
    >>> config = VQDNAConfig(
    ...     hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]},
    ... )
    >>> embed = pipeline("dna-embedding", model=VQDNAModel(config), tokenizer=build_tokenizer(), device="cpu")
    >>> len(embed("ACGTN"))
    16
    >>> [vector.shape for vector in embed(["ACGT", "GGC"], strand="both", return_tensors=True)]
    [torch.Size([16]), torch.Size([16])]
    """

    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model.eval()  # an embedding under dropout would be another one each time

    @property
    def _encoder(self) -> Any:
        """The model below any adapter and any head."""
        model = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        return model.base_model

    @property
    def _is_codec(self) -> bool:
        return self._encoder.config.model_type == "vqdna_codec"

    @property
    def _longest_window(self) -> int:
        return _CODEC_WINDOW if self._is_codec else int(self._encoder.config.max_input_tokens) - 2

    @property
    def _stride(self) -> int:
        config = self._encoder.config
        return int((config if self._is_codec else config.codec_config).codec_stride)

    def _sanitize_parameters(
        self,
        pooling: str | None = None,
        strand: str | None = None,
        layer: int | None = None,
        window: int | None = None,
        overlap: int | None = None,
        return_tensors: bool | Literal["pt", "np"] | None = None,
        local_files_only: bool | None = None,  # `pipeline` hands it on after use
        **unknown: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        for name in unknown:
            near = difflib.get_close_matches(name, _OPTIONS, n=1)
            way_out = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_OPTIONS)}"
            raise ValueError(f"dna-embedding has no option {name!r}: {way_out}")
        if pooling is not None:
            _one_of("pooling", pooling, POOLINGS)
        if strand is not None:
            _one_of("strand", strand, STRANDS)
        if layer is not None:
            self._check_layer(layer)
        for name, value in (("window", window), ("overlap", overlap)):
            if value is not None:
                _whole_number(name, value)
        if window is not None and not 1 <= window <= self._longest_window:
            raise ValueError(f"window={window}: this model reads 1 to {self._longest_window} nucleotides at once")
        if return_tensors not in (None, True, False, "pt", "np"):
            raise ValueError(f"return_tensors={return_tensors!r}: choose one of True, False, 'pt', 'np'")
        given: tuple[dict[str, Any], ...] = (
            {"strand": strand, "window": window, "overlap": overlap},
            {"pooling": pooling, "layer": layer},
            {"pooling": pooling, "return_tensors": return_tensors},
        )
        before, during, after = ({key: value for key, value in part.items() if value is not None} for part in given)
        return before, during, after

    def _check_layer(self, layer: int) -> None:
        _whole_number("layer", layer)
        deepest = 0 if self._is_codec else self._encoder.config.num_hidden_layers
        if self._is_codec and layer != -1:
            raise ValueError(f"layer={layer}: a codec has no layers to choose from, leave it out")
        if not -deepest - 1 <= layer <= deepest:
            raise ValueError(f"layer={layer}: this model has hidden states 0..{deepest}, or -{deepest + 1}..-1")

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Embed a sequence, or each of several; see the class for input, options and errors."""
        # As generators, so that nobody asks for their length: there are more windows than sequences.
        if isinstance(inputs, (str, Mapping)):
            item = _read_item(inputs, None)
            return next(iter(super().__call__((entry for entry in [item]), **kwargs)))
        if isinstance(inputs, (list, tuple)):
            items = [_read_item(entry, number) for number, entry in enumerate(inputs)]
            return list(super().__call__((item for item in items), **kwargs))
        if not isinstance(inputs, Iterable):
            if not hasattr(inputs, "__getitem__") or not hasattr(inputs, "__len__"):
                raise ValueError(f"dna-embedding takes a string, a list or an iterator, got {type(inputs).__name__}")
            inputs = map(inputs.__getitem__, range(len(inputs)))  # a data set of torch: it has rows but no iterator
        return super().__call__((_read_item(entry, number) for number, entry in enumerate(inputs)), **kwargs)

    def preprocess(
        self, input_: Any, strand: str = "forward", window: int | None = None, overlap: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Cut one checked sequence into windows: `input_ids`, `attention_mask` and `keep`, each (1, L)."""
        window = self._longest_window if window is None else window
        plan = plan_windows(len(input_.ids), window, window // 4 if overlap is None else overlap, self._stride)
        # The other strand is read in its own windows, so that it equals the forward strand of the reverse complement.
        strands = [False, True] if strand == "both" else [strand == "reverse"]
        for reverse in strands:
            ids = reverse_complement_ids(input_.ids) if reverse else input_.ids
            for piece in plan:
                input_ids = torch.full((1, piece.end - piece.start + 2), SEP_ID)
                input_ids[0, 0], input_ids[0, 1:-1] = CLS_ID, ids[piece.start : piece.end]
                keep = torch.zeros_like(input_ids, dtype=torch.bool)
                keep[0, 1 + piece.keep_start - piece.start : 1 + piece.keep_end - piece.start] = True
                yield {
                    "is_last": reverse == strands[-1] and piece is plan[-1],
                    "reverse": reverse,
                    "input_ids": input_ids,
                    "attention_mask": torch.ones_like(input_ids),
                    "keep": keep,
                }

    def _forward(self, input_tensors: Any, pooling: str = "mean", layer: int = -1) -> dict[str, Any]:
        """Read a batch of windows; what comes back is summed over each, unless every nucleotide was asked for."""
        keep = input_tensors["keep"]
        states = self._hidden_states(input_tensors["input_ids"], input_tensors["attention_mask"], layer).float()
        weight = keep.unsqueeze(-1)
        if pooling == "mean":
            values = (states * weight).sum(1)
        elif pooling == "max":
            values = states.masked_fill(~weight, -torch.inf).amax(1)
        elif pooling == "cls":
            first = input_tensors["attention_mask"].long().argmax(1)  # the tokenizer may pad on the left
            values = states[torch.arange(len(states)), first] * weight.sum(1)
        else:
            values = states
        passed_on = {name: input_tensors[name] for name in ("is_last", "reverse", "keep")}
        return {**passed_on, "values": values}

    def _hidden_states(self, input_ids: Tensor, attention_mask: Tensor, layer: int) -> Tensor:
        """(B, L) -> (B, L, H)."""
        encoder = self._encoder
        if self._is_codec:
            patches = lay_out(input_ids, attention_mask, self._stride)
            return patches.spread(encoder.encode(input_ids, patches=patches).quantized)
        if layer == -1:
            return encoder(input_ids, attention_mask, return_dict=True).last_hidden_state
        return encoder(input_ids, attention_mask, output_hidden_states=True, return_dict=True).hidden_states[layer]

    def postprocess(
        self, model_outputs: Any, pooling: str = "mean", return_tensors: bool | Literal["pt", "np"] = False
    ) -> Any:
        """Put one sequence's windows together, and the strands: (H,), or (n, H) with `pooling="none"`."""
        strands = []
        for reverse in (False, True):
            windows = [output for output in model_outputs if output["reverse"] == reverse]
            if windows:
                strands.append(self._combine(windows, pooling, reverse))
        embedding = torch.stack(strands).mean(0)
        if return_tensors == "np":
            return embedding.numpy()
        return embedding if return_tensors else embedding.tolist()

    @staticmethod
    def _combine(windows: Sequence[Mapping[str, Any]], pooling: str, reverse: bool) -> Tensor:
        if pooling == "none":
            states = torch.cat([window["values"][0][window["keep"][0]] for window in windows])
            return states.flip(0) if reverse else states
        values = torch.cat([window["values"] for window in windows])
        if pooling == "max":
            return values.amax(0)
        count = sum(int(window["keep"].sum()) for window in windows)
        return (values.double().sum(0) / count).float()
