"""What a user decides about training nodes. Light, as `synkern.study.options` is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from synkern.study.experiments.options import ExperimentOptions
from synkern.study.experiments.perturbation.options import BUILTIN, PerturbationOptions
from synkern.study.options import Option, like
from synkern.training.options import CONDITIONS
from synkern.training.tuning.method import LEARNING_RATES, METHODS, SFT, Method

if TYPE_CHECKING:
    from synkern.tasks import Task

_NUMBERS = Method()


@dataclass(frozen=True, kw_only=True)
class TuningOptions(ExperimentOptions):
    """What a user may decide about training nodes, as given."""

    method: str = field(
        default=SFT,
        metadata=Option(
            help="supervised on right answers, or rewarded for answers of its own",
            more="By the trainers of trl; a study can hold the results of both.",
            choices=METHODS,
        ).described,
    )
    conditions: tuple[str, ...] = field(
        default=CONDITIONS,
        metadata=Option(
            help="which nodes train",
            more="See `synkern.training.conditions`; `none` is the model as it is, and is always "
            "asked the test tasks.",
            choices=CONDITIONS,
            metavar="CONDITION",
        ).described,
    )
    seeds: int = field(
        default=5,
        metadata=Option(
            help="runs of each condition",
            more="With the same order of tasks in all conditions; where chance chooses the nodes, "
            "each run trains others.",
            least=1,
        ).described,
    )
    ranking: str = like(PerturbationOptions, "ranking")
    share: float = field(
        default=0.5,
        metadata=Option(
            help="of the nodes that train in each condition that chooses", least=0, most=1
        ).described,
    )
    kv: bool = field(
        default=False,
        metadata=Option(
            help="train keys and values too; refused where heads share them with others"
        ).described,
    )
    tasks: str | Path = field(
        default=BUILTIN,
        metadata=Option(
            help=f"what the model learns: {BUILTIN}, or a file of JSON lines",
            more="A line has `problem` or `question`, `answer`, and may have `level` and "
            "`category`, as MATH and GSM8K have; see `synkern.tasks.read`. Which tasks are for "
            "training, validation and test their own prompts decide, 8 to 1 to 1, see "
            "`synkern.tasks.Task.split`.",
            metavar="FILE",
            stated=False,
        ).described,
    )
    test_file: str | Path | None = field(
        default=None,
        metadata=Option(
            help="tasks of this file are the test, and those of the other one are not",
            metavar="FILE",
            stated=False,
        ).described,
    )
    train_count: int = field(
        default=2000, metadata=Option(help="most tasks to train on", least=1).described
    )
    validation_count: int = field(
        default=200, metadata=Option(help="most tasks to select the step by", least=1).described
    )
    test_count: int = field(
        default=1000, metadata=Option(help="most tasks to ask at the end", least=1).described
    )
    template: str = like(PerturbationOptions, "template")
    levels: tuple[int, ...] | None = like(
        PerturbationOptions, "levels", help="tasks of these levels alone", more=""
    )
    categories: tuple[str, ...] | None = like(
        PerturbationOptions, "categories", help="tasks of these categories alone"
    )
    steps: int = field(
        default=_NUMBERS.steps, metadata=Option(help="of the optimizer", least=1).described
    )
    texts: int = field(
        default=_NUMBERS.texts,
        metadata=Option(help="texts in a step: answers given, or drawn", least=1).described,
    )
    learning_rate: float | None = field(
        default=None,
        metadata=Option(
            help="the highest (default: "
            + ", ".join(f"{rate:g} for {name}" for name, rate in LEARNING_RATES.items())
            + ")",
            more="After a warm-up; then it falls in a cosine to 0.",
            least=0,
        ).described,
    )
    warmup: float = field(
        default=_NUMBERS.warmup,
        metadata=Option(help="share of the steps in which it rises", least=0, most=1).described,
    )
    weight_decay: float = field(
        default=_NUMBERS.weight_decay,
        metadata=Option(help="of AdamW, of what trains", least=0).described,
    )
    clip: float = field(
        default=_NUMBERS.clip, metadata=Option(help="largest norm of a gradient", least=0).described
    )
    checks: int = field(
        default=_NUMBERS.checks,
        metadata=Option(
            help="times that the validation tasks are asked",
            more="The weights of the best time are tested, and the last ones. A checkpoint, with "
            "the whole model, is written each time: a run that is stopped while it trains goes on "
            "from the newest; one that is stopped while it is tested is done again.",
            least=1,
        ).described,
    )
    max_new_tokens: int = like(
        PerturbationOptions,
        "max_new_tokens",
        default=_NUMBERS.max_new_tokens,
        help="the most tokens of an answer",
    )
    stop: tuple[str, ...] | None = like(
        PerturbationOptions, "stop", help="strings that end an answer"
    )
    generations: int = field(
        default=_NUMBERS.generations,
        metadata=Option(help="answers drawn to a problem (grpo)", least=2).described,
    )
    temperature: float = field(
        default=_NUMBERS.temperature,
        metadata=Option(help="that they are drawn at (grpo)", least=0).described,
    )
    kl: float = field(
        default=_NUMBERS.kl,
        metadata=Option(
            help="weight of the divergence from the model as it was (grpo)",
            more="0: none; else a copy of that model is held beside.",
            least=0,
        ).described,
    )
    again: bool = field(
        default=True,
        metadata=Option(
            help="do the study again with each tuned model",
            off="do not do the study again with each tuned model",
            more="While it writes itself, and while it reads the answers of the study.",
        ).described,
    )
    keep_models: bool = field(
        default=False,
        metadata=Option(
            help="write each tuned model to the folder tuned/ of the study", stated=False
        ).described,
    )


@dataclass(frozen=True, kw_only=True)
class Decided(TuningOptions):
    """The same as they will be used.

    Attributes:
        given: the tasks, by part: train, validation, test.
        notes: what is to be known of them.
    """

    given: dict[str, tuple[Task, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def how(self) -> Method:
        """The method with its numbers.

        Raises:
            ValueError: a number that cannot be used.
        """
        return Method(
            name=self.method,
            steps=self.steps,
            texts=self.texts,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            clip=self.clip,
            checks=self.checks,
            max_new_tokens=self.max_new_tokens,
            stop=self.stop or (),
            generations=self.generations,
            temperature=self.temperature,
            kl=self.kl,
        )
