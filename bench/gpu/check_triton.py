"""The stages of `bench.gpu.check` for the backends `torch` and `triton`.

| stage              | what                                                                      |
|--------------------|---------------------------------------------------------------------------|
| triton-correctness | every estimator, path, dtype, output, kind of series and size against     |
|                    | NumPy in float64: errors, NaN, outcomes; the same bits twice; poisoned    |
|                    | outputs                                                                   |
| triton-vectors     | standardisation in one read, and its time                                 |
| triton-launches    | another stream, a CUDA graph, the gradient                                |
| triton-timing      | 1152 nodes, 60 trials, 100 samples: torch eager, torch.compile, triton    |
| triton-sweep       | tiles, see `bench.tables.sweep_tiles`                                     |
| triton-sanitizer   | compute-sanitizer, if there is one                                        |

Without a GPU, correctness, standardisation, the gradient and the sweep are rehearsed by triton's
interpreter.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

import synkern
from bench.gpu import truth
from bench.gpu.truth import DEVICE, GPU, NODES, STUDY, TIME, TRIALS, NotRunError
from bench.harness.records import ROOT
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


def correctness(seconds: float) -> dict[str, Any]:
    sizes = [(1, 20, 2), (3, 30, 19)]
    if GPU:
        sizes = [(1, 40, 2), (3, 60, 37), (9, 100, 65), (17, 100, 130), (4, 1100, 33)]
    end = time.monotonic() + seconds
    rows, left_out = [], 0
    for size in sizes:
        for kind in truth.SERIES:
            held_to = truth.Truth(truth.series(kind, *size))
            given = torch.from_numpy(held_to.values).to(DEVICE)
            for asked in truth.every_options(by_node=(("gaussian", "MMI"),)):
                backends = ("torch", "triton") if asked["path"] == "series" else ("triton",)
                for backend in backends:
                    if time.monotonic() > end:
                        left_out += 1
                        continue
                    found = held_to.compared(asked, given, backend, _forced)
                    rows.append({"size": size, "series": kind} | found)
    return truth.summary(rows, left_out)


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


def vectors(_: float) -> dict[str, Any]:
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


def launches(_: float) -> dict[str, Any]:
    from synkern.kernels.triton_backend.op import gaussian_mmi  # noqa: PLC0415

    values = torch.from_numpy(truth.series("random", 5, 60, 37)).to(DEVICE)
    vectors = formulas.unit_vectors(torch, values, 1)
    arguments = (*vectors, "rtr,sts", False, False, 64)
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
    found["passed"] &= found["stream"] and found["graph"]
    return found


def timing(_: float) -> dict[str, Any]:
    if not GPU:
        raise NotRunError("no GPU: a time of the interpreter says nothing")
    from synkern.kernels.triton_backend.launch import Area, capability  # noqa: PLC0415
    from synkern.kernels.triton_backend.mmi import fill, path_for  # noqa: PLC0415
    from synkern.kernels.triton_backend.plan import plan  # noqa: PLC0415

    vectors = sweep_tiles.features(TRIALS, TIME - 1, NODES)
    values = torch.randn(TRIALS, TIME, NODES, dtype=torch.float64, device=DEVICE).cumsum(1)
    marked = torch.zeros(1 << 16, dtype=torch.int64, device=DEVICE)
    count = torch.zeros(1, dtype=torch.int64, device=DEVICE)
    found: dict[str, Any] = {"what": STUDY, "device ms": {}, "seconds of phiid": {}}

    compiled = torch.compile(eager_sums)
    exact = eager_sums(vectors)
    found["torch.compile error"] = float((compiled(vectors) - exact).abs().max())
    found["device ms"]["torch, eager, rtr+sts"] = sweep_tiles.device_ms(lambda: eager_sums(vectors))
    found["device ms"]["torch.compile, rtr+sts"] = sweep_tiles.device_ms(lambda: compiled(vectors))

    for size, names in sweep_tiles.NAMES.items():
        for dtype in ("float64", "float32"):
            for path in ("series", "moments"):
                options: dict[str, Any] = {"plan": plan(names), "per_trial": False, "dtype": dtype}

                def call(path: Any = path, options: Any = options) -> Any:
                    return fill(path, *vectors, marked, count, **options)

                name = f"triton, {path}, {len(names)} atoms, {dtype}"
                found["device ms"][name] = sweep_tiles.device_ms(call)
                if size == "few" and dtype == "float64":
                    off = ~torch.eye(NODES, dtype=torch.bool, device=DEVICE)
                    error = float(((call() - exact) * off).abs().max())
                    found[f"{path} differs from eager by"] = error
            found[f"chosen, {len(names)} atoms, {dtype}"] = path_for(
                Area(NODES),
                TIME - 1,
                False,
                plan(names),
                dtype=dtype,
                capability=capability(vectors.past),
            )

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


def sweep(seconds: float) -> dict[str, Any]:
    """Every kernel on a GPU; without one, whether two configurations of each agree."""
    vectors = sweep_tiles.features(TRIALS, TIME - 1, NODES)
    if GPU:
        found = sweep_tiles.sweep(vectors, seconds)
        print(sweep_tiles.table(found))
        return found
    differences, passed = {}, True
    for kernel in sweep_tiles.kernels(vectors):
        one, other = (kernel.run(launch) for launch in (kernel.frozen, kernel.others[0]))
        differences[kernel.name] = error = float((one - other).abs().max())
        passed &= error <= kernel.tolerance
    return {"passed": passed, "differences": differences, "not run": "times: no GPU"}


def sanitizer(seconds: float) -> dict[str, Any]:
    tool = shutil.which("compute-sanitizer")
    if not GPU or tool is None:
        raise NotRunError("no GPU" if not GPU else "compute-sanitizer is not on the path")
    found: dict[str, Any] = {"passed": True}
    for check in ("memcheck", "racecheck", "initcheck"):
        command = [tool, "--tool", check, sys.executable, "-W", "ignore", "-c", SANITIZED]
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
    "triton-correctness": (correctness, 150),
    "triton-vectors": (vectors, 20),
    "triton-launches": (launches, 30),
    "triton-timing": (timing, 150),
    "triton-sweep": (sweep, 120),
    "triton-sanitizer": (sanitizer, 90),
}
"""Stages, with the seconds that each may take."""
