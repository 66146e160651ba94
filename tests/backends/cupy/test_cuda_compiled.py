"""The CUDA kernels, compiled for GPUs that are not here, held to a committed table."""

import json
import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from synkern.kernels.cupy_backend import ahead
from synkern.kernels.cupy_backend.source import NAMES, TOTALS

pytestmark = pytest.mark.proof

TABLE = json.loads(Path(__file__).parents[2].joinpath("data", "cuda_compiled.json").read_text())

# Every kernel for the GPU whose registers they were fitted to; for the others one of each dtype.
# The table, which bench/tables/compile_table.py writes, has them all.
SOME = (
    "phiid::mmi_series<double, phiid::Two, phiid::AllPairs>",
    "phiid::mmi_lags<double, phiid::Two, phiid::AllPairs>",
    "phiid::mmi_lags<double, phiid::All, phiid::AllPairs>",
    "phiid::ccs<float, phiid::Rectangle>",
)
JOBS = [("sm_90", name) for name in NAMES] + [
    (target, name) for target in ahead.TARGETS if target != "sm_90" for name in SOME
]

SHARED_MEMORY = 48 * 1024
"""Bytes that a block may have without asking for more."""

ALLOWED = {False: 0, True: 8}
"""Bytes of spills, by whether a kernel is one in float32: older versions of NVRTC are short of a
register there, stored and loaded once."""

FLOAT32 = re.compile(r"\t(?!mov|ld|st|selp|setp)\w+(\.\w+)*\.f32\b")
"""Arithmetic and conversion. (The logarithm of the library tests the upper half of a double for
zero in a branch that arguments other than normal numbers take.)"""


@pytest.fixture(scope="module")
def compiled():
    """By (target, name)."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1), mp_context=context) as pool:
        return dict(zip(JOBS, pool.map(ahead.compile_one, *zip(*JOBS, strict=True)), strict=True))


def test_table_is_of_all_kernels():
    for rows in TABLE.values():
        assert list(rows) == list(ahead.TARGETS)
        for by_name in rows.values():
            assert list(by_name) == list(NAMES)


def test_nothing_spills_on_the_default_gpu(compiled):
    spills = [{name: c.spills for (target, name), c in compiled.items() if target == "sm_90"}]
    # Nor in any version of the table, which this one may not be.
    for rows in TABLE.values():
        spills.append({name: row[1] for name, row in rows["sm_90"].items()})
    for by_name in spills:
        assert {name: n for name, n in by_name.items() if n > ALLOWED["<float" in name]} == {}


def test_registers_spills_and_memory_are_those_of_the_table(compiled):
    """A version that the table does not know is held to the shared memory alone."""
    version = ahead.version()
    for (target, name), found in compiled.items():
        numbers = [found.registers, found.spills, found.stack, found.shared]
        assert found.shared <= SHARED_MEMORY
        if version in TABLE:
            assert numbers == TABLE[version][target][name], (target, name)
        else:
            assert found.shared in {rows[target][name][3] for rows in TABLE.values()}


def test_no_float32_in_a_float64_kernel(compiled):
    """A literal without care is enough, and its digits would be lost in silence."""
    for (target, name), found in compiled.items():
        assert bool(FLOAT32.search(found.ptx)) == ("<float" in name), (target, name)
        assert ".f64" in found.ptx


def test_products_in_float64_are_those_of_the_tensor_cores(compiled):
    """Of what no CPU runs there is but one instruction: of 16 rows where 8 take twice as long."""
    for (target, name), found in compiled.items():
        sixteen, lags = target == "sm_90", "mmi_lags" in name
        used = set(re.findall(r"mma\.sync\.aligned\.(\w+)\.row\.col\.f64", found.ptx))
        expected = {"m16n8k16", *(["m16n8k4"] if lags else [])} if sixteen else {"m8n8k4"}
        assert used == (expected if lags or "mmi_series" in name else set()), (target, name)
        assert ("cp.async.cg" in found.ptx) == lags


def test_the_log_of_what_does_not_compile_is_raised(monkeypatch):
    with pytest.raises(ahead.CompilationError, match="no_such_kernel"):
        ahead.compile_for("sm_90", ["phiid::no_such_kernel"])
    assert set(ahead.compile_for("sm_90", TOTALS)) == set(TOTALS)
