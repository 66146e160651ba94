"""What a command may be asked for of an ablation, before torch is there: words alone."""

from __future__ import annotations

ABLATION_NAMES = ("zero", "mean", "resample")
"""What comes in place of a node, by the names that `synkern.ablate` takes; see `ablating`."""

ORDER_NAMES = ("synergy", "redundancy", "random", "layer_matched", "layer_only", "norm")
"""The orders of `orders.ORDERS`, which says what they are."""
