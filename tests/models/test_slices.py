"""Which part of the weights belongs to a node: that node changes with it, and nothing else does."""

import contextlib

import pytest
import torch

from support.experts import run
from support.tiny_models import (
    ARCHITECTURES,
    COMMON,
    DECODER,
    EXPERTS,
    build,
    build_experts,
    causal,
    hooks,
    initialise,
    prompts,
    with_experts,
)
from synkern.models import Node, UnsupportedModelError, find_sites, find_slices, nodes_of
from synkern.models.routing import own_outputs
from synkern.models.slices import as_index, find_key_value_slices

# transformers 5.17 scripts functions of GPT-BigCode when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script")

IDS = prompts(2, 5)

# Layouts of queries beside those of the shared table: stacked with keys and values, grouped.
LAYOUTS = {
    "phi3": causal("Phi3", **DECODER),
    # Most neurons of which are 0 at any token.
    "relu": causal("GPTNeoX", **DECODER | {"num_attention_heads": 4}, hidden_act="relu"),
    "starcoder2": causal("Starcoder2", **DECODER),
    "gpt_bigcode": causal(
        "GPTBigCode", **COMMON, n_embd=48, n_layer=2, n_head=3, n_positions=64, multi_query=True
    ),
    "opt": causal(
        "OPT",
        **COMMON,
        hidden_size=48,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=3,
        max_position_embeddings=64,
        word_embed_proj_dim=48,
    ),
}


def built(name, **options):
    if name in LAYOUTS:
        return initialise(*LAYOUTS[name](), **options)
    return build(name, **options)


EVERY = [*ARCHITECTURES, *LAYOUTS]


@contextlib.contextmanager
def changed(slices):
    """Other random weights in these slices; the weights as they were afterwards."""
    before = [(s, s.parameter.detach().clone()) for s in slices]
    generator = torch.Generator().manual_seed(3)
    try:
        with torch.no_grad():
            for s in slices:
                new = 0.2 * torch.randn(s.tensor.shape, generator=generator)
                s.parameter[s.where] = new.to(s.parameter.dtype)
        yield
    finally:
        with torch.no_grad():
            for s, whole in reversed(before):
                s.parameter.copy_(whole)


def of_role(slices, *roles):
    return [s for s in slices if s.role in roles]


def heads_of(model, sites):
    """By layer, what enters the output projection, head by head: (2, 5, heads, width)."""
    given = {}
    with contextlib.ExitStack() as stack:
        for site in sites:
            handle = site.watch(
                lambda values, site=site: given.update(
                    {site.layer: values.clone().unflatten(-1, (site.count, site.width))}
                )
            )
            stack.callback(handle.remove)
        run(model, IDS)
    return given


@pytest.mark.parametrize("name", EVERY)
def test_the_query_of_a_head_changes_that_head_alone(name):
    """In its layer and in those before it, bit for bit."""
    model = built(name)
    sites, slices = find_sites(model), find_slices(model)
    assert tuple(slices) == nodes_of(sites)
    intact = heads_of(model, sites)
    for node, own in slices.items():
        assert [s.role for s in own] == ["query", "output"]
        with changed(of_role(own, "query")):
            now = heads_of(model, sites)
        for layer in range(node.layer + 1):
            same = (now[layer] == intact[layer]).all(-1).all(1).all(0)
            expected = torch.ones_like(same)
            if layer == node.layer:
                expected[node.index] = False
            assert torch.equal(same, expected), (node, layer)


@pytest.mark.parametrize("name", EVERY)
def test_the_output_columns_of_a_head_change_what_that_head_writes_alone(name):
    model = built(name)
    sites, slices = find_sites(model), find_slices(model)
    given = heads_of(model, sites)
    for site in sites:
        for index in range(site.count):
            alone = torch.zeros_like(given[site.layer])
            alone[:, :, index] = given[site.layer][:, :, index]
            alone, rest = alone.flatten(-2), (given[site.layer] - alone).flatten(-2)
            with torch.no_grad():
                before = site.module(alone), site.module(rest)
                with changed(of_role(slices[Node(site.layer, index)], "output")):
                    after = site.module(alone), site.module(rest)
            assert not torch.equal(after[0], before[0])
            assert torch.equal(after[1], before[1])


@pytest.mark.parametrize("name", EVERY)
def test_the_queries_of_all_heads_are_all_that_makes_queries(name):
    """With all of them 0 every head attends to all keys alike, so to the values' mean."""
    model = built(name, attention="eager")
    slices = find_slices(model)
    queries = [s for own in slices.values() for s in of_role(own, "query")]
    with torch.no_grad():
        for s in queries:
            s.parameter[s.where] = 0
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("bias"):  # those of queries are left
                parameter.zero_()
    shares = model(IDS, output_attentions=True).attentions
    assert shares
    for weights in shares:
        # A softmax of zeros: 1 / n, rounded.
        for length in range(1, IDS.shape[1] + 1):
            uniform = torch.full((length,), 1 / length)
            row = weights[:, :, length - 1, :length]
            torch.testing.assert_close(row, uniform.expand_as(row), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_type_of_the_weights_and_the_implementation_change_nothing(attention, dtype):
    def found(model):
        return {node: [(s.name, s.where) for s in own] for node, own in find_slices(model).items()}

    for name in ("gpt_neox", "gpt2", "qwen3"):
        assert found(build(name, attention=attention, dtype=dtype)) == found(build(name))


GROUPED = {
    "two groups": causal("Llama", **DECODER | {"num_attention_heads": 4, "num_key_value_heads": 2})
}


@pytest.mark.parametrize("name", [*GROUPED, *EVERY])
def test_keys_and_values_of_a_group_change_its_heads_alone(name):
    """In its layer and in those before it; values all of them, keys those that look back."""
    model = initialise(*GROUPED[name]()) if name in GROUPED else built(name)
    sites, groups = find_sites(model), find_key_value_slices(model)
    assert [node for group in groups for node in group] == [*nodes_of(sites)]
    intact = heads_of(model, sites)
    for group, own in groups.items():
        assert [s.role for s in own] == ["key", "value"]
        layer, indices = group[0].layer, {node.index for node in group}
        for part in own:
            with changed([part]):
                now = heads_of(model, sites)
            for site in sites:
                if site.layer > layer:
                    continue
                same = (now[site.layer] == intact[site.layer]).all(-1).all(0).all(0)
                moved = indices if site.layer == layer else set()
                assert {h for h, s in enumerate(same.tolist()) if not s} == moved


def test_keys_and_values_overlap_no_queries():
    for name in ("gpt_neox", "gpt2", "phi3", "deepseek_v2"):
        model = built(name)
        both = find_slices(model) | find_key_value_slices(model)
        assert max(int(count.max()) for count in counted(model, both).values()) == 1


def test_keys_under_a_norm_of_all_are_refused():
    with pytest.raises(UnsupportedModelError, match="self_attn: no weights make one key alone"):
        find_key_value_slices(initialise(*with_experts("Olmoe", num_key_value_heads=3)()))


def test_weights_that_are_zero_are_found_too():
    """What is found is how a model is made, not what its numbers are."""
    model, found = build("gpt_neox"), {}
    for zero in (False, True):
        if zero:
            for parameter in model.parameters():
                if parameter.shape[0] != 100:  # the embedding tells tokens apart
                    parameter.data.mul_(1e-3)
            for layer in model.gpt_neox.layers:
                rows = layer.attention.query_key_value.weight.data.view(4, 3, 12, 48)
                rows[:, 0] = 0
        found[zero] = [(s.name, s.where) for own in find_slices(model).values() for s in own]
    assert found[True] == found[False]


def counted(model, slices):
    """How often each number of the weights is in a slice, by name of the parameter."""
    counts = {name: torch.zeros(p.shape) for name, p in model.named_parameters()}
    for own in slices.values():
        for s in own:
            assert s.parameter is model.get_parameter(s.name)
            assert s.tensor.shape == s.parameter[s.where].shape
            counts[s.name][s.where] += 1
    return counts


@pytest.mark.parametrize("of", ["heads", "mlps", "layers", "neurons"])
@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma3-multimodal", "gpt_neox", "gpt2"])
def test_no_number_belongs_to_two_nodes(name, of):
    model = build(name)
    counts = counted(model, find_slices(model, of))
    assert max(int(count.max()) for count in counts.values()) == 1


@pytest.mark.parametrize("of", ["heads", "mlps", "layers"])
def test_what_belongs_to_a_kind_is_counted_by_hand(of):
    """Of one layer of the Llama: 48 wide, 3 heads of 16 on one key, 64 neurons."""
    model = build("llama")
    counts = counted(model, find_slices(model, of))
    numbers = {"heads": 2 * 48 * 48, "mlps": 3 * 48 * 64, "layers": 2 * 48 * 48 + 2 * 16 * 48}
    numbers["layers"] += numbers["mlps"]
    assert sum(int(count.sum()) for count in counts.values()) == 3 * numbers[of]


def expert_outputs(site, hidden):
    """Of every expert, for each of some tokens: (experts, tokens, width)."""
    count = site.count
    rows = torch.arange(len(hidden)).repeat(count)
    which = torch.arange(count).repeat_interleave(len(hidden))
    parts = []
    with torch.no_grad():
        own_outputs(site.module, hidden, rows, which, lambda out, _: parts.append(out))
    return torch.cat(parts).unflatten(0, (count, len(hidden)))


@pytest.mark.parametrize("name", EXPERTS)
def test_the_weights_of_an_expert_change_that_expert_alone(name):
    model = build_experts(name)
    sites, slices = find_sites(model, "experts"), find_slices(model, "experts")
    assert tuple(slices) == nodes_of(sites)
    assert max(int(c.max()) for c in counted(model, slices).values()) == 1
    for site in sites:
        hidden = torch.randn(4, site.width, generator=torch.Generator().manual_seed(0))
        intact = expert_outputs(site, hidden)
        for index in range(site.count):
            own = slices[Node(site.layer, index, "experts")]
            for some in (own, *([s] for s in own)):
                with changed(some):
                    now = expert_outputs(site, hidden)
                same = (now == intact).all(-1).all(-1)
                assert same.tolist() == [e != index for e in range(site.count)]
    assert {id(s.parameter) for own in slices.values() for s in own} == {
        id(p) for site in sites for p in site.module.parameters()
    }


def test_biases_of_experts_are_told_from_matrices():
    (own, *_) = find_slices(build_experts("gpt_oss"), "experts").values()
    assert {s.role: s.is_matrix for s in own} == {
        "gate_up_proj": True,
        "gate_up_proj_bias": False,
        "down_proj": True,
        "down_proj_bias": False,
    }


WHOLE = [("mlps", "llama"), ("mlps", "gpt2"), ("mlps", "gpt_neox"), ("mlps", "gemma3-multimodal")]
WHOLE += [("mlps", "mixtral"), ("layers", "gpt2"), ("layers", "llama")]
WHOLE += [("shared_experts", name) for name in ("qwen2_moe", "deepseek_v3", "ernie4_5_moe")]


@pytest.mark.parametrize(("of", "name"), WHOLE)
def test_without_its_weights_a_module_adds_nothing(of, name):
    """All at 0: the node is silent, and what runs before it is as it was."""
    model = build_experts(name) if name in EXPERTS and of == "shared_experts" else build(name)
    sites, slices = find_sites(model, of), find_slices(model, of)
    assert tuple(slices) == nodes_of(sites)
    for site in sites:
        own = slices[Node(site.layer, 0, of)]
        for s in own:
            assert s.parameter is site.module.get_parameter(s.role)
            assert s.is_matrix == (s.parameter.dim() > 1)
        whole = {id(s.parameter) for s in own}
        left = [p for p in site.module.parameters() if id(p) not in whole]
        assert all(p.dim() == 1 for p in left)
        before = [p.detach().clone() for p in site.module.parameters()]
        values = []
        handle = site.watch(values.append)
        with torch.no_grad():
            for s in own:
                s.parameter.zero_()
            run(model, IDS)
            for p, old in zip(site.module.parameters(), before, strict=True):
                p.copy_(old)
        handle.remove()
        assert not values[0].any()


@pytest.mark.parametrize("name", ["llama", "gpt2", "relu", "phi3"])
def test_the_weights_of_a_neuron_change_that_neuron_alone(name):
    model = built(name)
    sites, slices = find_sites(model, "neurons"), find_slices(model, "neurons")
    assert tuple(slices) == nodes_of(sites)
    site = sites[-1]

    def values():
        seen = []
        handle = site.watch(lambda given: seen.append(given.clone()))
        outputs = site.module.register_forward_hook(lambda *call: seen.append(call[2].clone()))
        run(model, IDS)
        handle.remove()
        outputs.remove()
        return seen

    intact, written = values()
    for index in (0, 7, site.count - 1):
        own = slices[Node(site.layer, index, "neurons")]
        fused = name == "phi3"
        assert [s.role for s in own] == ["input"] * (2 if name == "llama" else 1) + ["output"]
        assert own[0].tensor.numel() == (2 if fused else 1) * own[-1].tensor.numel()
        with changed(of_role(own, "input")):
            now, _ = values()
        same = (now == intact).flatten(0, -2).all(0)
        if name != "relu":
            assert not same[index]
        assert all(same[:index])
        assert all(same[index + 1 :])
        with changed(of_role(own, "output")):
            now, after = values()
        assert torch.equal(now, intact)
        assert torch.equal(after, written) == (not intact[..., index].any())


def test_nothing_is_left_behind():
    model = build("gpt_neox").train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before, rng = hooks(model), torch.get_rng_state()
    for of in ("heads", "mlps", "layers", "neurons"):
        find_slices(model, of)
    assert hooks(model) == before
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.modules())
    assert all(torch.equal(model.state_dict()[name], value) for name, value in weights.items())


def test_rows_that_are_evenly_spaced_make_a_view():
    rows = torch.arange(20)
    for index in (slice(3, 4), slice(2, 7), slice(1, 17, 5)):
        found = as_index(rows[index])
        assert isinstance(found, slice)
        assert torch.equal(rows[found], rows[index])
    uneven = torch.tensor([1, 2, 5])
    assert as_index(uneven) is uneven


# Refusals
