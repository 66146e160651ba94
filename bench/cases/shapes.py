"""The sizes that are measured, those of real models, and series of such sizes."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]

TAU = 1


@dataclass(frozen=True)
class Shape:
    """A size of input.

    Attributes:
        name: of what has it.
        nodes: number of nodes.
        trials: number of trials.
        time: samples of a trial.
        nature: what its nodes are.
    """

    name: str
    nodes: int
    trials: int = 60
    time: int = 100
    nature: str = "attention heads"

    @property
    def decompositions(self) -> int:
        """Number of (trial, pair)."""
        return self.trials * self.nodes * (self.nodes - 1) // 2

    def __str__(self) -> str:
        return f"{self.name} ({self.trials} x {self.time} x {self.nodes})"


SHAPES = (
    Shape("SmolLM2-135M", 270),
    Shape("Gemma 3 4B", 272),
    Shape("Brain parcellation", 400, trials=20, time=1200, nature="regions"),
    Shape("Llama 3.1 8B", 1024),
    Shape("Qwen3-8B", 1152),
    Shape("DeepSeek V2 Lite", 1664, nature="experts"),
)

TINY = (Shape("Tiny", 20, trials=3, time=60, nature="nodes of a smoke test"),)
"""For a rehearsal: too small for a time to mean anything."""

SEEDS = (11, 12, 13)
"""Seeds of the inputs that rotate, so that no call finds its input in the cache."""


@functools.lru_cache(maxsize=len(SEEDS))
def series(shape: Shape, seed: int) -> Series:
    """AR(1) nodes driven by shared and own noise: (trials, time, nodes).

    Pairs are ordinary ones, as those of trained models are: none needs the stable path.
    """
    rng = np.random.default_rng([seed, shape.nodes, shape.time])
    values = rng.standard_normal((shape.trials, shape.time, shape.nodes))
    loadings = rng.standard_normal((9, shape.nodes)) / 3
    values += rng.standard_normal((shape.trials, shape.time, 9)) @ loadings
    for t in range(1, shape.time):
        values[:, t] += 0.8 * values[:, t - 1]
    values.flags.writeable = False
    return values
