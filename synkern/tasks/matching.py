"""Scoring by exact match: does a model write the right answer?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synkern.models.greedy import greedy
from synkern.models.upstream import import_llm, inputs_device
from synkern.tasks.answers import found_answer, has_ended, same_answer
from synkern.tasks.scores import Scores
from synkern.tasks.task import Task
from synkern.tasks.tokens import asked, batches, checked_tasks, end_tokens, padded, tokenised


def exact_match(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[Task],
    max_new_tokens: int = 64,
    batch_size: int = 16,
    stop: Sequence[str] = (),
) -> Scores:
    r"""Score by what a model writes after each prompt, greedily, whatever its own settings are.

    Of the tasks that `generate` makes, the answer is the last number of the first line, all of that
    line (sorting, copying, brackets), or the first word (agreement). Of others it is what is in the
    last \boxed{}, else the last number where the right answer is a number, else all of the text.
    Answers that differ only in how they are written are the same, see `same_answer`.

    A text ends at an end token, where the model starts what is in `stop`, and, of the tasks that
    `generate` makes, once its answer is complete. One that has not ended after `max_new_tokens` is
    truncated: it is wrong, and counted in `Scores.truncated`.

    Prompts are given as they are, without chat template, padded on the left in batches.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        tokenizer: its tokenizer.
        tasks: of any category.
        max_new_tokens: the most tokens of one text; GSM8K and MATH need some 512.
        batch_size: prompts at a time.
        stop: strings that end a text and are no part of it, such as "\n\n" or "Question:" of a
            model that goes on with the next question.

    Raises:
        UnsupportedModelError: (a ValueError) the model is no causal language model.
        ValueError: a number is not positive, `stop` has an empty string, or the model cannot read
            a prompt.

    Warns:
        UserWarning: the tokenizer does not know all that is in the prompts.
    """
    tasks = checked_tasks(tasks)
    if not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise ValueError(
            f"max_new_tokens must be a whole number, 1 or more; got {max_new_tokens!r}"
        )
    if isinstance(stop, str) or not all(stop):
        raise ValueError(f'stop must be strings that are not empty, as ("\\n\\n",); got {stop!r}')
    texts, ended = [""] * len(tasks), np.zeros(len(tasks), dtype=bool)
    with asked(model) as inside:
        prompts = [task.prompt for task in tasks]
        rows = tokenised(inside, tokenizer, prompts, room=max_new_tokens)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        with greedy(inside, max_new_tokens, pad):
            for places in batches(rows, batch_size):
                ids, mask = padded([rows[place] for place in places], "left", inputs_device(inside))
                written = _Written(inside, tokenizer, [tasks[each] for each in places], ids, stop)
                criteria = import_llm("transformers").StoppingCriteriaList([written])
                inside.generate(input_ids=ids, attention_mask=mask, stopping_criteria=criteria)
                for place, text, complete in zip(places, written.texts, written.ended, strict=True):
                    texts[place], ended[place] = text, complete
    answers = [found_answer(text, task) for text, task in zip(texts, tasks, strict=True)]
    right = [
        answer is not None and same_answer(answer, task.answer, task)
        for answer, task in zip(answers, tasks, strict=True)
    ]
    return Scores(
        tasks,
        np.array(right) & ended,
        "exact match",
        texts=tuple(texts),
        answers=tuple(answers),
        truncated=~ended,
    )


class _Written:
    """A stopping criterion that reads along: the text of each row, and whether it has ended."""

    def __init__(
        self, model: Any, tokenizer: Any, tasks: Sequence[Task], ids: Tensor, stop: Sequence[str]
    ) -> None:
        self.texts = [""] * len(tasks)
        self.ended = [False] * len(tasks)
        self._tasks, self._stop, self._tokenizer = tasks, stop, tokenizer
        self._prompt = ids.shape[1]
        self._ends = end_tokens(model, tokenizer)

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        for row, tokens in enumerate(input_ids[:, self._prompt :].tolist()):
            if not self.ended[row]:  # else what follows is padding
                self._read(row, tokens)
        return torch.tensor(self.ended, device=input_ids.device)

    def _read(self, row: int, tokens: list[int]) -> None:
        over = tokens[-1] in self._ends
        text = self._tokenizer.decode(tokens[:-1] if over else tokens, skip_special_tokens=True)
        stops = [place for string in self._stop if (place := text.find(string)) >= 0]
        self.texts[row] = text[: min(stops)] if stops else text
        self.ended[row] = over or bool(stops) or has_ended(text, self._tasks[row])
