"""What a command may be asked for of an ablation, before torch is there: words alone."""

from __future__ import annotations

ABLATIONS = ("zero", "mean", "resample")
"""What comes in place of a node, by the names that `synkern.ablate` takes; see `ablating`."""

ORDERS = ("synergy", "redundancy", "random", "layer_matched", "layer_only", "norm")
"""The orders in which nodes are taken out; see `synkern.interventions.orders`."""

DRAWN = ("random", "layer_matched", "layer_only")
"""Those that chance has a part in, so that there are several draws of each."""
