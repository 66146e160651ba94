"""Blocks: into a store and by node, against the arithmetic alone; processes; a model of the cost.

Each measure is a process of its own, whose memory is its largest. The model is

    seconds of a block = decompositions x nanoseconds of one + bytes read and written / bandwidth

and a run is as many rounds of blocks as workers need; its two rates are those of the first measure,
and it is held against the others. Rates of a GPU are those of results/h100.json; nothing has run on
one here.
"""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import synkern
from bench.harness.records import RESULTS
from synkern.scale.setting import setting
from synkern.scale.store import Place
from synkern.scale.task import Task, compute

MEASURES = (
    ("pairs", "pairs", "float64", 20_000),
    ("pairs of half the bytes", "pairs", "float32", 20_000),
    ("node_means", "node_means", "float64", 100_000),
)
"""Name, what is kept, type, nodes."""

WORKERS = (1, 8, 64)
LARGE = {"nodes": 442_000, "trials": 60, "time": 100, "side": 4096}
"""Neurons of a model of 8 billion parameters, prompts, tokens."""

STORAGE = 2e9
"""Bytes a second that a GPU worker reads its columns with: a fast local disk, or a network of 16
gigabits. An assumption."""


def made(path: Path, nodes: int, steps: int) -> None:
    """Write series that persist as neurons do, one trial."""
    rng = np.random.default_rng(0)
    series = np.lib.format.open_memmap(path, "w+", np.float32, (steps, nodes))
    for start in range(0, nodes, 10_000):
        part = rng.standard_normal((steps, min(10_000, nodes - start)), np.float32)
        for step in range(1, steps):
            part[step] += 0.5 * part[step - 1]
        series[:, start : start + 10_000] = part
    series.flush()


def run(path: str, out: str, keep: str, dtype: str) -> dict[str, Any]:
    """Decompose a file into a store, then again without writing."""
    asked: dict[str, Any] = {"keep": keep, "dtype": dtype}
    synkern.phiid_blocks(np.load(path, mmap_mode="r")[:, :300], out=None, **asked)  # compiled
    big, seconds, cpu = _timed(lambda: synkern.phiid_blocks(path, out=out, **asked))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    given = setting(path, side=big.side, elsewhere=False, **asked)
    grid = given.grid(None)
    task = Task(given.asked, given.given.columns, grid, Place(None, ""))
    alone = _timed(lambda: [compute(task, number)[1] for number in range(grid.blocks)])
    nodes = big.shape[2]
    return {
        "nodes": nodes,
        "time": big.shape[1],
        "keep": keep,
        "dtype": dtype,
        "side": big.side,
        "blocks": big.blocks,
        "decompositions": nodes * (nodes - 1) // 2,
        "seconds": seconds,
        "cpu seconds": cpu,
        "seconds of the arithmetic alone": alone[1],
        "cpu seconds of the arithmetic alone": alone[2],
        "peak": peak,
        "bytes": given.layout(grid).bytes(),
        "threads": len(os.sched_getaffinity(0)),
        "load": list(os.getloadavg()),
    }


def cluster(path: str, out: str, processes: int) -> dict[str, Any]:
    """Means by node on workers of one thread each, or on as many threads of this process."""
    small = np.load(path, mmap_mode="r")[:, :300]
    if not processes:
        synkern.phiid_blocks(small, out=None, keep="node_means")
        return {
            "seconds": _timed(lambda: synkern.phiid_blocks(path, out=out, keep="node_means"))[1]
        }
    import distributed  # noqa: PLC0415

    with (
        distributed.LocalCluster(
            n_workers=processes, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as local,
        distributed.Client(local) as client,
    ):
        synkern.phiid_blocks(small, out=f"{out}-warm", keep="node_means", executor=client, side=64)
        done = _timed(
            lambda: synkern.phiid_blocks(path, out=out, keep="node_means", executor=client)
        )
    return {"seconds": done[1]}


def _timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    done = call()
    return done, time.perf_counter() - wall, time.process_time() - cpu


def _apart(name: str, *arguments: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.suites.scale", name, json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(say: Callable[[str], None], share: float = 1.0) -> dict[str, Any]:
    """All measures, of a share of the nodes, and the model."""
    rows: dict[str, Any] = {"share": share}
    with tempfile.TemporaryDirectory() as folder:
        for name, keep, dtype, nodes in MEASURES:
            path, out = Path(folder) / f"{nodes}.npy", f"{folder}/{name}"
            if not path.exists():
                made(path, int(nodes * share), 200)
            rows[name] = found = _apart("run", str(path), out, keep, dtype)
            shutil.rmtree(out)  # whose pages would be written while the next one is timed
            say(
                f"{found['nodes']:,} nodes, {keep} in {dtype}: {found['seconds']:.1f} s, "
                f"{found['seconds'] / found['seconds of the arithmetic alone']:.2f} of the "
                f"arithmetic alone; peak memory {found['peak'] / 1e9:.2f} GB"
            )
        path = Path(folder) / "cluster.npy"
        made(path, int(30_000 * share), 200)
        apart = {n: _apart("cluster", str(path), f"{folder}/c{n}", n)["seconds"] for n in (0, 2)}
        rows["cluster"] = {"one process": apart[0], "two processes": apart[2]}
        say(f"two processes at {100 * apart[0] / apart[2]:.0f} % of the speed of one")
    rows["model"] = _model(rows)
    rows["gpu"] = _gpu()
    for line in lines(rows):
        say(line)
    return rows


def _model(rows: dict[str, Any]) -> list[dict[str, Any]]:
    """The measures as the rates of the first say they should be, and more workers like it."""
    pairs = rows["pairs"]
    alone = pairs["seconds of the arithmetic alone"]
    each = alone / pairs["decompositions"]
    bandwidth = pairs["bytes"] / max(pairs["seconds"] - alone, 1e-9)
    found = []
    for name in ("pairs", "node_means"):
        row = rows[name]
        block = each * row["decompositions"] / row["blocks"]
        block += (row["bytes"] if name == "pairs" else 0) / row["blocks"] / bandwidth
        at = {n: block * math.ceil(row["blocks"] / n) for n in WORKERS}
        found.append({"keep": name, "nodes": row["nodes"], "measured": row["seconds"], "at": at})
    return found


def _gpu() -> dict[str, Any]:
    """Means by node of a large model on GPUs."""
    stages = [
        check["stages"]["cupy-timing"]
        for check in json.loads((RESULTS / "h100.json").read_text())["tables"]["gpu check"]
        if "cupy-timing" in check["stages"]
    ]
    trials, _, nodes = stages[0]["what"]
    kernel = stages[0]["device ms of a kernel"]["gaussian MMI, 2 atoms, float64, series"] / 1e3
    each = kernel / (trials * nodes * (nodes - 1) // 2)
    ranges = -(-LARGE["nodes"] // LARGE["side"])
    blocks = ranges * (ranges + 1) // 2
    total = LARGE["trials"] * LARGE["nodes"] * (LARGE["nodes"] - 1) // 2
    # The columns of each block; rows are read once for all of their blocks, by each worker.
    read = (1 + ranges / blocks) * LARGE["side"] * LARGE["trials"] * LARGE["time"] * 4
    block = total * each / blocks + read / STORAGE
    return {
        **LARGE,
        "blocks": blocks,
        "decompositions": total,
        "nanoseconds of one": each * 1e9,
        "bytes read for a block": read,
        "bytes a second": STORAGE,
        "arithmetic": {n: total * each * math.ceil(blocks / n) / blocks for n in WORKERS},
        "at": {n: block * math.ceil(blocks / n) for n in WORKERS},
    }


def lines(rows: dict[str, Any]) -> list[str]:
    """The model, as text."""
    said = [
        f"{row['nodes']:,} nodes, {row['keep']}: measured {row['measured']:.1f} s; by the model "
        + ", ".join(f"{seconds:.3g} s on {n}" for n, seconds in row["at"].items())
        for row in rows["model"]
    ]
    gpu = rows["gpu"]
    said.append(
        f"{gpu['nodes']:,} neurons x {gpu['trials']} prompts on H100s, by the model: "
        + ", ".join(
            f"{seconds / 60:.3g} min on {n} ({gpu['arithmetic'][n] / 60:.3g} of arithmetic)"
            for n, seconds in gpu["at"].items()
        )
    )
    return said


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    step = {"run": run, "cluster": cluster}[sys.argv[1]]
    print(json.dumps(step(*json.loads(sys.argv[2]))))
