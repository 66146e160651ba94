"""Loops of one's own that call the model: recorded, or refused by name."""

import pytest
import torch

from support.recordings import STEPS, recorded
from support.tiny_models import (
    cache_argument,
    cache_of,
    generate,
    go_on,
    hooks,
    prompts,
)
from synkern.recording.recorder import record
from synkern.recording.recording import RecordingError


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
