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
from .eager import Estimator, Library, Stable, Values
from .lattice import ATOMS
from .local import gaussian
from .mmi import Array, Correlations
from .segments import Segments, standardise
from .stable import Outcome, lambdas_from_data


@dataclass(frozen=True)
class GaussianMMI:
    """Jointly Gaussian variables, minimum mutual information: averages from the moments alone."""

    unit: str = "nats"
    differentiable: bool = True

    def features(self, xp: Any, series: Array, tau: int, pooled: str | None) -> Segments:
        """Unit vectors of past and future."""
        return standardise(xp, series, tau, pooled)

    def tile_entries(self, features: Segments) -> int:
        """Some twenty temporaries of one number an entry; found by sweep, see bench/README.md."""
        del features
        return 1 << 16

    def block(
        self,
        lib: Library,
        first: Sequence[Array],
        second: Sequence[Array],
        names: Sequence[str],
        use: Array | None = None,
    ) -> Values:
        """From the correlations of all rows with all columns."""
        v, variance = mmi.lambdas(lib.xp, correlations(lib.xp, first, second, use))
        return Values(mmi.atoms(lib.xp, v, names), variance)

    def listed(
        self, lib: Library, first: Sequence[Array], second: Sequence[Array], names: Sequence[str]
    ) -> Stable:
        """From a factorisation of the data."""
        (x, a), (y, b) = first, second
        v, deterministic, duplicate = lambdas_from_data(lib.xp, x, y, a, b)
        return Stable(mmi.atoms(lib.xp, v, names), deterministic, duplicate)


@dataclass(frozen=True)
class GaussianCCS:
    """Jointly Gaussian variables, common change in surprisal: from every sample."""

    unit: str = "nats"
    differentiable: bool = True

    def features(self, xp: Any, series: Array, tau: int, pooled: str | None) -> Segments:
        """Unit vectors of past and future."""
        return standardise(xp, series, tau, pooled)

    def tile_entries(self, features: Segments) -> int:
        """Some forty numbers an entry and sample: 16 forms, 11 monomials, signs, redundancies."""
        return max(1, (1 << 15) // features.past.shape[-1])

    def block(
        self,
        lib: Library,
        first: Sequence[Array],
        second: Sequence[Array],
        names: Sequence[str],
        use: Array | None = None,
    ) -> Values:
        """From correlations and samples of all rows with all columns."""
        c = correlations(lib.xp, first, second, use)
        v, variance = mmi.lambdas(lib.xp, c)
        (x, a), (y, b) = first, second
        u = ccs.Vectors(
            x[..., :, None, :], y[..., None, :, :], a[..., :, None, :], b[..., None, :, :]
        )
        return Values(ccs.atoms(lib.xp, u, c, v, names), variance)

    def listed(
        self, lib: Library, first: Sequence[Array], second: Sequence[Array], names: Sequence[str]
    ) -> Stable:
        """Pointwise from a factorisation of the data, then averaged."""
        (x, a), (y, b) = first, second
        data = lib.xp.stack([x, y, a, b], -2)
        found = gaussian(lib.xp, data, data, "CCS")
        means = found.atoms.mean(-1)
        if found.outcome is None:
            none = lib.zeros((len(x),), "bool", x)
            deterministic = duplicate = none
        else:
            deterministic = found.outcome == int(Outcome.DETERMINISTIC)
            duplicate = found.outcome == int(Outcome.DUPLICATE)
        return Stable([means[:, ATOMS.index(n)] for n in names], deterministic, duplicate)


def correlations(
    xp: Any, first: Sequence[Array], second: Sequence[Array], use: Array | None = None
) -> Correlations:
    """Correlations (trials, rows, columns) from past and future (trials, nodes, samples) of both.

    With `use`, those of other entries are 0.
    """
    (x, a), (y, b) = first, second
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


ESTIMATORS: dict[tuple[str, str], Estimator] = {
    ("gaussian", "MMI"): GaussianMMI(),
    ("gaussian", "CCS"): GaussianCCS(),
}
"""By kind and redundancy."""
