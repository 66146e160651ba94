"""`ablation_curve`: take out more and more nodes in several orders, and measure what that does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, is_dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from synkern._warnings import warn
from synkern.interventions.activity.ablating import Ablation
from synkern.interventions.activity.edits import Edit
from synkern.interventions.chosen import Chosen, chosen_nodes
from synkern.interventions.curves.curve import OTHER_HALF, AblationCurve
from synkern.interventions.curves.file import PointsFile, digest
from synkern.interventions.curves.orders import (
    ORDERS,
    Order,
    checked_names,
    groups_of,
    of_scores,
    orders_of,
)
from synkern.interventions.effects import MEASURES, Effects, TeacherForced, mean_activity
from synkern.interventions.rankings import Scores, rankings_of
from synkern.models.language_model import causal_lm
from synkern.models.nodes import Kinds, find_sites
from synkern.recording.responses import Responses, responses_of

Masks = NDArray[np.bool_]
_ROUNDING = 1e-3
"""Nats by which the loss of a token may differ where a model is run again."""


def ablation_curve(
    model: Any,
    texts: Any,
    scores: Scores,
    *,
    orders: Sequence[str] = ORDERS,
    of: Kinds = "heads",
    kind: str | Edit = "zero",
    step: int | None = None,
    to: float = 0.4,
    draws: int | Mapping[str, int] = 20,
    seed: int = 0,
    batch_size: int = 16,
    activity: ArrayLike | None = None,
    among: Chosen | None = None,
    split: tuple[Scores, Scores, ArrayLike] | None = None,
    groups: Sequence[str] | None = None,
    file: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AblationCurve:
    """Measure what a model does with more and more of its nodes taken out, order by order.

    As published in arXiv:2601.06851: `step=5`, `draws=5`, orders `synergy` and `random`, kind
    "zero", to 0.4, and scores of the ranking `mean_difference`.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        texts: prompts and responses, which are never generated again: `Responses`, or a
            `Recording` or `Answers` that hold some.
        scores: by which nodes are ranked, (nodes,), in order of the nodes of `of`: `NodeScores`, an
            array, or a mapping from names of rankings to either. The first decides the orders; each
            further one adds an order, `synergy by NAME`.
        orders: which, see `synkern.interventions.curves.orders`.
        of: the kind of nodes.
        kind: what comes in place of a node, see `synkern.ablate`.
        step: how many nodes more are taken out at each point; max(1, round(nodes / 50)) by default.
        to: the fraction of nodes that is out at the last point, which is round(to * nodes) nodes.
        draws: how many of each order that chance has a part in, or a mapping by order.
        seed: for what chance decides.
        batch_size: texts at a time.
        activity: (nodes,), for the order `norm`; by default the mean over all tokens of responses
            of what the kind reads first, such as the L2 norm, measured here.
        among: the nodes that are ever taken out, as `synkern.ablate` takes them; fractions are of
            them. All by default.
        split: two scores, and bool (texts,), which texts the first is from: adds an order in which
            each half of the texts is ablated by the scores from the other half.
        groups: a word for each text, for `AblationCurve.by`.
        file: a file to which every point is appended as it is done. The same call with the same
            file goes on from there, and ends with the numbers of one that was never interrupted.
        progress: called with the number of sets that are done and that of all: before the first,
            and after each.

    Returns:
        `AblationCurve`.

    Raises:
        UnsupportedModelError: (a ValueError) the nodes of this model cannot be found.
        ValueError: scores that do not fit the nodes, or that nodes in `among` do not have; options
            that make no sense; a `file` of another call; what `TeacherForced` refuses.
        TypeError, RecordingError: `texts` hold no tokens.
        OSError: the file cannot be read or written.

    Warns:
        UserWarning: the intact model does not repeat itself bit for bit, or says something else
            than when the `file` was begun.
    """
    texts = responses_of(texts)
    names = checked_names(orders)
    words = _groups(groups, len(texts))
    ablation = Ablation(model, of=of, kind=kind, texts=texts, batch_size=batch_size, among=among)
    labels = tuple(node.label for node in ablation.nodes)
    layers = np.array([node.layer for node in ablation.nodes])
    allowed = chosen_nodes(ablation.among, ablation.nodes)
    if not allowed.any():
        raise ValueError("among: there is no node in it; name at least one")
    counts = points_of(int(allowed.sum()), step, to)
    rankings = rankings_of(scores, labels)
    options: dict[str, Any] = {"seed": seed, "among": allowed}
    further = [
        of_scores(f"synergy by {name}", rankings[name], **options) for name in [*rankings][1:]
    ]
    halves = None
    if split is not None:
        order, halves = _halves(split, labels, len(texts), options)
        further.append(order)
    reader = TeacherForced(model, texts, batch_size=batch_size)
    if activity is None and any(name.startswith("norm") for name in names):
        activity = mean_activity(reader, find_sites(model, of))
    first = next(iter(rankings))
    options |= {"names": names, "draws": draws, "activity": activity}
    found = (*orders_of(rankings[first], groups_of(ablation.nodes), **options), *further)
    masks, sets = distinct_sets(found, counts, len(labels))
    about = {
        "model": type(causal_lm(model)).__name__,
        "of": of if isinstance(of, str) else " and ".join(of),
        "kind": kind if isinstance(kind, str) else repr(kind),
        "ranking": first,
        "step": int(counts[1]),
        "to": float(to),
        "seed": int(seed),
        "batch_size": batch_size,
    }
    call: dict[str, Any] = {}
    if file is not None:  # to read all weights takes a while
        call = _call(model, texts, ablation, kind, halves)
        call |= {name: about[name] for name in ("model", "of", "batch_size")}
        call["nodes out at each point"] = counts.tolist()
        for order in found:
            call[f"order {order.name}, draw {order.draw}"] = digest([order.nodes.tobytes()])
    run = _Run(ablation, reader, masks, halves)
    values = run.measured(file, call, progress or _silent)
    _warn_of_noise(values["kl"][sets[0, 0]])
    return AblationCurve(
        nodes=labels,
        layers=layers,
        among=allowed,
        orders=found,
        counts=counts,
        sets=sets,
        **{f"token_{measure}": values[measure] for measure in MEASURES},
        tokens=reader.tokens,
        first_half=halves,
        groups=words,
        about=about,
    )


def _warn_of_noise(kl: NDArray[np.float32]) -> None:
    """Warn unless the model has done twice the same with nothing taken out."""
    if kl.any():
        warn(
            "the model does not repeat itself: with nothing taken out, KL is up to "
            f"{np.abs(kl).max():.2g} nats at a token; smaller values mean nothing"
        )


def _warn_of_another(kept: NDArray[Any], now: NDArray[Any]) -> None:
    """Warn if the intact model says something else than when the points of a file were begun."""
    off = float(np.abs(kept - now).max())
    if off > _ROUNDING:
        warn(
            f"file: the intact model says something else than when its points were begun, by up to "
            f"{off:.2g} nats at a token: of another configuration or adapter, or rounded otherwise "
            "on another machine; if that is too much, measure again with another file"
        )


def _silent(done: int, total: int) -> None:
    pass


@dataclass(frozen=True, eq=False)
class _Run:
    """Sets of nodes that are taken out one after the other."""

    ablation: Ablation
    reader: TeacherForced
    masks: list[Masks]
    halves: NDArray[np.bool_] | None

    def measured(
        self,
        file: str | os.PathLike[str] | None,
        call: Mapping[str, Any],
        progress: Callable[[int, int], None],
    ) -> NDArray[Any]:
        """The values of all sets, a structured array (sets,) of `MEASURES`."""
        tokens = int(self.reader.tokens.sum())
        record = np.dtype(
            [("kl", "<f4", tokens), ("loss", "<f4", tokens), ("agreement", "?", tokens)]
        )
        with PointsFile(file, call, record) as points:
            if 0 in points.found:  # nothing taken out
                _warn_of_another(points.found[0]["loss"], self.reader.intact_loss)
            done = sum(number in points.found for number in range(len(self.masks)))
            progress(done, len(self.masks))
            for number, masks in enumerate(self.masks):
                if number in points.found:
                    continue
                points.add(number, _flat(self.reader.effects(self._edited(masks)), record))
                done += 1
                progress(done, len(self.masks))
            return np.stack([points.found[number] for number in range(len(self.masks))])

    def _edited(self, masks: Masks) -> Callable[[Sequence[int]], AbstractContextManager[Any]]:
        def edited(places: Sequence[int]) -> AbstractContextManager[Any]:
            if len(masks) == 1 or self.halves is None:
                return self.ablation.applied(masks[0], rows=places)
            # The first row is of the texts of the first half.
            return self.ablation.applied(
                masks[np.where(self.halves[list(places)], 0, 1)], rows=places
            )

        return edited


def _flat(effects: Effects, record: np.dtype[Any]) -> NDArray[Any]:
    """Effects as one record, the responses one after the other."""
    inside = np.arange(effects.kl.shape[1]) < effects.tokens[:, None]
    values = np.zeros((), record)
    for measure in MEASURES:
        values[measure] = getattr(effects, measure)[inside]
    return values


def _halves(
    split: tuple[Scores, Scores, ArrayLike],
    labels: tuple[str, ...],
    texts: int,
    options: dict[str, Any],
) -> tuple[Order, NDArray[np.bool_]]:
    """The order in which each half of the texts is ablated by the scores from the other.

    Returns:
        The order, its first row for the first half, and which texts the first half has.

    Raises:
        ValueError: the halves are none.
    """
    if len(split) != 3:
        raise ValueError(
            f"split: {len(split)} parts; give two scores, and which texts the first is from"
        )
    first, second, where = split
    halves = np.asarray(where)
    if halves.shape != (texts,) or halves.dtype != bool or halves.all() or not halves.any():
        raise ValueError(
            f"split: its third part is {halves.dtype} of shape {halves.shape}; give True for every "
            f"text that the first scores are from, False for the others, of {texts}, some of each"
        )
    rows = [
        of_scores(OTHER_HALF, next(iter(rankings_of(scores, labels).values())), **options).nodes
        for scores in (second, first)
    ]
    return Order(OTHER_HALF, 0, np.stack(rows)), halves


def points_of(nodes: int, step: int | None, to: float) -> NDArray[np.int64]:
    """How many nodes are out at each point.

    Raises:
        ValueError: a step below 1, or an end outside of 0 to 1 or below a single node.
    """
    by = max(1, round(nodes / 50)) if step is None else step
    if not isinstance(to, Real):
        raise TypeError(f"to: {to!r} is no number; give a fraction above 0, 1 at most")
    if isinstance(by, bool) or not isinstance(by, int | np.integer) or by < 1:
        raise ValueError(f"step: {step!r}; give a whole number of nodes, 1 or more")
    if not 0 < to <= 1 or round(to * nodes) < 1:
        raise ValueError(f"to: {to!r} of {nodes} nodes; give a fraction above 0, 1 at most")
    last = round(to * nodes)
    return np.array([*range(0, last, by), last], np.int64)


def distinct_sets(
    orders: Sequence[Order], counts: NDArray[np.int64], nodes: int
) -> tuple[list[Masks], NDArray[np.int64]]:
    """The different sets that orders take out, and which one each takes out at each point."""
    masks: list[Masks] = []
    known: dict[bytes, int] = {}
    sets = np.zeros((len(orders), len(counts)), np.int64)
    for row, order in enumerate(orders):
        for point, count in enumerate(counts):
            own = order.masks(int(count), nodes)
            if (own == own[0]).all():
                own = own[:1]
            number = known.setdefault(own.tobytes(), len(masks))
            if number == len(masks):
                masks.append(own)
            sets[row, point] = number
    return masks, sets


def _groups(groups: Sequence[str] | None, texts: int) -> tuple[str, ...] | None:
    words = None if groups is None else tuple(map(str, groups))
    if words is not None and len(words) != texts:
        raise ValueError(f"groups: {len(words)} for {texts} texts; give a word for each")
    return words


def _call(
    model: Any,
    texts: Responses,
    ablation: Ablation,
    kind: str | Edit,
    halves: NDArray[np.bool_] | None,
) -> dict[str, Any]:
    """What makes a call another, beside its options: of texts and digests."""
    return {
        "weights": digest(weights_of(causal_lm(model))),
        "texts": content_of(texts),
        "nodes": digest([" ".join(node.label for node in ablation.nodes).encode()]),
        "kind": kind if isinstance(kind, str) else content_of(kind),
        "halves": None if halves is None else digest([halves.tobytes()]),
    }


def weights_of(model: torch.nn.Module) -> Iterator[bytes | memoryview]:
    """All that a model has learned, as bytes."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        yield f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor.device.type}".encode()
        if tensor.device.type == "meta":
            raise ValueError(
                f"file: the weights {name} of the model are offloaded, so that it cannot be told "
                "from another one; load it without offloading, or measure without a file"
            )
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            yield flat.view(torch.uint8).numpy().data


def content_of(value: Any) -> str:
    """A value as text that is another for any other content.

    Raises:
        TypeError: it cannot be told from others.
    """
    if isinstance(value, Responses):
        return digest([repr((value.prompts, value.responses)).encode()])
    if is_dataclass(value) and not isinstance(value, type):
        parts = [f"{f.name}={content_of(getattr(value, f.name))}" for f in fields(value)]
        return f"{type(value).__name__}({', '.join(parts)})"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    raise TypeError(
        f"kind: {value!r} cannot be told from others, which a file of points has to; make it of "
        "numbers and texts, or measure without a file"
    )
