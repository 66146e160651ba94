"""The CUDA kernels, unmodified, on a CPU: see tests/native/shim.h."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from support.cuda_shim import ORDERS, Launcher, Recorder, build, planted
from synkern.kernels.contract import Limits, Rectangle, Tile, smallest_trusted
from synkern.kernels.cupy_backend.source import PAIRS, SHAPES, TOTALS, TOTALS_THREADS, kernels
from synkern.kernels.engine.libraries import NUMPY as LIBRARY
from synkern.kernels.engine.tiles import pair_mask
from synkern.kernels.formulas import estimators
from synkern.kernels.formulas import unit_vectors as segments
from synkern.kernels.formulas.discrete import tables_of
from synkern.kernels.formulas.estimators import STRICT
from synkern.kernels.lattice import ATOMS, moebius_matrix, swap_nodes

TWO = ("rtr", "sts")
SOME = ("xts", "yts", "rtr", "sts", "str")
REALS = {"double": "float64", "float": "float32"}

# Rounding: 1e-12 in float64; float32 is promised to 1e-5 a trial.
BOUND = {"float64": 1e-12, "float32": 1e-5}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("shim") / "kernels.so")


@pytest.fixture
def launcher(library):
    return Launcher(library)


def series(rng, trials, time, nodes, *, degenerate=False):
    """Correlated and persistent, so that all atoms differ from zero."""
    noise = rng.standard_normal((trials, time, nodes))
    values = np.empty_like(noise)
    values[:, 0] = noise[:, 0]
    mixing = 0.5 * np.eye(nodes) + 0.3 / np.sqrt(nodes) * rng.standard_normal((nodes, nodes))
    for t in range(1, time):
        values[:, t] = values[:, t - 1] @ mixing + noise[:, t]
    values += 0.5 * noise.mean(2, keepdims=True)
    if degenerate:
        values[0, :, 0] = 1.5  # constant in one trial
        values[:, :, nodes // 2] = values[:, :, 1]  # duplicate
        values[-1, :, -1] = values[-1, :, 1] + 1e-6 * noise[-1, :, 0]  # nearly so
    return values


def features_of(kind, values, tau=1):
    estimator = estimators.ESTIMATORS[kind]
    return estimator, estimator.features(LIBRARY, values, tau, None)


def expected(estimator, features, names, dtype):
    """Sums (names, trials, nodes, nodes) of what is trusted, 0 elsewhere, and the sorted marks."""
    trials, nodes = features.constant.shape
    tile = Tile(slice(0, trials), slice(0, nodes), slice(0, nodes))
    with np.errstate(all="ignore"):
        found = estimator.of_tile(LIBRARY, features, tile, names, "float64", Limits())
    use = pairs = pair_mask(LIBRARY, features, tile)
    if found.variance is not None:
        use = pairs & (found.variance >= limits(estimator, features, dtype)[-1])
    atoms = np.where(use, np.stack(found.atoms), 0.0)
    mirror = [names.index(swap_nodes(name)) for name in names]
    trial, row, column = np.nonzero(pairs & ~use)
    keys = np.sort((trial * nodes + row) * nodes + column)
    return atoms + atoms[mirror].swapaxes(-1, -2), keys


def limits(estimator, features, dtype):
    """Those of the arithmetic, and of float64; of the one that there is, if it has no float32."""
    tolerance = estimator.tolerance(features)
    dtypes = (dtype, "float64") if "float32" in tolerance else ("float64",)
    return [smallest_trusted(features.samples, d, tolerance[d]) for d in dtypes]


def combination(names, two):
    """Weights and mirror, as the kernels take them."""
    if two:
        weights = np.array([[name == "rtr", name == "sts"] for name in names], np.float64)
    else:
        rows = [ATOMS.index(name) for name in names]
        weights = np.ascontiguousarray(moebius_matrix()[rows], np.float64)
    swapped = map(swap_nodes, names)
    return weights, np.array([names.index(name) if name in names else -1 for name in swapped])


def packed(bits):
    """(trials, 3, words, nodes): 64 samples of the future, the past and both."""
    trials, nodes, samples = bits.past.shape
    values = np.zeros((trials, 3, nodes, -(-samples // 64) * 8), np.uint8)
    for k, feature in enumerate((bits.future, bits.past, bits.both)):
        part = np.packbits(feature != 0, axis=-1)
        values[:, k, :, : part.shape[-1]] = part
    return np.ascontiguousarray(values.view(np.uint64).swapaxes(2, 3))


class Run:
    """One launch after another of the kernels on the same features.

    Args:
        launcher: of the kernels.
        estimator: of the atoms.
        features: of the nodes.
        names: atoms.
        dtype: of arithmetic and output.
        moments: from moments in memory.
        rectangle: of pairs; None: all pairs.
    """

    def __init__(
        self, launcher, estimator, features, names, dtype, *, moments=False, rectangle=None
    ):
        self.launcher = launcher
        self.features = features
        self.names = names
        self.dtype = dtype
        self.real = {d: r for r, d in REALS.items()}[dtype]
        self.moments = moments
        self.discrete = isinstance(estimator, estimators.Discrete)
        self.ccs = isinstance(estimator, estimators.GaussianCCS)
        self.redundancy = getattr(estimator, "redundancy", None)
        self.alone = isinstance(estimator, estimators.PersistenceMMI)
        self.two = isinstance(estimator, estimators.GaussianMMI) and set(names) <= set(TWO)
        self.trials, self.nodes = features.constant.shape
        self.estimator = estimator
        self.capacity = self.trials * self.nodes**2
        self.namespace = "phiid"
        self.rectangle = rectangle
        self.rows, self.columns = rectangle or (slice(0, self.nodes),) * 2

    @property
    def pairs(self):
        return PAIRS[self.rectangle is not None]

    def name(self, nodes=""):
        real, pairs = self.real, self.pairs
        if self.discrete:
            ccs = str(self.redundancy == "CCS").lower()
            before = "_nodes<" if nodes else f"<{real}, "
            return f"phiid::discrete{before}{ccs}, {pairs}>"
        if self.ccs:
            return f"phiid::ccs{'_nodes<' if nodes else f'<{real}, '}{pairs}>"
        source = "moments" if self.moments else "series"
        atoms = "Two" if self.two else "All"
        return f"phiid::mmi_{source}{nodes}<{real}, phiid::{atoms}, {pairs}>"

    def span(self):
        """As every kernel takes it, last."""
        rows, columns = self.rows, self.columns
        return [rows.start, rows.stop - rows.start, columns.start, columns.stop - columns.start]

    def tiles(self, nodes=""):
        """Rows and columns of tiles."""
        tile = SHAPES[self.name(nodes)].tile
        return [-(-(side.stop - side.start) // tile) for side in (self.rows, self.columns)]

    def data(self, trials):
        if self.discrete:
            tables = tables_of(LIBRARY, self.features)
            table = tables.entropy if self.redundancy == "MMI" else tables.surprisal
            return [packed(self.features)[trials], table]
        past, future = (np.ascontiguousarray(v[trials]) for v in self.features[:2])
        own = (past * future).sum(-1)
        if not self.moments:
            return [past, future, own]
        x, a = past[:, self.rows], future[:, self.rows]
        y, b = (v[:, self.columns].swapaxes(-1, -2) for v in (past, future))
        ya = past[:, self.columns] @ a.swapaxes(-1, -2)
        return [np.ascontiguousarray(v) for v in (x @ y, a @ b, x @ b, ya, own)]

    def call(self, output, trials, chunk, *, blocks, nodes="", band=()):
        name = self.name(nodes)
        count = len(range(*trials.indices(self.trials)))
        self.marked = np.full(self.capacity, -1)
        self.count = np.zeros(1, np.uint64)
        numbers = [count, self.nodes]
        if not self.moments:
            numbers.append(self.features.samples)
        numbers += [len(self.names), chunk]
        marks = [] if self.discrete else [self.marked, self.count]
        if not self.discrete:
            numbers += [trials.start or 0, self.capacity]
            numbers += limits(self.estimator, self.features, self.dtype)
            if not self.ccs:
                numbers.append(int(self.alone))
        constant = np.ascontiguousarray(self.features.constant[trials])
        common = [constant, *combination(self.names, self.two)]
        args = [*self.data(trials), *common, *output, *marks, *numbers, *band, *self.span()]
        entry = name.replace("phiid", self.namespace)
        self.launcher.launch(entry, blocks, SHAPES[name].threads, args)
        return np.sort(self.marked[: min(int(self.count[0]), self.capacity)])

    def matrices(self, chunk, trials=slice(None)):
        """(names, chunks, rows, columns) and the sorted marks."""
        count = len(range(*trials.indices(self.trials)))
        chunks = -(-count // chunk)
        _, rows, _, columns = self.span()
        out = np.full((len(self.names), chunks, rows, columns), np.nan, self.dtype)
        down, across = self.tiles()
        blocks = down * across if self.rectangle else down * (down + 1) // 2
        keys = self.call([out], trials, chunk, blocks=chunks * blocks)
        return out, keys

    def node_sums(self, chunk, height):
        """(names + 3, chunks, nodes) by bands of a height, and the sorted marks."""
        tile = SHAPES[self.name("_nodes")].tile
        (down, across), chunks = self.tiles("_nodes"), -(-self.trials // chunk)
        quantities = len(self.names) + 3
        totals = np.zeros((quantities, chunks, self.nodes))
        place = [self.names.index(name) if name in self.names else -1 for name in TWO]
        keys = []
        for band in range(0, down, height):
            rows = min(height, down - band)
            by_row = np.full((quantities, chunks, across, rows * tile), np.nan)
            by_column = np.full((quantities, chunks, rows, across * tile), np.nan)
            keys.append(
                self.call(
                    [by_row, by_column],
                    slice(None),
                    chunk,
                    blocks=chunks * rows * (across if self.rectangle else across - band),
                    nodes="_nodes",
                    band=[band, rows, *place],
                )
            )
            sizes = [quantities, chunks, self.nodes, tile, band, rows, *self.span()]
            self.launcher.launch(
                TOTALS[self.rectangle is not None],
                -(-totals.size // TOTALS_THREADS),
                TOTALS_THREADS,
                [by_row, by_column, totals, *sizes],
            )
        return totals, np.sort(np.concatenate(keys))


def close(found, wanted, dtype, trials):
    assert not np.isnan(found).any()
    assert np.abs(found - wanted).max() <= BOUND[dtype] * trials * (1 + np.abs(wanted).max())


GAUSSIAN = [
    (("gaussian", "MMI"), TWO, False),
    (("gaussian", "MMI"), TWO, True),
    (("gaussian", "MMI"), SOME, False),
    (("gaussian", "MMI"), ATOMS, True),
    (("gaussian", "CCS"), ATOMS, False),
]
DISCRETE = [(("discrete", "MMI"), ATOMS, False), (("discrete", "CCS"), SOME, False)]


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
    features = segments.standardise(np, series(rng, 4, 60, 19), 1)
    wanted, keys = expected(estimator, features, names, "float64")
    run = Run(launcher, estimator, features, names, "float64", moments=moments)
    found, marks = run.matrices(4)
    close(found[:, 0], wanted.sum(1), "float64", 4)
    assert marks.tolist() == keys.tolist()


def node_sums(features, wanted, keys, names, chunk, rectangle=None):
    """What `Run.node_sums` should give, from expected sums (names, trials, nodes, nodes)."""
    trials, nodes = features.constant.shape
    inside = ~np.eye(nodes, dtype=bool)
    if rectangle is not None:
        inside[:] = False
        inside[rectangle] = True
        inside |= inside.T
    both = ~(features.constant[:, :, None] | features.constant[:, None]) & inside
    marked = np.zeros((trials, nodes, nodes), bool)
    marked.reshape(-1)[keys] = True
    marked |= marked.swapaxes(1, 2)
    totals = []
    for start in range(0, trials, chunk):
        part = slice(start, start + chunk)
        count = both[part].sum(0)
        known = (count > 0) & ~marked[part].any(0)
        mean = np.where(known, wanted[:, part].sum(1) / np.maximum(count, 1), 0)
        rtr, sts = (mean[names.index(n)] if n in names else np.zeros(count.shape) for n in TWO)
        positive = known & (sts + rtr > 0) & set(TWO).issubset(names)
        share = np.where(positive, sts / np.where(positive, sts + rtr, 1), 0)
        totals.append([*mean.sum(-1), known.sum(-1), share.sum(-1), positive.sum(-1)])
    return np.stack(totals, 1)


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


# ---- Rectangles ----------------------------------------------------------------------------------

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


# ---- Order of threads, and defects ---------------------------------------------------------------

EVERY = [
    *((kind, names, moments, "float32") for kind, names, moments in GAUSSIAN),
    *((kind, names, moments, "float64") for kind, names, moments in GAUSSIAN + DISCRETE),
]


@pytest.mark.parametrize(("kind", "names", "moments", "dtype"), EVERY)
def test_no_order_of_threads_changes_a_bit(library, rng, kind, names, moments, dtype):
    estimator, features = features_of(kind, series(rng, 3, 40, 37, degenerate=True))
    results = []
    for order in ORDERS:
        launched = Launcher(library, order, 3), estimator, features, names, dtype
        results.append([])
        for rectangle in (None, Rectangle(slice(19, 37), slice(0, 19))):
            run = Run(*launched, moments=moments, rectangle=rectangle)
            results[-1] += [*run.matrices(3), *run.node_sums(3, 1)]
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert one.tobytes() == two.tobytes()


# What is broken, and how.
PLANTED = {
    "no_barrier_after_values_are_shared": (
        "            __syncthreads();\n            // On their way",
        "            // On their way",
    ),
    "no_barrier_before_values_are_overwritten": (
        "start += DEPTH) {\n            __syncthreads();",
        "start += DEPTH) {",
    ),
    "no_barrier_before_a_tile_is_read": (
        "            __syncthreads();\n            Real* here",
        "            Real* here",
    ),
    "a_barrier_for_some": (
        "            __syncthreads();\n            Real* here",
        "            if (threadIdx.x % 2) __syncthreads();\n            Real* here",
    ),
    "one_pair_too_few": ("row < column && column < nodes;", "row < column && column < nodes - 1;"),
    "an_edge_not_written": ("has(task.nodes, before, after)", "has(task.nodes - 1, before, after)"),
    "the_diagonal_for_a_pair": ("return row < column &&", "return row <= column &&"),
    "columns_exchanged": ("lane() % 4 * 2 + p % 2", "lane() % 4 * 2 + 1 - p % 2"),
    "one_trial_too_few": ("last < task.trials ? last", "last < task.trials ? last - 1"),
    "one_sample_too_many": ("sample < samples;", "sample <= samples;"),
    "own_correlation_of_another": (
        "column < task.nodes ? Real(lagged[column])",
        "row < task.nodes ? Real(lagged[row])",
    ),
}

PLANTED_IN_RECTANGLES = {
    "the_last_row_left_out": ("row < down.end() &&", "row < down.end() - 1 &&"),
    "the_last_column_left_out": ("column < across.end();", "column < across.end() - 1;"),
    "one_row_of_tiles": ("block % of_chunk / width, block % width);", "0, block % width);"),
    "rows_for_columns": (
        "here[(row - rows.first) * wide + column - columns.first]",
        "here[(column - columns.first) * rows.count + row - rows.first]",
    ),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """One library of many kernels, each with a defect, in a namespace of its own."""
    every = PLANTED | PLANTED_IN_RECTANGLES
    text = "\n".join(planted(defect, name) for name, defect in every.items())
    names = [
        f"{name}::mmi_series<double, {name}::Two, {name}::{pairs}>"
        for some, pairs in ((PLANTED, "AllPairs"), (PLANTED_IN_RECTANGLES, "Rectangle"))
        for name in some
    ]
    return build(tmp_path_factory.mktemp("broken") / "broken.so", names, text=text)


@pytest.mark.parametrize("defect", [*PLANTED, *PLANTED_IN_RECTANGLES])
def test_planted_defects_are_found(broken, rng, defect):
    estimator, features = features_of(
        ("gaussian", "MMI"), series(rng, 3, 40, 37 if defect in PLANTED else 81)
    )
    wanted, _ = expected(estimator, features, TWO, "float64")
    right = np.stack([wanted[:, :2].sum(1), wanted[:, 2]], 1)
    rectangle = Rectangle(slice(0, 41), slice(42, 81)) if defect in PLANTED_IN_RECTANGLES else None
    if rectangle is not None:
        right = right[:, :, *rectangle]
    found_out = False
    for order in ORDERS:
        run = Run(Launcher(broken, order), estimator, features, TWO, "float64", rectangle=rectangle)
        run.namespace = defect
        try:
            found, marks = run.matrices(2)
        except RuntimeError:
            found_out = True
        else:
            found_out |= bool(len(marks)) or not np.abs(found - right).max() < 1e-9
    assert found_out


# Each template once, promotion included.
SANITIZED = [
    (("gaussian", "MMI"), TWO, False, "float32"),
    (("gaussian", "MMI"), SOME, True, "float64"),
    (("gaussian", "CCS"), SOME, False, "float32"),
    (("discrete", "CCS"), TWO, False, "float64"),
]


# For each sanitizer, a defect that it must find and a word of its report.
SANITIZERS = {
    "address,undefined": ("one_sample_too_many", "heap-buffer-overflow"),
    "thread": ("no_barrier_before_values_are_overwritten", "data race"),
}


@pytest.mark.proof
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_sanitizers_are_silent(library, rng, tmp_path, sanitizer):
    defect, report = SANITIZERS[sanitizer]
    launcher = Launcher(library)
    recorder = Recorder(launcher, tmp_path / "launches")
    names = set(TOTALS)
    for kind, atoms, moments, dtype in SANITIZED:
        estimator, features = features_of(kind, series(rng, 2, 23, 33, degenerate=True))
        for rectangle in (None, Rectangle(slice(17, 33), slice(0, 17))):
            run = Run(
                recorder, estimator, features, atoms, dtype, moments=moments, rectangle=rectangle
            )
            run.matrices(2)
            run.node_sums(2, 1)
            names |= {run.name(), run.name("_nodes")}
    broken = Recorder(launcher, tmp_path / "broken", defect)
    estimator, features = features_of(("gaussian", "MMI"), series(rng, 2, 23, 33))
    run = Run(broken, estimator, features, TWO, "float64")
    run.matrices(2)
    names.add(run.name().replace("phiid", defect))

    checks = ["-g1", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    program = build(
        tmp_path / "replay",
        sorted(names),
        text=kernels() + planted(PLANTED[defect], defect),
        flags=checks,
        header="replay.h",
    )

    def replay(launches):
        command = [program, launches]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    silent = replay(recorder.path)
    assert silent.returncode == 0, silent.stdout + silent.stderr
    # The address sanitizer says that it knows little of fibers, whatever it is told of them.
    assert len(silent.stderr.splitlines()) <= (sanitizer != "thread")
    loud = replay(broken.path)
    assert loud.returncode != 0
    assert report in loud.stderr
