"""Checks of what a caller passes; every message names the argument, the value and the remedy."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern._arrays import like, to_numpy
from synkern._warnings import warn
from synkern.kernels import ATOMS, steady

MIN_SAMPLES = 5
"""Fewest (past, future) pairs of samples: with fewer the 4 x 4 covariance has no full rank."""

LEAVE_OUT = (
    "leave them out by a mask of valid samples, phiid(series, mask=...) for instance; not by "
    "removing them, which makes false lags, nor by filling them in, which makes persistence"
)
"""What to do about samples that are missing."""

LARGE = 1 << 24
"""Values of a series from which it is looked at in parts: a trial, or some nodes, at a time."""

FEW_SAMPLES = 30
"""Below this the estimate is dominated by its bias."""


def choice(argument: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raise ValueError unless value is one of those allowed."""
    if value not in allowed:
        options = ", ".join(repr(option) for option in allowed)
        raise ValueError(f"{argument} must be one of {options}; got {value!r}")


def whole(argument: str, value: Any, least: int) -> None:
    """Raise ValueError unless value is a whole number of at least so many."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{argument} = {value!r}; give a whole number of at least {least}")


def confidence(value: Any) -> None:
    """Raise ValueError unless an interval can have this coverage."""
    if not 0 < value < 1:
        raise ValueError(f"confidence = {value!r}; give a number above 0 and below 1")


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
    if type(tau) is int and tau > 0:
        return tau
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


def samples(
    time: int, tau: int, *, trials: int = 1, pooled: str | None = None, hint: str = ""
) -> None:
    """Judge the number of pairs of samples of trials that are valid throughout."""
    if time - tau >= FEW_SAMPLES:  # Enough in each, hence in all of them together.
        return
    pairs_of_samples(np.full(trials, time - tau), tau, pooled, time=time, hint=hint)


def pairs_of_samples(
    counts: npt.NDArray[np.integer],
    tau: int,
    pooled: str | None,
    *,
    time: int | None = None,
    valid: npt.NDArray[np.integer] | None = None,
    hint: str = "",
) -> None:
    """Judge the number of (past, future) pairs of samples where they are counted: as pooled.

    Trials that are kept apart need `MIN_SAMPLES` each, which pooled trials have together. About
    means of their own ("moments") they have a degree of freedom less for each; since the minimum
    allows for one mean, that is a sample less for each trial but one. And the bias that such means
    bring into short trials is one that pooling leaves.

    Args:
        counts: (trials,) of pairs.
        tau: lag in samples.
        pooled: None, "moments" or "concatenate".
        time: number of time points of a trial, where all have as many.
        valid: (trials,) number of valid ones, where a mask was given.
        hint: what may be wrong with the shape.

    Raises:
        ValueError: fewer than `MIN_SAMPLES`.

    Warns:
        UserWarning: fewer than `FEW_SAMPLES`.
    """
    counts = np.maximum(counts, 0)
    count, said, remedy = _counted(counts, tau, pooled, time, valid)
    if count < MIN_SAMPLES:
        raise ValueError(f"{said}; at least {MIN_SAMPLES} are needed: {remedy}{hint}")
    few = f"below {FEW_SAMPLES} the bias of the estimate is large"
    if pooled == "moments" and len(counts) > 1 and counts.mean() < FEW_SAMPLES <= count:
        count = counts.mean()
        said = f"trials have {count:.3g} samples at tau = {tau} on average, each about its own mean"
        few = (
            f"below {FEW_SAMPLES} that mean takes persistence with it, which pooling does not give "
            "back; average='concatenate' keeps it, where trials have one level"
        )
    if count < FEW_SAMPLES:
        warn(f"{said}; {few}{hint}")


def _counted(
    counts: npt.NDArray[np.integer],
    tau: int,
    pooled: str | None,
    time: int | None,
    valid: npt.NDArray[np.integer] | None,
) -> tuple[int, str, str]:
    """The number that counts, where it comes from, and what could raise it."""
    total, trials = int(counts.sum()), len(counts)
    if pooled is not None and trials > 1:
        said = f"{trials} trials leave {total} samples together at tau = {tau}"
        if pooled == "moments":
            less = int((counts > 0).sum()) - 1
            total = max(total - max(less, 0), 0)
            said += f", {total} but for the means of their own"
        return total, said, "record more or lower tau"
    worst = int(counts.argmin())
    least = int(counts[worst])
    if time is not None:
        said = f"series has {time} time points and tau = {tau}, which leaves {least} samples"
        return least, said, "record longer or lower tau"
    said = f"trial {worst} has {least} samples at tau = {tau}"
    if valid is not None:
        said = (
            f"trial {worst} has {int(valid[worst])} valid time points and tau = {tau}, which "
            f"leaves {least} samples, of which both ends are valid"
        )
    return least, said, "leave this trial out, or pool trials by average='concatenate'"


def series(
    xp: Any,
    array: Any,
    tau: int | None,
    *,
    pooled: str | None = None,
    valid: npt.NDArray[np.bool_] | None = None,
    finite: bool = False,
) -> Any:
    """Check shape, length and finiteness of a series; (time, nodes) becomes one trial.

    Args:
        xp: numpy or torch, the library of `array`.
        array: (trials, time, nodes) or (time, nodes).
        tau: lag in samples; None: the length is not judged.
        pooled: None, or how trials are made one, "moments" or "concatenate".
        valid: (trials, time) samples that are looked at; None: all. Where there are some only, the
            length is not judged: that is the number of their pairs.
        finite: all is, as is known already.

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
    if tau is not None and valid is None:
        samples(time, tau, trials=trials, pooled=pooled, hint=hint)
    if finite or (valid is None and _finite_in_parts(xp, array)):
        return array
    good = xp.isfinite(array)
    if valid is not None:
        good = good | ~like(valid, array)[..., None]
    if not bool(good.all()):
        bad = xp.stack(xp.where(~good), -1)
        trial, step, node = (int(k) for k in bad[0])
        raise ValueError(
            f"series has {len(bad)} values that are NaN or infinite, the first at trial {trial}, "
            f"time {step}, node {node}: {float(array[trial, step, node])}; {LEAVE_OUT}"
        )
    return array


def _finite_in_parts(xp: Any, array: Any) -> bool:
    """Whether all is finite, trial by trial where truth values of a large series take memory."""
    if not isinstance(array, np.ndarray) or array.size < LARGE:
        return False  # Not asked: the answer for the whole says where it is not, too.
    return all(bool(xp.isfinite(trial).all()) for trial in array)


def ordinary(xp: Any, array: Any, lag: int, spacing: float) -> bool:
    """Whether all is finite and no node is constant or faint, in one read from a device.

    That is so of most series; if not, or if it cannot be told, `series` and `steady_nodes` look
    closer, and say what there is to be said.

    Args:
        xp: torch or cupy.
        array: a series in any shape, not checked.
        lag: the longest.
        spacing: of its values, see `_arrays.spacing`.
    """
    if array.ndim not in (2, 3) or not math.prod(array.shape):
        return False
    plain = steady.plainly_varies(xp, array if array.ndim == 3 else array[None], lag, spacing)
    return plain is not None and bool(xp.isfinite(array).all() & plain)


def steady_nodes(
    xp: Any, array: Any, lags: Sequence[int], pooled: str | None, spacing: float
) -> Callable[[int], Any]:
    """Make nodes constant that are so up to rounding, and warn of those that may be.

    See `formulas.steady`.

    Args:
        xp: numpy, torch or cupy.
        array: (trials, time, nodes), checked.
        lags: at which it is wanted.
        pooled: see `formulas.steady.settled`.
        spacing: of its values, see `_arrays.spacing`.

    Returns:
        The series at a lag.
    """
    if steady.plain(xp, array, max(lags), spacing):
        return lambda lag: array
    found = steady.faint(xp, array, spacing)
    if found is not None:
        warn_of_faint(*(to_numpy(part) for part in found))
    return lambda lag: steady.settled(xp, array, lag, pooled, spacing)


def warn_of_faint(which: npt.NDArray[np.int64], ratio: npt.NDArray[np.float64]) -> None:
    """Warn of nodes that vary so much less than the others; arrays (found,)."""
    named = sorted(set(which.tolist()))
    nodes = ", ".join(map(str, named[:10])) + (f" and {len(named) - 10} more" * (len(named) > 10))
    warn(
        f"node{'s' * (len(named) > 1)} {nodes} var{'y' if len(named) > 1 else 'ies'} by "
        f"{ratio.max():.0e} of what the others do, as rounding errors of a constant do once it has "
        "been filtered or subtracted: their atoms may mean nothing. Leave these nodes out, or set "
        "them to a constant. Where it is their unit that is so small, rescale them: atoms have "
        "no unit. To silence this: warnings.filterwarnings('ignore', '.*as rounding errors of')"
    )


def node_indices(argument: str, indices: Any, nodes: int) -> npt.NDArray[np.int64]:
    """Check indices of nodes, of any shape; int64."""
    if np.ma.is_masked(indices):
        raise ValueError(
            f"{argument} has masked entries, which name no node; leave them out, as by compressed()"
        )
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
    listed = _listed(pairs)
    array = np.asarray(to_numpy(listed))
    if array.ndim < 2 or array.shape[-1] != 2:
        raise ValueError(
            "pairs must be (pairs, 2) or (..., 2), first and second node of each; got shape "
            f"{array.shape}" + (": one pair is [[i, j]]" if array.shape == (2,) else "")
        )
    array = node_indices("pairs", listed, nodes)
    same = array[..., 0] == array[..., 1]
    if same.any():
        at = np.unravel_index(int(same.argmax()), same.shape)
        raise ValueError(
            f"pairs must name two different nodes; entry {[int(k) for k in at]} is "
            f"{array[at].tolist()}: remove it"
        )
    return array
