"""What nodes do in another text, in place of what they do in this one."""

import numpy as np
import pytest
import torch

from support.ablations import close
from support.tiny_models import build, build_experts, generate, hooks, prompts
from synkern.interventions import Ablation, InterventionError, Resample, ablate, resampling
from synkern.models import UnsupportedModelError
from synkern.recording import Responses

EQUAL = Responses(prompts(4, 5), prompts(4, 3, seed=1))
LENGTHS = ((4, 3), (1, 5), (6, 1), (2, 2), (1, 2))
UNEQUAL = Responses(
    [prompts(1, n, seed=i)[0] for i, (n, _) in enumerate(LENGTHS)],
    [prompts(1, t, seed=9 + i)[0] for i, (_, t) in enumerate(LENGTHS)],
)
CHOSEN = {0: [1], 2: [0, 2]}
LABELS = ["L0H1", "L2H0", "L2H2"]


@pytest.fixture
def model():
    return build("llama")


def whole(texts, place):
    return torch.tensor([texts.prompts[place] + texts.responses[place]])


@torch.no_grad()
def inputs(model, text):
    """What enters each output projection in one text: by layer (positions, heads * width)."""
    kept = {}
    handles = [
        layer.self_attn.o_proj.register_forward_pre_hook(
            lambda _, args, i=i: kept.__setitem__(i, args[0][0])
        )
        for i, layer in enumerate(model.model.layers)
    ]
    model(text)
    for handle in handles:
        handle.remove()
    return kept


def same_place(position, own, donor):
    """The position in the donor, from lengths of (prompt, response) of both."""
    first, steps = donor[0] - 1, donor[1]
    if position >= own[0] - 1:  # a step of the response
        return first + (position - (own[0] - 1)) % steps
    return int(np.floor(position * first / (own[0] - 1) + 0.5))


@torch.no_grad()
def expected(model, texts, place, donor, chosen):
    """The logits of a text alone, with these heads as in the donor."""
    theirs = inputs(model, whole(texts, donor))
    lengths = [(len(texts.prompts[i]), len(texts.responses[i])) for i in (place, donor)]
    text = whole(texts, place)[:, :-1]
    places = [same_place(position, *lengths) for position in range(text.shape[1])]
    handles = []
    for layer, heads in chosen.items():

        def change(_, args, layer=layer, heads=heads):
            values = args[0].clone()
            for head in heads:
                mine = slice(head * 16, (head + 1) * 16)
                values[0, :, mine] = theirs[layer][places][:, mine]
            return values

        projection = model.model.layers[layer].self_attn.o_proj
        handles.append(projection.register_forward_pre_hook(change))
    found = model(text).logits[0]
    for handle in handles:
        handle.remove()
    return found


def batch(texts, places, side="right"):
    rows = [whole(texts, place)[0, :-1] for place in places]
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(rows):
        where = slice(0, len(tokens)) if side == "right" else slice(longest - len(tokens), None)
        ids[row, where], mask[row, where] = tokens, 1
    return ids, mask


@torch.no_grad()
def read(model, texts, places, side="right"):
    """The logits of each of these texts, read together, without padding."""
    ids, mask = batch(texts, places, side)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    found = model(ids, attention_mask=mask, position_ids=positions).logits
    return [row[kept == 1] for row, kept in zip(found, mask, strict=True)]


def donors(model, texts, seed=0):
    """Who the donor of each text is, told from what comes out."""
    ablation = Ablation(model, kind=Resample(texts, seed))
    found = []
    for place in range(len(texts)):
        with ablation.applied(LABELS, rows=[place]):
            (mine,) = read(model, texts, [place])
        off = [
            float((mine - expected(model, texts, place, donor, CHOSEN)).abs().max())
            for donor in range(len(texts))
        ]
        found.append(int(np.argmin(off)))
        assert min(off) < 1e-5
    return found


@pytest.mark.parametrize("texts", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_same_place_of_another_text(model, texts, side):
    of = donors(model, texts)
    order = [2, 0, 3, 1]
    ablation = Ablation(model, kind="resample", texts=texts, batch_size=3)
    with ablation.applied(LABELS, rows=order):
        found = read(model, texts, order, side)
    for place, mine in zip(order, found, strict=True):
        close(mine, expected(model, texts, place, of[place], CHOSEN), within=5e-6)


def test_everybody_is_the_donor_of_one_other(model):
    draws = {tuple(donors(model, UNEQUAL, seed)) for seed in range(6)}
    for of in draws:
        assert sorted(of) == [0, 1, 2, 3, 4]
        assert all(donor != place for place, donor in enumerate(of))
    assert len(draws) > 1
    assert donors(model, UNEQUAL, 3) == donors(model, UNEQUAL, 3)


def test_places_in_texts_of_other_lengths():
    """The first and last of a prompt, steps of a response, and what begins anew."""
    assert [same_place(p, (4, 3), (4, 3)) for p in range(6)] == [0, 1, 2, 3, 4, 5]
    assert [same_place(p, (5, 2), (3, 4)) for p in range(6)] == [0, 1, 1, 2, 2, 3]
    assert [same_place(p, (3, 4), (6, 2)) for p in range(6)] == [0, 3, 5, 6, 5, 6]
    assert [same_place(p, (1, 3), (4, 1)) for p in range(3)] == [3, 3, 3]


def test_a_set_for_each_text(model):
    of = donors(model, EQUAL)
    masks = np.zeros((4, 9), dtype=bool)
    masks[1, [1, 8]] = True
    masks[2, [1]] = True
    ablation = Ablation(model, kind="resample", texts=EQUAL)
    intact = read(model, EQUAL, range(4))
    with ablation.applied(masks):
        found = read(model, EQUAL, range(4))
    for place, chosen in ((1, {0: [1], 2: [2]}), (2, {0: [1]})):
        close(found[place], expected(model, EQUAL, place, of[place], chosen), within=5e-6)
    for place in (0, 3):
        assert torch.equal(found[place], intact[place])


@pytest.mark.parametrize("of", ["mlps", "layers", "neurons", "shared_experts", ("heads", "mlps")])
def test_other_kinds(of):
    model = build_experts("qwen2_moe") if of == "shared_experts" else build("llama")
    ablation = Ablation(model, of=of, kind="resample", texts=EQUAL)
    before, intact = hooks(model), read(model, EQUAL, range(4))
    with ablation.applied(np.ones(len(ablation.nodes), dtype=bool)):
        found = read(model, EQUAL, range(4))
    assert not torch.equal(found[0], intact[0])
    assert hooks(model) == before
    assert all(map(torch.equal, read(model, EQUAL, range(4)), intact))


def test_all_layers_as_in_the_donor(model):
    """What they add is then the donor's; what they add it to is not."""
    of, streams = donors(model, EQUAL), []
    handle = model.model.norm.register_forward_pre_hook(lambda _, args: streams.append(args[0]))
    read(model, EQUAL, range(4))
    handle.remove()
    embedded = model.model.embed_tokens(batch(EQUAL, range(4))[0])
    added = streams[0] - embedded
    with torch.no_grad():
        expected = model.lm_head(model.model.norm(embedded + added[of]))
    with ablate(model, [0, 1, 2], of="layers", kind="resample", texts=EQUAL):
        found = read(model, EQUAL, range(4))
    close(torch.stack(found), expected, within=5e-6)


def test_gradients_pass(model):
    ids, mask = batch(EQUAL, range(4))
    with ablate(model, LABELS, kind="resample", texts=EQUAL):
        model(ids, attention_mask=mask).logits.square().sum().backward()
    assert (model.model.layers[0].self_attn.q_proj.weight.grad != 0).any()


# Refused


def refused(message):
    return pytest.raises(InterventionError, match=message)


def test_generation_from_a_cache(model):
    ids = torch.tensor([EQUAL.prompts[0]])
    message = "resample: the model was called with a cache of 5 tokens; which position"
    with refused(message), ablate(model, "L0H0", kind="resample", texts=EQUAL, rows=[0]):
        generate(model, ids, 3)


def test_texts_that_are_others(model):
    ablation = Ablation(model, kind="resample", texts=EQUAL)
    with refused("row 0 of a call is not text 1"), ablation.applied("L0H0", rows=[1]):
        read(model, EQUAL, [0])
    with refused("row 0 of a call is not text 0"), ablation.applied("L0H0", rows=[0]):
        model(torch.tensor([EQUAL.prompts[0][1:]]))
    with refused("row 0 of a call is not text 0"), ablation.applied("L0H0", rows=[0]):
        model(torch.cat([whole(EQUAL, 0), torch.tensor([[5]])], 1))
    with refused("called with 1 texts, and 4 were expected; .* rows="), ablation.applied("L0H0"):
        read(model, EQUAL, [0])
    with refused("rows names text 4, and there are 4"), ablation.applied("L0H0", rows=[4]):
        read(model, EQUAL, [0])
    with refused("called with embeddings"), ablation.applied("L0H0", rows=[0]):
        model(inputs_embeds=torch.randn(1, 8, 48))
    with refused("a part of LlamaForCausalLM was called alone"), ablation.applied("L0H0"):
        model.model(whole(EQUAL, 0))


def test_prompts_alone_are_read(model):
    ablation = Ablation(model, kind="resample", texts=EQUAL)
    with torch.no_grad(), ablation.applied(LABELS, rows=[1]):
        (whole_text,) = read(model, EQUAL, [1])
        prompt = model(torch.tensor([EQUAL.prompts[1]])).logits[0]
    close(prompt, whole_text[:5])


def test_experts(model):
    model = build_experts("qwen3_moe")
    message = (
        "kind: 'resample' of experts: a node that the router chose here need not .* use 'mean'"
    )
    with pytest.raises(UnsupportedModelError, match=message):
        Ablation(model, of="experts", kind="resample", texts=EQUAL)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([0], "texts: one alone has no other"),
        ([0, 1, 0], r"texts: numbers 0 and 2 .* the same text"),
    ],
)
def test_texts_without_a_donor(model, places, message):
    with pytest.raises(ValueError, match=message):
        Ablation(model, kind="resample", texts=EQUAL.some(places))


def test_what_does_not_fit_into_memory(model, monkeypatch):
    asked = []

    def full(needed, array, what, ways):
        asked.append((needed, what))
        raise MemoryError(what)

    monkeypatch.setattr(resampling, "require", full)
    before = hooks(model)
    with pytest.raises(MemoryError, match="the outputs of 9 nodes at 28 positions"):
        Ablation(model, kind="resample", texts=EQUAL)
    assert asked[0][0] == 28 * 9 * 16 * 4
    with pytest.raises(MemoryError, match="the outputs of 3 nodes at 28 positions"):
        Ablation(model, kind="resample", texts=EQUAL, among=["L1H0"])
    assert hooks(model) == before
