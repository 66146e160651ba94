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

from typing import Any, Unpack

from synkern._warnings import warn
from synkern.decomposition.asked import Options, refuse_unknown
from synkern.decomposition.call import decompose
from synkern.decomposition.options import CommonOptions, option_names
from synkern.decomposition.recorded import taken
from synkern.decomposition.result import PhiIDResult
from synkern.kernels import PERSISTENCE


def persistence_reference(
    series: Any, *, tau: int | None = None, **options: Unpack[CommonOptions]
) -> PhiIDResult:
    """What `phiid` (Gaussian, MMI) would give if nodes persisted but did not influence each other.

    Args:
        series: as in `phiid`: a series, `LaggedMoments` or a `Recording`, but for one that is
            exactly 0 where nodes are idle, to which no Gaussian can be fitted.
        tau: lag in samples, 1 by default, or that of the moments.
        **options: of `phiid`, but for `kind` and `redundancy`; averages are over the trials in
            which a pair has a reference.

    Returns:
        `PhiIDResult` as from `phiid`. NaN where a node is constant, and where no two AR(1) nodes
        have the pair's persistence and lag-0 correlation, or rounding could move the reference by
        more than 1e-6 nats: `flagged` lists the latter as `Outcome.NO_AR1_PAIR`.

    Raises:
        ValueError: bad shape, NaN in the series, tau too long, unknown option; a recording that is
            exactly 0 where nodes are idle.
        TypeError: series does not hold real numbers; an unknown option, or
            several lags.

    Warns:
        UserWarning: fewer than 30 samples; pairs without a reference.
    """
    refuse_unknown("persistence_reference", set(options) - option_names(CommonOptions))
    series, _, names = taken(series, "gaussian", options.get("node_names"), only_gaussian=True)
    given = {**options, "node_names": names}
    asked = Options.of("persistence_reference", given, option_names(CommonOptions))
    result = decompose(series, tau, PERSISTENCE, asked)
    _warn_of_missing(result)
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
