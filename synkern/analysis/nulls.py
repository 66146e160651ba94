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
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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
from synkern._warnings import collected, warn
from synkern.decomposition.batches import of_common_samples, only_valid
from synkern.decomposition.decompose import phiid
from synkern.decomposition.saving import (
    Saved,
    require,
    require_atoms,
    require_count,
    require_names,
    require_options,
    require_shape,
)
from synkern.kernels import steady

Floats = npt.NDArray[np.float64]

_SAME = 1e-9
"""Values nearer than this (nats) count as equal: the promise of the estimator."""

_MATRICES = 14
"""Of an atom at once: observed, a tally and its temporaries, p and q, and those of a surrogate."""

_ENOUGH_TRIALS = 5
"""The fewest trials that can be paired in enough ways for a two-sided p of 0.05: 2 / 5!."""


@dataclass(frozen=True, eq=False, repr=False)
class NullTest(Saved):
    """Observed atoms against those of unrelated nodes.

    Arrays are (nodes, nodes) by atom name, of the kind of the series, NaN on the diagonal and
    where there is no value; node i (row) is the atoms' x, node j (column) their y.

    Attributes:
        observed: mean of the atom over trials, in `unit`.
        null_mean: its mean over the surrogates.
        null_sd: its standard deviation over the surrogates.
        p: two-sided p value; the smallest possible is 2 / (n + 1).
        q: p adjusted for the number of pairs (Benjamini-Hochberg), atom by atom.
        without_value: by atom, number of pairs i < j that have no p value: no observed value, or
            none in any surrogate.
        null: name of the null.
        n: number of surrogates.
        seed: of the random numbers.
        tau: lag in samples.
        kind: estimator.
        redundancy: redundancy function.
        unit: of the observed atoms and the null's mean and deviation.
        node_names: a name for each node; None where the series had none and none were given.
    """

    observed: Mapping[str, Any]
    null_mean: Mapping[str, Any]
    null_sd: Mapping[str, Any]
    p: Mapping[str, Any]
    q: Mapping[str, Any]
    without_value: Mapping[str, int]
    null: str
    n: int
    seed: int
    tau: int
    kind: str
    redundancy: str
    unit: str
    node_names: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        """One line: atoms, null, options."""
        nodes = next(iter(self.observed.values())).shape[0]
        return (
            f"NullTest({' '.join(self.observed)}; {nodes} nodes against {self.n} surrogates of "
            f"{self.null!r}, seed={self.seed}, tau={self.tau}, {self.kind} {self.redundancy}, "
            f"{self.unit}, {sum(self.without_value.values())} without value)"
        )

    @classmethod
    def _plain_fields(cls) -> tuple[str, ...]:
        return ("without_value",)

    def _check_loaded(self) -> None:
        require_atoms(self.observed)
        require_options(
            self,
            null=tuple(NULLS),
            kind=("gaussian", "discrete"),
            redundancy=("MMI", "CCS"),
            unit=("nats", "bits"),
        )
        require_count(self, n=19, seed=0, tau=1)
        shape = np.shape(next(iter(self.observed.values())))
        require(len(shape) == 2 and shape[0] == shape[1], f"the atoms have shape {shape}")
        require_names(self.node_names, shape[0])
        for field in ("observed", "null_mean", "null_sd", "p", "q", "without_value"):
            by_atom = getattr(self, field)
            same = isinstance(by_atom, Mapping) and list(by_atom) == list(self.observed)
            require(same, f"{field} has other atoms than observed")
            for name, value in by_atom.items():
                if field == "without_value":
                    require(type(value) is int and value >= 0, f"{field} of {name} is {value!r}")
                else:
                    require_shape(value, f"{field} of {name}", "f", shape)


class _Recorded(NamedTuple):
    """What surrogates are drawn from.

    Attributes:
        xp: numpy or torch.
        series: (trials, time, nodes) float64.
        tau: lag in samples.
        block: length of a block in samples.
    """

    xp: Any
    series: Any
    tau: int
    block: int


class _Surrogate(NamedTuple):
    """A series and the lag at which `phiid` finds its past and its future."""

    series: Any
    tau: int


def cross_trial(recorded: _Recorded, rng: np.random.Generator) -> _Surrogate:
    """Pair node i of one trial with node j of another: permute the trials of each node.

    False positives at 0.05: .05, at rho 0.5 and 0.97 alike.

    Keeps every node's series whole, and what all trials have in common over time (a response to
    their onset, say). So it tests for a relation *beyond* that common course, and exactly: for a
    pair, the permutations form a group. The uniform permutation may leave trials in place;
    without these (derangements) the test would reject too often with few trials.

    Invalid where trials cannot change places: different conditions, subjects or lengths.
    Powerless below 5 trials, which cannot be paired in enough ways.
    """
    trials, time, nodes = recorded.series.shape
    order = rng.permuted(np.tile(np.arange(trials)[:, None], nodes), axis=0)
    take = order[:, None, :], np.arange(time)[:, None], np.arange(nodes)
    return _Surrogate(recorded.series[_index(recorded, take)], recorded.tau)


def row_shift(recorded: _Recorded, rng: np.random.Generator) -> _Surrogate:
    """Shift the (past, future) samples of each node jointly, by its own random amount, circularly.

    False positives at 0.05, `sts` of one trial: .04 at rho 0.5, .09 at rho 0.97.

    Keeps every node's lag correlation exactly, since a past stays with its future; breaks the
    relation of nodes at all lags, and the common course of trials with it.

    Invalid for nodes with trends or slow drift, whose shifted copies are still correlated: close to
    exact while the series is many correlation times long. Gaussian estimators only: a past and a
    future that are cut apart have no common mean to binarise at.
    """
    series, tau = recorded.series, recorded.tau
    samples = series.shape[1] - tau
    shifts = _shifts(recorded, samples, rng)
    rows = [_rolled(recorded, part, shifts) for part in (series[:, :-tau], series[:, tau:])]
    # Past after future as one series: at a lag of all samples, `phiid` cuts it at the seam.
    return _Surrogate(recorded.xp.concatenate(rows, 1), samples)


def circular(recorded: _Recorded, rng: np.random.Generator) -> _Surrogate:
    """Shift each node circularly in time, by its own random amount.

    False positives at 0.05, `sts` of one trial: .10 at rho 0.5, .42 at rho 0.97.

    Keeps a node's spectrum and values; joins its end to its beginning. That jump lowers the lag
    correlation of persistent nodes, so that the null is too low.

    Invalid where the series is not many correlation times long, or has a trend.
    """
    shifts = _shifts(recorded, recorded.series.shape[1], rng)
    return _Surrogate(_rolled(recorded, recorded.series, shifts), recorded.tau)


def block(recorded: _Recorded, rng: np.random.Generator) -> _Surrogate:
    """Cut each node into blocks of equal length and permute these, node by node.

    False positives at 0.05, `sts` of one trial, blocks of 10: .29 at rho 0.5, .83 at rho 0.97.

    Keeps a node's values, and its persistence within a block; every seam is a jump, which lowers
    its lag correlation by about 1 / block of itself.

    Invalid unless blocks are much longer than the correlation time and yet many.
    """
    trials, time, nodes = recorded.series.shape
    count = -(-time // recorded.block)
    keys = rng.random((trials, count, nodes))
    # Time points sorted by the key of their block, stably: blocks stay whole and in order inside.
    order = np.argsort(keys[:, np.arange(time) // recorded.block], axis=1, kind="stable")
    return _Surrogate(_reordered(recorded, recorded.series, order), recorded.tau)


def phase(recorded: _Recorded, rng: np.random.Generator) -> _Surrogate:
    """Give each node random Fourier phases: a Gaussian series of the same periodogram.

    False positives at 0.05, `sts` of one trial: .10 at rho 0.5, .43 at rho 0.97.

    Keeps the circular autocorrelation, not the values. As it takes the series as periodic, the jump
    from its end to its beginning is spread over time as noise, which lowers the lag correlation
    of persistent nodes.

    Invalid for nodes that are far from Gaussian, that drift, or whose level changes. The method is
    that of Theiler et al., Physica D 58, 77 (1992).
    """
    xp, series = recorded.xp, recorded.series
    trials, time, nodes = series.shape
    mean = series.mean(1)[:, None]
    spectrum = xp.fft.rfft(series - mean, None, 1)
    angles = np.zeros((trials, spectrum.shape[1], nodes))
    free = slice(1, (time + 1) // 2)  # All but the mean and, at even length, the last: real ones.
    angles[:, free] = rng.uniform(0, 2 * np.pi, angles[:, free].shape)
    # The mean comes back last: where a node is constant, rounding vanishes beside it.
    values = xp.fft.irfft(spectrum * like(np.exp(1j * angles), series), time, 1) + mean
    return _Surrogate(values, recorded.tau)


NULLS: dict[str, Callable[[_Recorded, np.random.Generator], _Surrogate]] = {
    "cross_trial": cross_trial,
    "row_shift": row_shift,
    "circular": circular,
    "block": block,
    "phase": phase,
}
"""Nulls by name; what each keeps, and where it is invalid, is in its docstring."""


def null_test(
    series: Any,
    null: Literal["cross_trial", "row_shift", "circular", "block", "phase"] = "cross_trial",
    *,
    n: int = 199,
    seed: int = 0,
    tau: int = 1,
    mask: Any = None,
    atoms: str | Sequence[str] = ("rtr", "sts"),
    block: int = 10,
    node_names: Sequence[Any] | None = None,
    **options: Any,
) -> NullTest:
    """Test the trial-averaged atoms of every pair against those of unrelated nodes.

    Costs n + 1 calls of `phiid`. The random numbers are NumPy's, on any device: a seed gives the
    same surrogates for every kind of array.

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite, any kind of array. There
            is no gradient.
        null: one of `NULLS`: how surrogates are drawn, and what that keeps.
        n: number of surrogates, at least 19. p values are multiples of 2 / (n + 1); with many
            pairs, q values need small p values and hence a large n.
        seed: of the random numbers, a whole number from 0.
        tau: lag in samples.
        mask: as in `phiid`, for null="cross_trial" only: a node of one trial is paired with nodes
            of others, so that what counts, in the series as in its surrogates, are the samples that
            are valid in every trial. The other nulls move values past the gaps, which stay, and
            would join what was not neighbouring.
        atoms: names of atoms (`synkern.ATOMS`) or "all".
        block: length of a block in samples, for null="block" only.
        node_names: as in `phiid`.
        **options: of `phiid`: kind, redundancy, unit, backend.

    Returns:
        `NullTest`.

    Raises:
        ValueError: unknown null; fewer than 2 trials for "cross_trial"; n, seed or block out of
            range; an estimator that "row_shift" does not serve; a mask for another null, or one
            that leaves fewer than 5 pairs of samples valid in every trial; what `phiid` raises.
        TypeError: series does not hold real numbers; an option that is fixed here.

    Warns:
        UserWarning: fewer than 5 trials for "cross_trial"; what `phiid` warns of in the series.
    """
    check.choice("null", null, tuple(NULLS))
    _check_options(null, options, mask)
    names = check.atom_names(atoms)
    named = unnamed(series, "series")
    detached = outside_transforms(named.array, "series", "null_test")
    kind = native(detached)[0]
    xp = library(kind)
    detached = only_valid(detached, mask)
    array, restore = incoming(detached, kind, argument="series", offset_free=True)
    tau = check.lag(tau)
    array, lag, *_ = of_common_samples(xp, array, mask, tau)
    first = phiid(array, tau=lag, atoms=names, **options)
    whole = in_float64(array).reshape(first.shape)
    # Surrogates of rounding errors need not look like those of a constant.
    whole = steady.settled(xp, whole, lag, None, spacing(detached))
    recorded = _Recorded(xp, whole, lag, block)
    _check_numbers(recorded, null, n, seed)
    nodes = first.shape[2]
    names_of_nodes = chosen_names(node_names, named, nodes)
    memory.require(
        8 * nodes * nodes * len(names) * _MATRICES,
        array,
        f"tests of {len(names)} atoms of {nodes} nodes",
        "fewer atoms or nodes at a time",
    )

    observed = {name: to_numpy(first[name]) for name in names}
    tally = {name: _Tally(value) for name, value in observed.items()}
    rng = np.random.default_rng(seed)
    with collected():  # The series have been warned of; their surrogates have the same nodes.
        for _ in range(n):
            surrogate = NULLS[null](recorded, rng)
            drawn = phiid(surrogate.series, tau=surrogate.tau, atoms=names, **options)
            for name in names:
                tally[name].add(to_numpy(drawn[name]))

    def out(values: Mapping[str, Floats]) -> dict[str, Any]:
        return {name: restore(like(value, array)) for name, value in values.items()}

    p = {name: tally[name].p() for name in names}
    return NullTest(
        observed=out(observed),
        null_mean=out({name: tally[name].mean for name in names}),
        null_sd=out({name: tally[name].sd() for name in names}),
        p=out(p),
        q=out({name: benjamini_hochberg(value) for name, value in p.items()}),
        without_value={
            name: int(np.isnan(value[np.triu_indices(len(value), 1)]).sum())
            for name, value in p.items()
        },
        null=null,
        n=n,
        seed=seed,
        tau=tau,
        kind=first.kind,
        redundancy=first.redundancy,
        unit=first.unit,
        node_names=names_of_nodes,
    )


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


class _Tally:
    """Running mean, variance and counts of the surrogates of an atom: none of them is kept."""

    def __init__(self, observed: Floats) -> None:
        self._observed = observed
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
        self._above += known & (drawn >= self._observed - _SAME)
        self._below += known & (drawn <= self._observed + _SAME)

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
        return np.where((self._count > 0) & np.isfinite(self._observed), p, np.nan)


def _check_options(null: str, options: Mapping[str, Any], mask: Any) -> None:
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
    kind = options.get("kind", "gaussian")
    if null == "row_shift" and kind != "gaussian":
        raise ValueError(
            f"null 'row_shift' serves kind 'gaussian' only; got {kind!r}: use 'cross_trial', or "
            "'circular' with a single trial"
        )


def _check_numbers(recorded: _Recorded, null: str, n: int, seed: int) -> None:
    trials, time, _ = recorded.series.shape
    for argument, value, low in (("n", n, 19), ("seed", seed, 0), ("block", recorded.block, 1)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < low:
            raise ValueError(f"{argument} must be a whole number from {low}; got {value!r}")
    if null == "block" and 2 * recorded.block > time:
        raise ValueError(
            f"block must leave at least two blocks; got {recorded.block} for {time} time points"
        )
    if null != "cross_trial":
        return
    if trials < 2:
        raise ValueError(
            "null 'cross_trial' pairs nodes of different trials and needs at least 2; series has "
            f"{trials}: use null='row_shift', or cut a long series into trials"
        )
    if trials < _ENOUGH_TRIALS:
        warn(
            f"{trials} trials can be paired in too few ways for p <= 0.05 under null "
            f"'cross_trial'; {_ENOUGH_TRIALS} or more can"
        )


def _shifts(recorded: _Recorded, length: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A shift for each trial and node, (trials, 1, nodes), zero among them."""
    trials, _, nodes = recorded.series.shape
    return rng.integers(0, length, (trials, 1, nodes))


def _rolled(recorded: _Recorded, part: Any, shifts: npt.NDArray[np.int64]) -> Any:
    length = part.shape[1]
    return _reordered(recorded, part, (np.arange(length)[:, None] + shifts) % length)


def _reordered(recorded: _Recorded, part: Any, order: npt.NDArray[np.int64]) -> Any:
    """Each trial and node in an order of its own, (trials, time, nodes)."""
    trials, _, nodes = part.shape
    take = np.arange(trials)[:, None, None], order, np.arange(nodes)
    return part[_index(recorded, take)]


def _index(recorded: _Recorded, take: tuple[npt.NDArray[np.int64], ...]) -> tuple[Any, ...]:
    return tuple(like(index, recorded.series) for index in take)
