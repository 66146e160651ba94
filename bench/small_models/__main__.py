"""Train the small models and say what they can do: `python -m bench.small_models --out DIR`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers.utils import logging

from bench.harness.records import RESULTS, Run
from bench.small_models import competence, texts, training
from bench.small_models.recipes import CONTEXT, Recipe, recipes
from synkern.models import load

TOKENS = 11
"""Of a task, with the end of its line: less than the mean of 12.8, so that rows are enough."""

TESTED = 4000
"""Tasks that the last step is asked; each checkpoint is asked a tenth of them."""


def make(
    name: str,
    recipe: Recipe,
    out: Path,
    seed: int,
    tested: int,
    levels: Sequence[int] = tuple(texts.LEVELS),
) -> dict[str, Any]:
    """Train a model, save its checkpoints in `out`/`name`, and print and return what it can do.

    It is asked tasks of all levels, also of those that it is not trained on.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    given = texts.training_texts(recipe.steps * recipe.rows * CONTEXT // TOKENS, seed, levels)
    tokenizer = texts.tokenizer(given, CONTEXT)
    rows = texts.rows(given, tokenizer, CONTEXT, seed)
    folder, count = out / name, sum(map(len, given))
    model = training.train(recipe, rows, tokenizer, folder, seed=seed)
    seconds = {"wall": time.perf_counter() - wall, "processor": time.process_time() - cpu}
    parameters = sum(weights.numel() for weights in model.parameters())
    print(
        f"{name}: {type(model).__name__}, {parameters:,} parameters, {recipe.steps} steps, "
        f"{count:,} tasks, {seconds['wall']:.0f} s ({seconds['processor']:.0f} s of one core)"
    )
    asked = competence.held_out_tasks(tested, seed + 1)
    likelihood = competence.by_likelihood(model, tokenizer, asked)
    written = competence.by_writing(model, tokenizer, asked)
    print(likelihood, written, sep="\n", flush=True)
    few, course = asked[: -(-tested // 10)], []
    for step in training.kept_steps(recipe.steps):
        earlier, _ = load(training.checkpoint(folder, step), device="cpu")
        total = competence.by_likelihood(earlier, tokenizer, few).total
        course.append({"step": step, "right": total.right, "tasks": total.count})
        print(f"{name}, step {step}, by likelihood: {total}", flush=True)
    return {
        "architecture": type(model).__name__,
        "parameters": parameters,
        "steps": recipe.steps,
        "rows": recipe.rows,
        "context": CONTEXT,
        "tasks": count,
        "seed": seed,
        "levels": [*levels],
        "seconds": seconds,
        "likelihood": competence.table(likelihood),
        "exact match": competence.table(written),
        "course": course,
    }


def earlier(path: Path, run: Run) -> dict[str, Any]:
    """Tables of an earlier run that can stand beside this one: all but the time is the same."""
    if not path.exists():
        return {}
    other = Run.load(path)
    same = (other.commit, other.versions, other.machine) == (run.commit, run.versions, run.machine)
    if not same:
        print(f"{path}: what is there is of another commit, version or machine, and is replaced")
    return other.tables["small models"] if same else {}


def main() -> int:
    """Run the command."""
    every = recipes()
    parser = argparse.ArgumentParser(prog="python -m bench.small_models", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the models")
    parser.add_argument("--only", choices=[*every], help="train this one; both by default")
    parser.add_argument("--seed", type=int, default=0, help="of tasks, weights and order")
    parser.add_argument(
        "--levels",
        type=int,
        nargs="+",
        choices=[*texts.LEVELS],
        default=[*texts.LEVELS],
        help="of tasks to train on",
    )
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--tested", type=int, default=TESTED, help="tasks to ask at the end")
    parser.add_argument(
        "--results", type=Path, default=RESULTS / "small_models.json", help="file for the results"
    )
    options = parser.parse_args()
    logging.disable_progress_bar()  # of each shard of a checkpoint; the trainer's own stays
    run = Run.start()
    tables = {}
    for name in [options.only] if options.only else every:
        recipe = every[name]
        if options.steps:
            recipe = dataclasses.replace(recipe, steps=options.steps)
        tables[name] = make(name, recipe, options.out, options.seed, options.tested, options.levels)
    # Read now, not before: the other model may have been trained beside this one.
    others = earlier(options.results, run) if options.only else {}
    run.tables = {"small models": others | tables}
    run.save(options.results)
    print(f"models in {options.out}, accuracies in {options.results}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
