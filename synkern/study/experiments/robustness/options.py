"""What a user decides about a robustness table. Light, as `synkern.study.options` is."""

from __future__ import annotations

from dataclasses import dataclass, field

from synkern.study.experiments.options import RecordedOptions
from synkern.study.options import Option


@dataclass(frozen=True, kw_only=True)
class RobustnessOptions(RecordedOptions):
    """What a user may decide about a robustness table, as given."""

    taus: tuple[int, ...] = field(
        default=(1, 2, 3, 4, 5),
        metadata=Option(help="lags in tokens to try", least=1).described,
    )
    bootstrap: int = field(
        default=500,
        metadata=Option(
            help="bootstrap draws of each variant",
            more="Where prompts are pooled, every draw is decomposed anew.",
            least=100,
        ).described,
    )
