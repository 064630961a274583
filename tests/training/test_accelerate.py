# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`accelerate launch` with two CPU processes: DDP with the example scripts, FSDP2 with its own preparation.

`accelerate launch --cpu --num_processes 2` starts one process and says nothing; the configuration of
`examples/accelerate/ddp.yaml` starts two, which `--use_cpu` behind the script puts on CPUs. Tolerance against one
process on the joined batches: 1e-6, absolute and relative; only the order of sums differs.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import accelerate_worker as worker
import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from example_scripts import (
    EXAMPLES,
    codec_arguments,
    flags,
    logged,
    mlm_arguments,
    process_environment,
    run_example,
    weights,
)
from torch import Tensor
from transformers import AutoModel, AutoModelForMaskedLM

from vqdna_hf import (
    VQDNACodecModel,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
    training,
)

CONFIGS = EXAMPLES / "accelerate"
WORKER = Path(__file__).with_name("accelerate_worker.py")


def launch(*words: str) -> str:
    """`accelerate launch` as a user types it, with two processes; nothing may fail. What it said on standard error."""
    command = [str(Path(sys.executable).with_name("accelerate")), "launch", "--config_file", str(CONFIGS / "ddp.yaml")]
    result = subprocess.run(
        [*command, str(WORKER), *words],
        env={**process_environment(), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stderr


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """To 1e-6, absolute and relative."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-6, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


SCRIPTS = ("run_codec", "run_codec_no_trainer")


def loop_arguments(genome: Path, output_dir: Path, **values: Any) -> dict[str, Any]:
    """What both scripts take. Ten held-out windows do not divide among two batches of four."""
    arguments = codec_arguments(genome, output_dir, max_eval_windows=10, weight_decay=0.1, warmup_steps=1)
    del arguments["disable_tqdm"]
    return {**arguments, "max_steps": 2, "lr_scheduler_type": "cosine", "per_device_eval_batch_size": 4, **values}


def masked_lm_arguments(genome: Path, codec: Path, folder: Path, **values: Any) -> dict[str, Any]:
    """Stage 2, with masks of random sizes in each of two accumulated batches."""
    accumulated = {"gradient_accumulation_steps": 2, "optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0}
    accumulated |= {"per_device_eval_batch_size": 4, "max_eval_windows": 10}
    return mlm_arguments(genome, codec / "run_codec", folder / "run_mlm", **accumulated, **values)


@pytest.fixture(scope="module")
def one_process(genome: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts in this process, with batches of twice the size, and twice that where they are accumulated."""
    folder = tmp_path_factory.mktemp("single")
    for name in SCRIPTS:
        arguments = loop_arguments(genome, folder / name, per_device_train_batch_size=8)
        assert run_example(name, **arguments) == 0
    arguments = masked_lm_arguments(genome, folder, folder, per_device_train_batch_size=8)
    assert run_example("run_mlm", **{**arguments, "gradient_accumulation_steps": 1}) == 0
    return folder


@pytest.fixture(scope="module")
def two_processes(genome: Path, one_process: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts under `accelerate launch`; what each rank held at the end is in `<number>_<rank>.pt`."""
    folder = tmp_path_factory.mktemp("ddp")
    commands = [
        [
            str(EXAMPLES / f"{name}.py"),
            *flags(**loop_arguments(genome, folder / name, per_device_train_batch_size=4, use_cpu=True)),
        ]
        for name in SCRIPTS
    ]
    arguments = masked_lm_arguments(genome, one_process, folder, per_device_train_batch_size=2, use_cpu=True)
    commands.append([str(EXAMPLES / "run_mlm.py"), *flags(**arguments)])
    commands.append(commands.pop(1))  # last: it ends with the process group
    (folder / "commands.json").write_text(json.dumps(commands))
    (folder / "stderr.txt").write_text(launch("scripts", str(folder), str(folder / "commands.json")))
    return folder


def test_both_scripts_make_the_same_codec(one_process: Path) -> None:
    """Without Trainer, with the same data, seed and flags: equal to the bit, codebooks included."""
    trainer, loop = weights(one_process / "run_codec"), weights(one_process / "run_codec_no_trainer" / "model")
    assert trainer.keys() == loop.keys()
    assert [name for name in trainer if not torch.equal(trainer[name], loop[name])] == []
    assert all(value.item() == 2 for name, value in loop.items() if name.endswith("num_updates"))


@pytest.mark.parametrize("number", [0, 2], ids=SCRIPTS)
def test_ddp_equals_one_process_on_the_joined_batches(number: int, two_processes: Path, one_process: Path) -> None:
    ranks = [torch.load(two_processes / f"{number}_{rank}.pt") for rank in range(2)]
    assert [state.pop("world_size") for state in ranks] == [2, 2], "not one process that says nothing"
    for name, value in ranks[0].items():
        assert torch.equal(value, ranks[1][name]), f"{name} differs between the ranks"
    folder = f"{SCRIPTS[1]}/model" if number else SCRIPTS[0]
    single = weights(one_process / folder)
    assert sum(name.endswith(".embed") for name in single) == 2
    assert_close(ranks[0], single)
    saved = weights(two_processes / folder)
    assert all(torch.equal(saved[name], ranks[0][name]) for name in saved)


def test_unequal_numbers_of_labels_weigh_as_in_one_large_batch(two_processes: Path, one_process: Path) -> None:
    """Two processes, two accumulated batches each: Trainer counts the labels of all four, and the model is told."""
    for rank in range(2):
        assert torch.load(two_processes / f"1_{rank}.pt")["world_size"] == 2
    found, expected = weights(two_processes / "run_mlm"), weights(one_process / "run_mlm")
    assert_close(found, expected)
    logs = [
        [entry["loss"] for entry in logged(folder / "run_mlm") if "loss" in entry]
        for folder in (two_processes, one_process)
    ]
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)


def test_held_out_windows_count_once_on_two_processes(two_processes: Path, one_process: Path) -> None:
    """Ten windows in batches of four: Accelerate hands six of them out twice."""
    found, expected = (
        json.loads((folder / "run_codec" / "eval_results.json").read_text()) for folder in (two_processes, one_process)
    )
    names = [name for name in expected if "codebook" in name or "reconstruction" in name]
    assert len(names) == 6
    assert {name: found[name] for name in names} == pytest.approx({name: expected[name] for name in names}, rel=1e-5)
    assert found["eval_loss"] == pytest.approx(expected["eval_loss"], rel=1e-5)
    masked = [json.loads((path / "run_mlm" / "eval_results.json").read_text()) for path in (two_processes, one_process)]
    for name in ("eval_masked_accuracy", "eval_nucleotide_loss", "eval_code_loss", "eval_code_accuracy_level2"):
        assert masked[0][name] == pytest.approx(masked[1][name], rel=1e-5), name
    # Trainer's own eval_loss is a mean of batches' means, and batches differ in their numbers of masks.
    assert masked[0]["eval_loss"] == pytest.approx(masked[1]["eval_loss"], rel=0.02)
    log = (two_processes / "stderr.txt").read_text()
    line = next(line for line in log.splitlines() if "step 2: " in line)
    accuracy = float(line.split("eval_reconstruction_accuracy ")[1].split(",")[0])
    assert accuracy == pytest.approx(expected["eval_reconstruction_accuracy"], abs=1e-4)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases of the worker under FSDP2."""
    folder = tmp_path_factory.mktemp("fsdp2")
    launch("fsdp2", str(folder))
    return folder


@pytest.mark.parametrize("case", worker.CASES)
def test_fsdp2_equals_one_process(case: str, sharded: Path) -> None:
    """Parameters are sharded and buffers are not; losses, parameters and codebooks are those of one process."""
    reports = [json.loads((sharded / f"report_{rank}.json").read_text()) for rank in range(2)]
    for report in reports:
        assert report["world_size"] == 2
        assert report[case]["parameters"] == ["DTensor"]
        assert report[case]["buffers"] == ["Tensor torch.float32"]
        assert report[case]["share"] == pytest.approx(0.5, abs=0.05)
    model = worker.build(case)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    losses = worker.train(model, worker.make_optimizer(model), case, None, lambda loss: loss.backward())
    halves = zip(*(report[case]["losses"] for report in reports), strict=True)
    assert [sum(pair) / 2 for pair in halves] == pytest.approx(losses, rel=1e-6)
    buffers = [torch.load(sharded / f"{case}_{rank}.pt") for rank in range(2)]
    for name, value in buffers[0].items():
        assert torch.equal(value, buffers[1][name]), f"{name} differs between the ranks"
    expected = model.state_dict()
    moved = {name for name, value in expected.items() if not torch.equal(value, start[name])}
    assert any(name.endswith(".embed") for name in moved) == (case in ("codec", "mlm_trained"))
    assert len(moved) > 15
    assert_close(weights(sharded / case), expected)
    assert_close(buffers[0], dict(model.named_buffers()))


def test_a_model_saved_from_fsdp2_is_a_whole_folder(sharded: Path) -> None:
    """FSDP2 puts a class made in torch over ours: the folder must carry our code, and none of torch's."""
    for case, auto, kind in (
        ("codec", AutoModel, VQDNACodecModel),
        ("mlm_trained", AutoModelForMaskedLM, VQDNAForMaskedLM),
    ):
        config = json.loads((sharded / case / "config.json").read_text())
        assert config["architectures"] == [kind.__name__]
        assert config["auto_map"][auto.__name__] == f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
        files = {path.name for path in (sharded / case).glob("*.py")}
        assert f"{kind.__module__.rpartition('.')[2]}.py" in files
        assert all(name.endswith(("_vqdna.py", "_vqdna_codec.py")) for name in files)
        model = auto.from_pretrained(sharded / case)
        assert type(model) is kind
        saved = weights(sharded / case)
        assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items() if name in saved)


def test_the_configurations_fit_the_models() -> None:
    """FSDP2 wraps by class name and refuses one that a model lacks: each model's own names are in it."""
    ddp, fsdp2 = (yaml.safe_load((CONFIGS / name).read_text()) for name in ("ddp.yaml", "fsdp2.yaml"))
    assert (ddp["distributed_type"], fsdp2["distributed_type"]) == ("MULTI_GPU", "FSDP")
    assert fsdp2["fsdp_config"]["fsdp_version"] == 2
    assert "fsdp_transformer_layer_cls_to_wrap" not in fsdp2["fsdp_config"], "so the models' own names are taken"
    models = [worker.build("codec"), worker.build("mlm_frozen")]
    models += [
        kind(models[1].config) for kind in (VQDNAModel, VQDNAForSequenceClassification, VQDNAForTokenClassification)
    ]
    for model in models:
        names = {type(module).__name__ for module in model.modules()}
        assert set(model._no_split_modules) <= names, type(model).__name__


@pytest.fixture(autouse=True)
def _give_signals_back() -> Iterator[None]:
    """A script keeps them to its end; here it is not the process' end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def no_trainer(genome: Path, output_dir: Path, *words: str, **values: Any) -> int:
    """Run it in this process."""
    return run_example("run_codec_no_trainer", *words, **loop_arguments(genome, output_dir, **values))


def test_gradient_accumulation_counts_steps_as_trainer_does(genome: Path, tmp_path: Path) -> None:
    values = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    assert no_trainer(genome, tmp_path / "loop", **values) == 0
    assert run_example("run_codec", **loop_arguments(genome, tmp_path / "trainer", **values)) == 0
    loop, trainer = weights(tmp_path / "loop" / "model"), weights(tmp_path / "trainer")
    assert all(torch.equal(value, loop[name]) for name, value in trainer.items())
    assert {value.item() for name, value in loop.items() if name.endswith("num_updates")} == {4.0}


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(accumulation: int, genome: Path, tmp_path: Path) -> None:
    """With input corruption too, which draws from the global generator."""
    values = {
        "max_steps": 4,
        "save_steps": 2,
        "gradient_accumulation_steps": accumulation,
        "codec_config": {**worker.CODEC, "corruption_rate": 0.2},
    }
    assert no_trainer(genome, tmp_path / "whole", **values) == 0
    checkpoint = tmp_path / "whole" / "checkpoint-2"
    assert no_trainer(genome, tmp_path / "half", resume_from_checkpoint=checkpoint, **values) == 0
    whole, half = (weights(tmp_path / name / "model") for name in ("whole", "half"))
    assert all(torch.equal(value, half[name]) for name, value in whole.items())
    start = weights(checkpoint)
    assert not all(torch.equal(value, start[name]) for name, value in whole.items()), "the second half trains"


def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original, calls = training.codec_sums, []

    def interrupt(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args)

    values = {"max_steps": 4, "save_steps": 100}
    monkeypatch.setattr(training, "codec_sums", interrupt)
    assert no_trainer(genome, tmp_path / "run", **values) == 130
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint-2"]
    assert "interrupted and saved at step 2; go on with --resume_from_checkpoint" in caplog.text
    assert no_trainer(genome, tmp_path / "run", "--resume_from_checkpoint", **values) == 0
    assert no_trainer(genome, tmp_path / "whole", **values) == 0
    whole, run = (weights(tmp_path / name / "model") for name in ("whole", "run"))
    assert all(torch.equal(value, run[name]) for name, value in whole.items())


def test_a_failed_write_leaves_what_was_saved(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = Accelerator.save_state

    def full_disk(self: Accelerator, output_dir: str) -> Any:
        result = original(self, output_dir)
        if output_dir.endswith("-2"):
            raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device")
        return result

    monkeypatch.setattr(Accelerator, "save_state", full_disk)
    assert no_trainer(genome, tmp_path, save_steps=1) == 2
    error = capsys.readouterr().err
    assert f"error: could not write {tmp_path / 'checkpoint-2'}: PytorchStreamWriter failed" in error
    assert "What was saved before is still there" in error
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_old_checkpoints_and_an_earlier_run(genome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert no_trainer(genome, tmp_path, max_steps=3, save_steps=1, save_total_limit=2) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-2", "checkpoint-3", "model"}
    assert no_trainer(genome, tmp_path) == 2
    assert "holds checkpoint-3 of an earlier run: go on with --resume_from_checkpoint" in capsys.readouterr().err
    assert no_trainer(genome, tmp_path, "--overwrite_output_dir", max_steps=1) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-1", "model"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"codec_config": {"codebooks": [8]}}, "did you mean 'codebook_sizes'?"),
        ({"train_files": "missing.fa"}, "missing.fa"),
        ({"mixed_precision": "bf8"}, "bf8"),
        ({"lerning_rate": 1.0}, "unknown flag --lerning_rate: did you mean --learning_rate?"),
    ],
)
def test_bad_flags_are_one_clear_line(
    values: dict[str, Any], message: str, genome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert no_trainer(genome, tmp_path, **values) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_trackers_get_what_is_logged(genome: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert no_trainer(genome, tmp_path, report_to="tensorboard", max_steps=1) == 0
    events = b"".join(path.read_bytes() for path in tmp_path.rglob("events.out.tfevents.*"))
    assert b"codebook_perplexity_level2" in events
    assert b"eval_reconstruction_accuracy" in events


def test_mixed_precision_leaves_codebooks_in_fp32(genome: Path, tmp_path: Path) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # of runs in fp32 before; it cannot be changed
    assert no_trainer(genome, tmp_path, mixed_precision="bf16", max_steps=1) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    assert {value.dtype for value in weights(tmp_path / "model").values()} == {torch.float32}
