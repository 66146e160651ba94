"""What `record` and `replay` give: the series of a model's nodes, and the error of both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from synkern.models.nodes import Node


class RecordingError(RuntimeError):
    """The calls of the model are not one per generated token, or the recording is incomplete."""


class Recording:
    """The activity of a model's nodes in one or more generated texts, one trial per text.

    `synkern.replay` returns it; that of `synkern.record` can be read after the `with` block.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        """Begin an empty recording of `nodes`; only `record` and `replay` have use for this."""
        self.nodes: tuple[Node, ...] = tuple(nodes)
        """The nodes in the order of the last axis of `series`: by layer, then by index."""
        self._runs: list[tuple[Tensor, Tensor]] | None = None

    def __repr__(self) -> str:
        """Return the shape of what was recorded."""
        if self._runs is None:
            return f"Recording({len(self.nodes)} nodes, not complete)"
        shapes = ", ".join(str(tuple(series.shape)) for series, _ in self._runs)
        return f"Recording(trials x steps x nodes: {shapes})"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its nodes, such as `("heads",)`, as `synkern.record` takes them."""
        return tuple(dict.fromkeys(node.kind for node in self.nodes))

    @property
    def series(self) -> Tensor:
        """The activity of every node, float32 (trials, steps, nodes), on the model's device.

        Step t is the call that produced generated token t. The activity of a head is the L2 norm of
        its output.

        Raises:
            RecordingError: the recording is not complete, or its texts have different numbers of
                steps.
        """
        runs = [series for series, _ in self._complete()]
        counts = [series.shape[1] for series in runs]
        if len(set(counts)) > 1:
            raise RecordingError(
                f"the recorded texts have different numbers of steps {counts}, so they do not form "
                "one array; pass max_new_tokens=T and min_new_tokens=T to every generate, or use "
                "one synkern.record for each"
            )
        return torch.cat(runs)

    @property
    def lengths(self) -> Tensor:
        """Steps of each trial before its end-of-text token was fed, int64 (trials,).

        Equal to the number of steps for a trial that did not end before. What a trial's series
        holds after that is the model reading padding.

        Raises:
            RecordingError: the recording is not complete.
        """
        return torch.cat([lengths for _, lengths in self._complete()])

    def fill(self, runs: list[tuple[Tensor, Tensor]]) -> None:
        """Complete it with the series and lengths of each batch; for `record` and `replay` only."""
        self._runs = runs

    def _complete(self) -> list[tuple[Tensor, Tensor]]:
        if self._runs is None:
            raise RecordingError(
                "the recording is not complete: read it after the `with synkern.record(...)` "
                "block, and only if the block ended without an error"
            )
        return self._runs
