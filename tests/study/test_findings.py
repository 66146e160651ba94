"""The three sentences of a report: that they say what the numbers say, whatever that is."""

import dataclasses

import numpy as np
import pytest

from support.tiny_study import HEADS
from synkern.analysis.profile import LayerProfile
from synkern.study.report import findings_of
from synkern.study.stage import Results
from synkern.study.stages import STAGES

UP, FLAT = (0.1, 0.3), (-0.1, 0.1)
DOWN = (-0.3, -0.1)


def profile(ends=FLAT, inverted_u=False, missing=0.0):
    """A profile of which only the verdict matters."""
    nothing = {field.name: np.nan for field in dataclasses.fields(LayerProfile)}
    return LayerProfile(
        **nothing
        | {
            "quadratic": sum(ends) / 2,
            "quadratic_interval": ends,
            "rise_interval": (0.1, 0.2) if inverted_u else (-0.1, 0.2),
            "fall_interval": (-0.2, -0.1),
            "shuffled_p": 0.01,
            "confidence": 0.95,
            "missing_share": missing,
        }
    )


def said(trained, control=None, excess=None, unrelated=None, trials=60, absent=None, **parameters):
    """The sentences of a study whose other two rankings show an inverted U and nothing."""
    others = {"rank_difference": profile(DOWN, True), "balance": profile(DOWN)}
    profiles = {"trained": {"mean_difference": trained} | others}
    if excess is not None:
        profiles["trained"] |= {"excess_synergy": excess, "unrelated_excess": unrelated}
    if control is not None:
        profiles["random"] = {"mean_difference": control} | others
    analysis = {
        **{
            "routing": None,
            "trials": trials,
            "nodes": 270,
            "pairs": 36315,
            "excess": {"absent": absent},
        },
        "correlations": {"synergy, autocorrelation": parameters.pop("follows", 0.987)},
    }
    chosen = {"model": "models/m<1>", "new_tokens": 100, "tau": 1, "kind": "gaussian"}
    chosen |= {"redundancy": "MMI", "average": "trials", "detrend": "none", "null": "none"}
    chosen |= {"control": control is not None} | parameters
    description = {
        "parameters": chosen,
        "nodes": dataclasses.asdict(HEADS),
        "stages": {
            "analysis (trained)": analysis,
        },
    }
    if chosen["null"] != "none":
        tested = {"atoms": {"sts": {"share_q": 0.123}}}
        description["stages"]["null (trained)"] = tested
    sentences = findings_of(Results(description, {}, profiles), STAGES)
    assert len(sentences) == 3
    assert all(sentence.endswith(".") for sentence in sentences)
    return sentences


def test_the_first_names_model_estimator_nodes_and_ranking():
    sentence = said(profile())[0]
    for part in (
        *("m<1> answered 60 prompts with 100 tokens", "36,315 pairs of its 270 attention heads"),
        *("Gaussian estimator, MMI redundancy, lag 1 token)", "mean difference (sts − rtr), the "),
        "ranking of the published figures",
    ):
        assert part in sentence
    options = {"kind": "discrete", "redundancy": "CCS", "tau": 3, "detrend": "linear"}
    assert (
        "discrete estimator, CCS redundancy, lag 3 tokens, all prompts pooled, each series less a "
        "straight line over time)"
    ) in said(profile(), average="moments", **options)[0]


@pytest.mark.parametrize(
    ("trained", "verdict"),
    [
        (
            profile(DOWN, True),
            "Found: the trained model's profile over depth is an inverted U (qua",
        ),
        (profile(DOWN), "bends down (quadratic term −0.200 [−0.300, −0.100]), but not so"),
        (profile(UP), "bends up, with no peak inside (quadratic term +0.200"),
        (profile(FLAT), "has no sure bend"),
        (profile(DOWN, True, 0.3), "the trained model gives no answer, as 30 % of its values"),
    ],
)
def test_the_second_begins_with_the_verdict_on_the_trained_model(trained, verdict):
    assert verdict in said(trained)[1]


@pytest.mark.parametrize(
    ("control", "verdict"),
    [
        (None, "there was no control, so this may be owed to the architecture"),
        (
            profile(DOWN, True),
            "random weights show an inverted U as well, so that it is no sign of",
        ),
        (profile(DOWN), "random weights bend down, too, without being an inverted U"),
        (profile(UP), "random weights show no inverted U (quadratic term +0.200"),
        (profile(DOWN, True, 0.58), "random weights give no answer, as 58 % of their values"),
    ],
)
def test_then_comes_the_control(control, verdict):
    sentences = said(profile(DOWN, True), control)
    assert verdict in sentences[1]
    assert ("other random weights" in sentences[2]) == (control is not None)


def test_a_control_alone_is_no_sign_of_training_either_way():
    assert "random weights show an inverted U (q" in said(profile(), profile(DOWN, True))[1]
    assert "random weights show no inverted U either" in said(profile(), profile(UP))[1]


@pytest.mark.parametrize(
    ("excess", "unrelated", "verdict"),
    [
        (profile(DOWN), profile(FLAT), "synergy bends no more than that of unrelated heads"),
        (profile(DOWN), profile(UP), "synergy still bends down more than that of unrelated heads"),
        (profile(UP), profile(DOWN), "the middle layers have less synergy than unrelated heads"),
        (profile(UP, missing=0.6), profile(), "there is no answer, as 60 % of the values are miss"),
        (
            profile(UP),
            profile(missing=0.07),
            "there is no answer, as 7 % of the values are missing",
        ),
    ],
)
def test_then_what_is_left_beyond_persistence(excess, unrelated, verdict):
    assert verdict in said(profile(), None, excess, unrelated)[1]


def test_what_could_not_be_asked_is_said():
    sentences = said(profile(), absent="the reference exists for Gaussian MMI only")
    assert "persistence of single heads explains could not be asked here" in sentences[1]


def test_few_prompts_a_null_and_other_definitions_are_said():
    sentences = said(profile(), trials=4, null="cross_trial", follows=None)
    assert sentences[1].startswith("From only 4 prompts, too few to be sure of anything: ")
    assert "12 % of the pairs differ in synergy from null cross_trial" in sentences[1]
    assert "(rank difference: inverted U, balance: no inverted U)" in sentences[2]
    assert "with its own persistence: undefined)" in sentences[2]
    assert "with its own persistence: 0.99)" in said(profile())[2]
    assert said(profile(), trials=10)[1].startswith("Found: ")
