"""How far a run is, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from synkern.scale.errors import needed
from synkern.scale.grid import Grid


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        done: blocks that are finished, those of earlier runs among them.
        blocks: in all.
        pairs: of nodes in the finished ones.
        all_pairs: in all.
        seconds: since this run began.
        left: seconds until its end, at its speed so far; None before its first block.
    """

    done: int
    blocks: int
    pairs: int
    all_pairs: int
    seconds: float
    left: float | None


Shown = bool | Callable[[Progress], None]
"""Whether a bar is drawn, or who is told."""


class Watch:
    """Counts blocks as they come, and tells of them."""

    def __init__(self, grid: Grid, todo: list[int], shown: Shown) -> None:
        """Begin the clock."""
        self._grid, self._tell = grid, shown if callable(shown) else None
        self._all = grid.nodes * (grid.nodes - 1) // 2
        self._before = self._all - sum(grid.pairs(number) for number in todo)
        self._done, self._pairs = grid.blocks - len(todo), self._before
        self._bar: Any = None
        if shown is True:
            self._bar = needed("tqdm", "progress=True").tqdm(
                total=self._all,
                initial=self._before,
                unit="pair",
                unit_scale=True,
                desc="blocks",
                disable=None,
            )
        self._start = time.monotonic()

    def add(self, number: int) -> None:
        """Count a block that is finished."""
        pairs = self._grid.pairs(number)
        self._done, self._pairs = self._done + 1, self._pairs + pairs
        if self._bar is not None:
            self._bar.update(pairs)
        if self._tell is not None:
            self._tell(self.now())

    def now(self) -> Progress:
        """How far it is."""
        seconds, own = time.monotonic() - self._start, self._pairs - self._before
        left = (self._all - self._pairs) * seconds / own if own else None
        return Progress(self._done, self._grid.blocks, self._pairs, self._all, seconds, left)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
