"""Backend `cpu`: the arithmetic of the GPU kernels, compiled for the host.

Threads take tiles of pairs, vectors of the machine's width their columns. Moments are formed in the
cache, a few rows at a time, and never stored. Arithmetic is in float64, whatever the dtype of the
output: single precision could be trusted with few of the pairs of persistent nodes (see
`eager.smallest_trusted`), and the others would be computed twice.

Pairs out of range are listed by the kernel and take the stable path of the other backends.
"""

from __future__ import annotations

import ctypes
import functools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..contract import Estimator, Nodes, Outcome, Pairs, Request, Totals, smallest_trusted
from ..engine.all_pairs import totals
from ..engine.gathered_rectangle import decompose_gathered
from ..engine.libraries import NUMPY as LIBRARY
from ..engine.marks import rescue, rescue_parts
from ..engine.node_means import decompose_nodes
from ..formulas.discrete import Bits, tables_of
from ..formulas.estimators import Discrete, GaussianCCS, GaussianMMI, PersistenceMMI
from ..formulas.mmi import Lambdas
from ..formulas.moments import Moments
from ..formulas.rescue import lambdas_from_data
from ..lattice import ATOMS, moebius_matrix, swap_nodes
from . import bindings as native

_TILE = 64
"""Rows and columns of a tile; as in native/engine.h."""

_STRIP_ENTRIES = 1 << 22
"""Pairs between two returns to Python; bounds the memory of those that are marked."""

PANEL = 8
"""Nodes that lie side by side in `Packed`; as in native/vectors.h."""


class Packed(NamedTuple):
    """Unit vectors as `Segments` has them, in the layout of the kernels.

    Attributes:
        values: (trials, panels, samples, 2, PANEL) float64: past and future of PANEL nodes; zero
            for constant nodes and those beyond the last.
        own: (trials, nodes) correlation of a node's past with its future.
        constant: (trials, nodes) bool.
    """

    values: npt.NDArray[np.float64]
    own: npt.NDArray[np.float64]
    constant: npt.NDArray[np.bool_]

    @property
    def like(self) -> npt.NDArray[np.float64]:
        """Tells the library of arrays that belong to these."""
        return self.values

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.values.shape[2])

    def of_nodes(self, trials: slice, nodes: Any) -> Packed:
        """Some nodes of some trials."""
        panel, lane = nodes // PANEL, nodes % PANEL
        past, future = (self.values[trials][:, panel, :, side, lane] for side in range(2))
        # The indices stand on both sides of a slice, so their axis comes first.
        return _pack(past.swapaxes(0, 1), future.swapaxes(0, 1), self.constant[trials][:, nodes])

    def of_pairs(self, pairs: Any) -> Packed:
        """Each (trial, pair) as a trial of two nodes; `pairs` is (pairs, 2) nodes."""
        trials = len(self.constant)
        trial = np.repeat(np.arange(trials), pairs.size)
        node = np.tile(pairs.reshape(-1), trials)
        past, future = self._vectors(trial, node)
        shape = (-1, 2, self.samples)
        constant = self.constant[trial, node].reshape(-1, 2)
        return _pack(past.reshape(shape), future.reshape(shape), constant)

    def lambdas(self, lib: Any, positions: Any) -> tuple[Lambdas, Any]:
        """Lambdas of (pairs, 3) trial, row, column from their data; see `lambdas_from_data`."""
        return lambdas_from_data(lib.xp, *self.gathered(positions))

    def gathered(self, positions: Any) -> list[npt.NDArray[np.float64]]:
        """x, y, a, b of (pairs, 3) trial, row, column: (pairs, samples) each."""
        trial, *pair = (positions[:, k] for k in range(3))
        x, y = (self._vectors(trial, node) for node in pair)
        return [x[0], y[0], x[1], y[1]]

    def _vectors(self, trial: Any, node: Any) -> tuple[Any, Any]:
        """Past and future of nodes of trials, (nodes, samples)."""
        past, future = (self.values[trial, node // PANEL, :, k, node % PANEL] for k in range(2))
        return past, future


class Words(NamedTuple):
    """Bits as `discrete.Bits` has them, in the layout of the kernels.

    Attributes:
        values: (trials, 3, words, nodes) uint64: 64 samples of the future, the past and both.
        table: (samples + 1,) float64, by count; see `discrete.tables_of`.
        constant: (trials, nodes) bool.
    """

    values: npt.NDArray[np.uint64]
    table: npt.NDArray[np.float64]
    constant: npt.NDArray[np.bool_]

    @property
    def like(self) -> npt.NDArray[np.uint64]:
        """Tells the library of arrays that belong to these."""
        return self.values

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.table) - 1

    def of_nodes(self, trials: slice, nodes: Any) -> Words:
        """Some nodes of some trials."""
        values = np.ascontiguousarray(self.values[trials][..., nodes])
        return Words(values, self.table, self.constant[trials][:, nodes])

    def of_pairs(self, pairs: Any) -> Words:
        """Each (trial, pair) as a trial of two nodes; `pairs` is (pairs, 2) nodes."""
        values = np.moveaxis(self.values[..., pairs], 3, 1)
        values = np.ascontiguousarray(values).reshape(-1, *values.shape[2:])
        return Words(values, self.table, self.constant[:, pairs].reshape(-1, 2))


def _words(bits: Bits, redundancy: str) -> Words:
    tables = tables_of(LIBRARY, bits)
    table = tables.entropy if redundancy == "MMI" else tables.surprisal
    trials, nodes, samples = bits.past.shape
    values = np.zeros((trials, 3, nodes, -(-samples // 64) * 8), np.uint8)
    for k, feature in enumerate((bits.future, bits.past, bits.both)):
        packed = np.packbits(feature != 0, axis=-1)
        values[:, k, :, : packed.shape[-1]] = packed
    words = np.ascontiguousarray(values.view(np.uint64).swapaxes(2, 3))
    return Words(words, table, bits.constant)


def run(source: Any, request: Request) -> Pairs | Nodes:
    """Decompose pairs of a (trials, time, nodes) NumPy array, or of `Moments`."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        features = _features(source, request.estimator, request.tau, request.pooled)
        factor = _gathered_factor(request.estimator)
        return decompose_gathered(LIBRARY, features, request, _totals, _nodes, factor)


def _features(series: Any, estimator: Estimator, tau: int, pooled: str | None) -> Any:
    if isinstance(estimator, Discrete):
        return _words(estimator.features(LIBRARY, series, tau, pooled), estimator.redundancy)
    if not _compiled(estimator) or isinstance(series, Moments):
        return estimator.features(LIBRARY, series, tau, pooled)
    if pooled is None:
        return _standardise(series, tau)
    return _pack(*estimator.features(LIBRARY, series, tau, pooled))


def _standardise(series: Any, tau: int) -> Packed:
    """`Packed` of (trials, time, nodes) in any real dtype."""
    series = np.ascontiguousarray(series, np.float64)
    trials, time, nodes = series.shape
    packed = _empty(trials, nodes, time - tau)
    native.call(
        "standardise",
        native.pointer(series),
        trials,
        time,
        nodes,
        tau,
        *map(native.pointer, packed),
        native.threads_for(_PACKING * series.size),
    )
    return packed


def _pack(past: Any, future: Any, constant: Any) -> Packed:
    """`Packed` of unit vectors (trials, nodes, samples)."""
    past, future = (np.ascontiguousarray(side) for side in (past, future))
    values, own, _ = _empty(*past.shape)
    threads = native.threads_for(_PACKING * past.size)
    arguments = (*past.shape, *map(native.pointer, (values, own)), threads)
    native.call("pack", native.pointer(past), native.pointer(future), *arguments)
    return Packed(values, own, np.ascontiguousarray(constant))


def _empty(trials: int, nodes: int, samples: int) -> Packed:
    panels = -(-nodes // PANEL)
    return Packed(
        np.empty((trials, panels, samples, 2, PANEL)),
        np.empty((trials, nodes)),
        np.empty((trials, nodes), np.bool_),
    )


def _gathered_factor(estimator: Estimator) -> float:
    """Tiles gain most from compilation: a pair alone costs 110 (MMI), 22 (CCS), 40 (discrete)."""
    if isinstance(estimator, Discrete):
        return 40 / 18
    return 22 / 1.5 if isinstance(estimator, GaussianCCS) else 110 / 20


def _compiled(estimator: Estimator) -> bool:
    """Whether the kernel has it."""
    return isinstance(estimator, GaussianMMI | GaussianCCS | Discrete)


def _totals(features: Any, request: Request) -> Totals:
    """`eager.totals`, by the kernel where there is one."""
    if not _compiled(request.estimator):
        return totals(LIBRARY, features, request)
    trials, nodes = features.constant.shape
    shape = (trials, nodes, nodes) if request.per_trial else (nodes, nodes)
    # The kernel writes all but the diagonal.
    sums = {name: np.empty(shape, request.dtype) for name in request.names}
    for value in sums.values():
        value[..., np.arange(nodes), np.arange(nodes)] = 0
    out = (ctypes.c_void_p * len(sums))(*(native.pointer(value) for value in sums.values()))
    function = {"float64": "matrices_f64", "float32": "matrices_f32"}[request.dtype]
    with _task(features, request) as task:
        found = native.find(function, task, native.Area(0, nodes, 0, nodes, True), out)
    flagged, rescued = rescue(LIBRARY, features, request, sums, found.marks)
    return Totals(sums, flagged, rescued)


def _nodes(features: Any, request: Request) -> Nodes:
    """`nodes.decompose_nodes`, by the kernel where there is one, some rows at a time."""
    if not _compiled(request.estimator):
        return decompose_nodes(LIBRARY, features, request)
    trials, nodes = features.constant.shape
    names = request.names
    shape = (trials, nodes) if request.per_trial else (nodes,)
    sums = np.zeros((len(names) + 3, *shape))
    places = [names.index(n) if n in names else -1 for n in ("rtr", "sts")]
    height = max(_TILE, _STRIP_ENTRIES // nodes // _TILE * _TILE)
    result = Nodes(
        sums=dict(zip(names, sums[:-3], strict=True)),
        pairs=np.zeros(shape, np.int64),
        shares=sums[-2],
        shared=np.zeros(shape, np.int64),
        constant=features.constant,
        outcomes=Counter(),
        rescued=0,
    )
    rescued = 0
    with _task(features, request) as task:
        for start in range(0, nodes, height):
            area = native.Area(start, min(start + height, nodes), start, nodes, True)
            found = native.find("node_sums", task, area, *places, native.pointer(sums))
            rescued += _add_marked(features, request, result, found)
    result.pairs[...] += sums[-3].astype(np.int64)
    result.shared[...] += sums[-1].astype(np.int64)
    return replace(result, rescued=rescued)


def _add_marked(features: Any, request: Request, result: Nodes, found: native.Found) -> int:
    """Add pairs with marks by the stable path; the number of marks that it resolved."""
    nodes = features.constant.shape[1]
    aside, partial = found.aside, found.partial
    keys = aside[:, 1] * nodes + aside[:, 2]
    order = np.argsort(keys)
    # Every mark is a trial less, until it is resolved.
    count = aside[:, 0].copy()
    rescued = 0
    for part in rescue_parts(features, found.marks, request.limits):
        stable = request.estimator.listed(LIBRARY, features, part, request.names, request.limits)
        known = (stable.outcome == 0) | (stable.outcome == int(Outcome.DUPLICATE))
        result.outcomes.update(stable.outcome[stable.outcome != 0].tolist())
        rescued += int((stable.outcome == 0).sum())
        values = np.stack([atom[known] for atom in stable.atoms], -1)
        if request.per_trial:
            _add_pairs(result, part[known], values)
            continue
        lost = part[~known]
        at = [
            order[np.searchsorted(keys, p[:, 1] * nodes + p[:, 2], sorter=order)]
            for p in (part[known], lost)
        ]
        np.add.at(partial, at[0], values)
        np.subtract.at(count, at[1], 1)
    some = count > 0
    _add_pairs(result, aside[some], partial[some] / count[some, None])
    return rescued


def _add_pairs(result: Nodes, positions: Any, values: Any) -> None:
    """Add atoms (pairs, names) of (pairs, 3) trial, row, column; trials only if kept apart."""
    trial, row, column = (positions[:, k] for k in range(3))
    apart = (trial,) if result.pairs.ndim == 2 else ()
    by_name = dict(zip(result.sums, values.T, strict=True))
    for name, value in by_name.items():
        np.add.at(result.sums[name], (*apart, row), value)
        np.add.at(result.sums[swap_nodes(name)], (*apart, column), value)
    one = np.ones(len(positions), np.int64)
    added: list[tuple[Any, Any, Any]] = [(result.pairs, slice(None), one)]
    if {"rtr", "sts"} <= by_name.keys():
        both = by_name["sts"] + by_name["rtr"]
        positive = both > 0
        added.append((result.shared, positive, one))
        added.append((result.shares, positive, by_name["sts"] / np.where(positive, both, 1)))
    for target, use, value in added:
        for node in (row, column):
            np.add.at(target, tuple(index[use] for index in (*apart, node)), value[use])


@contextmanager
def _task(features: Any, request: Request) -> Iterator[native.Task]:
    """The kernel's view of a request; the arrays it points to live as long as the block."""
    trials, nodes = features.constant.shape
    tolerance = request.estimator.tolerance(features)["float64"]
    estimator = request.estimator
    two = isinstance(estimator, GaussianMMI) and set(request.names) <= set(_TWO)
    weights = _weights(request.names, two)
    mirror = np.array([request.names.index(swap_nodes(name)) for name in request.names])
    if isinstance(features, Moments):
        matrices = [np.ascontiguousarray(m, np.float64) for m in features[:3]]
        own = np.ascontiguousarray(np.diagonal(matrices[2], 0, -2, -1))
        arrays = dict(zip(("past", "future", "lagged", "own"), (*matrices, own), strict=True))
    else:
        arrays = {name: getattr(features, name) for name in features._fields}
    arrays |= {"constant": np.ascontiguousarray(features.constant)}
    arrays |= {"weights": weights, "mirror": mirror}
    yield native.Task(
        trials=trials,
        nodes=nodes,
        samples=features.samples,
        estimator=_number(estimator),
        limit=smallest_trusted(features.samples, "float64", tolerance),
        alone=isinstance(request.estimator, PersistenceMMI),
        names=len(request.names),
        quantities=weights.shape[1],
        per_trial=request.per_trial,
        threads=native.threads_for(trials * nodes**2 / 2 * _time_of(estimator, features.samples)),
        **{name: native.pointer(array) for name, array in arrays.items()},
    )


_PACKING = 10
"""Nanoseconds that a value of a series takes to be packed, about."""


def _time_of(estimator: Estimator, samples: int) -> float:
    """Nanoseconds that a pair takes in a trial, about."""
    if isinstance(estimator, GaussianMMI):
        return 15 + 0.1 * samples
    return 50 + (4 if isinstance(estimator, GaussianCCS) else 0.3) * samples


def _number(estimator: Estimator) -> int:
    """Of the estimators in host.cpp."""
    if isinstance(estimator, GaussianMMI):
        return 0
    if isinstance(estimator, GaussianCCS):
        return 1
    if isinstance(estimator, Discrete):
        return {"MMI": 2, "CCS": 3}[estimator.redundancy]
    raise TypeError(f"no kernel for {estimator!r}")


_TWO = ("rtr", "sts")


@functools.cache
def _weights(names: tuple[str, ...], two: bool) -> npt.NDArray[np.float64]:
    """(names, quantities): atoms as sums of what the kernel computes."""
    if two:
        return np.array([[float(name == atom) for atom in _TWO] for name in names])
    rows = moebius_matrix()[[ATOMS.index(name) for name in names]]
    return np.ascontiguousarray(rows, np.float64)
