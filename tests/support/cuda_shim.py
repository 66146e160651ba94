"""The CUDA kernels on a CPU: compiled with tests/native/shim.h and launched on NumPy arrays."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synkern.kernels.cpu_backend import build as cpu_build
from synkern.kernels.cupy_backend.source import NAMES, kernels

SHIM = Path(__file__).parents[1] / "native"
FLAGS = ("-std=c++17", "-O1", "-U_FORTIFY_SOURCE", "-w")
LIBRARY = ("-fPIC", "-shared")

ORDERS = ("forward", "reverse", "random")

_ARRAYS = {"D": "float64", "F": "float32", "L": "int64", "U": "uint64", "B": "uint8"}


def build(
    output: Path,
    names: Sequence[str] = NAMES,
    *,
    text: str | None = None,
    flags: Sequence[str] = LIBRARY,
    header: str = "shim.h",
) -> Path:
    """A library of some kernels, or a program.

    Args:
        output: its path; the source is put beside it.
        names: name expressions, see `source.NAMES`.
        text: source of the kernels, if it is to be another.
        flags: for the compiler, besides `FLAGS`.
        header: in tests/native: "shim.h", or "replay.h" for a program.
    """
    entries = "\n".join(f"SHIM_KERNEL({name})" for name in names)
    code = output.with_suffix(".cpp")
    code.write_text(f'#include "{header}"\n{kernels() if text is None else text}\n{entries}\n')
    command = [*(cpu_build.compiler() or ()), *FLAGS, *flags, "-iquote", str(SHIM)]
    done = subprocess.run(
        [*command, str(code), "-o", str(output)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return output


def planted(defect: tuple[str, str], namespace: str) -> str:
    """The source with one defect, what is right and what is wrong, in a namespace of its own."""
    right, wrong = defect
    text = kernels()
    assert text.count(right) == 1, right
    text = text.replace(right, wrong)
    text = text.replace("namespace phiid", f"namespace {namespace}")
    return text.replace("phiid::", f"{namespace}::")


class Launcher:
    """Kernels by name expression, on NumPy arrays.

    Args:
        library: from `build`.
        order: of the threads between barriers, and of blocks; one of `ORDERS`.
        seed: of the random one.
    """

    def __init__(self, library: Path, order: str = "forward", seed: int = 0) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.shim_parameters.restype = ctypes.c_char_p
        self._library.shim_launch.restype = ctypes.c_char_p
        self.order = order
        self.seed = seed

    def launch(self, name: str, grid: int, block: int, args: Sequence[Any]) -> None:
        """Run a kernel and wait for it.

        Args:
            name: name expression.
            grid: number of blocks.
            block: threads of one.
            args: arrays, C-contiguous and of the type that the kernel takes, ints and floats.

        Raises:
            TypeError: an argument that the kernel does not take.
            RuntimeError: a barrier that not all threads reach.
        """
        letters = self._library.shim_parameters(name.encode())
        if letters is None:
            raise KeyError(name)
        if len(letters) != len(args):
            raise TypeError(f"{name} takes {len(letters)} arguments, not {len(args)}")
        values = [
            _value(name, place, letter, value)
            for place, (letter, value) in enumerate(zip(letters.decode(), args, strict=True))
        ]
        pointers = (ctypes.c_void_p * len(values))(
            *(ctypes.cast(ctypes.byref(value), ctypes.c_void_p) for value in values)
        )
        failed = self._library.shim_launch(
            name.encode(), int(grid), int(block), pointers, ORDERS.index(self.order), self.seed
        )
        if failed is not None:
            raise RuntimeError(f"{name}: {failed.decode()}")


class Recorder:
    """Writes launches to a file, and has them done; see tests/native/replay.h.

    Args:
        launcher: that does them.
        path: of the file, to which they are appended.
        namespace: of the kernels in the file.
    """

    def __init__(self, launcher: Launcher, path: Path, namespace: str = "phiid") -> None:
        self.launcher = launcher
        self.path = path
        self.namespace = namespace

    def launch(self, name: str, grid: int, block: int, args: Sequence[Any]) -> None:
        """Launch a kernel, as `Launcher.launch` does."""
        entry = name.replace("phiid", self.namespace).encode()
        parts: list[Any] = [len(entry), entry, grid, block, len(args)]
        for value in args:
            content = np.asarray(value)
            parts += [int(isinstance(value, np.ndarray)), content.nbytes, content.tobytes()]
        with self.path.open("ab") as file:
            for part in parts:
                file.write(part if isinstance(part, bytes) else struct.pack("q", int(part)))
        self.launcher.launch(name, grid, block, args)


def _value(name: str, place: int, letter: str, value: Any) -> Any:
    where = f"argument {place} of {name}"
    if letter == "l":
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise TypeError(f"{where} is a whole number, not {value!r}")
        return ctypes.c_longlong(int(value))
    if letter == "d":
        if not isinstance(value, float):
            raise TypeError(f"{where} is a float, not {value!r}")
        return ctypes.c_double(value)
    if not isinstance(value, np.ndarray) or not value.flags.c_contiguous:
        raise TypeError(f"{where} is a contiguous array, not {value!r}")
    kept = {"bool": "uint8"}.get(value.dtype.name, value.dtype.name)
    if kept != _ARRAYS[letter]:
        raise TypeError(f"{where} is an array of {_ARRAYS[letter]}, not {value.dtype}")
    return ctypes.c_void_p(value.ctypes.data)
