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
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from synkern._arrays import like
from synkern.decomposition.batches import (
    Batch,
    Run,
    constant_nodes,
    decomposed,
    of_nodes,
    of_range,
    values_of,
)
from synkern.kernels import Pairs, Rectangle, Request, narrowed

Indices = npt.NDArray[np.int64]


class Part(NamedTuple):
    """Some of the pairs of two groups.

    Attributes:
        nodes: those among which its pairs are, of the chosen nodes in order.
        rectangle: its pairs, numbered from the first of these nodes; None: all of them.
    """

    nodes: slice
    rectangle: Rectangle | None


@dataclass(frozen=True)
class Bipartite:
    """Two groups of nodes, all pairs across them chosen.

    Attributes:
        nodes: (chosen,) rows that are no columns, nodes of both groups, columns that are no rows.
        only_rows: number of rows that are no columns.
        both: number of nodes in both groups.
        rows: (rows,) which of the unique rows, in order, each is.
        columns: (columns,) likewise.
    """

    nodes: Indices
    only_rows: int
    both: int
    rows: Indices
    columns: Indices

    @cached_property
    def asked(self) -> Indices:
        """(rows, columns, 2) first and second node, as asked for; made when first wanted."""
        sides = self.nodes[self.rows][:, None], self.nodes[self.only_rows :][self.columns]
        return np.ascontiguousarray(np.stack(np.broadcast_arrays(*sides), -1))

    @property
    def shape(self) -> tuple[int, int]:
        """That of an atom."""
        return len(self.rows), len(self.columns)

    @property
    def computed(self) -> int:
        """Number of entries of the matrix of unique rows and columns."""
        return (self.only_rows + self.both) * (len(self.nodes) - self.only_rows)

    def decompose(self, xp: Any, run: Run, given: Sequence[Batch], request: Request) -> Pairs:
        """Run a backend on batches, part by part.

        Args:
            xp: numpy, torch or cupy, the library of its arrays.
            run: the backend's.
            given: batches of one lag, see `batches.decomposed`.
            request: what to compute; of all pairs.

        Returns:
            Atoms (..., rows, columns) as asked for; `constant` of all nodes, chosen or not.
        """
        one = values_of(given[0].series)
        order = like(self.nodes, one)
        chosen = [batch._replace(series=of_nodes(batch.series, order)) for batch in given]
        found: dict[str, Pairs] = {}
        for name, part in self.parts().items():
            some = [batch._replace(series=of_range(batch.series, part.nodes)) for batch in chosen]
            answer = decomposed(xp, run, some, narrowed(request, part.rectangle))
            assert isinstance(answer, Pairs)
            found[name] = answer
        flagged = [
            self._renumbered(xp, order[self.parts()[name].nodes], pairs.flagged)
            for name, pairs in found.items()
        ]
        return Pairs(
            atoms={name: self._assembled(xp, found, name, request, one) for name in request.wanted},
            constant=constant_nodes(xp, given, request.pooled),
            flagged=xp.concatenate(flagged),
            rescued=sum(pairs.rescued for pairs in found.values()),
        )

    def parts(self) -> dict[str, Part]:
        """Parts that are not empty, by name."""
        a, b, end = self.only_rows, self.both, len(self.nodes)
        found = {}
        if a and end > a:
            found["only_rows"] = Part(slice(0, end), Rectangle(slice(0, a), slice(a, end)))
        if b > 1:
            found["both"] = Part(slice(a, a + b), None)
        if b and end > a + b:
            found["rest"] = Part(slice(a, end), Rectangle(slice(0, b), slice(b, end - a)))
        return found

    def _assembled(
        self, xp: Any, found: dict[str, Pairs], name: str, request: Request, one: Any
    ) -> Any:
        """(..., rows, columns) of an atom; NaN where a node would be with itself."""
        parts = {key: pairs.atoms[name] for key, pairs in found.items()}
        if self.both == 1:
            trials = (len(next(iter(found.values())).constant),) if request.per_trial else ()
            parts["both"] = like(np.full((*trials, 1, 1), np.nan, request.dtype), one)
        below = [parts[key] for key in ("both", "rest") if key in parts]
        rows = [parts["only_rows"]] if "only_rows" in parts else []
        if below:
            rows.append(xp.concatenate(below, -1) if len(below) > 1 else below[0])
        value = xp.concatenate(rows, -2) if len(rows) > 1 else rows[0]
        if not np.array_equal(self.rows, np.arange(value.shape[-2])):
            value = value[..., like(self.rows, value), :]
        if not np.array_equal(self.columns, np.arange(value.shape[-1])):
            value = value[..., like(self.columns, value)]
        return value

    def _renumbered(self, xp: Any, nodes: Any, flagged: Any) -> Any:
        """Flags of a part with the numbers of the nodes, row < column."""
        row, column = nodes[flagged[:, 1]], nodes[flagged[:, 2]]
        pair = xp.minimum(row, column), xp.maximum(row, column)
        return xp.stack([flagged[:, 0], *pair, flagged[:, 3]], -1)


def bipartite(rows: Indices, columns: Indices) -> Bipartite:
    """Two groups of nodes as rectangles.

    Args:
        rows: nodes of the first group, in any order; may name a node twice.
        columns: of the second.
    """
    # In the order given, so that the matrix is wanted as it is computed where no node is twice.
    first, second = (
        side[np.sort(np.unique(side, return_index=True)[1])] for side in (rows, columns)
    )
    shared = np.isin(first, second)
    alone, both = first[~shared], first[shared]
    nodes = np.concatenate([alone, both, second[~np.isin(second, both)]])
    sorter = np.argsort(nodes)
    places = [sorter[np.searchsorted(nodes, side, sorter=sorter)] for side in (rows, columns)]
    a = len(alone)
    return Bipartite(nodes, a, len(both), rows=places[0], columns=places[1] - a)
