"""Profiles that were published, as members of a comparison: read off figures, without intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synkern.analysis.comparison import profile_as_read
from synkern.study.comparison.member import Member
from synkern.study.errors import ArgumentError
from synkern.study.published import published

ALL = "all"
"""Stands for the profiles of all models in the figure that shows several."""

_SEVERAL = "2c"
_SAME = {"redundancy": "MMI", "lag": "1 token", "prompts combined": "trials", "preparation": "none"}


def published_profiles() -> dict[str, str]:
    """Return the profiles that `published` of a comparison can name, with their models."""
    return {name: str(row["model"]) for name, row in published("profiles")["profiles"].items()}


def chosen(names: Sequence[str]) -> list[Member]:
    """Return the members that are named; "all" stands for the four models of one figure.

    Raises:
        ArgumentError: a name that there is not.
    """
    told = published("profiles")
    known: Mapping[str, Any] = told["profiles"]
    unknown = [name for name in names if name != ALL and name not in known]
    if unknown:
        raise ArgumentError(
            f"published = {unknown[0]!r}; choose from {', '.join(known)}, or {ALL} for the models "
            f"of figure {_SEVERAL} (folders of studies come before it)"
        )
    several = [name for name, row in known.items() if row["figure"] == _SEVERAL]
    wanted = [one for name in names for one in (several if name == ALL else [name])]
    return [_member(name, known[name], told) for name in dict.fromkeys(wanted)]


def _member(name: str, row: Mapping[str, Any], told: Mapping[str, Any]) -> Member:
    label = f"{name} (published)"
    profile = profile_as_read(label, row["values"], row["normalisation"])
    about = {
        "weights": "trained",
        "nodes": row["nodes"],
        "signal": row["signal"],
        "estimator": row["kind"],
        **_SAME,
        "prompts": "60 of the paper",
        "answer": "100 tokens",
        "template": row["template"],
        "dtype": None,
        "computed by": "the authors' code",
    }
    return Member(
        name=label,
        model=row["model"],
        source=f"{told['source']}; {told['error']}",
        layers=len(row["values"]),
        nodes=row["count"],
        about=about,
        profiles={told["ranking"]: profile},
        tests={},
        notes=(),
    )
