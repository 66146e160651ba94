"""Time of all pairs of a small language model, next to phyid's time for one of them.

    make bench BENCH_ARGS="--phyid PATH --benchmark-json=FILE"

Each timed output is checked against the reference on sampled pairs; a wrong one fails.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import synkern
from synkern.reference import phiid_pair

TRIALS, TIME, NODES = 60, 100, 270  # SmolLM2-135M: 30 layers of 9 heads, 60 prompts, 100 tokens


def persistent_series() -> np.ndarray:
    """AR(1) nodes driven by shared and own noise: (trials, time, nodes)."""
    rng = np.random.default_rng(7)
    own = rng.standard_normal((TRIALS, TIME, NODES))
    shared = rng.standard_normal((TRIALS, TIME, 9)) @ rng.standard_normal((9, NODES)) / 3
    series = np.zeros_like(own)
    for t in range(1, TIME):
        series[:, t] = 0.8 * series[:, t - 1] + own[:, t] + shared[:, t]
    return series


SERIES = persistent_series()


def check(result: synkern.PhiIDResult) -> None:
    """Compare five pairs, averaged over all trials, with the reference."""
    for i, j in np.random.default_rng(8).choice(NODES, (5, 2), replace=False):
        trials = [
            phiid_pair(trial[:, i], trial[:, j], 1, result.kind, result.redundancy)
            for trial in SERIES[: result.trials]
        ]
        for atom in result:
            expected = np.mean([atoms[atom] for atoms in trials])
            assert abs(float(result[atom][i, j]) - expected) <= 1e-9


@pytest.mark.parametrize("atoms", [("rtr", "sts"), "all"], ids=["rtr+sts", "16 atoms"])
@pytest.mark.parametrize("backend", ["cpu", "numpy", "torch"])
def test_phiid(benchmark, backend, atoms):
    series = torch.from_numpy(SERIES) if backend == "torch" else SERIES
    result = benchmark(synkern.phiid, series, atoms=atoms, backend=backend)
    check(result)
    pairs = TRIALS * result.n_pairs
    benchmark.extra_info["decompositions"] = pairs
    benchmark.extra_info["ns per decomposition"] = benchmark.stats["median"] / pairs * 1e9


ESTIMATORS = pytest.mark.parametrize(
    ("kind", "redundancy"),
    [("gaussian", "MMI"), ("gaussian", "CCS"), ("discrete", "MMI"), ("discrete", "CCS")],
)


@ESTIMATORS
@pytest.mark.parametrize("backend", ["cpu", "numpy", "torch"])
def test_estimators(benchmark, backend, kind, redundancy):
    """Ten trials, rtr and sts."""
    series = torch.from_numpy(SERIES[:10]) if backend == "torch" else SERIES[:10]
    result = benchmark(synkern.phiid, series, kind=kind, redundancy=redundancy, backend=backend)
    check(result)
    pairs = result.trials * result.n_pairs
    benchmark.extra_info["ns per decomposition"] = benchmark.stats["median"] / pairs * 1e9


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")  # phyid's, of unseen states
@ESTIMATORS
@pytest.mark.parametrize("tool", ["phyid", "synkern"])
def test_one_pair(benchmark, request, tool, kind, redundancy):
    x, y = SERIES[0, :, :2].T
    decompose = synkern if tool == "synkern" else request.getfixturevalue("phyid")
    atoms, _ = benchmark(decompose.calc_PhiID, x, y, 1, kind, redundancy)
    expected = phiid_pair(x, y, 1, kind, redundancy)
    assert abs(atoms["sts"].mean() - expected["sts"]) <= 1e-9
