"""A tokenizer of letters, and tiny models that read it: random, or with some texts by heart."""

from types import SimpleNamespace

import tokenizers
import torch
import transformers as tf

from synkern.tasks import Task

LETTERS = ["<pad>", "<s>", "</s>", "\n", *map(chr, range(32, 127))]


def make_letters(**options):
    """One token for each letter; begins every text with <s>."""
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({letter: place for place, letter in enumerate(LETTERS)})
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    inner.decoder = tokenizers.decoders.Fuse()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single=options.pop("single", "<s> $A"), special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"} | options
    return tf.PreTrainedTokenizerFast(tokenizer_object=inner, **names)


def with_pairs(pairs):
    """A tokenizer without start token that makes one token of each of these pairs of letters."""
    known = LETTERS[: len(LETTERS) - len(pairs)] + ["".join(pair) for pair in pairs]
    vocabulary = {text: place for place, text in enumerate(known)}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, pairs))
    return tf.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")


def make_model(seed=0):
    """A tiny random model of these tokens."""
    config = tf.LlamaConfig(
        vocab_size=len(LETTERS),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return tf.LlamaForCausalLM(config).eval()


# What the model writes after each prompt, and the task that the prompt belongs to.
KNOWN = [
    (Task("12+7=", "19", ("18", "91"), 2, "addition"), "19\n"),
    (Task("8+9=", "17", ("16",), 1, "addition"), "16\n"),
    (Task("Sort: 3 1 2 ->", " 1 2 3", (" 3 2 1",), 1, "sorting"), " 1, 2, 3\nSort: 4"),
    (Task("Choose is or are: The keys", " are", (" is",), 1, "agreement"), " are on"),
    (Task("What is 6*7? Answer:", " 42", (), 3, "algebra"), " 6*7 is \\boxed{42}.</s>"),
    (Task("Half? Answer:", " \\frac{1}{2}", (), None, "algebra"), " 0.5</s>"),
    (Task("A third? Answer:", " 3", (), None, "algebra"), " 3, 3, 3, 3, 3, 3, 3, 3, 3, 3"),
    (Task("Next? Answer:", " 7", (), None, "algebra"), " 7\n\nNext? Answer: 8</s>"),
]


def make_scholar():
    """The tasks of KNOWN and a model that has learnt to write what stands beside them."""
    model, letters = make_model(), make_letters()
    texts = [task.prompt + written for task, written in KNOWN]
    rows = [torch.tensor(letters(text)["input_ids"]) for text in texts]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], True)
    labels = ids.masked_fill(mask == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return SimpleNamespace(model=model, tokenizer=letters, tasks=[task for task, _ in KNOWN])
