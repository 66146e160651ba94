"""Null tests: could pairs of nodes without any relation have these atoms?

A surrogate keeps each node as it is, as far as it can, and breaks what relates the nodes. The
trial-averaged atoms of `n` surrogates, each decomposed by `phiid` like the series themselves, are
what to expect of unrelated nodes, and

    p = min(1, 2 (1 + min(#{null >= observed}, #{null <= observed})) / (n + 1))

is two-sided, because relation lowers `sts` as often as it raises it: unrelated nodes have lag-0
correlation zero, where `sts` of persistent nodes is largest. q values control the false-discovery
rate over the pairs of an atom (Benjamini and Hochberg, J. R. Stat. Soc. B 57, 289, 1995).

A null that does not keep a node's persistence finds relations between unrelated nodes. Share of
pairs of independent AR(1) nodes with p <= 0.05, sts / rtr, at 100 time points, n = 199 and blocks
of 10 (`bench/tables/null_sizes.py`; standard errors 0.002 to 0.018, largest in column 2):

|               | one trial |             | mean of ten |             |
| null          | rho 0.5   | rho 0.97    | rho 0.5     | rho 0.97    |
|---------------|-----------|-------------|-------------|-------------|
| `cross_trial` | -         | -           | .052 / .054 | .052 / .055 |
| `row_shift`   | .04 / .04 | .093 / .088 | .050 / .054 | .130 / .128 |
| `circular`    | .10 / .05 | .420 / .106 | .188 / .054 | .721 / .143 |
| `block`       | .29 / .06 | .825 / .242 | .964 / .072 | 1.00 / .807 |
| `phase`       | .10 / .05 | .429 / .095 | .189 / .051 | .726 / .146 |

Chance averages out over trials and the bias of a null does not, so that more trials make a biased
null worse. Use `cross_trial` where there are trials, and with a single one `row_shift`. What two
nodes have beyond their persistence *at the lag-0 correlation they have* is another question:
see `synkern.analysis.persistence`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import synkern._checks as check
import synkern._memory as memory
from synkern._arrays import (
    in_float64,
    incoming,
    library,
    like,
    native,
    outside_transforms,
    spacing,
    to_numpy,
)
from synkern._names import node_names as chosen_names
from synkern._names import unnamed
from synkern._warnings import collected
from synkern.analysis.options import NULL_NAMES, Null
from synkern.analysis.surrogates import NULLS, Recorded, check_numbers
from synkern.analysis.tested import NullTest
from synkern.decomposition.batches import of_common_samples
from synkern.decomposition.decompose import phiid
from synkern.decomposition.labels import numbered
from synkern.decomposition.masks import only_valid
from synkern.decomposition.recorded import taken
from synkern.decomposition.result import PhiIDResult
from synkern.kernels import steady

Floats = npt.NDArray[np.float64]

_SAME = 1e-9
"""Values nearer than this (nats) count as equal: the promise of the estimator."""

_MATRICES = 14
"""Matrices of an atom that are there at once: observed, a tally, p, q, and a surrogate's."""


def null_test(
    series: Any,
    null: Null = "cross_trial",
    *,
    n: int = 199,
    seed: int = 0,
    tau: int = 1,
    mask: Any = None,
    subjects: Any = None,
    atoms: str | Sequence[str] = ("rtr", "sts"),
    block: int = 10,
    node_names: Sequence[Any] | None = None,
    **options: Any,
) -> NullTest:
    """Test the trial-averaged atoms of every pair against those of unrelated nodes.

    Costs n + 1 calls of `phiid`. The random numbers are NumPy's, on any device: a seed gives the
    same surrogates for every kind of array.

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite, any kind of array, or a
            `Recording`, as in `phiid`. There is no gradient.
        null: one of `NULLS`: how surrogates are drawn, and what that keeps.
        n: number of surrogates, at least 19. p values are multiples of 2 / (n + 1); with many
            pairs, q values need small p values and hence a large n.
        seed: of the random numbers, a whole number from 0.
        tau: lag in samples.
        mask: as in `phiid`, for null="cross_trial" only: a node of one trial is paired with nodes
            of others, so that what counts, in the series as in its surrogates, are the samples that
            are valid in every trial. The other nulls move values past the gaps, which stay, and
            would join what was not neighbouring.
        subjects: None, or a label for each trial, whose it is, for null="cross_trial" only: trials
            change places within a subject alone, as those of different subjects cannot, and what is
            tested is the mean over subjects of the means over their trials. None takes those of a
            `synkern.data.Dataset` that has some; its `series` alone has none.
        atoms: names of atoms (`synkern.ATOMS`) or "all".
        block: length of a block in samples, for null="block" only.
        node_names: as in `phiid`.
        **options: of `phiid`: kind, redundancy, unit, backend.

    Returns:
        `NullTest`.

    Raises:
        ValueError: unknown null; fewer than 2 trials for "cross_trial"; n, seed or block out of
            range; an estimator that "row_shift" does not serve; a mask or subjects for another
            null; a mask that leaves fewer than 5 pairs of samples valid in every trial; a subject
            of one trial, whose nodes have no others to be paired with; what `phiid` raises.
        TypeError: series does not hold real numbers; an option that is fixed here.

    Warns:
        UserWarning: trials that "cross_trial" can pair in fewer than 120 ways, as 4 are; what
            `phiid` warns of in the series.
    """
    check.choice("null", null, NULL_NAMES)
    series, options["kind"], node_names = taken(series, options.get("kind"), node_names)
    named = unnamed(series, "series")
    mask = named.mask(mask)
    if subjects is None and null == "cross_trial":
        subjects = named.subjects
    _check_options(null, options, mask, subjects)
    names = check.atom_names(atoms)
    given = _taken_in(named.array, mask, tau)

    def decomposed(series: Any, lag: int) -> PhiIDResult:
        if subjects is None:
            return phiid(series, tau=lag, atoms=names, **options)
        return phiid(series, tau=lag, atoms=names, average=None, **options).trial_mean(subjects)

    first = decomposed(given.array, given.tau)
    nodes = first.shape[2]
    recorded = given.recorded(first.shape, block, subjects)
    check_numbers(recorded, null, n, seed)
    names_of_nodes = chosen_names(node_names, named, nodes)
    memory.require(
        8 * nodes * nodes * len(names) * _MATRICES,
        given.array,
        f"tests of {len(names)} atoms of {nodes} nodes",
        "fewer atoms or nodes at a time",
    )
    tallies = {name: Tally(to_numpy(first[name])) for name in names}
    rng = np.random.default_rng(seed)
    with collected():  # The series have been warned of; their surrogates have the same nodes.
        for _ in range(n):
            surrogate = NULLS[null](recorded, rng)
            drawn = decomposed(surrogate.series, surrogate.tau)
            for name, tally in tallies.items():
                tally.add(to_numpy(drawn[name]))
    return NullTest(
        **_statistics(tallies, given),
        null=null,
        n=n,
        seed=seed,
        tau=check.lag(tau),
        kind=first.kind,
        redundancy=first.redundancy,
        unit=first.unit,
        node_names=names_of_nodes,
        subjects=None if subjects is None else int(recorded.owner.max()) + 1,
    )


class _Given(NamedTuple):
    """A series that is tested, and the way back.

    Attributes:
        xp: numpy or torch.
        array: (trials, time, nodes) or (time, nodes), all of its samples valid.
        tau: the lag at which its past and its future are found.
        spacing: of the caller's numbers, see `_arrays.spacing`.
        restore: turns an array of `xp` into the caller's kind.
    """

    xp: Any
    array: Any
    tau: int
    spacing: float
    restore: Callable[[Any], Any]

    def recorded(self, shape: tuple[int, int, int], block: int, subjects: Any) -> Recorded:
        """Make constant what is so up to rounding: surrogates of it need not look constant."""
        whole = in_float64(self.array).reshape(shape)
        whole = steady.settled(self.xp, whole, self.tau, None, self.spacing)
        owner = np.zeros(shape[0], np.int64)
        if subjects is not None:
            owner = numbered(subjects, shape[0], argument="subjects", what="trial")
        return Recorded(self.xp, whole, self.tau, block, owner)

    def out(self, values: Mapping[str, Floats]) -> dict[str, Any]:
        """Return arrays of NumPy, by atom, as the caller's kind."""
        return {name: self.restore(like(value, self.array)) for name, value in values.items()}


def _taken_in(series: Any, mask: Any, tau: int) -> _Given:
    detached = outside_transforms(series, "series", "null_test")
    kind = native(detached)[0]
    xp = library(kind)
    detached = only_valid(detached, mask)
    array, restore = incoming(detached, kind, argument="series", offset_free=True)
    array, lag, *_ = of_common_samples(xp, array, mask, check.lag(tau))
    return _Given(xp, array, lag, spacing(detached), restore)


def _statistics(tallies: Mapping[str, Tally], given: _Given) -> dict[str, Any]:
    """The fields of `NullTest` that have a value for each atom."""
    p = {name: tally.p() for name, tally in tallies.items()}
    return {
        "observed": given.out({name: tally.observed for name, tally in tallies.items()}),
        "null_mean": given.out({name: tally.mean for name, tally in tallies.items()}),
        "null_sd": given.out({name: tally.sd() for name, tally in tallies.items()}),
        "p": given.out(p),
        "q": given.out({name: benjamini_hochberg(value) for name, value in p.items()}),
        "without_value": {
            name: int(np.isnan(value[np.triu_indices(len(value), 1)]).sum())
            for name, value in p.items()
        },
    }


def benjamini_hochberg(p: Floats) -> Floats:
    """Smallest false-discovery rates at which each p value is among the discoveries.

    Args:
        p: any shape; NaN are no tests. A symmetric matrix holds every test twice, which leaves
            all ratios of rank and number, and so the result, as they are.

    Returns:
        q values, same shape, NaN where p is.
    """
    q = np.full(p.shape, np.nan)
    tested = np.isfinite(p)
    values = p[tested]
    order = np.argsort(values)
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    q[tested] = adjusted
    return q


class Tally:
    """Running mean, variance and counts of the surrogates of an atom: none of them is kept."""

    def __init__(self, observed: Floats) -> None:
        """Start without any surrogate of the values observed, (nodes, nodes)."""
        self.observed = observed
        self._count = np.zeros(observed.shape)
        self._mean = np.zeros(observed.shape)
        self._squares = np.zeros(observed.shape)
        self._above = np.zeros(observed.shape)
        self._below = np.zeros(observed.shape)

    def add(self, drawn: Floats) -> None:
        """Take in a surrogate; where it has no value, it does not count."""
        known = np.isfinite(drawn)
        self._count += known
        step = np.where(known, drawn - self._mean, 0)
        self._mean += step / np.maximum(self._count, 1)
        self._squares += step * np.where(known, drawn - self._mean, 0)
        self._above += known & (drawn >= self.observed - _SAME)
        self._below += known & (drawn <= self.observed + _SAME)

    @property
    def mean(self) -> Floats:
        """Mean over the surrogates with a value."""
        return np.where(self._count > 0, self._mean, np.nan)

    def sd(self) -> Floats:
        """Standard deviation over the surrogates with a value, of which two are needed."""
        degrees = np.where(self._count > 1, self._count - 1, np.nan)
        return np.asarray(np.sqrt(self._squares / degrees))

    def p(self) -> Floats:
        """Two-sided p values; NaN without an observed value or without any surrogate."""
        rarer = 1 + np.minimum(self._above, self._below)
        p = np.minimum(1, 2 * rarer / (self._count + 1))
        return np.where((self._count > 0) & np.isfinite(self.observed), p, np.nan)


def _check_options(null: str, options: Mapping[str, Any], mask: Any, subjects: Any) -> None:
    fixed = set(options) - {"kind", "redundancy", "unit", "backend"}
    if fixed:
        raise TypeError(
            "null_test takes kind, redundancy, unit and backend of phiid, not "
            + ", ".join(sorted(fixed))
        )
    if mask is not None and null != "cross_trial":
        raise ValueError(
            f"null {null!r} moves values in time past the gaps of a mask, which stay, and would "
            "join what was not neighbouring: use null='cross_trial', or a stretch without gaps"
        )
    if subjects is not None and null != "cross_trial":
        raise ValueError(
            f"null {null!r} leaves every trial in its place, whosever it is: subjects= is for "
            "null='cross_trial'"
        )
    kind = options["kind"]
    if null == "row_shift" and kind != "gaussian":
        raise ValueError(
            f"null 'row_shift' serves kind 'gaussian' only; got {kind!r}: use 'cross_trial', or "
            "'circular' with a single trial"
        )
