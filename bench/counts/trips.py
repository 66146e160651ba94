"""How often loops of the kernels turn, and which code is rare: all that the machine code hides.

Loops are known by the source line that closes them, so that this outlasts changes of everything
else. What is not named here is counted once, and said to be unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple


@dataclass(frozen=True)
class Work:
    """What one block of threads does.

    Attributes:
        trials: of its chunk.
        samples: pairs of samples.
        names: atoms.
        tile: rows and columns; 0 if the kernel has no tiles.
        threads: of the block.
        group: trials that share logarithms.
        depth: samples of a step of a Triton product.
        nodes: of the series.
        stage: samples of a stage of device/lags.cuh.
    """

    trials: int
    samples: int
    names: int
    tile: int
    threads: int
    group: int
    depth: int
    nodes: int
    stage: int


class Turns(NamedTuple):
    """A loop.

    Attributes:
        line: regular expression for its source line, after the one before and a line feed.
        turns: of the source's loop, each time it is come to.
        stride: what its counter rises by at each of them.
    """

    line: str
    turns: Callable[[Work], float]
    stride: Callable[[Work], int] = lambda _: 1


DEPTH = 16
"""Samples of a stretch of the CUDA kernels (device/series.cuh, device/ccs.cuh)."""

LOOPS: dict[str, tuple[Turns, ...]] = {
    "cupy": (
        Turns(
            r"start < tile\.last; start \+= GROUP\)",
            lambda w: w.trials / w.group,
            lambda w: w.group,
        ),
        Turns(r"(Index|int) trial = tile\.first;", lambda w: w.trials),
        Turns(r"int k = 0; k < trials; \+\+k\)", lambda w: min(w.group, w.trials)),
        Turns(r"int k = 0; left\[p\] >> k; \+\+k\)", lambda _: 0),  # marks: no pair has one
        Turns(
            r"Index start = 0; start < samples; start \+= DEPTH\)",
            lambda w: ceil(w.samples / DEPTH),
            lambda _: DEPTH,
        ),
        Turns(  # the two loops over a stage of device/lags.cuh, and the one over stages
            r"; k \+ STEP <= count; k \+= STEP\)",
            lambda w: (w.samples - 1 + 3) // 4 * 4 // 16 / ceil((w.samples - 1) / w.stage),
            lambda _: 16,
        ),
        Turns(
            r"; k < count; k \+= 4\)",
            lambda w: ceil((w.samples - 1) / 4) % 4 / ceil((w.samples - 1) / w.stage),
            lambda _: 4,
        ),
        Turns(
            r"int first = 0; first < samples; first \+= STAGE\)",
            lambda w: ceil((w.samples - 1) / w.stage),
            lambda w: w.stage,
        ),
        Turns(
            r"Index from = 0; from < width; from \+= NODES\)",
            lambda w: ceil((w.samples + 3) / 32),
            lambda _: 32,
        ),
        Turns(r"int t = 0; t < count; \+\+t\)", lambda w: w.samples / ceil(w.samples / DEPTH)),
        Turns(r"int t = 0; t < DEPTH; \+\+t\)", lambda _: DEPTH),
        Turns(r"Index w = 0; w < depth(\(\))?; \+\+w\)", lambda w: ceil(w.samples / 64)),
        Turns(r"int state = 0; state < 16; \+\+state\)", lambda _: 16),
        Turns(r"int u = 0; u < 2; \+\+u\)", lambda _: 2),
        Turns(r"while \(\(samples \+ 1\) << shift > ENTRIES\)", lambda _: 0),
        Turns(
            r"k < int\(samples \+ 1\) << shift; k \+= Shape::THREADS\)",
            lambda w: 16 * (w.samples + 1) / w.threads,
            lambda w: w.threads,
        ),
        Turns(r"Index name = 0; name < task\.names; \+\+name\)", lambda w: w.names),
        Turns(r"quantity = 0; quantity < task\.names \+ 3; \+\+quantity\)", lambda w: w.names + 3),
        Turns(
            r"int e = threadIdx\.x; e < TILE \* TILE; e \+= Shape::THREADS\)",
            lambda w: w.tile**2 / w.threads,
            lambda w: w.threads,
        ),
        Turns(r"int k = 0; k < TILE; \+\+k\)", lambda w: w.tile),
        Turns(r"Index t = row; t < samples; t \+= ROWS\)", lambda w: w.samples / 8, lambda _: 8),
        Turns(
            r"Index start = 0; start < samples; start \+= NODES\)",
            lambda w: ceil(w.samples / 32),
            lambda _: 32,
        ),
        Turns(r"int k = row; k < NODES; k \+= ROWS\)", lambda _: 4, lambda _: 8),
        Turns(r"Index k = SYMMETRIC \? own : 0; k < tiles; \+\+k\)", lambda w: w.nodes / 32 / 2),
        Turns(r"Index k = band; k < band \+ band_tiles", lambda w: w.nodes / 32 / 2),
    ),
    "triton": (
        Turns(
            r"for start in range\(first, last, GROUP\)",
            lambda w: w.trials / w.group,
            lambda w: w.group,
        ),
        Turns(r"any_of\(left\):\n.*for trial in range\(start, stop\)", lambda _: 0),  # marks
        Turns(r"for trial in range\(start, stop\)", lambda w: min(w.group, w.trials)),
        Turns(r"for trial in range\(first, last\)", lambda w: w.trials),
        Turns(
            r"for start in range\(0, samples, DEPTH\)",
            lambda w: ceil(w.samples / w.depth),
            lambda w: w.depth,
        ),
        Turns(r"for time in range\(samples\)", lambda w: w.samples),
        Turns(r"for word in range\(words\)", lambda w: ceil(w.samples / 32)),
        Turns(r"for state in range\(4\)", lambda _: 4),
        Turns(r"for state in range\(16\)", lambda _: 16),
    ),
}
"""By backend; the first that fits."""


class Share(NamedTuple):
    """Code that only some warps come to, or that is rare.

    Attributes:
        line: regular expression for a source line, of the code or of what it is inlined into.
        share: of the warps and turns.
    """

    line: str
    share: Callable[[Work], float]


SHARES: dict[str, tuple[Share, ...]] = {
    "cupy": (
        Share(r"group<double>\(task", lambda _: 0),  # float32: no pair needs promotion
        Share(r"\bappend\(task|if \(left\) mark\(", lambda _: 0),
        Share(r"if \(samples >= ENTRIES\) return", lambda _: 0),  # a long series
        Share(r"\bcount_nodes\(task", lambda w: 2 * w.tile * w.group / w.threads),
        Share(r"\badd_up\(task", lambda w: 2 * w.tile / w.threads),
    ),
    "triton": (Share(r"^ *mark\(marked", lambda _: 0),),
}
"""By backend; all that fit are multiplied. In float64 `group<double>` is another name."""

RARE: dict[str, str] = {
    "cupy": r"$^",
    "triton": r"if any_of\((left|again)|if found > 0",
}
"""By backend: regular expression for the source line of a branch around code that is rare."""

SCATTERED: dict[str, tuple[tuple[str, float], ...]] = {
    "cupy": ((r"\blook_up\(|return table\[", 7),),
    "triton": ((r"tl\.load\(table", 7),),
}
"""Loads whose lanes read here and there: by source line, how many lines of the cache of level 1
they touch (99 samples: a table of 100 numbers has 7), each of which takes a clock."""


def turns(backend: str, line: str, work: Work) -> tuple[float, int] | None:
    """Turns of a loop and its stride; None if it is not known."""
    for loop in LOOPS[backend]:
        if re.search(loop.line, line):
            return loop.turns(work), loop.stride(work)
    return None


def share(backend: str, lines: Sequence[str], work: Work) -> float:
    """Share of warps and turns that come to code of these source lines."""
    found = 1.0
    for one in SHARES[backend]:
        if any(re.search(one.line, line) for line in lines):
            found *= one.share(work)
    return found


def rare(backend: str, line: str) -> bool:
    """Whether a branch of this source line goes around code that is rare."""
    return re.search(RARE[backend], line) is not None


def scattered(backend: str, lines: Sequence[str]) -> float:
    """Lines of the cache that a load of these source lines touches; 0: its lanes lie together."""
    for pattern, touched in SCATTERED[backend]:
        if lines and re.search(pattern, lines[0]):
            return touched
    return 0.0
