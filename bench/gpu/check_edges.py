"""The stages of `bench.gpu.check` at the edges of what the kernels take.

| stage   | what                                                                              |
|---------|-----------------------------------------------------------------------------------|
| smoke   | every estimator of every backend once, on a small series                          |
| rescued | series of which every pair is near singular: the stable path, its time, and more  |
|         | pairs than the list of the kernels holds at first                                 |
| large   | outputs and series of more than 2^31 elements, some pairs held to the CPU         |
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.gpu import truth
from bench.gpu.journal import NotRunError
from bench.gpu.stage import Items
from bench.gpu.truth import DEVICE, GPU, PLAIN, TWO, VARIANTS, Options
from synkern.kernels import BACKENDS, LIMITS

SMALL = (3, 60, 37) if GPU else (2, 20, 5)

OUTPUTS = (1, 40, 33_000) if GPU else (1, 20, 19)
"""Trials, samples, nodes: two atoms of all pairs are more than 2^31 numbers."""

LONG = (16_384, 128, 1_025) if GPU else (6, 20, 5)
"""So is this series itself."""

SAMPLED = 12
"""Nodes whose pairs are held to the CPU, the last among them."""


def ready(backend: str) -> None:
    """Refuse a backend that cannot run where this check does.

    Raises:
        NotRunError: with the reason.
    """
    status = next(b.status() for b in BACKENDS if b.name == backend)
    if DEVICE not in status.devices:
        raise NotRunError(f"{backend}: {status.why or f'not on {DEVICE}'}")


def smoke(folder: Path) -> Items:
    for backend, (kind, redundancy), atoms in itertools.product(
        ("cupy", "triton", "torch"), VARIANTS, (TWO, "all")
    ):
        asked = PLAIN | {"kind": kind, "redundancy": redundancy, "atoms": atoms}
        name = f"{backend}, {kind} {redundancy}, {'all' if atoms == 'all' else 'rtr and sts'}"
        truth_of = functools.partial(truth.held_to, folder, "random", SMALL)
        yield name, functools.partial(_row, truth_of, asked, backend)


def _row(truth_of: Callable[[], truth.Truth], asked: Options, backend: str) -> dict[str, Any]:
    ready(backend)
    held_to = truth_of()
    given = truth.on(held_to.values, backend)
    row = held_to.compared(asked, given, backend, lambda _: contextlib.nullcontext())
    size = held_to.values.shape
    return {"passed": row["passed"], "rows": [{"size": size, "series": "random"} | row]}


# --- rescued pairs -------------------------------------------------------------------------------


def rescued(folder: Path) -> Items:
    for size, what, backend in itertools.product(
        truth.RESCUED_SIZES, ("all", "nodes"), ("triton", "cupy", "torch")
    ):
        name = f"{backend}, {truth.times(size)}, {what}"
        yield name, functools.partial(_rescued, folder, name, size, what, backend)


def _rescued(folder: Path, name: str, size: Any, what: str, backend: str) -> dict[str, Any]:
    truth_of = functools.partial(truth.held_to, folder, truth.RESCUED, size)
    asked = PLAIN | {"what": what}
    found = _row(truth_of, asked, backend)
    (row,) = found["rows"]
    given = truth.on(truth_of().values, backend)
    start = time.perf_counter()
    truth.decomposed(given, asked | {"backend": backend})
    if GPU:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    trials, _, nodes = size
    pairs = trials * nodes * (nodes - 1) // 2
    # Else the stable path was not what was tried.
    passed = row["passed"] and row["rescued"][0] == pairs
    rows = [row | {"series": truth.RESCUED, "passed": passed}]
    return {
        "passed": passed,
        "rows": rows,
        "rescued pairs": {name: pairs},
        "list overflowed": {name: pairs > LIMITS.capacity},
        "seconds of phiid": {f"{name}, every pair rescued": seconds},
    }


# --- more than 2^31 elements ---------------------------------------------------------------------


def large(_: Path) -> Items:
    cases: list[tuple[str, tuple[int, int, int], Options]] = [
        ("outputs, float32", OUTPUTS, PLAIN | {"dtype": "float32"}),
        ("outputs, float64", OUTPUTS, PLAIN),
        ("series, discrete", LONG, PLAIN | {"kind": "discrete"}),
        ("series, gaussian", LONG, PLAIN),
    ]
    for (name, size, asked), backend in itertools.product(cases, ("cupy", "triton")):
        call = functools.partial(_large, name, size, asked | {"atoms": TWO}, backend)
        yield f"{backend}, {name}, {truth.times(size)}", call


def _large(name: str, size: tuple[int, int, int], asked: Options, backend: str) -> dict[str, Any]:
    ready(backend)
    try:
        return _sampled(name, size, asked, backend)
    except Exception as error:
        if "OutOfMemory" not in type(error).__name__:
            raise
        raise NotRunError(f"{backend}, {name}: out of memory") from error


def _sampled(name: str, size: tuple[int, int, int], asked: Options, backend: str) -> dict[str, Any]:
    """Some pairs of a large series, held to the CPU, which decomposes their nodes alone."""
    trials, samples, nodes = size
    generator = torch.Generator(DEVICE).manual_seed(0)
    series = torch.empty(size, dtype=torch.float32, device=DEVICE)
    for trial in range(0, trials, part := max(1, 2**28 // (samples * nodes))):
        series[trial : trial + part].normal_(generator=generator)
    chosen = np.unique(np.linspace(0, nodes - 1, SAMPLED).astype(int))
    where = torch.from_numpy(chosen).to(DEVICE)
    held_to = truth.Truth(series[:, :, where].cpu().double().numpy())
    expected, tolerance = held_to.known(asked).atoms, held_to.tolerance(asked)
    start = time.perf_counter()
    # Both take a tensor as it lies on the device.
    result = truth.decomposed(series, asked | {"backend": backend})
    some = {atom: result[atom][where][:, where].cpu().double().numpy() for atom in TWO}
    seconds = time.perf_counter() - start
    same_nan = all((np.isnan(some[a]) == np.isnan(expected[a])).all() for a in TWO)
    error = max(float(np.nanmax(np.abs(some[a] - expected[a]))) for a in TWO)
    label = f"{backend}, {name}"
    return {
        "passed": bool(same_nan and error <= tolerance),
        "elements": {label: {"series": series.numel(), "outputs": 2 * nodes * nodes}},
        "error over its tolerance": {label: error / tolerance},
        "seconds of phiid": {label: seconds},
    }
