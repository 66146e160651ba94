"""Loading models and making untrained twins."""

import shutil

import pytest
import torch
import transformers as tf

from support.tiny_models import ARCHITECTURES, build, prompts
from synkern.models.language_model import load, randomly_initialised
from synkern.models.packaged import converted


@pytest.fixture(scope="module")
def smollm2():
    return load("smollm2-135m")


def test_smollm2_speaks(smollm2):
    model, tokenizer = smollm2
    assert not model.training
    assert model.dtype == torch.float32
    assert tokenizer.padding_side == "left"
    assert tokenizer.pad_token is not None
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert model.generation_config.eos_token_id == 2
    chat = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    inputs = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0, inputs["input_ids"].shape[1] :])


def test_a_folder(smollm2, tmp_path):
    build("llama").save_pretrained(tmp_path)
    source = converted("smollm2-135m", pytest.fail)  # it has been
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, tmp_path)
    model, tokenizer = load(tmp_path, device="cpu")
    assert type(model) is tf.LlamaForCausalLM
    assert not model.training
    assert tokenizer.padding_side == "left"


@pytest.mark.parametrize("dtype", ["int8", "float33", torch.int64])
def test_a_dtype_that_is_none(dtype):
    with pytest.raises(ValueError, match=f"dtype: .*{dtype}.*is not a floating-point type"):
        load("smollm2-135m", dtype=dtype)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_untrained_twin(name):
    model, ids = build(name, attention="eager"), prompts(1, 6)
    model.generation_config.eos_token_id = [5, 6]
    state, weights = torch.get_rng_state(), {n: p.clone() for n, p in model.named_parameters()}
    twin = randomly_initialised(model, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert type(twin) is type(model)
    assert not twin.training
    assert twin.generation_config.eos_token_id == [5, 6]
    assert twin.config._attn_implementation == "eager"
    assert {n: p.shape for n, p in twin.named_parameters()} == {
        n: p.shape for n, p in weights.items()
    }
    assert all(torch.equal(p, weights[n]) for n, p in model.named_parameters())
    with torch.no_grad():
        logits = twin(ids).logits
        assert torch.equal(randomly_initialised(model, 1)(ids).logits, logits)
        assert not torch.allclose(randomly_initialised(model, 2)(ids).logits, logits)
        assert not torch.allclose(model(ids).logits, logits)


def test_an_untrained_twin_has_the_architectures_own_initialisation(smollm2):
    twin = randomly_initialised(smollm2[0], 0)
    weight = twin.model.layers[3].self_attn.q_proj.weight
    assert weight.std().item() == pytest.approx(twin.config.initializer_range, rel=0.02)
    assert torch.equal(twin.model.norm.weight, torch.ones(576))
    assert twin.lm_head.weight is twin.model.embed_tokens.weight


def test_an_untrained_twin_has_the_dtype_but_exact_buffers():
    model = build("llama", dtype=torch.bfloat16)
    twin = randomly_initialised(model, 0)
    assert {p.dtype for p in twin.parameters()} == {torch.bfloat16}
    assert torch.equal(twin.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq)
    assert twin.model.rotary_emb.inv_freq.dtype == torch.float32


def test_an_untrained_twin_of_a_quantised_model_is_refused():
    model = build("llama")
    model.is_quantized = True
    with pytest.raises(ValueError, match="LlamaForCausalLM is quantised"):
        randomly_initialised(model, 0)
