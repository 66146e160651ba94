"""Scoring by likelihood: does a model find the right answer more likely than the wrong ones?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from synkern.models.upstream import inputs_device
from synkern.tasks.scores import Scores
from synkern.tasks.task import Task
from synkern.tasks.tokens import asked, batches, checked_tasks, padded, tokenised


def likelihood_score(
    model: Any, tokenizer: Any, tasks: Sequence[Task], batch_size: int = 16
) -> Scores:
    """Score by the log-likelihood of the right answer against that of each distractor.

    A task is right if its answer is strictly more likely than every distractor, given the prompt:
    log P(answer | prompt), the sum over its tokens. `Scores.per_token()` compares the means.

    Each choice is tokenised together with the prompt, as the model met such texts in training. The
    context is what the tokens of the prompt and of the prompt with any choice begin with in common;
    everything after it counts. Where a token spans the boundary, it counts for every choice, and so
    do tokens of the prompt that a choice makes the tokenizer split in another way: the choices of a
    task are always compared after the same tokens. Texts stand alone, without chat template; the
    tokenizer's start token, if it adds one, is in front, and no end token behind.

    Batches are padded on the right, where a causal model does not look: positions begin at 0, and
    in float32 the size of a batch changes log-likelihoods in the last digits only.

    Args:
        model: a causal language model of transformers, or a module that holds one. It is asked in
            evaluation mode; its modes are as before afterwards.
        tokenizer: its tokenizer.
        tasks: with distractors.
        batch_size: texts at a time; there are as many as choices, but those that differ in the last
            token alone count as one. The logits of a batch, (texts, tokens, vocabulary), are held
            at once.

    Raises:
        UnsupportedModelError: (a ValueError) the model is no causal language model.
        ValueError: a task has no distractors, or a choice that says to the tokenizer the same as
            the beginning of another (its likelihood could not be the smaller one); a text that the
            model cannot read; log-likelihoods that are not finite.

    Warns:
        UserWarning: the tokenizer does not know all that is in the texts.
    """
    tasks = checked_tasks(tasks)
    bare = next((task for task in tasks if not task.distractors), None)
    if bare is not None:
        raise ValueError(
            f"tasks: {bare.prompt[-60:]!r} has no distractors, so that there is nothing to compare "
            "with; add some, or use tasks.exact_match"
        )
    texts = [task.prompt + choice for task in tasks for choice in task.choices]
    with asked(model) as inside:
        rows = tokenised(inside, tokenizer, [*texts, *(task.prompt for task in tasks)])
        prompts = [rows.pop() for _ in tasks][::-1]
        starts: list[int] = []
        for task, prompt in zip(tasks, prompts, strict=True):
            own = rows[len(starts) : len(starts) + len(task.choices)]
            starts += [_context(task, prompt, own)] * len(own)
        sums = _log_likelihoods(inside, rows, starts, batch_size)
    _refuse_not_finite(sums, texts)
    lengths = np.array([len(row) - start for row, start in zip(rows, starts, strict=True)])
    ends = np.cumsum([len(task.choices) for task in tasks])[:-1]
    return Scores.of_likelihoods(
        tasks, tuple(np.split(sums, ends)), tuple(np.split(lengths.astype(np.int64), ends))
    )


def _context(task: Task, prompt: Sequence[int], rows: Sequence[Sequence[int]]) -> int:
    """The number of tokens that a prompt and its choices begin with in common.

    Raises:
        ValueError: there are none, or a choice is the beginning of another.
    """
    common = 0
    for tokens in zip(prompt, *rows, strict=False):
        if len({*tokens}) > 1:
            break
        common += 1
    if common == 0:
        raise ValueError(
            f"tasks: {task.prompt!r} leaves no token before its choices, so that they follow from "
            "nothing; make the prompt longer, or use a tokenizer that adds a start token"
        )
    for one, row in enumerate(rows):
        for other, longer in enumerate(rows):
            if one != other and row == longer[: len(row)]:
                raise ValueError(
                    f"tasks: of {task.prompt[-60:]!r}, the choice {task.choices[one]!r} is, to the "
                    f"tokenizer, how {task.choices[other]!r} begins, and never less likely; give "
                    "each choice an end, such as a full stop"
                )
    return common


def _log_likelihoods(
    model: Any, rows: Sequence[Sequence[int]], starts: Sequence[int], batch_size: int
) -> npt.NDArray[np.float64]:
    """Log-likelihoods of what follows after the first tokens of rows; (rows,).

    The last token of a row is never read, so that rows which differ in it alone are read as one.
    """
    sharing: dict[tuple[int, ...], list[int]] = {}
    for place, row in enumerate(rows):
        sharing.setdefault(tuple(row[:-1]), []).append(place)
    read = [*sharing]
    sums = np.zeros(len(rows))
    for batch in batches(read, batch_size):
        # For each token of an answer: its row in the batch, the position before it, itself, and the
        # place of its text.
        where = [
            (row, position - 1, rows[place][position], place)
            for row, one in enumerate(batch)
            for place in sharing[read[one]]
            for position in range(starts[place], len(rows[place]))
        ]
        ids, mask = padded([read[one] for one in batch], "right", inputs_device(model))
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        row, before, token, place = torch.tensor(where, device=logits.device).T
        # Of the answers alone: of all, the exponentials would take the memory of the logits again.
        chosen = logits[row, before]
        log_p = chosen.to(torch.promote_types(chosen.dtype, torch.float32)).log_softmax(-1)
        each = log_p.gather(-1, token[:, None])[:, 0].cpu().double().numpy()
        np.add.at(sums, place.cpu().numpy(), each)
    return sums


def _refuse_not_finite(sums: npt.NDArray[np.float64], texts: Sequence[str]) -> None:
    wrong = np.flatnonzero(~np.isfinite(sums))
    if len(wrong):
        raise ValueError(
            f"model: the log-likelihood of {texts[wrong[0]][-60:]!r} is {sums[wrong[0]]}, as of "
            f"{len(wrong)} of {len(texts)} texts; its weights are not finite or it overflows in "
            "its dtype: load it in bfloat16 or float32"
        )
