"""The decomposition that persistence alone would give.

Two nodes that only persist, without any influence on each other, already have synergy and
redundancy. The reference keeps their persistence and their lag-0 correlation; formula and limits:
`synkern.kernels.formulas.estimators.PersistenceMMI`. What a result has beyond it is
`PhiIDResult.excess`.

Nodes of unequal persistence cannot be AR(1) nodes and correlate beyond a limit. Such pairs have no
reference: NaN, and counted. They are few where the nodes vary around a level (0.04 % of the trials
and pairs of a trained model with 270 attention heads), but half of all where they drift (56 % of
the same model with random weights, which repeats one token; 10 % of it after a linear, 2 % after a
quadratic detrend). Read these as missing.

From few samples the excess of unrelated nodes is not zero but below it: chance correlations across
the lag lower `sts`, and the reference has none. Independent AR(1) nodes at 100 samples have an
excess of -0.014 nats at rho 0.5 and -0.13 at 0.97; so put beside an excess that of the same nodes
paired across trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack, overload

import synkern._checks as check
from synkern._warnings import warn
from synkern.decomposition.decompose import CommonOptions, Options, decompose
from synkern.decomposition.result import PhiIDResult
from synkern.kernels import PERSISTENCE


@overload
def persistence_reference(
    series: Any, *, tau: int | None = None, **options: Unpack[CommonOptions]
) -> PhiIDResult: ...


@overload
def persistence_reference(
    series: Any, *, tau: Sequence[int], **options: Unpack[CommonOptions]
) -> dict[int, PhiIDResult]: ...


def persistence_reference(
    series: Any,
    *,
    tau: int | Sequence[int] | None = None,
    mask: Any = None,
    atoms: str | Sequence[str] = ("rtr", "sts"),
    average: Literal["trials", "moments", "concatenate"] | None = "trials",
    pairs: Any = None,
    groups: Any = None,
    unit: Literal["nats", "bits"] | None = None,
    backend: str = "auto",
    dtype: Literal["float64", "float32"] = "float64",
    node_names: Sequence[Any] | None = None,
) -> PhiIDResult | dict[int, PhiIDResult]:
    """What `phiid` (Gaussian, MMI) would give if nodes persisted but did not influence each other.

    Args:
        series: as in `phiid`: a series or `LaggedMoments`.
        tau: lag in samples, or several.
        mask: as in `phiid`: True where a sample is valid.
        atoms: names of atoms (`synkern.ATOMS`) or "all".
        average: "trials": mean over the trials in which the pair has a reference; "moments",
            "concatenate": of the pooled trials; None: every trial.
        pairs: as in `phiid`.
        groups: as in `phiid`.
        unit: "nats", the default, or "bits".
        backend: as in `phiid`.
        dtype: of arithmetic and output.
        node_names: as in `phiid`.

    Returns:
        `PhiIDResult` as from `phiid`. NaN where a node is constant, and where no two AR(1) nodes
        have the pair's persistence and lag-0 correlation, or rounding could move the reference by
        more than 1e-6 nats: `flagged` lists the latter as `Outcome.NO_AR1_PAIR`.

    Raises:
        ValueError: bad shape, NaN in the series, tau too long, unknown option.
        TypeError: series does not hold real numbers.

    Warns:
        UserWarning: fewer than 30 samples; pairs without a reference.
    """
    options = Options(
        names=check.atom_names(atoms),
        kind="gaussian",
        redundancy="MMI",
        mask=mask,
        average=average,
        pairs=pairs,
        groups=groups,
        reduce=None,
        unit=unit,
        backend=backend,
        dtype=dtype,
        node_names=node_names,
    )
    result: PhiIDResult | dict[int, PhiIDResult] = decompose(series, tau, PERSISTENCE, options)
    for one in result.values() if isinstance(result, dict) else (result,):
        _warn_of_missing(one)
    return result


def _warn_of_missing(result: PhiIDResult) -> None:
    constant, no_pair = result.degenerate["constant"], len(result.flagged)
    if constant or no_pair:
        warn(
            f"{constant + no_pair} of {len(result.constant) * result.n_pairs} (trial, pair) have "
            f"no persistence reference: {constant} with a constant node, {no_pair} with a "
            "correlation that no two AR(1) nodes of their persistence have; result.constant lists "
            "the nodes, result.flagged the other pairs"
        )
