"""Tables of text: what is between the cells, whether the first line holds names, and what is off.

Every line of the file is one row, empty ones too, so that a row's line is known.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from synkern.data.companions import NODE_NAMES
from synkern.data.errors import DataError, needed
from synkern.data.formats.cells import MISSING, NUMBER
from synkern.data.formats.columns import Table
from synkern.data.options import ReadOptions

_MARKS = ("\t", ";", ",", "|")
_LOOKED_AT = 20


def text_table(path: Path, options: ReadOptions) -> Table:
    """Read a table of text as it is, with the types that its columns have.

    Raises:
        DataError: it is no text, or no table of as many cells in each line.
        MissingExtraError: pandas is not installed.
    """
    pandas = needed("pandas", "data", f"reading {path}")
    encoding = _encoding(path)
    head, comments = _head(path, encoding)
    mark = options.delimiter or _mark(head, options.decimal)
    first = _cells(head[0], mark)
    has_names, notes = _names_in_first(path, first, head, mark, options)
    names = [cell.strip() for cell in first] if has_names else None
    if not has_names and comments:
        names = _names_in_comment(comments[-1], len(first), mark)
    known: dict[str, Any] = {"sep": r"\s+"} if mark == " " else {"sep": mark}
    if tuple(map(int, pandas.__version__.split(".")[:2])) < (3, 1):
        known["float_precision"] = "round_trip"  # what later versions do, and call it deprecated
    start = len(comments) + has_names
    try:
        frame = pandas.read_csv(
            path,
            header=None,
            skiprows=start,
            encoding=encoding,
            decimal=options.decimal,
            skip_blank_lines=False,
            keep_default_na=False,
            na_values=list(MISSING),
            low_memory=False,
            **known,
        )
    except pandas.errors.EmptyDataError:
        raise DataError(f"{path} has no rows of numbers" + " below its names" * has_names) from None
    except pandas.errors.ParserError as error:
        raise DataError(_ragged(path, str(error), len(first), start)) from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path} cannot be read, or is cut off: {error}") from None
    frame, lines = _without_end(frame, start)
    if frame.empty:
        raise DataError(f"{path} has no rows of numbers" + " below its names" * has_names)
    _refuse_short_end(path, frame, lines, mark, encoding)
    if mark != " " and all(line.endswith(mark) for line in head) and frame.iloc[:, -1].isna().all():
        frame = frame.iloc[:, :-1]
        names = names[:-1] if names is not None else None
        notes.append(f"every line ends in {mark!r}: the empty column behind it was left out")
    names = _for_columns(path, names, frame.shape[1], notes)
    return Table(
        path=path,
        frame=frame,
        names=names or [f"column {k}" for k in range(frame.shape[1])],
        named=names is not None and not all(map(str.isdigit, names)),
        unnamed=names is None,
        lines=lines,
        decimal=options.decimal,
        notes=notes,
    )


def _opened(path: Path, encoding: str) -> io.TextIOBase:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding=encoding, newline=None)
    return path.open(encoding=encoding)


def _encoding(path: Path) -> str:
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opened(path, "rb") as file:
            start = file.read(4096)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read, or is cut off: {error}") from None
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in start:
        raise DataError(f"{path} is no text: it has bytes of zero; rename it after what it is")
    return "utf-8-sig"


def _head(path: Path, encoding: str) -> tuple[list[str], list[str]]:
    """First lines of the table, and the comments (#) above it."""
    try:
        with _opened(path, encoding) as file:
            lines = [line.rstrip("\r\n") for line in islice(file, 10_000)]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read, or is cut off: {error}") from None
    count = 0
    while count < len(lines) and (lines[count].startswith("#") or not lines[count].strip()):
        count += 1
    head = [line for line in lines[count:] if line.strip()][:_LOOKED_AT]
    if not head:
        raise DataError(f"{path} has no rows")
    return head, lines[:count]


def _cells(line: str, mark: str) -> list[str]:
    if mark == " ":
        return line.split()
    return next(csv.reader([line], delimiter=mark))


def _mark(head: list[str], decimal: str) -> str:
    """What is between the cells: the first mark that cuts all lines in as many of them."""
    for mark in _MARKS:
        if mark == decimal:
            continue
        counts = {len(_cells(line, mark)) for line in head[1:] or head}
        if len(counts) == 1 and counts != {1}:
            return mark
    # Cut off, or ragged: the lines say which later.
    often = {mark: min(line.count(mark) for line in head) for mark in _MARKS if mark != decimal}
    best = max(often, key=lambda mark: often[mark])
    return best if often[best] else " "


def _names_in_first(
    path: Path, first: list[str], head: list[str], mark: str, options: ReadOptions
) -> tuple[bool, list[str]]:
    """Whether the first line holds names, and what is to be said of that."""
    if options.header != "auto":
        return options.header == "yes", []
    words = [cell for cell in first if not _is_number(cell) and cell.strip() not in MISSING]
    below = _cells(head[1], mark) if len(head) > 1 else []
    if words:
        # A text in each row, such as a trial's name, makes no header of the first of them.
        texts = [k for k, cell in enumerate(first) if cell in words]
        other = [k for k in texts if k >= len(below) or _is_number(below[k])]
        of_nodes = first[0].strip().lower() in NODE_NAMES  # above names of rows
        return of_nodes or bool(other) or len(texts) == len(first) or not below, []
    whole = [cell.strip() for cell in first]
    if whole[0] == "" and len(whole) > 1 and below and below[0].strip():
        whole = whole[1:]
    counted = [[str(k + start) for k in range(len(whole))] for start in (0, 1)]
    if len(whole) > 2 and whole in counted and below[-len(whole) :] not in counted:
        return True, [
            f"the first line, {whole[0]} to {whole[-1]}, is taken for names; header='no' says "
            "otherwise"
        ]
    under = [_cells(line, mark)[-len(whole) :] for line in head[1:]]
    if (
        len({*whole}) == len(whole) > 1
        and all(cell.isdecimal() for cell in whole)
        and under
        and not any(cell.strip().isdecimal() for row in under for cell in row)
    ):
        raise DataError(
            f"{path}: the first line holds whole numbers, {whole[0]} to {whole[-1]}, and those "
            "below it do not: give header='yes' if these are names, header='no' if they are the "
            "first sample"
        )
    return False, []


def _names_in_comment(line: str, columns: int, mark: str) -> list[str] | None:
    """Names in the line above the table, as NumPy's savetxt writes them."""
    names = [cell.strip() for cell in _cells(line.lstrip("# "), mark)]
    words = [name for name in names if name and not _is_number(name)]
    return names if len(words) == len(names) == columns > 1 else None


def _for_columns(
    path: Path, names: list[str] | None, columns: int, notes: list[str]
) -> list[str] | None:
    """Names for all columns; R leaves out that of the names of rows."""
    if names is None or len(names) == columns:
        return names
    if len(names) == columns - 1:
        notes.append("the first line has a name less than there are columns, for the first of them")
        return ["", *names]
    raise DataError(
        f"{path}: the first line has {len(names)} names and the others {columns} cells; "
        + (
            "with a comma as decimal mark, give decimal=',' and delimiter=, which is another then"
            if columns == 2 * len(names)
            else "give delimiter=, or a name for each column"
        )
    )


def _without_end(frame: Any, start: int) -> tuple[Any, Any]:
    """The rows without empty ones at the end, and the line of each."""
    filled = np.flatnonzero(frame.notna().any(axis=1).to_numpy())
    count = int(filled[-1]) + 1 if len(filled) else 0
    return frame.iloc[:count], np.arange(start + 1, start + 1 + count)


def _refuse_short_end(path: Path, frame: Any, lines: Any, mark: str, encoding: str) -> None:
    """Raise DataError where the last line has fewer cells than others: the file is cut off."""
    last = frame.iloc[-1]
    if not last.isna().to_numpy()[-1]:
        return
    with _opened(path, encoding) as file:
        text = next(islice(file, int(lines[-1]) - 1, None)).rstrip("\r\n")
    cells = len(_cells(text, mark))
    if cells < frame.shape[1]:
        raise DataError(
            f"{path}: its last line, {lines[-1]}, has {cells} cells and the others "
            f"{frame.shape[1]}; it seems to be cut off: copy it again, or take the line out"
        )


def _ragged(path: Path, said: str, cells: int, start: int) -> str:
    match = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", said)
    if match is None:
        return f"{path} is no table: {said.strip()}; give delimiter="
    expected, line, saw = match.groups()
    return (
        f"{path}: line {line} has {saw} cells and those before it {expected}; repair the line, or "
        "give delimiter="
    )


def _is_number(cell: str) -> bool:
    return NUMBER.fullmatch(cell.strip()) is not None
