"""The profiles of a comparison by one ranking, and how alike they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synkern.analysis.comparison import DepthProfile, Similarity, similarities
from synkern.analysis.normalisation import NORMALISATIONS
from synkern.study.comparison.options import CompareOptions


@dataclass(frozen=True, eq=False, repr=False)
class ByRanking:
    """The comparison by one ranking.

    Attributes:
        ranking: one of `synkern.analysis.scores.RANKINGS`.
        profiles: of all members that have it.
        similarities: by normalisation, of the profiles that have it; none where fewer than two do.
        normalisation: the first that all have, and under which most is shown.
    """

    ranking: str
    profiles: tuple[DepthProfile, ...]
    similarities: Mapping[str, Similarity]
    normalisation: str

    @classmethod
    def of(
        cls, ranking: str, profiles: Sequence[DepthProfile], options: CompareOptions
    ) -> ByRanking:
        """Compare the profiles under every normalisation."""
        having = {n: [p for p in profiles if n in p.values] for n in NORMALISATIONS}
        found = {
            normalisation: similarities(
                some,
                normalisation,
                points=options.points,
                surrogates=options.surrogates,
                seed=options.seed,
            )
            for normalisation, some in having.items()
            if len(some) > 1
        }
        shown = next(n for n, some in having.items() if len(some) == len(profiles))
        return cls(ranking, tuple(profiles), found, shown)

    def __repr__(self) -> str:
        """One line: ranking and size."""
        return f"ByRanking({self.ranking!r} of {len(self.profiles)} profiles)"

    @property
    def similarity(self) -> Similarity | None:
        """That under `normalisation`; None of a single profile."""
        return self.similarities.get(self.normalisation)
