"""What keeping nodes at different bits shows, in one plain paragraph."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from synkern.interventions.compressing.statistics import Comparison
from synkern.interventions.weights.bits import Budget

ENOUGH = 0.05
"""The largest p of a verdict."""
_LESS = "keeps less of the model than"
_OTHERS = {
    "redundancy": "keeping the least synergistic ones so, the reverse",
    "random": "keeping random ones so",
    "layer_matched": "keeping random ones of the same layers so",
    "layer_only": "keeping whole layers so",
    "norm": "keeping the most active ones so",
}


def finding(
    *,
    nodes: str,
    count: int,
    ranking: str,
    budgets: Sequence[Budget],
    compared: Sequence[Comparison],
    beaten_by_uniform: int,
    earlier: str,
    on_a_grid: Sequence[int],
) -> str:
    """Is it better to keep the synergistic nodes at more bits than others, at equal bits?

    It is if the 95 % interval over texts of the ratio of divergences lies below 1 and, where chance
    made the others, p is 0.05 at most; it is worse if the interval lies above 1 and the p of that
    is 0.05 at most. One text alone has no interval, and shows neither.

    Args:
        nodes: what they are.
        count: how many have a score.
        ranking: by which they are ordered.
        budgets: that were measured.
        compared: with each other order.
        beaten_by_uniform: budgets in which the same bits for all, no more of them, lose less.
        earlier: how the weights had been rounded before; "" if they do not show it.
        on_a_grid: bits at which rounding leaves them where they are for this reason.
    """
    pairs = ", ".join(dict.fromkeys(f"{b.high}/{b.low}" for b in budgets))
    shares = sorted({budget.kept / count for budget in budgets})
    told = compared[0].budgets if compared else 0
    parts = [
        f"At equal bits, the most synergistic {nodes} (ranking: {ranking}; {_spoken(shares)} of "
        f"{count}) were kept at more bits than the rest (high/low {pairs}: {len(budgets)} "
        f"budget{'s' * (len(budgets) > 1)}"
        + (f", of which {told} change the model at all" if told < len(budgets) else "")
        + ")."
    ]
    for one in compared:
        words = _OTHERS.get(one.other, f"keeping the first of order {one.other} so")
        parts.append(f"This {verdict(one)} {words}{_numbers(one)}.")
    if beaten_by_uniform:
        parts.append(
            f"In {beaten_by_uniform} of {len(budgets)} budgets, one number of bits for all {nodes} "
            "that takes no more in all loses less than this."
        )
    if earlier:
        parts.append(
            f"The weights as they were loaded had been rounded before ({earlier}): this is a "
            "second rounding, of numbers that are few already"
            + (
                f", and at {' and '.join(map(str, on_a_grid))} bits it finds most of them on its "
                "grid, so that these bits cost next to nothing."
                if on_a_grid
                else "."
            )
        )
    return " ".join(parts)


def verdict(one: Comparison) -> str:
    """What a comparison says, as a verb: see `finding`."""
    if not one.budgets:
        return "was not to be told from"
    low, high = one.interval or (0.0, inf)
    if high < 1 and (one.p is None or one.p <= ENOUGH):
        return "keeps more of the model than"
    if low > 1 and (one.p_worse is None or one.p_worse <= ENOUGH):
        return _LESS
    return "does not clearly keep more of the model than"


def _numbers(one: Comparison) -> str:
    if not one.budgets:
        return ", as no budget changes the model"
    interval = "no interval of one text alone"
    if one.interval is not None:
        interval = "95 % interval over texts {:.3g} to {:.3g}".format(*one.interval)
    numbers = (
        f"KL {one.ratio:.3g} times as high, geometric mean; {interval}; lower in {one.lower} of "
        f"{one.budgets} budgets"
    )
    if one.p_worse is not None and verdict(one) == _LESS:
        numbers += f"; higher than {one.behind} of {one.draws} draws, p = {one.p_worse:.2g}"
    elif one.p is not None:
        numbers += f"; lower than {one.beaten} of {one.draws} draws, p = {one.p:.2g}"
    return f" ({numbers})"


def _spoken(shares: Sequence[float]) -> str:
    if len(shares) == 1:
        return f"{shares[0]:.0%}"
    return f"{shares[0]:.0%} to {shares[-1]:.0%}"
