"""Values that cannot be used: what is missing and where, what stands for it, what never changes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synkern._exact import exact
from synkern.data.errors import DataError
from synkern.data.found import Found, Values
from synkern.data.options import ReadOptions

CODES = (*(-(10**n - 1) for n in range(2, 7)), *(10**n - 1 for n in range(3, 7)))
CODES += (-32768, -(2**31), -(2**63), -1e20, 1e20, 1e36, -1e36, 9.969209968386869e36)
"""Numbers that stand for missing values in files of many kinds, and never for themselves."""

_FAR = 10
"""A code is no value if it is this many times further from all others than they are apart."""

_LISTED = 5


@dataclass(kw_only=True)
class Block:
    """Trials of a file that can be used.

    Attributes:
        values: (trials, time, nodes), real, not yet float64.
        valid: (trials, time); None if all are.
    """

    values: Values
    valid: npt.NDArray[np.bool_] | None


def numeric(found: Found) -> None:
    """Refuse what does not hold real numbers, or holds none.

    Raises:
        DataError: it does not.
    """
    values = found.values
    if values.dtype.kind == "c":
        raise DataError(
            f"{found.what} holds complex numbers ({values.dtype}); a series is real: save their "
            "absolute value, phase or real part instead"
        )
    if values.dtype.kind not in "biuf":
        raise DataError(f"{found.what} holds {values.dtype}, not numbers; save an array of float64")
    if not values.size:
        raise DataError(f"{found.what} is empty: it has the shape {values.shape}")


def consistent(found: Found) -> None:
    """Refuse what a file says of trials and nodes if it is not one for each of them.

    Raises:
        DataError: it is not.
    """
    trials, time, nodes = found.values.shape
    one_each = {"groups": nodes, "coordinates": nodes, "subjects": trials, "trial_names": trials}
    for name, count in one_each.items():
        held = getattr(found, name)
        if held is not None and len(held) != count:
            raise DataError(
                f"{found.what} has {trials} trials of {nodes} nodes, and its {name} are "
                f"{len(held)}, not {count}; are its axes told right (axes=)?"
            )
    if found.valid is not None and found.valid.shape not in ((time,), (1, time), (trials, time)):
        raise DataError(
            f"{found.what} has {trials} trials of {time} samples, and a mask of shape "
            f"{found.valid.shape}; it must be ({time},) or ({trials}, {time})"
        )


def checked(found: Found, options: ReadOptions, names: Sequence[str]) -> Block:
    """Find what is missing in trials of a file, and leave it out if that is asked for.

    Args:
        found: with the axes trial, time, node.
        options: `missing`, `missing_values`, and what says which samples are valid.
        names: of the nodes.

    Raises:
        DataError: a value is missing, and `missing` does not say that it may be; or a number looks
            as if it stood for one that is.
    """
    values = found.values
    valid = None
    if found.valid is not None:
        valid = np.broadcast_to(np.atleast_2d(found.valid), values.shape[:2]).copy()
    low, high = _extremes(values)
    codes = options.missing_values
    if codes is None:
        _refuse_codes(found, low, high)
    bad = np.zeros(0, bool)
    if not (np.isfinite(low).all() and np.isfinite(high).all()) or codes is not None:
        bad = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
        for code in codes or ():
            bad |= values == code
    if bad.any():
        valid = _left_out(found, options, names, bad, valid)
    _note_constant(found, names, values, valid, low == high)
    return Block(values=values, valid=None if valid is None or valid.all() else valid)


def in_float64(block: Block, what: str) -> npt.NDArray[np.float64]:
    """The values in float64, with zeros where they are not valid; no copy where they are that.

    Raises:
        DataError: numbers that float64 cannot hold.
    """
    try:
        taken = exact(block.values, what, offset_free=True)
    except ValueError as error:
        raise DataError(str(error)) from None
    series: npt.NDArray[np.float64] = np.asarray(taken, np.float64)
    if block.valid is not None:
        # Of what is mapped, or still the reader's, a copy.
        series = np.where(block.valid[..., None], series, 0.0)
    return series


def _extremes(values: Values) -> tuple[Values, Values]:
    """(trials, nodes) of the least and the largest; not finite where a value is not."""
    with np.errstate(invalid="ignore"):
        return values.min(axis=1), values.max(axis=1)


def _refuse_codes(found: Found, low: Values, high: Values) -> None:
    """Raise DataError where a number at one end stands far away from all others, again and again.

    Whole series are gone through only if an extreme is such a number.
    """
    ends = {float(end) for end in (*np.unique(low), *np.unique(high)) if np.isfinite(end)}
    for code in sorted(ends & {*map(float, CODES)}):
        hits = found.values == code
        times = int(hits.sum())
        others = found.values[~hits & np.isfinite(found.values)].astype(np.float64)
        if times < 2 or not others.size:
            continue
        least, most = float(others.min()), float(others.max())
        gap = least - code if code < least else code - most
        if gap > _FAR * max(most - least, sys.float_info.min):
            where = _place(found, *np.argwhere(hits)[0][:2])
            raise DataError(
                f"{found.what} holds {code:g} {times} times, first at {where}, and nothing else "
                f"outside {least:g} to {most:g}: it looks like a mark for missing values; give "
                f"missing_values={code:g} and missing='mask', or missing_values=nan if it is data"
            )


def _left_out(
    found: Found,
    options: ReadOptions,
    names: Sequence[str],
    bad: npt.NDArray[np.bool_],
    valid: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.bool_]:
    """Which samples are valid, without those in which a value is missing."""
    if valid is not None:
        bad = bad & valid[..., None]
        if not bad.any():
            return valid
    samples = bad.any(-1)
    seen = samples.shape if valid is None else (int(valid.sum()),)
    nodes = bad.reshape(-1, bad.shape[-1])
    share = nodes.sum(0) / np.prod(seen)
    worst = np.argsort(-share, kind="stable")
    gone = [names[k] for k in worst if share[k] > 0.5]
    trial, sample, node = (int(k) for k in np.argwhere(bad)[0])
    value = found.values[trial, sample, node]
    infinite = "" if not np.isinf(value) else " (infinite)"
    said = (
        f"{int(bad.sum())} values are missing, in {int(samples.sum())} samples, first of "
        f"node {names[node]!r} at {_place(found, trial, sample)}{infinite}"
    )
    leave = f"; drop={some(gone)} leaves out the nodes that are mostly missing" if gone else ""
    if options.missing == "refuse":
        raise DataError(
            f"{found.what}: {said}; missing='mask' leaves such samples out for all nodes{leave}"
        )
    rest = np.asarray(~samples if valid is None else valid & ~samples)
    if not rest.any():
        raise DataError(
            f"{found.what}: {said}; no sample is left in which all nodes have a value"
            + (leave or "; choose nodes by columns= or drop=")
        )
    found.notes.append(f"{int(samples.sum())} samples in which a value is missing are masked")
    if gone:
        found.notes.append(f"more than half is missing of {some(gone)}")
    return rest


def _note_constant(
    found: Found,
    names: Sequence[str],
    values: Values,
    valid: npt.NDArray[np.bool_] | None,
    level: npt.NDArray[np.bool_],
) -> None:
    """Say which nodes never change, where they are valid: their pairs have no atoms."""
    if valid is not None:
        level = np.stack(
            [
                (v[ok].min(0) == v[ok].max(0)) if ok.any() else np.zeros(v.shape[1], bool)
                for v, ok in zip(values, valid, strict=True)
            ]
        )
    for where, nodes in (("", level.all(0)), ("in some trials ", level.any(0) & ~level.all(0))):
        if nodes.any():
            listed = some([names[int(k)] for k in np.flatnonzero(nodes)])
            found.notes.append(f"constant {where}are {listed}: pairs with them will be NaN")


def _place(found: Found, trial: int, sample: int) -> str:
    where = f"sample {sample}"
    if found.values.shape[0] > 1:
        name = found.trial_names[trial] if found.trial_names is not None else trial
        where = f"trial {name}, {where}"
    return where if found.lines is None else f"{where} (line {found.lines[sample]})"


def some(names: Sequence[str]) -> str:
    """A list of names in words, cut where it is long."""
    listed = ", ".join(map(repr, names[:_LISTED]))
    return listed if len(names) <= _LISTED else f"{listed} and {len(names) - _LISTED} more"
