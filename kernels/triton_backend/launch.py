"""What launches on tiles of pairs share: their area, their grid, their output, their device."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import triton

from ..contract import Rectangle, smallest_trusted
from ..engine import waves
from ..formulas.estimators import STRICT
from .configurations import Launch, options
from .plan import mirrors, signs

MULTIPROCESSORS = 132
"""Where there is no device to ask: an H100 or H200."""

MEASURED_ON = (9, 0)
"""Compute capability of the GPU that paths were timed on, an H100; that of no device too."""


class Area(NamedTuple):
    """The pairs of a launch, see `device.tiles`.

    Attributes:
        nodes: of the source.
        rectangle: rows and columns; None: all pairs.
    """

    nodes: int
    rectangle: Rectangle | None = None

    @property
    def sides(self) -> Rectangle:
        """Rows and columns; all of them for all pairs."""
        return self.rectangle or Rectangle(slice(0, self.nodes), slice(0, self.nodes))

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a matrix of these pairs."""
        return self.sides.shape

    def tiles(self, block: int) -> tuple[int, int]:
        """Tiles below each other and side by side, those below the diagonal of all pairs too."""
        height, width = self.shape
        return triton.cdiv(height, block), triton.cdiv(width, block)

    def programs(self, block: int) -> int:
        """Tiles that are computed: i <= j of all pairs, every one of a rectangle."""
        down, across = self.tiles(block)
        return down * across if self.rectangle else across * (across + 1) // 2

    def arguments(self, block: int) -> dict[str, int]:
        """What a kernel is told."""
        rows, columns = self.sides
        return {
            "nodes": self.nodes,
            "row_start": rows.start,
            "row_stop": rows.stop,
            "column_start": columns.start,
            "column_stop": columns.stop,
            "tiles": self.tiles(block)[1],
        }


@dataclass(frozen=True)
class Grid:
    """Programs of a launch: the tiles of an area for every chunk of trials."""

    area: Area
    block: int
    chunks: int
    chunk_trials: int

    @property
    def programs(self) -> int:
        """One-dimensional, since other dimensions of a grid end at 65,535."""
        return self.area.programs(self.block) * self.chunks

    @property
    def arguments(self) -> dict[str, int]:
        """What a kernel is told of area and chunks."""
        chunks = {"chunks": self.chunks, "chunk_trials": self.chunk_trials}
        return self.area.arguments(self.block) | chunks


def grid_for(
    area: Area,
    trials: int,
    per_trial: bool,
    launch: Launch,
    atoms: int,
    multiprocessors: int,
    together: int = 1,
) -> Grid:
    """Chunks of one trial where trials stay apart, else those that keep the device busy.

    Args:
        area: pairs.
        trials: of the series.
        per_trial: keep trials apart.
        launch: how, for the tile and the room that a program takes.
        atoms: that are written.
        multiprocessors: of the device.
        together: trials that share logarithms, and so a chunk.
    """
    if per_trial:
        return Grid(area, launch.block, trials, 1)
    tiles = area.programs(launch.block)
    most = min(triton.cdiv(multiprocessors * waves.PROGRAMS, tiles), triton.cdiv(trials, together))
    slots = multiprocessors * waves.resident(32 * launch.warps)
    size = waves.chunk_trials(tiles, trials, atoms, slots=slots, most=most, together=together)
    return Grid(area, launch.block, triton.cdiv(trials, size), size)


def bits(value: float) -> int:
    """Bits of a float64, as an integer argument."""
    return int(np.float64(value).view(np.int64))


def least_trusted(
    samples: int, dtype: str, tolerances: Mapping[str, float] = STRICT
) -> tuple[int, int]:
    """Bits of the least variance trusted in this dtype and in float64."""
    own, double = (smallest_trusted(samples, d, tolerances[d]) for d in (dtype, "float64"))
    return bits(own), bits(double)


def launch_tiles(
    kernel: Any,
    arguments: dict[str, Any],
    constant: torch.Tensor,
    *,
    names: tuple[str, ...],
    per_trial: bool,
    dtype: str,
    launch: Launch,
    rectangle: Rectangle | None,
) -> torch.Tensor:
    """Launch a kernel that adds up atoms themselves, see `lattice_sums`.

    Args:
        kernel: `ccs_kernel` or `discrete_kernel`.
        arguments: of its own; those of the grid, the output and the atoms are added here.
        constant: (trials, nodes) bool.
        names: atoms, for all pairs closed under exchange of x and y.
        per_trial: keep trials apart.
        dtype: of the output.
        launch: how.
        rectangle: the pairs; None: all.

    Returns:
        (atoms, rows, columns) sums over trials, or (atoms, trials, rows, columns).
    """
    trials, nodes = constant.shape
    area = Area(nodes, rectangle)
    # Nothing is shared by trials, but chunks of a few keep the number of outputs low.
    grid = grid_for(area, trials, per_trial, launch, len(names), multiprocessors(constant))
    out = empty(constant, dtype, len(names), grid)
    with on_device(constant):
        kernel[(grid.programs,)](
            out=out,
            constant=constant.contiguous().view(torch.uint8),
            trials=trials,
            **grid.arguments,
            **arguments,
            **atom_constants(names, launch, rectangle is not None),
            **options(launch),
        )
    return out if per_trial else total(out)


def atom_constants(names: tuple[str, ...], launch: Launch, rectangle: bool) -> dict[str, Any]:
    """What `launch_tiles` specialises a kernel to."""
    return {
        "SIGNS": signs(names),
        "MIRRORS": mirrors(names, rectangle),
        "BLOCK": launch.block,
        "RECTANGLE": rectangle,
    }


def empty(like: torch.Tensor, dtype: str, atoms: int, grid: Grid) -> torch.Tensor:
    """Room for the sums of every chunk: (atoms, chunks, rows, columns)."""
    shape = (atoms, grid.chunks, *grid.area.shape)
    return torch.empty(shape, dtype=getattr(torch, dtype), device=like.device)


def total(chunks: torch.Tensor) -> torch.Tensor:
    """(atoms, rows, columns) of (atoms, chunks, ...), in order and so deterministic."""
    # In place: autograd does not let views be changed, and the rescue adds to these sums.
    return chunks.sum(1) if chunks.shape[1] > 1 else chunks.squeeze_(1)


def multiprocessors(tensor: torch.Tensor) -> int:
    """Number of multiprocessors of the tensor's device."""
    if tensor.device.type != "cuda":
        return MULTIPROCESSORS
    return int(torch.cuda.get_device_properties(tensor.device).multi_processor_count)


def capability(tensor: torch.Tensor) -> tuple[int, int]:
    """Compute capability of the tensor's device, as torch gives it."""
    if tensor.device.type != "cuda":
        return MEASURED_ON
    return torch.cuda.get_device_capability(tensor.device)


def interleaved(past: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
    """(trials, samples, nodes, 2): past and future side by side, as the kernels read them.

    Args:
        past: (trials, nodes, samples) float64; with `future` in one memory where they come from
            `unit_vectors`, which is then returned, else copied.
        future: likewise.
    """
    trials, nodes, samples = past.shape
    strides = 2 * samples * nodes, 2, 2 * nodes
    together = past.untyped_storage().data_ptr() == future.untyped_storage().data_ptr()
    places = past.storage_offset(), future.storage_offset() - 1
    if together and past.stride() == future.stride() == strides and places[0] == places[1]:
        return past.as_strided((trials, samples, nodes, 2), (strides[0], strides[2], 2, 1))
    return torch.stack((past.mT, future.mT), -1)


OWN_NUMBERS = 1 << 23
"""Numbers that `own_correlations` holds at a time, 64 MB: little beside a series that is large."""


def own_correlations(past: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
    """(trials, nodes): lagged correlation of each node with itself."""
    trials, nodes, samples = past.shape
    at_once = max(1, OWN_NUMBERS // (nodes * samples))
    parts = [
        (past[first : first + at_once] * future[first : first + at_once]).sum(-1)
        for first in range(0, trials, at_once)
    ]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def on_device(tensor: torch.Tensor) -> Any:
    """Triton launches on the current device; a context that makes it the tensor's."""
    on_gpu = tensor.device.type == "cuda"
    return torch.cuda.device(tensor.device) if on_gpu else contextlib.nullcontext()
