"""What floors hand each other, and what a backend owes.

Arrays of nodes are (trials, nodes, ...), of pairs (trials, rows, columns): row the node that is x
in the names of atoms, column the one that is y.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

Array = Any
"""A numpy.ndarray, torch.Tensor or cupy.ndarray."""

ArrayKind = Literal["numpy", "torch", "cupy"]
"""The library of an array, by the name of its module."""

Key = tuple[str, str]
"""Kind and redundancy of an estimator; kinds are "gaussian", "discrete" and "persistence", and
"members" of nodes of several columns."""


class Outcome(IntEnum):
    """What became of a (trial, pair) that has no ordinary decomposition."""

    CONSTANT = 1
    """A node does not vary, or no more than its values are rounded (`formulas.steady`): no
    correlation exists. Its atoms are NaN and left out of averages."""
    DETERMINISTIC = 2
    """The past fixes (part of) the future: infinite information. Or past and future depend on each
    other so nearly that rounding of the data would decide the value. NaN, left out of averages."""
    DUPLICATE = 3
    """The two nodes coincide, in the past or in the future, up to scale and offset: one of them is
    dropped, so that `sts` is 0 and `rtr` the information they share. Finite, and averaged. Nodes
    that coincide and one of which fixes its own future are DETERMINISTIC."""
    NO_AR1_PAIR = 4
    """No two AR(1) nodes have the observed persistence and lag-0 correlation, or they nearly
    determine each other: no persistence reference. NaN, left out of averages."""
    UNRESOLVED = 5
    """Moments too near singular, and no data to recompute from. NaN, left out of averages."""


class Library(Protocol):
    """numpy, torch or cupy, and what these do not name alike.

    Attributes:
        xp: the module.
        fuses: `add_product` takes one pass, and not two. So it is of torch alone, whose functions
            `formulas.saturated` calls.
    """

    xp: Any
    fuses: bool

    def zeros(self, shape: tuple[int, ...], dtype: str, like: Array) -> Array:
        """Zeros, on the device of `like`."""

    def empty(self, shape: tuple[int, ...], dtype: str, like: Array) -> Array:
        """Memory that is going to be written, on the device of `like`."""

    def arange(self, stop: int, like: Array) -> Array:
        """Whole numbers 0 ... stop - 1, on the device of `like`."""

    def cast(self, array: Array, dtype: str) -> Array:
        """The array in another dtype; itself where it has that dtype already."""

    def keep(self, values: Array, mask: Array) -> Array:
        """Finite values where the mask is true, 0 elsewhere."""

    def add_product(self, target: Array, one: Array, other: Array) -> None:
        """Add a product of arrays that broadcast to target, in place."""

    def minus_square(self, value: Array, root: Array) -> Array:
        """A value less the square of another."""

    def add_at(self, target: Array, index: tuple[Array, ...], values: Array) -> None:
        """Add values to target in place, to repeated entries as often as they occur."""


class Tile(NamedTuple):
    """Some trials of some rows and columns; rows and columns are equal or disjoint."""

    trials: slice
    rows: slice
    columns: slice


class Values(NamedTuple):
    """Atoms and how far they can be trusted.

    Attributes:
        atoms: one array per name asked for.
        variance: the smallest conditional variance of one of the pair's variables given the other
            three, see `mmi.lambdas`; None where no pair can be ill-conditioned.
    """

    atoms: list[Array]
    variance: Array | None


class Stable(NamedTuple):
    """Atoms of pairs by a path that holds for the ill-conditioned.

    Attributes:
        atoms: one array (pairs,) per name asked for.
        outcome: (pairs,) int64, 0 or what became of a pair, an `Outcome`.
    """

    atoms: list[Array]
    outcome: Array


class Features(Protocol):
    """What is computed once per node, or from all: a named tuple, `UnitVectors` for instance.

    Attributes:
        like: an array of the library and on the device of all others.
        constant: (trials, nodes) bool: the node does not vary in its past or in its future.
        samples: number of samples.
    """

    @property
    def like(self) -> Array: ...  # noqa: D102
    @property
    def constant(self) -> Array: ...  # noqa: D102
    @property
    def samples(self) -> int: ...  # noqa: D102

    def of_nodes(self, trials: slice, nodes: Array) -> Features:
        """Some nodes of some trials."""

    def of_pairs(self, pairs: Array) -> Features:
        """Each (trial, pair) as a trial of two nodes; `pairs` is (pairs, 2) nodes."""


class Estimator(Protocol):
    """What turns the series of two nodes into their atoms; see `formulas.estimators`."""

    @property
    def key(self) -> Key:
        """Kind and redundancy; backends find their kernels by it."""

    @property
    def unit(self) -> str:
        """Unit of its atoms, "nats" or "bits"."""

    @property
    def differentiable(self) -> bool:
        """Whether they have a gradient with respect to the series."""

    @property
    def gathered_cost(self) -> float:
        """Time of a pair that is gathered alone over that of one in a tile; see `chosen_pairs`.

        Measured on one core, 100 samples, rtr and sts.
        """

    def features(self, lib: Library, series: Any, tau: int, pooled: str | None) -> Any:
        """`Features` of (trials, time, nodes) in any real dtype; see `unit_vectors`."""

    def tolerance(self, features: Any) -> Mapping[str, float]:
        """Error in nats that `of_tile` may leave in an atom, by dtype of the arithmetic.

        One that has "float64" alone computes in it whatever the dtype of the output.
        """

    def tile_entries(self, features: Any) -> int:
        """(trial, pair) entries of a tile whose temporaries fit the cache."""

    def of_tile(
        self,
        lib: Library,
        features: Any,
        tile: Tile,
        names: Sequence[str],
        dtype: str,
        limits: Limits,
        use: Array | None = None,
    ) -> Values:
        """Atoms (trials, rows, columns) of a tile.

        With `use`, a mask of that shape, entries that are not used get harmless inputs, so that
        nothing infinite comes back through them with the gradient.
        """

    def listed(
        self, lib: Library, features: Any, positions: Array, names: Sequence[str], limits: Limits
    ) -> Stable:
        """Atoms (pairs,) of (pairs, 3) trial, row, column, from the data themselves."""


class Rectangle(NamedTuple):
    """Rows x columns of the matrix of all pairs; nodes of the source, which no two sides share."""

    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


GATHERED_ON_DEVICE = 64
"""Times as many numbers of chosen pairs at a time where they are in no cache of a CPU: on a GPU a
part is some 50 launches, which 44 pairs of 60 trials do not fill; 2^26 numbers are 0.5 GB."""

RESCUED_ON_DEVICE = 16
"""The same for the stable path, which holds some six times what is gathered: 0.8 GB."""


@dataclass(frozen=True)
class Limits:
    """Bounds on what is held at a time; results do not depend on them but for rounding.

    Attributes:
        tile: (trial, pair) entries of a tile of whole-array operations; None: as many as suit the
            estimator.
        workspace: bytes that moments, chunks of sums or a band of node sums may take at once.
        capacity: of a kernel's list of marked pairs at first; if it overflows, the kernel runs
            again.
        gathered: numbers of chosen pairs gathered at a time on a CPU, and `GATHERED_ON_DEVICE`
            times as many elsewhere; 0: they are taken from matrices.
        matrices: numbers held at a time in matrices of all pairs that chosen pairs are taken from;
            0: they are gathered.
        rescued: numbers gathered at a time for the stable path on a CPU, some 50 MB in all, and
            `RESCUED_ON_DEVICE` times as many elsewhere.
        part: entries times samples that a CPU takes at a time for estimators that look at every
            sample: arrays of 1 to 3 MB, 14 MB in all.
        apart: atoms of single trials held at a time where trials differ in their samples.
        side: nodes to a side of the rectangles that are then averaged at a time for sums by node.
        prepared: values of a series, of all trials, made ready at a time for sums by node; the
            compiled backend takes 35 bytes for each.
        paired: nodes from which a compiled backend takes a series as pairs of samples, which takes
            fewer products, and more time to make ready.
    """

    tile: int | None = None
    workspace: int = 1 << 29
    capacity: int = 1 << 16
    gathered: int = 1 << 20
    matrices: int = 1 << 24
    rescued: int = 1 << 20
    part: int = 1 << 15
    apart: int = 1 << 23
    side: int = 1024
    prepared: int = 1 << 26
    paired: int = 128


LIMITS = Limits()
"""What suits a machine of today."""


@dataclass(frozen=True, eq=False)
class Request:
    """What to compute of a source; `engine.all_pairs.request_for` makes one.

    Attributes:
        wanted: atoms asked for.
        names: atoms that are computed, the wanted ones first: closed under exchange of x and y
            (mirrored tiles need both), but for the matrices of a rectangle.
        per_trial: keep trials apart instead of averaging over them.
        dtype: of arithmetic and output, "float64" or "float32".
        estimator: of the atoms.
        tau: lag in samples; moments have theirs.
        pooled: how trials are made one, "moments" or "concatenate"; None: they are kept apart.
        pairs: (pairs, 2) int64 chosen pairs, first node < second, each once; None: all, or those of
            the rectangle.
        by_node: only sums over the pairs of each node, `Nodes` in place of `Pairs`.
        rectangle: these pairs alone; None: all pairs i < j and, with x and y exchanged, j > i.
        limits: bounds on memory.
    """

    wanted: tuple[str, ...]
    names: tuple[str, ...]
    per_trial: bool
    dtype: str
    estimator: Estimator
    tau: int = 1
    pooled: str | None = None
    pairs: Array | None = None
    by_node: bool = False
    rectangle: Rectangle | None = None
    limits: Limits = LIMITS


class Totals(NamedTuple):
    """Atoms before averaging, and the pairs that needed more than the closed form.

    Attributes:
        sums: by atom name, (rows, columns) summed over the trials that have a value, or (trials,
            rows, columns); zero where there is no value. Rows and columns are all nodes, or those
            of the rectangle.
        flagged: (flags, 4) int64: trial, row, column, `Outcome`; nodes as numbered in the source,
            and row < column unless there is a rectangle. Pairs of a constant node are not listed
            here: the features know the nodes.
        rescued: (pairs, 3) int64: trial, row, column of the pairs that the stable path resolved.
        all_vary: no node is constant, which was read from the device with what else was; False:
            that is not known, or not so.
    """

    sums: dict[str, Array]
    flagged: Array
    rescued: Array
    all_vary: bool = False


TotalsOf = Callable[[Any, Request], Totals]


@dataclass(frozen=True)
class Pairs:
    """What a backend returns.

    Attributes:
        atoms: by atom name, (nodes, nodes) averaged over the trials that have a value, or (trials,
            nodes, nodes). NaN on the diagonal and where there is no value. Of a rectangle (rows,
            columns), of chosen pairs (pairs,) in place of (nodes, nodes).
        constant: (trials, nodes) bool of all nodes of the source: the node does not vary, and its
            pairs have no value.
        flagged: (flags, 4) int64 as in `Totals`, of the other degenerate pairs.
        rescued: number of (trial, pair) that only the stable path could resolve.
        all_vary: as in `Totals`.
    """

    atoms: dict[str, Array]
    constant: Array
    flagged: Array
    rescued: int
    all_vary: bool = False


@dataclass(frozen=True)
class Nodes:
    """Sums over the pairs of each node that have a value; arrays (nodes,) or (trials, nodes).

    Attributes:
        sums: by atom name, float64, the node being x.
        pairs: int64 number of pairs that have a value.
        shares: float64 sum of sts / (sts + rtr); zero where either was not asked for.
        shared: int64 number of pairs with sts + rtr > `lattice.LEAST_SUM`.
        constant: (trials, nodes) bool, as in `Pairs`.
        outcomes: number of (trial, pair) by `Outcome`, but for constant nodes.
        rescued: number of (trial, pair) that only the stable path could resolve.
    """

    sums: dict[str, Array]
    pairs: Array
    shares: Array
    shared: Array
    constant: Array
    outcomes: Counter[int]
    rescued: int


def smallest_trusted(samples: int, dtype: str, tolerance: float) -> float:
    """Conditional variance below which the closed form may miss a tolerance, in nats.

    The error of an atom is at most (4 + sqrt(samples)) eps / s for a smallest conditional variance
    s: rounding of the factorisation and random-walk growth of that of the moments. Measured against
    the stable path: 3.6 eps / s at 20 samples, 6 at 100, 10 at 1,000, 45 at 10,000.

    Returns:
        That variance; 2 where no pair keeps the tolerance, as none has more than 1 but by rounding.
    """
    least = float((4 + math.sqrt(samples)) * np.finfo(dtype).eps / tolerance)
    return least if least < 1 else 2.0


def lost_flags(flagged: Array) -> Array:
    """The flags of pairs without a value; duplicates have one."""
    if not len(flagged):  # A mask as an index makes the host wait for its device.
        return flagged
    return flagged[flagged[:, -1] != int(Outcome.DUPLICATE)]
