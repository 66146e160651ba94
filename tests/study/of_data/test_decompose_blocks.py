"""`synkern decompose --blocks`: one file into a store."""

import csv
import importlib

import numpy as np
import pytest

import synkern
from support.blocks import files, series
from synkern.cli import main

pytest.importorskip("zarr")


def call(*arguments):
    try:
        return main([str(one) for one in ("decompose", *arguments, "--quiet")])
    except SystemExit as ended:
        return ended.code


def test_the_command_leaves_a_store_and_means_by_node(tmp_path, capsys):
    x = series(nodes=70)
    x[:, :, 9] = 1.0
    np.save(tmp_path / "x.npy", x)
    given = (tmp_path / "x.npy", "--blocks", "--out", tmp_path / "o", "--tau", "2")
    assert call(*given, "--plan") == 0
    assert "1 blocks of 128 nodes to a side" in capsys.readouterr().out
    assert not (tmp_path / "o").exists()
    with pytest.warns(UserWarning, match="degenerate"):
        assert call(*given) == 0
    assert "1 of 1 blocks of 128 nodes to a side done: 100 %" in capsys.readouterr().out
    with pytest.warns(UserWarning, match="degenerate"):
        small = synkern.phiid(x, tau=2)
    big = synkern.PhiIDBlocks.open(tmp_path / "o" / "blocks.zarr")
    np.testing.assert_array_equal(np.asarray(big["sts"]), small["sts"])
    with (tmp_path / "o" / "nodes.csv").open() as file:
        rows = list(csv.DictReader(file))
    means = big.node_means()
    assert list(rows[0]) == ["node", "rtr", "sts", "balance", "pairs"]
    assert [row["node"] for row in rows] == [str(node) for node in range(70)]
    np.testing.assert_array_equal([float(row["sts"] or "nan") for row in rows], means["sts"])
    np.testing.assert_array_equal([int(row["pairs"]) for row in rows], means.pairs)
    assert [row["balance"] for row in rows].count("") == 1  # of the node that does not vary
    # Another lag is another store.
    assert call(*given[:-1], "3") == 2
    assert "tau is 2 there and 3 here" in capsys.readouterr().err


def test_workers_of_a_scheduler_compute_them(tmp_path, capsys):
    distributed = pytest.importorskip("distributed")
    np.save(tmp_path / "x.npy", series(nodes=70))
    given = (tmp_path / "x.npy", "--blocks", "--out")
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        dashboard_address=None,
        silence_logs=50,
    ) as cluster:
        assert call(*given, tmp_path / "there", "--scheduler", cluster.scheduler_address) == 0
        done = [name for name in cluster.scheduler.task_prefixes if "synkern" in name]
    assert done
    assert call(*given, tmp_path / "here") == 0
    there, here = (files(tmp_path / where / "blocks.zarr") for where in ("there", "here"))
    assert there == here
    capsys.readouterr()
    # Nobody listens there, which dask would try for half a minute.
    with importlib.import_module("dask").config.set({"distributed.comm.timeouts.connect": "1s"}):
        assert call(*given, tmp_path / "o", "--scheduler", "tcp://127.0.0.1:9") == 2
    assert "scheduler = 'tcp://127.0.0.1:9' does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--blocks", "--null", "circular"), "null = 'circular' is not for blocks; leave it out"),
        (("--blocks", "--tau", "1", "2"), "blocks are of one file, of zarr or .npy, at one lag"),
        (("--scheduler", "tcp://a:1"), "scheduler = 'tcp://a:1' computes blocks; add blocks"),
    ],
)
def test_what_blocks_do_not_have_is_refused(tmp_path, capsys, options, said):
    np.save(tmp_path / "x.npy", series(nodes=70))
    assert call(tmp_path / "x.npy", "--out", tmp_path / "o", *options) == 2
    assert said in capsys.readouterr().err
