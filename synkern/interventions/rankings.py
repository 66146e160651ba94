"""Scores of nodes as they are given, by the ranking that they are of. Light: without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from synkern._arrays import to_numpy

Scores: TypeAlias = Any
"""Scores of nodes: `NodeScores`, an array (nodes,), or a mapping from the name of a ranking to
either."""


def rankings_of(scores: Scores, labels: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """By name of the ranking, scores of all nodes.

    Raises:
        ValueError: there are none, they do not fit the nodes, or are of others.
    """
    named = scores if isinstance(scores, Mapping) else {None: scores}
    found: dict[str, NDArray[Any]] = {}
    for name, each in named.items():
        own = getattr(each, "score", each)
        if str(getattr(own, "dtype", None)) == "torch.bfloat16":
            own = own.float()  # NumPy has none
        values = np.asarray(to_numpy(own))
        ranking = str(name or getattr(each, "ranking", "the scores given"))
        if values.shape != (len(labels),):
            raise ValueError(
                f"scores: shape {values.shape} ({ranking}) for {len(labels)} nodes, {labels[0]} to "
                f"{labels[-1]}; give one for each, of a mean over trials (node_scores of "
                "result.mean(...))"
            )
        names = getattr(each, "node_names", None)
        if names is not None and tuple(names) != labels:
            raise ValueError(
                f"scores: they are of the nodes {names[0]} to {names[-1]}, and the model has "
                f"{labels[0]} to {labels[-1]}, in this order; give scores of the nodes in `of`"
            )
        found[ranking] = values
    if not found:
        raise ValueError("scores: there are none; give those of one ranking at least")
    return found


def one_ranking(scores: Scores, labels: tuple[str, ...]) -> tuple[str, NDArray[np.float64]]:
    """The name of a ranking, and the scores of all nodes by it.

    Args:
        scores: `NodeScores`, an array (nodes,), or a mapping from the name of a ranking to either.
        labels: of the nodes.

    Raises:
        ValueError: they do not fit the nodes, are of others, or of several rankings.
    """
    found = rankings_of(scores, labels)
    if len(found) > 1:
        raise ValueError(f"scores: by {' and '.join(found)}; give those of one ranking")
    ((name, values),) = found.items()
    return name, np.asarray(values, dtype=np.float64)
