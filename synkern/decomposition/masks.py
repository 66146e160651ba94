"""Samples that are left out, trials of unequal length, and pasts whose futures lie elsewhere.

Every estimator is made of pairs of samples, a past and its future tau samples later; in which order
they come does not matter. So a trial with n pairs is the same as the series of 2 n samples

    the n pasts, one after another, then the n futures        at a lag of n samples,

whose first half `phiid` takes as the past and whose second half as the future, centred and scaled
each on its own as ever. That is how a mask is obeyed, exactly and by every backend: the pairs whose
two ends are valid are gathered to such series, trials with as many pairs together. `lagged_pairs`
makes one from pasts and futures that are given apart.

Removing samples instead joins what was not neighbouring, and makes false lags; filling them in, by
lines for instance, makes persistence that was not there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synkern._arrays import incoming, is_cupy, is_tensor, library, like, native, to_numpy
from synkern._faces import Later
from synkern._names import unnamed
from synkern.kernels import Array, ArrayKind

if TYPE_CHECKING:
    import torch
else:
    torch = Later("torch")

Valid = npt.NDArray[np.bool_]  # (trials, time), True where a sample is valid


def lagged_pairs(past: Any, future: Any) -> tuple[Any, int]:
    """A series and the lag at which `phiid` finds these pasts and futures: four-matrix input.

        series, tau = synkern.lagged_pairs(past, future)
        result = synkern.phiid(series, tau=tau)

    For pasts and futures that are not cut from one series: of events, of states before and after a
    transition, of lags that differ from pair to pair. `result.tau` is then the number of pairs.

    Args:
        past: (samples, nodes) or (trials, samples, nodes), real and finite; any kind of array.
        future: the same shape and kind: row by row what came of `past`.

    Returns:
        (..., 2 samples, nodes), of the kind of `past`, and the lag, the number of samples.

    Raises:
        ValueError: shapes that differ, or of neither form.
        TypeError: not real numbers.
    """
    past = unnamed(past, "past").whole("past")
    future = unnamed(future, "future").whole("future")
    kind: ArrayKind = "cupy" if is_cupy(past) else native(past)[0]
    xp: Any = library(kind)
    first, restore = incoming(past, kind, argument="past")
    second = incoming(future, kind, argument="future").array
    if tuple(first.shape) != tuple(second.shape) or first.ndim not in (2, 3):
        raise ValueError(
            "past and future must have one shape, (samples, nodes) or (trials, samples, nodes); "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    return restore(xp.concatenate([first, second], -2)), int(first.shape[-2])


def stack_trials(trials: Sequence[Any]) -> tuple[Any, Valid]:
    """Trials of unequal length as one series and the mask of its samples.

        series, mask = synkern.stack_trials([first, second, third])
        result = synkern.phiid(series, mask=mask)

    Args:
        trials: (time, nodes) arrays of the same nodes, all NumPy (or nested lists, frames) or all
            torch tensors on one device, through which gradients flow.

    Returns:
        (trials, longest time, nodes) with NaN after the end of a shorter trial (zeros where they
        are whole numbers), and (trials, longest time) bool, True where there are samples.

    Raises:
        ValueError: no trial; not (time, nodes); nodes that differ in number.
        TypeError: not real numbers.
    """
    named = [unnamed(trial, f"trials[{k}]") for k, trial in enumerate(trials)]
    trials = [trial.array for trial in named]
    kind: ArrayKind = "torch" if any(is_tensor(t) for t in trials) else "numpy"
    arrays = [incoming(t, kind, argument=f"trials[{k}]").array for k, t in enumerate(trials)]
    shapes = [tuple(array.shape) for array in arrays]
    if len({shape[1:] for shape in shapes}) != 1 or len(shapes[0]) != 2:
        raise ValueError(
            f"trials must be (time, nodes) arrays of the same nodes, at least one; got {shapes}"
        )
    longest = max(time for time, _ in shapes)
    xp: Any = library(kind)
    padded = [xp.concatenate([a, _missing(xp, a, longest - len(a))]) for a in arrays]
    mask = np.arange(longest) < np.array([time for time, _ in shapes])[:, None]
    for row, trial in zip(mask, named, strict=True):
        if trial.valid is not None:
            row[: trial.valid.shape[-1]] &= trial.valid
    return xp.stack(padded), mask


def _missing(xp: Any, array: Array, length: int) -> Array:
    """Fill (length, nodes) with NaN, or with zeros where the array cannot hold them."""
    if is_tensor(array):
        real = array.is_floating_point()
        return array.new_full((length, array.shape[1]), math.nan if real else 0)
    real = array.dtype.kind == "f"
    return np.full((length, array.shape[1]), math.nan if real else 0, array.dtype)


def valid_samples(mask: Any, array: Any, *, argument: str = "mask") -> Valid | None:
    """A caller's mask of a series.

    Args:
        mask: (time,) or (trials, time) of truth values, or None; axes that have names may come the
            other way round.
        array: the series, (time, nodes) or (trials, time, nodes).
        argument: name, for messages.

    Returns:
        (trials, time), or None where every sample is valid.

    Raises:
        TypeError: not truth values.
        ValueError: of another shape.
    """
    shape = tuple(array.shape)
    if mask is None or len(shape) not in (2, 3):  # `check.series` says what is wrong with these.
        return None
    given = np.asarray(to_numpy(_trials_first(mask, argument)))
    if given.dtype != np.bool_:
        raise TypeError(
            f"{argument} must hold truth values, True where a sample is valid (numpy.ma has it the "
            f"other way round); got dtype {given.dtype}: pass {argument}.astype(bool), or of "
            "indices of valid samples numpy.isin(numpy.arange(time), indices)"
        )
    trials, time = (1, shape[0]) if len(shape) == 2 else shape[:2]
    if given.shape not in ((time,), (trials, time)):
        raise ValueError(
            f"{argument} must be (time,) or (trials, time), here ({time},) or ({trials}, {time}); "
            f"got shape {given.shape}"
            + (
                ": it is the same for all nodes of a trial, mask.all(-1) where all are valid"
                if given.shape == shape
                else ""
            )
        )
    return None if given.all() else np.broadcast_to(given, (trials, time)).copy()


def _trials_first(mask: Any, argument: str) -> Any:
    """Return a mask of two axes with names as (trials, time)."""
    names = getattr(mask, "dims", ())
    if len(names) != 2 or "dim_0" in names:  # xarray's own, by position
        return mask
    # As in a series of two axes: time, and what is not.
    return unnamed(mask, argument).array.T


def filled(xp: Any, array: Array, valid: Valid) -> Array:
    """A series in which samples that are not valid hold the first valid one of their trial.

    A trial without any holds that of the first trial which has some.
    """
    some = valid.any(1)
    trial = np.where(some, np.arange(len(valid)), some.argmax())
    first = array[like(trial, array), like(valid.argmax(1)[trial], array)][:, None]
    return xp.where(like(valid, array)[..., None], array, first)


def only_valid(array: Any, mask: Any, *, argument: str = "mask") -> Any:
    """A caller's array in which valid numbers stand in for those that float64 may not hold.

    Whole numbers have no NaN: what is missing is often marked by the least or the largest of them.

    Args:
        array: anything; comes back as it is where float64 holds whatever its dtype does.
        mask: see `valid_samples`.
        argument: name of the mask, for messages.
    """
    kind = _library_of_wide(array)
    valid = None if kind is None or mask is None else valid_samples(mask, array, argument=argument)
    if kind is None or valid is None:
        return array
    whole = array if array.ndim == 3 else array[None]
    if is_tensor(array) and array.dtype == torch.uint64:  # Most of torch does not know it.
        whole = filled(torch, whole.view(torch.int64), valid).view(torch.uint64)
    else:
        whole = filled(sys.modules[kind], whole, valid)
    return whole if array.ndim == 3 else whole[0]


def _library_of_wide(array: Any) -> str | None:
    """The library of an array whose dtype has numbers that float64 has not; None of any other."""
    if is_tensor(array):
        wide = array.dtype in (torch.int64, torch.uint64) and array.layout is torch.strided
        return "torch" if wide and not array.is_nested else None
    if not isinstance(array, np.ndarray) and not is_cupy(array):
        return None
    whole, size = array.dtype.kind in "iu", array.dtype.itemsize
    wide = size >= 8 if whole else array.dtype.kind == "f" and size > 8
    return ("cupy" if is_cupy(array) else "numpy") if wide else None
