"""The list of the experiments, in the order of their sections in the report."""

from __future__ import annotations

from synkern.study.experiments.ablation.experiment import Ablation
from synkern.study.experiments.categories.experiment import Categories
from synkern.study.experiments.compression.experiment import Compression
from synkern.study.experiments.experiment import Experiment
from synkern.study.experiments.networks.experiment import Networks
from synkern.study.experiments.perturbation.experiment import Perturbation
from synkern.study.experiments.robustness.experiment import Robustness
from synkern.study.experiments.tuning.experiment import ReinforcedTuning, SupervisedTuning

EXPERIMENTS: tuple[Experiment, ...] = (
    Robustness(),
    Networks(),
    Categories(),
    Ablation(),
    Perturbation(),
    Compression(),
    SupervisedTuning(),
    ReinforcedTuning(),
)
