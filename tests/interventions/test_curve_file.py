"""Files of points: SIGKILL at any moment of many writes, with NumPy alone."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from synkern.interventions.curve_file import PointsFile, digest

RECORD = np.dtype([("kl", "<f4", 20_000), ("agreement", "?", 20_000)])
CALL = {"texts": "abc", "counts": [0, 1], "halves": None}


def values(number):
    found = np.zeros((), RECORD)
    found["kl"] = np.arange(20_000) * number
    found["agreement"] = np.arange(20_000) % (number + 2) == 0
    return found


WRITE = """
import sys
sys.path[:0] = ["tests/interventions"]
from test_curve_file import CALL, RECORD, PointsFile, values
with PointsFile(sys.argv[1], CALL, RECORD) as points:
    print(len(points.found), flush=True)
    for number in range(len(points.found), 10**6):
        points.add(number, values(number))
        print(number + 1, flush=True)
"""


def test_a_kill_at_any_moment_loses_no_more_than_the_point_in_work(tmp_path):
    file, random, written = tmp_path / "points", np.random.default_rng(0), 0
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(file)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert int(process.stdout.readline()) >= written
        process.stdout.readline()  # it writes
        time.sleep(0.02 * random.random())
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read().split()
        process.stdout.close()
        process.wait()
        written = int(said[-1]) if said else written
        with PointsFile(file, CALL, RECORD) as points:
            # One that was written whole may not have been told of.
            assert len(points.found) - written in (0, 1) or not said
            for number, found in points.found.items():
                np.testing.assert_array_equal(found["kl"], values(number)["kl"])
                np.testing.assert_array_equal(found["agreement"], values(number)["agreement"])
            written = len(points.found)
    assert written > 6


def test_a_file_without_a_name_keeps_nothing(tmp_path):
    with PointsFile(None, CALL, RECORD) as points:
        points.add(4, values(4))
        assert [*points.found] == [4]
    assert [*tmp_path.iterdir()] == []


def test_the_refusal_names_what_differs(tmp_path):
    file = tmp_path / "points"
    with PointsFile(file, CALL, RECORD):
        pass
    with PointsFile(file, {**CALL, "counts": (0, 1)}, RECORD) as points:
        assert points.found == {}
    other = {"texts": "x" * 99, "counts": [0, 1], "seed": 1}
    said = (
        f"holds points of another curve (texts: abc there, {'x' * 57}... here; seed: nothing "
        "there, 1 here)"
    )
    with pytest.raises(ValueError, match=re.escape(said)), PointsFile(file, other, RECORD):
        pass


def test_a_file_that_cannot_be_made_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(self, target):
        raise OSError("no room")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="no room"), PointsFile(tmp_path / "points", CALL, RECORD):
        pass
    assert [*tmp_path.iterdir()] == []


def test_digests_are_of_all_parts():
    assert digest([b"ab", b"c"]) == digest([b"abc"]) != digest([b"abd"])
    assert re.fullmatch("[0-9a-f]{16}", digest([]))
