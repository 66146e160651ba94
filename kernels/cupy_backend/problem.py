"""What the kernels read of features and a request, in the order in which they take it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contract import Array, Request, smallest_trusted
from ..formulas.discrete import Bits, tables_of
from ..formulas.estimators import Discrete, GaussianCCS, GaussianMMI, PersistenceMMI
from ..formulas.moments import Moments
from ..formulas.unit_vectors import Segments
from ..lattice import ATOMS, moebius_matrix, swap_nodes
from .library import DeviceLibrary
from .source import SHAPES, Shape

_TWO = ("rtr", "sts")
_WORD = 64


@dataclass(frozen=True)
class Problem:
    """A kernel and what it reads; the names are those of native/device/kernels.cuh.

    Attributes:
        kernel: without its template arguments.
        real: the type of arithmetic, or of the output alone where arithmetic is always double or
            exact (CCS, discrete): "double" or "float".
        choice: the other template argument, "" if there is none.
        arrays: of every trial.
        table: of all trials, if there is one.
        constant: (trials, nodes) bytes.
        samples: their number, where the kernel wants it.
        limits: least variances trusted, and `alone`; empty where nothing is marked.
        weights: (names, quantities) on the device.
        mirror: (names,) on the device.
        places: of rtr and sts among the names if both are there, else -1 and -1.
    """

    kernel: str
    real: str
    choice: str
    arrays: tuple[Array, ...]
    table: tuple[Array, ...]
    constant: Array
    samples: tuple[int, ...]
    limits: tuple[float | int, ...]
    weights: Array
    mirror: Array
    places: tuple[int, int]

    def of_trials(self, trials: slice) -> Problem:
        """Some of the trials."""
        arrays = tuple(array[trials] for array in self.arrays)
        return replace(self, arrays=arrays, constant=self.constant[trials])

    @property
    def matrices(self) -> str:
        """Name expression of the kernel that writes matrices."""
        return self._expression("", self.real, self.choice)

    @property
    def node_sums(self) -> str:
        """Name expression of the kernel that writes sums by node, in float64 whatever `real` is."""
        of_output = self.kernel in ("ccs", "discrete")
        return self._expression("_nodes", "" if of_output else self.real, self.choice)

    @property
    def shape(self) -> Shape:
        """Of its tiles and blocks."""
        return SHAPES[self.matrices]

    @property
    def marks(self) -> bool:
        """Whether it marks pairs that it cannot take."""
        return bool(self.limits)

    def arguments(
        self,
        outputs: tuple[Array, ...],
        marks: tuple[Array, ...],
        chunk_trials: int,
        first_trial: int,
        rest: tuple[int, ...] = (),
    ) -> tuple[Any, ...]:
        """All that the kernel takes.

        Args:
            outputs: what it writes.
            marks: list and counter; not used where nothing is marked.
            chunk_trials: trials that are summed.
            first_trial: number of the first trial in the list.
            rest: what comes last.
        """
        trials, nodes = self.constant.shape
        read = (*self.arrays, *self.table, self.constant, self.weights, self.mirror)
        sizes = (trials, nodes, *self.samples, len(self.weights), chunk_trials)
        if not self.marks:
            return (*read, *outputs, *sizes, *rest)
        marking = (first_trial, len(marks[0]), *self.limits)
        return (*read, *outputs, *marks, *sizes, *marking, *rest)

    def _expression(self, suffix: str, *template: str) -> str:
        arguments = ", ".join(filter(None, template))
        return f"phiid::{self.kernel}{suffix}" + (f"<{arguments}>" if arguments else "")


def problem(lib: DeviceLibrary, features: Any, request: Request) -> Problem:
    """The kernel for a request; Gaussian MMI from series, if there are any.

    Args:
        lib: of the features' arrays.
        features: `Segments`, `Moments` or `Bits`.
        request: from `request_for`.
    """
    estimator = request.estimator
    real = {"float64": "double", "float32": "float"}[request.dtype]
    two = isinstance(estimator, GaussianMMI) and set(request.names) <= set(_TWO)
    both = set(_TWO) <= set(request.names)
    common: dict[str, Any] = {
        "real": real,
        "table": (),
        "constant": lib.xp.ascontiguousarray(features.constant).view("uint8"),
        "weights": lib.xp.asarray(_weights(request.names, two)),
        "mirror": lib.xp.asarray(_mirror(request.names)),
        "places": tuple(request.names.index(name) if both else -1 for name in _TWO),
    }
    if isinstance(estimator, Discrete):
        table = tables_of(lib, features)
        return Problem(
            kernel="discrete",
            choice="true" if estimator.redundancy == "CCS" else "false",
            arrays=(_words(lib, features),),
            samples=(features.samples,),
            limits=(),
            **common
            | {"table": (table.surprisal if estimator.redundancy == "CCS" else table.entropy,)},
        )
    if isinstance(estimator, GaussianCCS):
        return Problem(
            kernel="ccs",
            choice="",
            arrays=_of_segments(lib, features),
            samples=(features.samples,),
            limits=(_trusted(features, request, "float64"),),
            **common,
        )
    if not isinstance(estimator, GaussianMMI):
        raise TypeError(f"no kernel for {estimator!r}")
    limits = (_trusted(features, request, dtype) for dtype in (request.dtype, "float64"))
    mmi: dict[str, Any] = {
        "choice": "phiid::Two" if two else "phiid::All",
        "limits": (*limits, int(isinstance(estimator, PersistenceMMI))),
    }
    if isinstance(features, Moments):
        arrays = of_moments(lib, *features[:3])
        return Problem(kernel="mmi_moments", arrays=arrays, samples=(), **mmi, **common)
    arrays = _of_segments(lib, features)
    samples = (features.samples,)
    return Problem(kernel="mmi_series", arrays=arrays, samples=samples, **mmi, **common)


def from_moments(given: Problem) -> Problem:
    """Gaussian MMI from moments, which are formed from the series of `given`, trial by trial.

    Its arrays are still those of the series.
    """
    return replace(given, kernel="mmi_moments", samples=())


def moments(lib: DeviceLibrary, given: Problem) -> Problem:
    """The same of `from_moments` with moments for arrays, by the vendor's matrix products."""
    past, future, own = given.arrays
    turned = lib.xp.swapaxes(future, -1, -2)
    xy = past @ lib.xp.swapaxes(past, -1, -2)
    return replace(given, arrays=(xy, future @ turned, past @ turned, own))


def of_moments(lib: DeviceLibrary, past: Array, future: Array, lagged: Array) -> tuple[Array, ...]:
    """Moments as the kernels read them."""
    own = lib.xp.diagonal(lagged, 0, -2, -1)
    return tuple(
        lib.xp.ascontiguousarray(lib.cast(matrix, "float64"))
        for matrix in (past, future, lagged, own)
    )


def _of_segments(lib: DeviceLibrary, segments: Segments) -> tuple[Array, ...]:
    past, future = (lib.xp.ascontiguousarray(side) for side in segments[:2])
    return past, future, (past * future).sum(-1)


def _words(lib: DeviceLibrary, bits: Bits) -> Array:
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


def _trusted(features: Any, request: Request, dtype: str) -> float:
    """Least variance trusted in arithmetic of a dtype."""
    tolerance = request.estimator.tolerance(features)[dtype]
    least = smallest_trusted(features.samples, dtype, tolerance)
    # Above 1 no pair is trusted; 2 keeps rounding out of it.
    return least if least < 1 else 2.0


@functools.cache
def _weights(names: tuple[str, ...], two: bool) -> npt.NDArray[np.float64]:
    """(names, quantities): atoms as sums of what the kernel computes."""
    if two:
        return np.array([[float(name == atom) for atom in _TWO] for name in names])
    rows = moebius_matrix()[[ATOMS.index(name) for name in names]]
    return np.ascontiguousarray(rows, np.float64)


@functools.cache
def _mirror(names: tuple[str, ...]) -> npt.NDArray[np.int64]:
    return np.array([names.index(swap_nodes(name)) for name in names], np.int64)
