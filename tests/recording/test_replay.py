"""Replaying finished texts."""

import pytest
import torch

from support.recordings import STEPS, recorded
from support.tiny_models import (
    ARCHITECTURES,
    build,
    generate,
    hooks,
    prompts,
)
from synkern.models.language_model import UnsupportedModelError
from synkern.recording.replayer import replay


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
