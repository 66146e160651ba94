"""Whole studies by one call: of a language model over its depth, or of recordings in files."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.study.comparison.comparing import compare
    from synkern.study.comparison.options import CompareOptions
    from synkern.study.comparison.published_profiles import published_profiles
    from synkern.study.comparison.result import Comparison
    from synkern.study.errors import ArgumentError, MissingPackageError, StudyError
    from synkern.study.experiments.ablation.experiment import run_ablation
    from synkern.study.experiments.carrying import ExperimentResult
    from synkern.study.experiments.categories.experiment import run_categories
    from synkern.study.experiments.commands import COMMANDS
    from synkern.study.experiments.compression.experiment import run_compression
    from synkern.study.experiments.networks.experiment import run_networks
    from synkern.study.experiments.perturbation.experiment import run_perturbation
    from synkern.study.experiments.robustness.experiment import run_robustness
    from synkern.study.experiments.tuning.experiment import run_tuning
    from synkern.study.of_data.options import ComputeOptions, DecomposeOptions
    from synkern.study.of_data.plan import Plan
    from synkern.study.of_data.result import Decomposition
    from synkern.study.of_data.run import decompose_data
    from synkern.study.options import add_arguments
    from synkern.study.over_training.emerging import emergence
    from synkern.study.over_training.options import EmergenceOptions
    from synkern.study.over_training.result import Emergence
    from synkern.study.run import Study, run_study
    from synkern.study.settings import StudyOptions

__all__ = [
    "COMMANDS",
    "ArgumentError",
    "CompareOptions",
    "Comparison",
    "ComputeOptions",
    "DecomposeOptions",
    "Decomposition",
    "Emergence",
    "EmergenceOptions",
    "ExperimentResult",
    "MissingPackageError",
    "Plan",
    "Study",
    "StudyError",
    "StudyOptions",
    "add_arguments",
    "compare",
    "decompose_data",
    "emergence",
    "published_profiles",
    "run_ablation",
    "run_categories",
    "run_compression",
    "run_networks",
    "run_perturbation",
    "run_robustness",
    "run_study",
    "run_tuning",
]

# Not at once: the command lists what the arguments may be before it loads what computes.
if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "COMMANDS": "experiments.commands",
            "ArgumentError": "errors",
            "CompareOptions": "comparison.options",
            "Comparison": "comparison.result",
            "ComputeOptions": "of_data.options",
            "DecomposeOptions": "of_data.options",
            "Decomposition": "of_data.result",
            "Emergence": "over_training.result",
            "EmergenceOptions": "over_training.options",
            "ExperimentResult": "experiments.carrying",
            "MissingPackageError": "errors",
            "Plan": "of_data.plan",
            "Study": "run",
            "StudyError": "errors",
            "StudyOptions": "settings",
            "add_arguments": "options",
            "compare": "comparison.comparing",
            "decompose_data": "of_data.run",
            "emergence": "over_training.emerging",
            "published_profiles": "comparison.published_profiles",
            "run_ablation": "experiments.ablation.experiment",
            "run_categories": "experiments.categories.experiment",
            "run_compression": "experiments.compression.experiment",
            "run_networks": "experiments.networks.experiment",
            "run_perturbation": "experiments.perturbation.experiment",
            "run_robustness": "experiments.robustness.experiment",
            "run_study": "run",
            "run_tuning": "experiments.tuning.experiment",
        },
    )
