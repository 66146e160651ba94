"""`ablate`: a model with some of its nodes taken out, while a `with` block runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from torch import nn

from synkern.interventions.calls import Calls, uncompiled
from synkern.interventions.chosen import Chosen, chosen_nodes
from synkern.interventions.edits import Edit, Here, Zero
from synkern.models.language_model import causal_lm
from synkern.models.nodes import Kinds, Node, find_sites, nodes_of

if TYPE_CHECKING:
    from synkern.recording.responses import Responses


class Ablation:
    """The nodes of one model, to be taken out set by set: found once, applied many times."""

    nodes: tuple[Node, ...]
    """All that can be taken out, in the order of masks and indices."""

    def __init__(
        self,
        model: nn.Module,
        *,
        of: Kinds = "heads",
        kind: str | Edit = "zero",
        texts: Responses | None = None,
        batch_size: int = 16,
    ) -> None:
        """Find the nodes of a model."""
        self._model = causal_lm(model)
        self._sites = find_sites(model, of)
        self.nodes = nodes_of(self._sites)
        edit = Zero() if kind == "zero" else kind
        assert isinstance(edit, Edit)
        self._edits = edit.prepared(model, self._sites, batch_size)

    @contextmanager
    def applied(self, chosen: Chosen, *, rows: Sequence[int] | None = None) -> Iterator[None]:
        """Take a set of nodes out while the `with` block runs."""
        mask = chosen_nodes(chosen, self.nodes, per_text=True)
        ends = accumulate((site.count for site in self._sites), initial=0)
        parts = [mask[..., first:last] for first, last in pairwise(ends)]
        edits = [
            (edit, Here(part)) for edit, part in zip(self._edits, parts, strict=True) if part.any()
        ]
        if not edits:
            yield
            return
        calls = Calls(self._model)
        with ExitStack() as stack:
            stack.enter_context(uncompiled())
            calls.attach(stack)
            for edit, here in edits:
                stack.callback(edit.attach(here, calls).remove)
            yield
            calls.refuse_missed([edit.site for edit, _ in edits])


@contextmanager
def ablate(
    model: nn.Module,
    nodes: Chosen,
    *,
    kind: str | Edit = "zero",
    of: Kinds = "heads",
    texts: Responses | None = None,
    batch_size: int = 16,
) -> Iterator[None]:
    """Take nodes of a model out while the `with` block runs."""
    ablation = Ablation(model, of=of, kind=kind, texts=texts, batch_size=batch_size)
    with ablation.applied(nodes):
        yield
