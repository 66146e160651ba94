"""Which kernel, in which tiles, on how many programs: frozen values with their source.

Nothing is tuned at a user's first call. `bench/tables/sweep_tiles.py` measures the candidates on
the machine at hand and prints the table below, ready to paste.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import triton
import triton.language as tl

from ..contract import smallest_trusted
from ..formulas.estimators import LOOSE, STRICT
from ..formulas.moments import Moments
from ..lattice import ATOMS, moebius_matrix, swap_nodes
from .device.mmi_moments import mmi_moments_kernel
from .device.mmi_series import mmi_series_kernel
from .plan import Plan, group

Path = Literal["series", "moments", "nodes"]
Size = Literal["few", "many"]
"""Terms to multiply up, as many as `FEW` or more."""
Output = Literal["summed", "apart"]
"""What becomes of trials."""


@dataclass(frozen=True)
class Launch:
    """How one kernel is compiled and launched.

    Attributes:
        block: rows and columns of a tile.
        warps: of a program.
        depth: samples of a step of the product (`series` only).
        stages: of the loads' pipeline.
    """

    block: int
    warps: int
    depth: int = 16
    stages: int = 2


LAUNCHES: dict[tuple[str, Path, Size, Output], Launch] = {
    ("float64", "series", "few", "summed"): Launch(32, 8),
    ("float64", "series", "few", "apart"): Launch(32, 8),
    ("float64", "series", "many", "summed"): Launch(16, 8),
    ("float64", "series", "many", "apart"): Launch(16, 8),
    ("float64", "moments", "few", "summed"): Launch(16, 4),
    ("float64", "moments", "few", "apart"): Launch(16, 4),
    ("float64", "moments", "many", "summed"): Launch(16, 8),
    ("float64", "moments", "many", "apart"): Launch(16, 8),
    ("float32", "series", "few", "summed"): Launch(32, 8),
    ("float32", "series", "few", "apart"): Launch(16, 4),
    ("float32", "series", "many", "summed"): Launch(16, 8),
    ("float32", "series", "many", "apart"): Launch(16, 8),
    ("float32", "moments", "few", "summed"): Launch(16, 8),
    ("float32", "moments", "few", "apart"): Launch(16, 8),
    ("float32", "moments", "many", "summed"): Launch(16, 4),
    ("float32", "moments", "many", "apart"): Launch(16, 4),
    ("float64", "nodes", "few", "summed"): Launch(32, 16),
    ("float64", "nodes", "few", "apart"): Launch(16, 4),
    ("float64", "nodes", "many", "summed"): Launch(16, 8),
    ("float64", "nodes", "many", "apart"): Launch(16, 8),
    ("float32", "nodes", "few", "summed"): Launch(16, 4),
    ("float32", "nodes", "few", "apart"): Launch(16, 4),
    ("float32", "nodes", "many", "summed"): Launch(16, 8),
    ("float32", "nodes", "many", "apart"): Launch(16, 8),
}
"""Source: ahead-of-time compilation for sm_90 with triton 3.6.0 and 3.9.0: of tiles of 16, 32 and
64 and 4, 8 and 16 warps the largest tile that spills in neither. Not yet timed on a GPU."""

ALONE = {"float64": Launch(16, 8), "float32": Launch(16, 4)}
"""The persistence reference from the series, by dtype, from the same source: in the tiles of `rtr`
and `sts` it would spill."""

FEW = 3
"""Terms that `rtr` and `sts` need."""

PROGRAMS_PER_MULTIPROCESSOR = 8
"""Chunks of trials are cut until there are as many, so that the last wave, which is not full,
costs little. Modelled, not yet measured."""

MULTIPROCESSORS = 132
"""Where there is no device to ask: an H100 or H200."""

WORKSPACE = 1 << 29
"""Bytes of moments that the path over memory may hold at once."""

OPTIONS = {"enable_fp_fusion": True}
"""Said aloud, as the default changes between versions of triton."""


def path_for(nodes: int, samples: int, per_trial: bool, plan: Plan) -> Path:
    """The faster of the two, by a model of an H200; picoseconds for a pair and a trial, float64.

    From the series: four products of a pair, at half of 33.5 T fused multiply-adds a second.
    Through memory: six products by the vendor's library at 85 %, 48 bytes written, 32 read at 4.8
    TB/s. So series longer than some 500 samples go through memory. Sums of more than a few terms
    over trials do too: with two numbers a term and pair the registers leave only 16 x 16 tiles,
    whose operands cost twice the traffic. Not where moments of one trial exceed the workspace.
    """
    if 3 * 8 * nodes * nodes > WORKSPACE:
        return "series"
    fused = 4 * samples / 33.5 / 0.5
    if len(plan.terms) > FEW and not per_trial:
        fused *= 2
    through_memory = 6 * samples / 33.5 / 0.85 + (48 + 32) / 4.8
    return "series" if fused <= through_memory else "moments"


def launch_for(dtype: str, path: Path, plan: Plan, per_trial: bool, alone: bool = False) -> Launch:
    """The frozen configuration."""
    if alone and path == "series":
        return ALONE[dtype]
    size: Size = "few" if len(plan.terms) <= FEW else "many"
    return LAUNCHES[dtype, path, size, "apart" if per_trial else "summed"]


@dataclass(frozen=True)
class Grid:
    """Programs of a launch: all tiles i <= j of every chunk of trials."""

    tiles: int
    chunks: int
    chunk_trials: int

    @property
    def programs(self) -> int:
        """One-dimensional, since other dimensions of a grid end at 65,535."""
        return self.tiles * (self.tiles + 1) // 2 * self.chunks


def grid_for(
    nodes: int, trials: int, per_trial: bool, block: int, together: int, multiprocessors: int
) -> Grid:
    """Chunks of one trial where trials stay apart, else as many as keep the device busy.

    Args:
        nodes: of the series.
        trials: likewise.
        per_trial: keep trials apart.
        block: rows and columns of a tile.
        together: trials that share logarithms, and so a chunk.
        multiprocessors: of the device.
    """
    tiles = triton.cdiv(nodes, block)
    if per_trial:
        return Grid(tiles, trials, 1)
    wanted = triton.cdiv(multiprocessors * PROGRAMS_PER_MULTIPROCESSOR, tiles * (tiles + 1) // 2)
    chunks = min(wanted, triton.cdiv(trials, together))
    chunk_trials = triton.cdiv(triton.cdiv(trials, chunks), together) * together
    return Grid(tiles, triton.cdiv(trials, chunk_trials), chunk_trials)


def constants(
    plan: Plan,
    dtype: str,
    per_trial: bool,
    launch: Launch,
    tolerances: Mapping[str, float] = STRICT,
) -> dict[str, Any]:
    """What the kernels of Gaussian MMI are specialised to."""
    return {
        "DTYPE": getattr(tl, dtype),
        "GROUP": 1 if per_trial else group(dtype, tolerances),
        "TERMS": plan.terms,
        "COEFFICIENTS": plan.coefficients,
        "MIRRORS": plan.mirrors,
        "BLOCK": launch.block,
    }


def options(launch: Launch) -> dict[str, Any]:
    """What the compiler is told."""
    return {"num_warps": launch.warps, "num_stages": launch.stages, **OPTIONS}


def bits(value: float) -> int:
    """Of a float64, as an integer argument."""
    return int(np.float64(value).view(np.int64))


def limits(samples: int, dtype: str, tolerances: Mapping[str, float] = STRICT) -> tuple[int, int]:
    """Bits of the least variance trusted in this dtype and in float64."""
    # Above 1 no pair is trusted; one more than that keeps rounding out of it.
    own, double = (smallest_trusted(samples, d, tolerances[d]) for d in (dtype, "float64"))
    return bits(own if own < 1 else 2.0), bits(double)


def fill(
    path: Path,
    past: torch.Tensor,
    future: torch.Tensor,
    constant: torch.Tensor,
    marked: torch.Tensor,
    count: torch.Tensor,
    *,
    plan: Plan,
    per_trial: bool,
    dtype: str,
    alone: bool = False,
    tolerances: Mapping[str, float] = STRICT,
    launch: Launch | None = None,
) -> torch.Tensor:
    """Launch on the device and current stream of `past`, without waiting.

    Args:
        path: which kernel.
        past: (trials, nodes, samples) float64 unit vectors, see `segments.Segments`.
        future: likewise.
        constant: (trials, nodes) bool.
        marked: (capacity,) int64, filled with the first entries of the list of untrusted pairs.
        count: (1,) int64 zero, becomes the length of that list.
        plan: of the atoms.
        per_trial: keep trials apart.
        dtype: of arithmetic and output.
        alone: as if nodes did not influence each other, see `estimators.PersistenceMMI`.
        tolerances: error in nats that an atom may have, by dtype of the arithmetic.
        launch: None for the frozen one.

    Returns:
        (atoms, nodes, nodes) sums over trials, or (atoms, trials, nodes, nodes).
    """
    launch = launch or launch_for(dtype, path, plan, per_trial, alone)
    own = (past * future).sum(-1)
    common = {
        **_common(own, constant, marked, count, past.shape[-1], dtype, tolerances),
        **constants(plan, dtype, per_trial, launch, tolerances),
        **options(launch),
        "ALONE": alone,
    }
    with on_device(past):
        if path == "series":
            return _from_series(past, future, launch, per_trial, dtype, common)

        def products(trials: slice) -> tuple[torch.Tensor, ...]:
            x, a = past[trials], future[trials]
            return x @ x.mT, a @ a.mT, x @ a.mT

        nodes = past.shape[1]
        at_once = max(1, WORKSPACE // (3 * 8 * nodes * nodes))
        return _from_moments(products, at_once, launch, per_trial, dtype, common)


def fill_from_moments(
    moments: Moments,
    marked: torch.Tensor,
    count: torch.Tensor,
    *,
    plan: Plan,
    per_trial: bool,
    dtype: str,
    alone: bool = False,
) -> torch.Tensor:
    """As `fill`, from moments that somebody else has gathered."""
    launch = launch_for(dtype, "moments", plan, per_trial, alone)
    matrices = [m.to(torch.float64).contiguous() for m in moments[:3]]
    own = torch.diagonal(matrices[2], 0, -2, -1).contiguous()
    common = {
        **_common(own, moments.constant, marked, count, moments.samples, dtype, LOOSE),
        **constants(plan, dtype, per_trial, launch, LOOSE),
        **options(launch),
        "ALONE": alone,
    }
    with on_device(own):
        return _from_moments(
            lambda trials: tuple(m[trials] for m in matrices),
            len(own),
            launch,
            per_trial,
            dtype,
            common,
        )


def _common(
    own: torch.Tensor,
    constant: torch.Tensor,
    marked: torch.Tensor,
    count: torch.Tensor,
    samples: int,
    dtype: str,
    tolerances: Mapping[str, float],
) -> dict[str, Any]:
    """Arguments that both kernels have."""
    limit, limit_double = limits(samples, dtype, tolerances)
    return {
        "own": own,
        "constant": constant.contiguous().view(torch.uint8),
        "marked": marked,
        "count": count,
        "nodes": constant.shape[1],
        "capacity": len(marked),
        "limit": limit,
        "limit_double": limit_double,
    }


def _from_series(
    past: torch.Tensor,
    future: torch.Tensor,
    launch: Launch,
    per_trial: bool,
    dtype: str,
    common: dict[str, Any],
) -> torch.Tensor:
    trials, nodes, samples = past.shape
    grid = grid_for(nodes, trials, per_trial, launch.block, common["GROUP"], _multiprocessors(past))
    out = _empty(past, dtype, len(common["MIRRORS"]), grid.chunks, nodes)
    mmi_series_kernel[(grid.programs,)](
        both=torch.stack((past.mT, future.mT), -1),
        out=out,
        trials=trials,
        samples=samples,
        tiles=grid.tiles,
        chunks=grid.chunks,
        chunk_trials=grid.chunk_trials,
        DEPTH=launch.depth,
        **common,
    )
    return out if per_trial else _total(out)


def _from_moments(
    matrices_of: Callable[[slice], tuple[torch.Tensor, ...]],
    at_once: int,
    launch: Launch,
    per_trial: bool,
    dtype: str,
    common: dict[str, Any],
) -> torch.Tensor:
    """Past, future and lagged moments of some trials at a time, atoms added up in order."""
    own: torch.Tensor = common["own"]
    trials, nodes = own.shape
    together: int = common["GROUP"]
    atoms = len(common["MIRRORS"])
    at_once = max(1, at_once // together) * together
    out = own.new_zeros(
        (atoms, trials, nodes, nodes) if per_trial else (atoms, nodes, nodes),
        dtype=getattr(torch, dtype),
    )
    for first in range(0, trials, at_once):
        these = slice(first, min(first + at_once, trials))
        number = these.stop - first
        past, future, lagged = matrices_of(these)
        grid = grid_for(nodes, number, per_trial, launch.block, together, _multiprocessors(own))
        part = {**common, "own": own[these], "constant": common["constant"][these]}
        target = _empty(own, dtype, atoms, grid.chunks, nodes)
        mmi_moments_kernel[(grid.programs,)](
            past=past,
            future=future,
            lagged=lagged,
            out=target,
            trials=number,
            tiles=grid.tiles,
            chunks=grid.chunks,
            chunk_trials=grid.chunk_trials,
            first_trial=first,
            **part,
        )
        if per_trial:
            out[:, these] = target
        else:
            out += _total(target)
    return out


def launch_tiles(
    kernel: Any,
    arguments: dict[str, Any],
    constant: torch.Tensor,
    *,
    names: tuple[str, ...],
    per_trial: bool,
    dtype: str,
    launch: Launch,
) -> torch.Tensor:
    """Launch a kernel that adds up atoms themselves, see `lattice_sums`, on all tiles i <= j.

    Args:
        kernel: `ccs_kernel` or `discrete_kernel`.
        arguments: of its own; those of the grid, the output and the atoms are added here.
        constant: (trials, nodes) bool.
        names: atoms, closed under exchange of x and y.
        per_trial: keep trials apart.
        dtype: of the output.
        launch: how.

    Returns:
        (atoms, nodes, nodes) sums over trials, or (atoms, trials, nodes, nodes).
    """
    trials, nodes = constant.shape
    # Nothing is shared by trials, but chunks of a few keep the number of outputs low.
    grid = grid_for(nodes, trials, per_trial, launch.block, 1, _multiprocessors(constant))
    out = _empty(constant, dtype, len(names), grid.chunks, nodes)
    with on_device(constant):
        kernel[(grid.programs,)](
            out=out,
            trials=trials,
            nodes=nodes,
            tiles=grid.tiles,
            chunks=grid.chunks,
            chunk_trials=grid.chunk_trials,
            **arguments,
            **atom_constants(names, launch),
            **options(launch),
        )
    return out if per_trial else _total(out)


def atom_constants(names: tuple[str, ...], launch: Launch) -> dict[str, Any]:
    """What `launch_tiles` specialises a kernel to."""
    rows = moebius_matrix()[[ATOMS.index(name) for name in names]]
    return {
        "SIGNS": tuple(rows.ravel().tolist()),
        "MIRRORS": tuple(names.index(swap_nodes(name)) for name in names),
        "BLOCK": launch.block,
    }


def _empty(like: torch.Tensor, dtype: str, atoms: int, chunks: int, nodes: int) -> torch.Tensor:
    shape = (atoms, chunks, nodes, nodes)
    return torch.empty(shape, dtype=getattr(torch, dtype), device=like.device)


def _total(chunks: torch.Tensor) -> torch.Tensor:
    """(atoms, nodes, nodes) of (atoms, chunks, nodes, nodes), in order and so deterministic."""
    # In place: autograd does not let views be changed, and the rescue adds to these sums.
    return chunks.sum(1) if chunks.shape[1] > 1 else chunks.squeeze_(1)


def _multiprocessors(tensor: torch.Tensor) -> int:
    if tensor.device.type != "cuda":
        return MULTIPROCESSORS
    return int(torch.cuda.get_device_properties(tensor.device).multi_processor_count)


def on_device(tensor: torch.Tensor) -> Any:
    """Triton launches on the current device; a context that makes it the tensor's."""
    on_gpu = tensor.device.type == "cuda"
    return torch.cuda.device(tensor.device) if on_gpu else contextlib.nullcontext()
