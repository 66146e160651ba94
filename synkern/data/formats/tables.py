"""Tables: rows are samples and columns nodes, of text, Parquet or Feather."""

from __future__ import annotations

from pathlib import Path

from synkern.data.errors import DataError, needed
from synkern.data.formats.columns import Table, found_in
from synkern.data.formats.text import text_table
from synkern.data.found import Found
from synkern.data.options import ReadOptions


def read(path: Path, options: ReadOptions) -> list[Found]:
    """Read the trials of a table: one, or one for each value of the columns of trials."""
    if options.variable is not None:
        raise DataError(f"{path} is one table; leave out variable=, and choose nodes by columns=")
    if path.suffix.lower() in (".parquet", ".pq", ".feather"):
        return found_in(_stored(path), options)
    return found_in(text_table(path, options), options)


def _stored(path: Path) -> Table:
    """A table whose file says what its columns are."""
    pandas = needed("pandas", "data", f"reading {path}")
    needed("pyarrow", "data", f"reading {path}")
    reading = pandas.read_feather if path.suffix.lower() == ".feather" else pandas.read_parquet
    try:
        frame = reading(path)
    except (OSError, ValueError) as error:  # of pyarrow, which are these too
        raise DataError(f"{path} cannot be read, or is cut off: {error}") from None
    if not isinstance(frame.index, pandas.RangeIndex):
        known = [name or f"index{k or ''}" for k, name in enumerate(frame.index.names)]
        frame = frame.reset_index(names=known)
    names = [str(name) for name in frame.columns]
    return Table(path=path, frame=frame, names=names, named=not all(map(str.isdigit, names)))
