"""Estimators of nodes of several columns: Gaussian, MMI and CCS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...contract import Array, Estimator, Key, Library, Limits, Stable, Tile, Values
from ..mmi import Lambdas, from_informations
from . import closed_form, local
from .bases import Bases
from .factors import transposed
from .rescue import resolve

_EXACT = {"float64": 1e-9}
"""Error in nats that the closed form may leave in an atom; there is no arithmetic in float32."""

_NUMBERS = 1 << 20
"""Of the covariances of pairs, or of their samples, at a time; MMI does not care. CCS of 9 columns,
60 x 100 samples, 435 pairs, s of one core: 2^17 7.1, 2^18 4.2, 2^19 3.1, 2^20 2.9, 2^21 2.8."""


@dataclass(frozen=True)
class _Members:
    """What the estimators of nodes of several columns share."""

    unit: str = "nats"
    differentiable: bool = True
    gathered_cost: float = 1.5

    def features(self, lib: Library, series: Bases, tau: int, pooled: str | None) -> Bases:
        """Bases are features already, and pooled."""
        del lib, tau, pooled
        return series

    def tolerance(self, features: Bases) -> Mapping[str, float]:
        """Strict: the data are at hand for what would miss it."""
        del features
        return _EXACT

    def tile_entries(self, features: Bases) -> int:
        """Pairs are taken some at a time within a tile."""
        return max(1, (1 << 22) // (4 * features.width) ** 2)


class MembersMMI(_Members):
    """Minimum mutual information, from log-determinants of blocks of the covariance."""

    key: Key = ("members", "MMI")

    def of_tile(
        self,
        lib: Library,
        features: Bases,
        tile: Tile,
        names: Sequence[str],
        dtype: str,
        limits: Limits,
        use: Array | None = None,
    ) -> Values:
        """Atoms of a tile, pair by pair above its diagonal."""
        del dtype, limits

        def of_pairs(p: closed_form.Pairs, *bases: tuple[Array, Array]) -> list[Array]:
            del bases
            return from_informations(lib.xp, _informations(lib.xp, p), names)

        return _of_tile(lib, features, tile, use, (4 * features.width) ** 2, of_pairs)

    def listed(
        self,
        lib: Library,
        features: Bases,
        positions: Array,
        names: Sequence[str],
        limits: Limits,
    ) -> Stable:
        """Atoms from what is left of the data."""
        del limits
        found = resolve(lib.xp, *features.gathered(positions))
        i = Lambdas(*(-0.5 * v for v in found.logarithms))
        return Stable(from_informations(lib.xp, i, names), found.outcome)


class MembersCCS(_Members):
    """Common change in surprisal, from every sample."""

    key: Key = ("members", "CCS")

    def of_tile(
        self,
        lib: Library,
        features: Bases,
        tile: Tile,
        names: Sequence[str],
        dtype: str,
        limits: Limits,
        use: Array | None = None,
    ) -> Values:
        """Atoms of a tile, pair by pair above its diagonal."""
        del dtype, limits
        xp, width = lib.xp, features.width

        def of_pairs(p: closed_form.Pairs, *bases: tuple[Array, Array]) -> list[Array]:
            x, a, y, b = (_flat(basis[nodes]) for basis, nodes in bases)
            i = _informations(xp, p)
            first = local.own_distances(xp, p.first, x, a)
            second = local.own_distances(xp, p.second, y, b)
            between = local.distances(xp, p, xp.concatenate([x, a, y, b], -2))
            at_samples = local.local_informations(i, first, second, between)
            first_own, second_own = (o.covariance[:, :width, width:] for o in (p.first, p.second))
            signed = local.signed(xp, p.across, first_own, second_own, x.shape[-1])
            return local.atoms(lib, i, at_samples, signed, names)

        numbers = 13 * features.width * features.samples
        return _of_tile(lib, features, tile, use, numbers, of_pairs)

    def listed(
        self,
        lib: Library,
        features: Bases,
        positions: Array,
        names: Sequence[str],
        limits: Limits,
    ) -> Stable:
        """Atoms from what is left of the data at every sample."""
        del limits
        xp = lib.xp
        x, y, a, b = features.gathered(positions)
        found = resolve(xp, x, y, a, b)
        i = Lambdas(*(-0.5 * v for v in found.logarithms))
        half = 0.5 * (features.samples - 1)
        at_samples = Lambdas(
            *(
                mean[:, None] + half * (known - given)
                for mean, known, given in zip(i, found.known, found.given, strict=True)
            )
        )
        across = xp.concatenate([x, a], -2) @ transposed(xp.concatenate([y, b], -2))
        first_own, second_own = x @ transposed(a), y @ transposed(b)
        signed = local.signed(xp, across, first_own, second_own, features.samples)
        return Stable(local.atoms(lib, i, at_samples, signed, names), found.outcome)


def _informations(xp: Any, p: closed_form.Pairs) -> Lambdas:
    return Lambdas(*(-0.5 * v for v in closed_form.logarithms(xp, p)))


def _of_tile(
    lib: Library,
    features: Bases,
    tile: Tile,
    use: Array | None,
    numbers: int,
    of_pairs: Callable[..., list[Array]],
) -> Values:
    """Atoms (trials, rows, columns) of a tile, zero where rows and columns are mirrored.

    Args:
        lib: of the arrays.
        features: of the nodes.
        tile: of them.
        use: (trials, rows, columns) bool of the pairs that are meant; None: all.
        numbers: that a pair takes at a time.
        of_pairs: atoms (pairs * trials,) of factored covariances, and of x, a, y, b, each as bases
            (nodes, trials, width, samples) and which of the nodes.
    """
    xp = lib.xp
    # Nodes come first, so that those of pairs are gathered in one piece.
    x, a, y, b = (v.swapaxes(0, 1) for v in features.rectangle(lib, tile, "float64"))
    first = closed_form.own(xp, x, a)
    second = first if tile.rows == tile.columns else closed_form.own(xp, y, b)
    across = _across(xp, (x, a), (y, b))
    trials, rows, columns = across.shape[0], len(x), len(y)
    atoms: list[Array] = []
    variance = lib.zeros((trials, rows, columns), "float64", features.like)
    for i, j in _chunks(lib, tile, _NUMBERS // (numbers * trials), features.like):
        at = slice(None), i, j
        between = across[:, i, :, j]  # [pairs, trials, 2 width, 2 width]
        if use is not None:
            between = xp.where(use[at].swapaxes(0, 1)[..., None, None], between, 0.0)
        sides = (
            closed_form.Own(*(_flat(v[k]) for v in own)) for own, k in ((first, i), (second, j))
        )
        p = closed_form.factored(xp, _flat(between), *sides)
        found = of_pairs(p, (x, i), (a, i), (y, j), (b, j))
        if not atoms:
            atoms = [lib.zeros((trials, rows, columns), "float64", features.like) for _ in found]
        for atom, value in zip(atoms, found, strict=True):
            atom[at] = value.reshape(-1, trials).swapaxes(0, 1)
        variance[at] = closed_form.least_variance(xp, p).reshape(-1, trials).swapaxes(0, 1)
    return Values(atoms, variance)


def _across(xp: Any, rows: Sequence[Array], columns: Sequence[Array]) -> Array:
    """(trials, rows, 2 width, columns, 2 width) covariances of pasts and futures."""
    one, other = (xp.concatenate([v.swapaxes(0, 1) for v in side], -2) for side in (rows, columns))
    trials, height, double, samples = one.shape
    flat = [side.reshape(trials, -1, samples) for side in (one, other)]
    product = flat[0] @ transposed(flat[1])
    return product.reshape(trials, height, double, -1, double)


def _chunks(lib: Library, tile: Tile, size: int, like: Array) -> Iterator[tuple[Array, Array]]:
    """Rows and columns, numbered within the tile, of some of its pairs at a time."""
    height, width = (side.stop - side.start for side in tile[1:])
    every = lib.arange(height * width, like)
    i, j = every // width, every % width
    if tile.rows == tile.columns:
        upper = i < j
        i, j = i[upper], j[upper]
    for start in range(0, len(i), max(1, size)):
        part = slice(start, start + max(1, size))
        yield i[part], j[part]


def _flat(array: Array) -> Array:
    """(pairs, trials, ...) as (pairs * trials, ...)."""
    return array.reshape(-1, *array.shape[2:])


OF_MEMBERS: dict[str, Estimator] = {e.key[1]: e for e in (MembersMMI(), MembersCCS())}
"""The estimators of nodes of several columns by redundancy."""
