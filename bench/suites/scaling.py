"""Time and memory against nodes, samples and trials, and against threads.

Every curve is computed in a process of its own, whose sizes double until the next would take too
long or too much memory. Peak memory is what the process had at most during a call beyond what it
had before it (Linux; elsewhere it is not measured, and the page says so).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import itertools
import json
import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]

FIXED = {"nodes": 256, "time": 100, "trials": 4}
STARTS = {"nodes": 64, "time": 50, "trials": 1}
ENDS = {"nodes": 1 << 16, "time": 1 << 14, "trials": 1 << 11}

MEMORY_SHARE = 0.5
"""Share of the available memory that a call may be expected to take."""

WORKLOADS: dict[str, dict[str, Any]] = {
    "MMI rtr+sts": {},
    "CCS": {"redundancy": "CCS"},
    "discrete": {"kind": "discrete"},
    'MMI reduce="nodes"': {"by_node": True},
}


def curves(backends: Sequence[str]) -> list[dict[str, str]]:
    """All that are measured: backend, work and axis."""
    found = [
        {"backend": backend, "work": "MMI rtr+sts", "axis": axis}
        for axis in STARTS
        for backend in backends
    ]
    found += [{"backend": b, "work": "CCS", "axis": a} for a in ("nodes", "time") for b in backends]
    return found + [
        {"backend": b, "work": w, "axis": "nodes"}
        for w in ("discrete", 'MMI reduce="nodes"')
        for b in backends
    ]


def measure(curve: dict[str, str], seconds: float, most: float | None = None) -> dict[str, Any]:
    """A curve, in a process of its own.

    Args:
        curve: one of `curves`.
        seconds: after which no further size is begun.
        most: after which the process is ended, with the points that it has by then: a call can take
            far longer than the last one lets expect. Twice `seconds` and 10 by default.

    Raises:
        RuntimeError: that process failed.
    """
    line = [sys.executable, "-m", "bench.suites.scaling", "--seconds", str(seconds)]
    line += [f"--{name}={value}" for name, value in curve.items()]
    ended, failed = None, None
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as child:
        try:
            written, said = child.communicate(timeout=most or 2 * seconds + 10)
        except subprocess.TimeoutExpired:
            child.kill()
            written, said = child.communicate()
            ended = "time, within a call"
        else:
            failed = child.returncode
    if failed:
        raise RuntimeError(f"{curve}: {said.decode().strip().splitlines()[-1:]}")
    lines = [json.loads(text) for text in written.decode().splitlines() if text.endswith("}")]
    points = [entry for entry in lines if "size" in entry]
    ended = ended or lines[-1]["ended by"]
    return {**curve, "points": points, "ended by": ended, "exponents": exponents(points)}


def exponents(points: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Slopes of log time and log memory over log size, of the larger half of the sizes."""
    found: dict[str, float | None] = {}
    for name in ("seconds", "bytes"):
        kept = [(p["size"], p[name]) for p in points if p[name]]
        kept = kept[-max(3, (len(kept) + 1) // 2) :]
        found[name] = None
        if len(kept) >= 3:
            size, value = np.log(np.array(kept, float)).T
            found[name] = float(np.polyfit(size, value, 1)[0])
    return found


def crossings(
    first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]
) -> list[tuple[float, int]]:
    """Sizes at which a curve takes over from another for good, between points on log scales.

    Returns:
        At most one size, and which of the two (0, 1) is the faster beyond it. A crossing back and
        forth is noise, and none.
    """
    other = {p["size"]: p["seconds"] for p in second}
    shared = [
        (math.log(p["size"]), math.log(p["seconds"] / other[p["size"]]))
        for p in first
        if p["size"] in other
    ]
    crossed = [
        (math.exp(s + (t - s) * d / (d - e)), int(e > 0))
        for (s, d), (t, e) in itertools.pairwise(shared)
        if d * e < 0
    ]
    return crossed if len(crossed) == 1 else []


def chosen_takeover(nodes: int = 512, trials: int = 4, seconds: float = 60) -> dict[str, Any]:
    """Share of all pairs, by backend, from which computing all is faster than the chosen ones.

    Chosen at random; what `phiid(pairs=...)` itself does not do is switch. None: chosen pairs are
    never slower. After so many seconds no other backend is begun.
    """
    import synkern  # noqa: PLC0415

    series = _series({"nodes": nodes, "time": 100, "trials": trials})
    rows, columns = np.triu_indices(nodes, 1)
    order = np.random.default_rng(0).permutation(len(rows))
    every = np.stack([rows, columns], -1)[order]
    found: dict[str, Any] = {"nodes": nodes, "trials": trials, "share": {}}
    end = time.monotonic() + seconds
    for backend in cpu_backends():
        if time.monotonic() > end:
            break
        whole = _best(lambda b=backend: synkern.phiid(series, backend=b))
        found["share"][backend] = None
        for share in 2.0 ** np.arange(-10, 1):
            pairs = every[: max(1, int(share * len(every)))]
            if _best(lambda b=backend, p=pairs: synkern.phiid(series, pairs=p, backend=b)) > whole:
                found["share"][backend] = float(share)
                break
    return found


def rectangle(
    nodes: int = 20_000, side: int = 1_000, repeats: int = 11, seconds: float = 60
) -> dict[str, Any]:
    """Cost of a pair of a rectangle, by backend, over a pair of as many in all pairs.

    The rectangle is side x side of many nodes, of 200 samples and one trial; all pairs are those of
    about sqrt(2) side nodes. The two are called in turns, and their medians compared. After so many
    seconds no other backend is begun.
    """
    import synkern  # noqa: PLC0415

    series = _series({"nodes": nodes, "time": 200, "trials": 1})
    few = np.ascontiguousarray(series[..., : round(math.sqrt(2) * side)])
    # Apart, and neither begins where a tile of the whole would.
    first, second = nodes // 8 + 3, nodes // 2 + 1
    groups = [list(range(start, start + side)) for start in (first, second)]
    options = {"pairs": "bipartite", "groups": groups}
    pairs = side * side, math.comb(few.shape[-1], 2)
    found: dict[str, Any] = {"nodes": nodes, "side": side, "all": few.shape[-1], "backends": {}}
    end = time.monotonic() + seconds
    for backend in cpu_backends():
        if time.monotonic() > end:
            break
        taken: tuple[list[float], list[float]] = [], []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            synkern.phiid(series, backend=backend, **options)
            middle = time.perf_counter()
            synkern.phiid(few, backend=backend)
            taken[0].append(middle - start)
            taken[1].append(time.perf_counter() - middle)
        # The first of each may compile, and has memory to get.
        each = [float(np.median(t[1:])) / n for t, n in zip(taken, pairs, strict=True)]
        found["backends"][backend] = {"rectangle": each[0], "all": each[1]}
    return found


def thread_scaling(repeats: int = 7) -> dict[str, Any]:
    """Seconds of the backend `cpu` by the number of cores that it may have, rounds in turns."""
    import synkern  # noqa: PLC0415

    if not hasattr(os, "sched_setaffinity"):
        return {"absent": "this system does not let a process choose its cores"}
    cores = sorted(os.sched_getaffinity(0))
    series = _series({"nodes": 1152, "time": 100, "trials": 10})
    workloads = {name: WORKLOADS[name] for name in ("MMI rtr+sts", "CCS", "discrete")}
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= len(cores)]
    found: dict[str, Any] = {"nodes": 1152, "trials": 10, "seconds": {}}
    try:
        for name, options in workloads.items():
            given = series[:1] if name == "CCS" else series
            taken: dict[int, list[float]] = {n: [] for n in counts}
            for _ in range(repeats):
                for count in counts:
                    os.sched_setaffinity(0, cores[:count])
                    start = time.perf_counter()
                    synkern.phiid(given, backend="cpu", **options)
                    taken[count].append(time.perf_counter() - start)
            found["seconds"][name] = {str(n): float(np.median(taken[n][1:])) for n in counts}
    finally:
        os.sched_setaffinity(0, cores)
    return found


# ---- In the process of a curve -------------------------------------------------------------------


def _points(backend: str, work: str, axis: str, seconds: float) -> None:
    import synkern  # noqa: PLC0415

    def call(size: int) -> Callable[[], Any]:
        series = _series(FIXED | {axis: size})
        if backend == "torch":
            import torch  # noqa: PLC0415

            series = torch.from_numpy(series)
        options = {**WORKLOADS[work]}
        verb = synkern.phiid_nodes if options.pop("by_node", False) else synkern.phiid
        return lambda: verb(series, backend=backend, **options)

    points: list[dict[str, Any]] = []
    end = time.monotonic() + seconds
    call(STARTS[axis])()  # compile, load
    size, why = STARTS[axis], "the largest size of the suite"
    while size <= ENDS[axis]:
        if points and (reason := _too_large(points, size, axis, end - time.monotonic())):
            why = reason
            break
        run = call(size)
        _forget_peak()
        before = memory("VmRSS")
        start = time.perf_counter()
        run()
        taken = [time.perf_counter() - start]
        peak = memory("VmHWM")
        while len(taken) < 3 and sum(taken) < 1:
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
        moved = None if before is None or peak is None else max(peak - before, 0)
        points.append({"size": size, "seconds": min(taken), "bytes": moved})
        print(json.dumps(points[-1]), flush=True)
        size *= 2
    print(json.dumps({"ended by": why}))


def _too_large(points: list[dict[str, Any]], size: int, axis: str, left: float) -> str | None:
    """Why the next size is left out, judged by how the last ones grew."""
    growth = 4 if axis == "nodes" else 2
    expected = points[-1]["seconds"] * growth * 1.5 + 2 * size / points[-1]["size"] * 0.2
    if expected > left:
        return "time"
    available = memory("MemAvailable", "/proc/meminfo")
    taken = points[-1]["bytes"]
    if available and taken and taken * growth > MEMORY_SHARE * available:
        return "memory"
    return None


def _series(shape: dict[str, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((shape["trials"], shape["time"], shape["nodes"]))
    for t in range(1, shape["time"]):
        values[:, t] += 0.8 * values[:, t - 1]
    return values


def memory(name: str, file: str = "/proc/self/status") -> int | None:
    """Bytes, or None where the system does not tell."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return None
    return next(
        (int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None
    )


def _forget_peak() -> None:
    # First give back what earlier calls left, or this one would seem to need less.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _best(call: Callable[[], Any], repeats: int = 4) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)


def cpu_backends() -> list[str]:
    """Backends that compute on the CPU; a time of triton's interpreter says nothing."""
    from synkern.decomposition import BACKENDS  # noqa: PLC0415

    return [b.name for b in BACKENDS if "cpu" in b.status().devices and b.name != "triton"]


def main() -> None:
    """Print the points of a curve, each as it is known, as JSON; see `measure`."""
    parser = argparse.ArgumentParser()
    for name in ("backend", "work", "axis"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    _points(options.backend, options.work, options.axis, options.seconds)


if __name__ == "__main__":
    main()
