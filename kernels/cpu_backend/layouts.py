"""Features of nodes as the compiled kernels read them: panels of unit vectors, words of bits."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..contract import Request
from ..engine.libraries import NUMPY
from ..formulas.discrete import are_above, tables
from ..formulas.mmi import Lambdas
from ..formulas.moments import Moments
from ..formulas.rescue import lambdas_from_data
from ..formulas.unit_vectors import UnitVectors
from ..formulas.unit_vectors import unit_vectors as standardised
from ..lattice import TWO
from . import bindings as native

PANEL = 8
"""Nodes that lie side by side in `Packed`; as in native/host/engine.h."""

TILE = 64
"""Rows and columns of a tile; as in native/host/engine.h."""

PAIRED = ("taps", "ends", "own", "magnified", "constant")
"""What of `Paired` the kernels read, by the names of their fields."""

_LONG = 8
"""Samples for each of the lag from which pairs of samples pay."""

_MAGNIFIED = 64
"""By how much rounding may be magnified in all but a few nodes (1 in `_MAGNIFIED`)."""

_BLOCK = 1 << 22
"""Bytes of pairs of samples that are made ready at a time; more, where trials share logarithms."""

_GROUPS = {True: 4, False: 8}
"""Trials that share logarithms, by whether only rtr and sts are asked for; as in native/host."""

_TOGETHER = 8
"""Trials after which it is seen again whether rounding is magnified; as in native/host/blocks.h."""

_TURN = 500_000
"""Nanoseconds of work for each thread and other that repay starting them for a block."""

PAIR = 15
"""Nanoseconds that a pair takes in a trial, about, but for its samples."""

_MARKED_BYTES = 128
"""What a pair takes that is marked in a trial, on its way to the stable path; about."""

_PACKING = 5
"""Nanoseconds that a value of a series takes to be packed, about."""

_SCANNING = 1
"""The same of a value that is only looked at, to see whether its node is constant."""


class Packed(NamedTuple):
    """Unit vectors as `UnitVectors` has them, in the layout of the kernels.

    Attributes:
        values: (trials, panels, samples, 2, PANEL) float64: past and future of PANEL nodes; zero
            for constant nodes and those beyond the last. Panels without a node of the request's
            rectangle are memory that was never written.
        own: (trials, nodes) correlation of a node's past with its future, in the same panels.
        constant: (trials, nodes) bool, of all nodes.
    """

    values: npt.NDArray[np.float64]
    own: npt.NDArray[np.float64]
    constant: npt.NDArray[np.bool_]

    @property
    def like(self) -> npt.NDArray[np.float64]:
        """An array of the library of all these."""
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


class Paired(NamedTuple):
    """Series as pairs of samples, from which correlations take half the products.

    For a series whose trials stay apart; formulas and layout: native/host/paired.h. What the
    closed form cannot be trusted with is computed from the series.

    What is made of a series may take much more memory than the cache has. Where its trials are
    summed, there is therefore but memory for it at first, that of `taps` and `ends` for a block of
    trials alone: the kernel makes one block ready after the other. See `in_blocks`.

    Attributes:
        taps: (trials, panels, 6, blocks, PANEL) float64. Panels without a node of the request's
            rectangle are memory that was never written, here and in `ends`.
        ends: (trials, panels, 4 + 2 tau, PANEL) float64: what past and future are about themselves.
        own: (trials, nodes) correlation of a node's past with its future, in the same panels.
        magnified: (trials, nodes) by how much rounding is magnified; 1 in other panels.
        constant: (trials, nodes) bool, of all nodes.
        series: (trials, time, nodes) in any real dtype.
        tau: lag in samples.
    """

    taps: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]
    own: npt.NDArray[np.float64]
    magnified: npt.NDArray[np.float64]
    constant: npt.NDArray[np.bool_]
    series: npt.NDArray[Any]
    tau: int

    @property
    def like(self) -> npt.NDArray[np.float64]:
        """An array of the library of all these."""
        return self.taps

    @property
    def in_blocks(self) -> bool:
        """Whether the kernel has to make it ready, some trials at a time."""
        return len(self.taps) < len(self.constant)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.series.shape[1]) - self.tau

    def of_nodes(self, trials: slice, nodes: Any) -> UnitVectors:
        """Some nodes of some trials."""
        chosen = self.series[trials][..., nodes]
        return standardised(np, chosen.astype(np.float64), self.tau)

    def of_pairs(self, pairs: Any) -> UnitVectors:
        """Each (trial, pair) as a trial of two nodes; `pairs` is (pairs, 2) nodes."""
        return self.of_nodes(slice(None), pairs.reshape(-1)).of_pairs(
            np.arange(pairs.size).reshape(-1, 2)
        )

    def lambdas(self, lib: Any, positions: Any) -> tuple[Lambdas, Any]:
        """Lambdas of (pairs, 3) trial, row, column from their data; see `lambdas_from_data`."""
        return lambdas_from_data(lib.xp, *self.gathered(positions))

    def gathered(self, positions: Any) -> list[npt.NDArray[np.float64]]:
        """x, y, a, b of (pairs, 3) trial, row, column: (pairs, samples) each."""
        trial, *pair = (positions[:, k] for k in range(3))
        series = (self.series[trial, :, node].astype(np.float64) for node in pair)
        x, y = (standardised(np, each[..., None], self.tau) for each in series)
        return [x.past[:, 0], y.past[:, 0], x.future[:, 0], y.future[:, 0]]


class Words(NamedTuple):
    """Bits as `discrete.Bits` has them, in the layout of the kernels.

    Attributes:
        values: (trials, 3, words, nodes) uint64: 64 samples of the future, the past and both.
        table: (samples + 1,) float64, by count; see `discrete.tables`.
        constant: (trials, nodes) bool.
    """

    values: npt.NDArray[np.uint64]
    table: npt.NDArray[np.float64]
    constant: npt.NDArray[np.bool_]

    @property
    def like(self) -> npt.NDArray[np.uint64]:
        """An array of the library of all these."""
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


def unit_vectors(source: Any, request: Request) -> Packed | Moments:
    """Features of the Gaussian estimators: moments as they are, a series as unit vectors.

    Args:
        source: (trials, time, nodes) in any real dtype, or `Moments`.
        request: whose lag and pooling hold.
    """
    if isinstance(source, Moments):
        return source
    if request.pooled is None:
        return _standardise(source, request)
    vectors = request.estimator.features(NUMPY, source, request.tau, request.pooled)
    return _pack(vectors.past, vectors.future, vectors.constant)


def correlated(source: Any, request: Request) -> Packed | Paired | Moments:
    """Features of an estimator that needs correlations alone; see `unit_vectors`.

    A series of trials that stay apart is taken as pairs of samples, unless nodes are few, it is
    short, pairs are chosen (which are gathered one by one), or more than a few nodes have most of
    their variance at an end of a trial, so that their pairs would have to be recomputed.
    """
    if isinstance(source, Moments) or request.pooled is not None or request.pairs is not None:
        return unit_vectors(source, request)
    time, nodes = source.shape[1:]
    if request.rectangle is not None:
        nodes = min(nodes, sum(native.Area.of(request.rectangle, nodes).shape))
    if nodes < request.limits.paired or time < (1 + _LONG) * request.tau:
        return unit_vectors(source, request)
    block = _block(source, request)
    if block < len(source):
        return _paired(source, request, block)
    paired = _pair_up(source, request)
    return unit_vectors(source, request) if _often(paired.magnified) else paired


def words(source: Any, request: Request) -> Words:
    """Features of the discrete estimators, and the table that theirs looks up.

    Args:
        source: (trials, time, nodes) in any real dtype.
        request: whose lag, pooling and redundancy hold.
    """
    series = NUMPY.cast(source, "float64")
    *bits, constant = are_above(np, series, request.tau, request.pooled)
    by_count = tables(NUMPY, bits[0].shape[-1], constant)
    table = by_count.entropy if request.estimator.key[1] == "MMI" else by_count.surprisal
    past, future = map(_by_word, bits)
    values = np.empty((len(past), 3, *past.shape[1:]), np.uint64)
    values[:, 0], values[:, 1] = future, past
    np.bitwise_and(values[:, 0], values[:, 1], values[:, 2])
    return Words(values, table, constant)


def _by_word(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """(trials, words, nodes) of (trials, nodes, samples)."""
    trials, nodes, samples = bits.shape
    # Packed along an axis that is not contiguous they take four times as long.
    packed = np.packbits(np.ascontiguousarray(bits), axis=-1)
    padded = np.zeros((trials, nodes, -(-samples // 64) * 8), np.uint8)
    padded[..., : packed.shape[-1]] = packed
    return padded.view(np.uint64).swapaxes(1, 2)


def _standardise(series: Any, request: Request) -> Packed:
    """`Packed` of (trials, time, nodes) in any real dtype."""
    series = np.ascontiguousarray(series, np.float64)
    trials, time, nodes = series.shape
    packed = _empty(trials, nodes, time - request.tau)
    _fill("standardise", series, request, packed)
    return packed


def _pair_up(source: Any, request: Request) -> Paired:
    """`Paired` of (trials, time, nodes) in any real dtype."""
    series = np.ascontiguousarray(source, np.float64)
    paired = _paired(source, request, len(source))
    _fill("pair_up", series, request, [getattr(paired, name) for name in PAIRED])
    return paired


def _paired(source: Any, request: Request, block: int) -> Paired:
    """Memory for `Paired` of (trials, time, nodes), `block` trials at a time."""
    trials, time, nodes = source.shape
    panels, tau = -(-nodes // PANEL), request.tau
    blocks = (-(-time // tau) + 1) // 2 * tau
    return Paired(
        taps=np.empty((block, panels, 6, blocks, PANEL)),
        ends=np.empty((block, panels, 4 + 2 * tau, PANEL)),
        own=np.empty((trials, nodes)),
        magnified=np.ones((trials, nodes)),
        constant=np.empty((trials, nodes), np.bool_),
        series=source,
        tau=tau,
    )


def _block(source: Any, request: Request) -> int:
    """Trials to make ready at a time, so that they stay in the cache; all, where that costs memory.

    The kernel keeps the sums of all tiles from one block to the next.
    """
    trials, time, nodes = source.shape
    area = native.Area.of(request.rectangle, nodes)
    rows, columns = area.shape
    if request.rectangle is not None:
        nodes = min(nodes, rows + columns)
    if request.per_trial or (request.by_node and rows > strip_height(request, columns)):
        return int(trials)
    pairs = rows * columns / (2 if request.rectangle is None else 1)
    two = set(request.names) <= set(TWO)
    threads = native.threads_for(trials * pairs * PAIR)
    bytes_of_trial = 24 * time * nodes
    bytes_of_group, pairs_of_group = _GROUPS[two] * bytes_of_trial, _GROUPS[two] * pairs
    turn = _TURN * threads * (threads - 1) / (pairs_of_group * PAIR)
    block = _GROUPS[two] * max(1, _BLOCK // bytes_of_group, math.ceil(turn))
    kept = 8 * (2 if two else 16) * pairs
    return int(block if block * bytes_of_trial + kept < trials * bytes_of_trial else trials)


def strip_height(request: Request, columns: int) -> int:
    """Rows of which sums by node are formed at a time: whole tiles, and all may be marked."""
    return max(TILE, request.limits.workspace // _MARKED_BYTES // columns // TILE * TILE)


def _often(magnified: npt.NDArray[np.float64]) -> bool:
    """Whether too many nodes are magnified, among all trials or the first 8, 16, ...

    As in native/host/blocks.h, which need not make the others ready then.
    """
    trials, nodes = magnified.shape
    number = np.count_nonzero(magnified > _MAGNIFIED, axis=1).cumsum()
    seen = np.arange(1, trials + 1)
    looked = (seen % _TOGETHER == 0) | (seen == trials)
    return bool((looked & (number > seen * nodes // _MAGNIFIED)).any())


def _fill(name: str, series: Any, request: Request, arrays: Iterable[Any]) -> None:
    """Have a function write what it makes of the nodes of a request."""
    trials, time, nodes = series.shape
    area = native.Area.of(request.rectangle, nodes)
    apart = 0 if request.rectangle is None else max(nodes - sum(area.shape), 0)
    work = trials * time * (_PACKING * (nodes - apart) + _SCANNING * apart)
    native.call(
        name,
        native.pointer(series),
        *series.shape,
        request.tau,
        ctypes.byref(area),
        *map(native.pointer, arrays),
        native.threads_for(work),
    )


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
