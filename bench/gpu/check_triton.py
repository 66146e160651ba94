"""The stages of `bench.gpu.check` for the backends `torch` and `triton`.

| stage              | what                                                                      |
|--------------------|---------------------------------------------------------------------------|
| triton-compile     | every kernel that other stages launch, ahead, on several cores            |
| triton-timing      | 1152 nodes, 60 trials, 100 samples: every kernel, torch eager, whole calls|
| triton-launches    | another stream, a CUDA graph, the gradient                                |
| triton-vectors     | standardisation in one read, and its time                                 |
| triton-correctness | every estimator, path, dtype, output, kind of series and size against the |
|                    | CPU in float64: errors, NaN, outcomes; the same bits twice; poisoned      |
|                    | outputs                                                                   |
| triton-sanitizer   | compute-sanitizer, if there is one                                        |
| triton-sweep       | tiles, see `bench.tables.sweep_tiles`                                     |
| torch-compile      | what torch.compile makes of backend torch                                 |

Without a GPU, correctness, standardisation, the gradient and the sweep are rehearsed by triton's
interpreter.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import synkern
from bench.gpu import programs, truth
from bench.gpu.journal import NotRunError
from bench.gpu.stage import Items
from bench.gpu.truth import DEVICE, GPU, NODES, SIZES, STUDY, TIME, TRIALS
from bench.tables import sweep_tiles
from synkern.kernels.contract import smallest_trusted
from synkern.kernels.formulas import mmi
from synkern.kernels.formulas import unit_vectors as formulas
from synkern.kernels.formulas.estimators import STRICT
from synkern.kernels.formulas.unit_vectors import UnitVectors

SANITIZED = """
import numpy, torch, warnings, synkern
warnings.simplefilter("ignore")
series = numpy.random.default_rng(0).standard_normal((3, 40, 37)).cumsum(1)
series[..., 3] = series[..., 2]
series[0, :, 7] = 1
series = torch.from_numpy(series).cuda()
for kind in ("gaussian", "discrete"):
    for redundancy in ("MMI", "CCS"):
        for atoms in ("all", ("rtr", "sts")):
            synkern.phiid(series, kind=kind, redundancy=redundancy, atoms=atoms, backend="triton")
synkern.phiid_nodes(series, backend="triton")
synkern.phiid(synkern.LaggedMoments().update(series), backend="triton")
"""


def correctness(folder: Path) -> Items:
    return truth.compared(folder, _backends, _forced, by_node=(("gaussian", "MMI"),))


def _backends(asked: truth.Options) -> tuple[str, ...]:
    """Paths are of triton alone."""
    return ("torch", "triton") if asked["path"] == "series" else ("triton",)


@contextlib.contextmanager
def _forced(path: str) -> Iterator[None]:
    """Gaussian MMI straight from the series, or through moments in memory; outputs full of NaN."""
    from synkern.kernels.triton_backend import backend, op  # noqa: PLC0415

    kept = op.path_for, backend.path_for, torch.empty
    op.path_for = backend.path_for = lambda *_, **__: path
    torch.empty = _poisoned
    try:
        yield
    finally:
        op.path_for, backend.path_for, torch.empty = kept


def _poisoned(*shape: Any, _empty: Any = torch.empty, **options: Any) -> torch.Tensor:
    memory: torch.Tensor = _empty(*shape, **options)
    return memory.fill_(torch.nan) if memory.dtype.is_floating_point else memory


def vectors(_: Path) -> Items:
    yield "unit vectors", _vectors


def _vectors() -> dict[str, Any]:
    """Held to whole-array operations on the same device."""
    from synkern.kernels.triton_backend.unit_vectors import unit_vectors  # noqa: PLC0415

    values = torch.from_numpy(truth.series("degenerate", 3, 60, 37)).to(DEVICE)
    found: dict[str, Any] = {"unit vectors differ by": {}}
    passed = True
    for tau in (1, 7):
        one, other = unit_vectors(values, tau, None), formulas.unit_vectors(torch, values, tau)
        error = max(float((a - b).abs().max()) for a, b in zip(one[:2], other[:2], strict=True))
        found["unit vectors differ by"][tau] = error
        passed &= error < 1e-14 and torch.equal(one.constant, other.constant)
    found["passed"] = passed
    if not GPU:
        return found | {"not run": "times: no GPU"}
    big = torch.randn(TRIALS, TIME, NODES, device=DEVICE, dtype=torch.float64)
    calls: dict[str, Callable[[], Any]] = {
        "unit vectors, torch": lambda: formulas.unit_vectors(torch, big, 1),
        "unit vectors, triton": lambda: unit_vectors(big, 1, None),
    }
    found["device ms"] = {name: sweep_tiles.device_ms(call) for name, call in calls.items()}
    return found


def launches(_: Path) -> Items:
    yield "gradient", _gradient
    yield "stream and graph", _stream_and_graph


def _gradient() -> dict[str, Any]:
    values, results = torch.from_numpy(truth.series("random", 5, 60, 37)).to(DEVICE), []
    for name in ("triton", "torch"):
        leaf = values.clone().requires_grad_()
        torch.nansum(synkern.phiid(leaf, backend=name)["sts"]).backward()
        results.append(leaf.grad)
    error = float((results[0] - results[1]).abs().max())
    return {"gradient error": error, "passed": error < 1e-8}


def _stream_and_graph() -> dict[str, Any]:
    if not GPU:
        raise NotRunError("streams and CUDA graphs: no GPU")
    from synkern.kernels.triton_backend.op import gaussian_mmi  # noqa: PLC0415

    values = torch.from_numpy(truth.series("random", 5, 60, 37)).to(DEVICE)
    vectors = formulas.unit_vectors(torch, values, 1)
    arguments = (*vectors, "rtr,sts", False, False, 64)
    expected = gaussian_mmi(*arguments)[0]
    found: dict[str, Any] = {}
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        on_stream = gaussian_mmi(*arguments)[0]
    torch.cuda.synchronize()
    found["stream"] = torch.equal(on_stream, expected)

    copies = [v.clone() for v in vectors]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = gaussian_mmi(*copies, *arguments[3:])[0]
    other = formulas.unit_vectors(torch, values.flip(1), 1)
    for copy, value in zip(copies, other, strict=True):
        copy.copy_(value)
    graph.replay()
    torch.cuda.synchronize()
    found["graph"] = torch.equal(captured, gaussian_mmi(*other, *arguments[3:])[0])
    return found | {"passed": found["stream"] and found["graph"]}


@functools.cache
def _features() -> UnitVectors:
    return sweep_tiles.features(TRIALS, TIME - 1, NODES)


@functools.cache
def _exact() -> torch.Tensor:
    return eager_sums(_features())


def timing(_: Path) -> Items:
    if not GPU:
        raise NotRunError("no GPU: a time of the interpreter says nothing")
    sizes, dtypes, paths = sweep_tiles.NAMES, ("float64", "float32"), ("series", "moments")
    for dtype, size, path in itertools.product(dtypes, sizes, paths):
        name = f"triton, {path}, {len(sizes[size])} atoms, {dtype}"
        yield name, functools.partial(_timed_mmi, name, size, dtype, path)
    for kernel in sweep_tiles.kernels(_features()):
        if " nodes " in kernel.name or "ccs" in kernel.name or "discrete" in kernel.name:
            yield f"triton, {kernel.name}", functools.partial(_timed_kernel, kernel)
    for backend, atoms in itertools.product(("triton", "torch"), (("rtr", "sts"), "all")):
        label = f"{backend}, {'16' if atoms == 'all' else '2'} atoms"
        yield f"phiid, {label}", functools.partial(_timed_call, label, backend, atoms)
    yield "peak memory", _peak
    yield (
        "torch, eager",
        lambda: {
            "device ms": {
                "torch, eager, rtr+sts": sweep_tiles.device_ms(lambda: eager_sums(_features()))
            }
        },
    )


def _timed_mmi(name: str, size: Any, dtype: str, path: Any) -> dict[str, Any]:
    from synkern.kernels.triton_backend.launch import Area, capability  # noqa: PLC0415
    from synkern.kernels.triton_backend.mmi import fill, path_for  # noqa: PLC0415
    from synkern.kernels.triton_backend.plan import plan  # noqa: PLC0415

    vectors, chosen = _features(), plan(sweep_tiles.NAMES[size])
    marked = torch.zeros(1 << 16, dtype=torch.int64, device=DEVICE)
    count = torch.zeros(1, dtype=torch.int64, device=DEVICE)

    def call() -> torch.Tensor:
        return fill(path, *vectors, marked, count, plan=chosen, per_trial=False, dtype=dtype)

    found: dict[str, Any] = {"what": STUDY, "device ms": {name: sweep_tiles.device_ms(call)}}
    if size == "few" and dtype == "float64":
        off = ~torch.eye(NODES, dtype=torch.bool, device=DEVICE)
        error = float(((call() - _exact()) * off).abs().max())
        found[f"{path} differs from eager by"] = error
    found[f"chosen, {len(sweep_tiles.NAMES[size])} atoms, {dtype}"] = path_for(
        Area(NODES), TIME - 1, False, chosen, dtype=dtype, capability=capability(vectors.past)
    )
    return found


def _timed_kernel(kernel: sweep_tiles.Kernel) -> dict[str, Any]:
    ms = sweep_tiles.device_ms(lambda: kernel.run(kernel.frozen))
    return {"device ms": {f"triton, {kernel.name}": ms}}


def _walks() -> torch.Tensor:
    generator = torch.Generator(DEVICE).manual_seed(0)
    options: dict[str, Any] = {"dtype": torch.float64, "device": DEVICE, "generator": generator}
    return torch.randn(TRIALS, TIME, NODES, **options).cumsum(1)


def _timed_call(label: str, backend: str, atoms: Any) -> dict[str, Any]:
    values = _walks()
    for _ in range(2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        synkern.phiid(values, atoms=atoms, backend=backend)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    return {"seconds of phiid": {label: seconds}}


def _peak() -> dict[str, Any]:
    values = _walks()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    synkern.phiid(values, backend="triton")
    return {"peak bytes above input": torch.cuda.max_memory_allocated() - before}


def torch_compile(_: Path) -> Items:
    yield "rtr+sts", _torch_compile


def _torch_compile() -> dict[str, Any]:
    if not GPU:
        raise NotRunError("no GPU")
    vectors, compiled = _features(), torch.compile(eager_sums)
    error = float((compiled(vectors) - _exact()).abs().max())
    ms = sweep_tiles.device_ms(lambda: compiled(vectors))
    return {"torch.compile error": error, "device ms": {"torch.compile, rtr+sts": ms}}


def eager_sums(vectors: UnitVectors) -> torch.Tensor:
    """What backend torch computes, over whole matrices of ten trials: (2, nodes, nodes)."""
    limit = smallest_trusted(vectors.samples, "float64", STRICT["float64"])
    total = torch.zeros(2, NODES, NODES, dtype=torch.float64, device=vectors.past.device)
    for start in range(0, TRIALS, 10):
        x, a = vectors.past[start : start + 10], vectors.future[start : start + 10]
        own = (x * a).sum(-1)
        c = mmi.Correlations(
            x @ x.mT, a @ a.mT, own[:, :, None], x @ a.mT, a @ x.mT, own[:, None, :]
        )
        v, variance = mmi.lambdas(torch, c)
        for n, atom in enumerate(mmi.atoms(torch, v, ("rtr", "sts"))):
            total[n] += torch.where(variance >= limit, atom, 0.0).sum(0)
    return total


SECONDS_OF_A_KERNEL = 25
"""In which its candidates are timed; `triton-compile` has compiled them before."""


def sweep(_: Path) -> Items:
    """Every kernel on a GPU; without one, whether two configurations of each agree."""
    for kernel in sweep_tiles.kernels(_features()):
        yield kernel.name, functools.partial(_swept, kernel)


def _swept(kernel: sweep_tiles.Kernel) -> dict[str, Any]:
    if GPU:
        return sweep_tiles.sweep(_features(), SECONDS_OF_A_KERNEL, kernel.name)
    one, other = (kernel.run(launch) for launch in (kernel.frozen, kernel.others[0]))
    error = float((one - other).abs().max())
    return {
        "passed": error <= kernel.tolerance,
        "differences": {kernel.name: error},
        "not run": "times: no GPU",
    }


def sanitizer(_: Path) -> Items:
    yield from programs.sanitized(SANITIZED, "_kernel", ("memcheck", "racecheck", "initcheck"))


# --- compilation ---------------------------------------------------------------------------------


def compilation(_: Path) -> Items:
    """Fills triton's cache: calls of other stages, whose kernels are compiled and not launched.

    What `triton-timing` launches first, then `triton-correctness`, then what the sweep tries.
    """
    if not GPU:
        raise NotRunError("no GPU")
    kernels = list(sweep_tiles.kernels(_features()))
    for kernel in kernels:
        yield kernel.name, functools.partial(_compile_launches, kernel, [kernel.frozen])
    for size in SIZES:
        for estimator in truth.VARIANTS:
            name = f"{truth.times(size)}, {' '.join(estimator)}"
            yield name, functools.partial(_compile_calls, size, estimator)
    for kernel in kernels:
        name = f"{kernel.name}, candidates"
        yield name, functools.partial(_compile_launches, kernel, kernel.others)


def _compile_calls(size: tuple[int, int, int], estimator: tuple[str, str]) -> dict[str, Any]:
    given = torch.from_numpy(truth.series("random", *size)).to(DEVICE)
    with _unlaunched():
        for asked in truth.every_options(by_node=(("gaussian", "MMI"),)):
            if (asked.get("kind", "gaussian"), asked.get("redundancy", "MMI")) == estimator:
                with _forced(asked["path"]):
                    truth.decomposed(given, asked | {"backend": "triton"})
    return {}


def _compile_launches(kernel: sweep_tiles.Kernel, launches: list[Any]) -> dict[str, Any]:
    refused: dict[str, str] = {}
    with _unlaunched():
        for launch in launches:
            try:
                kernel.run(launch)
            except Exception as error:  # One that does not fit the device: the sweep says so too.
                refused[f"{kernel.name}, {launch}"] = f"{type(error).__name__}: {error}"[:200]
    return {"refused": refused}


@contextlib.contextmanager
def _unlaunched() -> Iterator[None]:
    """Kernels are compiled, and not launched: the device stays free for those that are timed."""
    from triton.runtime.jit import JITFunction  # noqa: PLC0415

    run = JITFunction.run

    def compiled(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        return run(self, *arguments, grid=grid, warmup=True, **options)

    JITFunction.run = compiled
    try:
        yield
    finally:
        JITFunction.run = run
