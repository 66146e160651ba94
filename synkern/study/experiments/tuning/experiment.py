"""The experiment that trains nodes of the model: what does each condition gain?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from synkern import tasks, training
from synkern._faces import Later
from synkern._warnings import collected, warn
from synkern.study.errors import ArgumentError, checks_of_arguments, refusals
from synkern.study.experiments.carrying import ExperimentResult, carried_out
from synkern.study.experiments.experiment import Intervention
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.pace import Pace
from synkern.study.experiments.perturbation.options import BUILTIN
from synkern.study.experiments.pieces import Kept
from synkern.study.experiments.tuning import results as tuning_results
from synkern.study.experiments.tuning.again import FORCED, OWN, scores_again
from synkern.study.experiments.tuning.arrays import arrays_of, cautions
from synkern.study.experiments.tuning.charts import charts_of
from synkern.study.experiments.tuning.options import Decided, TuningOptions
from synkern.study.experiments.tuning.splits import TEST, TRAIN, VALIDATION, splits_of
from synkern.study.explorer.explored import Chart
from synkern.study.numerals import significant, size
from synkern.study.options import called_with
from synkern.study.provenance import digest
from synkern.study.published import published
from synkern.study.settings import Settings
from synkern.study.stage import Arrays, Drawn, Facts, Results
from synkern.training.conditions import Condition
from synkern.training.options import CONDITIONS
from synkern.training.tuning.method import FORMAT, GRPO, LEARNING_RATES, SFT

if TYPE_CHECKING:
    from synkern.study.experiments.tuning import figures as tuning_figures
    from synkern.training import mask as masks
    from synkern.training.tuning import run as tuning
    from synkern.training.tuning import trainers
else:
    tuning_figures = Later("synkern.study.experiments.tuning.figures")
    masks = Later("synkern.training.mask")
    trainers = Later("synkern.training.tuning.trainers")
    tuning = Later("synkern.training.tuning.run")

_BEFORE = "before"


class Tuning(Intervention):
    """Trains nodes by condition and seed, and asks tasks before and after.

    Its arrays, with runs in the order of conditions, then seeds: `condition`, `seed`, `draw` (-1
    where chance has no part) and `trained`, the count of numbers that trained, (runs,); `trains`
    (runs, nodes) bool; `steps` (checks,) and `validation` (runs, checks), accuracy from 0 to 1;
    `selected` (runs,), the place in `steps` of the best; of the test tasks `level` (-1 unknown),
    `category` and `before` (tasks,) bool, what the model had right as it was; `selected_right` and
    `last_right` (runs, tasks); `logged_steps` (logs,) and `loss` (nats a token) or `reward` (runs,
    logs); of grpo `groups` and `silent` (runs,), groups of answers to one problem, and those whose
    rewards are all equal; `base_scores` (nodes,) and, if the study was done again, `own_scores`
    and `forced_scores` (runs, nodes).
    """

    method: ClassVar[str]
    options = TuningOptions
    done = "trained"
    extra = ("trl", "datasets", "scipy")
    too_large = "train with fewer texts at once (batch_size), or shorter ones (max_new_tokens)"
    words: ClassVar[Mapping[str, Any]] = {
        "published_tuning": published("tuning"),
        "significant": significant,
        "learning_rates": LEARNING_RATES,
        "format_reward": FORMAT,
    }

    def packages(self, settings: Settings) -> tuple[str, ...]:
        """Return what trains, beside what reads."""
        return (*super().packages(settings), "trl")

    def resolved(self, study: FinishedStudy, options: TuningOptions) -> Decided:
        """Return the options with the tasks themselves.

        Raises:
            ArgumentError: options that cannot be used together, or no tasks of some part.
            OSError: there is no such file of tasks.
        """
        if len({*options.conditions}) < len(options.conditions):
            raise ArgumentError(f"conditions = {options.conditions!r}; name each once")
        given, notes = splits_of(options)
        known = {prompt.text for prompt in study.settings.asked}
        if both := sum(task.prompt in known for task in given[TEST]):
            notes += (
                f"{both} of the {len(given[TEST])} test tasks are prompts of the study, by which "
                "nodes were ranked",
            )
        decided = Decided(**vars(options) | {"given": given, "notes": notes})
        with checks_of_arguments():
            how = decided.how
            trains = [one for one in self._conditions(study, decided) if one.nodes]
        if not trains:
            raise ArgumentError(
                f"conditions = {options.conditions!r}: nothing would train; give at least one of "
                f"{', '.join(name for name in CONDITIONS if name != 'none')}"
            )
        if how.texts % min(how.texts, decided.batch_size):
            raise ArgumentError(
                f"batch_size = {decided.batch_size} of the {how.texts} texts of a step; give a "
                "divisor of these"
            )
        return decided

    def ingredients(self, study: FinishedStudy, options: Decided) -> Facts:
        """Return the tasks' digest."""
        return {"tasks": digest({p: [[*astuple(t)] for t in g] for p, g in options.given.items()})}

    def plan(self, study: FinishedStudy, options: Decided) -> str:
        """Say how often what is trained."""
        runs, counts = self._runs(study, options), {p: len(g) for p, g in options.given.items()}
        checkpoint = size(4 * sum(p.numel() for p in study.model.parameters()))
        return (
            f"train {options.share:.0%} of the {study.settings.words.many}, by {options.ranking}, "
            f"with {options.method}: {len(runs)} runs of {options.steps} steps of {options.texts} "
            f"texts, on {counts[TRAIN]} tasks, selected by {counts[VALIDATION]} and tested by "
            f"{counts[TEST]}{', and do the study again with each' if options.again else ''}; while "
            f"a run lasts up to three checkpoints, each of {checkpoint} or more, are on the disk"
        )

    def run(self, study: FinishedStudy, options: Decided, partial: Path) -> tuple[Arrays, Facts]:
        """Train.

        Raises:
            StudyError: the nodes of the model are not those of the study, have no weights of their
                own, or the model cannot read the tasks.
        """
        study.check_nodes()
        settings, started = study.settings, time.perf_counter()
        runs, kept = self._runs(study, options), Kept(partial)
        notes = [*options.notes]
        what = f"model {settings.model!r} cannot be trained on these tasks"
        with (
            collected() as warnings,
            Pace(settings, self.name) as pace,
            refusals(what),
        ):
            study.model.float()
            for condition in {condition.nodes: condition for condition, _ in runs}.values():
                # What cannot train is refused now, and not hours later.
                masks.training_mask(
                    study.model, condition.nodes, options.kv, of=settings.nodes
                ).finish()
            if options.keep_models:
                study.model.generation_config.validate(strict=True)
            if _BEFORE not in kept:
                kept[_BEFORE] = self._tested(study, options)
            total = len(runs) * options.steps
            for place, (condition, seed) in enumerate(runs):
                name, done = f"{condition.name} {seed}", place * options.steps
                pace(done, total)
                if name not in kept:
                    kept[name] = self._one(
                        study,
                        options,
                        condition,
                        seed,
                        partial.with_name(f"{partial.name}-run"),
                        # The last one is done when it has been tested.
                        lambda step, done=done: pace(done + min(step, options.steps - 1), total),
                    )
            pace(total, total)
        found = [kept[f"{condition.name} {seed}"] for condition, seed in runs]
        notes += [note for one in found for note in one["notes"]]
        scores = study.scores(options.ranking)
        arrays = arrays_of(runs, found, options.given[TEST], kept[_BEFORE], scores, options.method)
        if settings.dtype != "float32" and options.again:
            notes.append(
                f"the study read the model in {settings.dtype}; it is trained, and read again, in "
                "float32"
            )
        told = {
            "method": options.method,
            "ranking": options.ranking,
            "share": options.share,
            "nodes": len(study.nodes),
            "tasks": {part: len(given) for part, given in options.given.items()},
            "source": BUILTIN if options.tasks == BUILTIN else Path(options.tasks).name,
            "again": options.again,
        }
        facts = told | tuning_results.facts_of(tuning_results.tuned_of(arrays, told))
        facts["seconds"] = {"training": round(time.perf_counter() - started, 3)}
        facts["warnings"] = [
            *notes,
            *warnings,
            *cautions(runs, arrays["trained"].tolist(), settings.words.many),
            *study.without_score(np.isfinite(scores), "train in no condition"),
        ]
        return arrays, facts

    def summary(self, results: Results) -> list[str]:
        """Return gains by condition, and comparisons."""
        return tuning_results.lines_of(self.told(results))

    def figures(self, results: Results) -> Iterator[Drawn]:
        """Draw learning curves, gains, and whether the core moved."""
        facts = self.told(results)
        title = f"{results.name}: {results.words.many} trained with {facts['method']}"
        tuned = tuning_results.tuned_of(results.of(self.name), facts)
        yield from tuning_figures.figures_of(tuned, title, self.name)

    def charts(self, results: Results) -> Iterator[Chart]:
        """Return learning curves."""
        tuned = tuning_results.tuned_of(results.of(self.name), self.told(results))
        return charts_of(tuned, results.words.many)

    def _conditions(self, study: FinishedStudy, options: Decided) -> tuple[Condition, ...]:
        scores = study.scores(options.ranking)
        known = np.isfinite(scores)
        return training.conditions_of(
            scores[known],
            [node for node, has in zip(study.nodes, known, strict=True) if has],
            ranking=options.ranking,
            share=options.share,
            names=options.conditions,
            draws=options.seeds,
            seed=options.seed,
        )

    def _runs(self, study: FinishedStudy, options: Decided) -> list[tuple[Condition, int]]:
        """Each condition with each seed; where chance has a part, seed k has draw k."""
        found: dict[str, list[Condition]] = {}
        for condition in self._conditions(study, options):
            if condition.nodes:
                found.setdefault(condition.name, []).append(condition)
        return [
            (draws[seed % len(draws)], seed)
            for draws in found.values()
            for seed in range(options.seeds)
        ]

    def _one(
        self,
        study: FinishedStudy,
        options: Decided,
        condition: Condition,
        seed: int,
        folder: Path,
        progress: Any,
    ) -> Facts:
        """One run, and all that is kept of it."""
        study.settings.say(f"{self.name}: {condition.label}, seed {seed}")
        run = tuning.train_nodes(
            study.model,
            study.tokenizer,
            condition.nodes,
            options.given[TRAIN],
            options.given[VALIDATION],
            options.how,
            folder=folder,
            # Of all bits of both, and what numpy takes.
            seed=int(np.random.SeedSequence([options.seed, seed]).generate_state(1)[0]),
            of=study.settings.nodes,
            kv=options.kv,
            batch_size=options.batch_size,
            progress=progress,
        )
        chosen = {*condition.nodes}
        kept: Facts = {
            "trained": run.trained,
            "trains": [node in chosen for node in study.nodes],
            "steps": run.steps,
            "validation": run.validation,
            "selected": run.selected,
            "logged_steps": run.logged_steps,
            "logged": run.logged,
            "groups": run.groups,
            "silent": run.silent,
            "notes": [],
        }
        with run.weights("last"):
            kept["last_right"] = self._tested(study, options)
        with run.weights("selected"):
            kept["selected_right"] = (
                kept["last_right"]
                if run.selected == len(run.steps) - 1
                else self._tested(study, options)
            )
            for text in (OWN, FORCED) if options.again else ():
                scores, why = scores_again(study, options.ranking, text)
                kept[f"{text}_scores"] = scores.tolist()
                if why is not None:
                    kept["notes"].append(f"{condition.label}, seed {seed}, {why}")
            if options.keep_models:
                home = tuned_model(study.path, self.method, condition.name, seed)
                with trainers.quietly(), trainers.writing(home):
                    study.model.save_pretrained(home)
                    study.tokenizer.save_pretrained(home)
        return kept

    def _tested(self, study: FinishedStudy, options: Decided) -> list[bool]:
        """Which of the test tasks the model has right now."""
        found = tasks.exact_match(
            study.model,
            study.tokenizer,
            options.given[TEST],
            max_new_tokens=options.max_new_tokens,
            batch_size=tuning.asked_at_once(options.batch_size),
            stop=options.stop or (),
        )
        right: list[bool] = found.right.tolist()
        return right


class SupervisedTuning(Tuning):
    """Trains nodes on right answers."""

    name = "tuning_sft"
    method = SFT
    command = f"tune --method {SFT}"
    title = "What do nodes gain from right answers?"
    pictures = tuning_results.pictures_of("tuning_sft")


class ReinforcedTuning(Tuning):
    """Trains nodes by reinforcement."""

    name = "tuning_grpo"
    method = GRPO
    command = f"tune --method {GRPO}"
    title = "What do nodes gain from reward?"
    pictures = tuning_results.pictures_of("tuning_grpo")


@called_with(TuningOptions)
def run_tuning(options: TuningOptions) -> ExperimentResult:
    """Train nodes of the model of a finished study, and ask it tasks before and after.

    In each condition other nodes train: the most synergistic ones, the most redundant ones, random
    ones, random ones of the same layers, always as many; all; and none. Every condition is trained
    with the same seeds, which fix the order of tasks and all else that is drawn. The step is
    selected on validation tasks, and the test tasks are asked with its weights once, and with the
    last ones. Gains, comparisons, learning curves and what becomes of the synergistic core go to
    the folder and the report of the study; see
    `synkern.study.experiments.tuning.experiment.Tuning` for the arrays. Interrupted, it goes on
    from the last check of the run that was under way when it is called again.

    Raises:
        ArgumentError: a ValueError: an option that cannot be used, or not with this study; lines
            of a file that are no tasks.
        MissingPackageError: an ImportError: a package of the extras `llm`, `plot` or `train` is
            missing.
        StudyError: there is no finished study in the folder, or another process is at work in it;
            the model cannot be loaded, is not the one that was studied, or its nodes have no
            weights of their own; there is not enough memory.
        OSError: there is no such file of tasks; a file that cannot be written.
    """
    found = [one for one in (SupervisedTuning, ReinforcedTuning) if one.method == options.method]
    # An unknown method is refused with the other options.
    result = carried_out((found or [SupervisedTuning])[0](), options)
    if options.keep_models:
        _check_kept(result)
    return result


def _check_kept(result: ExperimentResult) -> None:
    """Say which models were not written, as their runs were there already."""
    runs = zip(result.arrays["condition"].tolist(), result.arrays["seed"].tolist(), strict=True)
    homes = [tuned_model(result.out, result.facts["method"], *run) for run in runs]
    missing = [home for home in homes if not home.is_dir()]
    if missing:
        warn(
            f"keep_models: {len(missing)} of {len(homes)} tuned models are not in "
            f"{str(missing[0].parent)!r}, as their runs were done without it, and what is there is "
            "not done again; give another seed, or a copy of the study"
        )


def tuned_model(study: Path, method: str, condition: str, seed: int) -> Path:
    """Return the folder in that of a study that a tuned model is written to."""
    return study / "tuned" / method / f"{condition}-{seed}"
