"""What an ablation curve shows, in one plain paragraph."""

from __future__ import annotations

from collections.abc import Mapping

from synkern.interventions.curve_statistics import Interval

_SIGNIFICANT = 0.05

_CONTROLS = {
    "random": "in random order",
    "layer_matched": "of the same layers, drawn at random",
    "norm": "that are most active",
}
"""What the order of synergy is compared with, and how that is said of nodes."""


def finding(
    *,
    nodes: str,
    count: int,
    ranking: str,
    to: float,
    heights: Mapping[str, float],
    gaps: Mapping[str, Interval],
    chance: Mapping[str, tuple[float, int]],
) -> str:
    """Does the order of synergy do more harm than random ones, than layers, than norm?

    It does more if the 95 % interval over texts of the gap lies above 0 and, where chance made the
    control, p is 0.05 at most; less if the interval lies below 0 and, likewise, no more than 0.05
    of what chance made does so little harm.

    Args:
        nodes: what they are.
        count: how many.
        ranking: by which they are ordered.
        to: the fraction that is out at the end.
        heights: by order, the mean KL over the curve, nats.
        gaps: by control, that of `synergy` minus its own.
        chance: by control that chance has a part in, p and the number of draws.
    """
    parts = [
        f"Taking out {nodes} in the order of synergy (ranking: {ranking}), up to {to:.0%} of "
        f"{count}, changes the model's predictions by {heights['synergy']:.3g} nats on average "
        "over the curve."
    ]
    for name, words in _CONTROLS.items():
        if name not in gaps:
            parts.append(f"Against {nodes} {words} it was not compared.")
            continue
        gap = gaps[name]
        numbers = (
            f"{heights[name]:.3g} nats; difference {gap.value:+.3g}, 95 % interval over texts "
            f"{gap.low:+.3g} to {gap.high:+.3g}"
        )
        p, draws = chance.get(name, (None, 1))
        if p is not None:
            numbers += f"; p = {p:.2g} of {draws} draws"
        parts.append(f"It {_verdict(gap, p, draws)} taking out {nodes} {words} ({numbers}).")
    return " ".join(parts)


def _verdict(gap: Interval, p: float | None, draws: int) -> str:
    if gap.low > 0 and (p is None or p <= _SIGNIFICANT):
        return "does more harm than"
    # The same p from the other side: the order itself is among the `draws` + 1.
    if gap.high < 0 and (p is None or 1 - p + 1 / (draws + 1) <= _SIGNIFICANT):
        return "does less harm than"
    return "does not clearly do more harm than"
