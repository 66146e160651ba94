"""`PhiIDResult`: atoms of all pairs, and everything one needs to know to read them."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synkern._arrays import to_numpy
from synkern.kernels.stable import Outcome

if TYPE_CHECKING:
    import xarray

_META = "synkern"  # name of the entry of a saved file that holds all but the arrays, as JSON
_FORMAT = 1


@dataclass(frozen=True, eq=False, repr=False)
class PhiIDResult(Mapping[str, Any]):
    """Atoms by name, with what they were computed from and how.

    A mapping: `result["sts"]` is a matrix, `list(result)` its atoms.

    Attributes:
        arrays: by atom name, (nodes, nodes) or (trials, nodes, nodes); NaN on the diagonal and
            where there is no value. Entry [i, j] has node i as x and node j as y.
        tau: lag in samples.
        kind: estimator, "gaussian" or "discrete".
        redundancy: redundancy function, "MMI" or "CCS".
        average: how trials were combined, "trials", "moments", "concatenate" or None.
        unit: of the atoms, "nats" or "bits".
        dtype: of the arithmetic and the arrays.
        backend: name of the one that ran.
        shape: (trials, time, nodes) of the series.
        constant: (trials, nodes) bool NumPy array: the node does not vary in its past or future,
            and none of its pairs has a value. Trials pooled by `average` are one trial here and
            in `flagged`.
        flagged: (flags, 4) int64 NumPy array of all other degenerate pairs: trial, row, column (row
            < column), `Outcome`.
        rescued: number of (trial, pair) too near singular for the closed form, recomputed from the
            data by a stable factorisation; these are as good as any other.
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
    flagged: npt.NDArray[np.int64]
    rescued: int

    # A mapping compares by content, which for arrays has no truth value.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, atom: str) -> Any:
        """The matrix of an atom."""
        if atom not in self.arrays:
            raise KeyError(
                f"atom {atom!r} was not computed; this result holds {' '.join(self.arrays)}. "
                f"Ask for it: phiid(..., atoms=[{atom!r}, ...])"
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
        return (
            f"PhiIDResult({' '.join(self.arrays)}; {self.trials} trials x {self.shape[1]} time x "
            f"{self.nodes} nodes, tau={self.tau}, {self.kind} {self.redundancy}, "
            f"average={self.average!r}, {self.unit}, {self.dtype} on {self.backend}, "
            f"{sum(self.degenerate.values())} degenerate)"
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

    @property
    def pairs(self) -> int:
        """Number of unordered pairs of nodes."""
        return self.nodes * (self.nodes - 1) // 2

    @property
    def degenerate(self) -> dict[str, int]:
        """Number of (trial, pair) by kind of degeneracy, as named in `Outcome`."""
        counts = {kind.name.lower(): int((self.flagged[:, 3] == kind).sum()) for kind in Outcome}
        varying = self.nodes - self.constant.sum(-1)
        counts["constant"] = int((self.pairs - varying * (varying - 1) // 2).sum())
        return counts

    def valid_trials(self) -> npt.NDArray[np.int64]:
        """Number of trials in which each pair has a value.

        Returns:
            (nodes, nodes) int64, symmetric; 0 on the diagonal.
        """
        varies = (~self.constant).astype(np.int64)
        count = varies.T @ varies
        lost = self.flagged[self.flagged[:, 3] != Outcome.DUPLICATE]
        np.subtract.at(count, (lost[:, 1], lost[:, 2]), 1)
        np.subtract.at(count, (lost[:, 2], lost[:, 1]), 1)
        np.fill_diagonal(count, 0)
        return count

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one `.npz` file, at exactly this path."""
        meta = {f.name: getattr(self, f.name) for f in fields(self)}
        del meta["arrays"], meta["constant"], meta["flagged"]
        meta["format"] = _FORMAT
        arrays = {atom: to_numpy(value) for atom, value in self.arrays.items()}
        entries: dict[str, Any] = {_META: np.array(json.dumps(meta)), "constant": self.constant}
        entries["flagged"] = self.flagged
        with open(path, "wb") as file:
            np.savez(file, **entries, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PhiIDResult:
        """Read what `save` wrote; the atoms are NumPy arrays, whatever they were before.

        Raises:
            ValueError: the file is not a saved result, or of a later format.
        """
        try:
            file = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, zipfile.BadZipFile):
            file = None
        if not isinstance(file, np.lib.npyio.NpzFile) or _META not in file:
            raise ValueError(f"{os.fspath(path)!r} is not a result saved by synkern")
        with file:
            meta = json.loads(str(file[_META]))
            if (saved := meta.pop("format")) != _FORMAT:
                raise ValueError(
                    f"{os.fspath(path)!r} has format {saved}, this synkern reads {_FORMAT}; "
                    "load it with the version that saved it"
                )
            arrays = {name: file[name] for name in file.files if name != _META}
        meta["shape"] = tuple(meta["shape"])
        constant, flagged = arrays.pop("constant"), arrays.pop("flagged")
        return cls(arrays=arrays, constant=constant, flagged=flagged, **meta)

    def to_xarray(self, nodes: Sequence[Any] | None = None) -> xarray.Dataset:
        """One labelled variable per atom, dimensions `x` and `y` (and `trial`).

        Args:
            nodes: a label for each node; numbers by default. Shown as strings.

        Raises:
            ImportError: xarray is not installed.
            ValueError: the number of labels is not the number of nodes.
        """
        try:
            import xarray  # noqa: PLC0415
        except ImportError as error:
            raise ImportError("to_xarray needs xarray: pip install xarray") from error
        labels = list(range(self.nodes)) if nodes is None else [str(node) for node in nodes]
        if len(labels) != self.nodes:
            raise ValueError(f"nodes has {len(labels)} labels for {self.nodes} nodes")
        dims = ("x", "y") if self.average else ("trial", "x", "y")
        attributes = {"units": self.unit}
        return xarray.Dataset(
            {a: (dims, to_numpy(value), attributes) for a, value in self.arrays.items()},
            coords={"x": labels, "y": labels},
            attrs={
                "tau": self.tau,
                "kind": self.kind,
                "redundancy": self.redundancy,
                "backend": self.backend,
                "trials": self.trials,
                **{f"degenerate_{kind}": count for kind, count in self.degenerate.items()},
            },
        )
