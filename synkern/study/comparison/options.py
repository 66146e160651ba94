"""What a user decides about a comparison. Light, as `synkern.study.options` is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synkern.study.errors import ArgumentError
from synkern.study.options import Option, like
from synkern.study.settings import StudyOptions

FEWEST_DRAWS = 100
"""With fewer, the ends of an interval are noise."""


MOST_POINTS = 10_001
"""Between layers a profile is a straight line, and no model has so many layers."""


def checked_text(name: str, value: Any) -> str:
    """Return a name that is an argument, or one of a list that is, as text.

    Args:
        name: of the argument.
        value: what was given.

    Raises:
        ArgumentError: no text or path, nothing to read, or what no file can hold or be called.
    """
    text = str(value) if isinstance(value, str | Path) and value != "" else ""
    if not text.strip() or "\0" in text or text != text.encode("utf-8", "ignore").decode("utf-8"):
        raise ArgumentError(f"{name} = {value!r} is no name; give one, as readable text")
    return text


def _check_texts(name: str, value: Any) -> None:
    for one in value if isinstance(value, list | tuple) else (value,):
        checked_text(name, one)


def _check_points(name: str, value: Any) -> None:
    if value > MOST_POINTS:
        raise ArgumentError(
            f"{name} = {value!r}; give at most {MOST_POINTS}: a profile is a straight line between "
            "two layers, so that more points show nothing more"
        )


def _check_draws(name: str, value: Any) -> None:
    if 0 < value < FEWEST_DRAWS:
        raise ArgumentError(f"{name} = {value!r}; give at least {FEWEST_DRAWS}, or 0 for none")


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What a user may decide about a comparison, as given.

    `studies` are the folders of finished studies, given by position; with published profiles there
    may be none of them. The other fields are options, as in `synkern.study.settings.StudyOptions`.
    """

    studies: Sequence[str | Path] = field(default=(), kw_only=False)
    published: tuple[str, ...] | None = field(
        default=None,
        metadata=Option(
            help="published profiles to put beside them, by name, or all",
            more="Names are in `synkern.study.published_profiles()`. They are by mean difference, "
            "as ranks of layers, and without intervals.",
            metavar="NAME",
            check=_check_texts,
        ).described,
    )
    names: tuple[str, ...] | None = field(
        default=None,
        metadata=Option(
            help="what the studies are called, in their order, by default as their models",
            metavar="NAME",
            check=_check_texts,
        ).described,
    )
    out: str | Path | None = field(
        default=None,
        metadata=Option(
            help="folder for the page, its figures and the numbers; by default none is written",
            more="It receives comparison.html, comparison.json and figures.",
            metavar="DIR",
            check=_check_texts,
        ).described,
    )
    control: bool = field(
        default=False,
        metadata=Option(
            help="compare the models with random weights too, where a study has them"
        ).described,
    )
    points: int = field(
        default=101,
        metadata=Option(
            help="of the common grid over depth", least=3, check=_check_points
        ).described,
    )
    bootstrap: int = field(
        default=1000,
        metadata=Option(
            help="draws of the prompts for intervals, 0 for none",
            more="The recorded series are decomposed again for them.",
            least=0,
            check=_check_draws,
        ).described,
    )
    surrogates: int = field(
        default=999,
        metadata=Option(
            help="of each profile, for p values",
            more="See `synkern.analysis.comparison`.",
            least=19,
        ).described,
    )
    seed: int = field(
        default=0, metadata=Option(help="of everything drawn at random", least=0).described
    )
    progress: bool = like(
        StudyOptions, "progress", help="show progress bars, and say on standard error what is done"
    )
