"""What a user decides about noise in the weights. Light, as `synkern.study.options` is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from synkern.analysis.options import RANKING_NAMES
from synkern.interventions.options import ALPHAS, SCORING_NAMES, SPREAD_NAMES
from synkern.study.experiments.options import ExperimentOptions
from synkern.study.options import Option

if TYPE_CHECKING:
    from synkern.tasks import Task

BUILTIN = "builtin"
TEMPLATE = "{problem}\nAnswer:"


@dataclass(frozen=True, kw_only=True)
class PerturbationOptions(ExperimentOptions):
    """What a user may decide about noise in the weights, as given."""

    tasks: str | Path = field(
        default=BUILTIN,
        metadata=Option(
            help=f"what the model is asked: {BUILTIN}, or a file of JSON lines",
            more="A line has `problem` or `question`, `answer`, and may have `level`, `category` "
            "and `distractors`, as MATH and GSM8K have; see `synkern.tasks.read`.",
            metavar="FILE",
            stated=False,
        ).described,
    )
    count: int = field(
        default=1000,
        metadata=Option(
            help="built-in tasks that are made",
            more="Those that come twice are asked once.",
            least=1,
        ).described,
    )
    template: str = field(
        default=TEMPLATE,
        metadata=Option(
            help="what stands around each {problem} of a file",
            more="What a model was taught to read around a user's turn can be written out here.",
            metavar="TEXT",
        ).described,
    )
    levels: tuple[int, ...] | None = field(
        default=None,
        metadata=Option(
            help="ask tasks of these levels alone",
            more="A model shows most where it has a third to four fifths right.",
            least=1,
        ).described,
    )
    categories: tuple[str, ...] | None = field(
        default=None,
        metadata=Option(help="ask tasks of these categories alone", metavar="NAME").described,
    )
    scoring: str | None = field(
        default=None,
        metadata=Option(
            help="how answers are judged (default: likelihood if all tasks have distractors, else "
            "exact_match)",
            more="See `synkern.interventions.Scoring`.",
            choices=SCORING_NAMES,
        ).described,
    )
    max_new_tokens: int = field(
        default=512,
        metadata=Option(
            help="of exact_match, the most tokens of a text",
            more="One that has not ended then is wrong, and counted.",
            least=1,
        ).described,
    )
    stop: tuple[str, ...] | None = field(
        default=None,
        metadata=Option(help="of exact_match, strings that end a text", metavar="TEXT").described,
    )
    ranking: str = field(
        default=RANKING_NAMES[0],
        metadata=Option(
            help="scores that decide which nodes are synergistic", choices=RANKING_NAMES
        ).described,
    )
    share: float = field(
        default=0.25,
        metadata=Option(
            help="of the nodes that get noise", more="At most a half.", least=0, most=0.5
        ).described,
    )
    draws: int = field(
        default=5,
        metadata=Option(
            help="random subsets of nodes, and layer-matched ones, each so many", least=1
        ).described,
    )
    noise_seeds: int = field(
        default=3, metadata=Option(help="of the noise of each subset", least=1).described
    )
    alpha: float | None = field(
        default=None,
        metadata=Option(
            help="strength of the noise, in standard deviations (default: chosen on random ones)",
            more="Chosen so that these take accuracy about halfway down to what chance gives.",
            least=0,
        ).described,
    )
    alphas: tuple[float, ...] = field(
        default=ALPHAS,
        metadata=Option(
            help="strengths to choose from",
            more="In rising order, until accuracy is past halfway down.",
            least=0,
        ).described,
    )
    scale: str = field(
        default=SPREAD_NAMES[0],
        metadata=Option(
            help="whose standard deviation: that of each slice of a node, or of a whole tensor",
            choices=SPREAD_NAMES,
        ).described,
    )


@dataclass(frozen=True, kw_only=True)
class Decided(PerturbationOptions):
    """The same as they will be used: nothing is left to the study.

    Attributes:
        asked: the tasks themselves.
    """

    scoring: str
    asked: tuple[Task, ...] = ()
