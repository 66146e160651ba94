"""Decompositions by pair or by node, and within bounds of a test's own."""

from typing import Any

import synkern
from synkern.decomposition.call import Options, decompose, decompose_nodes
from synkern.kernels import ESTIMATORS, Limits


def verb(series: Any, *, by_node: bool = False, **options: Any) -> Any:
    """Call `phiid`, or `phiid_nodes`."""
    return (synkern.phiid_nodes if by_node else synkern.phiid)(series, **options)


def bounded(
    series: Any, limits: Limits, *, tau: int = 1, by_node: bool = False, **options: Any
) -> Any:
    """Return what `phiid` (or `phiid_nodes`) does, but for its warning of degenerate pairs.

    Args:
        series: as in `phiid`.
        limits: what is held at a time, for which `phiid` has no option.
        tau: lag in samples.
        by_node: means by node.
        **options: of `Options`; atoms are `names`, a tuple.
    """
    asked = Options(**options, limits=limits)
    estimator = ESTIMATORS[asked.kind, asked.redundancy]
    return (decompose_nodes if by_node else decompose)(series, tau, estimator, asked)
