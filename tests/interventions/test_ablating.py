"""Sets of nodes that are taken out of models of many architectures, text by text or of all."""

import numpy as np
import pytest
import torch

from support.ablations import IDS, close, logits
from support.tiny_models import (
    ARCHITECTURES,
    EXPERTS,
    build,
    build_experts,
    generate,
    hooks,
)
from synkern.interventions import Ablation, ablate
from synkern.models import find_sites
from synkern.models.upstream_linears import plain_linear_weight

MODELS = {name: build for name in ARCHITECTURES} | {
    f"{name} with experts": lambda name: build_experts(name.split()[0]) for name in EXPERTS
}


@pytest.fixture
def model():
    return build("llama")


def some_of(nodes, seed=0):
    """About every third of them, and at least one that is not the first."""
    chosen = np.random.default_rng(seed).random(len(nodes)) < 1 / 3
    chosen[-1] = True
    return chosen


# The same as zeroed weights


@torch.no_grad()
def zero_columns(site, chosen):
    """Of a linear layer what takes in the vectors of these nodes."""
    weight = plain_linear_weight(site.module)  # (out, in)
    width = weight.shape[1] // site.count
    for node in np.flatnonzero(chosen):
        weight[:, node * width : (node + 1) * width] = 0


@torch.no_grad()
def zero_down(module, experts=None):
    """The last matrix of an MLP block, of its experts too, or of some experts of a layer."""
    names = ("down_proj", "down_proj_bias", "dense_4h_to_h", "c_proj", "output_linear", "w2")
    found = [
        parameter
        for name, parameter in module.named_parameters()
        if set(name.split(".")) & set(names)
    ]
    assert found
    for parameter in found:
        parameter[slice(None) if experts is None else torch.from_numpy(experts)] = 0


def by_weights(model, of, mask):
    """The model with the nodes of this mask taken out by zeroing weights."""
    start = 0
    for site in find_sites(model, of):
        chosen = mask[start : start + site.count]
        start += site.count
        if not chosen.any():
            continue
        if of in ("heads", "neurons"):
            zero_columns(site, chosen)
        elif of == "experts":
            zero_down(site.module, chosen)
        else:
            zero_down(site.module)


ROUTED = [name for name in MODELS if "experts" in name or name in ("mixtral", "deepseek_v2")]
SHARED = [name for name in ROUTED if name.split()[0] in ("deepseek_v2", "deepseek_v3", "qwen2_moe")]
CASES = [(name, "heads") for name in MODELS]
CASES += [(name, "mlps") for name in MODELS if name != "gemma4 with experts"]  # it has two
CASES += [(name, "neurons") for name in MODELS if name not in ROUTED]
CASES += [(name, "experts") for name in ROUTED]
CASES += [(name, "shared_experts") for name in [*SHARED, "ernie4_5_moe with experts"]]


@pytest.mark.parametrize(("name", "of"), CASES)
def test_a_set_taken_out_is_a_set_of_zeroed_weights(name, of):
    model = MODELS[name](name)
    ablation = Ablation(model, of=of)
    mask = some_of(ablation.nodes)
    intact = logits(model)
    with ablation.applied(mask):
        found = logits(model)
    assert torch.equal(logits(model), intact)
    by_weights(model, of, mask)
    expected = logits(model)
    close(found, expected)
    assert (expected - intact).abs().max() > 1e-3 * intact.abs().max()


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_a_layer_taken_out_is_skipped(name):
    model = build(name)
    with ablate(model, ["L1"], of="layers"):
        found = logits(model)
    stack = model.get_decoder()
    del stack.layers[1]
    close(found, logits(model))


def test_several_kinds_at_once():
    model = build("llama")
    ablation = Ablation(model, of=("mlps", "heads"))
    assert [str(node) for node in ablation.nodes][:4] == ["L0M", "L1M", "L2M", "L0H0"]
    with ablation.applied(["L1M", "L2H0"]):
        found = logits(model)
    with ablate(model, "L2H0"), ablate(model, "L1M", of="mlps"):
        assert torch.equal(logits(model), found)


# A set for each text


OF_TEXTS = [*CASES, *((name, "layers") for name in MODELS)]


@pytest.mark.parametrize(("name", "of"), OF_TEXTS)
def test_a_set_for_each_text_of_a_batch(name, of):
    model = MODELS[name](name)
    ablation = Ablation(model, of=of)
    masks = np.random.default_rng(0).random((3, len(ablation.nodes))) < 1 / 3
    masks[1] = False
    with ablation.applied(masks):
        together = logits(model)
    for row, mask in enumerate(masks):
        with ablation.applied(mask):
            # Texts that are read in other company differ in the order of sums.
            close(together[row], logits(model, IDS[row : row + 1])[0], within=5e-6)


@pytest.mark.parametrize("of", ["heads", "layers", "mlps", "shared_experts"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_texts_with_no_nodes_in_their_set_are_left_as_they_are(of, dtype):
    model = build_experts("qwen2_moe", dtype=dtype)
    ablation = Ablation(model, of=of)
    masks = np.zeros((3, len(ablation.nodes)), dtype=bool)
    masks[1, -1] = True  # in the last layer, so that experts before it see the same tokens
    intact = logits(model)
    with ablation.applied(masks):
        found = logits(model)
    last_tokens = [0, 2]
    if of in ("heads", "layers"):  # experts of the last layer are given other tokens together
        close(found[last_tokens], intact[last_tokens], 1e-6 if dtype == torch.float32 else 2e-2)
    else:
        assert torch.equal(found[last_tokens], intact[last_tokens])
    assert not torch.equal(found[1], intact[1])


def test_sets_while_texts_are_written(model):
    masks = np.zeros((2, 9), dtype=bool)
    masks[0, [1, 4]] = True
    masks[1, [8]] = True
    prompt = torch.tensor([[0, 0, 9, 8, 7], [11, 12, 13, 14, 15]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    with ablate(model, masks):
        together = generate(model, prompt, 6, attention_mask=mask)[:, 5:]
    for row, own in ((0, prompt[:1, 2:]), (1, prompt[1:])):
        with ablate(model, masks[row]):
            assert torch.equal(generate(model, own, 6)[0, -6:], together[row])


def test_a_mask_for_another_number_of_texts(model):
    before = hooks(model)
    message = r"nodes: a mask for 2 texts, but model\.layers\.0\.self_attn\.o_proj was given 3"
    with pytest.raises(ValueError, match=message), ablate(model, np.ones((2, 9), dtype=bool)):
        logits(model)
    assert hooks(model) == before
