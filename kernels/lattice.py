"""The product lattice of ΦID and the integer matrix that turns informations into atoms.

Source: Mediano, Rosas, Luppi et al., PNAS 2025 (arXiv:2109.13186): integrated information
decomposition is the partial information decomposition of the past with respect to the future, on
the product of two copies of the bivariate redundancy lattice

        {12}            s   synergy
       /    \\
     {1}    {2}         x, y   unique to the first, to the second node
       \\    /
       {1}{2}           r   redundancy

once for the two nodes as sources (past), once as targets (future). The cumulative quantity at a
point (α, β) of the product, the information that α carries about β redundantly, is the sum of the
atoms at or below it. There are 16 cumulative quantities, and the atoms follow by Möbius inversion.
Everything below is derived from the order relation `_BELOW`, the only thing written down.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# For each point of the bivariate lattice, the points at or below it.
_BELOW = {"r": "r", "x": "rx", "y": "ry", "s": "rxys"}
_POINTS = tuple(_BELOW)

ATOMS: tuple[str, ...] = tuple(f"{source}t{target}" for source in _POINTS for target in _POINTS)
"""Names of the 16 atoms, source then target, in phyid's order: rtr rtx rty rts xtr ... sts."""

TWO = ("rtr", "sts")
"""Redundancy and synergy, which kernels have a short cut to where no other atom is asked for."""

LEAST_SUM = 2.0**-40
"""What sts + rtr has to exceed, in the unit of the atoms, for a pair to have a share of sts in it.

Below it is rounding: of a dozen samples, discrete CCS has pairs whose sum is zero, which computes
to some 1e-16 of either sign, and sums that are not zero are above 1e-7.
"""

_WORDS = {
    "r": "redundancy",
    "x": "unique information of x",
    "y": "unique information of y",
    "s": "synergy",
}


def long_name(atom: str) -> str:
    """An atom in words, such as "synergy to redundancy" for `str`."""
    source, target = atom.split("t")
    return f"{_WORDS[source]} to {_WORDS[target]}"


def zeta_matrix() -> npt.NDArray[np.int64]:
    """Matrix of the order on the product lattice: cumulative quantities = zeta_matrix() @ atoms.

    Returns:
        (16, 16) int64 of zeros and ones, rows and columns in the order of `ATOMS`. Row `xts`, say,
        stands for the information that the first node's past carries about both futures together.
    """
    single = np.array([[int(lower in _BELOW[point]) for lower in _POINTS] for point in _POINTS])
    return np.kron(single, single)


def moebius_matrix(names: Sequence[str] = ATOMS) -> npt.NDArray[np.int64]:
    """Inverse of `zeta_matrix`: atoms = moebius_matrix() @ cumulative quantities.

    Args:
        names: atoms wanted.

    Returns:
        (names, 16) int64 with entries -1, 0, 1, columns in the order of `ATOMS`.
    """
    single = np.array([[int(lower in _BELOW[point]) for lower in _POINTS] for point in _POINTS])
    inverse = np.rint(np.linalg.inv(single)).astype(np.int64)
    whole: npt.NDArray[np.int64] = np.kron(inverse, inverse)
    return whole[[ATOMS.index(name) for name in names]]


@functools.cache
def weights(names: tuple[str, ...], two: bool) -> npt.NDArray[np.float64]:
    """Atoms as sums of what a kernel computes; not to be written to.

    Args:
        names: atoms wanted.
        two: the kernel computes the atoms `TWO`, in place of all cumulative quantities.

    Returns:
        (names, 2 or 16) float64.
    """
    if two:
        return np.array([[float(name == atom) for atom in TWO] for name in names])
    return np.ascontiguousarray(moebius_matrix(names), np.float64)


@functools.cache
def mirrors(names: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Places of the atoms with x and y exchanged; not to be written to.

    Args:
        names: atoms.

    Returns:
        (names,) int64 places among the names, -1 where the exchanged atom is none of them.
    """
    swapped = (swap_nodes(name) for name in names)
    return np.array([names.index(name) if name in names else -1 for name in swapped], np.int64)


def swap_nodes(atom: str) -> str:
    """Name of the atom after the two nodes of the pair change places: x and y are exchanged."""
    return atom.translate(str.maketrans("xy", "yx"))
