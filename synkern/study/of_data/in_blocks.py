"""A decomposition of more nodes than there is memory for: `synkern decompose FILE --blocks`."""

from __future__ import annotations

import contextlib
import csv
import importlib
import math
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from synkern.decomposition import NodeMeans
from synkern.scale import BlocksError, PhiIDBlocks, Plan, StoreInUseError, phiid_blocks, plan_blocks
from synkern.study.errors import ArgumentError, StudyError, checks_of_arguments
from synkern.study.of_data.options import ALL, DecomposeOptions

STORE, NODES = "blocks.zarr", "nodes.csv"
"""What is in the folder: the store, and the means by node."""

_TAKEN = {"files", "out", "tau", "kind", "redundancy", "atoms", "average", "backend", "dtype"}
_TAKEN |= {"plan", "progress", "blocks", "scheduler"}


@dataclass(frozen=True)
class Blocks:
    """What was done, or would be.

    Attributes:
        found: the store, or the plan.
        out: folder.
        report: None, as there is none.
    """

    found: PhiIDBlocks | Plan
    out: Path
    report: None = None

    def summary(self) -> list[str]:
        """Lines to read."""
        if isinstance(self.found, Plan):
            return str(self.found).splitlines()
        return [
            repr(self.found),
            "series taken as they are, without detrending; no null and no report of blocks",
            f"atoms: {self.out / STORE}; means by node: {self.out / NODES}",
        ]


def in_blocks(options: DecomposeOptions) -> Blocks:
    """Decompose one file of zarr or NumPy in blocks, or say what that takes.

    Raises:
        ArgumentError: options, or files, that are not for blocks.
        StudyError: the run ended before its last block, or another one writes there.
        OSError: the folder cannot be made, or the file not be read.
    """
    path = _file(options)
    of_call: dict[str, Any] = {
        "tau": options.tau[0],
        "kind": options.kind,
        "redundancy": options.redundancy,
        "atoms": "all" if ALL in options.atoms else options.atoms,
        "average": options.average,
        "backend": options.backend,
        "dtype": options.dtype,
    }
    out = Path(options.out).expanduser()
    with checks_of_arguments():
        if options.plan:
            return Blocks(plan_blocks(path, **of_call), out)
        out.mkdir(parents=True, exist_ok=True)
        try:
            with _client(options.scheduler) as client:
                big = phiid_blocks(
                    path,
                    out=out / STORE,
                    executor=client,
                    progress=options.progress,
                    **of_call,
                )
        except (BlocksError, StoreInUseError) as error:
            raise StudyError(str(error)) from error
    _write(big.node_means(), out / NODES)
    return Blocks(big, out)


def _write(means: NodeMeans, path: Path) -> None:
    """A row for each node, all figures of its means, and nothing where there is none."""
    columns = {name: values.tolist() for name, values in means.items()}
    if means.balance is not None:
        columns["balance"] = means.balance.tolist()
    columns["pairs"] = means.pairs.tolist()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["node", *columns])
        for node, values in enumerate(zip(*columns.values(), strict=True)):
            writer.writerow([node, *("" if math.isnan(value) else value for value in values)])


def _file(options: DecomposeOptions) -> Any:
    """The only file.

    Raises:
        ArgumentError: there are more; an option that blocks do not have.
    """
    for one in fields(options):
        value = getattr(options, one.name)
        if one.name not in _TAKEN and one.default is not MISSING and value != one.default:
            raise ArgumentError(f"{one.name} = {value!r} is not for blocks; leave it out")
    files = options.files if isinstance(options.files, list | tuple) else [options.files]
    if len(files) != 1 or len(options.tau) != 1:
        raise ArgumentError(
            f"files = {files!r}, tau = {list(options.tau)!r}: blocks are of one file, of zarr or "
            ".npy, at one lag; name one of each"
        )
    return files[0]


@contextlib.contextmanager
def _client(address: str | None) -> Iterator[Any]:
    """A client of the scheduler; None without one."""
    if address is None:
        yield None
        return
    try:
        distributed = importlib.import_module("distributed")
    except ModuleNotFoundError as error:
        raise ArgumentError(
            f"scheduler = {address!r} needs the package 'distributed': pip install 'synkern[scale]'"
        ) from error
    try:
        client = distributed.Client(address)
    except (OSError, ValueError) as error:
        raise ArgumentError(f"scheduler = {address!r} does not answer: {error}") from error
    with client:
        yield client
