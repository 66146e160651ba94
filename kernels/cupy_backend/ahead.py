"""Compile the kernels for a GPU that is not there, and read what the compiler made of them.

NVRTC compiles without a driver. It comes in the wheel `nvidia-cuda-nvrtc`.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .source import NAMES, OPTIONS, source

TARGETS = ("sm_80", "sm_90", "sm_100", "sm_120")

# Harmless: no product of factors that are trusted is that small.
CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")
"""What CuPy 14 adds to the options of every module."""


class CompilationError(RuntimeError):
    """NVRTC refused the source; the message is its log."""


@dataclass(frozen=True)
class Compiled:
    """What the compiler made of a kernel.

    Attributes:
        registers: of a thread.
        spills: bytes of a thread's local memory that hold spilled registers, stored or loaded.
        stack: bytes of a thread's local memory, spills and arrays with changing indices.
        shared: bytes of shared memory of a block.
        ptx: the intermediate code.
    """

    registers: int
    spills: int
    stack: int
    shared: int
    ptx: str


def compile_for(target: str, names: Sequence[str] = NAMES) -> dict[str, Compiled]:
    """Compile kernels for an architecture, `sm_90` for example.

    Args:
        target: one of those that the installed NVRTC knows.
        names: name expressions of the kernels, see `source.NAMES`.

    Raises:
        CompilationError: with the compiler's log.
    """
    library = _library()
    program = ctypes.c_void_p()
    text = source().encode()
    _check(library.nvrtcCreateProgram(ctypes.byref(program), text, b"phiid.cu", 0, None, None))
    try:
        for name in names:
            _check(library.nvrtcAddNameExpression(program, name.encode()))
        options = [*OPTIONS, *CUPY_OPTIONS, f"--gpu-architecture={target}", "--ptxas-options=-v"]
        encoded = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        failed = library.nvrtcCompileProgram(program, len(options), encoded)
        log = _text(program, "ProgramLog")
        if failed:
            raise CompilationError(log)
        ptx = _by_entry(_text(program, "PTX"))
        found = {}
        for name in names:
            lowered = ctypes.c_char_p()
            _check(library.nvrtcGetLoweredName(program, name.encode(), ctypes.byref(lowered)))
            entry = (lowered.value or b"").decode()
            found[name] = _compiled(log, entry, ptx[entry])
        return found
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def compile_one(target: str, name: str) -> Compiled:
    """Compile one kernel; see `compile_for`."""
    return compile_for(target, (name,))[name]


def version() -> str:
    """Version of NVRTC, `13.0` for example."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


def _compiled(log: str, entry: str, ptx: str) -> Compiled:
    pattern = rf"Compiling entry function '{re.escape(entry)}'(.*?)(?=Compiling entry|\Z)"
    match = re.search(pattern, log, re.DOTALL)
    if match is None:
        raise CompilationError(f"{entry} is not in the log: {log}")

    def number(before: str, after: str = "") -> int:
        return sum(map(int, re.findall(rf"{before}(\d+){after}", match[1])))

    return Compiled(
        registers=number("Used ", " registers"),
        spills=number("", " bytes spill stores") + number("", " bytes spill loads"),
        stack=number("", " bytes stack frame"),
        shared=number("", " bytes smem"),
        ptx=ptx,
    )


def _by_entry(ptx: str) -> dict[str, str]:
    """Each kernel's part of the intermediate code."""
    parts = re.split(r"^(?:\.visible|\.weak) \.entry (\w+)\(", ptx, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _text(program: ctypes.c_void_p, which: str) -> str:
    library = _library()
    size = ctypes.c_size_t()
    _check(getattr(library, f"nvrtcGet{which}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(getattr(library, f"nvrtcGet{which}")(program, text))
    return text.value.decode()


def _check(status: int) -> None:
    if status:
        library = _library()
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise CompilationError(library.nvrtcGetErrorString(status).decode())


@functools.cache
def _library() -> ctypes.CDLL:
    """NVRTC from its wheel, which holds its parts where the loader does not look."""
    spec = importlib.util.find_spec("nvidia")
    folders = (spec.submodule_search_locations or ()) if spec is not None else ()
    for folder in folders:
        for builtins in sorted(Path(folder).glob("**/libnvrtc-builtins.so*")):
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(str(next(iter(builtins.parent.glob("libnvrtc.so*")))))
    raise CompilationError("no NVRTC: pip install nvidia-cuda-nvrtc")
