"""The Triton kernels, compiled for GPUs that are not here, held to a committed table."""

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.proof

TABLE = json.loads(Path(__file__).parents[2].joinpath("data", "triton_compiled.json").read_text())
TABLED = list(TABLE["3.6.0"]["sm_90"])

# Every variant for the GPU that the configurations were chosen for; for the others one of each
# kernel and dtype. The table, which bench/tables/compile_table.py writes, has them all.
JOBS = [("sm_90", variant) for variant in TABLED] + [
    (target, variant)
    for target in ("sm_80", "sm_100", "sm_120", "gfx942")
    for variant in (
        "float64 series few summed",
        "float32 moments few apart",
        "float64 ccs few",
        "float64 discrete-mmi few",
    )
]

FASTEST = (
    "float64 series few summed",
    "float64 series many summed",
    "float64 moments many summed",
)
"""Variants that spill on sm_90 and were faster there than all that do not: see `LAUNCHES`."""

SPILLED = {"3.9.0": {"float64 nodes few summed": 76}}
"""Bytes by version and variant that do not fit into registers on sm_90, besides: three numbers."""


def compile_one(target, variant):
    from synkern.kernels.triton_backend.ahead import compile_for  # noqa: PLC0415

    return compile_for(target, variant)


@pytest.fixture(scope="module")
def compiled():
    """By (target, variant); in processes in which triton compiles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TRITON_INTERPRET")
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(4, os.cpu_count() or 1), mp_context=context) as pool:
            return dict(zip(JOBS, pool.map(compile_one, *zip(*JOBS, strict=True)), strict=True))


def test_table_is_of_the_frozen_variants():
    from synkern.kernels.triton_backend.ahead import TARGETS, VARIANTS  # noqa: PLC0415

    for rows in TABLE.values():
        assert list(rows) == list(TARGETS)
        for by_variant in rows.values():
            assert list(by_variant) == list(VARIANTS)


def test_nothing_spills_on_the_default_gpu(compiled):
    found = {
        name: c.spills
        for (gpu, name), c in compiled.items()
        if gpu == "sm_90" and c.spills and name not in FASTEST
    }
    assert found == SPILLED.get(version("triton"), {})
    # Nor in any version of the table, which this one may not be.
    for version_of_triton, rows in TABLE.items():
        all_spills = {name: spills for name, (_, spills, _) in rows["sm_90"].items() if spills}
        assert set(FASTEST) <= set(all_spills)  # else the list is out of date
        spilled = {name: spills for name, spills in all_spills.items() if name not in FASTEST}
        assert spilled == SPILLED.get(version_of_triton, {})


def test_registers_spills_and_shared_memory_are_those_of_the_table(compiled):
    """A version that the table does not know is held to the largest that it does."""
    known = [TABLE[version("triton")]] if version("triton") in TABLE else list(TABLE.values())
    for (target, variant), found in compiled.items():
        rows = [table[target][variant] for table in known]
        registers, spills, shared = (max(column) for column in zip(*rows, strict=True))
        numbers = (found.registers, found.spills, found.shared)
        if len(known) == 1:
            assert numbers == (registers, spills, shared), (target, variant)
        else:
            assert found.shared <= shared, (target, variant)


def test_no_float32_in_a_float64_kernel(compiled):
    """A Python float in a kernel is a float32: its digits would be lost in silence."""
    for (target, variant), found in compiled.items():
        assert ("f32" in found.ir) == variant.startswith("float32"), (target, variant)
        # Bits are packed by whole numbers alone.
        assert ("f64" in found.ir) == (variant != "float32 pack"), (target, variant)
