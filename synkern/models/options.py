"""What a command may be asked for of nodes, before torch is there: words alone.

`synkern.models.nodes.KINDS` is what they stand for; a test holds the two together.
"""

from __future__ import annotations

NODE_SIGNALS: dict[str, tuple[str, ...]] = {
    "heads": ("norm", "projected", "largest", "entropy"),
    "experts": ("weighted", "output", "gate", "dense"),
    "shared_experts": ("norm",),
    "mlps": ("norm",),
    "layers": ("norm",),
    "neurons": ("activation",),
}
"""Every kind of node, and the signals that can be read of it; the first is its default."""

ZERO_FILLED = frozenset({("experts", "weighted"), ("experts", "output")})
"""Kinds and signals that are exactly 0 where a node is idle, so that no Gaussian can be fitted."""

OF_ATTENTION = frozenset({("heads", "entropy")})
"""Kinds and signals that need the weights of attention, which only eager attention has."""

IN_MULTITUDES = frozenset({"neurons"})
"""Kinds of which a model has so many that a matrix of all their pairs fits no machine."""
