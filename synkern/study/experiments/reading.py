"""Which of a study's texts an experiment lets the model read: some prompts, the first tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synkern.study.errors import ArgumentError
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.options import AnswersOptions

if TYPE_CHECKING:
    from synkern.recording import Responses


def check_texts(study: FinishedStudy, options: AnswersOptions) -> None:
    """Refuse more prompts, or more tokens of an answer, than there are.

    Raises:
        ArgumentError: so it is.
    """
    texts, tokens = study.trained["tokens"].shape
    if options.max_prompts is not None and options.max_prompts > texts:
        raise ArgumentError(
            f"max_prompts = {options.max_prompts}, and the study has {texts} prompts; give no more"
        )
    if options.answer_tokens is not None and options.answer_tokens > tokens:
        raise ArgumentError(
            f"answer_tokens = {options.answer_tokens}, and the study's answers have {tokens}; give "
            "no more"
        )


def places_of(study: FinishedStudy, options: AnswersOptions) -> list[int]:
    """Return which of the prompts are read: spread evenly over them."""
    texts = len(study.trained["tokens"])
    count = texts if options.max_prompts is None else options.max_prompts
    return [place * texts // count for place in range(count)]


def texts_of(study: FinishedStudy, options: AnswersOptions) -> Responses:
    """Return what the model reads; raises as `FinishedStudy.model`."""
    texts = study.texts.some(places_of(study, options))
    tokens = options.answer_tokens
    return texts if tokens is None else texts.shortened(tokens)
