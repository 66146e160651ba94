"""What rankings, weights and small numbers are called for readers."""

from __future__ import annotations

from synkern.analysis.scores import PUBLISHED


def called(ranking: str) -> str:
    """Return the name of a ranking for readers; that of the published figures is marked."""
    words = ranking.replace("_", " ")
    return f"{words} (as published)" if ranking == PUBLISHED else words


def verdict(inverted_u: bool | None) -> str:
    """Say whether a profile is an inverted U; of one that is incomplete, None, it is not known."""
    if inverted_u is None:
        return "incomplete"
    return "inverted U" if inverted_u else "no inverted U"


def of_weights(weights: str) -> str:
    """Return what the weights of a model are called."""
    return f"{weights} weights"


def spelled(count: int) -> str:
    """Return a small number in words."""
    return {1: "one", 2: "two", 3: "three"}.get(count, str(count))
