"""Stage 3: fine-tune on labelled sequences (a GUE folder, or CSV files), in the habit of run_glue and DNABERT-2.

    python examples/run_classification.py examples/recipes/tiny/classification.yaml \
        --model_name_or_path runs/mlm --data_path GUE/prom/prom_core_notata --output_dir runs/prom --run_name prom

Trains in full, with adapters (`--use_lora`) or the head alone (`--train_head_only`); keeps the checkpoint that is
best on dev; evaluates once on test; writes `<output_dir>/results/<run_name>/eval_results.json` and
`predictions.csv`. Without any of `--do_train --do_eval --do_predict` it does all of them.
"""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, EvalPrediction, PreTrainedModel, TrainingArguments, set_seed

from vqdna_hf import VQDNAConfig, VQDNAForSequenceClassification, build_tokenizer
from vqdna_hf.data import LabelledSequences, find_split_files, read_labelled
from vqdna_hf.evaluation import classification_metrics, regression_metrics
from vqdna_hf.hub import write_json, write_text
from vqdna_hf.training import (
    HEAD,
    RunRecorder,
    VQDNATrainer,
    add_lora,
    count_parameters,
    find_checkpoint,
    freeze_codec,
    labels_of_splits,
    load_config,
    load_pretrained,
    parse_arguments,
    random_initialization,
    run_script,
    table_rows,
    tokenize_labelled,
)

logger = logging.getLogger(__name__)


@dataclass
class ModelArguments:
    """Which model, and which of its weights are trained."""

    model_name_or_path: str = field(metadata={"help": "A pre-trained folder or Hub id."})
    use_lora: bool = field(default=False, metadata={"help": "Train low-rank adapters (PEFT) and the head."})
    lora_r: int = field(default=8, metadata={"help": "Rank of the adapters."})
    lora_alpha: int = field(default=32, metadata={"help": "Scale of the adapters."})
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout in the adapters."})
    lora_target_modules: str | None = field(
        default=None, metadata={"help": "Comma-separated module names; default: the backbone's Wqkv, Wo, Wi."}
    )
    train_head_only: bool = field(default=False, metadata={"help": "Freeze the backbone."})
    random_init: bool = field(
        default=False, metadata={"help": "Same architecture, random weights: the control for pre-training."}
    )
    average_strands: bool = field(default=False, metadata={"help": "Average the logits of both strands."})
    classifier_pooling: Literal["mean", "cls", "max"] | None = field(
        default=None, metadata={"help": "How positions become one vector; default: the model's."}
    )


@dataclass
class DataArguments:
    """Where the labelled sequences are."""

    data_path: str | None = field(default=None, metadata={"help": "A folder with train.csv, dev.csv, test.csv."})
    train_file: str | None = field(default=None, metadata={"help": "CSV, TSV, JSON or Parquet."})
    validation_file: str | None = field(default=None, metadata={"help": "The dev set."})
    test_file: str | None = field(default=None, metadata={"help": "The test set."})
    sequence_column: str | None = field(default=None, metadata={"help": "Default: the first column(s)."})
    label_column: str | None = field(default=None, metadata={"help": "Default: label, or the last column."})
    problem_type: Literal["single_label_classification", "regression"] = field(
        default="single_label_classification", metadata={"help": "Classes, or one number a sequence."}
    )
    model_max_length: int | None = field(
        default=None, metadata={"help": "Longest input in tokens (bases + 2); default: what the model reads."}
    )
    truncate: bool = field(default=False, metadata={"help": "Cut longer sequences instead of refusing them."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Use this many training sequences."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use this many dev sequences."})
    accessions: str | None = field(
        default=None,
        metadata={"help": "Table with the columns file, accession, species; default: index.tsv in a folder above."},
    )


@dataclass
class RunArguments:
    """What is kept of the run."""

    eval_and_save_results: bool = field(default=True, metadata={"help": "Write results/<run_name>/."})
    save_model: bool = field(default=True, metadata={"help": "Keep the best model in output_dir."})
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Delete the checkpoints of an earlier run in output_dir."}
    )
    log_mfu: bool = field(
        default=True,
        metadata={"help": "Log the model's FLOPs, and their share of what the device does in matrix products."},
    )


@dataclass
class ClassificationTrainingArguments(TrainingArguments):
    """Transformers' training arguments with the GUE protocol's defaults."""

    run_name: str | None = field(default="run", metadata={"help": "Names the folder of the results."})
    learning_rate: float = field(default=3e-5, metadata={"help": "Peak learning rate."})
    weight_decay: float = field(default=0.01, metadata={"help": "Of AdamW."})
    num_train_epochs: float = field(default=3.0, metadata={"help": "Passes over the training set."})
    warmup_steps: float = field(default=50, metadata={"help": "Steps, or a fraction below 1."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Sequences."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Sequences."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When dev is evaluated."})
    save_strategy: str | None = field(
        default=None, metadata={"help": "When a checkpoint is written; default: when dev is evaluated."}
    )
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints kept, the best among them."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the best checkpoint on dev."})
    # Not None: Transformers would take the loss.
    metric_for_best_model: str | None = field(
        default="matthews_correlation", metadata={"help": "On dev; for regression the default is spearman."}
    )

    def __post_init__(self) -> None:
        """Remember whether a part of the work was asked for: Transformers switches do_eval on by itself."""
        if not (self.do_train or self.do_eval or self.do_predict):
            self.do_train = self.do_eval = self.do_predict = True
        self.save_strategy = self.save_strategy or self.eval_strategy
        super().__post_init__()


def read_splits(args: DataArguments) -> dict[str, LabelledSequences]:
    """The splits that were given: train, dev, test."""
    files = find_split_files(args.data_path) if args.data_path else {}
    own = {"train": args.train_file, "dev": args.validation_file, "test": args.test_file}
    files |= {split: path for split, path in own.items() if path}
    if not files:
        raise ValueError("give --data_path (a folder with train.csv, dev.csv, test.csv) or --train_file and friends")
    return {
        split: read_labelled(path, sequence_column=args.sequence_column, label_column=args.label_column)
        for split, path in files.items()
    }


def known_labels(path: str) -> int | None:
    """How many labels a fine-tuned folder was trained on; None for an adapter, whose base has no labels."""
    is_adapter = (Path(path) / "adapter_config.json").is_file()
    return None if is_adapter else load_config(VQDNAConfig, path).num_labels


def make_datasets(
    splits: dict[str, LabelledSequences], labels: dict[str, list], tokenizer: Any, args: DataArguments, seed: int
) -> dict[str, Dataset]:
    """Each split tokenized; of train and dev the part that is used, chosen by the seed."""
    most = {"train": args.max_train_samples, "dev": args.max_eval_samples}
    datasets = {}
    for split, data in splits.items():
        dataset = tokenize_labelled(data, labels[split], tokenizer, tokenizer.model_max_length, args.truncate)
        if number := most.get(split):
            dataset = dataset.shuffle(seed=seed).select(range(min(number, len(dataset))))
        datasets[split] = dataset
    return datasets


def load_model(
    args: ModelArguments, num_labels: int, problem_type: str, sample: torch.Tensor, do_train: bool
) -> PreTrainedModel:
    """The pre-trained model, prepared for the kind of training asked for; only training may start a new head."""
    if args.use_lora and args.train_head_only:
        raise ValueError("--use_lora and --train_head_only exclude each other: adapters sit in the backbone")
    overrides: dict[str, Any] = {"num_labels": num_labels, "problem_type": problem_type}
    if args.average_strands:
        overrides["average_strands"] = True
    if args.classifier_pooling:
        overrides["classifier_pooling"] = args.classifier_pooling
    new = HEAD if do_train else ()
    model = load_pretrained(VQDNAForSequenceClassification, args.model_name_or_path, new, **overrides)
    if args.random_init:
        model = random_initialization(model, sample)
    if args.use_lora:
        if args.random_init:
            logger.warning("the random weights under the adapters are not saved: this control cannot be loaded again")
        targets = args.lora_target_modules.split(",") if args.lora_target_modules else None
        return add_lora(model, args.lora_r, args.lora_alpha, args.lora_dropout, targets)
    if args.train_head_only:
        model.vqdna.requires_grad_(False)
        freeze_codec(model)
    return model


def write_results(trainer: VQDNATrainer, dataset: Dataset, data: LabelledSequences, folder: Path) -> dict[str, float]:
    """One evaluation on the test set: metrics as JSON, and one line a sequence."""
    output = trainer.predict(dataset, metric_key_prefix="eval")
    logits = np.asarray(output.predictions)
    table = pd.DataFrame({"sequence": data.sequences, "label": np.asarray(output.label_ids).reshape(-1)})
    if logits.shape[-1] == 1:
        table["prediction"] = logits[:, 0]
    else:
        probabilities = torch.from_numpy(logits).float().softmax(-1).numpy()
        table["prediction"] = logits.argmax(-1)
        for label in range(logits.shape[-1]):
            table[f"probability_{label}"] = probabilities[:, label].round(6)
    if trainer.is_world_process_zero():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "predictions.csv", table.to_csv(index=False))
        write_json(folder / "eval_results.json", output.metrics)
    trainer.log_metrics("test", output.metrics)
    if output.metrics.get("eval_collapsed"):
        logger.warning("every test sequence got the same class: the run has collapsed, its metrics mean nothing")
    return output.metrics


def main() -> int:
    """Parse, read, train, choose on dev, evaluate once on test, save."""
    model_args, data_args, run_args, args = parse_arguments(
        (ModelArguments, DataArguments, RunArguments, ClassificationTrainingArguments)
    )
    regression = data_args.problem_type == "regression"
    if regression and args.metric_for_best_model == "matthews_correlation":
        args.metric_for_best_model = "spearman"
    checkpoint = find_checkpoint(args.output_dir, args.resume_from_checkpoint, run_args.overwrite_output_dir)
    recorder = RunRecorder("classification", (model_args, data_args, args), checkpoint)
    set_seed(args.seed)

    splits = read_splits(data_args)
    if args.do_train and "train" not in splits:
        raise ValueError("there is no training set: give --data_path or --train_file")
    if "dev" not in splits:
        logger.warning("no dev set: the last checkpoint is kept")
        args.load_best_model_at_end, args.eval_strategy = False, type(args.eval_strategy)("no")
    trained_on = None if args.do_train else known_labels(model_args.model_name_or_path)
    labels, num_labels = labels_of_splits(splits, regression, trained_on)
    tokenizer = build_tokenizer()
    sample = tokenizer(next(iter(splits.values())).sequences[:256], padding=True, return_tensors="pt")["input_ids"]
    model = load_model(model_args, num_labels, data_args.problem_type, sample, args.do_train)
    longest = model.config.max_input_tokens
    tokenizer.model_max_length = min(data_args.model_max_length or longest, longest)
    datasets = make_datasets(splits, labels, tokenizer, data_args, args.seed)
    sizes = {split: len(dataset) for split, dataset in datasets.items()}
    logger.info("sequences: %s; labels: %d; model: %s", sizes, num_labels, count_parameters(model))
    used = {split: dataset["input_ids"] for split, dataset in datasets.items()}
    recorder.describe(model, lambda: table_rows(splits, used, data_args.accessions), labels=num_labels)

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        measure = regression_metrics if regression else classification_metrics
        return measure(np.asarray(prediction.predictions), np.asarray(prediction.label_ids))

    trainer = VQDNATrainer(
        model=model,
        args=args,
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=datasets.get("train"),
        eval_dataset=datasets.get("dev"),
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
        log_mfu=run_args.log_mfu,
        callbacks=[recorder],
    )
    measured = []
    if args.do_train and not trainer.train_and_report(checkpoint, run_args.save_model, run_args.overwrite_output_dir):
        return 130
    if args.do_eval and "dev" in datasets:
        trainer.evaluate_and_report(prefix="dev", dataset=datasets["dev"])
        measured.append("dev_results.json")
    if args.do_predict and "test" in datasets and run_args.eval_and_save_results:
        folder = Path(args.output_dir) / "results" / str(args.run_name)
        metrics = write_results(trainer, datasets["test"], splits["test"], folder)
        logger.info("%s: %s", folder / "eval_results.json", json.dumps(metrics))
        measured.append(f"results/{args.run_name}/eval_results.json")
    recorder.finish(measured, has_weights=run_args.save_model)
    return 0


if __name__ == "__main__":
    run_script(main)
