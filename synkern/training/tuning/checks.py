"""What is looked at while nodes train: validation tasks, and the best numbers so far."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from synkern.training.mask import TrainingMask
from synkern.training.tuning.method import Method
from synkern.training.tuning.rewards import Reward
from synkern.training.tuning.trainers import writing

FILE = "checks.pt"
"""Of a checkpoint that can be gone on from, written last."""


class Checks(TrainerCallback):
    """Asks the validation tasks at the steps of a method, and keeps what was best.

    With each check but the last the trainer writes a checkpoint, to which this adds its own file: a
    run that was stopped goes on from the newest one that has it.

    Attributes:
        steps: that validation was asked after.
        accuracies: of these.
        best: the trained numbers of the first step with the highest of them, in main memory.
    """

    def __init__(
        self,
        mask: TrainingMask,
        method: Method,
        asked: Callable[[], float],
        reward: Reward | None,
        passed: Callable[[int], None],
    ) -> None:
        """Nothing has been asked yet.

        Args:
            mask: of what trains.
            method: of which are the steps to ask after, and the rate.
            asked: asks, and returns the accuracy.
            reward: whose counts belong to the run, if it has one.
            passed: is told of each of these steps that is done.
        """
        self._mask, self._at, self._asked = mask, {*method.checked[1:]}, asked
        self._rate, self._last = method.rate, method.steps
        self._reward, self._passed = reward, passed
        self.steps: list[int] = []
        self.accuracies: list[float] = []
        self.best: list[Tensor] = []

    @property
    def selected(self) -> int:
        """The place in `steps` of the highest accuracy, the first of equal ones."""
        return self.accuracies.index(max(self.accuracies))

    def go_on(self, folder: Path) -> Path | None:
        """Take up what the newest whole checkpoint of a folder knows; None where there is none."""
        found = sorted(folder.glob(f"checkpoint-*/{FILE}"), key=lambda file: _step(file.parent))
        if not found:
            return None
        state = torch.load(found[-1], map_location="cpu", weights_only=True)
        self.steps, self.accuracies = state["steps"], state["accuracies"]
        self.best = state["best"]
        if self._reward is not None:
            self._reward.groups, self._reward.silent = state["groups"]
        return found[-1].parent

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask the model as it was, unless the run goes on."""
        if not self.steps:
            self._check(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask after the steps that are due, and have the trainer write a checkpoint.

        Raises:
            ValueError: what trains is no longer finite.
        """
        self._refuse_overflow(state.global_step)
        if state.global_step in self._at:
            self._check(state.global_step)
            # A trainer begins its means anew where it goes on, so that they end here in any case.
            control.should_log = True
            # From the last one it would go on with one more step.
            control.should_save = state.global_step < self._last
            self._passed(state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Add to the checkpoint what was found so far."""
        file = Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE
        reward = self._reward
        half = file.with_suffix(".half")
        found = {
            "steps": self.steps,
            "accuracies": self.accuracies,
            "best": self.best,
            "groups": None if reward is None else (reward.groups, reward.silent),
        }
        with writing(file.parent):
            torch.save(found, half)
        os.replace(half, file)

    def _refuse_overflow(self, step: int) -> None:
        # Trainers would go on.
        if not all(bool(parameter.isfinite().all()) for parameter in self._mask.parameters()):
            raise self.overflow(step)

    def overflow(self, step: int) -> ValueError:
        """What to say of numbers that have become too large."""
        return ValueError(
            f"learning_rate: {self._rate:g} is too high: after step {step} of {self._last} what "
            "trains, or what the model makes of it, is no longer finite; give a lower one"
        )

    def _check(self, step: int) -> None:
        accuracy = self._asked()
        if not self.accuracies or accuracy > max(self.accuracies):
            self.best = numbers_of(self._mask)
        self.steps.append(step)
        self.accuracies.append(accuracy)


def numbers_of(mask: TrainingMask) -> list[Tensor]:
    """Copies of what trains, in main memory: a GPU has no room to spare for them."""
    return [parameter.detach().to("cpu", copy=True) for parameter in mask.parameters()]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
