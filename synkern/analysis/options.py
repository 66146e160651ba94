"""The options of an analysis, each named once; words alone, as `synkern.decomposition.options`."""

from __future__ import annotations

from typing import Literal, get_args

Null = Literal["cross_trial", "row_shift", "circular", "block", "phase"]
"""How surrogates of a null test are drawn, by its name in `surrogates.NULLS`."""

NULL_NAMES: tuple[Null, ...] = get_args(Null)

RANKING_NAMES = ("mean_difference", "rank_difference", "balance")
"""The rankings of `scores.RANKINGS`, which says what they are; the first is that of the published
figures."""

NULL_GRAPH_NAMES = ("weights", "strengths", "layers")
"""The null graphs of `graph.null_graphs.NULL_GRAPHS`, which says what each keeps."""
