"""A decomposition in blocks against one call."""

import json

import numpy as np
import pytest

import synkern
from support.blocks import SIDE, same, series
from synkern.kernels import BACKENDS
from synkern.scale import PhiIDBlocks, plan_blocks
from synkern.scale.columns import Columns, read_through
from synkern.scale.grid import MOST, Grid, bytes_of, side_for

zarr = pytest.importorskip("zarr")

ESTIMATORS = [(k, r) for k in ("gaussian", "discrete") for r in ("MMI", "CCS")]
EPS = np.finfo(float).eps


def close(own, other, pairs):
    """Sums over pairs in another order: at most an eps for each of them, of numbers below 10."""
    np.testing.assert_allclose(own, other, rtol=0, atol=10 * pairs * EPS)


def same_means(own, other):
    assert list(own) == list(other)
    for name in other:
        close(own[name], other[name], other.nodes)
    np.testing.assert_array_equal(own.pairs, other.pairs)
    np.testing.assert_array_equal(own.constant, other.constant)
    assert (own.degenerate, own.rescued) == (other.degenerate, other.rescued)
    assert own.node_names == other.node_names


@pytest.mark.parametrize(("kind", "redundancy"), ESTIMATORS)
@pytest.mark.parametrize("average", ["trials", "moments", "concatenate", None])
def test_every_estimator_has_the_bits_of_one_call(kind, redundancy, average):
    x = series()
    options = {"kind": kind, "redundancy": redundancy, "average": average, "atoms": ["sts", "xtx"]}
    big = synkern.phiid_blocks(x, out=None, side=SIDE, **options)
    same(big, synkern.phiid(x, **options))
    means = synkern.phiid_nodes(x, **options)
    same_means(big.node_means(), means)
    alone = synkern.phiid_blocks(x, out=None, side=SIDE, keep="node_means", **options)
    same_means(alone.node_means(), means)


@pytest.mark.parametrize("nodes", [2, 63, 65, 127, 129, 193])
def test_any_number_of_nodes(nodes):
    x = series(nodes=nodes)
    big = synkern.phiid_blocks(x, out=None, side=SIDE)
    same(big, synkern.phiid(x))
    means = synkern.phiid_nodes(x)
    same_means(big.node_means(), means)
    alone = synkern.phiid_blocks(x, out=None, side=SIDE, keep="node_means")
    same_means(alone.node_means(), means)
    balance = synkern.phiid_nodes(x).balance
    # Of sums of sts + rtr that are above 1e-3 here, and shares below 10.
    np.testing.assert_allclose(big.node_means().balance, balance, rtol=0, atol=1e4 * nodes * EPS)


def test_pairs_without_a_value_are_the_same_ones():
    x = series(nodes=150)
    x[0, :, 3] = 1.0
    x[:, :, 149] = x[:, :, 2]
    x[:, 1:, 70] = x[:, :-1, 100]
    with pytest.warns(UserWarning, match="degenerate"):
        small = synkern.phiid(x)
    with pytest.warns(UserWarning, match="degenerate"):
        means = synkern.phiid_nodes(x)
    with pytest.warns(UserWarning, match="are degenerate"):
        big = synkern.phiid_blocks(x, out=None, side=SIDE)
    same(big, small)
    assert big.degenerate == small.degenerate
    assert sorted(big.flagged.tolist()) == sorted(small.flagged.tolist())
    np.testing.assert_array_equal(big.constant, small.constant)
    same_means(big.node_means(), means)


@pytest.mark.parametrize("average", ["trials", "moments", None])
def test_masks_units_and_dtypes(average):
    x = series(trials=3, time=60, nodes=140)
    mask = np.ones((3, 60), bool)
    mask[0, 5], mask[2, 50:] = False, False
    x[2, 55, 7] = np.nan
    options = {"mask": mask, "unit": "bits", "dtype": "float32", "average": average, "tau": 2}
    small, means = synkern.phiid(x, **options), synkern.phiid_nodes(x, **options)
    big = synkern.phiid_blocks(x, out=None, side=SIDE, **options)
    same(big, small)
    assert (big.unit, big.dtype, big.tau) == ("bits", "float32", 2)
    # Means of atoms that were rounded to float32 on their way, in pairs that are below 10.
    for name in means:
        eps = np.finfo(np.float32).eps
        np.testing.assert_allclose(big.node_means()[name], means[name], rtol=0, atol=10 * eps)
    alone = synkern.phiid_blocks(x, out=None, side=SIDE, keep="node_means", **options)
    for name in means:
        np.testing.assert_allclose(alone.node_means()[name], means[name], rtol=0, atol=10 * eps)


def test_parts_of_a_matrix_are_those_of_an_array():
    x = series(trials=2, nodes=150)
    for average in ("trials", None):
        big = synkern.phiid_blocks(x, out=None, side=SIDE, atoms=["xtx"], average=average)["xtx"]
        whole = np.asarray(big)
        assert (big.shape, big.ndim, big.dtype, len(big)) == (
            whole.shape,
            whole.ndim,
            whole.dtype,
            len(whole),
        )
        s = np.s_
        for key in (
            s[..., 10:140:7, ::3],
            s[..., ::-1, 5],
            s[..., 149, 0],
            s[..., 64:64, :],
            s[...],
            s[..., 140:20:-13, -80:],
            s[1:2],
            s[-1],
            s[..., 63:65, 63:65],
        ):
            np.testing.assert_array_equal(big[key], whole[key])
        with pytest.raises(IndexError, match="too many indices"):
            big[0, 0, 0, 0]
        with pytest.raises(IndexError, match="index 150 is out of bounds"):
            big[..., 150]
        for key in ([1, 2], np.array([1, 2]), whole > 0, True, None):
            with pytest.raises(TypeError, match="read by whole numbers and slices"):
                big[key]


def of_zarr(tmp_path, x, chunks):
    array = zarr.create_array(
        tmp_path / "x.zarr", shape=x.shape, chunks=chunks, dtype=x.dtype, overwrite=True
    )
    array[:] = x
    return array


@pytest.mark.parametrize("chunks", [(2, 40, 50), (1, 7, 200)], ids=["nodes", "time"])
def test_a_series_of_zarr_is_read_where_it_is_or_copied(tmp_path, chunks):
    x = series().astype(np.float32)
    array = of_zarr(tmp_path, x, chunks)
    small = synkern.phiid(x)
    for k, given in enumerate((tmp_path / "x.zarr", str(tmp_path / "x.zarr"), array)):
        same(synkern.phiid_blocks(given, out=tmp_path / f"{k}", side=SIDE), small)
        assert (tmp_path / f"{k}" / "series").exists() == (chunks[-1] > 2 * SIDE)
    zarr.create_array(tmp_path / "group.zarr", name="a", shape=(40, 3), dtype="f8")
    zarr.create_array(tmp_path / "group.zarr", name="b", shape=(40, 3), dtype="f8")
    group = zarr.open_group(tmp_path / "group.zarr")
    for given in (tmp_path / "group.zarr", group):
        with pytest.raises(ValueError, match=r"a group of 2 arrays that .* \(a, b\); name one"):
            synkern.phiid_blocks(given, out=None)


@pytest.mark.parametrize("chunks", [(1, 40, 500), (2, 40, 500), (5, 40, 50), (2, 7, 9)], ids=str)
def test_a_series_is_looked_at_once_as_its_chunks_lie(tmp_path, monkeypatch, chunks):
    monkeypatch.setattr("synkern.scale.columns.STRIPE", 5 * 40 * 30)
    x = series(trials=5, nodes=500).astype(np.float32)
    whole = read_through(Columns(x), None, 10**9)
    of_trial = 6 * x[0].nbytes
    columns = Columns(of_zarr(tmp_path, x, chunks))
    for memory in (1, of_trial, 3 * of_trial, 10**9):
        found = np.full_like(x, np.nan)
        parts = []

        def taken(trials, nodes, values, parts=parts, found=found):
            assert np.isnan(found[trials, :, nodes]).all()
            found[trials, :, nodes] = values
            parts.append((trials.start, trials.stop, nodes.start, nodes.stop))

        assert read_through(columns, None, memory, taken) == whole
        np.testing.assert_array_equal(found, x)
        if chunks == (1, 40, 500) and memory == of_trial:
            assert parts == [(k, k + 1, 0, 500) for k in range(5)]
        if chunks == (2, 40, 500) and memory == 3 * of_trial:
            assert parts == [(0, 2, 0, 500), (2, 4, 0, 500), (4, 5, 0, 500)]
    other = x.copy()
    other[3, 20, 480] += 1
    assert read_through(Columns(other), None, 10**9) != whole
    other[3, 20, 480] = np.nan
    for given in (other, of_zarr(tmp_path, other, chunks)):
        with pytest.raises(ValueError, match="at trial 3, time 20, node 480: nan"):
            read_through(Columns(given), None, of_trial)
    valid = np.ones((5, 40), bool)
    valid[3, 20] = False
    read_through(Columns(given), valid, of_trial)


def test_a_copy_of_wide_chunks_has_the_bits(tmp_path):
    x = series(trials=5).astype(np.float32)
    of_zarr(tmp_path, x, (2, 40, 200))
    memory = 3 * 6 * x[0].nbytes
    big = synkern.phiid_blocks(tmp_path / "x.zarr", out=tmp_path / "o", side=SIDE, memory=memory)
    same(big, synkern.phiid(x))
    assert zarr.open_group(tmp_path / "o")["series"].chunks == (2, 40, SIDE)


def test_other_kinds_of_series(tmp_path):
    x = series()
    small = synkern.phiid(x)
    np.save(tmp_path / "x.npy", x)
    dask = pytest.importorskip("dask.array")
    for given in (tmp_path / "x.npy", dask.from_array(x, chunks=(1, 20, 60)), x.tolist()):
        same(synkern.phiid_blocks(given, out=None, side=SIDE), small)
    xarray = pytest.importorskip("xarray")
    names = [f"n{k}" for k in range(200)]
    labelled = xarray.DataArray(x[0].T, dims=("region", "time"), coords={"region": names})
    big = synkern.phiid_blocks(labelled, out=None, side=SIDE)
    same(big, synkern.phiid(labelled.T.values))
    assert big.node_names == tuple(names)
    lazily = big.to_xarray()
    assert isinstance(lazily["sts"].data, dask.Array)
    np.testing.assert_array_equal(
        lazily["sts"].sel(x="n150", y=["n3", "n199"]).values, big["sts"][150][[3, 199]]
    )
    expected = synkern.phiid(labelled).to_xarray()
    xarray.testing.assert_equal(lazily["rtr"].compute(), expected["rtr"])
    assert lazily.attrs == expected.attrs


def test_what_is_no_series():
    x = series(nodes=70)
    x[1, 3, 66] = np.inf
    with pytest.raises(ValueError, match="trial 1, time 3, node 66: inf"):
        synkern.phiid_blocks(x, out=None, side=SIDE)
    with pytest.raises(ValueError, match="which leaves 3 samples; at least 5 are needed"):
        synkern.phiid_blocks(x[:, :4], out=None)
    with pytest.raises(FileNotFoundError, match="there is nothing at this path"):
        synkern.phiid_blocks("nowhere.zarr", out=None)
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2, 2\)"):
        synkern.phiid_blocks(np.zeros((2, 2, 2, 2)), out=None)
    with pytest.raises(ValueError, match="series = 's3://a/x.zarr' is an address; open it"):
        synkern.phiid_blocks("s3://a/x.zarr", out=None)
    with pytest.raises(ValueError, match="out = 's3://a/o' is an address; .* mounted"):
        synkern.phiid_blocks(x, out="s3://a/o")
    with pytest.raises(TypeError, match="series is a masked array"):
        synkern.phiid_blocks(np.ma.masked_invalid(x), out=None)
    array = pytest.importorskip("dask.array").from_array(x[0])
    with pytest.raises(ValueError, match=r"call its compute_chunk_sizes\(\) first"):
        synkern.phiid_blocks(array[:, array[0] < 9], out=None)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"side": 100}, ValueError, "side = 100; give a multiple of 64"),
        ({"memory": 0}, ValueError, "memory = 0; give a number of bytes"),
        ({"memory": np.inf}, ValueError, "memory = inf; give a number of bytes"),
        ({"memory": "1 GB"}, ValueError, "memory = '1 GB'; give a number of bytes"),
        ({"memory": 1000}, MemoryError, "does not hold a block of 64 nodes to a side"),
        ({"keep": "atoms"}, ValueError, "keep must be one of 'pairs', 'node_means'"),
        ({"pairs": [[0, 1]]}, TypeError, r"phiid_blocks\(\) has no option 'pairs'"),
        ({"backend": "none"}, ValueError, "backend must be 'auto' or one of"),
        ({"executor": 3}, TypeError, "executor must be None, an executor of"),
    ],
)
def test_options_that_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        synkern.phiid_blocks(series(nodes=70), out=None, **options)


@pytest.mark.parametrize("name", ["cupy", "triton"])
def test_a_backend_that_cannot_run_here_is_refused_before_a_store_is_begun(tmp_path, name):
    if {backend.name: backend for backend in BACKENDS}[name].status().takes("cuda"):
        pytest.skip("needs a machine where it cannot run")
    with pytest.raises(ValueError, match=f"backend '{name}' cannot compute .* on device 'cuda'"):
        synkern.phiid_blocks(series(nodes=70), out=tmp_path / "o", backend=name)
    assert list(tmp_path.iterdir()) == []


def test_few_samples_are_warned_of_once():
    with pytest.warns(UserWarning, match=r"below 30 .*shape \(2, 20, 128\)") as warned:
        synkern.phiid_blocks(series(time=20, nodes=128), out=None, side=SIDE)
    assert len(warned) == 1


def test_a_warning_of_nodes_says_of_which_block_they_are():
    x = series(nodes=128)
    x[:, :, 70] = 1 + 1e-15 * x[:, :, 70]
    x[:, :, 3] *= 1e-14
    with pytest.warns(UserWarning, match="degenerate|var(y|ies) by") as warned:
        synkern.phiid_blocks(x, out=None, side=SIDE)
    said = [str(each.message) for each in warned]
    assert any("node 3 varies" in s and "(of the block of nodes 0 to 63, where" in s for s in said)


def test_progress_counts_blocks_and_says_what_is_left():
    seen = []
    synkern.phiid_blocks(series(), out=None, side=SIDE, progress=seen.append)
    assert [each.done for each in seen] == list(range(1, 11))
    assert seen[-1].pairs == seen[-1].all_pairs == 200 * 199 // 2
    assert seen[-1].left == 0
    assert all(each.left > 0 for each in seen[:-1])


def test_a_plan_says_blocks_and_bytes(tmp_path):
    x = series()
    plan = plan_blocks(x, side=SIDE, dtype="float32")
    assert (plan.blocks, plan.decompositions, plan.side) == (10, 2 * 200 * 199 // 2, SIDE)
    synkern.phiid_blocks(x, out=tmp_path / "o", side=SIDE, dtype="float32")
    there = sum(f.stat().st_size for name in ("rtr", "sts") for f in chunks(tmp_path / "o" / name))
    assert there == plan.bytes
    assert plan.hours(1) == pytest.approx(plan.decompositions * plan.nanoseconds / 3.6e12)
    assert plan.hours(4) == pytest.approx(plan.hours(1) * 3 / 10)
    assert "10 blocks of 64 nodes to a side" in str(plan)


def test_a_plan_says_bytes_of_sums_by_node(tmp_path):
    plan = plan_blocks(series(), side=SIDE, keep="node_means")
    synkern.phiid_blocks(series(), out=tmp_path / "o", side=SIDE, keep="node_means")
    assert sum(file.stat().st_size for file in chunks(tmp_path / "o" / "sums")) == plan.bytes


def test_a_block_is_not_larger_than_all_nodes(tmp_path):
    """As its files would be."""
    big = synkern.phiid_blocks(series(nodes=70), out=tmp_path / "o", side=4096)
    assert (big.side, big["sts"].chunks) == (128, (128, 128))
    synkern.phiid_blocks(series(nodes=70), out=tmp_path / "o", side=4096)


def test_what_fails_to_be_read_is_not_laid_to_the_store(tmp_path):
    dask = pytest.importorskip("dask.array")

    def fail(block):
        raise FileNotFoundError("the recording is gone")

    given = dask.zeros((40, 200)).map_blocks(fail, dtype=float)
    with pytest.raises(FileNotFoundError, match="the recording is gone"):
        synkern.phiid_blocks(given, out=tmp_path / "o", side=SIDE)


def chunks(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json"]


def test_a_store_says_how_much_is_done_and_what_it_lacks(tmp_path):
    big = synkern.phiid_blocks(series(), out=tmp_path / "o", side=SIDE, keep="node_means")
    again = PhiIDBlocks.open(tmp_path / "o")
    assert again.complete
    assert "rtr sts, means by node; 2 trials x 40 time x 200 nodes" in repr(again)
    assert "10 of 10 blocks of 64 nodes to a side done: 100 %" in repr(again)
    assert len(big) == 0
    with pytest.raises(KeyError, match="of node_means alone there are none"):
        big["sts"]
    with pytest.raises(ValueError, match="means by node alone, no pairs"):
        big.to_xarray()
    with pytest.raises(FileNotFoundError, match="there is nothing at this path"):
        PhiIDBlocks.open(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a").write_text("")
    with pytest.raises(FileExistsError, match="something that phiid_blocks has not made"):
        PhiIDBlocks.open(tmp_path / "other")


def test_a_store_of_another_format_is_refused(tmp_path):
    x, out = series(nodes=70), tmp_path / "o"
    synkern.phiid_blocks(x, out=out, side=SIDE)
    group = zarr.open_group(out, mode="r+")
    group.attrs["synkern"] = {**group.attrs["synkern"], "format": 1}
    for again in (lambda: PhiIDBlocks.open(out), lambda: synkern.phiid_blocks(x, out=out)):
        with pytest.raises(ValueError, match="has format 1, and this synkern knows 2; take the ve"):
            again()


def test_blocks_are_numbered_along_the_rows_of_a_triangle():
    grid = Grid(nodes=450, side=64)
    order = [(i, j) for i in range(8) for j in range(i, 8)]
    assert [grid.block(number) for number in range(grid.blocks)] == order
    assert [grid.number(i, j) for i, j in order] == list(range(grid.blocks))
    assert sum(map(grid.pairs, range(grid.blocks))) == 450 * 449 // 2


def test_blocks_are_as_large_as_memory_lets_them():
    few = side_for(10**5, samples=200, entries=16, memory=10**8, most=MOST["pairs"])
    assert few < MOST["pairs"]
    assert bytes_of(few, samples=200, entries=16) <= 10**8
    assert bytes_of(few + 64, samples=200, entries=16) > 0.9 * 10**8
    assert side_for(10**5, samples=200, entries=16, memory=10**9, most=2048) in range(1984, 2049)
    assert side_for(300, samples=200, entries=16, memory=10**9, most=2048) == 320


def test_a_store_tells_other_programs_what_its_axes_are(tmp_path):
    synkern.phiid_blocks(series(), out=tmp_path / "o", side=SIDE)
    said = json.loads((tmp_path / "o" / "sts" / "zarr.json").read_text())
    assert said["dimension_names"] == ["x", "y"]
    assert said["chunk_grid"]["configuration"]["chunk_shape"] == [SIDE, SIDE]


def test_rows_are_read_once_for_all_their_blocks(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", series(nodes=200))
    read, seen = Columns.read, []

    def counted(self, nodes, *trials):
        seen.append((nodes.start, nodes.stop))
        return read(self, nodes, *trials)

    monkeypatch.setattr(Columns, "read", counted)
    for _ in range(2):  # another call reads anew: the file may be another one by then
        seen.clear()
        synkern.phiid_blocks(tmp_path / "x.npy", out=None, side=SIDE)
        rows = [(0, 64), (64, 128), (128, 192), (192, 200)]
        # Of the first all of them are columns too, of the last none.
        assert seen == [(0, 200), *rows, *rows[1:], *rows[2:], *rows[3:]]


def test_blocks_where_a_device_has_them(monkeypatch):
    """Tensors of torch stand in for arrays of a GPU: rows stay there, columns come beside."""
    torch = pytest.importorskip("torch")
    moved = []

    def there(values, backend):
        moved.append(values.shape[-1])
        return torch.from_numpy(np.ascontiguousarray(values))

    monkeypatch.setattr("synkern.scale.task._on_device", there)
    x = series(nodes=150)
    big = synkern.phiid_blocks(x, out=None, side=SIDE, backend="torch")
    assert moved == [64, 64, 22, 64, 22, 22]
    for name, atom in synkern.phiid(x, backend="torch").items():
        np.testing.assert_allclose(np.asarray(big[name]), atom, rtol=0, atol=1e-12)
