"""How nodes are trained: the method and its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

METHODS = ("sft", "grpo")
"""Supervised fine-tuning on right answers, and reinforcement learning from answers of its own."""

SFT, GRPO = METHODS

LEARNING_RATES: Mapping[str, float] = {SFT: 2e-5, GRPO: 1e-6}
"""The highest of a run, unless another is asked for."""

MEASURED: Mapping[str, str] = {SFT: "loss", GRPO: "reward"}
"""What is noted while it trains: nats a token, or the mean of answers drawn since the last note."""

EPSILON = 0.2
"""How far the probability of an answer may move before its gradient is clipped, of GRPO."""

FORMAT = 0.1
"""Reward of an answer that ends and can be read, whatever it says; a right one brings 1 beside."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method and its numbers; AdamW, a warm-up and a cosine to 0.

    Attributes:
        name: one of `METHODS`. "sft": cross-entropy of the tokens of right answers. "grpo": reward
            of answers that the model draws, less its mean over those to one problem, divided by
            their standard deviation.
        steps: of the optimizer.
        texts: in a step: problems with answers, or answers drawn, all to one problem together.
        learning_rate: the highest; None: that of `LEARNING_RATES`.
        warmup: share of the steps in which it rises from 0.
        weight_decay: of what trains.
        clip: the largest norm of the gradient.
        checks: how often the validation tasks are asked, the last time after the last step.
        max_new_tokens: the most tokens of an answer.
        stop: strings that end one, as in `synkern.tasks.exact_match`.
        generations: answers drawn to one problem ("grpo").
        temperature: that they are drawn at ("grpo").
        kl: weight of the divergence from the model as it was ("grpo"); 0: none, and no copy of it.

    Raises:
        ValueError: a number that cannot be used.
    """

    name: str = SFT
    steps: int = 300
    texts: int = 16
    learning_rate: float | None = None
    warmup: float = 0.03
    weight_decay: float = 0.0
    clip: float = 1.0
    checks: int = 10
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    generations: int = 8
    temperature: float = 1.0
    kl: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no trainer can do."""
        if self.name not in METHODS:
            raise ValueError(f"method: {self.name!r}; choose from {', '.join(METHODS)}")
        for name in ("steps", "texts", "checks", "max_new_tokens", "generations"):
            _number(name, getattr(self, name), int, getattr(self, name) >= 1, "1 or more")
        for name in ("warmup", "weight_decay", "kl"):
            _number(name, getattr(self, name), float, getattr(self, name) >= 0, "0 or more")
        for name, value in (
            ("learning_rate", self.rate),
            ("clip", self.clip),
            ("temperature", self.temperature),
        ):
            _number(name, value, float, value > 0, "above 0")
        if self.checks > self.steps:
            raise ValueError(
                f"checks: {self.checks} in {self.steps} steps; give at most one a step"
            )
        if self.warmup > 1:
            raise ValueError(f"warmup: {self.warmup!r} of all steps; give at most 1")
        if self.name == GRPO and (self.generations < 2 or self.texts % self.generations):
            raise ValueError(
                f"generations: {self.generations} answers to a problem, {self.texts} in a step "
                "(texts); give at least 2, of which a step has a whole number of problems"
            )

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        return LEARNING_RATES[self.name] if self.learning_rate is None else self.learning_rate

    @property
    def checked(self) -> tuple[int, ...]:
        """The steps after which the validation tasks are asked, 0 first and the last one last."""
        return tuple(round(self.steps * i / self.checks) for i in range(self.checks + 1))


def _number(name: str, value: Any, kind: type, fits: bool, wanted: str) -> None:
    types = (int,) if kind is int else (int, float)
    if not isinstance(value, types) or isinstance(value, bool) or not isfinite(value) or not fits:
        raise ValueError(
            f"{name}: {value!r}; give {'a whole' if kind is int else 'a'} number, {wanted}"
        )
