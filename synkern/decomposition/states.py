"""Nodes that are discrete already, with more states than the discrete estimator knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern._arrays import in_float64, like, to_numpy
from synkern._warnings import warn

MOST_LEVELS = 20
"""More levels than this are taken for a continuous node that was rounded."""

TIMES_EACH = 5
"""How often, on average, a node that has states takes a level; continuous ones repeat none."""

_GLANCE, _LOOK = 32, 1024
"""Values of a node that are looked at: its first, and more where these have few levels."""

_FEW_NODES = 4
"""Nodes up to which sets of Python count levels in less time than NumPy sorts."""

_GOLDEN = (5**0.5 - 1) / 2
_SAID_NODES, _SAID_LEVELS = 3, 5


def warn_of_many(series: Any, nodes: npt.ArrayLike | None = None) -> None:
    """Warn where nodes have three or more states, of which the estimator makes two.

    A node has states if it takes no more than `MOST_LEVELS` levels, each `TIMES_EACH` times on
    average, among up to 1,024 values spread over trials and time.

    Args:
        series: (trials, time, nodes) of NumPy, torch or CuPy, finite.
        nodes: those in use; None: all.
    """
    # At a glance most values of a continuous node differ, and nothing else is done about it.
    chosen = _of_few_levels(series[0, :_GLANCE])
    if not len(chosen):
        return
    chosen = np.intersect1d(chosen, chosen if nodes is None else nodes)
    some = _values(series, chosen)
    levels = _count(some)
    many = (levels > 2) & (levels <= min(MOST_LEVELS, len(some) // TIMES_EACH))
    if not many.any():
        return
    said = "; ".join(
        f"node {node}: {_listed(np.unique(values))}"
        for node, values, _ in zip(chosen[many], some.T[many], range(_SAID_NODES), strict=False)
    )
    warn(
        f"{many.sum()} of {series.shape[-1]} nodes take more than two levels ({said}"
        f"{'; ...' if many.sum() > _SAID_NODES else ''}), of which kind='discrete' makes two "
        "states, above the mean of the node and not; more are not supported. If other states are "
        "meant, pass a series of two levels, such as series > threshold"
    )


def _of_few_levels(glance: Any) -> Sequence[int] | npt.NDArray[np.int64]:
    """Nodes of (values, nodes) with few levels."""
    if isinstance(glance, np.ndarray) and glance.shape[1] <= _FEW_NODES:
        levels = map(len, map(set, glance.T.tolist()))
        return [node for node, count in enumerate(levels) if count <= MOST_LEVELS]
    return np.flatnonzero(_count(_sorted(glance)) <= MOST_LEVELS)


def _values(series: Any, nodes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(values, nodes), sorted: no more than `_LOOK` of each node, spread without a period."""
    trials, time, _ = series.shape
    total = trials * time
    place = np.arange(total)
    if total > _LOOK:
        place = np.unique((np.arange(_LOOK) * _GOLDEN % 1 * total).astype(np.int64))
    trial, step = np.divmod(place, time)
    index = (like(part, series) for part in (trial[:, None], step[:, None], nodes))
    return _sorted(series[tuple(index)])


def _sorted(values: Any) -> npt.NDArray[np.float64]:
    """Sort values on the host, along the first axis."""
    return np.sort(to_numpy(in_float64(values)), axis=0)


def _count(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """How many different values there are of each node."""
    return np.asarray((values[1:] != values[:-1]).sum(0) + 1)


def _listed(levels: npt.NDArray[np.float64]) -> str:
    more = [", ..."] if len(levels) > _SAID_LEVELS else []
    return ", ".join(f"{level:g}" for level in levels[:_SAID_LEVELS]) + "".join(more)
