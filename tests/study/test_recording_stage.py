"""The recording of a study: greedy answers, what is noted of the model, models that are refused."""

import numpy as np
import pytest
import torch

import synkern
from support import tiny_study
from support.tiny_study import RECORDINGS
from synkern.models import load
from synkern.recording import record_answers
from synkern.study import StudyError
from synkern.study.provenance import weights_fingerprint


def test_the_recording_is_the_greedy_answer_without_an_end(model, finished):
    loaded, tokenizer = load(model, device="cpu")
    # One prompt by itself, token by token, without generate, cache or hooks.
    ids = tokenizer(tiny_study.PROMPTS[1], return_tensors="pt").input_ids
    expected, norms, ends = [], [], []
    projections = [layer.self_attn.o_proj for layer in loaded.model.layers]
    seen = {}
    for index, projection in enumerate(projections):
        projection.register_forward_pre_hook(
            lambda _, args, index=index: seen.update({index: args[0]})
        )
    for _ in range(36):
        with torch.no_grad():
            logits = loaded(ids, use_cache=False).logits[0, -1]
        norms.append([seen[i][0, -1].view(2, 16).norm(dim=-1) for i in range(4)])
        ends.append(int(logits.argmax()) == tokenizer.eos_token_id)
        logits[tokenizer.eos_token_id] = -torch.inf
        expected.append(int(logits.argmax()))
        ids = torch.cat([ids, torch.tensor([[expected[-1]]])], dim=1)
    arrays = finished.arrays
    assert arrays["trained_tokens"][1].tolist() == expected
    assert arrays["trained_natural_end"][1] == (ends.index(True) if any(ends) else -1)
    flat = np.array([[float(x) for layer in step for x in layer] for step in norms])
    np.testing.assert_allclose(arrays["trained_series"][1], flat, rtol=1e-4)


def test_the_fingerprint_of_weights_sees_one_weight_of_a_small_model(model):
    loaded, _ = load(model, device="cpu")
    fingerprint = weights_fingerprint
    before = fingerprint(loaded)
    assert fingerprint(load(model, device="cpu")[0]) == before
    with torch.no_grad():
        loaded.model.layers[3].mlp.down_proj.weight[-1, -1] += 1e-3
    assert fingerprint(loaded) not in (before, None)
    assert fingerprint(loaded.to("meta")) is None


def test_the_commit_of_a_model_from_the_hub_is_recorded(model, tmp_path, monkeypatch):
    def from_hub(*args, **kwargs):
        loaded, tokenizer = load(*args, **kwargs)
        loaded.config._commit_hash = "0123abcd"
        return loaded, tokenizer

    monkeypatch.setattr("synkern.models.load", from_hub)
    facts = tiny_study.again(model, tmp_path, control=False).description["stages"][RECORDINGS[0]]
    assert facts["model"]["hub_commit"] == "0123abcd"


def test_an_end_is_suppressed_and_noted(tmp_path):
    folder = tiny_study.save_model(tmp_path / "model")
    loaded, tokenizer = load(folder, device="cpu")
    plain = dict(new_tokens=12, batch_size=2)
    before = record_answers(loaded, tokenizer, tiny_study.PROMPTS[:2], **plain)
    # Make the fourth token of the first answer an end.
    loaded.generation_config.eos_token_id = [tokenizer.eos_token_id, int(before.tokens[0, 3])]
    loaded.generation_config.temperature = 0.3  # such settings warn when given to a greedy model
    loaded.generation_config.repetition_penalty = 5.0
    own = loaded.generation_config
    after = record_answers(loaded, tokenizer, tiny_study.PROMPTS[:2], **plain)
    first = before.tokens[0].tolist().index(before.tokens[0, 3])
    assert after.natural_end[0] == first
    assert after.tokens.shape == (2, 12)
    assert before.tokens[0, 3] not in after.tokens
    assert after.tokens[0, :first].tolist() == before.tokens[0, :first].tolist()
    assert loaded.generation_config is own


def test_a_chat_template_is_used_and_stated(tmp_path):
    folder = tiny_study.save_model(tmp_path / "model", chat_template=tiny_study.CHAT)
    study = tiny_study.again(folder, tmp_path / "out", control=False)
    assert study.arrays["trained_inputs"][0] == "the the cat sat it"
    assert study.description["stages"]["recording (trained)"]["chat_template"]


def test_a_quantised_model_with_control_is_refused_before_recording(
    model, tmp_path, ran, monkeypatch
):
    def quantised(*args, **kwargs):
        loaded, tokenizer = load(*args, **kwargs)
        loaded.is_quantized = True
        return loaded, tokenizer

    monkeypatch.setattr("synkern.models.load", quantised)
    with pytest.raises(StudyError, match=r"is quantised.*--no-control"):
        tiny_study.again(model, tmp_path)
    assert ran == []
    tiny_study.again(model, tmp_path, control=False)
    assert ran[0] == RECORDINGS[0]


def test_models_too_shallow_or_without_pairs_are_refused(tmp_path):
    shallow = tiny_study.save_model(tmp_path / "shallow", layers=1)
    with pytest.raises(StudyError, match="has 1 layer.*at least 3"):
        tiny_study.again(shallow, tmp_path / "out")
    # One token for ever gives series that settle; a zero projection gives constants.
    folder = tiny_study.save_model(tmp_path / "constant")
    loaded, _ = load(folder, device="cpu")
    with torch.no_grad():
        for layer in loaded.model.layers:
            layer.self_attn.v_proj.weight.zero_()
    loaded.save_pretrained(folder)
    with pytest.raises(StudyError, match="trained weights gives no profile: no pair of the 8"):
        tiny_study.again(folder, tmp_path / "out")


def test_a_model_that_cannot_be_loaded_or_recorded_is_explained(model, tmp_path, monkeypatch):
    remedy = "; give smollm2-135m, gemma3-270m, .* a GGUF file"
    with pytest.raises(StudyError, match=f"absent' cannot be loaded .*{remedy}"):
        tiny_study.again(str(tmp_path / "absent"), tmp_path / "out")

    def refuse(*args, **kwargs):
        raise synkern.recording.RecordingError("not finite")

    monkeypatch.setattr("synkern.recording.record_answers", refuse)
    with pytest.raises(StudyError, match="cannot be recorded: not finite"):
        tiny_study.again(model, tmp_path / "out")

    def burst(*args, **kwargs):
        raise torch.OutOfMemoryError

    monkeypatch.setattr("synkern.recording.record_answers", burst)
    with pytest.raises(StudyError, match="batch_size = 3 does not fit on 'cpu'; lower it"):
        tiny_study.again(model, tmp_path / "out")
