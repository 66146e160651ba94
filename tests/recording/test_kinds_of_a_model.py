"""Heads, blocks, layers and neurons side by side: the text stays, and the replay agrees."""

import accelerate
import pytest
import torch

from support.tiny_models import ARCHITECTURES, build, generate, prompts
from synkern.recording import record, replay

IDS = prompts(2, 5)
STEPS = 6
OF_EXPERTS = {"mixtral", "deepseek_v2"}
SEEN = {"return_dict_in_generate": True, "output_logits": True, "output_hidden_states": True}


def kinds_of(name):
    return ("heads", "mlps", "layers", *(() if name in OF_EXPERTS else ("neurons",)))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_recording_all_kinds_changes_nothing(name):
    model = build(name)
    bare = generate(model, IDS, STEPS, **SEEN)
    with record(model, nodes=kinds_of(name)) as recording:
        along = generate(model, IDS, STEPS, **SEEN)
    assert torch.equal(bare.sequences, along.sequences)
    assert all(map(torch.equal, bare.logits, along.logits))
    for one, other in zip(bare.hidden_states, along.hidden_states, strict=True):
        assert all(map(torch.equal, one, other))
    _, layers, heads, _, _ = ARCHITECTURES[name]
    assert recording.of("heads").series.shape == (2, STEPS, layers * heads)
    assert recording.of("mlps").series.shape == (2, STEPS, layers)
    assert recording.of("layers").series.shape == (2, STEPS, layers)
    assert recording.routed is None
    assert not recording.zero_filled


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_padded_batch_and_its_replay_agree(name):
    model = build(name)
    mask = torch.ones_like(IDS)
    mask[0, :2] = 0
    kinds = kinds_of(name)
    with record(model, nodes=kinds) as recording:
        sequences = generate(model, IDS, STEPS, attention_mask=mask)
    replayed = replay(model, sequences, new_tokens=STEPS, attention_mask=mask, nodes=kinds)
    assert replayed.nodes == recording.nodes
    # As for heads alone: with and without a cache the same sums are made in another order.
    torch.testing.assert_close(replayed.series, recording.series, rtol=1e-4, atol=1e-4)


def test_each_step_is_that_of_its_token():
    """Hooks of one's own, at the last position of every call."""
    model = build("llama")
    layer, kept = model.model.layers[1], {"mlps": [], "neurons": [], "layers": []}
    handles = [
        layer.mlp.register_forward_hook(lambda _, a, o: kept["mlps"].append(o[:, -1].norm(dim=-1))),
        layer.mlp.down_proj.register_forward_pre_hook(
            lambda _, a: kept["neurons"].append(a[0][:, -1].clone())
        ),
        layer.register_forward_hook(
            lambda _, a, o: kept["layers"].append((o - a[0])[:, -1].norm(dim=-1))
        ),
    ]
    generate(model, IDS, STEPS)
    for handle in handles:
        handle.remove()
    with record(model, nodes=("mlps", "neurons", "layers")) as recording:
        generate(model, IDS, STEPS)
    for kind in ("mlps", "layers"):
        own = torch.stack(kept[kind], 1)
        torch.testing.assert_close(recording.of(kind).series[..., 1], own, rtol=1e-5, atol=0)
    neurons = recording.of("neurons")
    assert torch.equal(neurons.series[..., 64:128], torch.stack(kept["neurons"], 1))
    assert neurons.nodes[64 + 5].label == "L1N5"


def test_a_compiled_model():
    model = build("llama")
    model.model.layers = model.model.layers[:1]
    kinds = ("mlps", "neurons", "layers")
    with record(model, nodes=kinds) as plain:
        sequences = generate(model, IDS, STEPS)
    compiled = torch.compile(model, backend="eager")
    assert torch.equal(generate(compiled, IDS, STEPS), sequences)
    with record(compiled, nodes=kinds) as recording:
        assert torch.equal(generate(compiled, IDS, STEPS), sequences)
    torch.testing.assert_close(recording.series, plain.series, rtol=1e-5, atol=1e-6)


# Older versions of transformers do not look for the device in accelerate's hooks.
@pytest.mark.filterwarnings("ignore:You are calling .generate:UserWarning")
def test_weights_that_are_elsewhere(tmp_path):
    model = build("llama")
    kinds = ("mlps", "neurons", "layers")
    with record(model, nodes=kinds) as here:
        generate(model, IDS, 3)
    accelerate.disk_offload(model, tmp_path, execution_device="cpu")
    with record(model, nodes=kinds) as elsewhere:
        generate(model, IDS, 3)
    assert torch.equal(elsewhere.series, here.series)
