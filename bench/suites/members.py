"""Nodes of several columns: time of a call by backend and redundancy, and by size of the nodes.

`python -m bench.suites.members`: wall clock of the fastest of five calls, series to result, and the
processor time that all threads of it took together. Of every shape the result is compared with the
reference on one pair first; a wrong one has no time.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from collections.abc import Sequence

import numpy as np

import synkern
from synkern.decomposition import phiid_pair

SHAPES = ((30, 9), (30, 3), (30, 1), (100, 3), (10, 20))
"""Nodes, and columns of each."""


def series_of(trials: int, samples: int, nodes: int, width: int) -> np.ndarray:
    """(trials, time, columns) processes that persist."""
    series = np.random.default_rng(0).standard_normal((trials, samples, nodes * width))
    for t in range(1, samples):
        series[:, t] += 0.6 * series[:, t - 1]
    return series


def measured(
    series: np.ndarray, width: int, redundancy: str, backend: str, calls: int
) -> tuple[float, float]:
    """Seconds of a call by the clock, and of all its threads.

    Raises:
        AssertionError: the result is not that of the reference.
    """
    members = np.arange(series.shape[-1]).reshape(-1, width)
    options = {"members": members, "redundancy": redundancy, "backend": backend}
    one = series[:1, :, : 2 * width]
    found = synkern.phiid(one, **options | {"members": members[:2]})["sts"][0, 1]
    pair = phiid_pair(one[0, :, :width], one[0, :, width:], 1, "gaussian", redundancy)
    assert abs(found - pair["sts"]) < 1e-9, (found, pair["sts"])
    times = []
    for _ in range(calls):
        before, processor = time.perf_counter(), time.process_time()
        synkern.phiid(series, **options)
        times.append((time.perf_counter() - before, time.process_time() - processor))
    return min(times)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.suites.members", description=__doc__)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--time", type=int, default=100)
    parser.add_argument("--calls", type=int, default=5)
    asked = parser.parse_args(arguments)
    backends = ["numpy", *["torch"] * (importlib.util.find_spec("torch") is not None)]
    print(f"{asked.trials} trials of {asked.time} samples; seconds by the clock, of all threads")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for nodes, width in SHAPES:
            series = series_of(asked.trials, asked.time, nodes, width)
            for redundancy in ("MMI", "CCS"):
                for backend in backends:
                    clock, all_ = measured(series, width, redundancy, backend, asked.calls)
                    said = f"{nodes} nodes of {width:2} columns, {redundancy}, {backend}"
                    print(f"{said:40} {clock:8.3f} {all_:8.3f}", flush=True)


if __name__ == "__main__":
    main()
