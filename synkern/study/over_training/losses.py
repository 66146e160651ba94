"""The loss of every checkpoint on one fixed text, kept in a file between runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synkern import interventions, models, recording
from synkern._faces import Later
from synkern.study.errors import ArgumentError, checks_of_arguments
from synkern.study.folder import StudyFolder
from synkern.study.models import Models, explained
from synkern.study.over_training.options import EmergenceOptions
from synkern.study.prompts import load_prompts
from synkern.study.provenance import digest, environment_of, files_fingerprint
from synkern.study.settings import TRAINED, Settings
from synkern.study.texts import FinishedTexts

if TYPE_CHECKING:
    from synkern.models import upstream
    from synkern.recording import answers
else:
    upstream = Later("synkern.models.upstream")
    answers = Later("synkern.recording.answers")

_FILE = "losses.json"
# Of a passage that is longer than a window; shorter contexts have shorter ones.
_WINDOW = 512
_PACKAGES = ("synkern", "torch", "transformers", "tokenizers")


class Losses:
    """Measures losses, or takes them from the folder where nothing has changed since."""

    def __init__(self, out: Path, options: EmergenceOptions) -> None:
        """Read what is there."""
        self._folder = StudyFolder(out)
        self._options = options
        file = out / _FILE
        self._known: dict[str, float] = {}
        try:
            known = json.loads(file.read_text("utf-8"))
            self._known = {str(key): float(loss) for key, loss in known.items()}
        except FileNotFoundError:
            pass
        except (ValueError, TypeError, AttributeError) as error:
            raise ArgumentError(
                f"out: {str(file)!r} was changed or damaged ({error}); move it away, and the "
                "losses are measured again"
            ) from error

    def of(self, settings: Settings, texts: FinishedTexts) -> float:
        """Return the mean loss over the tokens of the fixed text, in nats.

        Args:
            settings: of the study of the checkpoint.
            texts: answers of the last checkpoint, which are the text unless there is another.

        Raises:
            StudyError: the model cannot be loaded, or cannot read the text.
        """
        environment = environment_of(settings)
        key = digest(
            {
                "model": settings.model,
                "files": files_fingerprint(settings.model),
                "text": digest(passages(self._options)) if self._options.text else texts.sha256,
                "dtype": settings.dtype,
                "device": settings.device,
                **{package: environment[package] for package in _PACKAGES},
            }
        )
        if key not in self._known:
            self._known[key] = self._measured(settings, texts)
            self._folder.write(_FILE, json.dumps(self._known, indent=1) + "\n")
        return self._known[key]

    def _measured(self, settings: Settings, texts: FinishedTexts) -> float:
        settings.say(f"loss of {settings.model} on the fixed text")
        with explained(settings, "read"):
            model, tokenizer = Models(settings).get(TRAINED)
            try:
                read = self._responses(model, tokenizer, texts, settings.model)
                found = interventions.effects_of(model, read, batch_size=settings.batch_size)
            except models.UnsupportedModelError:
                raise
            except ValueError as error:
                raise recording.RecordingError(str(error)) from error
        return float(np.nansum(found.loss, dtype=np.float64) / found.tokens.sum())

    def _responses(
        self, model: Any, tokenizer: Any, texts: FinishedTexts, name: str
    ) -> recording.Responses:
        if self._options.text is None:
            texts.check_tokenizer(tokenizer, name)
            prompts = answers.prompt_tokens(tokenizer, texts.inputs)
            return recording.Responses(prompts, texts.tokens.tolist())
        context = upstream.context_length(model)
        window = min(_WINDOW, context or _WINDOW)
        pieces = [
            piece
            for ids in tokenizer(passages(self._options))["input_ids"]
            for piece in _windows(ids, window)
        ]
        if not pieces:
            raise ValueError("no passage of the fixed text has two tokens; give longer ones")
        return recording.Responses([ids[:1] for ids in pieces], [ids[1:] for ids in pieces])


def passages(options: EmergenceOptions) -> list[str]:
    """Return the passages of the fixed text.

    Raises:
        ArgumentError: the file cannot be used.
        OSError: there is none, or it cannot be read.
    """
    with checks_of_arguments():
        return [passage.text for passage in load_prompts(options.text)]


def _windows(ids: list[int], size: int) -> Iterator[list[int]]:
    """Pieces of a passage, the last token of each the first of the next: all are judged once."""
    for start in range(0, len(ids) - 1, size - 1):
        yield ids[start : start + size]
