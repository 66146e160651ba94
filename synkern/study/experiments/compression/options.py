"""What a user decides about a compression. Light, as `synkern.study.options` is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synkern.interventions.options import BIT_PAIRS, KEPT_ORDERS, KEPT_SHARES
from synkern.study.errors import ArgumentError
from synkern.study.experiments.ablation.options import DRAWS, AblationOptions
from synkern.study.experiments.options import AnswersOptions
from synkern.study.experiments.perturbation.options import BUILTIN, PerturbationOptions
from synkern.study.options import Option, like

if TYPE_CHECKING:
    from synkern.tasks import Task


def pair_of(name: str, text: Any) -> tuple[int, int]:
    """Return high and low bits of a text such as "4/2".

    Raises:
        ArgumentError: it is none.
    """
    parts = str(text).split("/")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise ArgumentError(f"{name}: {text!r}; give the higher bits and the lower ones, as 4/2")
    return int(parts[0]), int(parts[1])


def _check_pairs(name: str, values: Any) -> None:
    for value in values:
        pair_of(name, value)


@dataclass(frozen=True, kw_only=True)
class CompressionOptions(AnswersOptions):
    """What a user may decide about a compression, as given."""

    pairs: tuple[str, ...] = field(
        default=tuple(f"{high}/{low}" for high, low in BIT_PAIRS),
        metadata=Option(
            help="high and low bits of the nodes' weights: 1 to 8, 16 for half precision, 0 for "
            "nodes that are removed",
            metavar="HIGH/LOW",
            check=_check_pairs,
        ).described,
    )
    shares: tuple[float, ...] = field(
        default=KEPT_SHARES,
        metadata=Option(help="of the nodes that are at the high bits", least=0, most=1).described,
    )
    orders: tuple[str, ...] = like(
        AblationOptions,
        "orders",
        default=KEPT_ORDERS,
        help="whose first nodes are at the high bits",
    )
    ranking: str = like(AblationOptions, "ranking", more="")
    draws: int = like(
        AblationOptions,
        "draws",
        default=DRAWS,
        help="draws of each order that chance has a part in",
    )
    group: int = field(
        default=64,
        metadata=Option(
            help="weights along the input axis that share a step",
            more="It is kept in 16 bits, which are counted.",
            least=1,
        ).described,
    )
    symmetric: bool = field(
        default=False,
        metadata=Option(
            help="grids around zero, without an offset in 16 bits of its own"
        ).described,
    )
    rest: int | None = field(
        default=None,
        metadata=Option(
            help="bits of all other linear weights (default: they stay as they are)",
            more="Embeddings, output layer and routers always stay.",
            least=0,
            most=16,
        ).described,
    )
    tasks: str | Path | None = like(  # noqa: RUF009
        PerturbationOptions,
        "tasks",
        default=None,
        help=f"ask tasks as well: {BUILTIN}, or a file of JSON lines",
        more="See `synkern.tasks.read`. Judged by likelihood where all have distractors, else by "
        "what the model writes.",
    )
    count: int = like(PerturbationOptions, "count", default=200)
    max_new_tokens: int = like(
        PerturbationOptions,
        "max_new_tokens",
        help="of tasks without distractors, the most tokens that the model writes",
        more="A text that has not ended then is wrong, and counted.",
    )


@dataclass(frozen=True, kw_only=True)
class Decided(CompressionOptions):
    """The same as they will be used: nothing is left to the study.

    Attributes:
        asked: the tasks themselves; None where there are none.
    """

    asked: tuple[Task, ...] | None = None
