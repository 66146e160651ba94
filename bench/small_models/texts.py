"""Texts of tasks, one after the other, and the tokenizer that is made for them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import tokenizers
from transformers import PreTrainedTokenizerFast

from synkern import tasks
from synkern.tasks import Task

PAD, BEGIN, END = "<pad>", "<bos>", "<eos>"

LEVELS = {1: 0.3, 2: 0.25, 3: 0.2, 4: 0.15, 5: 0.1}
"""Share of tasks of each level: what is easy is learnt first, and carries what is hard."""

CATEGORIES = dict.fromkeys(tasks.CATEGORIES, 1) | {"addition": 3, "subtraction": 3, "chain": 2}
"""How often tasks of each category come: sums are short, and need the most examples."""

ENDS = 1 / 16
"""Share of tasks after which a text ends; most are followed by another task."""

WHOLE = 1 / 4
"""Share of rows in which prompts are to be learnt, too: in the others, answers are. Most of a
prompt is drawn by chance, and what cannot be learnt drowns what can."""

IGNORED = -100
"""The label of a token that is not to be learnt, to torch and transformers."""

_RARE = 10
_READ = 20_000


def training_tasks(count: int, seed: int) -> list[Task]:
    """About `count` tasks of the split "train", as often as `LEVELS` and `CATEGORIES` say."""
    found: list[Task] = []
    for level, share in LEVELS.items():
        for category, weight in CATEGORIES.items():
            cell = round(count * share * weight / sum(CATEGORIES.values()))
            found += tasks.generate(
                max(cell, 1), seed=seed, categories=category, levels=level, split="train"
            )
    random.Random(seed).shuffle(found)
    return found


def tokenizer(given: Sequence[Task], context: int) -> PreTrainedTokenizerFast:
    """Byte pairs within words: a token for each word of the tasks, but each digit stands alone.

    Any other text is read too, down to its bytes, so that none is unknown.

    Args:
        given: tasks to take words from.
        context: tokens that a model can take, for the tokenizer's own warning.
    """
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    inner.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        min_frequency=_RARE,
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator((task.text for task in given[:_READ]), trainer)
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, inner.token_to_id(BEGIN))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        padding_side="left",
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def rows(
    given: Iterable[Task], tokenizer: PreTrainedTokenizerFast, length: int, seed: int
) -> list[dict[str, list[int]]]:
    """Token ids and labels, `length` a row: a text begins each row, its last task is cut.

    Tasks of a text stand on lines of their own. A row can hold several texts. Labels are the ids,
    but of most rows those of prompts are `IGNORED`.
    """
    rng = random.Random(seed)
    given = list(given)
    prompts, lines = (
        tokenizer(said, add_special_tokens=False)["input_ids"]
        for said in ([task.prompt for task in given], [task.text for task in given])
    )
    (newline,) = tokenizer("\n", add_special_tokens=False)["input_ids"]
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    full: list[dict[str, list[int]]] = []
    ids, labels, whole = [begin], [begin], True
    for prompt, line in zip(prompts, lines, strict=True):
        close = [end, begin] if rng.random() < ENDS else [newline]
        ids += line + close
        answer = line[len(prompt) :] + close
        labels += line + close if whole else [IGNORED] * len(prompt) + answer
        if len(ids) >= length:
            full.append({"input_ids": ids[:length], "labels": labels[:length]})
            ids, labels, whole = [begin], [begin], rng.random() < WHOLE
    return full
