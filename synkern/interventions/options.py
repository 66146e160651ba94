"""What a command may be asked for of an ablation, before torch is there: words alone."""

from __future__ import annotations

ABLATION_NAMES = ("zero", "mean", "resample")
"""What comes in place of a node, by the names that `synkern.ablate` takes; see `ablating`."""

ORDER_NAMES = ("synergy", "redundancy", "random", "layer_matched", "layer_only", "norm")
"""The orders of `orders.ORDERS`, which says what they are."""

BIT_PAIRS = ((8, 4), (4, 3), (4, 2), (3, 2), (16, 0))
"""High and low bits at which `compression` keeps nodes; the last is removal: the weights of the
rest become zero."""

KEPT_SHARES = (0.1, 0.25, 0.5)
"""Shares of the nodes that `compression` keeps at the high bits."""

KEPT_ORDERS = ORDER_NAMES[:4]
"""The orders whose first nodes these are."""
