"""The bits that a model's weights take when some nodes' are kept at more of them than others'."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synkern.interventions.rounding import Rounding

NOBODY = -1
"""In place of a node: weights of a linear layer that belong to no node."""
KEPT = -2
"""In place of a node: what is never rounded, such as embeddings, norms and biases."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ledger:
    """Every weight of a model, by tensor and by the node that it belongs to.

    A piece is a part of one tensor, a matrix whose rows are rounded by group.

    Attributes:
        tensors: dotted names, in the model's order.
        own_bits: (tensors,) bits of an element as the model is loaded.
        tensor: (pieces,) which tensor it is part of.
        node: (pieces,) whose it is: the index of a node, `NOBODY` or `KEPT`.
        rows, inputs: (pieces,) its shape; inputs are along the axis of the groups.
        rounding: how pieces are rounded.
    """

    tensors: tuple[str, ...]
    own_bits: Ints
    tensor: Ints
    node: Ints
    rows: Ints
    inputs: Ints
    rounding: Rounding

    @property
    def elements(self) -> Ints:
        """(tensors,) numbers of weights."""
        return self._summed(self.rows * self.inputs)

    @property
    def of_nodes(self) -> int:
        """How many weights belong to nodes."""
        return int((self.rows * self.inputs)[self.node >= 0].sum())

    @property
    def sizes(self) -> dict[tuple[tuple[int, int], ...], int]:
        """How many nodes there are of each size: shapes of a node's pieces, in order."""
        found: dict[tuple[tuple[int, int], ...], int] = {}
        for node in range(int(self.node.max()) + 1):
            mine = self.node == node
            size = tuple(zip(self.rows[mine].tolist(), self.inputs[mine].tolist(), strict=True))
            found[size] = found.get(size, 0) + 1
        return found

    def bits(self, of_nodes: npt.ArrayLike, rest: int | None = None) -> Ints:
        """The bits of every tensor, (tensors,).

        Args:
            of_nodes: (nodes,) bits per weight of each node; see `Rounding` for what they can be.
            rest: the same of linear layers' weights that are nobody's; None leaves them as loaded.
        """
        per_weight = self.own_bits[self.tensor]
        rounded = self.node >= 0
        per_weight = np.where(rounded, np.asarray(of_nodes)[self.node], per_weight)
        if rest is not None:
            rounded |= self.node == NOBODY
            per_weight = np.where(self.node == NOBODY, rest, per_weight)
        cost = self.rows * self.inputs * per_weight
        for bits in np.unique(per_weight[rounded]).tolist():
            mine = rounded & (per_weight == bits)
            shapes, places = np.unique(
                np.stack([self.rows[mine], self.inputs[mine]]), axis=1, return_inverse=True
            )
            each = [self.rounding.cost(shape, bits) for shape in shapes.T.tolist()]
            cost[mine] = np.array(each, np.int64)[places]
        return self._summed(cost)

    def of_each_node(self, bits: int) -> Ints:
        """(nodes,) what the weights of each node take at so many bits per weight."""
        mine = self.node >= 0
        shapes, places = np.unique(
            np.stack([self.rows[mine], self.inputs[mine]]), axis=1, return_inverse=True
        )
        each = np.array([self.rounding.cost(shape, bits) for shape in shapes.T.tolist()], np.int64)
        summed = np.zeros(int(self.node.max()) + 1, np.int64)
        np.add.at(summed, self.node[mine], each[places])
        return summed

    def _summed(self, pieces: Ints) -> Ints:
        summed = np.zeros(len(self.tensors), np.int64)
        np.add.at(summed, self.tensor, pieces)
        return summed


@dataclass(frozen=True)
class Budget:
    """Some nodes kept at more bits than the others.

    Attributes:
        high, low: bits per weight of those and of the others.
        kept: how many nodes are at the high bits.
    """

    high: int
    low: int
    kept: int

    def of_nodes(self, order: npt.ArrayLike) -> Ints:
        """(nodes,) bits per weight, the first nodes of an order of all nodes at the high ones."""
        places = np.asarray(order)
        bits = np.full(len(places), self.low, np.int64)
        bits[places[: self.kept]] = self.high
        return bits

    def __str__(self) -> str:
        """Such as `27 nodes at 8 bits, the rest at 4`."""
        return f"{self.kept} nodes at {self.high} bits, the rest at {self.low}"


def budgets(
    pairs: Iterable[Sequence[int]], shares: Iterable[float], nodes: int, rounding: Rounding
) -> tuple[Budget, ...]:
    """Every pair of bits with every share of the nodes at the higher one.

    Raises:
        ValueError: a pair that is not two different numbers of bits, the higher one first; a share
            that leaves no node on one side; one of either twice.
    """
    found = []
    asked = [tuple(pair) for pair in pairs]
    for pair in asked:
        if len(pair) != 2:
            raise ValueError(f"pairs: {pair!r}; each is the higher bits and the lower, as (4, 2)")
        for bits in pair:
            rounding.check(bits)
        if not pair[0] > pair[1]:
            raise ValueError(f"pairs: {pair!r}; the higher number of bits comes first, as (4, 2)")
    for share in (given := list(shares)):
        kept = round(share * nodes) if 0 < share < 1 else 0
        if not 0 < kept < nodes:
            raise ValueError(
                f"shares: {share!r} of {nodes} nodes leaves none on one side; give parts between 0 "
                "and 1, as 0.25"
            )
        found += [Budget(high, low, kept) for high, low in asked]
    for name, values in (("pairs", asked), ("shares", given)):
        if not values:
            raise ValueError(f"{name}: there are none; give at least one")
    if len(set(found)) < len(found):
        raise ValueError(
            f"pairs = {asked}, shares = {given}: of {nodes} nodes two of these are the same; give "
            "each once"
        )
    return tuple(sorted(found, key=lambda budget: (-budget.high, -budget.low, budget.kept)))


def refuse_unequal(
    ledger: Ledger, orders: Sequence[npt.ArrayLike], names: Sequence[str], asked: Iterable[Budget]
) -> None:
    """Refuse orders of nodes whose first ones do not take exactly the same bits.

    Raises:
        ValueError: two orders do not.
    """
    for budget in asked:
        high, low = ledger.of_each_node(budget.high), ledger.of_each_node(budget.low)
        places = [np.asarray(order) for order in orders]
        bits = [
            int(high[order[: budget.kept]].sum() + low[order[budget.kept :]].sum())
            for order in places
        ]
        other = next((place for place, each in enumerate(bits) if each != bits[0]), None)
        if other is not None:
            sizes = "; ".join(
                f"{count} of " + " + ".join(f"{rows} x {inputs}" for rows, inputs in size)
                for size, count in ledger.sizes.items()
            )
            raise ValueError(
                f"orders: with {budget}, {names[0]} takes {bits[0]:,} bits and {names[other]} "
                f"{bits[other]:,}, as not all nodes have the same number of weights ({sizes}): "
                "these could not be compared at equal bits. Where nodes of one layer have one "
                "size, orders=('synergy', 'layer_matched') can"
            )
