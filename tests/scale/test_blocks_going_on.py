"""Runs that are stopped, killed or in each other's way, and what is left of them."""

import contextlib
import errno
import os
import pickle
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import synkern
from support.blocks import SIDE, files, series
from synkern.scale import BlocksError, PhiIDBlocks, StoreInUseError, run, task
from synkern.scale.columns import Columns, given
from synkern.scale.store import Layout, kept_meta

zarr = pytest.importorskip("zarr")

ROOT = Path(__file__).parents[2]

RUN = """
import sys, time
import numpy as np
import synkern
out, path, pause = sys.argv[1:]
def tell(progress):
    print(progress.done, flush=True)
    time.sleep(float(pause))
synkern.phiid_blocks(path, out=out, side=64, progress=tell)
"""


class StoppedError(Exception):
    """By the user."""


@pytest.fixture(scope="module")
def x():
    return series()


@pytest.fixture(scope="module")
def whole(x, tmp_path_factory):
    """The files of a store that was made at one go."""
    out = tmp_path_factory.mktemp("whole") / "o"
    synkern.phiid_blocks(x, out=out, side=SIDE)
    return files(out)


def stopping(after):
    def tell(progress):
        if progress.done == after:
            raise StoppedError

    return tell


@pytest.mark.parametrize("keep", ["pairs", "node_means"])
def test_a_run_that_was_stopped_goes_on_and_ends_the_same(tmp_path, x, keep):
    out, options = tmp_path / "o", {"side": SIDE, "keep": keep}
    synkern.phiid_blocks(x, out=tmp_path / "whole", **options)
    with pytest.raises(StoppedError):
        synkern.phiid_blocks(x, out=out, progress=stopping(3), **options)
    part = PhiIDBlocks.open(out)
    assert 3 <= part.done < part.blocks == 10
    assert not part.complete
    assert f"{part.done} of 10 blocks" in repr(part)
    if keep == "pairs":
        assert np.isnan(part["sts"][150:, 150:]).all()
        assert np.isfinite(part["sts"][:60, 70:120]).all()
    with pytest.raises(BlocksError, match="node_means is of all blocks, and"):
        part.node_means()
    seen = []
    # The side is that of the store.
    synkern.phiid_blocks(x, out=out, keep=keep, progress=seen.append)
    assert seen[0].done == part.done + 1
    assert len(seen) == 10 - part.done
    assert files(out) == files(tmp_path / "whole")
    synkern.phiid_blocks(x, out=out, progress=stopping(1), **options)  # nothing is left to do


def test_who_computes_and_in_which_order_changes_no_bit(tmp_path, x, whole):
    with ThreadPoolExecutor(3) as threads:
        synkern.phiid_blocks(x, out=tmp_path / "o", side=SIDE, executor=threads)
        means = synkern.phiid_blocks(
            x, out=tmp_path / "m", side=SIDE, executor=threads, keep="node_means"
        )
    found = files(tmp_path / "o")
    assert {name for name in found if name not in whole} == {
        "series/zarr.json",
        *(f"series/c/0/0/{k}" for k in range(4)),  # Of its nodes, a block reads no others.
    }
    assert {name: found[name] for name in whole} == whole
    here = synkern.phiid_blocks(x, out=None, side=SIDE, keep="node_means")
    for name, value in here.node_means().items():
        np.testing.assert_array_equal(means.node_means()[name], value)
    with ThreadPoolExecutor(1) as threads, pytest.raises(ValueError, match="out = None is in the"):
        synkern.phiid_blocks(x, out=None, executor=threads)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tau": 2}, "tau is 1 there and 2 here"),
        ({"dtype": "float32"}, "dtype is 'float64' there and 'float32' here"),
        ({"side": 128}, "side is 64 there and 128 here"),
        ({"keep": "node_means"}, "keep is 'pairs' there and 'node_means' here"),
        ({"mask": np.arange(40) > 3}, "mask is None there and"),
        ({"backend": "numpy"}, "backend is 'cpu' there and 'numpy' here"),
    ],
)
def test_other_options_are_refused(tmp_path, x, options, said):
    synkern.phiid_blocks(x, out=tmp_path / "o", side=SIDE, backend="cpu")
    before = files(tmp_path / "o")
    with pytest.raises(ValueError, match=f"a store of another call: .*{said}.*; name another"):
        synkern.phiid_blocks(x, out=tmp_path / "o", **{"backend": "cpu", **options})
    assert files(tmp_path / "o") == before


def test_other_options_are_refused_before_the_series_is_read(tmp_path, x, monkeypatch):
    synkern.phiid_blocks(x, out=tmp_path / "o", side=SIDE)
    monkeypatch.setattr(Columns, "read", None)
    with pytest.raises(ValueError, match="tau is 1 there and 2 here"):
        synkern.phiid_blocks(x, out=tmp_path / "o", tau=2)


def test_another_series_is_refused(tmp_path, x):
    with pytest.raises(StoppedError):
        synkern.phiid_blocks(x, out=tmp_path / "o", side=SIDE, progress=stopping(3))
    other = x.copy()
    other[1, 39, 199] += 1e-12
    with pytest.raises(ValueError, match="a store of another call: series is '"):
        synkern.phiid_blocks(other, out=tmp_path / "o")
    with (
        ThreadPoolExecutor(1) as threads,
        pytest.raises(ValueError, match="a store of another call: series is '"),
    ):
        synkern.phiid_blocks(other, out=tmp_path / "o", executor=threads)
    assert not (tmp_path / "o" / "series").exists()
    with ThreadPoolExecutor(1) as threads:  # Not with the copy of the other.
        big = synkern.phiid_blocks(x, out=tmp_path / "o", executor=threads)
    np.testing.assert_array_equal(np.asarray(big["sts"]), synkern.phiid(x)["sts"])


def test_a_file_that_is_written_to_meanwhile_ends_the_run(tmp_path, x):
    path = tmp_path / "x.npy"
    np.save(path, x)

    def overwritten(progress):
        if progress.done == 3:
            np.save(path, x + 1)

    with pytest.raises(BlocksError, match="was written to while blocks of it were computed"):
        synkern.phiid_blocks(path, out=tmp_path / "o", side=SIDE, progress=overwritten)
    assert not PhiIDBlocks.open(tmp_path / "o").complete
    with pytest.raises(ValueError, match="a store of another call: series is '"):
        synkern.phiid_blocks(path, out=tmp_path / "o")
    np.save(path, x)  # as it was
    big = synkern.phiid_blocks(path, out=tmp_path / "o")
    np.testing.assert_array_equal(np.asarray(big["sts"]), synkern.phiid(x)["sts"])


LAYOUTS = {
    "by nodes": {"chunks": (2, 30, 8)},
    "old format": {"chunks": (3, 60, 8), "zarr_format": 2},
    "shards": {"chunks": (1, 30, 2), "shards": (1, 60, 8)},
}


@pytest.mark.parametrize("opened", [False, True], ids=["path", "array"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_chunks_that_are_written_to_meanwhile_end_the_run(tmp_path, x, layout, opened):
    zarr = pytest.importorskip("zarr")
    stored = zarr.create_array(tmp_path / "x.zarr", shape=x.shape, dtype=x.dtype, **layout)
    stored[:] = x
    either = stored if opened else tmp_path / "x.zarr"

    def one_number(progress):
        if progress.done == 3:
            stored[0, 0, -1] += 1

    with pytest.raises(BlocksError, match=r"x\.zarr.*' was written to while blocks of it were"):
        synkern.phiid_blocks(either, out=tmp_path / "o", side=SIDE, progress=one_number)
    assert not PhiIDBlocks.open(tmp_path / "o").complete
    with pytest.raises(ValueError, match="a store of another call: series is '"):
        synkern.phiid_blocks(either, out=tmp_path / "o")
    stored[:] = x  # as it was
    big = synkern.phiid_blocks(either, out=tmp_path / "o")
    np.testing.assert_array_equal(np.asarray(big["sts"]), synkern.phiid(x)["sts"])


@pytest.mark.parametrize("way", ["zeros", "removed", "an older file", "other chunks"])
def test_every_way_to_change_a_chunk_is_noticed(tmp_path, x, way):
    zarr = pytest.importorskip("zarr")
    path, older = tmp_path / "x.zarr", tmp_path / "older"
    stored = zarr.create_array(path, data=x, chunks=(2, 40, 8))
    zarr.create_array(older, data=x + 1, chunks=(2, 40, 8))
    place = f"c/0/0/{x.shape[-1] // 8 - 1}"
    os.utime(older / place, (0, 0))
    os.utime(path / "zarr.json", (2**32, 2**32))  # a clock that was wrong

    def changed(progress):
        if progress.done != 3:
            return
        if way == "zeros":
            stored[..., -8:] = 0
        elif way == "removed":
            (path / place).unlink()
        elif way == "an older file":
            (older / place).replace(path / place)
        else:
            zarr.create_array(path, data=x + 1, chunks=(2, 40, 16), overwrite=True)

    with pytest.raises(BlocksError, match=r"x\.zarr.*' was written to while blocks of it were"):
        synkern.phiid_blocks(path, out=tmp_path / "o", side=SIDE, progress=changed)
    assert not PhiIDBlocks.open(tmp_path / "o").complete


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
def test_chunks_may_be_links_and_may_be_missing(tmp_path, x):
    zarr = pytest.importorskip("zarr")
    x = x.copy()
    x[..., 8:16] = 0  # zarr stores no such chunk
    zarr.create_array(tmp_path / "x.zarr", data=x, chunks=(2, 40, 8))
    (tmp_path / "x.zarr" / "c").rename(tmp_path / "another disk")
    (tmp_path / "x.zarr" / "c").symlink_to(tmp_path / "another disk")
    big = synkern.phiid_blocks(tmp_path / "x.zarr", out=tmp_path / "o", side=SIDE)
    np.testing.assert_array_equal(np.asarray(big["sts"]), synkern.phiid(x)["sts"])


def test_the_order_of_bytes_makes_no_other_series(tmp_path, x):
    zarr = pytest.importorskip("zarr")
    synkern.phiid_blocks(x, out=tmp_path / "o")
    swapped = x.astype(">f8")
    zarr.create_array(tmp_path / "x.zarr", data=swapped)
    np.save(tmp_path / "x.npy", swapped)
    for stored in (tmp_path / "x.zarr", tmp_path / "x.npy", swapped):
        big = synkern.phiid_blocks(stored, out=tmp_path / "o")  # of the same call
        np.testing.assert_array_equal(np.asarray(big["sts"]), synkern.phiid(x)["sts"])


def test_an_executor_that_is_shut_down_takes_nothing(tmp_path, x):
    with ThreadPoolExecutor(1) as threads:
        pass
    with pytest.raises(BlocksError, match=r"the executor takes no more work \(cannot schedule"):
        synkern.phiid_blocks(x, out=tmp_path / "o", executor=threads)
    big = synkern.phiid_blocks(x, out=tmp_path / "o")
    np.testing.assert_array_equal(np.asarray(big["sts"]), synkern.phiid(x)["sts"])


def test_an_executor_that_is_shut_down_meanwhile_ends_the_run(tmp_path, x):
    threads = ThreadPoolExecutor(2)

    def shut_down(progress):
        if progress.done == 2:
            threads.shutdown(wait=False, cancel_futures=True)

    with pytest.raises(BlocksError, match="the executor takes no more work"):
        synkern.phiid_blocks(x, out=tmp_path / "o", side=SIDE, executor=threads, progress=shut_down)
    big = synkern.phiid_blocks(x, out=tmp_path / "o")
    np.testing.assert_array_equal(np.asarray(big["sts"]), synkern.phiid(x)["sts"])


def test_two_runs_do_not_write_into_one_store(tmp_path, x):
    out = tmp_path / "o"

    def tell(progress):
        with pytest.raises(StoreInUseError, match=rf"process {os.getpid()} on .*; wait for it"):
            synkern.phiid_blocks(x, out=out)

    synkern.phiid_blocks(x, out=out, side=128, progress=tell)
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


def test_what_is_there_already_is_not_touched(tmp_path, x):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "letter").write_text("dear")
    with pytest.raises(FileExistsError, match="phiid_blocks has not made; name another folder"):
        synkern.phiid_blocks(x, out=tmp_path / "o")
    zarr.create_array(tmp_path / "z", shape=(3,), dtype="f8")
    with pytest.raises(FileExistsError, match="phiid_blocks has not made"):
        synkern.phiid_blocks(x, out=tmp_path / "z")
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["letter"]
    with pytest.raises(FileNotFoundError, match="the folder that it is to be in is not there"):
        synkern.phiid_blocks(x, out=tmp_path / "nowhere" / "o")


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor], ids=["here", "threads"])
def test_a_full_disk_leaves_what_is_finished(tmp_path, x, whole, monkeypatch, executor):
    left = [17]
    written = zarr.Array.__setitem__

    def full(self, *args):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(self, *args)

    out = tmp_path / "o"
    with monkeypatch.context() as patched, opened(executor) as threads:
        patched.setattr(zarr.Array, "__setitem__", full)
        with pytest.raises(BlocksError, match="the disk is full; all blocks .* make room and st"):
            synkern.phiid_blocks(x, out=out, side=SIDE, executor=threads)
    assert 3 <= PhiIDBlocks.open(out).done <= 5
    synkern.phiid_blocks(x, out=out)
    found = files(out)
    assert {name: found[name] for name in whole} == whole


def opened(executor):
    return contextlib.nullcontext() if executor is None else executor(2)


def test_a_store_that_is_lost_is_not_made_again(tmp_path, x):
    out = tmp_path / "o"

    def lose(progress):
        if progress.done == 2:
            shutil.rmtree(out)

    with pytest.raises(BlocksError, match="the store is lost: it was removed, replaced"):
        synkern.phiid_blocks(x, out=out, side=SIDE, progress=lose)


@pytest.mark.parametrize("keep", ["pairs", "node_means"])
@pytest.mark.parametrize("average", ["trials", None])
def test_the_files_of_a_block_are_known(tmp_path, x, keep, average):
    x = x.copy()
    x[:, :, 64:128] = 1.0  # A block of these has no number in it, and is written as others are.
    with pytest.warns(UserWarning, match="degenerate"):
        synkern.phiid_blocks(x, out=tmp_path / "o", side=SIDE, keep=keep, average=average)
    known = kept_meta(str(tmp_path / "o"))
    layout = Layout.of(known["ingredients"])
    sizes = dict(file for number in range(layout.grid.blocks) for file in layout.files(number))
    found = {name: len(data) for name, data in files(tmp_path / "o").items() if "/c/" in name}
    assert sizes == found


@pytest.mark.parametrize("lost", ["tally/c/3/0", "sts/c/0/3", "rtr/c/1/3", "constant/c/0/3"])
@pytest.mark.parametrize("left", [None, 0, 10])
def test_a_block_whose_files_were_lost_is_computed_again(tmp_path, x, whole, lost, left):
    """As they are where power fails before the disk has written them."""
    out = tmp_path / "o"
    synkern.phiid_blocks(x, out=out, side=SIDE)
    data = (out / lost).read_bytes()
    (out / lost).unlink()
    if left is not None:
        (out / lost).write_bytes(data[:left])
    part = PhiIDBlocks.open(out)
    assert (part.done, part.complete) == (9, False)
    with pytest.raises(BlocksError, match="9 of 10 are finished"):
        part.node_means()
    synkern.phiid_blocks(x, out=out)
    assert files(out) == whole


def test_a_series_that_is_lost_is_not_taken_for_zeros(tmp_path, x):
    """Which is what zarr reads where it finds no chunk."""
    chunks = {"shape": x.shape, "chunks": (2, 40, SIDE), "dtype": x.dtype}
    zarr.create_array(tmp_path / "x.zarr", **chunks)[:] = x
    out = tmp_path / "o"

    def lose(progress):
        if progress.done == 1:
            shutil.move(tmp_path / "x.zarr", tmp_path / "elsewhere")

    with pytest.raises(BlocksError, match=r"the series cannot be read where block \d is computed"):
        synkern.phiid_blocks(tmp_path / "x.zarr", out=out, side=SIDE, progress=lose)
    assert PhiIDBlocks.open(out).done < 10
    shutil.move(tmp_path / "elsewhere", tmp_path / "x.zarr")
    assert synkern.phiid_blocks(tmp_path / "x.zarr", out=out).degenerate["constant"] == 0


def test_a_file_is_opened_by_who_reads_it(tmp_path, x):
    """A scheduler, which unpickles what it hands on, need not have it."""
    np.save(tmp_path / "x.npy", x)
    kept = pickle.dumps(given(tmp_path / "x.npy", None, None, None).columns)
    np.testing.assert_array_equal(pickle.loads(kept).read(slice(3, 5)), x[..., 3:5])
    (tmp_path / "x.npy").unlink()
    columns = pickle.loads(kept)
    with pytest.raises(FileNotFoundError):
        columns.read(slice(3, 5))


def test_too_little_memory_for_a_block_is_said(tmp_path, x, monkeypatch):
    def refuse(*args, **options):
        raise MemoryError("9 GB")

    monkeypatch.setattr(task, "decompose_block", refuse)
    with pytest.raises(BlocksError, match=r"block 0 has not enough memory \(9 GB\); give a sma"):
        synkern.phiid_blocks(x, out=tmp_path / "o", side=SIDE)


def killed(out, path, pause, after):
    """Start a run, and kill it when it has said so many blocks, or after so many seconds."""
    command = [sys.executable, "-c", RUN, str(out), str(path), str(pause)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        if isinstance(after, int):
            for _ in range(after):
                process.stdout.readline()
        else:
            process.stdout.readline()
            time.sleep(after)
        process.kill()


def ended_the_same(out, path, whole):
    synkern.phiid_blocks(path, out=out)
    assert files(out) == whole
    assert [each.name for each in out.parent.iterdir() if each.name.endswith(".lock")] == []


def test_a_run_that_was_killed_goes_on_and_ends_the_same(tmp_path, x, whole):
    np.save(tmp_path / "x.npy", x)
    killed(tmp_path / "o", tmp_path / "x.npy", 0.05, 3)
    assert (tmp_path / ".o.lock").exists()
    # What a process leaves that is killed while it writes.
    (tmp_path / "o" / "sts" / "c" / "0").mkdir(parents=True, exist_ok=True)
    (tmp_path / "o" / "sts" / "c" / "0" / "1.0123.partial").write_bytes(b"half")
    assert 3 <= PhiIDBlocks.open(tmp_path / "o").done < 10
    ended_the_same(tmp_path / "o", tmp_path / "x.npy", whole)


@pytest.mark.parametrize("stage", ["empty", "begun", "arrays"])
def test_a_run_that_was_killed_at_its_start_goes_on(tmp_path, x, whole, stage, monkeypatch):
    def stop(*args):
        raise StoppedError

    out = tmp_path / "o"
    if stage == "empty":
        out.mkdir()
    else:
        name = {"begun": "taken_in", "arrays": "tally"}[stage]
        monkeypatch.setattr(run, name, stop)
        with pytest.raises(StoppedError):
            synkern.phiid_blocks(x, out=out, side=SIDE)
        monkeypatch.undo()
    if stage == "begun":
        with pytest.raises(FileNotFoundError, match="ended before it had read the series"):
            PhiIDBlocks.open(out)
    synkern.phiid_blocks(x, out=out, side=SIDE)
    assert files(out) == whole


@pytest.mark.proof
def test_ten_kills_at_random_moments_change_no_bit(tmp_path):
    x = series(nodes=64 * 25)
    np.save(tmp_path / "x.npy", x)
    synkern.phiid_blocks(x, out=tmp_path / "whole", side=SIDE)
    for moment in np.random.default_rng().uniform(0, 0.3, 10):
        killed(tmp_path / "o", tmp_path / "x.npy", 0.02, float(moment))
        part = PhiIDBlocks.open(tmp_path / "o")
        print(f"killed {moment:.3f} s after a block: {part.done} of {part.blocks}")
        assert 1 <= part.done < part.blocks
    ended_the_same(tmp_path / "o", tmp_path / "x.npy", files(tmp_path / "whole"))
