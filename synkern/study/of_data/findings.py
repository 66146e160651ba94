"""A decomposition in three sentences: what was decomposed, what was found, what it does not show.

They are made from the numbers, whatever those say, for a reader who reads no further.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synkern.study.numerals import number, percent
from synkern.study.of_data.options import ALL, EXCESS, NULL
from synkern.study.of_data.result import Decomposition, told
from synkern.study.settings import NONE

FEW_UNITS = 10
"""Below this number of subjects, or trials, intervals over them are too narrow."""

_ESTIMATORS = {"gaussian": "Gaussian estimator", "discrete": "discrete estimator"}
PREPARED = {
    "linear": "less a straight line over time",
    "quadratic": "less a parabola over time",
    "difference": "as its change from sample to sample",
    "copula": "by the normal quantiles of its ranks",
    "zscore": "in standard deviations",
}
_CHOSEN = {
    "within": " within groups",
    "between": " between groups",
    "bipartite": " of two groups",
}


def findings_of(found: Decomposition) -> list[str]:
    """Return the three sentences."""
    tau = found.lags[0]
    said = [_levels(found, tau), _against_null(found, tau), _beyond(found, tau)]
    said += [_persistence(found, tau), _groups(found, tau)]
    units = len(found.data["units"])
    few = 1 < units < FEW_UNITS
    too_few = f"From only {units} {called_units(found)}, too few to be sure of anything: "
    told_of = (too_few if few else "Found: ") + "; ".join(part for part in said if part) + "."
    return [_studied(found, tau), told_of, _not_shown(found)]


def name_of(found: Decomposition) -> str:
    """Return what the recording is called for readers."""
    sources = [Path(source).name or source for source in found.data["sources"]]
    if not sources:
        return "the data"
    return sources[0] if len(sources) == 1 else f"{sources[0]} and {len(sources) - 1} more"


def called_units(found: Decomposition) -> str:
    """Return what is drawn and counted: subjects, or trials."""
    return "subjects" if found.data["subjects"] else "trials"


def length_of(found: Decomposition, tau: int) -> str:
    """Return a lag in words."""
    step = found.data["step"]
    seconds = "" if step is None else f" ({tau * step:g} s)"
    return f"lag {tau} sample{'s' if tau > 1 else ''}{seconds}"


def _studied(found: Decomposition, tau: int) -> str:
    parameters, data = found.description["parameters"], found.data
    low, high = data["samples"]
    samples = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    trials = f"{data['trials']:,} trial{'s' if data['trials'] > 1 else ''}"
    whose = f" of {data['subjects']} subjects" if data["subjects"] else ""
    detrend = parameters["detrend"]
    prepared = f", each series {PREPARED[detrend]}" if detrend != NONE else ""
    all_ = "all" if parameters["pairs"] == ALL else "the"
    some = _CHOSEN.get(parameters["pairs"], "")
    pooled = "" if parameters["average"] == "trials" else ", trials pooled"
    return (
        f"Decomposed: {all_} {data['pairs']:,} pairs{some} of the {data['nodes']:,} nodes of "
        f"{name_of(found)}, {trials}{whose} of {samples} valid samples "
        f"({_ESTIMATORS[parameters['kind']]}, {parameters['redundancy']} redundancy, "
        f"{length_of(found, tau)}{pooled}{prepared})."
    )


def _levels(found: Decomposition, tau: int) -> str:
    means, unit = found.facts(tau)["means"], found.unit
    return (
        f"the mean pair has {told(means['synergy'])} {unit} of synergy and "
        f"{told(means['redundancy'])} of redundancy"
    )


def _against_null(found: Decomposition, tau: int) -> str:
    facts = found.facts(tau, NULL)
    if not facts:
        why = found.description["null"]["why"]
        return f"they were set against no null ({why}), so chance alone may give as much"
    test = facts["atoms"]["sts"]
    if test["share_q"] is None:
        return f"no pair could be tested against null {facts['null']}"
    draws = f"{facts['draws']} surrogates of null {facts['null']}"
    above, below = percent(test["share_q_above"]), percent(test["share_q_below"])
    if test["share_q"] == 0:
        return (
            f"in no pair does synergy surely differ from that of unrelated nodes ({draws}, "
            f"false-discovery rate 0.05, at which {percent(facts['share_needed'])} of the pairs "
            f"would have to reach the smallest p there is, {facts['smallest_p']:.3f}; p ≤ 0.05 in "
            f"{percent(test['share_p'])})"
        )
    return (
        f"in {percent(test['share_q'])} of the pairs synergy differs from that of unrelated nodes "
        f"({above} above, {below} below; {draws}, false-discovery rate 0.05)"
    )


def _beyond(found: Decomposition, tau: int) -> str:
    facts = found.facts(tau, EXCESS)
    if not facts:
        return "how much of it the persistence of single nodes explains could not be asked here"
    mean, unrelated = facts["mean"], facts["unrelated"]
    said = f"beyond the persistence of single nodes, synergy is {told(mean)} {found.unit}"
    if unrelated is None or mean["value"] is None:
        return said
    ends = mean["interval"]
    if ends is None or None in ends:
        place = "more than" if mean["value"] > unrelated else "no more than"
    elif ends[0] > unrelated:
        place = "more than"
    else:
        place = "less than" if ends[1] < unrelated else "not surely other than"
    return f"{said}, {place} the {number(unrelated, 4, signed=True)} of the same nodes if unrelated"


def _persistence(found: Decomposition, tau: int) -> str:
    value = found.facts(tau)["correlations"]["synergy, persistence"]["value"]
    if value is None:
        return ""
    return (
        "a node's synergy follows its own persistence with rank correlation "
        f"{number(value, 2, signed=True)}"
    )


def _groups(found: Decomposition, tau: int) -> str:
    """Which group is most synergistic, and whether surely."""
    groups = [g for g in found.facts(tau)["groups"] if g["group"]]
    known = [g for g in groups if g["mean_difference"]["value"] is not None]
    if len(known) < 2:
        return ""
    ordered = sorted(known, key=lambda g: -g["mean_difference"]["value"])
    first, second = ordered[:2]
    ends = [g["mean_difference"]["interval"] for g in (first, second)]
    if any(e is None or None in e for e in ends):
        sure = "without an interval"
    else:
        apart = ends[0][0] > ends[1][1]
        sure = "the intervals apart" if apart else f"the interval overlapping {second['group']}'s"
    return f"group {first['group']} is the most synergistic by mean difference, {sure}"


def _not_shown(found: Decomposition) -> str:
    units = len(found.data["units"])
    other = (
        f"that other {called_units(found)} would give the same, as there is one, without intervals"
        if units < 2
        else "that other people, states or recordings would give the same"
    )
    return (
        "Not shown: that nodes influence each other (what they receive in common, by field spread, "
        "a reference, motion or a third node, makes redundancy and moves synergy as well); "
        f"that other lags, estimators or preparations agree; or {other}."
    )


def as_plain(value: Any) -> str:
    """Return a parameter as the page writes it."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
