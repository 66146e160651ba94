"""What training the core of the small dense model gains on a level of tasks that is new to it.

The model is that of `python -m bench.small_models --only dense --levels 1 2 3`. A study ranks its
heads on tasks of these levels, split "validation"; then half of the heads are trained on level 4.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.small_models import __main__ as training
from bench.small_models.recipes import recipes
from synkern import tasks
from synkern.study import run_study, run_tuning
from synkern.training import METHODS

KNOWN, NEW = (1, 2, 3), (4,)
"""Levels of tasks that the model was trained on before, and those it is trained on here."""

PROMPTS = 60

OPTIONS: dict[str, dict[str, Any]] = {
    "sft": {"steps": 400, "learning_rate": 5e-4, "test_count": 800},
    # Of the other categories it has nothing right at this level, so that nothing would be rewarded.
    "grpo": {
        "steps": 150,
        "learning_rate": 1.5e-4,
        "test_count": 600,
        "categories": ("agreement", "brackets", "word_problem"),
    },
}
"""By method, what was chosen on validation tasks, with every other head training, so that accuracy
is still rising at the end."""

_COMMON: dict[str, Any] = {"levels": NEW, "max_new_tokens": 24, "train_count": 4000}


def measure(
    model: Path,
    work: Path,
    say: Callable[[str], None],
    *,
    prompts: int = PROMPTS,
    new_tokens: int = 100,
    **fewer: Any,
) -> tuple[dict[str, Any], list[Path]]:
    """Tables by method, and the figures of the reports.

    Args:
        model: folder of a checkpoint.
        work: folder for a study of each method, and for what is done so far: the same call goes on
            from there.
        say: takes a line for each part that is done.
        prompts, new_tokens: of the studies.
        fewer: options of `synkern.study.run_tuning` in the place of those above.
    """
    listed = work / "prompts.json"
    work.mkdir(parents=True, exist_ok=True)
    listed.write_text(json.dumps(_prompts(prompts)), encoding="utf-8")
    tables, pictures = {}, []
    for method in METHODS:
        out = work / method
        run_study(str(model), out=out, prompts=listed, new_tokens=new_tokens, progress=False)
        say(f"{method}: studied")
        options = _COMMON | OPTIONS[method] | fewer
        found = run_tuning(out=out, method=method, progress=False, **options)
        say("\n".join(found.summary()))
        tables[method] = found.facts
        pictures += [out / f"{name}.png" for name in found.experiment.pictures]
    return tables, [path for path in pictures if path.is_file()]


def rehearse(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The tables of a model that is hardly trained, from few steps."""
    few = dataclasses.replace(recipes()["dense"], steps=2, rows=2)
    training.make("dense", few, folder, seed=0, tested=20, levels=KNOWN)
    tables, _ = measure(
        folder / "dense" / "step-2",
        folder / "work",
        say,
        prompts=4,
        new_tokens=20,
        steps=2,
        checks=1,
        seeds=1,
        conditions=("synergy",),
        test_count=8,
        validation_count=8,
        again=False,
    )
    shutil.rmtree(folder / "work")
    return tables


def _prompts(count: int) -> dict[str, list[str]]:
    """By category."""
    # Cells of these levels are small: more are drawn than are taken.
    made = tasks.generate(
        round(1.2 * count), seed=5, split="validation", levels=KNOWN, distinct=True
    )
    found: dict[str, list[str]] = {}
    for task in made[:count]:
        found.setdefault(task.category, []).append(task.prompt)
    return found
