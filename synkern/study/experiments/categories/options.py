"""What a user decides about a comparison of categories. Light, as `synkern.study.options` is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from synkern.study.experiments.options import RecordedOptions
from synkern.study.options import Option

DRAWN = {"permutations": 999, "bootstrap": 500, "splits": 100}
"""How much is drawn where every trial is decomposed by itself."""

POOLED = {"permutations": 99, "bootstrap": 100, "splits": 20}
"""The same where prompts are pooled, which are decomposed anew for every draw."""


def _said(name: str) -> str:
    return f"(default: {DRAWN[name]}, {POOLED[name]} where prompts are pooled)"


@dataclass(frozen=True, kw_only=True)
class CategoriesOptions(RecordedOptions):
    """What a user may decide about a comparison of categories, as given."""

    groups: str | Path | None = field(
        default=None,
        metadata=Option(
            help='JSON file of other groups of the same prompts: {"group": ["prompt", ...], ...}; '
            "or tasks (.jsonl), grouped by their level",
            more="Tasks as `synkern.tasks.read` takes them, whose text is the prompt. None takes "
            "the categories of the study's prompts.",
            metavar="FILE",
            stated=False,
        ).described,
    )
    permutations: int | None = field(
        default=None,
        metadata=Option(
            help=f"random deals of the prompts into groups {_said('permutations')}", least=19
        ).described,
    )
    bootstrap: int | None = field(
        default=None,
        metadata=Option(
            help=f"draws of prompts within each group {_said('bootstrap')}", least=100
        ).described,
    )
    splits: int | None = field(
        default=None,
        metadata=Option(help=f"of each group into halves {_said('splits')}", least=1).described,
    )


@dataclass(frozen=True, kw_only=True)
class Decided(CategoriesOptions):
    """The same as they will be used: nothing is left to the study.

    Attributes:
        grouping: the group of every prompt.
        left_out: the groups that were named and have none of the study's prompts.
    """

    permutations: int
    bootstrap: int
    splits: int
    grouping: tuple[str, ...]
    left_out: tuple[str, ...]
