"""Truth for the ill-conditioned: the definitions in exact sums and 80 decimal digits."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np

from synkern.kernels.lattice import ATOMS, zeta_matrix

DIGITS = 80
NOTHING = mpmath.mpf("1e-50")
"""Variance of a unit vector that is left over by rounding alone. Of float64 series that are not
exactly dependent far more is left, about 1e-32. So is it with informations that are not zero."""

_BITS = 320  # of fixed-point numbers: Python's integers are ten times faster than mpmath's floats
_PAIRS = tuple(itertools.combinations_with_replacement(range(4), 2))
_PAST = {"r": ("x", "y"), "x": ("x",), "y": ("y",), "s": ("xy",)}
_FUTURE = {"r": ("a", "b"), "x": ("a",), "y": ("b",), "s": ("ab",)}


class SingularError(ArithmeticError):
    """A series is constant, or the past fixes the future exactly: the atoms have no value."""


def exact_atoms(
    x: np.ndarray, y: np.ndarray, tau: int, redundancy: str = "MMI"
) -> dict[str, float]:
    """The 16 atoms, in nats, of the float64 series taken as exact numbers.

    Of nodes that coincide exactly, in the past or in the future, one is left out, as documented.

    Raises:
        SingularError: there is no finite value.
    """
    with mpmath.workdps(DIGITS):
        information = _Informations([_centred(v) for v in _parts(x, y, tau)])
        cumulative = {"MMI": _mmi, "CCS": _ccs}[redundancy](information)
        inverse = np.rint(np.linalg.inv(zeta_matrix())).astype(int).tolist()
        by_row = [cumulative[atom] for atom in ATOMS]
        return {
            atom: float(mpmath.fdot(row, by_row)) for atom, row in zip(ATOMS, inverse, strict=True)
        }


def least_gaps(x: np.ndarray, y: np.ndarray, tau: int) -> tuple[float, float]:
    """How near a pair is to singular, as two numbers from 0, singular, to 1.

    Returns:
        The least 1 - |r| of the six correlations of x, y, a, b, and the least 1 - R, with R the
        multiple correlation of one of them with the three others. As R >= |r|, it is not larger;
        it is far smaller where only three or four of them together are dependent.
    """
    with mpmath.workdps(DIGITS):
        try:
            information = _Informations([_centred(v) for v in _parts(x, y, tau)])
        except SingularError:
            return 0.0, 0.0
        r = information.correlation
        pairwise = min(1 - abs(r[i, j]) for i, j in itertools.combinations(range(4), 2))
        if min(information._variances("xyab")) < NOTHING:
            return float(pairwise), 0.0
        inverse = r**-1
        variance = min(1 / inverse[k, k] for k in range(4))
        return float(pairwise), float(1 - mpmath.sqrt(1 - variance))


def promise(pairwise: float, multiple: float, dtype: str) -> float:
    """Largest error, in nats, that `phiid` promises at these `least_gaps`.

    Where 1 - R < 5e-9 nothing better than 1e-5 is promised, even if no two variables are near to
    each other: such pairs are recomputed from the data, to their rounding over what is left.
    """
    if dtype == "float32" or multiple < 5e-9:
        return 1e-5
    return 1e-9 if pairwise >= 1e-3 else 1e-6


def _parts(x: np.ndarray, y: np.ndarray, tau: int) -> tuple[np.ndarray, ...]:
    return x[:-tau], y[:-tau], x[tau:], y[tau:]


def _centred(values: np.ndarray) -> np.ndarray:
    """Integers in proportion to the centred values, exactly."""
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    shift = exponent.astype(object) - int(exponent[mantissa != 0].min(initial=0))
    whole = np.ldexp(mantissa, 53).astype(np.int64).astype(object)
    whole = np.where(mantissa == 0, 0, whole) << np.maximum(shift, 0)
    return len(whole) * whole - whole.sum()


class _Informations:
    """Informations of Gaussian variables x, y, a, b, from `_centred` values of each."""

    def __init__(self, centred: list[np.ndarray]) -> None:
        square = [int(v @ v) for v in centred]
        if not all(square):
            raise SingularError("a series is constant")
        self.correlation = mpmath.matrix(4)
        for i, j in itertools.product(range(4), repeat=2):
            norms = mpmath.sqrt(mpmath.mpf(square[i]) * square[j])
            self.correlation[i, j] = int(centred[i] @ centred[j]) / norms
        self.centred, self.square, self.samples = centred, square, len(centred[0])
        duplicates = [names for names in ("xy", "ab") if self._variances(names)[1] < NOTHING]
        self.same = str.maketrans({names[1]: names[0] for names in duplicates})
        if min(self._variances(self._reduced("xyab"))) < NOTHING:
            raise SingularError("the past fixes the future")

    def mean(self, source: str, target: str) -> mpmath.mpf:
        return self._entropy(source) + self._entropy(target) - self._entropy(source + target)

    def products(self) -> list[np.ndarray]:
        """(samples,) products of unit vectors by `_PAIRS`, in fixed point."""
        unit = [
            (v << 2 * _BITS) // math.isqrt(norm << 2 * _BITS)
            for v, norm in zip(self.centred, self.square, strict=True)
        ]
        return [unit[i] * unit[j] >> _BITS for i, j in _PAIRS]

    def local(self, source: str, target: str, products: list[np.ndarray]) -> np.ndarray:
        """(samples,) in fixed point: i(u; v) = I(u; v) + (n - 1)/2 [d(u) + d(v) - d(uv)].

        d is the squared distance v' R^-1 v of unit vectors with correlations R.
        """
        form = self._distance(source) + self._distance(target) - self._distance(source + target)
        values = np.full(self.samples, _fixed(self.mean(source, target)), object)
        for (i, j), product in zip(_PAIRS, products, strict=True):
            weight = form[i, j] * (self.samples - 1) / (2 if i == j else 1)
            values += _fixed(weight) * product >> _BITS
        return values

    def _reduced(self, names: str) -> str:
        return "".join(dict.fromkeys(names.translate(self.same)))

    def _entropy(self, names: str) -> mpmath.mpf:
        return mpmath.fsum(mpmath.log(d) for d in self._variances(self._reduced(names))) / 2

    def _variances(self, names: str) -> list[mpmath.mpf]:
        """Variances of each variable given those before it."""
        c = self._part(names)
        for k, i in itertools.combinations(range(len(names)), 2):
            if c[k, k] > NOTHING:
                factor = c[i, k] / c[k, k]
                for j in range(k, len(names)):
                    c[i, j] -= factor * c[k, j]
        return [c[k, k] for k in range(len(names))]

    def _distance(self, names: str) -> mpmath.matrix:
        """(4, 4) inverse of the correlations of some variables, zero elsewhere."""
        names = self._reduced(names)
        inverse, form = self._part(names) ** -1, mpmath.matrix(4)
        for (i, u), (j, v) in itertools.product(enumerate(names), repeat=2):
            form["xyab".index(u), "xyab".index(v)] = inverse[i, j]
        return form

    def _part(self, names: str) -> mpmath.matrix:
        index = ["xyab".index(name) for name in names]
        return mpmath.matrix([[self.correlation[i, j] for j in index] for i in index])


def _mmi(information: _Informations) -> dict[str, mpmath.mpf]:
    return {
        atom: min(
            information.mean(*pair) for pair in itertools.product(_PAST[atom[0]], _FUTURE[atom[2]])
        )
        for atom in ATOMS
    }


def _ccs(information: _Informations) -> dict[str, mpmath.mpf]:
    """Means of co-informations where these and the informations in them have one sign."""
    local, products = {}, information.products()
    for atom in ATOMS[1:]:
        sources, targets = _PAST[atom[0]], _FUTURE[atom[2]]
        pairs = list(itertools.product(sources, targets))
        if len(pairs) == 2:
            pairs.append(("".join(sources), "".join(targets)))
        parts = [information.local(*pair, products) for pair in pairs]
        local[atom] = parts[0]
        if len(parts) == 3:
            local[atom] = _common(parts, parts[0] + parts[1] - parts[2])
    double = (
        (local["xts"] + local["yts"] + local["stx"] + local["sty"] - local["sts"])
        - (local["xtx"] + local["xty"] + local["ytx"] + local["yty"])
        + (local["rtx"] + local["rty"] - local["rts"])
        + (local["xtr"] + local["ytr"] - local["str"])
    )
    local["rtr"] = _common([local[atom] for atom in ("xtx", "xty", "ytx", "yty")], double)
    scale = mpmath.mpf(2) ** _BITS * information.samples
    return {atom: int(values.sum()) / scale for atom, values in local.items()}


def _common(parts: list[np.ndarray], change: np.ndarray) -> np.ndarray:
    every, zero = np.array([*parts, change]), _fixed(NOTHING)
    return np.where((every > zero).all(0) | (every < -zero).all(0), change, 0)


def _fixed(value: mpmath.mpf) -> int:
    return int(mpmath.ldexp(value, _BITS))
