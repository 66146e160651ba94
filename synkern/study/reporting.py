"""From what a folder holds to its report: findings, study.json, pages and figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synkern.study import experiments, explorer, report, stages
from synkern.study.folder import StudyFolder
from synkern.study.numerals import rounded
from synkern.study.stage import Facts, Part, Results, own

if TYPE_CHECKING:
    from synkern.analysis import LayerProfile


def parts() -> tuple[Part, ...]:
    """Return all that a study can consist of: stages, then experiments."""
    return (*stages.STAGES, *experiments.EXPERIMENTS)


def reported(
    folder: StudyFolder,
    about: Mapping[str, Any],
    weights: Sequence[str],
    say: Callable[[str], None],
) -> tuple[Results, Path]:
    """Write study.json, study.npz, pages and figures of all stages and experiments that are there.

    Args:
        folder: of the study, whose stages are finished.
        about: what describes the study as a whole; findings, results and the time that the report
            takes are put in their place.
        weights: that were studied.
        say: takes a line for the user.

    Returns:
        What the study has found, and the path of the page.
    """
    profiles = {one: stages.profiles_from(own(folder.arrays, one)) for one in weights}
    results = {w: {r: _result(p) for r, p in profiles[w].items()} for w in weights}
    started = time.perf_counter()
    say("report: drawing")
    description = folder.save({**about, "results": results})
    shown = Results(description, folder.arrays, profiles)
    sentences = report.findings_of(shown, stages.STAGES, experiments.EXPERIMENTS)
    page = report.write_report(folder, shown, stages.STAGES, sentences, experiments.EXPERIMENTS)
    shown_to_explore = explorer.explored_study(shown, parts(), sentences)
    folder.write(explorer.FILE, explorer.explorer_page(shown_to_explore))
    seconds = {"report": round(time.perf_counter() - started, 3)}
    told = {**about, "summary": sentences, "results": results, "seconds": seconds}
    return Results(folder.save(told), folder.arrays, profiles), page


def _result(profile: LayerProfile) -> Facts:
    """A profile's numbers for study.json, where what is infinite or missing is null."""
    return {
        "quadratic_term": rounded(profile.quadratic),
        "quadratic_term_interval": [rounded(end) for end in profile.quadratic_interval],
        "vertex_depth": rounded(profile.vertex),
        "vertex_depth_interval": [rounded(end) for end in profile.vertex_interval],
        "rise_interval": [rounded(end) for end in profile.rise_interval],
        "fall_interval": [rounded(end) for end in profile.fall_interval],
        "shuffled_p": round(profile.shuffled_p, 6),
        "missing_share": round(profile.missing_share, 6),
        "inverted_u": profile.verdict,
        "top_layers": list(profile.top_layers()),
    }
