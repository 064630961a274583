"""Write a model as an ONNX graph with dynamic batch and length, and compare it with the model it came from."""

import contextlib
import copy
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from vqdna_hf.data.files import atomic_folder
from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig, VQDNAConfig
from vqdna_hf.model.quantization_vqdna import NO_CODE
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, MASK_ID, NUM_NUCLEOTIDES, PAD_ID, build_tokenizer

ONNX_FILE = "model.onnx"
"""The graph's name in its folder; weights of more than 2 GB stand beside it in `model.onnx.data`."""

_LONGEST_CHECK = 1024  # positions; attention needs memory of their square
_TOLERANCE = 1e-4  # of outputs, relative where these are larger than 1
_TIES = 1e-3  # the share of codes that may differ: two entries all but equally near, rounded to either side


@dataclass(frozen=True)
class OnnxReport:
    """What `export_onnx` wrote, and how near it is to the model.

    Attributes:
        path: of the graph.
        outputs: names of the graph's outputs.
        max_difference: the largest absolute difference of an output at positions that are not padding, in sequences
            whose codes are equal; None without the check.
        different_codes: number of codes that differ: ties, where two entries are equally near but for rounding.
        checked_codes: number of codes that were compared.

    Example:

    >>> OnnxReport(Path("vqdna-hrq/onnx/model.onnx"), ("logits", "codes"), max_difference=4.8e-7).outputs
    ('logits', 'codes')
    """

    path: Path
    outputs: tuple[str, ...]
    max_difference: float | None = None
    different_codes: int = 0
    checked_codes: int = 0


class _Graph(nn.Module):
    """The model with tensors in and a tuple of tensors out: its answer first, then the codes."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.is_codec = model.config.model_type == VQDNACodecConfig.model_type
        self.is_bare = model.base_model is model and not self.is_codec
        self.stride = (model.config if self.is_codec else model.config.codec_config).codec_stride
        self.outputs = ("last_hidden_state" if self.is_bare else "logits", "codes")

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L), (B, L) -> the tensors that `outputs` names."""
        if self.is_codec:
            output = self.model(input_ids, attention_mask, return_loss=False, return_dict=True)
            return output.logits, output.codes
        seen: list[Tensor] = []
        # Classifiers do not hand the codes on.
        hook = self.model.base_model.register_forward_hook(lambda *call: seen.append(call[-1].codes))
        try:
            output = self.model(input_ids, attention_mask, return_dict=True)
        finally:
            hook.remove()
        return output[self.outputs[0]], seen[0]


def _require_packages(check: bool) -> None:
    names = ["onnx", "onnxscript", *(["onnxruntime"] if check else [])]
    if missing := [name for name in names if importlib.util.find_spec(name) is None]:
        raise ValueError(f"export_onnx needs {', '.join(missing)}: pip install 'vqdna_hf[onnx]'")


def _refuse(model: PreTrainedModel, folder: Path) -> None:
    if hasattr(model, "merge_and_unload"):
        raise ValueError("the model has adapters: merge them first, model = model.merge_and_unload()")
    if getattr(getattr(model, "config", None), "model_type", None) not in (
        VQDNAConfig.model_type,
        VQDNACodecConfig.model_type,
    ):
        raise ValueError(f"export_onnx takes models of this package, got {type(model).__name__}")
    if getattr(model, "hf_quantizer", None) is not None:
        raise ValueError(
            "the model is quantized by torchao, whose tensors ONNX does not have: export the original, and quantize "
            "the graph with the tools of ONNX Runtime"
        )
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: choose another place")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    # A model's own folder, weights and all, would be replaced by the graph.
    if names and (ONNX_FILE not in names or any(name.endswith(".safetensors") for name in names)):
        raise ValueError(f"{folder} is there already and is no earlier ONNX export: try {folder / 'onnx'}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of what it does itself (deprecations, operators of packages that are not there)."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _inputs(batch: int, length: int) -> dict[str, Tensor]:
    """Random nucleotides with a `[MASK]`; the last of several sequences is half padding."""
    generator = torch.Generator().manual_seed(batch * 65536 + length)
    ids = torch.randint(
        FIRST_NUCLEOTIDE_ID, FIRST_NUCLEOTIDE_ID + NUM_NUCLEOTIDES, (batch, length), generator=generator
    )
    ids[:, length // 4] = MASK_ID
    if batch > 1:
        ids[-1, (length + 1) // 2 :] = PAD_ID
    return {"input_ids": ids, "attention_mask": (ids != PAD_ID).long()}


def _write_graph(graph: _Graph, path: Path, longest: int | None) -> None:
    batch, length = torch.export.Dim("batch", min=1), torch.export.Dim("length", min=1, max=longest)
    dynamic = {name: {0: batch, 1: length} for name in ("input_ids", "attention_mask")}
    with _quiet(), torch.no_grad():
        # In two steps: left alone, the second would answer a length that cannot vary with a graph of fixed length.
        program = torch.export.export(graph, (), _inputs(2, min(longest or 16, 16)), dynamic_shapes=dynamic)
        onnx_program = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(dynamic),
            output_names=list(graph.outputs),
            dynamic_shapes=dynamic,
            verbose=False,
        )
        assert onnx_program is not None  # it is with dynamo=True
        # What the exporter notes on each node names files of this machine.
        for node in onnx_program.model.graph.all_nodes():
            node.metadata_props.clear()
        onnx_program.save(path)


def _compare(graph: _Graph, path: Path, longest: int) -> dict[str, Any]:
    """Run the graph with ONNX Runtime at several batches and lengths."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst, different, total = 0.0, 0, 0
    for batch, length in {(1, min(3, longest)), (2, min(24, longest)), (3, longest), (1, longest)}:
        inputs = _inputs(batch, length)
        with torch.no_grad():
            expected, codes = graph(**inputs)
        answer, found = map(torch.from_numpy, session.run(None, {name: x.numpy() for name, x in inputs.items()}))
        # With a stride the graph has room for more patches than these sequences have.
        differs = found != torch.nn.functional.pad(codes, (0, found.shape[2] - codes.shape[2]), value=NO_CODE)
        different += int(differs.sum())
        total += int((codes != NO_CODE).sum())
        error = (answer - expected).abs()
        if error.dim() == 3 and not (graph.is_codec and graph.stride == 1):
            error = error.masked_fill(inputs["attention_mask"].unsqueeze(-1) == 0, 0.0)
        # A code rounded to the other side changes its whole sequence; that is counted, not measured.
        largest = float(error[~differs.flatten(1).any(1)].max()) if not differs.flatten(1).any(1).all() else 0.0
        worst = max(worst, largest)
        if not largest <= _TOLERANCE * max(1.0, float(expected.abs().max())):  # NaN is not
            raise ValueError(f"the ONNX graph is {largest:.2g} off the model at batch {batch}, length {length}")
    if different > _TIES * total:
        raise ValueError(
            f"the ONNX graph gives {different} of {total} codes another value than the model: no mere ties"
        )
    return {"max_difference": worst, "different_codes": different, "checked_codes": total}


def export_onnx(model: PreTrainedModel, folder: str | Path, *, check: bool = True) -> OnnxReport:
    """Write `folder` with an ONNX graph of the model, its configuration and its tokenizer.

    Inputs of the graph, both int64 of shape (batch, length), both dynamic: `input_ids`, nucleotide ids with special
    tokens as the tokenizer gives them, and `attention_mask`, 0 at padding. Length goes up to the model's
    `max_input_tokens`. Outputs: `last_hidden_state` (batch, length, H), fp32, of the bare model, else `logits`
    as the head gives them; and `codes` (batch, Q, length), int64, -1 at padding and special tokens. At padding the
    other outputs mean nothing. With `codec_stride` s > 1 there are length / s + 4 codes, rounded up: those of the
    model, and -1 behind them.

    The graph is fp32 whatever the model's dtype, and the model is left as it is. The folder is written beside its
    place and moved there when it is whole and, with `check`, when ONNX Runtime agrees with the model: within 1e-4 at
    several batches and lengths, up to 1,024 positions.

    Args:
        model: any class of this package, the codec included.
        folder: of the result, by custom `onnx/` inside the model's own. An earlier ONNX export there is replaced.
        check: compare with ONNX Runtime.

    Returns:
        What was written and the largest difference found.

    Raises:
        ValueError: if `onnx`, `onnxscript` or, with `check`, `onnxruntime` is not installed; if the model is quantized;
            if `folder` holds something else; if the graph disagrees with the model.

    Example:

    >>> export_onnx(nn.Linear(2, 2), "vqdna-hrq/onnx")  # one that works stands in docs/switches.md
    Traceback (most recent call last):
    ...
    ValueError: export_onnx takes models of this package, got Linear
    """
    folder = Path(folder)
    _require_packages(check)
    _refuse(model, folder)
    twin = copy.deepcopy(model).to("cpu", torch.float32).eval()
    if twin.config.model_type == VQDNAConfig.model_type:
        twin.set_attn_implementation("sdpa")  # of the others, flex and flash are no ONNX operators
    graph = _Graph(twin).eval()
    longest = getattr(twin.config, "max_input_tokens", None)
    with atomic_folder(folder) as temporary:
        _write_graph(graph, temporary / ONNX_FILE, longest)
        result = _compare(graph, temporary / ONNX_FILE, min(longest or _LONGEST_CHECK, _LONGEST_CHECK)) if check else {}
        twin.config.to_json_file(temporary / "config.json")
        build_tokenizer(longest or 8192).save_pretrained(temporary)
    return OnnxReport(path=folder / ONNX_FILE, outputs=graph.outputs, **result)
