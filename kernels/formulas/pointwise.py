"""Pointwise ΦID: the 16 atoms of chosen pairs at every sample, Gaussian or discrete, MMI or CCS.

    variables of a pair -> local entropies (15) -> local informations (9)
                        -> redundancies (7)     -> atoms (16)

Local entropies are surprisals, -log p(v_t), under the fitted distribution of a set of variables; a
local information is i(u; v) = h(u) + h(v) - h(uv), and averages over the samples fitted are the
ordinary quantities (Mediano, Rosas, Luppi et al., PNAS 2025, arXiv:2109.13186).

Gaussian, in nats, by the chain rule h(v1 .. vk) = sum of h(vk | v1 .. vk-1). In a triangular factor
R of the centred data (samples x 4, unit columns) |r_kk| is the spread of the k-th variable given
those before it, and w = R^-T v its innovations, so that for variables of unit variance

    h(vk | ..) = log |r_kk| + 1/2 log 2π + (samples - 1)/2 w_k².

No density underflows, no covariance is formed, and the error grows as u / spread, not its square.
Six orders of the four variables have every subset of them as a beginning (`_ORDERS`), and the
factors of all six come from the first one alone, 4 x 4.

Discrete, in bits: every variable is one bit, above its mean or not. All quantities depend on the
state of four bits only, so they are computed for its 16 values and looked up at every sample.

MMI takes, pointwise, the local information of the source whose mean is least. CCS (Ince, Entropy
19, 318, 2017) takes the co-information i1 + i2 - i12 at samples where it and i1, i2, i12 have one
sign, and nothing elsewhere; the double redundancy likewise with the double co-information, which
is the rtr at which sts would be zero. An information that is zero has no sign; which Gaussian ones
are zero but for rounding: `formulas.uncorrelated`.

Functions are written for NumPy, torch and CuPy (`xp`), without loops over pairs or samples.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..contract import Array, Outcome
from ..lattice import ATOMS, moebius_matrix
from .above_mean import above_mean
from .mmi import Correlations, Lambdas
from .rescue import VANISHED, resolve, triangle
from .steady import in_float64
from .uncorrelated import correlated, local_resolution, resolution

SETS: tuple[str, ...] = tuple("x y a b xy ab xa xb ya yb xya xyb xab yab xyab".split())  # noqa: SIM905
"""The sets of variables that have an entropy: x, y of the past, a, b of the future."""

INFORMATIONS = Lambdas._fields
"""Names of the nine informations, source_target: x_a x_b y_a y_b xy_a xy_b x_ab y_ab xy_ab."""

REDUNDANCIES = ("rtr", "rtx", "rty", "rts", "xtr", "ytr", "str")
"""Points of the product lattice whose cumulative quantity is a redundancy, the double one first."""

TIE = 1e-12
"""Means of informations closer than this are equal. phyid compares rounded means; equal counts give
equal informations, and which source then stands for the redundancy must not hang on rounding."""


class Local(NamedTuple):
    """Local quantities of some pairs, in nats (Gaussian) or bits (discrete).

    Attributes:
        entropies: (pairs, 15, points) in the order of `SETS`.
        informations: (pairs, 9, points) in the order of `INFORMATIONS`.
        redundancies: (pairs, 7, points) in the order of `REDUNDANCIES`.
        atoms: (pairs, 16, points) in the order of `ATOMS`.
        outcome: (pairs,) int64, `Outcome` or 0; None where no pair is degenerate.
    """

    entropies: Array
    informations: Array
    redundancies: Array
    atoms: Array
    outcome: Array | None


class Variables(NamedTuple):
    """What distributions are fitted to, and what they are evaluated at.

    Attributes:
        fitted: (groups, 2, nodes, samples), past and future of every node. One group per trial, or
            a single one of all trials pooled.
        evaluated: (groups, 2, nodes, points), the same array where a trial is fitted to itself.
    """

    fitted: Array
    evaluated: Array


# ---- Tables --------------------------------------------------------------------------------------

_ORDERS = np.array(
    [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2], [0, 2, 1, 3], [1, 3, 0, 2]]
)
_PLACES = np.argsort(_ORDERS, axis=-1)  # where in each order a variable stands
_EACH_ORDER = np.arange(len(_ORDERS))[:, None]
_DIAGONAL = np.arange(4)


def _sums() -> npt.NDArray[np.float64]:
    """(15, 24): each entropy as the sum of conditional ones that begin one of the orders."""
    sums = np.zeros((len(SETS), *_ORDERS.shape))
    for row, names in enumerate(SETS):
        members = {"xyab".index(name) for name in names}
        order = next(k for k, o in enumerate(_ORDERS) if set(o[: len(members)]) == members)
        sums[row, order, : len(members)] = 1.0
    return sums.reshape(len(SETS), -1)


def _reduced() -> npt.NDArray[np.int64]:
    """(8, 15): the set that is left of each once duplicates are dropped.

    Rows: + 1 the pasts coincide, + 2 the futures, + 4 the second node is kept.
    """
    rows = []
    for y, x, b, a in ("yxba", "xyab"):  # x stands for y, and a for b
        for stands in ({}, {y: x}, {b: a}, {y: x, b: a}):
            rows.append([{stands.get(v, v) for v in names} for names in SETS])
    return np.array([[[set(s) for s in SETS].index(left) for left in row] for row in rows])


_REDUCED = _reduced()
_SUMS = _sums()
_SOURCE, _TARGET, _JOINT = (
    np.array([SETS.index(name) for name in names])
    for names in zip(
        *((*name.split("_"), name.replace("_", "")) for name in INFORMATIONS), strict=True
    )
)
# (9, 15): informations as differences of entropies.
_DIFFERENCES = np.eye(15)[_SOURCE] + np.eye(15)[_TARGET] - np.eye(15)[_JOINT]


def _compared(point: str) -> list[str]:
    """Informations whose least is the MMI redundancy at a point, the preferred of equals first.

    phyid takes the last of two equal means, and the first of four.
    """
    past = {"r": "x y", "s": "xy"}.get(point[0], point[0]).split()
    future = {"r": "a b", "x": "a", "y": "b", "s": "ab"}[point[2]].split()
    names = [f"{p}_{f}" for p, f in itertools.product(past, future)]
    return names if len(names) == 4 else names[::-1]


def _position(names: list[str]) -> list[int]:
    return [INFORMATIONS.index(name) for name in names]


# (7, 4), points with two candidates name each of them twice.
_CANDIDATES = np.array([_position(_compared(point) * 2)[:4] for point in REDUNDANCIES])
_PREFERENCE = np.array([[0, 1, 2, 3] if p == "rtr" else [0, 1, 0, 1] for p in REDUNDANCIES]) * TIE
_POINTS = np.arange(len(REDUNDANCIES))
# For the six single redundancies: the sources compared, then both together.
_PARTS = [
    (*_compared(point), together)
    for point, together in zip(
        REDUNDANCIES[1:], ["xy_a", "xy_b", "xy_ab", "x_ab", "y_ab", "xy_ab"], strict=True
    )
]
# (6, 9): their co-informations.
_COMMON = np.array([[(n in p[:2]) - (n == p[2]) * 1.0 for n in INFORMATIONS] for p in _PARTS])
# (7, 9): the informations whose signs have to agree with that of the (double) co-information.
_SIGNS = np.array([[n in p for n in INFORMATIONS] for p in (_compared("rtr"), *_PARTS)], np.float64)

_CUMULATIVE = (
    *REDUNDANCIES,
    *(next(p for p in ATOMS if _compared(p) == [name]) for name in INFORMATIONS),
)
_MOEBIUS = moebius_matrix()[:, [ATOMS.index(point) for point in _CUMULATIVE]].astype(np.float64)
_FROM_REDUNDANCIES, _FROM_INFORMATIONS = _MOEBIUS[:, :7].copy(), _MOEBIUS[:, 7:].copy()
# rtr at which sts = 0: the row of sts without its rtr, whose coefficient is 1.
_DOUBLE = -_MOEBIUS[ATOMS.index("sts")]
_DOUBLE_OF_SINGLE, _DOUBLE_OF_INFORMATIONS = _DOUBLE[None, 1:7], _DOUBLE[None, 7:]

# From counts of states to those of the states that agree with each: on each of the sets, and again
# on those in the informations, joint, source and target. (16, (15 + 27) 16)
_AGREE_ON = np.array(
    [
        [
            [float((s ^ t) & sum(1 << "xyab".index(v) for v in names) == 0) for t in range(16)]
            for names in (SETS[k] for k in (*range(15), *_JOINT, *_SOURCE, *_TARGET))
        ]
        for s in range(16)
    ]
).reshape(16, -1)


# ---- From series to variables --------------------------------------------------------------------


def variables(xp: Any, series: Array, tau: int) -> Variables:
    """Past and future of every node, every trial fitted to itself.

    Args:
        xp: numpy, torch or cupy.
        series: (trials, time, nodes) float64, finite.
        tau: lag in samples.
    """
    segments = _segments(xp, series, tau)
    return Variables(segments, segments)


def fitted_to(xp: Any, series: Variables, fit: Variables) -> Variables:
    """The same with distributions fitted to the samples of all trials of `fit` together.

    Args:
        xp: numpy, torch or cupy.
        series: from `variables`.
        fit: from `variables` of another series, with the same nodes, at a lag of its own.

    Returns:
        One group, whose points are the samples of trial after trial.
    """
    return Variables(_pooled(xp, fit.fitted), _pooled(xp, series.evaluated))


def _segments(xp: Any, series: Array, tau: int) -> Array:
    """(trials, 2, nodes, samples): past and future, samples last and contiguous."""
    by_node = xp.swapaxes(series, 1, 2)
    return xp.stack([by_node[..., :-tau], by_node[..., tau:]], 1)


def _pooled(xp: Any, segments: Array) -> Array:
    _, sides, nodes, _ = segments.shape
    return xp.moveaxis(segments, 0, 2).reshape(1, sides, nodes, -1)


def constant_nodes(xp: Any, v: Variables) -> Array:
    """(groups, nodes) bool: the node does not vary in its past or in its future."""
    return (xp.amax(v.fitted, -1) == xp.amin(v.fitted, -1)).any(1)


def unit_vectors(xp: Any, v: Variables) -> Variables:
    """Centred and scaled to unit norm over what is fitted; constant nodes are zero there.

    Works on the last axis; any axes before it.
    """
    fitted = v.fitted
    low, high = xp.amin(fitted, -1)[..., None], xp.amax(fitted, -1)[..., None]
    # By a power of two, where the width would overflow.
    near_limit = xp.maximum(-low, high) > 2.0**1000
    if bool(near_limit.any()):
        shrink = xp.where(near_limit, xp.zeros_like(low) + 2.0**-100, 1.0)
        same = v.evaluated is fitted
        low, high, fitted = (part * shrink for part in (low, high, fitted))
        v = Variables(fitted, fitted if same else v.evaluated * shrink)
    width = high - low
    constant = width == 0
    width = width + constant
    # Between 0 and 1 no square overflows or vanishes, and no offset drowns the signal in rounding.
    scaled = (fitted - low) / width
    mean = scaled.sum(-1)[..., None] / fitted.shape[-1]
    unit = scaled - mean
    norm = xp.sqrt((unit * unit).sum(-1)[..., None] + constant)
    unit = unit / norm
    if v.evaluated is fitted:
        return Variables(unit, unit)
    return Variables(unit, ((v.evaluated - low) / width - mean) / norm)


def symbols(xp: Any, v: Variables) -> Variables:
    """Bits of past and future of a node in one number, so that a pair's state is i + 2 j.

    Returns:
        (groups, nodes, samples) and (groups, nodes, points) int64 in {0, 1, 4, 5}: the past above
        its mean counts 1, the future 4. Both means are those of what is fitted; what equals one
        exactly is not above it.
    """

    def states(values: Array) -> Array:
        above = above_mean(xp, v.fitted, values)
        return above[..., 0, :, :] * 1 + above[..., 1, :, :] * 4

    fitted = states(v.fitted)
    return Variables(fitted, fitted if v.evaluated is v.fitted else states(v.evaluated))


# ---- Entropies and informations ------------------------------------------------------------------


def gaussian(xp: Any, fitted: Array, evaluated: Array, redundancy: str) -> Local:
    """Local quantities, in nats, of jointly Gaussian variables of unit variance.

    Args:
        xp: numpy, torch or cupy.
        fitted: (pairs, 4, samples): x, y, a, b from `unit_vectors`.
        evaluated: (pairs, 4, points).
        redundancy: "MMI" or "CCS".

    Returns:
        NaN for pairs with a constant node and where the past determines the future; of nodes that
        coincide one is left out.
    """
    pairs = len(evaluated)
    half = 0.5 * (fitted.shape[-1] - 1)
    first = triangle(xp, xp.swapaxes(fitted, -1, -2))
    factors = triangle(xp, xp.swapaxes(first[..., _ORDERS], -3, -2))  # [pairs, 6, 4, 4]
    spread = xp.abs(factors[..., _DIAGONAL, _DIAGONAL])
    outcome, reduced = None, None
    # No conditional variance is below that of a variable given all others, the last of an order.
    if bool(spread.min() < 2 * VANISHED):
        outcome, reduced = _degenerate(xp, first)
        # These belong to sets that nothing stands for: any number will do, but none that overflows.
        unused = (spread < VANISHED) & (outcome > 0)[:, None, None]
        diagonal = factors[..., _DIAGONAL, _DIAGONAL]
        factors[..., _DIAGONAL, _DIAGONAL] = xp.where(unused, 1.0, diagonal)
        spread = xp.where(unused, 1.0, spread)
    logs = xp.log(spread).reshape(pairs, 24)
    # The inverse of a triangular matrix is found row by row: those of its beginnings are in it.
    whiten = (xp.linalg.inv(factors) * math.sqrt(half))[:, _EACH_ORDER, _PLACES]
    squares = xp.swapaxes(whiten, -1, -2).reshape(pairs, 24, 4) @ evaluated
    squares = squares * squares  # not in place: the gradient needs what is squared
    squares += (logs + 0.5 * math.log(2 * math.pi))[..., None]
    entropies = _constant(xp, _SUMS, squares) @ squares
    expected = logs @ _constant(xp, _SUMS, logs).T  # up to constants that cancel below
    if outcome is not None:
        rows = _rows(xp, entropies)
        entropies, expected = entropies[rows, reduced], expected[rows, reduced]
        unresolved = (outcome == int(Outcome.CONSTANT)) | (outcome == int(Outcome.DETERMINISTIC))
        entropies[unresolved] = math.nan
    differences = _constant(xp, _DIFFERENCES, entropies)
    informations, means = differences @ entropies, expected @ differences.T
    if redundancy == "CCS":
        informations = informations * _signed(xp, fitted)
        informations = informations * (xp.abs(informations) > local_resolution(fitted.shape[-1]))
    redundancies, atoms = _decompose(xp, informations, means, redundancy)
    return Local(entropies, informations, redundancies, atoms, outcome)


def discrete(xp: Any, fitted: Array, redundancy: str, *, blank: bool = True) -> Local:
    """Local quantities, in bits, of each of the 16 states of four bits.

    Args:
        xp: numpy, torch or cupy.
        fitted: (pairs, samples) int64 states, from `symbols`: x + 2 y + 4 a + 8 b.
        redundancy: "MMI" or "CCS".
        blank: write NaN for states that `fitted` does not hold: they have no finite surprisal, and
            no part in any mean. False, where the states of `fitted` alone are going to be looked
            up: what stands at others then means nothing.

    Returns:
        With the states as points, to be looked up. A constant node has no information.
    """
    pairs, samples = fitted.shape
    keys = fitted if pairs == 1 else fitted + 16 * _rows(xp, fitted)
    counts = xp.bincount(keys.reshape(-1), minlength=16 * pairs).reshape(pairs, 16)
    counts = in_float64(counts)
    agree = (counts @ _constant(xp, _AGREE_ON, counts)).reshape(pairs, -1, 16)
    agree = agree.clip(1.0)  # Where there are none, their number does not matter.
    entropies = -xp.log2(agree[:, :15] / samples)
    joint, source, target = agree[:, 15:24], agree[:, 24:33], agree[:, 33:]
    # The ratio of whole numbers is 1 exactly, and its logarithm 0, where bits are independent:
    # CCS must not take the rounding error of a difference of entropies for a sign.
    informations = xp.log2(joint * samples / (source * target))
    means = None  # CCS takes none
    if redundancy == "MMI":
        means = (informations @ counts[..., None])[..., 0] / samples
    if blank:
        unseen = (counts == 0)[:, None]
        entropies, informations = (
            xp.where(unseen, math.nan, part) for part in (entropies, informations)
        )
    redundancies, atoms = _decompose(xp, informations, means, redundancy)
    return Local(entropies, informations, redundancies, atoms, None)


def _signed(xp: Any, fitted: Array) -> Array | float:
    """(pairs, 9, 1): 0 for informations that are zero but for rounding, 1 for others."""
    products = fitted @ xp.swapaxes(fitted, -1, -2)
    if bool((xp.abs(products[:, :2, 2:]) > resolution(fitted.shape[-1])).all()):
        return 1.0  # None is zero where no correlation across time is.
    pairs = ((0, 1), (2, 3), (0, 2), (0, 3), (1, 2), (1, 3))
    c = Correlations(*(products[:, u, v] for u, v in pairs))
    signed = correlated(xp, c, fitted.shape[-1])
    return in_float64(xp.stack(list(signed), -1))[..., None]


def _degenerate(xp: Any, factor: Array) -> tuple[Array, Array]:
    """(pairs,) `Outcome` or 0, and (pairs, 15) the sets that stand for each set."""
    x, y, a, b = (factor[..., k] for k in range(4))
    constant = ((factor * factor).sum(-2) < 0.5).any(-1)  # columns are unit vectors or zero
    _, outcome, second, past, future = resolve(xp, x, y, a, b)
    outcome = xp.where(constant, int(Outcome.CONSTANT), outcome)
    return outcome, _constant(xp, _REDUCED, past)[past * 1 + future * 2 + second * 4]


# ---- Redundancies and atoms ----------------------------------------------------------------------


def _decompose(
    xp: Any, informations: Array, means: Array | None, redundancy: str
) -> tuple[Array, Array]:
    """Redundancies (pairs, 7, points) and atoms (pairs, 16, points), from the nine informations."""
    redundancies = (_mmi if redundancy == "MMI" else _ccs)(xp, informations, means)
    atoms = (
        _constant(xp, _FROM_REDUNDANCIES, informations) @ redundancies
        + _constant(xp, _FROM_INFORMATIONS, informations) @ informations
    )
    return redundancies, atoms


def _mmi(xp: Any, informations: Array, means: Array) -> Array:
    # Candidates before pairs: arrays are indexed fastest along their first axis.
    compared = means.T[_CANDIDATES] + _constant(xp, _PREFERENCE, means)[..., None]
    least = _constant(xp, _CANDIDATES, means)[_POINTS, compared.argmin(1).T]
    return informations[_rows(xp, means) if len(means) > 1 else 0, least]


def _ccs(xp: Any, informations: Array, _: Array) -> Array:
    # Signs agree where they add up to as many as there are, with the sign of what is in common.
    # Zero has none.
    signs = _constant(xp, _SIGNS, informations) @ xp.sign(informations)
    common = _constant(xp, _COMMON, informations) @ informations
    single = common * (signs[:, 1:] * xp.sign(common) == 3)
    double = (
        _constant(xp, _DOUBLE_OF_SINGLE, single) @ single
        + _constant(xp, _DOUBLE_OF_INFORMATIONS, single) @ informations
    )
    double = double * (signs[:, :1] * xp.sign(double) == 4)
    return xp.concatenate([double, single], 1)


def _rows(xp: Any, like: Array) -> Array:
    return _constant(xp, np.arange(len(like))[:, None], like)


def _constant(xp: Any, table: npt.NDArray[Any], like: Array) -> Array:
    if xp is np:  # Before anything is looked up: NumPy is slow to say that it lacks a name.
        return table
    if hasattr(xp, "as_tensor"):
        return xp.as_tensor(table, device=like.device)
    return xp.asarray(table)
