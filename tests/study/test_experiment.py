"""An experiment of one's own on a finished study: taken up, kept, shown, dropped, refused."""

import json
import shutil
from dataclasses import dataclass, field

import jinja2
import numpy as np
import pytest
import transformers as tf

from support import tiny_study
from synkern.cli import main
from synkern.study import ArgumentError, StudyError
from synkern.study.experiments import commands
from synkern.study.experiments.carrying import carried_out
from synkern.study.experiments.experiment import Experiment
from synkern.study.experiments.options import ExperimentOptions
from synkern.study.options import Option

TEMPLATE = """
{% macro before() %}<p>{{ experiments["counting"].tokens }} tokens in {{ unit_of_count }}</p>
{% endmacro %}
{% macro after() %}<p>that is all</p>{% endmacro %}
"""


@dataclass(frozen=True, kw_only=True)
class CountingOptions(ExperimentOptions):
    """How to count."""

    times: int = field(default=1, metadata=Option(help="how often", least=1).described)
    shares: tuple[float, ...] = field(
        default=(0.5, 1.0), metadata=Option(help="of the texts", least=0, most=1).described
    )


class Counting(Experiment):
    """Counts the tokens of the texts of a study."""

    name = "counting"
    options = CountingOptions
    command = "count"
    done = "counted"
    title = "How many tokens?"
    words = {"unit_of_count": "ones"}  # noqa: RUF012
    of_need = True
    runs = 0

    def plan(self, study, options):
        return f"count {len(study.texts)} texts {options.times} times"

    def run(self, study, options, partial):
        Counting.runs += 1
        tokens = sum(map(len, study.texts.responses)) * options.times
        arrays = {"lengths": np.array([len(prompt) for prompt in study.texts.prompts])}
        facts = {"tokens": tokens, "seconds": {"counting": 0.25}, "warnings": ["they were many"]}
        return arrays, facts

    def finding(self, results):
        return f"Counting: {results.facts(self.name)['trained']['tokens']} tokens."

    def summary(self, results):
        return [f"prompts: {results.of(self.name)['lengths'].tolist()}"]


@pytest.fixture(autouse=True)
def listed(monkeypatch):
    """Makes it one of the experiments, with a command and a template."""
    with_it = jinja2.DictLoader({"counting.html.jinja": TEMPLATE})
    own = jinja2.PackageLoader("synkern.study.report")
    monkeypatch.setattr("jinja2.PackageLoader", lambda name: jinja2.ChoiceLoader([own, with_it]))
    monkeypatch.setattr("synkern.study.experiments.EXPERIMENTS", (Counting(),))
    monkeypatch.setattr(Counting, "runs", 0)


def count(out, **options):
    return carried_out(Counting(), CountingOptions(out=out, progress=False, **options))


def test_it_takes_up_texts_and_scores_and_adds_to_folder_and_report(copy, finished, capsys):
    outcome = count(copy)
    tokenizer = tf.AutoTokenizer.from_pretrained(finished.description["parameters"]["model"])
    lengths = [len(tokenizer(prompt)["input_ids"]) for prompt in tiny_study.PROMPTS]
    assert outcome.arrays["lengths"].tolist() == lengths
    assert outcome.facts["tokens"] == 36 * len(lengths)
    assert not outcome.reused
    assert outcome.summary() == [f"Counting: {36 * len(lengths)} tokens.", f"prompts: {lengths}"]

    described = json.loads((copy / "study.json").read_text("utf-8"))
    assert described["stages"]["counting"]["arrays"] == ["counting_lengths"]
    assert described["summary"][:2] == finished.description["summary"][:2]
    assert described["summary"][2].endswith("what is said below of switching them off.")
    assert described["summary"][3:] == ["Counting: 180 tokens."]
    for name in ("parameters", "nodes", "prompts", "method", "environment", "results"):
        assert described[name] == finished.description[name]
    with np.load(copy / "study.npz") as stored:
        assert stored["counting_lengths"].tolist() == lengths
        for name, array in finished.arrays.items():
            np.testing.assert_array_equal(stored[name], array)
    page = outcome.report.read_text("utf-8")
    before, section = page.split("<h2>How many tokens?</h2>")
    assert "<li>Counting: 180 tokens.</li>" in before
    assert section.index("<p>180 tokens in ones</p>") < section.index("<p>that is all</p>")
    assert '<p class="warning">they were many</p>' in section
    options = {"batch_size": 16, "seed": 0, "device": "cpu", "times": 1, "shares": "0.5 1.0"}
    assert ",\n".join(f"{name} <code>{value}</code>" for name, value in options.items()) in section
    assert "counting 0.2 s." in section


def test_the_same_again_is_reused_and_other_options_are_not(copy, capsys):
    count(copy)
    assert count(copy).reused
    assert Counting.runs == 1
    again = carried_out(Counting(), CountingOptions(out=copy, times=2))
    assert (again.reused, again.facts["tokens"], Counting.runs) == (False, 360, 2)
    said = capsys.readouterr().err
    assert "counting: again, as times was 1, is 2" in said
    assert "plan: count 5 texts 2 times" in said
    assert "counting: they were many" in said


def test_a_study_run_again_keeps_it_where_its_stages_are_the_same(model, copy, capsys):
    count(copy)
    study = tiny_study.again(model, copy, progress=True)
    assert study.summary()[-1].startswith("prompts: ")
    assert "dropped" not in capsys.readouterr().err
    study = tiny_study.again(model, copy, control=False, null="cross_trial", null_draws=19)
    assert "counting" in study.description["stages"]
    assert "How many tokens?" in study.report.read_text("utf-8")

    study = tiny_study.again(model, copy, bootstrap=150, progress=True)
    said = "counting: dropped, as it was done with another analysis; `synkern count --out"
    assert said in capsys.readouterr().err
    assert "counting" not in study.description["stages"]
    assert "counting_lengths" not in study.arrays
    assert "How many tokens?" not in study.report.read_text("utf-8")


def test_an_interrupted_study_cannot_be_taken_up(model, copy, monkeypatch, tmp_path):
    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("synkern.study.stages.analysis.Analysis.run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny_study.again(model, tmp_path / "new", new_tokens=40)
    message = r"is not finished \(it was interrupted.*finish it with `synkern study --out"
    with pytest.raises(StudyError, match=message):
        count(tmp_path / "new")
    # Where only the random weights are missing, too: their results belong to the study.
    with monkeypatch.context() as patch:
        patch.setattr("synkern.study.stages.analysis.profiles_from_arrays", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny_study.again(model, copy, bootstrap=150)
    with pytest.raises(StudyError, match=message):
        count(copy)


def test_what_is_no_study_is_refused_and_not_made_one(tmp_path):
    with pytest.raises(StudyError, match=r"there is no study; make one with `synkern study --out"):
        count(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_another_model_in_the_place_of_the_one_that_was_studied(model, copy, tmp_path):
    other = tiny_study.save_model(tmp_path / "other", intermediate_size=64)
    with pytest.raises(StudyError, match=r"is not the one that the study in .* \(parameters was"):
        count(copy, model=other)
    changed = tf.AutoModelForCausalLM.from_pretrained(model)
    changed.lm_head.weight.data[3, 3] += 1
    changed.save_pretrained(shutil.copytree(model, tmp_path / "changed"))
    with pytest.raises(StudyError, match=r"\(weights sha256 of sample was .*give the folder of"):
        count(copy, model=str(tmp_path / "changed"))
    moved = shutil.copytree(model, tmp_path / "moved")
    assert count(copy, model=str(moved)).facts["tokens"] == 180
    assert count(copy).reused  # where the model lies decides nothing


def test_prompts_that_are_no_longer_those_of_the_study(copy):
    file = copy / "texts.jsonl"
    text = file.read_text("utf-8")
    file.write_text(text.replace("the cat sat", "the dog sat"), "utf-8")
    with pytest.raises(StudyError, match=r"texts.jsonl' is not as the study has left it; `synkern"):
        count(copy)
    file.unlink()
    with pytest.raises(StudyError, match=r"texts.jsonl' cannot be read .*writes it again"):
        count(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": 0}, "times = 0; give an integer of at least 1"),
        ({"shares": 0.5}, "shares = 0.5; give a list of one or more"),
        ({"shares": ()}, r"shares = \(\); give a list of one or more"),
        ({"shares": (0.5, 2)}, "shares = 2; give a number of at most 1"),
        ({"shares": (float("nan"),)}, "shares = nan; give a number of at least 0"),
        ({"shares": ("1",)}, "shares = '1'; give a number of at least 0"),
        ({"device": "moon"}, "device = 'moon'; give cpu, cuda"),
        ({"batch_size": 0}, "batch_size = 0"),
    ],
)
def test_options_that_cannot_be_used(copy, change, message):
    with pytest.raises(ArgumentError, match=message):
        count(copy, **change)


def test_code_of_the_model_has_to_be_allowed_again(model, tmp_path):
    tiny_study.again(model, tmp_path, trust_remote_code=True)
    with pytest.raises(ArgumentError, match=r"allow it with --trust-remote-code"):
        count(tmp_path)
    assert count(tmp_path, trust_remote_code=True).facts["tokens"] == 180


def test_memory_that_is_not_enough_is_told_with_its_remedy(copy, monkeypatch):
    def burst(*args):
        raise MemoryError("9 TB")

    monkeypatch.setattr(Counting, "run", burst)
    monkeypatch.setattr(Counting, "too_large", "count fewer")
    message = r"cannot be counted: there is not enough memory \(9 TB\); lower batch_size \(now 16\)"
    with pytest.raises(StudyError, match=message + " or count fewer"):
        count(copy)


def test_it_has_a_command(copy, monkeypatch, capsys):
    def run_counting(**given):
        return carried_out(Counting(), CountingOptions(**given))

    command = commands.Command("count", "run_counting", CountingOptions, "count", "Count tokens.")
    monkeypatch.setattr("synkern.study.COMMANDS", (command,))
    monkeypatch.setattr("synkern.study.run_counting", run_counting, raising=False)
    assert main(["count", "--out", str(copy), "--times", "3", "--shares", "0.1", "1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "Counting: 540 tokens."
    assert printed[-1] == f"report: {copy / 'report.html'}"
    assert main(["count", "--out", str(copy), "--times", "0"]) == 2
    assert "times = 0" in capsys.readouterr().err
    assert main(["count", "--out", str(copy / "nowhere")]) == 1
    assert "there is no study" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["count", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--shares X [X ...] of the texts (default: 0.5 1.0)" in shown
    assert "--times N how often (default: 1)" in shown
    monkeypatch.setattr(Counting, "run", interrupted)
    assert main(["count", "--out", str(copy)]) == 130
    assert f"what is done so far is kept in {copy}: run the same" in capsys.readouterr().err


def interrupted(*args):
    raise KeyboardInterrupt
