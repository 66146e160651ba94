"""Means in place of nodes: of vectors, and of experts."""

import numpy as np
import pytest
import torch
from torch import nn

from support.ablations import IDS, close, logits
from support.tiny_models import EXPERTS, build, build_experts, experts_by_definition, hooks, prompts
from synkern.interventions import Ablation, InterventionError, Mean, Scale, ablate
from synkern.models import UnsupportedModelError, find_sites
from synkern.models.nodes import KINDS, Kind
from synkern.models.signals import Signal
from synkern.models.sites import Site
from synkern.recording import Responses, record, replay

GENERATOR = torch.Generator().manual_seed(3)
LENGTHS = ((4, 3), (1, 5), (6, 1), (2, 2))
TEXTS = Responses(
    [prompts(1, n, seed=n)[0] for n, _ in LENGTHS], [prompts(1, t, seed=9)[0] for _, t in LENGTHS]
)


@pytest.fixture
def model():
    return build("llama")


@torch.no_grad()
def inputs_of(module, model, texts, of_output=False):
    """What a module is given (or gives) in each text alone, at the positions before a response's
    tokens: (tokens of all responses, width)."""
    kept = []
    handle = module.register_forward_hook(lambda _, args, out: kept.append((args[0], out)))
    for prompt, response in zip(texts.prompts, texts.responses, strict=True):
        model(torch.tensor([prompt + response]))
    handle.remove()
    found = [out if of_output else given for given, out in kept]
    parts = [
        values[0, len(prompt) - 1 : len(prompt) - 1 + len(response)]
        for values, prompt, response in zip(found, texts.prompts, texts.responses, strict=True)
    ]
    return torch.cat(parts)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_the_mean_of_heads(model, batch_size):
    chosen = {0: [1], 2: [0, 2]}

    def set_to_means(module, heads):
        means = inputs_of(module, model, TEXTS).double().mean(0).float()

        def change(_, args):
            values = args[0].clone()
            for head in heads:
                values[..., head * 16 : (head + 1) * 16] = means[head * 16 : (head + 1) * 16]
            return values

        return change

    modules = {layer: model.model.layers[layer].self_attn.o_proj for layer in chosen}
    changes = {layer: set_to_means(modules[layer], heads) for layer, heads in chosen.items()}
    handles = [modules[i].register_forward_pre_hook(change) for i, change in changes.items()]
    expected = logits(model)
    for handle in handles:
        handle.remove()
    before, intact = hooks(model), logits(model)
    ablation = Ablation(model, kind="mean", texts=TEXTS, batch_size=batch_size)
    assert hooks(model) == before
    with ablation.applied(["L0H1", "L2H0", "L2H2"]):
        found = logits(model)
    close(found, expected, within=5e-6)
    assert torch.equal(logits(model), intact)
    with ablate(model, ["L0H1", "L2H0", "L2H2"], kind=Mean(TEXTS)):
        close(logits(model), found)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_mean_of_other_kinds(name):
    model = build(name)
    layer = model.get_decoder().layers[1] if name == "llama" else model.transformer.h[1]
    mean = inputs_of(layer.mlp, model, TEXTS, of_output=True).double().mean(0).float()
    handle = layer.mlp.register_forward_hook(lambda *_: mean.expand(3, 7, -1))
    expected = logits(model)
    handle.remove()
    with ablate(model, "L1M", of="mlps", kind="mean", texts=TEXTS):
        close(logits(model), expected, within=5e-6)
    mean = inputs_of(layer, model, TEXTS, of_output=True).double()
    mean -= inputs_of(layer, model, TEXTS).double()
    mean = mean.mean(0).float()
    handle = layer.register_forward_hook(lambda _, args, out: args[0] + mean)
    expected = logits(model)
    handle.remove()
    with ablate(model, "L1", of="layers", kind="mean", texts=TEXTS):
        close(logits(model), expected, within=5e-6)


def test_the_mean_is_over_the_steps_that_are_recorded(model):
    """Nodes of one number: of these the series hold all that they do."""
    sequences = torch.tensor([TEXTS.prompts[0] + TEXTS.responses[0]])
    series = replay(model, sequences, new_tokens=3, nodes="neurons").series[0]
    ablation = Ablation(model, of="neurons", kind="mean", texts=TEXTS.some([0]))
    site = find_sites(model, "neurons")[1]
    seen = []
    with ablation.applied([site.count + 5]):
        handle = site.watch(lambda values: seen.append(values[..., 5]))
        logits(model)
        handle.remove()
    expected = series[:, site.count + 5].mean()
    torch.testing.assert_close(seen[0], expected.expand(3, 7), rtol=1e-5, atol=1e-6)


def test_means_in_some_texts(model):
    ablation = Ablation(model, kind="mean", texts=TEXTS)
    masks = np.random.default_rng(0).random((3, 9)) < 1 / 2
    with ablation.applied(masks, rows=[5, 6, 7]):
        together = logits(model)
    for row, mask in enumerate(masks):
        with ablation.applied(mask):
            close(together[row], logits(model)[row])


def test_the_mean_of_what_holds_texts(model):
    with record(model) as recording:
        model.generate(IDS, max_new_tokens=4, do_sample=False)
    with ablate(model, "L1H1", kind="mean", texts=recording.responses):
        expected = logits(model)
    with ablate(model, "L1H1", kind="mean", texts=recording):
        assert torch.equal(logits(model), expected)


def test_gradients_pass_beside_means(model):
    with ablate(model, ["L0H0"], kind="mean", texts=TEXTS):
        model(IDS).logits.square().sum().backward()
    assert (model.model.layers[0].self_attn.o_proj.weight.grad != 0).any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types(dtype):
    model = build("llama", dtype=dtype)
    with ablate(model, ["L0H1"], kind="mean", texts=TEXTS):
        found = logits(model)
    assert found.dtype == dtype
    usual = build("llama")
    with ablate(usual, ["L0H1"], kind="mean", texts=TEXTS):
        expected = logits(usual)
    # bfloat16 has 8 bits, and some hundred sums lie between.
    close(found.float(), expected, within=1e-5 if dtype == torch.float64 else 0.2)


# Experts


def calls_of(experts, model, ids):
    """What experts are given and give: (module, hidden, indices, weights) in any order, output."""
    kept = []

    def ran(module, args, kwargs, output):
        given = [*args, *kwargs.values()]
        kept.append(((module, *given), output))

    handle = experts.register_forward_hook(ran, with_kwargs=True)
    logits(model, ids)
    handle.remove()
    return kept[0]


@torch.no_grad()
def own_and_weights(model, name, call):
    """Each expert's output (tokens, experts, width), and its weight, 0 where it is not chosen."""
    hidden, *others = (v.reshape(-1, v.shape[-1]) for v in call[1:])
    indices = next(v for v in others if not v.is_floating_point())
    weights = next(v for v in others if v.is_floating_point())
    own = experts_by_definition(model, name, (call[0], hidden))
    gates = torch.zeros(len(hidden), 8, dtype=torch.float64)
    return own, gates.scatter_add(1, indices.long(), weights.double())


@torch.no_grad()
def expert_means(model, name, experts, texts):
    """Over tokens of responses at which each was chosen, or over all if at none; and how often."""
    total, everywhere = torch.zeros(2, 8, 1, dtype=torch.float64)
    chosen = torch.zeros(8)
    tokens = 0
    for prompt, response in zip(texts.prompts, texts.responses, strict=True):
        call, _ = calls_of(experts, model, torch.tensor([prompt + response]))
        own, gates = own_and_weights(model, name, call)
        steps = slice(len(prompt) - 1, len(prompt) - 1 + len(response))
        own, took_part = own[steps], (gates[steps] != 0)
        total = total + (own * took_part[..., None]).sum(0)
        everywhere = everywhere + own.sum(0)
        chosen += took_part.sum(0)
        tokens += len(own)
    means = torch.where(
        chosen[:, None] > 0, total / chosen[:, None].clamp(min=1), everywhere / tokens
    )
    return means, chosen


BY_DEFINITION = [name for name in EXPERTS if name not in ("granitemoe", "phimoe")]


@pytest.mark.parametrize("name", BY_DEFINITION)
@pytest.mark.parametrize("few", [False, True])
@torch.no_grad()
def test_the_mean_of_experts(name, few):
    """Of the first layer with experts, which is given what it is always given."""
    model = build_experts(name)
    texts = TEXTS.some([2]) if few else TEXTS
    site = find_sites(model, "experts")[0]
    means, chosen = expert_means(model, name, site.module, texts)
    assert ((chosen == 0).sum() >= 5) == few
    ablation = Ablation(model, of="experts", kind="mean", texts=texts)
    layer, out = site.layer, [0, 3, 4, 7]
    call, intact = calls_of(site.module, model, IDS)
    own, gates = own_and_weights(model, name, call)
    assert (gates[:, out] != 0).any(0).all()
    with ablation.applied([f"L{layer}E{e}" for e in out]):
        _, found = calls_of(site.module, model, IDS)
    moved = torch.einsum("ne,new->nw", gates[:, out], means[out] - own[:, out])
    expected = intact.reshape(moved.shape).double() + moved
    close(found.reshape(moved.shape).double(), expected, within=5e-6)
    masks = np.zeros((3, len(ablation.nodes)), dtype=bool)
    masks[1, out] = True
    with ablation.applied(masks):
        _, found = calls_of(site.module, model, IDS)
    rows = torch.arange(21).unflatten(0, (3, 7))
    expected = intact.reshape(moved.shape).double()
    close(found.reshape(moved.shape)[rows[[0, 2]]].double(), expected[rows[[0, 2]]])
    expected = (expected + moved)[rows[1]]
    close(found.reshape(moved.shape)[rows[1]].double(), expected, within=5e-6)


@pytest.mark.parametrize("name", EXPERTS)
def test_means_of_experts_are_put_in_and_taken_out_again(name):
    model = build_experts(name)
    ablation = Ablation(model, of="experts", kind="mean", texts=TEXTS)
    intact, before = logits(model), hooks(model)
    with ablation.applied(np.ones(len(ablation.nodes), dtype=bool)):
        found = logits(model)
    with ablate(model, np.ones(len(ablation.nodes), dtype=bool), of="experts"):
        zero = logits(model)
    assert not torch.equal(found, zero)
    assert not torch.equal(found, intact)
    assert torch.equal(logits(model), intact)
    assert hooks(model) == before


def test_an_expert_that_is_edited_by_two_blocks():
    model = build_experts("qwen3_moe")
    message = r"nodes: number 2 of the experts of model\.layers\.0\.mlp\.experts is being edited"
    orders = [("mean", "zero"), ("zero", "mean"), ("mean", "mean")]
    for outer, inner in orders:
        with (
            pytest.raises(InterventionError, match=message),
            ablate(model, ["L0E2", "L0E3"], of="experts", kind=outer, texts=TEXTS),
            ablate(model, ["L0E1", "L0E2"], of="experts", kind=inner, texts=TEXTS),
        ):
            raise AssertionError("not reached")
    with (
        ablate(model, ["L0E3"], of="experts", kind="mean", texts=TEXTS),
        ablate(model, ["L0E2"], of="experts", kind=Scale(2.0)),
        ablate(model, ["L0E2"], of="experts", kind=Scale(0.5)),
    ):
        found = logits(model)
    with ablate(model, ["L0E3"], of="experts", kind="mean", texts=TEXTS):
        close(logits(model), found)


# Refused


class Number(Site):
    """One number that a module returns."""

    def read(self, values):
        return values.amax(-1, keepdim=True).float()

    def write(self, values, nodes, with_):
        raise AssertionError("not reached")


def test_a_kind_that_has_no_mean(model, monkeypatch):
    def find(model, signal):
        return (Number("mlps", 0, "layers.0.mlp", model.model.layers[0].mlp, 1),)

    signals = {"largest": Signal("largest number")}
    monkeypatch.setitem(KINDS, "mlps", Kind("block", "blocks", "M", find, signals, numbered=False))
    message = r"kind: 'mean': mlps \(Number\) are no vectors"
    with pytest.raises(UnsupportedModelError, match=message):
        Ablation(model, of="mlps", kind="mean", texts=TEXTS)
    message = "kind: 'resample' of mlps"
    with pytest.raises(UnsupportedModelError, match=message):
        Ablation(model, of="mlps", kind="resample", texts=TEXTS)


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (Responses([[1]], [[100]]), ValueError, "token 100 in text 0 .* tokens 0 to 99 only"),
        ([[1, 2]], TypeError, "texts: list holds no tokens of prompts and responses"),
    ],
)
@pytest.mark.parametrize("kind", ["mean", "resample"])
def test_texts_that_are_none(model, kind, texts, error, message):
    if kind == "resample" and isinstance(texts, Responses):
        texts = Responses([[1], [2]], [[100], [3]])
    before = hooks(model)
    with pytest.raises(error, match=message):
        Ablation(model, kind=kind, texts=texts)
    assert hooks(model) == before


def test_a_module_that_does_not_run(model):
    sites = find_sites(model)
    elsewhere = nn.Linear(1, 1)
    object.__setattr__(sites[1], "module", elsewhere)
    message = r"read texts without running model\.layers\.1\.self_attn\.o_proj"
    with pytest.raises(InterventionError, match=message):
        Mean(TEXTS).prepared(model, sites, 16)
