# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`EndpointHandler`: what Hugging Face Inference Endpoints call when a folder holds it as `handler.py`.

It needs torch and transformers alone; the model's code comes from the folder. A request and its answer, as JSON:

    {"inputs": "ACGTTGCA"}
    {"inputs": ["ACGTTGCA", "GGCATN"], "parameters": {"task": "embedding", "strand": "both"}}
    {"inputs": "ACG[MASK]TT", "parameters": {"top_k": 2}}

A bad request raises `ValueError` with one sentence that names the item; the inference toolkit answers it with status
400 and `{"error": "<that sentence>"}`, and the handler goes on.
"""

import contextlib
import difflib
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)
from transformers.dynamic_module_utils import get_class_from_dynamic_module

logger = logging.getLogger(__name__)

_MASK = "[MASK]"
_NUCLEOTIDES = ["A", "C", "G", "T"]
_ANYWHERE = {
    "embedding": ("layer", "overlap", "pooling", "strand", "window"),
    "codes": (),
}
_OF_ONE_HEAD = {
    "fill-mask": ("targets", "top_k"),
    "text-classification": ("function_to_apply", "top_k"),
    "token-classification": ("aggregation_strategy", "ignore_labels"),
}
_PARAMETERS: dict[str, tuple[str, ...]] = {**_ANYWHERE, **_OF_ONE_HEAD}
# How the name of an architecture ends, the class that loads it, and the task of its head.
_HEADS = (
    ("ForMaskedLM", AutoModelForMaskedLM, "fill-mask"),
    ("ForSequenceClassification", AutoModelForSequenceClassification, "text-classification"),
    ("ForTokenClassification", AutoModelForTokenClassification, "token-classification"),
)


class EndpointHandler:
    """Answers requests to one exported folder.

    The task follows the folder's architecture and may be chosen by `parameters.task`:

    | folder | task without a choice | answer for one sequence |
    |---|---|---|
    | sequence classification | `text-classification` | `[{"label", "score"}, ...]`, all labels, best first |
    | token classification | `token-classification` | `[{"entity", "score", "index", "word", "start", "end"}, ...]` |
    | masked LM, `[MASK]` in the input | `fill-mask` | `[{"score", "token", "token_str", "sequence"}, ...]`, A C G T |
    | masked LM or bare model | `embedding` | a list of floats; with `pooling="none"` one a nucleotide |
    | codec | `codes` | one list of code ids a level, coarse to fine, one id for `codec_stride` nucleotides |

    `embedding` and `codes` are there for every folder. One string gets one answer, a list of strings a list. For
    sequence classification `{"text": ..., "text_pair": ...}` is a pair. Embeddings and codes read sequences of any
    length by windows; the other tasks at most what the model reads.

    On a GPU everything but codes runs under autocast, in bf16 where the GPU has it, else in fp16: code ids are those
    of fp32. No answer depends on chance.

    Args:
        path: the folder; default: where the process runs.

    Attributes:
        max_sequences: in one request.
        max_nucleotides: in one request, all sequences together.
        batch_size: sequences, or windows, read at once.

    Example:

    >>> import tempfile
    >>> from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
    >>> from vqdna_hf.hub import export
    >>> config = VQDNACodecConfig(
    ...     hidden_size=16, stem_size=8, num_blocks=2, tap_positions=[1, 2], codebook_sizes=[8, 16], codebook_dim=16
    ... )
    >>> codec = VQDNACodecModel(config).train()
    >>> output = codec(torch.randint(5, 9, (4, 40)))  # fills the codebooks
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(codec, folder)
    ...     handler = EndpointHandler(folder)
    >>> [[len(level) for level in codes] for codes in handler({"inputs": ["ACGT", "GGCATN"]})]
    [[4, 4], [6, 6]]
    >>> handler({"inputs": ["ACGT", "AC-GT"]})
    Traceback (most recent call last):
    ...
    ValueError: inputs[1]: '-' at position 2 is no nucleotide (IUPAC letters: ACGTURYSWKMBVDHN, any case); take it out
    """

    max_sequences = 256
    max_nucleotides = 1_000_000
    batch_size = 8

    def __init__(self, path: str | Path = "") -> None:
        folder = str(Path(path).resolve())
        config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
        architecture = (config.architectures or [""])[0]
        loader, self.head_task = AutoModel, ""
        for ending, head_loader, task in _HEADS:
            if architecture.endswith(ending):
                loader, self.head_task = head_loader, task
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = loader.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32)
        self.model = model.to(self.device).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
        self.is_codec = config.model_type == "vqdna_codec"
        embedding = get_class_from_dynamic_module("pipeline_vqdna.DNAEmbeddingPipeline", folder)
        self._windows = sys.modules[embedding.__module__]
        parts = {"model": self.model, "tokenizer": self.tokenizer, "device": self.device}
        self._pipelines: dict[str, Callable[..., Any]] = {"embedding": embedding(task="dna-embedding", **parts)}
        if self.head_task:
            self._pipelines[self.head_task] = pipeline(self.head_task, **parts)

    def __call__(self, data: dict[str, Any]) -> Any:
        """Answer one request.

        Args:
            data: `inputs`, a string or a list of strings, and `parameters`, a dictionary or nothing: `task`, and the
                options of that task (`_PARAMETERS`). Other keys are passed over.

        Returns:
            What `json.dumps` takes; see the class.

        Raises:
            ValueError: for a bad request, in one sentence.
            RuntimeError: if the model could not answer a good one; the reason is in the log.
        """
        try:
            with torch.inference_mode():
                return self._answer(data)
        except ValueError as error:
            raise ValueError(str(error).partition("\n")[0]) from None
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise ValueError("the request does not fit into memory: send fewer or shorter sequences") from None
        except Exception:
            logger.exception("a request failed")
            raise RuntimeError("the model could not answer: the reason is in the endpoint's log") from None

    def _answer(self, data: Any) -> Any:
        if not isinstance(data, dict) or "inputs" not in data:
            raise ValueError('a request is {"inputs": ..., "parameters": {...}}: inputs is missing')
        inputs = data["inputs"]
        many = isinstance(inputs, list)
        entries = inputs if many else [inputs]
        if not entries:
            raise ValueError("inputs is an empty list: send at least one sequence")
        if len(entries) > self.max_sequences:
            raise ValueError(f"inputs has {len(entries)} sequences, at most {self.max_sequences} are answered at once")
        names = [f"inputs[{number}]" if many else "inputs" for number in range(len(entries))]
        task, options = self._task_and_options(data.get("parameters"), entries)
        for name, entry in zip(names, entries, strict=True):
            self._check_entry(name, entry, task)
        total = sum(len(text) for entry in entries for text in _texts(entry))
        if total > self.max_nucleotides:
            raise ValueError(f"inputs has {total} nucleotides, at most {self.max_nucleotides} are answered at once")
        if task == "codes":
            answers = [self._codes(entry) for entry in entries]
        else:
            with self._half_precision():
                answers = self._run_pipeline(task, entries, options)
        return _plain(answers if many else answers[0])

    def _task_and_options(self, parameters: Any, entries: list[Any]) -> tuple[str, dict[str, Any]]:
        parameters = {} if parameters is None else parameters
        if not isinstance(parameters, dict):
            raise ValueError(f"parameters must be an object, got {json.dumps(parameters, default=str)[:80]}")
        options = {name: value for name, value in parameters.items() if value is not None}
        task = options.pop("task", None) or self._default_task(entries)
        known = sorted({*_ANYWHERE, *filter(None, [self.head_task])})
        if task not in known:
            raise ValueError(f"parameters.task is {task!r}, this model knows {', '.join(known)}")
        for name in options:
            if name not in _PARAMETERS[task]:
                near = difflib.get_close_matches(name, _PARAMETERS[task], n=1)
                there_are = ", ".join(("task", *_PARAMETERS[task]))
                way_out = f"did you mean {near[0]!r}?" if near else f"for the task {task} there are {there_are}"
                raise ValueError(f"parameters.{name} is unknown: {way_out}")
        if "top_k" in options:
            _check_top_k(options["top_k"])
        _check_names(options)
        return task, options

    def _default_task(self, entries: list[Any]) -> str:
        if self.head_task == "fill-mask":
            masked = any(isinstance(entry, str) and _MASK in entry for entry in entries)
            return "fill-mask" if masked else "embedding"
        return self.head_task or ("codes" if self.is_codec else "embedding")

    def _check_entry(self, name: str, entry: Any, task: str) -> None:
        if task == "text-classification" and isinstance(entry, dict):
            if sorted(entry) != ["text", "text_pair"]:
                raise ValueError(f"{name}: a pair is {{'text': ..., 'text_pair': ...}}, got {sorted(entry)}")
            for key, text in entry.items():
                self._windows.read_nucleotides(text, f"{name}.{key}")
        elif task == "fill-mask" and isinstance(entry, str):
            if _MASK not in entry:
                raise ValueError(f"{name} holds no {_MASK}: put it where a nucleotide is to be proposed")
            self._windows.read_nucleotides(entry.replace(_MASK, "N" * len(_MASK)), name)  # positions stay true
        else:
            self._windows.read_nucleotides(entry, name)
        if task in _OF_ONE_HEAD:
            texts = [text.replace(_MASK, "N") for text in _texts(entry)]
            longest = self.model.config.max_input_tokens - 1 - len(texts)
            if (length := sum(map(len, texts))) > longest:
                raise ValueError(f"{name} has {length} nucleotides, {task} reads at most {longest}: send a part of it")

    def _half_precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.device.type != "cuda":
            return contextlib.nullcontext()
        return torch.autocast("cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)

    def _run_pipeline(self, task: str, entries: list[Any], options: dict[str, Any]) -> list[Any]:
        if task == "fill-mask":
            options = {"targets": _NUCLEOTIDES, **options}  # or special tokens would be proposed
        elif task == "text-classification":
            options = {"top_k": None, **options}
        elif task == "token-classification":
            options = {"ignore_labels": [], **options}
        answers = self._pipelines[task](entries, batch_size=min(self.batch_size, len(entries) * 4), **options)
        # The stock fill-mask pipeline answers a list of one like the one.
        return [answers] if task == "fill-mask" and len(entries) == 1 else answers

    def _codes(self, sequence: str) -> list[list[int]]:
        """Code ids, Q lists of n / s, rounded up. Windows overlap by what a code can see, so they change nothing."""
        encoder = self.model.base_model
        codec_config = self.model.config if self.is_codec else self.model.config.codec_config
        ids = self._windows.read_nucleotides(sequence).to(self.device)
        stride, seen = codec_config.codec_stride, codec_config.receptive_field
        plan = self._windows.plan_windows(len(ids), 8 * seen + 4096, seen + 2 * (stride - 1), stride)
        pieces = [encoder.encode(ids[piece.start : piece.end].unsqueeze(0)).codes[0].T for piece in plan]
        return self._windows.stitch_windows(pieces, plan, stride).T.tolist()


def _texts(entry: Any) -> list[str]:
    return list(entry.values()) if isinstance(entry, dict) else [entry]


def _check_top_k(top_k: Any) -> None:
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise ValueError(f"parameters.top_k is {top_k!r}: it must be a whole number from 1")


def _check_names(options: dict[str, Any]) -> None:
    """The options of stock pipelines that take names; those of embeddings are checked where they are read."""
    known = {
        "aggregation_strategy": ("none", "simple", "first", "average", "max"),
        "function_to_apply": ("sigmoid", "softmax", "none"),
    }
    for name, choices in known.items():
        if name in options and options[name] not in choices:
            raise ValueError(f"parameters.{name} is {options[name]!r}: choose one of {', '.join(choices)}")
    labels = options.get("ignore_labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"parameters.ignore_labels is {labels!r}: it must be a list of labels")
    targets = options.get("targets", _NUCLEOTIDES)
    if not isinstance(targets, list) or not targets or not all(target in _NUCLEOTIDES for target in targets):
        raise ValueError(f"parameters.targets is {targets!r}: it must be a list of some of {', '.join(_NUCLEOTIDES)}")


def _plain(value: Any) -> Any:
    """Turn what pipelines answer into what JSON has: numpy scalars become numbers."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value
