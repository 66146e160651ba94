"""The list of the experiments, in the order of their sections in the report."""

from __future__ import annotations

from synkern.study.experiments.ablation import Ablation
from synkern.study.experiments.experiment import Experiment
from synkern.study.experiments.robustness import Robustness

EXPERIMENTS: tuple[Experiment, ...] = (Robustness(), Ablation())
