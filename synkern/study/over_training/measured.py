"""What is kept of the study of one checkpoint: numbers, and not the arrays they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.analysis import LayerProfile, parabola
from synkern.analysis.normalisation import normalised
from synkern.analysis.profile import MEANS
from synkern.analysis.scores import mean_over_pairs
from synkern.study import series_file
from synkern.study.over_training.checkpoints import Checkpoint
from synkern.study.run import Study
from synkern.study.settings import TRAINED
from synkern.study.stage import own
from synkern.study.stages.statistics import rank_correlation

Floats = NDArray[np.float64]

OWN, FORCED = "own", "forced"
"""Whose text a checkpoint is studied with: what it writes itself, or what the last one wrote."""

TEXTS = (OWN, FORCED)
"""The texts that a checkpoint is studied with."""

NEARLY = 0.01
"""A series whose standard deviation is below this share of its size hardly varies."""

# Of its largest value: what float32 may make of a series that does not vary at all.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Measured:
    """A study of a checkpoint with one text.

    Attributes:
        out: its folder.
        profiles: by ranking, as in the study.
        curves: by ranking and normalisation, (layers,).
        synergy, redundancy: mean sts and rtr over all pairs, in `unit`.
        unit: of these.
        constant: share of the (prompt, node) series that do not vary at all.
        nearly_constant: share of those that hardly vary, the former among them; see `NEARLY`.
        degenerate: share of the (prompt, pair) that no estimate can be made of.
        distinct: mean over answers of the share of their tokens that are different.
    """

    out: Path
    profiles: Mapping[str, LayerProfile]
    curves: Mapping[str, Mapping[str, Floats]]
    synergy: float
    redundancy: float
    unit: str
    constant: float
    nearly_constant: float
    degenerate: float
    distinct: float

    @classmethod
    def of(cls, study: Study) -> Measured:
        """Take from a study what is shown of it."""
        arrays = own(study.arrays, TRAINED)
        facts = study.facts("analysis")[TRAINED]
        every = study.profiles[TRAINED]
        profiles = {name: one for name, one in every.items() if name not in MEANS}
        synergy, redundancy = (_by_node(arrays, *names) for names in _ATOMS)
        constant, nearly = _hardly_varying(_series(study.out, arrays))
        return cls(
            out=study.out,
            profiles=profiles,
            curves={
                name: normalised(one.scores, arrays["layer"]) for name, one in profiles.items()
            },
            synergy=float(np.nanmean(synergy)),
            redundancy=float(np.nanmean(redundancy)),
            unit=str(facts["unit"]),
            constant=constant,
            nearly_constant=nearly,
            degenerate=sum(facts["degenerate"].values()) / facts["decompositions"],
            distinct=_distinct(arrays["tokens"]),
        )

    def bend(self, ranking: str, normalisation: str) -> float:
        """The quadratic term of the profile under a normalisation; NaN without one."""
        curve = self.curves[ranking][normalisation]
        if not np.isfinite(curve).all():
            return float("nan")
        _, _, (term,) = parabola.fitted(self.profiles[ranking].depth, curve[None])
        return float(term)

    def likeness(self, other: Measured, ranking: str) -> tuple[float | None, float | None]:
        """Spearman's correlation with another checkpoint: over layers, and over nodes."""
        a, b = self.profiles[ranking], other.profiles[ranking]
        if a.scores.shape != b.scores.shape or a.layers.tolist() != b.layers.tolist():
            return None, None
        curves = (one.curves[ranking]["node_quantile"] for one in (self, other))
        return rank_correlation(*curves), rank_correlation(a.scores, b.scores)


@dataclass(frozen=True, eq=False)
class Point:
    """A checkpoint, and what was found of it.

    Attributes:
        checkpoint: the one.
        own, forced: with either text; None where it could not be studied so.
        loss: on the fixed text, nats a token; None where it could not be read.
        problems: why something is missing, in sentences.
    """

    checkpoint: Checkpoint
    own: Measured | None
    forced: Measured | None
    loss: float | None
    problems: tuple[str, ...]

    def under(self, text: str) -> Measured | None:
        """What was found with a text, `OWN` or `FORCED`."""
        return self.own if text == OWN else self.forced


_ATOMS = (("synergy", "sts"), ("redundancy", "rtr"))


def _by_node(arrays: Mapping[str, NDArray[Any]], averaged: str, kept: str) -> NDArray[Any]:
    """Means over the pairs of each node, whichever the study has kept."""
    if averaged in arrays:
        return arrays[averaged]
    return np.asarray(mean_over_pairs(arrays[kept]))


def _series(out: Path, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if "series" in arrays:
        return arrays["series"]
    return series_file.opened(out, TRAINED, str(arrays["series_sha256"]))


def _hardly_varying(series: NDArray[Any]) -> tuple[float, float]:
    """Shares of the series, (trials, time, nodes), that do not vary, and that hardly do."""
    constant = nearly = 0
    for trial in series:  # which may be a file
        values = np.asarray(trial, np.float64)
        size = np.abs(values).max(0)
        still = np.ptp(values, axis=0) <= _ROUNDING * size
        constant += int(still.sum())
        nearly += int((still | (values.std(0) <= NEARLY * size)).sum())
    total = series.shape[0] * series.shape[2]
    return constant / total, nearly / total


def _distinct(tokens: NDArray[np.int64]) -> float:
    return float(np.mean([len({*row}) / len(row) for row in tokens.tolist()]))
