# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`import vqdna_hf` takes no time and still registers everything. Run: `python -m pytest tests/test_startup.py`"""

import inspect
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModel

import vqdna_hf
from vqdna_hf import VQDNACodecConfig, VQDNAConfig, VQDNAForMaskedLM, VQDNAModel, build_tokenizer


def in_a_new_process(script: str, *arguments: str) -> Any:
    """What a script puts into `report`."""
    script = f"import json, sys\n{script}\nprint('REPORT' + json.dumps(report))"
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.rpartition("REPORT")[2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved masked language model with its tokenizer."""
    codec = {"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]}
    config = VQDNAConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, codec_config=codec
    )
    folder = tmp_path_factory.mktemp("saved") / "model"
    VQDNAForMaskedLM(config).save_pretrained(folder)
    build_tokenizer(512).save_pretrained(folder)
    return folder


def test_the_import_is_short_beside_that_of_torch() -> None:
    script = """
import time
start = time.process_time()
import torch
middle = time.process_time()
from transformers import AutoConfig, AutoTokenizer
before = time.process_time()
import vqdna_hf
ratio = (time.process_time() - before) / (middle - start)
from vqdna_hf.model.pipeline_vqdna import DNAEmbeddingPipeline  # which itself brings what it is registered with
from transformers.pipelines import PIPELINE_REGISTRY
registered = PIPELINE_REGISTRY.check_task("dna-embedding")[1]["impl"]
report = [ratio, registered._sanitize_parameters is DNAEmbeddingPipeline._sanitize_parameters]
"""
    ratio, registered = in_a_new_process(script)
    assert ratio < 0.25  # today 0.02; 2 when everything was imported at once
    assert registered


def test_auto_classes_and_readers_bring_no_modelling_code() -> None:
    script = """
import vqdna_hf
from transformers import AutoConfig, AutoModel, AutoTokenizer
import vqdna_hf.data
modelling = ["transformers.models.modernbert.modeling_modernbert", "vqdna_hf.model.modeling_vqdna"]
report = [name for name in modelling if name in sys.modules]
"""
    assert in_a_new_process(script) == []


AUTO = """
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer, pipeline
"""
# Transformers imports its Auto classes in the middle of other modules.
BEFORE = f"""
import vqdna_hf
import transformers.quantizers.auto, transformers.generation.utils
{AUTO}
"""
# A configuration that comes from another process brings the package along.
AFTER = f"""
{AUTO}
AutoModel.from_config(AutoConfig.for_model("bert", num_hidden_layers=1, hidden_size=12))
import pickle
with open(sys.argv[2], "rb") as stream:
    AutoModel.from_config(pickle.load(stream))
"""
LOAD = """
config = AutoConfig.from_pretrained(sys.argv[1])
found = [config, AutoTokenizer.from_pretrained(sys.argv[1]), AutoModel.from_config(config)]
found += [AutoModelForMaskedLM.from_pretrained(sys.argv[1]), pipeline("dna-embedding", model=sys.argv[1])]
report = [f"{type(one).__module__}.{type(one).__name__}" for one in found]
"""


@pytest.mark.parametrize("start", [BEFORE, AFTER], ids=["before", "after"])
def test_everything_is_registered(start: str, folder: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "config.pickle"
    pickled.write_bytes(pickle.dumps(VQDNACodecConfig(num_blocks=1, tap_positions=[1], codebook_sizes=[8])))
    assert in_a_new_process(start + LOAD, str(folder), str(pickled)) == [
        "vqdna_hf.model.configuration_vqdna.VQDNAConfig",
        "vqdna_hf.model.tokenization_vqdna.VQDNATokenizer",
        "vqdna_hf.model.modeling_vqdna.VQDNAModel",
        "vqdna_hf.model.modeling_vqdna.VQDNAForMaskedLM",
        "vqdna_hf.model.pipeline_vqdna.DNAEmbeddingPipeline",
    ]


@pytest.mark.parametrize("way", ["reload", "purge"])
def test_imported_anew(way: str) -> None:
    script = f"""
import importlib
import vqdna_hf
if {way == "reload"}:
    importlib.reload(vqdna_hf)
else:
    for name in [name for name in sys.modules if name.partition(".")[0] == "vqdna_hf"]:
        del sys.modules[name]
    import vqdna_hf
from transformers import AutoConfig, AutoModel, pipeline
from transformers.pipelines import PIPELINE_REGISTRY
config = AutoConfig.for_model("vqdna", num_hidden_layers=1, hidden_size=12, num_attention_heads=2)
report = [type(config) is vqdna_hf.VQDNAConfig, type(AutoModel.from_config(config)) is vqdna_hf.VQDNAModel]
found = vqdna_hf.DNAEmbeddingPipeline
report += [PIPELINE_REGISTRY.check_task("dna-embedding")[1]["impl"] is found]
report += [sum(hasattr(finder, "registers_vqdna") for finder in sys.meta_path)]
"""
    assert in_a_new_process(script) == [True, True, True, 0]


@pytest.mark.parametrize("other", ["vqdna_hf.VQDNAConfig()", "AutoModelForMaskedLM.from_pretrained(sys.argv[1])"])
def test_two_threads_start_at_once(other: str, folder: Path) -> None:
    script = f"""
import threading
import transformers, vqdna_hf
barrier, report = threading.Barrier(2), []
def start(work):
    barrier.wait()
    try:
        exec(work)
    except BaseException as error:
        report.append(repr(error))
works = ["from transformers import AutoTokenizer; AutoTokenizer.from_pretrained(sys.argv[1])"]
works += ["from transformers import AutoModelForMaskedLM; {other}"]
threads = [threading.Thread(target=start, args=(work,), daemon=True) for work in works]
[thread.start() for thread in threads]
[thread.join(120) for thread in threads]
report += [thread.is_alive() for thread in threads]
"""
    assert in_a_new_process(script, str(folder)) == [False, False]


def test_modules_of_models_are_there_without_an_import() -> None:
    script = "import vqdna_hf\nreport = vqdna_hf.model.modeling_vqdna.VQDNAModel.__name__"
    assert in_a_new_process(script) == "VQDNAModel"


def test_a_registration_before_the_first_configuration_stays() -> None:
    script = """
import vqdna_hf
from transformers import AutoModel
from vqdna_hf.model.configuration_vqdna import VQDNAConfig
from vqdna_hf.model.modeling_vqdna import VQDNAModel
class Mine(VQDNAModel):
    pass
AutoModel.register(VQDNAConfig, Mine, exist_ok=True)
config = VQDNAConfig(num_hidden_layers=1, hidden_size=12, num_attention_heads=2)
report = type(AutoModel.from_config(config)).__name__
"""
    assert in_a_new_process(script) == "Mine"


def test_what_somebody_registers_for_a_public_configuration_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(VQDNAModel):
        pass

    mapping = AutoModel._model_mapping._extra_content
    monkeypatch.setitem(mapping, VQDNAConfig, VQDNAModel)
    AutoModel.register(VQDNAConfig, Mine, exist_ok=True)
    VQDNAConfig(num_hidden_layers=1)
    assert mapping[VQDNAConfig] is Mine


def test_the_public_names_are_there() -> None:
    names: dict[str, Any] = {}
    exec("from vqdna_hf import *", names)
    assert all(names[name] is getattr(vqdna_hf, name) for name in vqdna_hf.__all__)
    assert set(vqdna_hf.__all__) <= set(dir(vqdna_hf))
    assert vqdna_hf.model.__name__ == "vqdna_hf.model"
    with pytest.raises(AttributeError, match="has no attribute 'VQDNAModels'"):
        vqdna_hf.VQDNAModels  # noqa: B018


def test_type_checkers_see_every_public_name() -> None:
    source = Path(vqdna_hf.__file__).read_text()
    shown = source[source.index("if TYPE_CHECKING:") : source.index("__version__")]
    assert sorted(vqdna_hf.__all__) == vqdna_hf.__all__ == sorted(vqdna_hf._MODULE_OF)
    assert all(f"{name}," in shown or f"{name}\n" in shown for name in vqdna_hf.__all__)


def test_modules_keep_their_own_loader_and_signature() -> None:
    import vqdna_hf.model.handler as module

    assert module.__spec__ is not None
    assert module.__loader__ is module.__spec__.loader
    assert type(module.__loader__).__name__ == "SourceFileLoader"
    assert "hidden_size" in inspect.signature(VQDNACodecConfig).parameters
    assert pickle.loads(pickle.dumps(VQDNAModel)) is VQDNAModel
