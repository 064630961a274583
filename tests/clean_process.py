# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Run a script where `vqdna_hf` cannot be imported, as somebody who has a model's folder alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_PRELUDE = """
import json, os, sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
sys.path[:] = [entry for entry in sys.path if "__editable__" not in entry]
try:
    import vqdna_hf
except ImportError:
    pass
else:
    raise SystemExit("vqdna_hf can be imported: this process is not clean")
import torch, transformers
torch.set_num_threads(1)
with open(sys.argv[1]) as file:
    arguments = json.load(file)
report = {}
"""
_END = """
report["imported"] = "vqdna_hf" in sys.modules
with open(sys.argv[2], "w") as file:
    json.dump(report, file)
"""


def run_without_package(script: str, home: Path, **arguments: Any) -> dict[str, Any]:
    """Run `script`, which finds `arguments` and fills the dictionary `report`; both hold what JSON holds.

    It runs in the folder `home`, which is Transformers' cache as well, so that no code of an earlier run is found.
    """
    question, answer = home / "arguments.json", home / "report.json"
    question.write_text(json.dumps(arguments))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONSAFEPATH": "1"}
    process = subprocess.run(
        [sys.executable, "-c", _PRELUDE + script + _END, str(question), str(answer)],
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    found: dict[str, Any] = json.loads(answer.read_text())
    assert not found.pop("imported")
    return found
