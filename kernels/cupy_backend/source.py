"""The CUDA C++ source as one text, and the kernels in it by name.

NVRTC is given no headers: what is included is pasted in. (CuPy names its cached binaries by the
text that it is given, and would not see that an included file has changed.)
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import NamedTuple

_NATIVE = Path(__file__).parent.parent / "native"
_ROOT = "device/kernels.cuh"

_INCLUDE = re.compile(r'^#include "([^"]+)"\n', re.MULTILINE)

OPTIONS = ("--std=c++17",)
"""What the compiler is told besides the architecture; CuPy adds some of its own."""


class Shape(NamedTuple):
    """Shape of a tile of pairs, and of the block that has it.

    Attributes:
        tile: rows and columns.
        threads: number of threads of a block.
    """

    tile: int
    threads: int


TWO = Shape(32, 256)
"""rtr and sts alone; `Two` in device/mmi.cuh."""

ALL = Shape(16, 128)
"""All atoms by their 16 cumulative informations; `All` in device/mmi.cuh."""

LAGS = {"Two": Shape(32, 128), "All": Shape(16, 64)}
"""From one series, by atoms; `Lagged` of these in device/mmi.cuh."""

LAGS_BYTES = {"Two": 92192, "All": 54368}
"""Bytes of shared memory that a launch of these asks for; `BYTES` in device/mmi.cuh."""

POINTWISE = Shape(16, 256)
"""CCS and discrete; `Pointwise` in device/tiles.cuh."""

TOTALS_THREADS = 256
"""Threads of a block of `node_totals`."""

PAIRS = ("phiid::AllPairs", "phiid::Rectangle")
"""What the last template argument of every kernel chooses; see device/pairs.cuh."""


def _shapes(pairs: str) -> dict[str, Shape]:
    """Every kernel of those pairs that has tiles."""
    shapes = {
        f"phiid::{kernel}{nodes}<{real}, phiid::{atoms}, {pairs}>": shape
        for kernel in ("mmi_series", "mmi_moments")
        for nodes in ("", "_nodes")
        for real in ("double", "float")
        for atoms, shape in (("Two", TWO), ("All", ALL))
    }
    for kernel in ("mmi_lags<double, ", "mmi_lags<float, ", "mmi_lags_nodes<"):
        shapes |= {f"phiid::{kernel}phiid::{atoms}, {pairs}>": LAGS[atoms] for atoms in LAGS}
    pointwise = [
        *(f"ccs<{real}" for real in ("double", "float")),
        "ccs_nodes<",
        *(f"discrete<{real}, {ccs}" for real in ("double", "float") for ccs in ("false", "true")),
        *(f"discrete_nodes<{ccs}" for ccs in ("false", "true")),
    ]
    for kernel in pointwise:
        before = "" if kernel.endswith("<") else ", "
        shapes[f"phiid::{kernel}{before}{pairs}>"] = POINTWISE
    return shapes


SHAPES: dict[str, Shape] = {
    name: shape for pairs in PAIRS for name, shape in _shapes(pairs).items()
}
"""Every kernel that has tiles, by name expression as NVRTC and `cupy.RawModule` want it."""

TOTALS = tuple(f"phiid::node_totals<{pairs}>" for pairs in PAIRS)
"""The name expressions of the kernels that add up what the others have by tile."""

UNIT_VECTORS = {
    dtype: f"phiid::unit_vectors<{value}>"
    for dtype, value in (("float64", "double"), ("float32", "float"))
}
"""The name expressions of the kernels that standardise a series, by its dtype."""

ONE_SERIES = {
    dtype: f"phiid::one_series<{value}>"
    for dtype, value in (("float64", "double"), ("float32", "float"))
}
"""The name expressions of the kernels that take the ends off a series, by its dtype."""

UNIT_VECTORS_SHAPE = Shape(32, 256)
"""Nodes and threads of a block of theirs; `Standardising` in device/unit_vectors.cuh."""

NAMES: tuple[str, ...] = (*SHAPES, *TOTALS, *UNIT_VECTORS.values(), *ONE_SERIES.values())
"""All name expressions. A kernel takes 0.1 to 1.8 s to compile, all of them 45: ask for those that
are launched."""


def dynamic_memory(name: str) -> int:
    """Bytes of shared memory that a launch of a kernel asks for, besides those of its code."""
    found = re.match(r"phiid::mmi_lags\w*<.*\bphiid::(Two|All),", name)
    return LAGS_BYTES[found[1]] if found else 0


@functools.cache
def source() -> str:
    """The text that NVRTC compiles."""
    return (_NATIVE / "device" / "nvrtc.cuh").read_text(encoding="utf-8") + kernels()


@functools.cache
def kernels() -> str:
    """The kernels alone, without what they need of compiler and machine: see device/nvrtc.cuh."""
    return _pasted(_NATIVE / _ROOT, set())


def _pasted(path: Path, seen: set[Path]) -> str:
    """A file with those that it includes in their place, each once."""
    if path in seen:
        return ""
    seen.add(path)
    text = path.read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda found: _pasted((path.parent / found[1]).resolve(), seen), text)
