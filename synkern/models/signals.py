"""What can be read of a node at every token: its signals."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Signal:
    """One number per node and token."""

    said: str
    """What it is, in a phrase, for reports and documentation."""
    zero_filled: bool = False
    """Whether it is exactly 0 where a node is idle.

    Such a series is mostly zeros, to which no Gaussian can be fitted: the discrete estimator takes
    it, for which a node is above its mean, that is active, or not.
    """
