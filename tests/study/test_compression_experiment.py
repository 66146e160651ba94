"""`synkern compress`: nodes of the model of a finished study at different numbers of bits."""

import html
import json
import re
import shutil

import numpy as np
import pytest
import transformers as tf

from support import painting, tiny_study
from synkern.cli import main
from synkern.interventions import Compression, compression
from synkern.models import load
from synkern.recording import Responses
from synkern.study import ArgumentError, StudyError, run_compression

QUICK = {"pairs": ("4/2", "16/0"), "shares": (0.25, 0.5), "draws": 2, "progress": False}


def compressed(out, **options):
    return run_compression(out=out, **QUICK | options)


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory):
    """A finished study with a compression in it; not to be changed."""
    out = tmp_path_factory.mktemp("made") / "study"
    shutil.copytree(finished.out, out)
    with painting.painted():
        return compressed(out)


def section_of(outcome):
    page = outcome.report.read_text("utf-8")
    section = page.partition("<h2>What if nodes are kept at different bits?</h2>")[2]
    return section.partition("<h2>")[0]


def test_it_measures_what_the_library_does_with_texts_and_scores_of_the_study(finished, made):
    model, _ = load(finished.description["parameters"]["model"], device="cpu")
    tokenizer = tf.AutoTokenizer.from_pretrained(finished.description["parameters"]["model"])
    prompts = [tokenizer(prompt)["input_ids"] for prompt in tiny_study.PROMPTS]
    expected = compression(
        model,
        Responses(prompts, finished.arrays["trained_tokens"].tolist()),
        {"mean_difference": finished.profiles["trained"]["mean_difference"].scores},
        pairs=((4, 2), (16, 0)),
        shares=(0.25, 0.5),
        draws=2,
    )
    found = Compression.of_arrays(made.arrays)
    assert found.finding == made.facts["finding"] == expected.finding
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(made.arrays[name], array)
    kept = {order["other"]: order for order in made.facts["compared"]}
    assert [*kept] == ["redundancy", "random", "layer_matched", "norm"]
    assert kept["random"]["ratio"] == pytest.approx(found.compared("random").ratio, abs=1e-6)
    assert kept["redundancy"]["p"] is None
    assert (made.facts["texts"], made.facts["tokens"], made.facts["nodes"]) == (5, 36, 8)


def test_the_report_has_figure_tables_and_the_answer(made):
    section = section_of(made)
    text = html.unescape(" ".join(re.sub(r"<[^>]+>", " ", section).split()))
    assert made.facts["finding"] in text
    assert section.count("<img ") == 1
    assert (made.out / "compression.png").stat().st_size > 10_000
    assert "had been rounded before" not in text
    # Every budget and order, and every tensor with weights of nodes.
    assert section.count("<tr><td>4 / 2</td>") == section.count("<tr><td>16 / 0</td>") == 2 * 5
    assert section.count("self_attn.q_proj.weight") == section.count("o_proj.weight") == 4
    rows = made.facts["tensors"]["rows"]
    total = {order: sum(row["bits"][order] for row in rows) for order in rows[0]["bits"]}
    assert len(set(total.values())) == 1
    assert f"of heads those that belong to one alone, {8 * 2 * 16 * 32:,} of" in text
    sentences = made.study.description["summary"]
    assert sentences[-1].startswith("Compression (rounding to nearest, judged by 5 of the model's")
    assert "none was switched off" not in sentences[2]
    assert "accuracy" not in section.partition("<details>")[0]


def test_tasks_are_asked_where_they_are_given(copy, tmp_path):
    file = tmp_path / "tasks.jsonl"
    lines = [
        {"question": "the cat", "answer": "sat", "distractors": ["blue", "tree"]},
        {"question": "why is", "answer": "it", "distractors": ["on", "mat"]},
    ]
    file.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    outcome = compressed(copy, tasks=file, shares=(0.5,), pairs=("4/2",))
    assert ["does not know" in said for said in outcome.facts["warnings"]] == [True]
    assert outcome.arrays["right"].shape == (1 + 2 + 7, 2)
    assert outcome.facts["source"] == "tasks.jsonl"
    assert (outcome.out / "compression_accuracy.png").exists()
    text = " ".join(section_of(outcome).split())
    assert "accuracy of 2 tasks (tasks.jsonl)" in text
    assert "<th>accuracy</th>" in text
    file.write_text(json.dumps(lines[0]), "utf-8")
    again = compressed(copy, tasks=file, shares=(0.5,), pairs=("4/2",))
    assert not again.reused
    assert again.facts["tasks"] == 1


def test_what_is_cut_short_is_counted(copy, tmp_path):
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps({"question": "the cat", "answer": "sat"}), "utf-8")
    quick = {"shares": (0.5,), "pairs": ("4/2",), "max_new_tokens": 2, "max_prompts": 2}
    outcome = compressed(copy, tasks=file, **quick)
    cut = outcome.arrays["truncated"]
    assert cut.shape == (1 + 2 + 7, 1)
    assert outcome.facts["intact"]["truncated"] == int(cut[0].sum())
    text = " ".join(section_of(outcome).split())
    assert f"({int(cut[0].sum())} texts cut short, counted as wrong)" in text
    assert "<th>cut short</th>" in text


def test_a_model_that_was_rounded_before_is_said_to_be(tmp_path):
    from synkern.interventions import Rounding  # noqa: PLC0415

    folder = tiny_study.save_model(tmp_path / "model")
    model = tf.AutoModelForCausalLM.from_pretrained(folder)
    for block in model.model.layers:
        for linear in (block.self_attn.q_proj, block.self_attn.o_proj):
            linear.weight.data = Rounding(16).rounded(linear.weight.data, 4)
    model.save_pretrained(folder)
    tiny_study.again(folder, tmp_path / "study", control=False)
    outcome = compressed(tmp_path / "study", group=16)
    assert outcome.facts["earlier"] == "4 bits in groups of 16"
    text = " ".join(section_of(outcome).split())
    assert "had been rounded before they were loaded (4 bits in groups of 16)" in text


def test_the_command_goes_on_and_reuses(copy, monkeypatch, capsys):
    call = ["compress", "--out", str(copy), "--pairs", "4/2", "--shares", "0.5", "--draws", "2"]
    from synkern.interventions.effects import TeacherForced  # noqa: PLC0415

    measure, read = TeacherForced.effects, []

    def effects(self, edit=None):
        if len(read) == 4:
            raise KeyboardInterrupt
        read.append(None)
        return measure(self, edit)

    with monkeypatch.context() as patch:
        patch.setattr(TeacherForced, "effects", effects)
        assert main(call) == 130
    assert "run the same command to go on" in capsys.readouterr().err
    assert main(call) == 0
    printed, said = capsys.readouterr()
    assert "compression: 4 of " in said
    assert printed.splitlines()[0].startswith("Compression (rounding to nearest")
    assert any(line.split()[:2] == ["4/2", "4"] for line in printed.splitlines())
    assert not list(copy.glob(".partial-*"))
    assert main(call) == 0
    assert "compression: reused from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": ("4",)}, "pairs: '4'; give the higher bits"),
        ({"pairs": ("4/-2",)}, "pairs: '4/-2'"),
        ({"shares": (1.5,)}, "shares = 1.5"),
        ({"orders": ("random",)}, "'synergy' among them"),
        ({"orders": ("synergy", "synergy")}, "give each once"),
        ({"orders": ("synergy", "best")}, "orders = 'best'"),
        ({"max_prompts": 6}, "max_prompts = 6, and the study has 5 prompts"),
        ({"answer_tokens": 37}, "answer_tokens = 37, and the study's answers have 36"),
    ],
)
def test_options_that_cannot_be_used(copy, change, message):
    with pytest.raises(ArgumentError, match=message):
        compressed(copy, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": ("2/4",)}, "the higher number of bits comes first"),
        ({"pairs": ("9/4",)}, "bits = 9"),
        ({"pairs": ("4/1",), "symmetric": True}, "bits = 1"),
        ({"shares": (0.01,)}, "shares: 0.01 of 8 nodes leaves none"),
    ],
)
def test_what_cannot_be_done_with_the_model(copy, change, message):
    with pytest.raises(StudyError, match=rf"cannot be kept at different bits: .*{message}"):
        compressed(copy, **change)
