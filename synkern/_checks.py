"""Checks of what a caller passes; every message names the argument, the value and the remedy."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from synkern.kernels.lattice import ATOMS

MIN_SAMPLES = 5
"""With fewer (past, future) pairs of samples the 4 x 4 covariance cannot have full rank."""

FEW_SAMPLES = 30
"""Below this the estimate is dominated by its bias."""


def choice(argument: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raise ValueError unless value is one of those allowed."""
    if not any(value is option or value == option for option in allowed):
        options = ", ".join(repr(option) for option in allowed)
        raise ValueError(f"{argument} must be one of {options}; got {value!r}")


def atom_names(atoms: str | Sequence[str]) -> tuple[str, ...]:
    """Names asked for, in the order asked for; "all" stands for the 16."""
    if isinstance(atoms, str):
        names = ATOMS if atoms == "all" else (atoms,)
    else:
        names = tuple(dict.fromkeys(atoms if isinstance(atoms, Iterable) else [atoms]))
    unknown = [name for name in names if name not in ATOMS]
    if unknown or not names:
        raise ValueError(
            f"atoms must be 'all' or names from {' '.join(ATOMS)}; got {atoms!r}"
            + (f", where {unknown[0]!r} is unknown" if unknown else "")
        )
    return names


def lag(tau: Any) -> int:
    """Return tau as an int."""
    if not isinstance(tau, numbers.Integral) or isinstance(tau, bool) or tau < 1:
        raise ValueError(f"tau must be a positive whole number of samples; got {tau!r}")
    return int(tau)


def samples(time: int, tau: int, *, hint: str = "") -> None:
    """Raise ValueError on fewer than `MIN_SAMPLES`, warn on fewer than `FEW_SAMPLES`."""
    count = time - tau
    said = f"series has {time} time points and tau = {tau}, which leaves {max(count, 0)} samples"
    if count < MIN_SAMPLES:
        raise ValueError(
            f"{said}; at least {MIN_SAMPLES} are needed: record longer or lower tau{hint}"
        )
    if count < FEW_SAMPLES:
        warnings.warn(
            f"{said}; below {FEW_SAMPLES} the bias of the estimate is large{hint}",
            UserWarning,
            stacklevel=4,
        )


def series(xp: Any, array: Any, tau: int) -> Any:
    """Check shape, length and finiteness of a series; (time, nodes) becomes one trial.

    Args:
        xp: numpy or torch, the library of `array`.
        array: (trials, time, nodes) or (time, nodes).
        tau: lag in samples.

    Returns:
        (trials, time, nodes).
    """
    shape = tuple(array.shape)
    if array.ndim not in (2, 3):
        raise ValueError(
            f"series must be (trials, time, nodes) or (time, nodes); got shape {shape}"
            + (": two nodes are two columns of one array" if array.ndim == 1 else "")
        )
    if array.ndim == 2:
        array = array[None]
    trials, time, nodes = array.shape
    hint = ""
    if time < nodes:
        hint = (
            f"; shape {shape} has more nodes than time points: is it transposed? Time comes first"
        )
    if trials < 1 or nodes < 2:
        raise ValueError(
            f"series must hold at least 1 trial and 2 nodes; got shape {shape}, "
            f"that is {trials} trials and {nodes} nodes (trials, time, nodes)"
        )
    samples(time, tau, hint=hint)
    finite = xp.isfinite(array)
    if not bool(finite.all()):
        bad = xp.stack(xp.where(~finite), -1)
        trial, step, node = (int(k) for k in bad[0])
        raise ValueError(
            f"series has {len(bad)} values that are NaN or infinite, the first at trial {trial}, "
            f"time {step}, node {node}: {float(array[trial, step, node])}; remove or fill them"
        )
    return array
