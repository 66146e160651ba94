"""The stage that decomposes all pairs of nodes: scores of the nodes, and profiles over depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synkern import analysis
from synkern.analysis.profile import MEANS, MISSING_TOLERATED, profiles_from_arrays
from synkern.analysis.scores import mean_over_pairs
from synkern.models.options import NODE_SIGNALS
from synkern.study import report
from synkern.study.settings import TRAINED, WEIGHTS, Settings
from synkern.study.stage import EXCESS, Arrays, Drawn, Facts, Results, Sources, Stage
from synkern.study.stages.decomposing import PROFILE, analyse
from synkern.study.stages.routing import RESTATES, routing_clause, routing_lines
from synkern.study.stages.series import decompose, decompose_by_node

Floats = NDArray[np.float64]

# Synergy and its reference, of the nodes and of unrelated ones.
_FOR_EXCESS = 4
_COMBINED = {
    "trials": "per prompt, then averaged",
    "moments": "moments pooled over prompts, then once",
    "concatenate": "prompts joined to one series, then once",
}
_AVERAGED = "per prompt, averaged over the pairs of each node, then over prompts"


class Analysis(Stage):
    """Decomposes all pairs of nodes, scores the nodes, and fits their profiles over depth.

    Its arrays: `sts` and `rtr` (nodes, nodes), or `synergy` and `redundancy` (nodes,) where pairs
    are averaged; `autocorrelation` (nodes,), `profile_F` for every field F of a layer profile, one
    row per ranking and mean; where there is excess synergy, `excess_sts` and `excess_trials`
    (nodes, nodes).
    """

    name = "analysis"
    after = ("recording",)
    too_large = "use fewer prompts (max_prompts), or pool them (average = 'moments')"
    pictures = (
        *("profiles", "synergy"),
        # Of any kind: the folder may hold the report of another.
        *(f"{nodes}_{weights}" for nodes in NODE_SIGNALS for weights in WEIGHTS),
        *("routing_*", "pairs_*", "excess_*"),
    )
    words: ClassVar[Mapping[str, Any]] = {"restates": RESTATES}

    def plan(self, settings: Settings, nodes: int, layers: int) -> str:
        """Say how many pairs there are."""
        pairs, pooled = nodes * (nodes - 1) // 2, settings.average != "trials"
        each = pairs if pooled else pairs * len(settings.asked)
        return (
            f"decompose {pairs:,} pairs of {settings.words.many} ({each:,} decompositions"
            f"{', and as many for each bootstrap draw' if pooled else ''}"
            f"{', averaged by node at once' if settings.averaged else ''}) with "
            f"{settings.bootstrap:,} bootstrap draws"
        )

    def decompositions(self, settings: Settings) -> int:
        """Return one, more for the excess, and one for each draw of prompts that are pooled."""
        if settings.average != "trials":
            return 1 + settings.bootstrap
        return 1 + (_FOR_EXCESS if settings.excess_absent is None else 0)

    def matrices(self, settings: Settings) -> int:
        """Return those of synergy and redundancy, and of the excess and its count."""
        if settings.averaged:
            return 0
        return 2 + (2 if settings.excess_absent is None else 0)

    def try_out(self, settings: Settings) -> None:
        """Decompose a few random numbers.

        Raises:
            ValueError: a backend that cannot run here, or that does not have the estimator.
        """
        series = np.random.default_rng(0).normal(size=(1, 64, 4))
        work = decompose_by_node if settings.averaged else decompose
        work(replace(settings, tau=1), series)

    def run(self, sources: Sources, weights: str) -> tuple[Arrays, Facts]:
        """Decompose, score and fit.

        Raises:
            StudyError: the recording gives nothing to decompose or to show.
        """
        recorded = sources.of(weights)
        return analyse(
            sources.settings,
            sources.series(weights),
            recorded["layer"],
            weights,
            recorded.get("routed"),
        )

    def method(self, settings: Settings) -> Facts:
        """Return preparation, decomposition, excess and intervals."""
        return {
            "preparation": settings.detrend,
            "decomposition": f"{settings.kind}, {settings.redundancy} redundancy, float64; "
            + (_AVERAGED if settings.averaged else _COMBINED[settings.average]),
            "excess": settings.excess_absent
            or "sts minus that of two AR(1) nodes with the pair's "
            "persistence and lag-0 correlation; per prompt, then averaged over prompts with both",
            "intervals": "95 % percentile bootstrap over prompts",
        }

    def finding(self, results: Results) -> str:
        """Say how far the ranking restates how often nodes were routed, where some are not."""
        return routing_clause(results.words, results.facts(self.name)[TRAINED])

    def summary(self, results: Results) -> list[str]:
        """Say why there is no excess synergy, where there is none, and what routing explains."""
        lines = []
        for weights, facts in results.facts(self.name).items():
            if facts["excess"]["absent"] is not None:
                lines.append(f"no excess synergy, {weights}: {facts['excess']['absent']}")
            lines += routing_lines(results.words, weights, facts)
        return lines

    def figures(self, results: Results) -> Iterator[Drawn]:
        """Draw the profiles over depth, of the scores and of the synergy itself."""
        name, facts = results.name, results.facts(self.name)
        titled = {report.of_weights(w): profiles for w, profiles in results.profiles.items()}
        rankings = sum(ranking not in MEANS for ranking in next(iter(titled.values())))
        title = f"{name}: layer profiles of {report.spelled(rankings)} rankings"
        figure = report.layer_profile_curves(titled, title)
        yield Drawn("profiles.png", figure, "profiles")
        missing = {
            report.of_weights(weights): _missing_by_layer(
                self._referenced(results, weights), results.arrays[f"{weights}_layer"]
            )
            for weights, profiles in results.profiles.items()
            if EXCESS in profiles
        }
        unit = next(iter(facts.values()))["unit"]
        figure = report.synergy_curves(titled, missing, f"{name}: synergy over depth", unit)
        yield Drawn("synergy.png", figure, "synergy")

    def figures_of(self, results: Results, weights: str) -> Iterator[Drawn]:
        """Draw the scores of all nodes, the atoms of all pairs, and what is beyond persistence."""
        arrays, profiles, words = results.of(weights), results.profiles[weights], results.words
        facts = results.facts(self.name)[weights]
        layer, unit = arrays["layer"], facts["unit"]
        said = f"{results.name}, {report.of_weights(weights)}"
        scores = {r: profile.scores for r, profile in profiles.items() if r not in MEANS}
        title = f"{said}: score of every {words.one}"
        figure = report.score_maps(scores, layer, arrays["index"], title, words, unit)
        yield Drawn(f"{words.kind}_{weights}.png", figure, "scores")
        if "routed" in arrays:
            tokens = facts["trials"] * facts["routing"]["steps"]
            share = arrays["routed"].sum(0) / tokens
            title = f"{said}: how often each {words.one} was routed"
            figure = report.routing_maps(share, scores, layer, arrays["index"], title, words)
            yield Drawn(f"routing_{weights}.png", figure, "routing")
        if "sts" in arrays:
            title = f"{said}: synergy and redundancy of all pairs of {words.many}"
            figure = report.pair_matrices(arrays["sts"], arrays["rtr"], layer, title, words, unit)
            yield Drawn(f"pairs_{weights}.png", figure, "pairs")
        if EXCESS in profiles:
            share = self._referenced(results, weights)
            known = np.where(share >= 1 - MISSING_TOLERATED, arrays["excess_sts"], np.nan)
            title = f"{said}: synergy of all pairs beyond persistence"
            shown = known, _without_diagonal(share)
            figure = report.excess_matrices(*shown, layer, title, words, unit)
            yield Drawn(f"excess_{weights}.png", figure, "excess")

    def _referenced(self, results: Results, weights: str) -> Floats:
        """(nodes, nodes) share of the trials in which a pair has a reference."""
        trials = results.facts(self.name)[weights]["trials"]
        return np.asarray(results.arrays[f"{weights}_excess_trials"] / trials, np.float64)


def profiles_from(arrays: Mapping[str, NDArray[Any]]) -> dict[str, analysis.LayerProfile]:
    """Return the layer profiles that the stage left in the arrays of one model, by ranking."""
    return profiles_from_arrays(
        {n.removeprefix(PROFILE): rows for n, rows in arrays.items() if n.startswith(PROFILE)}
    )


def _missing_by_layer(referenced: Floats, layer: NDArray[np.int64]) -> Floats:
    """(layers,) share of the (trial, pair) of a layer's nodes that have no reference."""
    by_node = 1 - mean_over_pairs(_without_diagonal(referenced))
    return np.array([by_node[layer == one].mean() for one in np.unique(layer)])


def _without_diagonal(matrix: Floats) -> Floats:
    return np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)
