"""Recording head norms along with generation, and replaying finished texts."""

import copy
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import pytest
import torch
import transformers as tf
from torch import nn

from support.tiny_models import (
    ARCHITECTURES,
    VOCAB,
    build,
    cache_argument,
    cache_of,
    generate,
    go_on,
    heads_by_definition,
    prompts,
)
from synkern.models.language_model import UnsupportedModelError, load
from synkern.models.nodes import Node
from synkern.recording import recorder
from synkern.recording.recorder import record
from synkern.recording.recording import RecordingError
from synkern.recording.replayer import replay

STEPS = 12


def hooks(model):
    return [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()]


def recorded(model, ids, steps=STEPS, **options):
    with record(model) as recording:
        sequences = generate(model, ids, steps, **options)
    return recording, sequences


@pytest.fixture
def model():
    return build("llama")


@pytest.fixture(scope="module")
def smollm2():
    return load("smollm2-135m")


# What is recorded


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


def test_blocks_of_any_size_give_the_same(model, monkeypatch):
    whole, _ = recorded(model, prompts(2, 5))
    for size in (1, 3 * 2 * 48 * 4 * 5):  # every step; every five steps of three layers
        monkeypatch.setattr(recorder, "_BLOCK_BYTES", size)
        blocks, _ = recorded(model, prompts(2, 5))
        assert torch.equal(blocks.series, whole.series)


def test_memory_held_is_bounded(model, monkeypatch):
    monkeypatch.setattr(recorder, "_BLOCK_BYTES", 3 * 48 * 4 * 4)
    held = []
    take = recorder._Recorder._read_held
    monkeypatch.setattr(
        recorder._Recorder,
        "_read_held",
        lambda self, run: (held.append(self._held_steps), take(self, run)),
    )
    recorded(model, prompts(1, 5), steps=20)
    assert max(held) == 4


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


# Texts and their ends


def test_every_generate_adds_trials(model):
    first, second = prompts(2, 5, seed=1), prompts(3, 8, seed=2)
    with record(model) as recording:
        generate(model, first, STEPS)
        generate(model, second, STEPS)
    apart = [recorded(model, ids)[0].series for ids in (first, second)]
    assert torch.equal(recording.series, torch.cat(apart))
    assert recording.lengths.tolist() == [STEPS] * 5


def test_different_numbers_of_steps_do_not_form_an_array(model):
    with record(model) as recording:
        generate(model, prompts(2, 5), 4)
        generate(model, prompts(2, 5), 6)
    with pytest.raises(RecordingError, match=r"\[4, 6\].*min_new_tokens=T"):
        _ = recording.series
    assert recording.lengths.tolist() == [4, 4, 6, 6]


def ending(model, ids, row, step):
    """An end token that `row` generates at `step` (from 1) and no row earlier, else None."""
    text = generate(model, ids, STEPS)[:, ids.shape[1] :]
    token = text[row, step - 1]
    return int(token) if not (text[:, : step - 1] == token).any() else None


@pytest.fixture
def early(model):
    """Prompts, and an end token that some trial but not all generate before the last step."""
    for seed in range(100):
        ids = prompts(3, 5, seed)
        for step in range(2, STEPS - 1):
            token = ending(model, ids, 1, step)
            text = generate(model, ids, STEPS)[:, 5:]
            if token is not None and not (text[[0, 2]] == token).any():
                return SimpleNamespace(ids=ids, token=token, step=step)
    raise AssertionError("no such prompt")


@pytest.mark.parametrize("kind", [int, lambda token: [98, token]])
def test_lengths_say_where_texts_end(model, early, kind):
    model.generation_config.eos_token_id = kind(early.token)
    message = "1 of 3 trials ended before step 12, .* min_new_tokens=12"
    with pytest.warns(UserWarning, match=message) as caught, record(model) as recording:
        sequences = generate(model, early.ids, STEPS)
    assert caught[0].filename == __file__
    assert recording.lengths.dtype == torch.int64
    # The token of step s is fed at step s + 1: steps 1 ... s come before.
    assert recording.lengths.tolist() == [STEPS, early.step, STEPS]
    assert (sequences[1, 5 + early.step :] == 0).all()
    mask = torch.ones_like(sequences)
    with pytest.warns(UserWarning, match="1 of 3 trials ended before step 12") as caught:
        replayed = replay(model, sequences, new_tokens=STEPS, attention_mask=mask)
    assert caught[0].filename == __file__
    assert torch.equal(replayed.lengths, recording.lengths)
    torch.testing.assert_close(replayed.series, recording.series, rtol=1e-4, atol=1e-5)


def test_an_end_token_given_to_generate_counts(model, early):
    def twice():
        with record(model) as recording:
            generate(model, early.ids, STEPS, eos_token_id=early.token)
            generate(model, early.ids, STEPS)  # no end token here
        return recording

    with pytest.warns(UserWarning, match="1 of 6 trials"):
        recording = twice()
    assert recording.lengths.tolist() == [STEPS, early.step, STEPS] + [STEPS] * 3


@pytest.mark.parametrize("kind", [int, lambda token: [98, token]])
def test_an_end_token_given_to_replay_counts(model, early, kind):
    model.generation_config.eos_token_id = 98
    with pytest.warns(UserWarning, match="1 of 3 trials"):
        recording, sequences = recorded(model, early.ids, eos_token_id=early.token)
    given = {"new_tokens": STEPS, "attention_mask": torch.ones_like(sequences)}
    with pytest.warns(UserWarning, match="1 of 3 trials"):
        replayed = replay(model, sequences, eos_token_id=kind(early.token), **given)
    assert torch.equal(replayed.lengths, recording.lengths)
    assert replay(model, sequences, **given).lengths.tolist() == [STEPS] * 3
    model.generation_config.eos_token_id = early.token
    assert replay(model, sequences, eos_token_id=[], **given).lengths.tolist() == [STEPS] * 3


class EndsARow:
    """A stopping criterion that ends one text of a batch."""

    def __call__(self, ids, scores, **_):
        return (torch.arange(len(ids)) == len(ids) - 1) & (ids.shape[1] >= 8)


class OneLetterPerToken:
    """What generate asks of a tokenizer for stop_strings."""

    def __call__(self, text, **_):
        return {"input_ids": [ord(letter) - ord("!") for letter in text]}

    def get_vocab(self):
        return {chr(ord("!") + i): i for i in range(VOCAB)}

    def _convert_id_to_token(self, i):
        return chr(ord("!") + i)

    def convert_tokens_to_string(self, tokens):
        return "".join(tokens)


def ends_of_rows(model, ids):
    """Settings that end the last of these texts at its step 3."""
    token = int(generate(model, ids, 3)[-1, -1])
    strings = {"stop_strings": [chr(ord("!") + token)], "tokenizer": OneLetterPerToken()}
    criteria = {"stopping_criteria": tf.StoppingCriteriaList([EndsARow()])}
    return {"stop_strings": strings, "stopping_criteria": criteria}


@pytest.mark.parametrize("name", ["stop_strings", "stopping_criteria"])
def test_ends_of_single_texts_of_a_batch_are_refused(model, name):
    ids = prompts(2, 5)
    options = ends_of_rows(model, ids)[name]
    message = (
        f"with {name} for [24] texts at once.*Generate one text at a time, or leave {name} out"
    )
    one = {"input_ids": ids[:1], "num_return_sequences": 2, "do_sample": True}
    embedded = {"inputs_embeds": model.get_input_embeddings()(ids)}
    for given in ({"inputs": ids}, {"inputs": ids, "num_return_sequences": 2}, one, embedded):
        with pytest.raises(RecordingError, match=message), record(model):
            model.generate(**given, **options, max_new_tokens=STEPS)
    if name == "stopping_criteria":
        with pytest.raises(RecordingError, match=message), record(model):
            model.generate(ids, None, None, options[name], max_new_tokens=STEPS)
    else:
        model.generation_config.stop_strings = options[name]
        with pytest.raises(RecordingError, match=message), record(model):
            generate(model, ids, STEPS)


@pytest.mark.parametrize("name", ["stop_strings", "stopping_criteria"])
def test_ends_of_one_text_are_recorded(model, name):
    ids = prompts(2, 5)[1:]
    recording, sequences = recorded(model, ids, **ends_of_rows(model, ids)[name])
    assert sequences.shape == (1, 8)
    assert recording.lengths.tolist() == [3]
    assert torch.equal(recording.series, recorded(model, ids)[0].series[:, :3])


def test_criteria_that_are_empty_end_nothing(model):
    recording, _ = recorded(model, prompts(2, 5), stopping_criteria=tf.StoppingCriteriaList())
    assert recording.series.shape[:2] == (2, STEPS)


def test_an_end_token_in_the_prompt_is_no_end(model):
    model.generation_config.eos_token_id = 2
    ids = prompts(2, 5)
    ids[0, 2] = 2
    recording, _ = recorded(model, ids, min_new_tokens=STEPS)
    assert recording.lengths.tolist() == [STEPS] * 2


def test_a_last_call_that_generate_takes_back_is_dropped(model, early, monkeypatch):
    """On some devices generate sees one call late that all texts have ended."""
    ids = early.ids[1:2]
    usual, sequences = recorded(model, ids, eos_token_id=early.token)
    plain = model.generate

    def late(*args, **kwargs):
        kwargs |= {"max_new_tokens": early.step + 1, "eos_token_id": None}
        return plain(*args, **kwargs)[:, :-1]

    monkeypatch.setattr(model, "generate", late)
    recording, dropped = recorded(model, ids, eos_token_id=early.token)
    assert torch.equal(dropped, sequences)
    assert torch.equal(recording.series, usual.series)
    assert recording.lengths.tolist() == [early.step]


# A loop of one's own


def test_a_loop_that_calls_the_model(model):
    ids = prompts(2, 5)
    usual, sequences = recorded(model, ids)
    with record(model) as recording:
        cache = cache_of(model(ids))
        for t in range(5, 5 + STEPS - 1):
            cache = go_on(model, sequences[:, t : t + 1], cache)
    assert not recording.series.requires_grad
    torch.testing.assert_close(recording.series, usual.series)


def test_a_loop_that_uses_its_buffers_again(model, early):
    model.generation_config.eos_token_id = early.token
    sequences = generate(model, early.ids, STEPS)
    prompt, token = torch.empty(3, 6, dtype=torch.long), torch.empty(3, 1, dtype=torch.long)

    def buffered():
        with torch.no_grad(), record(model) as recording:
            for n in (5, 6):
                given = prompt[:, :n]
                given.copy_(sequences[:, -n:] if n == 6 else early.ids)
                cache = cache_of(model(given))
                for t in range(5, 5 + STEPS - 1 if n == 5 else 5):
                    token.copy_(sequences[:, t : t + 1])
                    go_on(model, token, cache)
        return recording

    with pytest.warns(UserWarning, match="1 of 6 trials"):
        recording = buffered()
    assert recording.lengths.tolist() == [STEPS, early.step, STEPS, 1, 1, 1]


def test_prompts_in_one_buffer_are_not_one_text(model):
    """Only the same text, one token longer, is a loop without a cache."""
    buffer = prompts(2, 6, seed=1)
    with torch.no_grad(), record(model) as recording:
        model(buffer[:, :5])
        buffer.copy_(prompts(2, 6, seed=2))
        model(buffer)
    assert recording.series.shape == (4, 1, 9)


def packed(model, ids):
    bounds = torch.tensor([0, 3, 6])
    lengths = {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": 3}
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]])
    model(ids[:1], position_ids=positions, **lengths, max_length_k=3)


def without_cache(model, ids):
    model(ids[:, :5])
    model(ids)


def cut_back(model, ids):
    cache = cache_of(model(ids[:, :5]))
    go_on(model, ids[:, 5:], cache)
    cache.crop(-2)
    go_on(model, ids[:, 5:], cache)


def two_in_turn(model, ids):
    first = cache_of(model(ids[:, :5]))
    second = cache_of(model(ids[:, :5]))
    go_on(model, ids[:, 5:], second)
    go_on(model, ids[:, 5:], first)


def continued(model, ids):
    out = generate(model, ids, 3, return_dict_in_generate=True)
    go_on(model, out.sequences[:, -1:], cache_of(out))


def fewer_rows(model, ids):
    cache = cache_of(model(ids[:, :5]))
    cache.batch_select_indices(torch.tensor([1]))
    go_on(model, ids[:1, 5:], cache)


def embeddings_for_a_token(model, ids):
    cache = cache_of(model(ids[:, :5]))
    embeds = model.get_input_embeddings()(ids[:, 5:])
    model(inputs_embeds=embeds, **{cache_argument(model): cache})


def decoder_alone(model, ids):
    model.model(ids)


def decoder_in_between(model, ids):
    model(ids)
    model.model(ids)


def interrupted(model, ids):
    handle = model.model.layers[1].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(ids)
    handle.remove()
    model(ids[:, :3])


@pytest.mark.parametrize(
    ("loop", "message"),
    [
        (without_cache, "5 tokens and then with the same and one more"),
        (cut_back, r"cache of 4 and 2 row\(s\), after 6 tokens and 2 row"),
        (two_in_turn, "two texts are decoded in turn"),
        (continued, "whose recording had ended"),
        (fewer_rows, r"cache of 5 and 1 row\(s\), after 5 tokens and 2 row"),
        (embeddings_for_a_token, "inputs_embeds for generated token 2"),
        (decoder_alone, "without a call of the model itself"),
        (decoder_in_between, r"called 1 times, but .*o_proj 2 times"),
        (interrupted, "called 1 times, but .* 0 times"),
        (packed, "several sequences packed into one row"),
    ],
)
def test_a_loop_whose_calls_are_not_steps_is_refused(model, loop, message):
    def misuse():
        with record(model):
            loop(model, prompts(2, 6))

    before = hooks(model)
    with pytest.raises(RecordingError, match=message):
        misuse()
    assert hooks(model) == before


def test_a_cache_filled_before_is_refused(model):
    ids = prompts(2, 6)
    cache = cache_of(model(ids[:, :5]))
    with pytest.raises(RecordingError, match="the cache was filled before"), record(model):
        go_on(model, ids[:, 5:], cache)


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 2}, "num_beams=2"),
        ({"prompt_lookup_num_tokens": 3}, "prompt_lookup_num_tokens=3"),
        ({"prefill_chunk_size": 2}, "prefill_chunk_size=2"),
        ({"use_cache": False}, "use_cache=False"),
        ({"guidance_scale": 1.5}, "guidance_scale=1.5"),
        ({"assistant_model": "itself"}, "assistant_model=LlamaForCausalLM"),
        ({"cache_implementation": "paged"}, "cache_implementation='paged'"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha=0.6"),
        ({"custom_generate": "somebody/decoding"}, "custom_generate='somebody/decoding'"),
        ({"assistant_early_exit": 2}, "assistant_early_exit=2"),
    ],
)
@pytest.mark.parametrize("where", ["argument", "configuration", "default"])
def test_settings_of_generate_are_refused(model, options, message, where):
    if options.get("assistant_model"):
        options = {"assistant_model": copy.deepcopy(model)}
    if where != "argument" and not hasattr(tf.GenerationConfig(), next(iter(options))):
        return  # generate takes it as an argument only
    given = {}
    if where == "argument":
        given = options
    elif where == "configuration":
        given = {"generation_config": tf.GenerationConfig(max_new_tokens=4, **options)}
    else:
        for name, value in options.items():
            setattr(model.generation_config, name, value)
    with pytest.raises(RecordingError, match=message) as refusal, record(model):
        generate(model, prompts(1, 5), 4, **given)
    assert "synkern.replay" in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt_lookup_num_tokens": 3}, r"\d token\(s\) on a cache"),
        ({"prefill_chunk_size": 2}, r"2 token\(s\) on a cache of 2"),
        ({"use_cache": False}, "use_cache=False"),
        ({"assistant_model": "itself"}, r"token\(s\) on a cache"),
    ],
)
def test_the_calls_alone_are_refused_too(model, options, message):
    """Where generate is not called through the model, the calls still give it away."""
    if "assistant_model" in options:
        options = {"assistant_model": copy.deepcopy(model)}
    ids = prompts(1, 4).repeat(1, 3)
    before = hooks(model)
    with pytest.raises(RecordingError, match=message) as refusal, record(model):
        type(model).generate(model, ids, max_new_tokens=8, do_sample=False, **options)
    assert "synkern.replay" in str(refusal.value)
    assert hooks(model) == before


def test_a_model_being_recorded_is_not_read_twice(model):
    ids = prompts(1, 5)
    with record(model) as recording:
        with pytest.raises(RecordingError, match="LlamaForCausalLM is already being recorded"):
            record(model).__enter__()
        with pytest.raises(RecordingError, match="LlamaForCausalLM is already being recorded"):
            replay(model, ids, new_tokens=2)
        with pytest.raises(RecordingError, match="is already being recorded"):
            record(nn.Sequential(model)).__enter__()
        generate(model, ids, STEPS)
        recorded(build("llama"), ids)  # another model
    assert torch.equal(recorded(model, ids)[0].series, recording.series)


class Gate:
    """A logits processor that halts generate at a step until it is opened."""

    def __init__(self, step):
        self.left, self.reached, self.opened = step, threading.Event(), threading.Event()

    def __call__(self, ids, scores):
        self.left -= 1
        if self.left == 0:
            self.reached.set()
            assert self.opened.wait(timeout=60)
        return scores


def test_a_generate_that_outlasts_the_block_is_an_error(model, monkeypatch):
    monkeypatch.setattr(recorder, "_RETURN_SECONDS", 0.05)
    ids, gate, texts = prompts(2, 5), Gate(step=4), []
    before, own = hooks(model), set(model.__dict__)
    thread = threading.Thread(
        target=lambda: texts.append(generate(model, ids, STEPS, logits_processor=[gate]))
    )
    with pytest.raises(RecordingError, match=r"still running in another thread.*thread\.join\(\)"):  # noqa: PT012, SIM117
        with record(model) as recording:
            generate(model, ids, STEPS)
            thread.start()
            assert gate.reached.wait(timeout=60)
    gate.opened.set()
    thread.join()
    assert torch.equal(texts[0], generate(model, ids, STEPS))  # undisturbed
    assert hooks(model) == before
    assert set(model.__dict__) == own
    with pytest.raises(RecordingError, match="not complete"):
        _ = recording.series


def test_a_streamed_text_is_complete(model):
    """A streamer says that the text has ended a little before generate returns."""

    class Streamer:
        def __init__(self):
            self.ended, self.left = threading.Event(), threading.Event()

        def put(self, tokens):
            pass

        def end(self):
            self.ended.set()
            self.left.wait(timeout=0.2)

    ids, streamer = prompts(1, 5), Streamer()
    thread = threading.Thread(target=lambda: generate(model, ids, STEPS, streamer=streamer))
    with record(model) as recording:
        thread.start()
        assert streamer.ended.wait(timeout=60)
    thread.join()
    assert torch.equal(recording.series, recorded(model, ids)[0].series)


def test_training_mode_is_refused(model):
    model.train()
    with pytest.raises(RecordingError, match=r"training mode.*model\.eval\(\)"), record(model):
        generate(model, prompts(1, 5), 4)
    with pytest.raises(RecordingError, match=r"training mode.*model\.eval\(\)"):
        replay(model, prompts(1, 5), new_tokens=2)


def test_padding_on_the_right_is_refused(model):
    ids = prompts(2, 5)
    mask = torch.ones_like(ids)
    mask[1, 3:] = 0
    message = 'row 1 ends in 0.*padding_side="left"'
    with pytest.raises(ValueError, match=message), record(model):
        generate(model, ids, 4, attention_mask=mask)
    with pytest.raises(ValueError, match=message), record(model):
        model(ids, attention_mask=mask)
    with pytest.raises(ValueError, match=message):
        replay(model, prompts(2, 9), new_tokens=4, attention_mask=mask)


def test_an_empty_recording_is_an_error(model):
    with pytest.raises(RecordingError, match="nothing was recorded"), record(model):
        pass


def test_a_recording_is_read_after_it_ends(model):
    with record(model) as recording:
        generate(model, prompts(1, 5), 3)
        with pytest.raises(RecordingError, match="read it after"):
            _ = recording.series
    assert repr(recording) == "Recording(trials x steps x nodes: (1, 3, 9))"


@pytest.mark.parametrize("block", [1, 1 << 30])
def test_a_norm_that_is_not_finite_names_head_and_step(model, monkeypatch, block):
    monkeypatch.setattr(recorder, "_BLOCK_BYTES", block)
    calls = []

    def spoil(_, args):
        calls.append(None)
        if len(calls) == 3:
            args[0][1, -1, 2 * 16] = float("nan")

    model.model.layers[2].self_attn.o_proj.register_forward_pre_hook(spoil)
    with (
        pytest.raises(RecordingError, match="head L2H2 has the value nan at step 3 of trial 1"),
        record(model),
    ):
        generate(model, prompts(2, 5), STEPS)


def test_a_model_that_cannot_be_read_is_refused_before_generating():
    config = tf.BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=2, n_head=2)
    bloom = tf.BloomForCausalLM(config).eval()
    with pytest.raises(UnsupportedModelError, match="Bloom"), record(bloom):
        raise AssertionError("not reached")
    with pytest.raises(UnsupportedModelError, match="Bloom"):
        replay(bloom, prompts(1, 5), new_tokens=2)


def test_calls_that_are_not_the_tokens_returned_are_refused(model, monkeypatch):
    plain = model.generate
    monkeypatch.setattr(model, "generate", lambda *a, **k: plain(*a, **k)[:, :-2])
    with pytest.raises(RecordingError, match="appended 4 tokens in 6 calls"), record(model):
        generate(model, prompts(1, 5), 6)


# What is left behind


def test_nothing_is_left_behind(model):
    before, own = hooks(model), set(model.__dict__)
    recorded(model, prompts(1, 5), steps=3)
    assert hooks(model) == before
    assert set(model.__dict__) == own


def test_an_error_inside_passes_and_leaves_nothing_behind(model):
    before, own = hooks(model), set(model.__dict__)
    error, recordings = KeyError("mine"), []

    def fail():
        with record(model) as recording:
            recordings.append(recording)
            generate(model, prompts(1, 5), 3)
            raise error

    with pytest.raises(KeyError) as caught:
        fail()
    assert caught.value is error
    assert hooks(model) == before
    assert set(model.__dict__) == own
    with pytest.raises(RecordingError, match="not complete"):
        _ = recordings[0].series


def test_a_generate_of_ones_own_is_put_back(model):
    mine = model.generate
    model.generate = mine
    recorded(model, prompts(1, 5), steps=3)
    assert model.__dict__["generate"] is mine


def test_a_text_that_failed_is_not_recorded(model):
    """As when a batch runs out of memory and is tried again in halves."""
    ids = prompts(2, 5)
    usual, _ = recorded(model, ids)
    calls = []

    def fail(*_):
        calls.append(None)
        if len(calls) == 4:
            raise MemoryError

    with record(model) as recording:
        handle = model.model.layers[1].register_forward_pre_hook(fail)
        with pytest.raises(MemoryError):
            generate(model, ids, STEPS)
        handle.remove()
        generate(model, ids, STEPS)
    assert torch.equal(recording.series, usual.series)


# Compiled models


@pytest.fixture
def shallow(model):
    """One layer, which compiles quickly."""
    model.model.layers = model.model.layers[:1]
    return model


def loop(model, sequences, prompt):
    with torch.no_grad():
        cache = cache_of(model(sequences[:, :prompt]))
        for t in range(prompt, sequences.shape[1] - 1):
            cache = go_on(model, sequences[:, t : t + 1], cache)


@pytest.mark.proof
@pytest.mark.parametrize("how", ["module", "layers"])
def test_a_model_compiled_and_run_before(shallow, how):
    usual, sequences = recorded(shallow, prompts(2, 5), steps=2)
    compiled = shallow
    if how == "module":
        compiled = torch.compile(shallow, backend="eager")
    else:
        shallow.model.layers[0].compile(backend="eager")
    loop(compiled, sequences, prompt=5)
    with record(compiled) as recording:
        loop(compiled, sequences, prompt=5)
    torch.testing.assert_close(recording.series, usual.series)
    mask = torch.ones_like(sequences)
    replayed = replay(compiled, sequences, new_tokens=2, attention_mask=mask)
    torch.testing.assert_close(replayed.series, usual.series)


def test_compiled_code_is_whole_again_afterwards(shallow):
    """The hooks split what is compiled while they are there."""
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    shallow.model.layers[0].compile(backend=backend)
    counts = []
    with torch.no_grad():
        shallow(prompts(1, 5))
        counts.append(len(graphs))
        with record(shallow):
            shallow(prompts(1, 5))
        counts.append(len(graphs) - sum(counts))
        shallow(prompts(1, 5))
        counts.append(len(graphs) - sum(counts))
    before, during, after = counts
    assert before == after
    assert during > before


def test_compiled_code_that_cannot_be_seen_is_an_error(model):
    ids = prompts(1, 5)
    step = torch.compile(lambda tokens: model(tokens).logits, backend="eager")
    with torch.no_grad():
        step(ids)
        message = r"nothing was recorded.*torch\.compile"
        with pytest.raises(RecordingError, match=message), record(model):
            step(ids)


# Replay


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_replay_is_generation(name):
    model = build(name)
    ids = prompts(3, 9)
    mask = torch.ones_like(ids)
    ids[1, :4], mask[1, :4] = 0, 0
    recording, sequences = recorded(model, ids, attention_mask=mask)
    for given in (mask, torch.nn.functional.pad(mask, (0, STEPS), value=1)):
        replayed = replay(model, sequences, new_tokens=STEPS, attention_mask=given)
        assert replayed.nodes == recording.nodes
        assert torch.equal(replayed.lengths, recording.lengths)
        torch.testing.assert_close(replayed.series, recording.series, rtol=1e-4, atol=1e-5)


def test_replay_of_assisted_decoding_is_plain_generation(model):
    ids = prompts(1, 4).repeat(1, 3)
    recording, sequences = recorded(model, ids)
    assisted = generate(model, ids, STEPS, prompt_lookup_num_tokens=3)
    assert torch.equal(assisted, sequences)
    replayed = replay(model, assisted, new_tokens=STEPS)
    torch.testing.assert_close(replayed.series, recording.series, rtol=1e-4, atol=1e-5)


def test_replay_leaves_nothing_behind(model):
    before = hooks(model)
    replay(model, prompts(1, 5), new_tokens=2)
    model.model.layers[1].mlp.forward = lambda x: x / torch.ones(7)
    with pytest.raises(UnsupportedModelError):
        replay(model, prompts(1, 5), new_tokens=2)
    assert hooks(model) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"new_tokens": 0}, "new_tokens: 0 of sequences 6 tokens long"),
        ({"new_tokens": 6}, "new_tokens: 6 of sequences 6 tokens long"),
        ({"sequences": torch.ones(6, dtype=torch.long)}, r"sequences: .* shape \(6,\)"),
        ({"sequences": torch.ones(2, 6)}, "sequences: .* torch.float32"),
        ({"attention_mask": torch.ones(2, 5)}, r"\(2, 5\) fits neither the prompts \(2, 4\)"),
        ({}, r"attention_mask: missing for 2 texts.*torch\.ones_like\(sequences\)"),
        ({"sequences": torch.zeros(1, 6, dtype=torch.long)}, "attention_mask: missing, while"),
    ],
)
def test_replay_refuses_what_does_not_fit(model, arguments, message):
    arguments = {"sequences": prompts(2, 6), "new_tokens": 2} | arguments
    sequences = arguments.pop("sequences")
    with pytest.raises(ValueError, match=message):
        replay(model, sequences, **arguments)


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


def test_importing_needs_no_transformers():
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "import synkern.recording.recorder, synkern.models.heads, synkern.models.language_model\n"
        "try: synkern.models.language_model.load('gpt2')\n"
        "except ImportError as e: assert 'pip install \"synkern[llm]\"' in str(e); print('named')\n"
        "import torch\n"
        "try: synkern.recording.recorder.record(torch.nn.Linear(2, 2)).__enter__()\n"
        "except ImportError as e: assert 'synkern[llm]' in str(e); print('named')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["named", "named"]


def test_no_warning_where_every_text_lasts(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorded(model, prompts(2, 5))
