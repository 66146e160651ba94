"""Weights of which no part belongs to one node: they are refused, and why."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from support.tiny_models import (
    build,
    build_experts,
)
from synkern.models import Node, UnsupportedModelError, find_slices
from synkern.models.owners import SHARED, Owned
from synkern.models.slices import rows_of_nodes
from synkern.models.upstream import experts_forward

# transformers 5.17 scripts functions of GPT-BigCode when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script")


def refused(model, of, *parts):
    with pytest.raises(UnsupportedModelError) as refusal:
        find_slices(model, of)
    for part in parts:
        assert part in str(refusal.value), str(refusal.value)


def test_a_norm_over_all_heads_is_refused():
    refused(
        build_experts("olmoe"),
        "heads",
        "OlmoeForCausalLM: model.layers.0.self_attn: no weights make one head alone",
        "every output of model.layers.0.self_attn.q_proj moves several heads",
    )


class Quantised(nn.Module):
    """A linear layer whose weight is no parameter."""

    def __init__(self, linear):
        super().__init__()
        self.register_buffer("packed", (linear.weight.detach() * 100).round().to(torch.int8))

    def forward(self, x):
        return x @ (self.packed.to(x.dtype) / 100).T


class Adapter(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.base_layer = linear
        self.more = nn.Linear(linear.in_features, linear.out_features, bias=False)

    def forward(self, x):
        return self.base_layer(x) + self.more(x)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Quantised, "keeps "),
        (Adapter, "(Adapter) is inside, whose matrices add"),
        (lambda linear: prune.l1_unstructured(linear, "weight", 0.5), "make pruning permanent"),
    ],
)
@pytest.mark.parametrize("projection", ["q_proj", "o_proj"])
def test_a_layer_that_does_more_than_multiply_by_its_weight_is_refused(projection, make, reason):
    model = build("llama")
    attention = model.model.layers[1].self_attn
    setattr(attention, projection, make(getattr(attention, projection)))
    refused(model, "heads", f"model.layers.1.self_attn.{projection}", reason)
    if make is not Adapter and make is not Quantised:
        return
    refused(model, "layers", "model.layers.1 (LlamaDecoderLayer)", reason)


def test_queries_that_no_layer_makes_are_refused():
    model = build("llama")
    attention = model.model.layers[0].self_attn

    class Inside(nn.Linear):
        def forward(self, x):
            return nn.functional.linear(x, self.weight)

    whole = attention.q_proj

    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = whole.weight
            self.idle = nn.Identity()  # so that it is no leaf

        def forward(self, x):
            return nn.functional.linear(x, self.weight)

    attention.q_proj = Holder()
    refused(model, "heads", "model.layers.0.self_attn", "no linear layer inside makes")
    attention.q_proj = Inside(48, 48, bias=False)
    refused(model, "heads", "q_proj (Inside) keeps its weight in a form of its own")


def test_queries_that_are_also_keys_are_refused():
    model = build("llama")
    for layer in model.model.layers:
        attention = layer.self_attn
        attention.num_key_value_groups = 1
        attention.v_proj = nn.Linear(48, 48, bias=False)
        attention.k_proj = attention.q_proj
    refused(model, "heads", "q_proj moves several heads, or something else beside")


@pytest.mark.parametrize(
    ("owner", "calls", "nodes", "why"),
    [
        ([0, 0, 1, 1, 2, SHARED], 1, 3, "gives some heads 1 rows of their own and others 2"),
        ([0, 0, 1, 1, 2, 2], 2, 3, "is called 2 times in one pass"),
        ([0, 0, 1, 1, 2, 5], 1, 6, "makes 6 of which the 3 heads are made"),
    ],
)
def test_rows_that_do_not_add_up_are_refused(owner, calls, nodes, why):
    model = nn.Sequential(nn.Linear(4, 6))
    owned = Owned(model[0], torch.tensor(owner), calls, nodes)
    with pytest.raises(
        UnsupportedModelError, match=f"here: which weights .* cannot be told.*{why}"
    ):
        rows_of_nodes(model, "here", [owned], 3, "query", "head")


def test_weights_that_are_used_twice_are_refused():
    model = build("llama")
    first, last = model.model.layers[0], model.model.layers[2]
    last.self_attn.q_proj.weight = first.self_attn.q_proj.weight
    other = "is also model.layers.2.self_attn.q_proj.weight"
    refused(model, "heads", "model.layers.0.self_attn.q_proj.weight", other, "L0H0")
    refused(model, "layers", other)
    assert find_slices(model, "mlps")


def test_a_matrix_under_two_names_in_one_module_is_there_once():
    model = build("llama")
    mlp = model.model.layers[1].mlp
    mlp.up_proj.weight = mlp.gate_proj.weight
    own = find_slices(model, "mlps")[Node(1, 0, "mlps")]
    assert [s.role for s in own] == ["gate_proj.weight", "down_proj.weight"]


def test_a_quantised_model_is_refused():
    model = build("llama")
    model.is_quantized = True
    refused(model, "heads", "LlamaForCausalLM is quantised", "without quantization_config")


def test_parameters_of_another_class_are_refused():
    class Sharded(torch.Tensor):
        pass

    model = build("llama")
    mlp = model.model.layers[1].mlp
    weight = nn.Parameter(mlp.up_proj.weight.detach().as_subclass(Sharded))
    mlp.up_proj.weight = weight
    for of in ("mlps", "layers"):
        refused(model, of, "layers.1", "up_proj.weight", "is a Sharded, as of a sharded")


def test_offloaded_weights_are_refused(tmp_path):
    accelerate = pytest.importorskip("accelerate")
    model = build("llama")
    accelerate.cpu_offload(model, execution_device="cpu")
    for of in ("heads", "mlps", "layers", "neurons"):
        refused(model, of, "is offloaded, so that a change would be lost")
    experts = build_experts("qwen3_moe")
    accelerate.cpu_offload(experts, execution_device="cpu")
    refused(experts, "experts", "is offloaded, so that a change would be lost")


def test_weights_made_in_inference_mode_are_refused():
    model = build("llama")
    with torch.inference_mode():
        for linear in (model.model.layers[0].mlp.up_proj, model.model.layers[0].self_attn.q_proj):
            linear.weight = nn.Parameter(linear.weight.clone(), requires_grad=False)
    refused(model, "mlps", "up_proj.weight", "was made in torch.inference_mode()")


def test_parameters_without_an_axis_of_experts_are_refused():
    model = build_experts("qwen3_moe")
    experts = model.model.layers[1].mlp.experts
    experts.shift = nn.Parameter(torch.zeros(48))
    refused(model, "experts", "model.layers.1.mlp.experts", "shift (48,) does not begin with 8")


def test_experts_that_multiply_by_weights_of_others_are_refused():
    """Shapes do not tell: here expert e takes the weights at place e + 1."""
    model = build_experts("qwen3_moe")
    experts = model.model.layers[1].mlp.experts
    plain = experts_forward(experts)
    experts.forward = lambda hidden, which, weights: plain(hidden, (which + 1) % 8, weights)
    refused(model, "experts", "model.layers.1.mlp.experts", "given the weights of expert")


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'arms' is no kind of node"):
        find_slices(build("llama"), "arms")
