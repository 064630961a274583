# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""GUE: its sets and groups, how models are fine-tuned on them, and what other papers report.

Protocol: the budget of DNABERT-2's scripts (Zhou et al., arXiv 2306.15006). Numbers: the papers of `SOURCES`; none is
ours.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

__all__ = [
    "CPU",
    "GUE_GROUPS",
    "GUE_SIZES",
    "PUBLISHED",
    "PUBLISHED_GROUP_MEANS",
    "PUBLISHED_SCORES",
    "SOURCES",
    "Protocol",
    "group_of",
    "protocol_for",
]

MCC, F1 = "matthews_correlation", "f1"


@dataclass(frozen=True)
class Protocol:
    """How one set is fine-tuned on and measured. The test set is always whole, and is looked at once.

    Args:
        name: `published`, `cpu`, or `<name>, changed`.
        num_train_epochs: passes over the training set.
        max_steps: optimizer steps at most; None for no limit.
        learning_rate: peak, of AdamW.
        lora_learning_rate: the same, where adapters are trained.
        lr_scheduler: `linear` or `cosine`, after the warm-up.
        warmup_steps: optimizer steps.
        weight_decay: of AdamW.
        batch_size: sequences a step.
        eval_steps: steps between evaluations on dev, of which the best checkpoint is kept; None for once an epoch.
        max_dev: sequences of dev that are used, the same for all seeds; None for all.
        mixed_precision: bfloat16 where there is a GPU.
        metric: that chooses on dev and is reported.

    Example:

    >>> PUBLISHED["tf"].learning_rate, PUBLISHED["tf"].steps(32_378)
    (3e-05, 3036)
    >>> PUBLISHED["mouse"].steps(2_620), CPU.steps(32_378)
    (1000, 300)
    """

    name: str
    num_train_epochs: float = 3
    max_steps: int | None = None
    learning_rate: float = 3e-5
    lora_learning_rate: float = 1e-4
    lr_scheduler: str = "linear"
    warmup_steps: int = 50
    weight_decay: float = 0.01
    batch_size: int = 32
    eval_steps: int | None = None
    max_dev: int | None = None
    mixed_precision: bool = True
    metric: str = MCC

    def steps(self, sequences: int) -> int:
        """Optimizer steps on a training set of so many sequences."""
        steps = max(1, math.ceil(self.num_train_epochs * math.ceil(sequences / self.batch_size)))
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def steps_between_evaluations(self, sequences: int) -> int:
        """As `eval_steps`, or those of an epoch; the last step is evaluated in any case."""
        return min(self.eval_steps or math.ceil(sequences / self.batch_size), self.steps(sequences))

    def as_dict(self) -> dict[str, Any]:
        """All values, for a record."""
        return asdict(self)


PUBLISHED: dict[str, Protocol] = {
    "EMP": Protocol("published", num_train_epochs=3),
    "prom": Protocol("published", num_train_epochs=4),
    "prom_tata": Protocol("published", num_train_epochs=10),
    "splice": Protocol("published", num_train_epochs=5),
    "virus": Protocol("published", num_train_epochs=8, metric=F1),
    # The scripts ask for 5 epochs and 1000 steps; Trainer then takes the steps, also where an epoch has 82 (mouse/2).
    "mouse": Protocol("published", num_train_epochs=100, max_steps=1000, warmup_steps=30),
    "tf": Protocol("published", num_train_epochs=3, warmup_steps=30),
}
"""The published budget, by the folder of the set; the sets with a TATA box have their own number of epochs.

How the best state is chosen differs from the scripts: see docs/gue.md.
"""

CPU = Protocol(
    "cpu",
    num_train_epochs=100,  # small sets end by their steps, too
    max_steps=300,
    learning_rate=1e-3,
    lora_learning_rate=1e-3,
    lr_scheduler="cosine",
    eval_steps=100,
    max_dev=1000,
    mixed_precision=False,
)
"""Minutes on two cores, at the learning rate of the `tiny` recipe: for comparisons, never a GUE score."""

GUE_SIZES: dict[str, tuple[int, int, int] | None] = {
    "EMP/H3": (11971, 1497, 1497),
    "EMP/H3K14ac": (26438, 3305, 3305),
    "EMP/H3K36me3": (27904, 3488, 3488),
    "EMP/H3K4me1": (25341, 3168, 3168),
    "EMP/H3K4me2": (24545, 3069, 3069),
    "EMP/H3K4me3": (29439, 3680, 3680),
    "EMP/H3K79me3": (23069, 2884, 2884),
    "EMP/H3K9ac": (22224, 2779, 2779),
    "EMP/H4": (11679, 1461, 1461),
    "EMP/H4ac": (27275, 3410, 3410),
    "mouse/0": (6478, 810, 810),
    "mouse/1": (53952, 6745, 6745),
    "mouse/2": (2620, 328, 328),
    "mouse/3": None,
    "mouse/4": (15064, 1883, 1883),
    "prom/prom_300_all": (47356, 5920, 5920),
    "prom/prom_300_notata": (42452, 5307, 5307),
    "prom/prom_300_tata": (4904, 613, 613),
    "prom/prom_core_all": (47356, 5920, 5920),
    "prom/prom_core_notata": (42452, 5307, 5307),
    "prom/prom_core_tata": (4904, 613, 613),  # what core_all has beyond core_notata
    "splice/reconstructed": (36496, 4562, 4562),
    "tf/0": (32378, 1000, 1000),
    "tf/1": (30672, 1000, 1000),
    "tf/2": (19000, 1000, 1000),
    "tf/3": (27294, 1000, 1000),
    "tf/4": None,
    "virus/covid": (77669, 7000, 7000),
}
"""Sequences in train, dev and test of every set of GUE: a set of another size is not GUE's.

None where they were never looked up: what is measured there is not called a GUE score.
"""

GUE_GROUPS: dict[str, str] = {
    "EMP": "EMP", "TF-M": "mouse", "TF-H": "tf", "CPD": "prom_core", "PD": "prom_300", "SSP": "splice", "CVC": "virus",
}  # fmt: skip
"""The groups that papers average over, and where the names of their sets begin."""

_VQDNA = "Li et al., VQDNA, ICML 2024 (arXiv 2405.10812)"
_BOTH = f"{_VQDNA}, and Zhou et al., DNABERT-2, ICLR 2024 (arXiv 2306.15006)"

SOURCES: dict[str, str] = {
    "DNABERT 6-mer": _BOTH,
    "NT-2500M-multi": _BOTH,
    "DNABERT-2": _BOTH,
    "VQDNA (HRQ)": _VQDNA,
    "MergeDNA": "Li et al., MergeDNA, AAAI 2026 (arXiv 2511.14806)",
}
"""Where the published numbers stand."""

PUBLISHED_SCORES: dict[str, dict[str, float]] = {
    "tf/0": {"DNABERT 6-mer": 66.84, "NT-2500M-multi": 66.64, "DNABERT-2": 71.99, "VQDNA (HRQ)": 72.48},
    "tf/1": {"DNABERT 6-mer": 70.14, "NT-2500M-multi": 70.28, "DNABERT-2": 76.06, "VQDNA (HRQ)": 76.43},
    "tf/2": {"DNABERT 6-mer": 61.03, "NT-2500M-multi": 58.72, "DNABERT-2": 66.52, "VQDNA (HRQ)": 66.85},
    "tf/3": {"DNABERT 6-mer": 51.89, "NT-2500M-multi": 51.65, "DNABERT-2": 58.54, "VQDNA (HRQ)": 58.92},
    "mouse/0": {"DNABERT 6-mer": 44.42, "NT-2500M-multi": 63.31, "DNABERT-2": 56.76},
    "mouse/2": {"DNABERT 6-mer": 71.44, "NT-2500M-multi": 71.52, "DNABERT-2": 79.32},
    "mouse/4": {"DNABERT 6-mer": 42.48, "NT-2500M-multi": 47.07, "DNABERT-2": 52.66},
    "prom/prom_core_all": {
        "DNABERT 6-mer": 68.90, "NT-2500M-multi": 70.33, "DNABERT-2": 69.37, "VQDNA (HRQ)": 71.02,
    },
    "prom/prom_core_notata": {
        "DNABERT 6-mer": 70.47, "NT-2500M-multi": 71.58, "DNABERT-2": 68.04, "VQDNA (HRQ)": 70.58,
    },
    "prom/prom_300_tata": {
        "DNABERT 6-mer": 61.56, "NT-2500M-multi": 79.43, "DNABERT-2": 71.59, "VQDNA (HRQ)": 74.52,
    },
    "virus/covid": {
        "DNABERT 6-mer": 55.50, "NT-2500M-multi": 73.04, "DNABERT-2": 71.02, "VQDNA (HRQ)": 74.32, "MergeDNA": 74.41,
    },
    "splice/reconstructed": {
        "DNABERT 6-mer": 84.07, "NT-2500M-multi": 89.35, "DNABERT-2": 84.99, "VQDNA (HRQ)": 89.53, "MergeDNA": 89.95,
    },
}  # fmt: skip
"""MCC x 100 on test, for covid macro-F1 x 100, as the papers of `SOURCES` report them."""

PUBLISHED_GROUP_MEANS: dict[str, dict[str, float]] = {
    "EMP": {
        "DNABERT 6-mer": 49.10, "NT-2500M-multi": 58.06, "DNABERT-2": 55.98, "VQDNA (HRQ)": 57.95, "MergeDNA": 68.82,
    },
    "TF-H": {
        "DNABERT 6-mer": 64.17, "NT-2500M-multi": 63.33, "DNABERT-2": 70.11, "VQDNA (HRQ)": 70.56, "MergeDNA": 72.24,
    },
    "TF-M": {
        "DNABERT 6-mer": 56.43, "NT-2500M-multi": 67.02, "DNABERT-2": 68.00, "VQDNA (HRQ)": 69.80, "MergeDNA": 73.21,
    },
    "CPD": {
        "DNABERT 6-mer": 71.81, "NT-2500M-multi": 71.63, "DNABERT-2": 70.53, "VQDNA (HRQ)": 73.37, "MergeDNA": 73.41,
    },
    "PD": {
        "DNABERT 6-mer": 81.70, "NT-2500M-multi": 88.15, "DNABERT-2": 84.21, "VQDNA (HRQ)": 86.58, "MergeDNA": 87.73,
    },
    "SSP": {
        "DNABERT 6-mer": 84.07, "NT-2500M-multi": 89.35, "DNABERT-2": 84.99, "VQDNA (HRQ)": 89.53, "MergeDNA": 89.95,
    },
    "CVC": {
        "DNABERT 6-mer": 55.50, "NT-2500M-multi": 73.04, "DNABERT-2": 71.02, "VQDNA (HRQ)": 74.32, "MergeDNA": 74.41,
    },
}  # fmt: skip
"""Means over all sets of a group."""


def group_of(name: str) -> str | None:
    """The group of a set of GUE; None for a set that is none of GUE's.

    >>> group_of("prom/prom_core_all"), group_of("mouse/0"), group_of("species")
    ('CPD', 'TF-M', None)
    """
    if name not in GUE_SIZES:
        return None
    family, _, rest = name.partition("/")
    start = rest[: len("prom_core")] if rest.startswith("prom_core") else rest[: len("prom_300")]
    return next(group for group, begins in GUE_GROUPS.items() if begins in (family, start))


def protocol_for(name: str, base: str = "published", overrides: Mapping[str, Any] | None = None) -> Protocol:
    """The protocol of a set.

    Args:
        name: of the set, such as `tf/0`. A set that is none of GUE's gets the values of `EMP`.
        base: `published` or `cpu`.
        overrides: other values for fields of `Protocol`; `learning_rate` is that of adapters, too.

    Raises:
        ValueError: on another base, an unknown field, or a value that makes no sense.

    Example:

    >>> protocol_for("prom/prom_300_tata").num_train_epochs, protocol_for("tf/0").warmup_steps
    (10, 30)
    >>> protocol_for("tf/0", "published", {"learning_rate": 1e-4}).name
    'published, changed'
    >>> protocol_for("virus/covid", "cpu").metric
    'f1'
    """
    family, _, rest = name.partition("/")
    row = "prom_tata" if family == "prom" and rest.endswith("_tata") else family
    published = PUBLISHED.get(row, PUBLISHED["EMP"])
    if base not in ("published", "cpu"):
        raise ValueError(f"protocol {base!r}: choose published or cpu")
    protocol = published if base == "published" else replace(CPU, metric=published.metric)
    changes = {key: value for key, value in (overrides or {}).items() if value is not None}
    if unknown := set(changes) - {field.name for field in fields(Protocol)} | ({"name"} & set(changes)):
        raise ValueError(f"a protocol has no value {', '.join(sorted(unknown))}")
    if "learning_rate" in changes:
        changes.setdefault("lora_learning_rate", changes["learning_rate"])
    changed = replace(protocol, **changes)
    _check(changed)
    return changed if changed == protocol else replace(changed, name=f"{protocol.name}, changed")


def _check(protocol: Protocol) -> None:
    for key in ("num_train_epochs", "max_steps", "learning_rate", "batch_size", "eval_steps", "max_dev"):
        value = getattr(protocol, key)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{key} {value}: it must be above 0, and finite")
    for key in ("warmup_steps", "weight_decay"):
        if not 0 <= getattr(protocol, key) < math.inf:
            raise ValueError(f"{key} {getattr(protocol, key)}: it must not be below 0, and finite")
    if protocol.lr_scheduler not in ("linear", "cosine", "constant_with_warmup"):
        raise ValueError(f"lr_scheduler {protocol.lr_scheduler!r}: choose linear, cosine or constant_with_warmup")
    if protocol.metric not in (MCC, F1):
        raise ValueError(f"metric {protocol.metric!r}: choose {MCC} or {F1}")
