"""An experiment on a finished study: what it depends on, what it does, and what it shows.

It takes up texts, series and scores of the trained weights, lets the model read those texts under
some change or computes something else from what was recorded, and adds what it finds to the folder
and to its report. An experiment is a class, a
dataclass of options, a line in the list of experiments and one in the list of commands.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.options import RecordedOptions
from synkern.study.settings import TRAINED, Settings
from synkern.study.stage import Arrays, Facts, Part, Results


class Experiment(Part):
    """One of the experiments on a finished study.

    Its arrays are kept in study.npz with `name` and `_` in front. Its section of the page is made
    of the macros `before()`, one for each topic of its figures, and `after()` of its template,
    which find what is known of it as `experiments[name]`.

    Attributes:
        options: the dataclass of what a user may decide.
        command: the command that carries it out.
        done: what is done to the model, as a participle.
        title: of its section of the page.
        of_need: whether it asks if the model needs its nodes.
        extra: the distributions it needs beside those of any study, see `synkern.study.provenance`.
    """

    options: ClassVar[type[RecordedOptions]]
    command: ClassVar[str]
    done: ClassVar[str]
    title: ClassVar[str]
    of_need: ClassVar[bool] = False
    extra: ClassVar[tuple[str, ...]] = ()
    after = ("recording", "analysis")

    # Any: each experiment has its own options.
    def resolved(self, study: FinishedStudy, options: Any) -> RecordedOptions:
        """Return the options as they will be used, defaults that depend on the study filled in.

        The model is not loaded yet.

        Raises:
            ArgumentError: options that cannot be used together, or with this study.
            StudyError: the study lacks what the experiment needs.
        """
        given: RecordedOptions = options
        return given

    def ingredients(self, study: FinishedStudy, options: Any) -> Facts:
        """Return what its results depend on beside stated options, packages and stages.

        Such as the digest of a file that an option names.
        """
        return {}

    @abstractmethod
    def plan(self, study: FinishedStudy, options: Any) -> str:
        """Say in a phrase what is going to be done; the model is loaded by now, if it is used."""

    @abstractmethod
    def run(self, study: FinishedStudy, options: Any, partial: Path) -> tuple[Arrays, Facts]:
        """Do it.

        Args:
            study: the one.
            options: resolved.
            partial: a file for what is done so far, which is there if this very experiment was
                begun before.

        Returns:
            Arrays, under names without the experiment's own, and facts about how they came about:
            JSON, with `seconds` by what took them, `finding` unless the method of that name says it
            otherwise and, if there are any, `warnings`.

        Raises:
            StudyError: it cannot be done; the message says why and what would help.
        """

    def told(self, results: Results) -> Facts:
        """Return the facts that it has left."""
        return results.facts(self.name)[TRAINED]

    def finding(self, results: Results) -> str:
        """Say what it has found, in a sentence or a few."""
        found: str = self.told(results)["finding"]
        return found


class Intervention(Experiment):
    """An experiment that changes the model and lets it read: does it need its nodes?"""

    of_need = True

    def packages(self, settings: Settings) -> tuple[str, ...]:
        """Return what reads texts, and what computes."""
        return ("synkern", "torch", "transformers", "tokenizers", "numpy")
