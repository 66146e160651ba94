"""Comparing finished studies: what is read, compared and written."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from synkern.analysis.scores import RANKINGS
from synkern.study.comparison import published_profiles
from synkern.study.comparison.by_ranking import ByRanking
from synkern.study.comparison.checking import check_names, checked_folders
from synkern.study.comparison.differences import differences, unknown
from synkern.study.comparison.member import Member
from synkern.study.comparison.options import CompareOptions
from synkern.study.comparison.reading import members_of, names_of, opened
from synkern.study.comparison.result import Comparison
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.options import called_with
from synkern.study.report import called


@called_with(CompareOptions)
def compare(options: CompareOptions) -> Comparison:
    """Compare finished studies, and published profiles, over depth.

    `studies` is a list of the folders of finished studies, which are only read. Every member's
    profile by every ranking is put on a common grid over depth under the normalisations of
    `synkern.analysis.normalisation`; how alike two are, with intervals over prompts and a p value
    against unrelated profiles as smooth as they are, is in `synkern.analysis.comparison`. Intervals
    take the recorded series apart again: as long as the decomposition in the study took, or where
    prompts are pooled (average) so often as there are draws. What differs between the members
    beside their models is in `Comparison.differences`.

    Raises:
        ArgumentError: a ValueError: fewer than two to compare, a folder or a name twice, a
            published name that there is not, an option out of range, more surrogates or draws than
            memory holds, a study whose profiles cannot be compared, or an `out` that holds a study.
        MissingPackageError: an ImportError: a package is missing, of the extra `llm` where studies
            are read, of `plot` where a page is written.
        StudyError: a folder without a finished study, of another format, or that was changed; an
            `out` that cannot be written to.
    """
    folders = checked_folders(options)
    published = published_profiles.chosen(options.published or ())
    studies = [opened(folder) for folder in folders]
    named = list(zip(studies, _names(studies, options), strict=True))
    # Before anything is decomposed, which takes longest.
    names = [name for study, name in named for name in names_of(study, name, options).values()]
    check_names([*names, *(member.name for member in published)])
    members = [member for study, name in named for member in members_of(study, name, options)]
    members += published
    notes = [note for member in members for note in member.notes]
    notes += _by_one_ranking(members)
    compared = Comparison(
        members=tuple(members),
        rankings={one.ranking: one for one in _by_ranking(members, options)},
        differences=tuple(differences(members)),
        unknown=tuple(unknown(members)),
        notes=tuple(notes),
        options=options,
    )
    if options.out is None:
        return compared
    page = importlib.import_module("synkern.study.comparison.page")
    return replace(compared, report=page.write_page(compared, Path(options.out)))


def _by_ranking(members: Sequence[Member], options: CompareOptions) -> Iterator[ByRanking]:
    for ranking in RANKINGS:
        having = [member.profiles[ranking] for member in members if ranking in member.profiles]
        if having:
            yield ByRanking.of(ranking, having, options)


def _by_one_ranking(members: Sequence[Member]) -> Iterator[str]:
    """Say of which members there is nothing by some rankings: they would be gone without a word."""
    for ranking in RANKINGS:
        missing = [member.name for member in members if ranking not in member.profiles]
        if missing and len(missing) < len(members):
            yield f"by {called(ranking)} there is no profile of {', '.join(missing)}"


def _names(studies: Sequence[FinishedStudy], options: CompareOptions) -> list[str]:
    """What the studies are called: as was asked, or as their models, told apart by folders."""
    if options.names is not None:
        return list(options.names)
    models = [Path(study.settings.model).name or study.settings.model for study in studies]
    count = Counter(models)
    return [
        name if count[name] == 1 else f"{name} in {study.path.name or study.path.resolve().name}"
        for name, study in zip(models, studies, strict=True)
    ]
