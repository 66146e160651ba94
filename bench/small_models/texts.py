"""Texts of tasks, one after the other, and the tokenizer that is made for them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import tokenizers
from transformers import PreTrainedTokenizerFast

from synkern import tasks
from synkern.tasks import Task

PAD, BEGIN, END = "<pad>", "<bos>", "<eos>"

LEVELS = {1: 0.3, 2: 0.25, 3: 0.2, 4: 0.15, 5: 0.1}
"""Share of tasks of each level: what is easy is learnt first, and carries what is hard."""

ROUND = (
    *("addition", "word_problem", "subtraction", "sorting", "addition", "chain", "subtraction"),
    *("copying", "addition", "brackets", "chain", "subtraction", "agreement"),
)
"""Categories in the order in which they come, again and again. Sums come most often: they are
short, and need the most examples. Were the order left to chance, a model that always writes what is
likeliest would write one task for ever."""

ENDS = 1 / 16
"""Share of tasks after which a text ends; most are followed by another task."""

WHOLE = 1 / 4
"""Share of rows in which prompts are to be learnt, too: in the others, answers are. Most of a
prompt is drawn by chance, and what cannot be learnt drowns what can."""

IGNORED = -100
"""The label of a token that is not to be learnt, to torch and transformers."""

_RARE = 10
_READ = 20_000


def training_texts(
    count: int, seed: int, levels: Sequence[int] = tuple(LEVELS)
) -> list[list[Task]]:
    """Texts of about `count` tasks of the split "train" together, of these levels.

    A text keeps to one level and goes through `ROUND` from some place on, so that what comes next
    follows from what was.
    """
    rng = random.Random(seed)
    found: list[list[Task]] = []
    whole = sum(LEVELS[level] for level in levels)
    for level in levels:
        rounds = max(round(count * LEVELS[level] / whole / len(ROUND)), 1)
        made = {
            category: iter(
                tasks.generate(
                    rounds * ROUND.count(category),
                    seed=seed,
                    categories=category,
                    levels=level,
                    split="train",
                )
            )
            for category in tasks.CATEGORIES
        }
        found.append([])
        for category in ROUND * rounds:
            found[-1].append(next(made[category]))
            if rng.random() < ENDS:
                found.append([])
    rng.shuffle(found)
    return [text for text in found if text]


def tokenizer(given: Sequence[Sequence[Task]], context: int) -> PreTrainedTokenizerFast:
    """Byte pairs within words: a token for each word of the tasks, but each digit stands alone.

    Any other text is read too, down to its bytes, so that none is unknown.

    Args:
        given: texts to take words from.
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
    every = (task.text for text in given for task in text)
    inner.train_from_iterator(itertools.islice(every, _READ), trainer)
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
    given: Sequence[Sequence[Task]], tokenizer: PreTrainedTokenizerFast, length: int, seed: int
) -> list[dict[str, list[int]]]:
    """Token ids and labels, `length` a row: tasks on lines of their own, the last one cut.

    Where a text is longer than a row, it goes on in the next one with its next task; where it is
    shorter, another follows. Labels are the ids, but of most rows those of prompts are `IGNORED`.
    """
    rng = random.Random(seed)
    flat = [task for text in given for task in text]
    prompts, lines = (
        tokenizer(said, add_special_tokens=False)["input_ids"]
        for said in ([task.prompt for task in flat], [task.text for task in flat])
    )
    (newline,) = tokenizer("\n", add_special_tokens=False)["input_ids"]
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    closes = [close for text in given for close in [[newline]] * (len(text) - 1) + [[end, begin]]]
    full: list[dict[str, list[int]]] = []
    ids, labels, whole = [begin], [begin], True
    for prompt, line, close in zip(prompts, lines, closes, strict=True):
        ids += line + close
        answer = line[len(prompt) :] + close
        labels += line + close if whole else [IGNORED] * len(prompt) + answer
        if len(ids) >= length:
            full.append({"input_ids": ids[:length], "labels": labels[:length]})
            ids, labels, whole = [begin], [begin], rng.random() < WHOLE
    return full
