"""Runs of the CUDA kernels on a CPU, and what NumPy says that they should find."""

from __future__ import annotations

import numpy as np

from synkern.kernels.contract import Limits, Tile, smallest_trusted
from synkern.kernels.cupy_backend.source import PAIRS, SHAPES, TOTALS, TOTALS_THREADS
from synkern.kernels.engine.libraries import NUMPY as LIBRARY
from synkern.kernels.engine.tiles import pair_mask
from synkern.kernels.formulas import estimators
from synkern.kernels.formulas.discrete import tables_of
from synkern.kernels.lattice import ATOMS, LEAST_SUM, moebius_matrix, swap_nodes

TWO = ("rtr", "sts")
SOME = ("xts", "yts", "rtr", "sts", "str")
REALS = {"double": "float64", "float": "float32"}

# Rounding: 1e-12 in float64; float32 is promised to 1e-5 a trial.
BOUND = {"float64": 1e-12, "float32": 1e-5}

# Estimator, atoms, and whether from moments.
GAUSSIAN = [
    (("gaussian", "MMI"), TWO, False),
    (("gaussian", "MMI"), TWO, True),
    (("gaussian", "MMI"), SOME, False),
    (("gaussian", "MMI"), ATOMS, True),
    (("gaussian", "CCS"), ATOMS, False),
]
DISCRETE = [(("discrete", "MMI"), ATOMS, False), (("discrete", "CCS"), SOME, False)]


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


def one_series(values):
    """What the kernel of that name makes of (trials, time, nodes), as device/lags.cuh has it."""
    trials, time, nodes = values.shape
    between, pairs = values[:, 1:-1], time - 1
    largest = np.abs(between).max(1)
    power = np.exp2(-np.floor(np.log2(np.where(largest > 0, largest, 1))))[:, None]
    mean = (between * power).mean(1, keepdims=True)
    rest = (between * power - mean).mean(1, keepdims=True)
    still = between.max(1) == between.min(1)
    h = np.where(still[:, None], 0, between * power - mean - rest)
    norm = np.sqrt((h**2).sum(1))
    most = 2.0**100 * norm
    with np.errstate(all="ignore"):
        about = (values[:, [0, -1]] * power - mean - rest).swapaxes(0, 1)
        signs = np.sign(values[:, [0, -1]] - between[:, :1]).swapaxes(0, 1)
        first, last = np.where(still, signs, np.clip(about, -most, most))
        none = still & ((first == 0) | (last == 0))
        past, future = (
            np.where(none, 0, (norm**2 + (1 - 1 / pairs) * end**2) ** -0.5) for end in (first, last)
        )
        before_last = h[:, -1] - first / pairs
        own = (h[:, 1:] * h[:, :-1]).sum(1) + first * h[:, 0] + before_last * last
        ends = [first * past, last * past, h[:, 0] * past, before_last * past]
        ends += [np.where(none, 0, future / past), own * past * future]
    interior = np.zeros((trials, nodes, -(-(time - 2) // 4) * 4 + 2))
    interior[..., : time - 2] = (h * past[:, None]).swapaxes(1, 2)
    return interior, np.ascontiguousarray(np.stack(ends, -1)), none


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
        lags: from one series, the one that the features are of, at lag 1.
    """

    def __init__(
        self,
        launcher,
        estimator,
        features,
        names,
        dtype,
        *,
        moments=False,
        rectangle=None,
        lags=None,
    ):
        self.lags = lags
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
        atoms = "Two" if self.two else "All"
        if self.lags is not None:
            before = "_nodes<" if nodes else f"<{real}, "
            return f"phiid::mmi_lags{before}phiid::{atoms}, {pairs}>"
        source = "moments" if self.moments else "series"
        return f"phiid::mmi_{source}{nodes}<{real}, phiid::{atoms}, {pairs}>"

    def span(self):
        """The span of pairs, which every kernel takes last."""
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
        if self.lags is not None:
            return list(one_series(self.lags[trials])[:2])
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
            trusted = limits(self.estimator, self.features, self.dtype)
            numbers += trusted[-1:] if self.lags is not None else trusted
            if not self.ccs and self.lags is None:
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
        positive = known & (sts + rtr > LEAST_SUM) & set(TWO).issubset(names)
        share = np.where(positive, sts / np.where(positive, sts + rtr, 1), 0)
        totals.append([*mean.sum(-1), known.sum(-1), share.sum(-1), positive.sum(-1)])
    return np.stack(totals, 1)
