"""A mask leaves nothing of itself: ends, interrupts, saving, loading, refusals."""

import contextlib
import importlib

import pytest
import torch
from torch import nn

import synkern
from support.interrupts import interrupted_everywhere
from support.masked_weights import HEADS, changes, copied, inside, loss_of, made
from support.tiny_models import build, build_experts, hooks
from synkern.models import UnsupportedModelError
from synkern.training import TrainingMaskError, linking, masking
from synkern.training.parts import parts_of
from synkern.training.places import Place, place_of

KEPT = ("state_dict_hooks", "state_dict_pre_hooks", "load_state_dict_pre_hooks")
KEPT += ("forward_hooks_always_called", "forward_hooks_with_kwargs", "backward_hooks")


def adamw(parameters, **options):
    return torch.optim.AdamW(parameters, lr=1e-2, **options)


def trained(model, optimizer):
    loss_of(model).backward()
    optimizer.step()


def traces(model):
    """All of a model that a mask could leave something in, beside numbers."""
    everywhere = importlib.import_module("torch.optim.optimizer")
    return (
        hooks(model),
        [sorted(vars(module)) for module in model.modules()],
        [type(module) for module in model.modules()],
        [(name, id(p), p.requires_grad) for name, p in model.named_parameters()],
        [[len(getattr(m, f"_{kept}")) for kept in KEPT] for m in model.modules()],
        len(everywhere._global_optimizer_pre_hooks),
        len(everywhere._global_optimizer_post_hooks),
        len(masking._MASKED),
    )


@pytest.mark.parametrize("how", ["block", "finish", "exception"])
def test_only_what_was_trained_is_left(how):
    model = made("llama")
    model.model.norm.weight.requires_grad_(False)
    before, numbers = traces(model), copied(model)
    with contextlib.suppress(ZeroDivisionError), contextlib.ExitStack() as stack:
        mask = synkern.training_mask(model, HEADS)
        if how != "finish":
            stack.enter_context(mask)
        trained(model, adamw(mask.parameters()))
        held = [p.detach().clone() for p in mask.parameters()]
        if how == "exception":
            assert 1 / 0
        mask.finish()
    assert traces(model) == before
    own = inside(model, "llama", HEADS)
    assert all(torch.equal(c, own[key]) for key, c in changes(numbers, model).items())
    assert torch.equal(model.model.layers[0].self_attn.q_proj.weight[16:32], held[0])


def test_interrupts_leave_nothing():
    model = build("llama")
    before, numbers = traces(model), copied(model)
    inner = model.model.layers[1].self_attn
    slices = synkern.models.find_slices(model)
    nodes = [synkern.Node(1, 0), synkern.Node(1, 2)]

    def block(off):
        with masking.masked(model, model, parts), off():
            pass

    parts = parts_of(model, {node: slices[node] for node in nodes})
    assert {part.module for part in parts} == {inner.q_proj, inner.o_proj}
    lines = 0
    for _ in interrupted_everywhere(block, masking, linking):
        assert traces(model) == before
        assert not any(c.any() for c in changes(numbers, model).values())
        lines += 1
    assert lines > 30


@pytest.mark.parametrize("name", ["llama", "qwen2_moe"])
def test_what_is_saved_is_an_ordinary_model(name, tmp_path):
    model = made(name)
    keys, of = [*model.state_dict()], "heads" if name == "llama" else "experts"
    with synkern.training_mask(model, [0, 4], of=of) as mask:
        trained(model, adamw(mask.parameters(), fused=True))
        assert [*model.state_dict()] == keys
        model.save_pretrained(tmp_path)
        now = copied(model)
        loss = loss_of(model)
    again = type(model).from_pretrained(tmp_path).train()
    assert all(torch.equal(v, now[key]) for key, v in again.state_dict().items())
    assert torch.equal(loss_of(again), loss)
    assert torch.equal(loss_of(model), loss)


@pytest.mark.parametrize("name", ["llama", "qwen2_moe"])
def test_weights_that_are_loaded_train_on(name):
    of = "heads" if name == "llama" else "experts"
    make = build if name == "llama" else build_experts
    model, other = make(name).train(), make(name, seed=1).train()
    with synkern.training_mask(model, [0, 4], of=of) as mask:
        model.load_state_dict(other.state_dict())
        expected = loss_of(other)
        expected.backward()
        loss = loss_of(model)
        loss.backward()
        assert torch.equal(loss, expected)
        adamw(mask.parameters()).step()
    moved = changes(copied(other), model)
    assert sum(int(c.sum()) for c in moved.values()) == mask.trained


def test_a_model_that_moves_takes_the_mask_along():
    model = made("llama")
    with synkern.training_mask(model, HEADS) as mask:
        model.to(torch.float64)
        before = copied(model)
        trained(model, adamw(mask.parameters()))
        assert mask.parameters()[0].dtype == torch.float64
    own = inside(model, "llama", HEADS)
    assert all(torch.equal(c, own[key]) for key, c in changes(before, model).items())


def test_optimizers_that_would_change_something_else_are_refused():
    model = made("llama")
    early = adamw(model.parameters())
    with synkern.training_mask(model, HEADS) as mask:
        before = copied(model)
        with pytest.raises(TrainingMaskError, match="holds frozen parameters of the model alone"):
            early.step()
        assert not any(c.any() for c in changes(before, model).values())
        model.lm_head.weight.requires_grad_()
        with pytest.raises(TrainingMaskError, match="change lm_head.weight, which was made to tr"):
            trained(model, adamw(model.parameters()))
        model.lm_head.weight.requires_grad_(False).grad = None
        later = adamw(model.parameters())  # as many do; what is frozen has no gradient
        trained(model, later)
        assert {id(p) for p in later.state} == {id(p) for p in mask.parameters()}
    adamw(model.parameters()).step()


def test_parameters_that_are_new_in_the_model_are_refused():
    """Adapters that a trainer adds would train all heads."""
    model = made("llama")
    with synkern.training_mask(model, HEADS) as mask:
        before = copied(model)
        model.lm_head.register_parameter("added", nn.Parameter(torch.ones(3)))
        model.lm_head.added.grad = torch.ones(3)
        with pytest.raises(TrainingMaskError, match="change lm_head.added, which is new in the mo"):
            trained(model, adamw(p for p in model.parameters() if p.requires_grad))
        other = nn.Linear(2, 2)
        other(torch.ones(2)).sum().backward()
        adamw(other.parameters()).step()
        assert {key for key, v in model.state_dict().items() if key not in before} == {
            "lm_head.added"
        }
        del model.lm_head.added
        assert not any(c.any() for c in changes(before, model).values())
        mask.parameters()[0].requires_grad_(False)
        with pytest.raises(TrainingMaskError, match="weight_query_trained of a Linear was frozen"):
            trained(model, adamw(mask.parameters()))


def test_gradients_from_before_are_set_aside():
    """Else they would be clipped together with those of what trains."""
    model = made("llama")
    loss_of(model).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    with synkern.training_mask(model, HEADS) as mask:
        loss_of(model).backward()
        norm = nn.utils.get_total_norm([p.grad for p in mask.parameters()])
        assert nn.utils.clip_grad_norm_(model.parameters(), 1.0) == norm
        adamw(model.parameters()).step()
    assert all(torch.equal(p.grad, gradients[name]) for name, p in model.named_parameters())


def test_moments_of_other_nodes_are_refused():
    states = {}
    for nodes in (["L0H1", "L2H0"], ["L0H2", "L2H0"]):
        model = made("llama")
        with synkern.training_mask(model, nodes) as mask:
            optimizer = adamw(mask.parameters())
            for state in states.values():
                optimizer.load_state_dict(state)
                with pytest.raises(TrainingMaskError, match="from a checkpoint of other nodes"):
                    trained(model, optimizer)
                optimizer = adamw(mask.parameters())
            trained(model, optimizer)
            states[str(nodes)] = optimizer.state_dict()
            again = adamw(mask.parameters())
            again.load_state_dict(optimizer.state_dict())
            trained(model, again)


def test_weights_that_were_exchanged_are_refused():
    model, other = made("llama"), made("llama")
    mask = synkern.training_mask(model, HEADS)
    model.load_state_dict(other.state_dict(), assign=True)
    with pytest.raises(TrainingMaskError, match=r"Linear.weight or what trains of it was exchange"):
        loss_of(model)
    with pytest.raises(TrainingMaskError, match="load the model before the mask"):
        mask.finish()
    assert "trained" not in str([*model.state_dict()])
    assert hooks(model) == hooks(other)


def test_two_masks_of_one_model_are_refused():
    model = build("llama")
    before = traces(model)
    with synkern.training_mask(model, "L0H0"):
        with pytest.raises(TrainingMaskError, match="nodes of this LlamaForCausalLM train alread"):
            synkern.training_mask(model, "L1H0")
        assert model.model.layers[0].self_attn.q_proj.weight_query_trained.requires_grad
    assert traces(model) == before
    with synkern.training_mask(model, "L1H0"):
        pass


def test_no_nodes_and_nodes_that_there_are_not_are_refused():
    model = build("llama")
    with pytest.raises(ValueError, match="nodes: none is chosen"):
        synkern.training_mask(model, [])
    with pytest.raises(ValueError, match="'L9H0' is none of the 9 nodes"):
        synkern.training_mask(model, "L9H0")


def test_inference_mode_is_refused():
    with torch.inference_mode(), pytest.raises(TrainingMaskError, match="outside of it"):
        synkern.training_mask(build("llama"), "L0H0")


def test_models_of_which_no_part_can_train_are_refused():
    def refused(model, said):
        before = traces(model)
        with pytest.raises(UnsupportedModelError, match=said):
            synkern.training_mask(model, "L0H0")
        assert traces(model) == before

    model = build("llama")
    model.is_quantized = True
    refused(model, "is quantised")
    model = build("llama")
    model.model.layers[2].self_attn.q_proj.weight = model.model.layers[0].self_attn.q_proj.weight
    refused(model, "is also model.layers.2.self_attn.q_proj.weight")
    refused(torch.compile(build("llama"), backend="eager"), "is compiled")
    model = build("llama")
    model._tp_size = 2
    refused(model, "is split over devices inside its layers")


def test_an_output_layer_that_is_the_embedding_is_left():
    model = build("gemma3").train()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    before = copied(model)
    with synkern.training_mask(model, HEADS) as mask:
        trained(model, adamw(mask.parameters()))
    own = inside(model, "gemma3", HEADS)
    assert all(torch.equal(c, own[key]) for key, c in changes(before, model).items())


def test_rows_in_runs_are_copied_as_slices():
    whole = slice(None)
    rows = torch.tensor([*range(4), *range(8, 13)])
    assert place_of((whole, rows)) == Place(((whole, slice(0, 4)), (whole, slice(8, 13))), 1)
    apart = (torch.tensor([0, 2, 5, 6]), whole)
    assert place_of(apart) == Place((apart,))
    assert not place_of(apart).is_view
    assert place_of((3,)) == Place(((3,),))


@pytest.mark.parametrize("of", ["neurons", "mlps"])
def test_other_kinds_of_nodes_train_too(of):
    model = made("llama")
    before, nodes = copied(model), {"neurons": [0, 2, 5, 64, 190], "mlps": [1]}[of]
    with synkern.training_mask(model, nodes, of=of) as mask:
        trained(model, adamw(mask.parameters()))
    moved = {key: int(c.sum()) for key, c in changes(before, model).items() if c.any()}
    parts = [f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")]
    counts = {"neurons": {0: 3 * 48, 1: 48, 2: 48}, "mlps": {1: 64 * 48}}[of]
    assert moved == {f"model.layers.{i}.{p}": n for i, n in counts.items() for p in parts}


def test_replicas_are_refused():
    model = made("llama")
    with synkern.training_mask(model, HEADS):
        linear = model.model.layers[0].self_attn.q_proj
        replica = linear._replicate_for_data_parallel()
        replica._parameters = {}
        with pytest.raises(TrainingMaskError, match="DataParallel"):
            nn.Module.__call__(replica, torch.zeros(1, 48))


def test_a_model_can_be_read_meanwhile():
    model = made("llama")
    with synkern.training_mask(model, HEADS) as mask:
        trained(model, adamw(mask.parameters()))
        assert len(synkern.models.find_slices(model.eval())) == 9
        with synkern.ablate(model, "L0H1"), torch.no_grad():
            silent = loss_of(model)
        with torch.no_grad():
            assert loss_of(model) != silent


def attention_compiled(model, backend):
    model.model.layers[2].self_attn.compile(backend=backend)
    return model


def compiled_whole(model, backend):
    return torch.compile(model, backend=backend)


@pytest.mark.filterwarnings("ignore")  # torch's, about how it compiles gradient functions itself
@pytest.mark.parametrize(
    "compiled", [attention_compiled, pytest.param(compiled_whole, marks=pytest.mark.proof)]
)
def test_what_is_compiled_under_a_mask_trains_the_same(compiled):
    losses, after, graphs = {}, {}, []

    def kept(graph, _):
        graphs.append(graph)
        return graph.forward

    for compiles in (False, True):
        torch.compiler.reset()
        model = made("llama")
        with synkern.training_mask(model, HEADS) as mask:
            run = compiled(model, kept) if compiles else model
            optimizer = adamw(mask.parameters(), fused=True)
            losses[compiles] = []
            for _ in range(3):
                optimizer.zero_grad()
                loss = loss_of(run)
                loss.backward()
                optimizer.step()
                losses[compiles].append(loss.item())
            with torch.no_grad():
                losses[compiles].append(loss_of(run).item())
        model.model.layers[2].self_attn.q_proj.weight.data[20] = 0
        after[compiles] = loss_of(run).item()
    torch.compiler.reset()
    assert graphs
    assert losses[True] == losses[False]
    assert after[True] == after[False]
