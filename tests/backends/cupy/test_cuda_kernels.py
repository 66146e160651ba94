"""The CUDA kernels, unmodified, on a CPU: see tests/native/shim.h."""

from __future__ import annotations

import numpy as np
import pytest

from support.cuda_runs import (
    BOUND,
    DISCRETE,
    GAUSSIAN,
    TWO,
    Run,
    close,
    expected,
    features_of,
    node_sums,
    series,
)
from support.cuda_shim import LIBRARY, Launcher, build
from synkern.kernels.cupy_backend.source import NAMES
from synkern.kernels.formulas import estimators
from synkern.kernels.formulas.estimators import STRICT
from synkern.kernels.formulas.unit_vectors import unit_vectors
from synkern.kernels.lattice import ATOMS


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize(("kind", "names", "moments"), GAUSSIAN + DISCRETE)
@pytest.mark.parametrize("nodes", [2, 3, 37, 65])
def test_matrices_as_in_numpy(launcher, rng, kind, names, moments, nodes, dtype):
    trials = 11 if nodes < 37 else 3
    estimator, features = features_of(kind, series(rng, trials, 40, nodes))
    wanted, keys = expected(estimator, features, names, dtype)
    assert len(keys) == 0
    run = Run(launcher, estimator, features, names, dtype, moments=moments)
    for chunk in (1, 2, trials):
        found, marks = run.matrices(chunk)
        sums = [wanted[:, k : k + chunk].sum(1) for k in range(0, trials, chunk)]
        close(found, np.stack(sums, 1), dtype, chunk)
        assert len(marks) == 0


@pytest.fixture(scope="module")
def eight_rows(tmp_path_factory):
    """The kernels from series as on a GPU whose tensor cores take 8 rows at once, and where float32
    is better multiplied by itself."""
    names = [name for name in NAMES if "mmi_series" in name]
    output = tmp_path_factory.mktemp("eight") / "kernels.so"
    others = ("-DPHIID_SIXTEEN_ROWS=0", "-DPHIID_DOUBLE_PRODUCTS=0")
    return Launcher(build(output, names, flags=(*LIBRARY, *others)))


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("names", [TWO, ATOMS], ids=["two", "all"])
def test_products_of_eight_rows(eight_rows, rng, names, dtype):
    estimator, features = features_of(("gaussian", "MMI"), series(rng, 3, 40, 37))
    wanted, _ = expected(estimator, features, names, dtype)
    found, marks = Run(eight_rows, estimator, features, names, dtype).matrices(3)
    close(found[:, 0], wanted.sum(1), dtype, 3)
    assert len(marks) == 0


@pytest.mark.parametrize(("kind", "names", "moments"), DISCRETE)
@pytest.mark.parametrize("samples", [1, 63, 64, 108, 109, 216, 217, 870, 872, 1743, 1744, 2500])
def test_tables_of_all_lengths(launcher, rng, kind, names, moments, samples):
    """Sixteen copies of a table in shared memory, fewer, one, and none."""
    estimator, features = features_of(kind, series(rng, 3, samples + 1, 5))
    wanted, _ = expected(estimator, features, names, "float64")
    found, _ = Run(launcher, estimator, features, names, "float64").matrices(3)
    close(found[:, 0], wanted.sum(1), "float64", 3)


@pytest.mark.parametrize("dtype", BOUND)
def test_an_information_of_zero_has_no_sign(launcher, rng, dtype):
    values = rng.integers(-1, 2, (3, 21, 19)).astype(float)
    estimator, features = features_of(("gaussian", "CCS"), values)
    lagged = features.past @ features.future.swapaxes(1, 2)
    assert (np.abs(lagged) < 1e-12).sum() > 20
    wanted, keys = expected(estimator, features, ATOMS, dtype)
    found, marks = Run(launcher, estimator, features, ATOMS, dtype).matrices(1)
    close(found, wanted, dtype, 1)
    assert marks.tolist() == keys.tolist()


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize(("kind", "names", "moments"), GAUSSIAN)
def test_what_is_not_trusted_is_left_out_and_listed(launcher, rng, kind, names, moments, dtype):
    estimator, features = features_of(kind, series(rng, 5, 60, 19, degenerate=True))
    wanted, keys = expected(estimator, features, names, dtype)
    assert 5 <= len(keys) < 20
    run = Run(launcher, estimator, features, names, dtype, moments=moments)
    found, marks = run.matrices(5)
    # Near the limit of trust an atom may be off by as much as the closed form is allowed.
    assert np.abs(found[:, 0] - wanted.sum(1)).max() < 5 * STRICT[dtype]
    assert marks.tolist() == keys.tolist()
    # A part of the trials has the same keys as the whole.
    _, marks = run.matrices(1, slice(2, 5))
    assert marks.tolist() == [key for key in keys if key >= 2 * 19**2]
    # A list without room counts on, and does not write beyond its end.
    run.capacity = 3
    _, marks = run.matrices(2)
    assert int(run.count[0]) == len(keys)
    assert set(marks.tolist()) <= set(keys.tolist())
    assert len(set(marks.tolist())) == 3


@pytest.mark.parametrize("moments", [False, True])
@pytest.mark.parametrize("names", [TWO, ATOMS], ids=["two", "all"])
def test_persistence_reference(launcher, rng, names, moments):
    estimator = estimators.PERSISTENCE
    features = unit_vectors(np, series(rng, 4, 60, 19), 1)
    wanted, keys = expected(estimator, features, names, "float64")
    run = Run(launcher, estimator, features, names, "float64", moments=moments)
    found, marks = run.matrices(4)
    close(found[:, 0], wanted.sum(1), "float64", 4)
    assert marks.tolist() == keys.tolist()


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize(("kind", "names", "moments"), [*GAUSSIAN, *DISCRETE])
@pytest.mark.parametrize(("nodes", "height"), [(2, 1), (19, 8), (65, 2)])
def test_node_sums(launcher, rng, kind, names, moments, nodes, height, dtype):
    if kind != ("gaussian", "MMI"):
        dtype = "float64"  # There is but one kernel.
    values = series(rng, 3, 40, nodes, degenerate=nodes == 19)
    estimator, features = features_of(kind, values)
    wanted, keys = expected(estimator, features, names, dtype)
    run = Run(launcher, estimator, features, names, dtype, moments=moments)
    for chunk in (1, 3):
        totals, marks = run.node_sums(chunk, height)
        sums = node_sums(features, wanted, keys, names, chunk)
        # Near the limit of trust an atom may be off by as much as the closed form is allowed.
        bound = STRICT[dtype] if nodes == 19 else BOUND[dtype]
        # A share is a quotient of atoms that may both be small.
        compared = slice(None) if dtype == "float64" else slice(-2)
        off = np.abs(totals - sums)[compared].max()
        assert off <= bound * nodes * (1 + np.abs(sums[compared]).max())
        # A pair with any mark is listed once, with the first trial of its chunk.
        first = np.unique(keys // nodes**2 // chunk * chunk * nodes**2 + keys % nodes**2)
        assert marks.tolist() == first.tolist()
    # Without both of the two there are no shares, whatever else is asked for.
    if nodes == 2:
        run = Run(launcher, estimator, features, ("rtr",), dtype, moments=moments)
        totals, _ = run.node_sums(3, height)
        assert (totals[2:] == 0).all()
