"""Recording and replaying models under torch.compile."""

import pytest
import torch

from support.recordings import recorded
from support.tiny_models import (
    cache_of,
    go_on,
    prompts,
)
from synkern.recording.recorder import record
from synkern.recording.recording import RecordingError
from synkern.recording.replayer import replay


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
