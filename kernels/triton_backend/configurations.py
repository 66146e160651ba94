"""Tiles and warps that a kernel is compiled for: frozen values with their source.

Nothing is tuned at a user's first call. `bench/tables/sweep_tiles.py` measures the candidates on
the machine at hand and prints the table below, ready to paste. CCS and discrete have theirs beside
their launch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .plan import Plan

Path = Literal["series", "moments", "nodes"]
Size = Literal["few", "many"]
"""Terms to multiply up, as many as `FEW` or more."""
Output = Literal["summed", "apart"]
"""What becomes of trials."""


@dataclass(frozen=True)
class Launch:
    """How one kernel is compiled and launched.

    Attributes:
        block: rows and columns of a tile.
        warps: of a program.
        depth: samples of a step of the product (`series` only).
        stages: of the loads' pipeline.
    """

    block: int
    warps: int
    depth: int = 16
    stages: int = 2


LAUNCHES: dict[tuple[str, Path, Size, Output], Launch] = {
    ("float64", "series", "few", "summed"): Launch(32, 4, 16, 3),
    ("float64", "series", "few", "apart"): Launch(32, 8),
    ("float64", "series", "many", "summed"): Launch(16, 4, 32, 2),
    ("float64", "series", "many", "apart"): Launch(16, 8),
    ("float64", "moments", "few", "summed"): Launch(16, 4),
    ("float64", "moments", "few", "apart"): Launch(16, 4),
    ("float64", "moments", "many", "summed"): Launch(16, 4),
    ("float64", "moments", "many", "apart"): Launch(16, 8),
    ("float32", "series", "few", "summed"): Launch(32, 8),
    ("float32", "series", "few", "apart"): Launch(16, 4),
    ("float32", "series", "many", "summed"): Launch(16, 8),
    ("float32", "series", "many", "apart"): Launch(16, 8),
    ("float32", "moments", "few", "summed"): Launch(16, 8),
    ("float32", "moments", "few", "apart"): Launch(16, 8),
    ("float32", "moments", "many", "summed"): Launch(16, 4),
    ("float32", "moments", "many", "apart"): Launch(16, 4),
    ("float64", "nodes", "few", "summed"): Launch(32, 16),
    ("float64", "nodes", "few", "apart"): Launch(16, 4),
    ("float64", "nodes", "many", "summed"): Launch(16, 8),
    ("float64", "nodes", "many", "apart"): Launch(16, 8),
    ("float32", "nodes", "few", "summed"): Launch(16, 4),
    ("float32", "nodes", "few", "apart"): Launch(16, 4),
    ("float32", "nodes", "many", "summed"): Launch(16, 8),
    ("float32", "nodes", "many", "apart"): Launch(16, 8),
}
"""Source of float64, summed, `series` and `moments`: the fastest of a sweep on an H100 with triton
3.6.0, 1152 nodes, 60 trials, 100 samples (bench/results/h100.json). `series` took 2.63 ms with few
and 4.28 with many terms, in place of 3.08 and 8.09; `moments` 3.16, as before, and 4.93 in place of
6.37. What is new spills (`tests/backends/triton/test_triton_compiled.py` has a list), and is faster
all the same: of the registers of a multiprocessor two programs of four warps fit, of eight warps
one. Other versions of triton, which spill less or more, were not timed. `series few apart` was
swept too and kept its own.

Source of the others: ahead-of-time compilation for sm_90 with triton 3.6.0 and 3.9.0: of tiles of
16, 32 and 64 and 4, 8 and 16 warps the largest tile that spills in neither. Not swept on a GPU."""

MEASURED: dict[tuple[str, Size], tuple[float, float]] = {
    ("float64", "few"): (2.63, 3.16),
    ("float64", "many"): (4.28, 4.93),
    ("float32", "few"): (3.43, 2.44),
    ("float32", "many"): (8.43, 3.18),
}
"""Milliseconds of Gaussian MMI of all pairs, summed, on an H100: from the series, and through
moments in memory, the library's products among them. 1152 nodes, 60 trials, 99 pairs of samples,
triton 3.6.0, with the launches above. Float32 has no tensor cores that are exact enough."""

MEASURED_RECTANGLE = 4.06
"""The same from the series, of all pairs, with the launch that `RECTANGLES` has for few terms in
float64; rectangles were not timed themselves."""

ALONE: dict[tuple[str, Path, bool], Launch] = {
    ("float64", "series", False): Launch(16, 8),
    ("float32", "series", False): Launch(16, 4),
    ("float64", "series", True): Launch(16, 8),
    ("float32", "series", True): Launch(16, 4),
    ("float64", "moments", True): Launch(16, 8),
}
"""The persistence reference, by dtype, path and whether of a rectangle, from the same source: in
the tiles of `rtr` and `sts` it would spill. (From moments, of a rectangle, in float32, it spills 28
bytes with triton 3.6.0 and 8 with 3.7.1, in tiles of 16 with 8 warps or with 4.)"""

RECTANGLES: dict[tuple[str, Path, Size, Output], Launch] = {
    ("float64", "series", "few", "summed"): Launch(16, 8),
    ("float64", "nodes", "few", "apart"): Launch(16, 8),
}
"""Launches of rectangles, where these spill in the tiles of all pairs: bounds that are no multiple
of 16 take registers. Same source, triton 3.6.0, 3.7.1 and 3.9.0. Tried in vain for the larger
tiles: a mask of the stores that is not that of the pairs, either of them as one comparison, and the
tiles' corners declared to be multiples of their sides."""

FEW = 3
"""Terms that `rtr` and `sts` need."""

OPTIONS = {"enable_fp_fusion": True}
"""Said aloud, as the default changes between versions of triton."""


def launch_for(
    dtype: str,
    path: Path,
    plan: Plan,
    per_trial: bool,
    *,
    alone: bool = False,
    rectangle: bool = False,
) -> Launch:
    """The frozen configuration."""
    if alone and (dtype, path, rectangle) in ALONE:
        return ALONE[dtype, path, rectangle]
    size: Size = "few" if len(plan.terms) <= FEW else "many"
    output: Output = "apart" if per_trial else "summed"
    key = dtype, path, size, output
    return RECTANGLES.get(key, LAUNCHES[key]) if rectangle else LAUNCHES[key]


def options(launch: Launch) -> dict[str, Any]:
    """What the compiler is told."""
    return {"num_warps": launch.warps, "num_stages": launch.stages, **OPTIONS}
