"""`NullTest`: observed atoms against those of unrelated nodes, and how they were tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synkern._arrays import to_numpy
from synkern._labelled import FrameLibrary, frame, imported, labels
from synkern.analysis.options import NULL_NAMES
from synkern.decomposition.options import KINDS, REDUNDANCIES, UNITS
from synkern.decomposition.saving import (
    Saved,
    require,
    require_atoms,
    require_count,
    require_names,
    require_options,
    require_shape,
)
from synkern.kernels import swap_nodes

if TYPE_CHECKING:
    import xarray

_BY_PAIR = ("observed", "null_mean", "null_sd", "p", "q")


@dataclass(frozen=True, eq=False, repr=False)
class NullTest(Saved):
    """Observed atoms against those of unrelated nodes.

    Arrays are (nodes, nodes) by atom name, of the kind of the series, NaN on the diagonal and
    where there is no value; node i (row) is the atoms' x, node j (column) their y.

    Attributes:
        observed: mean of the atom over trials, or subjects, in `unit`.
        null_mean: its mean over the surrogates.
        null_sd: its standard deviation over the surrogates.
        p: two-sided p value; the smallest possible is 2 / (n + 1).
        q: p adjusted for the number of pairs (Benjamini-Hochberg), atom by atom.
        without_value: by atom, number of pairs i < j that have no p value: no observed value, or
            none in any surrogate.
        null: name of the null.
        n: number of surrogates.
        seed: of the random numbers.
        tau: lag in samples.
        kind: estimator.
        redundancy: redundancy function.
        unit: of the observed atoms and the null's mean and deviation.
        subjects: number of subjects, over which the means of their trials are averaged; None where
            trials are averaged alone.
        node_names: a name for each node; None where the series had none and none were given.
    """

    observed: Mapping[str, Any]
    null_mean: Mapping[str, Any]
    null_sd: Mapping[str, Any]
    p: Mapping[str, Any]
    q: Mapping[str, Any]
    without_value: Mapping[str, int]
    null: str
    n: int
    seed: int
    tau: int
    kind: str
    redundancy: str
    unit: str
    node_names: tuple[str, ...] | None = None
    subjects: int | None = None

    def __repr__(self) -> str:
        """One line: atoms, null, options."""
        nodes = next(iter(self.observed.values())).shape[0]
        people = "" if self.subjects is None else f" of {self.subjects} subjects"
        return (
            f"NullTest({' '.join(self.observed)}; {nodes} nodes{people} against {self.n} "
            f"surrogates of {self.null!r}, seed={self.seed}, tau={self.tau}, {self.kind} "
            f"{self.redundancy}, "
            f"{self.unit}, {sum(self.without_value.values())} without value)"
        )

    def to_frame(self, library: FrameLibrary = "pandas") -> Any:
        """A table with a row for each atom and pair.

        Columns: `atom`, `x` and `y` (names of the nodes, or numbers), observed, null_mean, null_sd,
        p and q. A pair has one row, x before y, where every atom is the same both ways, else two.

        Args:
            library: that of the table, "pandas", "polars" or "pyarrow".

        Raises:
            MissingExtraError: it is not installed.
            ValueError: an unknown library.
        """
        atoms = tuple(self.observed)
        nodes = next(iter(self.observed.values())).shape[0]
        one_way = all(swap_nodes(atom) == atom for atom in atoms)
        chosen = np.triu(np.ones((nodes, nodes), bool), 1)
        rows, columns = np.nonzero(chosen if one_way else chosen | chosen.T)
        named = labels(self.node_names, nodes)
        table = {
            "atom": np.repeat(np.array(atoms, object), len(rows)),
            "x": np.tile(named[rows], len(atoms)),
            "y": np.tile(named[columns], len(atoms)),
        }
        for field in _BY_PAIR:
            values = [to_numpy(getattr(self, field)[atom])[rows, columns] for atom in atoms]
            table[field] = np.concatenate(values)
        return frame(table, library, "to_frame")

    def to_xarray(self) -> xarray.Dataset:
        """Variables observed, null_mean, null_sd, p and q over `atom`, `x` and `y`.

        Raises:
            MissingExtraError: xarray is not installed.
        """
        atoms = list(self.observed)
        named = labels(self.node_names, next(iter(self.observed.values())).shape[0])
        values = {
            field: (
                ("atom", "x", "y"),
                np.stack([to_numpy(getattr(self, field)[atom]) for atom in atoms]),
                {"units": "1" if field in "pq" else self.unit},
            )
            for field in _BY_PAIR
        }
        about = ["null", "n", "seed", "tau", "kind", "redundancy"]
        if self.subjects is not None:
            about.append("subjects")
        made: xarray.Dataset = imported("xarray", "to_xarray").Dataset(
            values,
            coords={"atom": atoms, "x": named, "y": named},
            attrs={name: getattr(self, name) for name in about},
        )
        return made

    @classmethod
    def _plain_fields(cls) -> tuple[str, ...]:
        return ("without_value",)

    def _check_loaded(self) -> None:
        require_atoms(self.observed)
        require_options(
            self,
            null=NULL_NAMES,
            kind=KINDS,
            redundancy=REDUNDANCIES,
            unit=UNITS,
        )
        require_count(self, n=19, seed=0, tau=1)
        if self.subjects is not None:
            require_count(self, subjects=1)
        shape = np.shape(next(iter(self.observed.values())))
        require(len(shape) == 2 and shape[0] == shape[1], f"the atoms have shape {shape}")
        require_names(self.node_names, "node_names", shape[0])
        for field in ("observed", "null_mean", "null_sd", "p", "q", "without_value"):
            by_atom = getattr(self, field)
            same = isinstance(by_atom, Mapping) and list(by_atom) == list(self.observed)
            require(same, f"{field} has other atoms than observed")
            for name, value in by_atom.items():
                if field == "without_value":
                    require(type(value) is int and value >= 0, f"{field} of {name} is {value!r}")
                else:
                    require_shape(value, f"{field} of {name}", "f", shape)
