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
        trials = [phiid_pair(trial[:, i], trial[:, j], 1) for trial in SERIES]
        for atom in result:
            expected = np.mean([atoms[atom] for atoms in trials])
            assert abs(float(result[atom][i, j]) - expected) <= 1e-9


@pytest.mark.parametrize("atoms", [("rtr", "sts"), "all"], ids=["rtr+sts", "16 atoms"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_phiid(benchmark, backend, atoms):
    series = torch.from_numpy(SERIES) if backend == "torch" else SERIES
    result = benchmark(synkern.phiid, series, atoms=atoms, backend=backend)
    check(result)
    pairs = TRIALS * result.pairs
    benchmark.extra_info["decompositions"] = pairs
    benchmark.extra_info["ns per decomposition"] = benchmark.stats["median"] / pairs * 1e9


def test_phyid_one_pair(benchmark, phyid):
    x, y = SERIES[0, :, :2].T
    atoms, _ = benchmark(phyid.calc_PhiID, x, y, 1)
    assert abs(atoms["sts"].mean() - phiid_pair(x, y, 1)["sts"]) <= 1e-9


def test_calc_phiid_one_pair(benchmark):
    x, y = SERIES[0, :, :2].T
    atoms, _ = benchmark(synkern.calc_PhiID, x, y, 1)
    assert abs(atoms["sts"].mean() - phiid_pair(x, y, 1)["sts"]) <= 1e-9
