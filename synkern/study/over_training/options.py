"""What a user decides about the checkpoints of a training. Light, as `synkern.study.options` is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from synkern.study.options import Option, like
from synkern.study.settings import StudyOptions

_OF_STUDY = {one.name for one in fields(StudyOptions)}

_as_in_study = partial(like, StudyOptions)


@dataclass(frozen=True, kw_only=True)
class EmergenceOptions:
    """What a user may decide about a series of checkpoints, as given.

    `checkpoints` are given by position: model folders, or `NAME@REVISION` of a hub. The other
    fields are options, as in `synkern.study.settings.StudyOptions`; those of the same name mean the
    same, for the study of every checkpoint.
    """

    checkpoints: Sequence[str | Path] = field(kw_only=False)
    out: str | Path = field(
        metadata=Option(
            help="folder to write",
            more="Made if missing. Every checkpoint has a study of its own in it, in own/ and "
            "forced/, and stages of these whose ingredients are the same are reused.",
            metavar="DIR",
        ).described
    )
    labels: tuple[str, ...] | None = field(
        default=None,
        metadata=Option(
            help="what the checkpoints are called, in their order, by default as their folders",
            more="A number at the end is the step.",
            metavar="LABEL",
        ).described,
    )
    text: str | Path | None = field(
        default=None,
        metadata=Option(
            help="file of fixed text for the loss, one passage per line, by default the answers of "
            "the last checkpoint",
            more="Or JSON, as a file of prompts.",
            metavar="FILE",
        ).described,
    )
    beside: tuple[str, ...] | None = field(
        default=None,
        metadata=Option(
            help="folders of other trainings, such as other seeds, whose trends stand beside",
            more="That is, what this call has written of their checkpoints.",
            metavar="DIR",
        ).described,
    )
    nodes: str = _as_in_study("nodes")
    signal: str | None = _as_in_study("signal")
    prompts: str | Path | Sequence[str] | None = _as_in_study("prompts")  # noqa: RUF009
    max_prompts: int | None = _as_in_study("max_prompts")
    new_tokens: int = _as_in_study("new_tokens")
    tau: int = _as_in_study("tau")
    kind: str | None = _as_in_study("kind")
    redundancy: str = _as_in_study("redundancy")
    average: str = _as_in_study("average")
    pairs: str | None = _as_in_study("pairs")
    detrend: str = _as_in_study("detrend")
    seed: int = _as_in_study("seed")
    backend: str = _as_in_study("backend")
    dtype: str = _as_in_study("dtype")
    device: str = _as_in_study("device")
    batch_size: int = _as_in_study("batch_size")
    bootstrap: int = _as_in_study("bootstrap")
    trust_remote_code: bool = _as_in_study("trust_remote_code")
    progress: bool = _as_in_study("progress")

    @property
    def of_study(self) -> dict[str, Any]:
        """The options of the study of every checkpoint, by name."""
        shared = {one.name for one in fields(self)} & _OF_STUDY - {"out"}
        return {name: getattr(self, name) for name in sorted(shared)} | {"control": False}
