"""`PhiIDResult`: atoms of all pairs, and everything one needs to know to read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import synkern._checks as check
from synkern._arrays import incoming, library, like, native
from synkern._labelled import FrameLibrary
from synkern._warnings import warn
from synkern.decomposition.decomposed import Decomposed
from synkern.decomposition.labelled import pairs_dataset, pairs_frame
from synkern.decomposition.labels import numbered
from synkern.decomposition.measures import MEASURES
from synkern.decomposition.saving import require, require_shape
from synkern.kernels import Outcome, lost_flags

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False, repr=False)
class PhiIDResult(Decomposed):
    """Atoms by name, with what they were computed from and how.

    A mapping: `result["sts"]` is a matrix, `list(result)` its atoms.

    Attributes:
        arrays: by atom name, (nodes, nodes) or (trials, nodes, nodes); NaN on the diagonal and
            where there is no value. Entry [i, j] has node i as x and node j as y. Of chosen pairs,
            an entry for each in the shape in which they were chosen, or (trials, ...).
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
        pairs: (..., 2) int64 NumPy array of the first and second node of chosen pairs; None where
            all were decomposed.
        node_names: a name for each node; None where the series had none and none were given.
        trial_names: a name for each trial of the series; None where it had none.
    """

    flagged: npt.NDArray[np.int64]
    pairs: npt.NDArray[np.int64] | None = None

    def _chosen(self) -> str:
        return "" if self.pairs is None else f", {self.n_pairs} chosen pairs"

    @property
    def n_pairs(self) -> int:
        """Number of unordered pairs of different nodes that were decomposed."""
        if self.pairs is None:
            return self.nodes * (self.nodes - 1) // 2
        return len(_unordered(self.pairs))

    @property
    def degenerate(self) -> dict[str, int]:
        """Number of (trial, pair) by kind of degeneracy, see `by_name`."""
        counts = Counter(self.flagged[:, 3].tolist())
        if self.pairs is None:
            varying = self.nodes - self.constant.sum(-1)
            counts[Outcome.CONSTANT] = int((self.n_pairs - varying * (varying - 1) // 2).sum())
        elif self.constant.any():
            # Only pairs of such nodes can count; of all that were chosen they are few.
            some = np.asarray(self.constant.any(0))
            touched = some[self.pairs[..., 0]] | some[self.pairs[..., 1]]
            pairs = _unordered(self.pairs[touched])
            counts[Outcome.CONSTANT] = int(self.constant[:, pairs].any(-1).sum())
        return by_name(counts)

    def valid_trials(self) -> npt.NDArray[np.int64]:
        """Number of trials in which each pair has a value.

        Returns:
            (nodes, nodes) int64, symmetric; 0 on the diagonal. Of chosen pairs, in their shape.
        """
        lost = lost_flags(self.flagged)
        if self.pairs is not None:
            return self._valid_trials_of(self.pairs, lost[:, 1:3])
        varies = (~self.constant).astype(np.int64)
        count = varies.T @ varies
        np.subtract.at(count, (lost[:, 1], lost[:, 2]), 1)
        np.subtract.at(count, (lost[:, 2], lost[:, 1]), 1)
        np.fill_diagonal(count, 0)
        return count

    def _valid_trials_of(
        self, pairs: npt.NDArray[np.int64], lost: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Of chosen pairs, without a matrix of all nodes, which may be far more."""
        row, column = pairs[..., 0], pairs[..., 1]
        count = np.full(row.shape, len(self.constant))
        for constant in self.constant[self.constant.any(-1)]:
            count -= constant[row] | constant[column]
        if len(lost):
            known, times = np.unique(self._key(lost), return_counts=True)
            key = self._key(pairs)
            at = np.searchsorted(known, key).clip(max=len(known) - 1)
            count -= np.where(known[at] == key, times[at], 0)
        count[row == column] = 0
        return count

    def _key(self, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Make a number for each of (..., 2) pairs, the same whichever node comes first."""
        row, column = pairs[..., 0], pairs[..., 1]
        key: npt.NDArray[np.int64] = np.minimum(row, column) * self.nodes + np.maximum(row, column)
        return key

    def measure(self, name: str) -> Any:
        """A derived measure of every pair.

        Args:
            name: one of `synkern.decomposition.measures.MEASURES`.

        Returns:
            Array of the shape and kind of the atoms, in their unit. Entry [i, j] has node i as x
            and node j as y, so that `transfer_entropy_xy` runs from row to column. NaN where the
            pair has no value.

        Raises:
            ValueError: unknown name.
            KeyError: this result lacks atoms of the measure.
        """
        check.choice("name", name, tuple(MEASURES))
        coefficients = MEASURES[name].atoms
        missing = [atom for atom in coefficients if atom not in self]
        if missing:
            raise KeyError(
                f"{name} is a sum of {' '.join(coefficients)}, and this result lacks "
                f"{' '.join(missing)}. Ask for them: phiid(..., atoms=atoms_of({name!r}))"
            )
        return sum(coefficient * self[atom] for atom, coefficient in coefficients.items())

    def excess(self, reference: PhiIDResult) -> PhiIDResult:
        """Atoms minus those of a reference: what this result has beyond, say, persistence.

        A difference of two means says something only if both are over the same trials. Averaged
        results do not hold the trials apart, so pairs that lost different trials in the two become
        NaN; results with average=None keep every trial that both have, see `trial_mean`.

        Args:
            reference: of `persistence_reference`, from the same series with the same options; holds
                at least the atoms of this result.

        Returns:
            `PhiIDResult` with the atoms of this result, NaN where either has no value; `flagged`
            lists the pairs that either lost.

        Raises:
            KeyError: the reference lacks atoms of this result.
            ValueError: the two differ in shape, lag, estimator, average, unit or pairs.

        Warns:
            UserWarning: pairs that lost different trials in the two.
        """
        self._check_comparable(reference)
        arrays = {name: self[name] - reference[name] for name in self}
        if self.average == "trials":
            unlike = self._lost_in_one(reference)
            if len(unlike):
                warn(
                    f"{len(unlike)} of {self.n_pairs} pairs have a value in other trials than "
                    "their reference, and no excess of averages; take the trial_mean() of the "
                    "excess of both with average=None"
                )
                if self.pairs is None:
                    blank = np.zeros((self.nodes, self.nodes), self.dtype)
                    blank[unlike, unlike[:, ::-1]] = np.nan
                else:
                    found = np.isin(self._key(self.pairs), self._key(unlike))
                    blank = np.where(found, np.nan, 0).astype(self.dtype)
                # Added, as not every library's arrays can be written to.
                arrays = {name: value + like(blank, value) for name, value in arrays.items()}
        lost = np.concatenate([lost_flags(self.flagged), lost_flags(reference.flagged)])
        once = np.unique(lost[:, :3], axis=0, return_index=True)[1]
        return replace(self, arrays=arrays, flagged=lost[once])

    def trial_mean(self, subjects: Any = None) -> PhiIDResult:
        """Average a result, or an excess, that keeps trials apart.

        Args:
            subjects: None: every trial counts the same. A label for each trial, whose it is: every
                subject counts the same, by the mean of its own trials.

        Returns:
            `PhiIDResult` with average="trials": mean over the trials in which the pair has a value,
            NaN where there are none; or over the subjects with such trials, of the means over
            these.

        Raises:
            ValueError: the result is averaged already; not a label for each trial.
            TypeError: subjects that are no labels.
        """
        if self.average is not None:
            raise ValueError(
                f"result has average {self.average!r}: its trials are averaged already; compute it "
                "with average=None"
            )
        owner = np.arange(self.trials)
        if subjects is not None:
            owner = numbered(subjects, self.trials, argument="subjects", what="trial")
        arrays = {name: _mean_of_owners(value, owner) for name, value in self.arrays.items()}
        return replace(self, arrays=arrays, average="trials")

    def to_xarray(self, nodes: Sequence[Any] | None = None) -> xarray.Dataset:
        """One labelled variable per atom, dimensions `x` and `y` (and `trial`).

        Of chosen pairs, `pair` (or `pair_0`, `pair_1`, ...) with the coordinates `x` and `y`. The
        lag is a coordinate without a dimension, so that `xarray.concat(..., dim="lag")` joins the
        results of several; trials have their names where the series had them.

        Args:
            nodes: a label for each node, shown as strings; by default `node_names`, or numbers.

        Raises:
            MissingExtraError: xarray is not installed.
            ValueError: the number of labels is not the number of nodes.
        """
        return pairs_dataset(self, self.pairs, nodes)

    def to_frame(self, library: FrameLibrary = "pandas") -> Any:
        """A table with a row for each pair, after the trials where they are kept apart.

        Columns: `trial` with average=None, `x` and `y` (names of the nodes, or numbers), and the
        atoms. Where every atom is the same both ways (as rtr, rts, str and sts are) a pair has one
        row, x before y, else two; of chosen pairs the rows are these, in their order.

        Args:
            library: that of the table, "pandas", "polars" or "pyarrow".

        Raises:
            MissingExtraError: it is not installed.
            ValueError: an unknown library.
        """
        return pairs_frame(self, self.pairs, library)

    def _check_comparable(self, reference: PhiIDResult) -> None:
        missing = [name for name in self if name not in reference]
        if missing:
            raise KeyError(
                f"reference lacks {' '.join(missing)}; compute it with atoms={self.atoms!r}"
            )
        for option in ("shape", "tau", "kind", "redundancy", "average", "unit"):
            values = getattr(self, option), getattr(reference, option)
            if values[0] != values[1]:
                raise ValueError(
                    f"result has {option} {values[0]!r} and reference {values[1]!r}; compute both "
                    "from the same series with the same options"
                )
        if not np.array_equal(self.constant, reference.constant):
            raise ValueError(
                "result and reference have other constant nodes; compute both from the same series"
            )
        if not np.array_equal(np.array(self.pairs), np.array(reference.pairs)):
            raise ValueError("result and reference are of other pairs; choose the same for both")

    def _lost_in_one(self, other: PhiIDResult) -> npt.NDArray[np.int64]:
        """(pairs, 2) row and column of pairs that lost some trial in one of the results only."""
        lost = np.concatenate([lost_flags(self.flagged), lost_flags(other.flagged)])
        place, count = np.unique(lost[:, :3], axis=0, return_counts=True)
        return np.unique(place[count == 1][:, 1:], axis=0)

    @classmethod
    def _arguments(
        cls, meta: dict[str, Any], entries: Mapping[str, Any], saved: int
    ) -> dict[str, Any]:
        if saved > 1:
            return super()._arguments(meta, entries, saved)
        own = {name: entries[name] for name in ("constant", "flagged", "pairs") if name in entries}
        atoms = {name: value for name, value in entries.items() if name not in own}
        return {**meta, "shape": tuple(meta["shape"]), "arrays": atoms, **own}

    def _check_loaded(self) -> None:
        super()._check_loaded()
        trials, _, nodes = self.shape
        require_shape(self.flagged, "flagged", "i", (len(self.flagged), 4))
        trial, row, column, outcome = self.flagged.T
        kept = (trial < len(self.constant)) & (row < nodes) & (column < nodes)
        require(bool((kept & (self.flagged >= 0).all(-1)).all()), "flagged is out of range")
        require(set(outcome.tolist()) <= set(Outcome), "flagged has an unknown outcome")
        shape: tuple[int, ...] = (nodes, nodes)
        if self.pairs is not None:
            shape = self.pairs.shape[:-1]
            require_shape(self.pairs, "pairs", "i", (*shape, 2))
            require(bool(((self.pairs >= 0) & (self.pairs < nodes)).all()), "pairs name no nodes")
        shape = (trials, *shape) if self.average is None else shape
        for name, value in self.arrays.items():
            require_shape(value, name, "f", shape)


def _unordered(pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(pairs, 2): each of (..., 2) pairs of different nodes once, whatever its order."""
    ordered = np.sort(pairs.reshape(-1, 2), -1)
    return np.unique(ordered[ordered[:, 0] != ordered[:, 1]], axis=0)


def by_name(counts: Mapping[int, int]) -> dict[str, int]:
    """Counts by `Outcome` as counts by its name in small letters.

    Those that series themselves can have are always listed, the others where they occur.
    """
    always = (Outcome.CONSTANT, Outcome.DETERMINISTIC, Outcome.DUPLICATE)
    named = {kind: counts.get(kind, 0) for kind in Outcome}
    return {kind.name.lower(): n for kind, n in named.items() if n or kind in always}


def _mean_of_owners(values: Any, owner: npt.NDArray[np.int64]) -> Any:
    """Mean over owners with a value of the means over their trials with one."""
    if len(owner) == owner.max() + 1:
        return _mean_of_known(values)
    kind = native(values)[0]
    xp: Any = library(kind)
    array, restore = incoming(values, kind, argument="result")
    trials = [np.flatnonzero(owner == k) for k in range(owner.max() + 1)]
    means = [_mean_of_known(array[like(chosen, array)]) for chosen in trials]
    return restore(_mean_of_known(xp.stack(means)))


def _mean_of_known(values: Any) -> Any:
    kind = native(values)[0]
    xp: Any = library(kind)
    array, restore = incoming(values, kind, argument="result")
    missing = xp.isnan(array)
    with np.errstate(invalid="ignore"):
        return restore(xp.where(missing, 0.0, array).sum(0) / (~missing).sum(0))
