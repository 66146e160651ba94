"""Experiments on a finished study: what they are, their commands, and what becomes of them."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.study.experiments.keys import kept
    from synkern.study.experiments.order import EXPERIMENTS

__all__ = ["EXPERIMENTS", "kept"]

# Not at once: experiments import torch, which may be missing.
if not TYPE_CHECKING:
    __getattr__, __dir__ = face(__name__, {"EXPERIMENTS": "order", "kept": "keys"})
