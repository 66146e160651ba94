"""The calls of a model while it is edited: that none of them passes an edit by."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from synkern.models.probe import in_the_pass
from synkern.models.sites import Site
from synkern.models.upstream import ModelCall, forward_arguments, read_call
from synkern.models.upstream_torch import outside_graphs


class InterventionError(RuntimeError):
    """The model did not run in such a way that what was to be changed was changed."""


class Calls:
    """Follows the calls of one model in which sites are edited."""

    def __init__(self, model: Any, rows: Sequence[int] | None) -> None:
        """Follow a causal language model; no call has been seen yet.

        Args:
            model: the causal language model itself.
            rows: which texts the calls are given, in order of their rows; None if nobody said.
        """
        self._model = model
        self._names = list(forward_arguments(model))
        self._given: tuple[tuple[Any, ...], dict[str, Any]] = (), {}
        self._begun = self._ended = 0
        self._of_sites: Counter[str] = Counter()
        self.rows = None if rows is None else tuple(map(int, rows))
        """Which texts the calls are given."""

    @property
    def number(self) -> int:
        """Which call is running, from 1."""
        return self._begun

    def running(self) -> ModelCall:
        """What the model was given in the call that is running.

        Raises:
            InterventionError: none is: a part of the model was called alone.
        """
        if self._begun == self._ended:
            raise InterventionError(
                f"a part of {type(self._model).__name__} was called alone, so that it cannot be "
                "seen which texts it was given; call the causal language model itself"
            )
        return read_call(self._names, *self._given)

    def attach(self, stack: ExitStack) -> None:
        """Hook into the model; `stack` undoes it."""
        begins, ended = outside_graphs(self._begins), outside_graphs(self._ends)
        stack.callback(self._model.register_forward_pre_hook(begins, with_kwargs=True).remove)
        stack.callback(self._model.register_forward_hook(ended).remove)

    def edits(self, site: Site) -> None:
        """Note that values of a site are being edited."""
        self._of_sites[site.name] += 1

    def refuse_missed(self, sites: list[Site]) -> None:
        """Check that every call that came to its end went through all of these sites.

        Raises:
            InterventionError: one did not, or there was no call at all.
        """
        if not self._begun and not self._of_sites:
            raise InterventionError(
                f"{type(self._model).__name__} was not called inside the block, or not through its "
                "own forward (as code that was exported, or compiled ahead of time, is not), so "
                "that nothing was changed; call the model itself inside the block"
            )
        missed = [site for site in sites if self._of_sites[site.name] < self._ended]
        if missed:
            raise InterventionError(
                f"{type(self._model).__name__} was called {self._ended} times inside the block, "
                f"but {missed[0].name} {self._of_sites[missed[0].name]} times, so that its "
                f"{missed[0].kind} were not changed in all of them (so for {len(missed)} of "
                f"{len(sites)} modules): layers were left out, or a module was exchanged"
            )

    def _begins(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if in_the_pass():
            return
        if self._model.training:
            raise InterventionError(
                f"{type(self._model).__name__} is in training mode, where dropout changes what its "
                "nodes do beside the edit; call model.eval() first (gradients pass all the same)"
            )
        self._begun += 1
        self._given = args, kwargs

    def _ends(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not in_the_pass():
            self._ended += 1
            self._given = (), {}


class _Stance:
    """How often compiled code is held off, over all threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holders = 0
        self.held = ExitStack()


_STANCE = _Stance()


@contextmanager
def uncompiled() -> Iterator[None]:
    """Have all that was compiled by `torch.compile` run as it was written, in the `with` block.

    Compiled code does not notice hooks that were put there since. Blocks may end in any order.
    """
    with _STANCE.lock:
        if _STANCE.holders == 0:
            _STANCE.held.enter_context(torch.compiler.set_stance("force_eager"))
        _STANCE.holders += 1
    try:
        yield
    finally:
        with _STANCE.lock:
            _STANCE.holders -= 1
            if _STANCE.holders == 0:
                _STANCE.held.close()
