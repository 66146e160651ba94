"""What is held while a text grows: read in chunks of bounded memory, with the same result."""

import pytest
import torch

from support.recordings import STEPS, recorded
from support.tiny_models import generate, prompts
from synkern import record
from synkern.models import nodes as kinds
from synkern.models.heads import find_heads
from synkern.models.nodes import Kind
from synkern.models.signals import Signal
from synkern.models.sites import Site, vector_norms
from synkern.recording.recording import RecordingError

# What the recorder may hold, and how often the numbers of the heads are repeated for a step to be
# a fifth of it.
HELD = 64 << 20
TIMES = 12_000
STEP = 3 * 2 * 48 * 4 * TIMES  # bytes: sites, trials, numbers of the heads of a layer


class Wide(Site):
    """The heads of a layer, in values of many times the size; notes how many steps it reads."""

    chunks = None

    def read(self, values):
        self.chunks.append(len(values))
        return vector_norms(values[..., :48], 16)

    def write(self, values, nodes, with_):
        raise NotImplementedError

    def watch(self, receive):
        return super().watch(lambda values: receive(values[:, -1:].repeat(1, 1, TIMES)))


@pytest.fixture
def chunks(monkeypatch):
    """By site and chunk, the steps that were read."""
    found = []
    monkeypatch.setattr(Wide, "chunks", found)

    def find(model, signal):
        return tuple(Wide("wide", s.layer, s.name, s.module, s.count) for s in find_heads(model))

    signals = {"norm": Signal("L2 norm")}
    kind = Kind("wide head", "wide heads", "W", find, signals)
    monkeypatch.setitem(kinds.KINDS, "wide", kind)
    return found


def test_chunks_are_of_bounded_memory_and_give_the_same(model, chunks):
    ids = prompts(2, 5)
    usual, _ = recorded(model, ids)
    with record(model, nodes="wide") as recording:
        generate(model, ids, STEPS)
    assert torch.equal(recording.series, usual.series)
    assert chunks == [5] * 3 + [5] * 3 + [2] * 3
    assert 4 * STEP < HELD <= 5 * STEP


def test_a_value_that_is_not_finite_in_a_later_chunk_names_its_step(model, chunks):
    calls = []

    def spoil(_, args):
        calls.append(None)
        if len(calls) == 8:
            args[0][1, -1, 2 * 16] = float("nan")

    model.model.layers[2].self_attn.o_proj.register_forward_pre_hook(spoil)
    message = "wide head L2W2 has the value nan at step 8 of trial 1"
    with pytest.raises(RecordingError, match=message), record(model, nodes="wide"):
        generate(model, prompts(2, 5), STEPS)
    assert len(chunks) == 6
