"""Which calls of a model are a prompt, which one more token, and which cannot be told."""

import pytest
import torch
import transformers as tf
from torch import nn

from support.tiny_models import build, cache_argument, cache_of, generate, go_on, prompts
from synkern.recording.recorder import record
from synkern.recording.recording import RecordingError

LLAMA = cache_argument(tf.LlamaForCausalLM)


@pytest.fixture(autouse=True)
def _no_gradient():
    with torch.no_grad():
        yield


class RenamedCache(tf.LlamaForCausalLM):
    """A model of a version to come, which calls its cache otherwise."""

    def forward(self, input_ids=None, attention_mask=None, memory=None, **kwargs):
        given = {} if memory is None else {LLAMA: memory}
        return super().forward(input_ids, attention_mask, **given, **kwargs)


def test_the_name_of_the_cache_does_not_matter(model):
    ids = prompts(2, 8)
    with record(model) as usual:
        cache = cache_of(model(ids[:, :5]))
        for t in (5, 6, 7):
            cache = go_on(model, ids[:, t : t + 1], cache)
    model.__class__ = RenamedCache
    with record(model) as recording:
        cache = cache_of(model(ids[:, :5]))
        for t in (5, 6):
            cache = cache_of(model(ids[:, t : t + 1], memory=cache))
        model(ids[:, 7:], None, cache)  # by position
    assert recording.series.shape == (2, 4, 9)
    assert torch.equal(recording.series, usual.series)


class NestedCache(tf.LlamaForCausalLM):
    """A model that takes its cache inside another argument."""

    def forward(self, input_ids=None, state=None, **kwargs):
        given = {} if state is None else {LLAMA: state["of"][0]}
        return super().forward(input_ids, **given, **kwargs)


def test_a_cache_inside_an_argument_is_found(model):
    model.__class__ = NestedCache
    ids = prompts(2, 7)
    with record(model) as recording:
        cache = cache_of(model(ids[:, :5]))
        for t in (5, 6):
            model(ids[:, t : t + 1], state={"of": [cache]})
    assert recording.series.shape == (2, 3, 9)


class OwnCache:
    """A cache of no kind that transformers knows; it says how many tokens it holds."""

    def __init__(self, cache):
        self.cache = cache

    def get_seq_length(self):
        return self.cache.get_seq_length()


class DumbCache:
    """A cache that does not say what it holds."""

    def __init__(self, cache):
        self.cache = cache


class ForeignCache(tf.LlamaForCausalLM):
    """A model with its own kind of cache, in and out."""

    kind = OwnCache

    def forward(self, input_ids=None, attention_mask=None, memory=None, **kwargs):
        given = {} if memory is None else {LLAMA: memory.cache}
        out = super().forward(input_ids, attention_mask, **given, **kwargs)
        return {"logits": out.logits, "memory": self.kind(out.get(LLAMA))}


class DumbModel(ForeignCache):
    kind = DumbCache


class HiddenCache(tf.LlamaForCausalLM):
    """A model that keeps its cache to itself."""

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        kept = self.__dict__.get("kept")
        given = {} if kept is None else {LLAMA: kept}
        out = super().forward(input_ids, attention_mask, **given, **kwargs)
        self.__dict__["kept"] = out.get(LLAMA)
        return out


class TupleCache(DumbModel):
    """As models had it before there were caches: keys and values, layer by layer."""

    def forward(self, input_ids=None, attention_mask=None, memory=None, **kwargs):
        cache = tf.DynamicCache()
        for layer, (keys, values) in enumerate(memory or ()):
            cache.update(keys, values, layer)
        given = {LLAMA: cache}
        out = tf.LlamaForCausalLM.forward(self, input_ids, attention_mask, **given, **kwargs)
        return {"logits": out.logits, "memory": [(k.keys, k.values) for k in cache.layers]}


def own_loop(model, ids, chunk=1):
    out = model(ids[:, :4])
    for t in range(4, ids.shape[1], chunk):
        out = model(ids[:, t : t + chunk], memory=out["memory"])


def forgetful(model, first, chunk):
    """A loop that passes no cache."""
    ids = prompts(2, 8)
    model(ids[:, :first])
    for t in range(first, 8, chunk):
        model(ids[:, t : t + chunk])


def refused(model, loop, *arguments, match):
    """Nothing is recorded of a loop, and it is said why."""
    with pytest.raises(RecordingError, match=match), record(model):
        loop(model, *arguments)


def test_a_cache_that_counts_is_one(model):
    model.__class__ = ForeignCache
    with record(model) as recording:
        own_loop(model, prompts(2, 8))
    assert recording.series.shape == (2, 5, 9)


@pytest.mark.parametrize("chunk", [1, 2])
@pytest.mark.parametrize(("kind", "shown"), [(DumbModel, "DumbCache"), (TupleCache, "list")])
def test_a_cache_of_unknown_kind_is_refused(model, kind, shown, chunk):
    model.__class__ = kind
    message = rf"no cache that synkern recognises.*memory \({shown}\)"
    refused(model, own_loop, prompts(2, 8), chunk, match=message)


@pytest.mark.parametrize("chunk", [1, 2])
def test_a_cache_inside_the_model_is_refused(model, chunk):
    model.__class__ = HiddenCache
    refused(model, forgetful, 4, chunk, match="cache holds|without a cache|right after")


def test_a_cache_that_the_model_does_not_read_is_refused(model):
    """Under another name **kwargs swallows it: each token would be read alone."""
    ids = prompts(2, 6)
    wrong = {"cache", "past_key_values", "memory"} - {cache_argument(model)}
    unread = "memory" if len(wrong) == 2 else wrong.pop()

    def loop(model):
        cache = cache_of(model(ids[:, :5]))
        model(ids[:, 5:], **{unread: cache})

    refused(model, loop, match="the model did not read it")


def test_a_cache_that_cannot_count_is_refused(model):
    class Broken(tf.DynamicCache):
        def get_seq_length(self, layer_idx=0):
            raise ValueError("only linear layers")

    given = {cache_argument(model): Broken()}
    with pytest.raises(RecordingError, match="Broken cannot say how many.*linear"), record(model):
        model(prompts(1, 4), **given)


def test_two_caches_at_once_are_refused(model):
    ids, caches = prompts(1, 5), [tf.DynamicCache(), tf.DynamicCache()]
    given = {cache_argument(model): caches[0], "other": caches[1]}
    with pytest.raises(RecordingError, match="2 different caches"), record(model):
        model(ids, **given)


@pytest.mark.parametrize("rows", [1, 3])
def test_prompts_of_one_token_in_turn(model, rows):
    ids = prompts(rows, 4, seed=1), prompts(rows, 4, seed=2)
    with record(model) as recording:
        for each in ids:
            cache = cache_of(model(each[:, :1]))
            for t in (1, 2, 3):
                cache = go_on(model, each[:, t : t + 1], cache)
    assert recording.series.shape == (2 * rows, 4, 9)


def test_prompts_of_one_token_and_one_step(model):
    """With a cache of its own each is a prompt without doubt, as in generate."""
    with record(model) as recording:
        for seed in range(3):
            model(prompts(2, 1, seed), **{cache_argument(model): tf.DynamicCache()})
        for seed in range(3):
            generate(model, prompts(2, 1, seed), 1)
        model(prompts(2, 1))
    assert recording.series.shape == (14, 1, 9)


@pytest.mark.parametrize("first", [1, 5])
def test_a_loop_that_forgets_its_cache_is_refused(model, first):
    message = "one token per text and no cache.*right after a prompt"
    refused(model, forgetful, first, 1, match=message)


@pytest.mark.parametrize("length", [1, 2])
def test_a_mask_of_more_tokens_than_are_fed_is_refused(model, length):
    ids = prompts(2, 6)

    def loop(model):
        model(ids[:, :5], attention_mask=torch.ones(2, 5))
        model(ids[:, :length], attention_mask=torch.ones(2, 5 + length))

    message = f"{length} token.*an attention mask for {5 + length} and no cache"
    refused(model, loop, match=message)


@pytest.mark.parametrize("length", [1, 2])
def test_positions_that_do_not_begin_at_zero_are_refused(model, length):
    ids = prompts(2, 7)

    def loop(model):
        model(ids[:, :5])
        positions = torch.arange(5, 5 + length).expand(2, -1)
        model(ids[:, 5 : 5 + length], position_ids=positions)

    refused(model, loop, match="positions that begin at 5")


def test_positions_of_padding_do_not_count(model):
    """Padding may have any position; a text on the right of it begins at 0."""
    ids, mask = prompts(2, 5), torch.ones(2, 5, dtype=torch.long)
    ids[0, :2], mask[0, :2] = 0, 0
    positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
    with record(model) as recording:
        model(ids, attention_mask=mask, position_ids=positions)
    assert recording.series.shape == (2, 1, 9)


def test_positions_that_begin_again_within_a_row_are_refused(model):
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]])
    with pytest.raises(RecordingError, match="packed into one row"), record(model):
        model(prompts(1, 6), position_ids=positions)


def test_a_static_cache_of_ones_own(model):
    ids = prompts(2, 8)
    with record(model) as usual:
        cache = cache_of(model(ids[:, :5]))
        for t in (5, 6, 7):
            cache = go_on(model, ids[:, t : t + 1], cache)
    static = tf.StaticCache(model.config, max_cache_len=16)
    with record(model) as recording:
        go_on(model, ids[:, :5], static)
        for t in (5, 6, 7):
            go_on(model, ids[:, t : t + 1], static)
    torch.testing.assert_close(recording.series, usual.series, rtol=1e-5, atol=1e-6)


def test_outputs_as_tuples(model):
    ids = prompts(2, 7)
    with record(model) as recording:
        _, cache = model(ids[:, :5], return_dict=False)
        for t in (5, 6):
            _, cache = model(ids[:, t : t + 1], return_dict=False, **{cache_argument(model): cache})
    assert recording.series.shape == (2, 3, 9)


# Longer than the context


@pytest.mark.parametrize("padding", [0, 3])
def test_a_text_longer_than_the_context_is_told(model, padding):
    ids = torch.nn.functional.pad(prompts(1, 120), (padding, 0))
    mask = torch.ones_like(ids)
    mask[:, :padding] = 0
    with record(model):  # 128 tokens read, the last one generated is not
        generate(model, ids, 9, attention_mask=mask)
    message = "a text of 129 tokens is longer than the 128 that LlamaForCausalLM was made for"
    with pytest.warns(UserWarning, match=message) as caught, record(model) as recording:
        generate(model, ids, 10, attention_mask=mask)
    assert caught[0].filename == __file__
    assert recording.series.shape == (1, 10, 9)


@pytest.mark.parametrize("name", ["gpt2", "opt"])
def test_a_text_longer_than_a_table_of_positions_is_refused(name):
    model = build("gpt2")
    if name == "opt":
        model.transformer.wpe = nn.Embedding(130, 35)  # two rows more, as in OPT
    message = "a text of 129 tokens is longer than the 128 that GPT2LMHeadModel was made for"
    with pytest.raises(RecordingError, match=message), record(model):
        generate(model, prompts(1, 120), 10)
    with record(model) as recording:
        generate(model, prompts(1, 120), 9)
    assert recording.series.shape == (1, 9, 10)
