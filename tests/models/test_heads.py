"""The finder of output projections: architectures it knows nothing of, refusals, no traces left."""

import pytest
import torch
import transformers as tf
from torch import nn
from transformers.modeling_utils import AttentionInterface

from support.tiny_models import ARCHITECTURES, COMMON, DECODER, build, hooks, initialise, prompts
from synkern.models.heads import find_heads
from synkern.models.language_model import UnsupportedModelError
from synkern.models.upstream_torch import is_compiled


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_layer_is_found(name, attention):
    model = build(name, attention)
    _, layers, heads, width, last = ARCHITECTURES[name]
    found = find_heads(model)
    assert [p.layer for p in found] == list(range(layers))
    assert {(p.count, p.width) for p in found} == {(heads, width)}
    assert found[-1].name == last
    assert all(model.get_submodule(p.name) is p.module for p in found)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_flex_attention():
    model = build("llama", "flex_attention")
    with torch.compiler.set_stance("force_eager"):
        found = find_heads(model)
    assert [p.name for p in found] == [f"model.layers.{i}.self_attn.o_proj" for i in range(3)]


def test_a_layer_may_have_its_own_number_of_heads():
    model = build("llama")
    attention = model.model.layers[1].self_attn
    attention.num_key_value_groups = 6
    attention.q_proj = nn.Linear(48, 96, bias=False)
    attention.o_proj = nn.Linear(96, 48, bias=False)
    assert [p.count for p in find_heads(model)] == [3, 6, 3]


def test_a_projection_of_an_unknown_class_is_found():
    class Quantised(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.scale = float(linear.weight.detach().abs().max() / 127)
            self.register_buffer("packed", (linear.weight / self.scale).round().to(torch.int8))

        def forward(self, x):
            return x @ (self.packed.to(x.dtype) * self.scale).T

    model = build("llama")
    for layer in model.model.layers:
        layer.self_attn.o_proj = Quantised(layer.self_attn.o_proj)
    assert {type(p.module) for p in find_heads(model)} == {Quantised}


def test_nothing_is_left_behind():
    model = build("gemma3-multimodal")
    model.train()
    model.model.language_model.layers[0].eval()
    modes = [m.training for m in model.modules()]
    interface, before, rng = AttentionInterface.get_interface, hooks(model), torch.get_rng_state()
    find_heads(model)
    assert [m.training for m in model.modules()] == modes
    assert AttentionInterface.get_interface is interface
    assert hooks(model) == before
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(p.grad is None for p in model.parameters())


def test_nothing_is_left_behind_after_a_failure():
    model = build("llama")
    model.model.layers[1].mlp.forward = lambda x: x / torch.ones(7)
    interface, before = AttentionInterface.get_interface, hooks(model)
    with pytest.raises(
        UnsupportedModelError, match="LlamaForCausalLM failed on a text of 3 tokens"
    ):
        find_heads(model)
    assert AttentionInterface.get_interface is interface
    assert hooks(model) == before


def test_the_model_inside_a_wrapper_is_used():
    class Adapter(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

    assert len(find_heads(Adapter(build("llama")))) == 3


def test_compiled_models_are_recognised():
    assert not is_compiled(build("llama"))
    in_place, forward, layer, generating = (build("llama") for _ in range(4))
    in_place.compile(backend="eager")
    forward.forward = torch.compile(forward.forward, backend="eager")
    layer.model.layers[1].compile(backend="eager")
    generating.get_compiled_call(tf.CompileConfig(backend="eager"))
    wrapped = torch.compile(build("llama"), backend="eager")
    assert all(is_compiled(m) for m in (in_place, forward, layer, generating, wrapped))


def test_the_probe_does_not_compile():
    def backend(*_):
        raise AssertionError("compiled")

    model = build("llama")
    model.compile(backend=backend)
    assert len(find_heads(model)) == 3


def test_a_gate_is_refused():
    config = tf.Qwen3NextConfig(
        **DECODER,
        head_dim=16,
        layer_types=["full_attention"] * 3,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    )
    model = initialise(tf.Qwen3NextForCausalLM, config)
    with pytest.raises(UnsupportedModelError) as refusal:
        find_heads(model)
    for part in (
        "Qwen3NextForCausalLM",
        "model.layers.0.self_attn (Qwen3NextAttention, 3 heads of width 16)",
        "o_proj takes one of the same shape but other values",
        "a gate or a norm lies between",
        "hand it to synkern directly",
    ):
        assert part in str(refusal.value)


def test_a_gate_in_place_is_refused():
    class Gate(nn.Module):
        def forward(self, x):
            return x.mul_(0.5)

    model = build("llama")
    attention = model.model.layers[1].self_attn
    attention.o_proj = nn.Sequential(Gate(), attention.o_proj)
    with pytest.raises(UnsupportedModelError, match=r"layers\.1\.self_attn.*other values"):
        find_heads(model)


def test_a_norm_between_is_refused():
    model = build("llama")
    for layer in model.model.layers:
        layer.self_attn.o_proj = nn.Sequential(nn.RMSNorm(48), layer.self_attn.o_proj)
    with pytest.raises(UnsupportedModelError, match="a gate or a norm lies between"):
        find_heads(model)


@pytest.mark.parametrize("name", ["Bloom", "Falcon", "Mpt", "GPTNeo"])
def test_bypassing_the_interface_is_refused(name):
    options = {
        "Bloom": {**COMMON, "hidden_size": 32, "n_layer": 2, "n_head": 2},
        "Falcon": {
            **COMMON,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        "Mpt": {**COMMON, "d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 32},
        "GPTNeo": {
            **COMMON,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 2,
            "attention_types": [[["global"], 2]],
        },
    }[name]
    config = getattr(tf, f"{name}Config")(**options)
    model = initialise(getattr(tf, f"{name}ForCausalLM"), config, attention="eager")
    message = rf"{name}ForCausalLM: its attention \({name}.*does not go through"
    with pytest.raises(UnsupportedModelError, match=message) as refusal:
        find_heads(model)
    assert "attn_implementation" not in str(refusal.value)  # none of theirs helps


def bert(is_decoder, dtype=torch.float32):
    config = tf.BertConfig(
        **COMMON,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        is_decoder=is_decoder,
    )
    return initialise(tf.BertLMHeadModel, config, dtype=dtype)


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_that_looks_ahead_is_refused(dtype):
    assert len(find_heads(bert(is_decoder=True, dtype=dtype))) == 2
    message = r"BertLMHeadModel looks ahead: at bert\.encoder\.layer\.0.*is_decoder=True"
    with pytest.raises(UnsupportedModelError, match=message):
        find_heads(bert(is_decoder=False, dtype=dtype))


def test_a_later_layer_that_looks_ahead_is_refused():
    model = build("llama", attention="sdpa")
    attention = model.model.layers[2].self_attn
    usual = attention.forward

    def forward(*args, **kwargs):
        mask = torch.zeros(2, 1, 3, 3)
        return usual(*args, **kwargs | {"attention_mask": mask})

    attention.forward = forward
    with pytest.raises(UnsupportedModelError, match=r"looks ahead: at model\.layers\.2\.self_attn"):
        find_heads(model)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_no_look_ahead(dtype):
    """Rows may be rounded differently: here in every layer's input, in the last digit."""
    model = build("llama", dtype=dtype)

    def rounding_otherwise(forward):
        def rounded(hidden, *args, **kwargs):
            hidden = hidden.clone()
            hidden[1] *= 1 + torch.finfo(dtype).eps
            return forward(hidden, *args, **kwargs)

        return rounded

    for layer in model.model.layers:
        layer.forward = rounding_otherwise(layer.forward)
    assert len(find_heads(model)) == 3


def test_one_forward_pass_is_run():
    model, calls = build("llama"), []
    forward = model.forward
    model.forward = lambda *args, **kwargs: calls.append(None) or forward(*args, **kwargs)
    find_heads(model)
    assert len(calls) == 1


def test_an_encoder_decoder_is_refused():
    config = tf.T5Config(
        vocab_size=100,
        d_model=32,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
    )
    with pytest.raises(UnsupportedModelError, match="T5ForConditionalGeneration is an encoder-dec"):
        find_heads(tf.T5ForConditionalGeneration(config))


def test_a_model_without_attention_is_refused():
    config = tf.MambaConfig(**COMMON, hidden_size=32, num_hidden_layers=2, state_size=4)
    with pytest.raises(UnsupportedModelError, match="no attention layer was found"):
        find_heads(tf.MambaForCausalLM(config))


def test_a_shared_projection_is_refused():
    model = build("llama")
    model.model.layers[2].self_attn.o_proj = model.model.layers[0].self_attn.o_proj
    with pytest.raises(UnsupportedModelError, match="in 2 attention calls"):
        find_heads(model)


def test_no_transformers_model_is_refused():
    with pytest.raises(UnsupportedModelError, match="Linear neither is nor holds"):
        find_heads(nn.Linear(2, 2))


def test_the_model_computes_as_before():
    model, ids = build("mixtral"), prompts(2, 5)
    with torch.no_grad():
        before = model(ids).logits
        find_heads(model)
        assert torch.equal(model(ids).logits, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_not_blamed_on_a_gate(value):
    model = build("llama")
    weight = model.model.layers[1].self_attn.v_proj.weight
    with torch.no_grad():
        weight.fill_(value)
    with pytest.raises(
        UnsupportedModelError, match="weights of the model are not finite"
    ) as refused:
        find_heads(model)
    assert "gate" not in str(refused.value)
