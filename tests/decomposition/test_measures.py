import itertools

import numpy as np
import pytest

import synkern
from support.optional import torch
from synkern.decomposition.measures import MEASURES, atoms_of


@pytest.fixture
def series(rng):
    """Two trials of four nodes that drive each other."""
    coupling = np.array([[0.7, 0.3, 0, 0], [-0.2, 0.5, 0.4, 0], [0, 0, 0.9, 0], [0.3, 0, 0, -0.4]])
    out = rng.standard_normal((2, 300, 4))
    out[..., 1] += 0.8 * out[..., 0]
    for t in range(1, 300):
        out[:, t] += out[:, t - 1] @ coupling.T
    return out


def information(variables, source, target, given=""):
    """I(source; target | given) of jointly Gaussian variables, from log-determinants, in nats."""

    def entropy(names):
        if not names:
            return 0.0
        covariance = np.atleast_2d(np.cov([variables[name] for name in names]))
        return 0.5 * np.linalg.slogdet(covariance)[1]

    return (
        entropy(source + given)
        + entropy(target + given)
        - entropy(source + target + given)
        - entropy(given)
    )


def expected(series, function):
    """(nodes, nodes): mean over trials of a function of the pair's information."""
    nodes = series.shape[-1]
    out = np.full((nodes, nodes), np.nan)
    for i, j in itertools.permutations(range(nodes), 2):
        values = []
        for trial in series:
            x, y = trial[:, i], trial[:, j]
            variables = {"x": x[:-1], "y": y[:-1], "a": x[1:], "b": y[1:]}
            values.append(function(lambda *names, v=variables: information(v, *names)))
        out[i, j] = np.mean(values)
    return out


def least(info):
    return min(info(source, target) for source in "xy" for target in "ab")


INFORMATIONS = {
    "time_delayed_mutual_information": lambda info: info("xy", "ab"),
    "transfer_entropy_xy": lambda info: info("x", "b", "y"),
    "transfer_entropy_yx": lambda info: info("y", "a", "x"),
    "causal_density": lambda info: info("x", "b", "y") + info("y", "a", "x"),
    "integrated_information_wms": lambda info: (
        info("xy", "ab") - info("x", "a") - info("y", "b")
    ),
    "integrated_information_revised": lambda info: (
        info("xy", "ab") - info("x", "a") - info("y", "b") + least(info)
    ),
    # Of the redundancies, those towards one target (xtr + rtr = least of two) or from one source.
    "transfer": lambda info: (
        info("x", "b") + info("y", "a") + 2 * least(info)
        - min(info("x", "a"), info("x", "b")) - min(info("y", "a"), info("y", "b"))
        - min(info("x", "a"), info("y", "a")) - min(info("x", "b"), info("y", "b"))
    ),
    "copy": lambda info: (
        min(info("x", "a"), info("x", "b")) + min(info("y", "a"), info("y", "b")) - 2 * least(info)
    ),
    "erasure": lambda info: (
        min(info("x", "a"), info("y", "a")) + min(info("x", "b"), info("y", "b")) - 2 * least(info)
    ),
    "copy_goofi": lambda info: (
        info("x", "a") + info("y", "b") + 2 * least(info)
        - min(info("x", "a"), info("x", "b")) - min(info("y", "a"), info("y", "b"))
        - min(info("x", "a"), info("y", "a")) - min(info("x", "b"), info("y", "b"))
    ),
    # I(xy; one or the other) without what x or y has of it, and the mirror image in time.
    "downward_causation": lambda info: (
        info("xy", "a") + info("xy", "b") - min(info("xy", "a"), info("xy", "b"))
        - info("x", "a") - info("y", "a") + min(info("x", "a"), info("y", "a"))
        - info("x", "b") - info("y", "b") + min(info("x", "b"), info("y", "b"))
        + min(info("x", "a"), info("x", "b")) + min(info("y", "a"), info("y", "b")) - least(info)
    ),
    "upward_causation": lambda info: (
        info("x", "ab") + info("y", "ab") - min(info("x", "ab"), info("y", "ab"))
        - info("x", "a") - info("x", "b") + min(info("x", "a"), info("x", "b"))
        - info("y", "a") - info("y", "b") + min(info("y", "a"), info("y", "b"))
        + min(info("x", "a"), info("y", "a")) + min(info("x", "b"), info("y", "b")) - least(info)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INFORMATIONS)
def test_equals_the_informations(series, backend, name):
    result = synkern.phiid(series, atoms=atoms_of(name), backend=backend)
    np.testing.assert_allclose(
        result.measure(name), expected(series, INFORMATIONS[name]), rtol=0, atol=1e-10
    )


def test_the_other_measures_are_atoms(series):
    result = synkern.phiid(series, atoms="all")
    np.testing.assert_array_equal(result.measure("causal_decoupling"), result["sts"])
    storage = result["rtr"] + result["xtx"] + result["yty"] + result["sts"]
    np.testing.assert_allclose(result.measure("storage"), storage, rtol=0, atol=1e-15)


def test_the_taxonomy_covers_every_atom_once():
    modes = ["storage", "copy", "transfer", "erasure", "upward_causation", "downward_causation"]
    atoms = [atom for name in modes for atom in MEASURES[name].atoms]
    assert sorted(atoms) == sorted(synkern.ATOMS)


def test_direction_of_transfer(rng):
    driver = rng.standard_normal(2000)
    driven = np.concatenate([[0], driver[:-1]]) + rng.standard_normal(2000)
    result = synkern.phiid(np.stack([driver, driven], 1), atoms=atoms_of("causal_density"))
    forward, backward = (result.measure(f"transfer_entropy_{way}") for way in ("xy", "yx"))
    assert forward[0, 1] == pytest.approx(0.5 * np.log(2), abs=0.05)
    assert backward[0, 1] < 0.01
    np.testing.assert_allclose(forward, backward.T, rtol=0, atol=1e-12)


def test_missing_values_stay_missing(series):
    series[0, :, 2] = 1
    with pytest.warns(UserWarning, match="3 constant"):
        result = synkern.phiid(series, atoms="all", average=None)
    for name in MEASURES:
        missing = np.isnan(result.measure(name))
        assert missing[0, 2].all()
        assert missing[:, range(4), range(4)].all()
        assert missing.sum() == 4 + 4 + 6


def test_kind_and_gradient(series):
    tensor = torch.from_numpy(series).requires_grad_()
    out = synkern.phiid(tensor, atoms="all").measure("storage")
    assert isinstance(out, torch.Tensor)
    out[0, 1].backward()
    assert tensor.grad.abs().sum() > 0


def test_missing_atoms_are_named(series):
    result = synkern.phiid(series, atoms=["rtr", "sts", "str"])
    with pytest.raises(KeyError, match=r"lacks stx sty.*atoms_of\('downward_causation'\)"):
        result.measure("downward_causation")


def test_names(series):
    assert atoms_of("copy", "storage") == ("rtr", "xtr", "xtx", "ytr", "yty", "sts")
    assert "rtr" not in atoms_of("integrated_information_revised")
    with pytest.raises(ValueError, match="name must be one of 'time_delayed.*got 'synergy'"):
        synkern.phiid(series).measure("synergy")
    with pytest.raises(ValueError, match="name must be one of 'time_delayed.*got 'synergy'"):
        atoms_of("copy", "synergy")
    with pytest.raises(ValueError, match="at least one name of time_delayed"):
        atoms_of()
