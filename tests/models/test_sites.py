"""Sites: what is written in place of nodes, and kinds of node of one's own."""

import contextlib

import accelerate
import pytest
import torch
from torch import nn

from support.tiny_models import ARCHITECTURES, build, generate, hooks, prompts
from synkern import record, replay
from synkern.models import nodes as kinds
from synkern.models.heads import find_heads
from synkern.models.nodes import Kind, Node, find_sites, nodes_of
from synkern.models.signals import Signal
from synkern.models.sites import Site, VectorSite
from synkern.models.upstream_torch import forget_compiled

IDS = prompts(2, 7)


@pytest.fixture
def model():
    return build("llama")


@pytest.fixture
def site():
    return VectorSite("heads", 4, "layers.4.projection", nn.Identity(), count=3, width=2)


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


# Writing


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_zeros_in_place_of_a_head_are_its_zeroed_weights(name):
    """As many layouts as there are architectures: grouped queries, fused, Conv1D, latent."""
    model = build(name)
    _, _, heads, width, last = ARCHITECTURES[name]
    site, head = find_heads(model)[-1], heads - 2
    intact = logits(model)
    with site.edit(lambda values: site.write(values, [head], 0.0)):
        written = logits(model)
    assert torch.equal(logits(model), intact)
    weight = model.get_submodule(last).weight
    inputs_first = type(site.module).__name__ == "Conv1D"
    with torch.no_grad():
        (weight if inputs_first else weight.T)[head * width : (head + 1) * width] = 0
    assert torch.equal(logits(model), written)
    assert (written - intact).abs().max() > 1e-3


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_where_nothing_is_written_nothing_changes(name):
    model = build(name)
    intact = logits(model)
    with contextlib.ExitStack() as stack:
        for site in find_heads(model):
            everything = range(site.count)
            stack.enter_context(site.edit(lambda values, site=site: site.write(values, [], 0.0)))
            stack.enter_context(
                site.edit(
                    lambda values, site=site, nodes=everything: site.write(
                        values, nodes, lambda own: own
                    )
                )
            )
        assert torch.equal(logits(model), intact)


def test_no_nodes_are_the_values_themselves(site):
    values = torch.randn(2, 5, 6)
    assert site.write(values, [], 0.0) is values


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_other_nodes_and_the_values_stay(site, dtype):
    values = torch.randn(2, 5, 6).to(dtype)
    before = values.clone()
    written = site.write(values, [2, 0], 1.5)
    assert torch.equal(values, before)
    assert written.dtype == dtype
    assert torch.equal(written[..., 2:4], values[..., 2:4])
    assert (written[..., [0, 1, 4, 5]] == 1.5).all()


def test_what_is_no_number_is_written_over(site):
    values = torch.full((2, 5, 6), torch.nan)
    assert (site.write(values, [0, 1, 2], 0.0) == 0).all()


def test_tensors_in_place_of_nodes(site):
    """In the order in which the nodes are named; axes of size 1 or none stand for all."""
    values = torch.randn(2, 5, 6)
    new = torch.randn(2, 5, 2, 2, dtype=torch.float64)
    written = site.write(values, [2, 0], new)
    assert torch.equal(written[..., 4:], new[..., 0, :].float())
    assert torch.equal(written[..., :2], new[..., 1, :].float())
    one = torch.randn(2, 1)
    written = site.write(values, [1, 2], one)
    assert torch.equal(written[..., 2:].unflatten(-1, (2, 2)), one.expand(2, 5, 2, 2))


def test_functions_of_nodes(site):
    """Scaled; and in each trial another set of nodes."""
    values, mask = torch.randn(3, 5, 6), torch.rand(3, 1, 2, 1) < 0.5
    assert mask.any()
    assert not mask.all()
    halved = site.write(values, [1], lambda own: own / 2)
    assert torch.equal(halved[..., 2:4], values[..., 2:4] / 2)
    assert torch.equal(halved[..., [0, 1, 4, 5]], values[..., [0, 1, 4, 5]])
    masked = site.write(values, [0, 2], lambda own: own.masked_fill(mask, 0))
    for row in range(3):
        expected = values[row].clone()
        expected[:, :2] *= (~mask[row, 0, 0]).float()
        expected[:, 4:] *= (~mask[row, 0, 1]).float()
        assert torch.equal(masked[row], expected)


def test_gradients_pass_what_is_written(site):
    values = torch.randn(2, 5, 6, requires_grad=True)
    scale = torch.tensor(3.0, requires_grad=True)
    site.write(values, [1], lambda own: scale * own).sum().backward()
    assert torch.equal(values.grad, torch.tensor([1.0, 1, 3, 3, 1, 1]).expand(2, 5, 6))
    torch.testing.assert_close(scale.grad, values.detach()[..., 2:4].sum())


@pytest.mark.parametrize(
    ("nodes", "with_", "message"),
    [
        ([3], 0.0, r"nodes: 3 is none of the 3 heads of layers\.4\.projection; give .* 0 to 2"),
        ([-1], 0.0, "nodes: -1 is none of"),
        ([1, 1], 0.0, r"nodes: \[1, 1\] names a node twice"),
        ([0, 1], torch.ones(3, 2), r"with_: shape \(3, 2\) does not fit the 2 nodes of layers"),
        ([0], torch.ones(2, 2, 5, 1, 2), r"with_: shape \(2, 2, 5, 1, 2\)"),
        ([0], lambda own: own.flatten(-2)[..., None], r"with_: shape \(2, 5, 2, 1\)"),
    ],
)
def test_what_cannot_be_written_is_refused(site, nodes, with_, message):
    with pytest.raises(ValueError, match=message):
        site.write(torch.randn(2, 5, 6), nodes, with_)


# Edits in a model


def test_edits_are_nested_and_leave_nothing_behind(model):
    first, last = find_heads(model)[0], find_heads(model)[2]
    intact, before = logits(model), hooks(model)
    with first.edit(lambda values: first.write(values, [1], 0.0)):
        outer = logits(model)
        with last.edit(lambda values: last.write(values, [0, 2], 0.0)):
            assert not torch.equal(logits(model), outer)
        assert torch.equal(logits(model), outer)
        with (
            pytest.raises(ZeroDivisionError),
            last.edit(lambda values: last.write(values, [0], lambda own: own / (1 // 0))),
        ):
            logits(model)
        assert torch.equal(logits(model), outer)
    assert torch.equal(logits(model), intact)
    assert hooks(model) == before


def test_edits_of_one_site_are_made_in_order(model):
    site = find_heads(model)[1]
    with (
        site.edit(lambda values: site.write(values, [1], 2.0)),
        site.edit(lambda values: site.write(values, [1], lambda own: own / 2)),
    ):
        twice = logits(model)
    with site.edit(lambda values: site.write(values, [1], 1.0)):
        assert torch.equal(logits(model), twice)


def test_what_is_recorded_is_what_was_written(model):
    site = find_heads(model)[1]
    with site.edit(lambda values: site.write(values, [2], 0.5)), record(model) as recording:
        sequences = generate(model, IDS, 4)
    # A vector of 16 numbers, each 0.5.
    assert (recording.series[..., 3 + 2] == 2).all()
    assert (recording.series > 0).all()
    with site.edit(lambda values: site.write(values, [2], 0.5)):
        mask = torch.ones_like(sequences)
        replayed = replay(model, sequences, new_tokens=4, attention_mask=mask)
    torch.testing.assert_close(replayed.series, recording.series, rtol=1e-4, atol=1e-5)


def test_an_edit_is_not_there_when_heads_are_found(model):
    site = find_heads(model)[1]
    with site.edit(lambda values: site.write(values, [0, 1, 2], torch.nan)):
        assert len(find_heads(model)) == 3


def test_edits_of_a_compiled_model(model):
    model.model.layers = model.model.layers[:1]
    site = find_heads(model)[0]
    with site.edit(lambda values: site.write(values, [1], 0.0)):
        expected = logits(model)
    compiled = torch.compile(model, backend="eager")
    intact = logits(compiled)
    with site.edit(lambda values: site.write(values, [1], 0.0)):
        forget_compiled(compiled)
        torch.testing.assert_close(logits(compiled), expected)
    forget_compiled(compiled)
    torch.testing.assert_close(logits(compiled), intact)


def test_edits_of_weights_that_are_elsewhere(model, tmp_path):
    site = find_heads(model)[1]
    with site.edit(lambda values: site.write(values, [1], 0.0)):
        expected = logits(model)
    accelerate.disk_offload(model, tmp_path, execution_device="cpu")
    site = find_heads(model)[1]
    with site.edit(lambda values: site.write(values, [1], 0.0)):
        assert torch.equal(logits(model), expected)


# Kinds


def test_labels_and_order_of_nodes():
    assert Node(3, 7).label == str(Node(3, 7)) == "L3H7"
    assert Node(3, 7) == Node(3, 7, "heads")
    assert sorted([Node(1, 0), Node(0, 2), Node(0, 11)]) == [Node(0, 2), Node(0, 11), Node(1, 0)]


def test_nodes_of_a_model(model):
    sites = find_sites(model)
    assert [site.label for site in nodes_of(sites)][:4] == ["L0H0", "L0H1", "L0H2", "L1H0"]
    assert {site.kind for site in sites} == {"heads"}


@pytest.mark.parametrize("nodes", ["expert", "head", "", None, ["head"]])
def test_a_kind_that_there_is_not_is_refused(model, nodes):
    message = r"nodes: .* is no kind of node; use 'heads'"
    before = hooks(model)
    with pytest.raises(ValueError, match=message), record(model, nodes=nodes):
        raise AssertionError("not reached")
    with pytest.raises(ValueError, match=message):
        replay(model, IDS, new_tokens=3, nodes=nodes, attention_mask=torch.ones_like(IDS))
    with pytest.raises(ValueError, match=message):
        find_sites(model, nodes)
    assert hooks(model) == before


class Output(Site):
    """One node: the largest number that a module returns. Nobody but this file knows the kind."""

    def read(self, values):
        return values.amax(-1, keepdim=True).float()

    def write(self, values, nodes, with_):
        return torch.full_like(values, with_) if nodes else values

    def watch(self, receive):
        return self.module.register_forward_hook(lambda _, args, output: receive(output))

    def edit(self, change):
        return self.module.register_forward_hook(lambda _, args, output: change(output))


@pytest.fixture
def mlps(monkeypatch):
    def find(model, signal):
        layers = enumerate(model.model.layers)
        return tuple(Output("mlps", i, f"layers.{i}.mlp", layer.mlp, 1) for i, layer in layers)

    signals = {"largest": Signal("largest number")}
    monkeypatch.setitem(kinds.KINDS, "mlps", Kind("block", "blocks", "M", find, signals))


@pytest.mark.usefixtures("mlps")
def test_a_kind_of_ones_own_is_recorded_and_replayed(model):
    held, handles = [[], [], []], []
    for layer, outputs in zip(model.model.layers, held, strict=True):
        handles.append(layer.mlp.register_forward_hook(lambda *a, o=outputs: o.append(a[2])))
    sequences = generate(model, IDS, 5)
    for handle in handles:
        handle.remove()
    expected = torch.stack(
        [torch.stack([step[:, -1].amax(-1) for step in outputs], 1) for outputs in held], -1
    )
    with record(model, nodes="mlps") as recording:
        assert torch.equal(generate(model, IDS, 5), sequences)
    assert [str(node) for node in recording.nodes] == ["L0M0", "L1M0", "L2M0"]
    assert recording.kinds == ("mlps",)
    assert torch.equal(recording.series, expected)
    mask = torch.ones_like(sequences)
    replayed = replay(model, sequences, new_tokens=5, nodes="mlps", attention_mask=mask)
    assert replayed.nodes == recording.nodes
    torch.testing.assert_close(replayed.series, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("mlps")
def test_a_kind_of_ones_own_is_written(model):
    site = find_sites(model, "mlps")[1]
    with site.edit(lambda values: site.write(values, [0], 0.0)):
        written = logits(model)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.zero_()
    torch.testing.assert_close(written, logits(model))


@pytest.mark.usefixtures("mlps")
def test_a_value_that_is_not_finite_names_the_kind(model):
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0] = torch.inf
    message = "block L1M0 has the value .* at step 1 of trial 0"
    with pytest.raises(RuntimeError, match=message), record(model, nodes="mlps"):
        generate(model, IDS, 3)
