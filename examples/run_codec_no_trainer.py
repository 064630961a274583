"""Stage 1 with a loop of your own: what `run_codec.py` does, on Accelerate alone.

    python examples/run_codec_no_trainer.py --codec_config '{"codebook_sizes": [512], "tap_positions": [6]}' \
        --train_files yeast.fa.gz --max_steps 1000 --output_dir runs/codec
    accelerate launch --config_file examples/accelerate/ddp.yaml examples/run_codec_no_trainer.py ...

For people who change loops: copy it, and change it. Flags are called as in `run_codec.py`, and the same flags make the
same codec (in `output_dir/model`); it leaves no record for a card (`run.json`). Ctrl-C saves; the same command with
`--resume_from_checkpoint` goes on.
"""

import shutil
import signal
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.logging import get_logger
from safetensors import SafetensorError
from torch.utils.data import DataLoader
from transformers import SchedulerType, get_scheduler, set_seed

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
from vqdna_hf.data import NucleotideCollator, TiledDataset
from vqdna_hf.hub import atomic_folder, write_json
from vqdna_hf.training import (
    CheckpointError,
    CorpusArguments,
    codec_metrics,
    codec_sums,
    count_parameters,
    find_checkpoint,
    list_checkpoints,
    parse_arguments,
    parse_configuration,
    run_script,
)

logger = get_logger(__name__)


@dataclass
class LoopArguments:
    """What codec to train, and how. A step is `gradient_accumulation_steps` batches on every process."""

    output_dir: str = field(metadata={"help": "Checkpoints, and the trained codec in model/."})
    codec_config: str | None = field(default=None, metadata={"help": "JSON mapping of VQDNACodecConfig keys."})
    max_steps: int = field(default=1000, metadata={"help": "Optimizer steps, on fresh windows: no epochs."})
    per_device_train_batch_size: int = field(default=8, metadata={"help": "Windows a process and batch."})
    per_device_eval_batch_size: int = field(default=8, metadata={"help": "Windows a process and batch."})
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "Batches a step; each moves the codebooks."})
    learning_rate: float = field(default=5e-5, metadata={"help": "Peak learning rate of AdamW."})
    weight_decay: float = field(default=0.0, metadata={"help": "Of matrices and kernels, not of biases and norms."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradients are clipped to this norm."})
    lr_scheduler_type: SchedulerType = field(default=SchedulerType.LINEAR, metadata={"help": "As in Transformers."})
    warmup_steps: int = field(default=0, metadata={"help": "Optimizer steps."})
    mixed_precision: str | None = field(default=None, metadata={"help": "no, bf16, fp16; default: the launcher's."})
    use_cpu: bool = field(default=False, metadata={"help": "Leave GPUs alone."})
    dataloader_num_workers: int = field(default=0, metadata={"help": "Processes that read windows."})
    logging_steps: int = field(default=50, metadata={"help": "Log every so many steps."})
    eval_steps: int = field(default=500, metadata={"help": "Evaluate every so many steps, and at the end."})
    save_steps: int = field(default=500, metadata={"help": "Write a checkpoint every so many steps, and at the end."})
    save_total_limit: int | None = field(default=None, metadata={"help": "Checkpoints kept."})
    resume_from_checkpoint: str | None = field(default=None, metadata={"help": "A checkpoint; True: the newest."})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "Delete the checkpoints of an earlier run."})
    report_to: str | None = field(default=None, metadata={"help": "A tracker of Accelerate, such as tensorboard."})
    seed: int = field(default=42, metadata={"help": "Of weights and windows."})

    def __post_init__(self) -> None:
        """Refuse what no loop can do."""
        counts = [name for name in vars(self) if name.startswith("per_device") or name.endswith("_steps")]
        for name in counts:
            if name != "warmup_steps" and getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: at least 1 is needed")


def make_optimizer(model: torch.nn.Module, args: LoopArguments) -> torch.optim.Optimizer:
    """AdamW; vectors (biases, scales of norms) do not decay. Codebooks are buffers: they learn without it."""
    groups: list[dict] = [{"params": [], "weight_decay": args.weight_decay}, {"params": [], "weight_decay": 0.0}]
    for value in model.parameters():
        groups[value.dim() <= 1]["params"].append(value)
    return torch.optim.AdamW(groups, lr=args.learning_rate, fused=True)


@torch.no_grad()
def evaluate(accelerator: Accelerator, model: torch.nn.Module, batches: DataLoader, size: int) -> dict[str, float]:
    """The metrics of all held-out windows, each counted once."""
    sums: defaultdict = defaultdict(float)
    model.eval()
    for number, batch in enumerate(batches):
        # Accelerate fills the last round up with windows from the front: those are masked out.
        before = (number * accelerator.num_processes + accelerator.process_index) * size
        batch["attention_mask"][max(len(batches.dataset) - before, 0) :] = 0
        for name, value in codec_sums(batch, model(**batch), accelerator.unwrap_model(model).config).items():
            sums[name] += value
    model.train()
    return {f"eval_{name}": value for name, value in codec_metrics(accelerator.reduce(dict(sums), "sum")).items()}


def save_checkpoint(accelerator: Accelerator, args: LoopArguments, step: int) -> None:
    """Under another name until it is whole: an interrupted or failed write leaves the older ones as they were."""
    folder = Path(args.output_dir) / f"checkpoint-{step}"
    unfinished = folder.with_name(f".{folder.name}")
    try:
        accelerator.save_state(str(unfinished))
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise CheckpointError(f"could not write {folder}: {error}. What was saved before is still there") from error
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_json(unfinished / "trainer_state.json", {"global_step": step, "written_by": "run_codec_no_trainer"})
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
        for old in list_checkpoints(args.output_dir)[: -args.save_total_limit if args.save_total_limit else 0]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def stop(accelerator: Accelerator) -> None:
    """The first signal lets all processes finish the step and save; another one stops at once."""
    if accelerator.flag_tensor:
        raise KeyboardInterrupt
    accelerator.set_trigger()


def train(accelerator: Accelerator, args: LoopArguments, parts: tuple, step: int) -> bool:
    """Train from `step` on, log, evaluate and save; whether it came to its end without a signal."""
    model, optimizer, schedule, batches, eval_batches = parts
    sums: defaultdict = defaultdict(float)
    for batch in accelerator.skip_first_batches(batches, step * args.gradient_accumulation_steps):
        with accelerator.accumulate(model):
            outputs = model(**batch)
            accelerator.backward(outputs.loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), args.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        for name, value in codec_sums(batch, outputs, accelerator.unwrap_model(model).config).items():
            sums[name] += value
        if not accelerator.sync_gradients:
            continue
        step += 1
        last, interrupted, metrics = step == args.max_steps, accelerator.check_trigger(), {}
        if step % args.logging_steps == 0 or last:
            metrics = codec_metrics(accelerator.reduce(dict(sums), "sum"))
            sums.clear()
        if step % args.eval_steps == 0 or last:
            metrics |= evaluate(accelerator, model, eval_batches, args.per_device_eval_batch_size)
        if metrics:
            accelerator.log(metrics, step=step)
            logger.info(f"step {step}: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        if step % args.save_steps == 0 or last or interrupted:
            save_checkpoint(accelerator, args, step)
        if interrupted and not last:
            logger.warning(f"interrupted and saved at step {step}; go on with --resume_from_checkpoint")
            return False
    return True


def main() -> int:
    """Parse, read, train, save."""
    args, corpus_args = parse_arguments((LoopArguments, CorpusArguments))
    checkpoint = find_checkpoint(args.output_dir, args.resume_from_checkpoint, args.overwrite_output_dir)
    accelerator = Accelerator(
        mixed_precision=args.mixed_precision, cpu=args.use_cpu, log_with=args.report_to, project_dir=args.output_dir,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
    )  # fmt: skip
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop(accelerator))
    set_seed(args.seed)
    overrides = parse_configuration(VQDNACodecConfig, args.codec_config, "--codec_config")
    codec = VQDNACodecModel(VQDNACodecConfig(**overrides))
    optimizer = make_optimizer(codec, args)
    whole = args.max_steps * accelerator.num_processes  # Accelerate steps a schedule once a process
    schedule = get_scheduler(args.lr_scheduler_type, optimizer, args.warmup_steps * accelerator.num_processes, whole)
    logger.info(f"codec: {count_parameters(codec)}; processes: {accelerator.num_processes}")
    train_corpus, held_out = corpus_args.load(args.seed)
    total = whole * args.gradient_accumulation_steps * args.per_device_train_batch_size
    windows = corpus_args.training_windows(train_corpus, total, args.seed, args.per_device_train_batch_size)
    tiles = TiledDataset(held_out, window=corpus_args.window, max_samples=corpus_args.max_eval_windows)
    # A generator of the loaders' own: a resumed run must find the global one as the first run left it.
    shared = {"collate_fn": NucleotideCollator(), "generator": torch.Generator().manual_seed(args.seed)}
    batches = DataLoader(windows, args.per_device_train_batch_size, num_workers=args.dataloader_num_workers, **shared)
    eval_batches = DataLoader(tiles, args.per_device_eval_batch_size, **shared)
    parts = accelerator.prepare(codec, optimizer, schedule, batches, eval_batches)
    accelerator.init_trackers("codec", {name: str(value) for name, value in vars(args).items()})
    if checkpoint:
        accelerator.load_state(checkpoint)
    elif args.overwrite_output_dir and accelerator.is_main_process:
        for old in list_checkpoints(args.output_dir):
            shutil.rmtree(old)
    if not train(accelerator, args, parts, int(Path(checkpoint).name.rpartition("-")[2]) if checkpoint else 0):
        return 130
    weights = accelerator.get_state_dict(parts[0])  # gathers sharded parameters, so on every process
    if accelerator.is_main_process:
        with atomic_folder(Path(args.output_dir) / "model") as folder:
            accelerator.unwrap_model(parts[0]).save_pretrained(folder, state_dict=weights)
    accelerator.end_training()
    return 0


if __name__ == "__main__":
    run_script(main)
