"""Accuracy while nodes are taken out: against the same asked by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from support.letter_models import make_letters, make_model
from synkern.interventions import (
    AccuracyCurve,
    ablate,
    accuracy_curve,
    noise_accuracy,
)
from synkern.interventions.accuracy import judging
from synkern.interventions.accuracy.problems import Problems
from synkern.recording import Responses
from synkern.tasks import generate, likelihood_score

TASKS = generate(24, seed=1, levels=[1, 2], distinct=True)
SCORES = np.array([0.3, -0.2, 0.9, 0.1, -0.7, 0.8, 0.2, 0.0])


@pytest.fixture(scope="module")
def letters():
    return make_letters()


@pytest.fixture(scope="module")
def model():
    return make_model()


def test_every_point_is_what_the_model_has_right_without_these_nodes(model, letters):
    curve = accuracy_curve(model, letters, TASKS, SCORES, step=3, to=1, draws=2)
    assert curve.counts.tolist() == [0, 3, 6, 8]
    assert curve.fractions.tolist() == [0, 3 / 8, 6 / 8, 1]
    assert curve.orders["synergy"].tolist() == [[2, 5, 0, 6, 3, 7, 1, 4]]
    assert curve.right["random"].shape == (2, 4, 24)
    for name, each in curve.right.items():
        for draw, order in enumerate(curve.orders[name]):
            for point, count in enumerate(curve.counts):
                with ablate(model, order[:count].tolist()):
                    expected = likelihood_score(model, letters, TASKS).right
                assert each[draw, point].tolist() == expected.tolist()
    # Where all have gone, it is the same in every order.
    assert len({each[:, -1].tobytes() for each in curve.right.values() if len(each) == 1}) == 1
    assert len({each.tobytes() for each in curve.right.values()}) == 4


def test_means_of_texts_come_in_the_place_of_nodes(model, letters, tmp_path):
    responses = Responses([[1, 20, 30], [1, 40]], [[50, 60, 70], [80, 20, 33, 41]])
    # What holds texts, as a recording does, is as good as they are.
    options = {"kind": "mean", "texts": SimpleNamespace(responses=responses)}
    short = {"step": 4, "to": 0.5, "orders": "synergy"}
    curve = accuracy_curve(
        model, letters, TASKS, SCORES, file=tmp_path / "points", **short, **options
    )
    assert [*curve.right] == ["synergy"]
    with ablate(model, curve.orders["synergy"][0, :4].tolist(), **options):
        expected = likelihood_score(model, letters, TASKS).right
    assert curve.right["synergy"][0, 1].tolist() == expected.tolist()
    zeroed = accuracy_curve(model, letters, TASKS, SCORES, **short)
    assert zeroed.right["synergy"][0, 1].tolist() != expected.tolist()


def test_nodes_without_a_score_stay(model, letters):
    scores = SCORES.copy()
    scores[[2, 4]] = np.nan
    curve = accuracy_curve(model, letters, TASKS, scores, to=1, step=6, draws=1)
    assert curve.counts.tolist() == [0, 6]
    assert curve.fractions.tolist() == [0, 1]
    assert not np.isin([2, 4], curve.orders["random"]).any()


def test_it_goes_on_where_it_was_ended(model, letters, tmp_path, monkeypatch):
    options = {"step": 1, "to": 0.5, "draws": 1}
    whole = accuracy_curve(model, letters, TASKS, SCORES, **options)
    asked, told = [], []

    def counted(*arguments):
        asked.append(1)
        return likelihood_score(*arguments)

    def ended(done, of):
        if done == 9:
            raise KeyboardInterrupt

    monkeypatch.setattr("synkern.tasks.likelihood_score", counted)
    file = tmp_path / "points"
    with pytest.raises(KeyboardInterrupt):
        accuracy_curve(model, letters, TASKS, SCORES, file=file, progress=ended, **options)
    assert len(asked) == 9
    again = accuracy_curve(
        model,
        letters,
        TASKS,
        SCORES,
        file=file,
        progress=lambda *each: told.append(each),
        **options,
    )
    # Nothing taken out, and four points of each of four orders, but for sets that are the same.
    sets = len(asked)
    assert 13 <= sets <= 17
    # What the file has is no work of this call.
    assert told == [(done, sets) for done in range(9, sets + 1)]
    for name, each in whole.right.items():
        assert again.right[name].tolist() == each.tolist()
    with pytest.raises(ValueError, match="another call .*order synergy, draw 0"):
        accuracy_curve(model, letters, TASKS, -SCORES, file=file, **options)


def test_weights_are_read_for_a_file_alone(model, letters, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(judging, "weights_of", lambda inside: read.append(inside) or [])
    options = {"step": 4, "to": 0.5, "orders": "synergy"}
    accuracy_curve(model, letters, TASKS, SCORES, **options)
    noise = {"draws": 1, "noise_seeds": 1, "alpha": 1.0}
    with pytest.warns(UserWarning, match="floor"):
        noise_accuracy(model, letters, TASKS, SCORES, **noise)
    assert not read
    accuracy_curve(model, letters, TASKS, SCORES, file=tmp_path / "curve", **options)
    with pytest.warns(UserWarning, match="floor"):
        noise_accuracy(model, letters, TASKS, SCORES, file=tmp_path / "noise", **noise)
    assert len(read) == 2


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kind": "resample"}, "tasks have none of their own; use 'zero' or 'mean'"),
        ({"to": 0}, "to: 0 of 8 nodes"),
        ({"to": 1.1}, "to: 1.1 of 8 nodes"),
        ({"to": 0.01}, "to: 0.01 of 8 nodes"),
        ({"step": 0}, "step: 0; give a whole number"),
        ({"orders": ("best",)}, "'best' is no order"),
    ],
)
def test_what_cannot_be_used_is_refused(model, letters, options, match):
    with pytest.raises(ValueError, match=match):
        accuracy_curve(model, letters, TASKS, SCORES, **options)


LEVELS = np.array([1, 1, 2, 2])


def by_hand():
    """Four tasks; the synergy order loses one a point, random ones lose none."""
    falling = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]], bool)
    return AccuracyCurve(
        problems=Problems(LEVELS, np.repeat("sums", 4), np.full(4, 0.25)),
        method="likelihood",
        ranking="mean_difference",
        kind="zero",
        nodes=("L0H0", "L0H1", "L0H2", "L0H3"),
        orders={"synergy": np.array([[0, 1, 2, 3]]), "random": np.array([[3, 2, 1, 0]] * 3)},
        counts=np.array([0, 1, 3]),
        right={"synergy": falling[None], "random": np.ones((3, 3, 4), bool)},
    )


def test_areas_are_trapezia_over_nodes():
    curve = by_hand()
    # From 1 to 3/4 over a third of the nodes that go, from 3/4 to 1/2 over two thirds.
    assert curve.area("synergy") == pytest.approx([7 / 8 / 3 + 5 / 8 * 2 / 3])
    assert curve.area("random").tolist() == [1, 1, 1]
    assert curve.of_synergy["random"].mean == pytest.approx(7 / 24 + 10 / 24 - 1)
    assert curve.draw_p == {"random": 1 / 4}
    levels = curve.by("level")
    assert levels[1].area("synergy").tolist() == [1]
    assert levels[2].accuracy("synergy").tolist() == [[1, 0.5, 0]]
    assert curve.table()[0]["accuracy"] == [1, 0.75, 0.5]
    assert "synergy less random" in repr(curve)


def test_the_figure_has_a_panel_for_each_level():
    figure = by_hand().plot()
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == ["all levels", "level 1", "level 2"]
    line = next(line for line in shown[0].lines if line.get_label() == "synergy")
    assert line.get_xdata().tolist() == [0, 25, 75]
    assert line.get_ydata().tolist() == [100, 75, 50]
    # On one scale, from 0 to above the highest.
    low = replace(by_hand(), right={n: e & (LEVELS == 1) for n, e in by_hand().right.items()})
    for axes in low.plot().axes:
        bottom, top = axes.get_ylim()
        assert (bottom, top) == (0, pytest.approx(105, abs=1))
