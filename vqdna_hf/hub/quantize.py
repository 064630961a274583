"""int8 weight-only quantization of the backbone and the heads, by torchao through Transformers."""

import importlib.util

from transformers import TorchAoConfig

INT8_EXCLUDED = ["codec", "vqdna.codec"]
"""Modules that are not quantized: the codec, whose codes are the nearest of many entries and would jump to others.

Transformers matches these names from the start: in the bare model the codec is `codec`, within a head `vqdna.codec`,
and neither stands for the other. Without this package, on remote code, write the list out.
"""


def int8_config() -> TorchAoConfig:
    """The `quantization_config` for `from_pretrained`: weights of linear layers in int8, activations as they are.

    What it loses is measured by `benchmarks/bench_int8.py`. Codes stay equal to the bit. The model saves to
    safetensors, and loads again without this configuration. On a CPU it saves memory, not time: weights are turned
    back into floats for each product.

    Raises:
        ValueError: if torchao is not installed.

    Example:

    >>> INT8_EXCLUDED
    ['codec', 'vqdna.codec']
    >>> int8_config().modules_to_not_convert  # doctest: +SKIP
    ['codec', 'vqdna.codec']
    """
    if importlib.util.find_spec("torchao") is None:
        raise ValueError("int8 needs torchao: pip install 'vqdna_hf[int8]'")
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=list(INT8_EXCLUDED))
