"""A probe: one tiny forward pass of a model, watched, to find out where its nodes are.

Watching what a model does needs no list of architectures, and sees what is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from synkern.models.language_model import ANY_SERIES, UnsupportedModelError
from synkern.models.upstream import inputs_device, special_tokens
from synkern.models.upstream_torch import forward_hooks, is_compiled, runs_the_model

# They differ, so that a layout with the two swapped cannot match.
PROBE_BATCH = 2
PROBE_LENGTH = 3

# What a probe watches may belong to all models, as the attention interface does: one at a time.
_PROBING = threading.Lock()


class _Pass(threading.local):
    running = False


_PASS = _Pass()

_Found = TypeVar("_Found")


class _Told:
    """What passes told while several finders look at one model."""

    def __init__(self) -> None:
        self.found: dict[Any, Any] = {}  # by model and what watched it
        self.gathering = False


_TOLD: ContextVar[_Told | None] = ContextVar("_TOLD", default=None)


class _Wanted(BaseException):
    """A finder wants a pass to be watched that has not been run."""

    def __init__(self, model: Any, watched: Any) -> None:
        super().__init__()
        self.model, self.watched = model, watched


@contextmanager
def passes_shared() -> Iterator[None]:
    """Let all that is watched in the same way in the `with` block be found out in one pass."""
    token = _TOLD.set(_TOLD.get() or _Told())
    try:
        yield
    finally:
        _TOLD.reset(token)


def found_in_one_pass(finders: Sequence[Callable[[], _Found]]) -> list[_Found]:
    """What each finder returns; the first probes of all of them watch one and the same pass.

    A finder is called again after its first probe was asked for, so up to there it changes nothing.
    """
    with passes_shared():
        told = _TOLD.get()
        assert told is not None
        wanted: dict[Any, list[Any]] = {}
        told.gathering = len(finders) > 1
        try:
            for finder in finders if told.gathering else ():
                try:
                    finder()
                except _Wanted as want:
                    ways = wanted.setdefault(want.model, [])
                    ways += [want.watched] * (want.watched not in ways)
        finally:
            told.gathering = False
        for model, ways in wanted.items():
            results = _probed(model, partial(_all_watched, ways))
            told.found |= {(model, way): found for way, found in zip(ways, results, strict=True)}
        return [finder() for finder in finders]


@contextmanager
def _all_watched(ways: Sequence[Any], model: Any) -> Iterator[list[Any]]:
    with ExitStack() as stack:
        yield [stack.enter_context(watched(model)) for watched in ways]


def probed(model: Any, watched: Callable[[Any], AbstractContextManager[_Found]]) -> _Found:
    """Run a few tokens through `model`, inside `watched(model)`.

    Texts are (PROBE_BATCH, PROBE_LENGTH) and differ in the last token only. Without gradient and
    cache, in evaluation mode, not compiled; the model and all generators are left as they were.
    Hooks of others do not see it, unless the model cannot run without them: then `watched` is
    entered a second time.

    Args:
        model: the causal language model itself.
        watched: a context that watches the pass, and yields what it finds out.

    Returns:
        What `watched` yielded, after it was left.

    Raises:
        UnsupportedModelError: the model cannot run on these tokens.
    """
    told = _TOLD.get()
    if told is None:
        return _probed(model, watched)
    if (model, watched) not in told.found:
        if told.gathering:
            raise _Wanted(model, watched)
        told.found[model, watched] = _probed(model, watched)
    found: _Found = told.found[model, watched]
    return found


def _probed(model: Any, watched: Callable[[Any], AbstractContextManager[_Found]]) -> _Found:
    with ExitStack() as stack:
        stack.enter_context(_PROBING)
        hidden = stack.enter_context(_hooks_of_others_hidden(model))
        try:
            return _pass(model, watched)
        except UnsupportedModelError:
            if not hidden:
                raise
    with _PROBING:
        return _pass(model, watched)


def _pass(model: Any, watched: Callable[[Any], AbstractContextManager[_Found]]) -> _Found:
    with ExitStack() as stack:
        # What watches may ask for gradients, which there are none of in inference mode.
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_evaluation_mode(model))
        stack.enter_context(_generators_kept(model))
        found = stack.enter_context(watched(model))
        if is_compiled(model):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        tokens = _tokens(model)
        stack.callback(setattr, _PASS, "running", False)
        _PASS.running = True
        try:
            model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
        except Exception as error:
            raise UnsupportedModelError(
                f"model: {type(model).__name__} failed on a text of {PROBE_LENGTH} tokens, which "
                f"synkern runs to find its nodes ({type(error).__name__}: {error}). "
                f"Check that model(input_ids=..., use_cache=False) runs. {ANY_SERIES}"
            ) from error
    return found


def in_the_pass() -> bool:
    """Whether what runs now is part of the pass of a probe, for what watches that.

    Other threads are not, nor is what is run again: see `run_again`.
    """
    return _PASS.running


@contextmanager
def run_again() -> Iterator[None]:
    """Run modules once more within the pass of a probe, in the `with` block, and unwatched."""
    before, _PASS.running = _PASS.running, False
    try:
        yield
    finally:
        _PASS.running = before


@contextmanager
def _hooks_of_others_hidden(model: nn.Module) -> Iterator[bool]:
    """Keep the passes that this thread runs through `model` from hooks that others put there.

    Hooks that make a model run are left, such as those that gather its weights from several
    devices. Yields whether there are any others.
    """
    thread, inside = threading.get_ident(), set(model.modules())

    def silenced(hook: Any) -> Any:
        def only_elsewhere(module: nn.Module, *args: Any) -> Any:
            if module in inside and threading.get_ident() == thread:
                return None  # nothing is changed
            return hook(module, *args)

        return only_elsewhere

    replaced = []
    # In place and one by one: handles, other threads and the order of hooks stay good.
    for hooks in forward_hooks(inside):
        for key, hook in list(hooks.items()):
            if not runs_the_model(hook):
                hooks[key] = silenced(hook)
                replaced.append((hooks, key, hook, hooks[key]))
    try:
        yield bool(replaced)
    finally:
        for hooks, key, hook, stand_in in replaced:
            if hooks.get(key) is stand_in:  # else it was removed meanwhile
                hooks[key] = hook


@contextmanager
def _generators_kept(model: nn.Module) -> Iterator[None]:
    """Put the random number generators back that `model` may draw from."""
    gpus = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(gpus)):
        yield


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _tokens(model: Any) -> Tensor:
    """Token ids (batch, length) that no configuration gives a meaning, such as "an image here".

    The rows differ in the last token only.
    """
    special = special_tokens(model)
    enough = PROBE_LENGTH - 1 + PROBE_BATCH
    plain = [i for i in range(enough + len(special)) if i not in special][:enough]
    first, last = plain[: PROBE_LENGTH - 1], plain[PROBE_LENGTH - 1 :]
    return torch.tensor([[*first, token] for token in last], device=inputs_device(model))


def looks_ahead(output: Tensor) -> bool:
    """Whether an output (batch, sequence, ...) of the probe depends on later tokens.

    The rows of the probe differ in the last token only, so before it they are equal up to rounding.
    """
    first, second = output[:, :-1]
    return differs(second, first)


def differs(tensor: Tensor, other: Tensor, *, dtype: torch.dtype | None = None) -> bool:
    """Whether tensors differ by more than rounding, in numbers of this type, that of `other`.

    Rounding moves the last digits of the type, another computation the first. The square root of
    the precision lies half-way between them in digits.
    """
    tolerance = torch.finfo(dtype or other.dtype).eps ** 0.5
    return bool((tensor.double() - other.double()).norm() > tolerance * other.double().norm())
