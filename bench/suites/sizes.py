"""Time of a pair against the number of nodes, of one trial and of many, beside writing outputs.

Sizes are close where caches make trouble: powers of two, whose columns all fall into a few sets,
and what lies next to them. Every size has a process of its own. A time stands only beside a check
that passed (`bench.harness.gate`); what was not measured has a row that says why.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import shapes
from bench.cases.shapes import SEEDS, Shape
from bench.cases.workloads import BY_NAME, Workload
from bench.harness import gate
from bench.suites.scaling import MEMORY_SHARE, memory

ROOT = Path(__file__).resolve().parents[2]

WORKS = ("MMI rtr+sts", "MMI 16 atoms")
NEIGHBOURS = {1024: (1000, 1048), 2048: (2000, 2096), 4096: (4000,)}
"""Sizes that caches may make slow, and what they are compared with."""

SIZES = tuple(
    sorted(
        {64, 96, 128, 192, 256, 270, 384, 512, 640, 768, 1152, 1536, 1664, 3072}
        | set(NEIGHBOURS)
        | {near for each in NEIGHBOURS.values() for near in each}
    )
)
BY_TRIALS = (270, 1152, 1664)
"""Sizes, of real models, whose cost is measured for more numbers of trials than the ends."""

MOST = 60
QUICK = {"sizes": (64, 270, 1000, 1024, 1048), "most": 16, "rounds": 2}
"""Arguments of `measure` for half a minute: a look, no result."""

_SHORTEST = 0.02
"""Seconds of a round, which has as many calls as that takes."""

_WORTH_THREADS = 1 << 19
"""Numbers to write from which threads are faster than one."""

Row = dict[str, Any]


def trials_of(nodes: int, most: int) -> tuple[int, ...]:
    """Numbers of trials that are measured of a size, up to the most."""
    return tuple(sorted({1, most} | {t for t in (4, 16) if t < most and nodes in BY_TRIALS}))


def measure(
    say: Callable[[str], None],
    sizes: Sequence[int] = SIZES,
    most: int = MOST,
    rounds: int = 5,
    limit: float = 480,
) -> list[Row]:
    """Rows of all sizes, the smallest first.

    Args:
        say: takes lines of progress.
        sizes: numbers of nodes.
        most: trials, the larger number; fewer where memory does not suffice, as the row then says.
        rounds: of each row, at most; three where they take seconds.
        limit: seconds for all of it: what would not end in time is left out, and says so.

    Returns:
        Each with "work", "nodes", "trials", and "seconds" (of a call, by round), "write" (the same,
        of writing its outputs once), "error" and "tolerance" of the check, or "absent", why not.

    Raises:
        RuntimeError: a process failed.
    """
    start, rows, last = time.monotonic(), [], (0.0, 1)
    for nodes in sorted(sizes):
        left = limit - (time.monotonic() - start)
        began, expected = time.monotonic(), last[0] * (nodes / last[1]) ** 2
        rows += _of_size(nodes, most, rounds, left if expected <= left else 0)
        last = (time.monotonic() - began, nodes)
        of = [row for row in rows if row["nodes"] == nodes]
        say(f"{nodes:,} nodes: " + "; ".join(map(said, of)))
    return rows


def said(row: Row) -> str:
    """A row in words."""
    head = f"{row['work']} of {row['trials']}"
    return f"{head} {row['absent'] if 'absent' in row else f'{1e9 * each(row):.1f} ns'}"


def each(row: Row, what: str = "seconds") -> float:
    """Seconds of a (trial, pair), of a row that was measured."""
    pairs = row["nodes"] * (row["nodes"] - 1) / 2
    return float(np.median(row[what])) / (row["trials"] * pairs)


def _of_size(nodes: int, most: int, rounds: int, seconds: float) -> list[Row]:
    """Rows of a size, by a process of its own."""
    line = [sys.executable, "-m", "bench.suites.sizes"]
    line += [f"--{k}={v}" for k, v in (("nodes", nodes), ("most", most), ("rounds", rounds))]
    found: list[Row] = []
    if seconds > 0:
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as p:
            failed = 0
            try:
                written, errors = p.communicate(timeout=seconds)
                failed = p.returncode
            except subprocess.TimeoutExpired:
                p.kill()
                written, errors = p.communicate()
        if failed:
            raise RuntimeError(f"{nodes} nodes: {errors.decode().strip().splitlines()[-1:]}")
        found = [json.loads(text) for text in written.decode().splitlines() if text.endswith("}")]
    done = {(row["work"], row["asked"]) for row in found}
    return found + [
        {"work": work, "nodes": nodes, "trials": t, "asked": t, "absent": "no time was left"}
        for t in trials_of(nodes, most)
        for work in WORKS
        if (work, t) not in done
    ]


# ---- In the process of a size --------------------------------------------------------------------


def rows_of(nodes: int, most: int, rounds: int) -> Iterator[Row]:
    """Rows of a size, each when it is known."""
    fitting = {asked: _fitting(nodes, asked) for asked in trials_of(nodes, most)}
    shape = Shape(f"{nodes} nodes", nodes, trials=max(1, *fitting.values()))
    series = shapes.series(shape, SEEDS[0])
    for asked, trials in fitting.items():
        for work in WORKS:
            row: Row = {"work": work, "nodes": nodes, "trials": trials or asked, "asked": asked}
            if trials == 0:
                yield row | {"absent": "no memory for it"}
            else:
                yield row | _measured(BY_NAME[work], series, trials, rounds)


def _fitting(nodes: int, trials: int) -> int:
    """How many of these trials memory suffices for, with all atoms; 0: not even for one."""
    available = memory("MemAvailable", "/proc/meminfo")
    if available is None:
        return trials
    outputs = 2 * len(BY_NAME[WORKS[-1]].atoms) * 8 * nodes**2
    # Series twice, and the three numbers for each of its values that the kernel makes of it.
    return int(np.clip((MEMORY_SHARE * available - outputs) / (5 * 8 * 100 * nodes), 0, trials))


def _measured(workload: Workload, series: np.ndarray, trials: int, rounds: int) -> Row:
    def given(turn: int) -> np.ndarray:
        """Other trials each time, as far as there are any."""
        start = turn * trials % (len(series) - trials + 1)
        return series[start : start + trials]

    def call(turn: int) -> Any:
        return workload.decompose(given(turn), tau=shapes.TAU, backend="cpu")

    try:
        output = call(0)  # Load, start threads, get memory.
    except MemoryError as error:
        return {"absent": str(error)}
    check = gate.check(workload, "float64", given(0), {a: output[a] for a in workload.atoms})
    if not check.passed:
        return {"absent": f"refused: off by {check.error:.1e}, allowed are {check.tolerance:.0e}"}
    del output
    nodes = series.shape[-1]
    taken = _rounds(call, rounds)
    threads = _threads()
    with ThreadPoolExecutor(threads) as pool:
        write = _rounds(lambda _: written(pool, threads, len(workload.atoms), nodes), rounds)
    return {"seconds": taken, "write": write, "error": check.error, "tolerance": check.tolerance}


def _rounds(call: Callable[[int], Any], rounds: int) -> list[float]:
    """Seconds of a call, by round; no more than three rounds of what takes more than 2 s."""
    taken: list[float] = []
    calls = turn = 1
    while len(taken) < rounds and not (len(taken) >= 3 and sum(taken) > 6):
        start = time.perf_counter()
        for _ in range(calls):
            call(turn)
            turn += 1
        taken.append((time.perf_counter() - start) / calls)
        if len(taken) == 1 and calls == 1 and taken[0] < _SHORTEST:
            calls = math.ceil(_SHORTEST / taken.pop())
    return taken


def written(pool: ThreadPoolExecutor, threads: int, names: int, nodes: int) -> list[np.ndarray]:
    """New matrices with a number in every entry; rows of large ones are shared out to threads."""
    matrices = [np.empty((nodes, nodes)) for _ in range(names)]
    threads = 1 if names * nodes**2 < _WORTH_THREADS else threads
    bounds = [nodes * k // threads for k in range(threads + 1)]

    def fill(k: int) -> None:
        for matrix in matrices:
            matrix[bounds[k] : bounds[k + 1]] = 1.0

    if threads == 1:
        fill(0)
    else:
        list(pool.map(fill, range(threads)))
    return matrices


def _threads() -> int:
    """As many as the kernel takes."""
    from synkern.kernels.cpu_backend.threads import threads  # noqa: PLC0415

    return threads()


def main() -> None:
    """Print the rows of a size as JSON, each when it is known; see `measure`."""
    parser = argparse.ArgumentParser()
    for name in ("nodes", "most", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for row in rows_of(options.nodes, options.most, options.rounds):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
