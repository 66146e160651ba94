"""Replaying texts that are more than token ids: images, soft prompts, offloaded models."""

import functools
from types import SimpleNamespace

import accelerate
import pytest
import torch
import transformers as tf
from torch import nn
from torch.nn.functional import pad

from support.tiny_models import DECODER, build, generate, initialise, prompts
from synkern.models.language_model import randomly_initialised
from synkern.recording.recorder import record
from synkern.recording.recording import RecordingError
from synkern.recording.replayer import replay

STEPS = 6
IMAGE, BEGIN, END = 3, 4, 5


@functools.cache
def gemma():
    """Gemma 3 with two texts of 10 tokens, of which 4 stand for an image."""
    model = build("gemma3-multimodal")
    ids = prompts(2, 10)
    ids[:, 2], ids[:, 3:7], ids[:, 7] = BEGIN, IMAGE, END
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    given = {"pixel_values": images, "token_type_ids": (ids == IMAGE).long()}
    return _written(model, ids, given)


@functools.cache
def qwen():
    """Qwen2-VL, where positions depend on the images; the texts have different lengths."""
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    text = {**DECODER, "rope_scaling": rope, "rope_parameters": rope}
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 48, "num_heads": 2, "patch_size": 4}
    special = {"image_token_id": IMAGE, "vision_start_token_id": BEGIN, "vision_end_token_id": END}
    config = tf.Qwen2VLConfig(
        text_config=text, vision_config=vision, video_token_id=6, pad_token_id=0, **special
    )
    model = initialise(tf.Qwen2VLForConditionalGeneration, config)
    model.generation_config.pad_token_id = 0
    ids = prompts(2, 12).clamp(min=7)
    # 4 x 6 patches, of which 2 x 2 become one token.
    ids[:, 3], ids[:, 4:10], ids[:, 10] = BEGIN, IMAGE, END
    mask = torch.ones_like(ids)
    ids[0, :2], mask[0, :2] = 0, 0
    grid = torch.tensor([[1, 4, 6]] * 2)
    patches = torch.randn(48, 3 * 2 * 16, generator=torch.Generator().manual_seed(1))
    given = {"pixel_values": patches, "image_grid_thw": grid}
    given["mm_token_type_ids"] = (ids == IMAGE).int()
    return _written(model, ids, given, mask)


def _written(model, ids, given, mask=None):
    mask = torch.ones_like(ids) if mask is None else mask
    options = {"do_sample": False, "max_new_tokens": STEPS, "pad_token_id": 0}
    with record(model) as recording:
        text = model.generate(input_ids=ids, attention_mask=mask, **given, **options)
    return SimpleNamespace(model=model, text=text, mask=mask, given=given, series=recording.series)


def read(case, **options):
    given = {"new_tokens": STEPS, "attention_mask": case.mask, "model_inputs": case.given}
    return replay(case.model, case.text, **given | options).series


@pytest.mark.parametrize("make", [gemma, qwen])
def test_a_text_with_an_image_is_read_as_it_was_written(make):
    case = make()
    torch.testing.assert_close(read(case), case.series, rtol=1e-4, atol=1e-5)
    none = {name: None for name in case.given}
    without = read(case, model_inputs=none)
    assert ((without - case.series).abs().mean() / case.series.mean()) > 0.05


@pytest.mark.parametrize("make", [gemma, qwen])
def test_a_text_without_an_image_is_read_as_it_was_written(make):
    model = make().model
    case = _written(model, prompts(2, 9).clamp(min=7), {})
    torch.testing.assert_close(read(case), case.series, rtol=1e-4, atol=1e-5)


def test_what_has_a_value_per_token_may_be_given_for_all_tokens():
    case = gemma()
    whole = case.given | {"token_type_ids": pad(case.given["token_type_ids"], (0, STEPS))}
    torch.testing.assert_close(read(case, model_inputs=whole), case.series, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [gemma, qwen])
def test_an_image_that_is_missing_is_refused(make):
    case = make()
    message = r"row 0 holds token 3.*reads image data \(image_token.*model_inputs=\{'pixel_values'"
    for given in (None, {}, {"position_ids": None}):
        with pytest.raises(ValueError, match=message):
            read(case, model_inputs=given)


def test_a_placeholder_that_the_model_wrote_itself_is_a_token():
    model = gemma().model
    text = prompts(1, 10)
    text[0, 7] = IMAGE
    assert replay(model, text, new_tokens=4).series.shape == (1, 4, 9)
    with pytest.raises(ValueError, match="row 0 holds token 3"):
        replay(model, text, new_tokens=2)


def test_positions_of_ones_own():
    """A table of positions read from its sixth row on, prompt and continuation."""
    model, ids = build("gpt2"), prompts(2, 5)
    positions = torch.arange(5, 10).expand(2, -1)
    longer = torch.cat([positions, torch.arange(10, 12).expand(2, -1)], 1)
    text = torch.cat([ids, prompts(2, 3, seed=1)], 1)
    given = {"new_tokens": 3, "attention_mask": torch.ones_like(text)}
    short = replay(model, text, model_inputs={"position_ids": positions}, **given).series
    whole = pad(longer, (0, 1), value=12)
    assert torch.equal(
        short, replay(model, text, model_inputs={"position_ids": whole}, **given).series
    )
    read = []
    hook = lambda _, args: read.append(args[0])  # noqa: E731
    model.transformer.h[0].attn.c_proj.register_forward_pre_hook(hook)
    with torch.no_grad():
        model(text[:, :-1], position_ids=longer)
    torch.testing.assert_close(short[..., :5], read[0][:, -3:].unflatten(-1, (5, 7)).norm(dim=-1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pixle_values": None}, "pixle_values is nothing that Gemma3.*it takes .*pixel_values"),
        ({"input_ids": None}, "input_ids is nothing"),
        ({"attention_mask": None}, "attention_mask is nothing"),
        ({"use_cache": True}, "use_cache is nothing"),
        ({"position_ids": tf.DynamicCache()}, "position_ids is a cache"),
        ({"token_type_ids": torch.zeros(2, 7)}, r"token_type_ids has shape \(2, 7\).*\(\.\.\., 16"),
        ({"labels": torch.zeros(2, 10)}, r"labels has shape \(2, 10\) .*give it for every token"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(given, message):
    case = gemma()
    with pytest.raises(ValueError, match=f"model_inputs: {message}"):
        read(case, model_inputs={"pixel_values": None} | given)


class Adapter(nn.Module):
    """What an adapter of peft looks like from outside."""

    def __init__(self, model, soft):
        super().__init__()
        self.model, self.active_adapter = model, "mine"
        config = SimpleNamespace(is_prompt_learning=soft, peft_type="PROMPT_TUNING")
        other = SimpleNamespace(is_prompt_learning=not soft, peft_type="OTHER")
        self.peft_config = {"mine": config, "other": other}


def test_a_soft_prompt_is_refused():
    model, text = build("llama"), prompts(1, 6)
    with pytest.raises(
        RecordingError, match=r"Adapter prepends.*\(PROMPT_TUNING\).*synkern.record"
    ):
        replay(Adapter(model, soft=True), text, new_tokens=2)
    usual = replay(model, text, new_tokens=2).series
    assert torch.equal(replay(Adapter(model, soft=False), text, new_tokens=2).series, usual)


# Models whose weights are elsewhere


@pytest.mark.parametrize("how", ["cpu", "disk", "sequential"])
@pytest.mark.parametrize("name", ["gpt2", "mixtral"])
def test_a_model_that_is_offloaded(name, how, tmp_path):
    model, text = build(name), prompts(2, 9)
    given = {"new_tokens": 4, "attention_mask": torch.ones_like(text)}
    usual = replay(model, text, **given).series
    if how == "disk":
        accelerate.disk_offload(model, tmp_path, execution_device="cpu")
    else:
        accelerate.cpu_offload(model, execution_device="cpu")
    if how == "sequential":  # a second hook on the model itself
        accelerate.hooks.add_hook_to_module(model, accelerate.hooks.ModelHook(), append=True)
    assert next(model.parameters()).is_meta
    assert torch.equal(replay(model, text, **given).series, usual)


def test_the_twin_of_a_model_that_is_offloaded():
    model, ids = build("llama"), prompts(1, 5)
    twin = randomly_initialised(model, 3)
    accelerate.cpu_offload(model, execution_device="cpu")
    again = randomly_initialised(model, 3)
    with torch.no_grad():
        assert torch.equal(again(ids).logits, twin(ids).logits)


def test_a_text_longer_than_the_context():
    text = prompts(1, 130)
    for length in (128, 129):  # the last token is not read
        replay(build("llama"), text[:, :length], new_tokens=4)
        replay(build("gpt2"), text[:, :length], new_tokens=4)
    message = "a text of 129 tokens is longer than the 128 that"
    with pytest.warns(UserWarning, match=f"{message} LlamaForCausalLM") as caught:
        replay(build("llama"), text, new_tokens=4)
    assert caught[0].filename == __file__
    with pytest.raises(RecordingError, match=f"{message} GPT2LMHeadModel"):
        replay(build("gpt2"), text, new_tokens=4)
    padded, mask = pad(text[:, :100], (30, 0)), pad(torch.ones(1, 100), (30, 0))
    replay(build("gpt2"), padded, new_tokens=4, attention_mask=mask)


def test_generate_is_left_as_it_was():
    model, ids = build("llama"), prompts(1, 4)
    bare = generate(model, ids, 3)
    replay(model, bare, new_tokens=3)
    assert torch.equal(generate(model, ids, 3), bare)
