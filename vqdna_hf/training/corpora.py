"""The arguments of stages 1 and 2 that say which genomes are read, and the two data sets they stand for."""

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from vqdna_hf.data import Corpus, FastaRecord, TiledDataset, WindowDataset
from vqdna_hf.data.built import BuiltCorpus, is_corpus
from vqdna_hf.data.corpus import shards_of
from vqdna_hf.data.streams import items_of_pass, stream_corpus

from .arguments import parse_dictionary
from .sources import corpus_rows

logger = logging.getLogger(__name__)

_ENOUGH_REAL = 0.95  # share of the positions of a batch; with more, an order by length would not pay


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
        metadata={"help": "FASTA files (.gz too), Parquet files, folders of them, patterns, or built corpora."}
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

    length_buckets: bool = field(
        default=True,
        metadata={"help": "Where many records are shorter than a window, put windows of like length into a batch."},
    )
    streaming: bool = field(
        default=False,
        metadata={"help": "Read train_files, one built corpus (folder or Hub id), without loading it; with max_steps."},
    )

    def load(self, seed: int) -> tuple[Corpus, Corpus]:
        """Read the files and return the training and the held-out corpus.

        A corpus that `build_corpus` made brings its own held-out windows.

        Raises:
            ValueError: on bad input, naming file, record and position; with `streaming`, which loads nothing.
        """
        if self.streaming:
            raise ValueError("streaming is not for what reads its corpus into memory: leave --streaming away")
        if self.window < 1:
            raise ValueError(f"--window {self.window}: a window has at least 1 base")
        weights = {name: float(value) for name, value in parse_dictionary(self.weights, "--weights").items()}
        corpus = Corpus.open(self.train_files, weights=weights or None)
        built = [path for path in self.train_files if is_corpus(path)]
        own = [path for path in built if shards_of([path], "validation") != []]
        if own or len(built) == len(self.train_files):
            self._check_built_windows([BuiltCorpus.open(path) for path in own or built])
        if self.validation_files:
            train, validation = corpus, self._validation(self.validation_files)
        elif own and self.held_out:
            raise ValueError(
                f"{own[0]}: this corpus holds records out already: leave --held_out away, or build it again"
            )
        elif own:
            train, validation = corpus, self._validation(own)
        elif built and not self.held_out:
            raise ValueError(
                f"{built[0]}: this corpus holds nothing out: build it with --held-out, or give --held_out or "
                "--validation_files"
            )
        else:
            train, validation = corpus.split(
                held_out=self.held_out or (), fraction=self.validation_fraction, seed=seed, min_bases=self.window
            )
        logger.info("train on %d records, %s bases", len(train), f"{train.bases:,}")
        _say_held_out(validation)
        return train, validation

    def _validation(self, paths: Sequence[str]) -> Corpus:
        """Of a built corpus, what it holds out; other files are read whole."""
        return Corpus.open([shard for path in paths for shard in shards_of([path], "validation") or shards_of([path])])

    def datasets(self, args: TrainingArguments) -> tuple[Any, TiledDataset]:
        """The training windows and the held-out windows, and what they need of Trainer, which is set in `args`.

        With `max_steps` each step reads fresh windows; else an epoch is one pass' worth of windows. The former are a
        `WindowDataset`, or with `streaming` a `datasets.IterableDataset`.

        Raises:
            ValueError: as `load`; streaming without `max_steps`, or of anything but one built corpus.
        """
        args.remove_unused_columns = False  # "seed", which makes masks a function of the item, must arrive
        if self.streaming:
            return self._stream(args)
        args.train_sampling_strategy = "sequential"  # windows are random already; so a longer run only adds some
        train, validation = self.load(args.seed)
        num_samples = max(1, train.bases // self.window)
        if args.max_steps > 0:
            num_samples = _items_read(args)
        windows = self.training_windows(train, num_samples, args.seed, args.train_batch_size)
        return windows, TiledDataset(validation, window=self.window, max_samples=self.max_eval_windows)

    def training_windows(self, corpus: Corpus, num_samples: int, seed: int, batch_size: int) -> WindowDataset:
        """Random windows; with `length_buckets` in batches of like length, where many records are short.

        Args:
            corpus: to draw from.
            num_samples: windows an epoch.
            seed: of the windows.
            batch_size: windows that are read in a row as one batch.
        """
        windows = WindowDataset(
            corpus,
            window=self.window,
            num_samples=num_samples,
            seed=seed,
            reverse_complement=self.reverse_complement,
        )
        if self.length_buckets and windows.full_share < _ENOUGH_REAL:
            logger.info(
                "%.0f %% of the positions would be padding, since records are shorter than --window %d: batches get "
                "windows of like length (--length_buckets false: as they are drawn)",
                100 * (1 - windows.full_share), self.window,
            )  # fmt: skip
            windows.batch_size = batch_size
        return windows

    def _check_built_windows(self, corpora: Sequence[BuiltCorpus]) -> None:
        """Windows of a built corpus cannot be made longer; where that is too little for evaluation, it is refused."""
        built = max(corpora, key=lambda corpus: int(corpus.record["options"]["window"]))
        most = int(built.record["options"]["window"])
        if most >= self.window:
            return
        if most < self.window // 2 and not self.validation_files:  # what `TiledDataset` leaves out
            raise ValueError(
                f"{built.name}: the windows of this corpus have {most} bases, fewer than --window {self.window}: "
                f"give --window {most}, or build it again with longer ones"
            )
        logger.warning(
            "%s: the windows of this corpus have %d bases, fewer than --window %d: they are read as they are",
            built.name, most, self.window,
        )  # fmt: skip

    def _stream(self, args: TrainingArguments) -> tuple[Any, TiledDataset]:
        if len(self.train_files) != 1 or self.weights or self.held_out:
            raise ValueError(
                "streaming reads one built corpus ('vqdna corpus build'), which has its weights and held-out records "
                "in it: give one folder or Hub id, without --weights and --held_out"
            )
        if args.max_steps <= 0:
            raise ValueError("streaming needs --max_steps: a stream does not know its length")
        if self.window < 1:
            raise ValueError(f"--window {self.window}: a window has at least 1 base")
        args.accelerator_config.dispatch_batches = False  # each process reads its own part
        built = BuiltCorpus.open(self.train_files[0])
        if built.shards("validation"):  # else there is more to say than this
            self._check_built_windows([built])
        # A tenth more than is needed, since lots decide what a pass gives, and a pass more, since processes share it.
        passes = 1 + math.ceil(1.1 * _items_read(args) / items_of_pass(built))
        stream = stream_corpus(
            self.train_files[0],
            seed=args.seed,
            passes=passes,
            window=self.window,
            reverse_complement=self.reverse_complement,
        )
        validation = self._validation(self.validation_files) if self.validation_files else self._held_out_windows(built)
        _say_held_out(validation)
        return stream, TiledDataset(validation, window=self.window, max_samples=self.max_eval_windows)

    def _held_out_windows(self, built: BuiltCorpus) -> Corpus:
        """As many as are evaluated on: they stand in an order drawn by lot, so the first are as good as any."""
        items = stream_corpus(self.train_files[0], "validation")
        records = []
        for number, item in enumerate(itertools.islice(items, self.max_eval_windows)):
            name = f"held_out{number}"
            records.append(FastaRecord(name, name, item["input_ids"], built.name))
        return Corpus(records)

    def rows(self, train: Any, held_out: TiledDataset) -> list[dict[str, Any]]:
        """What the two data sets of `datasets` have read, for the record of the run; see `corpus_rows`.

        Raises:
            ValueError: on a table of accessions that cannot be used.
        """
        if not self.streaming:
            return corpus_rows(train.corpus, held_out.corpus, self.accessions)
        rows = BuiltCorpus.open(self.train_files[0]).source_rows()
        if not self.validation_files:
            return rows
        own = [{**row, "held_out_records": 0, "held_out_bases": 0} for row in rows]
        return own + corpus_rows(None, held_out.corpus, self.accessions)


def _items_read(args: TrainingArguments) -> int:
    """How many windows `max_steps` steps read, on all processes."""
    return args.max_steps * args.train_batch_size * args.gradient_accumulation_steps * args.world_size


def _say_held_out(validation: Corpus) -> None:
    names = list(dict.fromkeys(record.name for record in validation.records))
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    logger.info("hold out %d records, %s bases: %s", len(validation), f"{validation.bases:,}", shown)
