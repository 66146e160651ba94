"""Whether the options of a study can be used, asked before anything is loaded or written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from synkern._faces import Later
from synkern.models.options import IN_MULTITUDES, NODE_SIGNALS, ZERO_FILLED
from synkern.study.errors import ArgumentError, checks_of_arguments
from synkern.study.options import check
from synkern.study.prompts import Prompt, load_prompts
from synkern.study.settings import (
    AVERAGED,
    DISCRETE,
    GAUSSIAN,
    KEPT,
    NONE,
    SURROGATES,
    Settings,
    StudyOptions,
)

if TYPE_CHECKING:
    import torch
else:
    torch = Later("torch")

Given = TypeVar("Given", bound=StudyOptions)

# phiid refuses shorter series; better found out before the recording than after it.
_FEWEST_SAMPLES = 5
# Steps of `detrend` after which equal samples of a series may differ.
_MOVES_ZEROS = frozenset({"linear", "quadratic", "difference"})


def checked(given: StudyOptions) -> Settings:
    """Return the settings as they will be used, but for the device: with prompts and surrogates.

    Raises:
        ArgumentError: a value that cannot be used, or values that cannot be used together.
        TypeError: prompts that are not strings.
        OSError: no such file of prompts.
    """
    texts_of = None if given.texts_of is None else str(given.texts_of)
    given = replace(given, model=str(given.model), texts_of=texts_of)
    check(given)
    with checks_of_arguments():
        asked = _chosen(load_prompts(given.prompts), given.max_prompts)
    given = fitting(given)
    null_draws = given.null_draws or (None if given.null == NONE else SURROGATES)
    return Settings(**vars(given) | {"asked": asked, "null_draws": null_draws})


def fitting(given: Given) -> Given:
    """Return options that go together, with signal, estimator and pairs as they will be used.

    Raises:
        ArgumentError: values that cannot be used together.
    """
    given = _resolved(given)
    _check_samples(given)
    _check_null(given)
    _check_averaged(given)
    return given


def on_device(settings: Settings) -> Settings:
    """Return the settings with the device that is meant, which has been tried.

    Raises:
        ArgumentError: the device does not exist, or cannot be used here.
    """
    return replace(settings, device=usable_device(settings.device))


def usable_device(device: str) -> str:
    """Return the device that is meant, which has been tried.

    Raises:
        ArgumentError: it does not exist, or cannot be used here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.device(device)
    except RuntimeError:
        raise ArgumentError(f"device = {device!r}; give cpu, cuda, cuda:1, ... or auto") from None
    try:
        # There and back: a device may be absent, not built in, or, as meta, hold no data.
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).split(". ")[0]
        raise ArgumentError(
            f"device = {device!r} cannot be used here ({reason}); use cpu or auto"
        ) from error
    return device


def _chosen(prompts: tuple[Prompt, ...], most: int | None) -> tuple[Prompt, ...]:
    if most is not None:
        count = min(most, len(prompts))
        # Spread over the list, so that few of the built-in prompts still cover every category.
        prompts = tuple(prompts[i * len(prompts) // count] for i in range(count))
    if len(prompts) < 2:
        raise ArgumentError(
            f"prompts: {len(prompts)} given; at least 2 are needed to say how certain a profile is"
        )
    return prompts


def _resolved(given: Given) -> Given:
    """The options with signal, estimator and treatment of pairs as they will be used."""
    nodes, signals = given.nodes, NODE_SIGNALS[given.nodes]
    signal = signals[0] if given.signal is None else given.signal
    if signal not in signals:
        raise ArgumentError(
            f"signal = {signal!r} is none of {nodes}; choose from {', '.join(signals)}"
        )
    idle_is_zero = (nodes, signal) in ZERO_FILLED
    others = [other for other in signals if (nodes, other) not in ZERO_FILLED]
    instead = f", or choose another signal ({' or '.join(others)})" if others else ""
    if idle_is_zero and given.kind == GAUSSIAN:
        raise ArgumentError(
            f"kind = {GAUSSIAN!r} with signal = {signal!r} of {nodes}, which is exactly 0 wherever "
            "one is idle: no Gaussian can be fitted to mostly zeros; leave kind out, which is "
            f"{DISCRETE} then{instead}"
        )
    if idle_is_zero and given.detrend in _MOVES_ZEROS:
        raise ArgumentError(
            f"detrend = {given.detrend!r} with signal = {signal!r} of {nodes}, which is exactly 0 "
            "wherever one is idle: it moves these zeros, so that an idle node could count as "
            f"active, above the mean of its series; use detrend = {NONE!r}{instead}"
        )
    return replace(
        given,
        signal=signal,
        kind=given.kind or (DISCRETE if idle_is_zero else GAUSSIAN),
        pairs=given.pairs or (AVERAGED if nodes in IN_MULTITUDES else KEPT),
    )


def _check_averaged(given: StudyOptions) -> None:
    if given.pairs != AVERAGED:
        return
    said = f"pairs = {AVERAGED!r}" + ("" if given.nodes not in IN_MULTITUDES else " (for neurons)")
    if given.average != "trials":
        raise ArgumentError(
            f"{said} averages the pairs of every prompt by node, but average = {given.average!r} "
            f"pools the prompts; use average = 'trials', or pairs = {KEPT!r}"
        )
    if given.null != NONE:
        raise ArgumentError(
            f"null = {given.null!r} tests every pair, but {said} keeps only their mean for each "
            f"node; use null = {NONE!r}, or pairs = {KEPT!r}"
        )


def _check_samples(given: StudyOptions) -> None:
    lost = given.detrend == "difference"
    samples = given.new_tokens - lost - given.tau
    if samples < _FEWEST_SAMPLES:
        also = " and detrend = 'difference', which costs one token," if lost else ""
        raise ArgumentError(
            f"new_tokens = {given.new_tokens} with tau = {given.tau}{also} leaves {samples} "
            f"samples of past and future; at least {_FEWEST_SAMPLES} are needed: raise new_tokens "
            "or lower tau"
        )


def _check_null(given: StudyOptions) -> None:
    if given.null == NONE:
        if given.null_draws is not None:
            raise ArgumentError(
                f"null_draws = {given.null_draws!r} but null = {NONE!r}, so nothing is drawn; "
                "choose a null, such as 'cross_trial', or leave null_draws out"
            )
        return
    if given.average != "trials":
        raise ArgumentError(
            f"null = {given.null!r} tests means over trials, but average = {given.average!r} pools "
            "the trials; use average = 'trials', or null = 'none'"
        )
