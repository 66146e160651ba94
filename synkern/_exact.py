"""Numbers that float64 holds as they are: whole numbers in range, and extended precision."""

from __future__ import annotations

from typing import Any

import numpy as np

WHOLE = 2**53
"""Whole numbers up to here are float64 numbers; beyond, neighbours become equal."""


def exact(host: Any, argument: str, *, offset_free: bool) -> Any:
    """Return numbers that float64 can hold as they are, or raise ValueError.

    Args:
        host: array of NumPy or CuPy, of real numbers, nodes along the last of several axes.
        argument: name of it, for messages.
        offset_free: see `_arrays.incoming`.
    """
    if host.dtype.itemsize < 8 or host.dtype == np.float64 or not host.size:
        return host
    if host.dtype.kind == "f":
        return _in_range(host, argument)
    low, high = int(host.min()), int(host.max())
    if low >= -WHOLE and high <= WHOLE:
        return host
    others = tuple(range(host.ndim - 1)) or None
    if offset_free:
        # Modulo 2**64, in which a difference from the least is itself.
        above = host.astype(np.uint64) - host.min(axis=others).astype(np.uint64)
        if int(above.max()) <= WHOLE:
            return above.astype(np.int64)
    raise too_large(argument, high if abs(high) > abs(low) else low, offset_free)


def too_large(argument: str, value: int, offset_free: bool) -> ValueError:
    """Make the error of whole numbers that float64 does not tell apart."""
    return ValueError(
        f"{argument} holds whole numbers as far from 0 as {value}"
        + (", and those of one node lie more than 2**53 apart" if offset_free else "")
        + "; computation is in float64, which beyond 2**53 does not tell neighbours apart: "
        + ("divide them" if offset_free else "subtract an offset from each node")
    )


def _in_range(host: Any, argument: str) -> Any:
    """Return extended precision as float64, or raise ValueError."""
    limits = np.finfo(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        taken = host.astype(np.float64)
    peak = np.abs(host).max(axis=tuple(range(host.ndim - 1)) or None, keepdims=True)
    beyond = (np.isinf(taken) & np.isfinite(host)).any()
    if beyond or bool(((peak > 0) & (peak < limits.tiny)).any()):
        raise ValueError(
            f"{argument} is {host.dtype}, with a node whose largest magnitude is "
            f"{(peak.max() if beyond else peak[peak > 0].min())!s}; computation is in float64, "
            f"which reaches from {limits.tiny:.0e} to {limits.max:.0e}: rescale the node"
        )
    return taken
