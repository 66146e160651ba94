"""The estimators: what turns the series of two nodes into their atoms.

| kind     | redundancy | features of a node        | atoms of a pair                      | unit |
|----------|------------|---------------------------|--------------------------------------|------|
| gaussian | MMI        | unit vectors              | `kernels.mmi`, from six correlations | nats |
| gaussian | CCS        | unit vectors              | `kernels.ccs`, from every sample     | nats |
| discrete | MMI, CCS   | bits and their products   | `kernels.discrete`, from counts      | bits |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import ccs, mmi
from .discrete import Bits, binarise, discrete_pairs, discrete_tile
from .eager import Estimator, Library, Stable, Tile, Values
from .lattice import ATOMS
from .local import gaussian
from .mmi import Array, Correlations
from .segments import Segments, standardise
from .stable import Outcome, lambdas_from_data


@dataclass(frozen=True)
class _Gaussian:
    """What the estimators of jointly Gaussian variables share."""

    unit: str = "nats"
    differentiable: bool = True

    def features(self, xp: Any, series: Array, tau: int, pooled: str | None) -> Segments:
        """Unit vectors of past and future."""
        return standardise(xp, series, tau, pooled)


class GaussianMMI(_Gaussian):
    """Jointly Gaussian variables, minimum mutual information: averages from the moments alone."""

    def tile_entries(self, features: Segments) -> int:
        """Some twenty temporaries of one number an entry; found by sweep, see bench/README.md."""
        del features
        return 1 << 16

    def block(
        self,
        lib: Library,
        features: Segments,
        tile: Tile,
        names: Sequence[str],
        dtype: str,
        use: Array | None = None,
    ) -> Values:
        """From the correlations of all rows with all columns."""
        x, a, y, b = _rectangle(lib, features, tile, dtype)
        c = _correlations(lib.xp, x, a, y, b, use)
        v, variance = mmi.lambdas(lib.xp, c)
        return Values(mmi.atoms(lib.xp, v, names), variance)

    def listed(
        self, lib: Library, features: Segments, positions: Array, names: Sequence[str]
    ) -> Stable:
        """From a factorisation of the data."""
        v, deterministic, duplicate = lambdas_from_data(lib.xp, *_gathered(features, positions))
        return Stable(mmi.atoms(lib.xp, v, names), deterministic, duplicate)


class GaussianCCS(_Gaussian):
    """Jointly Gaussian variables, common change in surprisal: from every sample."""

    def tile_entries(self, features: Segments) -> int:
        """Some forty numbers an entry and sample: 16 forms, 11 monomials, signs, redundancies."""
        samples: int = features.past.shape[-1]
        return max(1, (1 << 15) // samples)

    def block(
        self,
        lib: Library,
        features: Segments,
        tile: Tile,
        names: Sequence[str],
        dtype: str,
        use: Array | None = None,
    ) -> Values:
        """From correlations and samples of all rows with all columns."""
        x, a, y, b = _rectangle(lib, features, tile, dtype)
        c = _correlations(lib.xp, x, a, y, b, use)
        v, variance = mmi.lambdas(lib.xp, c)
        rows, columns = (
            (x[..., :, None, :], a[..., :, None, :]),
            (y[..., None, :, :], b[..., None, :, :]),
        )
        u = ccs.Vectors(x=rows[0], y=columns[0], a=rows[1], b=columns[1])
        return Values(ccs.atoms(lib.xp, u, c, v, names), variance)

    def listed(
        self, lib: Library, features: Segments, positions: Array, names: Sequence[str]
    ) -> Stable:
        """Pointwise from a factorisation of the data, then averaged."""
        data = lib.xp.stack(_gathered(features, positions), -2)
        found = gaussian(lib.xp, data, data, "CCS")
        means = found.atoms.mean(-1)
        outcome = found.outcome
        if outcome is None:
            outcome = lib.zeros((len(positions),), "int64", positions)
        return Stable(
            [means[:, ATOMS.index(name)] for name in names],
            deterministic=outcome == int(Outcome.DETERMINISTIC),
            duplicate=outcome == int(Outcome.DUPLICATE),
        )


@dataclass(frozen=True)
class Discrete:
    """Every node one bit, above its mean or not: from the counts of joint states."""

    redundancy: str
    unit: str = "bits"
    differentiable: bool = False

    def features(self, xp: Any, series: Array, tau: int, pooled: str | None) -> Bits:
        """Bits of past and future, and their products."""
        return binarise(xp, series, tau, pooled)

    def tile_entries(self, features: Bits) -> int:
        """`discrete_tile` cuts tiles into parts that suit the device."""
        del features
        return 1 << 16

    def block(
        self,
        lib: Library,
        features: Bits,
        tile: Tile,
        names: Sequence[str],
        dtype: str,
        use: Array | None = None,
    ) -> Values:
        """From the counts of all rows with all columns; exact, so in float64 whatever is asked."""
        del dtype, use
        return Values(discrete_tile(lib, features, tile, names, self.redundancy), None)

    def listed(
        self, lib: Library, features: Bits, positions: Array, names: Sequence[str]
    ) -> Stable:
        """From the counts of the pairs; nothing is degenerate but a constant node."""
        none = lib.zeros((len(positions),), "bool", positions)
        return Stable(discrete_pairs(lib, features, positions, names, self.redundancy), none, none)


ESTIMATORS: dict[tuple[str, str], Estimator] = {
    ("gaussian", "MMI"): GaussianMMI(),
    ("gaussian", "CCS"): GaussianCCS(),
    ("discrete", "MMI"): Discrete("MMI"),
    ("discrete", "CCS"): Discrete("CCS"),
}
"""By kind and redundancy."""


def _rectangle(lib: Library, features: Segments, tile: Tile, dtype: str) -> list[Array]:
    """x, a of the rows and y, b of the columns, (trials, nodes, samples) each."""
    return [
        lib.cast(vectors[tile.trials, nodes], dtype)
        for nodes in (tile.rows, tile.columns)
        for vectors in (features.past, features.future)
    ]


def _gathered(features: Segments, positions: Array) -> list[Array]:
    """x, y, a, b of (pairs, 3) trial, row, column: (pairs, samples) each."""
    trial, *pair = (positions[:, k] for k in range(3))
    return [vectors[trial, node] for vectors in features[:2] for node in pair]


def _correlations(
    xp: Any, x: Array, a: Array, y: Array, b: Array, use: Array | None
) -> Correlations:
    """Correlations (trials, rows, columns); with `use`, those of other entries are 0."""
    across_y, across_b = xp.swapaxes(y, -1, -2), xp.swapaxes(b, -1, -2)
    c = Correlations(
        xy=x @ across_y,
        ab=a @ across_b,
        xa=(x * a).sum(-1)[..., :, None],
        xb=x @ across_b,
        ya=a @ across_y,
        yb=(y * b).sum(-1)[..., None, :],
    )
    return c if use is None else Correlations(*(xp.where(use, r, 0.0) for r in c))
