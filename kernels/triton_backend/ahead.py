"""Compile the kernels for a GPU that is not there, and read what the compiler made of them.

Needs a process in which triton compiles rather than interprets.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget

from ..lattice import ATOMS
from . import ccs, discrete, unit_vectors
from .configurations import LAUNCHES, OPTIONS, Launch, launch_for, options
from .device.ccs import ccs_kernel
from .device.discrete import discrete_kernel, pack_kernel
from .device.mmi_moments import mmi_moments_kernel
from .device.mmi_nodes import mmi_nodes_kernel
from .device.mmi_series import mmi_series_kernel
from .device.unit_vectors import unit_vectors_kernel
from .launch import atom_constants
from .mmi import constants
from .plan import plan

TARGETS: dict[str, GPUTarget] = {
    **{f"sm_{sm}": GPUTarget("cuda", sm, 32) for sm in (80, 90, 100, 120)},
    "gfx942": GPUTarget("hip", "gfx942", 64),
}

_ATOMS = {"few": ("rtr", "sts"), "many": ATOMS}

# Kernels that add up atoms themselves, launched alike whatever becomes of trials.
_ADDING: dict[str, tuple[Any, Launch, dict[str, Any]]] = {
    "ccs": (ccs_kernel, ccs.LAUNCH, {}),
    "discrete-mmi": (discrete_kernel, discrete.LAUNCHES["MMI"], {"CCS": False}),
    "discrete-ccs": (discrete_kernel, discrete.LAUNCHES["CCS"], {"CCS": True}),
}

# Kernels of one configuration each: constants and warps.
_OTHERS: dict[str, tuple[Any, dict[str, Any], int]] = {
    f"float64 unit_vectors {time}": (
        unit_vectors_kernel,
        unit_vectors.block(time),
        unit_vectors.WARPS,
    )
    for time in (100, unit_vectors.LONGEST)
} | {
    "float32 pack": (
        pack_kernel,
        {"NODES": discrete.PACKED_NODES, "WORD": discrete.WORD},
        discrete.PACKED_WARPS,
    ),
}

VARIANTS: tuple[str, ...] = (
    *(" ".join(key) for key in LAUNCHES),
    *(
        f"{dtype} {path} few summed alone"
        for dtype in ("float64", "float32")
        for path in ("series", "moments")
    ),
    *(
        f"{dtype} {name} {size}"
        for dtype in ("float64", "float32")
        for name in _ADDING
        for size in _ATOMS
    ),
    *(
        f"{dtype} {path} few summed rectangle"
        for dtype in ("float64", "float32")
        for path in ("series", "moments", "nodes")
    ),
    *(f"{dtype} {name} few rectangle" for dtype in ("float64", "float32") for name in _ADDING),
    *_OTHERS,
)
"""Every frozen launch configuration. Of Gaussian MMI: dtype, path, number of terms, what becomes of
trials; the persistence reference is `alone`. Of CCS and discrete: dtype of the output, which,
number of atoms. Of rectangles one for each kernel and dtype: they differ from all pairs in bounds
and stores. Of the other kernels: dtype, name, and samples."""

_KERNELS = {
    "series": mmi_series_kernel,
    "moments": mmi_moments_kernel,
    "nodes": mmi_nodes_kernel,
}
_TYPES = {
    "constant": "*u8",
    "marked": "*i64",
    "count": "*i64",
    "limit": "i64",
    "limit_double": "i64",
    "resolution": "i64",
    "local_resolution": "i64",
}
_DOUBLES = (
    "both",
    "own",
    "past",
    "future",
    "lagged",
    "back",
    "by_row",
    "by_column",
    "series",
    "table",
)


@dataclass(frozen=True)
class Compiled:
    """What a variant takes of a GPU.

    Attributes:
        registers: of a thread.
        spills: bytes (on AMD: registers) of a thread that did not fit.
        shared: bytes of a program.
        ir: Triton's own intermediate representation, as text.
    """

    registers: int
    spills: int
    shared: int
    ir: str


def compile_for(target: str, variant: str) -> Compiled:
    """Compile one of `VARIANTS` for one of `TARGETS`."""
    kernel, log = _compile(TARGETS[target], variant)
    if TARGETS[target].backend == "cuda":
        (registers,) = re.findall(r"Used (\d+) registers", log)
        (spills,) = re.findall(r"(\d+) bytes spill stores", log)
    else:
        assembly = kernel.asm["amdgcn"]
        (registers,) = re.findall(r"\.vgpr_count: +(\d+)", assembly)
        (spills,) = re.findall(r"\.vgpr_spill_count: +(\d+)", assembly)
    return Compiled(int(registers), int(spills), int(kernel.metadata.shared), kernel.asm["ttir"])


def _specialised(variant: str) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The kernel of a variant, its constants and what the compiler is told."""
    if variant in _OTHERS:
        kernel, fixed, warps = _OTHERS[variant]
        return kernel, fixed, {"num_warps": warps, **OPTIONS}
    dtype, path, size, *output = variant.split(" ")
    rectangle = "rectangle" in output
    if path in _ADDING:
        kernel, launch, more = _ADDING[path]
        return kernel, atom_constants(_ATOMS[size], launch, rectangle) | more, options(launch)
    chosen, apart, alone = plan(_ATOMS[size]), output[0] == "apart", "alone" in output
    launch = launch_for(
        dtype,
        path,  # type: ignore[arg-type]
        chosen,
        apart,
        alone=alone,
        rectangle=rectangle,
    )
    fixed = constants(chosen, dtype, apart, launch, rectangle=rectangle)
    if path != "nodes":
        fixed["ALONE"] = alone
    if path != "moments":
        fixed["DEPTH"] = launch.depth
    if path == "nodes":
        fixed["SHARE"] = tuple(_ATOMS[size].index(name) for name in ("rtr", "sts"))
    return _KERNELS[path], fixed, options(launch)


def _compile(target: GPUTarget, variant: str) -> tuple[Any, str]:
    kernel, fixed, told = _specialised(variant)
    signature, aligned = {}, {}
    for position, name in enumerate(kernel.arg_names):
        if name in fixed:
            signature[name] = "constexpr"
        elif kernel is discrete_kernel and name in ("past", "future"):
            signature[name] = "*i32"  # words of bits
        elif kernel is pack_kernel and name in ("values", "out"):
            signature[name] = {"values": "*fp32", "out": "*i32"}[name]
        elif name in _DOUBLES:
            signature[name] = "*fp64"
        elif name == "out":
            signature[name] = "*fp64" if variant.startswith("float64") else "*fp32"
        else:
            signature[name] = _TYPES.get(name, "i32")
        # As at a launch: the allocator aligns, and the study's 1152 nodes are a multiple of 16.
        if signature[name].startswith("*") or name == "nodes":
            aligned[(position,)] = [["tt.divisibility", 16]]
    values = {(kernel.arg_names.index(name),): value for name, value in fixed.items()}
    source = triton.compiler.ASTSource(kernel, signature, values, aligned)
    with triton.knobs.nvidia.scope(), triton.knobs.compilation.scope():
        triton.knobs.nvidia.dump_ptxas_log = True
        triton.knobs.compilation.always_compile = True
        with contextlib.redirect_stdout(io.StringIO()) as log:
            compiled = triton.compile(source, target=target, options=told)
    return compiled, log.getvalue()
