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


def initialise(model_class, config, attention="sdpa", dtype=torch.float32, seed=0):
    config._attn_implementation = attention
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=0.15)
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
