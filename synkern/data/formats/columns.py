"""What the columns of a table are: nodes, time, trials, subjects, valid samples, or text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern.data.axes import role_in, told
from synkern.data.checking import some
from synkern.data.errors import DataError
from synkern.data.formats.cells import MISSING, NUMBER
from synkern.data.formats.times import Clock, clock_of, counts_samples, is_time_name
from synkern.data.found import Found
from synkern.data.nodes import matching
from synkern.data.options import ReadOptions
from synkern.data.paths import is_file

_SAME_STEP = 1e-6
"""Part of a step by which steps of the first column may differ, if nothing says that it is time."""

_COMMA = re.compile(r"\s*[-+]?\d*,\d+(e[-+]?\d+)?\s*", re.I)


@dataclass(kw_only=True)
class Table:
    """A table as its file has it.

    Attributes:
        path: the file.
        frame: a pandas DataFrame, whose own labels of columns do not count.
        names: of the columns.
        named: whether these are names, not numbers, so that columns are nodes.
        unnamed: whether the file has no names at all.
        lines: the line of the file of each row; None for rows that are counted from 0.
        decimal: the decimal mark it was read with.
        notes: what was decided.
    """

    path: Path
    frame: Any
    names: list[str]
    named: bool
    unnamed: bool = False
    lines: Any = None
    decimal: str = "."
    notes: list[str] = field(default_factory=list)

    def column(self, place: int) -> Any:
        """One column, a pandas Series."""
        return self.frame.iloc[:, place]

    def line(self, row: int) -> str:
        """Where a row is, in words."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"


def found_in(table: Table, options: ReadOptions) -> list[Found]:
    """Make trials of the rows of a table.

    Raises:
        DataError: a column that does not hold numbers, names that are twice the same or are not
            there, times that do not go on by one step.
    """
    if options.axes is not None and told(options.axes) == ("node", "time"):
        return [_turned(table, options)]
    if options.axes is not None and told(options.axes) != ("time", "node"):
        raise DataError(
            f"{table.path} is a table, of axes time,node or node,time; axes = {options.axes!r} is "
            "not: trials are told by trial_column="
        )
    places = {
        option: _place(table, option, getattr(options, option))
        for option in ("time_column", "trial_column", "subject_column")
    }
    valid_place = _mask_place(table, options)
    special = {k for k in (*places.values(), valid_place) if k is not None}
    dropped = _dropped(table, options) - special
    groups = _trials(table, places["trial_column"], places["subject_column"])
    trials = [rows for _, _, rows in groups]
    time = places["time_column"]
    if time is None:
        time = _time_place(table, special | dropped, trials)
    clock = None
    if time is not None:
        special.add(time)
        clock = _clock(table, time)
        asked = places["time_column"] is not None
        special |= _further_times(table, special | dropped, trials, asked)
    nodes = [k for k in range(len(table.names)) if k not in special | dropped]
    others = [name for k, name in enumerate(table.names) if k not in nodes]
    if options.columns is not None:
        names = [table.names[k] for k in nodes]
        every = "columns", str(table.path)
        wanted = {k for one in options.columns for k in matching(one, names, *every)}
        nodes = [k for place, k in enumerate(nodes) if place in wanted]
    if not nodes:
        raise DataError(f"{table.path} has no column of a node; it has {some(table.names)}")
    nameless = [k for k in nodes if not table.unnamed and not table.names[k]]
    if nameless:
        raise DataError(
            f"{table.path}: column {nameless[0]}, counted from 0, has no name; give it one"
        )
    _refuse_labels(table, options, nodes)
    values = _numbers(table, nodes)
    valid = None if valid_place is None else _truths(table, valid_place)
    found = []
    for trial, subject, rows in groups:
        found.append(
            _found(table, options, values, nodes, rows, valid, clock, trial=trial, subject=subject)
        )
        found[-1].others = others
        if clock is None and (np.diff(rows) > 1).any():
            found[-1].notes.append(
                "rows of a trial that stand apart in the table were taken for one stretch of time, "
                "in their order"
            )
    return found


def _found(
    table: Table,
    options: ReadOptions,
    values: npt.NDArray[Any],
    nodes: list[int],
    rows: npt.NDArray[np.intp],
    valid: npt.NDArray[np.bool_] | None,
    clock: Clock | None,
    *,
    trial: str | None,
    subject: str | None,
) -> Found:
    """The rows of one trial."""
    whole = len(rows) == len(values)
    one = Found(
        file=str(table.path),
        values=values if whole else values[rows],
        axes=("time", "node") if table.named else None,
        node_names=None if table.unnamed else [table.names[k] for k in nodes],
        trial_names=None if trial is None else [trial],
        subjects=None if subject is None else [subject],
        valid=None if valid is None else valid[rows],
        masked=valid is not None,
        lines=None if table.lines is None else table.lines[rows],
        notes=[*table.notes],
    )
    if clock is None:
        return one
    samples = clock.samples(rows, options.missing)
    one.step = samples.step
    one.notes += samples.notes
    if samples.places is not None:
        full = np.zeros((samples.places[-1] + 1, values.shape[1]))
        full[samples.places] = one.values
        there = np.zeros(len(full), bool)
        there[samples.places] = True if one.valid is None else one.valid
        one.values, one.valid, one.lines = full, there, None
    return one


def _refuse_labels(table: Table, options: ReadOptions, nodes: list[int]) -> None:
    """Raise DataError where numbers of trials or subjects would be read as a node.

    Raises:
        DataError: a column is called so, and has few values, again and again.
    """
    if table.unnamed or options.columns is not None:
        return
    for k in nodes:
        role, column = role_in(table.names[k]), table.column(k)
        if role in ("trial", "subject") and 2 * column.nunique() <= len(column):
            raise DataError(
                f"{table.path}: column {table.names[k]!r} seems to say which {role} a row belongs "
                f"to; give {role}_column={table.names[k]!r}, or drop= it, or name all nodes by "
                "columns= if it is one"
            )


def _place(table: Table, option: str, name: str | None) -> int | None:
    """Where the column is that an option names."""
    if name is None:
        return None
    if name not in table.names:
        raise DataError(
            f"{option}: {table.path} has no column {name!r}; it has {some(table.names)}"
        )
    if table.names.count(name) > 1:
        raise DataError(f"{option}: {table.path} has several columns {name!r}; rename them")
    return table.names.index(name)


def _mask_place(table: Table, options: ReadOptions) -> int | None:
    if options.mask is None or len(options.mask) != 1:
        return None
    name = options.mask[0]
    if name in table.names:
        return _place(table, "mask", name)
    if is_file(name):
        return None
    raise DataError(
        f"mask: {name!r} is no file and no column of {table.path}, which has {some(table.names)}"
    )


def _dropped(table: Table, options: ReadOptions) -> set[int]:
    """Columns that `drop` takes out; of a name that no column has, nodes.py says so."""
    return {
        k
        for k, name in enumerate(table.names)
        if any(fnmatchcase(name, d) for d in options.drop or ())
    }


def _trials(
    table: Table, trial: int | None, subject: int | None
) -> list[tuple[str | None, str | None, npt.NDArray[np.intp]]]:
    """Name and subject of each trial, in the order of the rows, and its rows."""
    keys = [table.column(k) for k in (subject, trial) if k is not None]
    for place in (k for k in (subject, trial) if k is not None):
        empty = np.flatnonzero(table.column(place).isna())
        if len(empty):
            raise DataError(
                f"{table.path}: column {table.names[place]!r} is empty in {table.line(empty[0])}; "
                "every row belongs to one"
            )
    if not keys:
        return [(None, None, np.arange(len(table.frame)))]
    by: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(zip(*(map(_named, column) for column in keys), strict=True)):
        by.setdefault(key, []).append(row)
    trials: list[tuple[str | None, str | None, npt.NDArray[np.intp]]] = []
    for key, rows in by.items():
        who = key[0] if subject is not None else None
        trials.append((":".join(key), who, np.asarray(rows)))
    return trials


def _named(key: Any) -> str:
    """A whole number that a column with gaps holds as 1.0 is 1."""
    return str(int(key)) if isinstance(key, float) and key.is_integer() else str(key)


def _time_place(table: Table, other: set[int], trials: list[npt.NDArray[np.intp]]) -> int | None:
    """Find the column of time: by its name, or the first if it counts rows."""
    left = [k for k in range(len(table.names)) if k not in other]
    # Without a name it can be one of row numbers where it is the first.
    named = [k for k in left if is_time_name(table.names[k]) and (table.names[k] or k == 0)]
    if named and not table.unnamed:
        # What counts the rows says less.
        return next((k for k in named if not counts_samples(table.names[k])), named[0])
    if not left:
        return None
    first = table.column(left[0])
    if clock_of(first) is None and not _goes_on(first, trials):
        return None
    return left[0]


def _clock(table: Table, place: int) -> Clock:
    return Clock(table.path, table.names[place], table.column(place), table.line)


def _further_times(
    table: Table, other: set[int], trials: list[npt.NDArray[np.intp]], asked: bool
) -> set[int]:
    """Columns that are called as time is, beside the one that is taken for it: they are no nodes.

    Args:
        table: that they are columns of.
        other: columns that are something else.
        trials: rows of each.
        asked: whether `time_column` says which is time; then one that does not go on as time does
            may be a node.

    Raises:
        DataError: one does not go on as time does.
    """
    found = set()
    for place in range(0 if table.unnamed else len(table.names)):
        name = table.names[place]
        if place in other or not is_time_name(name) or (place and not name):
            continue
        try:
            for rows in trials:
                _clock(table, place).samples(rows, "mask")
        except DataError:
            if asked:
                continue
            raise
        table.notes.append(f"column {table.names[place]!r} goes on as time does, and is no node")
        found.add(place)
    return found


def _goes_on(column: Any, trials: list[npt.NDArray[np.intp]]) -> bool:
    """Whether a column goes on by one step in each trial, as times and counts do and no node."""
    if getattr(column.dtype, "kind", "O") not in "iuf" or len(column) < 3:
        return False
    times = column.to_numpy()
    for rows in trials:
        steps = np.diff(times[rows].astype(np.float64))
        level = np.abs(steps - steps.mean()) if len(steps) else steps
        if not (len(steps) and (steps > 0).all() and (level <= _SAME_STEP * steps.mean()).all()):
            return False
    return True


def _numbers(table: Table, places: list[int]) -> npt.NDArray[Any]:
    """(rows, columns) of the columns that hold numbers.

    Raises:
        DataError: a column does not; the message says where and what.
    """
    texts = []
    for k in places:
        kind = getattr(table.column(k).dtype, "kind", "O")
        if kind == "c":
            raise DataError(
                f"{table.path}: column {table.names[k]!r} holds complex numbers; save their "
                "absolute value, phase or real part instead"
            )
        if kind not in "biuf" and not table.column(k).isna().all():
            texts.append(k)
    frame = table.frame.iloc[:, places]
    cleaned = {k: _cleaned(table.column(k), table.decimal) for k in texts}
    texts = [k for k in texts if cleaned[k] is None]
    if texts:
        raise DataError(_text_in(table, texts, places))
    if cleaned:
        columns = [cleaned[k] if k in cleaned else table.column(k) for k in places]
        return np.stack([np.asarray(c.to_numpy(np.float64, na_value=np.nan)) for c in columns], 1)
    values: npt.NDArray[Any] = frame.to_numpy()
    if values.dtype.kind not in "biuf":
        values = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def _cleaned(column: Any, decimal: str) -> Any:
    """A column whose cells are numbers but for spaces around them, or of another kind, in float64.

    Returns:
        None of any other.
    """

    def number(cell: Any) -> float:
        if cell is None:
            return np.nan
        if isinstance(cell, str):
            text = cell.strip()
            if text in MISSING:
                return np.nan
            if not NUMBER.fullmatch(text) or "," in text.replace(decimal, ""):
                raise ValueError(text)
            return float(text.replace(decimal, "."))
        return float(cell)

    if getattr(column.dtype, "kind", "O") != "O":
        return None
    try:
        return column.map(number).astype(np.float64)
    except (TypeError, ValueError):
        return None


def _text_in(table: Table, texts: list[int], places: list[int]) -> str:
    """What is wrong with columns of text, and what helps."""
    place = texts[0]
    rows, numbers = _not_numbers(table.column(place))
    row, cell = int(rows[0]), table.column(place).iloc[int(rows[0])]
    name = f"column {place}" if table.unnamed else f"column {table.names[place]!r}"
    said = f"{table.path}: {name} holds {cell!r} in {table.line(row)}, which is no number"
    if len(rows) > 1:
        said += f", and {len(rows) - 1} more such cells"
    if isinstance(cell, str) and _COMMA.fullmatch(cell) and table.decimal == ".":
        return f"{said}; with a comma as decimal mark, give decimal=','"
    if isinstance(cell, str) and "." in cell and table.decimal == ",":
        return f"{said}; with a point as decimal mark, leave out decimal=','"
    others = [k for k in places if k != place]
    if place == places[0] and numbers == 0 and others and place not in texts[1:]:
        column = table.column(place)
        if len(texts) == 1 and column.nunique() == len(column):
            return f"{said}; if rows are nodes and this their name, give axes='node,time'"
        if len(texts) == 1:
            return (
                f"{said}; if it says which trial or subject a row belongs to, give trial_column= "
                f"or subject_column={table.names[place]!r}, otherwise drop={table.names[place]!r}"
            )
    if numbers:
        return f"{said}; correct it, or leave it empty and give missing='mask'"
    listed = some([table.names[k] for k in texts])
    return f"{said}; leave out what is no node, drop={listed}, or say what it is by trial_column="


def _not_numbers(column: Any) -> tuple[npt.NDArray[np.intp], int]:
    """Rows of a column of text that are no number nor missing, and how many are numbers."""

    def is_number(cell: Any) -> bool:
        try:
            float(cell)
        except (TypeError, ValueError):
            return False
        return True

    there = column.notna().to_numpy()
    good = np.array([is_number(cell) for cell in column], bool)
    return np.flatnonzero(there & ~good) if (there & ~good).any() else np.flatnonzero(there), int(
        (good & there).sum()
    )


def _truths(table: Table, place: int) -> npt.NDArray[np.bool_]:
    column, name = table.column(place), table.names[place]
    known = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    cells = [known.get(str(cell).strip().lower()) for cell in column]
    if None in cells:
        row = cells.index(None)
        raise DataError(
            f"{table.path}: column {name!r}, the mask, holds {column.iloc[row]!r} in "
            f"{table.line(row)}; give 1 or 0, True or False"
        )
    table.notes.append(f"column {name!r} says which samples are valid: {sum(map(bool, cells))}")
    return np.array(cells, bool)


def _turned(table: Table, options: ReadOptions) -> Found:
    """A table whose rows are nodes: their names in the first column, if it holds text."""
    first = table.column(0)
    texts = getattr(first.dtype, "kind", "O") not in "biuf"
    names = [str(cell) for cell in first] if texts else None
    notes = [*table.notes]
    counted = not texts and _goes_on(first, [np.arange(len(first))]) and first.iloc[0] in (0, 1)
    if counted:
        names = [str(int(number)) for number in first]
        notes.append("the first column counts the nodes, and is taken for their names")
    places = list(range(int(texts or counted), len(table.names)))
    if not table.unnamed:
        notes.append("the names of the columns are those of samples, and were left out")
    return Found(
        file=str(table.path),
        values=_numbers(table, places),
        axes=("node", "time"),
        node_names=names,
        notes=notes,
    )
