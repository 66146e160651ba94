"""What a run will take, before it starts: blocks, bytes, hours from a sample that is timed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Unpack

from synkern.scale.errors import needed
from synkern.scale.grid import Grid, bytes_of
from synkern.scale.run import BlocksOptions
from synkern.scale.setting import Setting, setting
from synkern.scale.store import begin, prepare, write_block
from synkern.scale.task import Task, compute, forget

_SAMPLE = 1024
"""Nodes to a side of the block that is timed, at most."""


@dataclass(frozen=True)
class Plan:
    """What a run of blocks will take.

    Attributes:
        shape: (trials, time, nodes) of the series.
        side: nodes to a side of a block.
        blocks: number of them.
        decompositions: of a pair in a trial.
        bytes: of the finished store.
        memory: bytes of a process that computes, beside its libraries.
        nanoseconds: a decomposition takes, by the sample.
        backend: that it was timed with.
    """

    shape: tuple[int, int, int]
    side: int
    blocks: int
    decompositions: int
    bytes: int
    memory: int
    nanoseconds: float
    backend: str

    def hours(self, workers: int = 1) -> float:
        """Time of so many processes as fast as this one, with no more of them than blocks.

        They end together but for the last block of each.
        """
        rounds = -(-self.blocks // max(1, workers))
        return rounds / self.blocks * self.decompositions * self.nanoseconds / 3.6e12

    def __str__(self) -> str:
        """Return some lines to read."""
        trials, time_points, nodes = self.shape
        each = ", ".join(f"{self.hours(n):.3g} h on {n}" for n in (1, 8, 64))
        return (
            f"{nodes:,} nodes x {time_points} time x {trials} trials: {self.decompositions:.3g} "
            f"decompositions\n{self.blocks:,} blocks of {self.side:,} nodes to a side, "
            f"{self.memory / 1e9:.3g} GB of memory each\n{self.bytes / 1e9:.3g} GB in the store\n"
            f"{self.nanoseconds:.3g} ns a decomposition on {self.backend!r}, by a sample: {each} "
            "processes like this one"
        )


def plan_blocks(series: Any, **options: Unpack[BlocksOptions]) -> Plan:
    """Say what `phiid_blocks` will take, by timing a block of 1,024 nodes to a side, or less, here.

    The sample is of the first nodes, read, decomposed and put into a store in memory, twice, of
    which the second counts. A disk slower than the arithmetic is not in it.

    Args:
        series: as in `phiid_blocks`.
        **options: of `phiid_blocks`, but for `out`, `executor` and `progress`.

    Returns:
        `Plan`; its text says it all.

    Raises:
        ValueError, TypeError, MemoryError: as `phiid_blocks`.
    """
    given = setting(series, **options, elsewhere=False)
    columns = given.given.columns
    trials, time_points, nodes = columns.shape
    grid = given.grid(None)
    sample = Grid(nodes, min(grid.side, _SAMPLE, max(1, nodes // 2)))
    samples = trials * time_points
    return Plan(
        shape=columns.shape,
        side=grid.side,
        blocks=grid.blocks,
        decompositions=trials * (nodes * (nodes - 1) // 2),
        bytes=given.layout(grid).bytes(),
        memory=bytes_of(grid.side, samples=samples, entries=given.entries),
        nanoseconds=_timed(given, sample) / (trials * sample.pairs(sample.number(0, 1))),
        backend=given.asked.backend,
    )


def _timed(given: Setting, grid: Grid) -> float:
    """Nanoseconds of a block, read, decomposed and written into memory."""
    store = needed("zarr.storage", "plan_blocks").MemoryStore()
    begin(store)
    place = prepare(store, given.layout(grid), given.ingredients(grid, ""), {"wanted": []})
    task = Task(given.asked, given.given.columns, grid, place)
    number, took = grid.number(0, 1), 0
    for _ in range(2):
        start = time.perf_counter_ns()
        write_block(place, grid, number, compute(task, number)[0])
        took = time.perf_counter_ns() - start
    forget()
    return float(took)
