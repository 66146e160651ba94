"""A stage of a study: what it depends on, what it computes and leaves, and what it shows.

A study is a loop over stages, each for the model's own weights and for random ones. A stage is a
class in `synkern.study.stages`, and a line in the list there: whatever asks something of all stages
(the run, the plan, the folder, the report, the command) asks it of the list. What a stage has in
common with an experiment on a finished study (`synkern.study.experiments`) is a `Part` of the
report.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from numpy.typing import NDArray

from synkern.analysis.profile import MEANS, LayerProfile
from synkern.study import series_file
from synkern.study.models import Models
from synkern.study.room import Model
from synkern.study.settings import TRAINED, WEIGHTS, Settings
from synkern.study.words import Words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from synkern.study.explorer.explored import Chart

RAW, EXCESS, BASELINE = MEANS
"""What the profiles of synergy itself are called: as it is, beyond persistence, and beyond
persistence where nodes of different prompts are paired, which have no relation."""

Arrays = dict[str, NDArray[Any]]
Facts = dict[str, Any]


@dataclass(frozen=True)
class Sources:
    """What a stage may draw on.

    Attributes:
        settings: of the study.
        models: of the study, loaded when first asked for.
        arrays: what the stages before have left; names begin with the weights.
        batch_done: to be called with the series of every batch of prompts, (trials, time, nodes),
            and the seconds since the model began to answer.
    """

    settings: Settings
    models: Models
    arrays: Mapping[str, NDArray[Any]]
    batch_done: Callable[[NDArray[Any], float], None] = lambda series, seconds: None

    def of(self, weights: str) -> Arrays:
        """Return the arrays of one model, under their names without the weights."""
        return own(self.arrays, weights)

    def series(self, weights: str) -> NDArray[Any]:
        """Return the recorded series of one model, (trials, time, nodes) float32.

        Raises:
            StudyError: they are in a file of their own, which is missing or was changed.
        """
        arrays = self.of(weights)
        if "series" in arrays:
            return arrays["series"]
        return series_file.opened(Path(self.settings.out), weights, str(arrays["series_sha256"]))


class Drawn(NamedTuple):
    """A figure, the file it goes to, and the macro of the stage's template that goes with it."""

    file: str
    figure: Figure
    topic: str


@dataclass(frozen=True, repr=False)
class Results:
    """What a study has found, as its report shows it.

    Attributes:
        description: what study.json holds: parameters, environment, stages, results.
        arrays: what study.npz holds, by name; see `synkern.study.run_study`.
        profiles: layer profiles by weights ("trained", "random") and ranking, and of `synergy` and
            `excess_synergy`; the latter is left out where there is none, and
            description["stages"]["analysis (W)"]["excess"]["absent"] says why.
    """

    description: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    profiles: Mapping[str, Mapping[str, LayerProfile]]

    @property
    def words(self) -> Words:
        """What the nodes are called."""
        return Words(**self.description["nodes"])

    @property
    def name(self) -> str:
        """What the model is called for readers."""
        model: str = self.description["parameters"]["model"]
        return Path(model).name or model

    def of(self, weights: str) -> Arrays:
        """Return the arrays of one model, or experiment, under their names without its own."""
        return own(self.arrays, weights)

    def facts(self, part: str) -> dict[str, Facts]:
        """Return what is known of a stage, by weights; of the weights that were studied.

        An experiment, which is one on the trained weights, has facts of these alone.
        """
        stages = self.description["stages"]
        if part in stages:
            return {TRAINED: stages[part]}
        names = {weights: step_name(part, weights) for weights in self.profiles}
        return {weights: stages[name] for weights, name in names.items() if name in stages}


class Part(ABC):
    """What a study may consist of, and its report show: a stage, or an experiment.

    Attributes:
        name: what it is called; so are its entry in study.json, of a stage with the weights behind
            it, and its template.
        after: the names of the stages whose results it takes. Its own are computed again where
            theirs were.
        too_large: what helps where there is not enough memory for it.
        pictures: the files, without `.png`, that its figures go to; `*` for the weights.
        words: names that its template uses beside those of the page.
    """

    name: ClassVar[str]
    after: ClassVar[tuple[str, ...]] = ()
    too_large: ClassVar[str] = "use fewer prompts (max_prompts)"
    pictures: ClassVar[tuple[str, ...]] = ()
    words: ClassVar[Mapping[str, Any]] = {}

    def packages(self, settings: Settings) -> tuple[str, ...]:
        """Return the packages, of the environment in study.json, whose version can change it."""
        return ("synkern", "torch", "numpy")

    def finding(self, results: Results) -> str:
        """Say what it adds to the findings of a study; "" where nothing.

        Of a stage it is a clause in the sentence on what was found, of an experiment a sentence.
        """
        return ""

    def summary(self, results: Results) -> list[str]:
        """Return the lines that the command prints of it."""
        return []

    def figures(self, results: Results) -> Iterator[Drawn]:
        """Draw what shows all weights together."""
        return iter(())

    def figures_of(self, results: Results, weights: str) -> Iterator[Drawn]:
        """Draw what shows one model."""
        return iter(())

    def charts(self, results: Results) -> Iterator[Chart]:
        """Return the curves that it adds to the page to explore."""
        return iter(())


class Stage(Part):
    """One of the stages of a study.

    Attributes:
        weights: whose results it has.
        needs_model: whether the model has to be loaded for it.
        answerings: how many times the model answers the prompts in it.
    """

    weights: ClassVar[tuple[str, ...]] = WEIGHTS
    needs_model: ClassVar[bool] = False
    answerings: ClassVar[int] = 0

    def asked_for(self, settings: Settings) -> bool:
        """Whether the study has this stage at all."""
        return True

    def ingredients(self, settings: Settings) -> Facts:
        """Return what its arrays depend on beside options, packages and earlier stages."""
        return {}

    @abstractmethod
    def plan(self, settings: Settings, nodes: int, layers: int) -> str:
        """Say in a phrase what is going to be done, for a model of so many nodes and layers."""

    def decompositions(self, settings: Settings) -> int:
        """Return how many times it decomposes all pairs of each prompt."""
        return 0

    def matrices(self, settings: Settings) -> int:
        """Return how many matrices of all pairs it leaves for each model."""
        return 0

    def check_room(self, settings: Settings, model: Model, weights: Sequence[str]) -> None:
        """Refuse what the model, or the machine, has no room for; of stages that need the model.

        Raises:
            StudyError: there is not enough of something.
        """

    def try_out(self, settings: Settings) -> None:
        """Use its options on a few random numbers: what cannot work is found before the recording.

        Raises:
            ValueError: a backend that cannot run here, or options that exclude each other.
        """

    @abstractmethod
    def run(self, sources: Sources, weights: str) -> tuple[Arrays, Facts]:
        """Compute.

        Returns:
            Arrays, under names without the weights, and facts about how they came about: JSON, with
            `seconds` by what took them and, if there are any, `warnings`.

        Raises:
            StudyError: it cannot be done; the message says why and what would help.
        """

    def files(self, settings: Settings, arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
        """Return what is written beside the arrays of a study, for readers, by name of the file."""
        return {}

    def method(self, settings: Settings) -> Facts:
        """Return what study.json says of how it is done."""
        return {}


class Step(NamedTuple):
    """A stage for the weights of one model."""

    stage: Stage
    weights: str

    @property
    def name(self) -> str:
        """What the step is called in study.json and in messages."""
        return step_name(self.stage.name, self.weights)


def step_name(stage: str, weights: str) -> str:
    """Return what a stage is called for the weights of one model."""
    return f"{stage} ({weights})"


def steps_of(stages: Iterable[Stage], weights: Sequence[str]) -> list[Step]:
    """Return all steps of a study in order: each stage for all its weights before the next one."""
    return [Step(stage, one) for stage in stages for one in weights if one in stage.weights]


def by_stage(steps: Iterable[Step]) -> dict[Stage, list[str]]:
    """Return for each stage of the steps the weights that it is for."""
    found: dict[Stage, list[str]] = {}
    for step in steps:
        found.setdefault(step.stage, []).append(step.weights)
    return found


def named(weights: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return arrays under the names that tell whose they are."""
    return {f"{weights}_{name}": array for name, array in arrays.items()}


def own(arrays: Mapping[str, NDArray[Any]], weights: str) -> Arrays:
    """Return the arrays of one model, under their names without the weights."""
    prefix = f"{weights}_"
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
