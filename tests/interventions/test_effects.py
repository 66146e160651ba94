"""What a change does to texts, against float64 NumPy over calls of the model one text at a time."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from support.tiny_models import ARCHITECTURES, EXPERTS, VOCAB, build, build_experts
from synkern.interventions import Ablation, Effects, TeacherForced, effects_of
from synkern.interventions.effects import MEASURES, mean_activity
from synkern.models.nodes import find_sites
from synkern.recording import Responses, replay

# float32 logits of these models are below 20 and come of some 1e3 roundings in a row, which add up
# like a random walk: 6e-8 * sqrt(1e3) * 20 = 4e-5. As far as that moves log-probabilities.
ATOL = 1e-4


def texts(prompts=(3, 5, 9, 4, 4, 1), responses=(7, 2, 5, 11, 1, 3)):
    random = np.random.default_rng(0)
    lengths = (prompts, responses)
    return Responses(*([random.integers(6, VOCAB, n) for n in each] for each in lengths))


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def log_probabilities(model, text):
    """(tokens of the response, vocabulary), of every text by a call of its own."""
    found = []
    for prompt, response in zip(text.prompts, text.responses, strict=True):
        ids = torch.tensor([prompt + response])
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0].double().numpy()
        found.append(log_softmax(logits)[len(prompt) - 1 : -1])
    return found


def expected(intact, edited, text):
    kl, loss, agreement = [], [], []
    for p, q, response in zip(intact, edited, text.responses, strict=True):
        kl.append((np.exp(p) * (p - q)).sum(-1))
        loss.append(-q[np.arange(len(response)), list(response)])
        agreement.append(q.argmax(-1) == response)
    return {"kl": kl, "loss": loss, "agreement": agreement}


def compare(found, expected, atol):
    for measure in MEASURES:
        values = getattr(found, measure)
        for row, own in zip(values, expected[measure], strict=True):
            np.testing.assert_allclose(row[: len(own)], own, rtol=0, atol=atol)
            assert np.isnan(row[len(own) :]).all()


@pytest.mark.parametrize(
    ("name", "batch_size"), [*((name, 4) for name in ARCHITECTURES), ("llama", 1), ("gpt2", 16)]
)
def test_effects_are_what_their_definitions_say(name, batch_size):
    model, text = build(name), texts()
    ablation = Ablation(model)
    out = np.arange(len(ablation.nodes)) % 3 == 1
    intact = log_probabilities(model, text)
    with ablation.applied(out):
        edited = log_probabilities(model, text)
    reader = TeacherForced(model, text, batch_size=batch_size)
    found = reader.effects(lambda rows: ablation.applied(out, rows=rows))
    compare(found, expected(intact, edited, text), ATOL)
    assert found.mean("kl") > 100 * ATOL
    assert found.kl.dtype == np.float32
    nothing = reader.effects(lambda rows: ablation.applied([], rows=rows))
    compare(nothing, expected(intact, intact, text), ATOL)
    assert (nothing.kl[~np.isnan(nothing.kl)] == 0).all()


def test_in_float64_they_agree_to_rounding():
    model, text = build("llama", dtype=torch.float64), texts()
    ablation = Ablation(model)
    intact = log_probabilities(model, text)
    with ablation.applied(["L1H0", "L2H1"]):
        edited = log_probabilities(model, text)
        found = {
            n: TeacherForced(build("llama", dtype=torch.float64), text, batch_size=n)
            for n in (1, 4)
        }
    for batch_size, reader in found.items():
        mine = Ablation(reader._model)
        own = reader.effects(lambda rows, mine=mine: mine.applied(["L1H0", "L2H1"], rows=rows))
        assert own.kl.dtype == np.float64, batch_size
        compare(own, expected(intact, edited, text), ATOL * 2**-29)  # float64 has 29 bits more


@pytest.mark.parametrize("of", ["mlps", "layers"])
def test_other_nodes(of):
    model, text = build("qwen3"), texts()
    ablation = Ablation(model, of=of)
    intact = log_probabilities(model, text)
    with ablation.applied([1]):
        edited = log_probabilities(model, text)
    reader = TeacherForced(model, text, batch_size=4)
    found = reader.effects(lambda rows: ablation.applied([1], rows=rows))
    compare(found, expected(intact, edited, text), ATOL)


@pytest.mark.parametrize("name", EXPERTS)
def test_experts(name):
    model, text = build_experts(name), texts()
    ablation = Ablation(model, of="experts")
    out = np.arange(len(ablation.nodes)) % 2 == 0
    intact = log_probabilities(model, text)
    with ablation.applied(out):
        edited = log_probabilities(model, text)
    reader = TeacherForced(model, text, batch_size=4)
    found = reader.effects(lambda rows: ablation.applied(out, rows=rows))
    compare(found, expected(intact, edited, text), ATOL)
    nothing = reader.effects(lambda rows: ablation.applied([], rows=rows))
    assert np.nanmax(np.abs(nothing.kl)) == 0


def test_each_text_may_have_a_set_of_its_own():
    model, text = build("llama"), texts()
    ablation = Ablation(model)
    masks = np.random.default_rng(0).random((len(text), len(ablation.nodes))) < 0.4
    reader = TeacherForced(model, text, batch_size=4)
    found = reader.effects(lambda rows: ablation.applied(masks[rows], rows=rows))
    for place in range(len(text)):
        alone = TeacherForced(model, text.some([place])).effects(
            lambda rows, place=place: ablation.applied(masks[place])
        )
        own = found.kl[place, : found.tokens[place]]
        np.testing.assert_allclose(own, alone.kl[0], rtol=0, atol=ATOL)


def test_weights_may_be_changed_outside():
    model, text = build("llama"), texts()
    reader = TeacherForced(model, text)
    intact = log_probabilities(model, text)
    with torch.no_grad():
        model.lm_head.weight[9] += 1
    found = reader.effects()
    compare(found, expected(intact, log_probabilities(model, text), text), ATOL)
    assert found.mean("kl") > 100 * ATOL


def test_half_precision_is_compared_in_float32():
    model, text = build("llama", dtype=torch.bfloat16), texts()
    reader = TeacherForced(model, text, batch_size=4)
    nothing = reader.effects()
    assert nothing.kl.dtype == np.float32
    assert np.nanmax(np.abs(nothing.kl)) == 0
    ids = torch.tensor([text.prompts[3] + text.responses[3]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0].double().numpy()
    alone = TeacherForced(model, text.some([3])).effects()
    own = log_softmax(logits)[len(text.prompts[3]) - 1 : -1]
    loss = -own[np.arange(len(text.responses[3])), list(text.responses[3])]
    # The same call but for the last token: what is left are roundings of float32.
    np.testing.assert_allclose(alone.loss[0], loss, rtol=0, atol=ATOL)


class Fixed(nn.Module):
    """Stands where the head of a model was, and gives logits of its own."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, hidden):
        return self.logits.expand(*hidden.shape[:-1], -1).clone()


def given(logits):
    model = build("llama")
    model.lm_head = Fixed(torch.tensor(logits))
    return model


def test_small_divergences_are_right_to_a_part_in_a_thousand():
    """Rounding of the sums of probabilities alone would be as large as these."""
    random = np.random.default_rng(0)
    logits = (3 * random.normal(size=50_000)).astype(np.float32)
    other = logits + (0.003 * random.normal(size=50_000)).astype(np.float32)
    model, text = given(logits), Responses([[5]], [[7, 9]])
    reader = TeacherForced(model, text)
    model.lm_head.logits = torch.tensor(other)
    p, q = log_softmax(logits), log_softmax(other)
    kl = (np.exp(p) * (p - q)).sum()
    assert kl < 1e-5
    np.testing.assert_allclose(reader.effects().kl[0], [kl, kl], rtol=0, atol=1e-7)


def test_probabilities_of_zero():
    """Confident where the other is confident of another token: nothing overflows."""
    logits, other = np.zeros(VOCAB, np.float32), np.zeros(VOCAB, np.float32)
    logits[1], other[2] = 200, 300
    model, text = given(logits), Responses([[5]], [[1, 2]])
    reader = TeacherForced(model, text)
    model.lm_head.logits = torch.tensor(other)
    found = reader.effects()
    np.testing.assert_array_equal(found.kl, [[300, 300]])
    np.testing.assert_array_equal(found.loss, [[300, 0]])
    np.testing.assert_array_equal(found.agreement, [[0, 1]])


def test_the_first_of_equals_is_the_likeliest():
    logits = np.zeros(VOCAB, np.float32)
    logits[[4, 8]] = 1
    found = TeacherForced(given(logits), Responses([[5]], [[4, 8]])).effects()
    np.testing.assert_array_equal(found.agreement, [[1, 0]])


@pytest.mark.parametrize("when", ["intact", "edited"])
def test_what_is_not_finite_is_refused(when):
    logits = np.zeros(VOCAB, np.float32)
    model, text = given(logits), Responses([[5], [5, 6]], [[7], [9]])
    logits[3] = np.nan
    broken = torch.tensor(logits)
    said = f"of the {when} model are not finite in 2 of 2 tokens of a batch, first in text 0"
    if when == "intact":
        model.lm_head.logits = broken
        with pytest.raises(ValueError, match=said):
            TeacherForced(model, text)
    else:
        reader = TeacherForced(model, text)
        model.lm_head.logits = broken
        with pytest.raises(ValueError, match=said):
            reader.effects()


def test_means_are_over_tokens_first_and_texts_then():
    nan = np.nan
    found = Effects(
        kl=np.array([[1, 3], [5, nan]]),
        loss=np.array([[1, 1], [4, nan]]),
        agreement=np.array([[1, 0], [0, nan]]),
        tokens=np.array([2, 1]),
    )
    np.testing.assert_array_equal(found.per_text("kl"), [2, 5])
    assert found.mean("kl") == 3.5
    assert repr(found) == "Effects(2 texts: kl 3.5, loss 2.5, agreement 0.25)"


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_one_call_a_batch_with_logits_of_the_responses_alone(name):
    model, text = build(name), texts()
    shapes = []
    model.register_forward_hook(lambda _, args, output: shapes.append(output.logits.shape))
    reader = TeacherForced(model, text, batch_size=2)
    assert len(shapes) == 3
    reader.effects()
    # By length: of 4 and 5 tokens positions 0-2 and 3, of 7 and 10 tokens 4-5 and 2-8, of 14 and
    # 15 tokens 8-12 and 3-13.
    assert [tuple(shape[:2]) for shape in shapes[:3]] == [(2, 4), (2, 7), (2, 11)]
    assert shapes[3:] == shapes[:3]


def test_a_model_that_cannot_leave_logits_out(monkeypatch):
    model, text = build("llama"), texts()
    own = TeacherForced(model, text).effects()
    plain = type(model).forward
    monkeypatch.setattr(
        type(model),
        "forward",
        lambda self, input_ids, attention_mask, use_cache: plain(
            self, input_ids, attention_mask, use_cache=use_cache
        ),
    )
    compare_all = TeacherForced(model, text).effects()
    np.testing.assert_allclose(compare_all.loss, own.loss, rtol=0, atol=ATOL)


def test_a_model_that_does_not_keep_what_it_is_asked_to_is_refused(monkeypatch):
    model = build("llama")
    plain = type(model).forward

    def forward(self, logits_to_keep=0, **others):
        return plain(self, **others)

    monkeypatch.setattr(type(model), "forward", forward)
    with pytest.raises(RuntimeError, match="its logits_to_keep is not understood"):
        TeacherForced(model, texts(prompts=[3], responses=[2]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (Responses([[5, VOCAB]], [[6]]), f"texts: token {VOCAB} in text 0 (from 0)"),
        (Responses([[5]], [[6] * 128]), None),
        (Responses([[5]], [[6] * 129]), "a text of 129 tokens is longer than the 128"),
    ],
)
def test_texts_that_cannot_be_read(text, said):
    if said is None:
        assert TeacherForced(build("gpt2"), text).effects().tokens.tolist() == [128]
    else:
        with pytest.raises(ValueError, match=re.escape(said)):
            TeacherForced(build("gpt2"), text)


def test_texts_beyond_the_context_of_a_model_without_a_table_are_warned_of():
    with pytest.warns(UserWarning, match="a text of 129 tokens"):
        TeacherForced(build("llama"), Responses([[5]], [[6] * 129]))


def test_no_texts_and_no_batches():
    with pytest.raises(TypeError, match="holds no tokens of prompts and responses"):
        TeacherForced(build("llama"), [[1, 2]])
    with pytest.raises(ValueError, match="batch_size"):
        TeacherForced(build("llama"), texts(), batch_size=0)


@pytest.mark.parametrize(
    ("free", "kept"),
    # Of batches of 4, 9 and 16 tokens over 100, 400 bytes a token, in half of what is free.
    [(2 * 11_600, 3), (2 * 11_599, 2), (2 * 5_200, 2), (2 * 1_600, 1), (0, 0), (None, 0)],
)
def test_batches_without_room_are_read_again(monkeypatch, free, kept):
    model, text = build("llama"), texts()
    ablation = Ablation(model)
    expected = TeacherForced(model, text, batch_size=2).effects(lambda rows: ablation.applied([3]))
    monkeypatch.setattr("synkern.interventions.effects.available", lambda _: free)
    reader = TeacherForced(model, text, batch_size=2)
    calls = []
    model.register_forward_hook(lambda _, args, output: calls.append(None))
    found = reader.effects(lambda rows: ablation.applied([3]))
    assert len(calls) == 6 - kept
    for measure in MEASURES:
        np.testing.assert_array_equal(getattr(found, measure), getattr(expected, measure))
    with torch.no_grad():
        model.lm_head.weight[9] += 1e-3
    if kept == 3:
        assert reader.effects().mean("kl") > 0
    else:
        with pytest.raises(RuntimeError, match="has changed since TeacherForced read them"):
            reader.effects()


def test_modes_and_hooks_are_as_before():
    model = build("llama").train()
    found = effects_of(model, texts(), lambda rows: Ablation(model.eval()).applied([0]))
    assert found.mean("kl") > 0
    model = build("llama").train()
    TeacherForced(model, texts()).effects()
    assert all(module.training for module in model.modules())


def test_compiled_models_are_read_as_they_were_written():
    """As when edited: compiled code rounds otherwise, and does not notice edits."""
    model, text = build("llama"), texts()
    ablation = Ablation(model)
    expected = TeacherForced(model, text).effects(lambda rows: ablation.applied([4]))
    model.compile(backend="eager")
    model(torch.tensor([text.prompts[0]]))
    reader = TeacherForced(model, text)
    np.testing.assert_array_equal(
        reader.effects(lambda rows: ablation.applied([4])).kl, expected.kl
    )
    assert np.nanmax(np.abs(reader.effects().kl)) == 0


@pytest.mark.parametrize("of", ["heads", "mlps", "layers"])
def test_activity_is_the_mean_of_what_replay_reads(of):
    """Of texts of different lengths, every token of a response counts the same."""
    model, text = build("llama"), texts()
    found = mean_activity(TeacherForced(model, text, batch_size=4), find_sites(model, of))
    sums = 0.0
    for prompt, response in zip(text.prompts, text.responses, strict=True):
        ids = torch.tensor([prompt + response])
        series = replay(model, ids, new_tokens=len(response), nodes=of, eos_token_id=[]).series
        sums = sums + series[0].double().sum(0).numpy()
    np.testing.assert_allclose(found, sums / 29, rtol=ATOL)


def test_activity_of_experts():
    model, text = build_experts("mixtral"), texts()
    found = mean_activity(TeacherForced(model, text, batch_size=4), find_sites(model, "experts"))
    sums = 0.0
    for prompt, response in zip(text.prompts, text.responses, strict=True):
        ids = torch.tensor([prompt + response])
        own = replay(model, ids, new_tokens=len(response), nodes="experts", eos_token_id=[])
        sums = sums + own.series[0].double().sum(0).numpy()
    np.testing.assert_allclose(found, sums / 29, rtol=ATOL, atol=ATOL)
