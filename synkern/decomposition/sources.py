"""What is decomposed, as the chosen backend takes it: a series that was checked, or moments."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import synkern._checks as check
from synkern._arrays import Incoming, incoming, is_tensor, placed, spacing
from synkern._names import node_names, unnamed
from synkern._warnings import collected
from synkern.decomposition.asked import Options
from synkern.decomposition.backends import select
from synkern.decomposition.batches import Batch, batches
from synkern.decomposition.masks import filled, only_valid, valid_samples
from synkern.decomposition.moments import LaggedMoments
from synkern.decomposition.recorded import warn_of_zeros
from synkern.kernels import Backend, Wanted

_MATRICES = ("past", "future", "lagged", "constant")  # of `formulas.moments.Moments`


@dataclass(frozen=True)
class Source:
    """What is decomposed, as a backend takes it.

    Attributes:
        backend: that runs.
        array: the series as the backend takes it; None where there are moments.
        data: of such an array and a lag, batches of (trials, time, nodes) or of
            `formulas.moments.Moments`.
        shape: (trials, time, nodes).
        given: an array of the caller's.
        like: the same as the backend's kind, where the data are; finite throughout.
        restore: turns the backend's arrays into the caller's kind.
        node_names: a name for each node, if there are any.
        trial_names: likewise of trials.
    """

    backend: Backend
    array: Any
    data: Callable[[Any, int], list[Batch]]
    shape: tuple[int, int, int]
    given: Any
    like: Any
    restore: Callable[[Any], Any]
    node_names: tuple[str, ...] | None
    trial_names: tuple[str, ...] | None = None


def series_source(series: Any, lags: Sequence[int], options: Options, wanted: Wanted) -> Source:
    """A series, checked; see `phiid` for what is raised."""
    named = unnamed(series, "series")
    series, mask = named.array, named.mask(options.mask)
    chosen = select(options.backend, series, wanted)
    if wanted.by_node and is_tensor(series) and series.requires_grad:
        raise ValueError(
            "phiid_nodes has no gradient, and series requires one; detach it, or take means of the "
            "matrices of all pairs"
        )
    series = only_valid(series, mask)
    array, restore = incoming(series, chosen.arrays, argument="series", offset_free=True)
    xp: Any = sys.modules[chosen.arrays]
    valid = valid_samples(mask, array)
    step = spacing(series)
    with placed(series, array):
        # NumPy's arrays wait for no device; values without rounding are taken as they are.
        ask = valid is None and step > 0 and not isinstance(array, np.ndarray)
        usual = ask and check.ordinary(xp, array, max(lags), step)
        array = check.series(xp, array, max(lags), pooled=options.pooled, valid=valid, finite=usual)
        whole = array if valid is None else filled(xp, array, valid)
        if options.kind == "gaussian":
            warn_of_zeros(whole)
        # No rounding has to be allowed for where all nodes are known to vary far more than that.
        steady = check.steady_nodes(xp, whole, lags, options.pooled, 0.0 if usual else step)

    judged: set[int] = set()  # lags; on the way back a transform asks again

    def data(taken: Any, lag: int) -> list[Batch]:
        if valid is not None:
            with collected() if lag in judged else contextlib.nullcontext():
                judged.add(lag)
                return batches(xp, taken, valid, lag, options.pooled, step, options.kind)
        # Sums by node take some nodes at a time, and these are then settled.
        if wanted.by_node and math.prod(array.shape) >= check.LARGE:
            return [Batch(taken, lag, unsettled=step)]
        if taken is array:
            return [Batch(steady(lag), lag)]
        with collected():  # What there is to be said of these values has been.
            return [Batch(check.steady_nodes(xp, taken, [lag], options.pooled, step)(lag), lag)]

    shape = tuple(array.shape)
    given = options.node_names if options.members is None else options.column_names
    names = node_names(given, named, shape[2])
    return Source(chosen, array, data, shape, series, whole, restore, names, named.trials)


def moments_source(
    moments: LaggedMoments, lags: Sequence[int], options: Options, wanted: Wanted
) -> Source:
    """Moments, as features at each lag; see `phiid` for what is raised."""
    if (options.kind, options.redundancy) != ("gaussian", "MMI"):
        raise ValueError(
            "moments suffice for kind 'gaussian' and redundancy 'MMI' only; got "
            f"{options.kind!r} and {options.redundancy!r}: pass the series"
        )
    if options.members is not None:
        raise ValueError(
            "moments are correlations of single columns, and the stable path of nodes of several "
            "(members=) needs the data; pass the series"
        )
    if options.mask is not None:
        raise ValueError(
            "moments have no samples left for a mask to choose from; gather them with it: "
            "LaggedMoments.update(chunk, mask=...)"
        )
    by_lag = {lag: moments.features(lag, options.pooled) for lag in lags}
    past = by_lag[lags[0]].past
    chosen = select(options.backend, past, wanted)
    if moments.library not in (chosen.arrays, *chosen.shares):
        raise ValueError(
            f"backend {options.backend!r} takes {chosen.arrays} arrays, and the moments are of "
            f"{moments.library}; use backend='auto'"
        )

    def take(matrix: Any) -> Incoming:
        return incoming(matrix, chosen.arrays, argument="moments")

    taken = take(past)
    by_lag = {
        lag: each._replace(**{name: take(getattr(each, name)).array for name in _MATRICES})
        for lag, each in by_lag.items()
    }
    return Source(
        chosen,
        None,
        lambda _, lag: [Batch(by_lag[lag], lag)],
        moments.shape,
        past,
        taken.array,
        lambda array: moments.restore(taken.restore(array)),
        node_names(options.node_names, moments.named, moments.shape[2]),
    )
