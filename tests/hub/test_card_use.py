# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The code that a card shows runs as it stands, for every stage."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL
from run_folders import CODEC_RESULTS, parent, record, tuned, write_run
from transformers import set_seed

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAForMaskedLM, VQDNAForSequenceClassification
from vqdna_hf.hub import export, load_run
from vqdna_hf.hub.card_text import use

CODEC = VQDNACodecModel


@pytest.mark.parametrize(
    ("model_class", "stride"),
    [(CODEC, 1), (VQDNAForMaskedLM, 1), (VQDNAForSequenceClassification, 1), (CODEC, 4), (VQDNAForMaskedLM, 4)],
)
def test_the_code_runs(model_class: type, stride: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC, codec_stride=stride))
    codec.train()(torch.randint(5, 9, (8, 40)))
    export(codec if model_class is CODEC else model_class.from_codec(codec, **TINY_MODEL), tmp_path / "vqdna-test")
    if model_class is VQDNAForSequenceClassification:
        run = tuned(tmp_path / "run")
    else:
        behind = [] if model_class is CODEC else [parent("codec", 0, CODEC_RESULTS, [], "codec")]
        made = copy.deepcopy(record("codec" if model_class is CODEC else "mlm", 0, {}, behind))
        if stride > 1:
            config = made["model"]["config"]
            config.get("codec_config", config)["codec_stride"] = stride
        run = write_run(tmp_path / "run", made)
    section = use("vqdna-test", load_run(run))
    block = re.search(r"```python\n(.*?)```", section, flags=re.DOTALL)
    assert block is not None
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__card__", "print": lambda value: names.update(printed=value)}
    exec(compile(block.group(1), "the card", "exec"), names)
    length = names["inputs"]["input_ids"].shape[1]
    codes = 2 + -(-(length - 2) // stride)
    about = f"{stride} of each code" if model_class is CODEC else f"one for {stride} nucleotides"
    assert (about in section) == (stride > 1)
    if model_class is CODEC:
        assert names["codes"].shape == (1, 2, codes)
        assert names["bases"].shape == (1, codes * stride)
        assert set(names["bases"].unique().tolist()) <= {0, 1, 2, 3}
    else:
        assert names["output"].codes.shape == (1, 2, codes)
        assert names["output"].last_hidden_state.shape[:2] == (1, length)
        assert len(names["printed"]) == (4 if model_class is VQDNAForMaskedLM else 1)
