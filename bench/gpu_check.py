"""All that only a GPU can prove, in one call of at most ten minutes, from a bare checkout.

    python bench/gpu_check.py [--out FOLDER] [--seconds 570]

Needs Python 3.11, torch, numpy and triton; nothing has to be installed or compiled first. Each
stage writes FOLDER/<stage>.json as it ends, so that a run cut short keeps what it had. A stage that
fails or does not run says why, in its file and in the output. Without a GPU the stages that can be
rehearsed are, by triton's interpreter on small series; the others say that they were not run.

| stage       | what                                                                            |
|-------------|---------------------------------------------------------------------------------|
| environment | device, driver, versions                                                        |
| correctness | every GPU backend, kernel, dtype, kind of series and size against NumPy in      |
|             | float64: errors, NaN, flags, rescues; the same bits twice; outputs poisoned     |
| launches    | another stream, a CUDA graph, the gradient                                      |
| roofline    | measured copy bandwidth and float64 products, and the floor they set            |
| timing      | 1152 nodes, 60 trials, 100 samples: torch eager, torch.compile, triton          |
| sweep       | tiles, see sweep_tiles.py                                                       |
| sanitizer   | compute-sanitizer, if there is one                                              |
| cupy-...    | the same for the backend `cupy`: see gpu_check_cupy.py; best in a call of their |
|             | own, `--stages cupy-environment cupy-correctness ...`                           |
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # Before triton is imported.
DEVICE = "cuda" if GPU else "cpu"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import gpu_check_cupy  # noqa: E402
import sweep_tiles  # noqa: E402
from synkern.kernels.eager import smallest_trusted  # noqa: E402
from synkern.kernels.estimators import STRICT  # noqa: E402
from synkern.kernels.segments import Segments, standardise  # noqa: E402

import synkern  # noqa: E402
from synkern.kernels import mmi  # noqa: E402

NODES, TRIALS, TIME = (1152, 60, 100) if GPU else (40, 3, 30)
STUDY = f"{NODES} nodes, {TRIALS} trials, {TIME} samples"


class NotRunError(Exception):
    """A stage cannot run here, and why."""


# --- environment -------------------------------------------------------------------------------


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


# --- correctness -------------------------------------------------------------------------------


def series(kind: str, trials: int, time_: int, nodes: int) -> np.ndarray:
    rng = np.random.default_rng(trials * nodes)
    values = rng.standard_normal((trials, time_, nodes))
    if kind != "random":
        values = values.cumsum(1)
    half = nodes // 2
    if kind == "near-singular":
        scale = 10.0 ** -rng.integers(2, 8, half)
        values[..., half : 2 * half] = values[..., :half] + scale * values[..., half : 2 * half]
    elif kind == "degenerate":
        values[0, :, 0] = 3.0
        values[-1, 1:, half] = values[-1, :-1, 0]
    elif kind == "duplicate":
        values[..., half] = 1e3 - 2 * values[..., 0]
    return values


def correctness(seconds: float) -> dict[str, Any]:
    sizes = [(1, 40, 2), (3, 60, 37)] + (
        [(9, 100, 65), (17, 100, 130), (60, 100, 270)] if GPU else []
    )
    end = time.monotonic() + seconds
    rows, failures, left_out = [], [], 0
    for size in sizes:
        for kind in ("random", "near-singular", "degenerate", "duplicate"):
            values = series(kind, *size)
            for average in ("trials", None):
                expected = synkern.phiid(values, atoms="all", average=average, backend="numpy")
                for name, run in variants():
                    for dtype in ("float64", "float32"):
                        if time.monotonic() > end:
                            left_out += 1
                            continue
                        row = {"size": size, "series": kind, "average": average, "dtype": dtype}
                        row |= {"backend": name} | compare(values, expected, average, dtype, run)
                        rows.append(row)
                        if not row["passed"]:
                            failures.append(row)
    return {"passed": not failures, "failures": failures, "left out": left_out, "rows": rows}


def variants() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Backends, and triton by both of its kernels, outputs filled with NaN first."""
    from synkern.kernels.triton_backend import launch, op  # noqa: PLC0415

    yield "torch", lambda values, **options: synkern.phiid(values, backend="torch", **options)
    for path in ("series", "moments"):

        def run(values: Any, path: Any = path, **options: Any) -> Any:
            choose, empty = op.path_for, launch._empty
            op.path_for = lambda *_: path
            launch._empty = lambda *a: empty(*a).fill_(torch.nan)
            try:
                return synkern.phiid(values, backend="triton", **options)
            finally:
                op.path_for, launch._empty = choose, empty

        yield f"triton {path}", run


def compare(
    values: np.ndarray, expected: Any, average: str | None, dtype: str, run: Callable[..., Any]
) -> dict[str, Any]:
    tensor = torch.from_numpy(values).to(DEVICE)
    options = {"atoms": "all", "average": average, "dtype": dtype}
    found, again = run(tensor, **options), run(tensor, **options)
    # As promised beside a truth; of two floating-point results each may be off by that much. Below
    # 1 - |r| = 1e-3 the promise is 1e-6, and the output of float32 is itself rounded.
    hard = float(np.nanmax(np.abs(correlations(values)))) > 1 - 1e-3
    scale = max(float(np.nanmax(np.abs(v), initial=0)) for v in expected.values())
    tolerance = 2 * (1e-6 if hard else 1e-9)
    if dtype == "float32":
        tolerance = 2e-5 + 4 * float(np.finfo("float32").eps) * scale
    error = 0.0
    same_nan = same_bits = True
    for atom in expected:
        host = found[atom].cpu().numpy()
        same_nan &= bool((np.isnan(host) == np.isnan(expected[atom])).all())
        same_bits &= bool(torch.equal(found[atom].nan_to_num(), again[atom].nan_to_num()))
        error = max(error, float(np.nanmax(np.abs(host - expected[atom]), initial=0)))
    same_flags = np.array_equal(np.sort(found.flagged, 0), np.sort(expected.flagged, 0))
    # A variance may lie on either side of the limit by rounding.
    few = abs(found.rescued - expected.rescued) <= 1 + expected.rescued // 1000
    return {
        "error": error,
        "tolerance": tolerance,
        "same nan": same_nan,
        "same flags": bool(same_flags),
        "same bits twice": same_bits,
        "rescued": [found.rescued, expected.rescued],
        "passed": same_nan and same_flags and same_bits and few and error <= tolerance,
    }


def correlations(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        each = [np.corrcoef(trial.T) - np.eye(values.shape[-1]) for trial in values]
    return np.where(np.isnan(each), 0, each)


# --- launches ----------------------------------------------------------------------------------


def launches(_: float) -> dict[str, Any]:
    from synkern.kernels.triton_backend.op import gaussian_mmi  # noqa: PLC0415

    values = torch.from_numpy(series("random", 5, 60, 37)).to(DEVICE)
    segments = standardise(torch, values, 1)
    arguments = (*segments, "rtr,sts", False, False, 64)
    expected = gaussian_mmi(*arguments)[0]
    found: dict[str, Any] = {}

    results = []
    for name in ("triton", "torch"):
        leaf = values.clone().requires_grad_()
        torch.nansum(synkern.phiid(leaf, backend=name)["sts"]).backward()
        results.append(leaf.grad)
    found["gradient error"] = float((results[0] - results[1]).abs().max())
    found["passed"] = found["gradient error"] < 1e-8
    if not GPU:
        found["not run"] = "streams and CUDA graphs: no GPU"
        return found

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        on_stream = gaussian_mmi(*arguments)[0]
    torch.cuda.synchronize()
    found["stream"] = torch.equal(on_stream, expected)

    copies = [v.clone() for v in segments]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = gaussian_mmi(*copies, *arguments[3:])[0]
    other = standardise(torch, values.flip(1), 1)
    for copy, value in zip(copies, other, strict=True):
        copy.copy_(value)
    graph.replay()
    torch.cuda.synchronize()
    found["graph"] = torch.equal(captured, gaussian_mmi(*other, *arguments[3:])[0])
    found["passed"] &= found["stream"] and found["graph"]
    return found


# --- roofline ----------------------------------------------------------------------------------


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
    vector = 49 * pairs * TRIALS  # double-precision instructions, see kernels/README.md
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


# --- timing ------------------------------------------------------------------------------------


def timing(_: float) -> dict[str, Any]:
    if not GPU:
        raise NotRunError("no GPU: a time of the interpreter says nothing")
    from synkern.kernels.triton_backend.launch import fill, path_for  # noqa: PLC0415
    from synkern.kernels.triton_backend.plan import plan  # noqa: PLC0415

    segments = sweep_tiles.features(TRIALS, TIME - 1, NODES)
    values = torch.randn(TRIALS, TIME, NODES, dtype=torch.float64, device=DEVICE).cumsum(1)
    marked = torch.zeros(1 << 16, dtype=torch.int64, device=DEVICE)
    count = torch.zeros(1, dtype=torch.int64, device=DEVICE)
    found: dict[str, Any] = {"what": STUDY, "device ms": {}, "seconds of phiid": {}}

    compiled = torch.compile(eager_sums)
    exact = eager_sums(segments)
    found["torch.compile error"] = float((compiled(segments) - exact).abs().max())
    found["device ms"]["torch, eager, rtr+sts"] = sweep_tiles.device_ms(
        lambda: eager_sums(segments)
    )
    found["device ms"]["torch.compile, rtr+sts"] = sweep_tiles.device_ms(lambda: compiled(segments))

    for size, names in sweep_tiles.NAMES.items():
        for dtype in ("float64", "float32"):
            for path in ("series", "moments"):
                options: dict[str, Any] = {"plan": plan(names), "per_trial": False, "dtype": dtype}

                def call(path: Any = path, options: Any = options) -> Any:
                    return fill(path, *segments, marked, count, **options)

                name = f"triton, {path}, {len(names)} atoms, {dtype}"
                found["device ms"][name] = sweep_tiles.device_ms(call)
                if size == "few" and dtype == "float64":
                    off = ~torch.eye(NODES, dtype=torch.bool, device=DEVICE)
                    error = float(((call() - exact) * off).abs().max())
                    found[f"{path} differs from eager by"] = error
        found[f"chosen, {len(names)} atoms"] = path_for(NODES, TIME - 1, False, plan(names))

    for backend in ("torch", "triton"):
        for atoms in (("rtr", "sts"), "all"):
            for _ in range(2):
                start = time.perf_counter()
                synkern.phiid(values, atoms=atoms, backend=backend)
                torch.cuda.synchronize()
                label = f"{backend}, {'16' if atoms == 'all' else '2'} atoms"
                found["seconds of phiid"][label] = time.perf_counter() - start
    peak = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    synkern.phiid(values, backend="triton")
    found["peak bytes above input"] = torch.cuda.max_memory_allocated() - peak
    return found


def eager_sums(segments: Segments) -> torch.Tensor:
    """What the eager backend computes, over whole matrices of ten trials: (2, nodes, nodes)."""
    limit = smallest_trusted(segments.samples, "float64", STRICT["float64"])
    total = torch.zeros(2, NODES, NODES, dtype=torch.float64, device=segments.past.device)
    for start in range(0, TRIALS, 10):
        x, a = segments.past[start : start + 10], segments.future[start : start + 10]
        own = (x * a).sum(-1)
        c = mmi.Correlations(
            x @ x.mT, a @ a.mT, own[:, :, None], x @ a.mT, a @ x.mT, own[:, None, :]
        )
        v, variance = mmi.lambdas(torch, c)
        for n, atom in enumerate(mmi.atoms(torch, v, ("rtr", "sts"))):
            total[n] += torch.where(variance >= limit, atom, 0.0).sum(0)
    return total


# --- sweep and sanitizer -----------------------------------------------------------------------


def sweep(seconds: float) -> dict[str, Any]:
    if not GPU:
        raise NotRunError("no GPU")
    segments = sweep_tiles.features(TRIALS, TIME - 1, NODES)
    found = sweep_tiles.sweep(segments, seconds, "float64 series few") if seconds > 0 else {}
    print(sweep_tiles.table(found))
    return found


def sanitizer(seconds: float) -> dict[str, Any]:
    tool = shutil.which("compute-sanitizer")
    if not GPU or tool is None:
        raise NotRunError("no GPU" if not GPU else "compute-sanitizer is not on the path")
    code = (
        "import numpy, torch, synkern; s = torch.tensor(numpy.random.default_rng(0)"
        ".standard_normal((3, 40, 37))).cuda(); s[..., 3] = s[..., 2];"
        "synkern.phiid(s, atoms='all', backend='triton'); synkern.phiid(s, backend='triton')"
    )
    found: dict[str, Any] = {"passed": True}
    for check in ("memcheck", "racecheck", "initcheck"):
        command = [tool, "--tool", check, sys.executable, "-W", "ignore", "-c", code]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds / 3
            )
        except subprocess.TimeoutExpired:
            found[check] = f"not finished in {seconds / 3:.0f} s"
            continue
        found[check] = done.stdout.strip().splitlines()[-5:]
        found["passed"] &= done.returncode == 0 and " 0 errors" in done.stdout
    return found


STAGES: dict[str, tuple[Callable[[float], dict[str, Any]], float]] = {
    "environment": (environment, 10),
    "correctness": (correctness, 150),
    "launches": (launches, 30),
    "roofline": (roofline, 20),
    "timing": (timing, 150),
    "sweep": (sweep, 120),
    "sanitizer": (sanitizer, 90),
}
"""With the seconds that each may take."""
STAGES |= gpu_check_cupy.stages(sys.modules[__name__])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu_check"))
    parser.add_argument("--seconds", type=float, default=570, help="of all stages together")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + options.seconds
    summary = {}
    for name in options.stages:
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
        result["seconds"] = time.monotonic() - start
        (options.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        if "not run" in result and state == "done":
            state += f", but not run: {result['not run']}"
        summary[name] = state
        print(f"{name:12} {result['seconds']:6.1f} s  {state}", flush=True)
    if not GPU:
        print(
            "No GPU: triton's interpreter ran on the CPU. This is a rehearsal and proves no speed."
        )
    return int(any(state.startswith("FAILED") for state in summary.values()))


if __name__ == "__main__":
    sys.exit(main())
