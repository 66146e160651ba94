"""A study in three sentences: what was studied, what was found under the controls, what remains.

They are made from the numbers of the run, whatever those say, for a reader who reads no further.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synkern.analysis.profile import LayerProfile
from synkern.analysis.scores import PUBLISHED, RANKINGS
from synkern.study.experiments.experiment import Experiment
from synkern.study.numerals import digits, interval, number, percent
from synkern.study.report.words import called
from synkern.study.settings import CONTROL, NONE, TRAINED
from synkern.study.stage import BASELINE, EXCESS, Facts, Results, Stage

FEW_PROMPTS = 10
"""Below this number of prompts, intervals over them are too narrow."""

_ESTIMATORS = {"gaussian": "Gaussian estimator", "discrete": "discrete estimator"}
_PREPARED = {
    "linear": "less a straight line over time",
    "quadratic": "less a parabola over time",
    "difference": "as its change from token to token",
    "copula": "by the normal quantiles of its ranks",
    "zscore": "in standard deviations",
}


def findings_of(
    results: Results, stages: Iterable[Stage], experiments: Sequence[Experiment] = ()
) -> list[str]:
    """Say what was studied, what was found under the controls, and what it does not show.

    Args:
        results: of the study; the profiles of the trained weights are needed.
        stages: all that a study can have; those that this one has may have found something beside.
        experiments: all that can be done with a study; likewise.

    Returns:
        Three sentences, and one for each experiment.
    """
    done = [experiment for experiment in experiments if results.facts(experiment.name)]
    profiles = results.profiles
    found = [_verdict(profiles[TRAINED][PUBLISHED]), _of_control(profiles)]
    found.append(_beyond_persistence(results))
    found += [stage.finding(results) for stage in stages if results.facts(stage.name)]
    trials = _analysis(results)["trials"]
    few = trials < FEW_PROMPTS
    prefix = f"From only {trials} prompts, too few to be sure of anything: " if few else "Found: "
    return [
        _studied(results),
        prefix + "; ".join(part for part in found if part) + ".",
        _not_shown(results, any(experiment.of_need for experiment in done)),
        *(experiment.finding(results) for experiment in done),
    ]


def _studied(results: Results) -> str:
    parameters, analysis = results.description["parameters"], _analysis(results)
    tau, detrend, words = parameters["tau"], parameters["detrend"], results.words
    prepared = f", each series {_PREPARED[detrend]}" if detrend != NONE else ""
    pooled = "" if parameters["average"] == "trials" else ", all prompts pooled"
    return (
        f"Studied: while {results.name} {_did(parameters, analysis['trials'])} with "
        f"{parameters['new_tokens']} tokens each, all "
        f"{analysis['pairs']:,} pairs of its {analysis['nodes']} {words.full} were decomposed "
        f"({_ESTIMATORS[parameters['kind']]}, {parameters['redundancy']} redundancy, lag {tau} "
        f"token{'s' if tau > 1 else ''}{pooled}{prepared}), to see whether synergy outweighs "
        "redundancy most in the middle layers, by mean difference (sts − rtr), the ranking of the "
        "published figures."
    )


def _did(parameters: Mapping[str, Any], trials: int) -> str:
    # A study of an earlier version had no such parameter.
    if parameters.get("texts_of") is None:
        return f"answered {trials} prompts"
    return f"read the answers of another study to {trials} prompts"


def _verdict(profile: LayerProfile) -> str:
    term = _term(profile)
    if not profile.complete:
        missing = percent(profile.missing_share)
        return f"the trained model gives no answer, as {missing} of its values are missing"
    if profile.inverted_u:
        return f"the trained model's profile over depth is an inverted U ({term})"
    if profile.quadratic_interval[1] < 0:
        return (
            f"the trained model's profile over depth bends down ({term}), but not so that it "
            "surely rises, falls, and bends more than shuffled layers do: no inverted U"
        )
    if profile.quadratic_interval[0] > 0:
        return f"the trained model's profile over depth bends up, with no peak inside ({term})"
    return f"the trained model's profile over depth has no sure bend ({term})"


def _of_control(profiles: Mapping[str, Mapping[str, LayerProfile]]) -> str:
    if CONTROL not in profiles:
        return (
            "there was no control, so this may be owed to the architecture instead of the training"
        )
    control, trained = profiles[CONTROL][PUBLISHED], profiles[TRAINED][PUBLISHED]
    term = _term(control)
    if not control.complete:
        missing = percent(control.missing_share)
        return f"random weights give no answer, as {missing} of their values are missing"
    if control.inverted_u:
        as_well = " as well, so that it is no sign of training" if trained.inverted_u else ""
        return f"random weights show an inverted U{as_well} ({term})"
    if control.quadratic_interval[1] < 0:
        return f"random weights bend down, too, without being an inverted U ({term})"
    either = "" if trained.inverted_u else " either"
    return f"random weights show no inverted U{either} ({term})"


def _beyond_persistence(results: Results) -> str:
    trained, many = results.profiles[TRAINED], results.words.many
    single = f"single {many}"
    if _analysis(results)["excess"]["absent"] is not None or EXCESS not in trained:
        return f"how much of it the persistence of {single} explains could not be asked here"
    excess, unrelated = trained[EXCESS], trained[BASELINE]
    if not (excess.complete and unrelated.complete):
        missing = percent(max(excess.missing_share, unrelated.missing_share))
        return (
            f"beyond the persistence of {single} there is no answer, as {missing} of the "
            "values are missing"
        )
    low, high = excess.quadratic_interval
    terms = f"{_term(excess)}, unrelated {many} {_term(unrelated, named=False)}"
    if high < unrelated.quadratic_interval[0]:
        left = f"synergy still bends down more than that of unrelated {many}"
    elif low > unrelated.quadratic_interval[1]:
        left = f"the middle layers have less synergy than unrelated {many} would"
    else:
        left = f"synergy bends no more than that of unrelated {many}"
    return f"beyond the persistence of {single}, {left} ({terms})"


def _not_shown(results: Results, need_asked: bool) -> str:
    trained, words = results.profiles[TRAINED], results.words
    follows = _analysis(results)["correlations"]["synergy, autocorrelation"]
    correlation = "undefined" if follows is None else number(follows, 2)
    others = ", ".join(
        f"{called(ranking)}: {_in_short(trained[ranking])}"
        for ranking in RANKINGS
        if ranking != PUBLISHED and ranking in trained
    )
    weights = "other random weights, " if results.description["parameters"]["control"] else ""
    need = (
        "that the model needs them beyond what is said below of switching them off"
        if need_asked
        else f"that the model needs these {words.many}, as none was switched off"
    )
    return (
        f"Not shown: that {words.many} work together (rank correlation of {words.a}'s synergy with "
        f"its own persistence: {correlation}); that other definitions agree ({others}); that other "
        f"models, {weights}or other kinds of prompts would give the same; or {need}."
    )


def _in_short(profile: LayerProfile) -> str:
    if not profile.complete:
        return "no answer"
    return "inverted U" if profile.inverted_u else "no inverted U"


def _term(profile: LayerProfile, named: bool = True) -> str:
    ends = profile.quadratic_interval
    decimals = max(3, digits(profile.quadratic, *ends))
    term = f"{number(profile.quadratic, decimals, signed=True)} {interval(ends, decimals)}"
    return f"quadratic term {term}" if named else term


def _analysis(results: Results) -> Facts:
    return results.facts("analysis")[TRAINED]
