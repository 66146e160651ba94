"""phyid's own numbers on series that nothing was tuned on: see `bench/tables/held_out.py`."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import synkern
from support.optional import torch
from synkern import ATOMS, calc_PhiID
from synkern.decomposition.reference import local_pair, phiid_pair

VARIANTS = list(itertools.product(["gaussian", "discrete"], ["MMI", "CCS"]))


def cases():
    with np.load(Path(__file__).parents[1] / "data" / "phyid_held_out.npz") as file:
        for entry in json.loads(str(file["meta"])):
            series = file[f"{entry['case']}_series"]
            for kind, redundancy in VARIANTS:
                local = file[f"{entry['case']}_{kind}_{redundancy}"]
                name = f"{entry['process']}-{kind}-{redundancy}".replace(" ", "_")
                yield pytest.param(series, (entry["tau"], kind, redundancy), local, id=name)


# One of them holds counts.
pytestmark = pytest.mark.filterwarnings("ignore:.* nodes take more than two levels:UserWarning")

held_out = pytest.mark.parametrize(("series", "options", "local"), [*cases()])


@held_out
def test_one_pair(series, options, local):
    """The reference and the drop-in."""
    averages = phiid_pair(*series.T, *options)
    np.testing.assert_allclose(list(averages.values()), local.mean(1), rtol=0, atol=1e-8)
    for pointwise in (local_pair(*series.T, *options), calc_PhiID(*series.T, *options)[0]):
        found = np.stack([pointwise[name] for name in ATOMS])
        np.testing.assert_allclose(found, local, rtol=0, atol=1e-8)


@held_out
def test_all_pairs(series, options, local, backend):
    tau, kind, redundancy = options
    given = torch.from_numpy(series) if backend == "torch" else series
    named = {"tau": tau, "kind": kind, "redundancy": redundancy, "backend": backend}
    found = synkern.phiid_local(given, [[0, 1]], **named)[0]
    np.testing.assert_allclose(np.asarray(found), local, rtol=0, atol=1e-8)
    every, few = synkern.phiid(given, atoms="all", **named), synkern.phiid(given, **named)
    mean = dict(zip(ATOMS, local.mean(1), strict=True))
    assert {name: float(every[name][0, 1]) for name in ATOMS} == pytest.approx(mean, abs=1e-8)
    assert float(few["rtr"][0, 1]) == pytest.approx(mean["rtr"], abs=1e-8)
    assert float(few["sts"][0, 1]) == pytest.approx(mean["sts"], abs=1e-8)


# Interpreted, a kernel takes milliseconds a sample, and others go through the samples at once.
INTERPRETED = [
    case
    for case in cases()
    if case.values[1][1:] != ("gaussian", "CCS") or len(case.values[0]) < 80
]


@pytest.mark.proof
@pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning")
@pytest.mark.parametrize(("series", "options", "local"), INTERPRETED)
def test_triton_kernels(series, options, local):
    tau, kind, redundancy = options
    named = {"tau": tau, "kind": kind, "redundancy": redundancy, "backend": "triton"}
    every = synkern.phiid(torch.from_numpy(series), atoms="all", **named)
    mean = dict(zip(ATOMS, local.mean(1), strict=True))
    assert {name: float(every[name][0, 1]) for name in ATOMS} == pytest.approx(mean, abs=1e-8)
