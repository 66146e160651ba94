"""Recordings in place of series: what they bring with them, and what may be asked of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from synkern._arrays import in_float64, is_tensor, to_numpy
from synkern._warnings import warn

_DISCRETE = (
    "use kind='discrete' (the default for it), in which a node is above its mean, that is active, "
    "or not; or "
)
_SIGNAL = "record another signal of it, such as signal='gate' or 'dense' of experts"

_GLANCE = 8
"""Time points that tell whether a closer look at zeros is worth it."""


class Taken(NamedTuple):
    """A series, or a recording, as what is asked of it.

    Attributes:
        series: (trials, time, nodes), or moments.
        kind: of the estimator.
        node_names: a name for each node, if any are known.
    """

    series: Any
    kind: str
    node_names: Sequence[Any] | None


def taken(
    series: Any,
    kind: str | None,
    node_names: Sequence[Any] | None = None,
    *,
    only_gaussian: bool = False,
) -> Taken:
    """Take the series out of a recording, and decide on the estimator.

    Args:
        series: as in `phiid`; a recording is what has `series`, `nodes` and `zero_filled`.
        kind: as in `phiid`.
        node_names: likewise; by default the labels of a recording's nodes.
        only_gaussian: whether there is no other estimator of what is wanted.

    Raises:
        ValueError: "gaussian" for a recording that is exactly 0 where nodes are idle.
        RecordingError: a recording that is not complete.
    """
    if not is_recording(series):
        return Taken(series, "gaussian" if kind is None else kind, node_names)
    if series.zero_filled and kind == "gaussian":
        kinds = getattr(series, "kinds", ())
        others = " (or series.of(...), the nodes of one kind alone)" if len(kinds) > 1 else ""
        raise ValueError(
            f"kind 'gaussian' does not suit this recording of {' and '.join(kinds) or 'nodes'}: "
            "most samples of a node are exactly 0, where it is idle, and no Gaussian has such a "
            f"distribution; {'' if only_gaussian else _DISCRETE}{_SIGNAL}{others}"
        )
    if node_names is None:
        node_names = [getattr(node, "label", node) for node in series.nodes]
    if kind is None:
        kind = "discrete" if series.zero_filled else "gaussian"
    return Taken(series.series, kind, node_names)


def is_recording(series: Any) -> bool:
    """Whether it is a recording of nodes rather than an array."""
    if isinstance(series, np.ndarray) or is_tensor(series):
        return False
    # Of the three, frames and others have one at most.
    return all(hasattr(series, name) for name in ("zero_filled", "nodes", "series"))


def warn_of_zeros(series: Any) -> None:
    """Warn where most nodes of a series on the host are exactly 0 at most samples.

    No Gaussian has such a distribution. A glance at a few time points of the first trial decides
    whether that trial is looked at.

    Nodes of two levels, one of them 0, are left alone.

    Args:
        series: (trials, time, nodes) of NumPy, torch or CuPy, finite.
    """
    # Every call pays for this much.
    some = series[0, :: max(1, series.shape[1] // _GLANCE)]
    if isinstance(series, np.ndarray):
        count = int(np.count_nonzero(some))
    elif is_tensor(series) and series.device.type == "cpu":
        count = int((some != 0).sum())
    else:
        return
    # Half of the nodes at half of the samples are a quarter; chance may make it less in a few.
    if 8 * count > 7 * math.prod(some.shape):
        return
    trial = series[0]
    values = to_numpy(in_float64(trial))
    used = (values != 0).sum(0)
    # Bits and the like say no more than which samples are 0, whatever describes them.
    least, largest = (np.where(values != 0, values, fill) for fill in (np.inf, -np.inf))
    varied = largest.max(0) > least.min(0)
    idle = int((varied & (2 * used < len(values))).sum())
    if 2 * idle > trial.shape[-1]:
        warn(
            f"{idle} of {trial.shape[-1]} nodes are exactly 0 at most samples of the first trial, "
            "as nodes are that are idle; no Gaussian has such a distribution, and kind='gaussian' "
            "says more of which samples are 0 than of how the others vary: use kind='discrete', or "
            "a series that is not filled with zeros"
        )
