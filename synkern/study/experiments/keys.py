"""What the results of an experiment depend on, and which of them a changed study leaves valid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from synkern.study import experiments
from synkern.study.experiments.experiment import Experiment
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.options import RecordedOptions
from synkern.study.folder import StudyFolder
from synkern.study.options import stated
from synkern.study.provenance import digest
from synkern.study.settings import TRAINED
from synkern.study.stage import Facts, step_name


def key_of(
    experiment: Experiment,
    study: FinishedStudy,
    options: RecordedOptions,
    environment: Mapping[str, Any],
) -> Facts:
    """Return all that the results of an experiment depend on.

    Args:
        experiment: the one.
        study: that it is done with.
        options: of the experiment, resolved.
        environment: as `synkern.study.provenance.environment_of` gives it.
    """
    return {
        **experiment.ingredients(study, options),
        **stated_of(experiment, options),
        **{package: environment[package] for package in experiment.packages(study.settings)},
        **{
            stage: digest(study.steps[step_name(stage, TRAINED)]["key"])
            for stage in experiment.after
        },
    }


def stated_of(experiment: Experiment, options: RecordedOptions) -> Facts:
    """Return the options that results depend on, by name."""
    return {name: getattr(options, name) for name in stated(experiment.options)}


def kept(
    folder: StudyFolder, ingredients: Mapping[str, Facts], say: Callable[[str], None]
) -> frozenset[str]:
    """Return the names of the experiments in a folder that stay when its study is run again.

    Args:
        folder: of the study.
        ingredients: of its stages now, by step, as `synkern.study.provenance.keys` gives them.
        say: is told of each one that does not, and why.
    """
    stay = set()
    for experiment in experiments.EXPERIMENTS:
        if experiment.name not in folder.stages:
            continue
        key = folder.stages[experiment.name]["key"]
        changed = [
            stage
            for stage in experiment.after
            if key.get(stage) != digest(ingredients[step_name(stage, TRAINED)])
        ]
        if changed:
            say(
                f"{experiment.name}: dropped, as it was done with another {' and '.join(changed)}; "
                f"`synkern {experiment.command} --out {folder.path}` does it again"
            )
        else:
            stay.add(experiment.name)
    return frozenset(stay)
