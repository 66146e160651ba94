"""The study once more, with the model as it has become: did its core move?"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.study import stages
from synkern.study.errors import StudyError
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.models import Models
from synkern.study.settings import NONE, TRAINED, Settings
from synkern.study.stage import Arrays, Sources, named, own

OWN, FORCED = "own", "forced"
"""Whose text is read: what the model writes now, or what it wrote when it was first studied."""

_FEWEST_DRAWS = 100
"""Of the bootstrap, which scores do without."""


@dataclass(frozen=True)
class _Held(Models):
    """A model that is in memory, in the place of one that is loaded."""

    model: Any
    tokenizer: Any

    def get(self, weights: str) -> tuple[Any, Any]:
        return self.model, self.tokenizer


def scores_again(
    study: FinishedStudy, ranking: str, text: str
) -> tuple[NDArray[np.float64], str | None]:
    """Return the scores of a study done again with the model of `study` as it is in memory now.

    Args:
        study: the finished one, whose prompts, signal and estimator are used.
        ranking: of the scores.
        text: `OWN` or `FORCED`.

    Returns:
        Scores (nodes,); where the study cannot be done, as of a model that writes one token for
        ever, they are NaN, and the reason is beside them.
    """
    with tempfile.TemporaryDirectory() as scratch:
        settings: Settings = replace(
            study.settings,
            out=Path(scratch),
            texts_of=study.path if text == FORCED else None,
            null=NONE,
            bootstrap=_FEWEST_DRAWS,
            progress=False,
        )
        models = _Held(study.model, study.tokenizer)
        arrays: Arrays = {}
        try:
            for stage in stages.STAGES:
                if stage.name in ("recording", "analysis"):
                    found, _ = stage.run(Sources(settings, models, arrays), TRAINED)
                    arrays |= named(TRAINED, found)
        except StudyError as error:
            return np.full(len(study.nodes), np.nan), f"{text} text: {error}"
        return stages.profiles_from(own(arrays, TRAINED))[ranking].scores, None
