"""How files are read: the options of `read_series`, each said once; words alone, no NumPy.

The metadata of a field are the words of a command's option: `help`, and where there are some `more`
(what the documentation says beside), `choices`, `least` and `metavar`.
"""

from __future__ import annotations

import difflib
import os
import textwrap
from dataclasses import dataclass, field, fields
from typing import Any

Missing = ("refuse", "mask")
Headers = ("auto", "yes", "no")
Spaces = ("mni", "scanner", "head")


def _option(help: str, *, default: Any = None, **more: Any) -> Any:
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How files of series are read; what is left out is found in the files, or refused.

    Where several names are taken, one alone may be given for a tuple of one, and any list for a
    tuple.

    Raises:
        ValueError: a value that cannot be used.
        TypeError: an option of another name.
    """

    axes: str | None = _option(
        "the axes of an array or the rows and columns of a table, in order, of subject, trial, "
        "time and node, such as time,node",
        more="Names that a file gives its axes need not be repeated; without names they are "
        "time,node or trial,time,node, and refused if that gives more nodes than samples.",
        metavar="NAMES",
    )
    variable: tuple[str, ...] | None = _option(
        "the array to read in a file of several: its name, or its path in it",
        more="Several, or a pattern such as 'run*', are trials.",
        metavar="NAME",
    )
    node_names: tuple[str, ...] | None = _option(
        "names of the nodes, in order: a file with one a line or a column of them, or the names",
        metavar="FILE",
    )
    groups: str | None = _option(
        "the group of each node, such as its network: a table of nodes and groups, or the name of "
        "a column in the tables of labels or node_names",
        metavar="FILE",
    )
    coordinates: str | None = _option(
        "where each node is: a table with columns x, y, z, and the nodes' names if not in order",
        metavar="FILE",
    )
    space: str | None = _option(
        "what coordinates are in", more="A table's are taken for MNI otherwise.", choices=Spaces
    )
    atlas: str | None = _option(
        "of images, the regions: an image of labels, or a 4-D image of maps", metavar="IMAGE"
    )
    labels: str | None = _option(
        "the names of the regions of the atlas: a table with their numbers, or a list in order",
        metavar="FILE",
    )
    mask: tuple[str, ...] | None = _option(
        "which samples are valid: a column of the tables, or files of truth values, one for each "
        "file of data or one for all",
        metavar="FILE",
    )
    scrub: tuple[str, ...] | None = _option(
        "which samples are not valid: files with their numbers, counted from 0, or tables of "
        "confounds with outlier columns, one for each file of data or one for all",
        metavar="FILE",
    )
    missing: str = _option(
        "what becomes of samples in which a value is missing",
        default="refuse",
        more='"mask" leaves out every such sample for all nodes.',
        choices=Missing,
    )
    missing_values: tuple[float, ...] | None = _option(
        "numbers that stand for a missing value, such as -9999",
        more="If none are given, what looks like one is refused; nan alone allows it.",
        metavar="X",
    )
    columns: tuple[str, ...] | None = _option(
        "the nodes to read, by name or pattern; of recordings also kinds of channels, such as eeg",
        metavar="NAME",
    )
    drop: tuple[str, ...] | None = _option(
        "nodes or columns to leave out, by name or pattern", metavar="NAME"
    )
    time_column: str | None = _option("the column that holds the time", metavar="NAME")
    trial_column: str | None = _option(
        "the column that says which trial a row belongs to", metavar="NAME"
    )
    subject_column: str | None = _option(
        "the column that says which subject a row belongs to", metavar="NAME"
    )
    delimiter: str | None = _option(
        "what stands between the cells of a text table",
        more="Found if not given; a space stands for any number of them.",
        metavar="TEXT",
    )
    decimal: str = _option(
        "the decimal mark of a text table", default=".", choices=(".", ","), metavar="MARK"
    )
    header: str = _option(
        "whether the first line of a text table holds names", default="auto", choices=Headers
    )
    step: float | None = _option("seconds from one sample to the next", metavar="SECONDS")
    subjects: tuple[str, ...] | None = _option(
        "whose each trial is: a file with one a line, or the names, one for each trial",
        more="Otherwise from file names with sub-.",
        metavar="NAME",
    )

    def __post_init__(self) -> None:
        """Take paths as texts and lists as tuples, and refuse values out of choices."""
        for one in fields(self):
            object.__setattr__(self, one.name, _taken(one.name, str(one.type), self))
            allowed, value = one.metadata.get("choices"), getattr(self, one.name)
            if allowed and value is not None and value not in allowed:
                raise ValueError(f"{one.name} = {value!r}; choose from {', '.join(allowed)}")
        if self.delimiter == "\\t":  # as a shell passes on what is typed
            object.__setattr__(self, "delimiter", "\t")
        if self.delimiter is not None and (
            len(self.delimiter) != 1 or self.delimiter in "\r\n\"'" or self.delimiter.isalnum()
        ):
            raise ValueError(
                f"delimiter = {self.delimiter!r}; give one character that no cell has, such as ';' "
                "or '|', '\\t' for tabs, ' ' for any number of spaces, or leave it out"
            )
        if self.step is not None and not 0 < self.step < float("inf"):
            raise ValueError(f"step = {self.step!r}; give seconds, a number above 0")


def _documented() -> str:
    """All options, for `help`."""
    said = []
    for one in fields(ReadOptions):
        words = one.metadata["help"]
        if choices := one.metadata.get("choices"):
            words += f": {', '.join(choices)}"
        words = f"{one.name}: {words}. {one.metadata.get('more', '')}".rstrip()
        said.append(textwrap.fill(words, 100, initial_indent=" " * 8, subsequent_indent=" " * 12))
    return "\n".join(said)


_before, _raises, _after = (ReadOptions.__doc__ or "").partition("    Raises:\n")
ReadOptions.__doc__ = f"{_before}    Args:\n{_documented()}\n\n{_raises}{_after}"


def options_from(named: dict[str, Any]) -> ReadOptions:
    """Make the options of what a call names.

    Raises:
        TypeError: no option has that name; the message has those that are near.
        ValueError: a value that cannot be used.
    """
    known = [one.name for one in fields(ReadOptions)]
    for name in named:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else f"; there are {known}"
            raise TypeError(f"read_series has no option {name!r}{hint}")
    return ReadOptions(**named)


def _taken(name: str, kind: str, options: ReadOptions) -> Any:
    """A value as its field has it: text of a path, a tuple of a list or of one alone."""
    value = getattr(options, name)
    if value is None:
        return None
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not kind.startswith("tuple"):
        if kind.startswith("float"):
            return _number(name, value)
        if not isinstance(value, str):
            raise ValueError(f"{name} = {value!r}; give one text")
        return value
    if isinstance(value, str | bytes | int | float):
        value = (value,)
    if kind.startswith("tuple[float"):
        return tuple(_number(name, one) for one in value)
    given = tuple(os.fspath(one) if isinstance(one, os.PathLike) else str(one) for one in value)
    if not given:
        raise ValueError(f"{name} is empty; give one or more, or leave it out")
    return given


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {value!r}; give a number") from None
