"""How many trials a program on a GPU sums: so many that its last wave of programs is nearly full.

A GPU takes programs wave by wave, as many at a time as it has room for. All trials of a tile in one
program leave most of the last wave idle where there are few tiles; one trial a program writes a
matrix for each. The choice depends on numbers alone, so that the same call has the same bits.
"""

from __future__ import annotations

import functools

PROGRAMS = 8
"""Programs a multiprocessor, at most, that cutting trials into chunks may make of fewer."""

WRITTEN = 1 / 8
"""Time in which a program writes a tile of one atom and the sum of chunks reads it, over that of a
trial of the tile. From an H100 (bench/results/h100.json): 7 us in 44 (`rtr` and `sts`) and in 71
(all atoms). CCS, whose trials take 1,000, has too few programs to gain or lose by it."""

_REGISTERS = 65536 // 255
"""Threads of a multiprocessor with as many registers as a thread can have."""


def resident(threads: int) -> int:
    """Programs of so many threads for which a multiprocessor has registers, 255 a thread."""
    return max(1, _REGISTERS // threads)


@functools.lru_cache(4096)
def chunk_trials(
    tiles: int, trials: int, atoms: int, *, slots: int, most: int, together: int = 1
) -> int:
    """Trials of a chunk with the least waves times trials, and what chunks cost to write.

    Modelled: a wave is as long as the trials of its programs. Of equals that with fewer chunks.

    Args:
        tiles: programs of a chunk.
        trials: of the series.
        atoms: that are written.
        slots: programs that run at once.
        most: chunks, at most.
        together: trials that a chunk is a multiple of, but for the last one.
    """

    def cost(size: int) -> float:
        chunks = _up(trials, size)
        written = WRITTEN * atoms * chunks * tiles / slots
        return _up(tiles * chunks, slots) * min(size, trials) + written

    sizes = (_up(_up(trials, chunks), together) * together for chunks in range(1, most + 1))
    return min(sizes, key=cost)


def _up(number: int, by: int) -> int:
    """A quotient, rounded up."""
    return -(-number // by)
