"""Every node of one group with every node of another: rectangles of the matrix of all pairs.

Nodes that are in both groups would have their pairs twice, and one with themselves. So the unique
nodes are put in the order rows alone, both, columns alone, and the matrix is put together from

               both              columns alone
    rows       one rectangle, rows alone x (both and columns alone)
    alone
    both       all pairs of      one rectangle, both x columns alone
               these nodes

in which no pair of nodes is twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern._arrays import like
from synkern.decomposition.batches import Batch, Run, decomposed, of_nodes, of_range, values_of
from synkern.kernels import Pairs, Rectangle, Request, narrowed

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Some of the pairs of two groups.

    Attributes:
        nodes: those among which its pairs are, of the nodes in order.
        rectangle: its pairs, numbered from the first of these nodes; None: all of them.
    """

    nodes: slice
    rectangle: Rectangle | None


@dataclass(frozen=True)
class Bipartite:
    """Two groups of nodes, all pairs across them chosen.

    Attributes:
        asked: (rows, columns, 2) first and second node, as asked for.
        order: (nodes,) all nodes: rows alone, both, columns alone, the rest; None: as they are.
        alone: the rectangle of rows alone with all columns; None if each row is a column too.
        both: all pairs of the nodes in both groups; None if there are fewer than two.
        rest: the rectangle of the nodes in both groups with the columns alone; None if either is
            empty.
        shared: number of nodes in both groups.
        rows: (rows,) which of the unique rows each is; None: these, in their order.
        columns: (columns,) likewise.
    """

    asked: Indices
    order: Indices | None
    alone: Part | None
    both: Part | None
    rest: Part | None
    shared: int
    rows: Indices | None
    columns: Indices | None

    @property
    def nodes(self) -> Indices:
        """(chosen,) all nodes in either group, sorted."""
        return np.union1d(self.asked[:, 0, 0], self.asked[0, :, 1])

    @property
    def computed(self) -> int:
        """Number of entries of the matrix of unique rows and columns."""
        return len(np.unique(self.asked[:, 0, 0])) * len(np.unique(self.asked[0, :, 1]))

    def decompose(self, xp: Any, run: Run, given: Sequence[Batch], request: Request) -> Pairs:
        """Run a backend on batches, part by part.

        Args:
            xp: numpy, torch or cupy, the library of its arrays.
            run: the backend's.
            given: batches of one lag, see `batches.decomposed`.
            request: what to compute; of all pairs.

        Returns:
            Atoms (..., rows, columns) as asked for; `constant` of all nodes, in their order.
        """
        one = values_of(given[0].series)
        if self.order is not None:
            order = like(self.order, one)
            given = [batch._replace(series=of_nodes(batch.series, order)) for batch in given]
        nodes = one.shape[-1]
        found: dict[str, Pairs] = {}
        for name, part in self._parts(nodes):
            some = [batch._replace(series=of_range(batch.series, part.nodes)) for batch in given]
            answer = decomposed(xp, run, some, narrowed(request, part.rectangle))
            assert isinstance(answer, Pairs)
            found[name] = answer
        atoms = {name: self._assembled(xp, found, name, request, one) for name in request.wanted}
        constant, *_ = (pairs.constant for pairs in found.values())
        found.pop("", None)
        flagged = [self._renumbered(xp, name, pairs.flagged) for name, pairs in found.items()]
        if self.order is not None:
            constant = constant[:, like(np.argsort(self.order), constant)]
        return Pairs(
            atoms=atoms,
            constant=constant,
            flagged=xp.concatenate(flagged),
            rescued=sum(pairs.rescued for pairs in found.values()),
        )

    def _parts(self, nodes: int) -> list[tuple[str, Part]]:
        """Those that there are, by name; of the first all nodes are seen, also by its constants."""
        every = {"alone": self.alone, "rest": self.rest, "both": self.both}
        parts = [(name, part) for name, part in every.items() if part is not None]
        first = parts[0][1]
        if first.nodes == slice(0, nodes):
            return parts
        if first.rectangle is not None:
            return [(parts[0][0], replace(first, nodes=slice(0, nodes))), *parts[1:]]
        # Nothing is asked of this but which nodes are constant.
        return [("", Part(slice(0, nodes), Rectangle(slice(0, 1), slice(1, 2)))), *parts]

    def _assembled(
        self, xp: Any, found: dict[str, Pairs], name: str, request: Request, one: Any
    ) -> Any:
        """(..., rows, columns) of an atom; NaN where a node would be with itself."""
        parts = {key: pairs.atoms[name] for key, pairs in found.items() if key}
        below = [parts[key] for key in ("both", "rest") if key in parts]
        if self.shared == 1:
            trials = (len(next(iter(found.values())).constant),) if request.per_trial else ()
            itself = np.full((*trials, 1, 1), np.nan, request.dtype)
            below.insert(0, like(itself, one))
        rows = [parts["alone"]] if "alone" in parts else []
        if below:
            rows.append(xp.concatenate(below, -1) if len(below) > 1 else below[0])
        value = xp.concatenate(rows, -2) if len(rows) > 1 else rows[0]
        if self.rows is not None:
            value = value[..., like(self.rows, value), :]
        if self.columns is not None:
            value = value[..., like(self.columns, value)]
        return value

    def _renumbered(self, xp: Any, name: str, flagged: Any) -> Any:
        """Flags of a part with the numbers of the nodes, row < column."""
        part = {"alone": self.alone, "rest": self.rest, "both": self.both}[name]
        assert part is not None
        pair = flagged[:, 1:3] + part.nodes.start
        if self.order is not None:
            pair = like(self.order, flagged)[pair]
        low, high = xp.minimum(pair[:, 0], pair[:, 1]), xp.maximum(pair[:, 0], pair[:, 1])
        return xp.stack([flagged[:, 0], low, high, flagged[:, 3]], -1)


def bipartite(rows: Indices, columns: Indices, nodes: int) -> Bipartite:
    """Two groups of nodes as rectangles.

    Args:
        rows: nodes of the first group, in any order; may name a node twice.
        columns: of the second.
        nodes: number of all nodes.
    """
    asked = np.ascontiguousarray(np.stack(np.broadcast_arrays(rows[:, None], columns), -1))
    ranges = [_as_range(side) for side in (rows, columns)]
    if None not in ranges and (rows[0] > columns[-1] or columns[0] > rows[-1]):
        first, second = (side for side in ranges if side is not None)
        whole = Part(slice(0, nodes), Rectangle(first, second))
        return Bipartite(asked, None, whole, None, None, 0, None, None)
    unique = np.unique(rows), np.unique(columns)
    both = np.intersect1d(*unique)
    apart = [np.setdiff1d(side, both) for side in unique]
    rest = np.setdiff1d(np.arange(nodes), np.union1d(*unique))
    order = np.concatenate([apart[0], both, apart[1], rest])
    a, b, c = (len(part) for part in (apart[0], both, apart[1]))
    place = np.empty(nodes, np.int64)
    place[order] = np.arange(nodes)
    return Bipartite(
        asked,
        order,
        alone=_part(slice(0, nodes), a, b + c),
        both=Part(slice(a, a + b), None) if b > 1 else None,
        rest=_part(slice(a, a + b + c), b, c),
        shared=b,
        rows=place[rows],
        columns=place[columns] - a,
    )


def _part(nodes: slice, rows: int, columns: int) -> Part | None:
    """The first rows of some nodes with the columns that follow; None if there are none."""
    if not rows or not columns:
        return None
    return Part(nodes, Rectangle(slice(0, rows), slice(rows, rows + columns)))


def _as_range(nodes: Indices) -> slice | None:
    """A slice where nodes follow each other."""
    start = int(nodes[0]) if len(nodes) else 0
    follow = np.array_equal(nodes, np.arange(start, start + len(nodes)))
    return slice(start, start + len(nodes)) if follow and len(nodes) else None
