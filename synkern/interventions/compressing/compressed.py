"""What became of a model whose weights were kept at other bits: points, comparisons, a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern._checks import choice
from synkern.interventions.compressing import plotting as plots
from synkern.interventions.compressing import words
from synkern.interventions.compressing.statistics import NOTHING, Comparison, comparison
from synkern.interventions.curves.orders import Order
from synkern.interventions.weights.bits import Budget, Ledger
from synkern.interventions.weights.matrices import Earlier
from synkern.interventions.weights.rounding import Loss, Rounding

UNIFORM = "uniform"
"""The order of points at which all nodes have the same bits."""
_MEASURED = ("kl", "loss", "agreement")
_ASKED = ("right", "truncated")
_LEDGER = ("tensors", "own_bits", "tensor", "node", "rows", "inputs", "vector")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Point:
    """A model with some nodes at more bits than the others, and what it makes of the texts.

    Attributes:
        order: the name of the order whose first nodes are at the high bits, or `UNIFORM`.
        draw: which of the random orders of that name, from 0.
        budget: bits, and how many nodes are at the high ones.
        kl: (texts,) nats per token of the response: the mean of KL(as loaded || rounded).
        loss: (texts,) nats per token: the mean of -log p of the response's tokens.
        agreement: (texts,) share of tokens that are the likeliest next ones.
        right: (tasks,) which tasks were right; None where none were given.
        truncated: (tasks,) whose text had not ended when the last token was spent: wrong; None
            where none were written.
    """

    order: str
    draw: int
    budget: Budget
    kl: Floats
    loss: Floats
    agreement: Floats
    right: npt.NDArray[np.bool_] | None = None
    truncated: npt.NDArray[np.bool_] | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of the tasks that were right."""
        return None if self.right is None else float(self.right.mean())


@dataclass(frozen=True, eq=False, repr=False)
class Compression:
    """A model's nodes kept at different numbers of bits, by several orders; `str` is a table.

    Attributes:
        labels: of the nodes.
        orders: orders of the nodes, of which the first ones are kept at more bits.
        points: one per order and budget, and those at which all nodes have the same bits.
        intact: the model as it was loaded; its divergence is 0, and its budget says nothing.
        ledger: every weight of the model, by tensor and node.
        losses: what rounding does to the nodes' weights, by bits.
        rest: bits of the linear weights that are nobody's; None: as they were loaded.
        earlier: how the weights had been rounded before they were loaded; None if they do not show
            it.
        of: the kind of nodes.
        ranking: by which they are ordered.
    """

    labels: tuple[str, ...]
    orders: tuple[Order, ...]
    points: tuple[Point, ...]
    intact: Point
    ledger: Ledger
    losses: Mapping[int, Loss]
    rest: int | None
    earlier: Earlier | None
    of: str
    ranking: str

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets, highest bits first."""
        return tuple(dict.fromkeys(p.budget for p in self.points if p.order != UNIFORM))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the orders, each once."""
        return tuple(dict.fromkeys(order.name for order in self.orders))

    def points_of(self, order: str, budget: Budget | None = None) -> list[Point]:
        """The points of all draws of an order, of one budget or of all."""
        return [p for p in self.points if p.order == order and budget in (None, p.budget)]

    def bits_per_weight(self, budget: Budget) -> float:
        """Mean bits of a node's weight, those of grids included; of every order the same."""
        bits = self.ledger.bits(budget.of_nodes(self.orders[0].nodes, len(self.labels)))
        without = self.ledger.bits(np.zeros(len(self.labels), np.int64))
        return float((bits - without).sum()) / self.ledger.in_nodes

    def tensor_bits(self, point: Point) -> dict[str, int]:
        """The bits of every tensor of the model at a point, by name."""
        of_nodes = point.budget.of_nodes(self._order(point).nodes, len(self.labels))
        bits = self.ledger.bits(of_nodes, self.rest)
        return dict(zip(self.ledger.tensors, bits.tolist(), strict=True))

    @property
    def on_a_grid(self) -> tuple[int, ...]:
        """The bits at which rounding finds the weights on its grid: they were rounded before."""
        return tuple(bits for bits, loss in sorted(self.losses.items()) if loss.on_a_grid)

    def compared(self, other: str, draws: int = 2000, seed: int = 0) -> Comparison:
        """The order "synergy" against another, over all budgets together.

        Draws of one number are one order of the nodes in all budgets, so that they can be compared
        as one: by the mean over budgets of the logarithm of the divergence.

        Args:
            other: name of an order.
            draws: of the bootstrap over texts.
            seed: of the same.

        Raises:
            ValueError: there is no such order, or none called "synergy".
        """
        for name in ("synergy", other):
            if name not in self.names:
                raise ValueError(
                    f"other = {other!r}: there are the orders {', '.join(self.names)}; a "
                    f"comparison needs {name!r}"
                )
        kl = self._divergences
        own, others = (
            kl[[place for place, order in enumerate(self.orders) if order.name == name]]
            for name in ("synergy", other)
        )
        told = (kl.mean(-1) > NOTHING).all(0)
        return comparison(other, own[0, told], others[:, told], draws, seed)

    @property
    def beaten_by_uniform(self) -> int:
        """The number of budgets in which some same bits for all nodes are better.

        They take no more bits in all, and lose less than the synergistic nodes at more bits do.
        """
        uniform = [(self.bits_per_weight(p.budget), p.kl.mean()) for p in self.points_of(UNIFORM)]
        return sum(
            any(bits <= self.bits_per_weight(p.budget) and kl < p.kl.mean() for bits, kl in uniform)
            for p in self.points_of("synergy")
        )

    @cached_property
    def _divergences(self) -> Floats:
        """(orders, budgets, texts)."""
        found = {(p.order, p.draw, p.budget): p.kl for p in self.points}
        return np.array(
            [[found[o.name, o.draw, budget] for budget in self.budgets] for o in self.orders]
        )

    def _order(self, point: Point) -> Order:
        if point.order == UNIFORM:
            return self.orders[0]
        return next(o for o in self.orders if (o.name, o.draw) == (point.order, point.draw))

    def rows(self) -> list[dict[str, Any]]:
        """The points as rows of a table: means over texts, of draws their mean, and how they vary.

        Keys: order, draws, high, low, kept, bits_per_weight, model_bits, kl, kl_deviation (sample
        standard deviation over draws; None of one), loss, agreement, accuracy (None without tasks),
        truncated (tasks whose text was cut short; None where none are written).
        """
        groups: dict[tuple[str, Budget], list[Point]] = {}
        for point in self.points:
            groups.setdefault((point.order, point.budget), []).append(point)
        return [self._row(points) for points in groups.values()]

    def _row(self, points: Sequence[Point]) -> dict[str, Any]:
        kl = np.array([point.kl.mean() for point in points])
        right = [float(point.right.mean()) for point in points if point.right is not None]
        cut = [int(point.truncated.sum()) for point in points if point.truncated is not None]
        first = points[0]
        return {
            "order": first.order,
            "draws": len(points),
            **asdict(first.budget),
            "bits_per_weight": self.bits_per_weight(first.budget),
            "model_bits": sum(self.tensor_bits(first).values()),
            "kl": float(kl.mean()),
            "kl_deviation": float(kl.std(ddof=1)) if len(kl) > 1 else None,
            "loss": float(np.mean([point.loss.mean() for point in points])),
            "agreement": float(np.mean([point.agreement.mean() for point in points])),
            "accuracy": float(np.mean(right)) if right else None,
            "truncated": float(np.mean(cut)) if cut else None,
        }

    def __str__(self) -> str:
        """A table: a line per order and budget."""
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        """One line."""
        return (
            f"Compression({len(self.points)} points: {len(self.orders)} orders of "
            f"{len(self.labels)} nodes, {len(self.budgets)} budgets)"
        )

    def _lines(self) -> Iterator[str]:
        head = f"{'high/low':>8} {'kept':>6} {'bits/weight':>11}  {'order':<14}"
        yield f"{head}{'KL':>9} {'±':>8} {'loss':>7} {'agree':>6} {'right':>6} {'cut':>6}"
        for row in self.rows():
            bits = f"{row['high']}/{row['low']}"
            deviation = "" if row["kl_deviation"] is None else f"{row['kl_deviation']:.4f}"
            right = "" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
            cut = "" if row["truncated"] is None else f"{row['truncated']:.1f}"
            yield (
                f"{bits:>8} {row['kept']:>6} {row['bits_per_weight']:>11.3f}  {row['order']:<14}"
                f"{row['kl']:>9.4f} {deviation:>8} {row['loss']:>7.4f} {row['agreement']:>6.1%} "
                f"{right:>6} {cut:>6}"
            )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it as arrays, which `of_arrays` reads back."""
        names = [order.name for order in self.orders]
        places = {(order.name, order.draw): place for place, order in enumerate(self.orders)}
        points = (self.intact, *self.points)
        budgets = np.array([[p.budget.high, p.budget.low, p.budget.kept] for p in points])
        found = {
            "labels": np.array(self.labels),
            "of": np.array(self.of),
            "ranking": np.array(self.ranking),
            "earlier": np.array([] if self.earlier is None else [*asdict(self.earlier).values()]),
            "order_name": np.array(names),
            "order_draw": np.array([order.draw for order in self.orders]),
            "order_nodes": np.array([order.nodes for order in self.orders], np.int32),
            "point_order": np.array([places.get((p.order, p.draw), -1) for p in points]),
            "point_budget": budgets,
            "rounding": np.array([self.ledger.rounding.group, self.ledger.rounding.symmetric]),
            "rest": np.array(-1 if self.rest is None else self.rest),
            "losses_bits": np.array([*self.losses]),
            "losses": np.array([[*asdict(each).values()] for each in self.losses.values()]),
        }
        for name in _MEASURED:
            found[name] = np.array([getattr(point, name) for point in points])
        for name in _ASKED:
            if getattr(self.intact, name) is not None:
                found[name] = np.array([getattr(point, name) for point in points])
        return found | {f"ledger_{n}": np.asarray(getattr(self.ledger, n)) for n in _LEDGER}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Compression:
        """Read back what `arrays` gave."""
        group, symmetric = arrays["rounding"].tolist()
        ledger: dict[str, Any] = {name: arrays[f"ledger_{name}"] for name in _LEDGER}
        ledger["tensors"] = tuple(ledger["tensors"].tolist())
        orders = tuple(
            Order(name, draw, nodes.astype(np.int64))
            for name, draw, nodes in zip(
                arrays["order_name"].tolist(),
                arrays["order_draw"].tolist(),
                arrays["order_nodes"],
                strict=True,
            )
        )
        points = []
        for place, order in enumerate(arrays["point_order"].tolist()):
            points.append(
                Point(
                    UNIFORM if order < 0 else orders[order].name,
                    0 if order < 0 else orders[order].draw,
                    Budget(*arrays["point_budget"][place].tolist()),
                    **{name: arrays[name][place] for name in _MEASURED},
                    **{name: arrays[name][place] for name in _ASKED if name in arrays},
                )
            )
        rest, earlier = int(arrays["rest"]), arrays["earlier"].tolist()
        return cls(
            labels=tuple(arrays["labels"].tolist()),
            orders=orders,
            points=tuple(points[1:]),
            intact=points[0],
            ledger=Ledger(**ledger, rounding=Rounding(int(group), bool(symmetric))),
            losses={
                int(bits): Loss(*each)
                for bits, each in zip(arrays["losses_bits"], arrays["losses"].tolist(), strict=True)
            },
            rest=None if rest < 0 else rest,
            earlier=Earlier(int(earlier[0]), int(earlier[1]), bool(earlier[2]))
            if earlier
            else None,
            of=str(arrays["of"]),
            ranking=str(arrays["ranking"]),
        )

    def plot(self, measure: str = "kl", *, title: str = "") -> Any:
        """Draw what is lost over the bits per weight, a panel for each pair of bits.

        Args:
            measure: "kl", "loss", "agreement" or, with tasks, "accuracy".
            title: above the figure.

        Returns:
            A matplotlib figure, see `synkern.interventions.compressing.plotting.draw`.

        Raises:
            ValueError: there is no such measure.
            ImportError: matplotlib is not installed.
        """
        known = [
            name for name in plots.LABELS if name != "accuracy" or self.intact.right is not None
        ]
        choice("measure", measure, known)
        intact = None if measure == "kl" else _height(self.intact, measure)
        return plots.draw(self.panels(measure), measure, intact=intact, title=title)

    def panels(self, measure: str) -> list[plots.Panel]:
        """Return what `plot` draws of one of its measures, for each pair of bits."""
        pairs = dict.fromkeys((budget.high, budget.low) for budget in self.budgets)
        return [self._panel(pair, measure) for pair in pairs]

    def _panel(self, pair: tuple[int, int], measure: str) -> plots.Panel:
        budgets = [budget for budget in self.budgets if (budget.high, budget.low) == pair]
        uniform = {point.budget.high: point for point in self.points_of(UNIFORM)}
        high, low = (uniform[bits] for bits in pair)
        lines = {}
        for name in self.names:
            inside = [self.points_of(name, budget) for budget in budgets]
            draws = len(inside[0])
            points = [[low] * draws, *inside, [high] * draws]
            lines[name] = np.array([[_height(p, measure) for p in each] for each in points]).T
        return plots.Panel(
            pair=pair,
            bits=np.array([self.bits_per_weight(b) for b in (low.budget, *budgets, high.budget)]),
            lines=lines,
            same=np.array(
                [
                    (self.bits_per_weight(point.budget), _height(point, measure))
                    for point in uniform.values()
                ]
            ),
        )

    @property
    def finding(self) -> str:
        """One paragraph: is it better to keep the synergistic nodes at more bits than others?"""
        return words.finding(
            nodes=self.of,
            count=len(self.orders[0].nodes),
            ranking=self.ranking,
            budgets=self.budgets,
            compared=[self.compared(name) for name in self.names if name != "synergy"],
            beaten_by_uniform=self.beaten_by_uniform,
            earlier=str(self.earlier or ""),
            on_a_grid=self.on_a_grid,
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write all of it to a file of NumPy (`.npz`), which `load` reads."""
        with open(path, "wb") as file:
            np.savez_compressed(file, **self.arrays())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Compression:
        """Read what `save` wrote.

        Raises:
            ValueError: the file is not one of these.
        """
        with np.load(path, allow_pickle=False) as file:
            if "order_nodes" not in file or "ledger_node" not in file:
                raise ValueError(f"path = {str(path)!r} holds no compression; `save` writes them")
            return cls.of_arrays({name: file[name] for name in file.files})


def _height(point: Point, measure: str) -> float:
    """A measure at a point: the mean over texts, or over tasks."""
    return float(getattr(point, "right" if measure == "accuracy" else measure).mean())
