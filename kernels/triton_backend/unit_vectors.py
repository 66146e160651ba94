"""Unit vectors on the device of the series, by `unit_vectors_kernel` where it can."""

from __future__ import annotations

import torch
import triton

from ..formulas import unit_vectors as formulas
from ..formulas.unit_vectors import UnitVectors
from .configurations import OPTIONS
from .device.unit_vectors import unit_vectors_kernel
from .launch import on_device

LONGEST = 1024
"""Samples of a series that registers hold; longer ones are left to `formulas.unit_vectors`."""

ELEMENTS = 4096
"""Elements of a program: 16 numbers a thread, with which nothing spills."""

WARPS = 8

NODES = 32
"""Nodes of a program, at most: 256 bytes in a row of memory."""


def unit_vectors(series: torch.Tensor, tau: int, pooled: str | None) -> UnitVectors:
    """What `formulas.unit_vectors` returns, which has the pooled and the long series.

    Args:
        series: (trials, time, nodes) real and finite, that does not require a gradient.
        tau: lag in samples.
        pooled: see there.
    """
    series = series.to(torch.float64)
    trials, time, nodes = series.shape
    if pooled is not None or time > LONGEST:
        return formulas.unit_vectors(torch, series, tau, pooled)
    past, future = (_empty(series, (trials, nodes, time - tau)) for _ in range(2))
    constant = torch.empty((trials, nodes), dtype=torch.uint8, device=series.device)
    sizes = block(time)
    with on_device(series):
        unit_vectors_kernel[(trials * triton.cdiv(nodes, sizes["NODES"]),)](
            series=series.contiguous(),
            past=past,
            future=future,
            constant=constant,
            time=time,
            nodes=nodes,
            tau=tau,
            num_warps=WARPS,
            **OPTIONS,
            **sizes,
        )
    return UnitVectors(past, future, constant.view(torch.bool))


def block(time: int) -> dict[str, int]:
    """Times and nodes of a program."""
    steps = max(16, triton.next_power_of_2(time))
    return {"TIME": steps, "NODES": min(NODES, ELEMENTS // steps)}


def _empty(like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float64, device=like.device)
