"""Numbers without the gradient that they may carry: for decisions, which have none."""

from __future__ import annotations

from ..contract import Array


def detached(values: Array) -> Array:
    """An array as it is, a tensor without its gradient."""
    return values.detach() if hasattr(values, "detach") else values
