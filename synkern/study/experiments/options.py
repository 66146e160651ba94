"""What a user decides about every experiment. Light, as `synkern.study.options` is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from synkern.study.options import Option, like
from synkern.study.settings import StudyOptions

REFERENCE = "synergy"
"""The order of nodes that all others are compared with."""


@dataclass(frozen=True, kw_only=True)
class RecordedOptions:
    """What a user may decide about an experiment that takes what was recorded, and no model.

    An option is a field, as in `synkern.study.settings.StudyOptions`; results depend on those that
    are `stated`. An experiment has a dataclass of its own, derived from this one or one of the
    next.
    """

    out: str | Path = field(
        metadata=Option(
            help="folder of a finished study",
            more="Its results and its report are added to. An earlier result of the same "
            "experiment there is reused if its ingredients are the same, else replaced.",
            metavar="DIR",
            stated=False,
        ).described
    )
    seed: int = field(
        default=0,
        metadata=Option(
            help="of everything drawn at random", more="Below 2**63.", least=0
        ).described,
    )
    device: str | None = field(
        default=None,
        metadata=Option(
            help="where it is computed: cpu, cuda, ..., by default as in the study"
        ).described,
    )
    progress: bool = like(StudyOptions, "progress")


@dataclass(frozen=True, kw_only=True)
class ExperimentOptions(RecordedOptions):
    """What a user may decide about an experiment that lets the model read, as given."""

    batch_size: int = field(
        default=16, metadata=Option(help="texts that the model reads at once", least=1).described
    )
    model: str | None = field(
        default=None,
        metadata=Option(
            help="where the model of the study is now, if it has moved",
            more="It must have the weights that were studied.",
            stated=False,
        ).described,
    )
    trust_remote_code: bool = like(
        StudyOptions,
        "trust_remote_code",
        more="Has to be allowed again where the study allowed it.",
        stated=False,
    )


@dataclass(frozen=True, kw_only=True)
class AnswersOptions(ExperimentOptions):
    """What a user may decide about an experiment that judges by the answers of the study."""

    max_prompts: int | None = like(
        StudyOptions,
        "max_prompts",
        help="judge by so many of the prompts only",
        more="Spread evenly over them; None uses all.",
        stated=True,
    )
    answer_tokens: int | None = field(
        default=None,
        metadata=Option(
            help="judge by so many tokens of each answer only",
            more="The first; None uses all.",
            least=1,
        ).described,
    )
