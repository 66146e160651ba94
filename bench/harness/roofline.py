"""What the machine can do at best, measured in the same run: copies and matrix products."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from bench.cases.workloads import Workload

COPIED = 1 << 28
"""Bytes: far more than any cache."""

SIZE = {"cpu": 2048, "cuda": 8192}
"""Rows of the square matrices."""


def measure(device: str = "cpu", repeats: int = 5) -> dict[str, float]:
    """Bytes a second of a copy, read and write, and operations a second by dtype.

    The best of the repeats: a roof is what can be reached, and what else runs only lowers it.
    """
    source = torch.ones(COPIED // 8, dtype=torch.float64, device=device)
    target = torch.empty_like(source)
    found = {"copy": 2 * source.nbytes / _best(lambda: target.copy_(source), device, repeats)}
    n = SIZE[device]
    for dtype in ("float64", "float32"):
        square = torch.ones(n, n, dtype=getattr(torch, dtype), device=device)
        out = torch.empty_like(square)

        def multiply(a: torch.Tensor = square, to: torch.Tensor = out) -> Any:
            return torch.mm(a, a, out=to)

        found[dtype] = 2 * n**3 / _best(multiply, device, repeats)
    return found


def best(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """The higher of two roofs."""
    return {name: max(first.get(name, 0.0), second[name]) for name in second}


def floor(
    workload: Workload, operations: float, moved: float, dtype: str, roof: dict[str, float]
) -> float:
    """Seconds that nothing on this machine could be faster than."""
    # Words of bits are as wide as float64; see `bench.cases.workloads`.
    rate = roof["float64" if workload.kind == "discrete" else dtype]
    return max(moved / roof["copy"], operations / rate)


def _best(call: Callable[[], Any], device: str, repeats: int) -> float:
    seconds = []
    for _ in range(1 + repeats):
        _wait(device)
        start = time.perf_counter()
        call()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
