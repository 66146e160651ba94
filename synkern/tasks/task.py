"""One task: a prompt, its one right answer, and answers that are wrong."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

SPLITS = ("train", "validation", "test")

# Upper ends of the parts of the hash's range: eight in ten, one in ten, one in ten.
_ENDS = {"train": 8 * 2**64 // 10, "validation": 9 * 2**64 // 10, "test": 2**64}


@dataclass(frozen=True)
class Task:
    """Something to ask a language model, with exactly one right answer.

    Attributes:
        prompt: what the model is given. `prompt + answer` is the whole text; where a space belongs
            between the two it begins the answer, because tokenizers make it part of the next word.
        answer: the right one.
        distractors: wrong answers, to choose between; none where nobody thought of any.
        level: how hard, from 1; `None` where a file does not say.
        category: what kind of task; `CATEGORIES` are those that `generate` makes.

    Raises:
        ValueError: prompt or answer is empty, or two of answer and distractors say the same.
    """

    prompt: str
    answer: str
    distractors: tuple[str, ...] = ()
    level: int | None = None
    category: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no task."""
        for name in ("prompt", "answer"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name}: {getattr(self, name)!r} is empty; give its text")
        said = [choice.strip() for choice in self.choices]
        twice = [choice for choice in said if said.count(choice) > 1]
        if twice:
            raise ValueError(
                f"distractors: {twice[0]!r} is a choice twice in {self.choices!r}; answer and "
                "distractors must all differ, by more than the spaces around them"
            )

    @property
    def text(self) -> str:
        """Prompt and right answer, as one would train on them."""
        return self.prompt + self.answer

    @property
    def choices(self) -> tuple[str, ...]:
        """The right answer, then the distractors."""
        return (self.answer, *self.distractors)

    @property
    def split(self) -> str:
        """The part that this prompt belongs to: "train" (80 %), "validation" or "test" (10 % each).

        By SHA-256 of the prompt: the same for ever, whoever made the task and with which seed. Two
        prompts that ask the same, as "1+2=" and "2+1=", can be in different parts.
        """
        first = hashlib.sha256(self.prompt.encode("utf-8", "surrogatepass")).digest()[:8]
        return next(name for name in SPLITS if int.from_bytes(first, "big") < _ENDS[name])
