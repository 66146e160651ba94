"""The series of heads: the norm of each output at each generated token."""

import pytest
import torch
from torch import nn

from support.recordings import STEPS, recorded
from support.tiny_models import (
    ARCHITECTURES,
    build,
    generate,
    heads_by_definition,
    prompts,
)
from synkern.models.language_model import load
from synkern.models.nodes import Node
from synkern.recording.recorder import record
from synkern.recording.replayer import replay


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_series_is_the_norm_of_each_head_at_each_generated_token(name, attention):
    model = build(name, attention)
    _, layers, heads, _, _ = ARCHITECTURES[name]
    n = 7  # with the generated tokens longer than the sliding window of Gemma 3
    recording, sequences = recorded(model, prompts(2, n))
    expected = heads_by_definition(model, sequences)[:, n - 1 : n - 1 + STEPS].float()
    assert recording.series.shape == (2, STEPS, layers * heads)
    assert recording.series.dtype == torch.float32
    assert expected.std(dim=1).min() > 1e-3  # a step too early or late would be seen
    torch.testing.assert_close(recording.series, expected, rtol=2e-5, atol=2e-6)
    assert [str(node) for node in recording.nodes] == [
        f"L{layer}H{head}" for layer in range(layers) for head in range(heads)
    ]


def test_one_token_of_prompt_attends_to_itself(model):
    """By hand: with one token the weights are 1, so a head's output is its group's value."""
    ids = prompts(2, 1)
    recording, _ = recorded(model, ids, steps=1)
    layer = model.model.layers[0]
    hidden = model.model.embed_tokens.weight[ids[:, 0]]
    hidden = hidden * (hidden.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    value = (hidden @ layer.self_attn.v_proj.weight.T).norm(dim=-1, keepdim=True)
    torch.testing.assert_close(recording.series[:, 0, :3], value.expand(2, 3))


def test_nodes_are_layer_major_and_zero_based(model):
    recording, _ = recorded(model, prompts(1, 4), steps=2)
    assert recording.nodes[:4] == (Node(0, 0), Node(0, 1), Node(0, 2), Node(1, 0))
    assert str(Node(3, 7)) == "L3H7"
    assert recording.kinds == ("heads",)


def test_heads_of_different_number_per_layer(model):
    attention = model.model.layers[1].self_attn
    attention.num_key_value_groups = 6
    attention.q_proj, attention.o_proj = nn.Linear(48, 96), nn.Linear(96, 48)
    recording, sequences = recorded(model, prompts(2, 5), steps=3)
    assert [sum(node.layer == i for node in recording.nodes) for i in range(3)] == [3, 6, 3]
    expected = heads_by_definition(model, sequences)[:, 4:7].float()
    torch.testing.assert_close(recording.series, expected)


def test_bfloat16_norms_are_float32():
    model = build("llama", dtype=torch.bfloat16)
    recording, sequences = recorded(model, prompts(4, 6), steps=24)
    assert recording.series.dtype == torch.float32
    rounded = recording.series.bfloat16().float()
    assert (recording.series != rounded).float().mean() > 0.9
    expected = heads_by_definition(model, sequences)[:, 5:29].float()
    torch.testing.assert_close(recording.series, expected, rtol=0.05, atol=0.02)


def test_float64_heads():
    model = build("llama", dtype=torch.float64)
    recording, sequences = recorded(model, prompts(2, 6))
    assert recording.series.dtype == torch.float32
    expected = heads_by_definition(model, sequences)[:, 5 : 5 + STEPS].float()
    # Rounded to float32 once, at the end.
    torch.testing.assert_close(recording.series, expected, rtol=2**-23, atol=0)
    mask = torch.ones_like(sequences)
    replayed = replay(model, sequences, new_tokens=STEPS, attention_mask=mask)
    torch.testing.assert_close(replayed.series, recording.series, rtol=2**-23, atol=0)


def test_a_layer_may_overwrite_its_input(model):
    class Overwriting(nn.Linear):
        def forward(self, x):
            out = super().forward(x)
            x.zero_()
            return out

    usual, _ = recorded(model, prompts(2, 5))
    for layer in model.model.layers:
        layer.self_attn.o_proj.__class__ = Overwriting
    recording, _ = recorded(model, prompts(2, 5))
    assert torch.equal(recording.series, usual.series)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "deepseek_v2", "gemma3-multimodal"])
def test_a_left_padded_batch_is_what_its_rows_are_alone(name):
    model = build(name)
    ids = prompts(3, 9)
    mask = torch.ones_like(ids)
    for row, padding in enumerate((0, 2, 5)):
        ids[row, :padding], mask[row, :padding] = 0, 0
    batch, sequences = recorded(model, ids, attention_mask=mask)
    for row, padding in enumerate((0, 2, 5)):
        alone, text = recorded(model, ids[row : row + 1, padding:])
        assert torch.equal(text[0], sequences[row, padding:])
        torch.testing.assert_close(alone.series[0], batch.series[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cache", ["static", "dynamic"])
def test_kinds_of_cache(model, cache):
    usual, _ = recorded(model, prompts(2, 5))
    other, _ = recorded(model, prompts(2, 5), cache_implementation=cache)
    torch.testing.assert_close(other.series, usual.series, rtol=1e-5, atol=1e-6)


def test_sampling_and_several_sequences_of_a_prompt(model):
    torch.manual_seed(0)
    recording, sequences = recorded(
        model, prompts(2, 5), do_sample=True, num_return_sequences=3, return_dict_in_generate=True
    )
    expected = heads_by_definition(model, sequences.sequences)[:, 4 : 4 + STEPS].float()
    torch.testing.assert_close(recording.series, expected, rtol=1e-4, atol=1e-5)


def test_prompts_given_as_embeddings(model):
    ids = prompts(2, 5)
    usual, _ = recorded(model, ids)
    with record(model) as recording:
        model.generate(
            inputs_embeds=model.get_input_embeddings()(ids), max_new_tokens=STEPS, do_sample=False
        )
    assert torch.equal(recording.series, usual.series)


def test_generation_is_not_changed(model):
    ids = prompts(2, 5)
    bare = generate(model, ids, STEPS)
    _, along = recorded(model, ids)
    assert torch.equal(along, bare)


@pytest.fixture(scope="module")
def smollm2():
    return load("smollm2-135m")


def test_smollm2(smollm2):
    """A trained model: left-padded batch of 100 tokens, recorded, replayed, and by definition."""
    model, tokenizer = smollm2
    steps = 100
    texts = ["The capital of France is", "Synergy is what two parts know only together, so"]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    with record(model) as recording:
        sequences = model.generate(
            **inputs, max_new_tokens=steps, min_new_tokens=steps, do_sample=False
        )
    assert recording.series.shape == (2, steps, 270)
    mask = inputs["attention_mask"]
    replayed = replay(model, sequences, new_tokens=steps, attention_mask=mask)
    n = mask.shape[1]
    whole = torch.nn.functional.pad(mask, (0, steps), value=1)
    defined = heads_by_definition(model, sequences, whole)[:, n - 1 : n - 1 + steps].float()
    for other in (replayed.series, defined):
        assert ((other - recording.series).abs() / recording.series).max() <= 1e-4
