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
from . import ccs, discrete
from .launch import LAUNCHES, Launch, atom_constants, constants, options
from .mmi_moments import mmi_moments_kernel
from .mmi_series import mmi_series_kernel
from .plan import plan

TARGETS: dict[str, GPUTarget] = {
    **{f"sm_{sm}": GPUTarget("cuda", sm, 32) for sm in (80, 90, 100, 120)},
    "gfx942": GPUTarget("hip", "gfx942", 64),
}

_ATOMS = {"few": ("rtr", "sts"), "many": ATOMS}
_DTYPES = ("float64", "float32")

_OTHERS: dict[str, tuple[Any, Launch, dict[str, Any]]] = {
    "ccs": (ccs.ccs_kernel, ccs.LAUNCH, {}),
    "discrete-mmi": (discrete.discrete_kernel, discrete.LAUNCHES["MMI"], {"CCS": False}),
    "discrete-ccs": (discrete.discrete_kernel, discrete.LAUNCHES["CCS"], {"CCS": True}),
}
"""Kernel, configuration and constants of what is not Gaussian MMI."""

VARIANTS: tuple[str, ...] = (
    *(" ".join(key) for key in LAUNCHES),
    *(f"{dtype} {name} {size}" for dtype in _DTYPES for name in _OTHERS for size in _ATOMS),
)
"""Every frozen launch configuration. Of Gaussian MMI: dtype, path, number of terms, what becomes of
trials. Of others: dtype of the output, which, number of atoms; one kernel whatever becomes of
trials."""

_TYPES = {
    "constant": "*u8",
    "marked": "*i64",
    "count": "*i64",
    "limit": "i64",
    "limit_double": "i64",
    "resolution": "i64",
}
_DOUBLES = ("both", "own", "past", "future", "lagged", "table")


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
    kernel, log = _compile(TARGETS[target], *variant.split(" "))
    if TARGETS[target].backend == "cuda":
        (registers,) = re.findall(r"Used (\d+) registers", log)
        (spills,) = re.findall(r"(\d+) bytes spill stores", log)
    else:
        assembly = kernel.asm["amdgcn"]
        (registers,) = re.findall(r"\.vgpr_count: +(\d+)", assembly)
        (spills,) = re.findall(r"\.vgpr_spill_count: +(\d+)", assembly)
    return Compiled(int(registers), int(spills), int(kernel.metadata.shared), kernel.asm["ttir"])


def _compile(target: GPUTarget, dtype: str, which: str, *rest: str) -> tuple[Any, str]:
    if which in _OTHERS:
        kernel, launch, more = _OTHERS[which]
        fixed = atom_constants(_ATOMS[rest[0]], launch) | more
    else:
        kernel, launch, fixed = _gaussian_mmi(dtype, which, *rest)
    signature, aligned = {}, {}
    for position, name in enumerate(kernel.arg_names):
        if name in fixed:
            signature[name] = "constexpr"
        elif "words" in kernel.arg_names and name in ("past", "future"):
            signature[name] = "*i32"
        elif name in _DOUBLES:
            signature[name] = "*fp64"
        elif name == "out":
            signature[name] = "*fp64" if dtype == "float64" else "*fp32"
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
            compiled = triton.compile(source, target=target, options=options(launch))
    return compiled, log.getvalue()


def _gaussian_mmi(
    dtype: str, path: str, size: str, output: str
) -> tuple[Any, Launch, dict[str, Any]]:
    launch = LAUNCHES[dtype, path, size, output]  # type: ignore[index]
    fixed = constants(plan(_ATOMS[size]), dtype, output == "apart", launch)
    if path == "series":
        return mmi_series_kernel, launch, fixed | {"DEPTH": launch.depth}
    return mmi_moments_kernel, launch, fixed
