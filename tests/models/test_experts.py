"""Experts: where they are found, what is read of them, what is written."""

import contextlib

import accelerate
import pytest
import torch
import transformers as tf
from torch import nn

from support.experts import CLOSE, read, run
from support.tiny_models import (
    DECODER,
    EXPERTS,
    MOE,
    build,
    build_experts,
    experts_by_definition,
    hooks,
    initialise,
)
from synkern.models import routing
from synkern.models.experts import EXPERT_SIGNALS, find_experts
from synkern.models.language_model import UnsupportedModelError
from synkern.models.nodes import Node, find_sites

IMPLEMENTATIONS = ("eager", "batched_mm", "grouped_mm")


def seen(model, sites):
    """What the experts of each site are given, by a hook of the test's own."""
    calls, handles = {}, []
    for site in sites:

        def note(module, args, layer=site.layer):
            calls[layer] = (module, *(a.clone() for a in args))

        handles.append(site.module.register_forward_pre_hook(note))
    run(model)
    for handle in handles:
        handle.remove()
    return calls


def router_logits(name, model, layer, hidden):
    block = model.model.layers[layer]
    block = getattr(block, "block_sparse_moe", getattr(block, "mlp", None))
    router = getattr(block, "gate", None) or block.router
    logits = hidden.double() @ router.weight.double().T
    return logits + router.bias.double() if getattr(router, "bias", None) is not None else logits


# Found


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", EXPERTS)
def test_every_layer_with_experts_is_found(name, implementation):
    model = build_experts(name, implementation)
    _, layers, _, last = EXPERTS[name]
    before, weights = hooks(model), [p.clone() for p in model.parameters()]
    sites = find_experts(model)
    assert [site.layer for site in sites] == layers
    assert {site.count for site in sites} == {8}
    assert {site.choices for site in sites} == {2 if name == "phimoe" else 3}
    assert sites[-1].name == f"model.layers.2.{last}"
    assert all(model.get_submodule(site.name) is site.module for site in sites)
    assert hooks(model) == before
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))
    nodes = find_sites(model, "experts")
    assert [site.name for site in nodes] == [site.name for site in sites]
    assert Node(layers[0], 5, "experts").label == f"L{layers[0]}E5"


def test_experts_of_dbrx_are_given_texts():
    attention = {"kv_n_heads": 1, "clip_qkv": 8, "rope_theta": 1e4}
    config = tf.DbrxConfig(
        vocab_size=100,
        d_model=48,
        n_heads=3,
        n_layers=2,
        max_seq_len=64,
        attn_config=attention,
        ffn_config={"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 48},
    )
    config.rope_parameters = {"rope_type": "default", "rope_theta": 1e4}
    model = initialise(tf.DbrxForCausalLM, config)
    sites = find_experts(model)
    assert [(s.layer, s.count, s.choices) for s in sites] == [(0, 4, 2), (1, 4, 2)]
    (own, routed), _ = read(model, sites)
    assert own.shape == routed.shape == (3, 7, 4)
    assert torch.equal(own > 0, routed)
    assert (routed.sum(-1) == 2).all()


# Read


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", EXPERTS)
def test_norms_are_those_of_a_loop_over_the_weights(name, implementation):
    model = build_experts(name, implementation)
    calls = seen(model, find_experts(model))
    for signal in ("weighted", "output", "dense"):
        sites = find_experts(model, signal)
        for site, (own, routed) in zip(sites, read(model, sites), strict=True):
            assert own.dtype == torch.float32
            assert own.shape == routed.shape == (3, 7, 8)
            call = calls[site.layer]
            lengths = experts_by_definition(model, name, call).norm(dim=-1)
            _, _, indices, weights = call
            chosen = torch.zeros(21, 8, dtype=torch.bool).scatter(1, indices, True)
            gates = torch.zeros(21, 8, dtype=torch.double).scatter(1, indices, weights.double())
            factor = {"weighted": gates, "output": chosen.double(), "dense": 1.0}[signal]
            expected = (lengths * factor).view(3, 7, 8)
            torch.testing.assert_close(own.double(), expected, **CLOSE)
            assert torch.equal(routed, chosen.view(3, 7, 8))
            idle = own[~routed]
            assert (idle > 0).all() if signal == "dense" else (idle == 0).all()
            assert EXPERT_SIGNALS[signal].zero_filled == (signal != "dense")


@pytest.mark.parametrize("name", [name for name in EXPERTS if EXPERTS[name][2]])
def test_gates_are_what_the_router_makes_of_all_experts(name):
    model = build_experts(name)
    scores = EXPERTS[name][2]
    sites = find_experts(model, "gate")
    assert {site.scores for site in sites} == {scores}
    calls = seen(model, sites)
    for site, (gates, routed) in zip(sites, read(model, sites), strict=True):
        _, hidden, indices, weights = calls[site.layer]
        if name == "gemma4":  # whose router norms its input itself
            router = model.model.layers[site.layer].router
            with router.register_forward_hook(lambda m, a, out, r=router: setattr(r, "said", out)):
                run(model)
            expected = router.said[0].double()
        else:
            logits = router_logits(name, model, site.layer, hidden)
            expected = logits.sigmoid() if scores == "sigmoid" else logits.softmax(-1)
        torch.testing.assert_close(gates.double(), expected.view(3, 7, 8), **CLOSE)
        if scores != "sigmoid":
            # A sum of 8 probabilities, each rounded by 2**-24 of itself and the sum 8 times.
            torch.testing.assert_close(gates.sum(-1), torch.ones(3, 7), rtol=9 * 2**-24, atol=0)
        chosen = torch.zeros(21, 8, dtype=torch.bool).scatter(1, indices, True).view(3, 7, 8)
        assert torch.equal(routed, chosen)
        # The weights are proportional to what is read, token by token.
        ratios = weights / gates.view(21, 8).gather(1, indices)
        if name != "gemma4":  # where each expert has a scale of its own
            torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios), **CLOSE)


@pytest.mark.parametrize("signal", ["weighted", "output", "dense"])
def test_memory_is_bounded_by_rows_and_the_numbers_stay(monkeypatch, signal):
    model = build_experts("mixtral")
    sites = find_experts(model, signal)
    whole = read(model, sites)
    rows = []
    forward = type(sites[0].module).forward.__wrapped__

    def counted(module, hidden, *others):
        rows.append(len(hidden))
        return forward(module, hidden, *others)

    monkeypatch.setattr(routing, "_CHUNK_BYTES", 5000)
    monkeypatch.setattr(routing, "experts_forward", lambda m: lambda *a: counted(m, *a))
    for (own, _), (expected, _) in zip(read(model, sites), whole, strict=True):
        torch.testing.assert_close(own, expected, **CLOSE)
    # 2 * (a token and its output, 96 numbers, and 3 * 64 between) * 4 bytes, and 8 * 16 more.
    assert max(rows) == 5000 // (2 * (96 + 192) * 4 + 128)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types(dtype):
    model = build_experts("qwen2_moe", dtype=dtype)
    for signal in EXPERT_SIGNALS:
        sites = find_experts(model, signal)
        calls = seen(model, sites)
        for site, (own, _) in zip(sites, read(model, sites), strict=True):
            assert own.dtype == torch.float32
            _, hidden, indices, weights = calls[site.layer]
            lengths = experts_by_definition(model, "qwen2_moe", calls[site.layer]).norm(dim=-1)
            if signal == "gate":
                expected = router_logits("qwen2_moe", model, site.layer, hidden).softmax(-1)
            elif signal == "dense":
                expected = lengths
            else:
                weights = weights.double() if signal == "weighted" else torch.ones(21, 3).double()
                expected = lengths * torch.zeros(21, 8).double().scatter(1, indices, weights)
            # On the way up to four results are rounded, by half a unit in the last place each;
            # logits, up to 4 here, by a unit of that size, which is that of their exponential.
            unit = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
            torch.testing.assert_close(
                own.double(), expected.view(3, 7, 8), rtol=4 * unit, atol=unit
            )


def test_an_expert_with_weight_zero_takes_no_part():
    """Routers that leave a token to nobody fill up so."""
    model = build_experts("mixtral")
    site = find_experts(model)[1]

    def nobody(_, args):
        hidden, indices, weights = args
        return hidden, indices, weights.masked_fill(torch.arange(21)[:, None] == 20, 0)

    site.module.register_forward_pre_hook(nobody)
    (own, routed), *_ = read(model, [site])
    assert (own[2, 6] == 0).all()
    assert not routed[2, 6].any()
    assert (routed.flatten(0, 1)[:20].sum(-1) == 3).all()


@pytest.mark.parametrize("signal", EXPERT_SIGNALS)
def test_offloaded_weights(signal):
    model = build_experts("olmoe")
    expected = read(model, find_experts(model, signal))
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    for (own, routed), (same, where) in zip(
        read(model, find_experts(model, signal)), expected, strict=True
    ):
        torch.testing.assert_close(own, same, **CLOSE)
        assert torch.equal(routed, where)


# Written


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", EXPERTS)
def test_zero_in_place_of_an_expert_is_its_zeroed_weights(name, implementation):
    model = build_experts(name, implementation)
    site, intact = find_experts(model)[-1], run(model).logits
    with site.edit(lambda values: site.write(values, [1, 4, 6], 0.0)):
        written = run(model).logits
        routed = read(model, [site])[0][1]
    assert not routed[..., [1, 4, 6]].any()
    assert torch.equal(run(model).logits, intact)
    with torch.no_grad():
        for kind, parameter in site.module.named_parameters():
            if kind.startswith("down_proj"):
                parameter[[1, 4, 6]] = 0
    assert torch.equal(run(model).logits, written)
    assert (written - intact).abs().max() > 1e-3


@pytest.mark.parametrize("signal", EXPERT_SIGNALS)
def test_where_nothing_is_written_nothing_changes(signal):
    model = build_experts("deepseek_v3")
    intact = run(model).logits
    with contextlib.ExitStack() as stack:
        for site in find_experts(model, signal):
            every = list(range(8))
            same = lambda v, s=site, n=every: s.write(v, n, lambda own: own)  # noqa: E731
            stack.enter_context(site.edit(same))
            stack.enter_context(site.edit(lambda v, s=site: s.write(v, [], 0.0)))
        assert torch.equal(run(model).logits, intact)


def test_weights_are_written_where_an_expert_was_chosen():
    model = build_experts("mixtral")
    site = find_experts(model)[0]
    values = []
    with site.watch(values.append):
        run(model)
    (values,) = values
    before = values.clone()
    gates, chosen = site.gates(values.flatten(0, 1))
    gates, chosen = gates.view(3, 7, 8), chosen.view(3, 7, 8)

    def after(with_, nodes=(5, 2)):
        return site.gates(site.write(values, nodes, with_).flatten(0, 1))[0].view(3, 7, 8)

    others = [e for e in range(8) if e not in (5, 2)]
    number = after(0.25)
    assert torch.equal(number[..., [5, 2]], 0.25 * chosen[..., [5, 2]].float())
    assert torch.equal(number[..., others], gates[..., others])
    assert torch.equal(after(lambda own: own / 2)[..., [5, 2]], gates[..., [5, 2]] / 2)
    each = torch.rand(3, 1, 2, 1)
    new = after(each)
    assert torch.equal(new[..., 5], torch.where(chosen[..., 5], each[:, :, 0, 0], 0))
    assert torch.equal(new[..., 2], torch.where(chosen[..., 2], each[:, :, 1, 0], 0))
    rows = torch.tensor([[True, False], [False, True], [False, False]])[:, None, :, None]
    masked = after(lambda own: own.masked_fill(rows, 0))
    assert (masked[0, :, 5] == 0).all()
    assert torch.equal(masked[0, :, 2], gates[0, :, 2])
    assert torch.equal(masked[2], gates[2])
    assert torch.equal(values, before)
    assert site.write(values, [], 0.0) is values
    with pytest.raises(ValueError, match="nodes: 8 is none of the 8 experts of model"):
        site.write(values, [8], 0.0)
    with pytest.raises(ValueError, match=r"with_: shape \(3, 1\) does not fit the 2 nodes"):
        site.write(values, [1, 2], torch.ones(3, 1))


# Refused


def test_a_dense_model_is_refused():
    with pytest.raises(UnsupportedModelError, match="no layer has experts: it is a dense model"):
        find_experts(build("llama"))


def test_routers_whose_probabilities_cannot_be_told_are_refused():
    message = "proportional neither to the softmax nor to the sigmoid of anything"
    with pytest.raises(UnsupportedModelError, match=message):
        find_experts(build_experts("phimoe"), "gate")
    model = build_experts("mixtral")
    with torch.no_grad():
        model.model.layers[1].mlp.gate.weight.zero_()
    with pytest.raises(UnsupportedModelError, match="fit sigmoid and softmax of .* alike"):
        find_experts(model, "gate")


class OwnModules(nn.Module):
    """Experts of which each is a module, and given its own tokens only."""

    def __init__(self):
        super().__init__()
        self.router = nn.Linear(48, 4, bias=False)
        self.experts = nn.ModuleList(nn.Linear(48, 48) for _ in range(4))

    def forward(self, hidden):
        flat, out = hidden.flatten(0, 1), torch.zeros_like(hidden.flatten(0, 1))
        weights, chosen = self.router(flat).softmax(-1).topk(2)
        for e, expert in enumerate(self.experts):
            row, slot = (chosen == e).nonzero().unbind(-1)
            out = out.index_add(0, row, expert(flat[row]) * weights[row, slot, None])
        return out.view_as(hidden)


def test_experts_in_modules_of_their_own_are_refused():
    model = build("llama")
    for layer in model.model.layers:
        layer.mlp = OwnModules()
    message = "none is called with the hidden states of all tokens, the indices"
    model.model.layers[0].mlp.__class__.__name__ = "OwnExperts"
    with pytest.raises(UnsupportedModelError, match=message):
        find_experts(model)


@pytest.mark.parametrize("name", ["Llama4Text", "JetMoe"])
def test_families_that_call_their_experts_otherwise_are_refused(name):
    config_class = getattr(tf, f"{name}Config")
    own = {**DECODER, **MOE, "num_key_value_heads": 3, "kv_channels": 16, "head_dim": 16}
    config = config_class(**own)
    model_class = tf.Llama4ForCausalLM if name == "Llama4Text" else tf.JetMoeForCausalLM
    with pytest.raises(UnsupportedModelError, match="none is called with the hidden states"):
        find_experts(initialise(model_class, config))


def wrapped(model, change):
    """A model in which what the experts of layer 1 return, or are given, is something else."""
    experts = model.model.layers[1].mlp.experts
    forward = type(experts).forward.__wrapped__
    own = type("Other", (type(experts),), {"forward": change(forward)})
    experts.__class__ = own
    return model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda forward: lambda self, h, i, w: forward(self, h, i, w) + h,
            "is not the weighted sum of what single experts return",
        ),
        (
            lambda forward: lambda self, h, i, w: forward(self, h, i, w.softmax(-1)),
            "is not the weighted sum of what single experts return",
        ),
        (
            lambda forward: lambda self, h, i, w: forward(self, h, i.view(6, 3), w),
            r"cannot be asked for a single one \(IndexError",
        ),
    ],
)
def test_experts_whose_sum_does_not_come_out_are_refused(change, message):
    with pytest.raises(UnsupportedModelError, match=message):
        find_experts(wrapped(build_experts("deepseek_v3"), change))


def test_tokens_in_another_order_are_refused():
    model = build_experts("mixtral")

    class Turned(type(model.model.layers[0].mlp)):
        def forward(self, hidden):
            return super().forward(hidden.transpose(0, 1).contiguous()).transpose(0, 1)

    model.model.layers[1].mlp.__class__ = Turned
    # The block itself is given texts the other way round: the layer around it is what tells them.
    with pytest.raises(UnsupportedModelError, match="in another order than text after text"):
        find_experts(model)


def test_experts_that_two_layers_share_are_refused():
    model = build_experts("mixtral")
    model.model.layers[2].mlp.experts = model.model.layers[1].mlp.experts
    with pytest.raises(UnsupportedModelError, match="calls experts 2 times in layer 1"):
        find_experts(model)


def test_experts_that_do_not_say_how_many_they_are_are_refused():
    model = build_experts("mixtral", "batched_mm")
    model.model.layers[1].mlp.experts.num_experts = 1
    with pytest.raises(UnsupportedModelError, match=r"does not say how many it holds \(1 found"):
        find_experts(model)


@pytest.mark.parametrize("name", EXPERTS)
def test_what_looks_for_blocks_runs_no_experts_for_others_to_see(name):
    # Blocks are run again within the pass that is shared, and the experts inside them with them.
    model = build_experts(name)
    for asked in (("experts", "layers"), ("layers", "experts")):
        together = find_sites(model, asked)
        alone = [site for kind in asked for site in find_sites(model, kind)]
        said = [[(site.kind, site.name, site.count) for site in s] for s in (together, alone)]
        assert said[0] == said[1]
