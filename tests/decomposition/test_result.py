import pytest

import synkern


@pytest.fixture
def result(rng):
    return synkern.phiid(rng.standard_normal((2, 40, 3)), tau=2)


def test_it_knows_how_it_was_made(result):
    assert result.atoms == ("rtr", "sts")
    assert (result.tau, result.unit, result.backend) == (2, "nats", "cpu")
    assert (result.trials, result.nodes, result.n_pairs) == (2, 3, 3)
    assert "rtr sts; 2 trials x 40 time x 3 nodes, tau=2" in repr(result)


def test_missing_atom_says_how_to_get_it(result):
    with pytest.raises(KeyError, match="xtx.*holds rtr sts.*atoms="):
        result["xtx"]
    assert "xtx" not in result


def test_results_are_compared_by_identity(result, rng):
    assert result == result  # noqa: PLR0124
    assert result != synkern.phiid(rng.standard_normal((2, 40, 3)))
    assert {result: "usable as a key"}[result]


def test_to_xarray(rng):
    result = synkern.phiid(rng.standard_normal((2, 40, 3)))
    data = result.to_xarray(nodes=["L0H0", "L0H1", "L1H0"])
    value = data["sts"].sel(x="L0H0", y="L1H0").item()
    assert value == result["sts"][0, 2]
    assert data["rtr"].attrs["units"] == "nats"
    assert data.attrs["tau"] == 1
    each = synkern.phiid(rng.standard_normal((2, 40, 3)), average=None).to_xarray()
    assert dict(each.sizes) == {"trial": 2, "x": 3, "y": 3}
    with pytest.raises(ValueError, match="2 labels for 3 nodes"):
        result.to_xarray(nodes=["a", "b"])
