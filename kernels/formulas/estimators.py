"""The estimators: what turns the series of two nodes into their atoms.

| kind     | redundancy | features of a node        | atoms of a pair                      | unit |
|----------|------------|---------------------------|--------------------------------------|------|
| gaussian | MMI        | unit vectors              | `formulas.mmi`, from six correlations | nats |
| gaussian | CCS        | unit vectors              | `formulas.ccs`, from every sample     | nats |
| discrete | MMI, CCS   | bits and their products   | `formulas.discrete`, from counts      | bits |

Gaussian MMI needs no more than the correlations, so its features may also be `Moments`; and its
persistence reference is the same estimator on other correlations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..contract import Array, Estimator, Key, Library, Limits, Outcome, Stable, Tile, Values
from ..lattice import ATOMS
from . import ccs, mmi
from .discrete import Bits, binarise, discrete_pairs, discrete_tile
from .mmi import Correlations
from .moments import Moments
from .parts import parts
from .pointwise import gaussian
from .unit_vectors import UnitVectors, correlations, unit_vectors

STRICT = {"float64": 1e-9, "float32": 1e-5}
"""Error in nats that the closed form may leave in an atom, by dtype."""

LOOSE = {"float64": 1e-6, "float32": 1e-5}
"""The same where nothing better is to be had."""

_EXACT = {"float64": STRICT["float64"]}
"""The same of estimators that have no arithmetic in float32; their output is rounded."""


@dataclass(frozen=True)
class _Gaussian:
    """What the estimators of jointly Gaussian variables share."""

    unit: str = "nats"
    differentiable: bool = True

    def features(
        self, lib: Library, series: Array | Moments, tau: int, pooled: str | None
    ) -> UnitVectors | Moments:
        """Unit vectors of past and future; moments are features already, and pooled."""
        if isinstance(series, Moments):
            return series
        return unit_vectors(lib.xp, lib.cast(series, "float64"), tau, pooled)


class GaussianMMI(_Gaussian):
    """Jointly Gaussian variables, minimum mutual information: averages from the moments alone."""

    key: Key = ("gaussian", "MMI")
    gathered_cost = 20.0  # 15 in torch, 29 in NumPy

    def tolerance(self, features: UnitVectors | Moments) -> Mapping[str, float]:
        """Strict where the data are at hand for what would miss it."""
        return LOOSE if isinstance(features, Moments) else STRICT

    def correlations(self, c: Correlations) -> Correlations:
        """Correlations that are decomposed: as they are."""
        return c

    def tile_entries(self, features: UnitVectors | Moments) -> int:
        """Some twenty temporaries of one number an entry; found by sweep, see bench/README.md."""
        del features
        return 1 << 16

    def of_tile(
        self,
        lib: Library,
        features: UnitVectors | Moments,
        tile: Tile,
        names: Sequence[str],
        dtype: str,
        limits: Limits,
        use: Array | None = None,
    ) -> Values:
        """Atoms from the correlations of all rows with all columns."""
        c = self.correlations(features.correlations(lib, tile, dtype))
        v, variance = mmi.lambdas(lib.xp, _masked(lib.xp, c, use))
        return Values(mmi.atoms(lib.xp, v, names), variance)

    def listed(
        self,
        lib: Library,
        features: UnitVectors | Moments,
        positions: Array,
        names: Sequence[str],
        limits: Limits,
    ) -> Stable:
        """Atoms from a factorisation of the data, where there are any."""
        v, outcome = features.lambdas(lib, positions)
        return Stable(mmi.atoms(lib.xp, v, names), outcome)


class PersistenceMMI(GaussianMMI):
    """What `GaussianMMI` would give if nodes persisted but did not influence each other.

    The reference keeps each node's own lag correlation r and their lag-0 correlation q, and puts in
    place of the correlations across both lag and nodes those of two AR(1) nodes with correlated
    innovations, x(t + τ) = r_x x(t) + e_x and y(t + τ) = r_y y(t) + e_y:

                x       y       a       b
        x       1       q       r_x     r_y q
        y               1       r_x q   r_y
        a                       1       q
        b                               1

    The lag-0 correlations of past and future differ only by the ends of the series, and an AR(1)
    pair has one: q is the mean of the two. Given the past, a has variance 1 - r_x², b has 1 - r_y²,
    and their covariance is q (1 - r_x r_y), so that the matrix is positive definite exactly where

        |q| < sqrt((1 - r_x²) (1 - r_y²)) / (1 - r_x r_y),        |r_x|, |r_y| < 1.

    Nodes of equal persistence may have any q; nodes of unequal persistence cannot be AR(1) nodes
    and correlate more than this: `Outcome.NO_AR1_PAIR`.
    """

    key: Key = ("persistence", "MMI")

    def tolerance(self, features: UnitVectors | Moments) -> Mapping[str, float]:
        """Loose: no factorisation of data would make such a matrix from them."""
        del features
        return LOOSE

    def correlations(self, c: Correlations) -> Correlations:
        """Correlations of two AR(1) nodes."""
        q = 0.5 * (c.xy + c.ab)
        return Correlations(xy=q, ab=q, xa=c.xa, xb=c.yb * q, ya=c.xa * q, yb=c.yb)

    def listed(
        self,
        lib: Library,
        features: UnitVectors | Moments,
        positions: Array,
        names: Sequence[str],
        limits: Limits,
    ) -> Stable:
        """No pair that the closed form cannot take has a reference."""
        none = lib.zeros((len(positions),), "float64", features.like)
        outcome = lib.zeros((len(positions),), "int64", positions) + int(Outcome.NO_AR1_PAIR)
        return Stable([none for _ in names], outcome)


class GaussianCCS(_Gaussian):
    """Jointly Gaussian variables, common change in surprisal: from every sample.

    In float64 whatever is asked: a sign decides whether a sample counts at all, and one that
    float32 turns moves the average by more than its tolerance.
    """

    key: Key = ("gaussian", "CCS")
    gathered_cost = 1.5

    def tolerance(self, features: UnitVectors) -> Mapping[str, float]:
        """Strict: the data are at hand for what would miss it."""
        del features
        return _EXACT

    def tile_entries(self, features: UnitVectors) -> int:
        """Some 100 numbers an entry; the backward pass records tens per sample, 50 to 100 MB."""
        return max(1, min(1 << 14, (1 << 18) // features.samples))

    def of_tile(
        self,
        lib: Library,
        features: UnitVectors,
        tile: Tile,
        names: Sequence[str],
        dtype: str,
        limits: Limits,
        use: Array | None = None,
    ) -> Values:
        """Atoms from correlations and samples of all rows with all columns."""
        del dtype
        x, a, y, b = features.rectangle(lib, tile, "float64")
        c = _masked(lib.xp, correlations(lib.xp, x, a, y, b), use)
        v, variance = mmi.lambdas(lib.xp, c)
        entries = max(1, limits.part // x.shape[-1])
        places = [part.place for part in parts(tile, entries, entries, x)]
        sides, masked = (ccs.Nodes(x, a), ccs.Nodes(y, b)), use is not None
        found = ccs.atoms(lib, *sides, c, v, names, places, masked=masked)
        return Values(found, variance)

    def listed(
        self,
        lib: Library,
        features: UnitVectors,
        positions: Array,
        names: Sequence[str],
        limits: Limits,
    ) -> Stable:
        """Averages of pointwise atoms, which a factorisation of the data gives."""
        data = lib.xp.stack(features.gathered(positions), -2)
        found = gaussian(lib.xp, data, data, "CCS")
        means = found.atoms.mean(-1)
        outcome = found.outcome
        if outcome is None:
            outcome = lib.zeros((len(positions),), "int64", positions)
        return Stable([means[:, ATOMS.index(name)] for name in names], outcome)


@dataclass(frozen=True)
class Discrete:
    """Every node one bit, above its mean or not: from the counts of joint states."""

    redundancy: str
    unit: str = "bits"
    differentiable: bool = False
    gathered_cost = 18.0  # 16 in NumPy, 19 in torch

    @property
    def key(self) -> Key:
        """Kind "discrete" and the redundancy."""
        return "discrete", self.redundancy

    def features(self, lib: Library, series: Array, tau: int, pooled: str | None) -> Bits:
        """Bits of past and future, and their products."""
        return binarise(lib.xp, lib.cast(series, "float64"), tau, pooled)

    def tolerance(self, features: Bits) -> Mapping[str, float]:
        """Counts are exact: nothing to tolerate."""
        del features
        return _EXACT

    def tile_entries(self, features: Bits) -> int:
        """`discrete_tile` cuts tiles into parts that suit the device."""
        del features
        return 1 << 16

    def of_tile(
        self,
        lib: Library,
        features: Bits,
        tile: Tile,
        names: Sequence[str],
        dtype: str,
        limits: Limits,
        use: Array | None = None,
    ) -> Values:
        """Atoms from the counts of all rows with all columns."""
        del dtype, use
        return Values(discrete_tile(lib, features, tile, names, self.redundancy), None)

    def listed(
        self,
        lib: Library,
        features: Bits,
        positions: Array,
        names: Sequence[str],
        limits: Limits,
    ) -> Stable:
        """Atoms from the counts of the pairs; nothing is degenerate but a constant node."""
        outcome = lib.zeros((len(positions),), "int64", positions)
        return Stable(
            discrete_pairs(lib, features, positions, names, self.redundancy, limits), outcome
        )


ESTIMATORS: dict[Key, Estimator] = {
    estimator.key: estimator
    for estimator in (GaussianMMI(), GaussianCCS(), Discrete("MMI"), Discrete("CCS"))
}
"""The estimators by kind and redundancy."""

PERSISTENCE = PersistenceMMI()
"""The reference to `ESTIMATORS["gaussian", "MMI"]`."""


def _masked(xp: Any, c: Correlations, use: Array | None) -> Correlations:
    """Correlations of the pairs in use, 0 elsewhere; all without a mask."""
    return c if use is None else Correlations(*(xp.where(use, r, 0.0) for r in c))
