"""Orders that put sequences of like length into a batch, for `--train_sampling_strategy group_by_length`.

Transformers' own draws from the global generator, which a resumed run finds in another state; sorts a quarter of a
small set at a time, which leaves a tenth of it padding; and shuffles evaluation sets too, so that `predict` answers in
another order than it was asked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler

# Sorted together: enough that few batches hold both short and long sequences.
_BATCHES_SORTED, _ITEMS_SORTED = 50, 4096
_JITTER = 0.02


class GroupedSampler(Sampler):
    """Batches of like lengths in random order, as a function of seed and epoch.

    All items are shuffled; blocks of batches (50, or as many as hold 4,096 items) are sorted by length, give or take a
    hundredth, and cut into batches; and the batches are shuffled, but for the longest, which comes first so that memory
    runs out at once or not at all.

    Args:
        lengths: of the items.
        batch_size: items that are to be of like length.
        seed: of the order.
        epoch: tells the epoch; asked when it begins, since a loader that skips what a resumed run has seen wraps this
            too deep for `set_epoch`.

    Example:

    >>> epochs = [0]
    >>> sampler = GroupedSampler([3, 9, 3, 9, 3, 9, 3, 9], batch_size=2, seed=0, epoch=lambda: epochs[-1])
    >>> first = list(sampler)
    >>> sorted(first) == list(range(8)), list(sampler) == first, first[0] % 2 == first[1] % 2 == 1
    (True, True, True)
    >>> epochs.append(1)
    >>> list(sampler) == first
    False
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self._epoch()])
        shuffled = rng.permutation(len(self.lengths))
        # Neighbours in length are not the same in each epoch, at the price of a hundredth of padding.
        keys = self.lengths[shuffled] * rng.uniform(1 - _JITTER / 2, 1 + _JITTER / 2, len(shuffled))
        block = max(_BATCHES_SORTED, -(-_ITEMS_SORTED // self.batch_size)) * self.batch_size
        batches = []
        for start in range(0, len(shuffled), block):
            order = start + np.argsort(keys[start : start + block], kind="stable")
            # From the longest on: a last batch that is not full holds the shortest.
            pieces = np.split(shuffled[order[::-1]], range(self.batch_size, len(order), self.batch_size))
            batches += pieces
        full = [batch for batch in batches if len(batch) == self.batch_size]
        rest = [batch for batch in batches if len(batch) < self.batch_size]
        full = [full[place] for place in rng.permutation(len(full))]
        longest = max(range(len(full)), key=lambda place: self.lengths[full[place]].max(), default=None)
        if longest is not None:
            full.insert(0, full.pop(longest))
        return iter(np.concatenate([*full, *rest]).tolist())


class SortedSampler(Sampler):
    """The longest first, equal ones in their order: for evaluation; `restore` puts the answers back.

    Args:
        lengths: of the items.

    Example:

    >>> sampler = SortedSampler([1, 3, 2])
    >>> list(sampler), sampler.restore(np.array(["longest", "middle", "shortest"])).tolist()
    ([1, 2, 0], ['shortest', 'longest', 'middle'])
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.order = np.argsort(-np.asarray(lengths), kind="stable")

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order.tolist())

    def restore(self, answers: Any) -> Any:
        """Put arrays of one row an item, or nested sequences or mappings of them, into the items' order.

        With fewer rows than items (`dataloader_drop_last`) the shortest items have none.
        """
        if isinstance(answers, np.ndarray):
            return answers[np.argsort(self.order[: len(answers)])]
        if isinstance(answers, Mapping):
            return {name: self.restore(value) for name, value in answers.items()}
        if isinstance(answers, tuple | list):
            return type(answers)(self.restore(value) for value in answers)
        return answers


def lengths_of(dataset: Any) -> list[int]:
    """The number of tokens of each item.

    >>> lengths_of([{"input_ids": [2, 5, 3]}])
    [3]
    """
    columns = getattr(dataset, "column_names", None) or ()
    if "input_ids" in columns:  # of `datasets`: one column is read far faster than all rows
        return [len(ids) for ids in dataset["input_ids"]]
    return [len(dataset[index]["input_ids"]) for index in range(len(dataset))]


def sampler_of(loader: Any) -> Any:
    """The sampler of a data loader, whatever Accelerate has put around it; None if it has none.

    >>> sampler = SortedSampler([1, 2])
    >>> from torch.utils.data import DataLoader
    >>> sampler_of(DataLoader([0, 1], sampler=sampler)) is sampler
    True
    """
    batches: Any = getattr(loader, "batch_sampler", None)
    while hasattr(batches, "batch_sampler"):
        batches = batches.batch_sampler
    return getattr(batches, "sampler", None)
