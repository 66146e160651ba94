"""Tasks as trainers of trl take them, and the tokens that end an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synkern.tasks import CATEGORIES, Task
from synkern.tasks.tokens import end_tokens, tokenised

_LINE = "\n"


def answers_to_learn(model: Any, tokenizer: Any, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Rows of supervised training: tokens of prompt and answer, and which are to be learnt.

    An answer ends as a model is to end it: of the tasks that `synkern.tasks.generate` makes with
    the line; then with the end token.

    Raises:
        ValueError: the model cannot read a text, or its tokenizer has no end token.
    """
    end = _end(tokenizer)
    texts = [task.text + _LINE * _is_line(task) for task in tasks]
    rows = tokenised(model, tokenizer, [*texts, *(task.prompt for task in tasks)], room=1)
    found = []
    for task, row, prompt in zip(tasks, rows[: len(texts)], rows[len(texts) :], strict=True):
        # Where a tokenizer joins the ends of the two, their common token belongs to the answer.
        known = next(
            (i for i, (a, b) in enumerate(zip(row, prompt, strict=False)) if a != b),
            min(len(row), len(prompt)),
        )
        if known == len(row):
            raise ValueError(
                f"tasks: to the tokenizer, {task.prompt[-60:]!r} with its answer {task.answer!r} "
                "is no longer than without; leave it out"
            )
        learnt = [0] * known + [1] * (len(row) + 1 - known)
        found.append({"input_ids": [*row, end], "completion_mask": learnt})
    return found


def prompts_to_answer(
    model: Any, tokenizer: Any, tasks: Sequence[Task], room: int
) -> list[dict[str, Any]]:
    """Rows of training by reinforcement: prompts, and which task each is of.

    Args:
        model: that answers.
        tokenizer: its tokenizer.
        tasks: what is asked.
        room: the most tokens of an answer.

    Raises:
        ValueError: the model cannot read a prompt with so many tokens after it, or the tokenizer
            ends every text.
    """
    tokenised(model, tokenizer, [task.prompt for task in tasks], room=room)
    if tokenizer(tasks[0].prompt)["input_ids"][-1] == _end(tokenizer):
        raise ValueError(
            "tokenizer: it appends its end token to every text, so that a model would be asked "
            "after the end; set its add_eos_token to False"
        )
    return [{"prompt": task.prompt, "place": place} for place, task in enumerate(tasks)]


def answer_ends(model: Any, tokenizer: Any, tasks: Sequence[Task]) -> list[int]:
    """The tokens that end what a model writes to these tasks, the smallest first.

    Those of the model and its tokenizer; where all tasks are answered on one line, as those that
    `synkern.tasks.generate` makes, also each that has a line break in it.
    """
    _end(tokenizer)
    ends = end_tokens(model, tokenizer)
    if all(map(_is_line, tasks)):
        every = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
        ends |= {token for token, text in enumerate(every) if _LINE in text}
    return sorted(ends)


def _is_line(task: Task) -> bool:
    return task.category in CATEGORIES


def _end(tokenizer: Any) -> int:
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError(
            "tokenizer: it has no end token, so that a model could not learn to end an answer; set "
            "its eos_token"
        )
    return int(end)
