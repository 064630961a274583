# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What the frozen codec costs: its share of a step, what bounds it, and ways to run it."""

import functools
import inspect
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from speed.measure import Context, Row, Timing, compare, peak_memory, seconds, synchronize
from speed.peers import Trainee, fill_codebooks, nucleotides, ours, recipe
from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecEncoder
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, NUM_NUCLEOTIDES

TITLE = "Codec: the frozen vocabulary's share of a step, what bounds it, and ways to run it"
GOAL = 0.15
LENGTHS = (128, 512, 2048, 8192)


def run(context: Context) -> Iterator[Row]:
    """Share of the step, then the parts of `encode`, then ways to run it."""
    yield from shares(context)
    yield from parts(context)
    yield from ways(context)


class Watch:
    """Time spent, and bytes kept for backward, within the methods of a module; of nested calls the outermost counts.

    It stands on every method of the module and of those within it, not on `forward` alone: so it stays right
    whichever of them the model calls.

    Args:
        module: what to watch.
        device: to wait for at both ends of a call.
        count: a counter of arithmetic that is switched on within calls.
    """

    def __init__(self, module: nn.Module, device: torch.device, count: FlopCounterMode | None = None) -> None:
        self.device, self.count = device, count
        self.seconds, self.kept, self.flops, self._inside = 0.0, 0, 0, False
        self._places: list[tuple[nn.Module, str]] = []
        for part in module.modules():
            own = type(part).__mro__[: type(part).__mro__.index(nn.Module)]
            names = {name for kind in own for name, value in vars(kind).items() if inspect.isfunction(value)}
            names = {name for name in names if not name.startswith("__")} - {"_apply", "train", "extra_repr"}
            self._places += [(part, name) for name in sorted(names)]

    def __enter__(self) -> "Watch":
        self.seconds, self.kept, self.flops = 0.0, 0, 0
        for part, name in self._places:
            setattr(part, name, self._watched(getattr(part, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for part, name in self._places:
            delattr(part, name)

    def _watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return method(*args, **kwargs)
            self._inside = True
            try:
                return self._measured(method, *args, **kwargs)
            finally:
                self._inside = False

        return call

    def _measured(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.count is not None:
            with self.count:  # it starts anew each time it is switched on
                result = method(*args, **kwargs)
            self.flops += self.count.get_total_flops()
            return result
        synchronize(self.device)
        start = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor):
            result = method(*args, **kwargs)
        synchronize(self.device)
        self.seconds += time.perf_counter() - start
        return result

    def _keep(self, tensor: Tensor) -> Tensor:
        self.kept += tensor.numel() * tensor.element_size()
        return tensor


def shares(context: Context) -> Iterator[Row]:
    """The codec's share of a step of masked modelling at the length of the recipes."""
    length, sequences = (32, 2) if context.quick else (512, 128 if context.on_gpu else 2)
    table = f"Share of the masked-LM step at length {length}"
    for size in ("tiny",) if context.quick else ("base", "small"):
        if context.out_of_time():
            yield context.left_out(table, f"`{size}`")
            continue
        trainee = Trainee(ours(recipe(size)), sequences, length, context.device)
        watch = Watch(trainee.model.vqdna.codec, context.device)
        bare, watched, within = Timing(), Timing(), Timing()
        trainee.step()
        for _ in range(context.repeats):
            bare.seconds.append(seconds(trainee.step, context.device))
            with watch:
                watched.seconds.append(seconds(trainee.step, context.device))
            within.seconds.append(watch.seconds)
            if watch.kept:
                raise RuntimeError(f"the frozen codec keeps {watch.kept} bytes for backward")
        yield {
            "table": table,
            "recipe": size,
            "codec's share": 1 / within.times_faster_than(watched),
            "goal": f"below {GOAL}",
            "share of arithmetic": arithmetic_share(trainee),
            "step, s": bare.median,
            "codec, s": within.median,
            "kept for backward, bytes": watch.kept,
            "bases": trainee.bases,
        }
    yield {
        "table": table,
        "note": f"{'bf16 by autocast' if context.on_gpu else 'fp32'}, {sequences} windows. Both passes of the codec in "
        "a step count, over the masked and over the clean sequence. Arithmetic is that of matrix products, "
        "convolutions and attention.",
    }


def arithmetic_share(trainee: Trainee) -> float:
    """The codec's share of the floating-point operations of a step."""
    whole = FlopCounterMode(display=False)
    watch = Watch(trainee.model.vqdna.codec, trainee.device, FlopCounterMode(display=False))
    with whole, watch:
        trainee.step()
    return watch.flops / whole.get_total_flops()


def encoder_of(context: Context) -> VQDNACodecEncoder:
    """The codec of the `base` recipe, frozen, with codebooks that hold vectors that occur."""
    torch.manual_seed(0)
    with context.device:
        encoder = VQDNACodecEncoder(recipe("tiny" if context.quick else "base").codec_config).eval()
    fill_codebooks(encoder)
    return encoder.requires_grad_(False)


@torch.no_grad()
def encode(encoder: VQDNACodecEncoder, ids: Tensor) -> Tensor:
    """Codes (B, Q, M), as the language model asks for them."""
    return encoder(ids, update_codebooks=False, return_loss=False).codes


def batch_of(context: Context, length: int) -> Tensor:
    """The same number of bases for every length."""
    bases = 256 if context.quick else 65536 if context.on_gpu else 8192
    return nucleotides(bases // length, length, context.device)


def parts(context: Context) -> Iterator[Row]:
    """Where the time of `encode` goes, by length."""
    table = "Parts of encode, shares of its time"
    encoder = encoder_of(context)
    watched: dict[str, list[nn.Module]] = {
        "depth-wise convolution": [block.depthwise for block in encoder.blocks],
        "LayerNorm": [block.norm for block in encoder.blocks],
        "blocks": list(encoder.blocks),
        "taps": [*encoder.tap_norms, *encoder.tap_projections],
        "quantizer": [encoder.quantizer],
    }
    for length in (32, 128) if context.quick else LENGTHS:
        if context.out_of_time():
            yield context.left_out(table, f"length {length}")
            continue
        ids = batch_of(context, length)
        taken: dict[str, list[float]] = {name: [] for name in (*watched, "all")}
        bare = []
        for number in range(context.repeats + 1):
            whole = seconds(lambda ids=ids: encode(encoder, ids), context.device)
            inner = module_seconds(watched, lambda ids=ids: encode(encoder, ids), context.device)
            if number:
                bare.append(whole)
                for name, value in inner.items():
                    taken[name].append(value)
        share = {name: 1 / Timing(values).times_faster_than(Timing(taken["all"])) for name, values in taken.items()}
        yield {
            "table": table,
            "length": length,
            "stem, one-hot, masks": 1 - share["blocks"] - share["taps"] - share["quantizer"],
            "depth-wise convolution": share["depth-wise convolution"],
            "LayerNorm": share["LayerNorm"],
            "linear, GELU, residual": share["blocks"] - share["depth-wise convolution"] - share["LayerNorm"],
            "taps": share["taps"],
            "quantizer": share["quantizer"],
            "bases/s": ids.numel() / Timing(bare).median,
            "bases": ids.numel(),
        }
    yield {
        "table": table,
        "note": "Codec of the `base` recipe, fp32, eager. The device is waited for behind each part.",
    }


def module_seconds(
    groups: dict[str, list[nn.Module]], call: Callable[[], object], device: torch.device
) -> dict[str, float]:
    """Seconds within the modules of each group during one call, and of `all`."""
    found, starts, handles = dict.fromkeys(groups, 0.0), {}, []
    for name, modules in groups.items():

        def begin(module: nn.Module, _: Any, name: str = name) -> None:
            synchronize(device)
            starts[name] = time.perf_counter()

        def end(module: nn.Module, _: Any, __: Any, name: str = name) -> None:
            synchronize(device)
            found[name] += time.perf_counter() - starts[name]

        for module in modules:
            handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    try:
        return {**found, "all": seconds(call, device)} | found
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def plain_encode(encoder: VQDNACodecEncoder, ids: Tensor) -> Tensor:
    """The published codec written in the plainest way, for nucleotides without special tokens: (B, L) -> (B, Q, L).

    One-hot by `F.one_hot`, convolutions by `conv1d` over (B, C, L), distances by `torch.cdist`: the reference for the
    codes and for the speed.
    """
    x = F.one_hot(ids - FIRST_NUCLEOTIDE_ID, NUM_NUCLEOTIDES).to(encoder.stem.weight.dtype).transpose(1, 2)
    x = F.conv1d(x, encoder.stem.weight, encoder.stem.bias, padding=encoder.stem.padding).transpose(1, 2)
    x = encoder.stem_projection(F.gelu(encoder.stem_norm(x)))
    codes: list[Tensor] = []
    entry: Tensor | None = None
    for position, block in enumerate(encoder.blocks, start=1):
        conv = block.depthwise
        y = F.conv1d(x.transpose(1, 2), conv.weight, conv.bias, padding=conv.padding, groups=conv.groups)
        x = x + block.down(F.gelu(block.up(block.norm(y.transpose(1, 2)))))
        if position in encoder.config.tap_positions:
            level = len(codes)
            latent = encoder.tap_projections[level](encoder.tap_norms[level](x)).float()
            residual = latent if entry is None else 2 * latent - entry
            book = encoder.quantizer.codebooks[level].embed
            codes.append(torch.cdist(residual.flatten(0, 1), book).argmin(-1).view(ids.shape))
            entry = book[codes[-1]]
    return torch.stack(codes, 1)


def ways(context: Context) -> Iterator[Row]:
    """Ways to run the encoder at one shape: plain, ours, compiled, in bf16, as a CUDA graph."""
    length = 64 if context.quick else 512
    table = f"Ways to run encode at length {length}"
    encoder, ids = encoder_of(context), batch_of(context, length)
    calls: dict[str, Callable[[], Tensor]] = {
        "eager": lambda: encode(encoder, ids),
        "plain reference (conv1d, cdist)": lambda: plain_encode(encoder, ids),
    }
    first: dict[str, float] = {}
    for name, call in extra_ways(encoder, ids, context).items():
        if context.out_of_time(60):
            yield context.left_out(table, name)
            continue
        try:
            first[name] = seconds(call, context.device)
            calls[name] = call
        except RuntimeError as error:  # no C++ compiler, or a version of torch that cannot
            yield {"table": table, "note": f"{name} does not run here: {(str(error).splitlines() or [''])[0][:150]}"}
    expected = calls["eager"]().clone()
    differ = {name: (call() != expected).float().mean().item() for name, call in calls.items()}
    # Another order of summing moves latents by 1e-6, and cuDNN's convolutions of fp32, which are TF32 by default, by
    # 1e-3: two entries that are nearly as near may change places.
    tolerated = 1e-2 if context.on_gpu else 1e-4
    for name, share in differ.items():
        if share > (0.5 if "bf16" in name else tolerated):
            raise RuntimeError(f"{name}: {share:.2%} of the codes are not those of the eager encoder")
    memory = {name: peak_memory(call, context.device) for name, call in calls.items()}
    timings = compare(calls, context)
    for name, timing in timings.items():
        yield {
            "table": table,
            "way": name,
            "times faster than eager": timing.times_faster_than(timings["eager"]),
            "bases/s": timing.error or ids.numel() / timing.median,
            "peak MB": memory[name] / 1e6,
            "share of codes that differ": differ[name],
            "first call, s": first.get(name),
        }
    yield {"table": table, "note": f"Codec of the `base` recipe, {ids.numel():,} bases; the first call compiles."}


def extra_ways(encoder: VQDNACodecEncoder, ids: Tensor, context: Context) -> dict[str, Callable[[], Tensor]]:
    """Compiled everywhere; bf16 and CUDA graphs on a GPU."""
    if context.quick:
        return {}
    compiled = torch.compile(encoder)
    found: dict[str, Callable[[], Tensor]] = {"torch.compile": lambda: encode(compiled, ids)}
    if not context.on_gpu:
        return found
    graphed = torch.compile(encoder, mode="reduce-overhead")

    def in_bf16(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def way() -> Tensor:
            with torch.autocast("cuda", dtype=torch.bfloat16):
                return call()

        return way

    found["bf16"] = in_bf16(lambda: encode(encoder, ids))
    found["bf16, torch.compile"] = in_bf16(lambda: encode(compiled, ids))
    found["CUDA graph"] = recorded(lambda: encode(encoder, ids))
    found["bf16, CUDA graph"] = recorded(in_bf16(lambda: encode(encoder, ids)))
    # Its results are overwritten by the next call: they are compared at once, and never kept.
    found["bf16, torch.compile, CUDA graph"] = in_bf16(lambda: encode(graphed, ids).clone())
    return found


def recorded(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The call as one CUDA graph of fixed shapes, recorded at the first use."""
    graph: list[Any] = []

    def way() -> Tensor:
        if not graph:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # what starts up lazily must have done so before the recording
                for _ in range(3):
                    call()
            torch.cuda.current_stream().wait_stream(side)
            recording = torch.cuda.CUDAGraph()
            with torch.cuda.graph(recording):
                result = call()
            graph.extend((recording, result))
        graph[0].replay()
        return graph[1]

    return way
