"""Every atom as a sum of logarithms of products, so that trials can share a logarithm.

All informations of Gaussian MMI are -1/2 log of ratios of a few determinants, redundancies are the
same of the larger lambda, and atoms are integer sums of both. So an atom is

    -1/2 sum_n coefficient_n log(term_n),

with 18 terms, none of them a quotient (`arithmetic.terms` computes them). A sum over trials then
needs the *product* of each term over trials and one logarithm for several of them. `sts` alone
needs only one quotient of two products, because its maxima can be taken on the terms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from .. import lattice
from ..contract import smallest_trusted
from ..lattice import ATOMS, moebius_matrix, swap_nodes

TERMS: tuple[str, ...] = (
    "past",
    "future",
    "x_a",
    "x_b",
    "y_a",
    "y_b",
    "xy_a past",
    "xy_b past",
    "x_ab future",
    "y_ab future",
    "joint past^2",
    "max x_a y_a",
    "max x_b y_b",
    "max x_a x_b y_a y_b",
    "max x_a x_b",
    "max y_a y_b",
    "max xy_a xy_b, past",
    "max x_ab y_ab, future",
    "sts numerator",
    "sts denominator",
)
"""Terms in the order of `arithmetic.terms`; "xy_a past": the lambda of I(xy; a) times det Σ_xy."""

NUMERATOR, DENOMINATOR = TERMS.index("sts numerator"), TERMS.index("sts denominator")
"""Always both, one after the other; the logarithm of their quotient stands at the first."""

# log lambda of each cumulative quantity; the determinants that the terms carry are taken off again.
_CUMULATIVE: dict[str, dict[str, int]] = {
    "rtr": {"max x_a x_b y_a y_b": 1},
    "rtx": {"max x_a y_a": 1},
    "rty": {"max x_b y_b": 1},
    "rts": {"max x_ab y_ab, future": 1, "future": -1},
    "xtr": {"max x_a x_b": 1},
    "xtx": {"x_a": 1},
    "xty": {"x_b": 1},
    "xts": {"x_ab future": 1, "future": -1},
    "ytr": {"max y_a y_b": 1},
    "ytx": {"y_a": 1},
    "yty": {"y_b": 1},
    "yts": {"y_ab future": 1, "future": -1},
    "str": {"max xy_a xy_b, past": 1, "past": -1},
    "stx": {"xy_a past": 1, "past": -1},
    "sty": {"xy_b past": 1, "past": -1},
    "sts": {"joint past^2": 1, "past": -2, "future": -1},
}

SMALLEST_POWER = 6
"""No term is below s^6 where the smallest conditional variance of the pair is s: the numerator and
the denominator of sts are products of at most six conditional variances, each at least s."""

_FEWEST_SAMPLES = 4


class Plan(NamedTuple):
    """What a kernel is specialised to.

    Attributes:
        terms: positions in `TERMS` of the terms to multiply up.
        coefficients: (atoms * terms), atom by atom, of the logarithms before the factor -1/2.
        names: of the atoms.
    """

    terms: tuple[int, ...]
    coefficients: tuple[int, ...]
    names: tuple[str, ...]


@cache
def plan(names: tuple[str, ...]) -> Plan:
    """The cheaper of the two plans: `sts` by its own quotient, or by the logarithms of the others.

    Args:
        names: atoms.
    """
    few, many = (_plan(names, quotient) for quotient in (True, False))
    return few if len(few.terms) <= len(many.terms) else many


def coefficients(names: Sequence[str]) -> np.ndarray:
    """(atoms, terms) without the quotient of `sts`, int64."""
    cumulative = np.zeros((len(ATOMS), len(TERMS)), np.int64)
    for row, point in enumerate(ATOMS):
        for term, count in _CUMULATIVE[point].items():
            cumulative[row, TERMS.index(term)] = count
    rows: np.ndarray = moebius_matrix(names) @ cumulative
    return rows


def signs(names: Sequence[str]) -> tuple[int, ...]:
    """(atoms * points) of the cumulative quantities in `lattice.ATOMS` that an atom is a sum of."""
    return tuple(moebius_matrix(names).ravel().tolist())


def mirrors(names: Sequence[str], rectangle: bool) -> tuple[int, ...]:
    """Positions of the atoms that these are in the mirrored tile, see `lattice.mirrors`.

    Args:
        names: atoms.
        rectangle: there are no mirrored tiles, and so names may be missing.

    Raises:
        ValueError: one is missing that the mirrored tiles of all pairs need.
    """
    found = tuple(lattice.mirrors(tuple(names)).tolist())
    if not rectangle and -1 in found:
        swapped = sorted({swap_nodes(name) for name in names})
        raise ValueError(f"names are {names}, but all pairs need {swapped} as well")
    return found


def group(dtype: str, tolerances: Mapping[str, float]) -> int:
    """Trials whose terms can be multiplied before the logarithm: a power of two, products normal.

    Every factor lies in [s^6, 1 + a few rounding errors], s the least variance that is trusted: 8
    trials in float64 at 1e-9 nats, 4 at 1e-6.
    """
    trusted = smallest_trusted(_FEWEST_SAMPLES, dtype, tolerances[dtype])
    least = SMALLEST_POWER * math.log2(trusted)
    factors = math.log2(np.finfo(dtype).tiny) / least
    return 1 << int(math.log2(factors))


def _plan(names: tuple[str, ...], quotient: bool) -> Plan:
    rows = coefficients(names)
    kept = (rows != 0).any(0)
    if quotient and "sts" in names:
        rows[names.index("sts")] = 0
        rows[names.index("sts"), NUMERATOR] = 1
        kept = (rows != 0).any(0)
        kept[DENOMINATOR] = True
    terms = tuple(np.flatnonzero(kept).tolist())
    return Plan(terms, tuple(rows[:, terms].ravel().tolist()), names)
