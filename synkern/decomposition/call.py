"""A call of the decomposition: what was asked for, from a source to its result."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import synkern._checks as check
import synkern._memory as memory
from synkern._arrays import is_cupy, is_tensor, native, placed, run_whole, to_numpy
from synkern.decomposition import states
from synkern.decomposition.asked import Options
from synkern.decomposition.batches import decomposed
from synkern.decomposition.bipartite import Bipartite
from synkern.decomposition.blocks import sums_by_node
from synkern.decomposition.lazy import in_blocks, lazy
from synkern.decomposition.members import of_members
from synkern.decomposition.moments import LaggedMoments
from synkern.decomposition.node_means import NodeMeans
from synkern.decomposition.options import unit_factor
from synkern.decomposition.result import PhiIDResult, by_name
from synkern.decomposition.selection import BYTES_LISTED, Selection, select_pairs
from synkern.decomposition.sources import Source, moments_source, series_source
from synkern.kernels import (
    Estimator,
    Nodes,
    Outcome,
    Pairs,
    Wanted,
    swap_nodes,
)


def decompose(series: Any, tau: Any, estimator: Estimator, options: Options) -> PhiIDResult:
    """Decompose at one lag; see `phiid`, also for what is raised."""
    lag = one_lag(series, tau)
    return decompose_lags(series, (lag,), estimator, options)[lag]


def decompose_lags(
    series: Any, lags: Sequence[int], estimator: Estimator, options: Options
) -> dict[int, PhiIDResult]:
    """Decompose at several lags, the series being checked once."""
    if (given := lazy(series, options)) is not None:
        selection = select_pairs(options.pairs, options.groups, given.shape[2])
        _refuse_too_large(given.shape, np.empty(0), len(lags), options, selection)
        return in_blocks(
            given, options, lambda block, asked: decompose_lags(block, lags, estimator, asked)
        )
    _refuse_hopeless(series, lags, options)
    source = _source(series, lags, estimator, options)
    selection = select_pairs(options.pairs, options.groups, source.shape[2])
    with placed(source.given, source.like):
        _refuse_too_large(source.shape, source.like, len(lags), options, selection)
        if options.kind == "discrete":
            states.warn_of_many(source.like, None if selection is None else selection.nodes)
        return {lag: _result(source, lag, estimator, options, selection) for lag in lags}


def decompose_nodes(series: Any, tau: Any, estimator: Estimator, options: Options) -> NodeMeans:
    """Means by node at one lag; see `phiid_nodes`."""
    lag = one_lag(series, tau)
    source = _source(series, (lag,), estimator, options, by_node=True)
    with placed(source.given, source.like):
        if options.kind == "discrete":
            states.warn_of_many(source.like)
        return _means_by_node(source, lag, estimator, options)


def one_lag(series: Any, tau: Any) -> int:
    """The lag of a call; by default 1, or that of moments.

    Raises:
        ValueError: no positive whole number; moments of several lags, and no word which.
        TypeError: several lags.
    """
    if tau is None:
        own = series.lags if isinstance(series, LaggedMoments) else (1,)
        if len(own) > 1:
            raise ValueError(
                f"the moments hold several lags, {own}: choose one by tau=, or decompose all by "
                "phiid_lags(moments)"
            )
        return own[0]
    if check.several(tau):
        raise TypeError(
            f"tau must be one lag; got {tau!r}: several lags are phiid_lags(series, tau=[...])"
        )
    return check.lag(tau)


def _source(
    series: Any, lags: Sequence[int], estimator: Estimator, options: Options, by_node: bool = False
) -> Source:
    moments = isinstance(series, LaggedMoments)
    several = options.members is not None
    wanted = Wanted(estimator.key, moments=moments, by_node=by_node, members=several)
    source = (moments_source if moments else series_source)(series, lags, options, wanted)
    return of_members(source, series, options) if several else source


def _found(
    source: Source,
    lag: int,
    estimator: Estimator,
    options: Options,
    selection: Selection | Bipartite | None,
    *,
    by_node: bool = False,
) -> Any:
    """`Pairs` or `Nodes` of the backend."""
    request = options.request(lag, estimator, by_node=by_node)
    xp: Any = sys.modules[source.backend.arrays]
    run = source.backend.run
    whole: Any = decomposed if selection is None else selection.decompose
    if by_node:
        whole = functools.partial(sums_by_node, progress=options.progress)
    return run_whole(
        lambda array: whole(xp, run, source.data(array, lag), request),
        source.array,
        differentiable=estimator.differentiable,
    )


def _common(
    source: Source, lag: int, estimator: Estimator, options: Options, found: Pairs | Nodes
) -> dict[str, Any]:
    """What results of pairs and of nodes tell alike."""
    return {
        "tau": lag,
        "kind": options.kind,
        "redundancy": options.redundancy,
        "average": options.average,
        "unit": options.unit or estimator.unit,
        "dtype": options.dtype,
        "backend": source.backend.name,
        "shape": source.shape,
        "constant": _on_host(found),
        "rescued": found.rescued,
        "node_names": source.node_names,
        "trial_names": source.trial_names,
    }


def _on_host(found: Pairs | Nodes) -> npt.NDArray[np.bool_]:
    """Which nodes are constant; a device is not asked again where none is."""
    if isinstance(found, Pairs) and found.all_vary:
        return np.zeros(tuple(found.constant.shape), np.bool_)
    constant: npt.NDArray[np.bool_] = to_numpy(found.constant)
    return constant


def _result(
    source: Source,
    lag: int,
    estimator: Estimator,
    options: Options,
    selection: Selection | Bipartite | None,
) -> PhiIDResult:
    found = _found(source, lag, estimator, options, selection)
    factor = unit_factor(estimator.unit, options.unit)
    if factor != 1.0:
        for value in found.atoms.values():
            value[...] = value * factor
    return PhiIDResult(
        arrays={name: source.restore(found.atoms[name]) for name in options.names},
        flagged=to_numpy(found.flagged),
        pairs=None if selection is None else selection.asked,
        **_common(source, lag, estimator, options, found),
    )


_MANY = 1000
"""Nodes from which there may be no room for the matrices of a trial."""


def _refuse_hopeless(series: Any, lags: Sequence[int], options: Options) -> None:
    """Raise MemoryError for the matrices of all pairs before a large series is taken in.

    That may be mapped from a file, and taking it in look at all of it, or copy it. Of few time
    points something else is to be said first: that the axes may be exchanged.
    """
    array = isinstance(series, np.ndarray) or is_cupy(series)
    array = array or (is_tensor(series) and not series.is_nested)
    whole = options.pairs is None and options.members is None
    if array and series.ndim in (2, 3) and series.shape[-1] >= _MANY and whole:
        trials, time, nodes = (1, *series.shape)[-3:]
        if time - max(lags) >= check.FEW_SAMPLES:
            _refuse_too_large((trials, time, nodes), series, len(lags), options, None)


def _refuse_too_large(
    shape: tuple[int, int, int],
    like: Any,
    lags: int,
    options: Options,
    selection: Selection | Bipartite | None,
) -> None:
    """Raise MemoryError where the atoms have no room, and what is beside them in the last lag.

    An atom comes with that of the exchanged nodes, and an average takes one matrix more while it is
    formed. Chosen pairs are computed, each once, and then put in the order asked for; those of two
    groups need no more than what is asked for, but for their list, which is made at the end.

    Args:
        shape: (trials, time, nodes) of the series.
        like: an array where the atoms will be.
        lags: number of them.
        options: of the call.
        selection: of its pairs; None: all.
    """
    trials, _, nodes = shape
    kept = trials if options.average is None else 1
    atoms = len(options.names)
    computed = len({*options.names, *map(swap_nodes, options.names)})
    if selection is None:
        entries = nodes * nodes
        held = atoms * entries
        needed = held * (lags - 1) + max(computed, atoms + (kept == 1)) * entries
    else:
        entries = selection.computed
        computed = atoms if isinstance(selection, Bipartite) else computed
        held = atoms * math.prod(selection.shape)
        needed = held * lags + computed * entries
    size = {"float64": 8, "float32": 4}[options.dtype]
    listed = 0
    if isinstance(selection, Bipartite) and native(like)[1] == "cpu":
        listed = BYTES_LISTED["bipartite"] * math.prod(selection.shape)
    apart = ", average='trials' in place of None" if kept > 1 else ""
    memory.require(
        needed * kept * size + listed,
        like,
        f"{atoms} atoms of {entries:,} pairs x {kept} trials"
        + (f" x {lags} lags" if lags > 1 else ""),
        "phiid_nodes for means by node, pairs='bipartite' with two groups of nodes or pairs= of "
        f"chosen ones for some of the pairs{apart}, fewer atoms"
        f"{', fewer lags' if lags > 1 else ''}, or dtype='float32'",
    )


def _means_by_node(source: Source, lag: int, estimator: Estimator, options: Options) -> NodeMeans:
    found: Nodes = _found(source, lag, estimator, options, None, by_node=True)
    names, factor = options.names, unit_factor(estimator.unit, options.unit)
    common = _common(source, lag, estimator, options, found)
    xp: Any = sys.modules[source.backend.arrays]

    def mean(total: Any, count: Any) -> Any:
        return source.restore(xp.where(count > 0, total / xp.where(count > 0, count, 1), math.nan))

    constant = common["constant"]
    nodes, varying = constant.shape[1], constant.shape[1] - constant.sum(-1)
    lost = (nodes * (nodes - 1) // 2 - varying * (varying - 1) // 2).sum()
    both = {"rtr", "sts"} <= set(names)
    return NodeMeans(
        arrays={name: mean(found.sums[name] * factor, found.pairs) for name in names},
        balance=mean(found.shares, found.shared) if both else None,
        pairs=source.restore(found.pairs),
        degenerate=by_name({**found.outcomes, Outcome.CONSTANT: int(lost)}),
        **common,
    )
