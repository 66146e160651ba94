"""What a user decides about an ablation. Light, as `synkern.study.options` is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from synkern.analysis.options import PUBLISHED, RANKINGS
from synkern.interventions.options import ABLATIONS, ORDERS
from synkern.study.experiments.options import ExperimentOptions
from synkern.study.options import Option

AS_PUBLISHED: dict[str, Any] = {
    "kind": ABLATIONS[0],
    "orders": ("synergy", "random"),
    "ranking": PUBLISHED,
    "step": 5,
    "to": 0.4,
    "draws": 5,
}
"""What arXiv:2601.06851 did, as far as its figure and its code tell."""

TO: float = AS_PUBLISHED["to"]
DRAWS = 20


@dataclass(frozen=True, kw_only=True)
class AblationOptions(ExperimentOptions):
    """What a user may decide about an ablation, as given."""

    kind: str | None = field(
        default=None,
        metadata=Option(
            help=f"what comes in the place of a node (default: {ABLATIONS[0]})",
            more="As `synkern.ablate` takes it.",
            choices=ABLATIONS,
        ).described,
    )
    orders: tuple[str, ...] | None = field(
        default=None,
        metadata=Option(
            help="orders in which nodes are taken out (default: all that these nodes have)",
            more="See `synkern.interventions.orders`; `synergy`, which the others are compared "
            "with, has to be among them.",
            choices=ORDERS,
            metavar="ORDER",
        ).described,
    )
    ranking: str | None = field(
        default=None,
        metadata=Option(
            help=f"scores that decide the orders (default: {PUBLISHED})",
            more="The report shows the synergy order of a second one beside.",
            choices=RANKINGS,
        ).described,
    )
    step: int | None = field(
        default=None,
        metadata=Option(
            help="nodes more that are out at each point (default: one in 50, 5 as published)",
            least=1,
        ).described,
    )
    to: float | None = field(
        default=None,
        metadata=Option(
            help=f"share of the nodes that are out at the last point (default: {TO})",
            least=0,
            most=1,
        ).described,
    )
    draws: int | None = field(
        default=None,
        metadata=Option(
            help="draws of each order that chance has a part in (default: "
            f"{DRAWS}, {AS_PUBLISHED['draws']} as published)",
            least=1,
        ).described,
    )
    as_published: bool = field(
        default=False,
        metadata=Option(
            help="as in arXiv:2601.06851: zeros, 5 nodes a step to 40 %, 5 random orders",
            more="Without the controls that say what the ranking is worth.",
            stated=False,
        ).described,
    )
    split_half: bool = field(
        default=False,
        metadata=Option(
            help="also judge each half of the prompts by scores from the other half",
            more="The recorded series of each half are decomposed again.",
        ).described,
    )
    max_prompts: int | None = field(
        default=None,
        metadata=Option(
            help="judge by so many of the prompts only",
            more="Spread evenly over them; None uses all.",
            least=2,
        ).described,
    )
    answer_tokens: int | None = field(
        default=None,
        metadata=Option(
            help="judge by so many tokens of each answer only",
            more="The first; None uses all.",
            least=1,
        ).described,
    )
