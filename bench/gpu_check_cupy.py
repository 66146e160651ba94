"""The stages of gpu_check.py for the backend `cupy`.

| stage            | what                                                                        |
|------------------|-----------------------------------------------------------------------------|
| cupy-environment | versions; seconds that each kernel takes to compile                         |
| cupy-correctness | every estimator, path, dtype, output, kind of series and size against NumPy |
|                  | in float64: errors, NaN, flags; the same bits twice; outputs poisoned       |
| cupy-streams     | streams of CuPy and torch, tensors without a copy, other devices            |
| cupy-timing      | 1152 nodes, 60 trials, 100 samples: kernels, and from series to result      |
| cupy-sanitizer   | compute-sanitizer (memcheck, racecheck, initcheck, synccheck), if there is  |
|                  | one                                                                         |

Without a GPU, correctness is rehearsed: the kernels run on the CPU under the shim of the tests, on
arrays of a stand-in for CuPy. The other stages then say that they were not run.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from synkern.kernels.cupy_backend import backend, launch, launcher, probe  # noqa: E402
from synkern.kernels.cupy_backend.problem import problem  # noqa: E402
from synkern.kernels.cupy_backend.source import NAMES  # noqa: E402
from synkern.kernels.eager import request_for  # noqa: E402
from synkern.kernels.estimators import ESTIMATORS  # noqa: E402

import synkern  # noqa: E402
from synkern import backends  # noqa: E402

VARIANTS = tuple(ESTIMATORS)
TWO = ("rtr", "sts")
STUDY = (60, 100, 1152)  # trials, time, nodes
SANITIZED = """
import numpy as np, warnings
import cupy, synkern
warnings.simplefilter("ignore")
cupy.cuda.set_allocator(None)  # a pool would hide what lies beyond the end of an array
series = np.random.default_rng(0).standard_normal((3, 40, 37)).cumsum(1)
series[..., 3] = series[..., 2]
series[0, :, 7] = 1
series = cupy.asarray(series)
for kind in ("gaussian", "discrete"):
    for redundancy in ("MMI", "CCS"):
        for atoms in ("all", ("rtr", "sts")):
            for average in ("trials", None):
                for options in ({}, {"dtype": "float32"}, {"reduce": "nodes"}):
                    synkern.phiid(series, kind=kind, redundancy=redundancy, atoms=atoms,
                                  average=average, backend="cupy", **options)
moments = synkern.LaggedMoments().update(series)
for reduce in (None, "nodes"):
    synkern.phiid(moments, backend="cupy", reduce=reduce)
"""


def stages(check: Any) -> dict[str, tuple[Callable[[float], dict[str, Any]], float]]:
    """The stages, with the seconds that each may take.

    Args:
        check: the module gpu_check, for what the stages share with its own.
    """
    run = _Stages(check)
    return {
        "cupy-environment": (run.environment, 60),
        "cupy-correctness": (run.correctness, 150),
        "cupy-streams": (run.streams, 20),
        "cupy-timing": (run.timing, 60),
        "cupy-sanitizer": (run.sanitizer, 120),
    }


class _Stages:
    def __init__(self, check: Any) -> None:
        self.check = check

    def gpu(self) -> Any:
        """The module cupy, where it can compute."""
        if obstacle := probe.obstacle():
            raise self.check.NotRunError("; ".join(obstacle))
        return importlib.import_module("cupy")

    # --- environment ---------------------------------------------------------------------------

    def environment(self, _: float) -> dict[str, Any]:
        cupy = self.gpu()
        compiled = {}
        own = launcher.device_launcher(cupy.cuda.Device().id)
        for name in NAMES:
            start = time.perf_counter()
            own.function(name)
            compiled[name] = time.perf_counter() - start
        return {
            "cupy": cupy.__version__,
            "numpy": np.__version__,
            "nvrtc": cupy.cuda.nvrtc.getVersion(),
            "runtime": cupy.cuda.runtime.runtimeGetVersion(),
            "driver": cupy.cuda.runtime.driverGetVersion(),
            "seconds to compile, or to find compiled": compiled,
        }

    # --- correctness ---------------------------------------------------------------------------

    def correctness(self, seconds: float) -> dict[str, Any]:
        with contextlib.ExitStack() as stack:
            real = self.check.GPU
            cupy = self.gpu() if real else stack.enter_context(_rehearsal())
            sizes = [(1, 40, 2), (3, 60, 37)]
            if real:
                sizes += [(9, 100, 65), (17, 100, 130), (60, 100, 270), (4, 700, 33)]
            end = time.monotonic() + seconds
            rows, left_out = [], 0
            for size in sizes:
                for kind in ("random", "near-singular", "degenerate", "duplicate"):
                    values = self.check.series(kind, *size)
                    for case in _cases():
                        if time.monotonic() > end:
                            left_out += 1
                            continue
                        row = {"size": size, "series": kind, **{k: str(v) for k, v in case.items()}}
                        rows.append(row | self.compared(cupy, values, dict(case)))
        failures = [row for row in rows if not row["passed"]]
        worst = max((row["error"] / row["tolerance"] for row in rows), default=0)
        found = {"passed": not failures, "worst error over its tolerance": worst}
        found |= {"failures": failures, "left out": left_out, "rows": rows}
        return found if real else found | {"not run": "no GPU: rehearsed with kernels on the CPU"}

    def compared(self, cupy: Any, values: np.ndarray, case: dict[str, Any]) -> dict[str, Any]:
        what, path, dtype = case.pop("what"), case.pop("path"), case.pop("dtype")
        if what == "nodes":
            case["reduce"] = "nodes"
        elif what == "pairs":
            nodes = values.shape[-1]
            case["pairs"] = [[k % nodes, (k + 1) % nodes] for k in range(min(nodes, 9))]
        compute = synkern.persistence_reference if what == "reference" else synkern.phiid
        given = cupy.asarray(values)
        expected = compute(values, backend="numpy", **case)
        with _poisoned(), _forced(path):
            found, again = (compute(given, backend="cupy", dtype=dtype, **case) for _ in range(2))
        # As promised beside a truth; of two floating-point results each may be off by that much.
        hard = float(np.nanmax(np.abs(self.check.correlations(values)))) > 1 - 1e-3
        tolerance = 2 * (1e-6 if hard else 1e-9)
        if dtype == "float32":
            scale = max(float(np.nanmax(np.abs(v), initial=0)) for v in expected.values())
            tolerance = 2e-5 + 4 * float(np.finfo("float32").eps) * scale
        error, same_nan, same_bits = 0.0, True, True
        for atom in expected:
            host = found[atom].get()
            same_nan &= bool((np.isnan(host) == np.isnan(expected[atom])).all())
            same_bits &= np.array_equal(host, again[atom].get(), equal_nan=True)
            error = max(error, float(np.nanmax(np.abs(host - expected[atom]), initial=0)))
        same_degenerate = found.degenerate == expected.degenerate
        # A variance may lie on either side of the limit by rounding.
        few = abs(found.rescued - expected.rescued) <= 1 + expected.rescued // 1000
        return {
            "error": error,
            "tolerance": tolerance,
            "same nan": same_nan,
            "same degenerate": same_degenerate,
            "same bits twice": same_bits,
            "rescued": [found.rescued, expected.rescued],
            "passed": same_nan and same_degenerate and same_bits and few and error <= tolerance,
        }

    # --- streams -------------------------------------------------------------------------------

    def streams(self, _: float) -> dict[str, Any]:
        if not self.check.GPU:
            raise self.check.NotRunError("no GPU")
        cupy = self.gpu()
        values = self.check.series("random", 5, 100, 150)
        expected = synkern.phiid(values, backend="numpy")["sts"]
        found: dict[str, Any] = {}

        def near(result: Any) -> bool:
            host = result.cpu().numpy() if isinstance(result, torch.Tensor) else result.get()
            return bool(np.nanmax(np.abs(host - expected)) < 2e-9)

        # The series is written late on a stream of its own: who does not follow it reads NaN.
        late = cupy.full(values.shape, cupy.nan)
        square = cupy.ones((4096, 4096))
        ready = cupy.asarray(values)
        stream = cupy.cuda.Stream(non_blocking=True)
        stream.wait_event(cupy.cuda.get_current_stream().record())
        with stream:
            for _ in range(20):
                square @ square
            late[...] = ready
            # Its check for NaN reads the series, so that it would be refused.
            found["stream of cupy"] = near(synkern.phiid(late, backend="cupy")["sts"])
        if torch.cuda.is_available():
            there = torch.full(values.shape, torch.nan, dtype=torch.float64, device="cuda")
            tensor, wide = torch.from_numpy(values).cuda(), torch.randn(8192, 8192, device="cuda")
            own = torch.cuda.Stream()
            own.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(own):
                for _ in range(20):
                    wide @ wide
                there.copy_(tensor)
                result = synkern.phiid(there, backend="cupy")["sts"]
                found["stream of torch"] = near(result)
                found["tensor on its device"] = result.device == there.device
            shared = []
            taken = backend.compute
            backend.compute = lambda device, array, *rest: (
                shared.append(array.data.ptr) or taken(device, array, *rest)
            )
            try:
                synkern.phiid(tensor, backend="cupy")
            finally:
                backend.compute = taken
            found["tensor without a copy"] = shared == [tensor.data_ptr()]
        with cupy.cuda.Device(cupy.cuda.runtime.getDeviceCount() - 1) as last:
            elsewhere = cupy.asarray(values)
        result = synkern.phiid(elsewhere, backend="cupy")["sts"]
        found["the last device"] = result.device == last and near(result)
        found["passed"] = all(found.values())
        found["devices"] = cupy.cuda.runtime.getDeviceCount()
        return found

    # --- timing --------------------------------------------------------------------------------

    def timing(self, seconds: float) -> dict[str, Any]:
        if not self.check.GPU:
            raise self.check.NotRunError("no GPU: a time of the CPU says nothing")
        cupy = self.gpu()
        end = time.monotonic() + seconds
        series = cupy.asarray(np.random.default_rng(0).standard_normal(STUDY).cumsum(1))
        found: dict[str, Any] = {"what": STUDY, "device ms of a kernel": {}, "seconds of phiid": {}}
        for (kind, redundancy), atoms, dtype in itertools.product(
            VARIANTS, (TWO, "all"), ("float64", "float32")
        ):
            names = synkern.ATOMS if atoms == "all" else atoms
            request = request_for(
                names, per_trial=False, dtype=dtype, estimator=ESTIMATORS[kind, redundancy]
            )
            device = launch.Device(
                backend.cupy_library(), launcher.device_launcher(cupy.cuda.Device().id)
            )
            features = request.estimator.features(device.lib, series, 1, None)
            given = problem(device.lib, features, request)
            for path in ("series", "moments") if given.kernel == "mmi_series" else ("series",):
                label = f"{kind} {redundancy}, {len(names)} atoms, {dtype}, {path}"
                if time.monotonic() > end:
                    found.setdefault("left out", []).append(label)
                    continue
                with _forced(path):
                    found["device ms of a kernel"][label] = _device_ms(
                        cupy,
                        lambda device=device, given=given: launch.matrices(device, given, False),
                    )
        for (kind, redundancy), atoms, reduce in itertools.product(
            VARIANTS, (TWO, "all"), (None, "nodes")
        ):
            label = f"{kind} {redundancy}, {'2' if atoms == TWO else '16'} atoms, {reduce}"
            for _ in range(2):
                if time.monotonic() > end:
                    found.setdefault("left out", []).append(label)
                    break
                start = time.perf_counter()
                options = {"kind": kind, "redundancy": redundancy, "atoms": atoms}
                synkern.phiid(series, backend="cupy", reduce=reduce, **options)
                cupy.cuda.Device().synchronize()
                found["seconds of phiid"][label] = time.perf_counter() - start
        pool = cupy.get_default_memory_pool()
        pool.free_all_blocks()
        before = pool.total_bytes()
        synkern.phiid(series, backend="cupy")
        found["peak bytes above input"] = pool.total_bytes() - before
        return found

    # --- sanitizer -----------------------------------------------------------------------------

    def sanitizer(self, seconds: float) -> dict[str, Any]:
        tool = shutil.which("compute-sanitizer")
        if not self.check.GPU or tool is None:
            raise self.check.NotRunError(
                "no GPU" if not self.check.GPU else "compute-sanitizer is not on the path"
            )
        self.gpu()
        found: dict[str, Any] = {"passed": True}
        tools = ("memcheck", "racecheck", "initcheck", "synccheck")
        end = time.monotonic() + seconds
        for left, name in zip(range(len(tools), 0, -1), tools, strict=True):
            limit = (end - time.monotonic()) / left
            command = [tool, "--tool", name, "--kernel-name", "kernel_substring=phiid"]
            command += [sys.executable, "-W", "ignore", "-c", SANITIZED]
            try:
                done = subprocess.run(
                    command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit
                )
            except subprocess.TimeoutExpired:
                found[name] = f"not finished in {limit:.0f} s"
                continue
            found[name] = (done.stdout + done.stderr).strip().splitlines()[-5:]
            clean = "ERROR SUMMARY: 0 errors" in done.stdout or "0 hazards" in done.stdout
            found["passed"] &= done.returncode == 0 and clean
        return found


def _cases() -> Iterator[dict[str, Any]]:
    """Options of a decomposition, with what is asked for and the path of Gaussian MMI."""
    for (kind, redundancy), average, dtype in itertools.product(
        VARIANTS, ("trials", None), ("float64", "float32")
    ):
        estimator = {"kind": kind, "redundancy": redundancy}
        mmi = (kind, redundancy) == ("gaussian", "MMI")
        for path in ("series", "moments") if mmi else ("series",):
            for atoms in (TWO, "all"):
                common = {"average": average, "dtype": dtype, "path": path, "atoms": atoms}
                yield {"what": "all", **estimator, **common}
        for what in ("nodes", "pairs"):
            common = {"average": average, "dtype": dtype, "path": "series", "atoms": "all"}
            yield {"what": what, **estimator, **common}
    for dtype in ("float64", "float32"):
        common = {"average": "trials", "dtype": dtype, "path": "series", "atoms": "all"}
        yield {"what": "reference", **common}


@contextlib.contextmanager
def _forced(path: str) -> Iterator[None]:
    """Gaussian MMI straight from the series, or through moments in memory."""
    choose = launch.through_memory
    launch.through_memory = lambda *_: path == "moments"
    try:
        yield
    finally:
        launch.through_memory = choose


@contextlib.contextmanager
def _poisoned() -> Iterator[None]:
    """What kernels write is full of NaN before, or of -1."""
    empty = launch.Device.empty

    def poisoned(self: Any, shape: tuple[int, ...], dtype: str = "float64") -> Any:
        array = empty(self, shape, dtype)
        array[...] = np.nan if array.dtype.kind == "f" else -1
        return array

    launch.Device.empty = poisoned
    try:
        yield
    finally:
        launch.Device.empty = empty


@contextlib.contextmanager
def _rehearsal() -> Iterator[Any]:
    """A stand-in for cupy, and kernels that run on the CPU."""
    shim, stand_in = (importlib.import_module(name) for name in ("cuda_shim", "cupy_stand_in"))
    with tempfile.TemporaryDirectory() as folder:
        kernels = shim.Launcher(shim.build(Path(folder) / "kernels.so"))

        class OnCPU:
            multiprocessors = 4

            def launch(self, name: str, grid: int, block: int, arguments: Any) -> None:
                kernels.launch(name, grid, block, [stand_in.unwrap(a) for a in arguments])

        kept = backend.device_launcher, backends.cupy_obstacle, sys.modules.get("cupy")
        sys.modules["cupy"] = made = stand_in.module()
        backend.device_launcher, backends.cupy_obstacle = lambda _: OnCPU(), lambda: None
        try:
            yield made
        finally:
            backend.device_launcher, backends.cupy_obstacle, cupy = kept
            del sys.modules["cupy"]
            if cupy is not None:
                sys.modules["cupy"] = cupy


def _device_ms(cupy: Any, call: Callable[[], Any], repetitions: int = 7) -> float:
    """Median time on the device, after one call that compiles and one that warms up."""
    call()
    call()
    times = []
    for _ in range(repetitions):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end))
    return float(sorted(times)[repetitions // 2])
