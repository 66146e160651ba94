"""`train_nodes`: one run of training, checked on the way, that goes on where it was stopped."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from synkern.interventions.chosen import Chosen
from synkern.models.nodes import Node
from synkern.tasks import Task, exact_match
from synkern.training.mask import training_mask
from synkern.training.tuning.checks import FILE, Checks, numbers_of
from synkern.training.tuning.method import GRPO, MEASURED, Method
from synkern.training.tuning.rewards import Reward
from synkern.training.tuning.texts import answer_ends
from synkern.training.tuning.trainers import (
    noted,
    quietly,
    reinforced,
    run_quietly,
    supervised,
    writing,
)


@dataclass(frozen=True, eq=False, repr=False)
class TunedNodes:
    """What a run has made of nodes; the model itself is as it was before.

    Attributes:
        nodes: that were trained, in the model's order.
        trained: how many numbers these are.
        steps: that the validation tasks were asked after, 0 first.
        validation: share of them that was right, 0 to 1.
        selected: the place in `steps` of the highest share, the first of equal ones.
        logged_steps: that loss or reward was noted at.
        logged: these, see `synkern.training.tuning.method.MEASURED`.
        groups: of answers to one problem that were drawn; 0 of "sft".
        silent: those of them whose rewards were all equal, which give no gradient.
    """

    nodes: tuple[Node, ...]
    trained: int
    steps: tuple[int, ...]
    validation: tuple[float, ...]
    selected: int
    logged_steps: tuple[int, ...]
    logged: tuple[float, ...]
    groups: int
    silent: int
    _model: nn.Module
    _mask: dict[str, Any]
    _best: list[Tensor]
    _last: list[Tensor]

    def __repr__(self) -> str:
        """One line: how far it came."""
        return (
            f"TunedNodes({len(self.nodes)} nodes, {self.trained} numbers, validation "
            f"{self.validation[0]:.1%} before, {self.validation[self.selected]:.1%} at step "
            f"{self.steps[self.selected]}, {self.validation[-1]:.1%} at the last)"
        )

    @contextmanager
    def weights(self, which: str = "selected") -> Iterator[None]:
        """Let the model have the trained numbers in the `with` block.

        Args:
            which: "selected" for those of the best validation accuracy, or "last".

        Raises:
            ValueError: another word.
        """
        if which not in ("selected", "last"):
            raise ValueError(f"which: {which!r}; choose selected or last")
        numbers = self._best if which == "selected" else self._last
        before = _exchanged(self._model, self.nodes, self._mask, numbers)
        try:
            yield
        finally:
            _exchanged(self._model, self.nodes, self._mask, before)


def train_nodes(
    model: nn.Module,
    tokenizer: Any,
    nodes: Chosen,
    tasks: Sequence[Task],
    validation: Sequence[Task],
    method: Method,
    *,
    folder: Path,
    seed: int = 0,
    of: str = "heads",
    kv: bool = False,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> TunedNodes:
    """Train nodes of a model on tasks, and nothing else of it, by a trainer of trl.

    The validation tasks are asked greedily, `synkern.tasks.exact_match`, at `method.checked`. The
    model ends as it was, bit for bit, after an exception too: what was trained is in the result.
    With the same arguments, versions and threads of one machine a run gives the same numbers, also
    one that was interrupted, and goes on from its last check when it is called again.

    Args:
        model: a causal language model of transformers, in float32.
        tokenizer: its tokenizer.
        nodes: which train, as `synkern.training_mask` takes them.
        tasks: to learn from.
        validation: other tasks, by which the step is selected.
        method: how.
        folder: for checkpoints, of this run alone; removed when it is done.
        seed: of the order of tasks and of drawn answers.
        of: the kind of nodes.
        kv: whether keys and values of heads train too.
        batch_size: texts at once; it must divide `method.texts`, or be at least that.
        progress: called at each of `method.checked` with the number of steps that are done.

    Raises:
        ImportError: a package of the extra `train` is missing.
        UnsupportedModelError: (a ValueError) as of `synkern.training_mask`.
        ValueError: numbers that do not go together; a model that is not in float32; what
            `synkern.training_mask` and `synkern.tasks.exact_match` refuse.
    """
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if dtypes != {torch.float32}:
        raise ValueError(
            f"model: its numbers are {', '.join(sorted(map(str, dtypes)))}, in which small steps "
            "are lost; convert it with model.float()"
        )
    folder = Path(folder)
    reinforcing = method.name == GRPO
    reference = folder / "as-it-was" if reinforcing and method.kl else None
    ends = answer_ends(model, tokenizer, tasks) if reinforcing else []
    reward = Reward(tasks, ends, method.stop, method.generations) if reinforcing else None
    told: dict[str, Any] = {"of": of, "kv": kv}

    def asked() -> float:
        return exact_match(
            model,
            tokenizer,
            validation,
            max_new_tokens=method.max_new_tokens,
            batch_size=asked_at_once(batch_size),
            stop=method.stop,
        ).accuracy

    with _as_before(model), training_mask(model, nodes, **told) as mask:
        if reference is not None:
            with quietly(), writing(reference):
                model.save_pretrained(reference)  # type: ignore[operator]  # not typed there
        before = numbers_of(mask)
        try:
            checks = Checks(mask, method, asked, reward, progress or (lambda _: None))
            common: dict[str, Any] = {"seed": seed, "folder": folder, "batch_size": batch_size}
            given = (model, tokenizer, tasks, method)
            trainer = (
                supervised(*given, **common)
                if reward is None
                else reinforced(*given, **common, reward=reward, ends=ends, reference=reference)
            )
            try:
                run_quietly(trainer, checks, checks.go_on(folder))
            except RuntimeError as error:
                # No answer can be drawn with chances that are no numbers.
                if _is_finite(model):
                    raise
                raise checks.overflow(trainer.state.global_step) from error
            last = numbers_of(mask)
        finally:
            _put(mask.parameters(), before)
    logged_steps, logged = noted(trainer, MEASURED[method.name])
    _forget(folder)
    return TunedNodes(
        nodes=mask.nodes,
        trained=mask.trained,
        steps=tuple(checks.steps),
        validation=tuple(checks.accuracies),
        selected=checks.selected,
        logged_steps=tuple(logged_steps),
        logged=tuple(logged),
        groups=0 if reward is None else reward.groups,
        silent=0 if reward is None else reward.silent,
        _model=model,
        _mask=told,
        _best=checks.best,
        _last=last,
    )


@torch.no_grad()
def _is_finite(model: Any) -> bool:
    """Whether what a model says to a token is finite."""
    text = torch.zeros((1, 1), dtype=torch.int64, device=model.device)
    return bool(model(input_ids=text).logits.isfinite().all())


def asked_at_once(batch_size: int) -> int:
    """How many tasks are asked at once by a run that trains on `batch_size` texts at once."""
    # What asks needs neither gradients nor what they are made of.
    return min(4 * batch_size, 64)


def _forget(folder: Path) -> None:
    """Remove a run's folder; what a kill in between leaves of a checkpoint is not gone on from."""
    for file in folder.glob(f"checkpoint-*/{FILE}"):
        file.unlink()
    shutil.rmtree(folder)


@contextmanager
def _as_before(model: Any) -> Iterator[None]:
    """Take back what trainers leave of themselves: modes, settings, tags, and seeds of chance."""
    training = [module for module in model.modules() if module.training]
    generation, settings = model.generation_config, [*_settings(model.config)]
    # What generation is not told is filled in from there, such as penalties, which no trainer knows
    # of; and settings that contradict one another cannot be saved.
    model.generation_config = type(generation)(
        bos_token_id=generation.bos_token_id,
        eos_token_id=generation.eos_token_id,
        pad_token_id=generation.pad_token_id,
    )
    tags = model.model_tags
    chance = random.getstate(), np.random.get_state()  # noqa: NPY002  # trainers seed it
    # Of the GPUs of Apple torch forks no chance.
    devices = [] if model.device.type in ("cpu", "mps") else [model.device]
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(chance[0])
        np.random.set_state(chance[1])  # noqa: NPY002
        model.eval()
        for module in training:
            module.training = True
        model.generation_config = generation
        for config, values in settings:
            vars(config).clear()
            vars(config).update(values)
        model.model_tags = tags


def _settings(config: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A configuration and those inside it, and what each has."""
    yield config, dict(vars(config))
    for part in vars(config).values():
        if isinstance(part, PretrainedConfig):
            yield from _settings(part)


@torch.no_grad()
def _put(parameters: Sequence[nn.Parameter], numbers: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, numbers, strict=True):
        parameter.copy_(value)


def _exchanged(
    model: nn.Module, nodes: Sequence[Node], mask: dict[str, Any], numbers: Sequence[Tensor]
) -> list[Tensor]:
    """Put numbers into the weights of nodes, and return those that were there."""
    with training_mask(model, nodes, **mask) as open_mask:
        before = numbers_of(open_mask)
        _put(open_mask.parameters(), numbers)
    return before
