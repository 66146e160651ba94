"""Noise in the nodes of a study's model: what is kept, shown, taken up again and refused."""

import json

import numpy as np
import pytest

from support import painting, tiny_study
from synkern.cli import main
from synkern.interventions import noise_accuracy
from synkern.models import load
from synkern.study import ArgumentError, StudyError, run_perturbation
from synkern.study.published import published
from synkern.tasks import likelihood_score, read

LINES = [
    {"question": "the cat", "answer": "sat", "distractors": ["red", "under"], "level": 1},
    {"question": "a big dog", "answer": "ran", "distractors": ["why", "on"], "level": 1},
    {"question": "why is it", "answer": "blue", "distractors": ["tree", "mat"], "level": 2},
    {"question": "what and", "answer": "how", "distractors": ["the", "a"], "level": 2},
    {"question": "the tree is", "answer": "big", "distractors": ["sat", "ran"], "level": 3},
    {"question": "under the", "answer": "mat", "distractors": ["is", "and"], "category": "places"},
]
FEW = {"template": "{problem}", "draws": 2, "noise_seeds": 2, "progress": False}


def written(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def tasks(tmp_path):
    return written(tmp_path / "tasks.jsonl", LINES)


def perturb(out, tasks, **options):
    return run_perturbation(out=out, tasks=tasks, **FEW | options)


def test_it_adds_to_folder_and_report_what_the_call_gives(model, finished, copy, tasks):
    with painting.painted():
        outcome = perturb(copy, tasks, alphas=(1.0, 4.0))
    loaded, tokenizer = load(model, device="cpu")
    scores = finished.profiles["trained"]["mean_difference"].scores
    with pytest.warns(UserWarning, match="at the floor"):
        expected = noise_accuracy(
            loaded,
            tokenizer,
            read(tasks, template="{problem}"),
            scores,
            draws=2,
            noise_seeds=2,
            alphas=(1.0, 4.0),
        )
    arrays, facts = outcome.arrays, outcome.facts
    for name, right in expected.right.items():
        assert arrays[f"{name}_right"].tolist() == right.tolist()
        assert arrays[f"{name}_nodes"].tolist() == expected.subsets[name].tolist()
    assert arrays["intact"].tolist() == expected.intact.tolist()
    assert arrays["level"].tolist() == [1, 1, 2, 2, 3, 0]
    assert arrays["alphas_right"].tolist() == expected.sweep.right.tolist()
    assert facts["alpha"] == expected.alpha
    assert (facts["size"], facts["nodes"], facts["tasks"]) == (2, 8, 6)
    assert facts["floor"] == round(1 / 3, 6)
    assert facts["levels"]["2"]["accuracies"]["intact"] == expected.by("level")[2].accuracy(
        "intact"
    )
    assert facts["categories"].keys() == {"none", "places"}
    assert facts["source"] == "tasks.jsonl"
    assert "a model at the floor cannot fall" in facts["warnings"][0]
    assert outcome.summary()[0] == expected.finding

    described = json.loads((copy / "study.json").read_text("utf-8"))
    assert described["summary"][-1] == expected.finding
    page = outcome.report.read_text("utf-8")
    section = page.split("<h2>What if there is noise in the weights of nodes?</h2>")[1]
    assert 'alt="perturbation.png"' in section
    assert (copy / "perturbation.png").stat().st_size > 10_000
    assert "The intact model is at the floor" in section
    assert "<td>58.1</td>" in section
    assert "accuracy by level" in section


def test_the_same_again_is_reused_and_other_tasks_are_not(copy, tasks, capsys):
    first = perturb(copy, tasks, alpha=1.0)
    moved = tasks.rename(tasks.with_name("moved.jsonl"))
    assert perturb(copy, moved, alpha=1.0).reused
    again = perturb(copy, written(tasks, LINES[:4]), alpha=1.0, progress=True)
    assert (again.reused, again.facts["tasks"]) == (False, 4)
    said = capsys.readouterr().err
    assert "perturbation: again, as tasks was" in said
    assert "plan: ask 4 tasks (likelihood): intact, and 12 times with noise in 25% of the" in said
    assert first.facts["sweep"] is None


def test_it_goes_on_where_it_was_interrupted(copy, tasks, monkeypatch):
    asked = []

    def counted(*arguments):
        asked.append(1)
        if len(asked) == 6:
            raise KeyboardInterrupt
        return likelihood_score(*arguments)

    monkeypatch.setattr("synkern.tasks.likelihood_score", counted)
    with pytest.raises(KeyboardInterrupt):
        perturb(copy, tasks, alpha=1.0)
    assert len(list(copy.glob(".partial-perturbation-*"))) == 1
    again = perturb(copy, tasks, alpha=1.0)
    assert len(asked) == 6 + 13 - 5
    assert not list(copy.glob(".partial-*"))
    arrays = {name: array.copy() for name, array in again.arrays.items()}
    written_at_once = perturb(copy, tasks, alpha=1.0, seed=1), perturb(copy, tasks, alpha=1.0)
    for name, array in written_at_once[1].arrays.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_texts_that_are_cut_short_are_counted(copy, tmp_path):
    open_ended = [{key: line[key] for key in ("question", "answer")} for line in LINES]
    tasks = written(tmp_path / "open.jsonl", open_ended)
    outcome = perturb(copy, tasks, alpha=1.0, max_new_tokens=2)
    assert outcome.facts["options"]["scoring"] == "exact_match"
    assert outcome.facts["floor"] == 0
    cut = outcome.arrays["synergy_truncated"]
    assert cut.shape == (1, 2, 6)
    assert outcome.facts["conditions"][1]["truncated"] == cut.sum(-1).mean()
    assert "<th>cut short</th>" in outcome.report.read_text("utf-8")


def test_levels_and_categories_choose_tasks(copy, tasks):
    assert perturb(copy, tasks, alpha=1.0, levels=(1, 3)).facts["tasks"] == 3
    assert perturb(copy, tasks, alpha=1.0, categories=("places",)).facts["tasks"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": (7,)}, r"none of the 6 tasks in .*tasks.jsonl' is one of these"),
        ({"share": 0.05}, "share = 0.05 of 8 heads"),
        ({"share": 0.7}, "share = 0.7; give a number of at most 0.5"),
        ({"scoring": "guess"}, "scoring = 'guess'; choose from"),
        ({"template": "no blank"}, "template must have {problem} in it once"),
        ({"tasks": "builtin", "levels": (9,)}, "levels must be one of 1, 2, 3, 4, 5"),
        ({"noise_seeds": 0}, "noise_seeds = 0; give an integer of at least 1"),
    ],
)
def test_options_that_cannot_be_used(copy, tasks, options, message):
    with pytest.raises(ArgumentError, match=message):
        perturb(copy, options.pop("tasks", tasks), **options)


def test_tasks_that_cannot_be_used(copy, tmp_path):
    other = tmp_path / "other"
    other.write_text("{\n", "utf-8")
    with pytest.raises(ArgumentError, match="line 1: not JSON"):
        perturb(copy, other)
    with pytest.raises(OSError, match="nowhere"):
        perturb(copy, tmp_path / "nowhere")
    without = written(tmp_path / "without", [{"question": "the cat", "answer": "sat"}])
    with pytest.raises(ArgumentError, match="tasks without distractors; use 'exact_match'"):
        perturb(copy, without, scoring="likelihood")
    long = written(tmp_path / "long", [LINES[0] | {"question": "the cat " * 100}])
    with pytest.raises(StudyError, match="cannot be asked these tasks .*201 tokens"):
        perturb(copy, long, alpha=1.0)


def test_it_has_a_command(copy, tasks, capsys):
    line = ["perturb", "--out", str(copy), "--tasks", str(tasks), "--template", "{problem}"]
    assert main([*line, "--draws", "1", "--noise-seeds", "1", "--alpha", "1", "--quiet"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("The intact model has ")
    assert printed[1].startswith("accuracy on 6 tasks, %, with noise (alpha 1) in 2 of 8 nodes")
    assert [row.split()[0] for row in printed[3:8]] == [
        "intact",
        "synergy",
        "redundancy",
        "random",
        "layer_matched",
    ]
    assert main([*line, "--share", "0"]) == 2


def test_published_numbers_are_those_of_the_figure():
    found = published("perturbation")
    (table,) = found["tables"]
    assert "2601.06851" in table["source"]
    assert len(table["rows"]) == 4
    for row in table["rows"]:
        heights = [row["intact"], *(row[n][0] for n in ("redundancy", "random", "synergy"))]
        assert heights == sorted(heights, reverse=True)


def test_of_experts_it_is_told_how_often_they_are_routed(tasks, tmp_path):
    family = {"family": "Mixtral", "num_local_experts": 6, "num_experts_per_tok": 2}
    model = tiny_study.save_model(tmp_path / "moe", **family)
    study = tiny_study.again(model, tmp_path / "study", nodes="experts", control=False)
    outcome = perturb(tmp_path / "study", tasks, alpha=1.0, draws=1, noise_seeds=1)
    routed = study.arrays["trained_routed"]
    share = routed.sum(0) / (len(tiny_study.PROMPTS) * 36)
    assert share.mean() == pytest.approx(2 / 6)
    shares = outcome.facts["routed"]["shares"]
    for name in ("synergy", "redundancy", "random", "layer_matched"):
        nodes = outcome.arrays[f"{name}_nodes"]
        assert shares[name] == pytest.approx(share[nodes].mean(), abs=1e-6)
    rho = study.description["stages"]["analysis (trained)"]["routing"]["correlations"]
    assert outcome.facts["routed"]["correlation"] == rho["mean_difference"]
    assert "what is used more may be missed more" in outcome.summary()[0]
