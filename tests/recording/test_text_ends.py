"""Several texts, and where each of them ends."""

import warnings

import pytest
import torch
import transformers as tf

from support.recordings import STEPS, recorded
from support.tiny_models import (
    VOCAB,
    generate,
    prompts,
)
from synkern.recording.recorder import record
from synkern.recording.recording import RecordingError
from synkern.recording.replayer import replay


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


def test_no_warning_where_every_text_lasts(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorded(model, prompts(2, 5))
