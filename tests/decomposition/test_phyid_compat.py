from itertools import product

import numpy as np
import pandas as pd
import pytest

import synkern
from support.optional import torch
from synkern import ATOMS, calc_PhiID
from synkern.decomposition import phyid_compat
from synkern.kernels import compiled_samples
from synkern.kernels.cpu_backend.record import BACKEND


@pytest.fixture(params=["compiled", "formulas"], autouse=True)
def path(request, monkeypatch):
    """Both ways in which a pair is computed: as it is once the library is there, and before."""
    if request.param == "compiled":
        if not BACKEND.status().available:
            pytest.skip("needs a C++ compiler")
        compiled_samples.native.load()
    monkeypatch.setattr(phyid_compat._compiled, "is_there", lambda: request.param == "compiled")
    return request.param


VARIANTS = list(product(["gaussian", "discrete"], ["MMI", "CCS"]))


def stacked(atoms):
    return np.stack([atoms[name] for name in ATOMS])


def test_golden(variant):
    atoms, calc = calc_PhiID(*variant.series.T, variant.tau, variant.kind, variant.redundancy)
    assert list(atoms) == list(ATOMS)
    found = stacked(atoms)
    np.testing.assert_allclose(found.mean(1), variant.average, rtol=0, atol=1e-10)
    if variant.local is not None:
        np.testing.assert_allclose(found, variant.local, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(calc["rtr"], atoms["rtr"])


@pytest.mark.parametrize(("kind", "redundancy"), VARIANTS)
def test_intermediate_results_have_phyid_names(rng, kind, redundancy):
    atoms, calc = calc_PhiID(*rng.standard_normal((2, 60)), 2, kind, redundancy)
    assert list(calc) == ["h_res", "I_res", "R_res", "rtr"]
    sets = "p1 p2 t1 t2 p1p2 t1t2 p1t1 p1t2 p2t1 p2t2 p1p2t1 p1p2t2 p1t1t2 p2t1t2 p1p2t1t2"
    assert list(calc["h_res"]) == [f"h_{name}" for name in sets.split()]
    informations = ["xytab", "xta", "xtb", "yta", "ytb", "xyta", "xytb", "xtab", "ytab"]
    assert list(calc["I_res"]) == [f"I_{name}" for name in informations]
    assert list(calc["R_res"]) == ["R_xyta", "R_xytb", "R_xytab", "R_abtx", "R_abty", "R_abtxy"]
    for group in (atoms, calc["h_res"], calc["I_res"], calc["R_res"], {"rtr": calc["rtr"]}):
        assert all(v.shape == (58,) and v.dtype == np.float64 for v in group.values())


@pytest.mark.parametrize(("kind", "redundancy"), VARIANTS)
def test_intermediate_results_agree_with_each_other(rng, kind, redundancy):
    """Informations are differences of entropies; redundancies are sums of the atoms below."""
    atoms, calc = calc_PhiID(*rng.standard_normal((2, 80)).cumsum(-1), 1, kind, redundancy)
    h, i, r = calc["h_res"], calc["I_res"], calc["R_res"]
    variables = {"x": "p1", "y": "p2", "xy": "p1p2", "a": "t1", "b": "t2", "ab": "t1t2"}
    for name, values in i.items():
        source, target = (variables[part] for part in name.removeprefix("I_").split("t"))
        expected = h[f"h_{source}"] + h[f"h_{target}"] - h[f"h_{source}{target}"]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)
    sums = {"R_xyta": "rtr rtx", "R_xytb": "rtr rty", "R_xytab": "rtr rtx rty rts"}
    sums |= {"R_abtx": "rtr xtr", "R_abty": "rtr ytr", "R_abtxy": "rtr xtr ytr str"}
    for name, below in sums.items():
        expected = sum(atoms[atom] for atom in below.split())
        np.testing.assert_allclose(r[name], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(sum(atoms.values()), i["I_xytab"], rtol=0, atol=1e-12)


def test_local_entropies_are_those_of_the_fitted_gaussian(rng):
    x, y = rng.standard_normal((2, 80)).cumsum(-1)
    _, calc = calc_PhiID(x, y, 1)
    data = np.stack([x[:-1], y[:-1], x[1:], y[1:]])
    data /= data.std(1, ddof=1, keepdims=True)
    for name, index in {"h_p1": [0], "h_t1t2": [2, 3], "h_p1p2t1t2": [0, 1, 2, 3]}.items():
        part = data[index]
        covariance = np.atleast_2d(np.cov(part))
        centred = part - part.mean(1, keepdims=True)
        distance = (centred * np.linalg.solve(covariance, centred)).sum(0)
        constant = np.linalg.slogdet(2 * np.pi * covariance)[1]
        np.testing.assert_allclose(calc["h_res"][name], 0.5 * (constant + distance), atol=1e-10)


def test_local_entropies_are_those_of_counted_bits():
    x = [0, 0, 0, 1, 0, 0, 0, 1]
    y = [0, 1, 0, 1, 5, 5, 0, 0]
    with (
        pytest.warns(UserWarning, match="bias"),
        pytest.warns(UserWarning, match="1 of 2 nodes take more than two levels .node 1: 0, 1, 5"),
    ):
        _, calc = calc_PhiID(x * 2, y * 2, 8, "discrete")
    np.testing.assert_allclose(calc["h_res"]["h_p1"][:4], -np.log2([6 / 8] * 3 + [2 / 8]))
    # States (x, y) of the first half: 00 00 00 10 01 01 00 10, as y's mean is 1.5.
    expected = -np.log2([4 / 8, 4 / 8, 4 / 8, 2 / 8])
    np.testing.assert_allclose(calc["h_res"]["h_p1p2"][:4], expected)


def test_means_are_those_of_all_pairs(heads):
    series = heads["trained"][0].astype(np.float64)
    result = synkern.phiid(series, atoms="all")
    atoms, _ = calc_PhiID(series[:, 4], series[:, 9], 1)
    for name in ATOMS:
        assert atoms[name].mean() == pytest.approx(result[name][4, 9], abs=1e-10)


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_where_phyid_fails(rng, redundancy):
    """An outlier of 100 sigma underflows its density there; here nothing does."""
    x, y = rng.standard_normal((2, 2000))
    x[100] = 100.0
    atoms, _ = calc_PhiID(x, y, 1, "gaussian", redundancy)
    assert np.isfinite(stacked(atoms)).all()

    with pytest.warns(UserWarning, match="degenerate: constant") as caught:
        atoms, calc = calc_PhiID(np.full(50, 0.1), y[:50], 1, "gaussian", redundancy)
    assert caught[0].filename == __file__
    assert np.isnan(stacked(atoms)).all()
    assert np.isnan(calc["h_res"]["h_p2"]).all()

    with pytest.warns(UserWarning, match="degenerate: duplicate"):
        atoms, _ = calc_PhiID(y, 2 - y, 1, "gaussian", redundancy)
    rest = stacked(atoms)[1:]
    np.testing.assert_allclose(rest, 0, atol=1e-10)
    assert atoms["rtr"].mean() == pytest.approx(
        -0.5 * np.log1p(-(np.corrcoef(y[:-1], y[1:])[0, 1] ** 2))
    )

    with pytest.warns(UserWarning, match="degenerate: deterministic"):
        atoms, _ = calc_PhiID(y[1:], y[:-1], 1, "gaussian", redundancy)
    assert np.isnan(stacked(atoms)).all()


@pytest.mark.parametrize("noise", [1e-4, 1e-7, 1e-9])
def test_nearly_equal_series(rng, noise):
    x, y = rng.standard_normal((2, 100)).cumsum(-1)
    near = y + noise * x
    atoms, _ = calc_PhiID(y, near, 1)
    expected = synkern.phiid(np.stack([y, near], -1), atoms="all")
    for name in ATOMS:
        assert atoms[name].mean() == pytest.approx(expected[name][0, 1], abs=1e-6)


def test_any_offset_and_scale(rng):
    x, y = rng.standard_normal((2, 100)).cumsum(-1)
    expected = stacked(calc_PhiID(x, y, 1)[0])
    for scale in (1e-170, 1e200):
        found = stacked(calc_PhiID(scale * x, scale * y, 1)[0])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    found = stacked(calc_PhiID(x + 1e8, y - 1e8, 1)[0])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_discrete_degenerate_series_have_values_as_in_phyid(rng, redundancy):
    y = rng.standard_normal(50)
    atoms, calc = calc_PhiID(np.full(50, 0.1), y, 1, "discrete", redundancy)
    np.testing.assert_array_equal(calc["h_res"]["h_p1"], 0)
    np.testing.assert_allclose(atoms["yty"], sum(atoms.values()), rtol=0, atol=1e-12)
    atoms, calc = calc_PhiID(y[1:], y[:-1], 1, "discrete", redundancy)
    assert calc["I_res"]["I_xtb"].mean() == pytest.approx(calc["h_res"]["h_p1"].mean())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0] * 20, [1.0] * 19, 1), r"one length.*\(20,\) and \(19,\)"),
        ((np.ones((20, 2)), np.ones((20, 2)), 1), r"one series.*several nodes"),
        ((range(20), range(20), 0), "tau must be a positive whole number.*0"),
        ((range(20), range(20), 17), "20 time points and tau = 17"),
        (([np.nan] * 40, range(40), 1), "NaN"),
        (
            (range(20), range(20), 1, "kraskov"),
            "kind must be one of 'gaussian', 'discrete'; got 'kraskov'",
        ),
        (
            (range(20), range(20), 1, "discrete", "Imin"),
            "redundancy must be one of 'MMI', 'CCS'; got 'Imin'",
        ),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        calc_PhiID(*arguments)


def test_what_phyid_takes_with_a_meaning_is_taken(rng):
    src, trg = rng.standard_normal((2, 60))
    expected = calc_PhiID(src, trg, 1)[0]
    for convert in (
        lambda v: v[:, None],  # as loadmat gives it
        pd.DataFrame,
        pd.Series,
        lambda v: pd.Series(v, index=np.arange(60)[::-1]),  # order is time, not the labels
        torch.from_numpy,
        list,
    ):
        found = calc_PhiID(convert(src), convert(trg), 1)[0]
        for atom, values in expected.items():
            np.testing.assert_array_equal(found[atom], values)
    half = torch.from_numpy(src).bfloat16(), torch.from_numpy(trg).bfloat16()
    same = calc_PhiID(*(v.double().numpy() for v in half), 1)[0]["sts"]
    np.testing.assert_array_equal(calc_PhiID(*half, 1)[0]["sts"], same)


@pytest.mark.parametrize(
    ("convert", "error", "message"),
    [
        (lambda v: np.ma.masked_greater(v, 1), TypeError, "src is a masked array"),
        (lambda v: v + 1j, TypeError, "src must hold real numbers.*complex"),
        (lambda v: [str(k) for k in v], TypeError, "src must hold real numbers.*U"),
        (lambda v: torch.tensor(v, requires_grad=True), ValueError, "src requires a gradient"),
        (lambda v: v[None], ValueError, r"src must be one series.*\(1, 60\)"),
        (lambda v: np.stack([v, v], 1), ValueError, r"src must be one series.*\(60, 2\)"),
    ],
)
def test_what_would_lose_its_meaning_is_refused(rng, convert, error, message):
    src, trg = rng.standard_normal((2, 60))
    with pytest.raises(error, match=message):
        calc_PhiID(convert(src), trg, 1)
    with pytest.raises(error, match=message.replace("src", "trg")):
        calc_PhiID(src, convert(trg), 1)
