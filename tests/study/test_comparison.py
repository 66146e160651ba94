"""Finished studies side by side: what is read, what is said of it, what is refused."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import synkern
from support import painting, tiny_study
from synkern.analysis import TrialAverages
from synkern.analysis.comparison import SPLITS, drawn_profiles, similarities
from synkern.analysis.normalisation import NORMALISATIONS, normalised
from synkern.analysis.scores import RANKINGS, node_scores
from synkern.cli import main
from synkern.study import ArgumentError, StudyError, published_profiles
from synkern.study.comparison import reading
from synkern.study.comparison.findings import findings_of
from synkern.study.folder import StudyFolder

QUICK = {"bootstrap": 100, "surrogates": 39, "progress": False}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A study of a deeper model inside a chat template, with other options and other prompts."""
    model = tiny_study.save_model(
        tmp_path_factory.mktemp("deeper"), layers=5, chat_template=tiny_study.CHAT
    )
    return tiny_study.again(
        model,
        tmp_path_factory.mktemp("other"),
        tau=2,
        control=False,
        redundancy="CCS",
        prompts=tiny_study.PROMPTS[::-1],
    )


@pytest.fixture(scope="module")
def compared(finished, other):
    return synkern.compare([finished.out, other.out], names=["one", "two"], **QUICK)


def compare(*studies, **options):
    return synkern.compare(list(studies), **QUICK | options)


def files(folder):
    return {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in sorted(folder.iterdir())}


def test_profiles_are_those_of_the_scores_that_the_studies_have_kept(finished, other, compared):
    for study, member in zip((finished, other), compared.members, strict=True):
        for ranking in RANKINGS:
            scores = study.profiles["trained"][ranking].scores
            expected = normalised(scores, study.arrays["trained_layer"])
            for normalisation in NORMALISATIONS:
                found = member.profiles[ranking].values[normalisation]
                np.testing.assert_array_equal(found, expected[normalisation])


@pytest.mark.parametrize("place", [0, 1])
def test_intervals_are_over_prompts_of_the_series_decomposed_again(
    finished, other, compared, place
):
    """With draws of their own, as the prompts are not the same."""
    study = (finished, other)[place]
    options = ({}, {"tau": 2, "redundancy": "CCS"})[place]
    atoms = synkern.phiid(study.arrays["trained_series"], average=None, **options)
    digest = study.description["prompts"]["sha256"]
    expected = drawn_profiles(
        "x",
        TrialAverages.of([atoms]),
        study.arrays["trained_layer"],
        RANKINGS,
        bootstrap=100,
        seed=(0, int(digest[:15], 16)),
    )
    for ranking, profile in compared.members[place].profiles.items():
        for normalisation in NORMALISATIONS:
            np.testing.assert_array_equal(
                profile.draws[normalisation], expected[ranking].draws[normalisation]
            )
            assert profile.halves[normalisation].shape == (SPLITS, 2, 4 + place)


def test_every_ranking_is_compared_under_every_normalisation_the_published_one_first(compared):
    assert tuple(compared.rankings) == RANKINGS
    for ranking, one in compared.rankings.items():
        profiles = [member.profiles[ranking] for member in compared.members]
        for normalisation, found in one.similarities.items():
            expected = similarities(profiles, normalisation, surrogates=39)
            for name in ("spearman", "p", "lower", "upper", "reliability"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert tuple(one.similarities) == NORMALISATIONS
        assert one.normalisation == "node_quantile"


def test_the_test_of_an_inverted_u_is_that_of_the_study(finished, compared):
    for ranking, test in compared.members[0].tests.items():
        kept = finished.profiles["trained"][ranking]
        assert test.quadratic_interval == kept.quadratic_interval
        assert test.inverted_u == kept.inverted_u


def test_what_differs_is_said_and_what_does_not_is_not(compared):
    said = {line.partition(":")[0]: line for line in compared.differences}
    assert set(said) == {"redundancy", "lag", "prompts", "template"}
    assert "1 token (one); 2 tokens (two)" in said["lag"]
    assert "MMI (one); CCS (two)" in said["redundancy"]
    assert "none (one); chat template, SHA-256" in said["template"]
    assert any("only 5 prompts" in note for note in compared.notes)


def test_a_folder_is_read_and_nothing_in_it_changes(finished, other, tmp_path):
    before = files(finished.out)
    compare(finished.out, other.out, names=["a", "b"], out=tmp_path / "page")
    assert files(finished.out) == before


def test_the_same_prompts_are_drawn_of_models_that_answered_the_same(finished, copy):
    """The study and its copy: drawn apart, their draws would not be equal."""
    found = compare(finished.out, copy)
    similar = found.rankings["mean_difference"].similarity
    assert similar.lower[0, 1] == pytest.approx(1)
    # Of one model, they are told apart by their folders.
    model = Path(finished.description["parameters"]["model"]).name
    assert found.names == (f"{model} in {finished.out.name}", f"{model} in copy")


def test_a_control_is_compared_where_there_is_one(finished, other):
    found = compare(finished.out, other.out, names=["one", "two"], control=True)
    assert found.names == ("one", "one, random weights", "two")
    said = (
        "weights: trained (one, two); random (one, random weights). So random weights are a control"
    )
    assert found.differences[0].startswith(said)
    scores = finished.profiles["random"]["balance"].scores
    expected = normalised(scores, finished.arrays["random_layer"])["minmax"]
    np.testing.assert_array_equal(found.members[1].profiles["balance"].values["minmax"], expected)


def test_without_draws_nothing_is_decomposed(finished, other, monkeypatch):
    def never(*args):
        raise AssertionError("decomposed")

    monkeypatch.setattr(reading, "averages_of", never)
    found = compare(finished.out, other.out, names=["a", "b"], bootstrap=0)
    similar = found.rankings["mean_difference"].similarity
    assert np.isnan(similar.lower).all()
    assert np.isfinite(similar.p[0, 1])
    with pytest.raises(AssertionError, match="decomposed"):
        compare(finished.out, other.out, names=["a", "b"])


@pytest.mark.parametrize("option", [{"average": "moments"}, {"pairs": "averaged"}])
def test_studies_that_pooled_prompts_or_averaged_pairs_have_intervals_too(
    model, tmp_path, option, finished
):
    study = tiny_study.again(model, tmp_path / "study", control=False, **option)
    found = compare(study.out, finished.out, names=["this", "that"])
    similar = found.rankings["mean_difference"].similarity
    assert similar.lower[0, 1] <= similar.upper[0, 1]
    assert not any("decomposed again" in note for note in found.notes)
    if "pairs" in option:
        assert [p.name for p in found.rankings["balance"].profiles] == ["that"]
        assert found.rankings["balance"].similarity is None
        assert "balance" not in found.members[0].profiles
        compare(study.out, finished.out, names=["this", "that"], out=tmp_path / "page")


def test_numbers_that_differ_when_decomposed_again_are_told(finished, other, monkeypatch):
    def shuffled(settings, recorded, weights):
        found = synkern.phiid(recorded[:, :, ::-1].copy(), average=None)
        return TrialAverages.of([found])

    monkeypatch.setattr(reading, "averages_of", shuffled)
    found = compare(finished.out, other.out, names=["a", "b"])
    assert sum("decomposed again, its profile differs" in note for note in found.notes) == 2


def test_published_profiles_stand_beside_a_study_as_such(finished, tmp_path):
    found = compare(finished.out, names=["mine"], published=["all", "qwen3_8b"], out=tmp_path)
    labels = [f"{name} (published)" for name in list(published_profiles())[:4]]
    assert found.names == ("mine", *labels)
    first = found.rankings["mean_difference"]
    assert first.normalisation == "layer_rank"
    assert tuple(first.similarities) == ("layer_rank",)
    assert np.isnan(first.similarity.lower).all()
    assert [m.published for m in found.members] == [False] + [True] * 4
    # They are by one ranking, the one of the figures.
    assert [p.name for p in found.rankings["balance"].profiles] == ["mine"]
    said = {line.partition(":")[0]: line for line in found.differences}
    assert "experts (deepseek_v2_lite (published)); heads (all others)" in said["nodes"]
    assert any(line.startswith("dtype: not published of qwen3_8b") for line in found.unknown)
    page = (tmp_path / "comparison.html").read_text("utf-8")
    assert "read off the figure, error about 0.003 of the axis" in page
    assert "no prompts" in page
    assert any(": 36 layers, −0.83, published" in line for line in found.summary())


def test_published_profiles_can_stand_alone():
    found = compare(published=["pythia_1b_step1", "pythia_1b_final"], points=26)
    assert tuple(found.rankings) == ("mean_difference",)
    assert tuple(found.rankings["mean_difference"].similarities) == ("layer_rank", "minmax")
    assert found.differences == ()


def test_the_page_shows_the_numbers_and_needs_no_other_file(compared, finished, other, tmp_path):
    out = tmp_path / "new" / "page"
    with painting.painted():
        found = compare(finished.out, other.out, names=["<b>one", "_two"], out=out)
    assert found.report == out / "comparison.html"
    page = found.report.read_text("utf-8")
    assert "&lt;b&gt;one" in page
    assert "<b>one" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert page.count("data:image/png;base64,") == len(RANKINGS)
    similar = found.rankings["mean_difference"].similarity
    said = f"{similar.spearman[0, 1]:+.2f}".replace("-", "−")
    assert said in page
    assert f"p = {similar.p[0, 1]:.3f}" in page
    for line in found.differences:
        assert line in page.replace("&#39;", "'").replace("&lt;b&gt;", "<b>")
    for ranking in RANKINGS:
        png = (out / f"comparison_{ranking}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 10_000
    numbers = json.loads((out / "comparison.json").read_text("utf-8"))
    kept = numbers["rankings"]["mean_difference"]["similarities"]["node_quantile"]
    np.testing.assert_allclose(np.array(kept["spearman"]), similar.spearman, atol=5e-7)
    assert kept["p"][0][0] is None
    assert numbers["differences"] == list(found.differences)
    assert compared.report is None
    headings = re.findall(r"<h2>(By .*?)</h2>", page)
    assert headings == ["By mean difference (as published)", "By rank difference", "By balance"]


def test_findings_count_what_the_numbers_say(compared):
    what, found, not_shown = findings_of(compared)
    assert "2 profiles" in what
    similar = compared.rankings["mean_difference"].similarity
    assert f"p = {similar.p[0, 1]:.2g}" in found
    tests = [member.tests["mean_difference"] for member in compared.members]
    hold = sum(test.complete and test.inverted_u for test in tests)
    assert f"{hold} of 2 studied profiles" in found
    assert "redundancy, lag, prompts, template" in not_shown


def test_it_shows_itself_as_a_table_and_draws_itself(compared):
    lines = repr(compared).splitlines()
    assert lines[0].startswith("Comparison of 2 by mean_difference, node_quantile")
    similar = compared.rankings["mean_difference"].similarity
    assert f"{similar.spearman[0, 1]:+.2f}".replace("-", "−") in lines[2]
    assert f"p {similar.p[0, 1]:.3f}" in lines[3]
    assert lines[4] == "differing in redundancy, lag, prompts, template"
    figure = compared.plot("balance")
    assert isinstance(figure, Figure)
    titles = [axes.get_title() for axes in figure.axes[:3]]
    assert titles == ["node_quantile", "layer_rank (as Fig. 2c)", "minmax (as Fig. 3a)"]
    line = figure.axes[0].lines[1]
    profile = compared.members[1].profiles["balance"]
    np.testing.assert_array_equal(line.get_ydata(), profile.values["node_quantile"])
    with pytest.raises(ValueError, match=r"ranking = 'best'; the comparison has mean_difference"):
        compared.plot("best")


def test_many_profiles_are_a_table_and_a_picture_without_numbers(finished):
    names = list(published_profiles())
    found = compare(finished.out, names=["mine"], published=names)
    assert any("Spearman above the diagonal" in line for line in found.summary())
    first = found.rankings["mean_difference"]
    more = dataclasses.replace(
        first, profiles=first.profiles * 2, similarities={}, normalisation="layer_rank"
    )
    assert more.similarity is None
    assert len(found.plot().axes[3].texts) == 7 * 7 - 6  # no reliability of published ones


def test_what_cannot_be_compared_is_refused_with_the_reason(finished, other, copy, tmp_path):
    one = finished.out
    for said, arguments, options in (
        ("hold 1 to compare; give two or more", [one], {}),
        ("hold 0 to compare", [], {}),
        ("twice; give every folder once", [one, one / ".." / one.name], {}),
        ("give one for each of the 2 studies", [one, copy], {"names": ["a"]}),
        ("two are called 'a'; tell them apart", [one, copy], {"names": ["a", "a"]}),
        ("published = 'gpt'; choose from qwen3_8b", [one], {"published": ["gpt"]}),
        ("bootstrap = 99; give at least 100, or 0", [one, copy], {"bootstrap": 99}),
        ("surrogates = 18", [one, copy], {"surrogates": 18}),
        ("points = 2", [one, copy], {"points": 2}),
        ("is the folder of a study, which is only read", [one, other.out], {"out": copy}),
    ):
        with pytest.raises(ArgumentError, match=re.escape(said)):
            compare(*arguments, **options)
    with pytest.raises(ArgumentError, match="give a list of folders"):
        synkern.compare(str(one))
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StudyError, match="is a file; name a folder"):
        compare(one, other.out, out=file)


def test_folders_without_a_finished_study_are_refused_and_not_made(finished, copy, tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(StudyError, match="holds no study; make one with `synkern study"):
        compare(finished.out, missing)
    assert not missing.exists()
    with (copy / "study.npz").open("r+b") as file:
        file.seek(3000)
        file.write(b"damage")
    with pytest.raises(StudyError, match="changed or damaged|not as a study has left it"):
        compare(finished.out, copy)


def test_a_study_that_was_interrupted_is_refused(finished, tmp_path):
    copy = shutil.copytree(finished.out, tmp_path / "copy")
    folder = StudyFolder.open(copy)
    folder.drop("analysis (trained)")
    folder.save(folder.description)
    with pytest.raises(StudyError, match="not finished"):
        compare(finished.out, copy)


def test_the_command_prints_what_was_found_and_writes_the_page(finished, other, tmp_path, capsys):
    arguments = ["compare", str(finished.out), str(other.out), "--names", "one", "two"]
    arguments += ["--bootstrap", "100", "--surrogates", "19", "--quiet", "--out", str(tmp_path)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert re.search(r"one ~ two: [+−]\d\.\d\d \[[+−]\d\.\d\d, [+−]\d\.\d\d\], p = ", printed)
    assert "differing: lag: 1 token (one); 2 tokens (two)." in printed
    assert f"report: {tmp_path / 'comparison.html'}" in printed


def test_the_command_needs_no_page_and_explains_mistakes(finished, tmp_path, capsys):
    quick = ["--bootstrap", "0", "--surrogates", "19", "--quiet"]
    assert main(["compare", str(finished.out), "--published", "gemma3_4b", *quick]) == 0
    assert "report:" not in capsys.readouterr().out
    assert main(["compare", str(finished.out), *quick]) == 2
    assert "give two or more" in capsys.readouterr().err
    assert main(["compare", str(finished.out), str(tmp_path / "no"), *quick]) == 1
    assert "holds no study" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compare", "one", *quick, "two"])
    assert "unrecognized arguments: two; folders come first" in capsys.readouterr().err
    assert main(["compare", "--names", "x", "y", "one", "two", *quick]) == 2
    assert "the 0 studies, whose folders come first" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    assert "folders come first" in " ".join(capsys.readouterr().out.split())


def test_node_scores_of_the_study_give_the_same_profile(finished, compared):
    """From the face of the package: the profile of a study is that of its decomposition."""
    result = synkern.phiid(finished.arrays["trained_series"], average="trials")
    scores = node_scores(result, "mean_difference").score
    expected = normalised(scores, finished.arrays["trained_layer"])["node_quantile"]
    found = compared.members[0].profiles["mean_difference"].values["node_quantile"]
    np.testing.assert_allclose(found, expected, atol=1e-12)
