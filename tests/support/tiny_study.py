"""A tiny language model in a folder, and a study of it: for tests of what a study does."""

import tokenizers
import torch
import transformers as tf

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
CHAT = (
    "{% for m in messages %}the {{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %} it{% endif %}"
)


def save_model(folder, *, layers=4, chat_template=None, **config):
    """Write a random Llama of `layers` x 2 heads with a tokenizer of whole words."""
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
        model = tf.LlamaForCausalLM(tf.LlamaConfig(**settings | config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
