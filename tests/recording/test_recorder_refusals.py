"""What cannot be recorded rightly is refused, with the remedy."""

import copy
import threading

import pytest
import torch
import transformers as tf
from torch import nn

from support.recordings import STEPS, recorded
from support.tiny_models import (
    VOCAB,
    build,
    generate,
    hooks,
    prompts,
)
from synkern.models.language_model import UnsupportedModelError
from synkern.recording.recorder import record
from synkern.recording.recording import RecordingError
from synkern.recording.replayer import replay


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 2}, "num_beams=2"),
        ({"prompt_lookup_num_tokens": 3}, "prompt_lookup_num_tokens=3"),
        ({"prefill_chunk_size": 2}, "prefill_chunk_size=2"),
        ({"use_cache": False}, "use_cache=False"),
        ({"guidance_scale": 1.5}, "guidance_scale=1.5"),
        ({"assistant_model": "itself"}, "assistant_model=LlamaForCausalLM"),
        ({"cache_implementation": "paged"}, "cache_implementation='paged'"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha=0.6"),
        ({"custom_generate": "somebody/decoding"}, "custom_generate='somebody/decoding'"),
        ({"assistant_early_exit": 2}, "assistant_early_exit=2"),
    ],
)
@pytest.mark.parametrize("where", ["argument", "configuration", "default"])
def test_settings_of_generate_are_refused(model, options, message, where):
    if options.get("assistant_model"):
        options = {"assistant_model": copy.deepcopy(model)}
    if where != "argument" and not hasattr(tf.GenerationConfig(), next(iter(options))):
        return  # generate takes it as an argument only
    given = {}
    if where == "argument":
        given = options
    elif where == "configuration":
        given = {"generation_config": tf.GenerationConfig(max_new_tokens=4, **options)}
    else:
        for name, value in options.items():
            setattr(model.generation_config, name, value)
    with pytest.raises(RecordingError, match=message) as refusal, record(model):
        generate(model, prompts(1, 5), 4, **given)
    assert "synkern.replay" in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt_lookup_num_tokens": 3}, r"\d token\(s\) on a cache"),
        ({"prefill_chunk_size": 2}, r"2 token\(s\) on a cache of 2"),
        ({"use_cache": False}, "use_cache=False"),
        ({"assistant_model": "itself"}, r"token\(s\) on a cache"),
    ],
)
def test_the_calls_alone_are_refused_too(model, options, message):
    """Where generate is not called through the model, the calls still give it away."""
    if "assistant_model" in options:
        options = {"assistant_model": copy.deepcopy(model)}
    ids = prompts(1, 4).repeat(1, 3)
    before = hooks(model)
    with pytest.raises(RecordingError, match=message) as refusal, record(model):
        type(model).generate(model, ids, max_new_tokens=8, do_sample=False, **options)
    assert "synkern.replay" in str(refusal.value)
    assert hooks(model) == before


def test_a_model_being_recorded_is_not_read_twice(model):
    ids = prompts(1, 5)
    with record(model) as recording:
        with pytest.raises(RecordingError, match="LlamaForCausalLM is already being recorded"):
            record(model).__enter__()
        with pytest.raises(RecordingError, match="LlamaForCausalLM is already being recorded"):
            replay(model, ids, new_tokens=2)
        with pytest.raises(RecordingError, match="is already being recorded"):
            record(nn.Sequential(model)).__enter__()
        generate(model, ids, STEPS)
        recorded(build("llama"), ids)  # another model
    assert torch.equal(recorded(model, ids)[0].series, recording.series)


class Gate:
    """A logits processor that halts generate at a step until it is opened."""

    def __init__(self, step):
        self.left, self.reached, self.opened = step, threading.Event(), threading.Event()

    def __call__(self, ids, scores):
        self.left -= 1
        if self.left == 0:
            self.reached.set()
            assert self.opened.wait(timeout=60)
        return scores


def test_a_generate_that_outlasts_the_block_is_an_error(model):
    ids, gate, texts = prompts(2, 5), Gate(step=4), []
    before, own = hooks(model), set(model.__dict__)
    thread = threading.Thread(
        target=lambda: texts.append(generate(model, ids, STEPS, logits_processor=[gate]))
    )
    with pytest.raises(RecordingError, match=r"still running in another thread.*thread\.join\(\)"):  # noqa: PT012, SIM117
        with record(model) as recording:
            generate(model, ids, STEPS)
            thread.start()
            assert gate.reached.wait(timeout=60)
    gate.opened.set()
    thread.join()
    assert torch.equal(texts[0], generate(model, ids, STEPS))  # undisturbed
    assert hooks(model) == before
    assert set(model.__dict__) == own
    with pytest.raises(RecordingError, match="not complete"):
        _ = recording.series


def test_a_streamed_text_is_complete(model):
    """A streamer says that the text has ended a little before generate returns."""

    class Streamer:
        def __init__(self):
            self.ended, self.left = threading.Event(), threading.Event()

        def put(self, tokens):
            pass

        def end(self):
            self.ended.set()
            self.left.wait(timeout=0.2)

    ids, streamer = prompts(1, 5), Streamer()
    thread = threading.Thread(target=lambda: generate(model, ids, STEPS, streamer=streamer))
    with record(model) as recording:
        thread.start()
        assert streamer.ended.wait(timeout=60)
    thread.join()
    assert torch.equal(recording.series, recorded(model, ids)[0].series)


def test_training_mode_is_refused(model):
    model.train()
    with pytest.raises(RecordingError, match=r"training mode.*model\.eval\(\)"), record(model):
        generate(model, prompts(1, 5), 4)
    with pytest.raises(RecordingError, match=r"training mode.*model\.eval\(\)"):
        replay(model, prompts(1, 5), new_tokens=2)


def test_padding_on_the_right_is_refused(model):
    ids = prompts(2, 5)
    mask = torch.ones_like(ids)
    mask[1, 3:] = 0
    message = 'row 1 ends in 0.*padding_side="left"'
    with pytest.raises(ValueError, match=message), record(model):
        generate(model, ids, 4, attention_mask=mask)
    with pytest.raises(ValueError, match=message), record(model):
        model(ids, attention_mask=mask)
    with pytest.raises(ValueError, match=message):
        replay(model, prompts(2, 9), new_tokens=4, attention_mask=mask)


def test_an_empty_recording_is_an_error(model):
    with pytest.raises(RecordingError, match="nothing was recorded"), record(model):
        pass


def test_a_recording_is_read_after_it_ends(model):
    with record(model) as recording:
        generate(model, prompts(1, 5), 3)
        with pytest.raises(RecordingError, match="read it after"):
            _ = recording.series
    assert repr(recording) == "Recording(heads (norm), trials x steps x nodes: (1, 3, 9))"


def test_a_norm_that_is_not_finite_names_head_and_step(model):
    calls = []

    def spoil(_, args):
        calls.append(None)
        if len(calls) == 3:
            args[0][1, -1, 2 * 16] = float("nan")

    model.model.layers[2].self_attn.o_proj.register_forward_pre_hook(spoil)
    with (
        pytest.raises(RecordingError, match="head L2H2 has the value nan at step 3 of trial 1"),
        record(model),
    ):
        generate(model, prompts(2, 5), STEPS)


def test_a_model_that_cannot_be_read_is_refused_before_generating():
    config = tf.BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=2, n_head=2)
    bloom = tf.BloomForCausalLM(config).eval()
    with pytest.raises(UnsupportedModelError, match="Bloom"), record(bloom):
        raise AssertionError("not reached")
    with pytest.raises(UnsupportedModelError, match="Bloom"):
        replay(bloom, prompts(1, 5), new_tokens=2)


def test_calls_that_are_not_the_tokens_returned_are_refused(model, monkeypatch):
    plain = model.generate
    monkeypatch.setattr(model, "generate", lambda *a, **k: plain(*a, **k)[:, :-2])
    with pytest.raises(RecordingError, match="appended 4 tokens in 6 calls"), record(model):
        generate(model, prompts(1, 5), 6)
