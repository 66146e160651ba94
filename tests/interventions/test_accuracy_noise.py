"""Accuracy with noise in subsets of nodes: against the same asked by hand, and its choices."""

from dataclasses import replace

import numpy as np
import pytest

from support.letter_models import make_letters, make_model, make_scholar
from synkern.interventions import NoiseAccuracy, Scoring, noise_accuracy, perturb
from synkern.interventions.accuracy.noised import Sweep
from synkern.interventions.accuracy.problems import Problems
from synkern.models import nodes_of
from synkern.models.nodes import find_sites
from synkern.tasks import Task, exact_match, generate, likelihood_score

TASKS = generate(24, seed=1, levels=[1, 2], distinct=True)
SCORES = np.array([0.3, -0.2, 0.9, 0.1, -0.7, 0.8, 0.2, 0.0])
FEW = {"share": 0.25, "draws": 2, "noise_seeds": 2}


@pytest.fixture(scope="module")
def letters():
    return make_letters()


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def scholar():
    """A model that has three of four tasks right."""
    scholar = make_scholar()
    scholar.tasks = [task for task in scholar.tasks if task.distractors]
    return scholar


def by_hand(model, tokenizer, tasks, places, alpha, seed):
    nodes = nodes_of(find_sites(model))
    with perturb(model, [nodes[place] for place in places], alpha=alpha, seed=seed):
        return likelihood_score(model, tokenizer, tasks).right.tolist()


@pytest.mark.filterwarnings("ignore:the intact model has")
def test_every_cell_is_what_the_model_has_right_with_that_noise(model, letters):
    found = noise_accuracy(model, letters, TASKS, {"mine": SCORES}, alpha=1.5, **FEW)
    assert found.intact.tolist() == likelihood_score(model, letters, TASKS).right.tolist()
    assert found.sweep is None
    assert found.ranking == "mine"
    assert [(name, each.shape) for name, each in found.right.items()] == [
        ("synergy", (1, 2, 24)),
        ("redundancy", (1, 2, 24)),
        ("random", (2, 2, 24)),
        ("layer_matched", (2, 2, 24)),
    ]
    assert found.subsets["synergy"].tolist() == [[2, 5]]
    assert found.subsets["redundancy"].tolist() == [[1, 4]]
    for name, each in found.right.items():
        for draw, places in enumerate(found.subsets[name]):
            for seed in range(2):
                expected = by_hand(model, letters, TASKS, places, 1.5, seed)
                assert each[draw, seed].tolist() == expected
    assert len({each.tobytes() for each in found.right.values()}) > 1


@pytest.mark.filterwarnings("ignore:the intact model has")
def test_weights_are_as_before(model, letters):
    before = {name: each.clone() for name, each in model.state_dict().items()}
    noise_accuracy(model, letters, TASKS, SCORES, alpha=1.0, **FEW)
    assert all((before[name] == each).all() for name, each in model.state_dict().items())


def test_strength_is_chosen_on_random_subsets_that_are_not_compared(scholar):
    # Eight times each: of four, three could be chance.
    found = noise_accuracy(scholar.model, scholar.tokenizer, scholar.tasks * 8, SCORES, **FEW)
    sweep = found.sweep
    # Floors of 1/3 and three times 1/2; the intact model has 3 of 4 right.
    assert found.floor == pytest.approx((1 / 3 + 3 / 2) / 4)
    assert found.accuracy("intact") == 3 / 4
    assert sweep.target == pytest.approx((3 / 4 + found.floor) / 2)
    assert found.alpha == sweep.alphas[np.abs(sweep.accuracies - sweep.target).argmin()]
    # Nothing stronger was tried than what first took accuracy below the target.
    assert (sweep.accuracies[:-1] >= sweep.target).all()
    assert len(sweep.alphas) == 9 or sweep.accuracies[-1] < sweep.target


def test_a_model_at_the_floor_is_told(model, letters):
    with pytest.warns(UserWarning, match="a model at the floor cannot fall"):
        found = noise_accuracy(model, letters, TASKS, SCORES, alpha=1.0, **FEW)
    assert found.where == "floor"
    assert "this shows nothing" in found.finding


@pytest.mark.filterwarnings("ignore:the intact model has")
def test_it_goes_on_where_it_was_ended(model, letters, tmp_path, monkeypatch):
    whole = noise_accuracy(model, letters, TASKS, SCORES, alphas=(1.0, 4.0), **FEW)
    asked = []

    def counted(*arguments):
        asked.append(1)
        return likelihood_score(*arguments)

    monkeypatch.setattr("synkern.tasks.likelihood_score", counted)
    file = tmp_path / "cells"

    def ended(done, of):
        if done == 5:
            raise KeyboardInterrupt

    options = {"alphas": (1.0, 4.0), "file": file, **FEW}
    with pytest.raises(KeyboardInterrupt):
        noise_accuracy(model, letters, TASKS, SCORES, progress=ended, **options)
    assert len(asked) == 5
    asked.clear()
    told = []
    again = noise_accuracy(
        model, letters, TASKS, SCORES, progress=lambda *each: told.append(each), **options
    )
    cells = 1 + whole.sweep.right.shape[0] * 2 + 12
    assert len(asked) == cells - 5
    # What the file has is no work of this call.
    assert told[0][0] == 5
    assert told[-1] == (cells, cells)
    told.clear()
    noise_accuracy(
        model, letters, TASKS, SCORES, progress=lambda *each: told.append(each), **options
    )
    assert len(asked) == cells - 5
    assert {done for done, _ in told} == {cells}
    assert told[-1] == (cells, cells)
    assert repr(again) == repr(whole)
    for name, each in whole.right.items():
        assert again.right[name].tolist() == each.tolist()
    with pytest.raises(ValueError, match="another call .*scores"):
        noise_accuracy(model, letters, TASKS, -SCORES, **options)
    with pytest.raises(ValueError, match="another call .*weights"):
        noise_accuracy(make_model(seed=1), letters, TASKS, SCORES, **options)


@pytest.mark.filterwarnings("ignore:the intact model has")
def test_texts_that_are_cut_short_are_wrong_and_counted(scholar):
    way = Scoring("exact_match", max_new_tokens=2)
    found = noise_accuracy(
        scholar.model, scholar.tokenizer, scholar.tasks, SCORES, alpha=0.25, scoring=way, **FEW
    )
    alone = exact_match(scholar.model, scholar.tokenizer, scholar.tasks, max_new_tokens=2)
    assert found.floor == 0
    assert found.truncated["intact"].tolist() == alone.truncated.tolist()
    assert alone.truncated.any()
    assert found.truncated["random"].shape == (2, 2, 4)
    for name, each in found.right.items():
        assert not (each & found.truncated[name]).any()
    assert found.table()[0]["truncated"] == alone.truncated.sum()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"share": 0.6}, "share must be above 0"),
        ({"draws": 0}, "draws must be a whole number"),
        ({"noise_seeds": 1.5}, "noise_seeds must be a whole number"),
        ({"alphas": ()}, "alphas: there are none"),
        ({"alphas": (0.5, -1)}, "are no strengths"),
        ({"scoring": "guess"}, "method must be one of"),
        ({"scores": SCORES[:7]}, r"scores: shape \(7,\) .* for 8 nodes, L0H0 to L1H3"),
        ({"scores": SCORES * np.nan}, "of 0 nodes leaves no two subsets apart"),
        ({"scores": {"a": SCORES, "b": -SCORES}}, "by a and b; give those of one ranking"),
        ({"tasks": []}, "tasks: there are none"),
    ],
)
def test_what_cannot_be_used_is_refused(model, letters, options, match):
    given = {"tasks": TASKS, "scores": SCORES} | options
    with pytest.raises(ValueError, match=match):
        noise_accuracy(model, letters, given.pop("tasks"), given.pop("scores"), **given)


@pytest.mark.parametrize("method", ["likelihood", "likelihood_per_token", "exact_match"])
def test_answers_are_judged_as_tasks_judges_them(scholar, method):
    given = scholar.model, scholar.tokenizer, scholar.tasks
    by_hand = exact_match(*given) if method == "exact_match" else likelihood_score(*given)
    expected = by_hand.per_token() if method == "likelihood_per_token" else by_hand
    assert Scoring(method)(*given).right.tolist() == expected.right.tolist()


# Results made by hand: 400 tasks on two levels, of which the intact model has 300 right.
LEVELS = np.repeat([1, 2], 200)


def right_of(count, like):
    """The first `count` right, in every run of an array of some shape."""
    return np.broadcast_to(np.arange(400) < count, (*like, 400)).copy()


def result(counts, intact=300, sweep=None):
    shapes = {"synergy": (1, 3), "redundancy": (1, 3), "random": (5, 3), "layer_matched": (5, 3)}
    return NoiseAccuracy(
        problems=Problems(LEVELS, np.repeat("sums", 400), np.full(400, 0.25)),
        method="likelihood",
        ranking="mean_difference",
        nodes=tuple(f"L0H{k}" for k in range(8)),
        subsets={name: np.array([[0, 1]] * draws) for name, (draws, _) in shapes.items()},
        alpha=1.0,
        scale="slice",
        sweep=sweep,
        intact=np.arange(400) < intact,
        right={name: right_of(counts[name], shape) for name, shape in shapes.items()},
        truncated={},
    )


def test_differences_and_tests_by_hand():
    found = result({"synergy": 160, "redundancy": 280, "random": 240, "layer_matched": 200})
    assert found.accuracy("random") == 0.6
    assert found.spread("random") < 1e-15  # of fifteen equal means
    assert found.against_intact["random"].mean == pytest.approx(-0.15)
    assert found.of_synergy["random"].mean == pytest.approx(-0.2)
    assert found.of_synergy["random"].high < 0
    test = found.tests["random"]
    assert (test.lost, test.gained) == (60, 0)
    assert test.p == 2 / 2**60
    assert found.draw_p == {"random": 1 / 6, "layer_matched": 1 / 6}
    assert found.where == "between"
    row = found.table()[1]
    assert (row["condition"], row["overlap"], row["mcnemar"]["lost"]) == ("synergy", 1.0, 140)
    by_level = found.by("level")
    assert [each.accuracy("intact") for each in by_level.values()] == [1.0, 0.5]
    assert [each.accuracy("synergy") for each in by_level.values()] == [0.8, 0.0]
    assert [len(each.problems) for each in found.by("category").values()] == [400]
    assert "level 2" in repr(found)
    alone = replace(found, right={name: each[:1, :1] for name, each in found.right.items()})
    assert [row.get("spread") for row in alone.table()] == [None] * 5
    assert "nan" not in repr(alone)
    with pytest.raises(ValueError, match="what must be one of"):
        found.by("colour")


@pytest.mark.parametrize(
    ("synergy", "verdict"),
    [
        (160, "So would a synergistic core"),
        (200, "no clearer than what any nodes of the same layers would give"),
        (240, "does not support"),
        (290, "does not support"),
    ],
)
def test_the_finding_follows_from_the_intervals(synergy, verdict):
    counts = {"redundancy": 280, "random": 240, "layer_matched": 200}
    assert verdict in result({"synergy": synergy, **counts}).finding


def test_the_floor_and_the_ceiling_are_told():
    counts = dict.fromkeys(("synergy", "redundancy", "random", "layer_matched"), 100)
    floor = result(counts, intact=110)
    assert floor.where == "floor"
    assert floor.finding.endswith("this shows nothing.")
    ceiling = result(counts, intact=400)
    assert ceiling.where == "ceiling"
    assert "everything right" in ceiling.finding


def test_a_sweep_that_does_not_reach_halfway_is_told():
    def sweep(*counts):
        right = np.stack([right_of(count, (2,)) for count in counts])
        return Sweep(np.array([0.5, 1.0]), right, 0.5)

    assert sweep(300, 160).remark == ""
    assert sweep(300, 160).chosen == 1.0
    assert sweep(240, 160).chosen == 0.5  # as near, and weaker
    assert "try stronger noise" in sweep(300, 290).remark
    assert "try weaker noise" in sweep(150, 120).remark
    counts = dict.fromkeys(("synergy", "redundancy", "random", "layer_matched"), 250)
    assert "Try" not in result(counts, sweep=sweep(300, 160)).finding
    assert "try stronger noise." in result(counts, sweep=sweep(300, 290)).finding


def test_the_figure_shows_subsets_levels_and_sweep():
    counts = {"synergy": 160, "redundancy": 280, "random": 240, "layer_matched": 200}
    figure = result(counts).plot()
    bars, levels = figure.axes
    heights = [bar.get_height() for bar in bars.patches]
    assert heights == pytest.approx([40, 70, 60, 50])
    lines = {line.get_label(): line.get_ydata() for line in levels.lines}
    assert lines["synergy"].tolist() == pytest.approx([80, 0])
    assert lines["floor"].tolist() == pytest.approx([25, 25])
    right = np.stack([right_of(count, (2,)) for count in (300, 160)])
    with_sweep = result(counts, sweep=Sweep(np.array([0.5, 1.0]), right, 0.5)).plot()
    assert len(with_sweep.axes) == 3


def test_tasks_without_level_are_one_level():
    problems = Problems.of([Task("1+1=", "2", ("3",)), Task("2+2=", "4", ("5", "6"))], Scoring())
    assert problems.places("level") == {0: pytest.approx([0, 1])}
    assert problems.floors.tolist() == [1 / 2, 1 / 3]
    assert problems.floor == pytest.approx(5 / 12)
