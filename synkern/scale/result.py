"""`PhiIDBlocks`: the atoms of all pairs in a store, or the means by node alone."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from synkern._labelled import imported
from synkern.decomposition.node_means import NodeMeans
from synkern.decomposition.options import unit_factor
from synkern.decomposition.result import by_name
from synkern.kernels import ESTIMATORS, Outcome, long_name, swap_nodes
from synkern.scale.errors import BlocksError, needed
from synkern.scale.grid import Grid
from synkern.scale.matrix import BlockedMatrix
from synkern.scale.means import kept_sums, sums_of_pairs
from synkern.scale.store import Layout, kept_meta, tally

if TYPE_CHECKING:
    import xarray


class PhiIDBlocks(Mapping[str, BlockedMatrix]):
    """Atoms by name, as matrices in a store that are read where they are asked for.

        big = PhiIDBlocks.open("result.zarr")
        big["sts"][1000:2000, :500]
        big.node_means()

    A mapping; without entries where only means by node were kept. What is not finished is NaN.

    Attributes:
        tau: lag in samples.
        kind: estimator.
        redundancy: redundancy function.
        average: how trials were combined.
        unit: of the atoms.
        dtype: of the arrays.
        backend: name of the one that ran.
        shape: (trials, time, nodes) of the series.
        atoms: names of those asked for.
        keep: "pairs" or "node_means".
        path: of the store; None in memory.
    """

    # A mapping compares by content, which for arrays has no truth value.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(self, where: Any) -> None:
        """Of a store; `open` takes its path."""
        zarr = needed("zarr", "PhiIDBlocks")
        meta = kept_meta(where)
        if meta is None and isinstance(where, str) and Path(where, "zarr.json").exists():
            raise FileNotFoundError(
                f"{where!r}: the run that began this store ended before it had read the series; "
                "call phiid_blocks again"
            )
        if meta is None:
            raise FileNotFoundError(f"{str(where)!r}: there is nothing at this path")
        known = meta["ingredients"]
        self.path: Path | None = Path(where) if isinstance(where, str) else None
        self._group = zarr.open_group(where, mode="r")
        self.tau: int = known["tau"]
        self.kind: str = known["kind"]
        self.redundancy: str = known["redundancy"]
        self.average: str | None = known["average"]
        self.unit: str = known["unit"]
        self.dtype: str = known["dtype"]
        self.backend: str = known["backend"]
        self.keep: str = known["keep"]
        trials, time, nodes = known["shape"]
        self.shape: tuple[int, int, int] = (trials, time, nodes)
        self.atoms: tuple[str, ...] = tuple(meta["wanted"])
        self._names: tuple[str, ...] = tuple(known["atoms"])
        self._grid = Grid(nodes, known["side"])
        self._counts = tally(where, Layout.of(known))
        self._done = self._counts[:, 0] >= 0

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Read a store that `phiid_blocks` has made, finished or not.

        Raises:
            FileNotFoundError: there is nothing at this path.
            FileExistsError: there is something else.
            ValueError: it is of another format.
            MissingExtraError: zarr is not installed.
        """
        return cls(str(Path(path).expanduser().resolve()))

    def __getitem__(self, atom: str) -> BlockedMatrix:
        """Return the matrix of an atom."""
        if atom not in self:
            raise KeyError(
                f"atom {atom!r} is not in this store, which holds {' '.join(self) or 'no pairs'}; "
                + (
                    "of node_means alone there are none: phiid_blocks(..., keep='pairs')"
                    if self.keep != "pairs"
                    else f"ask for it: phiid_blocks(..., atoms=[{atom!r}, ...])"
                )
            )
        return BlockedMatrix(self._group[atom], self._group[swap_nodes(atom)], self._grid)

    def __contains__(self, atom: object) -> bool:
        """Whether there is a matrix of an atom."""
        return self.keep == "pairs" and atom in self.atoms

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the atoms of which there are matrices."""
        return iter(self.atoms if self.keep == "pairs" else ())

    def __len__(self) -> int:
        """Return the number of matrices."""
        return len(self.atoms) if self.keep == "pairs" else 0

    def __repr__(self) -> str:
        """Return one line: atoms, shape, options, how much is done."""
        trials, time, nodes = self.shape
        what = " ".join(self.atoms) + ("" if self.keep == "pairs" else ", means by node")
        share = 100 * self.done / self.blocks
        return (
            f"{type(self).__name__}({what}; {trials} trials x {time} time x {nodes} nodes, "
            f"tau={self.tau}, {self.kind} {self.redundancy}, average={self.average!r}, "
            f"{self.unit}, {self.dtype} on {self.backend}, {self.done} of {self.blocks} blocks of "
            f"{self._grid.side} nodes to a side done: {share:.3g} %)"
        )

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self._grid.blocks

    @property
    def side(self) -> int:
        """Nodes to a side of a block."""
        return self._grid.side

    @property
    def done(self) -> int:
        """Number of blocks that were finished when this was opened."""
        return int(self._done.sum())

    @property
    def complete(self) -> bool:
        """Whether all were."""
        return bool(self._done.all())

    @property
    def node_names(self) -> tuple[str, ...] | None:
        """A name for each node; None where the series had none and none were given."""
        names = self._group["names"].attrs["nodes"]
        return None if names is None else tuple(names)

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """(trials, nodes): the node does not vary; one trial where trials are pooled.

        Raises:
            BlocksError: not all blocks are finished.
        """
        self._require_complete("constant")
        return np.asarray(self._group["constant"][...])

    @property
    def degenerate(self) -> dict[str, int]:
        """Number of (trial, pair) by kind of degeneracy, as in `PhiIDResult`.

        Raises:
            BlocksError: not all blocks are finished.
        """
        constant = self.constant
        counts = dict(zip(Outcome, self._tally()[1:].tolist(), strict=True))
        varying = constant.shape[1] - constant.sum(-1)
        nodes = self.shape[2]
        lost = (nodes * (nodes - 1) // 2 - varying * (varying - 1) // 2).sum()
        return by_name({**counts, Outcome.CONSTANT: int(lost)})

    @property
    def rescued(self) -> int:
        """Number of (trial, pair) recomputed from the data by a stable factorisation."""
        return int(self._tally()[0])

    @property
    def flagged(self) -> npt.NDArray[np.int64]:
        """(flags, 4) of degenerate pairs, as in `PhiIDResult`; none of means by node."""
        group = self._group["flagged"]
        numbers = [number for number in sorted(map(int, group.array_keys())) if self._done[number]]
        found = [np.asarray(group[str(number)][...]) for number in numbers]
        return np.concatenate(found) if found else np.zeros((0, 4), np.int64)

    def node_means(self) -> NodeMeans:
        """Means of the atoms over all pairs of each node, as `phiid_nodes` gives them.

        Sums are over blocks in the order of their numbers, so that the bits do not depend on who
        computed them, nor when. Of pairs, all of the store is read.

        Raises:
            BlocksError: not all blocks are finished.
        """
        self._require_complete("node_means")
        if self.keep == "pairs":
            sums, factor = sums_of_pairs(self._group, self._grid, self._names), 1.0
        else:
            own = ESTIMATORS[self.kind, self.redundancy].unit
            sums, factor = kept_sums(self._group, self._grid), unit_factor(own, self.unit)
        sums = sums if self.average is None else sums[:, 0]
        pairs, shares, shared = sums[-3:]

        def mean(total: Any, count: Any) -> Any:
            return np.where(count > 0, total / np.where(count > 0, count, 1), math.nan)

        both = {"rtr", "sts"} <= set(self.atoms)
        return NodeMeans(
            arrays={
                name: mean(sums[self._names.index(name)] * factor, pairs) for name in self.atoms
            },
            balance=mean(shares, shared) if both else None,
            pairs=pairs.astype(np.int64),
            degenerate=self.degenerate,
            tau=self.tau,
            kind=self.kind,
            redundancy=self.redundancy,
            average=self.average,
            unit=self.unit,
            dtype=self.dtype,
            backend=self.backend,
            shape=self.shape,
            constant=self.constant,
            rescued=self.rescued,
            node_names=self.node_names,
        )

    def to_xarray(self) -> xarray.Dataset:
        """One labelled variable of dask per atom, read where it is computed; as in `PhiIDResult`.

        Of a store that is not finished it does not count degenerate pairs.

        Raises:
            MissingExtraError: xarray or dask is not installed.
            ValueError: there are means by node alone; `node_means().to_xarray()` has these.
        """
        if self.keep != "pairs":
            raise ValueError(
                "this store holds means by node alone, no pairs; use node_means().to_xarray()"
            )
        library = imported("xarray", "to_xarray")
        dask = needed("dask.array", "to_xarray")
        dims = ("x", "y") if self.average is not None else ("trial", "x", "y")
        names = list(self.node_names or range(self.shape[2]))
        lazily = {
            name: dask.from_array(matrix, chunks=matrix.chunks, name=False, asarray=True)
            for name, matrix in self.items()
        }
        counts = self.degenerate if self.complete else {}
        made: xarray.Dataset = library.Dataset(
            {
                name: (dims, array, {"units": self.unit, "long_name": long_name(name)})
                for name, array in lazily.items()
            },
            coords={"x": names, "y": names, "lag": ((), self.tau, {"units": "samples"})},
            attrs={
                "tau": self.tau,
                "kind": self.kind,
                "redundancy": self.redundancy,
                "backend": self.backend,
                "trials": self.shape[0],
                **{f"degenerate_{kind}": count for kind, count in counts.items()},
            },
        )
        return made

    def _tally(self) -> npt.NDArray[np.int64]:
        """Counts of all finished blocks together."""
        total: npt.NDArray[np.int64] = self._counts[self._done].sum(0)
        return total

    def _require_complete(self, what: str) -> None:
        if not self.complete:
            raise BlocksError(
                f"{what} is of all blocks, and {self.done} of {self.blocks} are finished; call "
                "phiid_blocks with the same series and options, which goes on"
            )
