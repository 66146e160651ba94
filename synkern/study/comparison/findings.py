"""A comparison in a few sentences, made from its numbers, for a reader who reads no further."""

from __future__ import annotations

import numpy as np

from synkern.analysis.comparison import Similarity
from synkern.study.comparison.by_ranking import ByRanking
from synkern.study.comparison.result import Comparison
from synkern.study.numerals import number

_SMALL = 0.05


def findings_of(compared: Comparison) -> list[str]:
    """Say what was compared, what was found, and what it does not show."""
    first = next(iter(compared.rankings.values()))
    found = [_bends(compared, first)]
    if first.similarity is not None:
        found.append(_alike(first.similarity))
    return [
        f"Compared: {len(compared.members)} profiles over depth ({', '.join(compared.names)}), by "
        f"{first.ranking.replace('_', ' ')}, the ranking of the published figures, shown as "
        f"{first.normalisation}.",
        f"Found: {'; '.join(found)}.",
        _not_shown(compared),
    ]


def _bends(compared: Comparison, first: ByRanking) -> str:
    tests = [m.tests[first.ranking] for m in compared.members if first.ranking in m.tests]
    if not tests:
        return "of published profiles alone there is no test of an inverted U"
    hold = sum(test.inverted_u for test in tests)
    return f"{hold} of {len(tests)} studied profiles are an inverted U by the test of their study"


def _alike(similarity: Similarity) -> str:
    above = np.triu_indices(len(similarity.names), 1)
    spearman, p = similarity.spearman[above], similarity.p[above]
    small = int((p <= _SMALL).sum())
    low, high = (number(float(v), 2, signed=True) for v in (spearman.min(), spearman.max()))
    if len(p) == 1:
        verdict = "more" if small else "not surely more"
        return (
            f"the two correlate by {low} (Spearman), {verdict} than unrelated profiles as smooth "
            f"as they are would (p = {p[0]:.2g})"
        )
    return (
        f"two profiles correlate by {low} to {high} (Spearman), and {small} of the {len(p)} pairs "
        f"more than unrelated profiles as smooth as they are would at p ≤ {_SMALL:g}, of which "
        f"{_SMALL * len(p):.1f} are to be expected by chance"
    )


def _not_shown(compared: Comparison) -> str:
    beside = [said.partition(":")[0] for said in compared.differences]
    owed = (
        f"that it is the models that differ or agree, as they also differ in {', '.join(beside)}; "
        if beside
        else ""
    )
    return (
        f"Not shown: {owed}that profiles mean the same where they look the same (two humps in the "
        "middle agree easily); or that prompts of another kind would give the same, as intervals "
        "are over prompts like these."
    )
