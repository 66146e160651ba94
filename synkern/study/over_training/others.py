"""Other trainings beside this one, such as other seeds: read from what was written of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synkern.study.errors import ArgumentError
from synkern.study.options import stated
from synkern.study.over_training.checkpoints import Checkpoint
from synkern.study.over_training.options import EmergenceOptions

NUMBERS = "emergence.json"
FORMAT, FORMAT_VERSION = "synkern emergence", 1

# What may differ without the trends meaning something else: where things are, and how computed.
_MAY_DIFFER = {"checkpoints", "labels", "beside", "batch_size", "device", "backend", "bootstrap"}


@dataclass(frozen=True, eq=False)
class Other:
    """What was found of the checkpoints of another training.

    Attributes:
        name: of its folder.
        steps: of its checkpoints, in order.
        checkpoints: a mapping for each with what `emergence.json` holds of it.
        options: that it was made with, likewise.
    """

    name: str
    steps: tuple[int, ...]
    checkpoints: tuple[Mapping[str, Any], ...]
    options: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Other:
        """Read the numbers in the folder of a series of checkpoints.

        Raises:
            ArgumentError: there are none, of another format, or checkpoints without steps.
        """
        remedy = "name the folder (out) of a series of checkpoints that emergence has written"
        try:
            told = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            said = " ".join(str(error).split())
            raise ArgumentError(f"beside: {str(folder)!r}: {said}; {remedy}") from error
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            raise ArgumentError(f"beside: {str(folder)!r} has a {NUMBERS} of other kind; {remedy}")
        if told["format_version"] != FORMAT_VERSION:
            raise ArgumentError(
                f"beside: {str(folder)!r} is of format version {told['format_version']}, and this "
                f"is {FORMAT_VERSION}; run emergence again on its checkpoints"
            )
        steps = tuple(one["step"] for one in told["checkpoints"])
        if None in steps:
            raise ArgumentError(
                f"beside: {str(folder)!r} has checkpoints without a step, which have no place on "
                "an axis of steps; run it again with labels that end in numbers"
            )
        name = folder.name or folder.resolve().name
        return cls(name, steps, tuple(told["checkpoints"]), told["options"])

    def of_text(self, text: str, name: str) -> list[float | None]:
        """A value of every checkpoint with a text, whatever the ranking; None without one."""
        return [None if one[text] is None else one[text][name] for one in self.checkpoints]

    def of_ranking(self, text: str, ranking: str, name: str) -> list[Any]:
        """A value of the profile of every checkpoint by a ranking; None without one."""
        rows = [one[text] and one[text]["rankings"].get(ranking) for one in self.checkpoints]
        return [row and row[name] for row in rows]

    def end(self, text: str, ranking: str) -> tuple[str, Mapping[str, Any]] | None:
        """The last checkpoint that has a profile: its label, and what is known of the profile."""
        for one in reversed(self.checkpoints):
            found = one[text] and one[text]["rankings"].get(ranking)
            if found and found["quadratic_term"] is not None:
                return one["label"], found
        return None

    @property
    def losses(self) -> list[float | None]:
        """The loss of every checkpoint, None where it was not measured."""
        return [one["loss"] for one in self.checkpoints]


def others_of(
    options: EmergenceOptions, found: Sequence[Checkpoint]
) -> tuple[tuple[Other, ...], list[str]]:
    """Return the other trainings that were asked for, and what is to be said of them.

    Raises:
        ArgumentError: one cannot be read, or is this one; these checkpoints have no steps.
    """
    folders = [Path(folder) for folder in options.beside or ()]
    if not folders:
        return (), []
    if any(one.step is None for one in found):
        raise ArgumentError(
            "beside needs checkpoints with steps, to put other trainings on one axis with them; "
            "give labels that end in numbers"
        )
    if Path(options.out).resolve() in {folder.resolve() for folder in folders}:
        raise ArgumentError(f"beside has out itself, {str(options.out)!r}; name other trainings")
    others = tuple(Other.read(folder) for folder in folders)
    # Written and read as the others were.
    here = json.loads(json.dumps(as_stated(options)))
    notes = []
    if options.text is None:
        notes.append(
            "the loss of each training is that on the answers of its own last checkpoint, and the "
            "losses of two cannot be compared; give all of them one text"
        )
    for other in others:
        differing = [
            f"{name} ({other.options.get(name)!r} there, {value!r} here)"
            for name, value in here.items()
            if name not in _MAY_DIFFER and other.options.get(name) != value
        ]
        if differing:
            notes.append(
                f"{other.name}, which stands beside, was studied with other options: "
                f"{'; '.join(differing)}. What differs may be of these."
            )
    return others, notes


def as_stated(options: EmergenceOptions) -> dict[str, Any]:
    """The options that results depend on, by name, as JSON can hold them."""
    given = {name: getattr(options, name) for name in stated(EmergenceOptions)}
    return {name: str(v) if isinstance(v, Path) else v for name, v in given.items()}
