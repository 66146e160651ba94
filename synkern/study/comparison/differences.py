"""What differs between the members of a comparison beside their models, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synkern.study.comparison.member import Member

# What follows from a difference, for a reader who does not know.
_SO = {
    "weights": "random weights are a control, not a model",
    "nodes": "these are units of different kinds on one axis over depth",
    "signal": "what is read of a node is not the same",
    "estimator": "synergy was estimated in ways that need not agree on one model either",
    "redundancy": "redundancy, and with it synergy, was defined in different ways",
    "lag": "synergy was asked for over different times",
    "prompts combined": "prompts were averaged in one and pooled in another",
    "preparation": "series were prepared differently, which changes persistence and so synergy",
    "prompts": "a difference of profiles may be one of prompts",
    "answer": "estimates from fewer tokens are higher and less sure",
    "template": "a model inside its template answers, one without it goes on writing",
    "dtype": "rounding differs, and may lead to other texts",
    "computed by": "details that no option names may differ",
}
# More members than this are not listed by name.
_CROWD = 2


def differences(members: Sequence[Member]) -> list[str]:
    """Return a sentence for everything in which members are known to differ.

    What is not known of a published profile differs from nothing.
    """
    found = []
    for what, so in _SO.items():
        by_value: dict[str, list[str]] = {}
        for member in members:
            value = member.about[what]
            if value is not None:
                by_value.setdefault(value, []).append(member.name)
        if len(by_value) > 1:
            found.append(f"{what}: {_said(by_value)}. So {so}.")
    return found


def _said(by_value: Mapping[str, Sequence[str]]) -> str:
    """Who has which value; of a crowd, that it is the rest."""
    crowd, of_crowd = max(by_value.items(), key=lambda item: len(item[1]))
    rest = len(of_crowd) > _CROWD
    few = [f"{v} ({', '.join(of)})" for v, of in by_value.items() if not (rest and v == crowd)]
    return "; ".join([*few, f"{crowd} (all others)"] if rest else few)


def unknown(members: Sequence[Member]) -> list[str]:
    """Return a sentence for everything that is not known of some members."""
    by_what: dict[str, list[str]] = {}
    for member in members:
        for what, value in member.about.items():
            if value is None:
                by_what.setdefault(what, []).append(member.name)
    return [f"{what}: not published of {', '.join(names)}" for what, names in by_what.items()]


def shared(members: Sequence[Member]) -> dict[str, str]:
    """Return what is known of all members and the same in them."""
    first = members[0].about
    return {
        what: value
        for what, value in first.items()
        if value is not None and all(member.about[what] == value for member in members)
    }
