"""`synkern ablate`: nodes taken out of the model of a finished study."""

import html
import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import transformers as tf

import synkern
from support import painting, tiny_study
from synkern.analysis import node_scores
from synkern.cli import main
from synkern.interventions import ablation_curve
from synkern.interventions.curves.curve import MEASURES, OTHER_HALF
from synkern.interventions.curves.orders import ORDERS
from synkern.interventions.effects import TeacherForced
from synkern.interventions.options import ABLATION_NAMES, ORDER_NAMES
from synkern.models import load
from synkern.recording import Responses
from synkern.study import ArgumentError, StudyError, run_ablation
from synkern.study.experiments.ablation import experiment as ablation
from synkern.study.experiments.ablation.options import AblationOptions
from synkern.study.options import documented
from synkern.study.published import published

QUICK = {"draws": 2, "step": 2, "to": 0.5, "batch_size": 3, "progress": False}
CATEGORIES = {"short": ["the cat sat", "what", "how and why"], "long": tiny_study.PROMPTS[1:3]}


def ablated(out, **options):
    return run_ablation(out=out, **QUICK | options)


def responses_of(study):
    """Texts of a study without the study: its prompts through the tokenizer, as they are."""
    tokenizer = tf.AutoTokenizer.from_pretrained(study.description["parameters"]["model"])
    prompts = [tokenizer(prompt)["input_ids"] for prompt in tiny_study.PROMPTS]
    return Responses(prompts, study.arrays["trained_tokens"].tolist())


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory):
    """A finished study with an ablation in it; not to be changed."""
    out = tmp_path_factory.mktemp("made") / "study"
    shutil.copytree(finished.out, out)
    with painting.painted():
        return ablated(out)


@pytest.fixture
def reads(monkeypatch):
    """Counts the sets that are measured, and stops at the one asked for."""

    class Counter(list):
        stop_at = None

    counter, measure = Counter(), TeacherForced.effects

    def effects(self, edit=None):
        if len(counter) == counter.stop_at:
            raise KeyboardInterrupt
        counter.append(edit)
        return measure(self, edit)

    monkeypatch.setattr(TeacherForced, "effects", effects)
    return counter


def test_it_measures_what_the_library_does_with_texts_and_scores_of_the_study(finished, made):
    scores = {
        ranking: finished.profiles["trained"][ranking].scores
        for ranking in ("mean_difference", "rank_difference")
    }
    model, _ = load(finished.description["parameters"]["model"], device="cpu")
    given = {name: value for name, value in QUICK.items() if name != "progress"}
    curve = ablation_curve(model, responses_of(finished), scores, **given)
    arrays = made.arrays
    assert arrays["counts"].tolist() == [0, 2, 4]
    names = [*ORDERS, "synergy by rank_difference"]
    assert [*dict.fromkeys(arrays["order_name"].tolist())] == names
    for measure in MEASURES:
        by_order = curve.per_text(measure)
        for name in names:
            rows = arrays["order_name"] == name
            # Both are means of the same float32 numbers, in float64.
            np.testing.assert_allclose(
                arrays[measure][arrays["sets"][rows]], by_order[name], rtol=1e-12
            )
    facts = made.facts
    assert facts["finding"] == curve.finding
    assert facts["about"] == curve.about
    assert (facts["texts"], facts["tokens"], facts["nodes"], facts["points"]) == (5, 36, 8, 3)
    for name, found in facts["orders"].items():
        assert found["kl"][-1]["value"] == pytest.approx(curve.kl[name][:, -1].mean(), abs=1e-6)
        mean = curve.auc[name].mean() / 0.5
        assert found["mean_kl"]["value"] == pytest.approx(mean, abs=1e-6)
        assert found["mean_kl"]["low"] <= found["mean_kl"]["value"] <= found["mean_kl"]["high"]
        assert (found["p"] is None) == (found["draws"] == 1)
    assert facts["orders"]["random"]["p"] == curve.p_values["random"]
    steps = curve.largest_steps("synergy", 5)
    assert [step["nodes"] for step in facts["largest_steps"]] == [[*step.nodes] for step in steps]


def test_a_share_between_two_points_lies_on_the_line(made):
    arrays, row = made.arrays, made.arrays["order_name"].tolist().index("norm")
    kl = arrays["kl"][arrays["sets"][row]].mean(-1)  # at 0, 1/4 and 1/2 of the nodes
    assert made.facts["shares"] == [0.1, 0.2, 0.3, 0.4, 0.5]
    expected = [0.4 * kl[1], 0.8 * kl[1], 0.8 * kl[1] + 0.2 * kl[2], 0.4 * kl[1] + 0.6 * kl[2]]
    found = [point["value"] for point in made.facts["orders"]["norm"]["kl"]]
    assert found == pytest.approx([*expected, kl[2]], abs=1e-6)


def test_the_report_has_figure_tables_published_numbers_and_the_answer(made):
    page = made.report.read_text("utf-8")
    section = page.partition("<h2>What if the nodes are taken out?</h2>")[2]
    section, _, _ = section.partition("<h2>How it was done</h2>")
    assert section.count("<img ") == 1  # the prompts have no categories
    assert (made.out / "ablation.png").stat().st_size > 10_000
    text = html.unescape(" ".join(re.sub(r"<[^>]+>", " ", section).split()))
    assert made.facts["finding"] in text
    assert "Against heads" not in text
    for table in published("ablation")["tables"]:
        assert " ".join(table["source"].split()) in text
        for row in table["rows"]:
            assert f"{row['model']}, {row['nodes']} ({table['ranking'].replace('_', ' ')})" in text
    for name, found in made.facts["orders"].items():
        draws = f" ({found['draws']} draws)" if found["draws"] > 1 else ""
        assert f"<tr><td>{name}{draws}</td>" in section
    first = made.facts["largest_steps"][0]
    assert f"heads ({', '.join(first['nodes'])})" in text
    assert "with 2 draws no p is below 0.33" in text
    # What it adds to the findings of the study, and what these no longer have to say.
    sentences = made.study.description["summary"]
    assert len(sentences) == 4
    assert "none was switched off" not in sentences[2]
    assert sentences[3].startswith("Ablation (zero, judged by 5 of the model's own answers, 36 ")
    assert "For comparison: in the reverse order " in sentences[3]
    assert html.escape(sentences[3], quote=False).replace("'", "&#39;") in page
    lines = made.summary()
    assert lines[0] == sentences[3]
    assert [line.split()[0] for line in lines[3:]] == [
        *(name.split()[0] for name in made.facts["orders"])
    ]


@pytest.mark.parametrize("kind", ["mean", "resample"])
def test_other_kinds_of_ablation(kind, copy, made):
    found = ablated(copy, kind=kind, orders=["synergy", "random"])
    assert found.facts["kind"] == kind
    assert set(found.facts["orders"]) == {"synergy", "random", "synergy by rank_difference"}
    synergy = found.facts["orders"]["synergy"]["mean_kl"]["value"]
    assert synergy > 0
    assert synergy != made.facts["orders"]["synergy"]["mean_kl"]["value"]


def test_it_is_reused_and_done_again_as_options_say(copy, reads):
    first = ablated(copy, orders=["synergy", "random"])
    sets = len(reads)
    again = ablated(copy, orders=("synergy", "random"))
    assert again.reused
    assert len(reads) == sets
    assert again.facts == first.facts
    assert not ablated(copy, orders=["synergy", "random"], seed=1).reused
    assert len(reads) > sets
    assert [file.name for file in copy.glob(".partial*")] == []


def test_interrupted_it_goes_on_and_ends_with_the_same_numbers(copy, made, reads):
    reads.stop_at = 7
    with pytest.raises(KeyboardInterrupt):
        ablated(copy)
    assert len([*copy.glob(".partial-ablation-*")]) == 1
    assert "ablation" not in json.loads((copy / "study.json").read_text())["stages"]
    reads.stop_at = None
    done = ablated(copy)
    same(done, made)
    # All sets, one look at the activity of nodes for the order norm each time.
    assert len(reads) == made.facts["sets"] + 2
    assert [*copy.glob(".partial-ablation-*")] == []


def test_what_was_begun_with_other_options_is_not_mixed_in(copy, made, reads):
    reads.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        ablated(copy)
    reads.stop_at = None
    other = ablated(copy, to=0.25)
    assert other.arrays["counts"].tolist() == [0, 2]
    same(ablated(copy), made)


KILLED = """
import os, signal, sys
from synkern.interventions.curves import file as curve_file
add, points = curve_file.PointsFile.add, []

def killed(self, number, values):
    add(self, number, values)
    points.append(number)
    if len(points) == 5:
        os.kill(os.getpid(), signal.SIGKILL)

curve_file.PointsFile.add = killed
from synkern.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_killed_it_goes_on_and_ends_with_the_same_numbers(copy, made, reads):
    command = [sys.executable, "-c", KILLED, "ablate", "--out", str(copy), "--draws", "2"]
    command += ["--step", "2", "--to", "0.5", "--batch-size", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -9
    assert re.search(r"ablation: 1 of \d+ points, about \d+ s to come", done.stderr)
    resumed = ablated(copy)
    same(resumed, made)
    assert len(reads) == made.facts["sets"] - 5 + 1


def same(one, other):
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in other.arrays.items():
        np.testing.assert_array_equal(one.arrays[name], array, err_msg=name)
    changing = ("seconds", "finished")
    assert {k: v for k, v in one.facts.items() if k not in changing} == {
        k: v for k, v in other.facts.items() if k not in changing
    }


def test_some_prompts_and_tokens(copy, finished, made):
    found = ablated(copy, max_prompts=2, answer_tokens=10)
    assert found.arrays["texts"].tolist() == [0, 2]
    assert (found.facts["texts"], found.facts["tokens"]) == (2, 10)
    model, _ = load(finished.description["parameters"]["model"], device="cpu")
    texts = responses_of(finished).some([0, 2]).shortened(10)
    scores = finished.profiles["trained"]["mean_difference"].scores
    given = {"orders": ["synergy"], "step": 2, "to": 0.5}
    curve = ablation_curve(model, texts, scores, **given)
    row = found.arrays["kl"][found.arrays["sets"][0]]
    np.testing.assert_allclose(row, curve.per_text("kl")["synergy"][0], rtol=1e-6, atol=1e-7)


def test_each_half_of_the_prompts_is_judged_by_the_other(copy, finished, made):
    found = ablated(copy, split_half=True)
    arrays = found.arrays
    first = arrays["first_half"]
    assert first.sum() in (2, 3)
    (row,) = np.flatnonzero(arrays["order_name"] == OTHER_HALF)
    series = finished.arrays["trained_series"]
    for nodes, half in zip(arrays["order_nodes"][row], (~first, first), strict=True):
        result = synkern.phiid(series[half], average="trials")
        score = node_scores(result, "mean_difference").score
        assert nodes.tolist() == np.argsort(-score).tolist()
    mean = found.facts["orders"][OTHER_HALF]["mean_kl"]["value"]
    assert f"ranked on the other half of prompts {mean:.3g} nats" in found.facts["beside"]
    # The other orders are what they were.
    rows = arrays["order_name"] != OTHER_HALF
    kl = arrays["kl"][arrays["sets"][rows]]
    np.testing.assert_array_equal(kl, made.arrays["kl"][made.arrays["sets"]])


def test_prompts_that_are_all_in_one_half_are_refused(copy):
    """Of five prompts the first and the third are judged by; by this seed one half has both."""
    studied = SimpleNamespace(categories=("",) * 5)
    seed = next(seed for seed in range(99) if len({*ablation._half(studied, seed)[[0, 2]]}) == 1)
    with pytest.raises(StudyError, match="max_prompts = 2: these prompts are all in one half"):
        ablated(copy, split_half=True, max_prompts=2, seed=seed)


def test_separators_of_lines_inside_a_prompt(model, tmp_path):
    prompts = ["the cat\u2028sat", "why is\x85it blue", *tiny_study.PROMPTS[2:4]]
    tiny_study.again(model, tmp_path / "study", prompts=prompts, control=False)
    assert ablated(tmp_path / "study", orders=["synergy"]).facts["texts"] == 4


def test_as_published(copy):
    found = run_ablation(out=copy, as_published=True, progress=False)
    options = {"kind": "zero", "ranking": "mean_difference", "step": 5, "to": 0.4, "draws": 5}
    assert found.facts["options"].items() >= options.items()
    assert found.facts["options"]["orders"] == ["synergy", "random"]
    assert found.facts["orders"]["random"]["draws"] == 5
    assert (
        "Against heads of the same layers, drawn at random it was not compared."
        in (found.facts["finding"])
    )


def test_by_category(model, tmp_path):
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps(CATEGORIES))
    tiny_study.again(model, tmp_path / "study", prompts=file, control=False)
    found = ablated(tmp_path / "study", orders=["synergy", "random"])
    categories = found.facts["categories"]
    assert {name: part["texts"] for name, part in categories.items()} == {"short": 3, "long": 2}
    whole = found.facts["orders"]["synergy"]["mean_kl"]["value"]
    parts = [part["texts"] * part["mean_kl"]["synergy"] / 5 for part in categories.values()]
    assert sum(parts) == pytest.approx(whole, abs=2e-6)
    page = found.report.read_text("utf-8")
    assert 'alt="ablation_categories.png"' in page
    assert "<td>short (3)</td>" in page
    # A study without categories in the same folder leaves no such figure behind.
    tiny_study.again(model, tmp_path / "study", control=False)
    assert not (tmp_path / "study" / "ablation_categories.png").exists()


OTHER_NODES = {
    "mlps": {"nodes": "mlps"},
    "layers": {"nodes": "layers"},
    "averaged": {"pairs": "averaged"},
    "pooled": {"average": "moments"},
}


@pytest.mark.parametrize("name", OTHER_NODES)
def test_other_studies(name, model, tmp_path):
    if name == "mlps":  # of four, some draws of prompts score all the same
        model = tiny_study.save_model(tmp_path / "deep", layers=8)
    out = tmp_path / "study"
    tiny_study.again(model, out, control=False, **OTHER_NODES[name])
    found = ablated(out, step=1)
    names = set(found.facts["orders"]) - {"synergy by rank_difference"}
    numbered = name not in ("mlps", "layers")
    assert names == {*ORDERS} - (set() if numbered else {"layer_matched", "layer_only"})
    assert found.facts["orders"]["synergy"]["mean_kl"]["value"] > 0
    if not numbered:
        with pytest.raises(ArgumentError, match="'layer_only' needs layers with several nodes"):
            ablated(out, orders=["synergy", "layer_only"])
    if name == "averaged":
        message = "ranking = 'balance': the study in .* has no such scores; choose from mean_diff"
        with pytest.raises(ArgumentError, match=message):
            ablated(out, ranking="balance")


def test_experts_some_of_which_have_no_score(tmp_path):
    experts = {"family": "Mixtral", "num_local_experts": 6, "num_experts_per_tok": 2}
    moe = tiny_study.save_model(tmp_path / "moe", **experts)
    study = tiny_study.again(moe, tmp_path / "study", nodes="experts", control=False)
    scores = [study.profiles["trained"][ranking].scores for ranking in synkern.RANKINGS[:2]]
    known = np.isfinite(scores).all(0)
    found = ablated(tmp_path / "study")
    assert found.facts["nodes"] == known.sum()
    assert found.arrays["among"].tolist() == known.tolist()
    said = f"{(~known).sum()} of 24 experts have no score"
    assert any(said in warning for warning in found.facts["warnings"]) == (not known.all())
    assert "experts taken out" in found.report.read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"orders": ["random"]}, r"'synergy' has to be among them, which the others are compared"),
        ({"orders": ["synergy", "synergy"]}, "names one twice"),
        ({"orders": "synergy"}, "orders = 'synergy'; give a list"),
        ({"orders": ["sideways"]}, "orders = 'sideways'; choose from synergy, redundancy"),
        ({"kind": "noise"}, "kind = 'noise'; choose from zero, mean, resample"),
        ({"ranking": "rank"}, "ranking = 'rank'; choose from mean_difference"),
        ({"to": 0.05}, r"to = 0.05 of 8 heads is none; give 0.12 or more"),
        ({"to": 1.5}, "to = 1.5; give a number of at most 1"),
        ({"draws": 0}, "draws = 0; give an integer of at least 1"),
        ({"max_prompts": 6}, "max_prompts = 6, and the study has 5 prompts; give no more"),
        ({"answer_tokens": 37}, "answer_tokens = 37, and the study's answers have 36"),
        (
            {"as_published": True, "to": 0.4, "step": None, "draws": 20},
            "draws = 20 with as_published = True, which is draw",
        ),
        ({"as_published": True, "to": 0.4}, "step = 2 with as_published = True, which is step = 5"),
        ({"as_published": True}, "to = 0.5 with as_published = True"),
    ],
)
def test_options_that_cannot_be_used(copy, change, message):
    with pytest.raises(ArgumentError, match=message):
        ablated(copy, **change)


def test_a_model_that_cannot_be_taken_apart_is_refused_with_the_reason(copy, monkeypatch):
    def refuse(*args, **options):
        raise synkern.models.UnsupportedModelError("it is folded")

    monkeypatch.setattr("synkern.interventions.ablation_curve", refuse)
    message = r"the heads of model .* cannot be taken out: it is folded"
    with pytest.raises(StudyError, match=message):
        ablated(copy)


def test_the_command(copy, capsys):
    words = ["ablate", "--out", str(copy), "--draws", "2", "--step", "2", "--to", "0.5"]
    assert main([*words, "--orders", "synergy", "random", "--kind", "mean"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Ablation (mean, judged by 5 ")
    assert re.search(r"^  random +\d.* [01]\.\d{3}$", printed.out, re.M)
    assert printed.out.endswith(f"report: {copy / 'report.html'}\n")
    said = "plan: take out heads (mean) in 2 orders, 3 with all draws, by mean_difference, at 2 "
    assert said in printed.err
    assert main([*words, "--orders", "synergy", "random", "--kind", "mean", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*words, "--max-prompts", "9"]) == 2
    assert main(["ablate", "--out", str(copy / "no")]) == 1
    with pytest.raises(SystemExit) as ended:
        main([*words, "--orders"])
    assert ended.value.code == 2
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["ablate", "--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for flag in ("--as-published", "--split-half", "--answer-tokens N", "--to X", "--quiet"):
        assert flag in shown


def test_names_that_stand_in_two_places_are_the_same():
    assert ORDER_NAMES == ORDERS
    from synkern.interventions import Mean, Resample, Zero  # noqa: PLC0415

    assert tuple(kind.__name__.lower() for kind in (Zero, Mean, Resample)) == ABLATION_NAMES
    assert documented(AblationOptions) in run_ablation.__doc__


def test_published_numbers_have_sources_and_errors():
    for table in published("ablation")["tables"]:
        assert {"source", "error", "ranking", "rows"} <= table.keys()
        for row in table["rows"]:
            shares = [point["fraction"] for point in row["points"]]
            assert shares == sorted(shares)
            assert all(0 < share <= 1 for share in shares)
    # Of table 4a: at its points the order of synergy does more harm than at random.
    rows = published("ablation")["tables"][0]["rows"]
    assert all(p["synergy"] > p["random"] for row in rows for p in row["points"])
