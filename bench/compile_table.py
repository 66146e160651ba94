"""Registers, spills and shared memory of every frozen Triton kernel, for GPUs that are not here.

    python bench/compile_table.py                     prints, for the triton that is installed
    python bench/compile_table.py --write FILE        and puts its rows into the JSON file
    python bench/compile_table.py --only ccs          variants with this in their name

`tests/data/triton_compiled.json` is the committed table to which `tests/test_triton_compiled.py`
holds the kernels; write it again, with each version it names, when kernels or configurations
change.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

if os.environ.pop("TRITON_INTERPRET", None):
    sys.exit("TRITON_INTERPRET is set, so that triton would interpret; unset it")
sys.path.insert(0, str(Path(__file__).parent.parent))


def row(target: str, variant: str) -> tuple[str, str, list[int]]:
    from synkern.kernels.triton_backend.ahead import compile_for  # noqa: PLC0415

    found = compile_for(target, variant)
    return target, variant, [found.registers, found.spills, found.shared]


def main() -> None:
    import triton  # noqa: PLC0415
    from synkern.kernels.triton_backend.ahead import TARGETS, VARIANTS  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--only", default="", metavar="TEXT", help="the other rows are kept")
    options = parser.parse_args()
    jobs = [(target, variant) for target in TARGETS for variant in VARIANTS]
    jobs = [job for job in jobs if options.only in job[1]]
    table: dict[str, dict[str, list[int]]] = {target: {} for target in TARGETS}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=context) as pool:
        for target, variant, numbers in pool.map(row, *zip(*jobs, strict=True)):
            table[target][variant] = numbers
            columns = "{:4} registers {:5} spilled {:6} bytes shared".format(*numbers)
            print(f"{target:7} {variant:32} {columns}")
    if options.write:
        file = json.loads(options.write.read_text()) if options.write.exists() else {}
        before = file.get(triton.__version__, {})
        file[triton.__version__] = {
            target: {
                variant: rows[variant]
                for rows in [before.get(target, {}) | table[target]]
                for variant in VARIANTS
                if variant in rows
            }
            for target in TARGETS
        }
        lines = json.dumps(dict(sorted(file.items())), indent=1)
        lines = re.sub(r"\[\s+(\d+),\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2, \3]", lines)
        options.write.write_text(lines + "\n")


if __name__ == "__main__":
    main()
