"""The arguments of stages 1 and 2 that say which genomes are read, and the two data sets they stand for."""

import logging
from dataclasses import dataclass, field

from transformers import TrainingArguments

from vqdna_hf.data import Corpus, TiledDataset, WindowDataset

from .arguments import parse_dictionary

logger = logging.getLogger(__name__)


@dataclass
class CorpusArguments:
    """Which sequences to learn from, and which to hold out.

    Each field is a flag of stages 1 and 2; sizes are in nucleotides.

    Example:

    >>> arguments = CorpusArguments(train_files=["genomes/"], held_out=["chr21"], weights='{"*alts*": 0.1}')
    >>> arguments.window, arguments.validation_fraction
    (512, 0.05)
    """

    train_files: list[str] = field(
        metadata={"help": "FASTA files (.gz too), Parquet files, folders of them, or patterns."}
    )
    validation_files: list[str] | None = field(
        default=None, metadata={"help": "Held-out sequences; without them whole records are held out of train_files."}
    )
    held_out: list[str] | None = field(
        default=None, metadata={"help": "Names or paths (patterns) of the records to hold out."}
    )
    validation_fraction: float = field(
        default=0.05, metadata={"help": "Share of the bases to hold out, in whole records, without held_out."}
    )
    weights: str | None = field(
        default=None, metadata={"help": 'JSON mapping of path patterns to weights: {"*human_alts*": 0.1}.'}
    )
    window: int = field(default=512, metadata={"help": "Nucleotides a training window, special tokens not counted."})
    max_eval_windows: int | None = field(default=1024, metadata={"help": "Held-out windows to evaluate on."})
    reverse_complement: bool = field(default=True, metadata={"help": "Read the other strand half of the time."})
    accessions: str | None = field(
        default=None,
        metadata={"help": "Table with the columns file, accession, species; default: index.tsv in a folder above."},
    )

    def load(self, seed: int) -> tuple[Corpus, Corpus]:
        """Read the files and return the training and the held-out corpus.

        Raises:
            ValueError: on bad input, naming file, record and position.
        """
        weights = {name: float(value) for name, value in parse_dictionary(self.weights, "--weights").items()}
        corpus = Corpus.open(self.train_files, weights=weights or None)
        if self.validation_files:
            train, validation = corpus, Corpus.open(self.validation_files)
        else:
            train, validation = corpus.split(
                held_out=self.held_out or (), fraction=self.validation_fraction, seed=seed, min_bases=self.window
            )
        logger.info("train on %d records, %s bases", len(train), f"{train.bases:,}")
        names = [record.name for record in validation.records]
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        logger.info("hold out %d records, %s bases: %s", len(validation), f"{validation.bases:,}", shown)
        return train, validation

    def datasets(self, args: TrainingArguments) -> tuple[WindowDataset, TiledDataset]:
        """The training windows and the held-out windows, and what they need of Trainer, which is set in `args`.

        With `max_steps` each step reads fresh windows; else an epoch is one pass' worth of windows.
        """
        args.remove_unused_columns = False  # "seed", which makes masks a function of the item, must arrive
        args.train_sampling_strategy = "sequential"  # windows are random already; so a longer run only adds some
        train, validation = self.load(args.seed)
        num_samples = max(1, train.bases // self.window)
        if args.max_steps > 0:
            num_samples = args.max_steps * args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return (
            WindowDataset(
                train,
                window=self.window,
                num_samples=num_samples,
                seed=args.seed,
                reverse_complement=self.reverse_complement,
            ),
            TiledDataset(validation, window=self.window, max_samples=self.max_eval_windows),
        )
