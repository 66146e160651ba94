"""Means by node: bands of tiles through the kernel, their sums in order, the pairs left over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from ..contract import Nodes, Request, Tile
from ..engine.node_means import resolved
from ..formulas.unit_vectors import Segments
from ..lattice import swap_nodes
from ..torch_backend import _LIB
from .configurations import Launch, launch_for, options
from .device.mmi_nodes import mmi_nodes_kernel
from .launch import Area, least_trusted, on_device
from .mmi import constants
from .op import unpack
from .plan import mirrors, plan


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
        for part in _parts(segments, unpack(keys, nodes), request):
            found, count = _again(sums, segments, part, request)
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
    launch = launch or launch_for(request.dtype, "nodes", chosen, request.per_trial)
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
        "both": torch.stack((past.mT, future.mT), -1),
        "own": (past * future).sum(-1),
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
            yield _band(part, area, common, first, band, rows, capacity)


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
    while True:
        by_row = sums.new_zeros(quantities, chunks, across, band_tiles * block)
        by_column = sums.new_zeros(quantities, chunks, band_tiles, across * block)
        marked = torch.empty(capacity, dtype=torch.int64, device=sums.device)
        count = torch.zeros(1, dtype=torch.int64, device=sums.device)
        with on_device(sums):
            mmi_nodes_kernel[(chunks * band_tiles * wide,)](
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
    rows, columns = area.sides
    start = rows.start + band * block
    stop = min(start + band_tiles * block, rows.stop)
    sums[:, :, start:stop] += by_row.sum(2)[..., : stop - start]
    sums[:, :, columns] += by_column.sum(2)[..., : columns.stop - columns.start]
    return marked[:length].sort().values


def _parts(segments: Segments, listed: torch.Tensor, request: Request) -> Iterator[torch.Tensor]:
    """Pairs in parts whose gathered data, of one trial or of all, stay within the bound."""
    trials, _, samples = segments.past.shape
    together = 1 if request.per_trial else trials
    size = max(1, request.limits.rescued // (4 * samples * together))
    yield from listed.split(size)


def _again(
    sums: torch.Tensor, segments: Segments, listed: torch.Tensor, request: Request
) -> tuple[Counter[int], int]:
    """Add (pairs, 3) pairs that the kernel left out, by the eager engine and its stable path.

    Returns:
        Their outcomes, and how many of them only the stable path resolved.
    """
    trial, pairs = listed[:, :1], listed[:, 1:]
    if not request.per_trial:
        trial = torch.arange(len(segments.past), device=listed.device)[:, None, None]
    # (trials or 1, pairs, 2), each as a trial of two nodes.
    gathered = Segments(*(v[trial, pairs].reshape(-1, 2, *v.shape[2:]) for v in segments))
    found = resolved(
        _LIB, gathered, request, Tile(slice(0, len(gathered.past)), slice(0, 1), slice(1, 2))
    )
    known = found.known.reshape(-1, len(listed)).sum(0)
    place = listed[:, 0] if request.per_trial else torch.zeros_like(listed[:, 0])
    mean = {
        name: value.to(torch.float64).reshape(-1, len(listed)).sum(0) / known.clamp(min=1)
        for name, value in found.atoms.items()
    }
    index = request.names.index
    quantities = [(index(name), index(swap_nodes(name)), mean[name]) for name in request.names]
    quantities.append((-3, -3, (known > 0).to(torch.float64)))
    if {"rtr", "sts"} <= mean.keys():
        both = mean["sts"] + mean["rtr"]
        positive = (known > 0) & (both > 0)
        share = torch.where(positive, mean["sts"] / torch.where(positive, both, 1.0), 0.0)
        quantities += [(-2, -2, share), (-1, -1, positive.to(torch.float64))]
    for own, mirror, value in quantities:
        _LIB.add_at(sums[own], (place, pairs[:, 0]), value)
        _LIB.add_at(sums[mirror], (place, pairs[:, 1]), value)
    return found.outcomes, found.rescued
