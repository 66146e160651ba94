"""A block as anybody can compute it: what is asked, whose columns, and where the result goes."""

from __future__ import annotations

import importlib
import threading
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern._warnings import collected
from synkern.decomposition.asked import Options
from synkern.decomposition.rectangles import Block, decompose_block
from synkern.kernels import LIMITS
from synkern.scale.columns import Columns
from synkern.scale.errors import BlocksError
from synkern.scale.grid import Grid
from synkern.scale.store import Place, write_block


@dataclass(frozen=True)
class Asked:
    """What a run of blocks was asked for, as it travels to workers; see `phiid`.

    Attributes:
        names: atoms, closed under exchange of x and y.
        wanted: those asked for.
        tau: lag in samples.
        kind: of the estimator.
        redundancy: likewise.
        average: how trials combine.
        unit: of the atoms; None: that of the estimator.
        backend: name of one.
        dtype: of arithmetic and output.
        keep: "pairs" or "node_means".
        mask: (trials, time) or (time,) bool, or None.
    """

    names: tuple[str, ...]
    wanted: tuple[str, ...]
    tau: int
    kind: str
    redundancy: str
    average: str | None
    unit: str | None
    backend: str
    dtype: str
    keep: str
    mask: npt.NDArray[np.bool_] | None

    def options(self, nodes: int) -> Options:
        """Options of the decomposition of a block of so many nodes in all."""
        # A backend takes few nodes another way: as many as there are in all decide, so that a block
        # has the bits that one call would have.
        paired = 0 if nodes >= LIMITS.paired else 1 << 62
        return Options(
            names=self.names,
            kind=self.kind,
            redundancy=self.redundancy,
            average=self.average,
            unit=self.unit,
            backend=self.backend,
            dtype=self.dtype,
            mask=self.mask,
            limits=replace(LIMITS, paired=paired),
        )


@dataclass(frozen=True)
class Task:
    """All that a worker has to know; a block is then a number.

    Attributes:
        asked: what of each block.
        columns: of the series.
        grid: of the blocks.
        place: where results go.
    """

    asked: Asked
    columns: Columns
    grid: Grid
    place: Place


def compute(task: Task, number: int) -> tuple[Block, list[str]]:
    """Decompose a block; with it, what there is to be said.

    Raises:
        BlocksError: too little memory; the series cannot be read, or has been written to; the
            store is lost.
    """
    sides = [task.grid.range(k) for k in task.grid.block(number)]
    try:
        found = _computed(task, number)
        task.columns.require_unchanged(*sides)
        return found
    except MemoryError as error:
        raise BlocksError(
            f"block {number} has not enough memory ({error}); give a smaller memory= to a new "
            "store, or fewer blocks at a time to this one, and start again"
        ) from error
    except OSError as error:
        task.place.opened()  # A copy of the series is lost with the store.
        raise BlocksError(
            f"the series cannot be read where block {number} is computed ({error}): every worker "
            "has to find it under the same path; start again when it does"
        ) from error
    except Exception:  # Each codec has its own for what it cannot decode, half written perhaps.
        task.columns.require_unchanged(*sides)
        raise


def _computed(task: Task, number: int) -> tuple[Block, list[str]]:
    i, j = task.grid.block(number)
    rows, columns = task.grid.range(i), task.grid.range(j)
    alone = i == j and rows.stop - rows.start == 1
    if alone:  # It has no pairs; beside another node one learns whether it varies.
        rows = slice(rows.start - 1, rows.stop)
    backend = task.asked.backend
    series = _on_device(task.columns.read(rows), backend) if alone else _held.rows(task, i)
    if i != j:
        series = _beside(series, _on_device(task.columns.read(columns), backend))
    with collected() as messages:
        block = decompose_block(
            series,
            None if i == j else rows.stop - rows.start,
            task.asked.tau,
            task.asked.options(task.grid.nodes),
            by_node=task.asked.keep == "node_means",
        )
    return _last_alone(block) if alone else block, messages


def run_block(task: Task, number: int) -> tuple[int, list[str]]:
    """Decompose a block and write it, as a worker does; its number, and what is to be said.

    Raises:
        BlocksError: the store is lost, or its disk full.
    """
    block, messages = compute(task, number)
    write_block(task.place, task.grid, number, block)
    return number, messages


def _last_alone(block: Block) -> Block:
    """The last node of a block, which it has no pairs with."""
    return Block(
        atoms={name: value[..., -1:, -1:] for name, value in block.atoms.items()},
        sums=None if block.sums is None else np.zeros_like(block.sums[..., -1:]),
        constant=block.constant[:, -1:],
        flagged=block.flagged[:0],
        outcomes=Counter(),
        rescued=0,
    )


class _Held(threading.local):
    """The rows of a block, which those after it have too: read and moved once, for all of them."""

    key: tuple[str, int] = ("", -1)
    values: Any = None

    def rows(self, task: Task, i: int) -> Any:
        """The series of range i, where the backend takes it."""
        key = task.place.run, i
        if self.key != key:
            self.forget()  # before others are there
            self.values = _on_device(task.columns.read(task.grid.range(i)), task.asked.backend)
            self.key = key
        return self.values

    def forget(self) -> None:
        """Free them."""
        self.key, self.values = ("", -1), None


_held = _Held()


def forget() -> None:
    """Free what this thread holds for the next block, after the last one."""
    _held.forget()


def _beside(rows: Any, columns: Any) -> Any:
    if isinstance(rows, np.ndarray):
        return np.concatenate([rows, columns], -1)
    library = importlib.import_module(type(rows).__module__.partition(".")[0])
    join = library.cat if library.__name__ == "torch" else library.concatenate
    return join([rows, columns], -1)


ON_DEVICE = ("cupy", "triton")
"""Backends that compute on a GPU alone."""


def _on_device(series: npt.NDArray[Any], backend: str) -> Any:
    """Where a backend for GPUs takes a series: the first device that this process sees."""
    if backend == "cupy":
        return importlib.import_module("cupy").asarray(series)
    if backend == "triton":
        return importlib.import_module("torch").from_numpy(series).cuda()
    return series
