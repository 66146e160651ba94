"""A model of a kernel's time: how long the busiest unit of a multiprocessor is busy.

It is a model. It knows neither latency nor bank conflicts nor the cache of level 2, it takes every
wait for hidden where another block is there to hide it, and the clock for the data sheet's.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil

from .count import Counted
from .kinds import Gpu

REGISTERS, WARPS, BLOCKS = 1 << 16, 64, 32
"""Of a multiprocessor: registers, warps, blocks."""

RESERVED = 1024
"""Bytes of shared memory that the system takes of every block."""


def resident(gpu: Gpu, registers: int, threads: int, shared: int) -> int:
    """Blocks that a multiprocessor holds at once."""
    warps = ceil(threads / 32)
    of_warp = ceil(max(registers, 1) * 32 / 256) * 256
    by_registers = REGISTERS // of_warp // 4 * 4 // warps  # a quarter has its own registers
    return min(by_registers, gpu.shared // (shared + RESERVED), WARPS // warps, BLOCKS)


@dataclass(frozen=True)
class Modelled:
    """Time of a launch.

    Attributes:
        ms: milliseconds.
        unit: the busiest unit of all.
        clocks: that it is busy with a tile and trial.
        phases: clocks of a tile and trial if phases follow each other, each as long as its own
            busiest unit.
        waves: of blocks, whole ones.
    """

    ms: float
    unit: str
    clocks: float
    phases: float
    waves: int


def modelled(
    gpu: Gpu, found: Counted, warps: int, blocks: int, at_once: int, trials: int, memory: float = 0
) -> Modelled:
    """The time of a launch.

    Where a multiprocessor holds one block, its phases follow each other: barriers keep its warps
    together. Several fill each other's gaps.

    Args:
        gpu: that it runs on.
        found: counts of one block.
        warps: of a block.
        blocks: of the launch.
        at_once: blocks that a multiprocessor holds.
        trials: of a block.
        memory: bytes that a block reads of the device's memory.
    """
    busy = Counter({unit: amount * warps for unit, amount in found.clocks.items()})
    if memory:
        busy["memory"] = memory / (gpu.bandwidth * 1e3 / gpu.multiprocessors / gpu.clock)
    unit, most = max(busy.items(), key=lambda item: item[1])
    after_each_other = sum(max(p.clocks.values(), default=0) * warps for p in found.phases)
    waves = ceil(blocks / (gpu.multiprocessors * at_once))
    clocks = waves * max(at_once * most, after_each_other)
    return Modelled(clocks / gpu.clock / 1e6, unit, most / trials, after_each_other / trials, waves)
