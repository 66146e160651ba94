"""Small files beside the series: names and groups of nodes, where they are, which samples count."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from synkern.data.errors import DataError
from synkern.data.found import GROUPS, XYZ
from synkern.data.paths import is_file, path_of

T = TypeVar("T")

NODE_NAMES = (
    "node",
    "name",
    "label",
    "region",
    "roi",
    "channel",
    "node_name",
    "roi_name",
    "region_name",
)
_NUMBERS = ("index", "id", "number", "value", "label_id", "roi_id", "region_id")
_OUTLIERS = ("motion_outlier", "non_steady_state_outlier", "outlier")


@dataclass(frozen=True)
class Sheet:
    """A small table of texts.

    Attributes:
        path: the file.
        header: names of the columns, in lower case; None if there are none.
        rows: the cells.
    """

    path: Path
    header: tuple[str, ...] | None
    rows: tuple[tuple[str, ...], ...]

    def column(self, *names: str) -> list[str] | None:
        """The cells of the first of these columns that there is; None if there is none."""
        for name in names:
            if self.header is not None and name.lower() in self.header:
                place = self.header.index(name.lower())
                return [row[place] for row in self.rows]
        return None

    def names(self) -> list[str] | None:
        """The column of names of nodes; the only column if there is one."""
        if self.rows and len(self.rows[0]) == 1:
            return [row[0] for row in self.rows]
        return self.column(*NODE_NAMES)

    def names_among(self, nodes: Sequence[str]) -> list[str] | None:
        """The column of names of nodes, or else one that has all of these; None if none has."""
        known = self.column(*NODE_NAMES)
        if known is not None:
            return known
        columns = zip(*self.rows, strict=True)
        return next(([*column] for column in columns if {*nodes} <= {*column}), None)

    def numbers(self) -> list[int] | None:
        """The column of the numbers of regions, in an image of labels."""
        cells = self.column(*_NUMBERS)
        try:
            return None if cells is None else [int(float(cell)) for cell in cells]
        except ValueError:
            return None


def sheet(path: str | Path) -> Sheet:
    """Read a small table of texts; a first line of names is its header.

    Raises:
        DataError: the file is not there, is no text, is empty, or has rows of unequal length.
    """
    where = path_of(path)
    text = text_of(where)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise DataError(f"{where} is empty")
    between = next((mark for mark in "\t;," if mark in lines[0]), None)
    if between is None and len(lines[0].split()) > 1 and _is_number(lines[0].split()[-1]):
        rows = [tuple(line.split()) for line in lines]
    else:
        reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=between or "\t")
        rows = [tuple(cell.strip() for cell in row) for row in reader]
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{where}: row {number + 1} has {len(row)} cells and the first has {len(rows[0])}"
            )
    known = {*NODE_NAMES, *_NUMBERS, *GROUPS, *XYZ, "subject", "subjects", "names", "labels"}
    first = tuple(cell.lower() for cell in rows[0])
    starts = any(cell.startswith(_OUTLIERS) for cell in first)
    if {*first} & known or starts:
        if len(rows) == 1 and not starts:
            raise DataError(f"{where} has no rows below its names")
        return Sheet(where, first, tuple(rows[1:]))
    return Sheet(where, None, tuple(rows))


def text_of(path: Path) -> str:
    """The text of a file, which may be compressed by gzip.

    Raises:
        DataError: it is not there, or is no text.
    """
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        return raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no text in UTF-8: byte {error.start} is {raw[error.start]:#x}; save it as "
            "UTF-8"
        ) from None


def listed(given: Sequence[str], option: str) -> tuple[str, ...]:
    """Names that are given as such, or by the file that holds them.

    Raises:
        DataError: the file has no column of names.
    """
    if len(given) > 1 or not (is_file(given[0]) or _looks_like_file(given[0])):
        return tuple(given)
    table = sheet(given[0])
    names = table.names() or table.column("subject", "subjects")
    if names is None and table.header is None and len(table.rows) == 1:
        names = list(table.rows[0])
    if names is None:
        raise DataError(
            f"{option}: {table.path} has several columns and none called {', '.join(NODE_NAMES)}; "
            "give a header, or a file with one name a line"
        )
    return tuple(names)


def groups_of(table: Sheet, nodes: Sequence[str], column: str | None = None) -> tuple[str, ...]:
    """The group of each node.

    Args:
        table: with a column of nodes and one of groups, or one of groups in the order of nodes.
        nodes: their names.
        column: that of the groups; None takes one of a known name, or the last of two.

    Raises:
        DataError: nodes that the table does not have, another number of rows, or several columns
            that may be those of groups.
    """
    cells = table.column(column) if column is not None else table.column(*GROUPS)
    if cells is None and len(table.rows[0]) > 2:
        raise DataError(
            f"groups: {table.path} has {len(table.rows[0])} columns and none called "
            f"{', '.join(GROUPS)}; give a header in which that of the groups is called group"
        )
    if cells is None:
        cells = [row[-1] for row in table.rows]
    names = table.names_among(nodes)
    if names is None and len(table.rows[0]) > 1 and table.header is None:
        names = [row[0] for row in table.rows]
    return tuple(_in_order(table, names, cells, nodes, "groups"))


def coordinates_of(table: Sheet, nodes: Sequence[str]) -> npt.NDArray[np.float64]:
    """(nodes, 3) of a table with columns x, y, z, in the order of nodes.

    Raises:
        DataError: no such columns, what is no number, or nodes that the table does not have.
    """
    columns = [table.column(axis) for axis in XYZ]
    names = table.names_among(nodes)
    if table.header is None and len(table.rows[0]) in (3, 4):
        columns = [[row[k] for row in table.rows] for k in range(-3, 0)]
        names = [row[0] for row in table.rows] if len(table.rows[0]) == 4 else None
    if any(column is None for column in columns):
        raise DataError(f"coordinates: {table.path} has no columns x, y and z")
    rows = list(zip(*(column or () for column in columns), strict=True))
    try:
        return np.array(
            [[float(c) for c in row] for row in _in_order(table, names, rows, nodes, "coordinates")]
        )
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"coordinates: {table.path} holds what is no number: {error}") from None


def outliers(path: str | Path, samples: int) -> npt.NDArray[np.bool_]:
    """(time,) True where a list of numbers, or columns of outliers, leave a sample out.

    Raises:
        DataError: numbers that are no samples; what `sheet` raises, but an empty list is one.
    """
    found = np.zeros(samples, bool)
    if not text_of(Path(path).expanduser()).strip():
        return found
    table = sheet(path)
    if table.header is not None:
        places = [k for k, name in enumerate(table.header) if name.startswith(_OUTLIERS)]
        if len(table.rows) != samples:
            raise DataError(f"scrub: {table.path} has {len(table.rows)} rows for {samples} samples")
        return np.array([any(_truth(row[k], table) for k in places) for row in table.rows])
    cells = [cell for row in table.rows for cell in row]
    if len(cells) == samples > 2 and {*cells} <= {"0", "1"}:
        raise DataError(
            f"scrub: {table.path} has a 0 or 1 for each of the {samples} samples, not their "
            "numbers; if 1 is valid, give it as mask=, and else put motion_outlier as a name on top"
        )
    for row in table.rows:
        for cell in row:
            if not cell.lstrip("-").isdigit() or not 0 <= int(cell) < samples:
                raise DataError(
                    f"scrub: {table.path} holds {cell!r}; give numbers of samples, from 0 to "
                    f"{samples - 1}"
                )
            found[int(cell)] = True
    return found


def truths(path: str | Path, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(time,) or (trials, time) of truth values in a file, .npy or a table without a header.

    Raises:
        DataError: another shape, or what is neither true nor false.
    """
    where = path_of(path)
    if where.suffix == ".npy":
        try:
            held = np.load(where, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"mask: {where} cannot be read: {error}") from None
        if held.dtype != np.bool_ and not np.isin(held, (0, 1)).all():
            raise DataError(f"mask: {where} holds {held.dtype}; give truth values, or 0 and 1")
        valid = held.astype(bool)
    else:
        table = sheet(where)
        valid = np.array([[_truth(cell, table) for cell in row] for row in table.rows])
        valid = valid[:, 0] if valid.shape[1] == 1 else valid
    if valid.shape not in ((shape[1],), shape):
        raise DataError(
            f"mask: {where} has the shape {valid.shape}; give ({shape[1]},), one for each sample, "
            f"or {shape}"
        )
    return np.asarray(valid, np.bool_)


def _truth(cell: str, table: Sheet) -> bool:
    text = cell.strip().lower()
    if text in ("1", "1.0", "true", "yes"):
        return True
    if text in ("0", "0.0", "false", "no"):
        return False
    raise DataError(f"{table.path} holds {cell!r}; give 1 or 0, True or False")


def _in_order(
    table: Sheet, names: list[str] | None, cells: Sequence[T], nodes: Sequence[str], option: str
) -> list[T]:
    """Cells in the order of the nodes: by name, or as they are where the table has no names."""
    if names is None:
        if len(cells) != len(nodes):
            raise DataError(
                f"{option}: {table.path} has {len(cells)} rows for {len(nodes)} nodes; give a "
                "column of the nodes' names, or one row for each node"
            )
        return list(cells)
    held = dict(zip(names, cells, strict=True))
    absent = [node for node in nodes if node not in held]
    if absent:
        raise DataError(
            f"{option}: {table.path} does not have {len(absent)} of the nodes, {absent[0]!r} for "
            f"instance; it has {names[0]!r} to {names[-1]!r}"
        )
    if len(held) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{option}: {table.path} has node {twice!r} twice")
    return [held[node] for node in nodes]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _looks_like_file(text: str) -> bool:
    return Path(text).suffix in (".txt", ".csv", ".tsv", ".gz") or "/" in text
