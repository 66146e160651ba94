"""Tiny random models of many architectures, and an independent reading of their heads."""

import contextlib
import inspect

import torch
import transformers as tf
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

VOCAB = 100
COMMON = {"vocab_size": VOCAB, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
DECODER = {
    **COMMON,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
}
GEMMA = {**DECODER, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8}


def gemma3_multimodal():
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 4,
    }
    return tf.Gemma3ForConditionalGeneration, tf.Gemma3Config(
        text_config=GEMMA,
        vision_config=vision,
        mm_tokens_per_image=4,
        image_token_id=3,
        boi_token_id=4,
        eoi_token_id=5,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )


def causal(name, **config):
    return lambda: (
        getattr(tf, f"{name}ForCausalLM" if name != "GPT2" else "GPT2LMHeadModel"),
        getattr(tf, f"{name}Config")(**config),
    )


# name: (class and configuration, layers, heads, width of a head, name of a projection)
ARCHITECTURES = {
    "llama": (causal("Llama", **DECODER), 3, 3, 16, "model.layers.2.self_attn.o_proj"),
    "qwen2": (causal("Qwen2", **DECODER), 3, 3, 16, "model.layers.2.self_attn.o_proj"),
    # Heads wider than hidden_size / num_attention_heads.
    "qwen3": (causal("Qwen3", **DECODER, head_dim=24), 3, 3, 24, "model.layers.2.self_attn.o_proj"),
    "gemma3": (
        lambda: (tf.Gemma3ForCausalLM, tf.Gemma3TextConfig(**GEMMA)),
        3,
        3,
        8,
        "model.layers.2.self_attn.o_proj",
    ),
    "gemma3-multimodal": (
        gemma3_multimodal,
        3,
        3,
        8,
        "model.language_model.layers.2.self_attn.o_proj",
    ),
    "gpt_neox": (
        causal("GPTNeoX", **DECODER | {"num_attention_heads": 4}),
        3,
        4,
        12,
        "gpt_neox.layers.2.attention.dense",
    ),
    "gpt2": (
        causal("GPT2", **COMMON, n_embd=35, n_layer=2, n_head=5, n_positions=128),
        2,
        5,
        7,
        "transformer.h.1.attn.c_proj",
    ),
    "mixtral": (
        causal("Mixtral", **DECODER, num_local_experts=4, num_experts_per_tok=2),
        3,
        3,
        16,
        "model.layers.2.self_attn.o_proj",
    ),
    # Latent attention: values are narrower than queries and keys.
    "deepseek_v2": (
        causal(
            "DeepseekV2",
            **DECODER | {"num_key_value_heads": 3},
            q_lora_rank=16,
            kv_lora_rank=16,
            qk_nope_head_dim=12,
            qk_rope_head_dim=8,
            v_head_dim=10,
            n_routed_experts=4,
            n_shared_experts=1,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            first_k_dense_replace=1,
        ),
        3,
        3,
        10,
        "model.layers.2.self_attn.o_proj",
    ),
}


def build(name, attention="sdpa", dtype=torch.float32, seed=0):
    """A tiny model whose random weights are large enough for its heads to differ."""
    make, *_ = ARCHITECTURES[name]
    return initialise(*make(), attention=attention, dtype=dtype, seed=seed)


# What a model with experts has beside; every family takes its own names from it.
MOE = {
    "num_local_experts": 8,
    "num_experts": 8,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
}
DEEPSEEK = {
    **MOE,
    "num_key_value_heads": 3,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 2.5,
}


def with_experts(name, **config):
    """A model of three layers with 8 experts, 3 of which are chosen for a token."""
    config_class = getattr(tf, f"{name}Config")
    taken = {**inspect.signature(config_class).parameters, **config_class.attribute_map}
    own = {**DECODER, **MOE, **config}
    return causal(name, **{k: v for k, v in own.items() if k in taken})


# name: (class and configuration, layers with experts, what the router's probabilities are, name of
# the experts of the last layer within it)
EXPERTS = {
    "mixtral": (with_experts("Mixtral"), [0, 1, 2], "softmax", "mlp.experts"),
    "qwen2_moe": (
        with_experts("Qwen2Moe", shared_expert_intermediate_size=40),
        [0, 1, 2],
        "softmax",
        "mlp.experts",
    ),
    "qwen3_moe": (
        with_experts("Qwen3Moe", norm_topk_prob=True),
        [0, 1, 2],
        "softmax",
        "mlp.experts",
    ),
    "olmoe": (with_experts("Olmoe"), [0, 1, 2], "softmax", "mlp.experts"),
    "deepseek_v2": (
        with_experts("DeepseekV2", **DEEPSEEK, topk_method="group_limited_greedy"),
        [1, 2],
        "softmax",
        "mlp.experts",
    ),
    "deepseek_v3": (with_experts("DeepseekV3", **DEEPSEEK), [1, 2], "sigmoid", "mlp.experts"),
    # Biases, a clamped activation, gate and up interleaved, weights the other way round.
    "gpt_oss": (with_experts("GptOss", head_dim=16), [0, 1, 2], "softmax", "mlp.experts"),
    "granitemoe": (with_experts("GraniteMoe"), [0, 1, 2], "softmax", "block_sparse_moe.experts"),
    "phimoe": (with_experts("Phimoe", num_experts_per_tok=2), [0, 1, 2], None, "mlp.experts"),
    "ernie4_5_moe": (
        with_experts("Ernie4_5_Moe", moe_num_experts=8, moe_k=3, moe_num_shared_experts=1),
        [1, 2],
        "softmax",
        "mlp.experts",
    ),
    "gemma4": (
        lambda: (
            tf.Gemma4ForCausalLM,
            tf.Gemma4TextConfig(
                **DECODER,
                num_experts=8,
                top_k_experts=3,
                moe_intermediate_size=32,
                head_dim=16,
                enable_moe_block=True,
                hidden_size_per_layer_input=0,
            ),
        ),
        [0, 1, 2],
        "probabilities",
        "experts",
    ),
}


def build_experts(name, experts="eager", dtype=torch.float32, seed=0):
    """A tiny model with experts whose random weights are large enough for them to differ."""
    make, *_ = EXPERTS[name]
    attention = "eager" if name == "gpt_oss" else "sdpa"
    model_class, config = make()
    config._experts_implementation = experts
    return initialise(model_class, config, attention=attention, dtype=dtype, seed=seed)


def experts_by_definition(model, name, call):
    """Of one call of the experts of a layer: each expert's output (N, experts, width) in float64.

    From the weights alone, expert by expert; `call` is (hidden, indices, weights).
    """
    experts, hidden = call[0], call[1].double()
    outputs = []
    for e in range(8):
        if name == "gpt_oss":
            both = hidden @ experts.gate_up_proj[e].double() + experts.gate_up_proj_bias[e].double()
            gate = both[:, 0::2].clamp(max=experts.limit)
            up = both[:, 1::2].clamp(-experts.limit, experts.limit)
            inner = (up + 1) * gate * torch.sigmoid(experts.alpha * gate)
            own = inner @ experts.down_proj[e].double() + experts.down_proj_bias[e].double()
        else:
            gate, up = (hidden @ experts.gate_up_proj[e].double().T).chunk(2, -1)
            act = torch.nn.functional.silu if name != "gemma4" else gelu_tanh
            own = (act(gate) * up) @ experts.down_proj[e].double().T
        outputs.append(own)
    return torch.stack(outputs, 1)


def gelu_tanh(x):
    return torch.nn.functional.gelu(x, approximate="tanh")


def initialise(model_class, config, attention="sdpa", dtype=torch.float32, seed=0):
    config._attn_implementation = attention
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=0.15)
            for buffer_name, buffer in model.named_buffers():
                if "correction_bias" in buffer_name:  # what moves the choice, but not the weights
                    buffer.normal_(std=0.2)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.generation_config.eos_token_id = None
    return model.eval()


def hooks(model):
    """The number of hooks on each module."""
    return [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()]


def prompts(rows, length, seed=0):
    """Token ids (rows, length) without special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(6, VOCAB, (rows, length), generator=generator)


def cache_argument(model):
    """The name under which a model takes its cache; transformers 5.24 renamed it."""
    model = getattr(model, "_orig_mod", model)  # inside torch.compile
    forward = (model if isinstance(model, type) else type(model)).forward
    names = inspect.signature(forward).parameters
    return next(name for name in ("cache", "past_key_values") if name in names)


def cache_of(output):
    """The cache in the output of a model."""
    return next(value for value in output.values() if isinstance(value, tf.Cache))


def go_on(model, ids, cache, **options):
    """Feed tokens to a model that goes on from a cache; the cache afterwards."""
    return cache_of(model(ids, **{cache_argument(model): cache}, **options))


def generate(model, ids, steps, **options):
    """Greedy generation of exactly `steps` tokens."""
    options = {"do_sample": False, "max_new_tokens": steps, "pad_token_id": 0} | options
    options.setdefault("attention_mask", torch.ones_like(ids))
    return model.generate(ids, **options)


def heads_by_definition(model, sequences, mask=None):
    """Norms (rows, positions, layers * heads) of softmax(q kᵀ) v, from one pass over `sequences`.

    Computed in float64 by an attention function of its own, from the queries, keys and values that
    the model hands to it: no output projection is looked at.
    """
    layers = {}

    def attend(module, query, key, value, *masks, scaling=None, **_):
        (attention_mask,) = masks
        groups = query.shape[1] // key.shape[1]
        key = key.double().repeat_interleave(groups, dim=1)
        value = value.double().repeat_interleave(groups, dim=1)
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        scores = torch.einsum("bhqd,bhkd->bhqk", query.double(), key) * scaling
        if attention_mask is not None:
            scores = scores + attention_mask.double()
        heads = torch.einsum("bhqk,bhkd->bqhd", torch.softmax(scores, dim=-1), value)
        layers[module.layer_idx] = heads.square().sum(-1).sqrt()
        return heads.to(query.dtype), None

    ids = sequences
    mask = torch.ones_like(ids) if mask is None else mask
    usual = model.config._attn_implementation
    with registered("by_definition", attend), torch.no_grad():
        model.set_attn_implementation("by_definition")
        try:
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
        finally:
            model.set_attn_implementation(usual)
    return torch.cat([layers[i] for i in sorted(layers)], dim=-1)


@contextlib.contextmanager
def registered(name, function):
    ALL_ATTENTION_FUNCTIONS.register(name, function)
    ALL_MASK_ATTENTION_FUNCTIONS.register(name, eager_mask)
    try:
        yield
    finally:
        type(ALL_ATTENTION_FUNCTIONS)._global_mapping.pop(name)
        type(ALL_MASK_ATTENTION_FUNCTIONS)._global_mapping.pop(name)
