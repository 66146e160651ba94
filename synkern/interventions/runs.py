"""One model asked the same tasks under many conditions, each kept as it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern._arrays import to_numpy
from synkern.interventions.kept import Kept, digest, packed, unpacked, weights_digest
from synkern.interventions.scoring import Scoring
from synkern.models.language_model import causal_lm
from synkern.models.nodes import Node
from synkern.tasks import Task

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Judge:
    """Asks a model tasks, under one condition after the other.

    Attributes:
        tasks: that it asks.
        scoring: how it judges.
        done: conditions that are done.
        of: conditions that there will be, as far as is known.
    """

    def __init__(
        self, model: Any, tokenizer: Any, tasks: Sequence[Task], scoring: Scoring | str
    ) -> None:
        """Take what all conditions have in common.

        Raises:
            UnsupportedModelError: (a ValueError) there is no language model in `model`.
            ValueError: there are no tasks, or no such way to judge.
        """
        self.tasks = tuple(tasks)
        if not self.tasks:
            raise ValueError("tasks: there are none; give at least one")
        self.scoring = Scoring(scoring) if isinstance(scoring, str) else scoring
        self._model, self._tokenizer = model, tokenizer
        self._kept = Kept(None, {})
        self._progress: Callable[[int, int], None] = lambda done, of: None
        self.done = self.of = 0

    @property
    def matters(self) -> dict[str, Any]:
        """What every answer depends on: weights, tasks, and how they are judged."""
        inside = causal_lm(self._model)
        return {
            "model": weights_digest([*inside.named_parameters()]),
            "tasks": digest([astuple(task) for task in self.tasks]),
            **self.scoring.matters,
        }

    def keep(self, kept: Kept, progress: Callable[[int, int], None]) -> None:
        """Keep what is done from now on, and take from there what has been done.

        Args:
            kept: where.
            progress: called after each condition with `done` and `of`.
        """
        self._kept, self._progress = kept, progress

    def __call__(self, name: str, condition: AbstractContextManager[Any] | None = None) -> Bools:
        """What is right, (tasks,), inside a condition; asked unless it is kept.

        Args:
            name: of the condition.
            condition: entered around the asking, and not at all where that is not needed.
        """
        if name not in self._kept:
            with condition or nullcontext():
                scores = self.scoring(self._model, self._tokenizer, self.tasks)
            said = {"right": packed(scores.right)}
            if scores.truncated is not None:
                said["truncated"] = packed(scores.truncated)
            self._kept.add(name, said)
        self.done += 1
        self._progress(self.done, self.of)
        return self.right(name)

    def right(self, name: str) -> Bools:
        """What was right, (tasks,), in a condition that is done."""
        return unpacked(self._kept[name]["right"], len(self.tasks))

    def rights(self, names: Any) -> Bools:
        """The same of conditions by name, in lists of lists as deep as the axes in front."""
        if isinstance(names, str):
            return self.right(names)
        return np.array([self.rights(each) for each in names])

    def cut_short(self, names: Any) -> Bools | None:
        """Which texts were truncated in conditions that are done; None of likelihoods."""
        if isinstance(names, str):
            said = self._kept[names].get("truncated")
            return None if said is None else unpacked(said, len(self.tasks))
        each = [self.cut_short(name) for name in names]
        return None if each[0] is None else np.array(each)


def ranked(scores: Any, nodes: Sequence[Node]) -> tuple[Floats, str]:
    """Scores as an array, (nodes,) float64, and the name of the ranking.

    Args:
        scores: `NodeScores`, or an array.
        nodes: that they are to be of, in this order.

    Raises:
        ValueError: not one for each node, of nodes of other names, or all missing.
    """
    values = np.asarray(to_numpy(getattr(scores, "score", scores)), dtype=np.float64)
    if values.shape != (len(nodes),):
        raise ValueError(
            f"scores: shape {values.shape} for {len(nodes)} nodes, {nodes[0]} to {nodes[-1]}; "
            "give one score for each node, in the order of synkern.models.nodes_of"
        )
    names = getattr(scores, "node_names", None)
    labels = tuple(str(node) for node in nodes)
    if names is not None and tuple(names) != labels:
        other = next(k for k, label in enumerate(labels) if names[k] != label)
        raise ValueError(
            f"scores: number {other} is of {names[other]}, and the model's node there is "
            f"{labels[other]}; give scores of the nodes of this model, in its order"
        )
    if not np.isfinite(values).any():
        raise ValueError("scores: no node has one; there is nothing to order the nodes by")
    return values, str(getattr(scores, "ranking", "the scores given"))


def groups_of(nodes: Sequence[Node]) -> Ints:
    """(nodes,) the layer of each, nodes of other kinds in the same layer apart."""
    places = {key: k for k, key in enumerate(sorted({(n.layer, n.kind) for n in nodes}))}
    return np.array([places[node.layer, node.kind] for node in nodes], dtype=np.int64)
