"""A finished study as an experiment takes it up: model, texts and scores of its trained weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synkern import models, recording
from synkern._faces import Later
from synkern.analysis.profile import MEANS, LayerProfile
from synkern.study import series_file, stages
from synkern.study.checks import on_device
from synkern.study.errors import ArgumentError, StudyError
from synkern.study.experiments.options import ExperimentOptions, RecordedOptions
from synkern.study.folder import StudyFolder
from synkern.study.models import Models, explained
from synkern.study.prompts import Prompt
from synkern.study.provenance import model_facts, prompts_digest
from synkern.study.settings import TRAINED, Settings
from synkern.study.stage import Arrays, Facts, own, step_name

if TYPE_CHECKING:
    from synkern.recording import answers
else:
    answers = Later("synkern.recording.answers")

# What of a loaded model must be as it was when it was studied.
_IDENTITY = ("class", "parameters", "config_sha256", "weights_sha256_of_sample")
_NEEDED = ("recording", "analysis")


@dataclass(frozen=True)
class FinishedStudy:
    """What a folder holds of a study, and its model, loaded when first asked for.

    Attributes:
        settings: of the study; device, place of the model and `progress` are the experiment's.
        description: of the study as a whole, as in study.json.
        steps: what is known of its stages and experiments, by name.
        arrays: all of them, as in study.npz.
        path: the folder.
    """

    settings: Settings
    description: Mapping[str, Any]
    steps: Mapping[str, Facts]
    arrays: Mapping[str, NDArray[Any]]
    path: Path

    @classmethod
    def taken_up(cls, folder: StudyFolder, options: RecordedOptions) -> FinishedStudy:
        """Read the study of a folder back.

        Raises:
            ArgumentError: a device that cannot be used; code of the model's own was allowed in the
                study, and is not now.
            StudyError: the study is not finished, or its prompts are not as it has left them.
        """
        if "summary" not in folder.description or any(
            step_name(stage, TRAINED) not in folder.stages for stage in _NEEDED
        ):
            why = folder.outdated or "it was interrupted, or never begun"
            raise StudyError(
                f"the study in {str(folder.path)!r} is not finished ({why}); finish it with "
                f"`synkern study --out {folder.path}` and the arguments it had"
            )
        settings = _settings(folder, options)
        return cls(settings, folder.description, folder.stages, folder.arrays, folder.path)

    @cached_property
    def trained(self) -> Arrays:
        """The arrays of the trained weights, under their names without these."""
        return own(self.arrays, TRAINED)

    @cached_property
    def nodes(self) -> tuple[models.Node, ...]:
        """The nodes that were studied, in the order of every array."""
        layers, indices = self.trained["layer"].tolist(), self.trained["index"].tolist()
        return tuple(
            models.Node(layer, index, self.settings.nodes)
            for layer, index in zip(layers, indices, strict=True)
        )

    @cached_property
    def profiles(self) -> dict[str, LayerProfile]:
        """The layer profiles of the trained weights, by ranking and mean."""
        return stages.profiles_from(self.trained)

    @property
    def rankings(self) -> tuple[str, ...]:
        """The rankings that the study has scores by."""
        return tuple(name for name in self.profiles if name not in MEANS)

    @property
    def categories(self) -> tuple[str, ...]:
        """The category of every text; "" where the prompts have none."""
        return tuple(prompt.category for prompt in self.settings.asked)

    def scores(self, ranking: str) -> NDArray[np.float64]:
        """Return the score of every node by a ranking, (nodes,); NaN of a node without any pair.

        Raises:
            ArgumentError: the study has no such scores.
        """
        if ranking not in self.rankings:
            raise ArgumentError(
                f"ranking = {ranking!r}: the study in {str(self.path)!r} has no such scores; "
                f"choose from {', '.join(self.rankings)}"
            )
        return self.profiles[ranking].scores

    def without_score(self, scored: NDArray[np.bool_], what: str) -> list[str]:
        """Return a warning of the nodes without a score; none where each has one.

        Args:
            scored: (nodes,), which have one.
            what: what becomes of the others.
        """
        missing = int((~scored).sum())
        many = self.settings.words.many
        return [f"{missing} of {len(scored)} {many} have no score, and {what}"] if missing else []

    def series(self) -> NDArray[Any]:
        """Return the recorded series, (trials, time, nodes) float32.

        Raises:
            StudyError: they are in a file of their own, which is missing or was changed.
        """
        if "series" in self.trained:
            return self.trained["series"]
        return series_file.opened(self.path, TRAINED, str(self.trained["series_sha256"]))

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        settings = self.settings
        settings.say(f"loading model {settings.model!r}")
        with explained(settings):
            model, tokenizer = Models(settings).get(TRAINED)
        found, known = model_facts(model), self.steps[step_name("recording", TRAINED)]["model"]
        for name in _IDENTITY:
            if found[name] is None:
                raise StudyError(
                    f"the weights of model {settings.model!r} are not in memory, so that it cannot "
                    "be told whether they are those that were studied; choose a device that they "
                    "fit on"
                )
            if found[name] != known[name]:
                raise StudyError(
                    f"model {settings.model!r} is not the one that the study in "
                    f"{str(self.path)!r} is about ({name.replace('_', ' ')} was {known[name]}, is "
                    f"{found[name]}); give the folder of that one as --model (model=...), or do "
                    f"the study again: `synkern study --out {self.path}` with its arguments"
                )
        return model, tokenizer

    @property
    def model(self) -> Any:
        """The model that was studied, in evaluation mode.

        Raises:
            StudyError: it cannot be loaded, or is not the one that was studied.
        """
        return self._loaded[0]

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer; raises as `model`."""
        return self._loaded[1]

    def check_nodes(self) -> None:
        """Refuse a model whose nodes stand in another order than those of the study.

        Raises:
            StudyError: they do; or as `model`.
        """
        found = models.nodes_of(models.find_sites(self.model, self.settings.nodes))
        if found != self.nodes:
            raise StudyError(
                f"the {len(found)} {self.settings.words.many} of model {self.settings.model!r} are "
                f"not the {len(self.nodes)} that were studied; study it again with this version of "
                f"synkern: `synkern study --out {self.path}`"
            )

    @cached_property
    def texts(self) -> recording.Responses:
        """Prompts and answers as tokens, in the order of the study.

        The prompts' tokens come from the text that the model was given, the answers' from the
        recording. Raises as `model`.
        """
        inputs = [str(text) for text in self.trained["inputs"]]
        with explained(self.settings):
            prompts = answers.prompt_tokens(self.tokenizer, inputs)
        return recording.Responses(prompts, self.trained["tokens"].tolist())


def _settings(folder: StudyFolder, options: RecordedOptions) -> Settings:
    """The settings of the study, with what the experiment decides about the machine."""
    parameters = dict(folder.description["parameters"])
    reading = options if isinstance(options, ExperimentOptions) else None
    if reading and parameters["trust_remote_code"] and not reading.trust_remote_code:
        raise ArgumentError(
            f"the study in {str(folder.path)!r} let Python code that comes with the model run, and "
            "so would this experiment; allow it with --trust-remote-code (trust_remote_code=True)"
        )
    known = {one.name for one in fields(Settings)}
    given = {name: value for name, value in parameters.items() if name in known}
    given |= {"out": folder.path, "progress": options.progress, "control": False}
    given |= {"device": options.device or given["device"], "asked": _prompts(folder)}
    if reading:
        given |= {"batch_size": reading.batch_size, "model": reading.model or given["model"]}
    return on_device(Settings(**given))


def _prompts(folder: StudyFolder) -> tuple[Prompt, ...]:
    """What was asked, with categories, from the file that the recording left for readers.

    Raises:
        StudyError: it is missing, or not as the recording has left it.
    """
    file = folder.path / "texts.jsonl"
    try:
        # Not splitlines: line separators of Unicode may stand inside a text.
        lines = [json.loads(line) for line in file.read_text("utf-8").split("\n") if line]
        asked = tuple(
            Prompt(line["category"], line["prompt"]) for line in lines if line["weights"] == TRAINED
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{str(file)!r} cannot be read ({error}); {_again(folder)}") from error
    if prompts_digest(asked) != folder.description["prompts"]["sha256"]:
        raise StudyError(f"{str(file)!r} is not as the study has left it; {_again(folder)}")
    return asked


def _again(folder: StudyFolder) -> str:
    return (
        f"`synkern study --out {folder.path}` with the arguments it had writes it again from what "
        "it has kept"
    )
