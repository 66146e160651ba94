"""What is no text and no model: refused by name, before the model is asked."""

import pytest
import torch

from support.tiny_models import build, cache_of, generate, go_on, prompts
from synkern import record, replay
from synkern.models import upstream
from synkern.models.language_model import UnsupportedModelError

IDS = prompts(2, 7)


@pytest.fixture(scope="module")
def model():
    return build("llama")


def arguments(**changes):
    return {"sequences": IDS, "new_tokens": 3, "attention_mask": torch.ones_like(IDS)} | changes


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"sequences": IDS.tolist()}, TypeError, "sequences: list is no tensor"),
        ({"sequences": IDS.numpy()}, TypeError, "sequences: ndarray is no tensor"),
        ({"sequences": IDS > 4}, ValueError, "sequences: .* int64 or int32, got torch.bool"),
        ({"sequences": IDS[:0]}, ValueError, r"sequences: shape \(0, 7\) holds no token"),
        ({"sequences": IDS + 100}, ValueError, r"token 1\d\d is none of the tokens 0 to 99 of Ll"),
        ({"sequences": IDS - 100}, ValueError, r"sequences: token -\d+ is none of the tokens"),
        ({"new_tokens": 3.0}, TypeError, "new_tokens: 3.0 is no integer"),
        ({"new_tokens": "3"}, TypeError, "new_tokens: '3' is no integer"),
        ({"new_tokens": True}, TypeError, "new_tokens: True is no integer"),
        ({"attention_mask": [[1] * 7] * 2}, TypeError, "attention_mask: list is no tensor"),
    ],
)
def test_replay_refuses_what_is_no_text(model, changes, kind, message):
    with pytest.raises(kind, match=message):
        replay(model, **arguments(**changes))


def test_replay_reads_integers_of_any_kind(model):
    usual = replay(model, **arguments()).series
    other = replay(model, **arguments(sequences=IDS.int(), new_tokens=torch.tensor(3).numpy()[()]))
    torch.testing.assert_close(other.series, usual)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (IDS[0], r"input_ids: shape \(7,\) holds no token of any text; .*ids\[None\]"),
        (IDS[:, :0], r"input_ids: shape \(2, 0\) holds no token"),
        (IDS.tolist(), "input_ids: list is no tensor"),
    ],
)
def test_record_refuses_what_is_no_text(model, ids, message):
    with pytest.raises(ValueError, match=message), record(model):
        model.generate(ids, max_new_tokens=3)
    with pytest.raises(ValueError, match=message), record(model):
        model(ids)


def test_embeddings_of_no_text_are_called_so(model):
    with pytest.raises(ValueError, match=r"inputs_embeds: shape \(48,\)"), record(model):
        model(inputs_embeds=torch.zeros(48))


@pytest.mark.parametrize("read", [record, lambda model: replay(model, **arguments())])
@pytest.mark.parametrize("thing", [None, "gpt2", torch.nn.Linear])
def test_what_is_no_model_is_refused(read, thing):
    message = r"model: \w+ is no torch module; pass the model itself"
    with pytest.raises(UnsupportedModelError, match=message), read(thing):
        pass


def test_a_model_without_a_head_has_no_settings(model):
    """It does not write, but what it reads can be recorded."""
    body = model.model
    sequences = generate(model, IDS, 3)
    usual = replay(model, **arguments(sequences=sequences))
    read = replay(body, **arguments(sequences=sequences))
    torch.testing.assert_close(read.series, usual.series)
    with record(body) as recording, torch.no_grad():
        cache = cache_of(body(IDS))
        for step in (7, 8):
            cache = go_on(body, sequences[:, step : step + 1], cache)
    torch.testing.assert_close(recording.series, usual.series)


def test_a_placeholder_need_not_be_a_token(monkeypatch, model):
    place = upstream.Placeholder("image_token_id", 100, "image")
    monkeypatch.setattr(upstream, "placeholders", lambda model: (place,))
    sequences = IDS.clone()
    sequences[0, 1] = 100
    with pytest.raises(ValueError, match="row 0 holds token 100, in whose place"):
        replay(model, **arguments(sequences=sequences))
