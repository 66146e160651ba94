"""Which of a study's texts an experiment lets the model read: some prompts, the first tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synkern.study.errors import ArgumentError
from synkern.study.experiments.finished import FinishedStudy

if TYPE_CHECKING:
    from synkern.recording import Responses


def check_texts(study: FinishedStudy, max_prompts: int | None, answer_tokens: int | None) -> None:
    """Refuse more prompts, or more tokens of an answer, than there are.

    Raises:
        ArgumentError: so it is.
    """
    texts, tokens = study.trained["tokens"].shape
    if max_prompts is not None and max_prompts > texts:
        raise ArgumentError(
            f"max_prompts = {max_prompts}, and the study has {texts} prompts; give no more"
        )
    if answer_tokens is not None and answer_tokens > tokens:
        raise ArgumentError(
            f"answer_tokens = {answer_tokens}, and the study's answers have {tokens}; give no more"
        )


def places_of(study: FinishedStudy, max_prompts: int | None) -> list[int]:
    """Return which of the prompts are read: spread evenly over them, all if it is None."""
    texts = len(study.trained["tokens"])
    count = texts if max_prompts is None else max_prompts
    return [place * texts // count for place in range(count)]


def texts_of(study: FinishedStudy, max_prompts: int | None, answer_tokens: int | None) -> Responses:
    """Return what the model reads; raises as `FinishedStudy.model`."""
    texts = study.texts.some(places_of(study, max_prompts))
    return texts if answer_tokens is None else texts.shortened(answer_tokens)
