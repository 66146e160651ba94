"""Factorisations of many small matrices at once, of which some may be singular."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...contract import Array

LEAST = 1e-14
"""Least eigenvalue of a correlation matrix that is factored; of less, rounding decides the sign."""


class Factored(NamedTuple):
    """Cholesky factors.

    Attributes:
        lower: (..., k, k) lower triangular; the unit matrix where there is none.
        definite: (...) bool: the matrix is positive definite, and has a factor.
    """

    lower: Array
    definite: Array


def cholesky(xp: Any, matrices: Array) -> Factored:
    """Factor symmetric matrices (..., k, k) of float64.

    NumPy gives up on all of them where one has no factor, so the eigenvalues then tell which.
    """
    if hasattr(xp, "autograd"):
        lower, info = xp.linalg.cholesky_ex(matrices.detach())
        definite = info == 0
        if not matrices.requires_grad and bool(definite.all()):
            return Factored(lower, definite)
        # Without what has no factor, of which nothing finite comes back.
        return Factored(xp.linalg.cholesky_ex(_or_unit(xp, matrices, definite))[0], definite)
    try:
        lower = xp.linalg.cholesky(matrices)
    except xp.linalg.LinAlgError:
        definite = xp.linalg.eigvalsh(matrices)[..., 0] > LEAST
        return Factored(xp.linalg.cholesky(_or_unit(xp, matrices, definite)), definite)
    return Factored(lower, xp.ones_like(lower[..., 0, 0], dtype=bool))


def _or_unit(xp: Any, matrices: Array, definite: Array) -> Array:
    unit = identity(xp, matrices.shape[-1], matrices)
    return xp.where(definite[..., None, None], matrices, unit)


def identity(xp: Any, size: int, like: Array) -> Array:
    """Unit matrix of float64, where `like` is."""
    if hasattr(xp, "autograd"):
        return xp.eye(size, dtype=xp.float64, device=like.device)
    return xp.eye(size)


def diagonal(matrices: Array) -> Array:
    """(..., k) diagonals of the last two axes."""
    return matrices.diagonal(0, -2, -1)


def transposed(matrices: Array) -> Array:
    """The last two axes exchanged."""
    return matrices.swapaxes(-1, -2)


def inverse(xp: Any, lower: Array) -> Array:
    """Inverse of lower triangular matrices (..., k, k).

    Blocks of the diagonal are inverted, and joined two by two: LAPACK's general inverse, which is
    all that NumPy has, takes four times as long (18 x 18: 6.6 us a matrix).
    """
    size = lower.shape[-1]
    if hasattr(xp, "autograd"):
        return xp.linalg.solve_triangular(lower, identity(xp, size, lower), upper=False)
    found = xp.zeros_like(lower)
    every = xp.arange(size)
    found[..., every, every] = 1 / diagonal(lower)
    step = 1
    while step < size:
        for start in range(0, size - step, 2 * step):
            first = slice(start, start + step)
            second = slice(start + step, min(start + 2 * step, size))
            below = lower[..., second, first] @ found[..., first, first]
            found[..., second, first] = -(found[..., second, second] @ below)
        step *= 2
    return found
