"""Two ways to keep nodes at different bits, compared over budgets, draws and texts. NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOTHING = 1e-6
"""Nats. Below it a divergence says nothing: it is what float32 leaves of equal probabilities."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """The synergistic nodes at more bits, against other nodes at as many, over all budgets.

    Attributes:
        other: the order of the others.
        budgets: number of budgets that say something: in which every order changes the model.
        lower: in how many of them the divergence is the lower one (of draws: than their mean).
        ratio: divergence over that of the other, geometric mean over budgets (and draws); below 1
            where it is better to keep the synergistic ones.
        interval: 95 % of that ratio, by bootstrap over the texts; None of one text, which says
            nothing of others.
        draws: number of orders of that name.
        beaten: how many draws have a higher geometric mean over the budgets.
        p: how likely a draw does at least as well: (1 + draws that do) / (1 + draws). None for an
            order that is not drawn.
        p_worse: the same of draws that do no better.
    """

    other: str
    budgets: int
    lower: int
    ratio: float
    interval: tuple[float, float] | None
    draws: int
    beaten: int
    p: float | None = None
    p_worse: float | None = None

    @property
    def behind(self) -> int | None:
        """How many draws have a lower mean, which are those that `p_worse` does not count."""
        if self.p_worse is None:
            return None
        return round((1 - self.p_worse) * (1 + self.draws))


def comparison(other: str, own: Floats, others: Floats, draws: int, seed: int) -> Comparison:
    """Compare an order with others of one name.

    Every order stands for the mean over budgets of the logarithm of its divergence: a budget in
    which all of them lose ten times as much counts as much as another. Draws of one number are one
    order of the nodes in all budgets, so that they can be compared as one; p is that of Phipson and
    Smyth (2010, Statistical Applications in Genetics and Molecular Biology 9, 39).

    Args:
        other: the name.
        own: (budgets, texts), nats, above `NOTHING` in the mean over texts.
        others: (draws, budgets, texts), likewise.
        draws: of the bootstrap over texts.
        seed: of the same.
    """
    budgets, texts = own.shape
    if not budgets:
        nothing = (float("nan"), float("nan"))
        return Comparison(other, 0, 0, float("nan"), nothing, len(others), 0)
    means, theirs = own.mean(-1), others.mean(-1)
    level, levels = float(np.log(means).mean()), np.log(theirs).mean(-1)
    chance: dict[str, float] = {}
    if len(levels) > 1:
        chance = {
            name: (1 + int(as_much.sum())) / (1 + len(levels))
            for name, as_much in (("p", levels <= level), ("p_worse", levels >= level))
        }
    return Comparison(
        other=other,
        budgets=budgets,
        lower=int((means < theirs.mean(0)).sum()),
        ratio=float(np.exp(level - levels.mean())),
        interval=_interval(own, others, draws, seed) if texts > 1 else None,
        draws=len(levels),
        beaten=int((levels > level).sum()),
        **chance,
    )


def _interval(own: Floats, others: Floats, draws: int, seed: int) -> tuple[float, float]:
    """95 % of the ratio, by bootstrap over texts; see `comparison`."""
    texts = own.shape[-1]
    drawn = np.random.default_rng(seed).multinomial(texts, np.full(texts, 1 / texts), draws) / texts
    # A text drawn alone may be one that nothing changes: never the logarithm of 0.
    mine, of_others = (np.log(np.maximum(part @ drawn.T, NOTHING)) for part in (own, others))
    ratios = mine.mean(0) - of_others.mean((0, 1))
    low, high = np.exp(np.quantile(ratios, [0.025, 0.975])).tolist()
    return low, high
