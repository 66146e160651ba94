"""Reading a finished study for a comparison; its folder is not written to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from synkern.analysis import LayerProfile
from synkern.analysis.comparison import (
    SPLITS,
    DepthProfile,
    drawn_profiles,
    profile_of_scores,
)
from synkern.analysis.profile import MEANS
from synkern.analysis.scores import PUBLISHED
from synkern.study.comparison.member import Member
from synkern.study.comparison.options import CompareOptions
from synkern.study.errors import ArgumentError, StudyError
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.options import RecordedOptions
from synkern.study.folder import StudyFolder
from synkern.study.models import Models
from synkern.study.numerals import percent
from synkern.study.plan import duration
from synkern.study.report.findings import FEW_PROMPTS
from synkern.study.settings import CONTROL, TRAINED
from synkern.study.stage import Sources, step_name
from synkern.study.stages import profiles_from
from synkern.study.stages.decomposing import averages_of

# Of the nodes' quantiles: what arithmetic in another order may do to a node or two of equal scores.
_SAME = 1e-3
_COMPARED = "node_quantile"
# Hexadecimal, of a digest: as many as fit a number of 64 bits.
_DIGITS = 15
# Seconds from which on it is said how long something will take.
_LONG = 10.0


def opened(path: str | Path) -> FinishedStudy:
    """Read a finished study.

    Raises:
        StudyError: there is none, it is not finished, of another format, or was changed.
    """
    if not (Path(path) / "study.npz").is_file():
        raise StudyError(
            f"{str(path)!r} holds no study; make one with `synkern study --out {path}`, or name "
            "the folder of another one"
        )
    # No device is used, whichever the study was made on.
    options = RecordedOptions(out=path, device="cpu")
    return FinishedStudy.taken_up(StudyFolder.open(path), options)


def members_of(study: FinishedStudy, name: str, options: CompareOptions) -> Iterator[Member]:
    """Yield the model of a study and, if asked for and there, its control with random weights.

    Args:
        study: the one.
        name: what its model is called.
        options: of the comparison.

    Raises:
        ArgumentError: profiles that cannot be compared.
        StudyError: the recorded series are missing or were changed.
    """
    for weights, called in names_of(study, name, options).items():
        yield _member(study, weights, called, options)


def names_of(study: FinishedStudy, name: str, options: CompareOptions) -> dict[str, str]:
    """Return by weights what the members are called that `members_of` yields.

    Args:
        study: the one.
        name: what its model is called.
        options: of the comparison.
    """
    names = {TRAINED: name}
    if options.control and step_name("analysis", CONTROL) in study.steps:
        names[CONTROL] = f"{name}, {CONTROL} weights"
    return names


def _member(study: FinishedStudy, weights: str, name: str, options: CompareOptions) -> Member:
    settings = replace(study.settings, backend="auto", progress=options.progress)
    sources = Sources(settings, Models(settings), study.arrays)
    layer = sources.of(weights)["layer"]
    tests = {r: p for r, p in profiles_from(sources.of(weights)).items() if r not in MEANS}
    notes: list[str] = []
    try:
        profiles = {r: profile_of_scores(name, p.scores, layer) for r, p in tests.items()}
        if options.bootstrap:
            drawn = _drawn(study, sources, weights, name, options)
            notes = _differing(drawn[PUBLISHED], profiles[PUBLISHED])
            profiles = {r: replace(drawn[r], values=p.values) for r, p in profiles.items()}
    except ValueError as error:
        raise ArgumentError(f"the study in {str(study.path)!r} cannot be compared: {error}") from (
            error
        )
    notes += _missing(name, tests[PUBLISHED])
    return Member(
        name=name,
        model=settings.model,
        source=str(study.path),
        layers=len(np.unique(layer)),
        nodes=len(layer),
        about=_about(study, weights),
        profiles=profiles,
        tests=tests,
        notes=tuple(notes),
    )


def _drawn(
    study: FinishedStudy, sources: Sources, weights: str, name: str, options: CompareOptions
) -> dict[str, DepthProfile]:
    """Profiles with draws of the prompts, from the recorded series, decomposed again."""
    settings, arrays = sources.settings, sources.of(weights)
    draws = options.bootstrap + 2 * SPLITS + 1
    took = float(study.steps[step_name("analysis", weights)]["seconds"]["decomposition"])
    expected = took if settings.average == "trials" else took * (1 + draws)
    if expected >= _LONG:
        settings.say(
            f"{name}: decomposing again for intervals, about {duration(expected)} if it is as fast "
            "as in the study (--bootstrap 0 leaves them out)"
        )
    averages = averages_of(settings, sources.series(weights), weights)
    # Of models that have answered the same prompts, the same prompts are drawn.
    prompts = int(str(study.description["prompts"]["sha256"])[:_DIGITS], 16)
    with settings.bar(f"{name}: drawing prompts", draws, "draw") as bar:
        return drawn_profiles(
            name,
            averages,
            arrays["layer"],
            study.rankings,
            bootstrap=options.bootstrap,
            seed=(options.seed, prompts),
            progress=bar.update,
        )


def _differing(again: DepthProfile, stored: DepthProfile) -> list[str]:
    """A note if what was decomposed again is not what the study has kept."""
    apart = np.abs(again.values[_COMPARED] - stored.values[_COMPARED]).max()
    if apart <= _SAME:
        return []
    return [
        f"{stored.name}: decomposed again, its profile differs from that of the study by up to "
        f"{apart:.2g} of the nodes, so intervals are about slightly other numbers; the study may "
        "have been made with another version of synkern or another backend"
    ]


def _missing(name: str, test: LayerProfile) -> list[str]:
    """A note on what has no value, and on prompts too few for intervals."""
    notes = []
    if test.missing_share > 0:
        notes.append(
            f"{name}: {percent(test.missing_share)} of what was decomposed has no value and enters "
            "no average"
            + ("" if test.complete else ", so much that its profile is one of the rest")
        )
    if test.trials < FEW_PROMPTS:
        notes.append(f"{name}: only {test.trials} prompts, so that intervals are too narrow")
    return notes


def _template(digest: str | None) -> str:
    """Templates are told apart: two models inside templates of their own are asked otherwise."""
    return "none" if digest is None else f"chat template, SHA-256 {digest[:8]}"


def _about(study: FinishedStudy, weights: str) -> dict[str, str | None]:
    """What may differ between studies, in words."""
    used, recorded = study.settings, study.steps[step_name("recording", weights)]
    prompts = study.description["prompts"]
    return {
        "weights": weights,
        "nodes": used.nodes,
        "signal": str(used.signal),
        "estimator": str(used.kind),
        "redundancy": used.redundancy,
        "lag": f"{used.tau} token{'' if used.tau == 1 else 's'}",
        "prompts combined": used.average,
        "preparation": used.detrend,
        "prompts": f"{prompts['count']}, SHA-256 {prompts['sha256'][:8]}",
        "answer": f"{used.new_tokens} tokens"
        + ("" if used.texts_of is None else f", read, of {used.texts_of}"),
        "template": _template(recorded["chat_template"]),
        "dtype": used.dtype,
        "computed by": f"synkern {recorded['environment']['synkern']}",
    }
