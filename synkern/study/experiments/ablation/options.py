"""What a user decides about an ablation. Light, as `synkern.study.options` is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from synkern.analysis.options import RANKING_NAMES
from synkern.interventions.options import ABLATION_NAMES, ORDER_NAMES
from synkern.study.experiments.options import REFERENCE, AnswersOptions
from synkern.study.options import Option

DRAWS = 20

AS_PUBLISHED: dict[str, Any] = {
    "kind": ABLATION_NAMES[0],
    "ranking": RANKING_NAMES[0],
    "to": 0.4,
    "orders": ("synergy", "random"),
    "step": 5,
    "draws": 5,
}
"""What arXiv:2601.06851 did, as far as its figure and its code tell."""


@dataclass(frozen=True, kw_only=True)
class AblationOptions(AnswersOptions):
    """What a user may decide about an ablation, as given."""

    kind: str = field(
        default=ABLATION_NAMES[0],
        metadata=Option(
            help="what comes in the place of a node",
            more="As `synkern.ablate` takes it.",
            choices=ABLATION_NAMES,
        ).described,
    )
    orders: tuple[str, ...] | None = field(
        default=None,
        metadata=Option(
            help="orders in which nodes are taken out (default: all that these nodes have)",
            more=f"See `synkern.interventions.curves.orders`; `{REFERENCE}`, which the others are "
            "compared with, has to be among them.",
            choices=ORDER_NAMES,
            metavar="ORDER",
        ).described,
    )
    ranking: str = field(
        default=RANKING_NAMES[0],
        metadata=Option(
            help="scores that decide the orders",
            more="The report shows the order of synergy by a second one beside.",
            choices=RANKING_NAMES,
        ).described,
    )
    step: int | None = field(
        default=None,
        metadata=Option(
            help="nodes more that are out at each point (default: one in 50, 5 as published)",
            least=1,
        ).described,
    )
    to: float = field(
        default=AS_PUBLISHED["to"],
        metadata=Option(
            help="share of the nodes that are out at the last point",
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


@dataclass(frozen=True, kw_only=True)
class Decided(AblationOptions):
    """The same as they will be used: nothing is left to the study."""

    orders: tuple[str, ...]
    step: int
    draws: int
