"""Orthonormal bases of the columns of a node: all that Gaussian informations ask of them.

An information of jointly Gaussian variables does not change when the columns of a node are mixed by
any invertible map. So the columns of its past, and those of its future, are replaced by an
orthonormal basis of what they span over the samples: the covariance of a node with itself becomes
the unit matrix, in which nothing is left to be ill-conditioned, and a column that repeats others,
depends on them linearly or is constant adds nothing and is dropped. Nodes of fewer directions than
the widest are filled up with zeros: as the unit matrix stays on the diagonal, a zero row changes no
determinant.

Columns that are far from dependent are orthonormalised by two Cholesky factorisations of their
covariance ("CholeskyQR2", Yamamoto et al., ETNA 44, 2015: orthogonal to rounding where the
condition is below 1e7), others one by one, the largest remainder first.
"""

from __future__ import annotations

from typing import Any

from ...contract import Array
from ..detached import detached
from ..rescue import VANISHED
from ..unit_vectors import UnitVectors, unit_vectors
from .factors import cholesky, identity, inverse, transposed

_INDEPENDENT = 1e-6
"""Least eigenvalue of the correlation matrix of columns from which two factorisations do."""


class Bases(UnitVectors):
    """Orthonormal bases of the past and of the future of every node.

    Attributes:
        past: (trials, nodes, width, samples) float64, orthonormal rows, zero beyond the number of
            directions of a node.
        future: likewise.
        constant: (trials, nodes) bool: the past or the future of the node has no direction.
    """

    __slots__ = ()

    @property
    def width(self) -> int:
        """Directions of the widest node."""
        return int(self.past.shape[-2])

    def of_trials(self, trials: slice) -> Bases:
        """Some of the trials."""
        return Bases(*(part[trials] for part in self))

    def directions(self) -> tuple[Array, Array]:
        """(trials, nodes) int64 number of directions of the pasts, and of the futures."""
        past, future = map(detached, self[:2])
        return (past != 0).any(-1).sum(-1), (future != 0).any(-1).sum(-1)


def bases(
    xp: Any, series: Array, tau: int, pooled: str | None, members: Array, resolution: float
) -> Bases:
    """Bases of nodes whose columns are in a series.

    Args:
        xp: numpy, torch or cupy.
        series: (trials, time, columns) float64, finite.
        tau: lag in samples.
        pooled: how trials are made one, see `unit_vectors`.
        members: (nodes, width) int64 columns of each node, -1 beyond its last.
        resolution: share of a column's standard deviation that may be rounding of its values: what
            is left of a column beside the others of its node counts as nothing below this, or below
            `rescue.VANISHED`.
    """
    columns = unit_vectors(xp, series, tau, pooled)
    given = (members >= 0)[None, :, :, None]
    least = max(VANISHED, resolution)
    sides = [
        orthonormal(xp, xp.where(given, segment[:, members], 0.0), least)
        for segment in (columns.past, columns.future)
    ]
    empty = [~(side != 0).any(-1).any(-1) for side in sides]
    return Bases(sides[0], sides[1], empty[0] | empty[1])


def orthonormal(xp: Any, vectors: Array, least: float) -> Array:
    """Orthonormal bases of the rows of (trials, nodes, width, samples) unit vectors or zeros."""
    width = vectors.shape[-2]
    if width == 1:
        return vectors
    gram = vectors @ transposed(vectors)
    missing = ~(vectors != 0).any(-1)
    gram = gram + xp.where(missing[..., None], identity(xp, width, gram), 0.0)
    fixed = detached(gram)
    plain = xp.linalg.eigvalsh(fixed)[..., 0] > _INDEPENDENT
    safe = xp.where(plain[..., None, None], gram, identity(xp, width, gram))
    once = _whitened(xp, safe, vectors)
    again = once @ transposed(once)
    again = xp.where(plain[..., None, None], again, identity(xp, width, gram))
    again = again + xp.where(
        (missing & plain[..., None])[..., None], identity(xp, width, gram), 0.0
    )
    found = _whitened(xp, again, once)
    if bool(plain.all()):
        return found
    trial, node = xp.where(~plain)
    alone = one_by_one(xp, vectors[trial, node], least)[0]
    found = xp.where(plain[..., None, None], found, 0.0)
    place = xp.zeros_like(found)
    place[trial, node] = alone
    return found + place


def _whitened(xp: Any, gram: Array, vectors: Array) -> Array:
    lower = cholesky(xp, gram).lower
    if hasattr(xp, "autograd"):
        return xp.linalg.solve_triangular(lower, vectors, upper=False)
    return inverse(xp, lower) @ vectors


def one_by_one(xp: Any, vectors: Array, least: float) -> tuple[Array, Array]:
    """Gram-Schmidt with the largest remainder first, each remainder taken twice (Kahan).

    Args:
        xp: numpy, torch or cupy.
        vectors: (..., width, samples), rows of norm 1 or less.
        least: norm of a remainder that counts as nothing.

    Returns:
        (..., width, samples) orthonormal rows, then zeros; and (..., width) the squared norms of
        the remainders, 0 for those that count as nothing, in falling order but for rounding.
    """
    rest = vectors
    found: list[Array] = []
    squares: list[Array] = []
    for _ in range(vectors.shape[-2]):
        largest = _square(rest).argmax(-1)
        remainder = _picked(xp, rest, largest)
        for known in found:
            remainder = remainder - (remainder * known).sum(-1)[..., None] * known
        square = _square(remainder)
        nothing = square < least**2
        norm = xp.sqrt(xp.where(nothing, 1.0, square))
        direction = xp.where(nothing[..., None], 0.0, remainder / norm[..., None])
        found.append(direction)
        squares.append(xp.where(nothing, 0.0, square))
        along = (rest * direction[..., None, :]).sum(-1)
        rest = rest - along[..., None] * direction[..., None, :]
    return xp.stack(found, -2), xp.stack(squares, -1)


def _picked(xp: Any, vectors: Array, row: Array) -> Array:
    """(..., samples): a row of each of (..., width, samples)."""
    if hasattr(xp, "autograd"):
        index = row[..., None, None].expand(*row.shape, 1, vectors.shape[-1])
        return xp.gather(vectors, -2, index)[..., 0, :]
    return xp.take_along_axis(vectors, row[..., None, None], -2)[..., 0, :]


def _square(vectors: Array) -> Array:
    return (vectors * vectors).sum(-1)
