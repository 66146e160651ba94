"""Carrying out an experiment: in the locked folder of a finished study, to its report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from synkern.study.errors import StudyError, checks_of_arguments
from synkern.study.experiments.experiment import Experiment
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.keys import key_of, stated_of
from synkern.study.experiments.options import ExperimentOptions, RecordedOptions
from synkern.study.experiments.partial import partial_file, remove_partial_files
from synkern.study.folder import StudyFolder
from synkern.study.models import explained
from synkern.study.options import check
from synkern.study.provenance import check_packages, environment_of
from synkern.study.reporting import parts, reported
from synkern.study.stage import Arrays, Facts, Results, named


@dataclass(frozen=True, repr=False)
class ExperimentResult:
    """What an experiment has found, in the folder and the report of its study.

    Attributes:
        experiment: the experiment.
        study: the study with all that belongs to it.
        out: its folder.
        report: the HTML page.
        reused: whether it was there already.
    """

    experiment: Experiment
    study: Results
    out: Path
    report: Path
    reused: bool

    def __repr__(self) -> str:
        """One line: experiment and folder."""
        return f"ExperimentResult({self.experiment.name!r} in {str(self.out)!r})"

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What study.npz holds of it, under names without its own."""
        return self.study.of(self.experiment.name)

    @property
    def facts(self) -> dict[str, Any]:
        """What study.json holds of it."""
        found: dict[str, Any] = self.study.description["stages"][self.experiment.name]
        return found

    def summary(self) -> list[str]:
        """Return in lines for a terminal what it has found."""
        finding = self.experiment.finding(self.study)
        return [*([finding] if finding else []), *self.experiment.summary(self.study)]


def carried_out(experiment: Experiment, options: RecordedOptions) -> ExperimentResult:
    """Carry out an experiment on the finished study in `options.out`.

    Raises:
        ArgumentError: an option that cannot be used, by itself, with others, or with this study.
        MissingPackageError: a package of the extras `llm` or `plot`, or of the experiment's, is
            missing.
        StudyError: there is no finished study, or another process is at work in its folder; the
            model cannot be loaded, or is not the one that was studied; there is not enough memory;
            it cannot be done.
        OSError: a file that cannot be written.
    """
    check(options)
    check_packages(experiment.extra)
    if not (Path(options.out) / "study.npz").is_file():
        raise StudyError(
            f"out = {str(options.out)!r}: there is no study; make one with "
            f"`synkern study --out {options.out}`"
        )
    with StudyFolder.locked(options.out) as folder:
        study = FinishedStudy.taken_up(folder, options)
        with checks_of_arguments():
            used = replace(options, device=study.settings.device)
            options = experiment.resolved(study, used)
        return _within(folder, study, experiment, options)


def _within(
    folder: StudyFolder, study: FinishedStudy, experiment: Experiment, options: RecordedOptions
) -> ExperimentResult:
    name, say = experiment.name, study.settings.say
    environment = environment_of(study.settings, experiment.extra)
    key = key_of(experiment, study, options, environment)
    reason = folder.difference(name, key)
    about = dict(folder.description)
    if reason is None:
        say(f"{name}: reused from {folder.path}")
    else:
        say(f"{name}: " + (f"again, as {reason}" if reason else "starting"))
        file = partial_file(folder.path, name, key)
        arrays, facts = _computed(experiment, study, options, file)
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        facts |= {"finished": finished, "environment": environment}
        facts["options"] = stated_of(experiment, options)
        folder.put(name, key, named(name, arrays), **facts)
        # It shows what is being replaced.
        folder.remove_report(picture for part in parts() for picture in part.pictures)
        folder.save(about)
        remove_partial_files(folder.path, name)
    weights = tuple(about["results"])
    results, page = reported(folder, about, weights, say)
    return ExperimentResult(experiment, results, folder.path, page, reason is None)


def _computed(
    experiment: Experiment, study: FinishedStudy, options: RecordedOptions, partial: Path
) -> tuple[Arrays, Facts]:
    study.settings.say(f"plan: {experiment.plan(study, options)}")
    reading = isinstance(options, ExperimentOptions)
    with (
        explained(study.settings, experiment.done, experiment.too_large)
        if reading
        else _short_of_memory(experiment)
    ):
        arrays, facts = experiment.run(study, options, partial)
    for warning in facts.get("warnings", ()):
        study.settings.say(f"{experiment.name}: {warning}")
    return arrays, facts


@contextmanager
def _short_of_memory(experiment: Experiment) -> Iterator[None]:
    """Say what would help an experiment without a model.

    Raises:
        StudyError: in the place of a MemoryError.
    """
    try:
        yield
    except MemoryError as error:
        raise StudyError(
            f"{experiment.name}: there is not enough memory ({error}); {experiment.too_large}"
        ) from error
