"""A stage of one's own: one class and one line make it part of the study and of its report."""

import numpy as np
import pytest

from support import tiny_study
from support.tiny_study import ALL
from synkern.study import StudyError
from synkern.study.stage import Stage
from synkern.study.stages import STAGES


class Strongest(Stage):
    """Finds the most synergistic pair of heads of the trained model."""

    name = "strongest"
    weights = ("trained",)
    after = ("analysis",)
    pair = "of all"

    def ingredients(self, settings):
        return {"pair": self.pair}

    def plan(self, settings, nodes, layers):
        return f"find the strongest of {nodes} heads"

    def run(self, sources, weights):
        sts = sources.of(weights)["sts"]
        rows, columns = np.triu_indices(len(sts), 1)
        best = np.nanargmax(sts[rows, columns])
        facts = {"seconds": {"looking": 0.0}, "warnings": ["one pair is one pair"]}
        return {"pair": np.array([rows[best], columns[best]])}, facts

    def files(self, settings, arrays):
        return {"pair.txt": f"{arrays['trained_pair'].tolist()}\n"}

    def method(self, settings):
        return {"strongest": self.pair}

    def finding(self, results):
        return f"the strongest pair is {results.of('trained')['pair'].tolist()}"

    def summary(self, results):
        return [f"strongest: {results.of('trained')['pair'].tolist()}"]


@pytest.fixture
def listed(monkeypatch):
    monkeypatch.setattr("synkern.study.stages.STAGES", (*STAGES, Strongest()))


def test_a_stage_that_is_listed_is_run_kept_and_reported(model, copy, listed, capsys):
    study = tiny_study.again(model, copy, progress=True)
    assert study.reused == ALL
    i, j = study.arrays["trained_pair"]
    assert study.arrays["trained_sts"][i, j] == np.nanmax(study.arrays["trained_sts"])
    assert "random_pair" not in study.arrays
    said = capsys.readouterr().err
    assert "plan: find the strongest of 8 heads, for trained weights" in said
    assert "strongest (trained): one pair is one pair" in said
    assert (copy / "pair.txt").read_text() == f"[{i}, {j}]\n"
    assert study.description["method"]["strongest"] == "of all"
    assert f"the strongest pair is [{i}, {j}]" in study.description["summary"][1]
    assert study.summary()[-1] == f"strongest: [{i}, {j}]"
    page = study.report.read_text(encoding="utf-8")
    assert "trained weights: one pair is one pair" in page
    assert "<td>looking (s)</td><td>0.0</td>" in page
    assert tiny_study.again(model, copy).reused == (*ALL, "strongest (trained)")


def test_it_runs_again_where_its_ingredients_or_an_earlier_stage_change(
    model, copy, listed, monkeypatch
):
    tiny_study.again(model, copy)
    monkeypatch.setattr(Strongest, "pair", "of some")
    assert tiny_study.again(model, copy).reused == ALL
    reused = tiny_study.again(model, copy, bootstrap=150).reused
    assert reused == tiny_study.RECORDINGS


def test_memory_that_is_not_enough_is_told_with_the_remedy_of_the_stage(
    model, copy, listed, monkeypatch
):
    def burst(*args):
        raise MemoryError("9 TB")

    monkeypatch.setattr(Strongest, "run", burst)
    monkeypatch.setattr(Strongest, "too_large", "look at fewer pairs")
    message = r"strongest \(trained\): there is not enough memory \(9 TB\); look at fewer pairs"
    with pytest.raises(StudyError, match=message):
        tiny_study.again(model, copy)
