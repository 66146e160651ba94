"""What a user decides about every experiment. Light, as `synkern.study.options` is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from synkern.study.options import Option


@dataclass(frozen=True, kw_only=True)
class RecordedOptions:
    """What a user may decide about an experiment that takes what was recorded, and no model.

    An option is a field, as in `synkern.study.settings.StudyOptions`; results depend on those that
    are `stated`. An experiment has a dataclass of its own, derived from this one or the next.
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
    progress: bool = field(
        default=True,
        metadata=Option(
            help="show progress bars, and say on standard error what is planned, done and reused",
            off="no progress bars or messages",
            flag="--quiet",
            stated=False,
        ).described,
    )


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
    trust_remote_code: bool = field(
        default=False,
        metadata=Option(
            help="let Python code that comes with the model run here, with all your rights",
            more="Has to be allowed again where the study allowed it.",
            stated=False,
        ).described,
    )
