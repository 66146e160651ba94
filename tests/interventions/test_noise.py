"""Noise in the weights of nodes: of the size promised, of those nodes alone, gone afterwards."""

import itertools
import math

import numpy as np
import pytest
import torch

import synkern
from support.tiny_models import ARCHITECTURES, EXPERTS, build, build_experts, prompts
from support.weights import bits, same
from synkern.interventions import Noise, Perturbation, WeightsChangedError, perturb
from synkern.models import Node, UnsupportedModelError, find_slices

IDS = prompts(2, 6)
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


CASES = [(name, of) for name in ARCHITECTURES for of in ("heads", "mlps", "layers", "neurons")]
CASES = [case for case in CASES if case[1] != "neurons" or case[0] not in EXPERTS]
CASES += [(name, "experts") for name in EXPERTS]
CASES += [(n, "shared_experts") for n in ("qwen2_moe", "deepseek_v3", "ernie4_5_moe")]


def of_kind(name, of, **options):
    experts = of in ("experts", "shared_experts")
    return (build_experts if experts else build)(name, **options)


@pytest.mark.parametrize(("name", "of"), CASES)
def test_the_slices_of_the_nodes_change_alone_and_come_back(name, of):
    model = of_kind(name, of)
    found = find_slices(model, of)
    nodes = list(found)[1 :: max(1, len(found) // 3)]
    before, intact = bits(model), weights(model)
    expected = {name: torch.zeros(p.shape, dtype=torch.bool) for name, p in intact.items()}
    for node in nodes:
        for s in found[node]:
            # A bias of zeros has no spread, and is left as it is.
            expected[s.name][s.where] = bool(s.tensor.any())
    with perturb(model, nodes, of=of, seed=1):
        for parameter, now in model.named_parameters():
            # One number in 2^24 or so is drawn as 0, or is lost beside its weight.
            moved = now.detach() != intact[parameter]
            assert not bool((moved & ~expected[parameter]).any())
            assert float((moved ^ expected[parameter]).float().mean()) < 1e-3
    assert same(model, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", ["slice", "tensor"])
def test_the_noise_has_the_spread_promised(scale, dtype):
    """Noise of n numbers has a spread that is off by 1 / sqrt(2 n) of it, a mean by 1 / sqrt(n).

    Rounded to the type, w + noise is off by up to half a unit in the last place of itself, which is
    some 6 SD at most: in bfloat16 up to 6 * 2^-9 SD, which adds to the spread as squares do.
    """
    model, alpha = build("qwen3", dtype=dtype), 0.25
    with torch.no_grad():  # slices of one parameter that differ in size
        model.model.layers[1].self_attn.q_proj.weight[24:48] *= 8
    for node in (Node(1, 0), Node(1, 1)):
        intact = {s.role: s.tensor.double().clone() for s in find_slices(model)[node]}
        whole = {s.role: s.parameter.detach().double().clone() for s in find_slices(model)[node]}
        with perturb(model, [node], alpha=alpha, scale=scale):
            now = {s.role: s.tensor.double().clone() for s in find_slices(model)[node]}
        for role, own in intact.items():
            of = (own if scale == "slice" else whole[role]).std(correction=0)
            noise = (now[role] - own) / (alpha * of)
            n = noise.numel()
            largest = float(own.abs().max() + 6 * alpha * of) / float(alpha * of)
            rounding = largest * torch.finfo(dtype).eps / 2
            assert abs(float(noise.mean())) < 5 / math.sqrt(n) + rounding
            spread = float(noise.std(correction=0))
            assert abs(spread - 1) < 5 / math.sqrt(2 * n) + rounding**2 + rounding / math.sqrt(n)


def test_the_noise_is_normal():
    """Kolmogorov and Smirnov: the distribution is off by 1.95 / sqrt(n) once in a thousand."""
    model = build("llama")
    own = find_slices(model, "mlps")[Node(0, 0, "mlps")]
    intact = [s.tensor.clone() for s in own]
    with perturb(model, [Node(0, 0, "mlps")], of="mlps", alpha=1.0):
        drawn = [(s.tensor - w) / w.std(correction=0) for s, w in zip(own, intact, strict=True)]
    values = torch.cat([d.flatten() for d in drawn]).double().sort().values
    n = len(values)
    expected = torch.special.ndtr(values)
    steps = torch.arange(1, n + 1) / n
    assert float((steps - expected).abs().max()) < 1.95 / math.sqrt(n)


@pytest.mark.parametrize("scale", ["slice", "tensor"])
@pytest.mark.parametrize(("name", "of"), [("gpt_neox", "heads"), ("qwen3_moe", "experts")])
def test_the_noise_of_a_node_does_not_depend_on_the_others(name, of, scale):
    model = of_kind(name, of)
    perturbation = Perturbation(model, of=of)
    node = perturbation.nodes[2]

    def noisy(*nodes):
        with perturbation.applied(nodes, Noise(seed=4, scale=scale)):
            return [s.tensor.clone() for s in perturbation.slices[node]]

    alone, first, last = noisy(2), noisy(2, 0, 1, 5), noisy(0, 1, 5, 2)
    for one, other, another in zip(alone, first, last, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, another)


def test_seeds_nodes_and_slices_are_given_noise_of_their_own():
    """As correlations of n independent numbers: 5 / sqrt(n) is five standard errors."""
    model = build("llama")
    slices = find_slices(model)

    def drawn(seed):
        with perturb(model, list(slices), alpha=1.0, seed=seed):
            noisy = {node: [s.tensor.clone() for s in own] for node, own in slices.items()}
        return [
            (new - s.tensor).flatten()
            for node, own in slices.items()
            for new, s in zip(noisy[node], own, strict=True)
        ]

    every = torch.stack([*drawn(0), *drawn(1), *drawn(-1), *drawn(2**70)])
    correlations = every.corrcoef() - torch.eye(len(every))
    assert float(correlations.abs().max()) < 6.5 / math.sqrt(every.shape[1])  # of 2556 pairs
    assert all(torch.equal(a, b) for a, b in zip(drawn(3), drawn(3), strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_noise_is_the_same_in_every_type(dtype):
    """Up to the rounding of weights to the type, and of its sum with the noise."""
    wide, model = build("llama", dtype=torch.float64), build("llama", dtype=dtype)
    with torch.no_grad():
        for own, other in zip(wide.parameters(), model.parameters(), strict=True):
            own.copy_(other)
    nodes = ["L0H0", "L2H1"]
    with perturb(wide, nodes, alpha=0.5), perturb(model, nodes, alpha=0.5):
        for own, other in zip(wide.parameters(), model.parameters(), strict=True):
            unit = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
            # Three roundings in float32, of the spread, the product and the sum, and that to dtype.
            torch.testing.assert_close(other.double(), own, rtol=4 * unit, atol=4 * unit)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_blocks_end_in_any_order(order):
    model = build("gpt_neox")
    before = bits(model)
    masks = [["L0H0", "L1H1"], ["L1H1", "L2H3"], ["L0H0", "L1H1", "L1H2"]]

    def block(i):
        return perturb(model, masks[i], seed=i, scale="tensor" if i == 2 else "slice")

    with block(order[-1]):
        last_alone = bits(model)
    blocks = [block(i) for i in range(3)]
    for one in blocks:
        one.__enter__()
    for i in order[:2]:
        blocks[i].__exit__(None, None, None)
    assert same(model, last_alone)
    blocks[order[2]].__exit__(None, None, None)
    assert same(model, before)


def test_the_model_answers_otherwise_inside_and_as_before_outside():
    model = build("llama")
    with torch.no_grad():
        before = model(IDS).logits
        with perturb(model, "L1H2"):
            inside = model(IDS).logits
        with pytest.raises(ZeroDivisionError), perturb(model, "L1H2"):
            1 / 0  # noqa: B018
        assert torch.equal(model(IDS).logits, before)
    assert not torch.equal(inside, before)


def test_a_compiled_model_notices():
    model = build("llama")
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        before = compiled(IDS).logits
        with perturb(compiled, "L1H2"):
            assert torch.equal(compiled(IDS).logits, model(IDS).logits)
            assert not torch.equal(compiled(IDS).logits, before)
        assert torch.equal(compiled(IDS).logits, before)


def test_no_noise_at_all():
    model = build("llama")
    before = bits(model)
    with perturb(model, [], alpha=1.0):
        assert same(model, before)
    intact = weights(model)
    with perturb(model, ["L0H0"], alpha=0):
        assert all(torch.equal(p, intact[name]) for name, p in model.named_parameters())
    assert same(model, before)


def test_training_under_noise_is_refused_at_the_end():
    model = build("llama")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def block():
        with perturb(model, ["L0H0"]):
            model(IDS, labels=IDS).loss.backward()
            optimizer.step()

    with pytest.raises(WeightsChangedError, match=r"layers\.0\.self_attn\.\w_proj\.weight"):
        block()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"alpha": -0.1}, ValueError, "alpha: -0.1 is no size"),
        ({"alpha": math.nan}, ValueError, "alpha: nan is no size"),
        ({"alpha": "much"}, TypeError, "alpha: 'much' is no number"),
        ({"seed": 0.5}, TypeError, "seed: 0.5 is no integer"),
        ({"scale": "layer"}, ValueError, "scale: 'layer' is no scale of noise"),
        ({"of": "arms"}, ValueError, "'arms' is no kind of node"),
        ({"nodes": ["L9H9"]}, ValueError, "'L9H9' is none of the 9 nodes"),
    ],
)
def test_arguments_are_checked(options, error, message):
    options = {"nodes": ["L0H0"]} | options
    with pytest.raises(error, match=message):
        perturb(build("llama"), options.pop("nodes"), **options)


def test_numbers_of_numpy_are_numbers():
    assert Noise(np.float32(0.5), np.int64(3)) == Noise(0.5, 3)


def test_in_inference_mode():
    model = build("llama")
    before = bits(model)
    with perturb(model, ["L1H2"]):
        expected = model(IDS).logits.detach()
    with torch.inference_mode(), perturb(model, ["L1H2"]):
        assert torch.equal(model(IDS).logits, expected)
    assert same(model, before)


def test_noise_that_has_no_size_is_refused():
    perturbation = Perturbation(build("llama"))
    perturbation.slices[Node(2, 0)][1].parameter.data[0, 0] = torch.inf
    before = bits(perturbation.model)
    with (
        pytest.raises(ValueError, match=r"layers\.2\.self_attn\.o_proj\.weight holds NaN, infin"),
        perturbation.applied(["L2H0"]),
    ):
        pass
    assert same(perturbation.model, before)


def test_a_layout_that_is_not_known_is_refused():
    with pytest.raises(UnsupportedModelError, match="no weights make one head alone"):
        perturb(build_experts("olmoe"), ["L0H0"])


def test_it_is_shown():
    assert synkern.perturb is perturb
