"""What a user decides about a study, checked before anything is loaded or written.

Every option stands once, as a field of `StudyOptions`. Light, as `synkern.study.options` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synkern._faces import Later
from synkern.analysis.options import NULL_NAMES
from synkern.decomposition.options import AVERAGES, KINDS, REDUNDANCIES, STEPS
from synkern.models.options import NODE_SIGNALS
from synkern.study.errors import ArgumentError
from synkern.study.options import Option, stated
from synkern.study.prompts import Prompt
from synkern.study.telling import bar, say
from synkern.study.words import Words

if TYPE_CHECKING:
    from synkern.models import nodes as node_kinds
else:
    node_kinds = Later("synkern.models.nodes")

TRAINED = "trained"
CONTROL = "random"
WEIGHTS = (TRAINED, CONTROL)
"""Whose results a study has: of the model as it is, and with random weights as a control."""

NONE = "none"
"""The choice of `detrend` and of `null` that does nothing."""

GAUSSIAN, DISCRETE = KINDS
"""The estimators, as `kind` names them."""

KEPT = "kept"
AVERAGED = "averaged"
"""What becomes of pairs: matrices of all of them, or means over the pairs of each node."""

SURROGATES = 99
"""How many a null has unless asked otherwise."""

_SIGNALS = "; ".join(f"{kind}: {', '.join(read)}" for kind, read in NODE_SIGNALS.items())
# What takes the series of a recording apart.
_DECOMPOSING = ("analysis", "null")


def _check_name(name: str, value: str) -> None:
    """Refuse what no file can be called and no file can hold."""
    if not value or "\0" in value or value != value.encode("utf-8", "ignore").decode("utf-8"):
        raise ArgumentError(f"{name} = {value!r} is no name; give one, as readable text")


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What a user may decide about a study, as given.

    A field is all there is to an option: `run_study` and the command `synkern study` take it,
    their help shows it, `synkern.study.options.check` checks it, and the stages that it names
    depend on it.
    """

    model: str = field(
        default="smollm2-135m",
        kw_only=False,
        metadata=Option(
            help="smollm2-135m, gemma3-270m, a model folder, a GGUF file, or a hub name",
            more="The folder is one of transformers. The first two come as packages (see "
            "`synkern.models.load`).",
            check=_check_name,
            stages=("recording",),
        ).described,
    )
    out: str | Path = field(
        metadata=Option(
            help="folder to write",
            more="Made if missing. An earlier study there is taken up again: stages whose "
            "ingredients are the same are reused, others are replaced.",
            metavar="DIR",
            stated=False,
        ).described,
    )
    nodes: str = field(
        default=next(iter(NODE_SIGNALS)),
        metadata=Option(
            help="what is studied of the model",
            more="A kind of node, as `synkern.record` takes it.",
            choices=tuple(NODE_SIGNALS),
            stages=("recording",),
        ).described,
    )
    signal: str | None = field(
        default=None,
        metadata=Option(
            help=f"what is read of a node, by default the first of its kind ({_SIGNALS})",
            more="As `synkern.record` takes it.",
            stages=("recording",),
        ).described,
    )
    # The prompts chosen are an ingredient of a recording, not how they were chosen.
    prompts: str | Path | Sequence[str] | None = field(
        default=None,
        metadata=Option(
            help="JSON or one prompt per line; default: the built-in 60",
            more="The name of a file (see `synkern.study.prompts.load_prompts`), or a list of "
            "strings.",
            metavar="FILE",
            stated=False,
        ).described,
    )
    max_prompts: int | None = field(
        default=None,
        metadata=Option(
            help="use only so many of the prompts",
            more="Spread evenly over the list; None uses all.",
            least=2,
            stated=False,
        ).described,
    )
    new_tokens: int = field(
        default=100,
        metadata=Option(
            help="tokens per answer",
            more="That is, samples per series.",
            least=1,
            stages=("recording",),
        ).described,
    )
    # The texts are an ingredient of a recording, not where they are.
    texts_of: str | Path | None = field(
        default=None,
        metadata=Option(
            help="folder of a finished study whose answers the model reads, instead of writing its "
            "own",
            more="That study must have asked the same prompts, and its model must have the same "
            "tokenizer. So two models, or checkpoints of one, are studied on one text.",
            metavar="DIR",
        ).described,
    )
    tau: int = field(
        default=1, metadata=Option(help="lag in tokens", least=1, stages=_DECOMPOSING).described
    )
    kind: str | None = field(
        default=None,
        metadata=Option(
            help=f"estimator, by default {GAUSSIAN}, or {DISCRETE} where idle nodes are 0",
            more="As in `synkern.phiid`, in nats or in bits.",
            choices=KINDS,
            stages=_DECOMPOSING,
        ).described,
    )
    redundancy: str = field(
        default=REDUNDANCIES[0],
        metadata=Option(
            help="redundancy function",
            more="As in `synkern.phiid`.",
            choices=REDUNDANCIES,
            stages=_DECOMPOSING,
        ).described,
    )
    average: str = field(
        default=AVERAGES[0],
        metadata=Option(
            help="how prompts combine",
            more="Of trials, each is decomposed, and the atoms averaged. The others are pooled and "
            "decomposed once, and once more for every bootstrap draw.",
            choices=AVERAGES,
            stages=("analysis",),
        ).described,
    )
    pairs: str | None = field(
        default=None,
        metadata=Option(
            help="whether matrices of all pairs are kept, or averaged by node at once "
            f"(default: {KEPT}, {AVERAGED} of neurons)",
            more="Averaged, memory grows with the nodes and not with their pairs; there is neither "
            "a figure of pairs nor a null, an excess or a balance, which are made of single pairs.",
            choices=(KEPT, AVERAGED),
            stages=("analysis",),
        ).described,
    )
    detrend: str = field(
        default=NONE,
        metadata=Option(
            help="what is done to each series before",
            more="A step of `synkern.decomposition.PREPROCESSING`. Persistence, and with it "
            "synergy, changes with it.",
            choices=(NONE, *STEPS),
            stages=_DECOMPOSING,
        ).described,
    )
    null: str = field(
        default=NONE,
        metadata=Option(
            help="test every pair against a null",
            more="One of `synkern.analysis.nulls` (row_shift for Gaussian series only). Needs "
            "average trials. Costs `null_draws` decompositions of all prompts for each model.",
            choices=(NONE, *NULL_NAMES),
            stages=("null",),
        ).described,
    )
    null_draws: int | None = field(
        default=None,
        metadata=Option(
            help=f"surrogates of the null (default: {SURROGATES})",
            # null_test refuses fewer, whose p values cannot be small.
            least=19,
            stages=("null",),
        ).described,
    )
    seed: int = field(
        default=0,
        metadata=Option(
            help="of control weights, bootstrap and null",
            more="Below 2**64.",
            least=0,
            most=2**64 - 1,  # the largest that torch takes
            stages=(f"recording ({CONTROL})", *_DECOMPOSING),
        ).described,
    )
    control: bool = field(
        default=True,
        metadata=Option(
            help="also study the same architecture with random weights",
            off="leave out the model with random weights",
        ).described,
    )
    backend: str = field(
        default="auto",
        metadata=Option(
            help='see "synkern backends"',
            more='Of `synkern.phiid`; "auto" chooses one that runs here.',
            stages=_DECOMPOSING,
        ).described,
    )
    dtype: str = field(
        default="float32",
        metadata=Option(
            help="of the model",
            more="Of its weights and arithmetic; the decomposition always uses float64.",
            choices=("float32", "float64", "bfloat16", "float16"),
            stages=("recording",),
        ).described,
    )
    device: str = field(
        default="auto",
        metadata=Option(
            help="where the model runs: cpu, cuda, ...",
            more='"auto" is "cuda" where there is one, else "cpu".',
            stages=("recording",),
        ).described,
    )
    batch_size: int = field(
        default=30,
        metadata=Option(help="prompts answered at once", least=1, stages=("recording",)).described,
    )
    bootstrap: int = field(
        default=1000,
        metadata=Option(help="bootstrap draws", least=100, stages=("analysis",)).described,
    )
    trust_remote_code: bool = field(
        default=False,
        metadata=Option(
            help="let Python code that comes with the model run here, with all your rights",
            more="The report says so. Without it such a model is refused.",
            stages=("recording",),
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
class Settings(StudyOptions):
    """Options of a study that have been checked, as they will be used.

    Attributes:
        asked: the prompts that `prompts` and `max_prompts` stand for.

    `signal`, `kind` and `pairs` are what is used, never None.
    """

    asked: tuple[Prompt, ...]

    def parameters(self) -> dict[str, Any]:
        """Return all that decides a number, but the prompts themselves."""
        return {name: getattr(self, name) for name in stated(StudyOptions)}

    @property
    def estimator(self) -> dict[str, Any]:
        """Options that `phiid` and `null_test` have in common."""
        return {name: getattr(self, name) for name in ("tau", "kind", "redundancy", "backend")}

    @property
    def words(self) -> Words:
        """What the nodes are called."""
        kind = node_kinds.checked_kind(self.nodes)
        return Words(
            kind=self.nodes,
            one=kind.one,
            many=kind.many,
            numbered=kind.numbered,
            signal=str(self.signal),
            said=kind.signals[str(self.signal)].said,
        )

    @property
    def averaged(self) -> bool:
        """Whether only means over the pairs of each node are kept."""
        return self.pairs == AVERAGED

    @property
    def on_gpu(self) -> bool:
        """Whether the model runs on a GPU of CUDA."""
        return self.device.partition(":")[0] == "cuda"

    @property
    def excess_absent(self) -> str | None:
        """Why the study can have no excess synergy, None if it can."""
        if self.averaged:
            return (
                "the persistence reference is one of single pairs, and this study kept only their "
                f"mean for each node (pairs {AVERAGED})"
            )
        if (self.kind, self.redundancy) != (GAUSSIAN, "MMI"):
            return (
                "the persistence reference exists for kind gaussian with redundancy MMI only, and "
                f"this study used {self.kind} with {self.redundancy}"
            )
        if self.average != "trials":
            return (
                "the persistence reference is one of single trials, and this study pooled them "
                f"(average {self.average})"
            )
        return None

    def say(self, message: str) -> None:
        """Write a line on standard error."""
        say(message, self.progress)

    def bar(self, label: str, total: int, unit: str) -> Any:
        """Return a progress bar on standard error: a context manager with `update(count)`."""
        return bar(label, total, unit, self.progress)
