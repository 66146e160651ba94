"""Kernels of a checkout, compiled ahead of time to machine code that knows its source lines.

    PYTHONPATH=CHECKOUT python -P bench/counts/build.py cupy sm_90 FOLDER ccs

The checkout need not be this one: this file imports nothing of `bench`, and runs in a process
whose `synkern` is the one in question. What it needs of the kernels' packages, `ahead` and
`source`, it takes from their private parts too, so that checkouts of before work as they are.
Line information leaves the instructions as they are without.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import hashlib
import importlib
import json
import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor
from math import ceil
from pathlib import Path
from typing import Any

SOURCE = "phiid.cu"
"""What NVRTC is told that the source is called."""

NODES, TRIALS, SAMPLES = 1152, 60, 99
"""The case: all pairs of so many nodes, trials, and pairs of samples of each."""

_MULTIPROCESSORS, _PROGRAMS, _FEWEST = 132, 8, 8
"""Of the GPU; blocks of each that cutting trials into chunks may make; trials of a chunk (CUDA)."""


def names(backend: str) -> list[str]:
    """Every kernel that is compiled by default, as `ahead` calls them."""
    ahead: Any = importlib.import_module(f"synkern.kernels.{backend}_backend.ahead")
    return list(ahead.VARIANTS if backend == "triton" else ahead.NAMES)


def version(backend: str) -> str:
    """Of the compiler."""
    ahead: Any = importlib.import_module(f"synkern.kernels.{backend}_backend.ahead")
    return str(ahead.triton.__version__) if backend == "triton" else str(ahead.version())


def cuda(target: str, name: str) -> tuple[bytes, dict[str, Any]]:
    """Machine code of a CUDA kernel and what is known of it."""
    ahead: Any = importlib.import_module("synkern.kernels.cupy_backend.ahead")
    source: Any = importlib.import_module("synkern.kernels.cupy_backend.source")
    shape = source.SHAPES.get(name)
    code, log = cubin(ahead, source.source(), target, name, source.OPTIONS)
    known = {
        "registers": _number(r"Used (\d+) registers", log),
        "spills": _number(r"(\d+) bytes spill (?:stores|loads)", log),
        "shared": _number(r"(\d+) bytes smem", log) + _dynamic(source, name),
        "threads": shape.threads if shape else source.TOTALS_THREADS,
        "tile": shape.tile if shape else None,
        "group": group(source.source(), name),
        "stage": stage(source.source(), name),
    }
    return code, known


def _dynamic(source: Any, name: str) -> int:
    """Shared memory that a launch asks for; none in checkouts of before."""
    return int(source.dynamic_memory(name)) if hasattr(source, "dynamic_memory") else 0


def group(text: str, name: str) -> int:
    """Trials that a CUDA kernel takes at once: what the source calls GROUP."""
    if "mmi_lags" in name and (own := _lagged(text, name, "GROUP")):
        return own
    if "discrete" in name:
        body = re.search(r"^struct Discrete \{(.*?)^\};", text, re.DOTALL | re.MULTILINE)
        text = body[1].replace("static constexpr", "\nconstexpr") if body else ""
    found = re.search(r"^constexpr int GROUP = (\d+);", text, re.MULTILINE)
    return int(found[1]) if found and not name.startswith("phiid::ccs") else 1


def stage(text: str, name: str) -> int:
    """Samples that a kernel from one series has in shared memory; what the source calls STAGE.

    0 where the source has no such kernels, as in checkouts of before.
    """
    found = re.search(r"\bSTAGE = (\d+)", text)  # of a checkout where all kernels had the same
    return _lagged(text, name, "STAGE") or (int(found[1]) if found else 0)


def _lagged(text: str, name: str, constant: str) -> int:
    """A constant of the kernels from one series, by their atoms; 0 where it is no number."""
    atoms = "All" if "::All," in name else "Two"
    body = re.search(rf"^struct {atoms} .*?^}};", text, re.DOTALL | re.MULTILINE)
    found = body and re.search(rf"\b{constant} = (\d+)", body[0])
    return int(found[1]) if found else 0


def cubin(
    ahead: Any, text: str, target: str, name: str, options: tuple[str, ...]
) -> tuple[bytes, str]:
    """Machine code of one kernel of a CUDA source, with line information; the compiler's log.

    Args:
        ahead: of the CuPy backend, for its NVRTC.
        text: the source.
        target: architecture, "sm_90" for example.
        name: name expression.
        options: of the kernels; those of CuPy are added.
    """
    library = ahead._library()
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    where = SOURCE.encode()
    ahead._check(
        library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), where, 0, None, None)
    )
    try:
        ahead._check(library.nvrtcAddNameExpression(program, name.encode()))
        told = [*options, *ahead.CUPY_OPTIONS, f"--gpu-architecture={target}"]
        told += ["--generate-line-info", "--ptxas-options=-v"]
        encoded = (ctypes.c_char_p * len(told))(*(one.encode() for one in told))
        failed = library.nvrtcCompileProgram(program, len(told), encoded)
        log = str(ahead._text(program, "ProgramLog"))
        if failed:
            raise RuntimeError(log)
        ahead._check(library.nvrtcGetCUBINSize(program, ctypes.byref(size)))
        code = ctypes.create_string_buffer(size.value)
        ahead._check(library.nvrtcGetCUBIN(program, code))
        return code.raw, log
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _number(pattern: str, text: str) -> int:
    """The sum of the numbers of a pattern, which has to be in a text."""
    found = [int(number) for number in re.findall(pattern, text)]
    if not found and "spill" not in pattern and "smem" not in pattern:
        raise RuntimeError(f"{pattern!r} is not in {text[-500:]!r}")
    return sum(found)


def triton(target: str, name: str) -> tuple[bytes, dict[str, Any]]:
    """Machine code of a variant of the Triton kernels and what is known of it."""
    ahead: Any = importlib.import_module("synkern.kernels.triton_backend.ahead")
    kernel, log = ahead._compile(ahead.TARGETS[target], name)
    _, fixed, told = ahead._specialised(name)
    block, depth = fixed.get("BLOCK"), fixed.get("DEPTH", 16)
    known = {
        "registers": _number(r"Used (\d+) registers", log),
        "spills": _number(r"(\d+) bytes spill (?:stores|loads)", log),
        "shared": int(kernel.metadata.shared),
        "threads": 32 * told["num_warps"],
        "tile": block,
        "group": fixed.get("GROUP", 1),
        "depth": depth,
        "launch": f"Launch(block={block}, warps={told['num_warps']}, depth={depth}, "
        f"stages={told.get('num_stages')})",
    }
    return kernel.asm["cubin"], known


def chunk_trials(backend: str, name: str, known: dict[str, Any]) -> int:
    """Trials of a block, as the checkout's launches choose them."""
    if known["tile"] is None or " apart" in name:
        return 1
    if "nodes" in name:
        return TRIALS
    across = ceil(NODES / known["tile"])
    tiles = across * (across + 1) // 2
    together = known["group"] if backend == "triton" else 1
    least = together if backend == "triton" else _FEWEST
    most = min(ceil(_MULTIPROCESSORS * _PROGRAMS / tiles), ceil(TRIALS / least))
    try:
        waves: Any = importlib.import_module("synkern.kernels.engine.waves")
    except ModuleNotFoundError:  # a checkout of before: as many chunks as may be
        return ceil(ceil(TRIALS / most) / together) * together
    slots = _MULTIPROCESSORS * waves.resident(known["threads"])
    size = waves.chunk_trials(
        tiles, TRIALS, known["atoms"], slots=slots, most=most, together=together
    )
    return min(TRIALS, int(size))


def build(backend: str, target: str, folder: Path, name: str) -> dict[str, Any]:
    """Compile one kernel into a folder; what is known of it, and the file's name."""
    code, known = (triton if backend == "triton" else cuda)(target, name)
    known["atoms"] = 16 if " many" in name or "::All," in name else 2
    known["trials"] = chunk_trials(backend, name, known)
    short = hashlib.sha256(f"{backend} {target} {name}".encode()).hexdigest()[:16]
    path = folder / f"{short}.cubin"
    path.write_bytes(code)
    return {"name": name, "backend": backend, "target": target, "cubin": path.name, **known}


def main() -> None:
    """Compile all kernels with a text in their name, in as many processes as there are cores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backend", choices=["cupy", "triton"])
    parser.add_argument("target")
    parser.add_argument("folder", type=Path)
    parser.add_argument("only", nargs="?", default="", help="regular expression in a name")
    options = parser.parse_args()
    os.environ.pop("TRITON_INTERPRET", None)
    wanted = [name for name in names(options.backend) if re.search(options.only, name)]
    task = functools.partial(build, options.backend, options.target, options.folder)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=context) as pool:
        kernels = list(pool.map(task, wanted))
    found: dict[str, Any] = {"version": version(options.backend), "kernels": kernels}
    if options.backend == "cupy":
        source: Any = importlib.import_module("synkern.kernels.cupy_backend.source")
        (options.folder / SOURCE).write_text(source.source(), encoding="utf-8")
    (options.folder / "kernels.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
