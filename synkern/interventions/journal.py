"""Edits of weights that nest, end in any order, and leave the weights as they were, bit for bit.

What an edit overwrites is kept beside it. When one ends that others were made after, those are
taken back first, the last first, then it; and they are made again on what is left, so that the
weights are what they would be without it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from synkern.models.language_model import UnsupportedModelError, causal_lm
from synkern.models.slices import Slice, refuse_quantised
from synkern.models.upstream_linears import why_not_editable

Change: TypeAlias = tuple[Slice, Callable[[Tensor], Tensor]]
"""A slice of weights, and what makes its new numbers of those that are there.

The function is given a tensor of the slice's shape and type that it must leave as it is, and
returns one of the same shape. It may be called again, and then has to do the same: nothing random
that is not seeded inside.
"""
Changes: TypeAlias = Iterable[Change] | Callable[[], Iterable[Change]]
"""Changes in the order in which they are made; or a function that lists them, which is called every
time that they are made, with the weights as they are before the first."""


class WeightsChangedError(RuntimeError):
    """Something else changed weights while an edit of them was in force."""


@contextmanager
def edited_weights(model: nn.Module, changes: Changes) -> Iterator[None]:
    """Change slices of a model's weights in place, in the `with` block.

    Blocks may nest, and end in any order. When the last has ended all weights are the same bits as
    before the first, also after an exception or Ctrl-C. Needs memory for a copy of the slices.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        changes: slices, as of `synkern.models.slices.find_slices`, with what becomes of each; a
            slice may be changed several times. Numbers are rounded to the type of the weights.

    Raises:
        UnsupportedModelError: a weight cannot be changed in place (quantised, offloaded, sharded).
        ValueError: a change gives another shape, or numbers that are not finite in the weight's
            type.
        WeightsChangedError: (a RuntimeError) at the end of the block, something else had changed
            slices that this edit, or one made after it, had changed, such as the step of an
            optimizer. Those parameters are left as they are, all others are as they were before.
    """
    language_model = causal_lm(model)
    refuse_quantised(language_model)
    interrupts = _Interrupts()
    edit = _Edit(changes, interrupts.let_through)
    try:
        try:
            interrupts.hold()
            with _LOCK:
                _JOURNALS.setdefault(id(language_model), _Journal(language_model)).begin(edit)
            interrupts.release()
            yield
        finally:
            # Were Ctrl-C to come before this, the outer block would still be gone through.
            interrupts.hold()
    finally:
        try:
            with _LOCK:
                journal = _JOURNALS.get(id(language_model))
                if journal is not None:  # else interrupted before it was there
                    journal.end(edit)
        finally:
            interrupts.release()


@dataclass(eq=False)
class _Record:
    """One change that was made."""

    slice: Slice
    before: Tensor
    written: int | None = None
    """Fingerprint of what was written; None before it was."""


@dataclass(eq=False)
class _Edit:
    """One edit in force."""

    changes: Changes
    pause: Callable[[], None]
    """Called between changes, when nothing is half done."""
    records: list[_Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not callable(self.changes):
            self.changes = tuple(self.changes)

    def make(self, left: Mapping[int, nn.Parameter], *, again: bool = False) -> None:
        """Make the changes.

        Args:
            left: parameters, by identity, that something else changed.
            again: whether it is made once more; then those are passed over.
        """
        for part, change in self.changes() if callable(self.changes) else self.changes:
            if id(part.parameter) not in left:
                self._change(part, change)
                if not again:
                    self.pause()
            elif not again:
                raise WeightsChangedError(
                    f"changes: {part.name} was changed by something else while weights were edited;"
                    " leave the blocks that edit weights of this model before editing it again"
                )

    @torch.no_grad()
    def _change(self, part: Slice, change: Callable[[Tensor], Tensor]) -> None:
        why = why_not_editable(part.parameter)
        if why is not None:
            raise UnsupportedModelError(f"changes: {part.name} {why}")
        before = part.tensor.clone()
        new = change(part.tensor)
        if new.shape != before.shape:
            raise ValueError(
                f"changes: that of {part.name} gives numbers {tuple(new.shape)} in place of "
                f"{tuple(before.shape)}; return as many as there are"
            )
        new = new.to(before)
        if not bool(torch.isfinite(new).all()):
            raise ValueError(
                f"changes: that of {part.name} gives NaN or numbers too large for "
                f"{str(new.dtype).removeprefix('torch.')}; make smaller changes, or load the model "
                "in a wider type"
            )
        record = _Record(part, before)
        self.records.append(record)  # first: what is not written yet may be put back all the same
        part.parameter[part.where] = new
        record.written = _fingerprint(part.tensor)

    @torch.no_grad()
    def take_back(self, left: dict[int, nn.Parameter]) -> list[str]:
        """Put back what the changes overwrote, the last first.

        Args:
            left: parameters, by identity, that are not touched; those that something else changed
                are added.

        Returns:
            The names of those.
        """
        strange = []
        while self.records:
            record = self.records[-1]
            part, written = record.slice, record.written
            if id(part.parameter) not in left:
                if written is not None and _fingerprint(part.tensor) != written:
                    left[id(part.parameter)] = part.parameter
                    strange.append(part.name)
                else:
                    part.parameter[part.where] = record.before
            self.records.pop()  # last: it does no harm to put back twice
        return strange


class _Journal:
    """The edits of one model that are in force, in the order in which they were made."""

    def __init__(self, model: Any) -> None:
        self.model = model  # which keeps its identity from becoming that of another
        self.edits: list[_Edit] = []
        self.left: dict[int, nn.Parameter] = {}
        """Parameters that something else changed meanwhile, by identity."""

    def begin(self, edit: _Edit) -> None:
        """Make an edit."""
        self.edits.append(edit)
        edit.make(self.left)

    def end(self, edit: _Edit) -> None:
        """Leave the weights as they would be without this edit."""
        # It is not there if it was interrupted before it began.
        place = self.edits.index(edit) if edit in self.edits else len(self.edits)
        strange = []
        for other in reversed(self.edits[place:]):
            strange += other.take_back(self.left)
        self.edits[place : place + 1] = []
        if not self.edits:
            _JOURNALS.pop(id(self.model), None)
        for other in self.edits[place:]:
            other.make(self.left, again=True)
        if strange:
            raise WeightsChangedError(
                f"model: {', '.join(strange)} changed while weights were edited, in the parts that "
                "were: by the step of an optimizer, perhaps, or by loading weights. They are left "
                "as they are now; load them again. Train a model before or after weights are "
                "edited, not meanwhile"
            )


_JOURNALS: dict[int, _Journal] = {}
"""By identity of the model, the journals that have edits in force."""
_LOCK = threading.RLock()


def _fingerprint(values: Tensor) -> int:
    """A number that another content would hardly have: the sum of the bits, taken as integers.

    torch counts changes in place itself, but not those of its fused optimizers, nor those made
    through `.data`.
    """
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[values.dtype.itemsize]
    return int(values.contiguous().view(whole).sum(dtype=torch.int64))


class _Interrupts:
    """Keeps Ctrl-C back for a while, where Python makes an exception of it: in the main thread."""

    def __init__(self) -> None:
        self._usual: Any = None
        self._came = False

    def hold(self) -> None:
        """Keep interrupts back until `release`."""
        if threading.current_thread() is threading.main_thread():
            usual = signal.getsignal(signal.SIGINT)
            if callable(usual) and usual != self._note:
                self._usual = usual
                signal.signal(signal.SIGINT, self._note)

    def let_through(self) -> None:
        """Let one through that came."""
        if self._came:
            self._came = False
            self._usual(signal.SIGINT, None)

    def release(self) -> None:
        """Keep none back any longer, and let one through that came."""
        if self._usual is not None:
            signal.signal(signal.SIGINT, self._usual)
        self.let_through()

    def _note(self, *_: Any) -> None:
        self._came = True
