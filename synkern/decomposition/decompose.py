"""The verbs: `phiid` of pairs, `phiid_lags` at several lags, `phiid_nodes` for means by node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Never, Unpack

import synkern._checks as check
from synkern._warnings import warn
from synkern.decomposition.asked import Options, refuse_unknown
from synkern.decomposition.call import decompose, decompose_lags, decompose_nodes
from synkern.decomposition.moments import LaggedMoments
from synkern.decomposition.node_means import NodeMeans
from synkern.decomposition.options import (
    Average,
    DType,
    Kind,
    NodeOptions,
    PhiidOptions,
    Redundancy,
    Unit,
    option_names,
)
from synkern.decomposition.recorded import taken
from synkern.decomposition.result import PhiIDResult


def phiid(
    series: Any,
    *,
    tau: int | None = None,
    kind: Kind | None = None,
    redundancy: Redundancy = "MMI",
    mask: Any = None,
    atoms: str | Sequence[str] = ("rtr", "sts"),
    average: Average | None = "trials",
    pairs: Any = None,
    groups: Any = None,
    unit: Unit | None = None,
    backend: str = "auto",
    dtype: DType = "float64",
    node_names: Sequence[Any] | None = None,
    members: Any = None,
    **unknown: Never,
) -> PhiIDResult:
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
            this order by them. Frames of pandas and polars and tables of Arrow are (time, nodes);
            Raw, Epochs and Evoked of MNE give their data channels that are not marked as bad, with
            bad segments left out, and a `synkern.data.Dataset` its mask. A dask array of trials is
            computed and decomposed block by block, as it is chunked over trials, unless trials are
            pooled. Or `LaggedMoments` gathered from one, if Gaussian and MMI. Or a
            `Recording` of `synkern.record` or `synkern.replay`: its series, with the labels of its
            nodes for `node_names`, and an estimator that suits them (see `kind`).
        tau: lag in samples, 1 by default, or that of the moments; several: `phiid_lags`.
        kind: "gaussian": informations of jointly Gaussian variables. "discrete": every node is one
            bit, above its mean or not: past and future each about its own mean, decided exactly, so
            that a sample equal to the mean is not above it. (phyid lets rounding decide there.)
            Nodes of more than two states are not supported; binarise them as you see fit.
            None: "gaussian"; "discrete" of a recording that is exactly 0 where nodes are idle, as
            of experts (`Recording.zero_filled`), which "gaussian" would be refused for.
        redundancy: "MMI": minimum mutual information (Barrett, Phys. Rev. E 91, 052802, 2015).
            "CCS": common change in surprisal (Ince, Entropy 19, 318, 2017). A local information
            that is zero but for rounding, as between uncorrelated whole numbers, has no sign.
        mask: None, or (time,) or (trials, time) truth values, True where a sample is valid, the
            same for all nodes. A (past, future) pair of samples counts where both are valid; what
            the series holds elsewhere, NaN for instance, is not looked at. Trials of unequal
            length: `stack_trials`.
        atoms: names of atoms (`synkern.ATOMS`), source then target, or "all". `rtr` is the
            redundancy and `sts` the synergy that persist.
        average: "trials": mean over the trials in which the pair has a value; trials of subjects
            count alike, see `PhiIDResult.trial_mean` for a mean over subjects. "moments":
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
        unit: "nats" or "bits"; by default nats where Gaussian and bits where discrete, as in phyid.
        backend: "auto", or a name that `synkern backends` lists.
        dtype: of arithmetic and output. "float64": error at most 1e-9 nats for ordinary pairs.
            "float32": 1e-5, with pairs that would miss it, as those of persistent nodes do,
            computed in float64. It halves the memory of the result; on a CPU it is no way to save
            time (`DType` says how much). CCS and discrete atoms are computed in float64 and
            rounded on output.
        node_names: a name for each node, which the result keeps; by default those that the series
            has: columns of a frame, coordinates of an xarray.
        members: None: a column is a node. A list of columns for each node, [[0, 1], [2]] for
            instance, or a mapping from names of nodes to these: a node is these columns together
            (Gaussian; see docs/nodes_of_several_columns.md). Columns are numbers, or names that the
            series has; none is in two nodes. How they are mixed within a node changes nothing. All
            else here is then about nodes.

    Returns:
        `PhiIDResult`: by atom name (nodes, nodes), or (trials, nodes, nodes) with average=None; the
        same kind of array on the same device as `series`. Of chosen pairs, an entry for each: (...)
        as in `pairs`, (pairs,) for "within" and "between" in the order of `result.pairs`, (first
        group, second group) for "bipartite"; after the trials, if they are kept apart. Means by
        node, in memory that does not grow with the number of pairs: `phiid_nodes`. The diagonal is
        NaN, and so are pairs without a value: a constant node, or a future fixed by the past
        (infinite information). Nodes that coincide have sts = 0 and rtr = what they share. All
        these are counted in `result.degenerate` and listed in `result.constant` and
        `result.flagged`.

        A node is constant if in its past or in its future it varies by at most 8 units in the last
        place, 8 * 2**-52 of its largest magnitude (8 * 2**-23 if the series came as float32), as a
        constant does that has been filtered or averaged. Integers, halves, and whole numbers below
        2**52 (2**23) are taken as exact: there, constant is what does not vary at all.

    Raises:
        ValueError: bad shape, NaN at a valid sample, unknown option or backend; nodes that do not
            exist; moments for an estimator that needs the data; kind="gaussian" for a recording
            that is exactly 0 where nodes are idle; fewer than 5 (past, future) pairs
            of valid samples in a trial, or in all together where they are pooled ("moments" has
            one less for each trial but the first); extended precision beyond the range of float64;
            integers of one node more than 2**53 apart (on a common offset however large they are
            taken exactly); members that do not exist, or are in two nodes; of nodes of several
            columns, no more samples than a pair has variables, past and future.
        TypeError: series does not hold real numbers, or is a tensor that is sparse, nested,
            quantised, masked, or inside torch.func.vmap or a derivative in forward mode; pairs are
            not whole numbers, a mask not truth values, or tau several lags; an unknown option.
        MemoryError: the atoms asked for do not fit; the message says what does. Nothing has been
            computed or copied by then.
        RecordingError: a recording that is not complete.

    Warns:
        UserWarning: fewer than 30 of these pairs, or in a trial of "moments" on average; of nodes
            of several columns, fewer than five samples a variable, and columns that add nothing to
            their node; degenerate pairs of nodes; nodes that vary by less than 1e-12 of what the
            others do (the middle one of a trial), as rounding errors do from which an offset was
            taken; if discrete, nodes that take three to 20 levels, each five times or more on
            average, of which two states are made; if Gaussian, and on the host, most nodes exactly
            0 at most samples.
    """
    refuse_unknown("phiid", unknown)
    found = taken(series, kind, node_names if members is None else None)
    options = Options(
        names=check.atom_names(atoms),
        kind=found.kind,
        redundancy=redundancy,
        mask=mask,
        average=average,
        pairs=pairs,
        groups=groups,
        unit=unit,
        backend=backend,
        dtype=dtype,
        members=members,
        **_names(found.node_names, node_names, members),
    )
    result = decompose(found.series, tau, options.estimator, options)
    _warn_of_degenerate(result)
    return result


def phiid_lags(
    series: Any, *, tau: Sequence[int] | None = None, **options: Unpack[PhiidOptions]
) -> dict[int, PhiIDResult]:
    """Decompose at several lags, the series being checked once.

    Args:
        series: as in `phiid`.
        tau: the lags in samples, all different. By default those of `LaggedMoments`.
        **options: of `phiid`.

    Returns:
        What `phiid` returns, by lag, in the order of `tau`.

    Raises:
        ValueError: no lag, one that occurs twice, or none given for a series; else as `phiid`.
        TypeError: as `phiid`.
        MemoryError: the atoms of all lags do not fit.

    Warns:
        UserWarning: as `phiid`.
    """
    series, asked = _asked("phiid_lags", series, options, option_names(PhiidOptions))
    if tau is None:
        if not isinstance(series, LaggedMoments):
            raise ValueError("tau must be the lags of a series, such as [1, 2, 5]; got None")
        tau = series.lags
    results = decompose_lags(series, check.lags(tau), asked.estimator, asked)
    for result in results.values():
        _warn_of_degenerate(result)
    return results


def phiid_nodes(
    series: Any, *, tau: int | None = None, **options: Unpack[NodeOptions]
) -> NodeMeans:
    """Mean of the atoms over all pairs of each node, without the matrices of the pairs.

    Memory grows with the number of nodes, not of pairs, and what is in float64 is some of the nodes
    at a time: a series in float32 on the host, or mapped from a file (`synkern.record(store=...)`),
    is never copied as a whole. Beside it a call takes up to 4 GB. The means have no gradient.

    Args:
        series: as in `phiid`.
        tau: lag in samples, 1 by default, or that of the moments.
        **options: of `phiid`, but for `pairs` and `groups`: a node's mean is over all its pairs.
            And `progress`, called with the number of decompositions, of a pair in a trial, since
            the last call; there are trials * nodes * (nodes - 1) / 2 in all, and more than one call
            where nodes are many.

    Returns:
        `NodeMeans`: by atom name (nodes,), or (trials, nodes) with average=None, the node being x;
        a mean is that of the pairs that have a value.

    Raises:
        ValueError: the series requires a gradient; else as `phiid`.
        TypeError: as `phiid`.

    Warns:
        UserWarning: as `phiid`.
    """
    series, asked = _asked("phiid_nodes", series, options, option_names(NodeOptions))
    result = decompose_nodes(series, tau, asked.estimator, asked)
    _warn_of_degenerate(result)
    return result


def _asked(
    verb: str, series: Any, options: Mapping[str, Any], known: Iterable[str]
) -> tuple[Any, Options]:
    """The series of a verb with what is asked of it; see `taken`."""
    refuse_unknown(verb, set(options) - set(known))
    names, members = options.get("node_names"), options.get("members")
    found = taken(series, options.get("kind"), names if members is None else None)
    asked = Options.of(verb, {**options, "kind": found.kind}, known)
    return found.series, replace(asked, **_names(found.node_names, names, members))


def _names(taken: Any, given: Any, members: Any) -> dict[str, Any]:
    """The options that names are: those that a series brings are of its columns."""
    if members is None:
        return {"node_names": taken}
    return {"node_names": given, "column_names": taken}


def _warn_of_degenerate(result: PhiIDResult | NodeMeans) -> None:
    listed = isinstance(result, PhiIDResult)
    nodes = result.shape[2]
    pairs = result.n_pairs if isinstance(result, PhiIDResult) else nodes * (nodes - 1) // 2
    warn_of_degenerate(result.degenerate, result.constant, pairs, listed=listed)


def warn_of_degenerate(
    counts: Mapping[str, int], constant: Any, pairs: int, *, listed: bool
) -> None:
    """Warn of degenerate pairs, if there are any.

    Args:
        counts: of (trial, pair) by kind of degeneracy.
        constant: (trials, nodes) bool, of the result.
        pairs: number of pairs of a trial.
        listed: whether the result has them in `flagged`.
    """
    degenerate = {outcome: n for outcome, n in counts.items() if n}
    if degenerate:
        said = ", ".join(f"{n} {outcome}" for outcome, n in degenerate.items())
        if nodes := int(constant.sum()):
            said += f" ({nodes} of {constant.size} (trial, node) are constant)"
        warn(
            f"{sum(degenerate.values())} of {len(constant) * pairs} (trial, pair) are "
            f"degenerate: {said}; see result.constant (nodes)"
            + (" and result.flagged (other pairs)" if listed else "")
        )
