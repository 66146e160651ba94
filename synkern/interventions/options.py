"""What a command may be asked for of an ablation, before torch is there: words alone."""

from __future__ import annotations

ABLATION_NAMES = ("zero", "mean", "resample")
"""What comes in place of a node, by the names that `synkern.ablate` takes; see `ablating`."""

ORDER_NAMES = ("synergy", "redundancy", "random", "layer_matched", "layer_only", "norm")
"""The orders of `orders.ORDERS`, which says what they are."""

SCORING_NAMES = ("likelihood", "likelihood_per_token", "exact_match")
"""How tasks are judged, by the names that `Scoring` takes; see `scoring`."""

SPREAD_NAMES = ("slice", "tensor")
"""Of what noise is a multiple, by the names that `perturb` takes; see `noise`."""

ALPHAS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Strengths of noise that are tried on random subsets, until accuracy is past halfway down."""

BIT_PAIRS = ((8, 4), (4, 3), (4, 2), (3, 2), (16, 0))
"""High and low bits at which `compression` keeps nodes; the last is removal: the weights of the
rest become zero."""

KEPT_SHARES = (0.1, 0.25, 0.5)
"""Shares of the nodes that `compression` keeps at the high bits."""

KEPT_ORDERS = ("synergy", "redundancy", "random", "layer_matched", "norm")
"""The orders whose first nodes these are."""
