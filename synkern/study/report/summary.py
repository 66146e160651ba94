"""What the command prints of a study: its findings, its profiles, and what its stages add."""

from __future__ import annotations

import math
from collections.abc import Iterable

from synkern.analysis.profile import LayerProfile
from synkern.study.stage import Part, Results


def summary_of(results: Results, parts: Iterable[Part]) -> list[str]:
    """Return the lines that tell on a terminal what a study has found.

    Args:
        results: of the study; the sentences of its description come first.
        parts: all that a study can have.
    """
    lines = [*results.description["summary"], ""]
    lines.append("quadratic term of each profile, slopes before and after its vertex (95 %):")
    for weights, profiles in results.profiles.items():
        for ranking, profile in profiles.items():
            lines.append(_row(weights, ranking, profile))
    for part in parts:
        if results.facts(part.name):
            lines += part.summary(results)
    return lines


def _row(weights: str, ranking: str, profile: LayerProfile) -> str:
    verdict = "inverted U" if profile.inverted_u else "no inverted U"
    if not profile.complete:
        verdict = f"{100 * profile.missing_share:.0f} % missing"
    return (
        f"  {weights:8} {ranking:16} {profile.quadratic:+.4f} "
        f"{_interval(profile.quadratic_interval)}  "
        f"before {_interval(profile.rise_interval)}  "
        f"after {_interval(profile.fall_interval)}  "
        f"{verdict:13}  p = {profile.shuffled_p:.4f} with layers shuffled"
    )


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"[{low:+.4f}, {high:+.4f}]" if math.isfinite(low) else f"{'too few layers':18}"
