"""Records of a contender, a workload and a shape: how much is timed, and if it counts.

A round never takes much longer than a budget, but for one of all trials by synkern, which may take
seconds: fewer trials share less of what a call costs, and seem dearer than they are. Where all of a
shape would take longer, fewer trials are timed, then fewer nodes (whole matrices) or fewer pairs
(peers that take them one by one), and the record says how many. The number is found once and kept
for all sweeps.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.cases import shapes
from bench.cases.contenders import Contender
from bench.cases.shapes import SEEDS, Series, Shape
from bench.cases.workloads import Workload
from bench.harness import gate, roofline
from bench.harness.records import Check, Record

ROUNDS = 10
"""Most rounds of a sweep: more of them say no more."""

WHOLE = 2.0
"""Seconds that a round of all trials may take, of synkern's own backends."""

_SMALLEST = 64
"""Nodes that are always timed."""

_FEW = 4
"""Trials from which, beside one, the time of more is told."""

Rounds = Callable[[Callable[..., Any], Callable[[], tuple[Any, ...]], int], tuple[list[float], Any]]
"""Times `call(*setup())` so many times: seconds of each round, and the last output."""


@dataclass(frozen=True)
class Case:
    """What is measured."""

    contender: Contender
    workload: Workload
    shape: Shape
    dtype: str = "float64"

    def __str__(self) -> str:
        return f"{self.shape.name}, {self.workload.name}, {self.contender.name} {self.dtype}"


@dataclass
class Measurement:
    """A case and what is known of it after some sweeps."""

    case: Case
    timed: dict[str, int] | None = None
    expected: float = 0.0
    sweeps: list[tuple[float, ...]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    failure: tuple[str, str] | None = None

    def sweep(self, budget: float, rounds: Rounds) -> None:
        """Measure once more, unless it has failed or been refused.

        Args:
            budget: seconds for the timed rounds; one is always timed.
            rounds: what times.
        """
        if self.failure:
            return
        if why := self.case.contender.obstacle():
            self.failure = ("missing", why)
            return
        try:
            self._sweep(budget, rounds)
        except Exception as error:  # A peer may raise anything: it is what the record says.
            if not self.case.contender.peer:
                raise
            self.failure = ("failed", f"{type(error).__name__}: {str(error)[:200]}")
            self.sweeps.clear()

    def _sweep(self, budget: float, rounds: Rounds) -> None:
        case = self.case
        call = case.contender.compute(case.workload, case.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.timed is None:
                self.timed, self.expected = size(case, call, budget)
            elif not case.contender.fixed:  # Warm up.
                call(*_part(case, self.timed, SEEDS[-1], 0, trials=1))
            inputs = _Inputs(case, self.timed, len(self.sweeps))
            count = int(np.clip(budget / max(self.expected, 1e-9), 1, ROUNDS))
            seconds, output = rounds(call, inputs.next, count)
        series, pairs = inputs.given
        found = case.contender.values(case.workload, output)
        check = gate.check(
            case.workload, case.dtype, series, found, pairs, about_zero=case.contender.about_zero
        )
        self.checks.append(check)
        if not check.passed:
            self.failure = (
                "refused",
                f"off by {check.error:.1e} from {check.truth}, allowed are {check.tolerance:.0e}",
            )
            self.sweeps.clear()
            return
        self.sweeps.append(tuple(seconds))

    def record(self, roof: dict[str, float]) -> Record:
        """What is kept of it."""
        case, shape = self.case, self.case.shape
        common: dict[str, Any] = {
            "way": case.contender.name,
            "work": case.workload.name,
            "shape": {k: getattr(shape, k) for k in ("name", "nodes", "trials", "time")},
            "dtype": case.dtype,
            "device": case.contender.device,
            "peer": case.contender.peer,
            "check": max(self.checks, key=lambda check: check.error, default=None),
        }
        if self.failure:
            state, reason = self.failure
            return Record(**common, state=state, reason=reason)
        assert self.timed is not None
        trials, nodes = self.timed["trials"], self.timed["nodes"]
        operations = case.workload.operations(trials * self.timed["pairs"], shape.time)
        moved = case.workload.bytes(trials, shape.time, nodes, np.dtype(case.dtype).itemsize)
        return Record(
            **common,
            timed=self.timed,
            sweeps=tuple(self.sweeps),
            seeds=SEEDS,
            operations=operations,
            bytes=moved,
            floor=roofline.floor(case.workload, operations, moved, case.dtype, roof),
        )


def perf_counter_rounds(
    call: Callable[..., Any], setup: Callable[[], tuple[Any, ...]], count: int
) -> tuple[list[float], Any]:
    """`Rounds` by the clock."""
    seconds, output = [], None
    for _ in range(count):
        arguments = setup()
        start = time.perf_counter()
        output = call(*arguments)
        seconds.append(time.perf_counter() - start)
    return seconds, output


def event_rounds(
    call: Callable[..., Any], setup: Callable[[], tuple[Any, ...]], count: int
) -> tuple[list[float], Any]:
    """`Rounds` by a GPU's events; before each the level-2 cache is overwritten."""
    import torch  # noqa: PLC0415

    flush = torch.empty(1 << 28, dtype=torch.int8, device="cuda")
    seconds, output = [], None
    for _ in range(3 + count):
        arguments = setup()
        flush.zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        output = call(*arguments)
        end.record()
        torch.cuda.synchronize()
        seconds.append(start.elapsed_time(end) / 1e3)
    return seconds[3:], output


def size(case: Case, call: Callable[..., Any], budget: float) -> tuple[dict[str, int], float]:
    """What of a shape is timed so that a round stays within the budget, and seconds of a round."""
    return (_size_of_matrices if case.contender.all_pairs else _size_of_pairs)(case, call, budget)


def _size_of_matrices(
    case: Case, call: Callable[..., Any], budget: float
) -> tuple[dict[str, int], float]:
    shape = case.shape

    def timed(trials: int, nodes: int) -> dict[str, int]:
        return {"trials": trials, "nodes": nodes, "pairs": nodes * (nodes - 1) // 2}

    def once(trials: int, nodes: int) -> float:
        arguments = _part(case, timed(trials, nodes), SEEDS[-1], 0)
        start = time.perf_counter()
        call(*arguments)
        return time.perf_counter() - start

    nodes = min(shape.nodes, _SMALLEST)
    once(1, nodes)  # Compile, load, start threads.
    taken = min(once(1, nodes), once(1, nodes))
    while nodes < shape.nodes:
        whole = taken * (shape.nodes / nodes) ** 2
        if whole <= budget:
            nodes = shape.nodes
        elif taken * 4 <= budget:
            nodes = min(shape.nodes, 2 * nodes)
        else:
            break
        taken = once(1, nodes)
    if nodes < shape.nodes or shape.trials == 1:
        return timed(1, nodes), taken
    whole = budget if case.contender.peer else max(budget, WHOLE)
    trials, taken = _trials(lambda n: once(n, nodes), taken, shape.trials, budget, whole)
    return timed(trials, nodes), taken


def _trials(
    once: Callable[[int], float], first: float, every: int, budget: float, whole: float
) -> tuple[int, float]:
    """How many trials a round has, and its seconds.

    Args:
        once: times a call of so many trials.
        first: seconds of a call of one.
        every: number of all trials, two or more.
        budget: seconds of a round.
        whole: seconds of one that has all trials.
    """
    if first > whole:
        return 1, first
    few = min(_FEW, every)
    more = once(few)
    # What a call costs however many trials it has is not multiplied with them.
    each = max(more - first, 0.0) / (few - 1)
    if more + (every - few) * each <= whole:
        taken = once(every)
        if taken <= whole:
            return every, taken
        each = taken / every
    count = int(np.clip(1 + (budget - first) / max(each, 1e-9), 1, every - 1))
    if count > 1:
        taken = once(count)
        fitting = int(np.clip(count * budget / taken, 1, min(2 * count, every - 1)))
        return fitting, taken * fitting / count
    return 1, first


def _size_of_pairs(
    case: Case, call: Callable[..., Any], budget: float
) -> tuple[dict[str, int], float]:
    shape = case.shape
    most = shape.nodes * (shape.nodes - 1) // 2
    if case.contender.fixed:
        pairs = min(case.contender.fixed, most)
        return {"trials": 1, "nodes": shape.nodes, "pairs": pairs}, math.inf
    timed = {"trials": 1, "nodes": shape.nodes, "pairs": min(8, most)}
    call(*_part(case, timed, SEEDS[-1], 0))
    while True:
        arguments = _part(case, timed, SEEDS[-1], 0)
        start = time.perf_counter()
        call(*arguments)
        taken = time.perf_counter() - start
        pairs = timed["pairs"]
        if pairs == most or 2 * taken > budget:
            return timed, taken
        timed["pairs"] = min(
            most, max(2 * pairs, min(8 * pairs, int(0.8 * budget / taken * pairs)))
        )


def _part(
    case: Case, timed: dict[str, int], seed: int, start: int, trials: int | None = None
) -> tuple[Any, np.ndarray | None]:
    series, pairs = _numbers(case, timed, seed, start, trials)
    return case.contender.take(series), pairs


def _numbers(
    case: Case, timed: dict[str, int], seed: int, start: int, trials: int | None = None
) -> tuple[Series, np.ndarray | None]:
    """Some trials and nodes of a series, contiguous, and pairs of them if they are sampled."""
    whole = shapes.series(case.shape, seed)
    count = trials or timed["trials"]
    start %= case.shape.trials - count + 1
    series = np.ascontiguousarray(whole[start : start + count, :, : timed["nodes"]])
    if case.contender.all_pairs:
        return series, None
    rng = np.random.default_rng([seed, start])
    rows, columns = np.triu_indices(timed["nodes"], 1)
    chosen = rng.choice(len(rows), timed["pairs"], replace=False)
    return series, np.stack([rows[chosen], columns[chosen]], -1)


class _Inputs:
    """Inputs that take turns: another seed, and other trials where not all are timed."""

    def __init__(self, case: Case, timed: dict[str, int], sweep: int) -> None:
        self.case, self.timed = case, timed
        self.turns = self._turns(sweep)
        self.given: tuple[Series, np.ndarray | None] = (np.empty(0), None)

    def _turns(self, sweep: int) -> Iterator[tuple[int, int]]:
        turn = sweep
        while True:
            yield SEEDS[turn % len(SEEDS)], turn * self.timed["trials"]
            turn += 1

    def next(self) -> tuple[Any, np.ndarray | None]:
        seed, start = next(self.turns)
        self.given = _numbers(self.case, self.timed, seed, start)
        return self.case.contender.take(self.given[0]), self.given[1]
