"""The first stage: recording the nodes of the model while it answers the prompts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern import recording
from synkern.recording.answers import NEVER
from synkern.study import room, series_file
from synkern.study.folder import TEMPORARY
from synkern.study.models import explained
from synkern.study.numerals import size
from synkern.study.provenance import (
    files_fingerprint,
    model_facts,
    model_packages,
    prompts_digest,
    sha256,
)
from synkern.study.settings import CONTROL, WEIGHTS, Settings
from synkern.study.stage import Arrays, Facts, Sources, Stage, own
from synkern.study.texts import FinishedTexts

# Bytes from which on the plan says how large the series are.
_WORTH_SAYING = 10**8


class RecordingStage(Stage):
    """Lets the model answer the prompts and records its nodes.

    Its arrays: `series` (trials, time, nodes) float32, or where pairs are averaged `series_sha256`
    of the file that holds them; `layer` and `index` (nodes,), `tokens` (trials, time),
    `natural_end`, `inputs` and `answers` (trials,); `routed` (trials, nodes) where a router chooses
    among the nodes: at how many tokens each took part.
    """

    name = "recording"
    needs_model = True
    answerings = 1

    def packages(self, settings: Settings) -> tuple[str, ...]:
        """Return what the model answers with, and the package that carries it."""
        return ("synkern", "torch", "transformers", "tokenizers", *model_packages(settings))

    def ingredients(self, settings: Settings) -> Facts:
        """Return digests of the model's files, of the prompts, and of answers that are read."""
        found = {
            "model files": files_fingerprint(settings.model),
            "prompts": prompts_digest(settings.asked),
        }
        if settings.texts_of is not None:
            found["texts read"] = FinishedTexts.of(settings.texts_of).sha256
        return found

    def try_out(self, settings: Settings) -> None:
        """Look at the answers that are to be read.

        Raises:
            ValueError: they are to other prompts, or of another length.
            StudyError: there are none.
        """
        if settings.texts_of is not None:
            FinishedTexts.of(settings.texts_of).check(settings)

    def plan(self, settings: Settings, nodes: int, layers: int) -> str:
        """Say how much is recorded."""
        taken = room.series_bytes(settings, nodes)
        answered = "prompts are answered with"
        if settings.texts_of is not None:
            answered = f"answers of {settings.texts_of} are read,"
        return (
            f"record {nodes} {settings.words.many}{_in(layers, settings)} while "
            f"{len(settings.asked)} {answered} {settings.new_tokens} tokens each"
            f"{', ' + size(taken) + ' of series' if taken >= _WORTH_SAYING else ''}"
        )

    def check_room(self, settings: Settings, model: room.Model, weights: Sequence[str]) -> None:
        """Refuse texts beyond the context, and recordings and a control beyond memory.

        Raises:
            StudyError: there is not enough room.
        """
        room.check_context(settings, model)
        room.check_recording(settings, model)
        if CONTROL in weights:
            room.check_control(model)

    def run(self, sources: Sources, weights: str) -> tuple[Arrays, Facts]:
        """Record.

        Raises:
            StudyError: the model cannot be loaded, recorded, or held in memory, or its chat
                template cannot be used.
        """
        settings, started = sources.settings, time.perf_counter()
        with explained(settings):
            model, tokenizer = sources.models.get(weights)
        loaded = time.perf_counter()
        total = len(settings.asked) * settings.new_tokens
        with (
            _store(settings, weights) as store,
            settings.bar(f"{weights}: answering", total, "token") as bar,
            explained(settings),
        ):
            answers = _answers(
                settings,
                model,
                tokenizer,
                nodes=settings.nodes,
                signal=settings.signal,
                store=store,
                batch_size=settings.batch_size,
                progress=bar.update,
                batch_done=lambda s: sources.batch_done(s, time.perf_counter() - loaded),
            )
            finished = time.perf_counter()
            arrays = _arrays_of(answers, store)
            layers = len({node.layer for node in answers.nodes})
            # A file that is mapped cannot be renamed everywhere.
            del answers
        template = getattr(tokenizer, "chat_template", None)
        facts: Facts = {
            "seconds": {
                "loading": round(loaded - started, 3),
                "answering": round(finished - loaded, 3),
            },
            "model": model_facts(model),
            "layers": layers,
            "chat_template": None if template is None else sha256(str(template).encode()),
            # Of a text that is read nobody knows where this model would have ended it.
            "answers_ended_early": None
            if settings.texts_of is not None
            else int((arrays["natural_end"] != NEVER).sum()),
        }
        return arrays, facts

    def files(self, settings: Settings, arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
        """Return `texts.jsonl`: what was asked and answered, one text a line."""
        lines = []
        for weights in WEIGHTS:
            recorded = own(arrays, weights)
            if "answers" not in recorded:
                continue
            columns = [recorded[name] for name in ("inputs", "answers", "natural_end")]
            for prompt, given, answer, end in zip(settings.asked, *columns, strict=True):
                line = {
                    "weights": weights,
                    "category": prompt.category,
                    "prompt": prompt.text,
                    "answer": str(answer),
                    "natural_end": int(end) if end >= 0 else None,
                    "input": str(given),
                }
                lines.append(json.dumps(line, ensure_ascii=False))
        return {"texts.jsonl": "".join(f"{line}\n" for line in lines)}

    def method(self, settings: Settings) -> Facts:
        """Return how the series come about."""
        decoding = "greedy, no penalties, end token suppressed: new_tokens tokens each"
        if settings.texts_of is not None:
            decoding = f"none: the answers of the study {settings.texts_of} were read"
        return {
            "decoding": decoding,
            "series": f"{settings.words.said}, at the step producing each token",
        }


def _answers(settings: Settings, model: Any, tokenizer: Any, **how: Any) -> recording.Answers:
    """What the model writes, or what it reads where it is given the answers of another study.

    Raises:
        StudyError: these cannot be read, or are other texts to this tokenizer.
    """
    if settings.texts_of is None:
        asked = [prompt.text for prompt in settings.asked]
        return recording.record_answers(
            model, tokenizer, asked, new_tokens=settings.new_tokens, **how
        )
    texts = FinishedTexts.of(settings.texts_of)
    texts.check_tokenizer(tokenizer, settings.model)
    return recording.read_answers(model, tokenizer, texts.inputs, texts.tokens, **how)


def _in(layers: int, settings: Settings) -> str:
    return f" in {layers} layers" if settings.words.numbered else ""


@contextmanager
def _store(settings: Settings, weights: str) -> Iterator[Path | None]:
    """The file for the series, if they go to one; else that of an earlier recording goes."""
    if settings.averaged:
        with series_file.replacing(Path(settings.out), weights, TEMPORARY) as file:
            yield file
    else:
        yield None
        series_file.removed(Path(settings.out), weights)


def _arrays_of(answers: recording.Answers, store: Path | None) -> Arrays:
    """What is kept of answers whose series are in the file `store`, or in memory."""
    arrays: Arrays = {
        "layer": np.array([node.layer for node in answers.nodes], dtype=np.int64),
        "index": np.array([node.index for node in answers.nodes], dtype=np.int64),
        "tokens": answers.tokens,
        "natural_end": answers.natural_end,
        "inputs": np.array(answers.inputs),
        "answers": np.array(answers.texts),
    }
    if answers.routed is not None:
        arrays["routed"] = answers.routed
    if store is None:
        arrays["series"] = answers.series
    else:
        arrays["series_sha256"] = np.array(series_file.digest_of(store))
    return arrays
