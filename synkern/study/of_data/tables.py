"""The results as tables: of nodes, of pairs; and labelled, for other programs."""

from __future__ import annotations

import csv
import importlib
import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.analysis.scores import RANKINGS, tied_rank
from synkern.study.of_data.folder import NETCDF, NODES, PAIRS, PARQUET, ZARR, DataFolder
from synkern.study.of_data.result import Decomposition

MOST_PAIRS = 200_000
"""Rows of pairs.csv: of more pairs those with the most synergy; the Parquet table has all."""

Columns = dict[str, Sequence[Any] | NDArray[Any]]


def write_tables(folder: DataFolder, found: Decomposition, formats: Sequence[str]) -> None:
    """Write `nodes.csv`, `pairs.csv`, and what else is asked for, each in one step.

    Args:
        folder: that they go to.
        found: the results.
        formats: some of `synkern.study.of_data.options.FORMATS`.
    """
    folder.write(NODES, _csv([nodes_at(found, tau) for tau in found.lags]))
    pairs = [strongest_of(pairs_at(found, tau), MOST_PAIRS) for tau in found.lags]
    folder.write(PAIRS, _csv(pairs))
    # What is not asked for now would tell of other results.
    for name in (PARQUET, NETCDF):
        (folder.path / name).unlink(missing_ok=True)
    shutil.rmtree(folder.path / ZARR, ignore_errors=True)
    if "parquet" in formats:
        folder.write(PARQUET, _parquet([pairs_at(found, tau) for tau in found.lags]))
    if "netcdf" in formats:
        # To a path: xarray before 2025.9 makes bytes with none but scipy.
        with folder.replacing(NETCDF) as file:
            found.to_xarray().to_netcdf(Path(file.name).absolute(), engine="h5netcdf")
    if "zarr" in formats:
        # A folder cannot be replaced in one step: it has its name when it is complete.
        unfinished = folder.path / f".unfinished-{ZARR}"
        shutil.rmtree(unfinished, ignore_errors=True)
        found.to_xarray().to_zarr(unfinished, mode="w", zarr_format=2)
        unfinished.rename(folder.path / ZARR)


def nodes_at(found: Decomposition, tau: int) -> Columns:
    """Return a column by name: of each node at a lag what it is and what it has."""
    arrays = found.at(tau)
    count = len(found.node_names)
    columns: Columns = {"tau": [tau] * count, "node": found.node_names}
    if found.groups is not None:
        columns["group"] = found.groups
    where = found.coordinates
    if where is not None:
        columns |= {axis: where[:, k] for k, axis in enumerate("xyz")}
    named = {n.removeprefix("node_"): a for n, a in arrays.items() if n.startswith("node_")}
    for name, values in named.items():
        columns[name] = values
        ends = arrays.get(f"interval_{name}")
        if ends is not None:
            columns |= {f"{name}_low": ends[:, 0], f"{name}_high": ends[:, 1]}
    for ranking in RANKINGS:
        columns[f"{ranking}_rank"] = tied_rank(-named[ranking])
    columns["synergy_rank"] = tied_rank(-named["synergy"])
    return columns


def pairs_at(found: Decomposition, tau: int) -> Columns:
    """Return a column by name: of each pair with a value its nodes, atoms, excess and null."""
    arrays, names = found.at(tau), np.array(found.node_names)
    first, second = np.triu_indices(len(names), 1)
    kept = np.isfinite(arrays["sts"][first, second]) | np.isfinite(arrays["rtr"][first, second])
    first, second = first[kept], second[kept]
    columns: Columns = {
        "tau": np.full(len(first), tau),
        "x": names[first],
        "y": names[second],
    }
    if found.groups is not None:
        groups = np.array(found.groups)
        columns |= {"group_x": groups[first], "group_y": groups[second]}
    for name in (*found.atoms(tau), "excess_sts", *_of_null()):
        if name in arrays:
            columns[name] = arrays[name][first, second]
    return columns


def rows_of(columns: Columns) -> Iterator[Mapping[str, Any]]:
    """Yield each row by the names of the columns."""
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _of_null() -> list[str]:
    return [f"null_{atom}_{key}" for atom in ("sts", "rtr") for key in ("p", "q", "z")]


def strongest_of(columns: Columns, most: int) -> Columns:
    """Return the rows in order of synergy, no more than some."""
    order = np.argsort(-np.asarray(columns["sts"]), kind="stable")[:most]
    return {name: np.asarray(values)[order] for name, values in columns.items()}


def _csv(tables: Sequence[Columns]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(tables[0])
    for columns in tables:
        cells = [[_cell(value) for value in values] for values in columns.values()]
        writer.writerows(zip(*cells, strict=True))
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Nine figures of a number, nothing for one that is missing."""
    if isinstance(value, float | np.floating):
        return f"{value:.9g}" if np.isfinite(value) else ""
    return value


def _parquet(tables: Sequence[Columns]) -> bytes:
    arrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    table = arrow.concat_tables([arrow.table(dict(columns)) for columns in tables])
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()
