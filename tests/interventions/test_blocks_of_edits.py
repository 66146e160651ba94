"""Blocks in which nodes are out: inside each other, left in any way, and never passed by."""

import contextlib
import os
import signal
import threading

import accelerate
import numpy as np
import pytest
import torch
from torch import nn

from support.ablations import IDS, close, logits
from support.interrupts import interrupted_everywhere
from support.tiny_models import build, build_experts, generate, hooks
from synkern.interventions import Ablation, InterventionError, Scale, Zero, ablate, interrupts
from synkern.interventions.activity import ablating, calls, edits
from synkern.models import UnsupportedModelError, find_sites, nodes_of
from synkern.recording import Responses, record


@pytest.fixture
def model():
    return build("llama")


# Inside each other, and restored


def test_no_nodes_change_nothing(model):
    before, intact = hooks(model), logits(model)
    with ablate(model, []):
        assert hooks(model) == before
        assert torch.equal(logits(model), intact)


def test_nodes_that_can_be_read_once_are_taken_out(model):
    with ablate(model, ["L0H1", "L2H2"]):
        expected = logits(model)
    labels = ["L0H1", "L2H2"]
    for nodes in (
        iter(labels),
        (label for label in labels),
        map(str, labels),
        filter(None, [1, 8]),
    ):
        with ablate(model, nodes):
            assert torch.equal(logits(model), expected)


def test_blocks_inside_each_other(model):
    with ablate(model, ["L0H1", "L2H0"]):
        both = logits(model)
    with ablate(model, "L2H0"):
        one = logits(model)
        with ablate(model, "L0H1"):
            assert torch.equal(logits(model), both)
        assert torch.equal(logits(model), one)


def test_of_the_same_node_the_inner_edit_is_made_on_what_the_outer_left(model):
    with ablate(model, "L1H1", kind=Scale(0.5)), ablate(model, "L1H1", kind=Scale(3.0)):
        twice = logits(model)
    with ablate(model, "L1H1", kind=Scale(1.5)):
        close(logits(model), twice)
    with ablate(model, "L1H1"), ablate(model, "L1H1", kind=Scale(3.0)):
        out = logits(model)
    with ablate(model, "L1H1"):
        assert torch.equal(logits(model), out)


@pytest.mark.parametrize("of", ["heads", "layers"])
@pytest.mark.parametrize("first_out", [0, 1])
def test_blocks_that_end_in_any_order(model, of, first_out):
    intact, before = logits(model), hooks(model)
    sets = (["L0H1", "L2H0"], ["L1H0", "L2H0"]) if of == "heads" else (["L0"], ["L2"])
    alone = []
    for chosen in sets:
        with ablate(model, chosen, of=of):
            alone.append(logits(model))
    stacks = [contextlib.ExitStack(), contextlib.ExitStack()]
    for stack, chosen in zip(stacks, sets, strict=True):
        stack.enter_context(ablate(model, chosen, of=of))
    logits(model)
    stacks[first_out].close()
    assert torch.equal(logits(model), alone[1 - first_out])
    stacks[1 - first_out].close()
    assert torch.equal(logits(model), intact)
    assert hooks(model) == before


class StopError(Exception):
    pass


@pytest.mark.parametrize("of", ["heads", "experts", "shared_experts", "mlps", "layers"])
@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt, GeneratorExit, SystemExit])
def test_after_an_error_nothing_is_left(of, error):
    model = build_experts("qwen2_moe")
    intact, before = logits(model), hooks(model)
    ablation = Ablation(model, of=of)

    def block():
        with ablation.applied([0, len(ablation.nodes) - 1]):
            assert hooks(model) != before
            logits(model)
            raise error

    with pytest.raises(error):
        block()
    assert hooks(model) == before
    assert torch.equal(logits(model), intact)


def test_after_an_interrupt_in_the_middle_of_a_call_nothing_is_left(model):
    intact, before = logits(model), hooks(model)

    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)

    handle = model.model.layers[1].register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt), ablate(model, ["L0H0", "L2H1"]):
        logits(model)
    handle.remove()
    assert hooks(model) == before
    assert torch.equal(logits(model), intact)


def test_an_interrupt_at_any_line_leaves_nothing(model):
    before, ablation = hooks(model), Ablation(model)
    stance, usual = calls._STANCE, signal.getsignal(signal.SIGINT)

    def asked(not_counted):
        with ablation.applied(["L0H0", "L2H1"]), not_counted():
            logits(model)

    for line in interrupted_everywhere(asked, ablating, calls, edits, interrupts):
        assert hooks(model) == before, line
        assert (stance.holders, stance.lock.locked()) == (0, False), line
        assert not any(edits._CLAIMS.get(module) for module in model.modules()), line
        assert signal.getsignal(signal.SIGINT) is usual, line
    assert line > 50


def test_what_cannot_be_attached_leaves_nothing(model, monkeypatch):
    before = hooks(model)
    sites = find_sites(model)
    site_type = type(sites[0])
    edit = site_type.edit

    def failing(self, change):
        if self.layer == 2:
            raise StopError
        return edit(self, change)

    monkeypatch.setattr(site_type, "edit", failing)
    with pytest.raises(StopError), ablate(model, ["L0H0", "L2H1"]):
        raise AssertionError("not reached")
    assert hooks(model) == before


def test_gradients_pass(model):
    with ablate(model, ["L0H0", "L1H2"], kind=Scale(0.5)):
        model(IDS).logits.square().sum().backward()
    grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    with torch.no_grad():
        for layer, head in ((0, 0), (1, 2)):
            weight = model.model.layers[layer].self_attn.o_proj.weight
            weight[:, head * 16 : (head + 1) * 16] *= 0.5
    model(IDS).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        own = grads.pop(0)
        if not name.endswith(("0.self_attn.o_proj.weight", "1.self_attn.o_proj.weight")):
            close(own, parameter.grad, within=1e-5)


# What would be silence


def test_a_model_that_was_not_called(model):
    message = "LlamaForCausalLM was not called inside the block"
    with pytest.raises(InterventionError, match=message), ablate(model, "L0H0"):
        pass


def test_an_error_in_the_block_is_the_error_that_is_told(model):
    with pytest.raises(ZeroDivisionError), ablate(model, "L0H0"):
        1 // 0  # noqa: B018


def test_a_part_of_the_model_called_alone_is_edited(model):
    intact = model.model(IDS).last_hidden_state
    with ablate(model, "L0H0"):
        assert not torch.equal(model.model(IDS).last_hidden_state, intact)


def test_layers_that_are_passed_by(model):
    message = (
        r"called 2 times inside the block, but model\.layers\.2\.self_attn\.o_proj 1 times, so "
        r"that its heads were not changed in all of them \(so for 1 of 2 modules\)"
    )

    def block():
        with ablate(model, ["L0H0", "L2H0"]):
            logits(model)
            model.config.num_hidden_layers = 2  # as self-speculative decoding does
            logits(model)

    with pytest.raises(InterventionError, match=message):
        block()


def test_a_module_that_was_exchanged(model):
    ablation = Ablation(model)
    model.model.layers[1].self_attn.o_proj = nn.Linear(48, 48)
    message = r"model\.layers\.1\.self_attn\.o_proj 0 times"
    with pytest.raises(InterventionError, match=message), ablation.applied("L1H0"):
        logits(model)


def test_a_call_that_fails_is_no_call_that_was_passed_by(model):
    with ablate(model, ["L2H0"]):
        handle = model.model.layers[1].register_forward_hook(lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            logits(model)
        handle.remove()


def test_a_model_in_training_mode(model):
    message = r"in training mode, where dropout .* call model\.eval\(\) first"
    model.train()
    with pytest.raises(InterventionError, match=message), ablate(model, "L0H0"):
        logits(model)


def test_layers_that_are_split_over_devices(model):
    model._tp_size = 2
    with pytest.raises(UnsupportedModelError, match="is split over devices inside its layers"):
        Ablation(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "nothing"}, "kind: 'nothing' is none of 'zero', 'mean', 'resample', and no edit"),
        ({"kind": "mean"}, "texts: missing for kind='mean'"),
        ({"kind": Zero}, "kind: .*Zero"),
        ({"of": "synapses"}, "nodes: 'synapses' is no kind of node"),
        ({"of": "experts"}, "it is a dense model"),
    ],
)
def test_what_is_no_ablation(model, options, message):
    with pytest.raises(ValueError, match=message), ablate(model, "L0H0", **options):
        raise AssertionError("not reached")


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_factor_that_is_not_finite(factor):
    with pytest.raises(TypeError, match="factor = 'half' is no number"):
        Scale("half")
    with pytest.raises(ValueError, match=r"factor = .*; give a finite number"):
        Scale(factor)


def test_nodes_outside_of_what_an_ablation_was_made_for(model):
    ablation = Ablation(model, among=["L0H0", "L1H1"])
    with ablation.applied("L1H1"):
        found = logits(model)
    with ablate(model, "L1H1"):
        assert torch.equal(logits(model), found)
    with pytest.raises(ValueError, match="nodes: L1H0 is none of those in `among`"):
        ablation.applied("L1H0").__enter__()


def test_what_is_infinite_is_zeroed(model):
    site = find_sites(model)[1]
    with (
        site.edit(lambda values: site.write(values, [1], torch.inf)),
        ablate(model, "L1H1"),
    ):
        found = logits(model)
    with ablate(model, "L1H1"):
        assert torch.equal(logits(model), found)


# Compiled, quantised, elsewhere


@pytest.mark.parametrize("way", ["outside", "method", "layers", "function"])
def test_what_was_compiled_runs_as_it_was_written(model, way):
    with ablate(model, ["L0H1", "L2H2"]):
        expected = logits(model)
    intact = logits(model)
    called = model
    if way == "outside":
        called = torch.compile(model, backend="eager")
    elif way == "method":
        model.compile(backend="eager")
    elif way == "layers":
        for layer in model.model.layers:
            layer.compile(backend="eager")
    else:

        def step(ids):
            return model(ids)

        called = torch.compile(step, backend="eager")
    close(logits(called), intact)  # compiled by now
    with ablate(model, ["L0H1", "L2H2"]):
        close(logits(called), expected)
    close(logits(called), intact)


def test_compiled_models_in_blocks_that_end_in_any_order(model):
    compiled = torch.compile(model, backend="eager")
    intact = logits(compiled)
    stacks = [contextlib.ExitStack(), contextlib.ExitStack()]
    for stack, chosen in zip(stacks, ("L0H1", "L2H2"), strict=True):
        stack.enter_context(ablate(compiled, chosen))
    stacks[0].callback(logits, compiled)
    stacks[0].close()
    stacks[1].callback(logits, compiled)
    with ablate(model, "L2H2"):
        expected = logits(model)
    close(logits(compiled), expected)
    stacks[1].close()
    close(logits(compiled), intact)
    # Compiled code is in use again.
    seen = []
    torch.compiler.reset()

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    torch.compile(lambda x: x + 1, backend=backend)(torch.ones(2))
    assert seen


def test_in_another_thread(model):
    """As with a streamer, whose reader is the thread that began."""
    with ablate(model, ["L0H1", "L2H2"]):
        expected = logits(model)
    found = []
    compiled = torch.compile(model, backend="eager")
    logits(compiled)
    with ablate(model, ["L0H1", "L2H2"]):
        thread = threading.Thread(target=lambda: found.append(logits(compiled)))
        thread.start()
        thread.join()
    close(found[0], expected)


class EightBits(nn.Module):
    """A linear layer whose weight is kept as whole numbers of 8 bits, and a scale for each row."""

    def __init__(self, linear):
        super().__init__()
        scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("kept", (linear.weight.detach() / scale).round().to(torch.int8))

    def forward(self, x):
        return nn.functional.linear(x, self.kept * self.scale)


def test_quantised_layers(model):
    for layer in model.model.layers:
        for part in (layer.self_attn, layer.mlp):
            for name, linear in list(part.named_children()):
                if isinstance(linear, nn.Linear):
                    setattr(part, name, EightBits(linear))
    with ablate(model, ["L0H1", "L2H2"]):
        found = logits(model)
    for layer, head in ((0, 1), (2, 2)):
        kept = model.model.layers[layer].self_attn.o_proj.kept
        kept[:, head * 16 : (head + 1) * 16] = 0
    close(found, logits(model))


@pytest.mark.parametrize("kind", ["zero", "mean", "resample"])
def test_weights_that_are_elsewhere(model, tmp_path, kind):
    texts = Responses(IDS[:, :4], IDS[:, 4:])
    with ablate(model, ["L0H1", "L2H2"], kind=kind, texts=texts):
        expected = logits(model)
    accelerate.disk_offload(model, tmp_path, execution_device="cpu")
    with ablate(model, ["L0H1", "L2H2"], kind=kind, texts=texts):
        assert torch.equal(logits(model), expected)


def test_what_is_recorded_of_a_model_without_nodes(model):
    with ablate(model, ["L0H1", "L2H2"]), record(model) as recording:
        generate(model, IDS, 4)
    out = [str(node) in ("L0H1", "L2H2") for node in nodes_of(find_sites(model))]
    assert (recording.series[..., out] == 0).all()
    assert (recording.series[..., ~np.array(out)] > 0).all()
