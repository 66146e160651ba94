"""The stages of a study: `STAGES`, in the order in which they run."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.study.stages.analysis import profiles_from
    from synkern.study.stages.order import STAGES

__all__ = ["STAGES", "profiles_from"]

# Not at once: they import torch, which may be missing.
if not TYPE_CHECKING:
    __getattr__, __dir__ = face(__name__, {"STAGES": "order", "profiles_from": "analysis"})
