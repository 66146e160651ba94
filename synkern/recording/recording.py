"""What `record` and `replay` give: the series of a model's nodes, and the error of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from synkern._memory import require
from synkern.models.nodes import KINDS, Node
from synkern.recording.responses import BatchTokens, Responses, joined
from synkern.recording.stored import Stored


class RecordingError(RuntimeError):
    """The calls of the model are not one per generated token, or the recording is incomplete."""


@dataclass(frozen=True)
class Texts:
    """What was read of one batch of texts.

    Attributes:
        series: (trials, steps, nodes) float32; in memory, mapped to it, or left in zarr.
        lengths: (trials,) int64, see `Recording.lengths`.
        routed: (trials, nodes) int64, see `Recording.routed`, or None.
    """

    series: Tensor | Stored
    lengths: Tensor
    routed: Tensor | None = None


class Recording:
    """The activity of a model's nodes in one or more generated texts, one trial per text.

    `synkern.replay` returns it; that of `synkern.record` can be read after the `with` block.
    `synkern.phiid` and its kin take it in place of its series.
    """

    def __init__(self, nodes: Sequence[Node], signals: Mapping[str, str]) -> None:
        """Begin an empty recording of `nodes`; only `record` and `replay` have use for this."""
        self.nodes: tuple[Node, ...] = tuple(nodes)
        """The nodes in the order of the last axis of `series`: kind by kind as asked for, then by
        layer and index."""
        self.signals: dict[str, str] = dict(signals)
        """What was read of the nodes of each kind, such as `{"heads": "norm"}`: see `KINDS` in
        `synkern.models.nodes`."""
        self._runs: list[Texts] | None = None
        self._tokens: list[BatchTokens | str] = []

    def __repr__(self) -> str:
        """Return the shape of what was recorded."""
        what = ", ".join(f"{kind} ({signal})" for kind, signal in self.signals.items())
        if self._runs is None:
            return f"Recording({len(self.nodes)} nodes, {what}, not complete)"
        shapes = ", ".join(str(tuple(texts.series.shape)) for texts in self._runs)
        return f"Recording({what}, trials x steps x nodes: {shapes})"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its nodes, such as `("heads",)`, as `synkern.record` takes them."""
        return tuple(self.signals)

    @property
    def zero_filled(self) -> bool:
        """Whether nodes have a series that is exactly 0 where they are idle, as experts do.

        No Gaussian can be fitted to that: `kind="discrete"` is the default of `synkern.phiid` for
        such a recording.
        """
        return any(KINDS[kind].signals[signal].zero_filled for kind, signal in self.signals.items())

    def of(self, kind: str) -> Recording:
        """The recording of the nodes of one kind alone; its series are views.

        Of a `store` of zarr they are read when they are asked for, without the other nodes.

        Raises:
            RecordingError: the recording is not complete.
            ValueError: the kind was not recorded.
        """
        if kind not in self.signals:
            raise ValueError(
                f"kind: {kind!r} was not recorded, only {' and '.join(map(repr, self.kinds))}; "
                "name it in `nodes` of record or replay"
            )
        # Nodes of a kind stand together.
        places = [place for place, node in enumerate(self.nodes) if node.kind == kind]
        its = slice(places[0], places[-1] + 1)
        alone = Recording(self.nodes[its], {kind: self.signals[kind]})
        alone.fill(
            [
                Texts(
                    t.series.of(its) if isinstance(t.series, Stored) else t.series[..., its],
                    t.lengths,
                    None if t.routed is None else t.routed[:, its],
                )
                for t in self._complete()
            ],
            self._tokens,
        )
        return alone

    @property
    def series(self) -> Tensor:
        """The activity of every node, float32 (trials, steps, nodes), on the model's device.

        Step t is the call that produced generated token t. What the activity is, `signals` say. Of
        a recording with a `store` it is on the CPU. Of a .npy file it is mapped: values are read
        when they are used, and memory holds what the system has room for. Of zarr all are read when
        this is first asked for, and stay in memory.

        Raises:
            RecordingError: the recording is not complete, or its texts have different numbers of
                steps.
            MemoryError: the batches do not fit into memory once more, as one array; or what is in
                zarr does not: `synkern.phiid_blocks` takes its path.
            FileNotFoundError: what was in zarr is not there any more.
        """
        complete = self._complete()
        counts = [texts.series.shape[1] for texts in complete]
        if len(set(counts)) > 1:
            raise RecordingError(
                f"the recorded texts have different numbers of steps {counts}, so they do not form "
                "one array; pass max_new_tokens=T and min_new_tokens=T to every generate, or use "
                "one synkern.record for each"
            )
        runs = [
            torch.from_numpy(series.values) if isinstance(series, Stored) else series
            for series in (texts.series for texts in complete)
        ]
        if len(runs) == 1:
            return runs[0]
        require(
            sum(series.nbytes for series in runs),
            runs[0],
            f"the series of {len(self.nodes):,} nodes as one array",
            "store='PATH.npy' when recording, which has them in a file, or fewer texts or nodes",
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
        return torch.cat([texts.lengths for texts in self._complete()])

    @property
    def routed(self) -> Tensor | None:
        """Steps of each trial at which each node took part, int64 (trials, nodes).

        Of an expert: at which the router chose it; of other nodes recorded with experts, also in
        `of`: all steps. None if no node of the recording is ever left out.

        Raises:
            RecordingError: the recording is not complete.
        """
        counts = [texts.routed for texts in self._complete()]
        known = [count for count in counts if count is not None]
        return torch.cat(known) if len(known) == len(counts) else None

    @property
    def responses(self) -> Responses:
        """The texts as tokens, without padding; a response ends with its end token.

        Of `replay`, and of `generate` inside `record`, all of them. A loop of one's own never says
        which token the model wrote last, so there it is missing: each response is one shorter than
        its series, unless it ended before.

        Raises:
            RecordingError: the recording is not complete; or tokens are not all that a model read
                (embeddings, a soft prompt, images), or not known.
        """
        self._complete()
        known = [batch for batch in self._tokens if isinstance(batch, BatchTokens)]
        for number, batch in enumerate(self._tokens):
            if isinstance(batch, str):
                raise RecordingError(
                    f"responses: tokens of batch {number} (from 0) are not all that the model "
                    f"read, or not known: {batch}. For texts that are tokens alone, and are known, "
                    "give synkern.recording.Responses(prompts, responses)"
                )
        return joined(known)

    def fill(self, runs: list[Texts], tokens: Sequence[BatchTokens | str]) -> None:
        """Complete it with what was read of each batch; for `record` and `replay` only.

        Args:
            runs: the series.
            tokens: the tokens of each batch, or why they are not known.
        """
        self._runs, self._tokens = runs, list(tokens)

    def _complete(self) -> list[Texts]:
        if self._runs is None:
            raise RecordingError(
                "the recording is not complete: read it after the `with synkern.record(...)` "
                "block, and only if the block ended without an error"
            )
        return self._runs
