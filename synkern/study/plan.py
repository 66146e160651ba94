"""What a study is about to do, and how long it will take once a batch of prompts has shown it.

Said before the work begins, and only if there is room for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.study.room import check_analysis
from synkern.study.settings import TRAINED, Settings
from synkern.study.stage import Sources, Stage, Step, by_stage
from synkern.study.stages.series import decompose, decompose_by_node, prepared

_FEW_NODES, _MANY_NODES = 64, 4096


def ask(sources: Sources, stages: Sequence[Stage], to_do: Sequence[Step], out: Path) -> None:
    """Say what is going to be done, if the model and the machine have room for it.

    Args:
        sources: of the study.
        stages: that it has.
        to_do: the steps that have to be computed, the others being there.
        out: folder of the study.

    Raises:
        StudyError: there is not enough room.
    """
    settings, needing = sources.settings, [step for step in to_do if step.stage.needs_model]
    if needing:
        settings.say(f"loading model {settings.model!r}")
        model = sources.models.inspect()
        for stage, weights in by_stage(needing).items():
            stage.check_room(settings, model, weights)
        nodes, layers = model.nodes, model.layers
    else:
        layer = sources.of(TRAINED)["layer"]
        nodes, layers = len(layer), len(np.unique(layer))
    if to_do:
        matrices = sum(stage.matrices(settings) for stage in stages)
        check_analysis(settings, nodes, matrices, out)
    settings.say(plan(settings, nodes, layers, to_do))


def plan(settings: Settings, nodes: int, layers: int, to_do: Sequence[Step]) -> str:
    """Return the line that says what a study is going to do.

    Args:
        settings: of the study.
        nodes: of the model.
        layers: layers that have any.
        to_do: the steps that have to be computed, the others being there.
    """
    if not to_do:
        return "plan: all stages are there; draw the report"
    said = [
        f"{stage.plan(settings, nodes, layers)}, for {' and '.join(weights)} weights"
        for stage, weights in by_stage(to_do).items()
    ]
    return f"plan: {'; '.join(said)}"


class Clock:
    """Says how long a study will take, once a batch of prompts has shown it."""

    def __init__(self, settings: Settings, to_do: Sequence[Step]) -> None:
        """Nothing has been measured yet."""
        self._settings = settings
        self._to_do = to_do
        self._said = False

    def batch_done(self, series: NDArray[Any], seconds: float) -> None:
        """Take note of a batch, (trials, time, nodes); after the first, say what is to come."""
        if self._said or not self._settings.progress:
            return
        self._said = True
        settings, count = self._settings, len(series)
        times = sum(step.stage.answerings for step in self._to_do)
        answering = seconds * (times * len(settings.asked) / count - 1)
        one = self._one_decomposition(series)
        again = decompositions(settings, self._to_do) * one
        settings.say(
            f"plan: {count} texts took {duration(seconds)}; about {duration(answering + again)} "
            f"to come ({duration(answering)} recording, {duration(again)} decomposing), without "
            "scores and figures"
        )

    def _one_decomposition(self, recorded: NDArray[Any]) -> float:
        """Seconds that all pairs of one prompt take; of very many nodes, from those of some."""
        series = prepared(self._settings, recorded[:1, :, :_MANY_NODES])
        work = decompose_by_node if self._settings.averaged else decompose
        # The first pays for what is loaded or built.
        work(self._settings, series[..., :_FEW_NODES])
        started = time.perf_counter()
        work(self._settings, series)
        seconds = time.perf_counter() - started
        return seconds * float(recorded.shape[2] / series.shape[2]) ** 2


def decompositions(settings: Settings, to_do: Sequence[Step]) -> int:
    """Return how many times all pairs of one prompt are decomposed."""
    return len(settings.asked) * sum(step.stage.decompositions(settings) for step in to_do)


def duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 90:
        return f"{max(0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
