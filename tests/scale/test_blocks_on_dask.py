"""Blocks on workers of dask, which are killed, and so is their scheduler."""

import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import synkern
from support.blocks import SIDE, files, series
from synkern.scale import BlocksError, PhiIDBlocks, executors

pytest.importorskip("zarr")
distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")


@contextmanager
def workers(number, processes=True, timeout=60):
    """A cluster of this machine, and its client."""
    with (
        distributed.LocalCluster(
            n_workers=number,
            threads_per_worker=1,
            processes=processes,
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster, timeout=timeout) as client,
    ):
        yield cluster, client


def killing(cluster, kills, every):
    """Kill a worker after every so many blocks, a few times; who was killed is listed."""
    killed = []

    def tell(progress):
        if progress.done % every == 1 and len(killed) < kills:
            running = [
                nanny.process.process.pid
                for nanny in cluster.workers.values()
                if nanny.process is not None and nanny.process.is_alive()
            ]
            if running:
                killed.append(random.choice(running))
                os.kill(killed[-1], signal.SIGKILL)

    return tell, killed


def the_same(out, tmp_path, x):
    """Whether a store has the files of one made here, but for the copy of the series."""
    synkern.phiid_blocks(x, out=tmp_path / "here", side=SIDE)
    found, whole = files(out), files(tmp_path / "here")
    return {name: found[name] for name in whole} == whole


def test_a_worker_that_is_killed_loses_nothing(tmp_path):
    x = series()
    out = tmp_path / "o"
    with workers(2) as (cluster, client):
        tell, killed = killing(cluster, kills=1, every=3)
        synkern.phiid_blocks(x, out=out, side=SIDE, executor=client, progress=tell)
    assert len(killed) == 1
    assert the_same(out, tmp_path, x)


@pytest.mark.proof
def test_ten_workers_that_are_killed_lose_nothing(tmp_path):
    x = series(nodes=64 * 20)
    out = tmp_path / "o"
    with workers(2) as (cluster, client):
        tell, killed = killing(cluster, kills=10, every=15)
        synkern.phiid_blocks(x, out=out, side=SIDE, executor=client, progress=tell)
    assert len(killed) == 10
    assert the_same(out, tmp_path, x)


def test_a_scheduler_that_is_lost_ends_the_run_and_another_goes_on(tmp_path):
    x = series()
    np.save(tmp_path / "x.npy", x)
    out = tmp_path / "o"
    brief = dask.config.set({"distributed.comm.timeouts.connect": "2s"})
    with brief, workers(1, processes=False, timeout=5) as (cluster, client):

        def close(progress):
            if progress.done == 2:
                cluster.loop.add_callback(cluster.scheduler.close)

        with pytest.raises(BlocksError, match=r"(?s)the scheduler of dask is lost .*new client"):
            synkern.phiid_blocks(
                tmp_path / "x.npy", out=out, side=SIDE, executor=client, progress=close
            )
    assert 2 <= PhiIDBlocks.open(out).done < 10
    assert not (out / "series").exists()
    with workers(1, processes=False) as (_, client):
        synkern.phiid_blocks(tmp_path / "x.npy", out=out, executor=client)
    assert the_same(out, tmp_path, x)


@pytest.mark.proof
def test_a_scheduler_that_is_killed_ends_the_run(tmp_path):
    x = series(nodes=64 * 10)
    out = tmp_path / "o"
    address = "tcp://127.0.0.1:28786"
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    start += ["--host", "tcp://127.0.0.1:28786"]
    work = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    with (
        subprocess.Popen(start, stderr=subprocess.DEVNULL) as scheduler,
        subprocess.Popen([*work, "--no-dashboard"], stderr=subprocess.DEVNULL) as worker,
        distributed.Client(address, timeout=120) as client,
    ):

        def kill(progress):
            if progress.done == 5:
                scheduler.kill()

        try:
            with pytest.raises(BlocksError, match="the scheduler of dask is lost"):
                synkern.phiid_blocks(x, out=out, side=SIDE, executor=client, progress=kill)
        finally:
            scheduler.kill()
            worker.kill()
    assert 5 <= PhiIDBlocks.open(out).done < 55
    synkern.phiid_blocks(x, out=out)
    assert the_same(out, tmp_path, x)


def test_a_failing_disk_is_told_of_by_the_worker(tmp_path):
    out = tmp_path / "o"

    def take_away(progress):
        if progress.done == 1:
            out.rename(tmp_path / "elsewhere")

    with workers(1, processes=False) as (_, client), pytest.raises(BlocksError, match="is lost"):
        synkern.phiid_blocks(series(), out=out, side=SIDE, executor=client, progress=take_away)


def test_two_stores_of_one_call_are_both_written(tmp_path):
    """What is computed for one store is not taken for what the other waits for."""
    x = series()
    with workers(1, processes=False) as (_, client):

        def another(progress):
            if progress.done == 1:
                synkern.phiid_blocks(x, out=tmp_path / "second", side=SIDE, executor=client)

        options = {"side": SIDE, "executor": client}
        synkern.phiid_blocks(x, out=tmp_path / "first", progress=another, **options)
    assert files(tmp_path / "first") == files(tmp_path / "second")
    assert PhiIDBlocks.open(tmp_path / "second").complete


def test_workers_that_come_later_have_work(tmp_path, monkeypatch):
    """As those of a queue do: blocks in flight are two for each thread that is there by then."""
    monkeypatch.setattr(executors, "_LOOK", 0)
    x, submitted, flying = series(nodes=64 * 8), [], []
    with workers(1, processes=False) as (cluster, client):
        submit = client.submit

        def counted(*args, **options):
            submitted.append(args[-1])
            return submit(*args, **options)

        def tell(progress):
            flying.append(len(submitted) - progress.done)
            if progress.done == 1:
                cluster.scale(3)
                client.wait_for_workers(3)

        monkeypatch.setattr(client, "submit", counted)
        synkern.phiid_blocks(x, out=tmp_path / "o", side=SIDE, executor=client, progress=tell)
    assert flying[0] == 1
    assert max(flying) == 5
    assert sorted(submitted) == list(range(36))


def test_a_client_that_is_closed_is_refused_before_anything_is_made(tmp_path):
    with workers(1, processes=False) as (_, client):
        pass
    with pytest.raises(ValueError, match="a client of dask that is closed"):
        synkern.phiid_blocks(series(), out=tmp_path / "o", executor=client)
    assert list(tmp_path.iterdir()) == []
