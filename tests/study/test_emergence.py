"""`synkern emergence`: a study of every checkpoint of a training, and one page about all."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import transformers as tf
from matplotlib.figure import Figure

import synkern
from support import tiny_study
from synkern.analysis import parabola
from synkern.analysis.normalisation import normalised
from synkern.cli import main
from synkern.interventions import effects_of
from synkern.recording import Responses
from synkern.study import ArgumentError, StudyError, emergence, run_study
from synkern.study.over_training import emerging, measured
from synkern.study.over_training.checkpoints import Checkpoint, checkpoints_of
from synkern.study.over_training.course import Course
from synkern.study.over_training.findings import findings_of
from synkern.study.over_training.measured import Measured, Point
from synkern.study.over_training.options import EmergenceOptions
from synkern.study.published import published
from synkern.study.stages.statistics import rank_correlation

QUICK = {**tiny_study.ARGUMENTS, "new_tokens": 24}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Four states of a model in training, the third of them damaged."""
    folder = tmp_path_factory.mktemp("models")
    for step, size in ((0, 0.25), (2, 0.2), (10, 0.2), (16, 0.3)):
        tiny_study.save_model(folder / f"step-{step}", initializer_range=size)
    weights = folder / "step-10" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return [str(folder / f"step-{step}") for step in (0, 2, 10, 16)]


@pytest.fixture(scope="module")
def found(models, tmp_path_factory):
    """What they show; not to be changed."""
    return emergence(models, out=tmp_path_factory.mktemp("found") / "out", **QUICK)


def points(found):
    return {point.checkpoint.label: point for point in found.points}


def test_every_checkpoint_has_studies_of_its_own_with_either_text(found):
    out = found.report.parent
    last = np.load(out / "own" / "step-16" / "study.npz")["trained_tokens"]
    for label in ("step-0", "step-2", "step-16"):
        own = np.load(out / "own" / label / "study.npz")["trained_tokens"]
        forced = np.load(out / "forced" / label / "study.npz")["trained_tokens"]
        np.testing.assert_array_equal(forced, last)
        assert (label == "step-16") == np.array_equal(own, last)


def test_a_broken_checkpoint_is_reported_and_the_rest_goes_on(found):
    broken = points(found)["step-10"]
    assert (broken.own, broken.forced, broken.loss) == (None, None, None)
    assert len(broken.problems) == 1
    assert broken.problems[0].startswith("step-10, own text: model ")
    assert "cannot be" in broken.problems[0]
    others = [point for point in found.points if point is not broken]
    assert not any(point.problems for point in others)
    assert found.source.label == "step-16"
    assert "step-10, own text" in found.report.read_text("utf-8")
    assert any(line.startswith("problem: step-10") for line in found.summary())
    assert "Of 1 checkpoints something is missing" in found.finding


def test_a_text_that_gives_no_profile_does_not_keep_the_other_one_from_it(tmp_path):
    """A model that repeats one token varies so little that its own text says nothing."""
    given = [(0, 0.05), (16, 0.3)]
    models = [
        tiny_study.save_model(tmp_path / f"step-{step}", initializer_range=size)
        for step, size in given
    ]
    found = emergence(models, out=tmp_path / "out", **QUICK)
    first = found.points[0]
    assert first.own is None
    assert first.problems[0].startswith("step-0, own text: the model with trained weights gives no")
    assert first.loss is not None


def test_numbers_are_those_of_the_studies(found, models):
    ranking = "mean_difference"
    for point in (points(found)["step-0"], points(found)["step-16"]):
        for text in ("own", "forced"):
            one = point.under(text)
            study = json.loads((one.out / "study.json").read_text("utf-8"))
            arrays = np.load(one.out / "study.npz")
            told = study["results"]["trained"][ranking]
            assert round(one.profiles[ranking].quadratic, 6) == told["quadratic_term"]
            curve = normalised(one.profiles[ranking].scores, arrays["trained_layer"])["minmax"]
            np.testing.assert_array_equal(one.curves[ranking]["minmax"], curve)
            (term,) = parabola.fitted(np.linspace(0, 1, len(curve)), curve[None])[2]
            assert one.bend(ranking, "minmax") == term
            pairs = ~np.eye(len(arrays["trained_sts"]), dtype=bool)
            assert one.synergy == pytest.approx(np.nanmean(arrays["trained_sts"][pairs]), rel=1e-12)
    first, last = (points(found)[label].own for label in ("step-0", "step-16"))
    layers, nodes = found.likeness(points(found)["step-0"], "own", ranking)
    assert nodes == rank_correlation(first.profiles[ranking].scores, last.profiles[ranking].scores)
    assert layers == rank_correlation(
        first.curves[ranking]["node_quantile"], last.curves[ranking]["node_quantile"]
    )
    assert found.likeness(points(found)["step-16"], "own", ranking) == (1.0, 1.0)


def test_the_loss_is_that_of_the_text_that_all_read(found, models):
    arrays = np.load(found.report.parent / "own" / "step-16" / "study.npz")
    tokenizer = tf.AutoTokenizer.from_pretrained(models[-1])
    prompts = [tokenizer(prompt)["input_ids"] for prompt in tiny_study.PROMPTS]
    texts = Responses(prompts, arrays["trained_tokens"].tolist())
    for label in ("step-0", "step-16"):
        model = tf.AutoModelForCausalLM.from_pretrained(points(found)[label].checkpoint.model)
        expected = float(effects_of(model, texts).loss.mean(dtype=np.float64))
        assert points(found)[label].loss == pytest.approx(expected, rel=1e-5)


def test_started_again_it_computes_what_is_missing_only(models, tmp_path, found, monkeypatch):
    out = shutil.copytree(found.report.parent, tmp_path / "out")
    shutil.rmtree(out / "forced" / "step-2")
    reused = {}

    def noting(model, **options):
        study = run_study(model, **options)
        reused[f"{study.out.parent.name}/{study.out.name}"] = len(study.reused)
        return study

    def unmeasured(*given):
        raise AssertionError("a loss was measured again")

    monkeypatch.setattr(emerging, "run_study", lambda **given: noting(given.pop("model"), **given))
    monkeypatch.setattr("synkern.interventions.effects_of", unmeasured)
    again = emergence(models, out=out, **QUICK)
    assert reused.pop("forced/step-2") == 0
    assert set(reused.values()) == {2}
    assert len(reused) == 5
    for one, other in zip(again.points, found.points, strict=True):
        assert one.loss == other.loss


def test_a_text_of_ones_own_decides_the_loss(models, tmp_path, found, monkeypatch):
    out = shutil.copytree(found.report.parent, tmp_path / "out")
    text = tmp_path / "text"
    text.write_text("the cat sat on the mat\n" + "a dog ran under a tree " * 30 + "\n", "utf-8")
    monkeypatch.setattr("synkern.study.over_training.losses._WINDOW", 20)
    again = emergence([models[0], models[-1]], out=out, text=text, **QUICK)
    tokenizer = tf.AutoTokenizer.from_pretrained(models[0])
    model = tf.AutoModelForCausalLM.from_pretrained(models[0])
    passages = [tokenizer(line)["input_ids"] for line in text.read_text("utf-8").splitlines()]
    pieces = [ids[s : s + 20] for ids in passages for s in range(0, len(ids) - 1, 19)]
    loss = effects_of(model, Responses([p[:1] for p in pieces], [p[1:] for p in pieces])).loss
    assert np.isfinite(loss).sum() == sum(len(ids) - 1 for ids in passages)
    assert again.points[0].loss == pytest.approx(np.nanmean(loss, dtype=np.float64), rel=1e-5)


@pytest.mark.parametrize(
    ("given", "order", "noted"),
    [
        (["a/step-0", "a/step-1", "a/step-10"], ["step-0", "step-1", "step-10"], False),
        (["a/step-0", "a/step-10", "a/step-2"], ["step-0", "step-2", "step-10"], True),
        (["x/p@step1000", "x/p@step20"], ["step20", "step1000"], True),
        (["a/late", "a/early"], ["late", "early"], True),
    ],
)
def test_checkpoints_are_put_in_the_order_of_their_steps(given, order, noted):
    found, notes = checkpoints_of(EmergenceOptions(given, out="o"))
    assert [one.label for one in found] == order
    assert bool(notes) == noted


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (["a"], {}, "checkpoints holds 1; give two or more"),
        ("step-0", {}, "give a list of model folders"),
        (["a/x", "a/x"], {}, "'a/x' is there twice"),
        (["a/x", "b/x"], {}, "labels: 'x' is there twice; tell them apart with labels"),
        (["a/x", "b/x"], {"labels": ("one",)}, "give one for each of 2 checkpoints"),
        (["a/x", "b/y"], {"bootstrap": 3}, "bootstrap = 3"),
        (["a/x", "b/y"], {"tau": 30}, "raise new_tokens or lower tau"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(given, options, message, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        emergence(given, out=tmp_path / "out", **QUICK | options)


def test_where_none_can_be_studied_the_reason_is_told(models, tmp_path, finished):
    with pytest.raises(StudyError, match=r"none of the 2 checkpoints can be studied; .*gone"):
        emergence([str(tmp_path / "no"), str(tmp_path / "gone")], out=tmp_path / "o", **QUICK)
    with pytest.raises(ArgumentError, match="is the folder of a study"):
        emergence(models, out=finished.out, **QUICK)


def test_series_that_do_not_vary_are_counted():
    moving = np.random.default_rng(0).normal(size=(30,)) + 3
    still = np.full(30, 7.0)
    hardly = 100 + np.sin(np.arange(30))  # a standard deviation of 0.7 % of its size
    series = np.stack([moving, still, hardly, moving * 2], axis=1)[None].astype(np.float32)
    assert measured._hardly_varying(series) == (0.25, 0.5)


def test_page_figures_and_numbers(found):
    out = found.report.parent
    told = json.loads((out / "emergence.json").read_text("utf-8"))
    assert [one["label"] for one in told["checkpoints"]] == [
        "step-0",
        "step-2",
        "step-10",
        "step-16",
    ]
    assert told["checkpoints"][2]["own"] is None
    assert told["finding"] == found.finding
    page = found.report.read_text("utf-8")
    assert page.index("By mean difference") < page.index("By rank difference")
    for ranking in found.rankings:
        assert (out / f"emergence_{ranking}.png").is_file()
    assert isinstance(found.plot("balance"), Figure)
    with pytest.raises(ValueError, match="ranking = 'x'; there are mean_difference"):
        found.plot("x")
    assert 'href="forced/step-2/report.html"' in page
    assert (out / "forced" / "step-2" / "report.html").is_file()
    assert "−0.81 to −0.60" in page


def test_the_published_trend_is_that_of_the_published_profiles():
    profiles, trend = published("profiles")["profiles"], published("emergence")["rows"]
    for name, row in (("pythia_1b_step1", trend[0]), ("pythia_1b_final", trend[-1])):
        values = np.array(profiles[name]["values"])
        (term,) = parabola.fitted(np.linspace(0, 1, len(values)), values[None])[2]
        low, high = row["quadratic_term"]
        # Values were read to 0.003, of which the term is a difference of means; told to 0.01.
        assert low - 0.03 <= term <= high + 0.03


def test_the_command(models, found, capsys):
    words = ["emergence", *models, "--out", str(found.report.parent), "--new-tokens", "24"]
    words += ["--bootstrap", "100", "--batch-size", "3", "--device", "cpu", "--quiet"]
    prompts = found.report.parent / "prompts.txt"
    prompts.write_text("\n".join(tiny_study.PROMPTS), "utf-8")
    assert main([*words, "--prompts", str(prompts)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("4 checkpoints from step-0 to step-16 were studied")
    assert f"report: {found.report}" in printed
    assert main(["emergence", models[0], "--out", "x"]) == 2
    assert "give two or more" in capsys.readouterr().err
    assert "emergence" in synkern.study.__all__
    assert isinstance(points(found)["step-0"].own, Measured)


def test_other_trainings_stand_beside(models, found, tmp_path):
    other = str(found.report.parent)
    given = {**QUICK, "tau": 2, "beside": (other,)}
    both = emergence([models[0], models[-1]], out=tmp_path / "seed1", **given)
    last = points(found)["step-16"].own.profiles["mean_difference"]
    (beside,) = both.others
    assert beside.steps == (0, 2, 10, 16)
    terms = beside.of_ranking("own", "mean_difference", "quadratic_term")
    assert terms[2] is None  # the damaged one
    assert terms[3] == pytest.approx(last.quadratic, rel=1e-5)
    assert "Of 2 trainings, this one first, with own text the quadratic terms" in both.finding
    assert f"{last.quadratic:+.2f}".replace("-", "−") in both.finding
    assert any("tau (1 there, 2 here)" in note for note in both.notes)
    assert any("give all of them one text" in note for note in both.notes)
    page = both.report.read_text("utf-8")
    assert "Other trainings, at their ends" in page
    assert "thin lines" in page.lower()
    assert "Other trainings" not in found.report.read_text("utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "Expecting property name"),
        ('{"format": "synkern study"}', "of other kind"),
        ('{"format": "synkern emergence", "format_version": 0}', "format version 0"),
        (
            '{"format": "synkern emergence", "format_version": 1, "checkpoints": '
            '[{"step": null}], "options": {}}',
            "checkpoints without a step",
        ),
    ],
)
def test_what_cannot_stand_beside_is_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / "emergence.json").write_text(content, "utf-8")
    with pytest.raises(ArgumentError, match=f"beside: .*{message}"):
        emergence(["a/x-1", "b/x-2"], out=tmp_path / "out", beside=(str(tmp_path),), **QUICK)


def test_others_need_steps_and_are_not_this_one(tmp_path):
    with pytest.raises(ArgumentError, match="beside needs checkpoints with steps"):
        emergence(["a/x", "b/y"], out=tmp_path, beside=("c",), **QUICK)
    with pytest.raises(ArgumentError, match="beside has out itself"):
        emergence(["a/x-1", "b/x-2"], out=tmp_path, beside=(str(tmp_path),), **QUICK)


@pytest.mark.parametrize(
    ("terms", "own", "beside_loss"),
    [
        (
            [-1, -1, -1, -1],
            "surely below 0 from the first checkpoint on;",
            "at step-0 already, and",
        ),
        ([0, 0, 0, -1], "surely below 0 from step-3 on;", "is there after that"),
        (
            [-1, -1, 0, -1],
            "surely below 0 from step-3 on, and at 2 of 3 checkpoints before;",
            "at step-0 already, is lost, and is there to stay from step-3 on",
        ),
        ([-1, 0, 0, 0], "it is not surely below 0 at the end;", "no bend has come about"),
    ],
)
def test_a_bend_that_was_there_and_was_lost_is_told(terms, own, beside_loss):
    def measured_as(term):
        interval = (term - 0.1, term + 0.1)
        profile = SimpleNamespace(quadratic=term, quadratic_interval=interval, inverted_u=False)
        return SimpleNamespace(
            profiles={"mean_difference": profile},
            nearly_constant=0.0,
            likeness=lambda *_: (0.0, 0.0),
        )

    points = [
        Point(Checkpoint(f"step-{n}", n, "m"), measured_as(t), measured_as(t), 8 / 2**n, ())
        for n, t in enumerate(terms)
    ]
    text = findings_of(Course(tuple(points), points[-1].checkpoint, ()))
    assert own in text
    assert beside_loss in text
