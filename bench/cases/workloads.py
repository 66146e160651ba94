"""What is computed, and how much of it there is to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import synkern
from bench.cases.shapes import TAU
from synkern import ATOMS

_PRODUCTS = 8
"""Operations a sample for the four products that are not a node's own: a multiply-add is two."""

_ELIMINATION = 2 * 49
"""Operations of a pair: 49 double-precision instructions, see kernels/triton_backend/README.md."""

_LOGARITHMS = {2: 2 * 12, 16: 2 * 63}
"""Operations by the number of atoms, logarithms of several trials shared; see the same page."""

_POINTWISE = 100
"""CCS, a sample: about 50 multiply-adds for the local informations and their signs."""

_WORD = 2 * 2 * 9
"""Discrete, 64 samples: an AND and a count of bits for each of nine joint counts. A unit that takes
a multiply-add takes one of these, so each counts as two operations."""

_ENTROPIES = 100
"""Discrete, a pair: look-ups and sums of 15 entropies."""


@dataclass(frozen=True)
class Workload:
    """One kind of decomposition.

    Attributes:
        name: short.
        kind, redundancy: the estimator, as in `synkern.phiid`.
        atoms: the names wanted.
        by_node: means by node, by `synkern.phiid_nodes`.
    """

    name: str
    kind: str = "gaussian"
    redundancy: str = "MMI"
    atoms: tuple[str, ...] = ("rtr", "sts")
    by_node: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of `decompose`."""
        return {"kind": self.kind, "redundancy": self.redundancy, "atoms": self.atoms}

    def decompose(self, series: Any, pairs: Any = None, **options: Any) -> Any:
        """All pairs of a series, or chosen ones, or means by node."""
        if self.by_node:
            return synkern.phiid_nodes(series, **self.options, **options)
        return synkern.phiid(series, pairs=pairs, **self.options, **options)

    def operations(self, decompositions: int, time: int) -> float:
        """The least that the arithmetic of these needs, whatever computes it."""
        samples = time - TAU
        if self.kind == "discrete":
            return float(decompositions * (_WORD * -(-samples // 64) + _ENTROPIES))
        each = _PRODUCTS * samples + _ELIMINATION + _LOGARITHMS[len(self.atoms)]
        if self.redundancy == "CCS":
            each += _POINTWISE * samples
        return float(decompositions * each)

    def bytes(self, trials: int, time: int, nodes: int, itemsize: int = 8) -> float:
        """Series read once, unit vectors (or bits) written and read once, atoms written once."""
        values = trials * nodes * time
        features = 3 * values / 8 if self.kind == "discrete" else 2 * 8 * values
        output = len(self.atoms) * nodes * (1 if self.by_node else nodes) * itemsize
        return 8 * values + 2 * features + output


WORKLOADS = (
    Workload("MMI rtr+sts"),
    Workload("MMI 16 atoms", atoms=ATOMS),
    Workload("CCS", redundancy="CCS"),
    Workload("discrete", kind="discrete"),
    Workload('MMI reduce="nodes"', by_node=True),
)
BY_NAME = {workload.name: workload for workload in WORKLOADS}
