"""What a call asks for, checked, before anything is read or written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import synkern._checks as check
from synkern._version import VERSION
from synkern._warnings import collected
from synkern.decomposition.asked import Options, refuse_unknown
from synkern.decomposition.backends import named, refuse_lack, select
from synkern.kernels import BACKENDS, Wanted, swap_nodes
from synkern.scale.columns import Given, given
from synkern.scale.grid import MOST, TILE, Grid, side_for
from synkern.scale.store import Layout, digest_of
from synkern.scale.task import ON_DEVICE, Asked

MEMORY = 1e9
"""Bytes that blocks may take in a process, by default."""

KEEPS = ("pairs", "node_means")


@dataclass(frozen=True)
class Setting:
    """A call.

    Attributes:
        given: the series.
        asked: what of it.
        unit: of the atoms.
        memory: bytes for blocks.
        side: nodes to a side of a block that was asked for, if any.
        elsewhere: other processes compute.
        few: what is to be said of its few samples, if they are.
    """

    given: Given
    asked: Asked
    unit: str
    memory: int
    side: int | None
    elsewhere: bool
    few: list[str]

    @property
    def entries(self) -> int:
        """Bytes of the atoms of a pair."""
        if self.asked.keep != "pairs":
            return 0
        trials = self.given.columns.shape[0] if self.asked.average is None else 1
        return len(self.asked.names) * np.dtype(self.asked.dtype).itemsize * trials

    def grid(self, meta: Mapping[str, Any] | None) -> Grid:
        """Its blocks; those of a store that was begun, unless others are asked for."""
        trials, time, nodes = self.given.columns.shape
        if self.side is not None:
            # Files are of whole blocks: of one that is larger than all nodes, mostly empty.
            return Grid(nodes, min(self.side, -(-nodes // TILE) * TILE))
        if meta is not None:
            return Grid(nodes, meta["ingredients"]["side"])
        side = side_for(
            nodes,
            samples=trials * time,
            entries=self.entries,
            memory=self.memory,
            most=MOST[self.asked.keep],
        )
        return Grid(nodes, side)

    def layout(self, grid: Grid) -> Layout:
        """The arrays of its store."""
        return Layout.of(self.ingredients(grid, ""))

    def ingredients(self, grid: Grid, digest: str) -> dict[str, Any]:
        """What the numbers depend on."""
        asked, mask = self.asked, self.asked.mask
        arrays = {backend.name: backend.arrays for backend in BACKENDS}[asked.backend]
        return {
            "series": digest,
            "shape": list(self.given.columns.shape),
            "mask": None
            if mask is None
            else digest_of({"bits": np.packbits(mask).tobytes().hex()}),
            "tau": asked.tau,
            "atoms": list(asked.names),
            "kind": asked.kind,
            "redundancy": asked.redundancy,
            "average": asked.average,
            "unit": self.unit,
            "backend": asked.backend,
            "arrays": arrays,
            "dtype": asked.dtype,
            "keep": asked.keep,
            "side": grid.side,
            "synkern": VERSION,
        }


def setting(
    series: Any,
    *,
    elsewhere: bool,
    keep: str = "pairs",
    tau: Any = 1,
    kind: Any = None,
    redundancy: Any = "MMI",
    mask: Any = None,
    atoms: Any = ("rtr", "sts"),
    average: Any = "trials",
    unit: Any = None,
    backend: str = "auto",
    dtype: Any = "float64",
    node_names: Any = None,
    memory: float = MEMORY,
    side: int | None = None,
    **unknown: Any,
) -> Setting:
    """Check a call; see `phiid_blocks` for what is raised."""
    refuse_unknown("phiid_blocks", unknown)
    check.choice("keep", keep, KEEPS)
    tau = check.lag(tau)
    wanted = check.atom_names(atoms)
    if isinstance(memory, bool | str) or not 0 < memory < math.inf:
        raise ValueError(f"memory = {memory!r}; give a number of bytes above 0, such as 1e9")
    if side is not None:
        check.whole("side", side, TILE)
        if side % TILE:
            raise ValueError(f"side = {side}; give a multiple of {TILE}, as backends have tiles")
    found = given(series, kind, mask, node_names)
    options = Options(
        names=wanted,
        kind=found.kind,
        redundancy=redundancy,
        average=average,
        unit=unit,
        dtype=dtype,
    )
    few = _few_samples(found, tau, options.pooled)
    asked = Asked(
        names=tuple(dict.fromkeys([*wanted, *map(swap_nodes, wanted)])),
        wanted=wanted,
        tau=tau,
        kind=found.kind,
        redundancy=redundancy,
        average=average,
        unit=unit,
        backend=_backend(backend, options, keep, elsewhere),
        dtype=dtype,
        keep=keep,
        mask=found.mask,
    )
    own = unit or options.estimator.unit
    return Setting(found, asked, own, int(memory), side, elsewhere, few)


def _few_samples(found: Given, tau: int, pooled: str | None) -> list[str]:
    """What is to be said of few samples.

    Raises:
        ValueError: there are too few.
    """
    with collected() as messages:
        if found.mask is None:
            whole = np.broadcast_to(np.float64(0), found.columns.shape)
            check.series(np, whole, tau, pooled=pooled, finite=True)
        else:
            pairs = found.mask[:, :-tau] & found.mask[:, tau:]
            check.pairs_of_samples(pairs.sum(1), tau, pooled, valid=found.mask.sum(1))
    return messages


def _backend(name: str, options: Options, keep: str, elsewhere: bool) -> str:
    """The backend that every block is computed by."""
    known = {backend.name: backend for backend in BACKENDS}
    wanted = Wanted(options.estimator.key, by_node=keep == "node_means")
    if name in known and elsewhere:
        refuse_lack(known[name], wanted)
        return name  # It is for the workers to say that they cannot.
    if name in ON_DEVICE:
        return named(known[name], "cuda", None, wanted).name
    return select(name, np.empty(0), wanted).name
