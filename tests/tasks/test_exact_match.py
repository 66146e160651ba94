"""What a model that knows some texts by heart writes, and what is made of it."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from support.letter_models import KNOWN, LETTERS, make_letters, make_model, make_scholar, with_pairs
from synkern.tasks import Task, exact_match, generate


@pytest.fixture(scope="module")
def scholar():
    return make_scholar()


def scores_of(scholar, **options):
    options = {"max_new_tokens": 30} | options
    return exact_match(scholar.model, scholar.tokenizer, scholar.tasks, **options)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_texts_answers_and_what_is_right(scholar, batch_size):
    scores = scores_of(scholar, batch_size=batch_size)
    assert dict(zip([task.prompt for task in scores.tasks], scores.texts, strict=True)) == {
        "12+7=": "19\n",
        "8+9=": "16\n",
        "Sort: 3 1 2 ->": " 1, 2, 3\n",  # has learnt to go on
        "Choose is or are: The keys": " are ",
        "What is 6*7? Answer:": " 6*7 is \\boxed{42}.",
        "Half? Answer:": " 0.5",
        "A third? Answer:": " 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,",
        "Next? Answer:": " 7\n\nNext? Answer: 8",
    }
    assert scores.answers == ("19", "16", "1, 2, 3", "are", "42", "0.5", "3", "8")
    assert scores.truncated.tolist() == [False] * 6 + [True, False]
    assert scores.right.tolist() == [True, False, True, True, True, True, False, False]
    assert scores.log_likelihoods is None
    assert scores.total.chance is None
    assert scores.by("category")["addition"].share == 0.5


def test_a_string_that_ends_a_text_is_no_part_of_it(scholar):
    scores = scores_of(scholar, stop=["\n\n", ", 3"])
    assert scores.texts[-2:] == (" 3", " 7")
    assert scores.right[-2:].all()
    assert not scores.truncated.any()


def test_a_text_is_truncated_until_its_answer_cannot_change(scholar):
    """ " 1, 2, 3" has 8 letters, and only the line break after them says that no 4 follows."""
    (task,) = (task for task in scholar.tasks if task.category == "sorting")
    for letters, complete in ((8, False), (9, True)):
        scores = exact_match(scholar.model, scholar.tokenizer, [task], max_new_tokens=letters)
        assert scores.answers == ("1, 2, 3",)
        assert scores.truncated.tolist() == [not complete]
        assert scores.right.tolist() == [complete]
    assert "1 truncated" in repr(
        exact_match(scholar.model, scholar.tokenizer, [task], max_new_tokens=8)
    )


def test_the_texts_are_the_most_likely_letters_one_by_one(scholar):
    """Of a random model too, whatever its own settings ask for."""
    model, letters = make_model(seed=3).double(), make_letters()
    own = model.generation_config
    own.do_sample, own.temperature, own.repetition_penalty = True, 5.0, 9.0
    tasks = generate(6, seed=1, levels=1)
    scores = exact_match(model, letters, tasks, max_new_tokens=12, batch_size=4)
    for task, text in zip(tasks, scores.texts, strict=True):
        tokens = letters(task.prompt)["input_ids"]
        written = []
        for _ in range(len(text)):
            with torch.no_grad():
                logits = model(torch.tensor([tokens + written]), use_cache=False).logits
            written.append(int(logits[0, -1].argmax()))
        assert letters.decode(written) == text
    assert model.generation_config is own


def test_the_order_of_tasks_and_the_modes_of_the_model_stay(scholar):
    scholar.model.train()
    try:
        scores = scores_of(scholar, batch_size=2)
        assert all(module.training for module in scholar.model.modules())
    finally:
        scholar.model.eval()
    assert scores.tasks == tuple(task for task, _ in KNOWN)
    np.testing.assert_array_equal(scores.right, scores_of(scholar).right)


def test_a_tokenizer_without_padding_token_will_do(scholar):
    letters = make_letters(pad_token=None)
    assert letters.pad_token_id is None
    scores = exact_match(scholar.model, letters, scholar.tasks, max_new_tokens=30)
    np.testing.assert_array_equal(scores.right, scores_of(scholar).right)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number, 1 or more; got 0"),
        ({"stop": "\n"}, "stop must be strings that are not empty"),
        ({"stop": ("",)}, "stop must be strings that are not empty"),
        ({"batch_size": None}, "batch_size must be a whole number, 1 or more; got None"),
        ({"max_new_tokens": 120}, "and 120 may follow, while the model was made for 128"),
    ],
)
def test_wrong_arguments_are_named(scholar, options, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        scores_of(scholar, **options)


def test_a_prompt_without_tokens_is_refused(scholar):
    with pytest.raises(ValueError, match="the tokenizer makes no token of"):
        exact_match(scholar.model, with_pairs([]), [Task("\u0301", "1")])


def test_a_model_can_have_several_end_tokens(scholar):
    own = scholar.model.generation_config.eos_token_id
    scholar.model.generation_config.eos_token_id = [2, LETTERS.index("}")]
    try:
        (task,) = (task for task in scholar.tasks if "6*7" in task.prompt)
        scores = exact_match(scholar.model, scholar.tokenizer, [task], max_new_tokens=30)
    finally:
        scholar.model.generation_config.eos_token_id = own
    assert scores.texts == (" 6*7 is \\boxed{42",)
    assert scores.right.all()  # the last number, as the box is not closed
    assert not scores.truncated.any()


def test_an_adapter_that_prepends_vectors_is_refused():
    model = make_model()
    model.peft_config = {"own": SimpleNamespace(is_prompt_learning=True, peft_type="P_TUNING")}
    model.active_adapter = "own"
    with pytest.raises(ValueError, match=r"model: its adapter \(P_TUNING\) prepends vectors"):
        exact_match(model, make_letters(), [Task("1+1=", "2")])
