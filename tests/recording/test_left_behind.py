"""After a recording, also one that failed, the model is as it was."""

import pytest
import torch

from support.recordings import STEPS, recorded
from support.tiny_models import (
    generate,
    hooks,
    prompts,
)
from synkern.recording.recorder import record
from synkern.recording.recording import RecordingError


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
