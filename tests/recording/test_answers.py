"""What a tokenizer makes of prompts, before a model reads it."""

import numpy as np
import pytest

from support import tiny_study
from synkern.models.language_model import load
from synkern.recording.answers import PromptError, record_answers
from synkern.recording.recording import RecordingError

PROMPTS = ["the cat sat", "why is it blue on a big mat"]


@pytest.fixture
def loaded(tmp_path):
    return load(tiny_study.save_model(tmp_path))


def answers(loaded, texts=PROMPTS, *, new_tokens=4, batch_size=1):
    return record_answers(*loaded, texts, new_tokens=new_tokens, batch_size=batch_size)


def test_prompts_are_answered(loaded):
    assert answers(loaded).series.shape == (2, 4, 8)


def test_where_the_nodes_are(loaded):
    found = answers(loaded)
    expected = [(layer, head) for layer in range(4) for head in range(2)]
    assert [(node.layer, node.index) for node in found.nodes] == expected
    assert found.routed is None


def test_a_kind_of_node_that_there_is_not_is_refused(loaded):
    with pytest.raises(ValueError, match="nodes: 'synapses' is no kind of node; use 'heads'"):
        record_answers(*loaded, PROMPTS, new_tokens=4, batch_size=1, nodes="synapses")


def test_the_error_is_of_both_kinds():
    assert issubclass(PromptError, RecordingError)
    assert issubclass(PromptError, ValueError)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_tokens_that_the_model_does_not_have_are_refused(loaded, batch_size):
    loaded[1].add_tokens(["blue!"])
    texts = [PROMPTS[0], "why is it blue!"]
    where = "1 to 1" if batch_size == 1 else "0 to 1"
    message = f"token 24 of prompts {where}, but LlamaForCausalLM has tokens 0 to 23 only"
    with pytest.raises(PromptError, match=message):
        answers(loaded, texts, batch_size=batch_size)


def test_a_prompt_of_no_tokens_is_refused(loaded):
    loaded[1].add_bos_token = False
    with pytest.raises(PromptError, match=r"prompt 1 \(from 0\) becomes no token"):
        answers(loaded, ["the cat", "  "], batch_size=2)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_an_answer_beyond_the_context_is_refused(loaded, batch_size):
    long = " ".join(["cat"] * 100)
    answers(loaded, ["the cat", long], new_tokens=29, batch_size=batch_size)
    message = (
        r"prompt 1 \(from 0\) is 100 tokens long and is to get 30 more: a text of 129 tokens is "
        "longer than the 128 that LlamaForCausalLM was made for"
    )
    with pytest.raises(PromptError, match=message):
        answers(loaded, ["the cat", long], new_tokens=30, batch_size=batch_size)


def test_an_end_that_the_model_cannot_write_changes_nothing(loaded):
    loaded[0].generation_config.eos_token_id = None
    usual = answers(loaded)
    loaded[0].generation_config.eos_token_id = [500, 24, -1]
    np.testing.assert_array_equal(answers(loaded).tokens, usual.tokens)


@pytest.mark.parametrize("end", ["x", [2, "x"]])
def test_an_end_that_is_no_token_is_refused(loaded, end):
    loaded[0].generation_config.eos_token_id = end
    with pytest.raises(PromptError, match=r"eos_token_id of the model .* is 'x', which is no"):
        answers(loaded)


def test_stretched_positions_are_a_longer_context(tmp_path):
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    folder = tiny_study.save_model(tmp_path, max_position_embeddings=8, rope_parameters=rope)
    stretched = load(folder)  # to 32 tokens; warnings are errors
    assert answers(stretched, new_tokens=20).series.shape == (2, 20, 8)
    with pytest.raises(PromptError, match="is longer than the 32"):
        answers(stretched, new_tokens=30)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "OverflowError: Range too big"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ 'a' + 1 }}", "TypeError"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "RecursionError"),
    ],
)
def test_a_template_that_fails_is_named(loaded, template, message):
    loaded[1].chat_template = template
    with pytest.raises(PromptError, match=f"chat template fails .*{message}"):
        answers(loaded)
