"""What is made of the runs of a tuning experiment: numbers, sentences, lines, figures, the page."""

import json
import re
from typing import ClassVar

import jinja2
import numpy as np
import pytest

from support import tiny_study, tuned_runs
from synkern.study.experiments.carrying import carried_out
from synkern.study.experiments.experiment import Experiment
from synkern.study.experiments.tuning import figures, results
from synkern.study.experiments.tuning.arrays import cautions
from synkern.study.experiments.tuning.experiment import Tuning
from synkern.study.experiments.tuning.options import TuningOptions
from synkern.study.numerals import number, p_value, percent, plain
from synkern.study.published import published
from synkern.training import Condition


def small(**changes):
    """Two conditions with two runs, four tasks, three nodes: to be counted by hand."""
    arrays = {
        "condition": np.array(["synergy", "synergy", "all", "all"]),
        "seed": np.array([0, 1, 0, 1]),
        "draw": np.full(4, -1),
        "trained": np.array([10, 10, 30, 30]),
        "trains": np.array([[1, 0, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1]], bool),
        "steps": np.array([0, 5, 10]),
        "validation": np.array(
            [[0.2, 0.4, 0.3], [0.2, 0.1, 0.1], [0.2, 0.6, 0.7], [0.2, 0.7, 0.9]]
        ),
        "selected": np.array([1, 0, 2, 2]),
        "level": np.array([1, 1, 2, -1]),
        "category": np.array(["", "", "", ""]),
        "before": np.array([1, 0, 0, 0], bool),
        "selected_right": np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]], bool),
        "last_right": np.array([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]], bool),
        "logged_steps": np.array([5, 10]),
        "reward": np.arange(8.0).reshape(4, 2),
        "groups": np.array([10, 10, 0, 10]),
        "silent": np.array([5, 7, 0, 0]),
        "base_scores": np.array([1.0, 2.0, 3.0]),
        "forced_scores": np.array([[3, 2, 5], [1, 2, 3], [3, 2, 1], [np.nan] * 3], float),
    }
    return results.Tuned(arrays | changes, "grpo", "mean_difference")


def test_numbers_of_conditions_are_those_counted_by_hand():
    facts = results.facts_of(small())
    synergy, everything = facts["conditions"]
    assert (synergy["condition"], synergy["runs"], synergy["trained"]) == ("synergy", 2, [10])
    assert synergy["selected_steps"] == [5, 0]
    assert synergy["validation"] == 30
    assert (facts["before"], facts["validation_before"], facts["last_step"]) == (25, 20, 10)
    assert (synergy["selected"]["mean"], synergy["selected"]["gain"]) == (37.5, 12.5)
    assert (synergy["last"]["mean"], synergy["last"]["gain"]) == (25, 0)
    assert (everything["selected"]["gain"], everything["selected"]["sd"]) == (50, 0)
    assert everything["selected"]["note"] == "all 2 runs are equal: no interval"
    # Of the runs that had groups at all.
    assert (synergy["silent"], everything["silent"]) == (0.6, 0)
    # 9 of 16 answers of all runs are right.
    assert facts["standard_error"] == round(100 * (9 / 16 * 7 / 16 / 4) ** 0.5, 6)


def test_the_core_is_compared_with_the_base_run_by_run():
    tuned = small()
    # (3, 2, 5) against (1, 2, 3): ranks 2 1 3 and 1 2 3, 1 - 6 (1 + 1) / (3 * 8) = 1/2.
    np.testing.assert_allclose(tuned.correlations("forced"), [0.5, 1, -1, np.nan], 1e-6)
    np.testing.assert_array_equal(tuned.changes("forced", True), [2, 0, 0, np.nan])
    np.testing.assert_array_equal(tuned.changes("forced", False), [1, 0, np.nan, np.nan])
    facts = results.facts_of(tuned)
    assert facts["texts"] == ["forced"]
    synergy, everything = (row["moved"]["forced"] for row in facts["conditions"])
    assert synergy == {
        "runs": 2,
        "correlation": 0.75,
        "least": 0.5,
        "most": 1,
        "trained": 1,
        "untrained": 0.5,
    }
    assert (everything["runs"], everything["correlation"], everything["untrained"]) == (1, -1, None)
    assert (
        "on the text of the first study, correlate by rank by synergy 0.750, all −1.000"
        in (facts["finding"])
    )


def test_runs_that_were_not_repeated_are_undefined_and_none_is_no_core():
    nothing = np.full((4, 3), np.nan)
    facts = results.facts_of(small(forced_scores=nothing))
    assert facts["conditions"][0]["moved"]["forced"]["correlation"] is None
    assert "correlate by rank by synergy undefined, all undefined" in facts["finding"]
    arrays = dict(small().arrays)
    del arrays["forced_scores"]
    facts = results.facts_of(results.Tuned(arrays, "grpo", "mean_difference"))
    assert facts["texts"] == []
    assert facts["conditions"][0]["moved"] == {}
    assert "correlate" not in facts["finding"]


def test_levels_are_of_selected_weights_and_unknown_ones_are_named():
    facts = results.facts_of(small())
    assert facts["levels"] == {
        "(none)": {"tasks": 1, "before": 0, "accuracies": {"synergy": 0, "all": 50}},
        "1": {"tasks": 2, "before": 50, "accuracies": {"synergy": 75, "all": 100}},
        "2": {"tasks": 1, "before": 0, "accuracies": {"synergy": 0, "all": 50}},
    }
    assert [*facts["categories"]] == ["(none)"]


def of_two(selected, last):
    """Five runs each of synergy and random: so many of 20 tasks right."""
    runs = [np.arange(20) < right for right in (*selected, *last)]
    arrays = tuned_runs.arrays(conditions=("synergy", "random"), again=False)
    arrays |= {"level": np.ones(20, int), "category": np.full(20, ""), "before": runs[0] & False}
    arrays |= {"selected_right": np.array(runs[:10]), "last_right": np.array(runs[10:])}
    return results.Tuned(arrays, "sft", "mean_difference")


HIGH, LOW, SAME = [10, 11, 12, 13, 14], [1, 2, 3, 4, 5], [6, 7, 8, 9, 10]


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ([*HIGH, *LOW], "the same"),
        ([*LOW, *HIGH], "random above synergy"),
        ([*SAME, *SAME], "nothing"),
    ],
)
def test_what_holds_after_the_last_step_is_said_with_its_direction(last, said):
    finding = results.finding(of_two([*HIGH, *LOW], last))
    assert "it holds that synergy ends 45.00 points above random (p 0.008)" in finding
    assert finding.endswith(
        f"With weights after the last step, what holds after correction is: {said}."
    )


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_facts_are_what_study_json_can_hold_and_lines_show_them(method):
    tuned = results.tuned_of(tuned_runs.arrays(method), tuned_runs.facts(method))
    facts = tuned_runs.facts(method) | results.facts_of(tuned)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["comparisons"]["selected"] == plain(tuned.gains["selected"].compared())
    lines = results.lines_of(facts)
    assert ("silent" in lines[1]) == (method == "grpo")
    table = {line.split()[0]: line.split() for line in lines[2:8]}
    assert [*table] == ["before", *map(results.called, tuned_runs.SHARES)]
    for row in facts["conditions"]:
        cells = table[row["condition"].replace("_", "-")]
        assert cells[1:4] == [
            "5",
            f"{row['selected']['mean']:.2f}",
            f"+{row['selected']['gain']:.2f}",
        ]
        assert cells[6] == f"{row['last']['mean']:.2f}"
        assert f"{row['moved']['forced']['correlation']:.3f}" in cells
    assert lines[-1].startswith("synergy − all: ")
    assert lines[-1].endswith("; not as many numbers train: no test")
    assert ", p 0.008, after Holm 0.032" in lines[9]


def test_one_seed_is_shown_without_what_needs_several():
    tuned = results.tuned_of(tuned_runs.arrays(seeds=1), tuned_runs.facts())
    facts = tuned_runs.facts() | results.facts_of(tuned)
    assert [row["selected"]["gain_interval"] for row in facts["conditions"]] == [None] * 5
    assert results.lines_of(facts)[-1].endswith("synergy: 1 run, all: 1 run, nothing to compare")
    assert "Not compared: synergy and redundancy (synergy: 1 run" in facts["finding"]
    assert "after the last step holds" not in facts["finding"]
    assert len(list(figures.figures_of(tuned, "one seed", "tuning_sft"))) == 4


def drawn(tuned, prefix="tuning_grpo"):
    return {each.topic: each for each in figures.figures_of(tuned, "a title", prefix)}


def test_figures_are_those_that_there_is_something_for():
    found = drawn(results.tuned_of(tuned_runs.arrays("grpo"), tuned_runs.facts("grpo")))
    assert {topic: each.file for topic, each in found.items()} == {
        "learning": "tuning_grpo.png",
        "gains": "tuning_grpo_gains.png",
        "levels": "tuning_grpo_levels.png",
        "core": "tuning_grpo_core.png",
    }
    files = [f"{name}.png" for name in results.pictures_of("tuning_grpo")]
    assert files == [each.file for each in found.values()]
    arrays = tuned_runs.arrays(again=False) | {"level": np.full(tuned_runs.TASKS, -1)}
    assert [*drawn(results.tuned_of(arrays, tuned_runs.facts()))] == ["learning", "gains"]


def test_figures_show_the_runs_and_their_means():
    tuned = results.tuned_of(tuned_runs.arrays("grpo"), tuned_runs.facts("grpo"))
    found = drawn(tuned)
    validation, silent, logged = found["learning"].figure.axes
    lines = {line.get_label(): line for line in validation.get_lines()}
    mean = 100 * tuned.arrays["validation"][tuned.runs["layer_matched"]].mean(0)
    np.testing.assert_allclose(lines["layer-matched"].get_ydata(), mean, 1e-12)
    assert logged.get_ylabel() == "mean reward"
    np.testing.assert_allclose(
        silent.get_lines()[0].get_ydata(), 100 * tuned.silent[tuned.runs["synergy"]], 1e-12
    )
    selected, last = found["gains"].figure.axes
    before = tuned.arrays["before"].mean()
    for axes, weights in ((selected, "selected"), (last, "last")):
        points = 100 * (tuned.accuracies(weights)["synergy"] - before)
        shown = [line.get_ydata() for line in axes.get_lines() if line.get_marker() == "o"]
        np.testing.assert_allclose(shown, [points], 1e-12)


class StandIn(Experiment):
    """An experiment that has left made-up runs."""

    options = TuningOptions
    command = "tune"
    done = "tuned"
    pictures: ClassVar = ()
    words = Tuning.words

    def __init__(self, method, **made):
        self.method, self.made = method, made
        self.name = f"tuning_{method}"
        self.title = f"What does training gain ({method})?"

    def plan(self, study, options):
        return "make runs up"

    def run(self, study, options, partial):
        arrays, facts = tuned_runs.arrays(self.method, **self.made), tuned_runs.facts(self.method)
        facts |= results.facts_of(results.tuned_of(arrays, facts))
        return arrays, facts | {"seconds": {"training": 1.0}}

    def summary(self, results_of):
        return results.lines_of(self.told(results_of))

    def figures(self, results_of):
        tuned = results.tuned_of(results_of.of(self.name), self.told(results_of))
        yield from figures.figures_of(tuned, results_of.name, self.name)


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_page_of_a_study_with_both_methods(copy, monkeypatch):
    both = (StandIn("sft"), StandIn("grpo"))
    monkeypatch.setattr("synkern.study.experiments.EXPERIMENTS", both)
    for experiment in both:
        outcome = carried_out(experiment, TuningOptions(out=copy, progress=False))
    page = outcome.report.read_text("utf-8")
    supervised, reinforced = page.split("<h2>What does training gain (")[1:]
    for method, section in (("sft", supervised), ("grpo", reinforced)):
        for picture in ("", "_gains", "_levels", "_core"):
            assert section.count(f'alt="tuning_{method}{picture}.png"') == 1
        text = text_of(section)
        assert "synergy − layer-matched" in text
        assert ("Groups of answers whose rewards are all equal" in text) == (method == "grpo")
        assert published("tuning")["unclear"][0] in text
        assert f"learning rate at most {'2e-05' if method == 'sft' else '1e-06'}, after" in text
        assert ("earns 0.1, and if it is right, as judged by" in text) == (method == "grpo")
    # The published table of this method, and not that of the other.
    assert "54.59, 54.65, 54.70, 54.81, 54.97 54.74" in text_of(reinforced)
    assert "54.59" not in supervised
    assert "synergy − redundancy −0.45 [−0.93, +0.03] 0.095 0.286 −1.24 +" in text_of(supervised)
    assert "synergy − redundancy +0.67 [+0.49, +0.85] 0.008 0.024 +5.05 +" in text_of(reinforced)
    facts = outcome.facts
    for row in facts["conditions"]:
        assert f"{row['selected']['mean']:.2f}" in reinforced
    assert facts["finding"] in json.loads((copy / "study.json").read_text("utf-8"))["summary"]


def section_of(**made):
    """What is said of made-up runs around the figures, without the page."""
    facts = tuned_runs.facts() | {"options": vars(TuningOptions(out=""))}
    facts |= results.facts_of(results.tuned_of(tuned_runs.arrays(**made), facts))
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("synkern.study.report"), undefined=jinja2.StrictUndefined
    )
    words = {"experiments": {"tuning_sft": facts}, "nodes": tiny_study.HEADS}
    words |= {"number": number, "p_value": p_value, "percent": percent}
    section = templates.get_template("tuning_sft.html.jinja").make_module(words | StandIn.words)
    return text_of(section.before() + section.after())


def test_the_page_says_what_one_run_and_few_runs_cannot_do():
    few = section_of(seeds=2, again=False, conditions=("synergy", "random"))
    assert "With so few runs no comparison can hold" in few
    assert "the study again" not in few
    one = section_of(seeds=1)
    assert "synergy: 1 run, redundancy: 1 run, nothing to compare" in one
    assert "random, selected: 1 run: no interval." in one
    assert "With so few runs no comparison can hold" not in section_of(seeds=5)


def test_comparisons_that_do_not_say_what_they_seem_to_are_told():
    def runs(**nodes):
        return [(Condition(n, 0, "mean_difference", each), 0) for n, each in nodes.items()]

    every = runs(synergy=("L0H0",), layer_matched=("L0H1",), all=("L0H0", "L0H1"))
    assert cautions(every, [10, 10, 40], "heads") == []
    (said,) = cautions(every, [10, 1200, 4000], "heads")
    assert "from 10 to 1,200 numbers, as heads of this model differ in size" in said
    assert cautions(runs(random=("L0H0",)), [10], "heads") == []
    same = runs(synergy=("L0M",), layer_matched=("L0M",))
    (said,) = cautions(same, [10, 10], "MLP blocks")
    assert "synergy and layer-matched train the same MLP blocks" in said
