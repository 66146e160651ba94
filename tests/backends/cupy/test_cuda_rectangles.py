"""The CUDA kernels on rectangles of pairs, on a CPU."""

from __future__ import annotations

import numpy as np
import pytest

from support.cuda_runs import (
    BOUND,
    DISCRETE,
    GAUSSIAN,
    Run,
    close,
    expected,
    features_of,
    node_sums,
    series,
)
from synkern.kernels.contract import Rectangle
from synkern.kernels.formulas.estimators import STRICT
from synkern.kernels.lattice import ATOMS

# Nodes, and a rectangle of their pairs.
RECTANGLES = {
    "the only pair, exchanged": (2, Rectangle(slice(1, 2), slice(0, 1))),
    "a row": (41, Rectangle(slice(5, 6), slice(7, 41))),
    "a column": (41, Rectangle(slice(3, 40), slice(40, 41))),
    "rows before columns": (66, Rectangle(slice(1, 38), slice(40, 65))),
    "rows after columns": (66, Rectangle(slice(29, 66), slice(0, 27))),
}
rectangles = pytest.mark.parametrize(
    ("nodes", "rectangle"), RECTANGLES.values(), ids=list(RECTANGLES)
)


def marks_in(keys, trials, nodes, rectangle):
    """Keys of the pairs of a rectangle among those of all pairs, the row first."""
    marked = np.zeros((trials, nodes, nodes), bool)
    marked.reshape(-1)[keys] = True
    marked |= marked.swapaxes(1, 2)
    inside = np.zeros((nodes, nodes), bool)
    inside[rectangle] = True
    return np.flatnonzero(marked & inside)


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize(("kind", "names", "moments"), GAUSSIAN + DISCRETE)
@rectangles
def test_rectangles_as_in_numpy(launcher, rng, kind, names, moments, nodes, rectangle, dtype):
    estimator, features = features_of(kind, series(rng, 3, 40, nodes))
    wanted, keys = expected(estimator, features, names, dtype)
    assert len(keys) == 0
    run = Run(launcher, estimator, features, names, dtype, moments=moments, rectangle=rectangle)
    for chunk in (1, 2):
        found, marks = run.matrices(chunk)
        sums = [wanted[:, k : k + chunk].sum(1)[:, *rectangle] for k in range(0, 3, chunk)]
        close(found, np.stack(sums, 1), dtype, chunk)
        assert len(marks) == 0


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize(("kind", "names"), [(k, n) for k, n, m in GAUSSIAN + DISCRETE if not m])
def test_rectangles_have_the_bits_of_all_pairs(launcher, rng, kind, names, dtype):
    """Where rows come before columns, and the sums over trials are the same."""
    nodes, rectangle = RECTANGLES["rows before columns"]
    estimator, features = features_of(kind, series(rng, 3, 40, nodes, degenerate=True))
    every, _ = Run(launcher, estimator, features, names, dtype).matrices(2)
    found, _ = Run(launcher, estimator, features, names, dtype, rectangle=rectangle).matrices(2)
    assert found.tobytes() == every[:, :, *rectangle].tobytes()


@pytest.mark.parametrize("names", [("xts",), ("rtr",), ("sts", "xty", "yts")])
@pytest.mark.parametrize("kind", [("gaussian", "MMI"), ("gaussian", "CCS"), ("discrete", "MMI")])
def test_rectangles_of_atoms_without_their_mirror_images(launcher, rng, kind, names):
    nodes, rectangle = RECTANGLES["rows after columns"]
    estimator, features = features_of(kind, series(rng, 3, 40, nodes))
    wanted, _ = expected(estimator, features, ATOMS, "float64")
    run = Run(launcher, estimator, features, names, "float64", rectangle=rectangle)
    found, _ = run.matrices(3)
    places = [ATOMS.index(name) for name in names]
    close(found[:, 0], wanted[places].sum(1)[:, *rectangle], "float64", 3)


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize(("kind", "names", "moments"), GAUSSIAN)
@pytest.mark.parametrize(
    "rectangle",
    [Rectangle(slice(0, 8), slice(8, 19)), Rectangle(slice(9, 19), slice(0, 5))],
    ids=["before", "after"],
)
def test_what_a_rectangle_cannot_trust(launcher, rng, kind, names, moments, rectangle, dtype):
    """Constant, coinciding and nearly coinciding nodes on both sides."""
    estimator, features = features_of(kind, series(rng, 5, 60, 19, degenerate=True))
    wanted, keys = expected(estimator, features, names, dtype)
    keys = marks_in(keys, 5, 19, rectangle)
    assert len(keys) >= 5
    run = Run(launcher, estimator, features, names, dtype, moments=moments, rectangle=rectangle)
    found, marks = run.matrices(5)
    assert np.abs(found[:, 0] - wanted.sum(1)[:, *rectangle]).max() < 5 * STRICT[dtype]
    assert marks.tolist() == keys.tolist()
    _, marks = run.matrices(1, slice(2, 5))
    assert marks.tolist() == [key for key in keys if key >= 2 * 19**2]
    run.capacity = 3
    _, marks = run.matrices(2)
    assert int(run.count[0]) == len(keys)
    assert set(marks.tolist()) <= set(keys.tolist())
    assert len(set(marks.tolist())) == 3


@pytest.mark.parametrize(("kind", "names", "moments"), [*GAUSSIAN, *DISCRETE])
@pytest.mark.parametrize("height", [1, 2])
@rectangles
def test_node_sums_of_rectangles(launcher, rng, kind, names, moments, nodes, rectangle, height):
    dtype = "float64"
    values = series(rng, 3, 40, nodes, degenerate=nodes > 2)
    estimator, features = features_of(kind, values)
    wanted, keys = expected(estimator, features, names, dtype)
    keys = marks_in(keys, 3, nodes, rectangle)
    run = Run(launcher, estimator, features, names, dtype, moments=moments, rectangle=rectangle)
    for chunk in (1, 3):
        totals, marks = run.node_sums(chunk, height)
        sums = node_sums(features, wanted, keys, names, chunk, rectangle)
        # Near the limit of trust an atom may be off by as much as the closed form is allowed.
        off = np.abs(totals - sums).max()
        assert off <= STRICT[dtype] * nodes * (1 + np.abs(sums).max())
        first = np.unique(keys // nodes**2 // chunk * chunk * nodes**2 + keys % nodes**2)
        assert marks.tolist() == first.tolist()
        outside = np.ones(nodes, bool)
        outside[rectangle.rows] = outside[rectangle.columns] = False
        assert (totals[..., outside] == 0).all()
