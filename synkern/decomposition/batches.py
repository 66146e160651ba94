"""What a backend is handed at a lag, batch by batch, and how its results become one.

Without a mask there is one batch, the series. With one, the pairs of samples whose two ends are
valid are gathered to series of their own (see `synkern.decomposition.masks`), trials with as many
pairs together.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

import synkern._checks as check
from synkern._arrays import in_float64, is_tensor, like, to_numpy
from synkern._faces import Later
from synkern.decomposition.masks import Valid, valid_samples
from synkern.kernels import (
    NUMPY,
    Array,
    Bases,
    Nodes,
    Pairs,
    Rectangle,
    Request,
    binarise,
    moments,
    narrowed,
    quantities,
    steady,
    unit_vectors,
)

if TYPE_CHECKING:
    import torch
else:
    torch = Later("torch")

Indices = npt.NDArray[np.int64]
Run = Callable[[Any, Request], Pairs | Nodes]


class Batch(NamedTuple):
    """Trials with as many (past, future) pairs of samples each.

    Attributes:
        series: (trials, time, nodes), or moments, or bases of nodes of several columns.
        tau: the lag at which its past and its future are found.
        trial: (trials, pairs) which trial each pair is from; None: all trials as they are.
        time: (trials, pairs) when its past is; likewise.
        unsettled: relative spacing of its values where nodes that are constant up to rounding are
            still to be made constant (`steady.settled`); 0 where that is done.
    """

    series: Any
    tau: int
    trial: Indices | None = None
    time: Indices | None = None
    unsettled: float = 0.0


# ---- From a series to batches --------------------------------------------------------------------


def batches(
    xp: Any,
    array: Array,
    valid: Valid,
    tau: int,
    pooled: str | None,
    spacing: float,
    kind: str = "gaussian",
) -> list[Batch]:
    """The valid pairs of a series at a lag, its nodes `steady.settled` over these.

    Args:
        xp: numpy, torch or cupy, the library of `array`.
        array: (trials, time, nodes); may hold anything where it is not valid.
        valid: (trials, time).
        tau: lag in samples.
        pooled: how trials are made one, "moments" or "concatenate"; None: they are kept apart.
            Pooled trials are one batch.
        spacing: of its values, see `steady.within_rounding`.
        kind: of the estimator, for "moments".

    Raises:
        ValueError: too few valid pairs, as they are pooled.

    Warns:
        UserWarning: fewer than 30.
    """
    pairs = valid[:, :-tau] & valid[:, tau:]
    counts = pairs.sum(1)
    check.pairs_of_samples(counts, tau, pooled, valid=valid.sum(1))
    if pooled == "concatenate":
        return [_settled(xp, concatenated(array, valid, tau), pooled, spacing)]
    if pooled == "moments":  # A single pair says nothing about the mean of its trial.
        counts = np.where(counts > 1, counts, 0)
    apart = [
        _of_trials(array, pairs, np.flatnonzero(counts == count), tau)
        for count in np.unique(counts[counts > 0])
    ]
    how = pooled if len(apart) == 1 else None
    apart = [_settled(xp, batch, how, spacing) for batch in apart]
    return apart if pooled is None or len(apart) == 1 else [_about_own_means(xp, apart, kind)]


def _settled(xp: Any, batch: Batch, pooled: str | None, spacing: float) -> Batch:
    return batch._replace(series=steady.settled(xp, batch.series, batch.tau, pooled, spacing))


def concatenated(array: Array, valid: Valid, tau: int) -> Batch:
    """All valid pairs of all trials as one trial."""
    trial, time = np.nonzero(valid[:, :-tau] & valid[:, tau:])
    return _gathered(array, trial[None], time[None], tau)


def of_common_samples(xp: Any, array: Array, mask: Any, tau: int) -> Batch:
    """A series at a lag, of the pairs of samples that are valid in every trial.

    For what joins nodes of different trials.

    Raises:
        ValueError: NaN at a valid sample; fewer than 5 such pairs.
        TypeError: the mask does not hold truth values.
    """
    valid = valid_samples(mask, array)
    if valid is None:
        return Batch(array, tau)
    array = check.series(xp, array, None, valid=valid)
    pairs = (valid[:, :-tau] & valid[:, tau:]).all(0)
    if pairs.sum() < check.MIN_SAMPLES:
        raise ValueError(
            f"mask leaves {pairs.sum()} pairs of samples tau = {tau} apart that are valid in each "
            f"of the {len(valid)} trials; at least {check.MIN_SAMPLES} are needed where nodes of "
            "different trials are put together: leave out the trials with most gaps"
        )
    return _of_trials(array, np.tile(pairs, (len(valid), 1)), np.arange(len(valid)), tau)


def _of_trials(array: Array, pairs: Valid, trials: Indices, tau: int) -> Batch:
    """Trials that have as many pairs."""
    trial, time = np.nonzero(pairs[trials])
    shape = len(trials), -1
    return _gathered(array, trials[trial].reshape(shape), time.reshape(shape), tau)


def _gathered(array: Array, trial: Indices, time: Indices, tau: int) -> Batch:
    """The pairs at these places as a series: their pasts, then their futures."""
    index = np.concatenate([trial, trial], 1), np.concatenate([time, time + tau], 1)
    return Batch(array[tuple(like(k, array) for k in index)], trial.shape[1], trial, time)


def _about_own_means(xp: Any, apart: Sequence[Batch], kind: str) -> Batch:
    """Batches as one trial, in which every trial is about its own mean.

    Of bits about the means of their trials, the mean lies between 0 and 1, so that they come out of
    another look at which lie above as they are.
    """
    exact = [in_float64(batch.series) for batch in apart]
    if kind == "discrete":
        bits = [
            binarise(xp, series, tau) for series, (_, tau, *_) in zip(exact, apart, strict=True)
        ]
        sides = [[each.past for each in bits], [each.future for each in bits]]
    else:
        by_node = [xp.swapaxes(series, 1, 2) for series in exact]
        sides = [
            _centred(xp, [rows[..., : rows.shape[-1] // 2] for rows in by_node]),
            _centred(xp, [rows[..., rows.shape[-1] // 2 :] for rows in by_node]),
        ]
    past, future = (
        xp.concatenate([unit_vectors.join(xp, part, "concatenate") for part in side], -1)
        for side in sides
    )
    series = xp.swapaxes(xp.concatenate([past, future], -1), 1, 2)
    return Batch(in_float64(series), int(past.shape[-1]))


def _centred(xp: Any, segments: Sequence[Array]) -> list[Array]:
    """(trials, nodes, samples) each, about the means of trials; zero exactly where constant."""
    constant = [(xp.amax(part, -1) == xp.amin(part, -1))[..., None] for part in segments]
    centred = unit_vectors.about_own_means(xp, segments)
    return [xp.where(c, 0.0, part) for c, part in zip(constant, centred, strict=True)]


# ---- From results of batches to one --------------------------------------------------------------


def decomposed(xp: Any, run: Run, given: Sequence[Batch], request: Request) -> Pairs | Nodes:
    """Run a backend on batches; sums by node of many nodes: `blocks.sums_by_blocks`.

    Args:
        xp: numpy, torch or cupy, the library of its arrays.
        run: the backend's.
        given: batches of one lag that hold every trial once, or one of pooled trials.
        request: what to compute of them; each batch has a lag of its own.
    """
    if len(given) == 1:
        whole: Pairs | Nodes = _run(run, given[0], request)
        return whole
    if request.per_trial:
        found = [_run(run, batch, request) for batch in given]
        trials = [_trials(batch) for batch in given]
        return (_nodes_apart if request.by_node else _pairs_apart)(xp, found, trials)
    if not request.by_node:
        return _trial_means(xp, run, given, request)
    return _sums_by_node(xp, run, given, request)


def _run(run: Run, batch: Batch, request: Request, part: slice = slice(None)) -> Any:
    """`Pairs` or `Nodes` of (some trials of) a batch, at its lag."""
    request = request if request.tau == batch.tau else replace(request, tau=batch.tau)
    series = batch.series
    if part != slice(None):
        series = series.of_trials(part) if isinstance(series, Bases) else series[part]
    return run(series, request)


def values_of(series: Any) -> Array:
    """What is in a batch as an array whose first axis is that of trials, its last that of nodes."""
    if isinstance(series, Bases):
        return series.constant
    return series.like if isinstance(series, moments.Moments) else series


def of_nodes(series: Any, nodes: Array) -> Any:
    """Some nodes of what is in a batch."""
    if isinstance(series, moments.Moments | Bases):
        return series.of_nodes(slice(None), nodes)
    # In the memory layout of the series, on which the rounding of sums over time may depend.
    chosen: Array = (
        series.index_select(-1, nodes) if is_tensor(series) else series.take(nodes, axis=-1)
    )
    return chosen


def of_range(series: Any, nodes: slice) -> Any:
    """Nodes that follow each other; all that is in the batch where these are all."""
    one = values_of(series)
    if nodes == slice(0, one.shape[-1]):
        return series
    if isinstance(series, moments.Moments | Bases):
        return of_nodes(series, like(np.arange(nodes.start, nodes.stop), one))
    return series[..., nodes]


def constant_nodes(xp: Any, given: Sequence[Batch], pooled: str | None) -> Array:
    """(trials, nodes) bool: the node does not vary, as backends find it.

    Args:
        xp: numpy, torch or cupy, the library of the batches.
        given: as for `decomposed`; of one batch, the trials may still have to be pooled.
        pooled: how.
    """
    found = [_constant_nodes(xp, batch, pooled) for batch in given]
    return found[0] if len(found) == 1 else _in_order(xp, found, [_trials(b) for b in given])


def _constant_nodes(xp: Any, batch: Batch, pooled: str | None) -> Array:
    """Those of a batch; of a large one some nodes at a time, which are then in float64."""
    if isinstance(batch.series, moments.Moments | Bases):
        return batch.series.constant
    trials, time, nodes = batch.series.shape
    width = max(1, check.LARGE // (trials * time))
    parts = [
        unit_vectors.constant_nodes(
            xp,
            in_float64(of_range(batch.series, slice(start, min(start + width, nodes)))),
            batch.tau,
            pooled,
        )
        for start in range(0, nodes, width)
    ]
    return parts[0] if len(parts) == 1 else xp.concatenate(parts, -1)


def _trials(batch: Batch) -> Indices:
    assert batch.trial is not None  # A series as it is is one batch, and not asked.
    return batch.trial[:, 0]


def _in_order(xp: Any, parts: Sequence[Array], trials: Sequence[Indices]) -> Array:
    """Arrays (trials, ...) of batches as one, in the order of the trials."""
    order = np.argsort(np.concatenate(trials))
    return xp.concatenate(list(parts))[like(order, parts[0])]


def _flagged(xp: Any, found: Sequence[Pairs], trials: Sequence[Indices]) -> Array:
    """Flags of batches, with the trials of the whole."""
    flags = []
    for each, own in zip(found, trials, strict=True):
        trial = like(own, each.flagged)[each.flagged[:, 0]]
        flags.append(xp.concatenate([trial[:, None], each.flagged[:, 1:]], -1))
    return xp.concatenate(flags)


def _pairs_apart(xp: Any, found: Sequence[Pairs], trials: Sequence[Indices]) -> Pairs:
    return Pairs(
        atoms={
            name: _in_order(xp, [each.atoms[name] for each in found], trials)
            for name in found[0].atoms
        },
        constant=_in_order(xp, [each.constant for each in found], trials),
        flagged=_flagged(xp, found, trials),
        rescued=sum(each.rescued for each in found),
    )


def _nodes_apart(xp: Any, found: Sequence[Nodes], trials: Sequence[Indices]) -> Nodes:
    def whole(name: str) -> Array:
        return _in_order(xp, [getattr(each, name) for each in found], trials)

    return Nodes(
        sums={
            name: _in_order(xp, [each.sums[name] for each in found], trials)
            for name in found[0].sums
        },
        pairs=whole("pairs"),
        shares=whole("shares"),
        shared=whole("shared"),
        constant=whole("constant"),
        outcomes=sum((each.outcomes for each in found), Counter()),
        rescued=sum(each.rescued for each in found),
    )


def _trial_means(xp: Any, run: Run, given: Sequence[Batch], request: Request) -> Pairs:
    """Means over the trials in which a pair has a value, some trials at a time."""
    nodes = values_of(given[0].series).shape[-1]
    size = max(
        1, request.limits.apart // (nodes**2 if request.pairs is None else len(request.pairs))
    )
    apart = replace(request, per_trial=True)
    total: dict[str, Array] = dict.fromkeys(request.wanted, 0)
    count: Array = 0
    found, trials = [], []
    for batch, part in _parts(given, size):
        each = _run(run, batch, apart, part)
        known = ~xp.isnan(each.atoms[request.wanted[0]])
        # Of the dtype of the atoms, lest NumPy widen these.
        one = xp.ones_like(each.atoms[request.wanted[0]])
        count = count + xp.where(known, one, 0.0).sum(0)
        for name in request.wanted:
            total[name] = total[name] + xp.where(known, each.atoms[name], 0.0).sum(0)
        found.append(replace(each, atoms={}))
        trials.append(_trials(batch)[part])
    known, divisor = count > 0, xp.where(count > 0, count, 1.0)
    rest = _pairs_apart(xp, found, trials)
    return replace(
        rest,
        atoms={name: xp.where(known, value / divisor, math.nan) for name, value in total.items()},
    )


def _entries(batch: Batch, request: Request) -> int:
    """Numbers of an atom of a trial."""
    if request.pairs is not None:
        return len(request.pairs)
    if request.rectangle is not None:
        return math.prod(side.stop - side.start for side in request.rectangle)
    nodes: int = batch.series.shape[-1]
    return nodes * nodes


def _parts(given: Sequence[Batch], size: int) -> Iterator[tuple[Batch, slice]]:
    for batch in given:
        for start in range(0, len(values_of(batch.series)), size):
            yield batch, slice(start, start + size)


def _sums_by_node(xp: Any, run: Run, given: Sequence[Batch], request: Request) -> Nodes:
    """Sums over the pairs of each node, of means over trials, a rectangle of pairs at a time."""
    one = values_of(given[0].series)
    nodes, names = one.shape[-1], request.names
    sums = np.zeros((len(names) + 3, nodes))
    constant = np.zeros((sum(len(values_of(b.series)) for b in given), nodes), np.bool_)
    outcomes: Counter[int] = Counter()
    rescued = 0
    for rows, columns, rectangle in _rectangles(nodes, request.limits.side, request.rectangle):
        index = np.r_[rows] if rectangle is None else np.r_[rows, columns]
        some = [batch._replace(series=of_nodes(batch.series, like(index, one))) for batch in given]
        asked = narrowed(replace(request, wanted=names, by_node=False), rectangle)
        found = _trial_means(xp, run, some, asked)
        constant[:, index] = to_numpy(found.constant)
        outcomes.update(to_numpy(found.flagged)[:, 3].tolist())
        rescued += found.rescued
        atoms = {name: to_numpy(value).astype(np.float64) for name, value in found.atoms.items()}
        known = ~np.isnan(atoms[names[0]])
        if rectangle is None:  # Of a pair and its mirror image, one counts.
            known = np.triu(known)
        atoms = {name: np.where(known, value, 0.0) for name, value in atoms.items()}
        for own, mirror, value in quantities(NUMPY, names, atoms, known):
            sums[own, rows] += value.sum(1)
            sums[mirror, columns] += value.sum(0)
    each = [like(total, one) for total in sums]
    numbers = like(sums[[-3, -1]].astype(np.int64), one)
    return Nodes(
        sums=dict(zip(names, each, strict=False)),
        pairs=numbers[0],
        shares=each[-2],
        shared=numbers[1],
        constant=like(constant, one),
        outcomes=outcomes,
        rescued=rescued,
    )


def _rectangles(
    nodes: int, side: int, within: Rectangle | None
) -> Iterator[tuple[slice, slice, Rectangle | None]]:
    """Every pair of nodes, or of a rectangle, once: rows, columns, and their rectangle.

    That is None for all pairs of the rows.
    """
    if within is not None:
        for rows, columns in itertools.product(*(_ranges(each, side) for each in within)):
            height, width = rows.stop - rows.start, columns.stop - columns.start
            yield rows, columns, Rectangle(slice(0, height), slice(height, height + width))
        return
    starts = range(0, nodes, side)
    for i in starts:
        rows = slice(i, min(i + side, nodes))
        if rows.stop - i > 1:
            yield rows, rows, None
        for j in starts[i // side + 1 :]:
            columns = slice(j, min(j + side, nodes))
            height, width = rows.stop - i, columns.stop - j
            yield rows, columns, Rectangle(slice(0, height), slice(height, height + width))


def _ranges(nodes: slice, side: int) -> list[slice]:
    return [
        slice(start, min(start + side, nodes.stop))
        for start in range(nodes.start, nodes.stop, side)
    ]
