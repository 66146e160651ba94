"""The commands of the experiments. Light: only words are imported."""

from __future__ import annotations

from dataclasses import dataclass

from synkern.study.experiments.ablation.options import AblationOptions
from synkern.study.experiments.categories.options import CategoriesOptions
from synkern.study.experiments.compression.options import CompressionOptions
from synkern.study.experiments.networks.options import NetworksOptions
from synkern.study.experiments.options import RecordedOptions
from synkern.study.experiments.perturbation.options import PerturbationOptions
from synkern.study.experiments.robustness.options import RobustnessOptions
from synkern.study.experiments.tuning.options import TuningOptions


@dataclass(frozen=True)
class Command:
    """A command that carries out an experiment on a finished study.

    Attributes:
        name: the command's, a verb, or what is looked at.
        function: the name in `synkern.study` of what it calls with the options that were given.
        options: the dataclass of these.
        help: what it does, in a phrase.
        description: the same in full.
        resumed: whether, interrupted, it goes on where it stopped.
    """

    name: str
    function: str
    options: type[RecordedOptions]
    help: str
    description: str
    resumed: bool = True


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
        "networks",
        "run_networks",
        NetworksOptions,
        "look at synergy and redundancy of a study as networks, beside null networks",
        "Measure the graphs whose weights are synergy and redundancy of all pairs of nodes of a "
        "finished study: efficiency and modularity raw as published and beside null graphs, "
        "communities against layers, participation; and add them to the report.",
    ),
    Command(
        "categories",
        "run_categories",
        CategoriesOptions,
        "compare the rankings and profiles of a study by category of its prompts",
        "Decompose the recorded series of a finished study by category of its prompts, or by other "
        "groups of them, such as levels of difficulty; compare rankings and profiles with what "
        "prompts dealt at random give; and add them to the report. The model is not needed.",
        resumed=False,
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
    Command(
        "perturb",
        "run_perturbation",
        PerturbationOptions,
        "add noise to the weights of nodes of the model of a study, and ask it tasks",
        "Add noise to the weights of the most synergistic nodes of the model of a finished study, "
        "of the most redundant ones, of random ones and of random ones of the same layers, and add "
        "to the report what is left of its accuracy on tasks.",
    ),
    Command(
        "compress",
        "run_compression",
        CompressionOptions,
        "round weights of the model of a study, the most synergistic nodes' less than the rest",
        "Keep the most synergistic nodes of the model of a finished study at more bits than the "
        "rest, against the reverse, random ones and random ones of the same layers, all at equal "
        "bits; let it read its own answers, and add to the report how far its predictions change.",
    ),
    Command(
        "tune",
        "run_tuning",
        TuningOptions,
        "train nodes of the model of a study on tasks, and nothing else of it",
        "Train the most synergistic nodes of the model of a finished study on tasks, and in other "
        "runs the most redundant ones, random ones, random ones of the same layers, and all, "
        "supervised or by reinforcement; ask it other tasks before and after, do the study again, "
        "and add to the report what each gains and whether the synergistic core moves.",
    ),
)
"""All of them, in the order of the experiments in the report."""
