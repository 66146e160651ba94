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
    """Of a tile of pairs, and of the block that has it.

    Attributes:
        tile: rows and columns.
        threads: of a block.
    """

    tile: int
    threads: int


TWO = Shape(32, 512)
"""rtr and sts alone; `Two` in device/mmi.cuh."""

ALL = Shape(16, 128)
"""All atoms by their 16 cumulative informations; `All` in device/mmi.cuh."""

POINTWISE = Shape(16, 256)
"""CCS and discrete; `Pointwise` in device/tiles.cuh."""

TOTALS_THREADS = 256
"""Threads of a block of `node_totals`."""

SHAPES: dict[str, Shape] = {
    **{
        f"phiid::{kernel}{nodes}<{real}, phiid::{atoms}>": shape
        for kernel in ("mmi_series", "mmi_moments")
        for nodes in ("", "_nodes")
        for real in ("double", "float")
        for atoms, shape in (("Two", TWO), ("All", ALL))
    },
    **{f"phiid::ccs<{real}>": POINTWISE for real in ("double", "float")},
    "phiid::ccs_nodes": POINTWISE,
    **{
        f"phiid::discrete<{real}, {ccs}>": POINTWISE
        for real in ("double", "float")
        for ccs in ("false", "true")
    },
    **{f"phiid::discrete_nodes<{ccs}>": POINTWISE for ccs in ("false", "true")},
}
"""By name expression, as NVRTC and `cupy.RawModule` want it: every kernel that has tiles."""

TOTALS = "phiid::node_totals"
"""The name expression of the kernel that adds up what the others have by tile."""

NAMES: tuple[str, ...] = (*SHAPES, TOTALS)
"""All name expressions; of what is no template NVRTC takes the name. A kernel
takes 0.3 to 1.3 s to compile, all of them 20: ask for those that are launched."""


@functools.cache
def source() -> str:
    """The text that NVRTC compiles."""
    return (_NATIVE / "device" / "nvrtc.cuh").read_text(encoding="utf-8") + kernels()


@functools.cache
def kernels() -> str:
    """The kernels alone, without what they need of compiler and machine: see device/nvrtc.cuh."""
    return _pasted(_NATIVE / _ROOT, set())


def _pasted(path: Path, seen: set[str]) -> str:
    """A file with those that it includes in their place, each once."""
    if path.name in seen:
        return ""
    seen.add(path.name)
    text = path.read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda found: _pasted((path.parent / found[1]).resolve(), seen), text)
