"""The trainers of trl, as a method asks for them. What is known of trl stands here."""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from synkern.tasks import Task
from synkern.training.tuning.method import EPSILON, Method
from synkern.training.tuning.rewards import Reward
from synkern.training.tuning.texts import answers_to_learn, prompts_to_answer

LOGS = 50
"""How often in a run loss or reward is noted, at most once a step, beside at every check."""


def supervised(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[Task],
    method: Method,
    *,
    seed: int,
    folder: Path,
    batch_size: int,
) -> Any:
    """The trainer of "sft"."""
    trl, datasets = _packages()
    options = _common(method, seed, folder, batch_size, model)
    with quietly():
        config = _on_one_device(
            trl.SFTConfig(**options, completion_only_loss=True, max_length=None)
        )
        return trl.SFTTrainer(
            model,
            config,
            train_dataset=datasets.Dataset.from_list(answers_to_learn(model, tokenizer, tasks)),
            processing_class=copy.deepcopy(tokenizer),  # it is given a pad token
        )


def reinforced(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[Task],
    method: Method,
    *,
    seed: int,
    folder: Path,
    batch_size: int,
    reward: Reward,
    ends: Sequence[int],
    reference: Path | None,
) -> Any:
    """The trainer of "grpo".

    Args:
        reward: of answers.
        ends: the tokens that end one.
        reference: a folder with the model as it was, where the divergence from it counts.
    """
    trl, datasets = _packages()
    options = _common(method, seed, folder, batch_size, model) | {
        "num_generations": method.generations,
        "max_completion_length": method.max_new_tokens,
        "temperature": method.temperature,
        "beta": method.kl,
        "epsilon": EPSILON,
        "loss_type": "grpo",
        "scale_rewards": "group",
    }
    rows = prompts_to_answer(model, tokenizer, tasks, method.max_new_tokens)
    with _ending_with(model, ends), _from(model, reference), quietly():
        return trl.GRPOTrainer(
            model,
            reward,
            _on_one_device(trl.GRPOConfig(**options)),
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=copy.deepcopy(tokenizer),
        )


def run_quietly(trainer: Any, callback: Any, resumed: Path | None) -> None:
    """Train with a callback that watches, in place of lines on the terminal and bars of files.

    Args:
        trainer: one of those above.
        callback: told of every step.
        resumed: a checkpoint to go on from.
    """
    transformers = importlib.import_module("transformers")
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(callback)
    saved = trainer._save_checkpoint

    def saving(*arguments: Any, **options: Any) -> None:
        with writing(Path(trainer.args.output_dir)):
            saved(*arguments, **options)

    trainer._save_checkpoint = saving
    with quietly():
        trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))


def noted(trainer: Any, name: str) -> tuple[list[int], list[float]]:
    """Steps, and what was noted at each under a name."""
    found = [line for line in trainer.state.log_history if name in line]
    return [int(line["step"]) for line in found], [float(line[name]) for line in found]


def _packages() -> tuple[Any, Any]:
    return importlib.import_module("trl"), importlib.import_module("datasets")


def _common(method: Method, seed: int, folder: Path, batch_size: int, model: Any) -> dict[str, Any]:
    """What every trainer of transformers is told.

    Raises:
        ValueError: a step's texts cannot be read in equal batches.
    """
    at_once = min(batch_size, method.texts)
    if method.texts % at_once:
        raise ValueError(
            f"batch_size: {batch_size} of the {method.texts} texts of a step at once; give a "
            "divisor of these"
        )
    on_cpu = model.device.type == "cpu"
    return {
        "output_dir": str(folder),
        "max_steps": method.steps,
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": method.texts // at_once,
        "learning_rate": method.rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(method.warmup * method.steps),
        "weight_decay": method.weight_decay,
        "max_grad_norm": method.clip,
        "optim": "adamw_torch",
        "seed": seed,
        "data_seed": seed,
        "use_cpu": on_cpu,
        # The numbers themselves stay in float32, where a small step is not lost.
        "bf16": not on_cpu,
        "gradient_checkpointing": False,
        "logging_steps": max(method.steps // LOGS, 1),
        "logging_nan_inf_filter": False,  # which notes an earlier loss instead
        # Checkpoints are written with the checks; one before the newest outlives a kill in between.
        "save_strategy": "no",
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": not on_cpu,
    }


def _on_one_device(config: Any) -> Any:
    """Else the trainer spreads copies of the model over all GPUs that it sees, without the mask."""
    if config.n_gpu > 1:
        config._n_gpu = 1
    return config


@contextmanager
def _ending_with(model: Any, ends: Sequence[int]) -> Iterator[None]:
    """Let trl find these end tokens in the model, where it looks for them."""
    config = model.generation_config
    before = config.eos_token_id
    config.eos_token_id = list(ends)
    try:
        yield
    finally:
        config.eos_token_id = before


@contextmanager
def _from(model: Any, reference: Path | None) -> Iterator[None]:
    """Let trl load its copy of the model as it was from a folder: it asks the configuration."""
    before = model.config._name_or_path
    if reference is not None:
        model.config._name_or_path = str(reference)
    try:
        yield
    finally:
        model.config._name_or_path = before


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say of what cannot be written to a folder what would help.

    Raises:
        OSError: in the place of what the formats of weights raise when a disk is full.
    """
    broken = importlib.import_module("safetensors").SafetensorError
    try:
        yield
    except (RuntimeError, broken) as error:
        raise OSError(
            f"{str(folder)!r} cannot be written to ({error}); make room, and do the same again: it "
            "goes on from what is there"
        ) from error


@contextmanager
def quietly() -> Iterator[None]:
    """No bars of small steps, and nothing of what other packages have to say to each other."""
    datasets = _packages()[1]
    logging = importlib.import_module("transformers.utils.logging")
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    of_datasets = datasets.is_progress_bar_enabled()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            # As trl's, that transformers will call an option otherwise.
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        if of_datasets:
            datasets.enable_progress_bars()
