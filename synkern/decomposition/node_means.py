"""`NodeMeans`: atoms averaged over the pairs of each node, where matrices would be too large."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern.decomposition.saving import Saved, require, require_decomposition, require_shape


@dataclass(frozen=True, eq=False, repr=False)
class NodeMeans(Saved, Mapping[str, Any]):
    """Mean of every atom over the pairs of each node that have a value.

    A mapping: `means["sts"]` is an array (nodes,), or (trials, nodes) with average=None, the node
    being x of the pair; NaN where none of its pairs has a value. `node_scores` ranks the nodes.

    Attributes:
        arrays: by atom name.
        balance: mean of sts / (sts + rtr) over the pairs where the sum is positive; NaN where there
            are none, None where rtr or sts was not asked for.
        pairs: number of pairs of the node that have a value.
        tau: lag in samples.
        kind: estimator.
        redundancy: redundancy function.
        average: how trials were combined.
        unit: of the atoms.
        dtype: of the arithmetic; sums and means are float64.
        backend: name of the one that ran.
        shape: (trials, time, nodes) of the series.
        constant: (trials, nodes) bool NumPy array: the node does not vary.
        degenerate: number of (trial, pair) by kind of degeneracy, as in `PhiIDResult`.
        rescued: number of (trial, pair) recomputed from the data by a stable factorisation.
        node_names: a name for each node; None where the series had none and none were given.
    """

    arrays: Mapping[str, Any]
    balance: Any
    pairs: Any
    tau: int
    kind: str
    redundancy: str
    average: str | None
    unit: str
    dtype: str
    backend: str
    shape: tuple[int, int, int]
    constant: npt.NDArray[np.bool_]
    degenerate: Mapping[str, int]
    rescued: int
    node_names: tuple[str, ...] | None = None

    # A mapping compares by content, which for arrays has no truth value.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, atom: str) -> Any:
        """The means of an atom."""
        if atom not in self.arrays:
            raise KeyError(
                f"atom {atom!r} was not computed; this holds {' '.join(self.arrays)}. "
                f"Ask for it: phiid_nodes(..., atoms=[{atom!r}, ...])"
            )
        return self.arrays[atom]

    def __iter__(self) -> Iterator[str]:
        """Names of the atoms."""
        return iter(self.arrays)

    def __len__(self) -> int:
        """Number of atoms."""
        return len(self.arrays)

    def __repr__(self) -> str:
        """One line: atoms, shape, options, degenerate pairs."""
        trials, time, nodes = self.shape
        return (
            f"NodeMeans({' '.join(self.arrays)}; {trials} trials x {time} time x {nodes} nodes, "
            f"tau={self.tau}, {self.kind} {self.redundancy}, average={self.average!r}, "
            f"{self.unit}, {self.dtype} on {self.backend}, "
            f"{sum(self.degenerate.values())} degenerate)"
        )

    @classmethod
    def _plain_fields(cls) -> tuple[str, ...]:
        return ("degenerate",)

    def _check_loaded(self) -> None:
        require_decomposition(self)
        trials, _, nodes = self.shape
        shape = (trials, nodes) if self.average is None else (nodes,)
        require_shape(self.constant, "constant", "b", (trials, nodes), (1, nodes))
        require_shape(self.pairs, "pairs", "iu", shape)
        for name, value in self.arrays.items():
            require_shape(value, name, "f", shape)
        if self.balance is not None:
            require_shape(self.balance, "balance", "f", shape)
        counts = isinstance(self.degenerate, Mapping) and all(
            isinstance(kind, str) and type(count) is int and count >= 0
            for kind, count in self.degenerate.items()
        )
        require(counts, "degenerate does not count")
