"""Answers of a finished study, for another one in which the model reads them instead of writing.

What changes between two such studies is the model alone, and not also the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.study.errors import ArgumentError, StudyError
from synkern.study.folder import StudyFolder
from synkern.study.provenance import digest, prompts_digest
from synkern.study.settings import TRAINED, Settings
from synkern.study.stage import own, step_name


@dataclass(frozen=True, eq=False)
class FinishedTexts:
    """What the trained weights of a study were given and have answered.

    Attributes:
        inputs: prompts as the model was given them.
        tokens: (trials, time) of the answers.
        answers: the same as text.
        template: digest of the chat template that the inputs are in; None without one.
        prompts: digest of what was asked.
    """

    inputs: tuple[str, ...]
    tokens: NDArray[np.int64]
    answers: tuple[str, ...]
    template: str | None
    prompts: str

    @classmethod
    def of(cls, path: str | Path) -> FinishedTexts:
        """Read them from the folder of a study.

        Raises:
            StudyError: there is no study, or it has no recording.
        """
        if not (Path(path) / "study.npz").is_file():
            raise StudyError(
                f"texts_of = {str(path)!r} holds no study; make one with `synkern study --out "
                f"{path}`, or name the folder of another one"
            )
        folder = StudyFolder.open(path)
        recording = folder.stages.get(step_name("recording", TRAINED))
        if recording is None:
            raise StudyError(
                f"texts_of = {str(path)!r}: the study has no answers yet; finish it with "
                f"`synkern study --out {path}` and the arguments it had"
            )
        arrays = own(folder.arrays, TRAINED)
        return cls(
            inputs=tuple(map(str, arrays["inputs"])),
            tokens=arrays["tokens"],
            answers=tuple(map(str, arrays["answers"])),
            template=recording["chat_template"],
            prompts=str(folder.description["prompts"]["sha256"]),
        )

    @property
    def sha256(self) -> str:
        """The digest of inputs and answers."""
        return digest([list(self.inputs), self.tokens.tolist()])

    def check(self, settings: Settings) -> None:
        """Refuse a study of other prompts or of another length.

        Raises:
            ArgumentError: it is one.
        """
        if prompts_digest(settings.asked) != self.prompts:
            raise ArgumentError(
                f"texts_of = {str(settings.texts_of)!r}: that study asked other prompts than this "
                "one does; give the same prompts (and max_prompts) as there"
            )
        if settings.new_tokens != self.tokens.shape[1]:
            raise ArgumentError(
                f"new_tokens = {settings.new_tokens} with texts_of = {str(settings.texts_of)!r}, "
                f"whose answers have {self.tokens.shape[1]}; give new_tokens = "
                f"{self.tokens.shape[1]}"
            )

    def check_tokenizer(self, tokenizer: Any, model: str) -> None:
        """Refuse a tokenizer to which the tokens are other texts, or begin in another way.

        Raises:
            StudyError: it is one.
        """
        if (getattr(tokenizer, "chat_template", None) is None) != (self.template is None):
            has = "none" if self.template is not None else "one"
            raise StudyError(
                f"the tokenizer of model {model!r} has {has}, unlike that of the model that wrote "
                "the answers of texts_of: a chat template, which begins a text in its own way; "
                "take the answers of a model with the same tokenizer"
            )
        try:
            read: Sequence[str] = tokenizer.batch_decode(self.tokens, skip_special_tokens=True)
        except (TypeError, OverflowError, IndexError):
            # Of tokens beyond its vocabulary, by some tokenizers.
            read = ()
        if tuple(read) != self.answers:
            raise StudyError(
                f"the tokenizer of model {model!r} reads the answers of texts_of as other texts "
                "than they are: it is not that of the model that wrote them; take the answers of "
                "a model with the same tokenizer"
            )
