"""Weighted averages of atoms over trials: of single trials, and of pooled ones."""

import numpy as np
import pytest

import synkern
from synkern.analysis.averages import PooledAverages, TrialAverages


@pytest.fixture
def series(rng):
    return rng.standard_normal((6, 50, 5)).cumsum(1)


@pytest.fixture
def atoms(rng):
    """Two symmetric atoms (4, 5, 5) with a pair that is lost in some trials and one in all."""
    out = {}
    for name in ("sts", "rtr"):
        matrix = rng.random((4, 5, 5))
        out[name] = matrix + matrix.transpose(0, 2, 1)
    out["sts"][:2, 1, 2] = out["sts"][:2, 2, 1] = np.nan
    out["rtr"][:, 0, 4] = out["rtr"][:, 4, 0] = np.inf
    return out


def test_trials_are_averaged_where_all_atoms_have_a_value(atoms):
    averages = TrialAverages.of([atoms])
    assert (averages.trials, averages.nodes, averages.entries, averages.missing) == (4, 5, 40, 6)
    weights = np.array([[1.0, 1, 1, 1], [0, 2, 2, 0], [3, 1, 0, 0]])
    found = averages.weighted(weights)
    for name, atom in atoms.items():
        assert found[name].shape == (3, 5, 5)
        by_hand = np.einsum("dt,tij->dij", weights, atom) / weights.sum(1)[:, None, None]
        known = np.isfinite(by_hand) & ~np.eye(5, dtype=bool)
        known[:, [0, 4, 1, 2], [4, 0, 2, 1]] = False
        np.testing.assert_allclose(found[name][known], by_hand[known], rtol=1e-14)
        assert np.isnan(found[name][:, 0, 4]).all()
        np.testing.assert_allclose(found[name][0, 1, 2], atom[2:, 1, 2].mean())
        np.testing.assert_allclose(found[name][1, 2, 1], atom[2, 1, 2])
        assert np.isnan(found[name][2, 1, 2])  # the draw holds only trials without it
        assert np.isnan(found[name][:, np.arange(5), np.arange(5)]).all()
        # A product with one row of weights may be summed in another order than with three.
        np.testing.assert_allclose(averages.mean()[name], found[name][0], rtol=1e-14)


def test_chunks_of_trials_are_one_chunk(atoms):
    chunks = ({name: atom[part] for name, atom in atoms.items()} for part in ([0, 1, 2], [3]))
    whole, parts = TrialAverages.of([atoms]), TrialAverages.of(chunks)
    assert (whole.trials, whole.missing) == (parts.trials, parts.missing)
    for name, mean in whole.mean().items():
        np.testing.assert_array_equal(parts.mean()[name], mean)  # the same product


@pytest.mark.parametrize("average", ["moments", "concatenate"])
def test_a_draw_of_pooled_trials_decomposes_the_repeated_trials(series, average):
    def decompose(drawn):
        return synkern.phiid(drawn, average=average)

    averages = PooledAverages.of(series, decompose)
    assert (averages.trials, averages.nodes, averages.entries, averages.missing) == (6, 5, 10, 0)
    found = averages.weighted(np.array([[1.0] * 6, [0, 3, 1, 0, 2, 0]]))
    for row, chosen in enumerate(([0, 1, 2, 3, 4, 5], [1, 1, 1, 2, 4, 4])):
        expected = decompose(series[chosen])
        for name in ("sts", "rtr"):
            np.testing.assert_array_equal(found[name][row], expected[name])
    with pytest.raises(ValueError, match="must be whole"):
        averages.weighted(np.full((1, 6), 0.5))


def test_pooled_pairs_without_a_value_are_counted(series):
    series[:, :, 1] = 3.0
    with pytest.warns(UserWarning, match="constant"):
        averages = PooledAverages.of(series, lambda x: synkern.phiid(x, average="moments"))
    assert (averages.entries, averages.missing) == (10, 4)
    series[:] = 3.0
    with (
        pytest.warns(UserWarning, match="constant"),
        pytest.raises(ValueError, match="no pair of the 5 nodes is valid in the 6 pooled trials"),
    ):
        PooledAverages.of(series, lambda x: synkern.phiid(x, average="moments"))
