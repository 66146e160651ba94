"""Registers, spills and shared memory of every kernel, for GPUs that are not here.

    python -m bench.tables.compile_table triton            prints, for the triton that is installed
    python -m bench.tables.compile_table cupy              for NVRTC as it is installed; stack too
    python -m bench.tables.compile_table ... --write FILE  and puts its rows into the JSON file
    python -m bench.tables.compile_table ... --only ccs    variants with this in their name

`tests/data/triton_compiled.json` and `tests/data/cuda_compiled.json` are the committed tables to
which `tests/backends/triton/test_triton_compiled.py` and
`tests/backends/cupy/test_cuda_compiled.py` hold the kernels; write them again, with each version
they name, when kernels or configurations change.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import multiprocessing
import os
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

if os.environ.pop("TRITON_INTERPRET", None):
    sys.exit("TRITON_INTERPRET is set, so that triton would interpret; unset it")


COLUMNS = {
    "triton": ("registers", "spills", "shared"),
    "cupy": ("registers", "spills", "stack", "shared"),
}


def row(backend: str, target: str, variant: str) -> list[int]:
    ahead = importlib.import_module(f"synkern.kernels.{backend}_backend.ahead")
    found = (ahead.compile_for if backend == "triton" else ahead.compile_one)(target, variant)
    return [getattr(found, column) for column in COLUMNS[backend]]


def jobs(backend: str) -> tuple[str, list[tuple[str, str]]]:
    """Version of the compiler; targets and variants."""
    ahead = importlib.import_module(f"synkern.kernels.{backend}_backend.ahead")
    if backend == "triton":
        version, variants = ahead.triton.__version__, ahead.VARIANTS
    else:
        version, variants = ahead.version(), ahead.NAMES
    return version, [(target, variant) for target in ahead.TARGETS for variant in variants]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backend", choices=list(COLUMNS))
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--only", default="", metavar="TEXT", help="the other rows are kept")
    options = parser.parse_args()
    version, every = jobs(options.backend)
    wanted = [job for job in every if options.only in job[1]]
    table: dict[str, dict[str, list[int]]] = {target: {} for target, _ in every}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=context) as pool:
        task = functools.partial(row, options.backend)
        rows = pool.map(task, *zip(*wanted, strict=True))
        for (target, variant), numbers in zip(wanted, rows, strict=True):
            table[target][variant] = numbers
            named = zip(numbers, COLUMNS[options.backend], strict=True)
            print(f"{target:7} {variant:46}", *(f"{n:6} {column}" for n, column in named))
    if options.write:
        file = json.loads(options.write.read_text()) if options.write.exists() else {}
        before = file.get(version, {})
        file[version] = {}
        for target, rows in table.items():
            known = before.get(target, {}) | rows
            file[version][target] = {v: known[v] for t, v in every if t == target and v in known}
        lines = json.dumps(dict(sorted(file.items())), indent=1)
        lines = re.sub(r"\[[\s\d,]+\]", lambda found: " ".join(found[0].split()), lines)
        lines = lines.replace("[ ", "[").replace(" ]", "]")
        options.write.write_text(lines + "\n")


if __name__ == "__main__":
    main()
