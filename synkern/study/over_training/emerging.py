"""Carrying out a series of checkpoints: a study of each with either text, a loss, and one page."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from synkern.study.checks import checked, on_device
from synkern.study.errors import ArgumentError, StudyError
from synkern.study.folder import alone_in, check_name
from synkern.study.options import called_with, check
from synkern.study.over_training.checkpoints import Checkpoint, checkpoints_of
from synkern.study.over_training.losses import Losses, passages
from synkern.study.over_training.measured import FORCED, OWN, Measured, Point
from synkern.study.over_training.options import EmergenceOptions
from synkern.study.over_training.others import as_stated, others_of
from synkern.study.over_training.result import Emergence
from synkern.study.provenance import check_packages, digest, prompts_digest
from synkern.study.run import run_study
from synkern.study.settings import Settings, StudyOptions
from synkern.study.texts import FinishedTexts

T = TypeVar("T")


@called_with(EmergenceOptions)
def emergence(options: EmergenceOptions) -> Emergence:
    """Study the checkpoints of a training one after the other: what comes about, and when.

    `checkpoints` is a list of model folders, or of `NAME@REVISION`. Each is studied twice: while it
    answers the prompts itself (`own`, as published), and while it reads the answers of the last
    checkpoint (`forced`), so that only the network changes and not the text as well. The studies
    are those of `synkern.study.run_study`, without a control, in the folders own/ and forced/ of
    `out`. A checkpoint that cannot be studied is reported, and the others go on. The page
    emergence.html shows profile, quadratic term and slopes, mean synergy and redundancy, likeness
    to the last checkpoint, degenerate series and loss by step; emergence.json has the numbers.
    Other trainings of which this was called before, such as other seeds, stand `beside`.

    Raises:
        ArgumentError: a ValueError: fewer than two checkpoints, one given twice, an option that
            cannot be used, a folder to stand beside that cannot be read, or an `out` that holds a
            study.
        TypeError: prompts that are not strings.
        OSError: no such file of prompts or of text, or a file that cannot be written.
        MissingPackageError: an ImportError: a package of the extras `llm` or `plot` is missing.
        StudyError: no checkpoint can be studied; the reason is that of the last one.
    """
    check(options)
    found, notes = checkpoints_of(options)
    check_packages()
    out = _checked_out(options)
    # What is wrong with the options is wrong for every checkpoint.
    settings = on_device(checked(_of(options, found[-1], out / OWN)))
    read = {
        "prompts": len(settings.asked),
        "prompts_sha256": prompts_digest(settings.asked),
        "text_sha256": None if options.text is None else digest(passages(options)),
    }
    others, differing = others_of(options, found, read)
    notes += differing
    page = importlib.import_module("synkern.study.over_training.page")
    with alone_in(out):
        page.remove_outdated(out, as_stated(options), read)
        run = _Run(options, settings, out, notes)
        for note in notes:
            settings.say(f"emergence: {note}")
        points, source = run.points(found)
        notes += _other_shapes(points, source)
        result = Emergence(tuple(points), source, others, tuple(notes), read, options)
        return replace(result, report=page.write_page(result, out))


def _other_shapes(points: Sequence[Point], source: Checkpoint) -> Iterator[str]:
    """Say which checkpoints have other nodes than the last one, and cannot be compared with it."""
    shapes = {
        point.checkpoint.label: profile.scores.shape + profile.layers.shape
        for point in points
        for one in [point.own or point.forced]
        if one is not None
        for profile in [next(iter(one.profiles.values()), None)]
        if profile is not None
    }
    of_last = shapes.get(source.label)
    for label, shape in shapes.items():
        if of_last is not None and shape != of_last:
            yield (
                f"{label} has {shape[0]} nodes in {shape[1]} layers and {source.label} "
                f"{of_last[0]} in {of_last[1]}: they are not compared"
            )


def _of(options: EmergenceOptions, one: Checkpoint, folder: Path) -> StudyOptions:
    """The options of the study of a checkpoint with its own text."""
    return StudyOptions(one.model, out=folder / one.folder, **options.of_study)


def _checked_out(options: EmergenceOptions) -> Path:
    check_name(options.out)
    out = Path(options.out)
    if (out / "study.npz").exists():
        raise ArgumentError(
            f"out = {str(out)!r} is the folder of a study; name another one, in which every "
            "checkpoint gets a study of its own"
        )
    if out.exists() and not out.is_dir():
        raise StudyError(f"out = {str(out)!r} is a file; name a folder")
    out.mkdir(parents=True, exist_ok=True)
    return out


@dataclass(frozen=True)
class _Run:
    options: EmergenceOptions
    settings: Settings
    out: Path
    notes: list[str]

    def points(self, found: tuple[Checkpoint, ...]) -> tuple[list[Point], Checkpoint]:
        """Study all of them; and the checkpoint whose text the others read.

        Raises:
            StudyError: none can be studied.
        """
        problems: dict[str, list[str]] = {one.label: [] for one in found}
        own = {one.label: self._study(one, OWN, problems, found) for one in found}
        alive = [one for one in found if own[one.label] is not None]
        if not alive:
            raise StudyError(
                f"none of the {len(found)} checkpoints can be studied; "
                f"{problems[found[-1].label][0]}"
            )
        source, texts = self._source(found, alive[-1])
        texts_of = self.out / OWN / source.folder
        losses = Losses(self.out, self.options)
        points = []
        for one in found:
            forced = loss = None
            # A text of one token again and again gives no profile, and another text may; where not
            # even a recording is there the checkpoint is broken, which has been said.
            if (self.out / OWN / one.folder / "study.npz").is_file():
                forced = self._study(one, FORCED, problems, found, texts_of)
                measure = partial(losses.of, self._settings(one), texts)
                loss = self._guarded(one, "loss", problems, measure)
            told = tuple(problems[one.label])
            points.append(Point(one, own[one.label], forced, loss, told))
        return points, source

    def _source(
        self, found: tuple[Checkpoint, ...], alive: Checkpoint
    ) -> tuple[Checkpoint, FinishedTexts]:
        """The checkpoint whose answers all read: the last one whose answers are there.

        One that cannot be loaded today, as from a hub that is out of reach, has left its answers in
        the folder; to take those of another one would replace every study of forced text.
        """
        for one in reversed(found[found.index(alive) + 1 :]):
            try:
                texts = FinishedTexts.of(self.out / OWN / one.folder)
                texts.check(self._settings(one))
            except (StudyError, ArgumentError):
                continue
            self._note(
                f"{one.label} cannot be studied now; the text for all is still its answers, which "
                f"are in {str(self.out / OWN / one.folder)!r}"
            )
            return one, texts
        if alive != found[-1]:
            self._note(
                f"{found[-1].label} cannot be studied, so the text for all is the answers of "
                f"{alive.label}, and profiles are compared with its own"
            )
        return alive, FinishedTexts.of(self.out / OWN / alive.folder)

    def _note(self, note: str) -> None:
        self.notes.append(note)
        self.settings.say(f"emergence: {note}")

    def _settings(self, one: Checkpoint) -> Settings:
        return replace(self.settings, model=one.model, out=self.out / OWN / one.folder)

    def _study(
        self,
        one: Checkpoint,
        text: str,
        problems: dict[str, list[str]],
        found: tuple[Checkpoint, ...],
        texts_of: Path | None = None,
    ) -> Measured | None:
        options = replace(_of(self.options, one, self.out / text), texts_of=texts_of)
        self.settings.say(
            f"emergence: {one.label}, {text} text ({found.index(one) + 1} of {len(found)})"
        )
        return self._guarded(
            one, f"{text} text", problems, lambda: Measured.of(run_study(**vars(options)))
        )

    def _guarded(
        self,
        one: Checkpoint,
        what: str,
        problems: dict[str, list[str]],
        work: Callable[[], T],
    ) -> T | None:
        """Do it, or note why it cannot be done: a broken checkpoint does not stop the others."""
        try:
            return work()
        except (StudyError, ArgumentError, OSError) as error:
            if isinstance(error, ImportError):
                raise
            problems[one.label].append(f"{one.label}, {what}: {' '.join(str(error).split())}")
            self.settings.say(f"emergence: {problems[one.label][-1]}")
            return None
