"""`compression`: a model whose nodes are kept at different numbers of bits, at equal bits in all.

If some nodes matter more than others, then weights that have to be rounded should be rounded most
where they matter least. Here the nodes that a ranking puts first are kept at more bits than the
rest, against the reverse, random nodes, and random nodes from the same layers: all of them with
exactly the same number of bits. Rounding is simulated (`synkern.interventions.weights.rounding`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.interventions.accuracy.judging import Judge
from synkern.interventions.accuracy.scoring import Scoring
from synkern.interventions.compressing.compressed import UNIFORM, Compression, Point
from synkern.interventions.curves.file import PointsFile, digest
from synkern.interventions.curves.measuring import content_of, weights_of
from synkern.interventions.curves.orders import Order, orders_of
from synkern.interventions.effects import MEASURES, TeacherForced, mean_activity
from synkern.interventions.options import BIT_PAIRS, KEPT_ORDERS, KEPT_SHARES
from synkern.interventions.rankings import one_ranking
from synkern.interventions.weights.bits import Budget, budgets, refuse_unequal
from synkern.interventions.weights.journal import edited_weights
from synkern.interventions.weights.matrices import Matrices, earlier_rounding
from synkern.interventions.weights.rounding import HALF, Rounding
from synkern.models.language_model import causal_lm
from synkern.models.nodes import find_sites
from synkern.tasks import Task


def compression(
    model: Any,
    texts: Any,
    scores: Any,
    *,
    of: str = "heads",
    pairs: Iterable[Sequence[int]] = BIT_PAIRS,
    shares: Iterable[float] = KEPT_SHARES,
    orders: str | Sequence[str] = KEPT_ORDERS,
    draws: int | Mapping[str, int] = 20,
    seed: int = 0,
    group: int = 64,
    symmetric: bool = False,
    rest: int | None = None,
    activity: Any = None,
    tasks: Sequence[Task] | None = None,
    tokenizer: Any = None,
    scoring: Scoring | str = "likelihood",
    batch_size: int = 16,
    file: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Compression:
    """Keep a model's nodes at different numbers of bits, and measure what that does.

    What is rounded are the nodes' slices (`synkern.models.slices`): of heads the query's rows and
    the output projection's columns, of experts their matrices. All else is left as it was loaded,
    unless `rest` says otherwise; embeddings, output layer, routers, norms and biases always are
    (biases of nodes of 0 bits become zero with them). Weights are never generated from data: this
    is rounding to nearest, without calibration. Afterwards all of them are the same bits as before.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        texts: prompts and responses, which are never generated again: `Responses`, or a
            `Recording` or `Answers` that hold some.
        scores: by which nodes are ranked, (nodes,), in order of the nodes of `of`: an array,
            `NodeScores`, or a mapping from the name of a ranking to either. Nodes without score
            (NaN) are always at the low bits.
        of: the kind of nodes.
        pairs: high and low bits: 1 (2 if symmetric) to 8 on a grid; 16, half precision; 0, removed.
        shares: of the nodes that have a score, those at the high bits.
        orders: whose first nodes are at the high bits, see `synkern.interventions.curves.orders`.
        draws: how many of each order that chance has a part in, or a mapping by order.
        seed: for what chance decides.
        group: weights along the input axis that share a step, see `Rounding`. A head's columns
            of the output projection, and other rows that are shorter, are groups of their own.
        symmetric: whether grids lie around zero, see `Rounding`.
        rest: bits of the weights of all other linear layers and experts; None leaves them. The
            model is then compared with the one that was loaded, not with one rounded there alone.
        activity: (nodes,), for the order "norm"; by default the mean over all tokens of responses
            of what the kind reads first, such as the L2 norm of a head's output, measured here.
        tasks: to be judged at every point as well.
        tokenizer: for tasks.
        scoring: how answers to tasks are judged, a `Scoring` or one of its methods.
        batch_size: texts at a time.
        file: a file to which every point is appended as it is done. The same call with the same
            file goes on from there.
        progress: called with the number of measurements that are done and that of all: before the
            first, and after each. Points of equal bits for every node are measured once.

    Returns:
        `Compression`.

    Raises:
        UnsupportedModelError: (a ValueError) the nodes' weights cannot be found or changed.
        ValueError: orders that would not take exactly the same bits, as where nodes differ in size;
            scores, pairs or shares that make no sense; weights that cannot be rounded; a `file` of
            another call; what `TeacherForced` refuses.
        MemoryError: as `TeacherForced`.
        OSError: the file cannot be read or written.
    """
    matrices = Matrices.of(model, of, Rounding(group, symmetric))
    if rest is not None:
        matrices.rounding.check(rest)
    names = (orders,) if isinstance(orders, str) else tuple(orders)
    ranking, values = one_ranking(scores, tuple(map(str, matrices.nodes)))
    ranked = np.isfinite(values)
    if ranked.sum() < 2:
        raise ValueError("scores: fewer than two nodes have one, so that none come before others")
    reader = TeacherForced(model, texts, batch_size=batch_size)
    if activity is None and any(name.startswith("norm") for name in names):
        activity = mean_activity(reader, find_sites(model, of))
    found = orders_of(
        values,
        np.array([node.layer for node in matrices.nodes]),
        names=names,
        draws=draws,
        seed=seed,
        activity=activity,
        among=ranked,
    )
    asked = budgets(pairs, shares, int(ranked.sum()), matrices.rounding)
    refuse_unequal(
        matrices.ledger, [o.nodes for o in found], [order.name for order in found], asked
    )
    widths = {bits for budget in asked for bits in (budget.high, budget.low)}
    widths |= {HALF} if rest is not None else set()
    losses = matrices.losses(widths)
    if tasks is not None and tokenizer is None:
        raise ValueError("tokenizer: tasks are given, and none to read them with; give the model's")
    exam = None if tasks is None else Judge.of(model, tokenizer, tasks, scoring)
    everything = len(matrices.nodes)
    sets = [_Set(UNIFORM, 0, Budget(bits, bits, everything), None) for bits in losses]
    sets += [_Set(o.name, o.draw, budget, o) for budget in asked for o in found]
    run = _Run.of(model, reader, matrices, exam, rest, sets)
    call = {} if file is None else _call(run)
    points = run.measured(file, call, progress or (lambda done, total: None))
    return Compression(
        labels=tuple(node.label for node in matrices.nodes),
        orders=found,
        points=tuple(points[1:]),
        intact=points[0],
        ledger=matrices.ledger,
        losses=losses,
        rest=rest,
        earlier=earlier_rounding(matrices),
        of=of,
        ranking=ranking,
    )


@dataclass(frozen=True, eq=False)
class _Set:
    """Which nodes are at how many bits."""

    order: str
    draw: int
    budget: Budget
    nodes: Order | None
    """None where all have the same."""

    def bits(self, count: int) -> NDArray[np.int64]:
        """(nodes,) bits per weight."""
        every = np.arange(count)
        return self.budget.of_nodes(every if self.nodes is None else self.nodes.nodes, count)


@dataclass(frozen=True, eq=False)
class _Run:
    """The model as it was loaded, then every set, one after the other; equal sets once."""

    model: Any
    reader: TeacherForced
    matrices: Matrices
    exam: Judge | None
    rest: int | None
    sets: Sequence[_Set]
    distinct: Sequence[NDArray[np.int64]]
    """Bits by node, each once."""
    places: Sequence[int]
    """Of every set, which of these it is."""

    @classmethod
    def of(
        cls,
        model: Any,
        reader: TeacherForced,
        matrices: Matrices,
        exam: Judge | None,
        rest: int | None,
        sets: Sequence[_Set],
    ) -> _Run:
        known: dict[bytes, int] = {}
        distinct: list[NDArray[np.int64]] = []
        for one in sets:
            bits = one.bits(len(matrices.nodes))
            if known.setdefault(bits.tobytes(), len(known)) == len(distinct):
                distinct.append(bits)
        places = [known[one.bits(len(matrices.nodes)).tobytes()] for one in sets]
        return cls(model, reader, matrices, exam, rest, sets, distinct, places)

    def measured(
        self,
        file: str | os.PathLike[str] | None,
        call: Mapping[str, Any],
        progress: Callable[[int, int], None],
    ) -> list[Point]:
        """The point of the model as it was loaded, and one for each set."""
        texts, tasks = len(self.reader.tokens), 0 if self.exam is None else len(self.exam.tasks)
        record = np.dtype(
            [
                *((name, "<f8", texts) for name in MEASURES),
                ("right", "?", tasks),
                ("truncated", "?", tasks),
            ]
        )
        total = 1 + len(self.distinct)
        with PointsFile(file, call, record) as kept:
            progress(len(kept.found), total)
            for number in range(total):
                if number in kept.found:
                    continue
                if number:
                    changes = self.matrices.changes(self.distinct[number - 1], self.rest)
                    with edited_weights(self.model, changes):
                        kept.add(number, self._measured(record))
                else:
                    kept.add(number, self._measured(record))
                progress(len(kept.found), total)
            intact = _Set("intact", 0, Budget(HALF, HALF, len(self.matrices.nodes)), None)
            numbers = [0, *(1 + place for place in self.places)]
            return [
                self._point(one, kept.found[number])
                for one, number in zip([intact, *self.sets], numbers, strict=True)
            ]

    def _measured(self, record: np.dtype[Any]) -> NDArray[Any]:
        """A record of what the model does now."""
        effects = self.reader.effects()
        values = np.zeros((), record)
        for name in MEASURES:
            values[name] = effects.per_text(name)
        if self.exam is not None:
            answers = self.exam.asked()
            for name in ("right", "truncated"):
                values[name] = answers[name]
        return values

    def _point(self, one: _Set, values: NDArray[Any]) -> Point:
        measured = {name: values[name].copy() for name in MEASURES}
        right = None if self.exam is None else values["right"].copy()
        written = self.exam is not None and self.exam.scoring.method == "exact_match"
        cut = values["truncated"].copy() if written else None
        return Point(one.order, one.draw, one.budget, **measured, right=right, truncated=cut)


def _call(run: _Run) -> dict[str, Any]:
    """What the points depend on, as a file of them has it: of texts and digests."""
    weights = {"weights": digest(weights_of(causal_lm(run.model)))}
    return {
        "texts": content_of(run.reader.texts),
        "bits": digest([each.tobytes() for each in run.distinct]),
        "rounding": asdict(run.matrices.rounding),
        "rest": run.rest,
        "tasks": None,
        **(weights if run.exam is None else run.exam.call),
    }
