"""The stages of `bench.gpu.check` for the backend `cupy`.

| stage            | what                                                                        |
|------------------|-----------------------------------------------------------------------------|
| cupy-compile     | seconds that each kernel takes to compile, on several cores                 |
| cupy-environment | versions                                                                    |
| cupy-timing      | 1152 nodes, 60 trials, 100 samples: kernels, and from series to result      |
| cupy-streams     | streams of CuPy and torch, tensors without a copy, other devices            |
| cupy-correctness | every estimator, path, dtype, output, kind of series and size against the   |
|                  | CPU in float64: errors, NaN, flags; the same bits twice; outputs poisoned   |
| cupy-sanitizer   | compute-sanitizer (memcheck, racecheck, initcheck, synccheck), if there is  |
|                  | one                                                                         |

Without a GPU, correctness is rehearsed: the kernels run on the CPU under the shim of the tests, on
arrays of a stand-in for CuPy. The other stages then say that they were not run.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import synkern
from bench.gpu import programs, truth
from bench.gpu.journal import NotRunError
from bench.gpu.stage import Items
from bench.gpu.truth import GPU, TWO, VARIANTS
from synkern.kernels import Limits, Status
from synkern.kernels.cupy_backend import backend, launch, probe, unit_vectors
from synkern.kernels.cupy_backend import nvrtc as launcher
from synkern.kernels.cupy_backend.problem import problem
from synkern.kernels.cupy_backend.source import NAMES
from synkern.kernels.engine.all_pairs import request_for
from synkern.kernels.engine.libraries import cupy_library
from synkern.kernels.formulas.estimators import ESTIMATORS

STUDY = (60, 100, 1152)  # trials, time, nodes
BRAIN = (20, 1200, 400)  # so long that moments may be faster
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
    if not (status := probe.status()).available:
        raise NotRunError(f"{status.why}; {status.remedy}")
    return importlib.import_module("cupy")


# --- environment ---------------------------------------------------------------------------


def environment(_: Path) -> Items:
    yield "versions", _versions


def _versions() -> dict[str, Any]:
    cupy = _gpu()
    return {
        "cupy": cupy.__version__,
        "numpy": np.__version__,
        "nvrtc": cupy.cuda.nvrtc.getVersion(),
        "runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "driver": cupy.cuda.runtime.driverGetVersion(),
    }


def compilation(_: Path) -> Items:
    """Fills CuPy's cache of binaries."""
    # Those of all pairs first: most stages launch no others.
    for name in sorted(NAMES, key=lambda name: "Rectangle" in name):
        yield name, functools.partial(_compiled, name)


def _compiled(name: str) -> dict[str, Any]:
    cupy = _gpu()
    start = time.perf_counter()
    launcher.device_launcher(cupy.cuda.Device().id).function(name)
    seconds = time.perf_counter() - start
    return {"seconds to compile, or to find compiled": {name: seconds}}


# --- correctness ---------------------------------------------------------------------------


def correctness(folder: Path) -> Items:
    if GPU:
        _gpu()
    else:
        # For as long as this process runs.
        stack = contextlib.ExitStack()
        stack.enter_context(_rehearsal())
        atexit.register(stack.close)
    return truth.compared(folder, lambda _: ("cupy",), _forced_and_poisoned)


@contextlib.contextmanager
def _forced_and_poisoned(path: str) -> Iterator[None]:
    with _forced(path), _poisoned():
        yield


# --- streams -------------------------------------------------------------------------------


def streams(_: Path) -> Items:
    yield "streams of cupy", _streams_of_cupy
    yield "streams of torch", _streams_of_torch
    yield "the last device", _last_device


def _expected() -> tuple[np.ndarray, np.ndarray]:
    values = truth.series("random", 5, 100, 150)
    return values, np.asarray(synkern.phiid(values, backend="numpy")["sts"])


def _near(result: Any, expected: np.ndarray) -> bool:
    host = result.cpu().numpy() if isinstance(result, torch.Tensor) else result.get()
    return bool(np.nanmax(np.abs(host - expected)) < 2e-9)


def _streams_of_cupy() -> dict[str, Any]:
    cupy = _gpu()
    values, expected = _expected()
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
        right = _near(synkern.phiid(late, backend="cupy")["sts"], expected)
    return {"stream of cupy": right, "passed": right}


def _streams_of_torch() -> dict[str, Any]:
    _gpu()
    values, expected = _expected()
    found: dict[str, Any] = {}
    there = torch.full(values.shape, torch.nan, dtype=torch.float64, device="cuda")
    tensor, wide = torch.from_numpy(values).cuda(), torch.randn(8192, 8192, device="cuda")
    own = torch.cuda.Stream()
    own.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(own):
        for _ in range(20):
            wide @ wide
        there.copy_(tensor)
        result = synkern.phiid(there, backend="cupy")["sts"]
        found["stream of torch"] = _near(result, expected)
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
    return found | {"passed": all(found.values())}


def _last_device() -> dict[str, Any]:
    cupy = _gpu()
    values, expected = _expected()
    with cupy.cuda.Device(cupy.cuda.runtime.getDeviceCount() - 1) as last:
        elsewhere = cupy.asarray(values)
    result = synkern.phiid(elsewhere, backend="cupy")["sts"]
    right = result.device == last and _near(result, expected)
    return {"the last device": right, "passed": right, "devices": last.id + 1}


# --- timing --------------------------------------------------------------------------------


def timing(_: Path) -> Items:
    if not GPU:
        raise NotRunError("no GPU: a time of the CPU says nothing")
    _gpu()
    for (estimator, atoms), dtype in itertools.product(_ASKED, ("float64", "float32")):
        mmi = estimator == ("gaussian", "MMI")
        for path in ("one series", "series", "moments") if mmi else ("series",):
            label = f"{' '.join(estimator)}, {len(atoms)} atoms, {dtype}, {path}"
            yield label, functools.partial(_timed_kernel, label, estimator, atoms, dtype, path)
    for atoms, path in itertools.product((TWO, synkern.ATOMS), ("one series", "moments")):
        label = f"gaussian MMI, {len(atoms)} atoms, {path}, {BRAIN[1]} samples, {BRAIN[2]} nodes"
        asked = ("gaussian", "MMI"), atoms, "float64", path, BRAIN
        yield label, functools.partial(_timed_kernel, label, *asked)
    for (estimator, atoms), verb in itertools.product(_ASKED, (synkern.phiid, synkern.phiid_nodes)):
        label = f"{' '.join(estimator)}, {len(atoms)} atoms, {verb.__name__}"
        yield label, functools.partial(_timed_call, label, estimator, atoms, verb)
    yield "peak memory", _peak


_ASKED = tuple(itertools.product(VARIANTS, (TWO, synkern.ATOMS)))
"""Estimators and atoms."""


@functools.cache
def _walks(shape: tuple[int, int, int] = STUDY) -> Any:
    return _gpu().asarray(np.random.default_rng(0).standard_normal(shape).cumsum(1))


def _timed_kernel(
    label: str,
    estimator: tuple[str, str],
    atoms: Any,
    dtype: str,
    path: str,
    shape: tuple[int, int, int] = STUDY,
) -> dict[str, Any]:
    cupy = _gpu()
    request = request_for(atoms, per_trial=False, dtype=dtype, estimator=ESTIMATORS[estimator])
    device = launch.Device(cupy_library(), launcher.device_launcher(cupy.cuda.Device().id))
    if path == "one series":
        features: Any = unit_vectors.one_series(device, _walks(shape))
    else:
        features = request.estimator.features(device.lib, _walks(shape), 1, None)
    given = problem(device.lib, features, request)
    with _forced(path):
        ms = _device_ms(cupy, lambda: launch.matrices(device, given, False, Limits()))
    timed: dict[str, Any] = {"device ms of a kernel": {label: ms}}
    return timed | {"what": STUDY} if shape == STUDY else timed


def _timed_call(label: str, estimator: tuple[str, str], atoms: Any, verb: Any) -> dict[str, Any]:
    cupy, (kind, redundancy) = _gpu(), estimator
    for _ in range(2):
        cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        verb(_walks(), backend="cupy", kind=kind, redundancy=redundancy, atoms=atoms)
        cupy.cuda.Device().synchronize()
        seconds = time.perf_counter() - start
    return {"seconds of phiid": {label: seconds}}


def _peak() -> dict[str, Any]:
    pool, walks = _gpu().get_default_memory_pool(), _walks()
    pool.free_all_blocks()
    before = pool.total_bytes()
    synkern.phiid(walks, backend="cupy")
    return {"peak bytes above input": pool.total_bytes() - before}


def sanitizer(_: Path) -> Items:
    checks = ("memcheck", "racecheck", "initcheck", "synccheck")
    yield from programs.sanitized(SANITIZED, "phiid", checks)


@contextlib.contextmanager
def _forced(path: str) -> Iterator[None]:
    """Gaussian MMI straight from the series (one, where it is chosen), or through moments."""
    kept = launch.through_memory, unit_vectors.LAGS_ON
    launch.through_memory = lambda *_, **__: path == "moments"
    if path == "moments":
        unit_vectors.LAGS_ON = ()
    try:
        yield
    finally:
        launch.through_memory, unit_vectors.LAGS_ON = kept


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

        kept = backend.device_launcher, probe.status, sys.modules.get("cupy")
        sys.modules["cupy"] = made = stand_in.module()
        backend.device_launcher = lambda _: OnCPU()
        probe.status = lambda: Status(("cuda",))
        try:
            yield made
        finally:
            backend.device_launcher, probe.status, cupy = kept
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
