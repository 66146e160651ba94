"""The stages of `bench.gpu.check` about whole calls, and what a profiler says of kernels.

| stage   | what                                                                                |
|---------|-------------------------------------------------------------------------------------|
| calls   | synchronisations, copies and launches of a call, by torch's warnings and by CUPTI   |
| cold    | the first call of each backend in a new process, with empty caches of compilers and |
|         | with filled ones                                                                    |
| profile | Nsight Compute, if there is one: one launch of a kernel, all metrics in             |
|         | FOLDER/ncu-<kernel>.csv                                                             |
"""

from __future__ import annotations

import csv
import functools
import itertools
import json
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch

import synkern
from bench.gpu import programs
from bench.gpu.check_edges import ready
from bench.gpu.journal import NotRunError
from bench.gpu.stage import Items
from bench.gpu.truth import DEVICE, GPU, NODES, TIME, TRIALS, TWO

ESTIMATORS = (("gaussian", "MMI"), ("gaussian", "CCS"), ("discrete", "MMI"))


@functools.cache
def _walks() -> torch.Tensor:
    generator = torch.Generator(DEVICE).manual_seed(0)
    options: dict[str, Any] = {"dtype": torch.float64, "device": DEVICE, "generator": generator}
    return torch.randn(TRIALS, TIME, NODES, **options).cumsum(1)


# --- calls ---------------------------------------------------------------------------------------


def calls(_: Path) -> Items:
    for backend, (kind, redundancy) in itertools.product(("triton", "cupy", "torch"), ESTIMATORS):
        name = f"{backend}, {kind} {redundancy}"
        call = functools.partial(
            synkern.phiid, atoms=TWO, kind=kind, redundancy=redundancy, backend=backend
        )
        for how in (_warned, _counted):
            yield f"{name}, {how.__name__[1:]}", functools.partial(how, name, backend, call)


def _warned(name: str, backend: str, call: Any) -> dict[str, Any]:
    """Of what torch does by itself; where each is, by file and line."""
    _on_a_gpu(backend)
    call(_walks())
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            call(_walks())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    places = Counter(
        f"{Path(w.filename).name}:{w.lineno}" for w in seen if "synchroniz" in str(w.message)
    )
    return {"synchronisations by torch": {name: {"in all": places.total(), **places}}}


def _counted(name: str, backend: str, call: Any) -> dict[str, Any]:
    """Of all libraries in this process; and the time of the call, host and device."""
    _on_a_gpu(backend)
    call(_walks())
    torch.cuda.synchronize()
    start = time.perf_counter()
    call(_walks())
    returned = time.perf_counter() - start
    torch.cuda.synchronize()
    ended = time.perf_counter() - start
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as seen:
        call(_walks())
    counts = {
        event.key: event.count
        for event in seen.key_averages()
        if event.key.startswith("cu")
        and any(what in event.key for what in ("Synchronize", "Memcpy", "Launch", "Alloc"))
    }
    return {
        "runtime calls": {name: counts},
        "milliseconds until it returned, and ended": {name: [1e3 * returned, 1e3 * ended]},
    }


def _on_a_gpu(backend: str) -> None:
    if not GPU:
        raise NotRunError("no GPU")
    ready(backend)


# --- first calls ---------------------------------------------------------------------------------

COLD = """
import json, sys, time
times = {}
def lap(name, start):
    times[name] = time.perf_counter() - start
backend, device, kind, redundancy, *size = sys.argv[1:]
start = time.perf_counter()
import torch, synkern
lap("import", start)
start = time.perf_counter()
series = torch.randn(*map(int, size), dtype=torch.float64, device=device)
float(series.sum())
lap("device", start)
for name in ("first", "second"):
    start = time.perf_counter()
    result = synkern.phiid(
        series, atoms=("rtr", "sts"), kind=kind, redundancy=redundancy, backend=backend
    )
    float(result["sts"][0, 1])
    lap(name, start)
print(json.dumps(times))
"""
"""Seconds of what the first call in a process takes."""


def cold(_: Path) -> Items:
    for backend, (kind, redundancy) in itertools.product(("cupy", "triton", "torch"), ESTIMATORS):
        name = f"{backend}, {kind} {redundancy}"
        yield name, functools.partial(_cold, name, backend, kind, redundancy)


def _cold(name: str, backend: str, kind: str, redundancy: str) -> dict[str, Any]:
    ready(backend)
    size = [str(number) for number in (TRIALS, TIME, NODES)]
    arguments = [backend, DEVICE, kind, redundancy, *size]
    found = {}
    with tempfile.TemporaryDirectory() as caches:
        places = {"TRITON_CACHE_DIR": f"{caches}/triton", "CUPY_CACHE_DIR": f"{caches}/cupy"}
        for state in ("empty caches", "filled caches"):
            said = programs.program(
                [sys.executable, "-W", "ignore", "-c", COLD, *arguments], places
            )
            found[state] = json.loads(said.splitlines()[-1])
    # Of what else the machine does: stages beside this one may still compile.
    load = {name: os.getloadavg()[0]}
    return {"seconds of a new process": {name: found}, "load of the machine": load}


# --- Nsight Compute ------------------------------------------------------------------------------

PROFILED = """
import sys, torch, synkern
backend, kind, redundancy, atoms, dtype, *size = sys.argv[1:]
generator = torch.Generator("cuda").manual_seed(0)
series = torch.randn(
    *map(int, size), dtype=torch.float64, device="cuda", generator=generator
).cumsum(1)
for _ in range(2):
    synkern.phiid(series, atoms="all" if atoms == "all" else ("rtr", "sts"), kind=kind,
                  redundancy=redundancy, dtype=dtype, backend=backend)
torch.cuda.synchronize()
"""
"""Two calls: the second launch of a kernel is looked at."""

KERNELS: dict[str, tuple[str, ...]] = {
    "cupy-mmi-two": ("mmi_lags", "cupy", "gaussian", "MMI", "two", "float64"),
    "triton-mmi-two": ("mmi_series", "triton", "gaussian", "MMI", "two", "float64"),
    "cupy-ccs": ("ccs", "cupy", "gaussian", "CCS", "two", "float64"),
    "cupy-mmi-all": ("mmi_lags", "cupy", "gaussian", "MMI", "all", "float64"),
    "cupy-discrete": ("discrete", "cupy", "discrete", "MMI", "two", "float64"),
    "cupy-moments-float32": ("mmi_moments", "cupy", "gaussian", "MMI", "two", "float32"),
    "cupy-discrete-ccs": ("discrete", "cupy", "discrete", "CCS", "two", "float64"),
    "triton-ccs": ("ccs_kernel", "triton", "gaussian", "CCS", "two", "float64"),
    "triton-mmi-all": ("mmi_series", "triton", "gaussian", "MMI", "all", "float64"),
    "triton-unit-vectors": ("unit_vectors", "triton", "gaussian", "MMI", "two", "float64"),
    "cupy-unit-vectors": ("unit_vectors", "cupy", "gaussian", "MMI", "two", "float64"),
}
"""By name of the file: what the kernel's name begins with, and the call that launches it."""


def profile(folder: Path) -> Items:
    for name, (kernel, *arguments) in KERNELS.items():
        yield name, functools.partial(_profiled, folder, name, kernel, arguments)


def _profiled(folder: Path, name: str, kernel: str, arguments: list[str]) -> dict[str, Any]:
    log = folder / f"ncu-{name}.csv"
    command = [programs.tool("ncu"), "--set", "full", "--csv", "--page", "details"]
    command += ["--kernel-name", f"regex:^{kernel}", "--launch-skip", "1", "--launch-count", "1"]
    # The clocks are left as they are: this may not be the only program that uses the machine.
    command += ["--clock-control", "none", "--log-file", str(log)]
    command += [sys.executable, "-W", "ignore", "-c", PROFILED, *arguments]
    command += [str(number) for number in (TRIALS, TIME, NODES)]
    programs.program(command, seconds=programs.PROFILER_SECONDS)
    return {"metrics": {name: metrics(log.read_text(encoding="utf-8"))}}


def metrics(log: str) -> dict[str, str]:
    """Values with their units, from what Nsight Compute wrote with `--csv --page details`.

    Raises:
        RuntimeError: it holds none; no launch had the kernel's name, or counters are not allowed.
    """
    rows = csv.DictReader(line for line in log.splitlines() if line.startswith('"'))
    found = {
        row["Metric Name"]: f"{row['Metric Value']} {row['Metric Unit']}".strip()
        for row in rows
        if row.get("Metric Name")
    }
    if not found:
        raise RuntimeError("ncu wrote no metric: " + " ".join(log.split())[-300:])
    return found
