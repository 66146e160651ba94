"""What training some nodes gained, as a study keeps it: facts, a paragraph, lines for a terminal.

The arrays are those that the experiment leaves, see `Tuned`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.analysis.gains import Gains
from synkern.study.numerals import interval, number, p_value, percent, plain, rounded
from synkern.study.stage import Arrays, Facts
from synkern.study.stages.statistics import rank_correlation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

METHODS = {"sft": "supervised training (SFT)", "grpo": "reinforcement (GRPO)"}
"""By name of a method, what it is called."""

SELECTED, LAST = "selected", "last"
WEIGHTS = {
    SELECTED: "weights selected by validation",
    LAST: "weights after the last step",
}
"""Which weights of a run are tested, for readers."""

TEXTS = {"forced": "the text of the first study", "own": "text of its own"}
"""By what the names of arrays begin with, what the model reads when the study is done again."""

LOGGED = {"loss": "training loss (nats a token)", "reward": "mean reward"}

_FEWEST_NODES = 2


@dataclass(frozen=True, eq=False, repr=False)
class Tuned:
    """The runs of a tuning experiment.

    Attributes:
        arrays: as the experiment leaves them, without its name. Of runs, in the order of conditions
            and then seeds: `condition`, `seed`, `draw`, `trained` (runs,), `trains` (runs, nodes);
            `steps` (checks,), `validation` (runs, checks), `selected` (runs,), a place in `steps`;
            `level`, `category`, `before` (tasks,), `selected_right`, `last_right` (runs, tasks);
            `logged_steps` (logs,), `loss` or `reward` (runs, logs); of GRPO `groups`, `silent`
            (runs,); `base_scores` (nodes,) and, where the study was done again, `own_scores` and
            `forced_scores` (runs, nodes).
        method: one of `METHODS`.
        ranking: by which nodes were chosen, and what the scores are.
    """

    arrays: Mapping[str, NDArray[Any]]
    method: str
    ranking: str

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names, in their order."""
        return tuple(dict.fromkeys(self.arrays["condition"].tolist()))

    @cached_property
    def runs(self) -> dict[str, Ints]:
        """By condition, places of its runs."""
        return {name: np.flatnonzero(self.arrays["condition"] == name) for name in self.conditions}

    @cached_property
    def gains(self) -> dict[str, Gains]:
        """By name of the tested weights, accuracies on the test tasks."""
        seeds = {name: self.arrays["seed"][runs].tolist() for name, runs in self.runs.items()}
        before = self.arrays["before"]
        return {
            weights: Gains(
                {name: each.tolist() for name, each in self.accuracies(weights).items()},
                seeds,
                float(before.mean()),
                len(before),
            )
            for weights in WEIGHTS
        }

    def accuracies(self, weights: str, tasks: Any = slice(None)) -> dict[str, Floats]:
        """Return by condition (runs,) accuracies of some test tasks, all if none are named."""
        right = self.arrays[f"{weights}_right"][:, tasks].mean(1)
        return {name: right[runs] for name, runs in self.runs.items()}

    @property
    def logged(self) -> str:
        """What was logged while it trained: "loss" or "reward"."""
        return next(name for name in LOGGED if name in self.arrays)

    @property
    def texts(self) -> tuple[str, ...]:
        """What the model read when the study was done again; none where it was not."""
        return tuple(text for text in TEXTS if f"{text}_scores" in self.arrays)

    def correlations(self, text: str) -> Floats:
        """Return (runs,) rank correlations of scores before and after; NaN where undefined."""
        base = self.arrays["base_scores"]
        found = [_correlated(base, after) for after in self.arrays[f"{text}_scores"]]
        return np.array([np.nan if each is None else each for each in found])

    def changes(self, text: str, trained: bool) -> Floats:
        """Return (runs,) mean changes of the score of nodes that trained, or of those that did not.

        NaN where there are no such nodes with scores.
        """
        change = self.arrays[f"{text}_scores"] - self.arrays["base_scores"]
        counted = np.isfinite(change) & (self.arrays["trains"] == trained)
        count = counted.sum(1)
        total = np.where(counted, change, 0.0).sum(1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @cached_property
    def silent(self) -> Floats | None:
        """(runs,) share of the groups of answers that gave no gradient; None but of GRPO."""
        if "silent" not in self.arrays:
            return None
        groups = self.arrays["groups"]
        return np.where(groups > 0, self.arrays["silent"] / np.maximum(groups, 1), np.nan)

    def groups(self, of: str) -> dict[str, Ints]:
        """Return by `level` or `category` ("(none)": of no known one) places of the test tasks."""
        keys = self.arrays[of]
        unknown = -1 if of == "level" else ""
        return {
            "(none)" if key == unknown else str(key): np.flatnonzero(keys == key)
            for key in np.unique(keys).tolist()
        }


def tuned_of(arrays: Arrays, facts: Mapping[str, Any]) -> Tuned:
    """Return the runs of an experiment from what it has left.

    Args:
        arrays: of the experiment, under names without its own.
        facts: of the experiment; `method` and `ranking` are taken.
    """
    return Tuned(arrays, facts["method"], facts["ranking"])


def pictures_of(prefix: str) -> tuple[str, ...]:
    """Return the names of all files that figures may go to, without their ending."""
    return (prefix, *(f"{prefix}_{topic}" for topic in ("gains", "levels", "core")))


def facts_of(tuned: Tuned) -> Facts:
    """Return what study.json says beside what the experiment was, and page and terminal show."""
    gains = tuned.gains
    return {
        "finding": finding(tuned),
        "before": rounded(100 * tuned.arrays["before"].mean()),
        "standard_error": rounded(gains[SELECTED].standard_error),
        "conditions": [_of_condition(tuned, name) for name in tuned.conditions],
        "comparisons": {weights: plain(each.compared()) for weights, each in gains.items()},
        "out_of_reach": gains[SELECTED].out_of_reach,
        "last_step": int(tuned.arrays["steps"][-1]),
        "validation_before": rounded(100 * tuned.arrays["validation"][:, 0].mean()),
        "logged": tuned.logged,
        "texts": list(tuned.texts),
        "levels": _accuracies(tuned, "level"),
        "categories": _accuracies(tuned, "category"),
    }


def _of_condition(tuned: Tuned, name: str) -> Facts:
    """What is known of the runs of one condition."""
    runs, arrays = tuned.runs[name], tuned.arrays
    places = arrays["selected"][runs]
    row: Facts = {
        "condition": name,
        "runs": len(runs),
        "trained": sorted({*arrays["trained"][runs].tolist()}),
        "selected_steps": arrays["steps"][places].tolist(),
        "validation": rounded(100 * arrays["validation"][runs, places].mean()),
        "silent": None if tuned.silent is None else _mean(tuned.silent[runs]),
        "moved": {},
    }
    for weights, gains in tuned.gains.items():
        row[weights] = plain(vars(gains.conditions[name]))
    for text in tuned.texts:
        correlations = tuned.correlations(text)[runs]
        known = correlations[np.isfinite(correlations)]
        row["moved"][text] = {
            "runs": len(known),
            "correlation": _mean(known),
            "least": rounded(known.min()) if len(known) else None,
            "most": rounded(known.max()) if len(known) else None,
            "trained": _mean(tuned.changes(text, True)[runs]),
            "untrained": _mean(tuned.changes(text, False)[runs]),
        }
    return row


def _accuracies(tuned: Tuned, of: str) -> Facts:
    """By level or category, tasks and accuracies, %, of selected weights, mean over runs."""
    return {
        key: {
            "tasks": len(places),
            "before": rounded(100 * tuned.arrays["before"][places].mean()),
            "accuracies": {
                name: rounded(100 * each.mean())
                for name, each in tuned.accuracies(SELECTED, places).items()
            },
        }
        for key, places in tuned.groups(of).items()
    }


def finding(tuned: Tuned) -> str:
    """Say what training gained, what tells conditions apart, and whether the core moved."""
    said = [f"By {METHODS[tuned.method]}, {WEIGHTS[SELECTED]}: {tuned.gains[SELECTED].finding}"]
    held, later = (_held(tuned.gains[weights]) for weights in (SELECTED, LAST))
    if tuned.gains[LAST].tested:
        others = "nothing" if not later else "the same" if later == held else "; ".join(later)
        said.append(f"With {WEIGHTS[LAST]}, what holds after correction is: {others}.")
    said += _moved(tuned)
    if tuned.silent is not None:
        shares = _by_condition(tuned, tuned.silent, percent)
        said.append(f"Groups of answers with equal rewards, which give no gradient: {shares}.")
    return " ".join(said)


def _moved(tuned: Tuned) -> list[str]:
    """Whether the ranking is another one after training."""
    if not tuned.texts:
        return []
    text = tuned.texts[0]
    each = _by_condition(tuned, tuned.correlations(text), lambda value: number(value, 3))
    return [
        f"Scores by {tuned.ranking.replace('_', ' ')} before and after, on {TEXTS[text]}, "
        f"correlate by rank by {each}; a model that did not train would give 1."
    ]


def _by_condition(tuned: Tuned, values: Floats, said: Any) -> str:
    """Means of the runs of each condition in words."""
    means = {name: _mean(values[runs]) for name, runs in tuned.runs.items()}
    return ", ".join(
        f"{called(name)} {'undefined' if mean is None else said(mean)}"
        for name, mean in means.items()
    )


def _held(gains: Gains) -> list[str]:
    """The comparisons that hold: who ended above whom."""
    pairs = [
        (each.first, each.second) if each.difference > 0 else (each.second, each.first)
        for each in gains.tested
        if each.holds
    ]
    return [f"{called(above)} above {called(below)}" for above, below in pairs]


def called(condition: str) -> str:
    """Return what a condition is called."""
    return condition.replace("_", "-")


def _mean(values: Floats) -> float | None:
    """Of those that are known; None where none is."""
    known = values[np.isfinite(values)]
    return rounded(known.mean()) if len(known) else None


def _correlated(a: Floats, b: Floats) -> float | None:
    known = np.isfinite(a) & np.isfinite(b)
    return rank_correlation(a, b) if known.sum() >= _FEWEST_NODES else None


def lines_of(facts: Facts) -> list[str]:
    """Return the table of a terminal."""
    rows = facts["conditions"]
    width = max(len("before"), *(len(called(row["condition"])) for row in rows))
    text = next(iter(facts["texts"]), None)
    heads = f"{'selected':>10} {'gain [95 %]':>24} {'last step':>10} {'gain [95 %]':>24}"
    heads += "" if text is None else f"{'core':>8}"
    heads += f"{'silent':>9}" if facts["conditions"][0]["silent"] is not None else ""
    lines = [
        f"accuracy after {METHODS[facts['method']]}, % of {facts['tasks']['test']} test tasks, and "
        "gain in points:",
        f"  {'':{width}}  runs {heads}".rstrip(),
        f"  {'before':{width}}       {_cell(facts['before'], 2):>10}",
    ]
    for row in rows:
        line = f"  {called(row['condition']):{width}} {row['runs']:>5} "
        for weights in WEIGHTS:
            each = row[weights]
            ends = each["gain_interval"]
            gain = number(each["gain"], 2, signed=True)
            gain += "" if ends is None else f" {interval((ends[0], ends[1]))}"
            line += f"{_cell(each['mean'], 2):>10} {gain:>24} "
        line = line.rstrip()
        if text is not None:
            line += f"{_cell(row['moved'][text]['correlation'], 3):>8}"
        if row["silent"] is not None:
            line += f"{percent(row['silent']):>9}"
        lines.append(line)
    if text is not None:
        lines.append(f"core: rank correlation of scores before and after, on {TEXTS[text]}")
    return lines + [_line_of(each) for each in facts["comparisons"][SELECTED]]


def _line_of(each: Mapping[str, Any]) -> str:
    """One comparison of selected weights."""
    said = f"{called(each['first'])} − {called(each['second'])}: "
    said += f"{number(each['difference'], 2, signed=True)} points"
    if each["interval"] is not None:
        said += f" {interval(tuple(each['interval']))}"
    if each["holm_p"] is not None:
        said += f", p {p_value(each['p'])}, after Holm {p_value(each['holm_p'])}"
    return f"{said}; {each['note']}" if each["note"] else said


def _cell(value: float | None, decimals: int) -> str:
    return "undefined" if value is None else number(value, decimals)
