"""What is read of other libraries beyond their promises: one test for each thing.

Where one of these fails after an update, the library has moved: mend synkern/models/upstream.py (or
the file that its docstring names), not the test alone.
"""

import importlib
import inspect
import json
from types import SimpleNamespace

import accelerate
import pytest
import torch
import transformers as tf
import triton
from torch import nn
from torch.nn.utils import prune

from support import tiny_study
from support.tiny_models import (
    ARCHITECTURES,
    EXPERTS,
    build,
    build_experts,
    cache_of,
    gemma3_multimodal,
    generate,
    prompts,
)
from synkern.models import upstream
from synkern.models.upstream_linears import (
    adapter_around,
    adapter_in,
    inputs_first,
    is_lora,
    lora_factors,
    lora_idle,
    plain_linear_weight,
    why_not_editable,
)


@pytest.fixture
def model():
    return build("llama")


# transformers: calls


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_arguments_of_forward(name):
    taken = upstream.forward_arguments(build(name))
    for argument in (upstream.INPUT_IDS, upstream.INPUT_EMBEDS, upstream.MASK, upstream.USE_CACHE):
        assert argument in taken, f"forward of {name} has another name for {argument}"
    assert upstream.POSITIONS in taken
    assert upstream.LAST_LOGITS_ONLY in taken


@pytest.mark.parametrize("name", [*ARCHITECTURES, *EXPERTS])
def test_logits_can_be_had_of_chosen_positions(name):
    """Of the same positions of all texts, by a tensor of them."""
    model = build(name) if name in ARCHITECTURES else build_experts(name)
    ids, kept = prompts(2, 7), torch.tensor([1, 3, 4])
    with torch.no_grad():
        every = model(input_ids=ids).logits
        some = model(**{upstream.INPUT_IDS: ids, upstream.LAST_LOGITS_ONLY: kept}).logits
    torch.testing.assert_close(some, every[:, kept])


def seen_calls(model, **options):
    """How generate calls a model: as read here."""
    calls = []
    names = list(upstream.forward_arguments(model))
    model.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append(upstream.read_call(names, args, kwargs)),
        with_kwargs=True,
    )
    mask = torch.ones(2, 5, dtype=torch.long)
    mask[0, :2] = 0
    generate(model, prompts(2, 5), 3, attention_mask=mask, **options)
    return calls


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generate_reads_the_prompt_and_then_one_token_each(name, cache):
    model = build(name)
    calls = seen_calls(model, cache_implementation=cache)
    assert [tuple(call.ids.shape) for call in calls] == [(2, 5), (2, 1), (2, 1)]
    assert all(len(call.caches) == 1 for call in calls), "the cache is not found among arguments"
    assert all(call.caches[0] is calls[0].caches[0] for call in calls)
    assert upstream.cached_tokens(calls[0].caches[0]) == 7
    assert not any(call.strangers for call in calls), "generate passes unknown objects"
    assert all(upstream.keeps_a_cache(model, call) for call in calls)
    assert all(call.positions for call in calls), "positions have another name"
    assert calls[0].mask is not None


def test_caches_are_told_by_their_kind(model):
    out = model(prompts(1, 4))
    cache = cache_of(out)
    assert upstream.caches_in(out) == (cache,)
    assert upstream.caches_in(({"a": [cache, (cache,)]}, 3, torch.ones(2), model)) == (cache,)
    counting = SimpleNamespace(get_seq_length=lambda: 3)
    assert upstream.caches_in([counting, cache]) == (counting, cache)
    kinds = (tf.DynamicCache, tf.StaticCache, tf.EncoderDecoderCache)
    assert all(issubclass(kind, tf.Cache) for kind in kinds)
    assert upstream.cached_tokens(cache) == 4
    assert upstream.cached_tokens(tf.DynamicCache()) == 0
    assert upstream.cached_tokens(tf.StaticCache(model.config, max_cache_len=8)) == 0


def test_data_are_no_strangers():
    data = {
        "mask": {"full_attention": torch.ones(1)},
        "none": None,
        "pair": (torch.ones(1), torch.ones(1)),
        "dtype": torch.float32,
        "flag": True,
    }
    found = upstream.read_call([], (), {k: v for k, v in data.items() if k != "mask"})
    assert found.strangers == ()
    legacy = {"memory": ((torch.ones(1), torch.ones(1)),), "state": object()}
    found = upstream.read_call([], (), legacy)
    assert found.strangers == ("memory (tuple)", "state (object)")


def test_packed_rows_have_their_bounds_in_an_argument():
    kinds = importlib.import_module("transformers.modeling_flash_attention_utils")
    assert upstream._PACKED in kinds.FlashAttentionKwargs.__annotations__


def test_outputs_of_generate(model):
    ids = prompts(1, 4)
    plain = generate(model, ids, 3)
    assert torch.equal(upstream.generated_sequences(plain), plain)
    whole = generate(model, ids, 3, return_dict_in_generate=True)
    assert torch.equal(upstream.generated_sequences(whole), plain)


@pytest.mark.parametrize(
    "name", [*upstream.REFUSED_SETTINGS, *upstream.ENDING_SETTINGS, upstream.CACHE_KIND]
)
def test_settings_of_generate(name):
    arguments = inspect.signature(tf.GenerationMixin.generate).parameters
    assert name in arguments or hasattr(tf.GenerationConfig(), name), f"{name} has another name"
    left = getattr(tf.GenerationConfig(), name, None)
    assert left in upstream.REFUSED_SETTINGS.get(name, (None,)), "what leaves it off has changed"


def test_the_cache_that_packs_has_this_name():
    kinds = tf.generation.configuration_utils.ALL_CACHE_IMPLEMENTATIONS
    assert upstream.PACKING_CACHE in (*kinds, "paged")
    assert "static" in kinds


@pytest.mark.parametrize("name", upstream.EXTENDED_PER_TOKEN)
def test_values_per_token_are_extended_as_generate_does(model, name):
    value = torch.tensor([[4, 5, 6, 7, 8]])
    given = {name: value, "attention_mask": torch.ones(1, 5)}
    output = tf.modeling_outputs.CausalLMOutputWithPast(logits=torch.ones(1, 1, 3))
    made = model._update_model_kwargs_for_generation(output, given, is_encoder_decoder=False)
    last = upstream.EXTENDED_PER_TOKEN[name](value[:, -1:])
    assert torch.equal(made[name], torch.cat([value, last], dim=-1))


# transformers: configurations


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_configuration_of_the_text_part(name):
    model = build(name)
    assert upstream.context_length(model) == 128
    assert upstream.vocabulary_size(model) == 100
    assert upstream.has_learned_positions(model) == (name == "gpt2")


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({}, None),
        ({"max_position_embeddings": None}, None),
        ({"max_position_embeddings": 2048}, 2048),
        # The factor is on top of what is stated,
        ({"max_position_embeddings": 32, "rope_parameters": {"factor": 4.0}}, 128),
        # or in it already.
        (
            {
                "max_position_embeddings": 128,
                "rope_scaling": {"factor": 4, "original_max_position_embeddings": 32},
            },
            128,
        ),
        ({"max_position_embeddings": 64, "rope_parameters": {"factor": None}}, 64),
    ],
)
def test_the_context_is_what_the_configuration_says(config, tokens):
    config = SimpleNamespace(**config)
    config.get_text_config = lambda **_: config
    assert upstream.context_length(SimpleNamespace(config=config)) == tokens


def test_special_tokens_and_placeholders():
    model_class, config = gemma3_multimodal()
    model = SimpleNamespace(config=config)
    assert {0, 1, 2, 3, 4, 5} <= upstream.special_tokens(model)
    assert {(p.token, p.kind) for p in upstream.placeholders(model)} == {(3, "image")}
    place = upstream.placeholders(model)[0]
    assert place.is_carried_by("pixel_values")
    assert not place.is_carried_by("token_type_ids")
    taken = inspect.signature(model_class.forward).parameters
    assert any(place.is_carried_by(name) for name in taken)


def test_positions_that_depend_on_images():
    assert callable(tf.Qwen2VLModel.get_rope_index)
    assert not upstream.places_images_itself(build("gemma3-multimodal"))


# transformers: attention, loading


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_attention_interface_is_asked_at_every_call(name, attention):
    model, seen = build(name, attention), []
    before = tf.modeling_utils.AttentionInterface.get_interface
    with upstream.observed_attention(lambda module, output, _: seen.append((module, output))):
        model(prompts(2, 3))
    _, layers, heads, width, _ = ARCHITECTURES[name]
    assert [tuple(output.shape) for _, output in seen] == [(2, 3, heads, width)] * layers
    assert [upstream.layer_index(module) for module, _ in seen] == list(range(layers))
    assert tf.modeling_utils.AttentionInterface.get_interface is before


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_attention_interface_is_handed_queries_keys_and_values(name, attention):
    model, asked = build(name, attention), []
    with upstream.observed_attention(lambda *_: None, lambda *given: asked.append(given)):
        model(prompts(2, 3))
    _, layers, heads, width, _ = ARCHITECTURES[name]
    assert [upstream.layer_index(module) for module, _ in asked] == list(range(layers))
    for _, (query, key, value) in asked:
        assert query.shape[:3] == (2, heads, 3)
        assert key.shape[-1] == query.shape[-1]
        assert value.shape[-1] == width
        assert heads % key.shape[1] == heads % value.shape[1] == 0


def test_what_from_pretrained_says_of_weights(model, tmp_path):
    model.save_pretrained(tmp_path)
    _, said = tf.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    for key in (
        upstream.MISSING_WEIGHTS,
        upstream.UNUSED_WEIGHTS,
        upstream.WEIGHTS_OF_OTHER_SHAPE,
    ):
        assert not said[key]


def test_attributes_that_a_study_states(model, tmp_path):
    assert model.config._attn_implementation == "sdpa"
    assert not getattr(model, "is_quantized", False)
    logging = importlib.import_module("transformers.utils.logging")
    for name in ("is_progress_bar_enabled", "disable_progress_bar", "enable_progress_bar"):
        assert callable(getattr(logging, name))
    tiny_study.save_model(tmp_path, chat_template=tiny_study.CHAT)
    assert tf.AutoTokenizer.from_pretrained(tmp_path).chat_template == tiny_study.CHAT


# transformers: experts


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_say_how_many_they_are_and_keep_their_own_forward(name):
    model = build_experts(name, "batched_mm")
    layer = model.model.layers[2]
    block = getattr(layer, "block_sparse_moe", getattr(layer, "mlp", layer))
    experts = getattr(layer, "experts", None) or block.experts
    assert upstream.experts_in(experts) == 8
    assert isinstance(experts.num_experts, int)
    called = []
    before = type(experts)._apply_gate
    hidden, chosen = torch.randn(4, 48), torch.tensor([[5], [0], [5], [1]])
    expected = experts(hidden, chosen, torch.ones(4, 1))
    try:  # one after another, so once per expert
        type(experts)._apply_gate = lambda self, x: called.append(len(x)) or before(self, x)
        own = upstream.experts_forward(experts)(hidden, chosen, torch.ones(4, 1))
        assert called in ([], [1, 1, 2]), "what is kept beside is no loop over experts"
        experts(hidden, chosen, torch.ones(4, 1))
        assert called[-1] == 4, "the implementation asked for is not used"
    finally:
        type(experts)._apply_gate = before
    torch.testing.assert_close(own, expected, rtol=112**1.5 * 2**-24, atol=1e-5)
    experts.forward = lambda *args: "put in place"
    assert upstream.experts_forward(experts)(hidden, chosen, None) == "put in place"


def test_experts_of_a_module_that_does_not_say():
    module = nn.Module()
    assert upstream.experts_in(module) is None
    assert upstream.experts_forward(nn.Linear(2, 3))(torch.ones(1, 2)).shape == (1, 3)
    module.up, module.bias = nn.Parameter(torch.ones(6, 2, 3)), nn.Parameter(torch.ones(6, 3))
    assert upstream.experts_in(module) == 6


# torch


def test_a_model_that_wants_to_run_code(tmp_path):
    (tmp_path / "mine.py").write_text("raise AssertionError")
    auto = {"AutoConfig": "mine.Config"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": auto}))
    with pytest.raises(ValueError, match="code") as caught:
        tf.AutoConfig.from_pretrained(tmp_path, trust_remote_code=False)
    assert upstream.wants_to_run_code(caught.value)
    assert not upstream.wants_to_run_code(ValueError("no such model"))


# accelerate


def test_where_accelerate_computes(model):
    assert upstream.inputs_device(model) == torch.device("cpu")
    accelerate.cpu_offload(model, execution_device="cpu")
    assert model.device.type == "meta"
    assert upstream.inputs_device(model) == torch.device("cpu")
    for hook in ("cuda:1", torch.device("cuda", 2)):
        model._hf_hook = SimpleNamespace(execution_device=hook)
        assert upstream.inputs_device(model) == torch.device(hook)
        model._hf_hook = SimpleNamespace(hooks=(object(), SimpleNamespace(execution_device=hook)))
        assert upstream.inputs_device(model) == torch.device(hook)


# triton and its compiler (kernels/triton_backend/ahead.py)


def test_layers_that_are_split_over_devices(model):
    assert model.tp_size is None
    assert not upstream.is_split_over_devices(model)
    model._tp_size = 1
    assert not upstream.is_split_over_devices(model)
    model._tp_size = 2
    assert upstream.is_split_over_devices(model)


def test_experts_that_are_split_over_devices(model):
    """Before transformers 5.21 that was tensor parallelism with another plan."""
    plan = importlib.import_module("transformers.distributed").DistributedConfig
    if "ep_size" in inspect.signature(plan).parameters:
        model.config.distributed_config = plan(tp_size=1, ep_size=1)
        assert not upstream.is_split_over_devices(model)
        model.config.distributed_config.ep_size = 2
        assert upstream.is_split_over_devices(model)


def test_what_is_read_of_triton():
    target = triton.backends.compiler.GPUTarget("cuda", 90, 32)
    assert (target.backend, target.arch, target.warp_size) == ("cuda", 90, 32)
    taken = list(inspect.signature(triton.compiler.ASTSource).parameters)
    assert taken[:4] == ["fn", "signature", "constexprs", "attrs"]
    assert "arg_names" in inspect.getsource(triton.runtime.jit.JITFunction)
    for knobs, name in (
        (triton.knobs.nvidia, "dump_ptxas_log"),
        (triton.knobs.compilation, "always_compile"),
    ):
        assert hasattr(knobs, name)
    taken = inspect.signature(triton.compile).parameters
    assert {"target", "options"} <= set(taken)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_interface_gives_weights_that_modules_return(attention):
    model, seen, returned = build("llama", attention), [], []
    for layer in model.model.layers:
        layer.self_attn.register_forward_hook(lambda _, args, output: returned.append(output[1]))
    with upstream.observed_attention(lambda module, output, weights: seen.append(weights)):
        model(prompts(2, 3))
    assert all(one is other for one, other in zip(seen, returned, strict=True))
    shapes = [None if weights is None else tuple(weights.shape) for weights in seen]
    assert shapes == [(2, 3, 3, 3) if attention == "eager" else None] * 3


def test_plain_linear_layers_multiply_by_their_weight():
    x = torch.randn(5, 6)
    for layer in (torch.nn.Linear(6, 4), tf.pytorch_utils.Conv1D(4, 6)):
        weight = plain_linear_weight(layer)
        torch.testing.assert_close(layer(x), x @ weight.T + layer.bias)

    class Other(torch.nn.Linear):
        def forward(self, x):
            return x

    pruned = prune.random_unstructured(torch.nn.Linear(6, 4), "weight", 0.5)
    quantised = torch.nn.Linear(6, 4)
    quantised.weight = torch.nn.Parameter(torch.zeros(4, 6, dtype=torch.int8), requires_grad=False)
    for layer in (Other(6, 4), pruned, quantised, torch.nn.LayerNorm(6), torch.nn.Identity()):
        assert plain_linear_weight(layer) is None


def test_the_axis_of_a_weights_inputs():
    assert inputs_first(torch.nn.Linear(6, 4), "weight") is False
    assert inputs_first(tf.pytorch_utils.Conv1D(4, 6), "weight") is True
    for layer, name in ((torch.nn.Linear(6, 4), "bias"), (torch.nn.LayerNorm(6), "weight")):
        assert inputs_first(layer, name) is None
    stack = torch.nn.Module()
    stack.weight = torch.nn.Parameter(torch.zeros(2, 3, 4))
    assert inputs_first(stack, "weight") is None


@pytest.mark.parametrize("name", EXPERTS)
def test_the_axis_of_the_inputs_of_experts(name):
    """Their matrices are (inputs, outputs) or the other way round, as they say themselves."""
    experts = build_experts(name).get_submodule(f"model.layers.2.{EXPERTS[name][3]}")
    for weight, hidden_are_inputs in (("gate_up_proj", True), ("down_proj", False)):
        shape = getattr(experts, weight).shape[1:]
        assert (shape[0] == 48) != (shape[1] == 48)  # DECODER's width of hidden states
        first = inputs_first(experts, weight)
        assert (shape[0] == 48) is (first is hidden_are_inputs), weight
    assert first is (name == "gpt_oss")


def test_an_adapter_around_a_linear_layer():
    """What peft's layers look like: `base_layer`, and whether they add to it."""
    linear = torch.nn.Linear(6, 4)
    model, adapter = torch.nn.Module(), torch.nn.Module()
    model.adapter, adapter.base_layer = adapter, linear
    for merged, disabled in ((False, False), (True, False), (False, True)):
        adapter.merged, adapter.disable_adapters = merged, disabled
        found = adapter_around(model, linear)
        assert (found is adapter) is not (merged or disabled)
        assert found in (adapter, None)
    assert adapter_around(linear, linear) is None


def test_an_adapter_inside_a_module():
    inside, layer = torch.nn.Module(), torch.nn.Module()
    inside.base_layer, layer.projection = torch.nn.Linear(6, 4), inside
    assert adapter_in(layer) is inside
    assert adapter_in(inside) is inside
    assert adapter_in(inside.base_layer) is None
    inside.merged = True
    assert adapter_in(layer) is None


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_the_factors_of_an_adapter_of_lora(model, peft):
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    (first, *_) = layers = [m for m in wrapped.modules() if is_lora(m)]
    assert len(layers) == 3
    a, b = lora_factors(first)
    (x,) = torch.randn(1, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        b.weight.normal_()
        added = first(x) - first.base_layer(x)
        scale = first.scaling["default"]
        torch.testing.assert_close(added, scale * b.weight @ a.weight @ x)
        with lora_idle(layers):
            assert torch.equal(first(x), first.base_layer(x))
            assert not is_lora(first)
    assert is_lora(first)
    assert a.weight.requires_grad
    first.merge()
    assert not is_lora(first)


def test_parameters_that_are_changed_in_place():
    """Those of sharded and quantised models are of another class, or hold no numbers alone."""
    weight = torch.nn.Parameter(torch.zeros(4, 6))
    assert why_not_editable(weight) is None
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        assert why_not_editable(torch.nn.Parameter(weight.detach().to(dtype))) is None
    with torch.inference_mode():
        made_there = torch.nn.Parameter(torch.zeros(4, 6), requires_grad=False)
    of_others = {
        "is offloaded": torch.nn.Parameter(weight.detach().to("meta")),
        "holds int8": torch.nn.Parameter(weight.detach().to(torch.int8), requires_grad=False),
        "holds float8_e4m3fn": torch.nn.Parameter(
            weight.detach().to(torch.float8_e4m3fn), requires_grad=False
        ),
        "inference_mode": made_there,
        "is a DTensor": sharded(weight.detach()),
    }
    for why, parameter in of_others.items():
        assert why in why_not_editable(parameter)


def sharded(values):
    """A parameter as FSDP and tensor parallelism make them, in a group of one process."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        return torch.nn.Parameter(torch.distributed.tensor.distribute_tensor(values, mesh))
    finally:
        torch.distributed.destroy_process_group()
