"""MLP blocks and their neurons: found in architectures of all sorts, read and written; refusals."""

import pytest
import torch
import transformers as tf
from torch import nn

from support.tiny_models import (
    ARCHITECTURES,
    COMMON,
    DECODER,
    build,
    causal,
    hooks,
    initialise,
    prompts,
)
from synkern.models.blocks import find_mlps
from synkern.models.language_model import UnsupportedModelError
from synkern.models.neurons import find_neurons
from synkern.models.nodes import find_sites, nodes_of

IDS = prompts(2, 7)
EPS = torch.finfo(torch.float32).eps

GPT = {**COMMON, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 64, "rotary_dim": 4}
HYBRID = {
    **DECODER,
    "mamba_num_heads": 8,
    "mamba_head_dim": 12,
    "ssm_state_size": 8,
    "n_groups": 1,
    "layers_block_type": ["mamba", "mlp", "attention", "mlp"],
}
OTHERS = {
    "falcon": causal(
        "Falcon", **COMMON, hidden_size=48, num_hidden_layers=2, num_attention_heads=4
    ),
    "gptj": causal("GPTJ", **GPT),
    "phi": causal("Phi", **DECODER),
    "cohere": causal("Cohere", **DECODER),
    "gemma2": causal("Gemma2", **DECODER, head_dim=16, sliding_window=8),
    "olmo2": causal("Olmo2", **DECODER),
    "gpt_oss": causal("GptOss", **DECODER, head_dim=16, num_local_experts=4, num_experts_per_tok=2),
}


OF_EXPERTS = {"mixtral", "deepseek_v2", "gpt_oss"}


def built(name):
    return build(name) if name in ARCHITECTURES else initialise(*OTHERS[name](), attention="eager")


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def seen(site):
    """What a site hands over in one pass, and the handle."""
    values = []
    return values, site.watch(lambda value: values.append(value.clone()))


@pytest.mark.parametrize("name", [*ARCHITECTURES, *OTHERS])
def test_an_mlp_block_is_read_and_written(name):
    model = built(name)
    sites = find_mlps(model)
    assert [site.layer for site in sites] == list(
        range(model.config.get_text_config().num_hidden_layers)
    )
    site = sites[1]
    assert site.name.endswith((".1.mlp", ".1.ffn"))
    assert [node.label for node in nodes_of(sites)][:2] == ["L0M", "L1M"]
    outputs = []

    def own(_, args, output):
        outputs.append((output[0] if isinstance(output, tuple) else output).clone())

    values, handle = seen(site)
    with site.module.register_forward_hook(own), handle:
        intact = logits(model)
    assert torch.equal(values[0], outputs[0])
    norms = outputs[0].double().norm(dim=-1, keepdim=True)
    # A sum of `width` squares, each rounded.
    torch.testing.assert_close(site.read(values[0]).double(), norms, rtol=48 * EPS, atol=0)
    with site.edit(lambda value: site.write(value, [0], 0.0)):
        written = logits(model)
    with site.edit(lambda value: site.write(value, [0], lambda own: own)):
        assert torch.equal(logits(model), intact)
    forward = site.module.forward

    def nothing(*args, **kwargs):
        output = forward(*args, **kwargs)
        if isinstance(output, tuple):
            return (torch.zeros_like(output[0]), *output[1:])
        return torch.zeros_like(output)

    site.module.forward = nothing
    assert torch.equal(logits(model), written)
    assert (written - intact).abs().max() > 1e-3


@pytest.mark.parametrize("name", [*ARCHITECTURES, *OTHERS])
def test_a_neuron_is_read_and_written(name):
    model = built(name)
    if name in OF_EXPERTS:
        message = r"mixture of experts: .* Record nodes='experts' instead"
        with pytest.raises(UnsupportedModelError, match=message):
            find_neurons(model)
        return
    site = find_neurons(model)[1]
    weight, given = site.module.weight, []
    inputs_first = type(site.module).__name__ == "Conv1D"
    by_neuron = weight if inputs_first else weight.T
    assert site.count == len(by_neuron)
    values, handle = seen(site)
    with site.module.register_forward_pre_hook(lambda _, args: given.append(args[0])), handle:
        intact = logits(model)
    assert torch.equal(site.read(values[0]), given[0])
    assert (given[0] < 0).any()
    assert nodes_of([site])[3].label == "L1N3"
    with site.edit(lambda value: site.write(value, [3, 5], 0.0)):
        written = logits(model)
    with torch.no_grad():
        by_neuron[[3, 5]] = 0
    assert torch.equal(logits(model), written)
    assert not torch.equal(written, intact)


def test_layers_without_a_block_are_left_out():
    """A hybrid with one mixer per layer: the labels keep the true layer numbers."""
    model = initialise(tf.NemotronHForCausalLM, tf.NemotronHConfig(**HYBRID))
    assert [node.label for node in nodes_of(find_mlps(model))] == ["L1M", "L3M"]
    assert [site.layer for site in find_neurons(model)] == [1, 3]


def test_a_layers_own_linears_are_refused():
    config = tf.OPTConfig(
        **COMMON,
        hidden_size=48,
        word_embed_proj_dim=48,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    message = r"layers\.0 \(OPTDecoderLayer\) has no one module .* layer itself puts .*fc1 .*fc2"
    with pytest.raises(UnsupportedModelError, match=message):
        find_mlps(initialise(tf.OPTForCausalLM, config))


def test_a_block_that_adds_the_stream_is_refused():
    config = tf.BloomConfig(**COMMON, hidden_size=48, n_layer=2, n_head=4)
    message = r"transformer\.h\.0\.mlp \(BloomMLP\) is given 2 tensors of its output's shape"
    with pytest.raises(UnsupportedModelError, match=message):
        find_mlps(initialise(tf.BloomForCausalLM, config, attention="eager"))


def test_two_blocks_beside_each_other_are_refused():
    make = causal(
        "GraniteMoeShared",
        **DECODER,
        num_local_experts=4,
        num_experts_per_tok=2,
        shared_intermediate_size=32,
    )
    message = r"has 2 MLP blocks beside each other, .*nodes='experts'"
    with pytest.raises(UnsupportedModelError, match=message):
        find_mlps(initialise(*make()))


def test_experts_beside_a_block_are_refused():
    """Gemma 4 has an MLP block and, beside it, experts to which the layer itself routes."""
    config = tf.Gemma4TextConfig(
        **DECODER,
        head_dim=16,
        global_head_dim=16,
        num_global_key_value_heads=1,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        num_kv_shared_layers=0,
        sliding_window=8,
        vocab_size_per_layer_input=100,
        hidden_size_per_layer_input=8,
        enable_moe_block=True,
        num_experts=4,
        top_k_experts=2,
        moe_intermediate_size=32,
    )
    message = r"has 2 MLP blocks beside each other, .*0\.mlp .*0\.experts .*nodes='experts'"
    with pytest.raises(UnsupportedModelError, match=message):
        find_mlps(initialise(tf.Gemma4ForCausalLM, config))


def test_a_model_without_blocks_is_refused():
    config = tf.MambaConfig(**COMMON, hidden_size=32, num_hidden_layers=2, state_size=4)
    with pytest.raises(UnsupportedModelError, match="MambaForCausalLM has no MLP blocks"):
        find_mlps(initialise(tf.MambaForCausalLM, config, attention="eager"))


def test_a_block_that_mixes_tokens_is_refused():
    model = build("llama")
    usual = model.model.layers[1].mlp.forward
    model.model.layers[1].mlp.forward = lambda x: usual(x.cumsum(1))
    with pytest.raises(UnsupportedModelError, match=r"layers\.1\.mlp \(LlamaMLP\) mixes tokens"):
        find_mlps(model)


@pytest.mark.parametrize(
    "behind",
    [lambda x: x * 0.5, lambda x: x * 0, nn.functional.silu],
    ids=["scale", "zero", "silu"],
)
def test_what_a_block_does_behind_its_last_linear_is_no_neurons(behind):
    model = build("llama")
    usual = model.model.layers[2].mlp.forward
    model.model.layers[2].mlp.forward = lambda x: behind(usual(x))
    assert len(find_mlps(model)) == 3
    with pytest.raises(UnsupportedModelError, match=r"layers\.2\.mlp \(LlamaMLP\) has no down pro"):
        find_neurons(model)


class Adapter(nn.Module):
    """What peft makes of a linear layer."""

    def __init__(self, linear):
        super().__init__()
        self.base_layer = linear
        self.a, self.b = nn.Linear(linear.in_features, 4), nn.Linear(4, linear.out_features)

    def forward(self, x):
        return self.base_layer(x) + self.b(self.a(x))


def test_an_adapter_belongs_to_the_down_projection():
    model = build("llama")
    for layer in model.model.layers:
        layer.mlp.down_proj = Adapter(layer.mlp.down_proj)
    assert {type(site.module) for site in find_neurons(model)} == {Adapter}


def test_a_norm_inside_a_wrapped_block_is_no_linear():
    """A module that ends in the down projection but begins before the activation."""

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(48)
            self.inner = nn.Sequential(nn.Linear(48, 64), nn.SiLU(), nn.Linear(64, 48))

        def forward(self, x):
            return self.inner(self.norm(x))

    model = build("llama")
    model.model.layers[1].mlp = Wrapped()
    assert [site.name for site in find_neurons(model)][1] == "model.layers.1.mlp.inner.2"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types(dtype):
    model = build("llama", dtype=dtype)
    sites = find_sites(model, ("mlps", "neurons", "layers"))
    assert len(sites) == 9
    for site in sites[:1] + sites[-1:]:
        values, handle = seen(site)
        with handle:
            logits(model)
        read = site.read(values[0])
        assert read.dtype == torch.float32
        norms = values[0].double().norm(dim=-1, keepdim=True)
        torch.testing.assert_close(read.double(), norms, rtol=48 * EPS, atol=0)


@pytest.mark.parametrize("kind", ["mlps", "neurons", "layers"])
def test_nothing_is_left_behind(kind):
    model = build("gemma3-multimodal")
    before, rng, intact = hooks(model), torch.get_rng_state(), logits(model)
    find_sites(model, kind)
    assert hooks(model) == before
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.equal(logits(model), intact)


def test_one_pass_is_run_for_all_kinds():
    model, calls = build("llama"), []
    forward = model.forward
    model.forward = lambda *args, **kwargs: calls.append(None) or forward(*args, **kwargs)
    asked = ("layers", "neurons", "heads", "mlps")
    together = find_sites(model, asked)
    assert len(calls) == 1
    alone = [site for kind in asked for site in find_sites(model, kind)]
    assert len(calls) == 5
    said = [[(site.kind, site.name, site.count) for site in sites] for sites in (together, alone)]
    assert said[0] == said[1]
