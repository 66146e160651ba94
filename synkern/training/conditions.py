"""Conditions of a training experiment: which nodes train, as many in each of those compared.

- `synergy`: the nodes of the highest scores.
- `redundancy`: those of the lowest.
- `random`: any nodes, several draws.
- `layer_matched`: as many nodes of every layer as in `synergy`, any of the layer's;
  several draws. Where it gains as much, the ranking says no more than the layer does.
- `all`: every node.
- `none`: no node: the model as it was, for comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from synkern.interventions.curves.orders import groups_of, is_drawn, orders_of
from synkern.interventions.rankings import Scores, one_ranking
from synkern.training.options import CONDITIONS

if TYPE_CHECKING:
    from synkern.models.nodes import Node


@dataclass(frozen=True)
class Condition:
    """Which nodes train in one condition.

    Attributes:
        name: one of `CONDITIONS`.
        draw: which one of several that chance made, from 0.
        ranking: by which the nodes were ordered.
        nodes: that train, in the model's order.
    """

    name: str
    draw: int
    ranking: str
    nodes: tuple[Node, ...]

    @property
    def label(self) -> str:
        """Name, and of a condition that chance has a part in the draw, from 1: "random 2"."""
        return f"{self.name} {self.draw + 1}" if is_drawn(self.name) else self.name

    def facts(self) -> Mapping[str, Any]:
        """All of it as what JSON can hold, to be kept with a run."""
        return {
            "condition": self.name,
            "draw": self.draw,
            "ranking": self.ranking,
            "nodes": [node.label for node in self.nodes],
        }


def conditions_of(
    scores: Scores,
    nodes: Sequence[Node],
    *,
    ranking: str | None = None,
    share: float = 0.5,
    names: str | Iterable[str] = CONDITIONS,
    draws: int | Mapping[str, int] = 5,
    seed: int = 0,
) -> tuple[Condition, ...]:
    """Choose the nodes that train in each condition.

    Equal scores are ordered by chance. What one condition draws does not depend on which others are
    asked for, nor on how many draws.

    Args:
        scores: higher for more synergistic, of the model before training: `NodeScores`, an array
            (nodes,), or a mapping of one ranking to either.
        nodes: the nodes of the model that the scores are of.
        ranking: what an array of scores was made by; it is kept with each condition.
        share: of the nodes, how many train in the conditions of `ORDERED`: above 0 and below 1,
            rounded to whole nodes, halves upwards.
        names: of conditions, one or several.
        draws: how many of each that chance has a part in; a mapping names them.
        seed: for what chance decides.

    Returns:
        The conditions by name as asked for, and draw by draw.

    Raises:
        ValueError: a name that there is not or twice; a share of no node or of all; what
            `orders_of` refuses, such as a node without score.
    """
    asked = (names,) if isinstance(names, str) else tuple(names)
    wrong = next((name for name in asked if name not in CONDITIONS), None)
    if wrong is not None or not asked or len(set(asked)) < len(asked):
        raise ValueError(
            f"names: {asked if wrong is None else wrong!r}; give one or several of "
            f"{', '.join(CONDITIONS)}, each once"
        )
    known, values = one_ranking(scores, tuple(node.label for node in nodes))
    ranking, count = ranking or known, _count(share, len(nodes))
    fixed = {"all": tuple(nodes), "none": ()}
    found: list[Condition] = []
    for name in asked:
        if name in fixed:
            found.append(Condition(name, 0, ranking, fixed[name]))
            continue
        orders = orders_of(values, groups_of(nodes), names=[name], draws=draws, seed=seed)
        found += [
            Condition(
                name, order.draw, ranking, tuple(nodes[i] for i in np.sort(order.nodes[:count]))
            )
            for order in orders
        ]
    return tuple(found)


def _count(share: float, nodes: int) -> int:
    fits = isinstance(share, Real) and not isinstance(share, bool) and 0 < share < 1
    count = int(share * nodes + 0.5) if fits else 0
    if not 0 < count < nodes:
        raise ValueError(
            f"share: {share!r} of {nodes} nodes; give a number between 0 and 1 that takes at least "
            "one node and leaves one"
        )
    return count
