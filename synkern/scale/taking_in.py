"""A series on its way to the workers: looked at once, and copied where they could not read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern.scale.columns import Columns, read_through
from synkern.scale.errors import needed
from synkern.scale.grid import Grid
from synkern.scale.setting import Setting
from synkern.scale.store import create, naming


def taken_in(
    given: Setting, where: Any, grid: Grid, meta: Mapping[str, Any] | None
) -> tuple[Columns, str]:
    """Look at all of a series once.

    Args:
        given: the call.
        where: the store, which is begun.
        grid: of its blocks.
        meta: what it said of itself before; None where it is new.

    Returns:
        Columns that workers can read, and the digest of the series.

    Raises:
        ValueError: NaN or infinity.
        BlocksError: the disk is full.
    """
    columns, mask = given.given.columns, given.given.mask
    copies = (given.elsewhere and not columns.moves) or columns.amplified(grid.side)
    if not copies:
        return columns, read_through(columns, mask, given.memory)
    zarr = needed("zarr", "phiid_blocks")
    group = zarr.open_group(where, mode="r+")
    known = meta and meta["ingredients"]["series"]
    if known and "series" in group and group["series"].attrs.get("digest") == known:
        return Columns(group["series"], moves=True), read_through(columns, mask, given.memory)
    if known:  # A copy of another series has no place in this store.
        digest = read_through(columns, mask, given.memory)
        if digest != known:
            return columns, digest
    with naming(where):
        made = _created(group, columns, grid.side, given.memory)

    def copy(trials: slice, nodes: slice, values: npt.NDArray[Any]) -> None:
        with naming(where):
            made[trials, :, nodes] = values

    digest = read_through(columns, mask, given.memory, copy)
    with naming(where):
        made.attrs["digest"] = digest
    return Columns(made, moves=True), digest


def _created(group: Any, columns: Columns, side: int, memory: int) -> Any:
    """Where a copy goes: nodes as a block reads them, trials as they are handed over."""
    _, time, nodes = columns.shape
    return create(
        group,
        "series",
        shape=columns.shape,
        chunks=(columns.trials_at_once(memory), time, min(nodes, side)),
        dtype=np.dtype(columns.array.dtype).newbyteorder("=").name,
        dimension_names=("trial_of_series", "time", "node"),
        overwrite=True,
    )
