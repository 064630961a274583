# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What a change of a sequence does to a classifier's answer."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vqdna_hf.inference.batching import pad_batch
from vqdna_hf.inference.checkpoints import Checkpoint
from vqdna_hf.inference.variant_scores import Haplotypes
from vqdna_hf.inference.windows import check_strand


class LabelScorer:
    """What replacing a base changes in a classifier's answer.

    Columns: `delta_logit`, the change of the label's log-odds, log p / (1 - p); `delta_probability`, that of p; and
    `probability`, p of the sequence with ALT. For a measurement (regression) `delta_value` and `value`. With both
    strands the logits are averaged first; a model that averages strands itself is asked once.

    Args:
        checkpoint: of a sequence classifier.
        label: a name, or a number from 0; default: class 1 of two, or the only one.
        strand: `forward`, `reverse` or `both`.
        batch_bases: see `Batcher`.

    Raises:
        ValueError: if there is no such label, or several and none is named.

    Example:

    >>> from vqdna_hf.model.modeling_vqdna import VQDNAConfig, VQDNAForSequenceClassification
    >>> config = VQDNAConfig(
    ...     hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=3,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]},
    ... )
    >>> model = VQDNAForSequenceClassification(config).eval()
    >>> LabelScorer(Checkpoint("model", model, torch.device("cpu")))
    Traceback (most recent call last):
    ...
    ValueError: model tells 3 labels apart: choose one with --label: LABEL_0, LABEL_1, LABEL_2
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        label: str | int | None = None,
        *,
        strand: str = "both",
        batch_bases: int | None = None,
    ) -> None:
        self.checkpoint, self.batcher = checkpoint, checkpoint.batcher(batch_bases)
        config = checkpoint.model.config
        self.label = _find_label(checkpoint, label)
        self.name = str(config.id2label.get(self.label, self.label))
        several = config.problem_type == "multi_label_classification"
        self.is_value = config.problem_type == "regression" or (config.num_labels == 1 and not several)
        turns = {"forward": [False], "reverse": [True], "both": [False, True]}[check_strand(strand)]
        self._strands = turns[:1] if config.average_strands else turns

    def score(self, pairs: Sequence[Haplotypes]) -> dict[str, NDArray[np.float64]]:
        """Columns by name, one value a pair of windows."""
        logits = np.zeros((2 * len(pairs), self.checkpoint.model.config.num_labels))
        for turned in self._strands:
            turn = [pair.other_strand() for pair in pairs] if turned else pairs
            logits += self._logits([window for pair in turn for window in (pair.with_ref(), pair.with_alt())])
        logits /= len(self._strands)
        if self.is_value:
            values = logits[:, self.label]
            return {"delta_value": values[1::2] - values[::2], "value": values[1::2]}
        odds = self._log_odds(logits)
        shares = 1 / (1 + np.exp(-odds))
        return {
            "delta_logit": odds[1::2] - odds[::2],
            "delta_probability": shares[1::2] - shares[::2],
            "probability": shares[1::2],
        }

    def _log_odds(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        own = logits[:, self.label]
        if self.checkpoint.model.config.problem_type == "multi_label_classification":
            return own
        # Of a softmax: the label's logit against what all others have together.
        return own - np.logaddexp.reduce(np.delete(logits, self.label, axis=1), axis=1)

    def _logits(self, windows: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        return np.array(self.batcher.map_distinct(windows, self._answers)).reshape(len(windows), -1)

    @torch.inference_mode()
    def _answers(self, windows: list[NDArray[np.uint8]]) -> list[list[float]]:
        ids, mask = map(self.checkpoint.to_device, pad_batch(windows, special=True))
        return self.checkpoint.model(input_ids=ids, attention_mask=mask, return_dict=True).logits.float().tolist()


def _find_label(checkpoint: Checkpoint, label: str | int | None) -> int:
    config = checkpoint.model.config
    names = {str(name): number for number, name in config.id2label.items() if number < config.num_labels}
    if label is None:
        if config.num_labels > 2 or (config.num_labels == 2 and config.problem_type == "multi_label_classification"):
            raise ValueError(
                f"{checkpoint.name} tells {config.num_labels} labels apart: choose one with --label: {', '.join(names)}"
            )
        return int(config.num_labels) - 1
    if str(label) in names:
        return names[str(label)]
    if str(label).isdecimal() and int(label) < config.num_labels:
        return int(label)
    raise ValueError(f"{checkpoint.name} has no label {label!r}: there are {', '.join(names)}")
