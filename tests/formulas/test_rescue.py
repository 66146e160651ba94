"""The stable path forms no Q that nobody asked for, and devices take larger parts of it."""

import numpy as np
import pytest

import synkern
from support.optional import needs_torch, torch
from synkern.kernels import NUMPY, request_for
from synkern.kernels.contract import GATHERED_ON_DEVICE, RESCUED_ON_DEVICE, Limits
from synkern.kernels.engine import chosen_pairs, marks
from synkern.kernels.engine.all_pairs import totals
from synkern.kernels.formulas.estimators import ESTIMATORS
from synkern.kernels.formulas.rescue import triangle


def copies(rng, nodes=6, trials=3):
    """Pairs of near copies, which only the stable path can do."""
    series = rng.standard_normal((trials, 100, nodes // 2))
    return np.concatenate([series, series + 1e-7 * rng.standard_normal(series.shape)], -1)


def features(series):
    estimator = next(e for e in ESTIMATORS.values() if e.key == ("gaussian", "MMI"))
    return estimator, estimator.features(NUMPY, series, 1, None)


@pytest.mark.parametrize("shape", [(99, 4), (3, 99, 4), (2, 6, 4, 4), (5, 7, 3)])
def test_the_factor_is_that_of_lapack(rng, shape):
    matrix = rng.standard_normal(shape)
    np.testing.assert_array_equal(triangle(np, matrix), np.linalg.qr(matrix, mode="r"))


@needs_torch
@pytest.mark.parametrize("gradient", [False, True])
def test_q_is_formed_for_a_gradient_only(rng, monkeypatch, gradient):
    modes, qr = [], torch.linalg.qr

    def spy(matrix, mode="reduced"):
        modes.append(mode)
        return qr(matrix, mode=mode)

    monkeypatch.setattr(torch.linalg, "qr", spy)
    series = torch.tensor(copies(rng), requires_grad=gradient)
    found = synkern.phiid(series, backend="torch")
    if gradient:
        found["sts"][0, 1].backward()
        assert torch.isfinite(series.grad).all()
    assert modes
    assert ("reduced" in modes) == gradient


def test_devices_take_larger_parts_of_the_stable_path(rng, monkeypatch):
    _, few = features(copies(rng))
    marked = np.zeros((1000, 3), np.int64)
    limits = Limits(rescued=4 * few.samples * 10)
    assert [len(part) for part in marks.rescue_parts(few, marked, limits)] == [10] * 100
    monkeypatch.setattr(marks, "on_cpu", lambda array: False)
    sizes = [len(part) for part in marks.rescue_parts(few, marked, limits)]
    assert sizes[0] == 10 * RESCUED_ON_DEVICE
    assert sum(sizes) == 1000


@pytest.mark.parametrize("per_trial", [False, True])
def test_devices_gather_more_chosen_pairs(rng, monkeypatch, per_trial):
    """One part instead of many, and the same atoms."""
    series = rng.standard_normal((3, 100, 40))
    estimator, many = features(series)
    pairs = np.stack(np.triu_indices(40, 1), -1)[::7]
    assert 10 < len(pairs) < 10 * GATHERED_ON_DEVICE
    limits = Limits(gathered=4 * 3 * many.samples * 10, matrices=0)
    request = request_for(
        ("sts", "rtr"),
        per_trial=per_trial,
        dtype="float64",
        estimator=estimator,
        pairs=pairs,
        limits=limits,
    )
    found, calls = [], []

    def totals_of(features, request):
        calls[-1] += 1
        return totals(NUMPY, features, request)

    for on_cpu in (True, False):
        monkeypatch.setattr(chosen_pairs, "on_cpu", lambda array, answer=on_cpu: answer)
        calls.append(0)
        found.append(chosen_pairs.decompose_chosen(NUMPY, many, request, totals_of))
    assert calls == [-(-len(pairs) // 10), 1]
    for name in ("sts", "rtr"):
        np.testing.assert_allclose(found[0].atoms[name], found[1].atoms[name], rtol=0, atol=1e-14)
    assert Limits().gathered * GATHERED_ON_DEVICE == 1 << 26
