"""How far a ranking of nodes restates how often each took part, where a router chooses among them.

An expert that the router seldom chooses has a series of few active tokens, and with it little
entropy to share with any other: its place in a ranking may say no more than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern import analysis
from synkern.analysis.profile import MEANS
from synkern.analysis.scores import PUBLISHED
from synkern.study.numerals import number, rounded
from synkern.study.stage import Facts
from synkern.study.stages.statistics import rank_correlation
from synkern.study.words import Words

RESTATES = 0.8
"""From this rank correlation on, of either sign, a ranking is said to restate frequency."""


def routing_of(
    series: NDArray[Any],
    routed: NDArray[np.int64],
    profiles: Mapping[str, analysis.LayerProfile],
    *,
    pooled: bool,
) -> Facts:
    """What routing explains.

    Args:
        series: (trials, time, nodes), as recorded.
        routed: (trials, nodes), at how many of the tokens each node took part.
        profiles: of the nodes, by ranking.
        pooled: whether prompts were decomposed together, so that a node has to be constant in all
            of them for its pairs to have no value.

    Returns:
        `steps` of a trial; `never`, the nodes that never took part; `constant`, of so many `series`
        of a node in a trial, those that do not vary; `pooled`; `median_share` and `largest_share`
        of tokens; and by ranking the rank correlation over nodes of score and frequency.
    """
    trials, steps, nodes = series.shape
    times = routed.sum(0)
    share = times / (trials * steps)
    return {
        "steps": steps,
        "never": int((times == 0).sum()),
        "constant": sum(int((trial == trial[:1]).all(0).sum()) for trial in series),
        "series": trials * nodes,
        "pooled": pooled,
        "median_share": rounded(np.median(share)),
        "largest_share": rounded(share.max()),
        "correlations": {
            ranking: rank_correlation(profile.scores, share)
            for ranking, profile in profiles.items()
            if ranking not in MEANS
        },
    }


def routing_clause(words: Words, facts: Facts) -> str:
    """Say in a clause of the findings what routing explains; "" where there is no router.

    Args:
        words: for the nodes.
        facts: of the analysis of the trained model.
    """
    routing = facts["routing"]
    if routing is None:
        return ""
    rho = routing["correlations"][PUBLISHED]
    if rho is None:
        said = f"how often {words.many} are routed does not vary, so the ranking cannot restate it"
    else:
        restates = (
            "the ranking largely restates how often"
            if abs(rho) > RESTATES
            else "the ranking does not merely restate how often"
        )
        said = (
            f"{restates} each {words.one} was routed (rank correlation "
            f"{number(rho, 2, signed=True)})"
        )
    return f"{said}; {_counted(words, facts)}"


def routing_lines(words: Words, weights: str, facts: Facts) -> list[str]:
    """What routing explains, in lines for a terminal."""
    routing = facts["routing"]
    if routing is None:
        return []
    shown = ", ".join(
        f"{ranking} {'undefined' if rho is None else format(rho, '+.4f')}"
        for ranking, rho in routing["correlations"].items()
    )
    return [
        f"rank correlation over {words.many} with routing frequency, {weights}: {shown}",
        f"routing, {weights}: {_counted(words, facts)}",
    ]


def _counted(words: Words, facts: Facts) -> str:
    routing = facts["routing"]
    lost = "" if routing["pooled"] else ", whose pairs have no value,"
    return (
        f"{routing['constant']:,} of {routing['series']:,} (prompt, {words.one}) have a constant "
        f"series{lost} and {routing['never']:,} of {facts['nodes']:,} {words.many} were never "
        "routed"
    )
