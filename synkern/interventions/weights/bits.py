"""The bits that a model's weights take when some nodes' are kept at more of them than others'."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synkern.interventions.weights.rounding import Rounding

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
        vector: (pieces,) bool, no matrix but a bias or the like: never rounded, and gone with a
            node of 0 bits.
        rounding: how pieces are rounded.
    """

    tensors: tuple[str, ...]
    own_bits: Ints
    tensor: Ints
    node: Ints
    rows: Ints
    inputs: Ints
    vector: npt.NDArray[np.bool_]
    rounding: Rounding

    @property
    def elements(self) -> Ints:
        """(tensors,) numbers of weights."""
        return self._summed(self.rows * self.inputs)

    @property
    def in_nodes(self) -> int:
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
        asked = np.where(
            self.node >= 0, np.asarray(of_nodes)[self.node], self.own_bits[self.tensor]
        )
        rounded = self.node >= 0
        if rest is not None:
            asked = np.where(self.node == NOBODY, rest, asked)
            rounded |= self.node == NOBODY
        return self._summed(self._cost(asked, rounded))

    def of_each_node(self, bits: int) -> Ints:
        """(nodes,) what the weights of each node take at so many bits per weight."""
        mine = self.node >= 0
        cost = self._cost(np.full(len(self.node), bits, np.int64), mine)
        summed = np.zeros(int(self.node.max()) + 1, np.int64)
        np.add.at(summed, self.node[mine], cost[mine])
        return summed

    def _cost(self, asked: Ints, rounded: npt.NDArray[np.bool_]) -> Ints:
        """(pieces,) the bits of each, at so many per weight where it is rounded."""
        own, gone = self.own_bits[self.tensor], rounded & (asked == 0)
        cost: Ints = self.rows * self.inputs * np.where(gone, 0, own)
        matrices = np.flatnonzero(rounded & ~gone & ~self.vector)
        kinds = np.stack([self.rows[matrices], self.inputs[matrices], asked[matrices]])
        shapes, places = np.unique(kinds, axis=1, return_inverse=True)
        each = [
            self.rounding.cost((rows, inputs), bits) for rows, inputs, bits in shapes.T.tolist()
        ]
        cost[matrices] = np.array(each, np.int64)[places]
        return cost

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

    def of_nodes(self, order: npt.ArrayLike, nodes: int) -> Ints:
        """(nodes,) bits per weight, those of the first nodes of an order at the high ones."""
        bits = np.full(nodes, self.low, np.int64)
        bits[np.asarray(order)[: self.kept]] = self.high
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
        bits = [
            int(low.sum() + (high - low)[np.asarray(order)[: budget.kept]].sum())
            for order in orders
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
