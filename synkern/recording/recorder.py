"""`record`: the time series of every node of a language model while it writes.

A value of a series is what the node's site reads when the model makes one more token.
`synkern.replay` reads the same numbers from finished text.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from synkern.models.language_model import causal_lm
from synkern.models.nodes import Kinds, Signals, checked_signals, find_sites, nodes_of
from synkern.models.sites import Site
from synkern.models.upstream import forward_arguments, generated_sequences, soft_prompt
from synkern.models.upstream_torch import forget_compiled, outside_graphs
from synkern.recording.decoding import (
    CallWatch,
    GenerateCall,
    setting_of,
    token_ids,
    warn_of_context,
)
from synkern.recording.fed import Prompts, prompts_of
from synkern.recording.reading import (
    read_steps,
    refuse_not_finite,
    side_by_side,
    sole_reader,
    text_lengths,
    warn_of_early_ends,
)
from synkern.recording.recording import Recording, RecordingError, Texts
from synkern.recording.responses import BatchTokens
from synkern.recording.store import Store, opened, refuse_too_large

# Values held before they are read: few large reductions instead of many small ones, at a memory
# cost that stays small beside a model.
_CHUNK_BYTES = 64 << 20

# Of a text's series: as chunks, joined, and by trial.
_CHUNK_COPIES = 3

# A streamer tells its reader that the text has ended before generate returns in its thread.
_RETURN_SECONDS = 1.0

_UNSEEN = (
    "If torch.compile was applied to a function around the model, apply it to the model itself "
    "(torch.compile(model) or model.compile()); otherwise read the text with synkern.replay."
)


@dataclass
class _Run:
    """The trials of one prompt batch while they grow."""

    end_tokens: tuple[int, ...]
    prompts: Prompts | str
    chunks: list[Tensor] = field(default_factory=list)  # float32 (steps, trials, nodes) each
    routed: list[Tensor] = field(default_factory=list)  # bool, likewise; of some kinds only
    fed: list[Tensor] = field(default_factory=list)  # (trials,) each; of steps 2, 3, ...


@contextmanager
def record(
    model: nn.Module,
    *,
    nodes: Kinds = "heads",
    signal: Signals = None,
    store: str | os.PathLike[str] | None = None,
) -> Iterator[Recording]:
    """Record the activity of `model` while it generates inside the `with` block.

    Every `model.generate` adds its sequences as trials; a loop that calls the model itself (the
    prompt on an empty cache, then one token per call) works as well.

    Args:
        model: a decoder-only causal language model of transformers in evaluation mode, or a module
            that holds one. Prompts are padded on the left.
        nodes: whose activity, a kind of node or several. "heads": the attention heads. "experts":
            the experts to which tokens are routed. "shared_experts": what every token gets beside
            them, one node per layer. "mlps": the MLP block of each layer. "layers": the decoder
            layers. "neurons": all that enters the down projections of the blocks.
        signal: what to read of a node, a word for the one kind or a mapping from kind to word. By
            default the first that is named here.
            Of heads: "norm", the L2 norm of the head's output, before the layer's output
            projection; "projected", the norm of what the head writes through that, without bias;
            "largest", the largest absolute value of its output; "entropy", in nats, of its
            attention over the keys (of models loaded with attn_implementation="eager").
            Of experts: "weighted", the L2 norm of the expert's output times its routing weight, or
            "output", that without the weight; both exactly 0 where it was not chosen. "gate", the
            router probability of every expert (softmax, or sigmoid where the model's weights are
            made of that), or "dense", the norm of every expert's output at every token: no zeros.
            Experts are run again on what the model gave them when generate returns (in a loop of
            one's own when the next text begins): their weights must not change before.
            Of shared experts: "norm", the L2 norm of what they add, all of a layer together. Of
            mlps: "norm" of the block's output, before any norm or scaling behind it. Of layers:
            "norm" of what the layer adds to the residual stream. Of neurons: "activation", signed.
        store: a file that takes the series text by text, so that memory holds no more than one
            batch: for neurons, and long texts. It exists once the block has ended without an error,
            or not at all; all texts must have as many steps. One that is there already is refused:
            remove it. None: the series are in memory, on the model's device.
            "NAME.npy": `Recording.series` is then a float32 tensor on the CPU that is mapped from
            the file, read as it is used; writing to it leaves the file as it is.
            "NAME.zarr": a folder, an array of zarr (trials, steps, nodes) that
            `synkern.phiid_blocks("NAME.zarr", out=...)` takes as it is, and `synkern.read_series`
            reads. It holds no names: give `node_names=recording.nodes`. `Recording.series` is then
            read into memory, on the CPU, when it is first asked for.

    Yields:
        `Recording`, to be read after the block.

    Raises:
        UnsupportedModelError: these nodes, or this signal, cannot be read in this model.
        RecordingError: from the call at fault, if calls and generated tokens do not correspond
            (assisted decoding, beams, no cache, a prompt in chunks, training mode) or whether they
            do cannot be told, if the ends of several texts cannot be seen (`stop_strings`,
            `stopping_criteria`), a text outgrows a table of learned positions or a value is not
            finite; on entering, if the model is already being recorded; on leaving, if nothing was
            recorded or a generate still runs in a thread.
        ValueError: a kind of node or a signal that there is not; prompts padded on the right, or
            that are no tensor (texts, tokens); a store that is neither .npy nor .zarr.
        MemoryError: the series do not fit into memory, said before they are formed.
        MissingExtraError: zarr is not installed, for a `store` of it.
        FileExistsError: there is a file at `store`.
        OSError: the file of `store` cannot be written, as where the disk is full.

    Warns:
        UserWarning: on leaving, if texts ended before the last step, or grew longer than the
            context that the model was made for (its `max_position_embeddings`).
    """
    signals = checked_signals(nodes, signal)
    language_model = causal_lm(model)
    with ExitStack() as stack:
        stack.enter_context(sole_reader(language_model))
        kept = opened(stack, store)
        recorder = _Recorder(language_model, find_sites(model, tuple(signals), signals), kept)
        recorder.soft_prompt = soft_prompt(model)
        recording = Recording(recorder.nodes, signals)
        stack.callback(forget_compiled, model)
        forget_compiled(model)
        recorder.attach(stack)
        yield recording
        runs = recorder.finish()
        if kept is not None:
            runs = kept.whole(runs)
    recording.fill(runs, recorder.tokens)
    warn_of_early_ends(runs)
    warn_of_context(language_model, recorder.longest_text)


class _Recorder:
    """The hooks on one model, and what they collect."""

    def __init__(self, model: Any, sites: Sequence[Site], store: Store | None) -> None:
        self.nodes = nodes_of(sites)
        self._store = store
        self._model = model
        self._sites = sites
        self._watch = CallWatch(model)
        self._end_tokens = token_ids(setting_of(model, "eos_token_id"))
        # Of each site, its values (trials, ...) at the last position of every call.
        self._held: list[list[Tensor]] = [[] for _ in sites]
        self._held_steps = 0  # calls of the model since what is held was last read
        self._run: _Run | None = None
        self._finished: list[Texts] = []
        self.tokens: list[BatchTokens | str] = []
        """Of each batch, or why they are not known."""
        self.soft_prompt: str | None = None
        """The method of an adapter that prepends vectors to every text, if there is one."""
        self._names = list(forward_arguments(model))
        self._asked: Mapping[str, Any] = {}  # what generate was given
        self._attached = False
        self._generating = 0  # calls of generate in progress, in whatever thread
        self._returned = threading.Condition()

    @property
    def longest_text(self) -> int:
        """Tokens of the longest text read so far."""
        return self._watch.longest_text

    def attach(self, stack: ExitStack) -> None:
        """Hook into the model; `stack` undoes it."""
        watch = outside_graphs(self._call_begins)
        handle = self._model.register_forward_pre_hook(watch, with_kwargs=True)
        stack.callback(handle.remove)
        handle = self._model.register_forward_hook(outside_graphs(self._call_ended))
        stack.callback(handle.remove)
        for site, held in zip(self._sites, self._held, strict=True):
            stack.callback(site.watch(_keeper(held)).remove)
        if hasattr(type(self._model), "generate"):
            self._wrap_generate(stack)
        self._attached = True
        stack.callback(setattr, self, "_attached", False)

    def finish(self) -> list[Texts]:
        """Everything recorded, batch by batch."""
        with self._returned:
            done = self._returned.wait_for(lambda: self._generating == 0, _RETURN_SECONDS)
        if not done:
            raise RecordingError(
                "generate is still running in another thread, so the recording would break off "
                "within a text; wait for it (thread.join()) before the end of the `with "
                "synkern.record` block"
            )
        self._close_run()
        if not self._finished:
            raise RecordingError(
                "nothing was recorded: the model was not called inside the `with synkern.record` "
                f"block, or not through its own forward. {_UNSEEN}"
            )
        return self._finished

    def _wrap_generate(self, stack: ExitStack) -> None:
        """See generate's settings and result, which say what its calls of the model do not."""
        model = self._model
        generate: Callable[..., Any] = model.generate

        def watched(*args: Any, **kwargs: Any) -> Any:
            call = GenerateCall(model, args, kwargs)
            self._close_run()
            self._watch.end_text()
            before, usual = len(self._finished), self._end_tokens
            self._end_tokens, self._asked = call.end_tokens, call.given
            try:
                output = generate(*args, **kwargs)
            except BaseException:
                self._abandon_run()
                raise
            finally:
                self._end_tokens, self._asked = usual, {}
                self._watch.end_text()
            if not self._attached:  # the block was left meanwhile, and that was an error there
                return output
            self._close_run(generated_sequences(output)[:, call.prompt_length :].clone())
            texts = len(self._finished) - before
            if texts != 1:
                del self._finished[before:], self.tokens[before:]
                if self._store is not None:
                    self._store.cut(sum(len(texts.lengths) for texts in self._finished))
                raise RecordingError(
                    f"one generate read {texts} prompts instead of 1 as far as synkern.record "
                    f"could see. {_UNSEEN}"
                )
            return output

        @functools.wraps(generate)
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self._returned:
                self._generating += 1
            try:
                return watched(*args, **kwargs)
            finally:
                with self._returned:
                    self._generating -= 1
                    self._returned.notify()

        own = model.__dict__.get("generate")
        model.generate = counted
        if own is None:
            stack.callback(delattr, model, "generate")
        else:
            stack.callback(setattr, model, "generate", own)

    def _call_begins(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            fed = self._watch.see(args, kwargs)
        except BaseException:
            self._abandon_run()
            raise
        if fed is None:
            self._close_run()
            read = prompts_of(self._names, args, kwargs, self._asked)
            self._run = _Run(self._end_tokens, read)
        elif self._run is None:
            raise RecordingError(
                "a token was fed to a text whose recording had ended, as when a text is continued "
                "from the cache of a finished generate; generate the whole text in one call"
            )
        else:
            self._run.fed.append(fed)
            if self._bytes_held() >= _CHUNK_BYTES:
                self._read_held(self._run)
        self._held_steps += 1

    def _call_ended(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        try:
            self._watch.see_output(output)
        except BaseException:
            self._abandon_run()
            raise

    def _bytes_held(self) -> int:
        one_step = sum(held[-1].nbytes for held in self._held if held)
        return one_step * self._held_steps

    def _read_held(self, run: _Run) -> None:
        """Read what is held; every step begun must be complete."""
        steps, counts = self._held_steps, [len(held) for held in self._held]
        wrong = [i for i, count in enumerate(counts) if count != steps]
        if wrong:
            self._abandon_run()
            raise RecordingError(
                f"the model was called {steps} times, but {self._sites[wrong[0]].name} "
                f"{counts[wrong[0]]} times (so for {len(wrong)} of {len(counts)} modules that are "
                f"read). {_UNSEEN}"
            )
        if steps == 0:
            return
        # Chunks become one, and that one by trial.
        formed = sum(chunk.nbytes for chunk in run.chunks)
        first = self._held[0][0]
        needed = _CHUNK_COPIES * (formed + steps * len(first) * len(self.nodes) * 4)
        refuse_too_large(needed - formed, first, len(self.nodes))
        parts = [read_steps(site, held) for site, held in zip(self._sites, self._held, strict=True)]
        self._discard_held()
        chunk, routed = side_by_side(parts)
        refuse_not_finite(chunk, self.nodes, first_step=1 + sum(len(c) for c in run.chunks))
        run.chunks.append(chunk)
        if routed is not None:
            run.routed.append(routed)

    def _close_run(self, written: Tensor | None = None) -> None:
        """End the run in progress, if any; `written` (trials, tokens) is what generate returned."""
        run = self._run
        if run is None:
            # Modules that ran without a call of the model are no step of any text.
            if any(self._held):
                self._discard_held()
                raise RecordingError(
                    "parts of the model ran without a call of the model itself: call the causal "
                    "language model, not a part of it, inside synkern.record"
                )
            return
        self._read_held(run)
        self._run = None
        values = torch.cat(run.chunks)
        steps, new_tokens = len(values), None if written is None else written.shape[1]
        # Where generate decides one call late that every text has ended, it drops the last token.
        if new_tokens is not None and steps == new_tokens + 1:
            values, steps = values[:new_tokens], new_tokens
        elif new_tokens is not None and steps != new_tokens:
            raise RecordingError(
                f"generate appended {new_tokens} tokens in {steps} calls of the model, so calls "
                "are not generated tokens; read the text with synkern.replay instead"
            )
        fed = torch.stack([torch.empty_like(run.fed[0]), *run.fed])[1:steps] if run.fed else None
        lengths = text_lengths(fed, run.end_tokens, values)
        routed = torch.cat(run.routed)[:steps].sum(0) if run.routed else None
        if self._store is None:
            texts = Texts(values.transpose(0, 1).contiguous(), lengths, routed)
        else:
            texts = self._store.keep(values.transpose(0, 1), lengths, routed)
        self._finished.append(texts)
        self.tokens.append(self._tokens_of(run, fed if written is None else written.T, lengths))

    def _tokens_of(self, run: _Run, by_step: Tensor | None, lengths: Tensor) -> BatchTokens | str:
        """The tokens of a run that wrote these, (steps, trials), as far as is known."""
        if self.soft_prompt is not None:
            return f"a soft prompt ({self.soft_prompt}) was read as well"
        if isinstance(run.prompts, str):
            return run.prompts
        if by_step is None:
            return "no token of the response was read by the model, which wrote one only"
        return BatchTokens(run.prompts.ids, run.prompts.mask, by_step.T, lengths)

    def _abandon_run(self) -> None:
        self._run = None
        self._watch.end_text()
        self._discard_held()

    def _discard_held(self) -> None:
        self._held_steps = 0
        for held in self._held:
            held.clear()


def _keeper(held: list[Tensor]) -> Callable[[Tensor], None]:
    """A receiver that keeps the values of a site at the last position of each call."""

    def keep(values: Tensor) -> None:
        # A clone: a view would keep the whole prompt alive and could be overwritten.
        held.append(values.detach()[:, -1].clone())

    return keep
