"""Compiled kernels write finished matrices: every entry, no other, as the engine does."""

import numpy as np
import pytest

from synkern.kernels import numpy_backend
from synkern.kernels.contract import Limits, Rectangle
from synkern.kernels.cpu_backend import backend, compiled
from synkern.kernels.cpu_backend.record import BACKEND
from synkern.kernels.engine.all_pairs import finish, request_for
from synkern.kernels.engine.libraries import NUMPY
from synkern.kernels.formulas.estimators import ESTIMATORS
from synkern.kernels.lattice import ATOMS, TWO

pytestmark = pytest.mark.skipif(not BACKEND.status().available, reason="needs a C++ compiler")

MMI, CCS, BITS = ("gaussian", "MMI"), ("gaussian", "CCS"), ("discrete", "MMI")
SENTINEL = -12345.0
SIZES = [2, 3, 4, 5, 6, 7, 8, 9, 63, 64, 65, 127, 128, 139]
SOME = ("xtr", "sts", "rtr", "str")
STREAMED = 1 << 22  # bytes from which matrices go past the cache


def degenerate(trials, nodes, time=24):
    """Nodes that are constant in some trials and in all, and that others determine (nearly)."""
    series = np.random.default_rng(nodes).standard_normal((trials, time, nodes)).cumsum(1)
    series[::2, :, 0] = 3
    series[1::3, :, -1] = series[1::3, :, nodes // 2]
    if nodes > 5:
        series[:, :, 2] = -1
        series[::4, :, 4] = series[::4, :, 3] + 1e-6 * series[::4, :, 1]
        series[:, :, 5] = 1 - 2 * series[:, :, 3]
    if nodes > 6:
        series[:, 1:, 6] = series[:, :-1, 1]  # Fixed by the past of another: no value in any trial.
    return series


def asked(key, names, **options):
    options = {"per_trial": False, "dtype": "float64"} | options
    return request_for(names, estimator=ESTIMATORS[key], **options)


def by_the_engine(series, request):
    """What `finish` makes of the sums of the same kernel."""
    with np.errstate(divide="ignore", invalid="ignore"):
        features = compiled.KERNELS[request.estimator.key].features(series, request)
        totals = backend._totals(features, request, None)
        return finish(NUMPY, request, totals, constant=features.constant)


def assert_same(found, expected, tolerance):
    for name, value in expected.atoms.items():
        assert found.atoms[name].dtype == value.dtype
        np.testing.assert_allclose(found.atoms[name], value, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(found.constant, expected.constant)
    assert sorted(found.flagged.tolist()) == sorted(expected.flagged.tolist())
    assert found.rescued == expected.rescued


def sides(nodes, corner):
    if not corner:
        return None
    half = nodes // 2
    return Rectangle(slice(half, nodes), slice(half // 2, half))


@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("per_trial", [False, True], ids=["means", "trials"])
@pytest.mark.parametrize("corner", [False, True], ids=["all", "rectangle"])
def test_it_finishes_as_the_engine_does(nodes, per_trial, corner):
    if corner and nodes < 4:
        corner = False
    series = degenerate(5, nodes)
    for key in (MMI, CCS, BITS):
        for names in (ATOMS, TWO, SOME, ("xts",)):
            request = asked(key, names, per_trial=per_trial, rectangle=sides(nodes, corner))
            found = backend.run(series, request)
            assert list(found.atoms) == list(names)
            assert_same(found, by_the_engine(series, request), 0)


@pytest.mark.parametrize("nodes", [3, 65, 139])
@pytest.mark.parametrize("per_trial", [False, True], ids=["means", "trials"])
@pytest.mark.parametrize("limits", [Limits(paired=1), Limits(paired=10**9)], ids=["pairs", "units"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_agrees_with_numpy(nodes, per_trial, limits, dtype):
    series = degenerate(5, nodes, 60)
    for key in (MMI, CCS, BITS):
        request = asked(key, ATOMS, per_trial=per_trial, limits=limits)
        expected = numpy_backend.run(series, request)
        request = asked(key, ATOMS, per_trial=per_trial, limits=limits, dtype=dtype)
        found = backend.run(series, request)
        for name, value in expected.atoms.items():
            rounding = 0 if dtype == "float64" else np.finfo(dtype).eps
            np.testing.assert_allclose(found.atoms[name], value, rtol=rounding, atol=2e-9)
        np.testing.assert_array_equal(found.constant, expected.constant)
        assert sorted(found.flagged.tolist()) == sorted(expected.flagged.tolist())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_large_matrices_begin_at_a_huge_page_and_others_at_a_line(dtype):
    for shape, begin in (((511, 511), 64), ((725, 725), 1 << 21), ((3, 600, 600), 1 << 21)):
        matrices = [compiled._on_lines(shape, dtype) for _ in range(3)]
        for matrix in matrices:
            assert matrix.shape == shape
            assert matrix.dtype == dtype
            assert matrix.flags.c_contiguous
            assert matrix.ctypes.data % begin == 0
            if begin > 64:  # Of an array that NumPy asks huge pages for.
                assert matrix.base.nbytes >= 1 << 22


@pytest.fixture
def guarded(monkeypatch):
    """Outputs that begin some entries after a line, between entries that nothing may write."""
    made = []

    def use(offset):
        def on_lines(shape, dtype):
            size, line = int(np.prod(shape)), 64 // np.dtype(dtype).itemsize
            memory = np.full(size + 4 * line, SENTINEL, dtype)
            begin = -(memory.ctypes.data // memory.itemsize) % line + line + offset
            made.append((memory, begin, begin + size))
            return memory[begin : begin + size].reshape(shape)

        monkeypatch.setattr(compiled, "_on_lines", on_lines)
        return made

    return use


@pytest.mark.parametrize("large", [False, True], ids=["small", "streamed"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("nodes", SIZES)
def test_it_writes_every_entry_and_nothing_else(guarded, nodes, dtype, large):
    size = np.dtype(dtype).itemsize
    trials = STREAMED // (16 * size * nodes**2) + 1 if large else 1
    assert (16 * size * nodes**2 * trials >= STREAMED) == large
    series = degenerate(trials, nodes, 8)
    request = asked(BITS, ATOMS, per_trial=True, dtype=dtype)
    features = compiled.KERNELS[BITS].features(series, request)
    expected, _ = compiled.means(features, request)
    for offset in (0, 1, 5):
        made = guarded(offset)
        for threads in (1, 3):
            made.clear()
            found, _ = compiled.means(features, request, threads)
            for memory, begin, end in made:
                assert (memory[:begin] == SENTINEL).all()
                assert (memory[end:] == SENTINEL).all()
            for name in ATOMS:
                assert not (found[name] == SENTINEL).any()
                np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("rectangle", [None, Rectangle(slice(301, 700), slice(3, 290))], ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_large_matrices_are_those_of_any_number_of_threads(guarded, rectangle, dtype):
    series = degenerate(2, 701, 12)
    request = asked(MMI, ATOMS, dtype=dtype, rectangle=rectangle)
    expected = by_the_engine(series, request)
    tolerance = 0 if dtype == "float64" else 2 * np.finfo(dtype).eps  # Divided before rounding.
    for threads, offset in ((1, 0), (2, 3), (7, 6)):
        made = guarded(offset)
        made.clear()
        found = backend.run(series, request, threads)
        assert_same(found, expected, tolerance)
        for memory, begin, end in made:
            assert (memory[:begin] == SENTINEL).all()
            assert (memory[end:] == SENTINEL).all()
            assert not (memory[begin:end] == SENTINEL).any()


@pytest.mark.parametrize("per_trial", [False, True], ids=["means", "trials"])
@pytest.mark.parametrize("nodes", [9, 130])
def test_pairs_that_are_all_marked(rng, nodes, per_trial):
    series = np.repeat(rng.standard_normal((3, 40, 1)).cumsum(1), nodes, axis=-1)
    found = backend.run(series, asked(MMI, TWO, per_trial=per_trial))
    off = ~np.eye(nodes, dtype=bool)
    for name in TWO:
        assert np.isnan(found.atoms[name][..., ~off]).all()
    np.testing.assert_allclose(found.atoms["sts"][..., off], 0, atol=1e-10)
    assert (found.atoms["rtr"][..., off] > 0.01).all()
    assert len(found.flagged) == 3 * nodes * (nodes - 1) // 2


def test_nodes_that_are_all_constant():
    found = backend.run(np.ones((2, 30, 70)), asked(MMI, ATOMS))
    assert all(np.isnan(value).all() for value in found.atoms.values())
    assert found.constant.all()


def test_matrices_begin_a_line_of_the_cache(rng):
    found = backend.run(rng.standard_normal((1, 30, 16)), asked(MMI, ATOMS))
    assert {value.ctypes.data % 64 for value in found.atoms.values()} == {0}
    assert all(value.flags.c_contiguous and value.flags.writeable for value in found.atoms.values())
