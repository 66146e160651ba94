"""The gate that every time passes: the timed output beside the reference, on sampled pairs."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

import synkern
from bench.cases.shapes import TAU, Series
from bench.cases.workloads import Workload
from bench.harness.records import Check
from synkern.decomposition.reference import phiid_pair

PAIRS = 4
"""Sampled; all trials that were timed, all atoms that were asked for."""

NODES = 2
"""Sampled where means by node are checked."""

TOLERANCE = {"float64": 1e-9, "float32": 1e-5}
"""Nats or bits, of ordinary pairs: what `synkern.phiid` promises."""

Values = Mapping[
    str, Any
]  # by atom (nodes, nodes), (pairs,) in the order of the pairs, or (nodes,)


def tolerance(dtype: str, largest: float) -> float:
    """Allowed error, of numbers as large as this: those of float32 are themselves rounded."""
    rounding = float(np.finfo(np.float32).eps) * largest if dtype == "float32" else 0.0
    return TOLERANCE[dtype] + rounding


def check(
    workload: Workload,
    dtype: str,
    series: Series,
    values: Values,
    pairs: np.ndarray | None = None,
    *,
    about_zero: bool = False,
) -> Check:
    """Compare an output with the reference.

    Args:
        workload: what was computed.
        dtype: in which precision.
        series: (trials, time, nodes) that it was computed from.
        values: the output: matrices, means by node if `workload` is by node, or values of `pairs`.
        pairs: (pairs, 2) that were computed; None for all.
        about_zero: whether the output is meant to be of moments about zero instead of the means.
    """
    if workload.by_node:
        return _check_nodes(workload, dtype, series, values)
    rng = np.random.default_rng(series.shape[-1])
    if pairs is None:
        chosen = [rng.choice(series.shape[-1], 2, replace=False) for _ in range(PAIRS)]
        places = [tuple(int(k) for k in pair) for pair in chosen]
    else:
        rows = rng.choice(len(pairs), min(PAIRS, len(pairs)), replace=False)
        places = [(int(k),) for k in rows]
        chosen = [pairs[k] for k in rows]
    truth = [expected(workload, series, int(i), int(j), about_zero) for i, j in chosen]
    found = [
        (float(values[atom][place]), true[atom])
        for place, true in zip(places, truth, strict=True)
        for atom in workload.atoms
    ]
    truth_name = "synkern.decomposition.reference" + (
        " of moments about zero" if about_zero else ""
    )
    return _compared(dtype, found, truth_name)


def expected(
    workload: Workload, series: Series, i: int, j: int, about_zero: bool = False
) -> dict[str, float]:
    """Reference's mean over trials, by atom."""
    tau = TAU
    if about_zero:  # Of a segment and its negative the mean is 0, the second moments the same.
        past, future = series[:, :-TAU], series[:, TAU:]
        series = np.concatenate([past, -past, future, -future], 1)
        tau = 2 * past.shape[1]
    trials = [
        _pair(trial[:, i].tobytes(), trial[:, j].tobytes(), tau, workload.kind, workload.redundancy)
        for trial in series
    ]
    return {atom: float(np.mean([atoms[atom] for atoms in trials])) for atom in workload.atoms}


@functools.lru_cache(maxsize=1 << 16)
def _pair(x: bytes, y: bytes, tau: int, kind: str, redundancy: str) -> dict[str, float]:
    """The reference, once for all that are compared with it."""
    return phiid_pair(np.frombuffer(x), np.frombuffer(y), tau, kind, redundancy)


def _check_nodes(workload: Workload, dtype: str, series: Series, means: Values) -> Check:
    """Compare means by node with those of the node's pairs, and some of these with the reference.

    All pairs of a node would take the reference minutes. They are computed by the backend `numpy`
    by another path, that of chosen pairs.
    """
    nodes = series.shape[-1]
    rng = np.random.default_rng(nodes)
    found = []
    for node in rng.choice(nodes, NODES, replace=False):
        others = np.delete(np.arange(nodes), node)
        pairs = np.stack([np.full(nodes - 1, node), others], -1)
        row = synkern.phiid(series, pairs=pairs, atoms=workload.atoms, backend="numpy")
        for k in rng.choice(nodes - 1, 2, replace=False):
            true = expected(workload, series, int(node), int(others[k]))
            found += [(float(row[atom][k]), true[atom]) for atom in workload.atoms]
        found += [(float(means[atom][node]), float(row[atom].mean())) for atom in workload.atoms]
    return _compared(dtype, found)


def _compared(
    dtype: str, found: list[tuple[float, float]], truth: str = "synkern.decomposition.reference"
) -> Check:
    differences = [abs(value - true) for value, true in found]
    worst = max((math.inf if math.isnan(d) else d for d in differences), default=math.inf)
    largest = max((abs(true) for _, true in found), default=0.0)
    return Check(worst, tolerance(dtype, largest), len(found), truth)
