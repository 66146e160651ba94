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
from typing import Any, NamedTuple, Protocol

import numpy as np

Array = Any
"""A numpy.ndarray, torch.Tensor or cupy.ndarray."""


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
    """numpy or torch, and what the two do not name alike."""

    xp: Any

    def zeros(self, shape: tuple[int, ...], dtype: str, like: Array) -> Array:
        """Zeros, on the device of `like`."""

    def arange(self, stop: int, like: Array) -> Array:
        """Whole numbers 0 ... stop - 1, on the device of `like`."""

    def cast(self, array: Array, dtype: str) -> Array:
        """The array in another dtype; itself where it has that dtype already."""

    def keep(self, values: Array, mask: Array) -> Array:
        """Finite values where the mask is true, 0 elsewhere."""

    def add_at(self, target: Array, index: tuple[Array, ...], values: Array) -> None:
        """Add values to target in place, to repeated entries as often as they occur."""


class Tile(NamedTuple):
    """A block of trials, of rows and of columns; rows and columns are equal or disjoint."""

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
    """What is computed once per node, or from all of them: a named tuple, `Segments` for instance.

    Attributes:
        past: array (trials, nodes, ...).
        constant: (trials, nodes) bool: the node does not vary in its past or in its future.
        samples: number of samples.
    """

    @property
    def past(self) -> Array: ...  # noqa: D102
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
        """`Features` of (trials, time, nodes) in any real dtype; see `segments.standardise`."""

    def tolerance(self, features: Any) -> Mapping[str, float]:
        """Error in nats that `block` may leave in an atom, by dtype of the arithmetic.

        One that has "float64" alone computes in it whatever the dtype of the output.
        """

    def tile_entries(self, features: Any) -> int:
        """(trial, pair) entries of a tile whose temporaries fit the cache."""

    def block(
        self,
        lib: Library,
        features: Any,
        tile: Tile,
        names: Sequence[str],
        dtype: str,
        use: Array | None = None,
    ) -> Values:
        """Atoms (trials, rows, columns) of a tile.

        With `use`, a mask of that shape, entries that are not used get harmless inputs, so that
        nothing infinite comes back through them with the gradient.
        """

    def listed(self, lib: Library, features: Any, positions: Array, names: Sequence[str]) -> Stable:
        """Atoms (pairs,) of (pairs, 3) trial, row, column."""


class Rectangle(NamedTuple):
    """Rows x columns of the matrix of all pairs; nodes of the source, which no two sides share."""

    rows: slice
    columns: slice


@dataclass(frozen=True)
class Limits:
    """Bounds on what is held at a time; results do not depend on them.

    Attributes:
        workspace: bytes that moments, chunks of sums or a band of node sums may take at once.
        capacity: of a kernel's list of marked pairs at first; if it overflows, the kernel runs
            again.
        gathered: numbers of chosen pairs gathered at a time.
        matrices: numbers held at a time in matrices of all pairs that chosen pairs are taken from.
        rescued: numbers gathered at a time for the stable path.
    """

    workspace: int = 1 << 29
    capacity: int = 1 << 16
    gathered: int = 1 << 20
    matrices: int = 1 << 24
    rescued: int = 1 << 20


@dataclass(frozen=True)
class Request:
    """What to compute of a source.

    Attributes:
        names: atoms, closed under exchange of x and y unless there is a rectangle (mirrored tiles
            need both).
        per_trial: keep trials apart instead of summing over them.
        dtype: of arithmetic and output, "float64" or "float32".
        estimator: of the atoms.
        rectangle: the pairs; None: all pairs i < j and, with x and y exchanged, j > i.
        limits: bounds on memory.
    """

    names: tuple[str, ...]
    per_trial: bool
    dtype: str
    estimator: Estimator
    rectangle: Rectangle | None = None
    limits: Limits = Limits()


class Totals(NamedTuple):
    """Atoms before averaging, and the pairs that needed more than the closed form.

    Attributes:
        sums: by atom name, (nodes, nodes) summed over the trials that have a value, or (trials,
            nodes, nodes); zero where there is no value.
        flagged: (flags, 4) int64: trial, row, column (row < column), `Outcome`. Pairs of a constant
            node are not listed here: the features know the nodes.
        rescued: (pairs, 3) int64: trial, row, column of the pairs that the stable path resolved.
    """

    sums: dict[str, Array]
    flagged: Array
    rescued: Array


TotalsOf = Callable[[Any, Request], Totals]


@dataclass(frozen=True)
class Pairs:
    """What a backend returns.

    Attributes:
        atoms: by atom name, (nodes, nodes) averaged over the trials that have a value, or (trials,
            nodes, nodes). NaN on the diagonal and where there is no value.
        constant: (trials, nodes) bool: the node does not vary, and its pairs have no value.
        flagged: (flags, 4) int64: trial, row, column (row < column), `Outcome`, of the other
            degenerate pairs.
        rescued: number of (trial, pair) that only the stable path could resolve.
    """

    atoms: dict[str, Array]
    constant: Array
    flagged: Array
    rescued: int


@dataclass(frozen=True)
class Nodes:
    """Sums over the pairs of each node that have a value; arrays (nodes,) or (trials, nodes).

    Attributes:
        sums: by atom name, float64, the node being x.
        pairs: int64 number of pairs that have a value.
        shares: float64 sum of sts / (sts + rtr); zero where either was not asked for.
        shared: int64 number of pairs with sts + rtr > 0.
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


@dataclass(frozen=True)
class Status:
    """Where a backend can run on this machine.

    Attributes:
        devices: kinds of device it can run on now, such as ("cpu", "cuda"); empty if none.
        why: what keeps it from running (on more devices), None if nothing does.
        remedy: what would help, None if nothing has to.
        broken: whether something is amiss that "auto" should speak of when it goes on to another
            backend, rather than just not there.
    """

    devices: tuple[str, ...]
    why: str | None = None
    remedy: str | None = None
    broken: bool = False

    @property
    def available(self) -> bool:
        """Whether it can run at all."""
        return bool(self.devices)


def smallest_trusted(samples: int, dtype: str, tolerance: float) -> float:
    """Conditional variance below which the closed form may miss a tolerance, in nats.

    The error of an atom is at most (4 + sqrt(samples)) eps / s for a smallest conditional variance
    s: rounding of the factorisation and random-walk growth of that of the moments. Measured against
    the stable path: 3.6 eps / s at 20 samples, 6 at 100, 10 at 1,000, 45 at 10,000.
    """
    return float((4 + math.sqrt(samples)) * np.finfo(dtype).eps / tolerance)


def lost_flags(flagged: Array) -> Array:
    """The flags of pairs without a value; duplicates have one."""
    return flagged[flagged[:, -1] != int(Outcome.DUPLICATE)]
