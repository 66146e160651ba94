"""What is compared: one model's profiles by every ranking, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from synkern.analysis import LayerProfile
from synkern.analysis.comparison import DepthProfile


@dataclass(frozen=True, eq=False, repr=False)
class Member:
    """One of the models of a comparison.

    Attributes:
        name: for readers; no two members of a comparison have the same.
        model: as it was given to its study, or as it was published.
        source: the folder of the study, or the publication and how exactly it could be read.
        layers: how many have nodes.
        nodes: how many there are.
        about: what may differ between members, by what it is called; None where it is not known.
        profiles: by ranking.
        tests: by ranking, the profile as the study itself has it, with its test of an inverted U;
            none of a published one, which has no prompts.
        notes: what a reader has to know about it.
    """

    name: str
    model: str
    source: str
    layers: int
    nodes: int
    about: Mapping[str, str | None]
    profiles: Mapping[str, DepthProfile]
    tests: Mapping[str, LayerProfile]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        """One line: name, size, rankings."""
        return f"Member({self.name!r}; {self.layers} layers, {', '.join(self.profiles)})"

    @property
    def published(self) -> bool:
        """Whether it was read off a figure instead of studied here."""
        return not self.tests
