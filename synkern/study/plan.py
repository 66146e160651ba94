"""What a study is about to do, and how long it will take once a batch of prompts has shown it.

Said before the work begins, and only if there is room for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.study.folder import StudyFolder
from synkern.study.room import check_analysis, check_context, check_control, check_recording
from synkern.study.settings import Settings
from synkern.study.stages.analysis import decompose, prepared
from synkern.study.stages.recording import CONTROL, TRAINED, Models


def ask(settings: Settings, models: Models, folder: StudyFolder, to_do: Sequence[str]) -> None:
    """Say what is going to be done, if the model and the machine have room for it.

    Raises:
        StudyError: they do not.
    """
    recorded = f"{TRAINED}_layer"
    if any(stage.startswith("recording") for stage in to_do):
        settings.say(f"loading model {settings.model!r}")
        model = models.inspect()
        check_context(settings, model)
        check_recording(settings, model)
        if any(stage.startswith("recording") and CONTROL in stage for stage in to_do):
            check_control(model)
        nodes, layers = model.nodes, model.layers
    else:
        nodes, layers = len(folder.arrays[recorded]), len(np.unique(folder.arrays[recorded]))
    if to_do:
        check_analysis(settings, nodes, folder.path)
    settings.say(plan(settings, nodes, layers, to_do))


def plan(settings: Settings, nodes: int, layers: int, to_do: Sequence[str]) -> str:
    """The line that says what a study is going to do.

    Args:
        settings: of the study.
        nodes: heads of the model.
        layers: layers that have heads.
        to_do: the stages that have to be computed, the others being there.
    """
    if not to_do:
        return "plan: all stages are there; draw the report"
    texts, pairs = len(settings.prompts), nodes * (nodes - 1) // 2
    pooled = settings.average != "trials"
    each = pairs if pooled else pairs * texts
    parts = {
        "recording": f"record {nodes} heads in {layers} layers while {texts} prompts are answered "
        f"with {settings.new_tokens} tokens each",
        "analysis": f"decompose {pairs:,} pairs of heads ({each:,} decompositions"
        f"{', and as many for each bootstrap draw' if pooled else ''}) with "
        f"{settings.bootstrap:,} bootstrap draws",
        "null": f"test the pairs against null {settings.null} ({settings.null_draws} draws, "
        f"{(settings.null_draws or 0) * pairs * texts:,} decompositions)",
    }
    said = []
    for kind, what in parts.items():
        weights = [s.partition("(")[2].rstrip(")") for s in to_do if s.startswith(kind)]
        if weights:
            said.append(f"{what}, for {' and '.join(weights)} weights")
    return f"plan: {'; '.join(said)}"


class Clock:
    """Says how long a study will take, once a batch of prompts has shown it."""

    def __init__(self, settings: Settings, to_do: Sequence[str]) -> None:
        """Nothing has been measured yet."""
        self._settings = settings
        self._to_do = to_do
        self._said = False

    def batch_done(self, norms: NDArray[Any], seconds: float) -> None:
        """Take note of a batch, (trials, time, nodes); after the first, say what is to come."""
        if self._said or not self._settings.progress:
            return
        self._said = True
        settings, count = self._settings, len(norms)
        recordings = [stage for stage in self._to_do if stage.startswith("recording")]
        answering = seconds * (len(recordings) * len(settings.prompts) / count - 1)
        one = self._one_decomposition(norms)
        again = decompositions(settings, self._to_do) * one
        settings.say(
            f"plan: {count} texts took {_duration(seconds)}; about {_duration(answering + again)} "
            f"to come ({_duration(answering)} recording, {_duration(again)} decomposing), without "
            "scores and figures"
        )

    def _one_decomposition(self, norms: NDArray[Any]) -> float:
        """Seconds that all pairs of one prompt take."""
        series = prepared(self._settings, norms[:1])
        decompose(self._settings, series)  # the first pays for what is loaded or built
        started = time.perf_counter()
        decompose(self._settings, series)
        return time.perf_counter() - started


def decompositions(settings: Settings, to_do: Sequence[str]) -> int:
    """How many times all pairs of one prompt are decomposed."""
    texts = len(settings.prompts)
    times = {"recording": 0, "analysis": 1, "null": 1 + (settings.null_draws or 0)}
    if settings.average != "trials":
        times["analysis"] += settings.bootstrap
    elif settings.excess_absent is None:
        times["analysis"] += 4  # synergy and its reference, of the heads and of unrelated ones
    return texts * sum(times[stage.partition(" ")[0]] for stage in to_do)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
