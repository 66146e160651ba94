"""`calc_PhiID`: the call and the return of phyid, one pair at a time, pointwise in time.

For all pairs of many nodes use `synkern.phiid`, whose averages are the means of these, and for the
atoms of many pairs at every sample `synkern.phiid_local`.
"""

from __future__ import annotations

from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

import synkern._checks as check
from synkern._arrays import incoming, spacing
from synkern._warnings import warn
from synkern.decomposition import states
from synkern.decomposition.backends import select
from synkern.decomposition.options import KINDS, REDUNDANCIES
from synkern.kernels import (
    ATOMS,
    Key,
    Outcome,
    Wanted,
    above_mean,
    compiled_samples,
    pointwise,
)

Values = npt.NDArray[np.float64]  # (samples,), a value for each pair of times t, t + tau

# All rows of a result (the first of a name is meant), and phyid's keys in its order with theirs.
_ROWS = (*pointwise.SETS, *pointwise.INFORMATIONS, *pointwise.REDUNDANCIES, *ATOMS)
_RTR = _ROWS.index("rtr")
_FIRST_ATOM = len(_ROWS) - len(ATOMS)

_VARIABLES = {"x": "p1", "y": "p2", "a": "t1", "b": "t2"}
_ENTROPIES = tuple("h_" + "".join(_VARIABLES[name] for name in names) for names in pointwise.SETS)

_INFORMED = ("xy_ab", "x_a", "x_b", "y_a", "y_b", "xy_a", "xy_b", "x_ab", "y_ab")
_INFORMATIONS = tuple(f"I_{name.replace('_', 't')}" for name in _INFORMED)
_informations_of = itemgetter(*map(_ROWS.index, _INFORMED))

_REDUNDANCIES = ("R_xyta", "R_xytb", "R_xytab", "R_abtx", "R_abty", "R_abtxy")
_redundancies_of = itemgetter(*map(_ROWS.index, ("rtx", "rty", "rts", "xtr", "ytr", "str")))

_STATE = np.array([1, 2, 4, 8])


def calc_PhiID(  # noqa: N802 (phyid's name)
    src: npt.ArrayLike,
    trg: npt.ArrayLike,
    tau: int,
    kind: str = "gaussian",
    redundancy: str = "MMI",
) -> tuple[dict[str, Values], dict[str, Any]]:
    """Pointwise ΦID of two series, by the call and with the return of `phyid.calculate`.

    Where the compiled library of backend `cpu` is there, as after a first `phiid` of the same user,
    it takes a fifth to a tenth of the time that NumPy needs. A call does not wait for it to be
    built, but 30,000 calls are a reason to build it. Both ways agree to rounding.

    A local information is the log-ratio of fitted densities or probabilities at one sample; its
    mean over samples is the information itself.

    Args:
        src: first series, (time,) or one column (time, 1), real and finite: any kind of array, a
            pandas Series or a frame of one column.
        trg: second series, as long.
        tau: lag in samples.
        kind: "gaussian": informations of jointly Gaussian variables, in nats. "discrete": of bits,
            each variable above its mean or not, in bits. A sample equal to the mean is not above
            it, which is decided exactly; phyid lets rounding decide, and may differ there.
        redundancy: "MMI": pointwise, the local information of the source whose mean is least.
            "CCS": common change in surprisal, the co-information where all terms have one sign.
            A term that is zero, as many are in whole numbers, has none; phyid takes the sign of
            its rounding error, and its atoms of such series differ by up to some tenths of a nat.

    Returns:
        `atoms_res`: by atom name, float64 (time - tau,). `calc_res`: `h_res`, the 15 local
        entropies, Gaussian ones of the variables scaled to unit variance; `I_res`, the nine local
        informations; `R_res`, the six redundancies; `rtr`, the double redundancy.

        Where Gaussian phyid raises or returns NaN by underflow: series that coincide give synergy
        0, as one of them is dropped; a constant series (up to the rounding of its values, as in
        `phiid`), and a future that the past determines, give NaN everywhere. All three warn.
        Discrete atoms always have a value, as in phyid; those of a constant series are 0.

    Raises:
        ValueError: series of different length, not finite, too short for tau, of several columns;
            a tensor that requires a gradient; unknown options.
        TypeError: series that do not hold real numbers (text, complex, masked).

    Warns:
        UserWarning: fewer than 30 samples; a degenerate pair; if discrete, series of more than two
            states, as in `synkern.phiid`.
    """
    check.choice("kind", kind, KINDS)
    check.choice("redundancy", redundancy, REDUNDANCIES)
    tau = check.lag(tau)
    key = kind, redundancy
    compiled = _compiled.is_there()
    glance = _at_a_glance(src, trg, tau, key) if compiled else None
    each = list(_looked_at(src, trg, tau, key, compiled) if glance is None else glance)
    return dict(zip(ATOMS, each[_FIRST_ATOM:], strict=True)), {
        "h_res": dict(zip(_ENTROPIES, each, strict=False)),
        "I_res": dict(zip(_INFORMATIONS, _informations_of(each), strict=True)),
        "R_res": dict(zip(_REDUNDANCIES, _redundancies_of(each), strict=True)),
        "rtr": each[_RTR],
    }


class _Compiled:
    """Whether the compiled kernel is there for single pairs.

    A call is no reason to wait seconds for a compiler: the library is taken where something else
    had it built. But some thousands of calls are, and then it is built as `phiid` has it built.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._there = False

    def is_there(self) -> bool:
        """Count a call, and say whether it can have the kernel."""
        if self._there:
            return True
        # Only the first looks for what another process built.
        if self._calls == 0 or compiled_samples.is_loaded():
            self._there = compiled_samples.is_there()
        elif self._calls == PATIENCE:
            select("auto", np.zeros(1), Wanted(pointwise=True))
        self._calls += 1
        return self._there


PATIENCE = 30_000
"""Single pairs that take NumPy about as long as the library takes to be built: 3 to 4 s."""

_compiled = _Compiled()


def _at_a_glance(src: Any, trg: Any, tau: int, key: Key) -> Values | None:
    """Rows of two arrays of which nothing is to be said; None of others."""
    for series in (src, trg):
        if type(series) is not np.ndarray or series.dtype != np.float64 or series.ndim != 1:
            return None
    if len(src) != len(trg) or len(src) - tau < check.FEW_SAMPLES:
        return None
    return compiled_samples.of_pair(src, trg, tau, key, spacing(src))


def _looked_at(src: Any, trg: Any, tau: int, key: Key, compiled: bool) -> Values | list[Values]:
    """Rows of any series, checked."""
    first, second = _column(src, "src"), _column(trg, "trg")
    if first.shape != second.shape:
        raise ValueError(
            "src and trg must be two series of one length; got shapes "
            f"{first.shape} and {second.shape}"
        )
    both = np.array((first, second))
    check.series(np, both.T, tau)
    steady = check.steady_nodes(np, both.T[None], [tau], None, max(spacing(src), spacing(trg)))
    both = steady(tau)[0].T

    if key[0] == "discrete":
        states.warn_of_many(both.T[None])
    if compiled:
        rows = compiled_samples.of_pair(both[0], both[1], tau, key, None)
        if rows is not None:
            return rows
    variables = np.concatenate((both[:, :-tau], both[:, tau:]))
    return (_gaussian if key[0] == "gaussian" else _discrete)(variables, key[1])


def _column(series: Any, argument: str) -> Values:
    """One series as float64 (time,)."""
    if type(series) is np.ndarray and series.dtype == np.float64 and series.ndim == 1:
        return series
    given = incoming(series, "numpy", argument=argument, offset_free=True).array
    taken: Values = np.asarray(given, np.float64)
    if taken.ndim == 2 and taken.shape[1] == 1:
        taken = taken[:, 0]
    if taken.ndim != 1:
        raise ValueError(
            f"{argument} must be one series, (time,) or (time, 1); got shape {taken.shape}: for "
            "several nodes use synkern.phiid"
        )
    return taken


def _gaussian(variables: Values, redundancy: str) -> list[Values]:
    """`_ROWS` of one pair from x, y, a, b: (4, samples)."""
    unit = pointwise.unit_vectors(np, pointwise.Variables(variables[None], variables[None]))
    found = pointwise.gaussian(np, unit.fitted, unit.fitted, redundancy)
    if found.outcome is not None and found.outcome[0]:
        warn(f"the pair is degenerate: {Outcome(found.outcome[0]).name.lower()}")
    return list(chain(*(part[0] for part in found[:4])))


def _discrete(variables: Values, redundancy: str) -> list[Values]:
    """`_ROWS` of one pair, looked up by the state of each sample."""
    states = _STATE @ above_mean(np, variables)
    found = pointwise.discrete(np, states[None], redundancy, blank=False)
    table = np.concatenate(found[:4], 1)[0]
    return list(table.take(states, 1))
