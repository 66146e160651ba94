"""The texts of a recording as tokens: what was read and written, without padding."""

import pytest
import torch
from torch import nn

from support import tiny_study
from support.recordings import STEPS, recorded
from support.tiny_models import build, cache_of, generate, go_on, prompts
from synkern.models.language_model import load
from synkern.recording.answers import prompt_tokens, record_answers
from synkern.recording.recorder import record
from synkern.recording.recording import RecordingError
from synkern.recording.replayer import replay
from synkern.recording.responses import Responses, responses_of

PADDED = torch.tensor([[0, 0, 9, 8, 7], [11, 12, 13, 14, 15]])
MASK = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
UNPADDED = ((9, 8, 7), (11, 12, 13, 14, 15))


def as_tuples(tokens):
    return tuple(map(tuple, tokens.tolist()))


def test_what_generate_was_given_and_gave(model):
    with record(model) as recording:
        first = generate(model, PADDED, 4, attention_mask=MASK)
        second = generate(model, prompts(1, 3), 6)
    found = recording.responses
    assert found.prompts == (*UNPADDED, *as_tuples(prompts(1, 3)))
    assert found.responses == as_tuples(first[:, 5:]) + as_tuples(second[:, 3:])
    assert recording.of("heads").responses == found


def test_what_was_replayed(model):
    sequences = generate(model, PADDED, 4, attention_mask=MASK)
    for mask in (MASK, nn.functional.pad(MASK, (0, 4), value=1)):
        found = replay(model, sequences, new_tokens=4, attention_mask=mask).responses
        assert found == Responses(UNPADDED, sequences[:, 5:])


def test_a_recording_keeps_its_texts_when_buffers_change(model):
    ids, mask = PADDED.clone(), MASK.clone()
    with record(model) as recording:
        sequences = generate(model, ids, 4, attention_mask=mask)
    replayed = replay(model, sequences, new_tokens=4, attention_mask=mask)
    expected = Responses(UNPADDED, sequences[:, 5:])
    for buffer in (ids, mask, sequences):
        buffer.zero_()
    assert recording.responses == replayed.responses == expected


@pytest.mark.filterwarnings("ignore:1 of 3 trials ended")
def test_a_response_ends_with_its_end_token(model, early):
    model.generation_config.eos_token_id = early.token
    recording, sequences = recorded(model, early.ids)
    mask = torch.ones_like(sequences)
    replayed = replay(model, sequences, new_tokens=STEPS, attention_mask=mask)
    found = recording.responses
    assert found == replayed.responses
    assert found.responses[1] == as_tuples(sequences[1:2, 5 : 5 + early.step])[0]
    assert found.responses[1][-1] == early.token
    assert list(map(len, found.responses)) == recording.lengths.tolist()


@pytest.mark.filterwarnings("ignore:1 of 1 trials ended")
def test_several_answers_to_one_prompt(model):
    with record(model) as recording:
        sequences = generate(
            model,
            PADDED,
            4,
            attention_mask=MASK,
            do_sample=True,
            num_return_sequences=2,
            return_dict_in_generate=True,
        ).sequences
    found = recording.responses
    assert found.prompts == (UNPADDED[0], UNPADDED[0], UNPADDED[1], UNPADDED[1])
    assert found.responses == as_tuples(sequences[:, 5:])


def test_a_static_cache_whose_mask_is_of_another_form(model):
    usual = generate(model, PADDED, 4, attention_mask=MASK)
    with record(model) as recording:
        options = {"attention_mask": MASK, "cache_implementation": "static"}
        generate(model, PADDED, 4, disable_compile=True, **options)
    assert recording.responses == Responses(UNPADDED, usual[:, 5:])


def test_of_a_loop_of_ones_own_the_last_token_is_not_known(model):
    sequences = generate(model, PADDED, 4, attention_mask=MASK)
    with torch.no_grad(), record(model) as recording:
        cache = cache_of(model(PADDED[1:]))
        for t in range(5, 8):
            cache = go_on(model, sequences[1:, t : t + 1], cache)
    assert recording.series.shape[1] == 4
    assert recording.responses == Responses(UNPADDED[1:], sequences[1:, 5:8])


def test_one_step_of_a_loop_of_ones_own_says_nothing_of_the_response(model):
    with torch.no_grad(), record(model) as recording:
        model(PADDED[1:])
    with pytest.raises(RecordingError, match=r"batch 0 .* no token of the response was read"):
        _ = recording.responses


def test_prompts_that_are_no_tokens(model):
    embeddings = model.get_input_embeddings()(prompts(2, 5))
    with record(model) as recording:
        model.generate(inputs_embeds=embeddings, max_new_tokens=4, do_sample=False)
    assert recording.series.shape[1] == 4
    message = r"batch 0 \(from 0\) .* the prompts were given as embeddings .*\.Responses\("
    with pytest.raises(RecordingError, match=message):
        _ = recording.responses


class Adapter(nn.Module):
    """Holds a model, and says to prepend vectors to every text."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        config = nn.Module()
        config.is_prompt_learning, config.peft_type = True, "PROMPT_TUNING"
        self.peft_config, self.active_adapter = {"default": config}, "default"


def test_a_soft_prompt(model):
    with record(Adapter(model)) as recording:
        generate(model, prompts(1, 5), 4)
    with pytest.raises(RecordingError, match=r"a soft prompt \(PROMPT_TUNING\) was read as well"):
        _ = recording.responses


@pytest.mark.parametrize("beside", [{}, {"token_type_ids": torch.zeros(1, 10, dtype=torch.long)}])
def test_a_text_with_an_image(beside):
    model, image = build("gemma3-multimodal"), torch.randn(1, 3, 16, 16)
    ids = prompts(1, 10)
    with record(model) as recording:
        text = generate(model, ids, 3, **beside)
    assert recording.responses == Responses(ids, text[:, 10:])
    ids[:, 2], ids[:, 3:7], ids[:, 7] = 4, 3, 5
    given = {"pixel_values": image, "token_type_ids": (ids == 3).long()}
    with record(model) as recording:
        text = generate(model, ids, 3, **given)
    mask = torch.ones_like(ids)
    replayed = replay(model, text, new_tokens=3, attention_mask=mask, model_inputs=given)
    for found in (recording, replayed):
        with pytest.raises(RecordingError, match="pixel_values were read as well"):
            _ = found.responses


def test_what_else_a_replay_was_given(model):
    sequences = generate(model, PADDED, 4, attention_mask=MASK)
    usual = {"new_tokens": 4, "attention_mask": MASK}
    positions = torch.tensor([[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]])
    found = replay(model, sequences, model_inputs={"position_ids": positions}, **usual)
    assert found.responses.prompts == UNPADDED
    found = replay(model, sequences, model_inputs={"position_ids": positions + 1}, **usual)
    with pytest.raises(RecordingError, match="the positions are not those counted from 0"):
        _ = found.responses
    found = replay(model, sequences, model_inputs={"logits_to_keep": 1}, **usual)
    assert found.responses.prompts == UNPADDED


def test_a_recording_that_is_not_complete(model):
    with record(model) as recording:
        generate(model, prompts(1, 5), 3)
        with pytest.raises(RecordingError, match="the recording is not complete"):
            _ = recording.responses


def test_a_store_leaves_the_texts_as_they_are(model, tmp_path):
    with record(model, store=tmp_path / "series.npy") as recording:
        sequences = generate(model, PADDED, 4, attention_mask=MASK)
        generate(model, PADDED, 4, attention_mask=MASK)
    once = as_tuples(sequences[:, 5:])
    assert recording.responses == Responses(UNPADDED + UNPADDED, once + once)


@pytest.fixture
def answers(tmp_path):
    model, tokenizer = load(tiny_study.save_model(tmp_path))
    texts = ["the cat sat", "why is it blue on a big mat"]
    return tokenizer, record_answers(model, tokenizer, texts, new_tokens=4, batch_size=2)


def test_answers_as_tokens(answers):
    tokenizer, found = answers
    prompts_alone = prompt_tokens(tokenizer, found.inputs)
    assert list(map(len, prompts_alone)) != 2 * [len(prompts_alone[0])]
    assert tokenizer.batch_decode(prompts_alone, skip_special_tokens=True) == list(found.inputs)
    assert found.responses == Responses(prompts_alone, found.tokens)


def test_the_tokens_of_texts_whatever_holds_them(model, answers):
    with record(model) as recording:
        generate(model, prompts(1, 5), 3)
    plain = Responses([[1]], [[2]])
    assert responses_of(plain) is plain
    for holder in (recording, answers[1]):
        assert responses_of(holder) == holder.responses
    with pytest.raises(TypeError, match="texts: list holds no tokens of prompts and responses"):
        responses_of([[1, 2]])
