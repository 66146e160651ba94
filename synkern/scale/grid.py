"""Which pairs are in which block: nodes in ranges of one size, blocks of range against range.

    numbers of blocks     0  1  2
    of three ranges          3  4
                                5

Of a pair and its mirror image one is computed, so that a block on the diagonal holds all pairs of
its range, and there is none below it. How nodes are cut must not depend on who computes, lest the
sums by node, which add up over blocks, do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TILE = 64
"""Blocks begin where tiles of the backends do."""

MOST = {"pairs": 2048, "node_means": 4096}
"""Nodes to a side of a block from which larger ones gain nothing: of 2,048 nodes, reading a series
of 1,000 samples and making it ready takes 1 % of the time of its pairs. Files of pairs are then
34 MB for each atom."""

PREPARED = 40
"""Bytes that a value of a series takes while the compiled backend makes it ready, with a copy."""


@dataclass(frozen=True)
class Grid:
    """Ranges of nodes, and the blocks between them.

    Attributes:
        nodes: in all.
        side: of a range; the last may be shorter.
    """

    nodes: int
    side: int

    @property
    def ranges(self) -> int:
        """Number of ranges."""
        return -(-self.nodes // self.side)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.ranges * (self.ranges + 1) // 2

    def range(self, number: int) -> slice:
        """Nodes of a range."""
        return slice(number * self.side, min((number + 1) * self.side, self.nodes))

    def block(self, number: int) -> tuple[int, int]:
        """Its range of rows, and that of its columns, which is not before."""
        # Blocks that are left from row i on are a triangle; the largest that holds this one.
        left = self.blocks - number
        rows = (math.isqrt(8 * left - 7) + 1) // 2
        i = self.ranges - rows
        return i, i + rows * (rows + 1) // 2 - left

    def number(self, i: int, j: int) -> int:
        """Number of the block of two ranges, i <= j."""
        return self.blocks - (self.ranges - i) * (self.ranges - i + 1) // 2 + j - i

    def pairs(self, number: int) -> int:
        """Number of pairs in a block."""
        i, j = self.block(number)
        height = min(self.side, self.nodes - i * self.side)
        width = min(self.side, self.nodes - j * self.side)
        return height * (height - 1) // 2 if i == j else height * width


def bytes_of(side: int, *, samples: int, entries: int) -> int:
    """What is in memory while blocks of this side are computed one after another.

    Args:
        side: nodes to a side.
        samples: of a node, in all trials.
        entries: bytes of all atoms of a pair; 0 where only sums by node are kept.
    """
    # A block is computed while the one before it is being written.
    return 2 * side * samples * PREPARED + 2 * side * side * entries


def side_for(nodes: int, *, samples: int, entries: int, memory: int, most: int) -> int:
    """Nodes to a side of the largest blocks that fit.

    Args:
        nodes: in all.
        samples: of a node, in all trials.
        entries: bytes of all atoms of a pair.
        memory: bytes that a block may take.
        most: side from which larger blocks gain nothing.

    Raises:
        MemoryError: not even the smallest do.
    """
    sides = range(TILE, max(most, TILE) + 1, TILE)
    fit = [s for s in sides if bytes_of(s, samples=samples, entries=entries) <= memory]
    if not fit:
        least = bytes_of(TILE, samples=samples, entries=entries)
        raise MemoryError(
            f"memory = {memory / 1e9:.3g} GB does not hold a block of {TILE} nodes to a side, "
            f"which takes {least / 1e9:.3g} GB; allow for more, or take fewer trials or atoms"
        )
    count = -(-nodes // fit[-1])
    return -(-nodes // count // TILE) * TILE  # ranges of about one size
