"""The stages of `bench.gpu.check` for the backend `cupy`.

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

import synkern
from bench.gpu import truth
from bench.gpu.truth import GPU, TWO, VARIANTS, NotRunError
from bench.harness.records import ROOT
from synkern.kernels import Limits
from synkern.kernels.cupy_backend import backend, launch, probe, record
from synkern.kernels.cupy_backend import nvrtc as launcher
from synkern.kernels.cupy_backend.problem import problem
from synkern.kernels.cupy_backend.source import NAMES
from synkern.kernels.engine.all_pairs import request_for
from synkern.kernels.engine.libraries import cupy_library
from synkern.kernels.formulas.estimators import ESTIMATORS

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
                options = {"kind": kind, "redundancy": redundancy, "atoms": atoms,
                           "average": average, "backend": "cupy"}
                for verb in (synkern.phiid, synkern.phiid_nodes):
                    verb(series, **options)
                synkern.phiid(series, dtype="float32", **options)
moments = synkern.LaggedMoments().update(series)
for verb in (synkern.phiid, synkern.phiid_nodes):
    verb(moments, backend="cupy")
"""


def _gpu() -> Any:
    """The module cupy, where it can compute."""
    if obstacle := probe.obstacle():
        raise NotRunError("; ".join(obstacle))
    return importlib.import_module("cupy")


# --- environment ---------------------------------------------------------------------------


def environment(_: float) -> dict[str, Any]:
    cupy = _gpu()
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


def correctness(seconds: float) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        cupy = _gpu() if GPU else stack.enter_context(_rehearsal())
        sizes = [(1, 40, 2), (3, 60, 37)]
        if GPU:
            sizes += [(9, 100, 65), (17, 100, 130), (4, 1100, 33)]
        end = time.monotonic() + seconds
        rows, left_out = [], 0
        for size in sizes:
            for kind in truth.SERIES:
                held_to = truth.Truth(truth.series(kind, *size))
                given = cupy.asarray(held_to.values)
                for asked in truth.every_options():
                    if time.monotonic() > end:
                        left_out += 1
                        continue
                    with _poisoned():
                        found = held_to.compared(asked, given, "cupy", _forced)
                    rows.append({"size": size, "series": kind} | found)
    found = truth.summary(rows, left_out)
    return found if GPU else found | {"not run": "no GPU: rehearsed with kernels on the CPU"}


# --- streams -------------------------------------------------------------------------------


def streams(_: float) -> dict[str, Any]:
    if not GPU:
        raise NotRunError("no GPU")
    cupy = _gpu()
    values = truth.series("random", 5, 100, 150)
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


def timing(seconds: float) -> dict[str, Any]:
    if not GPU:
        raise NotRunError("no GPU: a time of the CPU says nothing")
    cupy = _gpu()
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
        device = launch.Device(cupy_library(), launcher.device_launcher(cupy.cuda.Device().id))
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
                    lambda device=device, given=given: launch.matrices(
                        device, given, False, Limits()
                    ),
                )
    for (kind, redundancy), atoms, verb in itertools.product(
        VARIANTS, (TWO, "all"), (synkern.phiid, synkern.phiid_nodes)
    ):
        label = f"{kind} {redundancy}, {'2' if atoms == TWO else '16'} atoms, {verb.__name__}"
        for _ in range(2):
            if time.monotonic() > end:
                found.setdefault("left out", []).append(label)
                break
            start = time.perf_counter()
            options = {"kind": kind, "redundancy": redundancy, "atoms": atoms}
            verb(series, backend="cupy", **options)
            cupy.cuda.Device().synchronize()
            found["seconds of phiid"][label] = time.perf_counter() - start
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.total_bytes()
    synkern.phiid(series, backend="cupy")
    found["peak bytes above input"] = pool.total_bytes() - before
    return found


# --- sanitizer -----------------------------------------------------------------------------


def sanitizer(seconds: float) -> dict[str, Any]:
    tool = shutil.which("compute-sanitizer")
    if not GPU or tool is None:
        raise NotRunError("no GPU" if not GPU else "compute-sanitizer is not on the path")
    _gpu()
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


@contextlib.contextmanager
def _forced(path: str) -> Iterator[None]:
    """Gaussian MMI straight from the series, or through moments in memory."""
    choose = launch.through_memory
    launch.through_memory = lambda *_, **__: path == "moments"
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
    shim = importlib.import_module("tests.support.cuda_shim")
    stand_in = importlib.import_module("tests.support.cupy_stand_in")
    with tempfile.TemporaryDirectory() as folder:
        kernels = shim.Launcher(shim.build(Path(folder) / "kernels.so"))

        class OnCPU:
            multiprocessors = 4
            capability = (9, 0)

            def launch(self, name: str, grid: int, block: int, arguments: Any) -> None:
                kernels.launch(name, grid, block, [stand_in.unwrap(a) for a in arguments])

        kept = backend.device_launcher, record.obstacle, sys.modules.get("cupy")
        sys.modules["cupy"] = made = stand_in.module()
        backend.device_launcher, record.obstacle = lambda _: OnCPU(), lambda: None
        try:
            yield made
        finally:
            backend.device_launcher, record.obstacle, cupy = kept
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


STAGES: dict[str, tuple[Callable[[float], dict[str, Any]], float]] = {
    "cupy-environment": (environment, 60),
    "cupy-correctness": (correctness, 150),
    "cupy-streams": (streams, 20),
    "cupy-timing": (timing, 60),
    "cupy-sanitizer": (sanitizer, 120),
}
"""Stages, with the seconds that each may take."""
