"""Arrays of dask: as one array, with a block of trials in memory at a time."""

import tracemalloc

import numpy as np
import pytest
import xarray

import synkern

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")


@pytest.fixture
def series(rng):
    series = rng.standard_normal((7, 60, 5)).cumsum(1)
    series[4, :, 2] = 1.0
    series[2, :, 1] = series[2, :, 0]
    return series


@pytest.mark.filterwarnings("ignore:.*are degenerate:UserWarning")
@pytest.mark.parametrize("average", ["trials", None])
@pytest.mark.parametrize("pairs", [None, [[0, 1], [4, 2]]])
@pytest.mark.parametrize("masked", [False, True])
def test_blocks_of_trials_are_what_all_of_them_are(series, average, pairs, masked):
    mask = np.ones((7, 60), bool)
    mask[3, 20:25] = False
    options = {"average": average, "pairs": pairs, "mask": mask if masked else None}
    whole = synkern.phiid_lags(series, tau=[1, 3], **options)
    # Cut along time and nodes too, which are put together again.
    lazily = synkern.phiid_lags(da.from_array(series, chunks=(3, 20, 2)), tau=[1, 3], **options)
    for lag, found in lazily.items():
        for atom in found:
            np.testing.assert_allclose(found[atom], whole[lag][atom], rtol=1e-12)
        np.testing.assert_array_equal(found.constant, whole[lag].constant)
        np.testing.assert_array_equal(found.flagged, whole[lag].flagged)
        assert found.degenerate == whole[lag].degenerate
        assert (found.shape, found.rescued) == (whole[lag].shape, whole[lag].rescued)
        np.testing.assert_array_equal(found.valid_trials(), whole[lag].valid_trials())


def test_memory_does_not_grow_with_the_number_of_blocks():
    def make(block_info=None):
        start = block_info[None]["array-location"][0][0]
        return np.random.default_rng(start).standard_normal((2, 20_000, 4))

    def peak(blocks):
        array = da.map_blocks(
            make, chunks=((2,) * blocks, (20_000,), (4,)), dtype=float, meta=np.empty((0, 0, 0))
        )
        tracemalloc.start()
        try:
            assert synkern.phiid(array, backend="numpy").trials == 2 * blocks
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    with dask.config.set(scheduler="sync"):
        peak(2)  # whatever is made once
        few, many = peak(2), peak(12)
    assert many < 1.3 * few  # as a whole it would be six times as much


def test_the_reference_too_and_names_and_the_rest_as_a_whole(rng):
    series = rng.standard_normal((6, 60, 3)).cumsum(1)
    array = da.from_array(series, chunks=(2, 60, 3))
    found = synkern.persistence_reference(array)
    np.testing.assert_allclose(
        found["sts"], synkern.persistence_reference(series)["sts"], rtol=1e-12
    )
    named = xarray.DataArray(
        array.transpose(0, 2, 1),
        dims=("subject", "region", "time"),
        coords={"region": ["V1", "V2", "M1"], "subject": list("abcdef")},
    )
    result = synkern.phiid(named, average=None)
    assert result.node_names == ("V1", "V2", "M1")
    assert result.trial_names == tuple("abcdef")
    np.testing.assert_allclose(result["sts"], synkern.phiid(series, average=None)["sts"])
    for average in ("moments", "concatenate"):
        np.testing.assert_array_equal(
            synkern.phiid(array, average=average)["sts"],
            synkern.phiid(series, average=average)["sts"],
        )
    np.testing.assert_array_equal(
        synkern.phiid_nodes(array)["sts"], synkern.phiid_nodes(series)["sts"]
    )
    with pytest.raises(MemoryError, match="x 3000000 trials take"):
        synkern.phiid(da.zeros((3_000_000, 60, 400), chunks=(10, 60, 400)), average=None)


def test_a_warning_is_said_once(rng):
    array = da.from_array(rng.standard_normal((6, 20, 3)), chunks=(2, 20, 3))
    with pytest.warns(UserWarning, match="below 30") as caught:
        synkern.phiid(array)
    assert len(caught) == 1
