"""The checkpoints of a training: what they are called, and in which order they came about."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synkern.study.errors import ArgumentError
from synkern.study.over_training.options import EmergenceOptions

_NUMBER = re.compile(r"(\d+)$")
# In the name of a folder.
_UNUSUAL = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class Checkpoint:
    """One state of a model in training.

    Attributes:
        label: what it is called.
        step: the number at the end of the label; None without one.
        model: a folder, or `NAME@REVISION`.
    """

    label: str
    step: int | None
    model: str

    @property
    def folder(self) -> str:
        """The name of the folder of its study."""
        return _UNUSUAL.sub("_", self.label)


def checkpoints_of(options: EmergenceOptions) -> tuple[tuple[Checkpoint, ...], list[str]]:
    """Return the checkpoints in the order of their steps, and what is to be said of the order.

    Where a label has no number, or two have the same, they stay in the order given.

    Raises:
        ArgumentError: fewer than two, one given twice, or two that are called alike.
    """
    given = options.checkpoints
    if isinstance(given, str | Path):
        raise ArgumentError(f"checkpoints = {given!r}; give a list of model folders")
    models = [str(model) for model in given]
    if len(models) < 2:
        raise ArgumentError(
            f"checkpoints holds {len(models)}; give two or more, in the order of training"
        )
    refuse_twice("checkpoints", models, "give every one once")
    labels = options.labels
    if labels is not None and len(labels) != len(models):
        raise ArgumentError(f"labels = {labels!r}; give one for each of {len(models)} checkpoints")
    wrong = [label for label in labels or () if not isinstance(label, str)]
    if wrong:
        raise ArgumentError(f"labels holds {wrong[0]!r}; give strings")
    found = [
        Checkpoint(label, _step(label), model)
        for label, model in zip(labels or map(_label, models), models, strict=True)
    ]
    remedy = "tell them apart with labels"
    refuse_twice("labels", [one.label for one in found], remedy)
    refuse_twice("folders of the labels", [one.folder for one in found], remedy)
    for one in found:
        if one.folder in ("", ".", ".."):
            raise ArgumentError(
                f"a checkpoint is called {one.label!r}, which can name no folder for its study; "
                "give labels"
            )
    steps = [one.step for one in found if one.step is not None]
    if len({*steps}) < len(found):
        note = (
            "not every checkpoint has a step of its own at the end of its name: they are taken for "
            "given in the order of training, evenly apart"
        )
        return tuple(found), [note]
    in_order = sorted(found, key=lambda one: one.step or 0)
    if in_order == found:
        return tuple(found), []
    note = (
        "the checkpoints were not given in the order of their steps, and were put into it: "
        f"{', '.join(one.label for one in in_order)}"
    )
    return tuple(in_order), [note]


def _label(model: str) -> str:
    """The revision of a hub's model, or the name of a folder."""
    if Path(model).exists():
        return Path(model).resolve().name
    _, _, revision = model.partition("@")
    return revision or Path(model).name or model


def _step(label: str) -> int | None:
    found = _NUMBER.search(label)
    return None if found is None else int(found[1])


def refuse_twice(what: str, values: Sequence[str], remedy: str) -> None:
    """Refuse a value that is there twice.

    Raises:
        ArgumentError: one is.
    """
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ArgumentError(f"{what}: {twice[0]!r} is there twice; {remedy}")
