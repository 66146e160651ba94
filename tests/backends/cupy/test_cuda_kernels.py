"""The CUDA kernels, unmodified, on a CPU: see tests/native/shim.h."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from support.cuda_shim import ORDERS, Launcher, Recorder, build, planted
from synkern.kernels.contract import Limits, Tile, smallest_trusted
from synkern.kernels.cupy_backend.source import SHAPES, TOTALS, TOTALS_THREADS, kernels
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
    return weights, np.array([names.index(swap_nodes(name)) for name in names])


def packed(bits):
    """(trials, 3, words, nodes): 64 samples of the future, the past and both."""
    trials, nodes, samples = bits.past.shape
    values = np.zeros((trials, 3, nodes, -(-samples // 64) * 8), np.uint8)
    for k, feature in enumerate((bits.future, bits.past, bits.both)):
        part = np.packbits(feature != 0, axis=-1)
        values[:, k, :, : part.shape[-1]] = part
    return np.ascontiguousarray(values.view(np.uint64).swapaxes(2, 3))


class Run:
    """One launch after another of the kernels on the same features."""

    def __init__(self, launcher, estimator, features, names, dtype, *, moments=False):
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

    def name(self, nodes=""):
        if self.discrete:
            ccs = str(self.redundancy == "CCS").lower()
            return (
                f"phiid::discrete_nodes<{ccs}>" if nodes else f"phiid::discrete<{self.real}, {ccs}>"
            )
        if self.ccs:
            return "phiid::ccs_nodes" if nodes else f"phiid::ccs<{self.real}>"
        source = "moments" if self.moments else "series"
        atoms = "Two" if self.two else "All"
        return f"phiid::mmi_{source}{nodes}<{self.real}, phiid::{atoms}>"

    def data(self, trials):
        if self.discrete:
            tables = tables_of(LIBRARY, self.features)
            table = tables.entropy if self.redundancy == "MMI" else tables.surprisal
            return [packed(self.features)[trials], table]
        past, future = (np.ascontiguousarray(v[trials]) for v in self.features[:2])
        own = (past * future).sum(-1)
        if not self.moments:
            return [past, future, own]
        x, a = past.swapaxes(-1, -2), future.swapaxes(-1, -2)
        return [past @ x, future @ a, past @ a, own]

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
        args = [*self.data(trials), *common, *output, *marks, *numbers, *band]
        entry = name.replace("phiid", self.namespace)
        self.launcher.launch(entry, blocks, SHAPES[name].threads, args)
        return np.sort(self.marked[: min(int(self.count[0]), self.capacity)])

    def matrices(self, chunk, trials=slice(None)):
        """(names, chunks, nodes, nodes) and the sorted marks."""
        count = len(range(*trials.indices(self.trials)))
        chunks = -(-count // chunk)
        out = np.full((len(self.names), chunks, self.nodes, self.nodes), np.nan, self.dtype)
        tiles = -(-self.nodes // SHAPES[self.name()].tile)
        keys = self.call([out], trials, chunk, blocks=chunks * tiles * (tiles + 1) // 2)
        return out, keys

    def node_sums(self, chunk, height):
        """(names + 3, chunks, nodes) by bands of a height, and the sorted marks."""
        tile = SHAPES[self.name("_nodes")].tile
        tiles, chunks = -(-self.nodes // tile), -(-self.trials // chunk)
        quantities = len(self.names) + 3
        totals = np.zeros((quantities, chunks, self.nodes))
        place = [self.names.index(name) if name in self.names else -1 for name in TWO]
        keys = []
        for band in range(0, tiles, height):
            rows = min(height, tiles - band)
            by_row = np.full((quantities, chunks, tiles, rows * tile), np.nan)
            by_column = np.full((quantities, chunks, rows, tiles * tile), np.nan)
            keys.append(
                self.call(
                    [by_row, by_column],
                    slice(None),
                    chunk,
                    blocks=chunks * rows * (tiles - band),
                    nodes="_nodes",
                    band=[band, rows, *place],
                )
            )
            self.launcher.launch(
                TOTALS,
                -(-totals.size // TOTALS_THREADS),
                TOTALS_THREADS,
                [by_row, by_column, totals, quantities, chunks, self.nodes, tile, band, rows],
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


def node_sums(features, wanted, keys, names, chunk):
    """What `Run.node_sums` should give, from expected sums (names, trials, nodes, nodes)."""
    trials, nodes = features.constant.shape
    both = ~(features.constant[:, :, None] | features.constant[:, None]) & ~np.eye(
        nodes, dtype=bool
    )
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


EVERY = [
    *((kind, names, moments, "float32") for kind, names, moments in GAUSSIAN),
    *((kind, names, moments, "float64") for kind, names, moments in GAUSSIAN + DISCRETE),
]


@pytest.mark.parametrize(("kind", "names", "moments", "dtype"), EVERY)
def test_no_order_of_threads_changes_a_bit(library, rng, kind, names, moments, dtype):
    estimator, features = features_of(kind, series(rng, 3, 40, 37, degenerate=True))
    results = []
    for order in ORDERS:
        run = Run(Launcher(library, order, 3), estimator, features, names, dtype, moments=moments)
        results.append([*run.matrices(3), *run.node_sums(3, 1)])
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
    "one_pair_too_few": ("column < task.nodes;\n}", "column < task.nodes - 1;\n}"),
    "an_edge_not_written": ("after < nodes)", "after < nodes - 1)"),
    "the_diagonal_for_a_pair": ("return row < column &&", "return row <= column &&"),
    "columns_exchanged": ("lane() % 4 * 2 + p % 2", "lane() % 4 * 2 + 1 - p % 2"),
    "one_trial_too_few": ("last < task.trials ? last", "last < task.trials ? last - 1"),
    "one_sample_too_many": ("sample < samples;", "sample <= samples;"),
    "own_correlation_of_another": (
        "column < task.nodes ? Real(lagged[column])",
        "row < task.nodes ? Real(lagged[row])",
    ),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """One library of many kernels, each with a defect, in a namespace of its own."""
    text = "\n".join(planted(defect, name) for name, defect in PLANTED.items())
    names = [f"{name}::mmi_series<double, {name}::Two>" for name in PLANTED]
    return build(tmp_path_factory.mktemp("broken") / "broken.so", names, text=text)


@pytest.mark.parametrize("defect", PLANTED)
def test_planted_defects_are_found(broken, rng, defect):
    estimator, features = features_of(("gaussian", "MMI"), series(rng, 3, 40, 37))
    wanted, _ = expected(estimator, features, TWO, "float64")
    right = np.stack([wanted[:, :2].sum(1), wanted[:, 2]], 1)
    found_out = False
    for order in ORDERS:
        run = Run(Launcher(broken, order), estimator, features, TWO, "float64")
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
    names = {TOTALS}
    for kind, atoms, moments, dtype in SANITIZED:
        estimator, features = features_of(kind, series(rng, 2, 23, 33, degenerate=True))
        run = Run(recorder, estimator, features, atoms, dtype, moments=moments)
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
