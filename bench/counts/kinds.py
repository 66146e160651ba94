"""Kinds of instructions, and the units of a multiprocessor that do them.

Rates are those of NVIDIA's CUDA C++ programming guide ("Throughput of native arithmetic
instructions", lanes a clock and multiprocessor). Two are not in it: the tensor cores' float64
product of 8 x 8 x 4 goes at half of the rate of the larger shapes on sm_90 (31 against 53
TFLOP/s, measured in triton-lang/triton#10313), and shared and local memory and the cache of
level 1 share a path of 128 bytes a clock.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

KINDS: dict[str, str] = {
    "FP64": "DFMA DMUL DADD DSETP DMNMX",
    "DMMA": "DMMA",
    "other products": "HMMA IMMA QMMA HGMMA IGMMA QGMMA BMMA",
    "FP32": "FFMA FMUL FADD FCHK FSWZADD HFMA2 HADD2 HMUL2",
    "compare": "FSETP FMNMX FSEL SEL HSETP2 HMNMX2",
    "MUFU": "MUFU",
    "convert": "F2F F2I I2F FRND I2FP F2FP I2I",
    "IMAD": "IMAD",
    "integer": "IADD3 VIADD ISETP LEA SHF IABS IMNMX VIMNMX VIMNMX3 VIADDMNMX SGXT BMSK PRMT LOP3 "
    "PLOP3 FLO BREV IADD LOP ISCADD",
    "POPC": "POPC",
    "LDS": "LDS LDSM",
    "STS": "STS ATOMS",
    "LDG": "LDG LD LDGSTS",
    "STG": "STG ST RED ATOMG ATOM",
    "LDL": "LDL",
    "STL": "STL",
    "constants": "LDC",
    "shuffle": "SHFL VOTE MATCH REDUX",
    "barrier": "BAR",
    "move": "MOV CS2R S2R P2R R2P B2R",
    "uniform": "UMOV ULDC UIADD3 UIMAD UISETP ULEA USHF USEL ULOP3 UPLOP3 UPOPC UFLO UPRMT USGXT "
    "UBMSK UBREV VOTEU R2UR S2UR",
    "control": "BRA BSSY BSYNC BREAK BMOV CALL RET EXIT NOP YIELD WARPSYNC DEPBAR LDGDEPBAR "
    "NANOSLEEP MEMBAR ERRBAR CGAERRBAR CCTL",
}
"""Names of opcodes, without modifiers, by kind."""

_KIND = {name: kind for kind, names in KINDS.items() for name in names.split()}

UNKNOWN = "unknown "
"""What the kind of an instruction that no kind names begins with; its name follows."""


def kind(name: str) -> str:
    """Kind of an opcode."""
    return _KIND.get(name, UNKNOWN + name)


@dataclass(frozen=True)
class Gpu:
    """A GPU by its data sheet.

    Attributes:
        name: of it.
        multiprocessors: number of them.
        clock: GHz, the boost clock of the data sheet.
        fp64: warps of float64 instructions a clock and multiprocessor.
        products: float64 multiply-adds of the tensor cores, likewise, by shape; "" all others.
        shared: bytes of shared memory of a multiprocessor.
        bandwidth: bytes a picosecond of its memory, measured (H100) or by the data sheet.
    """

    name: str
    multiprocessors: int
    clock: float
    fp64: float
    products: dict[str, int]
    shared: int
    bandwidth: float


GPUS = {
    "sm_80": Gpu("A100", 108, 1.41, 1, {"": 64}, 164 << 10, 1.555),
    "sm_90": Gpu("H100", 132, 1.755, 2, {"8x8x4": 64, "": 128}, 228 << 10, 2.96),
}
"""By architecture. (The H100 that was measured may go up to 1.98 GHz.)"""

_RATES = {"IMAD": 2, "FP32": 4, "MUFU": 0.5, "convert": 0.5, "POPC": 0.5}
_ALU = {"integer": 2, "compare": 2, "move": 4}
_SHAPE = re.compile(r"DMMA\.(?:(\d+)x(\d+)x(\d+)|(8)(8)(4)$)")
_PATH = {"LDS", "STS", "LDG", "STG", "LDL", "STL"}


def clocks(gpu: Gpu, opcode: str) -> Counter[str]:
    """Clocks of a multiprocessor's units that one instruction of a warp takes, by unit."""
    name = opcode.partition(".")[0]
    what = kind(name)
    found = Counter({"issue": 0.25})
    if what == "FP64":
        found["FP64"] = 1 / gpu.fp64
    elif what == "DMMA":
        shape, amount = _product(opcode)
        found["DMMA"] = amount / gpu.products.get(shape, gpu.products[""])
    elif what in _RATES:
        unit = {"IMAD": "IMAD", "FP32": "FP32"}.get(what, "special")
        found[unit] = 1 / _RATES[what]
    elif what in _ALU:
        found["ALU"] = 1 / _ALU[what]
    elif what in _PATH:
        found["memory path"] = width(opcode) / 32
    return found


def width(opcode: str) -> int:
    """Bits of a lane that an access to memory moves."""
    found = re.search(r"\.(U?S?8|U?S?16|64|128)\b", opcode)
    return max(32, int(found[1].lstrip("US"))) if found else 32


def _product(opcode: str) -> tuple[str, int]:
    """Shape of a float64 product of the tensor cores, and its multiply-adds."""
    found = _SHAPE.match(opcode)
    if not found:
        raise ValueError(f"no shape of a product is known in {opcode!r}; add it to kinds._SHAPE")
    rows, columns, depth = (int(size) for size in found.groups() if size)
    return f"{rows}x{columns}x{depth}", rows * columns * depth
