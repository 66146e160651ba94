"""A study in which the model reads the answers of another study instead of writing its own."""

import json

import numpy as np
import pytest
import torch
import transformers as tf

import synkern
from support import tiny_study
from synkern.study import ArgumentError, StudyError
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.options import ExperimentOptions
from synkern.study.folder import StudyFolder


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another model with the same tokenizer."""
    return tiny_study.save_model(tmp_path_factory.mktemp("other"), initializer_range=0.2)


@pytest.fixture(scope="module")
def read(other, finished, tmp_path_factory):
    """A study of it on the text of the finished study."""
    out = tmp_path_factory.mktemp("read")
    return tiny_study.again(other, out, control=False, texts_of=finished.out)


def test_the_series_are_those_of_a_replay_of_the_same_tokens(read, other, finished):
    model = tf.AutoModelForCausalLM.from_pretrained(other).eval()
    tokenizer = tf.AutoTokenizer.from_pretrained(other)
    for trial, prompt in enumerate(tiny_study.PROMPTS):
        ids = tokenizer(prompt)["input_ids"] + finished.arrays["trained_tokens"][trial].tolist()
        replayed = synkern.replay(model, torch.tensor([ids]), new_tokens=36, eos_token_id=[])
        found = read.arrays["trained_series"][trial]
        # Two orders of float32 sums over no more than 50 terms of like size.
        np.testing.assert_allclose(found, replayed.series[0].numpy(), rtol=5e-5, atol=1e-6)


def test_its_texts_are_those_of_the_other_study(read, finished):
    for name in ("tokens", "inputs", "answers"):
        np.testing.assert_array_equal(
            read.arrays[f"trained_{name}"], finished.arrays[f"trained_{name}"]
        )
    assert (read.arrays["trained_natural_end"] == -1).all()
    assert read.description["stages"]["recording (trained)"]["answers_ended_early"] is None
    assert "read the answers of another study to 5 prompts" in read.description["summary"][0]
    page = read.report.read_text("utf-8")
    assert "The model read the answers of another study" in page
    assert "would have\nended before the last token" not in page
    lines = (read.out / "texts.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == tiny_study.PROMPTS


def test_the_model_that_wrote_them_gives_the_same_study(model, finished, tmp_path):
    again = tiny_study.again(model, tmp_path, control=False, texts_of=str(finished.out))
    series = again.arrays["trained_series"], finished.arrays["trained_series"]
    np.testing.assert_allclose(*series, rtol=5e-5, atol=1e-6)


def test_it_is_reused_while_the_texts_are_the_same(read, other, finished):
    again = tiny_study.again(other, read.out, control=False, texts_of=finished.out)
    assert again.reused == ("recording (trained)", "analysis (trained)")


def test_a_study_with_its_own_text_has_the_key_it_always_had(finished):
    assert "texts read" not in finished.description["stages"]["recording (trained)"]["key"]
    assert finished.description["parameters"]["texts_of"] is None


def test_it_can_be_taken_up_by_an_experiment(read):
    study = FinishedStudy.taken_up(StudyFolder.open(read.out), ExperimentOptions(out=read.out))
    assert study.texts.responses[0] == tuple(read.arrays["trained_tokens"][0].tolist())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"new_tokens": 30}, "new_tokens = 30 with texts_of = .*; give new_tokens = 36"),
        ({"max_prompts": 3}, "that study asked other prompts than this one does"),
    ],
)
def test_other_prompts_and_lengths_are_refused(other, finished, tmp_path, change, message):
    with pytest.raises(ArgumentError, match=message):
        tiny_study.again(other, tmp_path / "x", texts_of=finished.out, **change)
    assert not (tmp_path / "x").exists()


def test_no_study_and_other_tokenizers_are_refused(other, finished, tmp_path):
    with pytest.raises(StudyError, match=r"holds no study; make one with `synkern study"):
        tiny_study.again(other, tmp_path / "x", texts_of=tmp_path)
    chat = tiny_study.save_model(tmp_path / "chat", chat_template=tiny_study.CHAT)
    with pytest.raises(StudyError, match="has one, unlike that of the model that wrote"):
        tiny_study.again(chat, tmp_path / "x", control=False, texts_of=finished.out)
    tokenizer = tf.AutoTokenizer.from_pretrained(other)
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    words = told["model"]["vocab"]
    words["cat"], words["dog"] = words["dog"], words["cat"]
    moved = tiny_study.save_model(tmp_path / "moved")
    (tmp_path / "moved" / "tokenizer.json").write_text(json.dumps(told), "utf-8")
    answered = " ".join(finished.arrays["trained_answers"].tolist())
    assert "cat" in answered or "dog" in answered
    with pytest.raises(StudyError, match="reads the answers of texts_of as other texts"):
        tiny_study.again(moved, tmp_path / "y", control=False, texts_of=finished.out)
