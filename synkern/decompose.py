"""`phiid`: all pairs of all trials, or chosen ones, on the backend of choice."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack, cast, overload

import torch

import synkern._checks as check
import synkern._states as states
from synkern._arrays import Incoming, incoming, like, placed, to_numpy
from synkern.backends import Backend, Work, select
from synkern.kernels.eager import Estimator
from synkern.kernels.estimators import ESTIMATORS, PERSISTENCE
from synkern.kernels.lattice import swap_nodes
from synkern.kernels.nodes import Nodes
from synkern.kernels.stable import Outcome
from synkern.moments import LaggedMoments
from synkern.node_means import NodeMeans
from synkern.result import PhiIDResult, by_name
from synkern.selection import Selection, select_pairs

_MATRICES = ("past", "future", "lagged", "constant")  # of `kernels.moments.Moments`
_FACTOR = {("nats", "bits"): 1 / math.log(2), ("bits", "nats"): math.log(2)}


class CommonOptions(TypedDict, total=False):
    """Keywords of `phiid` and `persistence_reference`, for type checkers."""

    atoms: str | Sequence[str]
    average: Literal["trials", "moments", "concatenate"] | None
    pairs: Any
    groups: Any
    unit: Literal["nats", "bits"] | None
    backend: str
    dtype: Literal["float64", "float32"]


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
    atoms: str | Sequence[str] = ("rtr", "sts"),
    average: Literal["trials", "moments", "concatenate"] | None = "trials",
    pairs: Any = None,
    groups: Any = None,
    reduce: Literal["nodes"] | None = None,
    unit: Literal["nats", "bits"] | None = None,
    backend: str = "auto",
    dtype: Literal["float64", "float32"] = "float64",
) -> PhiIDResult | NodeMeans | dict[int, PhiIDResult] | dict[int, NodeMeans]:
    """Integrated information decomposition of every pair of nodes, or of chosen ones.

    For nodes i and j, entry [i, j] of an atom decomposes the information that the past of both
    carries about their future, `tau` samples later; i is the atoms' x, j their y. Past and future
    are centred and scaled each on its own. Formulas: Mediano, Rosas, Luppi et al., PNAS 2025
    (arXiv:2109.13186).

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite: NumPy, torch (any device;
            gradients flow, but none from degenerate pairs), CuPy or JAX through DLPack (JAX keeps
            float64 only with jax_enable_x64), or nested lists. Or `LaggedMoments` gathered from
            one, if Gaussian and MMI.
        tau: lag in samples, 1 by default; or several. Moments have lags of their own, and are
            decomposed at all of them by default.
        kind: "gaussian": informations of jointly Gaussian variables. "discrete": every node is one
            bit, above its mean or not: past and future each about its own mean, decided exactly, so
            that a sample equal to the mean is not above it. (phyid lets rounding decide there.)
            Nodes of more than two states are not supported; binarise them as you see fit.
        redundancy: "MMI": minimum mutual information (Barrett, Phys. Rev. E 91, 052802, 2015).
            "CCS": common change in surprisal (Ince, Entropy 19, 318, 2017).
        atoms: names of atoms (`synkern.ATOMS`), source then target, or "all". `rtr` is the
            redundancy and `sts` the synergy that persist.
        average: "trials": mean over the trials in which the pair has a value. "moments":
            covariances (counts, where discrete) about each trial's own mean are pooled, then
            decomposed once.
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
            Discrete atoms are computed in float64 and rounded on output.

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

    Raises:
        ValueError: bad shape, NaN in the series, tau too long, unknown option or backend; nodes
            that do not exist; moments for an estimator that needs the data.
        TypeError: series does not hold real numbers; pairs are not whole numbers.

    Warns:
        UserWarning: fewer than 30 samples; degenerate pairs; if discrete, nodes that take three to
            20 levels, each five times or more on average, of which two states are made.
    """
    check.choice("kind", kind, ("gaussian", "discrete"))
    check.choice("redundancy", redundancy, ("MMI", "CCS"))
    check.choice("reduce", reduce, ("nodes", None))
    options = Options(
        names=check.atom_names(atoms),
        kind=kind,
        redundancy=redundancy,
        average=average,
        pairs=pairs,
        groups=groups,
        reduce=reduce,
        unit=unit,
        backend=backend,
        dtype=dtype,
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
    average: str | None
    pairs: Any
    groups: Any
    reduce: str | None
    unit: str | None
    backend: str
    dtype: str

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
        data: at a lag, (trials, time, nodes) or `kernels.moments.Moments`.
        shape: (trials, time, nodes).
        given: an array of the caller's.
        like: the same as the backend's kind, where the data are.
        restore: turns the backend's arrays into the caller's kind.
    """

    backend: Backend
    data: Callable[[int], Any]
    shape: tuple[int, int, int]
    given: Any
    like: Any
    restore: Callable[[Any], Any]


def decompose(
    series: Any, tau: int | Sequence[int] | None, estimator: Estimator, options: Options
) -> Any:
    """Decompose at one lag or several; see `phiid`, also for what is raised."""
    if tau is None:
        tau = series.tau if isinstance(series, LaggedMoments) else 1
    lags = check.lags(tau)
    moments = isinstance(series, LaggedMoments)
    kind = "persistence" if estimator is PERSISTENCE else options.kind
    work = Work((kind, options.redundancy), moments=moments, reduces=options.reduce is not None)
    source = (_moments_source if moments else _series_source)(series, lags, options, work)
    selection = select_pairs(options.pairs, options.groups, source.shape[2])
    with placed(source.given, source.like):
        if options.kind == "discrete":
            states.warn_of_many(source.like, None if selection is None else selection.pairs)
        results = {lag: _at_lag(source, lag, estimator, options, selection) for lag in lags}
    return results if isinstance(tau, Iterable) else results[lags[0]]


def _series_source(series: Any, lags: Sequence[int], options: Options, work: Work) -> _Source:
    chosen = select(options.backend, series, work)
    if options.reduce and isinstance(series, torch.Tensor) and series.requires_grad:
        raise ValueError(
            f"reduce={options.reduce!r} has no gradient, and series requires one; detach it, or "
            "reduce the matrices of all pairs"
        )
    array, restore = incoming(series, chosen.arrays, argument="series")
    with placed(series, array):
        array = check.series(sys.modules[chosen.arrays], array, max(lags))
    return _Source(chosen, lambda lag: array, tuple(array.shape), series, array, restore)


def _moments_source(
    moments: LaggedMoments, lags: Sequence[int], options: Options, work: Work
) -> _Source:
    if (options.kind, options.redundancy) != ("gaussian", "MMI"):
        raise ValueError(
            "moments suffice for kind 'gaussian' and redundancy 'MMI' only; got "
            f"{options.kind!r} and {options.redundancy!r}: pass the series"
        )
    by_lag = {lag: moments.features(lag, options.pooled) for lag in lags}
    past = by_lag[lags[0]].past
    chosen = select(options.backend, past, work)
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
        by_lag.__getitem__,
        moments.shape,
        past,
        taken.array,
        lambda array: moments.restore(taken.restore(array)),
    )


def _at_lag(
    source: _Source, lag: int, estimator: Estimator, options: Options, selection: Selection | None
) -> Any:
    names = options.names
    if selection is not None:  # Its pairs may be asked for the other way round.
        names = tuple(dict.fromkeys([*names, *(swap_nodes(name) for name in names)]))
    found = source.backend.run(
        source.data(lag),
        estimator=estimator,
        tau=lag,
        pooled=options.pooled,
        names=names,
        per_trial=options.average is None,
        dtype=options.dtype,
        pairs=None if selection is None else like(selection.pairs, source.like),
        reduce=options.reduce,
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
        warnings.warn(
            f"{sum(degenerate.values())} of {len(result.constant) * pairs} (trial, pair) are "
            f"degenerate: {counts}; see result.constant (nodes)"
            + (" and result.flagged (other pairs)" if isinstance(result, PhiIDResult) else ""),
            UserWarning,
            stacklevel=check.callers_level(),
        )
