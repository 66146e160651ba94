"""What groups of prompts are found to differ in: arrays, facts, a paragraph, and lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from synkern.analysis import ActivationSlopes, GroupComparison, benjamini_hochberg
from synkern.study.numerals import number, rounded
from synkern.study.report.findings import FEW_PROMPTS
from synkern.study.report.words import called
from synkern.study.stage import Arrays, Facts

Floats = NDArray[np.float64]

SIGNIFICANT = 0.05
_KEPT = (
    "scores",
    "profile",
    "lower",
    "upper",
    "similarity",
    "profile_similarity",
    "ceiling",
    "pair_p",
    "random_similarity",
    "random_profile_similarity",
    "reliability",
)


def arrays_of(
    found: Mapping[str, GroupComparison], groups: Sequence[str], activation: Floats
) -> Arrays:
    """Return the arrays that a study keeps."""
    first = next(iter(found.values()))
    names = [str(name) for name in first.groups]
    arrays: Arrays = {
        "names": np.array(names),
        "group": np.array([names.index(group) for group in groups]),
        "layers": first.layers,
        "activation": activation,
    }
    for ranking, comparison in found.items():
        arrays |= {f"{ranking}_{name}": getattr(comparison, name) for name in _KEPT}
    return arrays


def facts_of(
    found: Mapping[str, GroupComparison], slopes: Mapping[str, ActivationSlopes], called_so: str
) -> Facts:
    """Return what study.json says of a comparison, and the page and the terminal show.

    Args:
        found: by ranking, the first of which decides what is said.
        slopes: likewise.
        called_so: what the groups are called: `categories` or `groups`.
    """
    first = next(iter(found.values()))
    facts: Facts = {
        "called": called_so,
        "groups": [{"name": name, "prompts": int(count)} for name, count in _counted(first)],
        "rankings": {ranking: _of_ranking(one, slopes[ranking]) for ranking, one in found.items()},
        "constant_nodes": next(iter(slopes.values())).constant_nodes,
    }
    facts["finding"] = _finding(facts)
    return facts


def too_few(found: Mapping[str, GroupComparison]) -> list[str]:
    """Warn of groups whose intervals are too narrow."""
    few = [
        f"{name or 'without a name'} ({count})"
        for name, count in _counted(next(iter(found.values())))
        if count < FEW_PROMPTS
    ]
    if not few:
        return []
    return [f"few prompts, so that intervals over them are too narrow: {', '.join(few)}"]


def _counted(one: GroupComparison) -> list[tuple[str, int]]:
    return [(str(name), int(n)) for name, n in zip(one.groups, one.trials, strict=True)]


def _of_ranking(one: GroupComparison, slopes: ActivationSlopes) -> Facts:
    pairs = np.triu_indices(len(one.groups), 1)
    q, ceiling = benjamini_hochberg(one.pair_p), one.ceiling
    at_random = one.random_similarity
    slope_q = benjamini_hochberg(slopes.p)
    return {
        "p": rounded(one.p),
        "profile_p": rounded(one.profile_p),
        "mean": rounded(one.similarity[pairs].mean()),
        "profile_mean": rounded(one.profile_similarity[pairs].mean()),
        "random_mean": rounded(at_random.mean()),
        "random_profile_mean": rounded(one.random_profile_similarity.mean()),
        "ceiling_mean": _mean(ceiling[pairs]),
        "pairs": [
            {
                "groups": [int(row), int(column)],
                "correlation": rounded(one.similarity[row, column]),
                "profile_correlation": rounded(one.profile_similarity[row, column]),
                "random": rounded(at_random[:, place].mean()),
                "random_low": rounded(np.percentile(at_random[:, place], 5)),
                "ceiling": rounded(ceiling[row, column]),
                "p": rounded(one.pair_p[row, column]),
                "q": rounded(q[row, column]),
            }
            for place, (row, column) in enumerate(zip(*pairs, strict=True))
        ],
        "groups": [
            {
                "reliability": rounded(one.reliability[place]),
                "quadratic": {
                    "value": rounded(one.quadratic[place]),
                    "low": rounded(one.quadratic_interval[place, 0]),
                    "high": rounded(one.quadratic_interval[place, 1]),
                },
                "slope": {
                    "value": rounded(slopes.slope[place]),
                    "low": rounded(slopes.interval[place, 0]),
                    "high": rounded(slopes.interval[place, 1]),
                },
                "slope_p": rounded(slopes.p[place]),
                "slope_q": rounded(slope_q[place]),
            }
            for place in range(len(one.groups))
        ],
    }


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return rounded(known.mean()) if len(known) else None


def _said(value: float | None, decimals: int = 2) -> str:
    return "undefined" if value is None else number(value, decimals)


def _finding(facts: Facts) -> str:
    """Say whether groups differ by the first ranking, whatever the answer, and by the others."""
    names = [group["name"] or "without a name" for group in facts["groups"]]
    ranking, found = next(iter(facts["rankings"].items()))
    differ = found["p"] is not None and found["p"] < SIGNIFICANT
    verdict = (
        "rank nodes less alike than prompts dealt at random do"
        if differ
        else "are not shown to rank nodes otherwise than prompts dealt at random do"
    )
    ceiling = found["ceiling_mean"]
    up_to = "" if ceiling is None else f"; with their reliability up to {number(ceiling, 2)}"
    text = (
        f"{facts['called'].capitalize()} of prompts: the {len(names)} {verdict} (by "
        f"{called(ranking)}: mean rank correlation of two {_said(found['mean'])}, at random "
        f"{_said(found['random_mean'])}, p = {_said(found['p'], 3)}{up_to}); their profiles over "
        f"depth correlate by {_said(found['profile_mean'])} (at random "
        f"{_said(found['random_profile_mean'])}, p = {_said(found['profile_p'], 3)})."
    )
    apart = [pair for pair in found["pairs"] if pair["q"] is not None and pair["q"] < SIGNIFICANT]
    text += f" Of {len(found['pairs'])} pairs {len(apart)} differ at a false-discovery rate of 0.05"
    known = [pair for pair in found["pairs"] if pair["correlation"] is not None]
    if known:
        lowest = min(known, key=lambda pair: pair["correlation"])
        least = " and ".join(names[place] for place in lowest["groups"])
        text += f"; least alike are {least} ({number(lowest['correlation'], 2)})"
    text += "."
    others = [
        f"{called(other)} p = {_said(one['p'], 3)}"
        for other, one in [*facts["rankings"].items()][1:]
    ]
    if others:
        text += f" By other rankings: {', '.join(others)}."
    highs = [group["quadratic"]["high"] for group in found["groups"]]
    bent = sum(high is not None and high < 0 for high in highs)
    text += f" The profile surely bends down in {bent} of {len(names)}."
    return f"{text} {_of_slopes(names, found['groups'])}"


def _of_slopes(names: Sequence[str], groups: Sequence[Facts]) -> str:
    more, less = (
        [
            f"{name} ({number(group['slope']['value'], 2, signed=True)})"
            for name, group in zip(names, groups, strict=True)
            if group["slope_q"] < SIGNIFICANT and side * group["slope"]["value"] > 0
        ]
        for side in (1, -1)
    )
    said = [
        f"{how} active than elsewhere in {', '.join(which)}"
        for how, which in (("more", more), ("less", less))
        if which
    ]
    if not said:
        return "In none of them are synergistic nodes shown to be more or less active."
    return f"Synergistic nodes are {' and '.join(said)}: SD from the lowest rank to the highest."


def lines_of(facts: Facts) -> list[str]:
    """Return the table of a terminal."""

    def cell(value: float | None, width: int) -> str:
        return f"{'none' if value is None else f'{value:.3f}':>{width}}"

    width = max(len(ranking) for ranking in facts["rankings"])
    lines = [f"rank correlation of two {facts['called']}, mean over all pairs:"]
    lines.append(f"  {'':{width}}  ranking  at random       p  ceiling  profile  at random       p")
    for ranking, found in facts["rankings"].items():
        columns = (
            ("mean", 9),
            ("random_mean", 11),
            ("p", 8),
            ("ceiling_mean", 9),
            ("profile_mean", 9),
            ("random_profile_mean", 11),
            ("profile_p", 8),
        )
        lines.append(
            f"  {ranking:{width}}" + "".join(cell(found[name], size) for name, size in columns)
        )
    return lines
