"""Sums by node of more nodes than can be made ready at once: block of nodes against block.

A backend turns a series into features of its own, in float64, several times as large. Of hundreds
of thousands of nodes there is no room for all of them; of two blocks of nodes there is. Each sum by
node is over pairs, and every pair is in one rectangle of two blocks, so that the sums of the
rectangles add up. All trials stay together, as an average is over the trials of a pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from synkern.decomposition.batches import Batch, Run, decomposed, of_range
from synkern.kernels import Array, Bases, Nodes, Rectangle, Request, moments, narrowed, steady

_TILE = 64
"""Blocks begin where tiles of the backends do."""


def sums_by_node(
    xp: Any,
    run: Run,
    given: Sequence[Batch],
    request: Request,
    progress: Callable[[int], None] = lambda decompositions: None,
) -> Nodes:
    """Run a backend on batches, some nodes at a time.

    Args:
        xp: numpy, torch or cupy, the library of its arrays.
        run: the backend's.
        given: batches of one lag, see `batches.decomposed`.
        request: of sums by node; its limits bound how many values are made ready at a time.
        progress: called with the number of (trial, pair) that were decomposed since the last call.
    """
    one = given[0].series
    together = len(given) > 1 or isinstance(one, moments.Moments | Bases)
    if together:  # Of several batches rectangles are taken anyway; all else is made ready already.
        return _told(decomposed(xp, run, given, request), progress)
    trials, time, nodes = one.shape
    blocks = list(_blocks(nodes, request.limits.prepared // (trials * time)))
    whole = slice(0, nodes)
    if blocks == [whole]:
        part = _part(xp, given[0], whole, whole, request.pooled)
        return _told(decomposed(xp, run, [part], request), progress)
    total = _Total(xp, len(blocks))
    for i, rows in enumerate(blocks):
        for j in range(i, len(blocks)):
            columns = blocks[j]
            part = _part(xp, given[0], rows, columns, request.pooled)
            height, width = rows.stop - rows.start, columns.stop - columns.start
            across = Rectangle(slice(0, height), slice(height, height + width))
            found = decomposed(xp, run, [part], narrowed(request, None if i == j else across))
            assert isinstance(found, Nodes)
            total.add(found, i, j, height)
            pairs = height * (height - 1) // 2 if i == j else height * width
            progress(len(found.constant) * pairs)
    return total.nodes()


def _told(found: Any, progress: Callable[[int], None]) -> Nodes:
    """Sums by node of all pairs, and tell how many there are."""
    assert isinstance(found, Nodes)
    trials, nodes = found.constant.shape
    progress(trials * (nodes * (nodes - 1) // 2))
    return found


def _blocks(nodes: int, most: int) -> Iterator[slice]:
    """Ranges of nodes, two of which have no more than `most`; all nodes where these do."""
    if nodes <= most:
        yield slice(0, nodes)
        return
    side = max(most // 2 // _TILE * _TILE, _TILE)
    count = -(-nodes // side)
    side = -(-nodes // count // _TILE) * _TILE  # of about one size
    starts = list(range(0, nodes, side))
    if nodes - starts[-1] < 2 and len(starts) > 1:  # A single node has no pairs.
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], nodes], strict=True):
        yield slice(start, stop)


def _part(xp: Any, batch: Batch, rows: slice, columns: slice, pooled: str | None) -> Batch:
    """The nodes of two blocks, one behind the other; of one, if they are the same."""
    series = of_range(batch.series, rows)
    if columns != rows:
        series = xp.concatenate([series, of_range(batch.series, columns)], -1)
    if not batch.unsettled:
        return batch._replace(series=series)
    series = steady.settled(xp, series, batch.tau, pooled, batch.unsettled)
    return batch._replace(series=series, unsettled=0.0)


@dataclass
class _Total:
    """Sums by node of the rectangles so far, by block."""

    xp: Any
    count: int
    arrays: dict[tuple[str, int], Array] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    outcomes: Counter[int] = field(default_factory=Counter)
    rescued: int = 0

    def add(self, found: Nodes, i: int, j: int, height: int) -> None:
        """Add a rectangle of blocks i and j, the first of which has `height` nodes."""
        self.names = tuple(found.sums)
        self.outcomes.update(found.outcomes)
        self.rescued += found.rescued
        each = {name: getattr(found, name) for name in ("pairs", "shares", "shared")}
        for name, array in {**found.sums, **each}.items():
            self._add(name, i, array[..., :height])
            if j != i:
                self._add(name, j, array[..., height:])
        if i == j:
            self.arrays["constant", i] = found.constant

    def nodes(self) -> Nodes:
        """All together."""

        def whole(name: str) -> Array:
            return self.xp.concatenate([self.arrays[name, k] for k in range(self.count)], -1)

        return Nodes(
            sums={name: whole(name) for name in self.names},
            pairs=whole("pairs"),
            shares=whole("shares"),
            shared=whole("shared"),
            constant=whole("constant"),
            outcomes=self.outcomes,
            rescued=self.rescued,
        )

    def _add(self, name: str, block: int, array: Array) -> None:
        before = self.arrays.get((name, block))
        self.arrays[name, block] = array if before is None else before + array
