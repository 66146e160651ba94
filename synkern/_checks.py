"""Checks of what a caller passes; every message names the argument, the value and the remedy."""

from __future__ import annotations

import numbers
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern._arrays import to_numpy
from synkern._warnings import warn
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
    """Return tau, a whole number of any library, as an int."""
    number = to_numpy(tau)[()] if getattr(tau, "ndim", None) == 0 else tau
    if not isinstance(number, numbers.Integral) or isinstance(number, bool) or number < 1:
        raise ValueError(f"tau must be a positive whole number of samples; got {tau!r}")
    return int(number)


def several(tau: Any) -> bool:
    """Whether tau is not one lag but a sequence of them; an array without axes is one."""
    return isinstance(tau, Iterable) and getattr(tau, "ndim", 1) > 0 and not isinstance(tau, str)


def lags(tau: Any) -> tuple[int, ...]:
    """Return tau, a whole number or several different ones, as a tuple."""
    if not several(tau):
        return (lag(tau),)
    each = tuple(lag(one) for one in tau)
    if not each or len(set(each)) < len(each):
        raise ValueError(f"tau must be one lag or several different ones; got {tau!r}")
    return each


def samples(time: int, tau: int, *, hint: str = "") -> None:
    """Raise ValueError on fewer than `MIN_SAMPLES`, warn on fewer than `FEW_SAMPLES`."""
    count = time - tau
    said = f"series has {time} time points and tau = {tau}, which leaves {max(count, 0)} samples"
    if count < MIN_SAMPLES:
        raise ValueError(
            f"{said}; at least {MIN_SAMPLES} are needed: record longer or lower tau{hint}"
        )
    if count < FEW_SAMPLES:
        warn(f"{said}; below {FEW_SAMPLES} the bias of the estimate is large{hint}")


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


def node_indices(argument: str, indices: Any, nodes: int) -> npt.NDArray[np.int64]:
    """Check indices of nodes, of any shape; int64."""
    array = np.asarray(to_numpy(indices))
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(
            f"{argument} must be whole numbers, indices of nodes; got dtype {array.dtype}"
        )
    wrong = (array < 0) | (array >= nodes)
    if wrong.any():
        at = np.unravel_index(int(wrong.argmax()), array.shape)
        raise ValueError(
            f"{argument} must name nodes from 0 to {nodes - 1}; entry "
            f"{[int(k) for k in at]} is {int(array[at])}"
        )
    return array.astype(np.int64)


def _listed(pairs: Any) -> Any:
    """Pairs that come one by one (`itertools.combinations`, the keys of a dict) as a list."""
    if isinstance(pairs, Set) and not isinstance(pairs, KeysView | ItemsView):
        raise TypeError(
            "pairs is a set, which has no order for the results to follow; pass sorted(pairs)"
        )
    return list(pairs) if isinstance(pairs, Iterator | KeysView | ItemsView) else pairs


def node_pairs(pairs: Any, nodes: int) -> npt.NDArray[np.int64]:
    """Check pairs of different nodes; (..., 2) int64."""
    array = np.asarray(to_numpy(_listed(pairs)))
    if array.ndim < 2 or array.shape[-1] != 2:
        raise ValueError(
            "pairs must be (pairs, 2) or (..., 2), first and second node of each; got shape "
            f"{array.shape}" + (": one pair is [[i, j]]" if array.shape == (2,) else "")
        )
    array = node_indices("pairs", array, nodes)
    same = array[..., 0] == array[..., 1]
    if same.any():
        at = np.unravel_index(int(same.argmax()), same.shape)
        raise ValueError(
            f"pairs must name two different nodes; entry {[int(k) for k in at]} is "
            f"{array[at].tolist()}: remove it"
        )
    return array
