"""The one truth: ΦID of one pair of series, from the definitions.

Written to be read beside the papers (Mediano, Rosas, Luppi et al., PNAS 2025, arXiv:2109.13186, for
the lattice and MMI redundancy; Ince, Entropy 19, 318, 2017, for the common change in surprisal,
CCS), in NumPy and float64, one pair at a time. It shares no arithmetic with any backend: entropies
are log-determinants, or minus logarithms of a density or probability, and the atoms solve the
lattice's equations. Gaussian quantities are in nats, discrete ones in bits. A Gaussian node may be
several columns: the definitions are of sets of variables.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

import synkern._checks as check
from synkern.decomposition.options import KINDS, REDUNDANCIES
from synkern.kernels import ATOMS, uncorrelated, zeta_matrix

Series = npt.NDArray[np.float64] | Sequence[float]
Values = npt.NDArray[np.float64]  # (samples,), a value for each pair of times t, t + tau
Variables = Mapping[str, Values]  # x, y of the past and a, b of the future, (samples, columns)

# The points of the redundancy lattice as sets of sources (past) and of targets (future).
_PAST = {"r": ("x", "y"), "x": ("x",), "y": ("y",), "s": ("xy",)}
_FUTURE = {"r": ("a", "b"), "x": ("a",), "y": ("b",), "s": ("ab",)}

_DIGITS = 12
"""Decimals of an information that are not rounding. Where the exact value is zero, or two are
equal, as counts of bits often make them, a sign or a least value must not hang on the others."""


def phiid_pair(
    x: Series, y: Series, tau: int, kind: str = "gaussian", redundancy: str = "MMI"
) -> dict[str, float]:
    """All 16 atoms of a pair, averaged over time.

    Args:
        x: first node, (time,), or (time, columns) if Gaussian.
        y: second node, likewise.
        tau: lag in samples.
        kind: "gaussian" or "discrete": every variable one bit, above its mean or not.
        redundancy: "MMI" or "CCS".

    Returns:
        By atom name, in nats if Gaussian, in bits if discrete.

    Raises:
        ValueError: unknown kind or redundancy.
        numpy.linalg.LinAlgError: some of the Gaussian variables determine another one: the
            definitions give no number. What a backend makes of this is in
            `formulas.rescue.Outcome`.
    """
    if (kind, redundancy) != ("gaussian", "MMI"):
        local = local_pair(x, y, tau, kind, redundancy)
        return {atom: float(values.mean()) for atom, values in local.items()}
    # The averages need no average: entropies of Gaussian variables are log-determinants.
    variables = _variables(x, y, tau)
    correlation = _correlation(variables)

    def entropy(names: str) -> float:
        """Entropy up to a constant that cancels in every information."""
        return 0.5 * _log_determinant(correlation, _index(variables, names), names)

    def information(source: str, target: str) -> float:
        return entropy(source) + entropy(target) - entropy(source + target)

    cumulative = [
        min(information(*pair) for pair in itertools.product(_PAST[atom[0]], _FUTURE[atom[2]]))
        for atom in ATOMS
    ]
    # Each cumulative quantity is the sum of the atoms at or below it.
    atoms = np.linalg.solve(zeta_matrix(), cumulative)
    return dict(zip(ATOMS, atoms.tolist(), strict=True))


def local_pair(
    x: Series, y: Series, tau: int, kind: str = "gaussian", redundancy: str = "MMI"
) -> dict[str, Values]:
    """All 16 atoms of a pair at every sample; arguments and errors as for `phiid_pair`.

    Returns:
        By atom name, float64 (time - tau,), in nats if Gaussian, in bits if discrete.
    """
    check.choice("kind", kind, KINDS)
    check.choice("redundancy", redundancy, REDUNDANCIES)
    variables = _variables(x, y, tau)
    if kind == "discrete" and any(values.shape[-1] > 1 for values in variables.values()):
        raise ValueError("kind is 'discrete', whose nodes are one bit each; give one column each")
    surprisal = _gaussian(variables) if kind == "gaussian" else _discrete(variables)
    correlation = _correlation(variables) if kind == "gaussian" else None

    def information(source: str, target: str) -> Values:
        found = surprisal(source) + surprisal(target) - surprisal(source + target)
        if correlation is not None:
            # Uncorrelated, Gaussian variables are independent: no sample of one tells of the other.
            between = correlation[np.ix_(_index(variables, source), _index(variables, target))]
            found *= np.abs(between).max() > uncorrelated.resolution(len(found))
            found *= np.abs(found) > uncorrelated.local_resolution(len(found))
        return found

    cumulative = (_mmi if redundancy == "MMI" else _ccs)(information)
    atoms = np.linalg.solve(zeta_matrix(), np.stack([cumulative[atom] for atom in ATOMS]))
    return dict(zip(ATOMS, atoms, strict=True))


def _variables(x: Series, y: Series, tau: int) -> Variables:
    x, y = (np.asarray(v, np.float64).reshape(len(v), -1) for v in (x, y))
    return {"x": x[:-tau], "y": y[:-tau], "a": x[tau:], "b": y[tau:]}


# ---- Entropies -----------------------------------------------------------------------------------


def _gaussian(variables: Variables) -> Callable[[str], Values]:
    """Minus the logarithm of the fitted density of some variables, each of unit variance."""
    correlation = _correlation(variables)
    values = np.concatenate(list(variables.values()), -1)
    standard = (values - values.mean(0)) / values.std(0, ddof=1)

    def surprisal(names: str) -> Values:
        index = _index(variables, names)
        log_determinant = _log_determinant(correlation, index, names)
        points = standard[:, index].T
        distance = (points * np.linalg.solve(correlation[np.ix_(index, index)], points)).sum(0)
        return np.asarray(0.5 * (len(index) * np.log(2 * np.pi) + log_determinant + distance))

    return surprisal


def _discrete(variables: Variables) -> Callable[[str], Values]:
    """Minus the logarithm to base 2 of the share of samples in the same state."""
    bits = {name: _above_mean(values.ravel()) for name, values in variables.items()}

    def surprisal(names: str) -> Values:
        states = np.sum([bits[name].astype(np.int64) << k for k, name in enumerate(names)], 0)
        share = np.bincount(states) / len(states)
        return np.asarray(-np.log2(share[states]))

    return surprisal


def _above_mean(values: Values) -> npt.NDArray[np.bool_]:
    """Whether n x exceeds the sum, in whole numbers of the finest unit that the values need."""
    ratios = [value.as_integer_ratio() for value in values.tolist()]
    unit = max(denominator for _, denominator in ratios)  # All of them are powers of two.
    whole = [numerator * (unit // denominator) for numerator, denominator in ratios]
    total = sum(whole)
    return np.array([len(whole) * number > total for number in whole])


def _correlation(variables: Variables) -> Values:
    """Correlation standardises each variable on its own, past and future apart."""
    if any((np.ptp(values, 0) == 0).any() for values in variables.values()):
        raise np.linalg.LinAlgError("a series is constant, and its correlations are undefined")
    return np.asarray(np.corrcoef(np.concatenate(list(variables.values()), -1).T))


def _log_determinant(correlation: Values, index: Sequence[int], names: str) -> float:
    sign, log_determinant = np.linalg.slogdet(correlation[np.ix_(index, index)])
    if not sign > 0:
        raise np.linalg.LinAlgError(f"the correlation matrix of {names} is singular")
    return float(log_determinant)


def _index(variables: Variables, names: str) -> list[int]:
    """Where the columns of some variables are, when those of all stand in a row."""
    widths = [values.shape[-1] for values in variables.values()]
    ends = dict(zip(variables, itertools.accumulate(widths), strict=True))
    return [k for n in names for k in range(ends[n] - variables[n].shape[-1], ends[n])]


# ---- Cumulative quantities -----------------------------------------------------------------------


def _mmi(information: Callable[[str, str], Values]) -> dict[str, Values]:
    """Local information of the source whose mean is least among those compared.

    Of equal means phyid takes the last of two, and the first of four.
    """
    cumulative = {}
    for atom in ATOMS:
        compared = [
            information(*pair) for pair in itertools.product(_PAST[atom[0]], _FUTURE[atom[2]])
        ]
        ordered = compared if len(compared) == 4 else compared[::-1]
        cumulative[atom] = min(ordered, key=lambda values: round(float(values.mean()), _DIGITS))
    return cumulative


def _ccs(information: Callable[[str, str], Values]) -> dict[str, Values]:
    """Co-informations, where they and all the informations in them have one sign."""
    cumulative = {}
    for atom in ATOMS:
        sources, targets = _PAST[atom[0]], _FUTURE[atom[2]]
        parts = [information(*pair) for pair in itertools.product(sources, targets)]
        if len(parts) == 2:
            both = information("".join(sources), "".join(targets))
            common = parts[0] + parts[1] - both
            cumulative[atom] = common * _one_sign(*parts, both, common)
        elif len(parts) == 1:
            cumulative[atom] = parts[0]
    # The double co-information is the double redundancy of a pair without any sts: the sum of all
    # other atoms is then everything, and the lattice's equations without sts give rtr.
    equations = np.linalg.inv(zeta_matrix())[ATOMS.index("sts")]
    common = -sum(
        weight * cumulative[atom]
        for atom, weight in zip(ATOMS, equations, strict=True)
        if atom != "rtr"
    )
    singles = [information(*pair) for pair in itertools.product("xy", "ab")]
    cumulative["rtr"] = common * _one_sign(*singles, common)
    return cumulative


def _one_sign(*terms: Values) -> npt.NDArray[np.bool_]:
    signs = np.sign(np.round(terms, _DIGITS))
    return np.asarray((signs == signs[0]).all(0))
