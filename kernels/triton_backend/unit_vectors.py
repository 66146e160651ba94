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

ELEMENTS = 2048
"""Elements of a program, 16 numbers a thread: three programs of 162 registers share a
multiprocessor, and one loads while others compute. Compiled for sm_90 by triton 3.7.1, a number
takes 202 instructions of a thread, in 8 warps 283; not timed."""

WARPS = 4

NODES = 16
"""Nodes of a program, at most: 128 bytes in a row of memory."""


def unit_vectors(series: torch.Tensor, tau: int, pooled: str | None) -> UnitVectors:
    """What `formulas.unit_vectors` returns, which has the pooled and the long series.

    Past and future are views of one array in which they lie side by side, (trials, samples, nodes,
    2): see `launch.interleaved`.

    Args:
        series: (trials, time, nodes) real and finite, that does not require a gradient.
        tau: lag in samples.
        pooled: see there.
    """
    series = series.to(torch.float64)
    trials, time, nodes = series.shape
    if pooled is not None or time > LONGEST:
        return formulas.unit_vectors(torch, series, tau, pooled)
    both = _empty(series, (trials, time - tau, nodes, 2))
    constant = torch.empty((trials, nodes), dtype=torch.uint8, device=series.device)
    sizes = block(time - tau)
    with on_device(series):
        unit_vectors_kernel[(trials * triton.cdiv(nodes, sizes["NODES"]),)](
            series=series.contiguous(),
            both=both,
            constant=constant,
            time=time,
            nodes=nodes,
            tau=tau,
            num_warps=WARPS,
            **OPTIONS,
            **sizes,
        )
    past, future = both[..., 0].mT, both[..., 1].mT
    return UnitVectors(past, future, constant.view(torch.bool))


def block(samples: int) -> dict[str, int]:
    """Samples and nodes of a program."""
    steps = max(16, triton.next_power_of_2(samples))
    return {"TIME": steps, "NODES": min(NODES, ELEMENTS // steps)}


def _empty(like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float64, device=like.device)
