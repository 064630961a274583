# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The code that a card shows runs as it stands, for every stage."""

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


@pytest.mark.parametrize("model_class", [CODEC, VQDNAForMaskedLM, VQDNAForSequenceClassification])
def test_the_code_runs(model_class: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC))
    codec.train()(torch.randint(5, 9, (8, 40)))
    export(codec if model_class is CODEC else model_class.from_codec(codec, **TINY_MODEL), tmp_path / "vqdna-test")
    if model_class is VQDNAForSequenceClassification:
        run = tuned(tmp_path / "run")
    else:
        behind = [] if model_class is CODEC else [parent("codec", 0, CODEC_RESULTS, [], "codec")]
        run = write_run(tmp_path / "run", record("codec" if model_class is CODEC else "mlm", 0, {}, behind))
    section = use("vqdna-test", load_run(run))
    block = re.search(r"```python\n(.*?)```", section, flags=re.DOTALL)
    assert block is not None
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__card__", "print": lambda value: names.update(printed=value)}
    exec(compile(block.group(1), "the card", "exec"), names)
    length = names["inputs"]["input_ids"].shape[1]
    if model_class is CODEC:
        assert names["codes"].shape == (1, 2, length)
        assert names["bases"].shape == (1, length)
        assert set(names["bases"].unique().tolist()) <= {0, 1, 2, 3}
    else:
        assert names["output"].codes.shape == (1, 2, length)
        assert names["output"].last_hidden_state.shape[:2] == (1, length)
        assert len(names["printed"]) == (4 if model_class is VQDNAForMaskedLM else 1)
