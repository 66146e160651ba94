"""What else can be read of heads: each signal against an independent computation; refusals."""

import accelerate
import pytest
import torch
from torch import nn

from support.tiny_models import (
    ARCHITECTURES,
    DECODER,
    build,
    causal,
    generate,
    initialise,
    prompts,
    registered,
)
from synkern import record
from synkern.models.head_signals import HEAD_SIGNALS, entropies, find_heads_to_read
from synkern.models.heads import find_heads
from synkern.models.language_model import UnsupportedModelError
from synkern.models.nodes import find_sites

IDS = prompts(2, 12)
EPS = torch.finfo(torch.float32).eps


def run(model, ids=IDS, **options):
    with torch.no_grad():
        return model(ids, use_cache=False, **options).logits


def read(model, signal, **options):
    """Of every layer, what its site reads in one pass, and what its projection is given."""
    read_of, given = [], []
    handles = []
    for site, plain in zip(find_heads_to_read(model, signal), find_heads(model), strict=True):
        handles.append(site.watch(lambda values, site=site: read_of.append(site.read(values))))
        handles.append(plain.watch(lambda values: given.append(values.clone())))
    run(model, **options)
    for handle in handles:
        handle.remove()
    return read_of, given


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_a_head_writes(name):
    model = build(name)
    _, _, heads, width, _ = ARCHITECTURES[name]
    norms, given = read(model, "projected")
    for site, norm, z in zip(find_heads(model), norms, given, strict=True):
        weight = site.module.weight.double()
        weight = weight if type(site.module).__name__ == "Conv1D" else weight.T
        for head in range(heads):
            its = slice(head * width, (head + 1) * width)
            vector, matrix = z[..., its].double(), weight[its]
            # R is rounded once, and |R z| sums `width` products and as many squares.
            slack = 3 * width * EPS * matrix.norm() * vector.norm(dim=-1)
            assert ((norm[..., head] - (vector @ matrix).norm(dim=-1)).abs() <= slack).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3"])
def test_the_largest_value(name, dtype):
    model = build(name, dtype=dtype)
    largest, given = read(model, "largest")
    _, _, heads, width, _ = ARCHITECTURES[name]
    for value, z in zip(largest, given, strict=True):
        own = torch.stack([h.abs().max(-1).values for h in z.split(width, -1)], -1)
        assert own.shape[-1] == heads
        assert value.dtype == torch.float32
        assert torch.equal(value, own.float())


def entropies_by_definition(model, **options):
    """Entropies (rows, queries, heads) of softmax(q kᵀ), and the largest score, of each layer."""
    found = []

    def attend(module, query, key, value, mask, scaling=None, softcap=None, **_):
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = query.double() @ key.double().mT * (scaling or query.shape[-1] ** -0.5)
        if softcap is not None:
            scores = softcap * (scores / softcap).tanh()
        log = (scores + mask.double()).log_softmax(-1)
        entropy = torch.where(log.exp() > 0, -log * log.exp(), 0.0).sum(-1)
        found.append((entropy.transpose(1, 2), scores.abs().max().item()))
        return (log.exp() @ value.double()).transpose(1, 2).to(query.dtype), None

    usual = model.config._attn_implementation
    with registered("own", attend):
        model.set_attn_implementation("own")
        try:
            run(model, **options)
        finally:
            model.set_attn_implementation(usual)
    return found


CAPPED = {
    "gemma2": causal("Gemma2", **DECODER, head_dim=16, sliding_window=4, attn_logit_softcapping=2.0)
}


@pytest.mark.parametrize("name", [*ARCHITECTURES, *CAPPED])
def test_the_entropy_of_attention(name):
    """Grouped queries, sliding windows shorter than the text, scores with a cap, padding."""
    model = (
        build(name, "eager")
        if name in ARCHITECTURES
        else initialise(*CAPPED[name](), attention="eager")
    )
    mask = torch.ones_like(IDS)
    mask[0, :3] = 0
    entropy, _ = read(model, "entropy", attention_mask=mask)
    expected = entropies_by_definition(model, attention_mask=mask)
    # Layers before give the inputs: the first layer's are the same, the others' nearly.
    for layer, (found, (own, largest)) in enumerate(zip(entropy, expected, strict=True)):
        assert found.shape == own.shape
        # A score is a sum over a head and is off by some of its last digits in every layer before;
        # so is the logarithm of each share, of which the entropy is a mean.
        slack = 256 * (layer + 1) * EPS * (1 + largest) * 3
        assert ((found - own)[1].abs() <= slack).all()
        assert ((found - own)[0, 3:].abs() <= slack).all()
        assert (found[1, 0] == 0).all()  # one key
        assert (found >= 0).all()


def test_a_sink_is_no_key():
    """What goes to the sinks of GPT-OSS is left out: the entropy is that of the keys' shares."""
    make = causal("GptOss", **DECODER, head_dim=16, num_local_experts=4, num_experts_per_tok=2)
    model = initialise(*make(), attention="eager")
    for layer in model.model.layers:
        layer.self_attn.sinks.data.fill_(1.0)
    weights = []
    attention = model.model.layers[0].self_attn
    with attention.register_forward_hook(lambda _, args, output: weights.append(output[1])):
        entropy, _ = read(model, "entropy")
    first = weights[-1].double()
    assert (first.sum(-1) < 0.9).any()
    shares = first / first.sum(-1, keepdim=True)
    own = torch.where(shares > 0, -shares * shares.log(), 0.0).sum(-1).transpose(1, 2)
    torch.testing.assert_close(entropy[0].double(), own, rtol=0, atol=16 * EPS * 3)
    assert (entropy[0][:, 0] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_entropies_of_known_shares(dtype):
    weights = torch.tensor([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0], [0.25, 0, 0, 0.25]])
    known = torch.tensor([0.0, 4, 2, 2])
    known[1:] = known[1:].log()
    torch.testing.assert_close(entropies(weights.to(dtype)), known, rtol=4 * EPS, atol=0)
    assert entropies(torch.zeros(1, 4, dtype=dtype)).isnan().all()


@pytest.mark.parametrize("signal", HEAD_SIGNALS)
def test_signals_are_recorded_and_leave_the_text_alone(signal):
    model, ids = build("llama", "eager"), prompts(2, 5)
    options = {"return_dict_in_generate": True, "output_logits": True, "output_hidden_states": True}
    bare = generate(model, ids, 6, **options)
    with record(model, signal=signal) as recording:
        along = generate(model, ids, 6, **options)
    assert recording.signals == {"heads": signal}
    assert recording.series.shape == (2, 6, 9)
    for one, other in zip(bare.logits, along.logits, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(bare.hidden_states, along.hidden_states, strict=True):
        assert all(map(torch.equal, one, other))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_entropy_needs_weights(attention):
    model = build("llama", attention)
    if attention == "sdpa":
        message = (
            r"layers\.0\.self_attn .* gives no attention weights.*attn_implementation=\"eager\""
        )
        with pytest.raises(UnsupportedModelError, match=message):
            find_heads_to_read(model, "entropy")
        model.set_attn_implementation("eager")
    sites = find_heads_to_read(model, "entropy")
    model.set_attn_implementation("sdpa")
    with sites[1].watch(lambda _: None), pytest.raises(UnsupportedModelError, match="no longer"):
        run(model)


def test_an_entropy_is_not_written():
    site = find_heads_to_read(build("llama", "eager"), "entropy")[0]
    for change in (
        lambda: site.write(torch.zeros(2, 3, 3), [0], 0.0),
        lambda: site.edit(lambda v: v),
    ):
        with pytest.raises(ValueError, match="signal: 'entropy' .* cannot be written"):
            change()


@pytest.mark.parametrize("signal", ["projected", "largest"])
def test_heads_are_written_as_by_the_norm(signal):
    model = build("gpt2")
    site, plain = find_sites(model, signal=signal)[1], find_heads(model)[1]
    with site.edit(lambda values: site.write(values, [2], 0.0)):
        written = run(model)
    with plain.edit(lambda values: plain.write(values, [2], 0.0)):
        assert torch.equal(run(model), written)


class Quantised(nn.Linear):
    """Says to be a linear layer and multiplies by something else."""

    def forward(self, x):
        return super().forward(x) * 2


class Adapter(nn.Module):
    """What peft makes of a linear layer."""

    def __init__(self, linear):
        super().__init__()
        self.base_layer, self.merged = linear, False

    def forward(self, x):
        return self.base_layer(x)


def quantised(model, _):
    for layer in model.model.layers:
        layer.self_attn.o_proj = Quantised(48, 48, bias=False)


def adapted(model, _):
    for layer in model.model.layers:
        layer.self_attn.o_proj = Adapter(layer.self_attn.o_proj)


def offloaded(model, folder):
    accelerate.disk_offload(model, folder, execution_device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (quantised, "a Quantised keeps its weight in a form of its own.* without quantization"),
        (adapted, r"o_proj \(Adapter\) adds to what it writes: merge the adapter"),
        (offloaded, "its weight is offloaded: load the model where it fits"),
    ],
)
def test_what_is_written_by_an_unknown_matrix_is_refused(change, message, tmp_path):
    model = build("llama")
    change(model, tmp_path)
    with pytest.raises(UnsupportedModelError, match=message):
        find_heads_to_read(model, "projected")
    assert len(find_heads_to_read(model, "norm")) == 3
    assert len(find_heads_to_read(model, "largest")) == 3


def test_an_adapter_that_adds_nothing_is_no_hindrance():
    model = build("llama")
    adapted(model, None)
    for layer in model.model.layers:
        layer.self_attn.o_proj.merged = True
    assert len(find_heads_to_read(model, "projected")) == 3


def test_weights_that_change_meanwhile_are_noticed():
    model = build("llama")

    def change_while_recording():
        with record(model, signal="projected"):
            generate(model, prompts(2, 5), 3)
            with torch.no_grad():
                model.model.layers[1].self_attn.o_proj.weight.mul_(2)
            generate(model, prompts(2, 5), 3)

    with pytest.raises(RuntimeError, match=r"the weight of model\.layers\.1.* was changed"):
        change_while_recording()
