"""`AblationCurve`: what taking out more and more nodes does to a model, order by order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synkern.interventions.curves import statistics
from synkern.interventions.curves.orders import Order, is_drawn
from synkern.interventions.curves.statistics import Floats, Interval
from synkern.interventions.curves.words import Chance, finding

MEASURES = ("kl", "loss", "agreement")
"""What a curve is of: see `synkern.interventions.effects`."""

OTHER_HALF = "synergy, ranked on the other half"
"""The order in which each half of the texts is ablated by scores from the other."""

_FORMAT = 1


class Step(NamedTuple):
    """One step of a curve: some nodes more are taken out."""

    order: str
    draw: int
    before: int
    """Nodes that were out before."""
    nodes: tuple[str, ...]
    """Labels of those that are taken out."""
    increase: float
    """Of the mean KL, nats."""


@dataclass(frozen=True, eq=False, repr=False)
class AblationCurve:
    """What was measured of a model with more and more of its nodes taken out.

    Several orders may take out one set, such as none or all; it is measured once, and `sets` says
    which is which. Values are kept token by token, the responses one after the other.

    Attributes:
        nodes: labels of all nodes of the kind.
        layers: (nodes,) int64, the layer of each.
        among: (nodes,) bool, those that are taken out at the latest when the curve is at 1.
        orders: in which they are, draw by draw.
        counts: (points,) int64, how many are out at each point.
        sets: (orders, points) int64, the entry of what follows that was measured there.
        token_kl: (entries, tokens), KL(intact || edited), nats.
        token_loss: (entries, tokens), of the responses, nats.
        token_agreement: (entries, tokens) bool, whether the response's token is the likeliest.
        tokens: (texts,) int64, tokens of each response.
        first_half: (texts,) bool, which texts are ablated in the first of an order's two rows; None
            if no order has two.
        groups: a word for each text, such as the category of its prompt, or None.
        about: how it was measured: `of` and `kind`, `ranking`, `step`, `to`, `seed`, `model`.
    """

    nodes: tuple[str, ...]
    layers: NDArray[np.int64]
    among: NDArray[np.bool_]
    orders: tuple[Order, ...]
    counts: NDArray[np.int64]
    sets: NDArray[np.int64]
    token_kl: NDArray[np.floating[Any]]
    token_loss: NDArray[np.floating[Any]]
    token_agreement: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    first_half: NDArray[np.bool_] | None
    groups: tuple[str, ...] | None
    about: dict[str, Any]

    def __repr__(self) -> str:
        """Return shape and kind, what is at the end of each order, and what was found."""
        kind, of = self.about["kind"], self.about["of"]
        lines = [
            f"AblationCurve({self.among.sum()} {of}, {kind}, {len(self.counts)} points to "
            f"{self.fractions[-1]:.0%}, {len(self.tokens)} texts)"
        ]
        width = max(map(len, self.names))
        for name, heights in self.kl.items():
            draws = f", {len(heights)} draws" if len(heights) > 1 else ""
            lines.append(
                f"  {name:{width}}  KL {heights[:, -1].mean():.4g} nats at the end, "
                f"mean {self.auc[name].mean() / self.fractions[-1]:.4g}{draws}"
            )
        return "\n".join([*lines, self.finding])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the orders, each once."""
        return tuple(dict.fromkeys(order.name for order in self.orders))

    @property
    def fractions(self) -> Floats:
        """How much of the nodes is out at each point, (points,), from 0."""
        fractions: Floats = self.counts / self.among.sum()
        return fractions

    @property
    def kl(self) -> dict[str, Floats]:
        """By order: mean over texts of means over tokens of KL, nats, (draws, points)."""
        return self.mean("kl")

    @property
    def loss(self) -> dict[str, Floats]:
        """By order: likewise of the loss of the responses, nats, (draws, points)."""
        return self.mean("loss")

    @property
    def agreement(self) -> dict[str, Floats]:
        """By order: likewise the share of tokens that are the likeliest, (draws, points)."""
        return self.mean("agreement")

    def mean(self, measure: str, *, by_tokens: bool = False) -> dict[str, Floats]:
        """By order, a measure of `MEASURES`, (draws, points).

        Args:
            measure: which.
            by_tokens: every token counts the same, as in the code of arXiv:2601.06851. By default
                every text does, whatever the length of its response.
        """
        weights = self.tokens if by_tokens else None
        return {
            name: np.average(values, axis=-1, weights=weights)
            for name, values in self.per_text(measure).items()
        }

    def per_text(self, measure: str) -> dict[str, Floats]:
        """By order, means of a measure over the tokens of each response, (draws, points, texts)."""
        starts = np.cumsum(self.tokens) - self.tokens
        sums = np.add.reduceat(self._of(measure), starts, axis=1, dtype=np.float64)
        means = sums / self.tokens
        return {name: means[self.sets[self._rows(name)]] for name in self.names}

    def per_token(self, measure: str, order: str, draw: int = 0) -> Floats:
        """A measure at every token, (points, texts, longest response), NaN beyond the end."""
        found = np.full((len(self.counts), len(self.tokens), self.tokens.max()), np.nan)
        inside = np.arange(self.tokens.max()) < self.tokens[:, None]
        found[:, inside] = self._of(measure)[self.sets[self._rows(order)[draw]]]
        return found

    @property
    def auc(self) -> dict[str, Floats]:
        """By order, the area under its KL over the fraction that is out, nats, (draws,)."""
        return self.area()

    def area(self, to: float | None = None, measure: str = "kl") -> dict[str, Floats]:
        """By order, the area under a measure from 0 to a fraction, all by default, (draws,)."""
        weights = self._area_weights(to)
        # Not a product of matrices, which rounds a row in another way if there are more of them:
        # curves that are the same must have the same area.
        return {name: (h * weights).sum(-1) for name, h in self.mean(measure).items()}

    def ratios(self, to: float | None = None, reference: str = "synergy") -> dict[str, float]:
        """By control, the area of `reference` over the mean area of the control."""
        areas = self.area(to)
        own = areas[self._known(reference)].mean()
        return {name: float(own / a.mean()) for name, a in areas.items() if name != reference}

    @property
    def p_values(self) -> dict[str, float]:
        """By control that chance has a part in, `permutation_p` of the area of `synergy`."""
        return self.permutation_p()

    def permutation_p(
        self, to: float | None = None, reference: str = "synergy", *, less: bool = False
    ) -> dict[str, float]:
        """By control that chance has a part in, how often it does as much harm as `reference`.

        Args:
            to: the fraction that areas go to, all by default.
            reference: the order in question.
            less: how often it does as little harm instead.
        """
        areas, sign = self.area(to), -1 if less else 1
        own = float(areas[self._known(reference)].mean())
        return {
            name: statistics.permutation_p(sign * own, sign * areas[name])
            for name in self.names
            if name != reference and is_drawn(name)
        }

    def intervals(
        self, to: float | None = None, *, draws: int = 2000, seed: int = 0
    ) -> dict[str, Interval]:
        """By order, its mean area over draws, with the 95 % interval over texts."""
        areas = self._areas_of_texts(to)
        found = statistics.over_texts(np.stack([a.mean(0) for a in areas.values()]), draws, seed)
        return dict(zip(areas, found, strict=True))

    def differences(
        self,
        to: float | None = None,
        reference: str = "synergy",
        *,
        draws: int = 2000,
        seed: int = 0,
    ) -> dict[str, Interval]:
        """By control, area of `reference` minus its mean area, with the 95 % interval over texts.

        The orders stay as they are: what other random orders would give, `permutation_p` says.
        """
        areas = self._areas_of_texts(to)
        own = areas.pop(self._known(reference)).mean(0)
        if not areas:
            return {}
        # Draw by draw: exactly 0 to draws that are the same as the reference.
        gaps = [(own - each).mean(0) for each in areas.values()]
        found = statistics.over_texts(np.stack(gaps), draws, seed)
        return dict(zip(areas, found, strict=True))

    def largest_steps(self, order: str = "synergy", count: int = 5) -> tuple[Step, ...]:
        """The steps of an order at which KL rises most, with the nodes that were taken out."""
        steps, kl = [], self.kl[self._known(order)]
        for row in self._rows(order):
            one = self.orders[row]
            if one.nodes.ndim > 1:
                raise ValueError(
                    f"order: {order!r} takes out other nodes in each half of the texts, so that a "
                    "step has no one set of nodes; ask for an order that does not"
                )
            heights = kl[one.draw]
            for place, (first, last) in enumerate(zip(self.counts, self.counts[1:], strict=False)):
                labels = tuple(self.nodes[node] for node in one.nodes[first:last])
                increase = float(heights[place + 1] - heights[place])
                steps.append(Step(order, one.draw, int(first), labels, increase))
        return tuple(sorted(steps, key=lambda step: -step.increase)[:count])

    def some(self, texts: Sequence[int]) -> AblationCurve:
        """The curve of some of the texts, by their places."""
        places, known = list(texts), range(len(self.tokens))
        if not places or len(set(places)) < len(places) or not {*places} <= {*known}:
            raise ValueError(
                f"texts: {places} are no places of the {len(known)} texts, each once; name some, "
                "from 0"
            )
        starts = np.cumsum(self.tokens) - self.tokens
        kept = np.concatenate([np.arange(starts[p], starts[p] + self.tokens[p]) for p in places])
        return replace(
            self,
            token_kl=self.token_kl[:, kept],
            token_loss=self.token_loss[:, kept],
            token_agreement=self.token_agreement[:, kept],
            tokens=self.tokens[places],
            first_half=None if self.first_half is None else self.first_half[places],
            groups=None if self.groups is None else tuple(self.groups[p] for p in places),
        )

    def by(self, groups: Sequence[str] | None = None) -> dict[str, AblationCurve]:
        """The curve of each group of texts, in the order in which groups first come.

        Args:
            groups: a word for each text; those that the curve was measured with by default.

        Raises:
            ValueError: there are none, or not one for each text.
        """
        words = self.groups if groups is None else tuple(groups)
        if words is None or len(words) != len(self.tokens):
            raise ValueError(
                f"groups: {'none' if words is None else len(words)} for {len(self.tokens)} texts; "
                "give a word for each"
            )
        return {
            word: self.some([place for place, other in enumerate(words) if other == word])
            for word in dict.fromkeys(words)
        }

    @property
    def finding(self) -> str:
        """One paragraph: does `synergy` do more harm than random orders, than layers, than norm?"""
        if "synergy" not in self.names:
            return "The order of synergy was not measured, so that nothing can be said of it."
        end = float(self.fractions[-1])
        as_little = self.permutation_p(less=True)
        (own,) = self.sets[self._rows("synergy")]
        return finding(
            nodes=f"{self.about['of']}",
            count=int(self.among.sum()),
            ranking=self.about["ranking"],
            to=end,
            heights={name: float(area.mean()) / end for name, area in self.auc.items()},
            gaps={
                name: Interval(*(value / end for value in gap))
                for name, gap in self.differences().items()
            },
            chance={
                name: Chance(p, as_little[name], len(self._rows(name)))
                for name, p in self.p_values.items()
            },
            same={n for n in self.names if (self.sets[self._rows(n)] == own).all()} - {"synergy"},
        )

    def plot(self, measure: str = "kl", **options: Any) -> Any:
        """Draw the curves; needs matplotlib.

        Args:
            measure: which of `MEASURES`.
            options: of `synkern.interventions.curves.plotting.draw`.

        Returns:
            A matplotlib figure.
        """
        from synkern.interventions.curves.plotting import draw  # noqa: PLC0415

        title = f"{self.about['model']}, {self.about['of']}, {self.about['kind']}"
        return draw(self.fractions, self.mean(measure), measure, **{"title": title, **options})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one `.npz` file, at exactly this path.

        Raises:
            OSError: it cannot be written.
        """
        meta: dict[str, Any] = {"format": _FORMAT, "about": self.about}
        meta |= {"nodes": self.nodes, "groups": self.groups}
        meta["orders"] = [[order.name, order.draw] for order in self.orders]
        arrays = {name: value for name, value in self._arrays() if value is not None}
        arrays |= {f"order/{i}": order.nodes for i, order in enumerate(self.orders)}
        arrays["meta"] = np.array(json.dumps(meta))  # before a file that is there is emptied
        with open(path, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AblationCurve:
        """Read what `save` wrote.

        Raises:
            ValueError: the file is no such curve, is damaged, or of a later format.
            OSError: it cannot be opened.
        """
        said = repr(os.fspath(path))
        with open(path, "rb") as file:
            try:
                with np.load(file, allow_pickle=False) as entries:
                    found = {name: entries[name] for name in entries.files}
                meta = json.loads(str(found.pop("meta")))
                if meta["format"] != _FORMAT:
                    raise ValueError(
                        f"it has format {meta['format']}, this synkern reads {_FORMAT}"
                    )
                orders = tuple(
                    Order(name, draw, found.pop(f"order/{i}"))
                    for i, (name, draw) in enumerate(meta["orders"])
                )
                groups = meta["groups"] and tuple(meta["groups"])
                found.setdefault("first_half", None)
                curve = cls(
                    nodes=tuple(meta["nodes"]),
                    orders=orders,
                    groups=groups,
                    about=meta["about"],
                    **found,
                )
                curve._refuse_damaged()
            # All inside depends on what a file holds that was damaged or made elsewhere: zipfile,
            # zlib, NumPy, a missing name and a wrong type raise many things, and a damaged header
            # may ask for any amount of memory. Each is named in the error, none is passed over.
            except Exception as error:
                raise ValueError(
                    f"{said} cannot be read as an ablation curve: {type(error).__name__}: {error}"
                ) from error
        return curve

    def _arrays(self) -> Iterator[tuple[str, Any]]:
        plain = ("nodes", "orders", "groups", "about")
        yield from ((f.name, getattr(self, f.name)) for f in fields(self) if f.name not in plain)

    def _refuse_damaged(self) -> None:
        """Raise ValueError unless what was read fits together."""
        entries, tokens = self.token_kl.shape
        shapes = {
            "layers": (len(self.nodes),),
            "among": (len(self.nodes),),
            "sets": (len(self.orders), len(self.counts)),
            "token_loss": (entries, tokens),
            "token_agreement": (entries, tokens),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        if self.tokens.sum() != tokens or not 0 <= self.sets.min() <= self.sets.max() < entries:
            raise ValueError("its arrays do not fit together")

    def _of(self, measure: str) -> NDArray[Any]:
        if measure not in MEASURES:
            raise ValueError(f"measure: {measure!r}; use {', '.join(map(repr, MEASURES))}")
        values: NDArray[Any] = getattr(self, f"token_{measure}")
        return values

    def _rows(self, name: str) -> list[int]:
        """Which of the orders have this name."""
        self._known(name)
        return [row for row, order in enumerate(self.orders) if order.name == name]

    def _known(self, name: str) -> str:
        if name not in self.names:
            raise ValueError(
                f"order: {name!r} is none of those that were measured, {', '.join(self.names)}"
            )
        return name

    def _area_weights(self, to: float | None) -> Floats:
        end = float(self.fractions[-1]) if to is None else to
        return statistics.area_weights(self.fractions, end)

    def _areas_of_texts(self, to: float | None) -> dict[str, Floats]:
        """By order, the area under KL of each text, (draws, texts); the same of the same curves."""
        weights = self._area_weights(to)[:, None]
        return {name: (weights * v).sum(1) for name, v in self.per_text("kl").items()}
