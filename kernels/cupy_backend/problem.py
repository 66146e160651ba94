"""What the kernels read of features and a request, in the order in which they take it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from ..backend import Wanted
from ..contract import Array, Key, Library, Rectangle, Request, smallest_trusted
from ..formulas.discrete import Bits, tables_of
from ..formulas.mmi import Lambdas
from ..formulas.moments import Moments
from ..formulas.unit_vectors import UnitVectors
from ..lattice import TWO, mirrors, weights
from .source import PAIRS, SHAPES, TOTALS, Shape

Source = Literal["series", "one series", "moments"]
"""What features are made of."""

_WORD = 64


class Prepared(UnitVectors):
    """Unit vectors with what the kernels read besides, from `unit_vectors`.

    Attributes:
        own: (trials, nodes) float64: lagged correlation of each node with itself.
    """

    own: Array

    def of_nodes(self, trials: slice, nodes: Array) -> Self:
        """Some nodes of some trials."""
        part = super().of_nodes(trials, nodes)
        part.own = self.own[trials][:, nodes]
        return part

    def of_pairs(self, pairs: Array) -> Self:
        """Each (trial, pair) as a trial of two nodes; `pairs` is (pairs, 2) nodes."""
        part = super().of_pairs(pairs)
        part.own = self.own[:, pairs].reshape(-1, 2)
        return part


class OneSeries:
    """A node's past and future as one series, which `mmi_lags` reads; unit vectors when asked for.

    Attributes:
        interior: (trials, nodes, samples of a row) float64, see native/device/lags.cuh.
        ends: (trials, nodes, 6) float64, likewise.
        constant: (trials, nodes) bool: the node does not vary in its past or in its future.
        samples: pairs of samples.
    """

    def __init__(
        self,
        interior: Array,
        ends: Array,
        constant: Array,
        samples: int,
        vectors: Callable[[], UnitVectors],
    ) -> None:
        """Take the arrays, and what makes `vectors` of the same trials and nodes."""
        self.interior, self.ends, self.constant = interior, ends, constant
        self.samples = samples
        self._make_vectors = vectors

    @functools.cached_property
    def vectors(self) -> UnitVectors:
        """Unit vectors, for the few pairs that are not left to the kernel."""
        return self._make_vectors()

    @property
    def like(self) -> Array:
        """Tells the library and the device."""
        return self.interior

    def of_nodes(self, trials: slice, nodes: Array) -> OneSeries:
        """Some nodes of some trials."""
        interior, ends, constant = (
            v[trials][:, nodes] for v in (self.interior, self.ends, self.constant)
        )
        return OneSeries(
            interior, ends, constant, self.samples, lambda: self.vectors.of_nodes(trials, nodes)
        )

    def of_pairs(self, pairs: Array) -> UnitVectors:
        """Unit vectors of (pairs, 2) nodes, each (trial, pair) as a trial."""
        return self.vectors.of_pairs(pairs)

    def lambdas(self, lib: Library, positions: Array) -> tuple[Lambdas, Array]:
        """Lambdas of (pairs, 3) trial, row, column from their data."""
        return self.vectors.lambdas(lib, positions)


@dataclass(frozen=True)
class Problem:
    """A kernel and what it reads; the names are those of native/device/kernels.cuh.

    Attributes:
        kernel: without its template arguments.
        real: the type of arithmetic, or of the output alone where arithmetic is always double or
            exact (CCS, one series, discrete): "double" or "float".
        choice: another template argument, "" if there is none.
        arrays: of every trial.
        table: of all trials, if there is one.
        constant: (trials, nodes) bytes.
        samples: their number, where the kernel wants it.
        least: variances below which pairs are marked, and `alone`; empty where nothing is marked.
        weights: (names, quantities) on the device.
        mirror: (names,) on the device.
        places: of rtr and sts among the names if both are there, else -1 and -1.
        rectangle: of the pairs; None: all pairs.
    """

    kernel: str
    real: str
    choice: str
    arrays: tuple[Array, ...]
    table: tuple[Array, ...]
    constant: Array
    samples: tuple[int, ...]
    least: tuple[float | int, ...]
    weights: Array
    mirror: Array
    places: tuple[int, int]
    rectangle: Rectangle | None

    def of_trials(self, trials: slice) -> Problem:
        """The same of some of the trials."""
        arrays = tuple(array[trials] for array in self.arrays)
        return replace(self, arrays=arrays, constant=self.constant[trials])

    @property
    def matrices(self) -> str:
        """Name expression of the kernel that writes matrices."""
        return self._expression("", self.real, self.choice)

    @property
    def node_sums(self) -> str:
        """Name expression of the kernel that writes sums by node, in float64 whatever `real` is."""
        of_output = self.kernel in ("ccs", "discrete", "mmi_lags")
        return self._expression("_nodes", "" if of_output else self.real, self.choice)

    @property
    def totals(self) -> str:
        """Name expression of the kernel that adds sums by tile to those by node."""
        return TOTALS[self.rectangle is not None]

    @property
    def shape(self) -> Shape:
        """Shape of its tiles and blocks."""
        return SHAPES[self.matrices]

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns of the matrices."""
        _, rows, _, columns = self.span
        return rows, columns

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles of the matrices."""
        rows, columns = (-(-side // self.shape.tile) for side in self.sides)
        return rows, columns

    @property
    def span(self) -> tuple[int, int, int, int]:
        """First row and number of rows, first column and number of columns: nodes."""
        if self.rectangle is None:
            nodes = self.constant.shape[1]
            return 0, nodes, 0, nodes
        (rows, columns), (height, width) = self.rectangle, self.rectangle.shape
        return rows.start, height, columns.start, width

    @property
    def marks(self) -> bool:
        """Whether it marks pairs that it cannot take."""
        return bool(self.least)

    def arguments(
        self,
        outputs: tuple[Array, ...],
        marks: tuple[Array, ...],
        chunk_trials: int,
        first_trial: int,
        band: tuple[int, ...] = (),
    ) -> tuple[Any, ...]:
        """All that the kernel takes.

        Args:
            outputs: what it writes.
            marks: list and counter; not used where nothing is marked.
            chunk_trials: trials that are summed.
            first_trial: number of the first trial in the list.
            band: what sums by node take besides: rows of tiles, and places of rtr and sts.
        """
        trials, nodes = self.constant.shape
        read = (*self.arrays, *self.table, self.constant, self.weights, self.mirror)
        sizes = (trials, nodes, *self.samples, len(self.weights), chunk_trials)
        if not self.marks:
            return (*read, *outputs, *sizes, *band, *self.span)
        marking = (first_trial, len(marks[0]), *self.least)
        return (*read, *outputs, *marks, *sizes, *marking, *band, *self.span)

    def _expression(self, suffix: str, *template: str) -> str:
        pairs = PAIRS[self.rectangle is not None]
        return f"phiid::{self.kernel}{suffix}<{', '.join(filter(None, (*template, pairs)))}>"


# ---- From an estimator to its kernel -------------------------------------------------------------


def problem(lib: Library, features: Any, request: Request) -> Problem:
    """The kernel for a request; Gaussian MMI from series, if there are any.

    Args:
        lib: of the features' arrays.
        features: `UnitVectors`, `OneSeries`, `Moments` or `Bits`.
        request: from `request_for`.

    Raises:
        KeyError: an estimator that no kernel computes; `refuses` says so before.
    """
    source: Source = "moments" if isinstance(features, Moments) else "series"
    if isinstance(features, OneSeries):
        source = "one series"
    return KERNELS[request.estimator.key, source](lib, features, request)


def refuses(wanted: Wanted) -> str | None:
    """What no kernel computes of what is wanted, to follow "does not"; None if all is computed."""
    source: Source = "moments" if wanted.moments else "series"
    if (wanted.estimator, source) in KERNELS:
        return None
    of = "moments" if wanted.moments else "a series"
    return f"compute {' '.join(wanted.estimator)} of {of}"


def _mmi_series(lib: Library, features: UnitVectors, request: Request, *, alone: bool) -> Problem:
    return _mmi(
        lib,
        features,
        request,
        alone,
        kernel="mmi_series",
        arrays=_of_unit_vectors(lib, features),
        samples=(features.samples,),
    )


def _mmi_lags(lib: Library, features: OneSeries, request: Request) -> Problem:
    two = is_two(request)
    return _made(
        lib,
        features,
        request,
        kernel="mmi_lags",
        choice=_ATOMS[two],
        arrays=tuple(map(lib.xp.ascontiguousarray, (features.interior, features.ends))),
        samples=(features.samples,),
        least=(_least(features, request, "float64"),),
        two=two,
    )


def _mmi_moments(lib: Library, features: Moments, request: Request, *, alone: bool) -> Problem:
    arrays = of_moments(lib, features.past, features.future, features.lagged, request.rectangle)
    return _mmi(lib, features, request, alone, kernel="mmi_moments", arrays=arrays, samples=())


def _mmi(lib: Library, features: Any, request: Request, alone: bool, **parts: Any) -> Problem:
    """Gaussian MMI, as if nodes did not influence each other if `alone`."""
    two = is_two(request)
    least = (_least(features, request, dtype) for dtype in (request.dtype, "float64"))
    return _made(
        lib,
        features,
        request,
        choice=_ATOMS[two],
        least=(*least, int(alone)),
        two=two,
        **parts,
    )


_ATOMS = {True: "phiid::Two", False: "phiid::All"}
"""Template argument of the kernels of Gaussian MMI, by whether `rtr` and `sts` are all."""


def is_two(request: Request) -> bool:
    """Whether no atoms but `rtr` and `sts` are computed."""
    return set(request.names) <= set(TWO)


def _ccs(lib: Library, features: UnitVectors, request: Request) -> Problem:
    return _made(
        lib,
        features,
        request,
        kernel="ccs",
        arrays=_of_unit_vectors(lib, features),
        samples=(features.samples,),
        least=(_least(features, request, "float64"),),
    )


def _discrete(lib: Library, features: Bits, request: Request, *, ccs: bool) -> Problem:
    tables = tables_of(lib, features)
    return _made(
        lib,
        features,
        request,
        kernel="discrete",
        choice=str(ccs).lower(),
        arrays=(_words(lib, features),),
        table=(tables.surprisal if ccs else tables.entropy,),
        samples=(features.samples,),
    )


KERNELS: Mapping[tuple[Key, Source], Callable[[Library, Any, Request], Problem]] = {
    (("gaussian", "MMI"), "series"): functools.partial(_mmi_series, alone=False),
    (("gaussian", "MMI"), "one series"): _mmi_lags,
    (("gaussian", "MMI"), "moments"): functools.partial(_mmi_moments, alone=False),
    (("persistence", "MMI"), "series"): functools.partial(_mmi_series, alone=True),
    (("persistence", "MMI"), "moments"): functools.partial(_mmi_moments, alone=True),
    (("gaussian", "CCS"), "series"): _ccs,
    (("discrete", "MMI"), "series"): functools.partial(_discrete, ccs=False),
    (("discrete", "CCS"), "series"): functools.partial(_discrete, ccs=True),
}
"""What makes a problem, by an estimator's key and what the features are made of."""


def _made(
    lib: Library,
    features: Any,
    request: Request,
    *,
    kernel: str,
    arrays: tuple[Array, ...],
    samples: tuple[int, ...],
    choice: str = "",
    table: tuple[Array, ...] = (),
    least: tuple[float | int, ...] = (),
    two: bool = False,
) -> Problem:
    """A problem, with what all kernels read alike."""
    both = set(TWO) <= set(request.names)
    rtr, sts = (request.names.index(name) if both else -1 for name in TWO)
    return Problem(
        kernel=kernel,
        real={"float64": "double", "float32": "float"}[request.dtype],
        choice=choice,
        arrays=arrays,
        table=table,
        constant=lib.xp.ascontiguousarray(features.constant).view("uint8"),
        samples=samples,
        least=least,
        weights=lib.xp.asarray(weights(request.names, two)),
        mirror=lib.xp.asarray(mirrors(request.names)),
        places=(rtr, sts),
        rectangle=request.rectangle,
    )


# ---- Arrays --------------------------------------------------------------------------------------


def from_moments(given: Problem) -> Problem:
    """Gaussian MMI from moments, which are formed from the series of `given`, trial by trial.

    Its arrays are still those of the series.
    """
    return replace(given, kernel="mmi_moments", samples=())


def moments(lib: Library, given: Problem) -> Problem:
    """The same of `from_moments` with moments for arrays, by the vendor's matrix products."""
    past, future, own = given.arrays
    if given.rectangle is None:
        turned = lib.xp.swapaxes(future, -1, -2)
        xb = past @ turned
        return replace(
            given,
            arrays=(past @ lib.xp.swapaxes(past, -1, -2), future @ turned, xb, xb, own),
        )
    rows, columns = given.rectangle
    x, a, y, b = past[:, rows], future[:, rows], past[:, columns], future[:, columns]
    xy, ab, xb, ya = (
        one @ lib.xp.swapaxes(other, -1, -2) for one, other in ((x, y), (a, b), (x, b), (y, a))
    )
    return replace(given, arrays=(xy, ab, xb, ya, own))


def of_moments(
    lib: Library, past: Array, future: Array, lagged: Array, rectangle: Rectangle | None
) -> tuple[Array, ...]:
    """Moments (trials, nodes, nodes) as the kernels read them."""

    def read(matrix: Array) -> Array:
        return lib.xp.ascontiguousarray(lib.cast(matrix, "float64"))

    own = read(lib.xp.diagonal(lagged, 0, -2, -1))
    if rectangle is None:
        xb = read(lagged)
        return read(past), read(future), xb, xb, own
    rows, columns = rectangle
    here, mirrored = (slice(None), rows, columns), (slice(None), columns, rows)
    return read(past[here]), read(future[here]), read(lagged[here]), read(lagged[mirrored]), own


def _of_unit_vectors(lib: Library, features: UnitVectors) -> tuple[Array, ...]:
    past, future = (lib.xp.ascontiguousarray(side) for side in features[:2])
    own = features.own if isinstance(features, Prepared) else (past * future).sum(-1)
    own = lib.xp.ascontiguousarray(own)
    return past, future, own


def _words(lib: Library, bits: Bits) -> Array:
    """(trials, 3, words, nodes) uint64: bits of future, past and both, 64 samples a word."""
    xp = lib.xp
    trials, nodes, samples = bits.past.shape
    words = -(-samples // _WORD)
    found = xp.zeros((trials, 3, words, nodes), "int64")
    place = xp.arange(_WORD)
    for k, feature in enumerate((bits.future, bits.past, bits.both)):
        for word in range(words):
            part = feature[..., word * _WORD : (word + 1) * _WORD].astype("int64")
            # Different powers of two: their sum is exact, and that of all 64 wraps to the sign.
            found[:, k, word] = (part << place[: part.shape[-1]]).sum(-1)
    return found.view("uint64")


def _least(features: Any, request: Request, dtype: str) -> float:
    """The least variance trusted in arithmetic of a dtype."""
    tolerance = request.estimator.tolerance(features)[dtype]
    return smallest_trusted(features.samples, dtype, tolerance)
