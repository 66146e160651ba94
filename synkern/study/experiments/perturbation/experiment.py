"""The experiment that gives nodes noise: what is left of the model's accuracy on tasks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from synkern import interventions
from synkern._warnings import collected
from synkern.interventions.options import SCORING_NAMES
from synkern.study.errors import ArgumentError, refusals
from synkern.study.experiments.asking import tasks_of
from synkern.study.experiments.carrying import ExperimentResult, carried_out
from synkern.study.experiments.experiment import Intervention
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.pace import Pace
from synkern.study.experiments.perturbation import results as perturbation_results
from synkern.study.experiments.perturbation.charts import charts_of
from synkern.study.experiments.perturbation.options import BUILTIN, Decided, PerturbationOptions
from synkern.study.explorer.explored import Chart
from synkern.study.options import called_with
from synkern.study.provenance import digest
from synkern.study.published import published
from synkern.study.settings import TRAINED
from synkern.study.stage import Arrays, Drawn, Facts, Results, step_name

_LIKELIHOOD, _, _EXACT = SCORING_NAMES


class Perturbation(Intervention):
    """Adds noise to the weights of subsets of nodes, and asks the model tasks.

    Its arrays: `level`, `category` and `floor` (tasks,), what chance gives; `intact` (tasks,), what
    the model has right; `NAME_right` (draws, seeds, tasks) and `NAME_nodes` (draws, size), places
    of nodes, for NAME synergy, redundancy, random and layer_matched; of exact match also
    `intact_truncated` and `NAME_truncated`, likewise; where the strength was chosen, `alphas` and
    `alphas_right` (alphas, draws, tasks).
    """

    name = "perturbation"
    options = PerturbationOptions
    command = "perturb"
    done = "perturbed"
    title = "What if there is noise in the weights of nodes?"
    too_large = "ask fewer tasks (count), or shorter ones"
    pictures = ("perturbation",)
    words: ClassVar[Mapping[str, Any]] = {"published_noise": published("perturbation")}

    def resolved(self, study: FinishedStudy, options: PerturbationOptions) -> Decided:
        """Return the options with the tasks themselves.

        Raises:
            ArgumentError: options that this study, or these tasks, have no use for.
            OSError: there is no such file of tasks.
        """
        known = int(np.isfinite(study.scores(options.ranking)).sum())
        if 2 * round(options.share * known) > known or round(options.share * known) < 1:
            raise ArgumentError(
                f"share = {options.share!r} of {known} {study.settings.words.many}; give one that "
                "makes two subsets apart, of at least one"
            )
        asked = tasks_of(
            options.tasks,
            count=options.count,
            seed=options.seed,
            template=options.template,
            levels=options.levels,
            categories=options.categories,
        )
        choices = all(task.distractors for task in asked)
        scoring = options.scoring or (_LIKELIHOOD if choices else _EXACT)
        if scoring != _EXACT and not choices:
            raise ArgumentError(
                f"scoring = {scoring!r}, and there are tasks without distractors; use {_EXACT!r}"
            )
        return Decided(**vars(options) | {"scoring": scoring, "asked": asked})

    def ingredients(self, study: FinishedStudy, options: Decided) -> Facts:
        """Return the tasks' digest."""
        return {"tasks": digest([list(astuple(task)) for task in options.asked])}

    def plan(self, study: FinishedStudy, options: Decided) -> str:
        """Say how often how many tasks are asked."""
        many, draws = study.settings.words.many, options.draws
        compared = (2 + 2 * draws) * options.noise_seeds
        choice = (
            ""
            if options.alpha is not None
            else (f", up to {draws * len(options.alphas)} times with noise to choose its strength")
        )
        return (
            f"ask {len(options.asked)} tasks ({options.scoring}): intact{choice}, "
            f"and {compared} times with noise in {options.share:.0%} of the {many}, by "
            f"{options.ranking}"
        )

    def run(self, study: FinishedStudy, options: Decided, partial: Path) -> tuple[Arrays, Facts]:
        """Ask.

        Raises:
            StudyError: the nodes of the model are not those of the study, have no weights of their
                own, or the model cannot read the tasks.
        """
        study.check_nodes()
        scores = study.scores(options.ranking)
        scoring = interventions.Scoring(
            options.scoring,
            batch_size=options.batch_size,
            max_new_tokens=options.max_new_tokens,
            stop=tuple(options.stop or ()),
        )
        started = time.perf_counter()
        model, many = study.settings.model, study.settings.words.many
        with (
            collected() as warnings,
            Pace(study.settings, self.name) as pace,
            refusals(f"model {model!r} cannot be asked these tasks with noise in its {many}"),
        ):
            found = interventions.noise_accuracy(
                study.model,
                study.tokenizer,
                options.asked,
                {options.ranking: scores},
                of=study.settings.nodes,
                share=options.share,
                draws=options.draws,
                noise_seeds=options.noise_seeds,
                alpha=options.alpha,
                alphas=options.alphas,
                scale=options.scale,  # type: ignore[arg-type]  # of SPREAD_NAMES
                scoring=scoring,
                seed=options.seed,
                file=partial,
                progress=pace,
            )
        warnings += study.without_score(
            np.isfinite(scores), "are in no subset; shares are of the others"
        )
        facts = perturbation_results.facts_of(found)
        if "routed" in study.trained:
            analysis = study.steps[step_name("analysis", TRAINED)]
            facts["routed"] = perturbation_results.routed_of(
                found,
                study.trained["routed"],
                study.trained["tokens"].shape[1],
                analysis["routing"]["correlations"][options.ranking],
            )
            sentence = perturbation_results.routed_sentence(facts["routed"], many)
            facts["finding"] += f" {sentence}"
        facts |= {
            "source": BUILTIN if options.tasks == BUILTIN else Path(options.tasks).name,
            "seconds": {"asking": round(time.perf_counter() - started, 3)},
            "warnings": list(warnings),
        }
        return perturbation_results.arrays_of(found), facts

    def summary(self, results: Results) -> list[str]:
        """Return accuracies by condition and level."""
        return perturbation_results.lines_of(self.told(results))

    def figures(self, results: Results) -> Iterator[Drawn]:
        """Draw accuracy by subset, by level, and against the strength."""
        facts, found = self.told(results), self._found(results)
        title = (
            f"{results.name}: noise (alpha {found.alpha:g}) in {found.size} of {facts['nodes']} "
            f"{results.words.many} by {facts['ranking']}"
        )
        yield Drawn("perturbation.png", found.plot(title), "noisy")

    def charts(self, results: Results) -> Iterator[Chart]:
        """Return accuracy against the strength."""
        return charts_of(self._found(results), results.words.many)

    def _found(self, results: Results) -> interventions.NoiseAccuracy:
        return perturbation_results.noise_of(results.of(self.name), self.told(results))


@called_with(PerturbationOptions)
def run_perturbation(options: PerturbationOptions) -> ExperimentResult:
    """Add noise to the weights of nodes of the model of a finished study, and ask it tasks.

    The most synergistic nodes get it, the most redundant ones, random ones, and random ones of the
    same layers, always as many; its strength is chosen before, on other random ones. See
    `synkern.interventions.noise_accuracy`. Accuracies go to the folder and the report of the study;
    see `synkern.study.experiments.perturbation.experiment.Perturbation` for the arrays.
    Interrupted, it goes on from the last evaluation when it is called again.

    Raises:
        ArgumentError: a ValueError: an option that cannot be used, or not with this study; lines
            of a file that are no tasks.
        MissingPackageError: an ImportError: a package of the extras `llm` or `plot` is missing.
        StudyError: there is no finished study in the folder, or another process is at work in it;
            the model cannot be loaded, is not the one that was studied, or its nodes have no
            weights of their own; there is not enough memory.
        OSError: there is no such file of tasks; a file that cannot be written.
    """
    return carried_out(Perturbation(), options)
