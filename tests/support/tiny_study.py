"""A tiny language model in a folder, and a study of it: for tests of what a study does."""

import numpy as np
import tokenizers
import torch
import transformers as tf

from synkern.study import run_study
from synkern.study.models import Models
from synkern.study.settings import Settings
from synkern.study.stage import Sources, step_name
from synkern.study.stages.analysis import Analysis
from synkern.study.words import Words

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree"]
WORDS += ["and", "why", "how", "what", "is", "it", "blue", "red", "big", "small"]
PROMPTS = ["the cat sat", "why is it blue", "a big dog ran under the tree", "what", "how and why"]
ARGUMENTS = {
    "prompts": PROMPTS,
    "new_tokens": 36,
    "bootstrap": 100,
    "batch_size": 3,
    "device": "cpu",
    "progress": False,
}
RECORDINGS = tuple(step_name("recording", weights) for weights in ("trained", "random"))
ANALYSES = tuple(step_name("analysis", weights) for weights in ("trained", "random"))
NULLS = tuple(step_name("null", weights) for weights in ("trained", "random"))
ALL = RECORDINGS + ANALYSES
HEADS = Words("heads", "head", "heads", True, "norm", "L2 norm of each head's output")
CHAT = (
    "{% for m in messages %}the {{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %} it{% endif %}"
)


def save_model(folder, *, layers=4, chat_template=None, family="Llama", **config):
    """Write a random model, of `layers` x 2 heads, with a tokenizer of whole words."""
    specials = ["<pad>", "<s>", "</s>", "<unk>"]
    vocabulary = {word: i for i, word in enumerate([*specials, *WORDS])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = tf.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side="left",
    )
    tokenizer.chat_template = chat_template
    settings = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,  # the answers of a model with smaller weights hardly vary
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        made = getattr(tf, f"{family}Config")(**settings | config)
        model = getattr(tf, f"{family}ForCausalLM")(made)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def again(model, out, **changes):
    """A study of the model in a folder where one may have been before."""
    return run_study(model, out=out, **ARGUMENTS | changes)


def settings_of(**changes):
    """Settings of a study without a model, for what asks for no more."""
    chosen = {"model": "m", "out": "", "new_tokens": 60, "control": False, "backend": "numpy"}
    chosen |= {"device": "cpu", "batch_size": 1, "bootstrap": 100, "progress": False, "asked": ()}
    chosen |= {"nodes": "heads", "signal": "norm", "kind": "gaussian", "pairs": "kept"}
    return Settings(**chosen | changes)


def analysed(series, layer, **changes):
    """Arrays and facts of an analysis of a series, (trials, time, nodes), by itself."""
    recorded = {"trained_series": series, "trained_layer": np.asarray(layer)}
    settings = settings_of(**changes)
    return Analysis().run(Sources(settings, Models(settings), recorded), "trained")
