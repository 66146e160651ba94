"""The commands of the experiments. Light: only words are imported."""

from __future__ import annotations

from dataclasses import dataclass

from synkern.study.experiments.ablation_options import AblationOptions
from synkern.study.experiments.options import ExperimentOptions
from synkern.study.experiments.robustness_options import RobustnessOptions


@dataclass(frozen=True)
class Command:
    """A command that carries out an experiment on a finished study.

    Attributes:
        name: the command's, a verb.
        function: the name in `synkern.study` of what it calls with the options that were given.
        options: the dataclass of these.
        help: what it does, in a phrase.
        description: the same in full.
    """

    name: str
    function: str
    options: type[ExperimentOptions]
    help: str
    description: str


COMMANDS: tuple[Command, ...] = (
    Command(
        "robustness",
        "run_robustness",
        RobustnessOptions,
        "take the recording of a study apart in other ways",
        "Decompose the recorded series of a finished study again with one option changed at a "
        "time (lag, estimator, preparation, redundancy, pooling; less persistence too), and add "
        "to the report what remains of its profile.",
    ),
    Command(
        "ablate",
        "run_ablation",
        AblationOptions,
        "take nodes out of the model of a study, the most synergistic first",
        "Take more and more nodes out of the model of a finished study, in the order of its "
        "ranking and in others, let it read its own answers, and add to the report how far its "
        "predictions change.",
    ),
)
"""All of them, in the order of the experiments in the report."""
