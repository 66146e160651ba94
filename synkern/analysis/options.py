"""The options of an analysis, each named once; words alone, as `synkern.decomposition.options`."""

from __future__ import annotations

from typing import Literal, get_args

Null = Literal["cross_trial", "row_shift", "circular", "block", "phase"]
"""How surrogates of a null test are drawn, by its name in `surrogates.NULLS`."""

NULL_NAMES: tuple[Null, ...] = get_args(Null)

RANKINGS = ("mean_difference", "rank_difference", "balance")
"""Three ways in use to say how synergistic a node is; they differ (Spearman 0.25 between two of
them), so a result names the one it used.

`mean_difference`: mean over its pairs of sts - rtr, nats; the code and the figures of
arXiv:2601.06851.
`rank_difference`: tied rank of the node's mean synergy minus that of its mean redundancy, as in
Luppi et al., Nat. Neurosci. 2022, and the text of the former.
`balance`: mean over its pairs of sts / (sts + rtr), pairs where the sum is not positive left out;
a replication of it.
"""

PUBLISHED = "mean_difference"
"""The ranking that the published figures of arXiv:2601.06851 show: what "as published" is here."""
