"""Training with the trainer of transformers, and a folder at each power of two of its steps."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    default_data_collator,
)

from bench.small_models.recipes import Recipe


def kept_steps(last: int) -> list[int]:
    """Steps of which a checkpoint is written: 0, 1, 2, 4, 8, ... and the last."""
    return sorted({0, last, *(2**power for power in range(last.bit_length()))})


def checkpoint(folder: Path, step: int) -> Path:
    """Where the model of a step lies."""
    return folder / f"step-{step}"


class Checkpoints(TrainerCallback):
    """Writes checkpoints to `folder` as transformers saves models, with the tokenizer."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self.folder = folder
        self.tokenizer = tokenizer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Write the untrained model."""
        self._keep(given["model"], state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Write the model where the step is one to keep."""
        if state.global_step in kept_steps(state.max_steps):
            self._keep(given["model"], state)

    def _keep(self, model: Any, state: TrainerState) -> None:
        place = checkpoint(self.folder, state.global_step)
        model.save_pretrained(place)
        self.tokenizer.save_pretrained(place)


def untrained(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> Any:
    """The model before the first step; the caller's random numbers stay as they are."""
    config = copy.deepcopy(recipe.config)
    config.vocab_size = len(tokenizer)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(config, name, getattr(tokenizer, name))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def train(
    recipe: Recipe,
    rows: Sequence[Mapping[str, list[int]]],
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    seed: int,
) -> Any:
    """Train a model from nothing on `rows`, each seen once, and write its checkpoints.

    Args:
        recipe: what, and for how many steps.
        rows: token ids and labels, all of one length, at least `recipe.steps` times `recipe.rows`.
        tokenizer: saved with every checkpoint.
        folder: for the checkpoints.
        seed: of weights and order; with the same rows, versions and number of threads of the same
            machine it gives the same weights.

    Returns:
        The model after the last step, in evaluation mode.

    Raises:
        ValueError: there are too few rows.
    """
    needed = recipe.steps * recipe.rows
    if len(rows) < needed:
        raise ValueError(
            f"rows: {len(rows)} are too few for {recipe.steps} steps of {recipe.rows} rows, "
            f"{needed}; make more tasks"
        )
    model = untrained(recipe, tokenizer, seed)

    def together(some: list[dict[str, list[int]]]) -> dict[str, Any]:
        return default_data_collator(some) | dict(recipe.inputs)

    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.rows,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(200, recipe.steps // 10),
        weight_decay=0.01,
        adam_beta2=0.98,
        seed=seed,
        save_strategy="no",
        logging_steps=max(recipe.steps // 20, 1),
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=True,
    )
    Trainer(
        model=model,
        args=arguments,
        train_dataset=rows[:needed],  # type: ignore[arg-type]  # anything with a length and places
        data_collator=together,
        callbacks=[Checkpoints(folder, tokenizer)],
    ).train()
    return model.eval()
