"""Decoder layers: what each adds to the stream, found, read and skipped; refusals."""

import pytest
import torch
import transformers as tf
from torch import nn

from support.tiny_models import ARCHITECTURES, COMMON, DECODER, build, initialise, prompts
from synkern.models.blocks import find_mlps
from synkern.models.language_model import UnsupportedModelError
from synkern.models.layers import find_layers
from synkern.models.nodes import nodes_of

IDS = prompts(2, 7)
EPS = torch.finfo(torch.float32).eps


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def streams(layer):
    """Input and output of a layer in every pass, and the handle."""
    kept = []

    def ran(_, args, kwargs, output):
        given = args[0] if args else kwargs["hidden_states"]
        kept.append((given.clone(), (output[0] if isinstance(output, tuple) else output).clone()))

    return kept, layer.register_forward_hook(ran, with_kwargs=True)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_layer_is_read_and_skipped(name):
    model = build(name)
    _, layers, _, _, last = ARCHITECTURES[name]
    sites = find_layers(model)
    assert [node.label for node in nodes_of(sites)] == [f"L{i}" for i in range(layers)]
    assert last.startswith(f"{sites[-1].name}.")
    site, values = sites[1], []
    kept, handle = streams(site.module)
    with handle, site.watch(values.append):
        intact = logits(model)
    given, returned = kept[0]
    update = returned.double() - given.double()
    # One rounding for the difference, `width` for the sum of squares.
    read = site.read(values[0]).double()
    torch.testing.assert_close(read, update.norm(dim=-1, keepdim=True), rtol=49 * EPS, atol=0)
    with site.edit(lambda value: site.write(value, [0], 0.0)):
        written = logits(model)
    with site.edit(lambda value: site.write(value, [0], lambda own: own)):
        assert torch.equal(logits(model), intact)
    with site.edit(lambda value: value):
        assert torch.equal(logits(model), intact)
    forward = site.module.forward

    def skipped(stream, *args, **kwargs):
        output = forward(stream, *args, **kwargs)
        return (stream, *output[1:]) if isinstance(output, tuple) else stream

    site.module.forward = skipped
    assert torch.equal(logits(model), written)
    assert (written - intact).abs().max() > 1e-3


def test_updates_add_up_to_the_stream():
    model, updates = build("llama"), []
    first, last = streams(model.model.layers[0]), streams(model.model.layers[2])
    handles = [site.watch(updates.append) for site in find_layers(model)]
    logits(model)
    for handle in [first[1], last[1], *handles]:
        handle.remove()
    embedded, end = first[0][0][0], last[0][0][1]
    # Each of three differences and sums is rounded once, next to numbers of this size.
    size = torch.stack([embedded, *updates, end]).abs().max()
    torch.testing.assert_close(embedded + sum(updates), end, rtol=0, atol=6 * EPS * size.item())


def test_texts_are_skipped_by_themselves():
    """Zeros in one text leave the others as they were, bit for bit."""
    model = build("llama")
    site, intact = find_layers(model)[1], logits(model)
    only = torch.tensor([True, False])[:, None, None, None]
    with site.edit(lambda v: site.write(v, [0], lambda own: own.masked_fill(only, 0))):
        written = logits(model)
    assert torch.equal(written[1], intact[1])
    assert not torch.equal(written[0], intact[0])


def test_the_update_of_a_bfloat16_layer_is_not_rounded_to_bfloat16():
    model = build("llama", dtype=torch.bfloat16)
    site, values = find_layers(model)[1], []
    kept, handle = streams(site.module)
    with handle, site.watch(values.append):
        logits(model)
    given, returned = kept[0]
    assert torch.equal(values[0], returned.float() - given.float())
    with site.edit(lambda value: site.write(value, [0], 0.0)):
        assert logits(model).dtype == torch.bfloat16


def test_attention_that_synkern_cannot_read_is_no_hindrance():
    config = tf.BloomConfig(**COMMON, hidden_size=48, n_layer=2, n_head=4)
    model = initialise(tf.BloomForCausalLM, config, attention="eager")
    assert [site.name for site in find_layers(model)] == ["transformer.h.0", "transformer.h.1"]


class Around(nn.Module):
    """A layer that is called otherwise than its model calls it, before any hook sees it."""

    def __init__(self, layer, call):
        super().__init__()
        self.layer, self.call = layer, call

    def __call__(self, stream, *args, **kwargs):
        args, kwargs = self.call(stream, args, kwargs)
        return super().__call__(*args, **kwargs)

    def forward(self, *args, **kwargs):
        return self.layer(*args, **kwargs)


def around(model, index, call):
    model.model.layers[index] = Around(model.model.layers[index], call)


def test_a_stream_given_by_name_is_found():
    model = build("llama")
    plain, intact = find_layers(model), logits(model)
    with plain[1].edit(lambda value: plain[1].write(value, [0], 0.0)):
        skipped = logits(model)
    for index in range(3):
        around(model, index, lambda x, args, kwargs: (args, kwargs | {"hidden_states": x}))
    assert torch.equal(logits(model), intact)
    site = find_layers(model)[1]
    assert site.entry == "hidden_states"
    with site.edit(lambda value: site.write(value, [0], 0.0)):
        assert torch.equal(logits(model), skipped)


def looped(model):
    layer = model.model.layers[1]
    model.model.layers[2] = layer


def between(model):
    around(model, 1, lambda x, args, kwargs: ((x * 2, *args), kwargs))


def in_place(model):
    layer = model.model.layers[1]
    usual = layer.forward
    layer.forward = lambda x, *args, **kwargs: x.add_(usual(x, *args, **kwargs))


def broken(model):
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0] = torch.nan


def ahead(model):
    layer = model.model.layers[1]
    usual = layer.forward
    layer.forward = lambda x, *args, **kwargs: usual(x, *args, **kwargs) + x.mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (looped, r"runs model\.layers\.1 \(LlamaDecoderLayer\) 2 times in one pass"),
        (between, r"layers\.1 \(Around\) is not given what the layer before it returned"),
        (in_place, r"layers\.1 \(LlamaDecoderLayer\) changes what it is given in place"),
        (broken, r"layers\.1 \(LlamaDecoderLayer\) returns NaN or infinity"),
        (ahead, r"LlamaForCausalLM looks ahead: in model\.layers\.1"),
    ],
)
def test_layers_that_cannot_be_read_are_refused(change, message):
    model = build("llama")
    change(model)
    with pytest.raises(UnsupportedModelError, match=message):
        find_layers(model)


def test_several_streams_are_refused():
    """Four of them, beside each other in an axis of their own."""

    class Wide(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, streams, **kwargs):
            return streams + self.layer(streams.mean(2), **kwargs)[:, :, None]

    model = build("llama")
    inner = model.model
    inner.layers = nn.ModuleList(Wide(layer) for layer in inner.layers)
    around(model, 0, lambda x, args, kwargs: ((x[:, :, None].repeat(1, 1, 4, 1),), kwargs))
    inner.layers[0].forward, inner.norm = inner.layers[0].layer.forward, Mean(inner.norm)
    with pytest.raises(UnsupportedModelError, match=r"hands a tensor \(2, 3, 4, 48\) on"):
        find_layers(model)


def test_one_of_several_lists_is_that_of_the_layers():
    """Gemma 3n has linear layers in lists beside its layers, which hand four streams on."""
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    config = tf.Gemma3nTextConfig(
        **DECODER,
        head_dim=16,
        layer_types=kinds,
        num_kv_shared_layers=0,
        sliding_window=8,
        vocab_size_per_layer_input=100,
        hidden_size_per_layer_input=8,
    )
    model = initialise(tf.Gemma3nForCausalLM, config)
    with pytest.raises(UnsupportedModelError, match=r"hands a tensor \(4, 2, 3, 48\) on"):
        find_layers(model)
    with pytest.raises(UnsupportedModelError, match=r"2 MLP blocks .*layers\.0\.mlp .*0\.laurel"):
        find_mlps(model)


class Mean(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, streams):
        return self.norm(streams.mean(2))


def test_a_model_without_a_list_of_layers_is_refused():
    """XLM keeps lists of attentions, norms and blocks, and no layers."""
    config = tf.XLMConfig(n_words=100, emb_dim=48, n_layers=2, n_heads=4, causal=True)
    model = initialise(tf.XLMWithLMHeadModel, config, attention="eager")
    with pytest.raises(UnsupportedModelError, match="XLMWithLMHeadModel has no list of decoder"):
        find_layers(model)
