"""The small models: their texts and tokenizer, their checkpoints, and the same from one seed."""

import dataclasses
import itertools

import pytest
import torch
from safetensors.torch import load_file

from bench.harness.records import Run
from bench.small_models import __main__ as command
from bench.small_models import competence, texts, training
from bench.small_models.recipes import CONTEXT, recipes
from synkern.models import load
from synkern.tasks import CATEGORIES

LENGTH = 64  # of a row of these tests


@pytest.fixture(scope="module")
def some_texts():
    return texts.training_texts(2000, seed=0)


@pytest.fixture(scope="module")
def some_tasks(some_texts):
    return [task for text in some_texts for task in text]


@pytest.fixture(scope="module")
def tokenizer(some_texts):
    return texts.tokenizer(some_texts, CONTEXT)


@pytest.fixture(scope="module")
def some_rows(some_texts, tokenizer):
    return texts.rows(some_texts, tokenizer, LENGTH, seed=0)


def tiny(name):
    return dataclasses.replace(recipes()[name], steps=5, rows=2)


def test_no_task_of_training_is_one_of_the_test(some_tasks):
    held_out = competence.held_out_tasks(400, seed=0)
    assert {task.split for task in some_tasks} == {"train"}
    assert {task.split for task in held_out} == {"test"}
    assert len({task.prompt for task in held_out}) == len(held_out) > 300
    assert {task.category for task in some_tasks} == {*CATEGORIES}


def test_a_text_keeps_its_level_and_goes_round(some_texts, some_tasks):
    follows = {*itertools.pairwise(texts.ROUND * 2)}
    for text in some_texts:
        assert len({task.level for task in text}) == 1
        assert {*itertools.pairwise(task.category for task in text)} <= follows
    for level, share in texts.LEVELS.items():
        found = sum(task.level == level for task in some_tasks)
        assert abs(found - 2000 * share) <= len(texts.ROUND) / 2  # whole rounds
    assert {*texts.ROUND} == {*CATEGORIES}


def test_every_text_comes_back(tokenizer, some_tasks):
    for text in (*(task.text for task in some_tasks[:100]), "Ünïcode  7 +日本\n\t12", "<a> 'tis"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text


def test_a_digit_and_a_word_are_a_token_each(tokenizer):
    def tokens(text):
        return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])

    assert tokens("120+7=127") == ["<bos>", *"120+7=127"]
    assert len(tokens("Zoe has 12 boxes")) == 1 + 3 + 3  # <bos>, words, a space and two digits
    assert len(tokens(" ( [ >")) == 1 + 3


def test_the_tokenizer_is_the_same_from_the_same_texts(tokenizer, some_texts):
    assert texts.tokenizer(some_texts, CONTEXT).get_vocab() == tokenizer.get_vocab()


def test_rows_are_tasks_one_after_the_other(some_rows, some_tasks, tokenizer):
    lines = {task.text for task in some_tasks}
    ends = whole = 0
    for row in (row["input_ids"] for row in some_rows):
        assert len(row) == LENGTH
        assert row[0] == tokenizer.bos_token_id
        said = tokenizer.decode(row[1:]).replace("<eos><bos>", "\n").split("\n")
        assert {*said[:-1]} <= lines  # the last one is cut
        ends += row.count(tokenizer.eos_token_id)
        whole += len(said) - 1
    # Binomial, five standard deviations.
    assert abs(ends - whole * texts.ENDS) < 5 * (whole * texts.ENDS) ** 0.5


def test_of_most_rows_answers_alone_are_learnt(some_rows, some_tasks, tokenizer):
    answers = {task.text: task.answer for task in some_tasks}
    entire = 0
    for row in some_rows:
        pairs = [*zip(row["input_ids"], row["labels"], strict=True)]
        assert all(label in (token, texts.IGNORED) for token, label in pairs)
        if texts.IGNORED not in row["labels"]:
            entire += 1
            continue
        learnt = tokenizer.decode([label for _, label in pairs if label != texts.IGNORED])
        lines = tokenizer.decode(row["input_ids"]).replace("<eos><bos>", "\n").split("\n")
        lines[0] = lines[0].removeprefix("<bos>")
        expected = "\n".join(answers[line] for line in lines[:-1]) + "\n"
        assert learnt.replace("<eos><bos>", "\n").startswith(f"<bos>{expected}")
    share = texts.WHOLE
    allowed = 5 * (len(some_rows) * share * (1 - share)) ** 0.5  # binomial, as above
    assert abs(entire - len(some_rows) * share) < allowed


def test_steps_that_are_kept():
    assert training.kept_steps(5) == [0, 1, 2, 4, 5]
    assert training.kept_steps(8) == [0, 1, 2, 4, 8]


@pytest.mark.parametrize("name", ["dense", "moe"])
def test_checkpoints_load_and_are_the_same_from_a_seed(name, some_rows, tokenizer, tmp_path):
    def weights(folder, step):
        return load_file(training.checkpoint(tmp_path / folder, step) / "model.safetensors")

    last = training.train(tiny(name), some_rows, tokenizer, tmp_path / "a", seed=3)
    training.train(tiny(name), some_rows, tokenizer, tmp_path / "b", seed=3)
    training.train(tiny(name), some_rows, tokenizer, tmp_path / "c", seed=4)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        f"step-{step}" for step in (0, 1, 2, 4, 5)
    }
    for step in (0, 1, 2, 4, 5):
        first, again = weights("a", step), weights("b", step)
        assert all(torch.equal(first[key], again[key]) for key in first)
        model, read = load(training.checkpoint(tmp_path / "a", step), device="cpu")
        assert read.get_vocab() == tokenizer.get_vocab()
        assert read("1+2=")["input_ids"] == tokenizer("1+2=")["input_ids"]
        assert not getattr(model.config, "output_router_logits", False)
    for key, value in model.state_dict().items():
        assert torch.equal(value, last.state_dict()[key])
    key = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(weights("a", 0)[key], weights("a", 1)[key])
    assert not torch.equal(weights("a", 0)[key], weights("c", 0)[key])


def test_experts_are_trained_to_be_used_equally(tokenizer, some_rows):
    recipe = recipes()["moe"]
    model = training.untrained(recipe, tokenizer, seed=0)
    ids = torch.tensor([row["input_ids"] for row in some_rows[:2]])
    with torch.no_grad():
        plain = model(input_ids=ids, labels=ids).loss
        trained_on = model(input_ids=ids, labels=ids, **recipe.inputs)
    balance = model.config.router_aux_loss_coef * trained_on.aux_loss
    assert balance > 0
    assert trained_on.loss == plain + balance


def test_too_few_rows_are_refused(tokenizer, some_rows, tmp_path):
    with pytest.raises(ValueError, match="9 are too few for 5 steps of 2 rows, 10; make more"):
        training.train(tiny("dense"), some_rows[:9], tokenizer, tmp_path, seed=0)


def test_the_command_says_what_a_model_can_do(monkeypatch, tmp_path, capsys):
    def run(*more):
        line = ["--steps=2", "--tested=80", f"--out={tmp_path}", f"--results={tmp_path / 'r.json'}"]
        monkeypatch.setattr("sys.argv", ["small_models", *line, *more])
        assert command.main() == 0
        return Run.load(tmp_path / "r.json").tables["small models"]

    found = run("--only=moe")["moe"]
    said = capsys.readouterr().out
    assert "moe: OlmoeForCausalLM" in said
    assert "by likelihood" in said
    assert "by exact match" in said
    assert [at["step"] for at in found["course"]] == [0, 1, 2]
    for method in ("likelihood", "exact match"):
        cells = found[method]
        assert {(cell["category"], cell["level"]) for cell in cells} == {
            (category, level) for category in CATEGORIES for level in texts.LEVELS
        }
        assert all(0 <= cell["right"] <= cell["tasks"] for cell in cells)
        assert 60 < sum(cell["tasks"] for cell in cells) <= 80
    # The other model joins it, because all that they depend on is the same.
    both = run("--only=dense")
    assert {*both} == {"dense", "moe"}
    assert both["moe"] == found


def test_what_another_machine_left_is_replaced(tmp_path, capsys):
    run = Run.start()
    run.tables = {"small models": {"dense": {}}}
    run.save(tmp_path / "r.json")
    assert command.earlier(tmp_path / "r.json", run) == {"dense": {}}
    other = dataclasses.replace(run, machine=run.machine | {"threads": 999})
    assert command.earlier(tmp_path / "r.json", other) == {}
    assert "is replaced" in capsys.readouterr().out
