import numpy as np
import pytest
import torch

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


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@pytest.mark.parametrize("average", ["trials", None])
def test_save_and_load(rng, tmp_path, average):
    series = torch.from_numpy(rng.standard_normal((2, 40, 3)))
    series[0, :, 1] = 0
    result = synkern.phiid(series, tau=2, average=average)
    path = tmp_path / "one.file"
    result.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["one.file"]
    loaded = synkern.PhiIDResult.load(path)
    assert repr(loaded) == repr(result)
    for atom in result:
        np.testing.assert_array_equal(loaded[atom], result[atom].numpy())
    np.testing.assert_array_equal(loaded.flagged, result.flagged)
    np.testing.assert_array_equal(loaded.constant, result.constant)
    np.testing.assert_array_equal(loaded.valid_trials(), result.valid_trials())
    assert loaded.degenerate == result.degenerate
    assert loaded.shape == result.shape


def test_load_refuses_other_files(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.save(tmp_path / "other.npy", np.zeros(3))
    (tmp_path / "other.txt").write_text("nothing")
    (tmp_path / "other.empty").touch()
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=f"{path.name}' is not a result saved by synkern"):
            synkern.PhiIDResult.load(path)


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
