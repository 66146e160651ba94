"""Finding the heads of a model is seen by nobody's hooks, and leaves no trace."""

import copy
import functools
import threading

import accelerate
import pytest
import torch
from torch import nn
from torch.nn.modules import module as everywhere

from support.tiny_models import generate, prompts
from synkern.models.heads import find_heads
from synkern.models.language_model import UnsupportedModelError
from synkern.recording.recorder import record
from synkern.recording.replayer import replay


class Counter:
    """A hook of every signature."""

    def __init__(self):
        self.calls = 0

    def __call__(self, *_):
        self.calls += 1


def places(model):
    """Where users put hooks: the model, a layer, an output projection, an embedding."""
    layer = model.model.layers[1]
    return model, layer, layer.self_attn.o_proj, model.model.embed_tokens


KINDS = {
    "pre": lambda m, hook: m.register_forward_pre_hook(hook),
    "pre, kwargs": lambda m, hook: m.register_forward_pre_hook(hook, with_kwargs=True),
    "pre, first": lambda m, hook: m.register_forward_pre_hook(hook, prepend=True),
    "forward": lambda m, hook: m.register_forward_hook(hook),
    "forward, kwargs": lambda m, hook: m.register_forward_hook(hook, with_kwargs=True),
    "forward, always": lambda m, hook: m.register_forward_hook(hook, always_call=True),
    "partial": lambda m, hook: m.register_forward_pre_hook(functools.partial(hook, None)),
    "method": lambda m, hook: m.register_forward_hook(hook.__call__),
    "full": lambda m, hook: m.register_full_backward_hook(hook),
    "full pre": lambda m, hook: m.register_full_backward_pre_hook(hook),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", range(4))
def test_hooks_of_users_see_the_generation_alone(model, kind, place):
    if "full" in kind and place == 0:
        return  # torch warns of these at every call of a model
    ids, counter, bare = prompts(1, 4), Counter(), Counter()
    handle = KINDS[kind](places(model)[place], bare)
    generate(model, ids, 3)
    handle.remove()
    handle = KINDS[kind](places(model)[place], counter)
    with record(model):
        assert counter.calls == 0
        generate(model, ids, 3)
    assert counter.calls == bare.calls == (0 if "full" in kind else 3)
    find_heads(model)
    assert counter.calls == bare.calls
    generate(model, ids, 3)
    assert counter.calls == 2 * bare.calls
    handle.remove()
    generate(model, ids, 3)
    assert counter.calls == 2 * bare.calls
    assert not any([*m._forward_hooks, *m._forward_pre_hooks] for m in model.modules())


@pytest.mark.parametrize("always", [False, True])
def test_hooks_of_all_modules_see_the_generation_alone(model, always):
    counter, ids = Counter(), prompts(1, 4)
    handles = [
        everywhere.register_module_forward_pre_hook(counter),
        everywhere.register_module_forward_hook(counter, always_call=always),
    ]
    try:
        find_heads(model)
        assert counter.calls == 0
        nn.Identity()(ids)
        assert counter.calls == 2
        with record(model):
            generate(model, ids, 2)
        assert counter.calls > 100
    finally:
        for handle in handles:
            handle.remove()
    assert not everywhere._global_forward_hooks
    assert not everywhere._global_forward_pre_hooks


def test_an_always_called_hook_does_not_see_a_failure(model):
    counter = Counter()
    model.register_forward_hook(counter, always_call=True)
    model.model.layers[1].mlp.forward = lambda x: x / torch.ones(7)
    with pytest.raises(UnsupportedModelError):
        find_heads(model)
    # Once: the model is tried again with its hooks, in case it needs them.
    assert counter.calls == 1


def test_a_hook_that_changes_the_model_is_in_force_when_it_writes(model):
    """As an ablation: what a projection reads is recorded, after the hooks that were there."""
    projection = model.model.layers[2].self_attn.o_proj

    def ablate(_, args):
        return (args[0] * torch.tensor([1.0, 0, 1]).repeat_interleave(16),)

    handle = projection.register_forward_pre_hook(ablate)
    with record(model) as recording:
        sequences = generate(model, prompts(2, 5), 4)
    assert (recording.series[..., 7] == 0).all()
    assert (recording.series[..., [6, 8]] > 0).all()
    replayed = replay(model, sequences, new_tokens=4, attention_mask=torch.ones_like(sequences))
    torch.testing.assert_close(replayed.series, recording.series, rtol=1e-4, atol=1e-5)
    handle.remove()
    with record(model) as recording:
        generate(model, prompts(2, 5), 4)
    assert (recording.series > 0).all()


def test_a_model_that_needs_its_hooks_is_read_with_them(model):
    """As where a user moves inputs between devices by hand."""

    def mend(_, args):
        return (args[0][..., :-1],)

    embeds = model.model.embed_tokens
    embeds.register_forward_hook(lambda _, args, out: nn.functional.pad(out, (0, 1)))
    model.model.layers[0].register_forward_pre_hook(mend)
    assert len(find_heads(model)) == 3
    model.model.layers[0].register_forward_pre_hook(lambda _, args: (args[0] / 1,))
    embeds.weight = nn.Parameter(embeds.weight[:, :-1].clone())
    model.model.layers[0]._forward_pre_hooks.popitem(last=False)
    assert len(find_heads(model)) == 3


def test_another_thread_keeps_its_hooks(model):
    """While the heads are found, a call of the same model elsewhere is seen as ever."""
    counter, layer = Counter(), model.model.layers[0]
    layer.register_forward_pre_hook(counter)
    forward, calls = model.forward, []

    def elsewhere(*args, **kwargs):
        calls.append(None)
        if len(calls) == 1:
            thread = threading.Thread(target=lambda: layer.mlp and model(prompts(1, 3)))
            thread.start()
            thread.join()
        return forward(*args, **kwargs)

    model.forward = elsewhere
    find_heads(model)
    assert len(calls) == 2
    assert counter.calls == 1


def test_order_of_hooks_is_kept(model):
    seen = []
    for name in "abc":
        model.register_forward_pre_hook(lambda *_, name=name: seen.append(name))
    find_heads(model)
    model(prompts(1, 3))
    assert seen == ["a", "b", "c"]


# Older versions of transformers do not look for the device in accelerate's hooks.
@pytest.mark.filterwarnings("ignore:You are calling .generate:UserWarning")
@pytest.mark.parametrize("offload", ["cpu", "disk"])
def test_hooks_that_run_the_model_stay(model, offload, tmp_path):
    ids = prompts(2, 8)
    with record(model) as usual:
        sequences = generate(model, ids, 4)
    mask = torch.ones_like(sequences)
    if offload == "cpu":
        accelerate.cpu_offload(model, execution_device="cpu")
    else:
        accelerate.disk_offload(model, tmp_path, execution_device="cpu")
    assert model.device.type == "meta"
    counter = Counter()
    model.model.layers[0].register_forward_hook(counter)
    with record(model) as recording:
        assert torch.equal(generate(model, ids, 4), sequences)
    assert counter.calls == 4
    assert torch.equal(recording.series, usual.series)
    replayed = replay(model, sequences, new_tokens=4, attention_mask=mask)
    torch.testing.assert_close(replayed.series, usual.series, rtol=1e-4, atol=1e-5)


def test_no_trace_is_left(model):
    """Random numbers, settings, modes and weights are those of before."""

    def draw(forward):
        def drawing(*args, **kwargs):
            torch.rand(3)
            return forward(*args, **kwargs)

        return drawing

    model.model.layers[1].forward = draw(model.model.layers[1].forward)
    model.train()
    model.model.layers[0].eval()
    settings = copy.deepcopy(model.generation_config.to_dict())
    config = copy.deepcopy(model.config.to_dict())
    state, modes = torch.get_rng_state(), [m.training for m in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    find_heads(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in model.modules()] == modes
    assert model.generation_config.to_dict() == settings
    assert model.config.to_dict() == config
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
