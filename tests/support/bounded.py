"""Decompositions by pair or by node, and within bounds of a test's own."""

from typing import Any

import numpy as np

import synkern
from support.optional import torch
from synkern.decomposition import backends
from synkern.decomposition.asked import Options
from synkern.decomposition.call import decompose, decompose_nodes
from synkern.kernels import ESTIMATORS, Limits, request_for


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
    of_call = Options(**options, limits=limits)
    return (decompose_nodes if by_node else decompose)(series, tau, of_call.estimator, of_call)


def asked(backend: str, series: Any, **options: Any) -> Any:
    """Run a backend of the registry on a series of NumPy, or moments, at a lag of 1.

    Args:
        backend: its name.
        series: (trials, time, nodes), or `LaggedMoments` of the backend's kind of array.
        **options: of `request_for`; by default the averages of rtr and sts of Gaussian MMI.
    """
    (record,) = (record for record in backends.BACKENDS if record.name == backend)
    defaults = {
        "wanted": ("rtr", "sts"),
        "per_trial": False,
        "dtype": "float64",
        "estimator": ESTIMATORS["gaussian", "MMI"],
    }
    request = request_for(**defaults | options)
    if isinstance(series, synkern.LaggedMoments):
        return record.run(series.features(1, request.pooled), request)
    if record.arrays == "torch" and isinstance(series, np.ndarray):
        series = torch.from_numpy(series)
    return record.run(series, request)
