"""`phiid`: all pairs of all trials, or chosen ones, on the backend of choice."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack, cast, overload

import synkern._checks as check
import synkern._memory as memory
from synkern._arrays import (
    Incoming,
    incoming,
    is_tensor,
    like,
    placed,
    run_whole,
    spacing,
    to_numpy,
)
from synkern._names import node_names, unnamed
from synkern._warnings import collected, warn
from synkern.decomposition import states
from synkern.decomposition.backends import select
from synkern.decomposition.batches import Batch, batches, decomposed, filled, only_valid
from synkern.decomposition.masks import valid_samples
from synkern.decomposition.moments import LaggedMoments
from synkern.decomposition.node_means import NodeMeans
from synkern.decomposition.result import PhiIDResult, by_name
from synkern.decomposition.selection import Selection, select_pairs
from synkern.kernels import (
    ESTIMATORS,
    LIMITS,
    Backend,
    Estimator,
    Limits,
    Nodes,
    Outcome,
    Wanted,
    request_for,
    swap_nodes,
)

_MATRICES = ("past", "future", "lagged", "constant")  # of `formulas.moments.Moments`
_FACTOR = {("nats", "bits"): 1 / math.log(2), ("bits", "nats"): math.log(2)}


class CommonOptions(TypedDict, total=False):
    """Keywords of `phiid` and `persistence_reference`, for type checkers."""

    mask: Any
    atoms: str | Sequence[str]
    average: Literal["trials", "moments", "concatenate"] | None
    pairs: Any
    groups: Any
    unit: Literal["nats", "bits"] | None
    backend: str
    dtype: Literal["float64", "float32"]
    node_names: Sequence[Any] | None


class _PhiidOptions(CommonOptions, total=False):
    kind: Literal["gaussian", "discrete"]
    redundancy: Literal["MMI", "CCS"]


@overload
def phiid(
    series: Any, *, tau: int | None = None, reduce: None = None, **options: Unpack[_PhiidOptions]
) -> PhiIDResult: ...


@overload
def phiid(
    series: Any, *, tau: Sequence[int], reduce: None = None, **options: Unpack[_PhiidOptions]
) -> dict[int, PhiIDResult]: ...


@overload
def phiid(
    series: Any,
    *,
    tau: int | None = None,
    reduce: Literal["nodes"],
    **options: Unpack[_PhiidOptions],
) -> NodeMeans: ...


@overload
def phiid(
    series: Any, *, tau: Sequence[int], reduce: Literal["nodes"], **options: Unpack[_PhiidOptions]
) -> dict[int, NodeMeans]: ...


def phiid(
    series: Any,
    *,
    tau: int | Sequence[int] | None = None,
    kind: Literal["gaussian", "discrete"] = "gaussian",
    redundancy: Literal["MMI", "CCS"] = "MMI",
    mask: Any = None,
    atoms: str | Sequence[str] = ("rtr", "sts"),
    average: Literal["trials", "moments", "concatenate"] | None = "trials",
    pairs: Any = None,
    groups: Any = None,
    reduce: Literal["nodes"] | None = None,
    unit: Literal["nats", "bits"] | None = None,
    backend: str = "auto",
    dtype: Literal["float64", "float32"] = "float64",
    node_names: Sequence[Any] | None = None,
) -> PhiIDResult | NodeMeans | dict[int, PhiIDResult] | dict[int, NodeMeans]:
    """Integrated information decomposition of every pair of nodes, or of chosen ones.

    For nodes i and j, entry [i, j] of an atom decomposes the information that the past of both
    carries about their future, `tau` samples later; i is the atoms' x, j their y. Past and future
    are centred and scaled each on its own. Formulas: Mediano, Rosas, Luppi et al., PNAS 2025
    (arXiv:2109.13186).

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite: NumPy, torch (any device;
            first derivatives flow back, also by torch.func.grad, vjp and jacrev, but none from
            degenerate pairs; second ones raise RuntimeError), CuPy or JAX through DLPack (JAX keeps
            float64 only with jax_enable_x64), or nested lists. Axes with names (xarray) are put in
            this order by them. Or `LaggedMoments` gathered from one, if Gaussian and MMI.
        tau: lag in samples, 1 by default; or several. Moments have lags of their own, and are
            decomposed at all of them by default.
        kind: "gaussian": informations of jointly Gaussian variables. "discrete": every node is one
            bit, above its mean or not: past and future each about its own mean, decided exactly, so
            that a sample equal to the mean is not above it. (phyid lets rounding decide there.)
            Nodes of more than two states are not supported; binarise them as you see fit.
        redundancy: "MMI": minimum mutual information (Barrett, Phys. Rev. E 91, 052802, 2015).
            "CCS": common change in surprisal (Ince, Entropy 19, 318, 2017). A local information
            that is zero but for rounding, as between uncorrelated whole numbers, has no sign.
        mask: None, or (time,) or (trials, time) truth values, True where a sample is valid, the
            same for all nodes. A (past, future) pair of samples counts where both are valid; what
            the series holds elsewhere, NaN for instance, is not looked at. Trials of unequal
            length: `stack_trials`.
        atoms: names of atoms (`synkern.ATOMS`), source then target, or "all". `rtr` is the
            redundancy and `sts` the synergy that persist.
        average: "trials": mean over the trials in which the pair has a value. "moments":
            covariances (counts, where discrete) about each trial's own mean are pooled, then
            decomposed once. A trial of one pair of samples says nothing about its mean, and does
            not enter; in short trials that mean takes persistence with it.
            "concatenate": the trials are one long series, without the lags across their seams.
            None: every trial on its own.
        pairs: None: all. An array (..., 2) of first node (x) and second node (y): these, in this
            order. "within": pairs whose nodes have the same label in `groups`, attention heads of a
            layer for instance; "between": those whose labels differ. "bipartite": every node of the
            first group as x with every node of the second as y.
        groups: for "within" and "between" a label for each node; for "bipartite" two lists of
            nodes.
        reduce: None, or "nodes": only the means over the pairs of each node, in memory that grows
            with the number of nodes, not of pairs. Without gradient.
        unit: "nats" or "bits"; by default nats where Gaussian and bits where discrete, as in phyid.
        backend: "auto", or a name that `synkern backends` lists.
        dtype: of arithmetic and output. "float64": error at most 1e-9 nats for ordinary pairs.
            "float32": 1e-5, with pairs that would miss it, as those of persistent nodes do,
            computed in float64: it saves memory, and time only where most pairs are benign.
            CCS and discrete atoms are computed in float64 and rounded on output.
        node_names: a name for each node, which the result keeps; by default those that the series
            has: columns of a frame, coordinates of an xarray.

    Returns:
        `PhiIDResult`: by atom name (nodes, nodes), or (trials, nodes, nodes) with average=None; the
        same kind of array on the same device as `series`. Of several lags, a dictionary of these by
        lag. Of chosen pairs, an entry for each: (...) as in `pairs`, (pairs,) for "within" and
        "between" in the order of `result.pairs`, (first group, second group) for "bipartite";
        after the trials, if they are kept apart. With reduce="nodes" `NodeMeans`, where a mean is
        that of the pairs that have a value. The diagonal is NaN, and so are pairs without a
        value: a constant node, or a future fixed by the past (infinite information). Nodes that
        coincide have sts = 0 and rtr = what they share. All these are counted in
        `result.degenerate` and listed in `result.constant` and `result.flagged`.

        A node is constant if in its past or in its future it varies by at most 8 units in the last
        place, 8 * 2**-52 of its largest magnitude (8 * 2**-23 if the series came as float32), as a
        constant does that has been filtered or averaged. Integers, halves, and whole numbers below
        2**52 (2**23) are taken as exact: there, constant is what does not vary at all.

    Raises:
        ValueError: bad shape, NaN at a valid sample, unknown option or backend; nodes that do not
            exist; moments for an estimator that needs the data; fewer than 5 (past, future) pairs
            of valid samples in a trial, or in all together where they are pooled ("moments" has
            one less for each trial but the first); extended precision beyond the range of float64;
            integers of one node more than 2**53 apart (on a common offset however large they are
            taken exactly).
        TypeError: series does not hold real numbers, or is a tensor that is sparse, nested,
            quantised, masked, or inside torch.func.vmap or a derivative in forward mode; pairs are
            not whole numbers, or a mask not truth values.
        MemoryError: the atoms asked for do not fit; the message says what does.

    Warns:
        UserWarning: fewer than 30 of these pairs, or in a trial of "moments" on average; degenerate
            pairs of nodes; nodes that vary by less than 1e-12 of what the others do (the middle one
            of a trial), as rounding errors do from which an offset was taken; if discrete, nodes
            that take three to 20 levels, each five times or more on average, of which two states
            are made.
    """
    check.choice("kind", kind, ("gaussian", "discrete"))
    check.choice("redundancy", redundancy, ("MMI", "CCS"))
    check.choice("reduce", reduce, ("nodes", None))
    options = Options(
        names=check.atom_names(atoms),
        kind=kind,
        redundancy=redundancy,
        mask=mask,
        average=average,
        pairs=pairs,
        groups=groups,
        reduce=reduce,
        unit=unit,
        backend=backend,
        dtype=dtype,
        node_names=node_names,
    )
    result = decompose(series, tau, ESTIMATORS[kind, redundancy], options)
    for one in result.values() if isinstance(result, dict) else (result,):
        _warn_of_degenerate(one)
    return cast("PhiIDResult | NodeMeans", result)


@dataclass(frozen=True)
class Options:
    """What `phiid` and `persistence_reference` are asked for; see `phiid`."""

    names: tuple[str, ...]
    kind: str
    redundancy: str
    mask: Any
    average: str | None
    pairs: Any
    groups: Any
    reduce: str | None
    unit: str | None
    backend: str
    dtype: str
    node_names: Sequence[Any] | None = None
    limits: Limits = LIMITS

    def __post_init__(self) -> None:
        """Raise ValueError on unknown or contrary choices."""
        if self.reduce is not None and self.pairs is not None:
            raise ValueError(
                f"reduce={self.reduce!r} is over all pairs of a node; leave out pairs and groups"
            )
        check.choice("average", self.average, ("trials", "moments", "concatenate", None))
        check.choice("unit", self.unit, ("nats", "bits", None))
        check.choice("dtype", self.dtype, ("float64", "float32"))

    @property
    def pooled(self) -> str | None:
        """How trials are made one before they are decomposed."""
        return self.average if self.average in ("moments", "concatenate") else None


@dataclass(frozen=True)
class _Source:
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
    """

    backend: Backend
    array: Any
    data: Callable[[Any, int], list[Batch]]
    shape: tuple[int, int, int]
    given: Any
    like: Any
    restore: Callable[[Any], Any]
    node_names: tuple[str, ...] | None


def decompose(
    series: Any, tau: int | Sequence[int] | None, estimator: Estimator, options: Options
) -> Any:
    """Decompose at one lag or several; see `phiid`, also for what is raised."""
    if tau is None:
        tau = series.tau if isinstance(series, LaggedMoments) else 1
    lags = check.lags(tau)
    moments = isinstance(series, LaggedMoments)
    wanted = Wanted(estimator.key, moments=moments, by_node=options.reduce is not None)
    source = (_moments_source if moments else _series_source)(series, lags, options, wanted)
    selection = select_pairs(options.pairs, options.groups, source.shape[2])
    with placed(source.given, source.like):
        _refuse_too_large(source, len(lags), options, selection)
        if options.kind == "discrete":
            states.warn_of_many(source.like, None if selection is None else selection.pairs)
        results = {lag: _at_lag(source, lag, estimator, options, selection) for lag in lags}
    return results if check.several(tau) else results[lags[0]]


def _series_source(series: Any, lags: Sequence[int], options: Options, wanted: Wanted) -> _Source:
    named = unnamed(series, "series")
    series = named.array
    chosen = select(options.backend, series, wanted)
    if options.reduce and is_tensor(series) and series.requires_grad:
        raise ValueError(
            f"reduce={options.reduce!r} has no gradient, and series requires one; detach it, or "
            "reduce the matrices of all pairs"
        )
    series = only_valid(series, options.mask)
    array, restore = incoming(series, chosen.arrays, argument="series", offset_free=True)
    xp: Any = sys.modules[chosen.arrays]
    valid = valid_samples(options.mask, array)
    step = spacing(series)
    with placed(series, array):
        array = check.series(xp, array, max(lags), pooled=options.pooled, valid=valid)
        whole = array if valid is None else filled(xp, array, valid)
        steady = check.steady_nodes(xp, whole, lags, options.pooled, step)

    judged: set[int] = set()  # lags; on the way back a transform asks again

    def data(taken: Any, lag: int) -> list[Batch]:
        if valid is not None:
            with collected() if lag in judged else contextlib.nullcontext():
                judged.add(lag)
                return batches(xp, taken, valid, lag, options.pooled, step, options.kind)
        if taken is array:
            return [Batch(steady(lag), lag)]
        with collected():  # What there is to be said of these values has been.
            return [Batch(check.steady_nodes(xp, taken, [lag], options.pooled, step)(lag), lag)]

    shape = tuple(array.shape)
    names = node_names(options.node_names, named, shape[2])
    return _Source(chosen, array, data, shape, series, whole, restore, names)


def _moments_source(
    moments: LaggedMoments, lags: Sequence[int], options: Options, wanted: Wanted
) -> _Source:
    if (options.kind, options.redundancy) != ("gaussian", "MMI"):
        raise ValueError(
            "moments suffice for kind 'gaussian' and redundancy 'MMI' only; got "
            f"{options.kind!r} and {options.redundancy!r}: pass the series"
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
    return _Source(
        chosen,
        None,
        lambda _, lag: [Batch(by_lag[lag], lag)],
        moments.shape,
        past,
        taken.array,
        lambda array: moments.restore(taken.restore(array)),
        node_names(options.node_names, moments.named, moments.shape[2]),
    )


def _at_lag(
    source: _Source, lag: int, estimator: Estimator, options: Options, selection: Selection | None
) -> Any:
    names = options.names
    if selection is not None:  # Its pairs may be asked for the other way round.
        names = tuple(dict.fromkeys([*names, *(swap_nodes(name) for name in names)]))
    request = request_for(
        names,
        estimator=estimator,
        per_trial=options.average is None,
        dtype=options.dtype,
        tau=lag,
        pooled=options.pooled,
        pairs=None if selection is None else like(selection.pairs, source.like),
        by_node=options.reduce is not None,
        limits=options.limits,
    )
    xp = sys.modules[source.backend.arrays]
    found: Any = run_whole(
        lambda array: decomposed(xp, source.backend.run, source.data(array, lag), request),
        source.array,
        differentiable=estimator.differentiable,
    )
    unit = options.unit or estimator.unit
    common = {
        "tau": lag,
        "kind": options.kind,
        "redundancy": options.redundancy,
        "average": options.average,
        "unit": unit,
        "dtype": options.dtype,
        "backend": source.backend.name,
        "shape": source.shape,
        "constant": to_numpy(found.constant),
        "rescued": found.rescued,
        "node_names": source.node_names,
    }
    factor = _FACTOR.get((estimator.unit, unit), 1.0)
    if options.reduce == "nodes":
        return _node_means(source, found, names, factor, common)
    atoms = found.atoms
    if selection is not None:
        atoms = selection.arrange(atoms, options.names)
    if factor != 1.0:
        for value in atoms.values():
            value[...] = value * factor
    return PhiIDResult(
        arrays={name: source.restore(value) for name, value in atoms.items()},
        flagged=to_numpy(found.flagged),
        pairs=None if selection is None else selection.asked,
        **common,
    )


def _refuse_too_large(
    source: _Source, lags: int, options: Options, selection: Selection | None
) -> None:
    """Raise MemoryError where the atoms have no room, and what is beside them in the last lag.

    An atom comes with that of the exchanged nodes, and an average takes one matrix more while it is
    formed. Chosen pairs are computed, each once, and then put in the order asked for.
    """
    if options.reduce == "nodes":
        return
    trials, _, nodes = source.shape
    kept = trials if options.average is None else 1
    atoms = len(options.names)
    computed = len({*options.names, *map(swap_nodes, options.names)})
    if selection is None:
        entries = nodes * nodes
        held = atoms * entries
        needed = held * (lags - 1) + max(computed, atoms + (kept == 1)) * entries
    else:
        entries = len(selection.pairs)
        held = atoms * selection.place.size
        needed = held * lags + computed * entries
    size = {"float64": 8, "float32": 4}[options.dtype]
    apart = ", average='trials' in place of None" if kept > 1 else ""
    memory.require(
        needed * kept * size,
        source.like,
        f"{atoms} atoms of {entries:,} pairs x {kept} trials"
        + (f" x {lags} lags" if lags > 1 else ""),
        f"reduce='nodes' for means by node, pairs= for some of the pairs{apart}, fewer atoms"
        f"{', fewer lags' if lags > 1 else ''}, or dtype='float32'",
    )


def _node_means(
    source: _Source, found: Nodes, names: Sequence[str], factor: float, common: dict[str, Any]
) -> NodeMeans:
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


def _warn_of_degenerate(result: PhiIDResult | NodeMeans) -> None:
    degenerate = {outcome: n for outcome, n in result.degenerate.items() if n}
    if degenerate:
        nodes = result.shape[2]
        pairs = result.n_pairs if isinstance(result, PhiIDResult) else nodes * (nodes - 1) // 2
        counts = ", ".join(f"{n} {outcome}" for outcome, n in degenerate.items())
        warn(
            f"{sum(degenerate.values())} of {len(result.constant) * pairs} (trial, pair) are "
            f"degenerate: {counts}; see result.constant (nodes)"
            + (" and result.flagged (other pairs)" if isinstance(result, PhiIDResult) else "")
        )
