"""`synkern categories`: rankings and profiles of a finished study by category of its prompts."""

import html
import json
import re
import shutil

import numpy as np
import pytest

import synkern
from support import painting, tiny_study
from synkern.analysis import (
    TrialAverages,
    activation_slopes,
    compare_groups,
    mean_activation,
    node_scores,
)
from synkern.cli import main
from synkern.study import ArgumentError, run_categories
from synkern.study.experiments.categories.options import CategoriesOptions
from synkern.study.options import documented

QUICK = {"permutations": 19, "bootstrap": 100, "splits": 2, "progress": False}
PROMPTS = ["the cat sat", "what", "how and why", "why is it blue", "a big dog ran", "it is small"]
CATEGORIES = {"short": PROMPTS[:3], "long": PROMPTS[3:]}


def compared(out, **options):
    return run_categories(out=out, **QUICK | options)


@pytest.fixture(scope="module")
def studied(model, tmp_path_factory):
    """A study whose prompts have categories; not to be changed."""
    folder = tmp_path_factory.mktemp("categories")
    (folder / "prompts.json").write_text(json.dumps(CATEGORIES))
    prompts = folder / "prompts.json"
    return tiny_study.again(model, folder / "study", prompts=prompts, control=False)


@pytest.fixture(scope="module")
def made(studied, tmp_path_factory):
    """The same with the comparison in it; not to be changed."""
    out = tmp_path_factory.mktemp("made") / "study"
    shutil.copytree(studied.out, out)
    with painting.painted():
        return compared(out)


@pytest.fixture
def own(studied, tmp_path):
    """A copy, to be changed."""
    return shutil.copytree(studied.out, tmp_path / "own")


def test_it_compares_as_the_library_does_with_the_recorded_series(studied, made):
    series, layer = studied.arrays["trained_series"], studied.arrays["trained_layer"]
    groups = ["short"] * 3 + ["long"] * 3
    averages = TrialAverages.of([synkern.phiid(series, average=None)])
    assert [*made.facts["rankings"]] == list(synkern.RANKINGS)
    for ranking in synkern.RANKINGS:
        drawn = {"permutations": 19, "bootstrap": 100}
        found = compare_groups(averages, groups, layer, ranking=ranking, splits=2, **drawn)
        for name in ("scores", "profile", "similarity", "random_similarity", "reliability"):
            np.testing.assert_array_equal(
                made.arrays[f"{ranking}_{name}"], getattr(found, name), err_msg=name
            )
        said = made.facts["rankings"][ranking]
        assert said["p"] == pytest.approx(found.p)
        assert said["pairs"][0]["p"] == pytest.approx(found.pair_p[0, 1])
        rank = node_scores(synkern.phiid(series, average="trials"), ranking).rank
        slopes = activation_slopes(mean_activation(series), rank, groups, **drawn)
        for place, group in enumerate(said["groups"]):
            assert group["slope"]["value"] == pytest.approx(slopes.slope[place], abs=1e-6)
            assert group["slope_p"] == pytest.approx(slopes.p[place])


def test_scores_of_a_category_are_those_of_a_study_of_its_prompts_alone(studied, made):
    series = studied.arrays["trained_series"]
    for place, part in enumerate((slice(0, 3), slice(3, 6))):
        alone = node_scores(synkern.phiid(series[part], average="trials"), "mean_difference").score
        # Sums of three numbers, in another order.
        np.testing.assert_allclose(
            made.arrays["mean_difference_scores"][place], alone, rtol=1e-9, atol=1e-12
        )


def test_the_report_has_figure_tables_and_the_answer(made):
    page = made.report.read_text("utf-8")
    section = page.partition("<h2>Do categories of prompts differ?</h2>")[2]
    section, _, _ = section.partition("<h2>How it was done</h2>")
    assert section.count("<img ") == 1
    assert (made.out / "categories.png").stat().st_size > 10_000
    text = html.unescape(" ".join(re.sub(r"<[^>]+>", " ", section).split()))
    assert made.facts["finding"] in text
    found = made.facts["rankings"]["mean_difference"]
    differ = found["p"] < 0.05
    assert ("less alike than prompts dealt at random do" in text) == differ
    assert ("are not shown to rank nodes otherwise" in text) == (not differ)
    headings = [f"By {ranking.replace('_', ' ')} " for ranking in synkern.RANKINGS]
    assert [text.index(heading) for heading in headings] == sorted(map(text.index, headings))
    assert "few prompts, so that intervals over them are too narrow: short (3), long (3)" in text
    assert made.study.description["summary"][3] == made.facts["finding"]


def test_other_groups_of_the_same_prompts(own, made, tmp_path, monkeypatch):
    monkeypatch.setattr("synkern.study.models.Models.get", None)  # no model is needed
    assert not compared(own).reused
    levels = tmp_path / "levels.json"
    levels.write_text(json.dumps({"level 2": PROMPTS[::2], "level 1": PROMPTS[1::2]}))
    found = compared(own, groups=levels)
    assert not found.reused
    assert found.arrays["group"].tolist() == [0, 1] * 3
    assert [group["name"] for group in found.facts["groups"]] == ["level 2", "level 1"]
    assert found.facts["finding"].startswith("Groups of prompts: the 2 ")
    # Its content matters, not its name, nor what else is in it.
    other = levels.rename(tmp_path / "other.json")
    assert compared(own, groups=other).reused
    other.write_text(json.dumps({"level 1": PROMPTS[1::2], "level 2": [*PROMPTS[::2], "more"]}))
    assert compared(own, groups=other).reused
    other.write_text(json.dumps({"level 1": PROMPTS[:2], "level 2": PROMPTS[2:]}))
    assert not compared(own, groups=other).reused
    tasks = tmp_path / "tasks.jsonl"
    rows = [{"problem": p, "answer": "1", "level": n % 2 + 1} for n, p in enumerate(PROMPTS)]
    tasks.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    by_level = compared(own, groups=tasks)
    assert [group["name"] for group in by_level.facts["groups"]] == ["level 1", "level 2"]
    assert by_level.arrays["group"].tolist() == [0, 1] * 3
    tasks.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, {**rows[0], "level": 3}]))
    with pytest.raises(ArgumentError, match="is there as level 1 and as level 3; keep one"):
        compared(own, groups=tasks)


def test_groups_without_a_prompt_of_the_study_are_named(own, tmp_path, capsys):
    file = tmp_path / "groups.json"
    groups = {"none": ["not asked"], "long": PROMPTS[3:], "short": PROMPTS[:3], "nor this": ["no"]}
    file.write_text(json.dumps(groups))
    found = compared(own, groups=file, progress=True)
    said = "none of the prompts of the study, so that nothing is said of them: none, nor this"
    assert any(said in warning for warning in found.facts["warnings"])
    assert said in capsys.readouterr().err
    assert said in html.unescape(found.report.read_text("utf-8"))
    assert compared(own, groups=file).reused
    # Without them the result says nothing of them.
    del groups["none"], groups["nor this"]
    file.write_text(json.dumps(groups))
    again = compared(own, groups=file)
    assert not again.reused
    assert not any("none of the prompts" in warning for warning in again.facts["warnings"])


@pytest.mark.parametrize("kind", ["pooled", "averaged"])
def test_other_studies(kind, model, tmp_path):
    (tmp_path / "prompts.json").write_text(json.dumps(CATEGORIES))
    given = {"average": "moments"} if kind == "pooled" else {"pairs": "averaged"}
    prompts = tmp_path / "prompts.json"
    tiny_study.again(model, tmp_path / "study", prompts=prompts, control=False, **given)
    found = compared(tmp_path / "study")
    names = synkern.RANKINGS if kind == "pooled" else synkern.RANKINGS[:2]
    assert [*found.facts["rankings"]] == list(names)


def test_what_cannot_be_compared_is_refused(finished, studied, tmp_path):
    with pytest.raises(ArgumentError, match=r"all 5 prompts are of one group; give groups of the"):
        compared(finished.out)
    file = tmp_path / "groups.json"
    file.write_text(json.dumps({"one": PROMPTS[:1], "other": PROMPTS[1:]}))
    with pytest.raises(ArgumentError, match="of group 'one' there is one prompt"):
        compared(studied.out, groups=file)
    file.write_text(json.dumps({"one": PROMPTS[:2], "other": PROMPTS[2:5]}))
    with pytest.raises(ArgumentError, match='1 of 6 prompts .* the first is "it is small"'):
        compared(studied.out, groups=file)
    file.write_text("[]")
    with pytest.raises(ArgumentError, match="holds a JSON list at the top"):
        compared(studied.out, groups=file)
    with pytest.raises(ArgumentError, match="permutations = 5; give an integer of at least 19"):
        compared(studied.out, permutations=5)


def test_the_command(own, capsys):
    words = ["categories", "--out", str(own), "--permutations", "19", "--bootstrap", "100"]
    assert main([*words, "--splits", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Categories of prompts: the 2 ")
    assert re.search(r"^  rank_difference +-?\d\.\d{3}", printed.out, re.M)
    assert "plan: decompose the series of 6 answers again, compare 2 groups" in printed.err
    assert main([*words, "--groups", str(own / "none.json")]) == 1


def test_the_documentation_has_the_options():
    assert documented(CategoriesOptions) in run_categories.__doc__
