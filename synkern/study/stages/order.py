"""The list of the stages of a study. Each runs for all weights before the next one begins."""

from __future__ import annotations

from synkern.study.stage import Stage
from synkern.study.stages.analysis import Analysis
from synkern.study.stages.null import Null
from synkern.study.stages.recording import RecordingStage

STAGES: tuple[Stage, ...] = (
    # First: they are what an interruption must not cost again.
    RecordingStage(),
    Analysis(),
    Null(),
)
