"""Shared experts: where they are found, what is read of them, what is written."""

import pytest
import torch
from torch import nn

from support.experts import CLOSE, read, run
from support.tiny_models import EXPERTS, build, build_experts
from synkern.models.language_model import UnsupportedModelError
from synkern.models.nodes import Node
from synkern.models.shared_experts import find_shared_experts
from synkern.models.sites import VectorSite

SHARED = {
    "qwen2_moe": "mlp.shared_expert",
    "deepseek_v2": "mlp.shared_experts",
    "deepseek_v3": "mlp.shared_experts",
    "ernie4_5_moe": "mlp.shared_experts",
}


@pytest.mark.parametrize("name", SHARED)
def test_shared_experts_are_read_after_their_gate(name):
    model = build_experts(name)
    sites = find_shared_experts(model)
    assert [site.layer for site in sites] == EXPERTS[name][1]
    assert sites[-1].name == f"model.layers.2.{SHARED[name]}"
    assert isinstance(sites[0], VectorSite)
    assert Node(2, 0, "shared_experts").label == "L2S"
    inputs = {}
    for site in sites:
        site.module.register_forward_pre_hook(
            lambda _, args, layer=site.layer: inputs.update({layer: args[0].clone()})
        )
    for site, (own, routed) in zip(sites, read(model, sites), strict=True):
        shared, given = site.module, inputs[site.layer].double()
        gate, up = (given @ p.weight.double().T for p in (shared.gate_proj, shared.up_proj))
        out = nn.functional.silu(gate) * up @ shared.down_proj.weight.double().T
        if name == "qwen2_moe":
            own_gate = model.model.layers[site.layer].mlp.shared_expert_gate
            out = out * torch.sigmoid(given @ own_gate.weight.double().T)
        assert own.shape == (3, 7, 1)
        torch.testing.assert_close(own.double(), out.norm(dim=-1).view(3, 7, 1), **CLOSE)
        assert routed is None


@pytest.mark.parametrize("name", SHARED)
def test_shared_experts_are_written(name):
    model = build_experts(name)
    site, intact = find_shared_experts(model)[-1], run(model).logits
    with site.edit(lambda values: site.write(values, [], 0.0)):
        assert torch.equal(run(model).logits, intact)
    with site.edit(lambda values: site.write(values, [0], lambda own: 3 * own)):
        thrice = read(model, [site])[0][0]
    torch.testing.assert_close(thrice, 3 * read(model, [site])[0][0], **CLOSE)
    with site.edit(lambda values: site.write(values, [0], 0.0)):
        written = run(model).logits
    with torch.no_grad():
        site.module.down_proj.weight.zero_()
    assert torch.equal(run(model).logits, written)


def test_shared_experts_beside_scaled_ones():
    """What a model adds may be scaled, or their mean taken, behind the experts."""
    model = build_experts("deepseek_v3")

    class Scaled(type(model.model.layers[1].mlp)):
        def forward(self, hidden):
            _, weights, indices = self.gate(hidden)
            routed = self.experts(hidden.flatten(0, 1), indices, weights).view_as(hidden)
            return 2.5 * routed + self.shared_experts(hidden)

    model.model.layers[2].mlp.__class__ = Scaled
    assert [site.layer for site in find_shared_experts(model)] == [1, 2]


def test_a_norm_of_the_sum_is_no_shared_expert():
    """What it returns is what the block returns, of which the experts are no part any more."""
    model = build_experts("deepseek_v3")

    class Normed(type(model.model.layers[1].mlp)):
        def forward(self, hidden):
            return self.norm(super().forward(hidden))

    for layer in model.model.layers[1:]:
        layer.mlp.__class__ = Normed
        layer.mlp.norm = nn.LayerNorm(48)
    with pytest.raises(UnsupportedModelError, match="no shared experts that synkern can see"):
        find_shared_experts(model)


@pytest.mark.parametrize("name", ["qwen2_moe", "deepseek_v3"])
@torch.no_grad()
def test_where_nothing_is_written_nothing_changes(name):
    """In texts in which the values are left as they are, with a gate too."""
    model = build_experts(name)
    site = find_shared_experts(model)[-1]
    intact = run(model).logits
    first = torch.arange(len(intact))[:, None, None] == 0
    with site.edit(lambda values: torch.where(first, 0, values)):
        edited = run(model).logits
    assert not torch.equal(edited[0], intact[0])
    assert torch.equal(edited[1:], intact[1:])


@pytest.mark.parametrize("name", ["mixtral", "gemma4"])
def test_a_model_without_shared_experts_is_refused(name):
    message = "has no shared experts that synkern can see: beside the experts in model.layers"
    with pytest.raises(UnsupportedModelError, match=message):
        find_shared_experts(build_experts(name))


def test_a_dense_model_is_refused():
    with pytest.raises(UnsupportedModelError, match="no layer has experts: it is a dense model"):
        find_shared_experts(build("llama"))
