"""The time series of every attention head while a language model writes.

The value of a head at a generated token is the L2 norm of its output, read where it enters the
layer's output projection. `record` reads along while `model.generate` runs; `replay` reads the same
numbers afterwards in one forward pass over the finished text.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from synkern.attention import (
    OutputProjection,
    causal_lm,
    find_output_projections,
    is_compiled,
)
from synkern.decoding import (
    CallWatch,
    GenerateCall,
    RecordingError,
    refuse_right_padding,
    token_ids,
)

# Head outputs held before their norms are taken: few large reductions instead of many small ones,
# at a memory cost that stays small beside a model.
_BLOCK_BYTES = 64 << 20

_UNSEEN = (
    "If torch.compile was applied to a function around the model, apply it to the model itself "
    "(torch.compile(model) or model.compile()); otherwise read the text with synkern.replay."
)


@dataclass(frozen=True, order=True)
class Node:
    """An attention head; `str(Node(3, 7))` is `"L3H7"`. Both indices count from zero."""

    layer: int
    head: int

    def __str__(self) -> str:
        """Return the usual short name, such as `"L3H7"`."""
        return f"L{self.layer}H{self.head}"


@dataclass
class _Run:
    """The trials of one prompt batch while they grow."""

    end_tokens: tuple[int, ...]
    blocks: list[Tensor] = field(default_factory=list)  # float32 (steps, trials, nodes) each
    fed: list[Tensor] = field(default_factory=list)  # (trials,) each; of steps 2, 3, ...


class Recording:
    """The head norms of one or more generated texts, one trial per text.

    `synkern.record` fills it; it can be read after the `with` block ends.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        """Begin an empty recording of `nodes`; only `record` and `replay` have use for this."""
        self.nodes: tuple[Node, ...] = tuple(nodes)
        """The heads in the order of the last axis of `series`: by layer, then by head."""
        self._runs: list[tuple[Tensor, Tensor]] | None = None

    def __repr__(self) -> str:
        """Return the shape of what was recorded."""
        if self._runs is None:
            return f"Recording({len(self.nodes)} nodes, not complete)"
        shapes = ", ".join(str(tuple(norms.shape)) for norms, _ in self._runs)
        return f"Recording(trials x steps x nodes: {shapes})"

    @property
    def series(self) -> Tensor:
        """L2 norms of the head outputs, float32 (trials, steps, nodes), on the model's device.

        Step t is the call that produced generated token t. Raises RecordingError if the recording
        is not complete or its texts have different numbers of steps.
        """
        norms = [norms for norms, _ in self._complete()]
        counts = [n.shape[1] for n in norms]
        if len(set(counts)) > 1:
            raise RecordingError(
                f"the recorded texts have different numbers of steps {counts}, so they do not form "
                "one array; pass max_new_tokens=T and min_new_tokens=T to every generate, or use "
                "one synkern.record for each"
            )
        return torch.cat(norms)

    @property
    def lengths(self) -> Tensor:
        """Steps of each trial before its end-of-text token was fed, int64 (trials,).

        Equal to the number of steps for a trial that did not end before. What a trial's series
        holds after that is the model reading padding.
        """
        return torch.cat([lengths for _, lengths in self._complete()])

    def _complete(self) -> list[tuple[Tensor, Tensor]]:
        if self._runs is None:
            raise RecordingError(
                "the recording is not complete: read it after the `with synkern.record(...)` "
                "block, and only if the block ended without an error"
            )
        return self._runs


@contextmanager
def record(model: nn.Module) -> Iterator[Recording]:
    """Record the head norms of `model` while it generates inside the `with` block.

    `model` is a decoder-only causal language model of transformers in evaluation mode; prompts are
    padded on the left. Every `model.generate` adds its sequences as trials; a loop that calls the
    model itself (the prompt on an empty cache, then one token per call) works as well.

    Raises UnsupportedModelError if the heads cannot be read; RecordingError, from the call at
    fault, if calls and generated tokens do not correspond (assisted decoding, beams, no cache, a
    prompt in chunks, training mode) or a norm is not finite, and on leaving if nothing was
    recorded; ValueError for prompts padded on the right. Warns on leaving if trials ended early.
    """
    projections = find_output_projections(model)
    language_model = causal_lm(model)
    recorder = _Recorder(language_model, projections)
    recording = Recording(recorder.nodes)
    with ExitStack() as stack:
        stack.callback(_forget_compiled, model)
        _forget_compiled(model)
        recorder.attach(stack)
        yield recording
        recording._runs = recorder.finish()
    _warn_of_early_ends(recording._runs, stacklevel=4)


def replay(
    model: nn.Module,
    sequences: Tensor,
    *,
    new_tokens: int,
    attention_mask: Tensor | None = None,
) -> Recording:
    """Read the head norms of finished texts in one forward pass.

    Gives what `record` gives for the same texts, up to rounding, and works however they were
    written: by assisted decoding, beam search, another program or a person.

    `sequences` are token ids (trials, prompt + new_tokens) as `model.generate` returns them, padded
    on the left; the last `new_tokens` of each row are the generated ones. `attention_mask`, 0 at
    the padding, has shape (trials, prompt) or that of `sequences`; it may be left out only where
    nothing is padded. Raises ValueError for shapes that do not fit and for padding on the right or
    without a mask, UnsupportedModelError and RecordingError as `record` does.
    """
    language_model = causal_lm(model)
    sequences, mask = _checked_texts(language_model, sequences, new_tokens, attention_mask)
    if language_model.training:
        raise RecordingError(
            f"{type(language_model).__name__} is in training mode, where dropout changes the "
            "heads' outputs; call model.eval() first"
        )
    projections = find_output_projections(model)
    norms: dict[int, Tensor] = {}

    # The last token is never fed while generating, so the last new_tokens positions of the rest are
    # those of steps 1 ... new_tokens.
    arguments: dict[str, Any] = {
        "input_ids": sequences[:, :-1],
        "attention_mask": mask[:, :-1],
        "use_cache": False,
    }
    accepted = inspect.signature(type(language_model).forward).parameters
    if "position_ids" in accepted:
        arguments["position_ids"] = (mask[:, :-1].cumsum(-1) - 1).clamp(min=0)
    if "logits_to_keep" in accepted:
        arguments["logits_to_keep"] = 1
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if is_compiled(model):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for index, projection in enumerate(projections):

            def read(
                _: nn.Module,
                args: tuple[Any, ...],
                index: int = index,
                projection: OutputProjection = projection,
            ) -> None:
                norms[index] = _head_norms(args[0][:, -new_tokens:], projection)

            stack.callback(projection.module.register_forward_pre_hook(read).remove)
        language_model(**arguments)
    if len(norms) != len(projections):
        missing = [p.name for i, p in enumerate(projections) if i not in norms]
        raise RecordingError(f"the forward pass did not run the output projections {missing}")

    device = norms[0].device
    series = torch.cat([norms[i].to(device) for i in range(len(projections))], dim=-1)
    nodes = _nodes(projections)
    by_step = series.transpose(0, 1)
    _refuse_not_finite(by_step, nodes, first_step=1)
    recording = Recording(nodes)
    ends = token_ids(language_model.generation_config.eos_token_id)
    lengths = _lengths(sequences[:, -new_tokens:-1].T, ends, by_step)
    recording._runs = [(series, lengths)]
    _warn_of_early_ends(recording._runs, stacklevel=3)
    return recording


class _Recorder:
    """The hooks on one model, and the head outputs and norms they collect."""

    def __init__(self, model: Any, projections: Sequence[OutputProjection]) -> None:
        self.nodes = _nodes(projections)
        self._model = model
        self._projections = projections
        self._watch = CallWatch(model)
        self._end_tokens = token_ids(model.generation_config.eos_token_id)
        self._held: list[list[Tensor]] = [[] for _ in projections]  # (trials, heads * width) each
        self._held_steps = 0  # calls of the model since norms were last taken
        self._run: _Run | None = None
        self._finished: list[tuple[Tensor, Tensor]] = []  # series and lengths of each run

    def attach(self, stack: ExitStack) -> None:
        """Hook into the model; `stack` undoes it."""
        # Compiled models run these hooks outside their graphs, so that compiling can neither leave
        # one out nor hand it a buffer that the next step overwrites.
        outside_graphs: Callable[..., Any] = torch.compiler.disable
        watch = outside_graphs(self._call_begins)
        handle = self._model.register_forward_pre_hook(watch, with_kwargs=True)
        stack.callback(handle.remove)
        for projection, held in zip(self._projections, self._held, strict=True):
            handle = projection.module.register_forward_pre_hook(outside_graphs(_keeper(held)))
            stack.callback(handle.remove)
        if hasattr(self._model, "generate"):
            self._wrap_generate(stack)

    def finish(self) -> list[tuple[Tensor, Tensor]]:
        """Series (trials, steps, nodes) and lengths (trials,) of everything recorded."""
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

        @functools.wraps(generate)
        def watched(*args: Any, **kwargs: Any) -> Any:
            call = GenerateCall(model, args, kwargs)
            self._close_run()
            before, usual = len(self._finished), self._end_tokens
            self._end_tokens = call.end_tokens
            try:
                output = generate(*args, **kwargs)
            except BaseException:
                self._abandon_run()
                raise
            finally:
                self._end_tokens = usual
            self._close_run(call.new_tokens(output))
            texts = len(self._finished) - before
            if texts != 1:
                del self._finished[before:]
                raise RecordingError(
                    f"one generate read {texts} prompts instead of 1 as far as synkern.record "
                    f"could see. {_UNSEEN}"
                )
            return output

        own = model.__dict__.get("generate")
        model.generate = watched
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
            self._run = _Run(self._end_tokens)
        elif self._run is None:
            raise RecordingError(
                "a token was fed to a text whose recording had ended, as when a text is continued "
                "from the cache of a finished generate; generate the whole text in one call"
            )
        else:
            self._run.fed.append(fed)
            if self._bytes_held() >= _BLOCK_BYTES:
                self._take_norms(self._run)
        self._held_steps += 1

    def _bytes_held(self) -> int:
        one_step = sum(held[-1].nbytes for held in self._held if held)
        return one_step * self._held_steps

    def _take_norms(self, run: _Run) -> None:
        """Turn the head outputs held into norms; every step begun must be complete."""
        steps, counts = self._held_steps, [len(held) for held in self._held]
        wrong = [i for i, count in enumerate(counts) if count != steps]
        if wrong:
            self._abandon_run()
            raise RecordingError(
                f"the model was called {steps} times, but its output projection "
                f"{self._projections[wrong[0]].name} {counts[wrong[0]]} times (so for {len(wrong)} "
                f"of {len(counts)} projections). {_UNSEEN}"
            )
        if steps == 0:
            return
        device = self._held[0][0].device
        norms = [
            _head_norms(torch.stack(held), projection).to(device)
            for held, projection in zip(self._held, self._projections, strict=True)
        ]
        self._discard_held()
        block = torch.cat(norms, dim=-1)
        _refuse_not_finite(block, self.nodes, first_step=1 + sum(len(b) for b in run.blocks))
        run.blocks.append(block)

    def _close_run(self, new_tokens: int | None = None) -> None:
        """End the run in progress, if any; `new_tokens` is what it generated, where known."""
        run = self._run
        if run is None:
            # Projections that ran without a call of the model are no step of any text.
            if any(self._held):
                self._discard_held()
                raise RecordingError(
                    "output projections ran without a call of the model itself: call the causal "
                    "language model, not a part of it, inside synkern.record"
                )
            return
        self._take_norms(run)
        self._run = None
        norms = torch.cat(run.blocks)
        steps = len(norms)
        # Where generate decides one call late that every text has ended, it drops the last token.
        if new_tokens is not None and steps == new_tokens + 1:
            norms, steps = norms[:new_tokens], new_tokens
        elif new_tokens is not None and steps != new_tokens:
            raise RecordingError(
                f"generate appended {new_tokens} tokens in {steps} calls of the model, so calls "
                "are not generated tokens; read the text with synkern.replay instead"
            )
        fed = torch.stack([torch.empty_like(run.fed[0]), *run.fed])[1:steps] if run.fed else None
        lengths = _lengths(fed, run.end_tokens, norms)
        self._finished.append((norms.transpose(0, 1).contiguous(), lengths))

    def _abandon_run(self) -> None:
        self._run = None
        self._discard_held()

    def _discard_held(self) -> None:
        self._held_steps = 0
        for held in self._held:
            held.clear()


def _keeper(held: list[Tensor]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    """A forward pre-hook that keeps what enters an output projection at the last position."""

    def keep(_: nn.Module, args: tuple[Any, ...]) -> None:
        # A clone: a view would keep the whole prompt alive and could be overwritten.
        held.append(args[0].detach()[:, -1].clone())

    return keep


def _nodes(projections: Sequence[OutputProjection]) -> tuple[Node, ...]:
    return tuple(Node(p.layer, head) for p in projections for head in range(p.heads))


def _head_norms(inputs: Tensor, projection: OutputProjection) -> Tensor:
    """L2 norm of every head: (..., heads * width) of any float type to float32 (..., heads)."""
    heads = inputs.detach().view(*inputs.shape[:-1], projection.heads, projection.width)
    # In float32 whatever the model's type: bfloat16 norms would take a few dozen values.
    norms: Tensor = torch.linalg.vector_norm(heads, dim=-1, dtype=torch.float32)
    return norms


def _refuse_not_finite(norms: Tensor, nodes: Sequence[Node], *, first_step: int) -> None:
    """Raise RecordingError if a norm of (steps, trials, nodes) is infinite or not a number."""
    finite = torch.isfinite(norms)
    if not bool(finite.all()):
        step, trial, node = (~finite).nonzero()[0].tolist()
        raise RecordingError(
            f"the output of head {nodes[node]} has the norm {norms[step, trial, node].item()} at "
            f"step {first_step + step} of trial {trial} (of its batch); the model overflows in "
            "this dtype: load it in bfloat16 or float32"
        )


def _lengths(fed: Tensor | None, end_tokens: tuple[int, ...], norms: Tensor) -> Tensor:
    """Steps before an end token was fed, int64 (trials,).

    `fed` (steps - 1, trials) are the tokens fed at steps 2, 3, ...; `norms` (steps, trials, nodes)
    gives the number of steps, which stands where no end token was fed, and the device.
    """
    steps, trials = norms.shape[:2]
    lengths = torch.full((trials,), steps, dtype=torch.int64, device=norms.device)
    if fed is None or len(fed) == 0 or not end_tokens:
        return lengths
    ended = torch.isin(fed, torch.tensor(end_tokens, device=fed.device)).to(norms.device)
    return torch.where(ended.any(0), 1 + ended.int().argmax(0), lengths)


def _warn_of_early_ends(runs: Sequence[tuple[Tensor, Tensor]], *, stacklevel: int) -> None:
    trials = sum(len(lengths) for _, lengths in runs)
    early = sum(int((lengths < series.shape[1]).sum()) for series, lengths in runs)
    steps = max(series.shape[1] for series, _ in runs)
    if early:
        warnings.warn(
            f"{early} of {trials} trials ended before step {steps}, and their series continue "
            f"with the model reading padding; pass min_new_tokens={steps} to generate (which "
            "changes the text) or trim by recording.lengths",
            UserWarning,
            stacklevel=stacklevel,
        )


def _forget_compiled(model: nn.Module) -> None:
    """Have compiled code of `model` compiled anew.

    Code from before does not notice the hooks; code from meanwhile stays split around them.
    """
    if is_compiled(model):
        torch.compiler.reset()


def _checked_texts(
    model: Any, sequences: Tensor, new_tokens: int, attention_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The arguments of `replay`, checked, on the model's device, the mask as long as the texts."""
    if sequences.dim() != 2 or sequences.is_floating_point():
        raise ValueError(
            f"sequences: expected token ids (trials, prompt + new_tokens), got {sequences.dtype} "
            f"of shape {tuple(sequences.shape)}"
        )
    trials, length = sequences.shape
    if not 1 <= new_tokens < length:
        raise ValueError(
            f"new_tokens: {new_tokens} of sequences {length} tokens long; it must be at least 1 "
            "and leave at least one token of prompt"
        )
    prompt = length - new_tokens
    if attention_mask is None:
        config = model.generation_config
        pads = {*token_ids(config.pad_token_id)} - {*token_ids(config.bos_token_id)}
        if pads & set(sequences[:, 0].tolist()):
            raise ValueError(
                "attention_mask: missing, while a row of sequences begins with the padding token; "
                "pass the attention_mask of the prompts"
            )
        mask = torch.ones_like(sequences)
    elif attention_mask.shape == (trials, length):
        mask = attention_mask
    elif attention_mask.shape == (trials, prompt):
        mask = nn.functional.pad(attention_mask, (0, new_tokens), value=1)
    else:
        raise ValueError(
            f"attention_mask: shape {tuple(attention_mask.shape)} fits neither the prompts "
            f"{(trials, prompt)} nor the sequences {(trials, length)}"
        )
    refuse_right_padding(mask[:, :prompt])
    return sequences.to(model.device), mask.to(model.device)
