"""What a change did: ratios of times, each with an interval that noise alone would leave.

Two files of results are compared case by case; what peers took longer in one of them the machine
did, and it is taken out. Two commits are measured now, in turns (A B, B A,
...), each in a checkout of its own with its own suite, so that what else the machine does meets
both alike; every pair of runs gives a ratio.

Noise is what the sweeps of a case differ by. Two or three sweeps tell little of it, so that of all
cases of a backend is pooled. An interval says where the ratio of two further runs would lie: that
of a rerun without any change contains 1 in 95 of 100 cases.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from bench.harness.records import ROOT, Record, Run

LEVEL = 0.95


class Ratio(NamedTuple):
    """Times of B over those of A.

    Attributes:
        value: below 1 where B is faster.
        low, high: interval.
    """

    value: float
    low: float
    high: float

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out 1."""
        return not self.low <= 1 <= self.high


class Noise(NamedTuple):
    """Spread of the logarithm of a sweep's median, and the degrees of freedom behind it."""

    sd: float
    freedom: int


def noise(records: Iterable[Record]) -> dict[tuple[str, str], Noise]:
    """Noise by device and contender, pooled over its cases."""
    squares: dict[tuple[str, str], list[float]] = defaultdict(list)
    freedom: dict[tuple[str, str], int] = defaultdict(int)
    for record in records:
        logs = np.log(record.medians)
        if len(logs) > 1:
            squares[record.device, record.way] += list((logs - logs.mean()) ** 2)
            freedom[record.device, record.way] += len(logs) - 1
    return {
        key: Noise(math.sqrt(sum(values) / freedom[key]), freedom[key])
        for key, values in squares.items()
    }


def prediction(value: float, first: Sequence[tuple[Noise, int]], level: float = LEVEL) -> Ratio:
    """A ratio with the interval for that of another run of the same kind.

    Args:
        value: the ratio.
        first: noise and number of sweeps of each of its two times.
        level: that the interval is to hold.
    """
    variance = sum(n.sd**2 * 2 / sweeps for n, sweeps in first)
    freedom = max(1, min(n.freedom for n, _ in first))
    half = student(freedom, level) * math.sqrt(variance)
    return Ratio(value, value * math.exp(-half), value * math.exp(half))


def student(freedom: int, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t (Abramowitz and Stegun 26.7.5; exact at 1 and 2)."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    if freedom == 1:
        return math.tan(math.pi / 2 * level)
    if freedom == 2:
        return level * math.sqrt(2 / (1 - level**2))
    terms = (
        z,
        (z**3 + z) / (4 * freedom),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3),
    )
    return sum(terms)


def drift(before: Run, after: Run) -> float | None:
    """How many times as long B took for what no change of synkern touches, the peers.

    The median of their ratios; None if the two have no peer in common.
    """
    first = {r.key: r for r in before.records if r.sweeps and r.peer}
    logs = [
        math.log(r.per_decomposition / first[r.key].per_decomposition)
        for r in after.records
        if r.sweeps and r.key in first
    ]
    return math.exp(float(np.median(logs))) if logs else None


def of_files(before: Run, after: Run) -> dict[tuple[str, ...], Ratio]:
    """Changes by case of synkern, of those that both have, without the `drift` of the machine."""
    first, second = (
        {r.key: r for r in run.records if r.sweeps and not r.peer} for run in (before, after)
    )
    spread = [noise(first.values()), noise(second.values())]
    machine = drift(before, after) or 1.0
    ratios = {}
    for key, older in first.items():
        if key not in second:
            continue
        sides = []
        for record, by_way in ((older, spread[0]), (second[key], spread[1])):
            known = by_way.get((record.device, record.way), Noise(math.inf, 1))
            # Half of the prediction's variance each: the ratio of two given runs, not of others.
            sides.append((known._replace(sd=known.sd / math.sqrt(2)), len(record.sweeps)))
        value = second[key].per_decomposition / older.per_decomposition / machine
        ratios[key] = prediction(value, sides)
    return ratios


def of_pairs(runs: Sequence[tuple[Run, Run]]) -> dict[tuple[str, ...], Ratio]:
    """Changes by case of pairs of runs: median ratio, Student's t interval of the logarithms."""
    logs: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for before, after in runs:
        first = {r.key: r.per_decomposition for r in before.records if r.sweeps}
        for record in after.records:
            if record.sweeps and record.key in first:
                logs[record.key].append(math.log(record.per_decomposition / first[record.key]))
    found = {}
    for key, values in logs.items():
        middle, count = float(np.median(values)), len(values)
        half = math.inf
        if count > 1:
            half = student(count - 1) * float(np.std(values, ddof=1)) / math.sqrt(count)
        found[key] = Ratio(math.exp(middle), math.exp(middle - half), math.exp(middle + half))
    return found


def of_commits(
    a: str, b: str, chosen: str, sweeps: int, seconds: float, say: Callable[[str], None]
) -> list[tuple[Run, Run]]:
    """Measure two commits in turns.

    Raises:
        RuntimeError: a commit is unknown, has no suite, or is not what Python imports there, or its
            suite fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder) / name for name in "ab"]
        try:
            for commit, tree in zip((a, b), trees, strict=True):
                _run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(tree), commit])
            runs = []
            for k in range(sweeps):
                pair: dict[int, Run] = {}
                for side in (0, 1) if k % 2 == 0 else (1, 0):
                    pair[side] = _measure(trees[side], chosen, seconds, Path(folder) / "run.json")
                runs.append((pair[0], pair[1]))
                say(f"pair {k + 1} of {sweeps}")
            return runs
        finally:
            for tree in trees:
                subprocess.run(
                    ["git", "-C", str(ROOT), "worktree", "remove", "--force", str(tree)],
                    check=False,
                    capture_output=True,
                )


def _measure(tree: Path, chosen: str, seconds: float, out: Path) -> Run:
    environment = os.environ | {"PYTHONPATH": str(tree)}
    where = (
        "import pathlib, sys, synkern; file = pathlib.Path(synkern.__file__).resolve(); "
        "sys.exit(pathlib.Path.cwd() not in file.parents and f'it would measure {file}')"
    )
    _run([sys.executable, "-c", where], cwd=tree, env=environment)
    line = [sys.executable, "-m", "pytest", "bench", "-q", "--benchmark-quiet", "-k", chosen]
    line += ["--sweeps", "1", "--seconds", str(seconds), "--out", str(out)]
    _run(line, cwd=tree, env=environment)
    return Run.load(out)


def _run(line: Sequence[str], **options: object) -> None:
    done = subprocess.run(line, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise RuntimeError(f"{' '.join(line[:4])} ... failed: {' '.join(said)}")


def found(run: Run, way: str, work: str, shape: str, dtype: str, device: str) -> Record | None:
    """The record of a case, if there is one."""
    key = (device, shape, work, way, dtype)
    return next((record for record in run.records if record.key == key), None)


def phyid(run: Run, work: str, shape: str) -> Record | None:
    """What phyid takes; it has no means by node, and is measured for the pairs."""
    work = "MMI rtr+sts" if work.startswith("MMI reduce") else work
    return found(run, "phyid", work, shape, "float64", "cpu")


def times(run: Run, slow: Record | None, fast: Record | None) -> Ratio | None:
    """How many times faster, with the interval for a rerun."""
    if not (slow and fast and slow.sweeps and fast.sweeps):
        return None
    spread = noise(r for r in run.records if r.sweeps)
    sides = [
        (spread.get((r.device, r.way), Noise(math.inf, 1)), len(r.sweeps)) for r in (slow, fast)
    ]
    return prediction(slow.per_decomposition / fast.per_decomposition, sides)


def rerun(first: Run, second: Run) -> list[bool]:
    """Cases, and whether the second run's ratio to phyid lies where the first says it would."""
    inside = []
    for record in first.records:
        again = next((r for r in second.records if r.key == record.key), None)
        if record.peer or again is None:
            continue
        _, shape, work, _, _ = record.key
        stated = times(first, phyid(first, work, shape), record)
        new = times(second, phyid(second, work, shape), again)
        if stated and new and math.isfinite(stated.high):
            inside.append(stated.low <= new.value <= stated.high)
    return inside


def table(ratios: dict[tuple[str, ...], Ratio]) -> str:
    """Lines of text, the largest change first, and how many cases can be told apart."""
    if not ratios:
        return "the two have no case in common"
    rows = []
    for key, ratio in sorted(ratios.items(), key=lambda item: -abs(math.log(item[1].value))):
        verdict = ("faster" if ratio.value < 1 else "slower") if ratio.told_apart else "-"
        device, shape, work, way, dtype = key
        rows.append(
            f"{ratio.value:7.3f}  [{ratio.low:.3f}, {ratio.high:.3f}]  {verdict:6}  "
            f"{shape}, {work}, {way} {dtype}" + ("" if device == "cpu" else f" ({device})")
        )
    apart = sum(ratio.told_apart for ratio in ratios.values())
    middle = float(np.exp(np.median([math.log(ratio.value) for ratio in ratios.values()])))
    rows.append(
        f"B / A of {len(ratios)} cases: median {middle:.3f}; {len(ratios) - apart} within noise, "
        f"{apart} not ({(1 - LEVEL) * len(ratios):.0f} are expected to be outside by chance)"
    )
    return "\n".join(["B / A    95 % interval", *rows])


def main(
    a: str, b: str, chosen: str, sweeps: int, seconds: float, say: Callable[[str], None]
) -> str:
    """Compare two files, or two commits; see the module."""
    files = [Path(name) for name in (a, b)]
    if all(file.is_file() for file in files):
        before, after = (Run.load(file) for file in files)
        inside = rerun(before, after)
        machine = drift(before, after)
        said = "no peer in common: what the machine did differently is in the ratios"
        if machine is not None:
            said = f"peers took {machine:.3f} times as long in B; ratios are without that"
        return (
            f"{said}\n"
            f"{table(of_files(before, after))}\n"
            "ratios to phyid of B inside the interval that A states: "
            f"{sum(inside)} of {len(inside)}"
        )
    return table(of_pairs(of_commits(a, b, chosen, sweeps, seconds, say)))
