"""What a user decides about a study, checked before anything is loaded or written."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from synkern.study.choices import CHOICES, NONE
from synkern.study.folder import ArgumentError
from synkern.study.prompts import Prompt, load_prompts

# phiid refuses shorter series; better found out before the recording than after it.
_FEWEST_SAMPLES = 5
_FEWEST_DRAWS = 100
# The largest that torch takes.
_LARGEST_SEED = 2**64 - 1
# Beyond it no array can be counted, and no size be told.
_LARGEST = 2**63 - 1
# null_test refuses fewer, whose p values cannot be small.
_FEWEST_SURROGATES = 19
_SURROGATES = 99


@dataclass(frozen=True)
class Settings:
    """All that a user decides about a study; see `synkern.study.run.run_study`."""

    model: str
    prompts: tuple[Prompt, ...]
    new_tokens: int
    tau: int
    kind: str
    redundancy: str
    average: str
    detrend: str
    null: str
    null_draws: int | None
    seed: int
    control: bool
    backend: str
    dtype: str
    device: str
    batch_size: int
    bootstrap: int
    trust_remote_code: bool
    progress: bool

    def parameters(self) -> dict[str, Any]:
        """All but the prompts themselves, and what changes no number."""
        values = asdict(self)
        del values["prompts"], values["progress"]
        return values

    @property
    def estimator(self) -> dict[str, Any]:
        """Options that `phiid` and `null_test` have in common."""
        return {name: getattr(self, name) for name in ("tau", "kind", "redundancy", "backend")}

    @property
    def excess_absent(self) -> str | None:
        """Why the study can have no excess synergy, None if it can."""
        if (self.kind, self.redundancy) != ("gaussian", "MMI"):
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
        """A line on standard error."""
        if self.progress and sys.stderr is not None:  # print would take standard output instead
            # A study goes on without a reader, or with a log on a full disk.
            with suppress(OSError, ValueError):
                print(message, file=sys.stderr, flush=True)

    def bar(self, label: str, total: int, unit: str) -> Any:
        """A progress bar on standard error; a context manager with `update(count)`."""
        tqdm = importlib.import_module("tqdm")
        # None: no bar where standard error is not a terminal, such as the log of a batch job.
        disable = None if self.progress else True
        return tqdm.tqdm(total=total, desc=label, unit=unit, disable=disable)


def checked(
    given: Settings,
    prompts: str | Path | Sequence[str] | None,
    max_prompts: int | None,
) -> Settings:
    """The settings as they will be used, with prompts, device and number of surrogates filled in.

    Raises:
        ArgumentError: a value that cannot be used, or values that cannot be used together.
        TypeError: prompts that are not strings.
        OSError: no such file of prompts.
    """
    _text("model", given.model)
    for name in ("control", "trust_remote_code", "progress"):
        if not isinstance(getattr(given, name), bool):
            raise ArgumentError(f"{name} = {getattr(given, name)!r}; give True or False")
    with checks_of_arguments():
        chosen = _prompts(prompts, max_prompts)
    for name, least in (("new_tokens", 1), ("tau", 1), ("batch_size", 1)):
        _integer(name, getattr(given, name), least)
    _integer("bootstrap", given.bootstrap, _FEWEST_DRAWS)
    _integer("seed", given.seed, 0, _LARGEST_SEED)
    for name, choices in CHOICES.items():
        if getattr(given, name) not in choices:
            value = getattr(given, name)
            raise ArgumentError(f"{name} = {value!r}; choose from {', '.join(choices)}")
    _check_samples(given)
    _check_null(given)
    null_draws = given.null_draws or (None if given.null == NONE else _SURROGATES)
    return replace(given, prompts=chosen, device=_device(given.device), null_draws=null_draws)


@contextmanager
def checks_of_arguments() -> Iterator[None]:
    """Say of a ValueError that it comes from an argument."""
    try:
        yield
    except ValueError as error:
        raise ArgumentError(str(error)) from error


def _prompts(
    given: str | Path | Sequence[str] | None, max_prompts: int | None
) -> tuple[Prompt, ...]:
    prompts = load_prompts(given)
    if max_prompts is not None:
        _integer("max_prompts", max_prompts, 2)
        count = min(max_prompts, len(prompts))
        # Spread over the list, so that few of the built-in prompts still cover every category.
        prompts = tuple(prompts[i * len(prompts) // count] for i in range(count))
    if len(prompts) < 2:
        raise ArgumentError(
            f"prompts: {len(prompts)} given; at least 2 are needed to say how certain a profile is"
        )
    return prompts


def _check_samples(given: Settings) -> None:
    lost = given.detrend == "difference"
    samples = given.new_tokens - lost - given.tau
    if samples < _FEWEST_SAMPLES:
        also = " and detrend = 'difference', which costs one token," if lost else ""
        raise ArgumentError(
            f"new_tokens = {given.new_tokens} with tau = {given.tau}{also} leaves {samples} "
            f"samples of past and future; at least {_FEWEST_SAMPLES} are needed: raise new_tokens "
            "or lower tau"
        )


def _check_null(given: Settings) -> None:
    if given.null == NONE:
        if given.null_draws is not None:
            raise ArgumentError(
                f"null_draws = {given.null_draws!r} but null = {NONE!r}, so nothing is drawn; "
                "choose a null, such as 'cross_trial', or leave null_draws out"
            )
        return
    if given.null_draws is not None:
        _integer("null_draws", given.null_draws, _FEWEST_SURROGATES)
    if given.average != "trials":
        raise ArgumentError(
            f"null = {given.null!r} tests means over trials, but average = {given.average!r} pools "
            "the trials; use average = 'trials', or null = 'none'"
        )


def _integer(name: str, value: int, least: int, most: int = _LARGEST) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ArgumentError(f"{name} = {value!r}; give an integer of at least {least}")
    if value > most:
        raise ArgumentError(f"{name} = {value!r}; give an integer of at most {most}")


def _text(name: str, value: str) -> None:
    """Refuse what no file can be called and no file can hold."""
    if not value or "\0" in value or value != value.encode("utf-8", "ignore").decode("utf-8"):
        raise ArgumentError(f"{name} = {value!r} is no name; give one, as readable text")


def _device(device: str) -> str:
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
