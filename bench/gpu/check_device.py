"""The stages of `bench.gpu.check` about the device itself, and the records of speed.

| stage       | what                                                                           |
|-------------|--------------------------------------------------------------------------------|
| environment | device, driver, versions                                                       |
| roofline    | measured copy bandwidth and float64 products, and the floor                    |
| speed       | the benchmarks of the GPU backends; their records go to FOLDER/records.json,   |
|             | which bench/results/ takes as it is                                            |
"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

import synkern
from bench.cases import contenders, shapes
from bench.cases.workloads import WORKLOADS
from bench.gpu.journal import NotRunError
from bench.gpu.stage import Items
from bench.gpu.truth import DEVICE, GPU, NODES, TIME, TRIALS
from bench.harness import roofline as measured_roofline
from bench.harness.measure import Case, Measurement, event_rounds, perf_counter_rounds
from bench.harness.records import Run
from bench.tables import sweep_tiles

SECONDS_OF_A_CASE = 0.2
"""Of timed rounds of a sweep; one round is always timed."""


def environment(_: Path) -> Items:
    yield "versions", _versions


def _versions() -> dict[str, Any]:
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "numpy": np.__version__,
        "synkern": synkern.__version__,
        "triton": importlib.metadata.version("triton"),
        "device": torch.cuda.get_device_name() if GPU else None,
    }
    if GPU:
        properties = torch.cuda.get_device_properties(0)
        found["capability"] = [properties.major, properties.minor]
        found["multiprocessors"] = properties.multi_processor_count
        found["memory"] = properties.total_memory
    if shutil.which("nvidia-smi"):
        query = "driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit"
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found["nvidia-smi"] = done.stdout.strip().splitlines()
    return found


def roofline(_: Path) -> Items:
    yield "copy and products", _roofline


def _roofline() -> dict[str, Any]:
    if not GPU:
        raise NotRunError("no GPU")
    source = torch.empty(1 << 28, dtype=torch.float64, device=DEVICE).fill_(1.0)
    target = torch.empty_like(source)
    copy_ms = sweep_tiles.device_ms(lambda: target.copy_(source))
    square = torch.randn(8192, 8192, dtype=torch.float64, device=DEVICE)
    product_ms = sweep_tiles.device_ms(lambda: square @ square)
    bandwidth = 2 * source.nbytes / copy_ms / 1e9  # TB/s
    rate = 2 * 8192**3 / product_ms / 1e9  # TFLOP/s
    samples, pairs = TIME - 1, NODES * (NODES + 1) / 2
    moved = 8 * (2 * TRIALS * NODES * samples + 2 * NODES * NODES)
    flop = 2 * 4 * samples * pairs * TRIALS
    # Double-precision instructions of a pair, see kernels/triton_backend/README.md
    vector = 49 * pairs * TRIALS
    vector_rate = rate / 4  # instructions of one multiply-add; half of the tensor cores' rate
    floor = {
        "memory ms": moved / bandwidth / 1e9,
        "products ms": flop / rate / 1e9,
        "vector ms": vector / vector_rate / 1e9,
    }
    return {
        "copy TB/s": bandwidth,
        "float64 product TFLOP/s": rate,
        "floor": floor,
        # Products and vector instructions share the multiply-add units; memory is overlapped.
        "floor ms": max(floor["memory ms"], floor["products ms"] + floor["vector ms"]),
    }


# --- speed -------------------------------------------------------------------------------------


def speed(folder: Path) -> Items:
    """Times of `make bench` by events of the device, each beside a check of that output."""
    every = [
        Case(contender, workload, shape, dtype)
        for shape in sorted(shapes.SHAPES if GPU else shapes.TINY, key=lambda s: s.decompositions)
        for workload in WORKLOADS
        for contender in contenders.backends()
        if contender.device == DEVICE and workload.name in contender.workloads
        for dtype in contender.dtypes
    ]
    for case in every:
        yield str(case), functools.partial(_timed, case, folder / "records.json")


def _timed(case: Case, records: Path) -> dict[str, Any]:
    rounds = event_rounds if GPU else perf_counter_rounds
    run = _records(records)
    measurement = Measurement(case)
    for _ in range(3):
        measurement.sweep(SECONDS_OF_A_CASE, rounds)
    record = measurement.record(run.roofline)
    run.add(record)
    beside = records.with_suffix(".new")
    run.save(beside)
    beside.replace(records)  # Whole, whenever this process ends.
    refused = [] if record.state == "measured" else [f"{case}: {record.reason}"]
    found = {"passed": not refused, "refused": refused, "measured": [str(case)]}
    return found if GPU else found | {"not run": "times of a GPU: these are of the CPU"}


def _records(path: Path) -> Run:
    """Those of the cases before, with the roofline that was measured then."""
    if path.exists():
        return Run.load(path)
    run = Run.start(DEVICE)
    run.roofline = measured_roofline.measure(DEVICE)
    return run
