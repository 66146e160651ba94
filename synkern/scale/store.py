"""Where blocks go: a group of zarr whose chunks are the blocks.

    sts, rtr, ...   (nodes, nodes), or (trials, nodes, nodes): blocks on and above the diagonal
    sums            of means by node alone: (quantities, trials, ranges, nodes), what ranges add
    constant        (trials, nodes)
    flagged/N       (flags, 4) of block N, where there are any
    tally           (blocks, 6): recomputed pairs, and those of each outcome
    series          (trials, time, nodes), where workers could not read it from where it was

zarr gives a chunk its name when all of it is written, and the row of a block in `tally` comes last:
a block is finished if it has one, and all of its files have their size, of which a failure of power
may have taken some. What a killed process leaves is no chunk, or one without that row, and is
written again. The group has what the numbers depend on among its attributes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern._locks import FolderInUseError, FolderLock
from synkern.decomposition.rectangles import Block
from synkern.kernels import Outcome
from synkern.scale.errors import BlocksError, StoreInUseError, needed
from synkern.scale.grid import Grid

FORMAT = 2
"""Of the layout above."""

QUANTITIES = 3
"""Sums by node beside the atoms: pairs, shares of sts, pairs with a share."""

_TALLY = ("rescued", *(outcome.name.lower() for outcome in Outcome))
_META = "synkern"


@dataclass(frozen=True)
class Place:
    """A store and what it is of.

    Attributes:
        where: path of a folder, or a store of zarr in memory.
        digest: of what its numbers depend on.
        run: a name of the call, which no other has.
    """

    where: Any
    digest: str
    run: str = field(default_factory=lambda: uuid.uuid4().hex)

    def opened(self) -> Any:
        """The group, to write to.

        Raises:
            BlocksError: it is not there any more, or is another.
        """
        zarr = needed("zarr", "phiid_blocks")
        try:
            group = zarr.open_group(self.where, mode="r+")
            found = group.attrs[_META]["digest"]
        except (FileNotFoundError, KeyError, ValueError) as error:
            raise _lost(self.where) from error
        if found != self.digest:
            raise _lost(self.where)
        return group


def _lost(where: Any) -> BlocksError:
    return BlocksError(
        f"out = {str(where)!r}: the store is lost: it was removed, replaced, or its disk is not "
        "there any more; bring it back and start again, which goes on where this run was"
    )


@dataclass(frozen=True)
class Layout:
    """What arrays a store has.

    Attributes:
        grid: of the blocks.
        names: atoms, closed under exchange of x and y.
        trials: that are kept apart; None where they are averaged.
        constants: trials of `constant`.
        dtype: of the atoms.
        keep: "pairs" or "node_means".
    """

    grid: Grid
    names: tuple[str, ...]
    trials: int | None
    constants: int
    dtype: str
    keep: str

    def arrays(self) -> dict[str, dict[str, Any]]:
        """By name, how each is created."""
        nodes, side, ranges = self.grid.nodes, self.grid.side, self.grid.ranges
        apart = () if self.trials is None else (self.trials,)
        made: dict[str, dict[str, Any]] = {}
        if self.keep == "pairs":
            pairs = {
                "shape": (*apart, nodes, nodes),
                "chunks": (*(1 for _ in apart), side, side),
                "dtype": self.dtype,
                "fill_value": np.nan,
                "dimension_names": (*("trial" for _ in apart), "x", "y"),
            }
            made |= dict.fromkeys(self.names, pairs)
        else:
            kinds, trials = len(self.names) + QUANTITIES, self.trials or 1
            made["sums"] = {
                "shape": (kinds, trials, ranges, nodes),
                "chunks": (kinds, trials, 1, side),
                "dtype": "float64",
                "fill_value": np.nan,
                "dimension_names": ("quantity", "trial_of_sums", "range", "x"),
            }
        made["constant"] = {
            "shape": (self.constants, nodes),
            "chunks": (self.constants, side),
            "dtype": "bool",
            "fill_value": False,
            "dimension_names": ("trial_of_constant", "x"),
        }
        made["tally"] = {
            "shape": (self.grid.blocks, len(_TALLY)),
            "chunks": (1, len(_TALLY)),
            "dtype": "int64",
            "fill_value": -1,
            "dimension_names": ("block", "count"),
        }
        return made

    @classmethod
    def of(cls, ingredients: Mapping[str, Any]) -> Layout:
        """Those of a store whose numbers depend on these."""
        trials, _, nodes = ingredients["shape"]
        average = ingredients["average"]
        return cls(
            grid=Grid(nodes, ingredients["side"]),
            names=tuple(ingredients["atoms"]),
            trials=trials if average is None else None,
            constants=1 if average in ("moments", "concatenate") else trials,
            dtype=ingredients["dtype"],
            keep=ingredients["keep"],
        )

    def files(self, number: int) -> Iterator[tuple[str, int]]:
        """Path in a store and bytes of each file of a block, the one that is written last first."""
        i, j = self.grid.block(number)
        side, kept = self.grid.side, self.trials or 1
        yield f"tally/c/{number}/0", len(_TALLY) * 8
        if i == j:
            yield f"constant/c/0/{i}", self.constants * side
        if self.keep == "pairs":
            trials = [""] if self.trials is None else [f"{trial}/" for trial in range(kept)]
            size = side * side * np.dtype(self.dtype).itemsize
            yield from ((f"{name}/c/{k}{i}/{j}", size) for name in self.names for k in trials)
        else:
            size = (len(self.names) + QUANTITIES) * kept * side * 8
            yield from ((f"sums/c/0/0/{at}", size) for at in {f"{i}/{j}", f"{j}/{i}"})

    def bytes(self) -> int:
        """Of a finished store, but for a copy of the series."""
        side, kept = self.grid.side, self.trials or 1
        if self.keep == "pairs":
            each = len(self.names) * side * side * np.dtype(self.dtype).itemsize
            return self.grid.blocks * kept * each
        return self.grid.ranges**2 * kept * (len(self.names) + QUANTITIES) * side * 8


def digest_of(ingredients: Mapping[str, Any]) -> str:
    """Digest of what the numbers of a store depend on."""
    text = json.dumps(ingredients, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Keep every other run out of a store.

    Raises:
        StoreInUseError: another one writes there.
        OSError: the folder that it is in is not there, or cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FolderLock(out.parent, f".{out.name}.lock", "run into this store"))
        except FolderInUseError as error:
            raise StoreInUseError(f"out = {str(out)!r}: {error}") from error
        except FileNotFoundError as error:
            raise FileNotFoundError(
                errno.ENOENT, "out: the folder that it is to be in is not there; make it", str(out)
            ) from error
        yield


def kept_meta(where: Any) -> dict[str, Any] | None:
    """What a store says of itself; None where there is nothing yet.

    Raises:
        FileExistsError: there is something else.
        ValueError: it is of another format.
    """
    zarr = needed("zarr", "phiid_blocks")
    if isinstance(where, str) and not _anything(Path(where)):
        return None
    try:
        attributes = dict(zarr.open_group(where, mode="r").attrs)
    except (FileNotFoundError, ValueError, KeyError):
        attributes = {}
    if not isinstance(where, str) and not attributes:
        return None
    meta = attributes.get(_META)
    if not isinstance(meta, dict) or "format" not in meta:
        raise FileExistsError(
            errno.EEXIST,
            "out: there is something that phiid_blocks has not made; name another folder",
            str(where),
        )
    if meta["format"] != FORMAT:
        raise ValueError(
            f"out = {str(where)!r} has format {meta['format']}, and this synkern knows {FORMAT}; "
            "take the version that made it, or name another folder"
        )
    return meta if "ingredients" in meta else None  # A run was killed at its start.


def begin(where: Any) -> None:
    """Make a store that does not say yet what it is of, unless there is one.

    Raises:
        BlocksError: the disk is full.
    """
    zarr = needed("zarr", "phiid_blocks")
    with naming(where):
        if isinstance(where, str) and not _anything(Path(where)):
            zarr.create_group(where, attributes={_META: {"format": FORMAT}}, overwrite=True)
        elif not isinstance(where, str):
            zarr.create_group(where, attributes={_META: {"format": FORMAT}})


def _anything(path: Path) -> bool:
    if not path.is_dir():
        return path.exists() or path.is_symlink()
    # A run that was killed at its start leaves what was not yet the description of a group.
    return any(not name.endswith(".partial") for name in os.listdir(path))


def refuse_another(
    where: Any, meta: Mapping[str, Any] | None, ingredients: Mapping[str, Any]
) -> None:
    """Raise ValueError if a store is there, of other ingredients."""
    if meta is not None and meta["digest"] != digest_of(ingredients):
        raise ValueError(
            f"out = {str(where)!r} is a store of another call: "
            f"{_differences(meta['ingredients'], ingredients)}; name another folder, or remove "
            "this one"
        )


def prepare(
    where: Any, layout: Layout, ingredients: Mapping[str, Any], said: Mapping[str, Any]
) -> Place:
    """Make a store, or go on with one.

    Args:
        where: path of a folder, or a store of zarr in memory.
        layout: its arrays.
        ingredients: what the numbers depend on.
        said: what else is kept about them.

    Raises:
        FileExistsError: there is something else.
        ValueError: the store is of other ingredients.
        BlocksError: the disk is full.
    """
    zarr = needed("zarr", "phiid_blocks")
    place = Place(where, digest_of(ingredients))
    refuse_another(where, kept_meta(where), ingredients)
    with naming(where):
        group = zarr.open_group(where, mode="r+")
        for name, made in layout.arrays().items():
            # A run may have been killed between two of them.
            if name not in group:
                create(group, name, **made)
        for name in ("flagged", "names"):
            group.require_group(name)
        rest = {key: value for key, value in said.items() if key != "node_names"}
        names = said.get("node_names")
        _say(group["names"], "nodes", None if names is None else list(names))
        own = {"format": FORMAT, "digest": place.digest, "ingredients": dict(ingredients)}
        _say(group, _META, {**own, **rest})
    if isinstance(where, str):
        for left in Path(where).rglob("*.partial"):  # by a process that was killed
            left.unlink(missing_ok=True)
        for number in range(layout.grid.blocks):
            for name, size in layout.files(number):
                if _bytes_of(Path(where, name)) not in (size, None):
                    Path(where, name).unlink()  # lest zarr, which writes a part, read the rest
    return place


def _say(group: Any, key: str, value: Any) -> None:
    """Write an attribute, but not again what is there."""
    if key not in group.attrs or group.attrs[key] != value:
        group.attrs[key] = value


_WRITERS = 4
"""Atoms that are written at a time, at most."""

_opening = threading.Lock()


def _whole(group: Any, name: str) -> Any:
    """An array that writes all of its chunks, those too that hold what a missing one is read as."""
    zarr = needed("zarr", "phiid_blocks")
    # An array keeps what is set when it is opened, by any thread.
    with _opening, zarr.config.set({"array.write_empty_chunks": True}):
        return group[name]


def create(group: Any, name: str, **made: Any) -> Any:
    """An array whose chunks are files as they are in memory: these numbers do not compress."""
    return group.create_array(name, compressors=None, config={"write_empty_chunks": True}, **made)


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{key} is {there.get(key)!r} there and {here.get(key)!r} here"
        for key in sorted({*there, *here})
        if there.get(key) != here.get(key)
    )


@contextlib.contextmanager
def naming(where: Any) -> Iterator[None]:
    """Turn what a disk says into an error that says what is left and what to do.

    Raises:
        BlocksError: the disk is full, or fails; the store is lost.
    """
    try:
        yield
    except (FileNotFoundError, KeyError) as error:
        raise _lost(where) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise BlocksError(
            f"out = {str(where)!r}: {'the disk is full' if full else f'the disk fails ({error})'}; "
            "all blocks that are finished are kept: "
            f"{'make room' if full else 'see to it'} and start again, which goes on where this run "
            "was"
        ) from error


def write_block(place: Place, grid: Grid, number: int, block: Block) -> None:
    """Write a block, and then that it is finished.

    Raises:
        BlocksError: as `naming`.
    """
    i, j = grid.block(number)
    rows, columns = grid.range(i), grid.range(j)
    with naming(place.where):
        group = place.opened()
        _write_atoms(group, (rows, columns), block.atoms)
        if block.sums is not None:
            height = rows.stop - rows.start
            group["sums"][:, :, j, rows] = block.sums[..., :height]
            if i != j:
                group["sums"][:, :, i, columns] = block.sums[..., height:]
        if i == j:
            _whole(group, "constant")[:, rows] = block.constant
        if len(block.flagged):
            flags = _renumbered(block.flagged, rows, columns)
            made = create(
                group["flagged"],
                str(number),
                shape=flags.shape,
                chunks=flags.shape,
                dtype="int64",
                overwrite=True,
            )
            made[:] = flags
        counts = (block.rescued, *(block.outcomes.get(kind, 0) for kind in Outcome))
        group["tally"][number] = np.array(counts)


def _write_atoms(
    group: Any, pairs: tuple[slice, slice], atoms: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Write atoms side by side: one after another they take longer than their arithmetic."""

    def write(name: str) -> None:
        _whole(group, name)[(..., *pairs)] = atoms[name]

    with ThreadPoolExecutor(max(1, min(len(atoms), _WRITERS))) as writers:
        list(writers.map(write, atoms))  # which raises what one of them did


def _renumbered(
    flagged: npt.NDArray[np.int64], rows: slice, columns: slice
) -> npt.NDArray[np.int64]:
    """Flags of a block with the numbers of the nodes."""
    height = rows.stop - rows.start
    nodes = flagged[:, 1:3]
    whole = np.where(nodes < height, nodes + rows.start, nodes - height + columns.start)
    return np.concatenate([flagged[:, :1], whole, flagged[:, 3:]], 1)


def tally(where: Any, layout: Layout) -> npt.NDArray[np.int64]:
    """(blocks, 6) of recomputed pairs, and those of each outcome: -1 of blocks to be finished."""
    array = needed("zarr", "phiid_blocks").open_group(where, mode="r")["tally"]
    if not isinstance(where, str):
        return np.asarray(array[...])
    counts = np.full(array.shape, -1, np.int64)
    whole = [
        number
        for number in range(layout.grid.blocks)
        if all(_bytes_of(Path(where, name)) == size for name, size in layout.files(number))
    ]
    if whole:
        counts[whole] = array.oindex[np.array(whole), slice(None)]
    return counts


def _bytes_of(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None
