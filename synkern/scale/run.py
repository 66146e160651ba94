"""`phiid_blocks`: the call."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from synkern._warnings import warn
from synkern.decomposition.decompose import warn_of_degenerate
from synkern.decomposition.options import Kind, Redundancy, SharedOptions
from synkern.scale.errors import needed
from synkern.scale.executors import check_executor, computed
from synkern.scale.progress import Shown, Watch
from synkern.scale.result import PhiIDBlocks
from synkern.scale.setting import Setting, setting
from synkern.scale.store import alone_in, begin, kept_meta, prepare, refuse_another, tally
from synkern.scale.taking_in import taken_in
from synkern.scale.task import Task


class BlocksOptions(SharedOptions, total=False):
    """Keywords that `phiid_blocks` and `plan_blocks` share."""

    keep: Literal["pairs", "node_means"]
    tau: int
    kind: Kind | None
    redundancy: Redundancy
    memory: float
    side: int | None


def phiid_blocks(
    series: Any,
    *,
    out: str | os.PathLike[str] | None,
    executor: Any = None,
    progress: Shown = False,
    **options: Unpack[BlocksOptions],
) -> PhiIDBlocks:
    """Decompose all pairs of more nodes than there is memory for, block by block, into a store.

        big = synkern.phiid_blocks("series.zarr", out="result.zarr")
        big["sts"][1000:2000, :500]
        big.node_means()

    A block is a rectangle of pairs. Each is written when it is finished and never computed again: a
    run that was stopped or killed goes on by the same call, and ends with the same bits. These do
    not depend on the executor, nor on the order in which blocks are finished.

    Args:
        series: (trials, time, nodes) or (time, nodes): the path of a zarr array or of a `.npy`
            file, an array of zarr or dask, or anything else that `phiid` takes but moments. What is
            at a path is read some nodes at a time; best is a zarr array whose chunks hold all time
            points of some nodes. An array of dask, one whose chunks are many nodes wide, and with
            an executor one that is in memory, is copied into the store first.
        out: folder of the store, made by zarr (format 3), in a folder that is there. None: in
            memory, and in this process.
        executor: None: this process, the compiled backend with all its threads. An executor of
            `concurrent.futures`, or a `dask.distributed.Client`, whose workers read the series and
            write the store themselves, under the same paths.
        progress: True: a bar with the time that is left. A function: called with a `Progress` after
            each block.
        **options: what follows, of which all but the first, `memory` and `side` are those of
            `phiid`: `tau` (1), `kind`, `redundancy`, `mask`, `atoms`, `average`, `unit`, `dtype`,
            `node_names`. Trials are inside the blocks.
        keep: "pairs": the atoms of all pairs, of which one half is stored. "node_means": sums over
            the pairs of each node alone, in (nodes**2 / side) numbers for each atom.
        backend: as in `phiid`. "auto" is decided here, for all workers. "cupy" and "triton" take
            blocks to the first GPU that a process sees: one worker for each, as dask-cuda starts
            them. (This has been tried without GPUs alone.)
        memory: bytes that blocks may take in a process, beside what Python and its libraries do
            (0.3 GB); it decides how large they are. A worker of n threads takes n times that.
        side: nodes to a side of a block, a multiple of 64, at most all; None: by `memory`. A store
            keeps that with which it was begun.

    Returns:
        `PhiIDBlocks`, which reads the store.

    Raises:
        ValueError: as `phiid`; a store of another series or of other options, naming which.
        TypeError: as `phiid`; an executor of another kind.
        FileExistsError: there is something else at `out`.
        FileNotFoundError: nothing at the path of the series; no folder for `out`.
        StoreInUseError: another run writes there.
        MemoryError: `memory` does not hold the smallest block.
        BlocksError: the disk is full, the store is lost, workers die, the scheduler is lost; the
            message says what to do. Blocks that are finished are kept.
        MissingExtraError: zarr is not installed, or another package that is needed.

    Warns:
        UserWarning: as `phiid`; what is said of nodes of a block is numbered within it.
    """
    check_executor(executor)
    given = setting(series, **options, elsewhere=executor is not None)
    with contextlib.ExitStack() as stack:
        where = _where(out, executor, stack)
        return _run(given, where, executor, progress)


def _where(out: Any, executor: Any, stack: contextlib.ExitStack) -> Any:
    """The path of a store, which is then ours alone, or a store in memory."""
    if out is None:
        if executor is not None:
            raise ValueError(
                "out = None is in the memory of this process, which workers do not reach; name a "
                "folder that they do"
            )
        return needed("zarr.storage", "phiid_blocks").MemoryStore()
    if "://" in str(out):
        raise ValueError(
            f"out = {out!r} is an address; blocks are written to a folder: name one that all "
            "workers reach, such as where the storage is mounted"
        )
    path = Path(out).expanduser().resolve()
    stack.enter_context(alone_in(path))
    return str(path)


def _run(given: Setting, where: Any, executor: Any, progress: Shown) -> PhiIDBlocks:
    meta = kept_meta(where)
    grid = given.grid(meta)
    if meta is not None:  # What needs no look at the series is said before it.
        refuse_another(where, meta, given.ingredients(grid, meta["ingredients"]["series"]))
    begin(where)
    columns, digest = taken_in(given, where, grid, meta)
    said = {"wanted": list(given.asked.wanted), "node_names": given.given.node_names}
    place = prepare(where, given.layout(grid), given.ingredients(grid, digest), said)
    todo = np.flatnonzero(tally(where, given.layout(grid))[:, 0] < 0).tolist()
    task = Task(given.asked, columns, grid, place)
    watch = Watch(grid, todo, progress)
    # Of few samples every block speaks, and of its own shape.
    known = {message.partition("; shape")[0] for message in given.few}
    for message in given.few:
        warn(message)
    messages: dict[str, int] = {}
    try:
        for number, each in computed(executor, task, todo):
            for message in each:
                if message.partition("; shape")[0] not in known:
                    messages.setdefault(message, number)
            watch.add(number)
    finally:
        watch.close()
        _warn(messages, task)
    big = PhiIDBlocks(where)
    pairs = grid.nodes * (grid.nodes - 1) // 2
    warn_of_degenerate(big.degenerate, big.constant, pairs, listed=big.keep == "pairs")
    return big


_SAID = 3
"""Different warnings of blocks that are passed on."""


def _warn(messages: dict[str, int], task: Task) -> None:
    """Pass on what was said of blocks, each thing once."""
    for message, number in list(messages.items())[:_SAID]:
        i, j = task.grid.block(number)
        rows, columns = task.grid.range(i), task.grid.range(j)
        ranges = f"{rows.start} to {rows.stop - 1}"
        if i != j:
            ranges += f" and {columns.start} to {columns.stop - 1}"
        warn(f"{message} (of the block of nodes {ranges}, where these are numbered from 0)")
    if len(messages) > _SAID:
        warn(f"{len(messages) - _SAID} more different warnings of blocks are not shown")
