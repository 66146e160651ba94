"""Orders in which nodes are taken out: by a ranking, and the controls that say what it is worth.

An order lists nodes, the first to be taken out first; what is taken out at a point of a curve is
its first k nodes.

- `synergy`: highest score first.
- `redundancy`: lowest score first; exactly the order before read from its end.
- `random`: any order.
- `layer_matched`: the first k hold as many nodes of every layer as the first k of `synergy`, at
  every k, and chance decides which of the layer's. Where it does as much harm as `synergy`, the
  ranking says no more than the layer does. Where a layer has one node alone, as of layers and MLP
  blocks, it is `synergy` itself and says nothing.
- `layer_only`: layer after layer, by the mean score of its nodes, the highest first; inside a layer
  chance decides.
- `norm`: the most active node first.

`NAME_reversed` is any of them read from its end. Nodes with equal scores, or equal activity, stand
in an order that chance decides once for all orders of a call: by their index, early layers would
come first.

Every order has a stream of random numbers of its own, by seed, name and draw: which others are
asked for, and how many draws, does not change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synkern.interventions.options import ORDER_NAMES

ORDERS = ORDER_NAMES
"""The names of all orders."""

DRAWN = ("random", "layer_matched", "layer_only")
"""Those that chance has a part in, so that there are several draws of each."""

_REVERSED = "_reversed"
# The streams of random numbers; a name keeps its number. 0 decides between equals.
_STREAMS = {"ties": 0, "random": 1, "layer_matched": 2, "layer_only": 3}

Nodes = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Order:
    """One order of nodes.

    Attributes:
        name: as the module has it.
        draw: which one of several that chance made, from 0.
        nodes: indices of nodes, int64, the first to be taken out first: (nodes,), or (2, nodes) for
            an order that is another one in each half of the texts.
    """

    name: str
    draw: int
    nodes: Nodes

    def __repr__(self) -> str:
        """Return name, draw and length."""
        return f"Order({self.name!r}, draw {self.draw}, {self.nodes.shape[-1]} nodes)"

    def masks(self, count: int, of: int) -> NDArray[np.bool_]:
        """Which of all nodes the first `count` are, bool (1 or 2, `of`), a row for each half."""
        rows = np.atleast_2d(self.nodes)
        masks = np.zeros((len(rows), of), bool)
        np.put_along_axis(masks, rows[:, :count], values=True, axis=1)
        return masks


def orders_of(
    scores: ArrayLike,
    layers: ArrayLike,
    *,
    names: Sequence[str] = ORDERS,
    draws: int | Mapping[str, int] = 20,
    seed: int = 0,
    activity: ArrayLike | None = None,
    among: ArrayLike | None = None,
) -> tuple[Order, ...]:
    """Make orders of the nodes of a model.

    Args:
        scores: (nodes,), higher for more synergistic.
        layers: (nodes,), whole numbers, the layer of each node.
        names: which orders, of `ORDERS`, or one of them with `_reversed` behind it.
        draws: how many of each that chance has a part in; a mapping names them, others have 20.
        seed: for what chance decides.
        activity: (nodes,), the mean activity of each node, for `norm`.
        among: bool (nodes,), the nodes that are ever taken out; all by default. The others are in
            no order.

    Returns:
        The orders by name as asked for, and draw by draw.

    Raises:
        ValueError: shapes that do not fit, a name that there is not or twice, a number of draws
            below 1; nodes without score, which have no place in an order; no activity for `norm`.
    """
    makers = _Makers.of(scores, layers, seed, activity, among)
    found = []
    for name in _checked_names(names):
        plain = name.removesuffix(_REVERSED)
        for draw in range(_draws(plain, draws) if plain in DRAWN else 1):
            nodes = makers.made(plain, draw)
            found.append(Order(name, draw, nodes[::-1].copy() if plain != name else nodes))
    return tuple(found)


def of_scores(
    name: str, scores: ArrayLike, *, seed: int = 0, among: ArrayLike | None = None
) -> Order:
    """The order by some scores, the highest first, under a name: for further rankings.

    Raises:
        ValueError: as `orders_of`.
    """
    layers = np.zeros(np.shape(scores), np.int64)
    return Order(name, 0, _Makers.of(scores, layers, seed, None, among).made("synergy", 0))


@dataclass(frozen=True, eq=False)
class _Makers:
    """What orders are made of: of the nodes that are ever taken out alone."""

    scores: Floats
    layers: Nodes
    activity: Floats | None
    seed: int
    indices: Nodes
    """Which nodes of the model they are."""

    @classmethod
    def of(
        cls,
        scores: ArrayLike,
        layers: ArrayLike,
        seed: int,
        activity: ArrayLike | None,
        among: ArrayLike | None,
    ) -> _Makers:
        values = _floats("scores", scores, None)
        own_layers = np.asarray(layers)
        if own_layers.shape != values.shape or own_layers.dtype.kind not in "iu":
            raise ValueError(
                f"layers: {own_layers.dtype} of shape {own_layers.shape} for {len(values)} scores; "
                "give a whole number for each node"
            )
        chosen = np.ones(len(values), bool) if among is None else np.asarray(among)
        if chosen.shape != values.shape or chosen.dtype != bool:
            raise ValueError(
                f"among: {chosen.dtype} of shape {chosen.shape} for {len(values)} nodes; give True "
                "or False for each"
            )
        if not chosen.any():
            raise ValueError("among: there is no node in it; name at least one")
        indices = np.flatnonzero(chosen)
        _refuse_missing("scores", values, indices)
        own_activity = None
        if activity is not None:
            own_activity = _floats("activity", activity, len(values))
            _refuse_missing("activity", own_activity, indices)
            own_activity = own_activity[indices]
        return cls(
            values[indices], own_layers[indices].astype(np.int64), own_activity, seed, indices
        )

    def made(self, name: str, draw: int) -> Nodes:
        """One order by name, as indices of nodes of the model."""
        places: Nodes = getattr(self, f"_{name}")(draw)
        return self.indices[places]

    def _random_of(self, name: str, draw: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, _STREAMS[name], draw])

    def _falling(self, values: Floats) -> Nodes:
        """Places by value, the highest first, equals by chance."""
        return np.lexsort((self._random_of("ties", 0).permutation(len(values)), -values))

    def _synergy(self, draw: int) -> Nodes:
        del draw
        return self._falling(self.scores)

    def _redundancy(self, draw: int) -> Nodes:
        return self._synergy(draw)[::-1]

    def _random(self, draw: int) -> Nodes:
        return self._random_of("random", draw).permutation(len(self.scores))

    def _layer_matched(self, draw: int) -> Nodes:
        random, by_score = self._random_of("layer_matched", draw), self._synergy(0)
        found = np.empty_like(by_score)
        for layer in np.unique(self.layers):
            where = self.layers[by_score] == layer
            found[where] = random.permutation(np.sort(by_score[where]))
        return found

    def _layer_only(self, draw: int) -> Nodes:
        random = self._random_of("layer_only", draw)
        _, inverse = np.unique(self.layers, return_inverse=True)
        means = np.bincount(inverse, self.scores) / np.bincount(inverse)
        return np.concatenate(
            [random.permutation(np.flatnonzero(inverse == place)) for place in self._falling(means)]
        ).astype(np.int64)

    def _norm(self, draw: int) -> Nodes:
        del draw
        if self.activity is None:
            raise ValueError(
                "activity: the order 'norm' needs the mean activity of every node; give it, or "
                "leave that order out"
            )
        return self._falling(self.activity)


def _floats(name: str, values: ArrayLike, nodes: int | None) -> Floats:
    """Values of nodes as a vector.

    Raises:
        ValueError: they are none, or not one for each node.
    """
    found: NDArray[Any] = np.asarray(values)
    fits = found.ndim == 1 and found.size and found.dtype.kind in "fiub"
    if not fits or (nodes is not None and len(found) != nodes):
        raise ValueError(
            f"{name}: {found.dtype} of shape {found.shape}; give one number for each of "
            f"{'the' if nodes is None else nodes} nodes"
        )
    return found.astype(np.float64)


def _refuse_missing(name: str, values: Floats, indices: Nodes) -> None:
    """Refuse nodes without a value: they have no place in an order."""
    missing = indices[~np.isfinite(values[indices])]
    if len(missing):
        first = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise ValueError(
            f"{name}: {len(missing)} of {len(values)} nodes have none (indices {first}), and so no "
            "place in an order; leave them out by `among`, which they must not be in"
        )


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of orders.

    Raises:
        ValueError: there are none, one that there is not, or one twice.
    """
    asked = (names,) if isinstance(names, str) else tuple(names)
    wrong = [name for name in asked if str(name).removesuffix(_REVERSED) not in ORDERS]
    if wrong or not asked:
        raise ValueError(
            f"orders: {wrong[0] if wrong else asked!r} is no order; use one or several of "
            f"{', '.join(ORDERS)}, or one of them with {_REVERSED} behind it"
        )
    if len(set(asked)) < len(asked):
        raise ValueError(f"orders: {asked} names one twice; give each once")
    return asked


def _draws(name: str, draws: int | Mapping[str, int]) -> int:
    """How many draws of an order.

    Raises:
        ValueError: less than one, or of an order that has none.
    """
    if isinstance(draws, Mapping):
        others = [other for other in draws if other not in DRAWN]
        if others:
            raise ValueError(
                f"draws: chance has no part in the order {others[0]!r}; name {' or '.join(DRAWN)}"
            )
    count = draws.get(name, 20) if isinstance(draws, Mapping) else draws
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"draws: {count!r} of {name!r}; give a whole number, 1 or more")
    return int(count)
