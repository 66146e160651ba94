"""What every result of a decomposition has: arrays by name of atom, and how they came about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from synkern.decomposition.options import AVERAGES, DTYPES, KINDS, REDUNDANCIES, UNITS
from synkern.decomposition.saving import (
    Saved,
    require,
    require_atoms,
    require_count,
    require_names,
    require_options,
    require_shape,
)


@dataclass(frozen=True, eq=False, repr=False)
class Decomposed(Saved, Mapping[str, Any]):
    """A mapping from names of atoms to arrays, with what they were computed from and how.

    Attributes:
        arrays: by atom name.
        tau: lag in samples.
        kind: estimator, "gaussian" or "discrete".
        redundancy: redundancy function, "MMI" or "CCS".
        average: how trials were combined, "trials", "moments", "concatenate" or None.
        unit: of the atoms, "nats" or "bits".
        dtype: of the arithmetic.
        backend: name of the one that ran.
        shape: (trials, time, nodes) of the series.
        constant: (trials, nodes) bool NumPy array: the node does not vary in its past or future.
            Trials pooled by `average` are one trial here.
        rescued: number of (trial, pair) recomputed from the data by a stable factorisation.
        node_names: a name for each node; None where the series had none and none were given.
        trial_names: a name for each trial of the series; None where it had none.
    """

    arrays: Mapping[str, Any]
    tau: int
    kind: str
    redundancy: str
    average: str | None
    unit: str
    dtype: str
    backend: str
    shape: tuple[int, int, int]
    constant: npt.NDArray[np.bool_]
    rescued: int
    node_names: tuple[str, ...] | None = field(default=None, kw_only=True)
    trial_names: tuple[str, ...] | None = field(default=None, kw_only=True)

    if TYPE_CHECKING:  # Else a field of that name would have it for its default.

        @property
        def degenerate(self) -> Mapping[str, int]:
            """Number of (trial, pair) by kind of degeneracy."""

    verb: ClassVar[str] = "phiid"
    """The function that gives such results, for messages."""

    # A mapping compares by content, which for arrays has no truth value.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, atom: str) -> Any:
        """Return the array of an atom."""
        if atom not in self.arrays:
            raise KeyError(
                f"atom {atom!r} was not computed; this result holds {' '.join(self.arrays)}. "
                f"Ask for it: {self.verb}(..., atoms=[{atom!r}, ...])"
            )
        return self.arrays[atom]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the atoms."""
        return iter(self.arrays)

    def __len__(self) -> int:
        """Return the number of atoms."""
        return len(self.arrays)

    def __repr__(self) -> str:
        """Return one line: atoms, shape, options, degenerate pairs."""
        return (
            f"{type(self).__name__}({' '.join(self.arrays)}; {self.trials} trials x "
            f"{self.shape[1]} time x {self.nodes} nodes{self._chosen()}, tau={self.tau}, "
            f"{self.kind} {self.redundancy}, average={self.average!r}, {self.unit}, {self.dtype} "
            f"on {self.backend}, {sum(self.degenerate.values())} degenerate)"
        )

    @property
    def atoms(self) -> tuple[str, ...]:
        """Names of the atoms."""
        return tuple(self.arrays)

    @property
    def trials(self) -> int:
        """Number of trials in the series."""
        return self.shape[0]

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.shape[2]

    def _chosen(self) -> str:
        """Say which pairs these are, after the shape; nothing where they are all."""
        return ""

    def _check_loaded(self) -> None:
        require_options(
            self,
            kind=KINDS,
            redundancy=REDUNDANCIES,
            average=(*AVERAGES, None),
            unit=UNITS,
            dtype=DTYPES,
        )
        require_count(self, tau=1, rescued=0)
        require(isinstance(self.backend, str), f"backend is {self.backend!r}")
        sizes = isinstance(self.shape, tuple) and len(self.shape) == 3
        require(sizes and all(type(n) is int and n > 0 for n in self.shape), "shape is none")
        require_atoms(self.arrays)
        require_names(self.node_names, "node_names", self.nodes)
        require_names(self.trial_names, "trial_names", self.trials)
        own = (self.trials, self.nodes)
        require_shape(self.constant, "constant", "b", own, (1, self.nodes))
