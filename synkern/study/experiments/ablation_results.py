"""What an ablation curve says, as a study keeps it: arrays, facts, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern import models
from synkern.interventions import curve_statistics
from synkern.interventions.curve import MEASURES, OTHER_HALF, AblationCurve
from synkern.interventions.orders import DRAWN, Order
from synkern.study.experiments.ablation_options import Decided
from synkern.study.numerals import rounded
from synkern.study.stage import Arrays, Facts

Floats = NDArray[np.float64]

_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_STEPS = 5
_SIGNIFICANT = 0.05
_BOOTSTRAP = 2000
_BY = "synergy by "


def arrays_of(curve: AblationCurve) -> Arrays:
    """Return the arrays that a study keeps of a curve: means over the tokens of each answer."""
    starts = np.cumsum(curve.tokens) - curve.tokens
    measured = {"kl": curve.token_kl, "loss": curve.token_loss, "agreement": curve.token_agreement}
    arrays: Arrays = {
        name: np.add.reduceat(values, starts, axis=1, dtype=np.float64) / curve.tokens
        for name, values in measured.items()
    }
    rows = [np.broadcast_to(order.nodes, (2, order.nodes.shape[-1])) for order in curve.orders]
    halves = curve.first_half
    return arrays | {
        "sets": curve.sets,
        "counts": curve.counts,
        "order_name": np.array([order.name for order in curve.orders]),
        "order_draw": np.array([order.draw for order in curve.orders]),
        "order_nodes": np.stack(rows),
        "among": curve.among,
        "first_half": np.ones(len(curve.tokens), bool) if halves is None else halves,
    }


def curve_of(
    arrays: Mapping[str, NDArray[Any]],
    trained: Mapping[str, NDArray[Any]],
    facts: Mapping[str, Any],
    kind: str,
) -> AblationCurve:
    """Return the curve that `arrays_of` kept, each answer as if it had one token.

    Args:
        arrays: of the experiment.
        trained: of the recording.
        facts: of the experiment.
        kind: of the nodes.
    """
    layers = trained["layer"]
    labels = [
        models.Node(int(layer), int(index), kind).label
        for layer, index in zip(layers, trained["index"], strict=True)
    ]
    named = zip(arrays["order_name"], arrays["order_draw"], arrays["order_nodes"], strict=True)
    return AblationCurve(
        nodes=tuple(labels),
        layers=layers,
        among=arrays["among"],
        orders=tuple(
            Order(str(name), int(draw), nodes if (nodes[0] != nodes[1]).any() else nodes[0])
            for name, draw, nodes in named
        ),
        counts=arrays["counts"],
        sets=arrays["sets"],
        token_kl=arrays["kl"],
        token_loss=arrays["loss"],
        token_agreement=arrays["agreement"],
        tokens=np.ones(arrays["kl"].shape[1], np.int64),
        first_half=arrays["first_half"],
        groups=tuple(facts["groups"]),
        about=dict(facts["about"]),
    )


def facts_of(curve: AblationCurve, options: Decided) -> Facts:
    """Return what study.json says of a curve, and the page and the terminal show."""
    shares = shares_of(curve)
    differences = curve.differences(draws=_BOOTSTRAP, seed=options.seed)
    areas = curve.intervals(draws=_BOOTSTRAP, seed=options.seed)
    ratios, p_values = curve.ratios(), curve.p_values
    to = float(curve.fractions[-1])
    by_order = {}
    for name in curve.names:
        by_order[name] = {
            "draws": len(curve.kl[name]),
            # Divided by the share that is out at the end: a mean over the curve.
            "mean_kl": _interval(areas[name], to),
            "ratio": rounded(ratios[name]) if name in ratios else None,
            "difference": _interval(differences[name], to) if name in differences else None,
            "p": p_values.get(name),
            **{measure: _at(curve, measure, name, shares, options.seed) for measure in MEASURES},
        }
    return {
        "beside": beside(by_order),
        "ranking": options.ranking,
        "kind": options.kind,
        "texts": len(curve.tokens),
        "tokens": int(curve.tokens.min()),
        "nodes": int(curve.among.sum()),
        "points": len(curve.counts),
        "sets": len(curve.token_kl),
        "shares": [rounded(share) for share in shares],
        "intact": {
            measure: rounded(curve.mean(measure)["synergy"][0, 0])
            for measure in ("loss", "agreement")
        },
        "orders": by_order,
        "finding": curve.finding,
        "largest_steps": [
            {"before": step.before, "nodes": list(step.nodes), "increase": rounded(step.increase)}
            for step in curve.largest_steps("synergy", _STEPS)
        ],
        "categories": _categories(curve),
        "groups": list(curve.groups or [""] * len(curve.tokens)),
        "about": curve.about,
    }


def shares_of(curve: AblationCurve) -> list[float]:
    """Return the shares of the nodes at which a table tells what is there: the last is the end."""
    end = float(curve.fractions[-1])
    return [*(share for share in _SHARES if share < end - 1e-9), end]


def at_shares(curve: AblationCurve, measure: str, name: str, shares: list[float]) -> Floats:
    """Return a measure at some shares of the nodes, mean over draws, (shares, texts).

    Between two points of the curve it lies on the line between them.
    """
    by_point = curve.per_text(measure)[name].mean(0)
    return np.stack([np.interp(shares, curve.fractions, of_text) for of_text in by_point.T], axis=1)


def _at(
    curve: AblationCurve, measure: str, name: str, shares: list[float], seed: int
) -> list[dict[str, float | None]]:
    values = at_shares(curve, measure, name, shares)
    return [_interval(each, 1.0) for each in curve_statistics.over_texts(values, _BOOTSTRAP, seed)]


def _categories(curve: AblationCurve) -> dict[str, Facts]:
    """By category of the prompts, the mean KL over the curve, by order; none where all are one."""
    if curve.groups is None or len({*curve.groups}) < 2:
        return {}
    to = float(curve.fractions[-1])
    return {
        category: {
            "texts": len(part.tokens),
            "mean_kl": {name: rounded(area.mean() / to) for name, area in part.auc.items()},
        }
        for category, part in curve.by().items()
    }


def beside(by_order: Mapping[str, Facts]) -> str:
    """Say how much harm the orders do that are no controls."""
    said = {"redundancy": "in the reverse order", OTHER_HALF: "ranked on the other half of prompts"}
    found = []
    for name, order in by_order.items():
        words = said.get(name)
        if name.startswith(_BY):
            words = f"in the order of synergy by {name.removeprefix(_BY)}"
        if words is not None:
            found.append(f"{words} {order['mean_kl']['value']:.3g} nats")
    return f"For comparison: {', '.join(found)}." if found else ""


def too_few(options: Decided) -> list[str]:
    """Warn of so few draws that no order can be told from them."""
    smallest = 1 / (options.draws + 1)
    if smallest <= _SIGNIFICANT or not {*options.orders} & {*DRAWN}:
        return []
    return [
        f"with {options.draws} draws no p is below {smallest:.2g}, so that no order can be said to "
        "do more harm than those made by chance; 19 draws are enough"
    ]


def lines_of(facts: Facts) -> list[str]:
    """Return the table of a terminal."""
    shares = "".join(f"{f'{share:.0%}':>9}" for share in facts["shares"])
    width = max(map(len, facts["orders"]))
    lines = [f"KL(intact || ablated) in nats, by order and share of {facts['nodes']} nodes:"]
    lines.append(f"  {'':{width}}{shares}     mean  synergy / it       p")
    for name, found in facts["orders"].items():
        values = "".join(f"{point['value']:9.3g}" for point in found["kl"])
        ratio = "" if found["ratio"] is None else f"{found['ratio']:.2f}"
        p = "" if found["p"] is None else f"{found['p']:.3f}"
        mean = found["mean_kl"]["value"]
        lines.append(f"  {name:{width}}{values}{mean:9.3g}{ratio:>14}{p:>8}")
    return lines


def _interval(found: curve_statistics.Interval, of: float) -> dict[str, float | None]:
    """Six digits of a value and its interval, divided by something."""
    return {name: rounded(getattr(found, name) / of) for name in ("value", "low", "high")}
