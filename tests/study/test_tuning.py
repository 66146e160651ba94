"""Training nodes of a study's model: what is kept, shown, gone on with and refused."""

import json
import re
import shutil
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers as tf

from support import painting, tiny_study, tiny_tuning
from support.masked_weights import copied
from support.tiny_tuning import LINES, tune, written
from synkern.cli import main
from synkern.models import find_sites, load, nodes_of
from synkern.study.experiments.tuning import experiment
from synkern.study.experiments.tuning.experiment import tuned_model
from synkern.study.published import published
from synkern.tasks import exact_match, read
from synkern.training import conditions_of
from synkern.training.tuning import run as runs
from synkern.training.tuning.checks import Checks
from synkern.training.tuning.rewards import Reward

pytestmark = pytest.mark.usefixtures("trl", "datasets")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return written(tmp_path_factory.mktemp("tasks") / "tasks.jsonl")


@pytest.fixture(scope="module")
def both(finished, tasks, tmp_path_factory):
    """A study with both methods; its folder is not to be changed."""
    out = shutil.copytree(finished.out, tmp_path_factory.mktemp("both") / "study")
    every = ("none", "synergy", "layer_matched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synkern.study.report.write_report", lambda folder, *args: folder.path)
        some = tune(out, tasks, conditions=every, steps=8, learning_rate=0.05, again=True)
        patch.undo()
        patch.setattr(Reward, "_of", lambda *args: 0.0)
        with painting.painted():
            silent = tune(out, tasks, method="grpo", seeds=2, conditions=("random",))
    return some, silent


@pytest.fixture
def stepped(monkeypatch):
    """Steps that a checkpoint was written after, over all runs; at `stop_at` of them it stops."""
    seen = SimpleNamespace(steps=[], stop_at=None)
    on_save = Checks.on_save

    def counted(checks, args, state, control, **rest):
        on_save(checks, args, state, control, **rest)
        seen.steps.append(state.global_step)
        if len(seen.steps) == seen.stop_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checks, "on_save", counted)
    return seen


def partials(out):
    return sorted(path.name.count("-run") for path in out.glob(".partial-tuning_*"))


def same(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


# --- what is kept and shown -----------------------------------------------------------------------


def test_both_methods_are_added_to_folder_and_report(both, finished):
    described = json.loads((both[0].out / "study.json").read_text("utf-8"))
    assert {"tuning_sft", "tuning_grpo"} <= described["stages"].keys()
    assert described["summary"][-2:] == [one.facts["finding"] for one in both]
    page = both[1].report.read_text("utf-8")
    for said in ("What do nodes gain from right answers?", "What do nodes gain from reward?"):
        assert f"<h2>{said}</h2>" in page
    for name in ("sft", "sft_gains", "sft_levels", "sft_core", "grpo", "grpo_gains"):
        assert (both[0].out / f"tuning_{name}.png").stat().st_size > 10_000, name
    assert not (both[0].out / "tuning_grpo_core.png").exists()
    for name, array in finished.arrays.items():
        np.testing.assert_array_equal(np.load(both[0].out / "study.npz")[name], array)
    assert not list(both[0].out.glob(".partial-*"))
    assert not (both[0].out / "tuned").exists()


def test_nodes_are_those_of_the_conditions(both, finished):
    scores = finished.profiles["trained"]["mean_difference"].scores
    nodes = [f"L{layer}H{head}" for layer in range(4) for head in range(2)]
    model, _ = load(finished.description["parameters"]["model"], device="cpu")
    known = nodes_of(find_sites(model, "heads"))
    assert [str(node) for node in known] == nodes
    for outcome, names, draws in (
        (both[0], ("synergy", "layer_matched"), 1),
        (both[1], ("random",), 2),
    ):
        arrays, place = outcome.arrays, 0
        assert arrays["base_scores"].tolist() == scores.tolist()
        for name in names:
            made = conditions_of(scores, known, names=name, draws=draws)
            for seed in range(draws):
                drawn = name != "synergy"
                condition = made[seed if drawn else 0]
                expected = [node in condition.nodes for node in known]
                assert arrays["trains"][place].tolist() == expected
                found = (arrays["condition"][place], arrays["seed"][place], arrays["draw"][place])
                assert found == (name, seed, seed if drawn else -1)
                place += 1
        assert len(arrays["condition"]) == place
        # Two matrices of 16 x 32 for each of four heads.
        assert arrays["trained"].tolist() == [4 * 2 * 16 * 32] * place


def test_arrays_say_what_the_tasks_are_and_what_was_right(both, finished, tasks):
    model, tokenizer = load(finished.description["parameters"]["model"], device="cpu")
    split = Counter(task.split for task in read(tasks, template="{problem}"))
    test = [task for task in read(tasks, template="{problem}") if task.split == "test"]
    before = exact_match(model, tokenizer, test, max_new_tokens=2).right
    for outcome in both:
        arrays, facts = outcome.arrays, outcome.facts
        assert facts["tasks"] == {part: split[part] for part in ("train", "validation", "test")}
        assert facts["source"] == "tasks.jsonl"
        assert arrays["before"].tolist() == before.tolist()
        assert arrays["level"].tolist() == [task.level for task in test]
        assert arrays["category"].tolist() == [task.category for task in test]
        validation = arrays["validation"]
        assert arrays["selected"].tolist() == validation.argmax(1).tolist()
        assert all(np.isfinite(array).all() for array in arrays.values() if array.dtype == float)
        last = arrays["selected"] == len(arrays["steps"]) - 1
        np.testing.assert_array_equal(arrays["selected_right"][last], arrays["last_right"][last])
        first = arrays["selected"] == 0
        assert (arrays["selected_right"][first] == before).all()
    some, rewarded = (outcome.arrays for outcome in both)
    assert some["steps"].tolist() == [0, 4, 8]
    assert some["logged_steps"].tolist() == [*range(1, 9)]
    assert some["loss"].shape == (2, 8)
    assert some["validation"].max() > 0  # it has learnt the one answer
    assert rewarded["groups"].tolist() == [2 * 4] * 2
    assert rewarded["reward"].shape == (2, 4)
    assert {"own_scores", "forced_scores", "loss"}.isdisjoint(rewarded)


def test_a_study_is_done_again_with_the_selected_weights(both):
    arrays = both[0].arrays
    moved = arrays["selected"] > 0
    assert moved.any()
    for text in ("own", "forced"):
        scores = arrays[f"{text}_scores"]
        assert scores.shape == (2, 8)
        difference = np.abs(scores - arrays["base_scores"]).max(1)
        assert (difference[moved] > 1e-3).all()
        # Read in other batches, the same weights give the same to their last bits of float32.
        assert (difference[~moved] < 1e-4).all()
    assert not np.array_equal(arrays["own_scores"][moved], arrays["forced_scores"][moved])


# --- the same again, and going on -----------------------------------------------------------------


def test_the_same_again_is_reused_and_other_options_are_not(copy, tmp_path, untrained, capsys):
    tasks = written(tmp_path / "tasks.jsonl")
    assert not tune(copy, tasks).reused
    assert tune(copy, tasks.rename(tasks.with_name("moved.jsonl"))).reused
    assert len(untrained) == 2
    again = tune(copy, written(tasks, LINES[:40]), progress=True)
    assert not again.reused
    said = capsys.readouterr().err
    assert "tuning_sft: again, as tasks was" in said
    assert "train 50% of the heads, by mean_difference, with sft: 2 runs of 4 steps of 4" in said
    assert "tuning_sft: synergy, seed 0\n" in said
    assert "tuning_sft: random 1, seed 0\n" in said
    changes = {"kv": False, "steps": 6, "clip": 0.5, "seed": 1, "weight_decay": 0.1, "share": 0.25}
    for name, value in changes.items():
        assert tune(copy, tasks, **{name: value}).reused == (name == "kv"), name
    assert tune(copy, tasks, method="grpo").reused is False
    assert tune(copy, tasks, share=0.25).reused


@pytest.mark.parametrize(
    ("method", "conditions"), [("sft", ("synergy", "random")), ("grpo", ("synergy",))]
)
def test_it_goes_on_where_it_was_interrupted(
    method, conditions, copy, finished, tasks, tmp_path, stepped, unreported
):
    """Inside the last run, after its first check."""
    given = {"method": method, "temperature": 3.0, "conditions": conditions, "steps": 2}
    at_once = tune(shutil.copytree(finished.out, tmp_path / "whole"), tasks, **given)
    whole = [1] * len(conditions)  # none after the last check
    assert stepped.steps == whole
    stepped.steps.clear()
    stepped.stop_at = len(whole)
    with pytest.raises(KeyboardInterrupt):
        tune(copy, tasks, **given)
    assert partials(copy) == [0, 1]
    stepped.stop_at = None
    again = tune(copy, tasks, **given)
    assert stepped.steps == whole
    same(at_once.arrays, again.arrays)
    assert not list(copy.glob(".partial-*"))


def test_it_goes_on_between_runs_and_keeps_what_was_tested(copy, tasks, untrained, monkeypatch):
    tested = []

    def counted(*arguments, **options):
        tested.append(1)
        if len(tested) == 4:
            raise KeyboardInterrupt
        return exact_match(*arguments, **options)

    monkeypatch.setattr("synkern.tasks.exact_match", counted)
    with pytest.raises(KeyboardInterrupt):  # before, last, selected, last
        tune(copy, tasks)
    assert len(untrained) == 2
    tune(copy, tasks)
    assert [one.nodes for one in untrained[1:]] == [untrained[1].nodes] * 2
    assert len(tested) == 4 + 2


# --- what runs are given --------------------------------------------------------------------------


def test_all_conditions_have_the_same_seeds_and_order_of_tasks(
    copy, tasks, unreported, monkeypatch
):
    read_in, supervised = [], runs.supervised

    def listening(*arguments, **options):
        trainer = supervised(*arguments, **options)
        read_in.append(texts := [])
        step = trainer.training_step

        def noted(model, inputs, *rest, **more):
            texts.append(inputs["input_ids"].tolist())
            return step(model, inputs, *rest, **more)

        trainer.training_step = noted
        return trainer

    monkeypatch.setattr(runs, "supervised", listening)
    tune(copy, tasks, conditions=("redundancy", "all"), seeds=2, batch_size=2, steps=2)
    first, second = read_in[:2]
    assert len(first) == 4  # 2 steps of 4 texts, 2 at once
    assert first != second
    assert read_in[2:] == [first, second]


def test_what_is_asked_for_is_what_runs_are_given(copy, tasks, untrained):
    given = {"steps": 9, "texts": 6, "checks": 3, "clip": 0.5, "weight_decay": 0.2, "warmup": 0.1}
    given |= {"max_new_tokens": 3, "stop": ("mat",), "temperature": 0.7, "kl": 0.1}
    conditions = ("random", "none", "all")
    tune(copy, tasks, method="grpo", seed=2**63 - 1, seeds=3, conditions=conditions, **given)
    for one in untrained:
        asked = {name: getattr(one.method, name) for name in given}
        assert asked == given
        assert (one.method.name, one.method.rate, one.kv, one.of) == ("grpo", 1e-2, False, "heads")
    assert len({one.seed for one in untrained[:3]}) == 3
    assert [one.seed for one in untrained[:3]] == [one.seed for one in untrained[3:]]
    assert len({one.nodes for one in untrained[:3]}) == 3
    assert {len(one.nodes) for one in untrained[3:]} == {8}


def test_tasks_are_split_by_their_prompts_and_tests_are_in_no_other_part(
    copy, tasks, tmp_path, untrained
):
    every = read(tasks, template="{problem}")
    outcome = tune(copy, tasks, test_count=3)
    assert outcome.facts["tasks"]["test"] == 3
    taught = {task.prompt for task in untrained[0].tasks}
    assert taught == {task.prompt for task in every if task.split == "train"}
    # All tests of another file, and whatever is in both is for the test alone.
    test = written(tmp_path / "test.jsonl", [*LINES[::6], {"question": "how", "answer": "red"}])
    outcome = tune(copy, tasks, test_file=test)
    asked = {line["question"] for line in LINES[::6]}
    taught = {task.prompt for task in untrained[-1].tasks}
    assert taught == {
        task.prompt for task in every if task.split != "validation" and task.prompt not in asked
    }
    assert outcome.facts["tasks"]["test"] == 10
    assert outcome.arrays["level"].tolist().count(-1) == 1
    shared = [task for task in every if task.prompt in asked]
    left = (
        sum(task.split != "validation" for task in shared),
        sum(task.split == "validation" for task in shared),
    )
    said = [
        f"{count} tasks for {part} are in the test file too, and are left out"
        for count, part in zip(left, ("train", "validation"), strict=True)
        if count
    ]
    assert outcome.facts["warnings"] == said


def test_nodes_without_score_train_in_no_condition(model, tmp_path, tasks, untrained, monkeypatch):
    out = tmp_path / "study"
    tiny_study.again(model, out, control=False)
    scores = experiment.FinishedStudy.scores

    def holed(study, ranking):
        found = scores(study, ranking).copy()
        found[3] = np.nan
        return found

    monkeypatch.setattr(experiment.FinishedStudy, "scores", holed)
    outcome = tune(out, tasks, conditions=("synergy", "all"))
    assert outcome.facts["warnings"] == ["1 of 8 heads have no score, and train in no condition"]
    assert not outcome.arrays["trains"][:, 3].any()
    assert outcome.arrays["trains"].sum(1).tolist() == [4, 7]


# --- the model ------------------------------------------------------------------------------------


def test_kept_models_load_and_differ_inside_the_chosen_heads_alone(copy, model, tasks, unreported):
    outcome = tune(copy, tasks, keep_models=True, learning_rate=0.05, steps=8)
    base = copied(load(model, device="cpu")[0])
    changed_any = False
    for place, name in enumerate(("synergy", "random")):
        home = tuned_model(copy, "sft", name, 0)
        kept, tokenizer = load(str(home), device="cpu")
        assert tokenizer("the cat")["input_ids"] == [4, 6]
        trains = outcome.arrays["trains"][place].reshape(4, 2)
        for key, value in copied(kept).items():
            changed = value != base[key]
            if key.endswith(("q_proj.weight", "o_proj.weight")):
                layer = int(key.split(".")[2])
                axis = "qo".index(key.split(".")[4][0])
                heads = changed.any(1 - axis).reshape(2, 16)
                assert not heads[~torch.tensor(trains[layer])].any(), key
                changed_any |= bool(heads.any())
            else:
                assert not changed.any(), key
    assert changed_any
    shutil.rmtree(home)
    with pytest.warns(UserWarning, match="keep_models: 1 of 2 tuned models are not in") as said:
        tune(copy, tasks, keep_models=True, learning_rate=0.05, steps=8)
    assert said[0].filename == tiny_tuning.__file__


def test_the_models_weights_are_as_they_were(copy, tasks, unreported, monkeypatch):
    seen = []
    taken = experiment.Tuning.run

    def watched(self, study, options, partial):
        before = copied(study.model)
        settings = study.model.config.to_dict(), study.model.generation_config.to_dict()
        tokenizer = study.tokenizer.pad_token, study.tokenizer.padding_side
        found = taken(self, study, options, partial)
        assert copied(study.model).keys() == before.keys()
        assert all(torch.equal(v, before[k]) for k, v in copied(study.model).items())
        assert settings == (
            study.model.config.to_dict(),
            study.model.generation_config.to_dict(),
        )
        assert tokenizer == (study.tokenizer.pad_token, study.tokenizer.padding_side)
        seen.append(self.name)
        return found

    monkeypatch.setattr(experiment.Tuning, "run", watched)
    tune(copy, tasks, conditions=("synergy",))
    assert seen == ["tuning_sft"]


def test_a_study_in_narrow_numbers_says_that_training_is_wider(model, tasks, tmp_path, untrained):
    tiny_study.again(model, tmp_path / "study", dtype="bfloat16", control=False)
    given = {"conditions": ("synergy",), "again": True}
    outcome = tune(tmp_path / "study", tasks, **given)
    assert outcome.facts["warnings"][-1] == (
        "the study read the model in bfloat16; it is trained, and read again, in float32"
    )


@pytest.mark.parametrize(
    ("kind", "family", "numbers"),
    [
        # Two or three matrices of 32 x 48 a node, or of a row and a column.
        ("experts", {"family": "Mixtral", "num_local_experts": 4}, 8 * 3 * 32 * 48),
        ("mlps", {"layers": 8}, 4 * 3 * 32 * 48),
    ],
)
def test_other_kinds_of_nodes_train_too(kind, family, numbers, tasks, tmp_path, unreported):
    model = tiny_study.save_model(tmp_path / "model", **family)
    tiny_study.again(model, tmp_path / "study", nodes=kind, control=False)
    outcome = tune(tmp_path / "study", tasks, conditions=("synergy",))
    assert outcome.arrays["trained"].tolist() == [numbers]
    assert np.isfinite(outcome.arrays["loss"]).all()


def test_tied_weights_settings_that_sample_and_no_padding_change_nothing(
    tasks, tmp_path, unreported
):
    model = tiny_study.save_model(tmp_path / "model", tie_word_embeddings=True)
    given = {"method": "grpo", "temperature": 3.0, "conditions": ("synergy",)}
    plain = tiny_study.again(model, tmp_path / "plain", control=False).out
    first = tune(plain, tasks, **given)
    settings = tf.GenerationConfig(
        do_sample=True, temperature=0.3, repetition_penalty=5.0, eos_token_id=2, pad_token_id=0
    )
    settings.save_pretrained(model)
    tokenizer = tf.AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(model)
    sampling = tiny_study.again(model, tmp_path / "sampling", control=False).out
    same(first.arrays, tune(sampling, tasks, **given).arrays)
    assert tune(sampling, tasks, conditions=("synergy",)).arrays["steps"].tolist() == [0, 2, 4]


# --- degenerate runs ------------------------------------------------------------------------------


def test_groups_without_signal_are_said_and_nothing_is_undefined(both):
    arrays, facts = both[1].arrays, both[1].facts
    assert arrays["silent"].tolist() == arrays["groups"].tolist() == [8] * 2
    assert not arrays["reward"].any()
    assert "which give no gradient: random 100 %" in facts["finding"]
    page = both[1].report.read_text("utf-8").split("What do nodes gain from reward?</h2>")[1]
    assert not re.search(r"\bnan\b", re.sub(r"<[^>]+>", "", page), re.I)


# --- the command ----------------------------------------------------------------------------------


def test_it_says_how_to_go_on_after_an_interruption(copy, tasks, capsys, stepped):
    stepped.stop_at = 1
    line = ["tune", "--out", str(copy), "--tasks", str(tasks), "--template", "{problem}"]
    line += ["--max-new-tokens", "2", "--seeds", "1", "--texts", "4", "--steps", "2"]
    assert main([*line, "--checks", "2", "--no-again"]) == 130
    said = capsys.readouterr().err
    assert f"what is done so far is kept in {copy}: run the same" in said
    assert "Warning" not in said
    assert "it/s" not in said.replace("point/s", "")


def test_published_numbers_are_those_of_the_figure():
    found = published("tuning")
    assert found["tables"]
    text = json.dumps(found)
    assert "54.81" in text
    assert "53.99" in text
