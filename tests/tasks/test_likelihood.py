"""Log-likelihoods against a loop of one's own, token by token and text by text."""

import re

import numpy as np
import pytest
import tokenizers
import torch
import transformers as tf

from support.letter_models import LETTERS, make_letters, make_model, make_scholar, with_pairs
from support.tiny_models import build
from synkern.tasks import Task, generate, likelihood_score

# In float64 a logit is the end of some 1e3 roundings in a row, relative to values below 1e2; the
# log-likelihoods of at most 60 tokens add up: 2.2e-16 * 1e3 * 1e2 * 60 = 1.3e-9.
ATOL = 2e-9


@pytest.fixture(scope="module")
def letters():
    return make_letters()


@pytest.fixture(scope="module")
def model():
    return make_model().double()


def one_by_one(model, context, rest):
    """log P(rest | context), each token by a call of its own on all tokens before it."""
    total, tokens = 0.0, list(context)
    with torch.no_grad():
        for token in rest:
            logits = model(torch.tensor([tokens]), use_cache=False).logits[0, -1].double()
            total += float(logits[token] - torch.logsumexp(logits, 0))
            tokens.append(token)
    return total


def spelled(text):
    return [LETTERS.index(letter) for letter in text]


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_each_choice_has_the_likelihood_of_its_tokens_after_the_prompt(model, letters, batch_size):
    tasks = generate(16, seed=1, levels=[1, 2])
    scores = likelihood_score(model, letters, tasks, batch_size=batch_size)
    assert scores.tasks == tasks
    for task, values, tokens in zip(tasks, scores.log_likelihoods, scores.tokens, strict=True):
        prompt = [1, *spelled(task.prompt)]
        expected = [one_by_one(model, prompt, spelled(choice)) for choice in task.choices]
        np.testing.assert_allclose(values, expected, rtol=0, atol=ATOL)
        assert tokens.tolist() == [len(choice) for choice in task.choices]
    right = [values[0] > max(values[1:]) for values in scores.log_likelihoods]
    assert scores.right.tolist() == right
    assert 0 < sum(right) < len(right)


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "mixtral", "gpt_neox"])
def test_padding_changes_nothing_in_any_architecture(name, letters):
    model = build(name).double()
    model.set_experts_implementation("eager")  # the others know no float64
    tasks = [Task("1+2=", "3", ("4",)), Task("Sort: 3 2 1 ->", " 1 2 3", (" 3 2 1",))]
    together = likelihood_score(model, letters, tasks, batch_size=8)
    alone = likelihood_score(model, letters, tasks, batch_size=1)
    for one, other in zip(together.log_likelihoods, alone.log_likelihoods, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=ATOL)


def test_a_token_that_spans_the_boundary_counts_for_every_choice(model):
    """ "=1" is one token, "=2" are two: the context ends before "=" for both."""
    tokenizer = with_pairs([("=", "1")])
    task = Task("8+9=", "17", ("27", "16"))
    scores = likelihood_score(model, tokenizer, [task])
    context = spelled("8+9")
    expected = [
        one_by_one(model, context, [98, *spelled("7")]),
        one_by_one(model, context, spelled("=27")),
        one_by_one(model, context, [98, *spelled("6")]),
    ]
    np.testing.assert_allclose(scores.log_likelihoods[0], expected, rtol=0, atol=ATOL)
    assert scores.tokens[0].tolist() == [2, 3, 2]


def test_an_end_token_that_the_tokenizer_appends_does_not_count(model, letters):
    tasks = [Task("8+9=", "17", ("27",))]
    with_end = likelihood_score(model, make_letters(single="<s> $A </s>"), tasks)
    without = likelihood_score(model, letters, tasks)
    np.testing.assert_array_equal(with_end.log_likelihoods, without.log_likelihoods)


def test_what_a_model_has_learnt_is_right_and_what_it_learnt_wrong_is_wrong():
    scholar = make_scholar()
    # It has learnt 12+7=19, 8+9=16, and that keys "are".
    known = [task for task in scholar.tasks if task.category in ("addition", "agreement")]
    scores = likelihood_score(scholar.model, scholar.tokenizer, known)
    assert scores.right.tolist() == [True, False, True]
    probabilities = [np.exp(values) for values in scores.log_likelihoods]
    assert [each.argmax() for each in probabilities] == [0, 1, 0]
    assert all(each.max() > 0.9 and each.sum() <= 1 for each in probabilities)


def test_the_modes_of_a_model_are_as_before(letters):
    """Dropout is off while it is asked, and what was frozen in evaluation mode stays so."""
    model = make_model().double()
    model.config.attention_dropout = 0.5
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    tasks = generate(4, seed=2, categories="addition")
    quiet = likelihood_score(model.eval(), letters, tasks)
    model.train()
    model.lm_head.eval()
    modes = [module.training for module in model.modules()]
    asked = likelihood_score(model, letters, tasks)
    assert [module.training for module in model.modules()] == modes
    np.testing.assert_array_equal(np.stack(asked.log_likelihoods), np.stack(quiet.log_likelihoods))
    assert all(parameter.grad is None for parameter in model.parameters())


GOOD = Task("1+2=", "3", ("4",))


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Task("1+2=", "3"), "'1+2=' has no distractors"),
        (Task("1+2=", "3", ("31",)), "the choice '3' is, to the tokenizer, how '31' begins"),
        (Task("1+2=", "31", ("3",)), "the choice '3' is, to the tokenizer, how '31' begins"),
        (Task("1" * 140, "3", ("4",)), "has 142 tokens, and 0 may follow, while"),
    ],
)
def test_tasks_that_cannot_be_compared_are_refused(model, letters, task, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        likelihood_score(model, letters, [GOOD, task])


def test_other_refusals(model, letters):
    with pytest.raises(ValueError, match="tasks: there are none"):
        likelihood_score(model, letters, [])
    with pytest.raises(ValueError, match="batch_size must be a whole number, 1 or more; got 0"):
        likelihood_score(model, letters, [GOOD], batch_size=0)
    with pytest.raises(ValueError, match="model: Linear neither is nor holds"):
        likelihood_score(torch.nn.Linear(2, 2), letters, [GOOD])
    split_otherwise = with_pairs([("=", "1")])
    with pytest.raises(ValueError, match="'=' leaves no token before its choices"):
        likelihood_score(model, split_otherwise, [Task("=", "17", ("27",))])
    small = tf.LlamaForCausalLM(tf.LlamaConfig(**model.config.to_dict() | {"vocab_size": 20}))
    with pytest.raises(ValueError, match="but the model has tokens 0 to 19 only"):
        likelihood_score(small, letters, [GOOD])


def test_likelihoods_that_are_not_finite_are_refused(letters):
    broken = make_model()
    with torch.no_grad():
        broken.lm_head.weight[5] = torch.nan
    with pytest.raises(ValueError, match="the log-likelihood of '1.2=3' is nan, as of 2 of 2"):
        likelihood_score(broken, letters, [GOOD])


def test_unknown_letters_are_told(model):
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(
            {letter: place for place, letter in enumerate(LETTERS)}, unk_token="~"
        )
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    tokenizer = tf.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="~")
    with pytest.warns(UserWarning, match="does not know all that is in 3 of 6 texts"):
        likelihood_score(model, tokenizer, [GOOD, Task("ä+2=", "3", ("4",))])


def test_choices_that_differ_in_their_last_token_alone_are_read_once(model, letters):
    read = []
    hook = model.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"]), with_kwargs=True
    )
    try:
        tasks = [GOOD, Task("9+2=", "11", ("12", "21"))]
        likelihood_score(model, letters, tasks)
    finally:
        hook.remove()
    (ids,) = read
    assert sorted(letters.batch_decode(ids, skip_special_tokens=True)) == ["1+2=", "9+2=1", "9+2=2"]
