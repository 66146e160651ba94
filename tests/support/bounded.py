"""Decompositions within bounds of a test's own, which `phiid` has no option for."""

from typing import Any

from synkern.decomposition.decompose import Options, decompose
from synkern.kernels import ESTIMATORS, Limits

DEFAULTS: dict[str, Any] = {
    "names": ("rtr", "sts"),
    "kind": "gaussian",
    "redundancy": "MMI",
    "mask": None,
    "average": "trials",
    "pairs": None,
    "groups": None,
    "reduce": None,
    "unit": None,
    "backend": "auto",
    "dtype": "float64",
}


def bounded(series: Any, limits: Limits, *, tau: int = 1, **options: Any) -> Any:
    """Return what `phiid` does, but for its warning of degenerate pairs.

    Args:
        series: as in `phiid`.
        limits: what is held at a time.
        tau: lag in samples.
        **options: of `Options`; atoms are `names`, a tuple.
    """
    asked = Options(**DEFAULTS | options, limits=limits)
    return decompose(series, tau, ESTIMATORS[asked.kind, asked.redundancy], asked)
