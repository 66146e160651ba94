"""What synkern reads of torch beyond what it promises: these fail when a release changes it."""

import functools
from types import SimpleNamespace

import pytest
import torch
import transformers as tf
from torch import nn
from torch.nn.modules import module as everywhere

from support.tiny_models import build
from synkern.models import upstream_torch


def test_changes_of_weights_are_counted():
    module = nn.Linear(2, 2)
    before = upstream_torch.weight_versions(module)
    assert upstream_torch.weight_versions(module) == before
    with torch.no_grad():
        module.weight[0] *= 2
    assert upstream_torch.weight_versions(module) != before
    with torch.inference_mode():
        made = nn.Linear(2, 2)
    assert upstream_torch.weight_versions(made) == [0, 0]


def test_memory_that_ends():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert upstream_torch.is_out_of_memory(caught.value)
    assert upstream_torch.is_out_of_memory(MemoryError())
    assert not upstream_torch.is_out_of_memory(RuntimeError("shapes do not fit"))


def test_compiled_models_are_told():
    in_place, forward, layer, generating = (build("llama") for _ in range(4))
    assert not upstream_torch.is_compiled(in_place)
    in_place.compile(backend="eager")
    forward.forward = torch.compile(forward.forward, backend="eager")
    layer.model.layers[1].compile(backend="eager")
    generating.get_compiled_call(tf.CompileConfig(backend="eager"))
    wrapped = torch.compile(build("llama"), backend="eager")
    for compiled in (in_place, forward, layer, generating, wrapped):
        assert upstream_torch.is_compiled(compiled)


def test_where_hooks_are_kept():
    module = nn.Linear(2, 2)

    def hook(*_):
        return None

    handles = [
        module.register_forward_hook(hook),
        module.register_forward_pre_hook(hook),
        everywhere.register_module_forward_hook(hook),
        everywhere.register_module_forward_pre_hook(hook),
    ]
    try:
        kept = upstream_torch.forward_hooks([module])
        assert [list(hooks.values()) for hooks in kept] == [[hook]] * 4
    finally:
        for handle in handles:
            handle.remove()


def test_hooks_that_run_a_model_are_told():
    linear = torch.nn.utils.spectral_norm(nn.Linear(2, 2))
    assert all(upstream_torch.runs_the_model(hook) for hook in linear._forward_pre_hooks.values())
    assert upstream_torch.runs_the_model(functools.partial(tf.PreTrainedModel.eval, None))
    assert not upstream_torch.runs_the_model(lambda *_: None)
    assert not upstream_torch.runs_the_model(functools.partial(print))
    assert not upstream_torch.runs_the_model(SimpleNamespace())
