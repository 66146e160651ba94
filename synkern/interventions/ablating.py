"""`ablate`: a model with some of its nodes taken out, while a `with` block runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from synkern.interventions.calls import Calls, uncompiled
from synkern.interventions.chosen import Chosen, chosen_nodes
from synkern.interventions.edits import Edit, Here, SiteEdit, Zero, claimed
from synkern.interventions.means import Mean
from synkern.interventions.resampling import Resample
from synkern.models.language_model import UnsupportedModelError, causal_lm
from synkern.models.nodes import Kinds, Node, find_sites, nodes_of
from synkern.models.upstream import is_split_over_devices

ABLATIONS = ("zero", "mean", "resample")
"""The kinds of ablation that have a word."""


class Ablation:
    """The nodes of one model, to be taken out set by set.

    What is slow is done once, here: the places of nodes are found, and what comes in place of nodes
    is read. `applied` takes a set out for the time of a block, and costs next to nothing.

    Attributes:
        nodes: all nodes of the kinds asked for, in the order of masks and indices.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        of: Kinds = "heads",
        kind: str | Edit = "zero",
        texts: Any = None,
        batch_size: int = 16,
        among: Chosen | None = None,
    ) -> None:
        """Find the nodes of a model, and read what is to come in their place.

        Args:
            model: a causal language model of transformers, or a module that holds one.
            of: the kinds of nodes, as `synkern.record` takes them.
            kind: what comes in place of a node; see `ablate`.
            texts: for "mean" and "resample"; see `ablate`.
            batch_size: texts at a time, where they are read.
            among: the nodes that sets will be of; all by default. Where other nodes lie, nothing is
                read, which takes time and, for "resample", memory.

        Raises:
            UnsupportedModelError: (a ValueError) the nodes of this model cannot be found, or have
                no such thing; its layers are split over several devices.
            ValueError: there is no such kind, or texts are missing; what texts are refused for.
            TypeError: texts that hold no tokens.
            MemoryError: what is read does not fit.
        """
        self._model = causal_lm(model)
        if is_split_over_devices(self._model):
            raise UnsupportedModelError(
                f"model: {type(self._model).__name__} is split over devices inside its layers "
                "(tensor or expert parallel), where each device sees some of the nodes and counts "
                "them from 0; load it without a tensor-parallel plan, or with device_map='auto', "
                "which places whole layers"
            )
        self._sites = find_sites(model, of)
        self.nodes: tuple[Node, ...] = nodes_of(self._sites)
        ends = [*accumulate((site.count for site in self._sites), initial=0)]
        self._parts = [slice(*both) for both in pairwise(ends)]
        self._among: NDArray[np.bool_] = np.ones(len(self.nodes), dtype=bool)
        if among is not None:
            self._among = _in_any_text(chosen_nodes(among, self.nodes, per_text=True))
        used = [i for i, part in enumerate(self._parts) if self._among[part].any()]
        made = _edit(kind, texts).prepared(model, [self._sites[i] for i in used], batch_size)
        self._edits: dict[int, SiteEdit] = dict(zip(used, made, strict=True))

    @contextmanager
    def applied(self, chosen: Chosen, *, rows: Sequence[int] | None = None) -> Iterator[None]:
        """Take a set of nodes out while the `with` block runs; see `ablate`.

        Args:
            chosen: the nodes, as `ablate` takes them.
            rows: for "resample"; see `ablate`.

        Raises:
            ValueError: nodes that there are not, or that are not in `among`.
            InterventionError: see `ablate`.
        """
        mask = chosen_nodes(chosen, self.nodes, per_text=True)
        outside = _in_any_text(mask) & ~self._among
        if outside.any():
            raise ValueError(
                f"nodes: {self.nodes[int(outside.argmax())]} is none of those in `among`, with "
                "which this ablation was made; add it there"
            )
        here = {i: Here(mask[..., part]) for i, part in enumerate(self._parts)}
        edits = [(self._edits[i], its) for i, its in here.items() if its.nodes]
        if not edits:
            yield
            return
        calls = Calls(self._model, rows)
        with ExitStack() as stack:
            stack.enter_context(uncompiled())
            for edit, its in edits:
                stack.enter_context(claimed(edit, its.nodes))
            calls.attach(stack)
            for edit, its in edits:
                stack.callback(edit.attach(its, calls).remove)
            yield
            calls.refuse_missed([edit.site for edit, _ in edits])


@contextmanager
def ablate(
    model: nn.Module,
    nodes: Chosen,
    *,
    kind: str | Edit = "zero",
    of: Kinds = "heads",
    texts: Any = None,
    rows: Sequence[int] | None = None,
    batch_size: int = 16,
) -> Iterator[None]:
    """Take nodes of a model out while the `with` block runs.

    At every position of every text, of the prompt too, something else comes in place of what a node
    does. Weights stay as they are, and gradients pass. Blocks may be inside each other, of the same
    nodes too (the inner edit is made on what the outer one left), and end in any order. What was
    compiled by `torch.compile` runs as it was written meanwhile. No nodes at all leave the model as
    it is, bit for bit.

    For many sets of one model make an `Ablation`, which finds nodes once.

    Args:
        model: a causal language model of transformers in evaluation mode, or a module that holds
            one; quantised or offloaded as well.
        nodes: labels such as "L3H7", `Node` objects, or indices into the nodes of the model as
            `synkern.models.nodes_of` lists them; or a mask of bools (nodes,), True for those that
            are taken out, or (texts, nodes), a set for each text of the batches in the block.
        kind: what comes in place of a node.
            "zero": nothing. The routing weight of an expert is 0: the router is not asked again,
            and no other weight changes. A layer is skipped.
            "mean": what it does on average over all tokens of all responses in `texts`; see `Mean`,
            also for experts.
            "resample": what it does at the same place of another of `texts`; see `Resample`. The
            model must be called with these texts, from the first token; not of experts.
            Or an edit of one's own: `Scale(factor)`, `Resample(texts, seed=3)`, which has texts of
            its own.
        of: the kind of nodes, or several, as `synkern.record` takes them.
        texts: for "mean" and "resample": `synkern.recording.Responses`, or a recording, or answers.
            Read once at the start of the block, as the model is then.
        rows: for "resample": which of `texts` (from 0) the rows of the calls in the block are, in
            order; all of them by default.
        batch_size: of `texts`, when they are read.

    Raises:
        UnsupportedModelError: (a ValueError) these nodes cannot be edited in this model.
        ValueError: nodes that there are not; a kind that there is not; a mask for another number of
            texts than a call has.
        TypeError: nodes or texts of another type.
        MemoryError: what "resample" keeps does not fit.
        InterventionError: the model is called in training mode, or, when the block ends without
            another error, was not called in it at all or passed nodes by; for "resample", the model
            is called with a cache, or with other texts; for "mean" of experts, one of them is
            edited by another block already.
    """
    ablation = Ablation(model, of=of, kind=kind, texts=texts, batch_size=batch_size, among=nodes)
    with ablation.applied(nodes, rows=rows):
        yield


def _in_any_text(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of a mask (nodes,) or (texts, nodes) the nodes that are in the set of any text."""
    return np.asarray(np.atleast_2d(mask).any(axis=0))


def _edit(kind: str | Edit, texts: Any) -> Edit:
    """The edit that a word stands for, or that was given.

    Raises:
        ValueError: there is no such kind, or it needs texts.
    """
    if isinstance(kind, Edit):
        return kind
    if kind == "zero":
        return Zero()
    if kind not in ABLATIONS:
        raise ValueError(
            f"kind: {kind!r} is none of {', '.join(map(repr, ABLATIONS))}, and no edit such as "
            "synkern.interventions.Scale(0.5)"
        )
    if texts is None:
        raise ValueError(
            f"texts: missing for kind={kind!r}, which is read from texts; give a recording, "
            "answers, or synkern.recording.Responses(prompts, responses)"
        )
    return Mean(texts) if kind == "mean" else Resample(texts)
