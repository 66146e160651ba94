"""All that only a GPU can prove, in calls of at most ten minutes, from a bare checkout.

    python -m bench.gpu.check [--out FOLDER] [--seconds 570] [--stages triton cupy-timing ...]

Needs Python 3.11, torch, numpy and triton; the stages of `cupy` need CuPy. Nothing has to be
installed or compiled first. Each stage writes FOLDER/<stage>.json as it ends, so that a run cut
short keeps what it had. A stage that fails or does not run says why, in its file and in the output.
Without a GPU the stages that can be rehearsed are, on small series; the others say that they were
not run.

`--stages` takes names of stages, or what they begin with. All together need more than ten minutes:
one call for `environment roofline triton`, one for `cupy`, one for `models speed`.

| stage       | what                                                        |
|-------------|-------------------------------------------------------------|
| environment | device, driver, versions                                    |
| roofline    | measured copy bandwidth and float64 products, and the floor |
| speed       | the benchmarks of the GPU backends; their records go to     |
|             | FOLDER/records.json, which bench/results/ takes as it is    |
| triton-...  | see check_triton.py                                         |
| cupy-...    | see check_cupy.py                                           |
| models      | see check_models.py; needs transformers                     |
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import synkern
from bench.cases import contenders, shapes
from bench.cases.workloads import WORKLOADS
from bench.gpu import check_cupy, check_models, check_triton
from bench.gpu.truth import DEVICE, GPU, NODES, TIME, TRIALS, NotRunError
from bench.harness import roofline as measured_roofline
from bench.harness.measure import Case, Measurement, event_rounds, perf_counter_rounds
from bench.harness.records import Run
from bench.tables import sweep_tiles


def environment(_: float) -> dict[str, Any]:
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


def roofline(_: float) -> dict[str, Any]:
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
    vector = (
        49 * pairs * TRIALS
    )  # double-precision instructions, see kernels/triton_backend/README.md
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


def speed(seconds: float) -> dict[str, Any]:
    """Times of `make bench` by events of the device, each beside a check of that output."""
    run = Run.start(DEVICE)
    run.roofline = measured_roofline.measure(DEVICE)
    # Large shapes last: what the time does not suffice for is left out, and said to be.
    every = [
        Case(contender, workload, shape, dtype)
        for shape in sorted(shapes.SHAPES if GPU else shapes.TINY, key=lambda s: s.decompositions)
        for workload in WORKLOADS
        for contender in contenders.backends()
        if contender.device == DEVICE and workload.name in contender.workloads
        for dtype in contender.dtypes
    ]
    rounds = event_rounds if GPU else perf_counter_rounds
    end = time.monotonic() + seconds
    left_out = []
    for case in every:
        if time.monotonic() > end:
            left_out.append(str(case))
            continue
        measurement = Measurement(case)
        for _ in range(3):
            measurement.sweep(seconds / len(every) / 8, rounds)
        run.add(measurement.record(run.roofline))
    refused = [f"{r.way}, {r.work}: {r.reason}" for r in run.records if r.state != "measured"]
    found = {"passed": not refused, "refused": refused, "left out": left_out, "run": run}
    return found if GPU else found | {"not run": "times of a GPU: these are of the CPU"}


STAGES: dict[str, tuple[Callable[[float], dict[str, Any]], float]] = {
    "environment": (environment, 10),
    "roofline": (roofline, 20),
    "speed": (speed, 300),
    **check_triton.STAGES,
    **check_cupy.STAGES,
    **check_models.STAGES,
}
"""Stages, with the seconds that each may take."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu_check"))
    parser.add_argument("--seconds", type=float, default=570, help="of all stages together")
    parser.add_argument("--stages", nargs="+", default=[""], metavar="NAME")
    options = parser.parse_args()
    chosen = [name for name in STAGES if name.startswith(tuple(options.stages))]
    if not chosen:
        parser.error(
            f"--stages: none begins with {' or '.join(options.stages)}: {', '.join(STAGES)}"
        )
    warnings.simplefilter("ignore")
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + options.seconds
    summary = {}
    for name in chosen:
        stage, most = STAGES[name]
        start = time.monotonic()
        remaining = min(most, end - start)
        try:
            if remaining < 5:
                raise NotRunError("no time left")
            result = stage(remaining)
            state = "FAILED" if result.get("passed") is False else "done"
        except NotRunError as reason:
            result, state = {"not run": str(reason)}, f"not run: {reason}"
        except Exception as error:
            result, state = {"error": traceback.format_exc()}, f"FAILED: {error}"
        if run := result.pop("run", None):
            run.save(options.out / "records.json")
        result["seconds"] = time.monotonic() - start
        (options.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        if "not run" in result and state == "done":
            state += f", but not run: {result['not run']}"
        summary[name] = state
        print(f"{name:18} {result['seconds']:6.1f} s  {state}", flush=True)
    if not GPU:
        print(
            "No GPU: triton's interpreter ran on the CPU. This is a rehearsal and proves no speed."
        )
    return int(any(state.startswith("FAILED") for state in summary.values()))


if __name__ == "__main__":
    sys.exit(main())
