"""The Triton kernels, interpreted: numbers, addresses, what they write and what they mark."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from support.triton_sums import kernel_sums
from synkern.decomposition.reference import phiid_pair
from synkern.kernels.contract import Rectangle, smallest_trusted
from synkern.kernels.engine.libraries import torch_library
from synkern.kernels.engine.marks import unpack
from synkern.kernels.formulas.estimators import LOOSE, STRICT
from synkern.kernels.formulas.unit_vectors import unit_vectors
from synkern.kernels.lattice import ATOMS, moebius_matrix
from synkern.kernels.triton_backend.configurations import Launch
from synkern.kernels.triton_backend.device.tiles import tile_of
from synkern.kernels.triton_backend.launch import Area, Grid, grid_for
from synkern.kernels.triton_backend.mmi import path_for
from synkern.kernels.triton_backend.plan import TERMS, coefficients, group, mirrors, plan

# Of triton 3.6's interpreter, about itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),
    pytest.mark.usefixtures("addresses", "poisoned_outputs"),
]

FEW, SOME = ("rtr", "sts"), ("xtx", "yty", "sts")
PATHS = ["series", "moments"]


def reference(series, tau, names):
    trials, _, nodes = series.shape
    out = np.zeros((len(names), trials, nodes, nodes))
    for k in range(trials):
        for i in range(nodes):
            for j in range(nodes):
                if i != j:
                    pair = phiid_pair(series[k, :, i], series[k, :, j], tau)
                    out[:, k, i, j] = [pair[name] for name in names]
    return out


@pytest.mark.proof
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("per_trial", [False, True])
@pytest.mark.parametrize("names", [FEW, SOME, ATOMS], ids=len)
def test_float64_sums_equal_the_reference(rng, path, per_trial, names):
    """White noise, so that conditioning takes no digits: what is left is the kernel's own error."""
    series = rng.standard_normal((3, 38, 19))
    expected = torch.from_numpy(reference(series, 2, names))
    segments = unit_vectors(torch, torch.from_numpy(series), 2)
    out, marked, count = kernel_sums(segments, names, path, per_trial=per_trial, dtype="float64")
    expected = expected if per_trial else expected.sum(1)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    assert count == 0
    assert (marked == -1).all()


# Nodes and trials on both sides of a tile, of two tiles, of a group of trials and of two chunks.
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("nodes", "trials", "time"),
    [(2, 1, 5), (3, 17, 18), (16, 8, 33), (37, 9, 20), (65, 1, 21)],
)
def test_odd_sizes(rng, path, nodes, trials, time):
    series = torch.from_numpy(rng.standard_normal((trials, time, nodes)))
    segments = unit_vectors(torch, series, 1)
    options = {"per_trial": False, "dtype": "float64"}
    small = kernel_sums(segments, FEW, path, launch=Launch(16, 4), **options)[0]
    large = kernel_sums(segments, FEW, path, launch=Launch(64, 4, 32), **options)[0]
    torch.testing.assert_close(small, large, rtol=0, atol=1e-11 * trials)
    assert torch.isfinite(small).all()
    assert (small == small.mT).all()  # rtr and sts do not change under exchange of x and y


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("names", [FEW, ATOMS], ids=len)
def test_float32_promotes_what_would_miss_its_tolerance(rng, path, names):
    """From benign pairs to such that only float64 can do, in one tile."""
    series = rng.standard_normal((5, 80, 18))
    series[..., 1::5] = series[..., ::5] + 0.02 * series[..., 1::5]
    segments = unit_vectors(torch, torch.from_numpy(series), 1)
    single, _, count = kernel_sums(segments, names, path, per_trial=True, dtype="float32")
    exact, _, exact_count = kernel_sums(segments, names, path, per_trial=True, dtype="float64")
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-7, atol=1e-5)
    assert count == exact_count
    # The closed form in float32 alone, without a limit of trust, misses it on this series.
    anything = {"float64": STRICT["float64"], "float32": 1e6}
    loose, _, _ = kernel_sums(
        segments, names, path, per_trial=True, dtype="float32", tolerances=anything
    )
    assert (loose.double() - exact).abs().max() > 2e-5


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_untrusted_pairs_are_marked_once_and_contribute_nothing(rng, path, dtype):
    series = rng.standard_normal((11, 60, 35))
    close = {(0, 1, 2), (7, 0, 34), (8, 15, 16), (10, 3, 33)}
    for k, i, j in close:
        series[k, :, j] = series[k, :, i] + 1e-5 * series[k, :, j]
    series[4, :, 5] = 7.0  # constant: never marked
    segments = unit_vectors(torch, torch.from_numpy(series), 1)
    out, marked, count = kernel_sums(segments, SOME, path, per_trial=True, dtype=dtype)
    positions = {tuple(p) for p in unpack(torch_library(), marked[:count], 35).tolist()}
    assert count == len(close)
    assert positions == close
    assert (marked[count:] == -1).all()
    for k, i, j in close:
        assert not out[:, k, i, j].any()
        assert not out[:, k, j, i].any()
    assert not out[:, 4, 5].any()
    assert not out[:, 4, :, 5].any()
    # sts, whose entries are otherwise different from zero, unless float32 rounds them off.
    assert dtype == "float32" or (out[2] != 0).sum() == 11 * 35 * 34 - 2 * 34 - 2 * len(close)


@pytest.mark.parametrize("path", PATHS)
def test_list_that_overflows_counts_on_and_stays_in_bounds(rng, path):
    series = np.repeat(rng.standard_normal((2, 40, 1)), 9, axis=-1)
    segments = unit_vectors(torch, torch.from_numpy(series), 1)
    _, marked, count = kernel_sums(
        segments, FEW, path, per_trial=False, dtype="float64", capacity=10
    )
    assert count == 2 * 36
    assert (marked >= 0).all()


def test_moments_in_parts_are_the_same(rng):
    segments = unit_vectors(torch, torch.from_numpy(rng.standard_normal((19, 30, 6))), 1)
    for per_trial in (False, True):
        options = {"per_trial": per_trial, "dtype": "float64"}
        whole = kernel_sums(segments, ATOMS, "moments", **options)[0]
        nine = 9 * 3 * 8 * 36  # trials, of which eight are summed
        parts = kernel_sums(segments, ATOMS, "moments", workspace=nine, **options)[0]
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-13)


def test_any_memory_layout(rng):
    segments = unit_vectors(torch, torch.from_numpy(rng.standard_normal((2, 30, 5))), 1)
    strided = segments._replace(past=segments.past.mT.contiguous().mT, future=segments.future[:])
    options = {"per_trial": False, "dtype": "float64"}
    for path in PATHS:
        one, other = (kernel_sums(s, FEW, path, **options)[0] for s in (segments, strided))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)


@triton.jit
def tiles_kernel(
    out,
    nodes,
    row_start,
    row_stop,
    column_start,
    column_stop,
    tiles,
    chunks,
    chunk_trials,
    BLOCK: tl.constexpr,
    RECTANGLE: tl.constexpr,
):
    program = tl.program_id(0)
    area = (nodes, row_start, row_stop, column_start, column_stop)
    chunk, row, column = tile_of(program, tiles, area, BLOCK, RECTANGLE)
    tl.store(out + 3 * program, chunk)
    tl.store(out + 3 * program + 1, row)
    tl.store(out + 3 * program + 2, column)


def tiles_of(grid):
    out = torch.zeros(grid.programs, 3, dtype=torch.int64)
    rectangle = grid.area.rectangle is not None
    tiles_kernel[(grid.programs,)](out=out, BLOCK=grid.block, RECTANGLE=rectangle, **grid.arguments)
    return list(map(tuple, out.tolist()))


@pytest.mark.parametrize("tiles", [1, 2, 3, 4, 7, 10])
def test_every_tile_of_every_chunk_has_one_program(tiles):
    found = tiles_of(Grid(Area(16 * tiles - 3), 16, 3, 1))
    rows = range(0, 16 * tiles, 16)
    expected = {(c, i, j) for c in range(3) for i in rows for j in rows if i <= j}
    assert set(found) == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize("down", [1, 2, 5])
@pytest.mark.parametrize("across", [1, 3, 4])
def test_every_tile_of_a_rectangle_has_one_program(down, across):
    rectangle = Rectangle(slice(107, 107 + 16 * down - 15), slice(3, 3 + 16 * across))
    found = tiles_of(Grid(Area(500, rectangle), 16, 3, 1))
    rows, columns = (range(side.start, side.stop, 16) for side in rectangle)
    expected = {(c, i, j) for c in range(3) for i in rows for j in columns}
    assert set(found) == expected
    assert len(found) == len(expected) == 3 * down * across


@pytest.mark.parametrize("trials", [1, 7, 8, 9, 60, 1000])
@pytest.mark.parametrize("nodes", [2, 270, 1152, 50_000])
@pytest.mark.parametrize("part", [1, 3])
def test_grid_covers_every_trial(nodes, trials, part):
    rows, columns = (
        slice(0, nodes // 2),
        slice(nodes // 2, nodes // 2 + max(1, nodes // (2 * part))),
    )
    for area in (Area(nodes), Area(nodes, Rectangle(rows, columns))):
        for together in (1, 4, 8, 32):
            grid = grid_for(area, trials, False, Launch(32, 4), 2, 132, together)
            assert (grid.chunks - 1) * grid.chunk_trials < trials <= grid.chunks * grid.chunk_trials
            assert grid.chunk_trials % together == 0
            # Partial sums are bounded: chunks are cut only where tiles are few.
            assert grid.chunks == 1 or grid.programs < 3 * 132 * 8
        assert grid_for(area, trials, True, Launch(32, 4), 2, 132, 8).chunks == trials


def test_product_of_a_group_stays_normal():
    """Worst case of every factor, of the fewest samples."""
    for tolerances in (STRICT, LOOSE):
        for dtype in ("float64", "float32"):
            least = smallest_trusted(4, dtype, tolerances[dtype]) ** 6
            trials = group(dtype, tolerances)
            assert least**trials > np.finfo(dtype).tiny
            assert least ** (2 * trials) < np.finfo(dtype).tiny  # no larger power of two would do
    assert (group("float64", STRICT), group("float64", LOOSE)) == (8, 4)


def test_plan_combines_logarithms_to_atoms(rng):
    """Against `kernels.formulas.mmi` on correlations of random data, in NumPy."""
    assert plan(FEW).terms == tuple(
        TERMS.index(name) for name in ("max x_a x_b y_a y_b", "sts numerator", "sts denominator")
    )
    assert "sts numerator" in [TERMS[n] for n in plan(("xtx", "yty", "sts")).terms]
    everything = plan(ATOMS)
    assert len(everything.terms) == 18  # with all the others at hand, sts is a sum of theirs
    assert mirrors(ATOMS, rectangle=False)[ATOMS.index("xts")] == ATOMS.index("yts")
    assert mirrors(("xtr", "sts"), rectangle=True) == (-1, 1)
    with pytest.raises(ValueError, match="all pairs need .*'ytr'"):
        mirrors(("xtr", "sts"), rectangle=False)
    # Informations are nonnegative combinations that cumulate: zeta @ atoms gives back the lambdas.
    back = np.rint(np.linalg.inv(moebius_matrix())).astype(int) @ coefficients(ATOMS)
    assert (back.sum(1) == [1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, -2]).all()


def test_path_rule():
    study, large = Area(1152), Area(50_000)
    part = Area(50_000, Rectangle(slice(0, 1000), slice(7000, 8152)))
    # As measured on an H100, bench/results/h100.json.
    assert path_for(study, 99, False, plan(FEW)) == "series"
    assert path_for(study, 99, False, plan(ATOMS)) == "series"
    for atoms in (FEW, ATOMS):
        assert path_for(study, 99, False, plan(atoms), dtype="float32") == "moments"
    # Elsewhere float64 may take 64 times as long as float32.
    consumer = {"dtype": "float32", "capability": (12, 0)}
    assert path_for(study, 2000, False, plan(FEW), **consumer) == "series"
    # By a model from there.
    assert path_for(part, 99, False, plan(FEW)) == "moments"
    assert path_for(part, 5, False, plan(FEW)) == "series"
    for area in (study, part):
        assert path_for(area, 2000, False, plan(FEW)) == "moments"
        assert path_for(area, 200, False, plan(ATOMS)) == "moments"
    assert path_for(large, 2000, False, plan(ATOMS)) == "series"
    assert path_for(study, 2000, False, plan(FEW), workspace=1 << 20) == "series"
