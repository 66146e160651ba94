"""`phiid`: all pairs of all trials, on the backend of choice."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import synkern._checks as check
from synkern._arrays import incoming, to_numpy
from synkern.backends import select
from synkern.kernels.estimators import ESTIMATORS
from synkern.result import PhiIDResult


def phiid(
    series: Any,
    *,
    tau: int = 1,
    kind: Literal["gaussian", "discrete"] = "gaussian",
    redundancy: Literal["MMI", "CCS"] = "MMI",
    atoms: str | Sequence[str] = ("rtr", "sts"),
    average: Literal["trials", "moments", "concatenate"] | None = "trials",
    unit: Literal["nats", "bits"] | None = None,
    backend: str = "auto",
    dtype: Literal["float64", "float32"] = "float64",
) -> PhiIDResult:
    """Integrated information decomposition of every pair of nodes.

    For nodes i and j, entry [i, j] of an atom decomposes the information that the past of both
    carries about their future, `tau` samples later; i is the atoms' x, j their y. Past and future
    are centred and scaled each on its own. Formulas: Mediano, Rosas, Luppi et al., PNAS 2025
    (arXiv:2109.13186).

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite: NumPy, torch (any device;
            gradients flow, but none from degenerate pairs), CuPy or JAX through DLPack (JAX keeps
            float64 only with jax_enable_x64), or nested lists.
        tau: lag in samples.
        kind: "gaussian": informations of jointly Gaussian variables. "discrete": every node is one
            bit, above its mean or not.
        redundancy: "MMI": minimum mutual information (Barrett, Phys. Rev. E 91, 052802, 2015).
            "CCS": common change in surprisal (Ince, Entropy 19, 318, 2017).
        atoms: names of atoms (`synkern.ATOMS`), source then target, or "all". `rtr` is the
            redundancy and `sts` the synergy that persist.
        average: "trials": mean over the trials in which the pair has a value. "moments":
            covariances (counts, where discrete) about each trial's own mean are pooled, then
            decomposed once.
            "concatenate": the trials are one long series, without the lags across their seams.
            None: every trial on its own.
        unit: "nats" or "bits"; by default nats where Gaussian and bits where discrete, as in phyid.
        backend: "auto", or a name that `synkern backends` lists.
        dtype: of arithmetic and output. "float64": error at most 1e-9 nats for ordinary pairs.
            "float32": 1e-5, with pairs that would miss it, as those of persistent nodes do,
            computed in float64: it saves memory, and time only where most pairs are benign.
            Discrete atoms are computed in float64 and rounded on output.

    Returns:
        `PhiIDResult`: by atom name (nodes, nodes), or (trials, nodes, nodes) with average=None; the
        same kind of array on the same device as `series`. The diagonal is NaN, and so
        are pairs without a value: a constant node, or a future fixed by the past (infinite
        information). Nodes that coincide have sts = 0 and rtr = what they share. All these are
        counted in `result.degenerate` and listed in `result.constant` and `result.flagged`.

    Raises:
        ValueError: bad shape, NaN in the series, tau too long, unknown option or backend.
        TypeError: series does not hold real numbers.

    Warns:
        UserWarning: fewer than 30 samples; degenerate pairs.
    """
    check.choice("kind", kind, ("gaussian", "discrete"))
    check.choice("redundancy", redundancy, ("MMI", "CCS"))
    check.choice("average", average, ("trials", "moments", "concatenate", None))
    check.choice("unit", unit, ("nats", "bits", None))
    check.choice("dtype", dtype, ("float64", "float32"))
    names = check.atom_names(atoms)
    tau = check.lag(tau)
    chosen = select(backend, series)
    array, restore = incoming(series, chosen.arrays, argument="series")
    array = check.series(sys.modules[chosen.arrays], array, tau)

    estimator = ESTIMATORS[kind, redundancy]
    pairs = chosen.run(
        array,
        estimator=estimator,
        tau=tau,
        pooled=average if average in ("moments", "concatenate") else None,
        names=names,
        per_trial=average is None,
        dtype=dtype,
    )
    unit = unit or estimator.unit
    if unit != estimator.unit:
        factor = math.log(2) if unit == "nats" else 1 / math.log(2)
        for value in pairs.atoms.values():
            value[...] = value * factor
    result = PhiIDResult(
        arrays={name: restore(value) for name, value in pairs.atoms.items()},
        tau=tau,
        kind=kind,
        redundancy=redundancy,
        average=average,
        unit=unit,
        dtype=dtype,
        backend=chosen.name,
        shape=tuple(array.shape),
        constant=to_numpy(pairs.constant),
        flagged=to_numpy(pairs.flagged),
        rescued=pairs.rescued,
    )
    degenerate = {outcome: n for outcome, n in result.degenerate.items() if n}
    if degenerate:
        of = len(result.constant) * result.pairs
        counts = ", ".join(f"{n} {outcome}" for outcome, n in degenerate.items())
        warnings.warn(
            f"{sum(degenerate.values())} of {of} (trial, pair) are "
            f"degenerate: {counts}; see result.constant (nodes) and result.flagged (other pairs)",
            UserWarning,
            stacklevel=2,
        )
    return result
