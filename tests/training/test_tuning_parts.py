"""What a training run is made of: its numbers, texts, ends of answers and rewards."""

import pytest

from support.letter_models import LETTERS, make_letters, make_model, with_pairs
from synkern.tasks import Task
from synkern.training import Method
from synkern.training.tuning.rewards import Reward
from synkern.training.tuning.texts import answer_ends, answers_to_learn

SUM = Task("1+2=", "3", (), 1, "addition")
VERB = Task("The keys", " are", (), 1, "agreement")
OPEN = Task("Answer:", " 3/4")
END = 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "dpo"}, "method: 'dpo'; choose from sft, grpo"),
        ({"steps": 0}, "steps: 0; give a whole number, 1 or more"),
        ({"texts": 2.0}, "texts: 2.0; give a whole number"),
        ({"learning_rate": 0.0}, "rate: 0.0; give a number, above 0"),
        ({"learning_rate": float("nan")}, "rate: nan; give a number, above 0"),
        ({"clip": float("inf")}, "clip: inf; give a number, above 0"),
        ({"weight_decay": -0.1}, "weight_decay: -0.1; give a number, 0 or more"),
        ({"warmup": 1.5}, "warmup: 1.5 of all steps; give at most 1"),
        ({"checks": 11, "steps": 10}, "checks: 11 in 10 steps; give at most one a step"),
        ({"name": "grpo", "generations": 1}, "generations: 1 answers to a problem, 16 in a step"),
        ({"name": "grpo", "texts": 12}, "generations: 8 answers to a problem, 12 in a step"),
    ],
)
def test_numbers_that_cannot_be_used_are_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        Method(**changed)


def test_checks_are_spread_over_the_steps():
    assert Method(steps=10, checks=4).checked == (0, 2, 5, 8, 10)
    assert Method(steps=3, checks=3).checked == (0, 1, 2, 3)
    assert (Method().rate, Method(name="grpo").rate) == (2e-5, 1e-6)


def spelled(ids):
    return "".join("</s>" if token == END else LETTERS[token] for token in ids)


def test_answers_are_learnt_to_their_end_and_prompts_are_not():
    rows = answers_to_learn(make_model(), make_letters(), [SUM, VERB, OPEN])
    whole = [spelled(row["input_ids"][1:]) for row in rows]
    assert whole == ["1+2=3\n</s>", "The keys are\n</s>", "Answer: 3/4</s>"]
    learnt = [
        spelled(t for t, own in zip(row["input_ids"], row["completion_mask"], strict=True) if own)
        for row in rows
    ]
    assert learnt == ["3\n</s>", " are\n</s>", " 3/4</s>"]


def test_a_token_that_joins_prompt_and_answer_is_learnt():
    tokenizer = with_pairs([("=", "3")])
    (row,) = answers_to_learn(make_model(), tokenizer, [SUM])
    assert row["completion_mask"] == [0, 0, 0, 1, 1, 1]


def test_a_tokenizer_without_end_is_refused():
    tokenizer = make_letters()
    tokenizer.eos_token = None
    for of in (answers_to_learn, answer_ends):
        with pytest.raises(ValueError, match="tokenizer: it has no end token"):
            of(make_model(), tokenizer, [SUM])


def test_lines_end_answers_of_one_line_alone():
    model, tokenizer = make_model(), make_letters()
    assert answer_ends(model, tokenizer, [SUM, VERB]) == [END, LETTERS.index("\n")]
    assert answer_ends(model, tokenizer, [SUM, OPEN]) == [END]


def test_a_reward_is_for_right_answers_that_end():
    reward = Reward([SUM, OPEN], ends=[END, 3], stop=["Question"], generations=2)
    said = ["3\n", "4\n", "3", "", " 3/4", " 0.75 Question: 3", " 3/4", " 2"]
    ids = [[9, 3], [9, 3], [9], [], [9, END], [9, 9], [9, 9], [9, END]]
    place = [0, 0, 0, 0, 1, 1, 1, 1]
    found = reward(completions=said, completion_ids=ids, place=place, prompts=[""] * 8)
    assert found == [1.1, 0.1, 0.0, 0.0, 1.1, 1.1, 0.0, 0.1]
    assert (reward.groups, reward.silent) == (4, 2)
