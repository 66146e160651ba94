"""Compiled CCS, whose vectors are pairs: some left out among others, informations without sign."""

import numpy as np
import pytest

import synkern
from synkern import ATOMS
from synkern.kernels.formulas.unit_vectors import unit_vectors

pytestmark = [
    pytest.mark.filterwarnings("ignore:series has .* time points:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*degenerate"),
]

NODES = 27  # more than three vectors of eight, and no whole one at the end
TOLERANCE = 1e-9  # that of float64


def atoms(series, backend):
    found = synkern.phiid(series, redundancy="CCS", atoms="all", backend=backend, average=None)
    return np.stack([np.asarray(found[name]) for name in ATOMS])


def assert_as_numpy(series):
    found, expected = atoms(series, "cpu"), atoms(series, "numpy")
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    return found


@pytest.fixture
def series(rng):
    """(trials, time, nodes), persistent and correlated."""
    series = rng.standard_normal((3, 80, NODES)) + rng.standard_normal((3, 80, 1))
    for t in range(1, series.shape[1]):
        series[:, t] += 0.7 * series[:, t - 1]
    return series


# Of vectors of two, four and eight columns.
LEFT_OUT = {
    "first of a vector": [8],
    "last of a vector": [15],
    "within a vector": [10, 13],
    "a whole vector": list(range(8, 16)),
    "all but one of a vector": [8, 9, 10, 12, 13, 14, 15],
    "the last column": [NODES - 1],
    "all but two": list(range(1, NODES - 1)),
}


@pytest.mark.parametrize("nodes", LEFT_OUT.values(), ids=LEFT_OUT)
def test_constant_nodes_leave_the_others_of_their_vector_as_they_were(series, nodes):
    whole = assert_as_numpy(series)
    series[1, :, nodes] = 4.0
    found = assert_as_numpy(series)
    others = np.setdiff1d(np.arange(NODES), nodes)
    np.testing.assert_array_equal(found[:, [0, 2]], whole[:, [0, 2]])
    # Other pairs go the same way, by bits or one by one, so that even their rounding is the same.
    kept = np.ix_(np.arange(len(ATOMS)), [1], others, others)
    np.testing.assert_array_equal(found[kept], whole[kept])
    assert np.isnan(found[:, 1, nodes]).all()


@pytest.mark.parametrize("nodes", LEFT_OUT.values(), ids=LEFT_OUT)
def test_pairs_that_cannot_be_trusted_leave_the_others_as_they_were(series, nodes, rng):
    """Nodes that are nearly the first one, and that are the first one."""
    whole = assert_as_numpy(series)
    near = [1e-6 * rng.standard_normal(80), 0.0]
    for k, node in enumerate(nodes):
        if node:
            series[1, :, node] = series[1, :, 0] + near[k % 2]
    found = assert_as_numpy(series)
    others = np.setdiff1d(np.arange(1, NODES), nodes)
    kept = np.ix_(np.arange(len(ATOMS)), range(3), others, others)
    np.testing.assert_array_equal(found[kept], whole[kept])


@pytest.mark.parametrize("samples", [5, 9, 255, 256, 257, 700])
def test_any_number_of_samples(rng, samples):
    assert_as_numpy(rng.standard_normal((2, samples + 1, 11)).cumsum(1))


@pytest.mark.parametrize("samples", [20, 256, 512, 770])
def test_uncorrelated_nodes_among_others(rng, samples):
    """Odd ones and even ones about the middle: all informations of a pair are zero, or none."""
    half = rng.standard_normal((samples // 2 + 1, NODES))
    signs = np.where(np.arange(NODES) % 3 == 0, -1.0, 1.0)
    middle = np.where(signs > 0, rng.standard_normal(NODES), 0.0)
    series = np.round(np.concatenate([half, middle[None], signs * half[::-1]])[None], 1)
    series[..., 5::6] += 0.3 * rng.standard_normal((1, series.shape[1], len(range(5, NODES, 6))))
    unit = unit_vectors(np, series, 1)
    crossed = np.abs(np.einsum("tis,tjs->tij", unit.past, unit.future))
    assert (crossed < 1e-12).sum() < NODES**2 / 2
    assert_as_numpy(series)


def test_few_samples_without_a_sign(rng):
    """Series that were rounded coarsely, see `formulas.uncorrelated`, alone and beside others."""
    levels = np.stack([rng.permutation(np.resize([-1.0, 0, 1], 21)) for _ in range(NODES)], 1)
    coarse = (np.concatenate([levels, levels[:1]]) + 2) / 10 + 3e5
    long = rng.standard_normal((300, NODES))
    for parts in ([coarse], [coarse - 3e5, long], [long, coarse - 3e5]):
        assert_as_numpy(np.concatenate(parts)[None])


@pytest.mark.parametrize("height", [1e2, 1e6, 1e12])
def test_informations_of_spikes(rng, height):
    """As large as they become: at the one sample of a spike that most nodes have."""
    series = rng.standard_normal((1, 1200, NODES))
    series[:, 600, : NODES - 3] += height * (1 + 0.1 * rng.standard_normal(NODES - 3))
    assert_as_numpy(series)
