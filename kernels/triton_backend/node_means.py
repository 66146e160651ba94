"""Sums by node: bands of tiles through the kernel, their sums in order, the pairs left over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from ..contract import Nodes, Request
from ..engine.libraries import torch_library
from ..engine.marks import complete, rescue_nodes, unpack
from ..engine.node_means import empty_sums, nodes_of
from ..formulas.unit_vectors import UnitVectors
from .configurations import Launch, launch_for, options
from .device.mmi_nodes import mmi_nodes_kernel
from .launch import Area, interleaved, least_trusted, on_device, own_correlations
from .mmi import constants
from .plan import mirrors, plan


def decompose_nodes(vectors: UnitVectors, request: Request) -> Nodes:
    """Sums over the pairs of each node, of averages over trials or per trial; see `Nodes`.

    Args:
        vectors: past, future and constant nodes.
        request: what is computed, of all pairs or of a rectangle.
    """
    lib = torch_library()
    sums = empty_sums(lib, vectors, request)
    outcomes: Counter[int] = Counter()
    rescued = 0
    for keys in bands(sums, vectors, request):
        if len(keys):
            listed = unpack(lib, keys, vectors.constant.shape[1])
            found, count = rescue_nodes(lib, vectors, request, sums, listed)
            outcomes.update(found)
            rescued += count
    return nodes_of(lib, vectors, request, sums, outcomes, rescued)


def bands(
    sums: torch.Tensor, vectors: UnitVectors, request: Request, launch: Launch | None = None
) -> Iterator[torch.Tensor]:
    """Add to sums (quantities, chunks, nodes), band by band of rows of tiles.

    Yields:
        Of every band the keys of the pairs left out, sorted.
    """
    past, future, constant = vectors
    trials, nodes, samples = past.shape
    chosen = plan(request.names)
    launch = launch or launch_for(
        request.dtype,
        "nodes",
        chosen,
        request.per_trial,
        rectangle=request.rectangle is not None,
    )
    area = Area(nodes, request.rectangle)
    down, across = area.tiles(launch.block)
    kept = [request.names.index(name) for name in ("rtr", "sts") if name in request.names]
    # Of every trial that is kept apart, a row of tiles has this much.
    least = 2 * 8 * len(sums) * across * launch.block
    chunks = min(sums.shape[1], max(1, request.limits.workspace // least))
    height = min(down, max(1, request.limits.workspace // (least * chunks)))
    limit, limit_double = least_trusted(samples, request.dtype)
    common = {
        **area.arguments(launch.block),
        **constants(
            chosen,
            request.dtype,
            request.per_trial,
            launch,
            rectangle=request.rectangle is not None,
        ),
        **options(launch),
        # By column the sums go under the exchanged names, of a rectangle too.
        "MIRRORS": mirrors(request.names, rectangle=False),
        "SHARE": tuple(kept) if len(kept) == 2 else (),
        "DEPTH": launch.depth,
        "both": interleaved(past, future),
        "own": own_correlations(past, future),
        "constant": constant.contiguous().view(torch.uint8),
        "trials": trials,
        "samples": samples,
        "chunk_trials": 1 if request.per_trial else trials,
        "limit": limit,
        "limit_double": limit_double,
    }
    capacity = request.limits.capacity
    for first in range(0, sums.shape[1], chunks):
        part = sums[:, first : first + chunks]
        for band in range(0, down, height):
            rows = min(height, down - band)
            keys = _band(part, area, common, first, band, rows, capacity)
            capacity = max(capacity, len(keys))  # The next band will hardly have fewer.
            yield keys


def _band(
    sums: torch.Tensor,
    area: Area,
    common: dict[str, Any],
    first_trial: int,
    band: int,
    band_tiles: int,
    capacity: int,
) -> torch.Tensor:
    """Add one band to the sums; the keys that it left out, sorted."""
    quantities, chunks, _ = sums.shape
    across, block = common["tiles"], common["BLOCK"]
    # All pairs of a band lie to the right of the band's own corner of the diagonal.
    wide = across if area.rectangle else across - band

    def run(keys: torch.Tensor, length: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        by_row = sums.new_zeros(quantities, chunks, across, band_tiles * block)
        by_column = sums.new_zeros(quantities, chunks, band_tiles, across * block)
        with on_device(sums):
            mmi_nodes_kernel[(chunks * band_tiles * wide,)](
                by_row=by_row,
                by_column=by_column,
                marked=keys,
                count=length,
                chunks=chunks,
                first_trial=first_trial,
                band=band,
                band_tiles=band_tiles,
                capacity=len(keys),
                **common,
            )
        return by_row, by_column

    (by_row, by_column), keys = complete(torch_library(), sums, run, capacity)
    rows, columns = area.sides
    start = rows.start + band * block
    stop = min(start + band_tiles * block, rows.stop)
    sums[:, :, start:stop] += by_row.sum(2)[..., : stop - start]
    sums[:, :, columns] += by_column.sum(2)[..., : columns.stop - columns.start]
    left: torch.Tensor = keys
    return left
