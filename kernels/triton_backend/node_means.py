"""Means by node: bands of tiles through the kernel, their sums in order, the pairs left over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from ..contract import Nodes, Request
from ..engine.libraries import torch_library
from ..engine.marks import rescue_nodes
from ..formulas.unit_vectors import Segments
from . import launch as launching
from .device.mmi_nodes import mmi_nodes_kernel
from .launch import Launch, constants, limits, on_device, options
from .op import unpack
from .plan import plan

_LIB = torch_library()

CAPACITY = 1 << 16
"""Of the list of a band at first; if it overflows, the band runs again."""


def decompose_nodes(segments: Segments, request: Request) -> Nodes:
    """Sums over the pairs of each node, of averages over trials or per trial; see `Nodes`.

    Args:
        segments: past, future and constant nodes.
        request: from `request_for`.
    """
    names = request.names
    trials, nodes = segments.constant.shape
    shape = (len(names) + 3, trials if request.per_trial else 1, nodes)
    sums = segments.past.new_zeros(shape)
    outcomes: Counter[int] = Counter()
    rescued = 0
    for keys in _bands(sums, segments, request):
        if len(keys) == 0:
            continue
        found, count = rescue_nodes(_LIB, segments, request, sums, unpack(keys, nodes))
        outcomes.update(found)
        rescued += count
    each = sums if request.per_trial else sums.squeeze(1)
    return Nodes(
        sums=dict(zip(names, each, strict=False)),
        pairs=each[-3].to(torch.int64),
        shares=each[-2],
        shared=each[-1].to(torch.int64),
        constant=segments.constant,
        outcomes=outcomes,
        rescued=rescued,
    )


def _bands(
    sums: torch.Tensor, segments: Segments, request: Request, launch: Launch | None = None
) -> Iterator[torch.Tensor]:
    """Add to sums (quantities, chunks, nodes), band by band of rows of tiles.

    Yields:
        Of every band the keys of the pairs left out, sorted.
    """
    past, future, constant = segments
    trials, nodes, samples = past.shape
    chosen = plan(request.names)
    launch = launch or launching.launch_for(request.dtype, "nodes", chosen, request.per_trial)
    tiles = -(-nodes // launch.block)
    kept = [request.names.index(name) for name in ("rtr", "sts") if name in request.names]
    quantities = len(sums)
    # Of every trial that is kept apart, a row of tiles has this much.
    least = 2 * 8 * quantities * tiles * launch.block
    chunks = min(sums.shape[1], max(1, launching.WORKSPACE // least))
    height = min(tiles, max(1, launching.WORKSPACE // (least * chunks)))
    common = {
        **constants(chosen, request.dtype, request.per_trial, launch),
        **options(launch),
        "SHARE": tuple(kept) if len(kept) == 2 else (),
        "DEPTH": launch.depth,
        "both": torch.stack((past.mT, future.mT), -1),
        "own": (past * future).sum(-1),
        "constant": constant.contiguous().view(torch.uint8),
        "trials": trials,
        "nodes": nodes,
        "samples": samples,
        "tiles": tiles,
        "chunk_trials": 1 if request.per_trial else trials,
    }
    common["limit"], common["limit_double"] = limits(samples, request.dtype)
    for first in range(0, sums.shape[1], chunks):
        part = sums[:, first : first + chunks]
        for band in range(0, tiles, height):
            rows = min(height, tiles - band)
            yield _band(part, common, first, band, rows)


def _band(
    sums: torch.Tensor, common: dict[str, Any], first_trial: int, band: int, band_tiles: int
) -> torch.Tensor:
    """Add one band to the sums; the keys that it left out, sorted."""
    quantities, chunks, nodes = sums.shape
    tiles, block = common["tiles"], common["BLOCK"]
    capacity = CAPACITY
    while True:
        by_row = sums.new_zeros(quantities, chunks, tiles, band_tiles * block)
        by_column = sums.new_zeros(quantities, chunks, band_tiles, tiles * block)
        marked = torch.empty(capacity, dtype=torch.int64, device=sums.device)
        count = torch.zeros(1, dtype=torch.int64, device=sums.device)
        with on_device(sums):
            mmi_nodes_kernel[(chunks * band_tiles * (tiles - band),)](
                by_row=by_row,
                by_column=by_column,
                marked=marked,
                count=count,
                chunks=chunks,
                first_trial=first_trial,
                band=band,
                band_tiles=band_tiles,
                capacity=capacity,
                **common,
            )
        length = int(count)
        if length <= capacity:
            break
        capacity = length
    start = band * block
    stop = min(start + band_tiles * block, nodes)
    sums[:, :, start:stop] += by_row.sum(2)[..., : stop - start]
    sums += by_column.sum(2)[..., :nodes]
    return marked[:length].sort().values
