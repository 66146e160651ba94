import numpy as np
import pytest

import synkern
from synkern import ATOMS, calc_PhiID


def test_golden(golden):
    atoms, calc = calc_PhiID(*golden.series.T, golden.tau)
    assert list(atoms) == list(ATOMS)
    found = np.stack([atoms[name] for name in ATOMS])
    np.testing.assert_allclose(found.mean(1), golden.average, rtol=0, atol=1e-10)
    if golden.local is not None:
        np.testing.assert_allclose(found, golden.local, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(calc["rtr"], atoms["rtr"])


def test_intermediate_results_have_phyid_names(rng):
    _, calc = calc_PhiID(*rng.standard_normal((2, 60)), tau=2)
    assert list(calc) == ["h_res", "I_res", "R_res", "rtr"]
    singles = ["p1", "p2", "t1", "t2"]
    names = set(singles) | {"p1p2", "t1t2", "p1t1", "p1t2", "p2t1", "p2t2"}
    names |= {"p1p2t1", "p1p2t2", "p1t1t2", "p2t1t2", "p1p2t1t2"}
    assert set(calc["h_res"]) == {f"h_{name}" for name in names}
    informations = ["xytab", "xta", "xtb", "yta", "ytb", "xyta", "xytb", "xtab", "ytab"]
    assert list(calc["I_res"]) == [f"I_{name}" for name in informations]
    assert list(calc["R_res"]) == ["R_xyta", "R_xytb", "R_xytab", "R_abtx", "R_abty", "R_abtxy"]
    assert all(values.shape == (58,) for values in calc["h_res"].values())


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


def test_informations_are_differences_of_entropies(rng):
    _, calc = calc_PhiID(*rng.standard_normal((2, 80)), 1)
    h, i = calc["h_res"], calc["I_res"]
    np.testing.assert_allclose(
        i["I_xytab"], h["h_p1p2"] + h["h_t1t2"] - h["h_p1p2t1t2"], atol=1e-12
    )
    np.testing.assert_allclose(i["I_ytb"], h["h_p2"] + h["h_t2"] - h["h_p2t2"], atol=1e-12)


def test_means_are_those_of_all_pairs(heads):
    series = heads["trained"][0].astype(np.float64)
    result = synkern.phiid(series, atoms="all")
    atoms, _ = calc_PhiID(series[:, 4], series[:, 9], 1)
    for name in ATOMS:
        assert atoms[name].mean() == pytest.approx(result[name][4, 9], abs=1e-10)


def test_where_phyid_fails(rng):
    """An outlier of 100 sigma underflows its density there; here nothing does."""
    x, y = rng.standard_normal((2, 2000))
    x[100] = 100.0
    atoms, _ = calc_PhiID(x, y, 1)
    assert all(np.isfinite(values).all() for values in atoms.values())

    with pytest.warns(UserWarning, match="constant"):
        atoms, _ = calc_PhiID(np.ones(50), y[:50], 1)
    assert all(np.isnan(values).all() for values in atoms.values())

    with pytest.warns(UserWarning, match="duplicate"):
        atoms, _ = calc_PhiID(y, 2 - y, 1)
    np.testing.assert_allclose(atoms["sts"], 0, atol=1e-10)
    assert atoms["rtr"].mean() == pytest.approx(
        -0.5 * np.log1p(-(np.corrcoef(y[:-1], y[1:])[0, 1] ** 2))
    )

    with pytest.warns(UserWarning, match="deterministic"):
        atoms, _ = calc_PhiID(y[1:], y[:-1], 1)
    assert all(np.isnan(values).all() for values in atoms.values())

    near = y + 1e-7 * x
    atoms, _ = calc_PhiID(y, near, 1)
    expected = synkern.phiid(np.stack([y, near], -1), atoms="all")
    for name in ATOMS:
        assert atoms[name].mean() == pytest.approx(expected[name][0, 1], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0] * 20, [1.0] * 19, 1), r"one length.*\(20,\) and \(19,\)"),
        ((np.ones((20, 2)), np.ones((20, 2)), 1), r"two series"),
        ((range(20), range(20), 0), "tau must be a positive whole number.*0"),
        ((range(20), range(20), 17), "20 time points and tau = 17"),
        (([np.nan] * 40, range(40), 1), "NaN"),
        ((range(20), range(20), 1, "discrete"), "kind must be one of 'gaussian'; got 'discrete'"),
        ((range(20), range(20), 1, "gaussian", "CCS"), "redundancy must be one of 'MMI'"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        calc_PhiID(*arguments)
