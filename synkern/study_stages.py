"""The two costly stages of a study: recording a model's heads, and decomposing what they did.

Each takes settings and what the stage before it left, and returns arrays by name together with
facts about how they came about. Names of arrays begin with the weights they belong to.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pickle
import textwrap
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import synkern
from synkern._arrays import to_numpy
from synkern.attention import UnsupportedModelError
from synkern.backends import BACKENDS
from synkern.decoding import RecordingError
from synkern.profile import (
    LayerProfile,
    average_over_trials,
    layer_profiles,
    profiles_from_arrays,
    profiles_to_arrays,
)
from synkern.prompts import Prompt
from synkern.result import PhiIDResult
from synkern.scores import RANKINGS, node_means, tied_rank
from synkern.study_folder import MissingPackageError, StudyError

TRAINED = "trained"
CONTROL = "random"

Arrays = dict[str, NDArray[Any]]
Facts = dict[str, Any]

# Begins the name of every array of `profiles_to_arrays`, after the weights.
_PROFILE = "profile_"
# Elements of each parameter that enter the fingerprint of a model's weights.
_SAMPLED = 4096


@dataclass(frozen=True)
class Settings:
    """All that a user decides about a study, checked; see `synkern.study.run_study`."""

    model: str
    prompts: tuple[Prompt, ...]
    new_tokens: int
    tau: int
    seed: int
    control: bool
    backend: str
    dtype: str
    device: str
    batch_size: int
    bootstrap: int
    progress: bool

    def parameters(self) -> dict[str, Any]:
        """All but the prompts themselves, and what changes no number."""
        values = asdict(self)
        del values["prompts"], values["progress"]
        return values

    def bar(self, label: str, total: int, unit: str) -> Any:
        """A progress bar on standard error; a context manager with `update(count)`."""
        tqdm = importlib.import_module("tqdm")
        # None: no bar where standard error is not a terminal, such as the log of a batch job.
        disable = None if self.progress else True
        return tqdm.tqdm(total=total, desc=label, unit=unit, disable=disable)


class Models:
    """The model of a study with its own and with random weights, loaded when first asked for."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is loaded yet."""
        self._settings = settings

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        models = importlib.import_module("synkern.models")
        settings = self._settings
        unloadable = (
            *(OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError),
            importlib.import_module("safetensors").SafetensorError,
        )
        try:
            with _loading_bars(settings.progress):
                loaded: tuple[Any, Any] = models.load(
                    settings.model, dtype=settings.dtype, device=settings.device
                )
        except ImportError as error:
            raise MissingPackageError(
                f"model {settings.model!r} cannot be loaded: {_shortened(error)}"
            ) from error
        except unloadable as error:
            raise StudyError(
                f"model {settings.model!r} cannot be loaded ({_shortened(error)}); give "
                "smollm2-135m, the folder of a transformers model, or a name on the hub"
            ) from error
        model, tokenizer = loaded
        if tokenizer.pad_token_id is None:
            raise StudyError(
                f"the tokenizer of model {settings.model!r} has neither a padding token nor an end "
                "token, so prompts of different lengths cannot be answered together; set its "
                "pad_token and save it"
            )
        if settings.control and getattr(model, "is_quantized", False):
            raise StudyError(
                f"model {settings.model!r} is quantised, and quantised weights cannot be drawn at "
                "random for the control; leave it out with --no-control (control=False), or give "
                "the model without quantisation"
            )
        config = model.config.get_text_config(decoder=True)
        if config.num_hidden_layers < 3:
            raise StudyError(
                f"model {settings.model!r} has {config.num_hidden_layers} layer(s); a profile over "
                "depth needs at least 3: choose a deeper model"
            )
        return loaded

    def get(self, weights: str) -> tuple[Any, Any]:
        """The model with `weights`, and the tokenizer."""
        model, tokenizer = self._loaded
        if weights == CONTROL:
            models = importlib.import_module("synkern.models")
            model = models.randomly_initialised(model, self._settings.seed)
        return model, tokenizer


def _shortened(error: Exception) -> str:
    """What went wrong, but not every class of model that would have been right."""
    return textwrap.shorten(str(error), 300, placeholder=" ...")


@contextmanager
def _loading_bars(shown: bool) -> Iterator[None]:
    """Leave the progress bars of transformers as they are, or hide them for a while."""
    logging = importlib.import_module("transformers.utils.logging")
    if shown or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def record_heads(settings: Settings, models: Models, weights: str) -> tuple[Arrays, Facts]:
    """Let the model answer the prompts and record its heads.

    Raises:
        StudyError: the model cannot be loaded, recorded, or held in memory, or its chat template
            cannot be used.
    """
    generation = importlib.import_module("synkern.generation")
    jinja2 = importlib.import_module("jinja2")
    started = time.perf_counter()
    model, tokenizer = models.get(weights)
    loaded = time.perf_counter()
    total = len(settings.prompts) * settings.new_tokens
    with settings.bar(f"{weights}: answering", total, "token") as bar:
        try:
            answers = generation.record_answers(
                model,
                tokenizer,
                [prompt.text for prompt in settings.prompts],
                new_tokens=settings.new_tokens,
                batch_size=settings.batch_size,
                progress=bar.update,
            )
        except (UnsupportedModelError, RecordingError) as error:
            raise StudyError(f"model {settings.model!r} cannot be recorded: {error}") from error
        except jinja2.TemplateError as error:
            raise StudyError(
                f"the chat template of model {settings.model!r} cannot be used with one turn of "
                f"the user ({type(error).__name__}: {error}); correct or remove it in the model's "
                "folder"
            ) from error
        except torch.OutOfMemoryError as error:
            raise StudyError(
                f"batch_size = {settings.batch_size} does not fit on {settings.device!r}; lower it"
            ) from error
    finished = time.perf_counter()
    template = getattr(tokenizer, "chat_template", None)
    facts: Facts = {
        "seconds": {
            "loading": round(loaded - started, 3),
            "answering": round(finished - loaded, 3),
        },
        "model": _model_facts(model),
        "layers": len(np.unique(answers.layer)),
        "chat_template": None if template is None else _sha256(str(template).encode()),
        "answers_ended_early": int((answers.natural_end != generation.NEVER).sum()),
    }
    arrays: Arrays = {
        "norms": answers.series,
        "layer": answers.layer,
        "head": answers.head,
        "tokens": answers.tokens,
        "natural_end": answers.natural_end,
        "inputs": np.array(answers.inputs),
        "answers": np.array(answers.texts),
    }
    return _named(weights, arrays), facts


def analyse(
    settings: Settings, recorded: Mapping[str, NDArray[Any]], weights: str
) -> tuple[Arrays, Facts]:
    """Decompose all pairs of heads, score the heads, and fit their profiles over depth.

    Raises:
        StudyError: the recording gives nothing to decompose or to show.
    """
    series, layer = recorded[f"{weights}_norms"], recorded[f"{weights}_layer"]
    nodes = series.shape[2]
    if nodes < 2:
        raise StudyError(
            f"model {settings.model!r} has {nodes} attention head(s); pairs need at least 2"
        )
    started = time.perf_counter()
    result, warned = decompose(series, settings.tau, settings.backend, settings.device)
    decomposed = time.perf_counter()
    sts, rtr = to_numpy(result["sts"]), to_numpy(result["rtr"])
    try:
        mean_sts, mean_rtr = average_over_trials(sts, rtr)
        with settings.bar(f"{weights}: bootstrap", settings.bootstrap, "draw") as bar:
            profiles = layer_profiles(
                sts,
                rtr,
                layer,
                bootstrap=settings.bootstrap,
                seed=settings.seed,
                progress=bar.update,
            )
    except ValueError as error:
        remedy = "" if weights == TRAINED else "; leave the control out to study the rest"
        raise StudyError(
            f"the model with {weights} weights gives no profile: {error}{remedy}"
        ) from error
    finished = time.perf_counter()

    first = profiles[RANKINGS[0]]
    autocorrelation = _autocorrelation(series, settings.tau)
    arrays: Arrays = {
        "sts": mean_sts,
        "rtr": mean_rtr,
        "autocorrelation": autocorrelation,
        **{f"{_PROFILE}{name}": rows for name, rows in profiles_to_arrays(profiles).items()},
    }
    scores = {ranking: profile.scores for ranking, profile in profiles.items()}
    node_sts, node_rtr = node_means(mean_sts), node_means(mean_rtr)
    facts: Facts = {
        "seconds": {
            "decomposition": round(decomposed - started, 3),
            "scores and bootstrap": round(finished - decomposed, 3),
        },
        "trials": series.shape[0],
        "samples": series.shape[1],
        "nodes": nodes,
        "pairs": nodes * (nodes - 1) // 2,
        "backend_that_ran": str(result.backend),
        "unit": str(result.unit),
        "degenerate": {kind: int(count) for kind, count in result.degenerate.items()},
        "recomputed_from_data": int(result.rescued),
        "skipped_pair_trials": first.skipped_pair_trials,
        "skipped_nodes": first.skipped_nodes,
        "warnings": warned,
        "failed_draws": {r: p.failed_draws for r, p in profiles.items()},
        # Over nodes; Spearman, so that a few extreme heads do not decide.
        "correlations": {
            "synergy, redundancy": _spearman(node_sts, node_rtr),
            "synergy, autocorrelation": _spearman(node_sts, autocorrelation),
            "redundancy, autocorrelation": _spearman(node_rtr, autocorrelation),
        }
        | {f"{a}, {b}": _spearman(scores[a], scores[b]) for a, b in combinations(RANKINGS, 2)},
    }
    return _named(weights, arrays), facts


def profiles_from(arrays: Mapping[str, NDArray[Any]], weights: str) -> dict[str, LayerProfile]:
    """The layer profiles that `analyse` left in `arrays`, by ranking."""
    prefix = f"{weights}_{_PROFILE}"
    return profiles_from_arrays(
        {n.removeprefix(prefix): rows for n, rows in arrays.items() if n.startswith(prefix)}
    )


def decompose(
    series: NDArray[Any], tau: int, backend: str, device: str
) -> tuple[PhiIDResult, list[str]]:
    """`synkern.phiid` of every trial, and its warnings.

    On the GPU where both the model and the backend can run there, else on the host.
    """
    candidates = [b for b in BACKENDS if backend in ("auto", b.name)]
    kind = torch.device(device).type
    on_gpu = kind == "cuda" and any(kind in b.status().devices for b in candidates)
    data = torch.from_numpy(series).to(device) if on_gpu else series
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = synkern.phiid(data, tau=tau, average=None, backend=backend)
    return result, [str(warning.message) for warning in caught]


def _spearman(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Rank correlation over the entries finite in both; None where one of them does not vary."""
    both = np.isfinite(a) & np.isfinite(b)
    ranks = [tied_rank(values[both]) for values in (a, b)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    matrix: Any = np.corrcoef(ranks)
    return round(float(matrix[0, 1]), 6)


def _autocorrelation(series: NDArray[Any], tau: int) -> NDArray[np.float64]:
    """(nodes,), each node's own correlation at lag tau, mean over the trials where it varies."""
    past, future = series[:, :-tau].astype(np.float64), series[:, tau:].astype(np.float64)
    past -= past.mean(1, keepdims=True)
    future -= future.mean(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        r = (past * future).sum(1) / np.sqrt((past**2).sum(1) * (future**2).sum(1))
    return np.asarray(node_means(r.T), dtype=np.float64)


def _named(weights: str, arrays: Arrays) -> Arrays:
    return {f"{weights}_{name}": array for name, array in arrays.items()}


def _model_facts(model: Any) -> Facts:
    config = {
        name: value
        for name, value in model.config.to_dict().items()
        if name not in ("_name_or_path", "transformers_version")
    }
    return {
        "class": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "attention": getattr(model.config, "_attn_implementation", None),
        "hub_commit": getattr(model.config, "_commit_hash", None),
        "config_sha256": _sha256(json.dumps(config, sort_keys=True, default=str).encode()),
        "weights_sha256_of_sample": _weights_fingerprint(model),
    }


def _weights_fingerprint(model: Any) -> str | None:
    """SHA-256 over name, shape and some evenly spaced elements of every parameter.

    A sample, because hashing all of a large model takes longer than recording it: a change of a few
    weights between the sampled ones does not show. None for weights that are not in memory.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            return None
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        values = parameter.detach().reshape(-1)
        values = values[:: max(1, len(values) // _SAMPLED)]
        digest.update(values.to("cpu", torch.float64).numpy().tobytes())
    return digest.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
