"""What a page to explore may show: made nodes, pairs, profiles and curves."""

import numpy as np

from synkern.study.explorer.explored import (
    DIFFERENCE,
    SHARE,
    Chart,
    Explored,
    Line,
    NodeValues,
    PairValues,
    View,
)

WEIGHTS = ("trained weights", "random weights")


def symmetric(n, seed):
    """A matrix (n, n) float64 with NaN on the diagonal, all other values different."""
    values = np.random.default_rng(seed).gamma(2.0, 0.05, (n, n))
    values = np.triu(values, 1) + np.triu(values, 1).T
    np.fill_diagonal(values, np.nan)
    return values


def of_layers(layers=4, each=3, **changes):
    """A study of a model with two conditions, `layers` x `each` nodes."""
    n = layers * each
    layer, index = np.divmod(np.arange(n), each)
    sts, rtr = ({w: symmetric(n, 2 * k + s) for k, w in enumerate(WEIGHTS)} for s in (0, 1))
    gap = {w: np.nanmean(sts[w] - rtr[w], 1) for w in WEIGHTS}
    depth = np.linspace(0, 1, layers)
    curve = depth * (1 - depth)
    lines = [
        Line(
            name=w, x=depth, y=curve + k, lower=curve + k - 0.1, upper=curve + k + 0.1, condition=w
        )
        for k, w in enumerate(WEIGHTS)
    ]
    shares = np.linspace(0, 40, 5)
    published = Line(
        name="Somebody's", x=depth, y=curve, style="dotted", published=True, source="A"
    )
    fields = {
        "title": "made <b>model",
        "subtitle": "Gaussian, MMI redundancy, in nats; lag 1 token.",
        "about": {"estimator": "Gaussian, MMI redundancy, in nats", "nodes": f"{n} heads"},
        "findings": ["Found: something < nothing."],
        "node": "head",
        "nodes": "heads",
        "group": "layer",
        "groups": "layers",
        "labels": [f"L{a}H{b}" for a, b in zip(layer, index, strict=True)],
        "group_names": [str(a) for a in range(layers)],
        "group_of": layer,
        "views": [
            View(name="map", x=index, y=layer, x_label="head", y_label="layer", cells=True),
        ],
        "condition": "weights",
        "conditions": WEIGHTS,
        "rankings": [
            NodeValues(name="mean difference", unit="nats", values=gap, diverging=True),
            NodeValues(name="balance", unit="share", values={w: -v for w, v in gap.items()}),
        ],
        "values": [
            NodeValues(name="routing frequency", unit="share", values={WEIGHTS[0]: index / n}),
        ],
        "pairs": [
            PairValues(name="synergy", unit="nats", values=sts),
            PairValues(name="redundancy", unit="nats", values=rtr),
            PairValues(
                name="sts - rtr",
                unit="nats",
                rule=DIFFERENCE,
                of=("synergy", "redundancy"),
                diverging=True,
            ),
            PairValues(name="share", unit="", rule=SHARE, of=("synergy", "redundancy")),
        ],
        "profiles": [
            Chart(
                name="by mean difference",
                x_label="depth",
                y_label="score",
                lines=lines,
                ranking="mean difference",
                groups=depth,
            ),
            Chart(
                name="beside published",
                x_label="depth",
                y_label="rank",
                lines=[*lines, published],
                groups=depth,
            ),
        ],
        "charts": [
            Chart(
                name="ablation",
                x_label="heads taken out, %",
                y_label="KL, nats",
                lines=[
                    Line(name="synergy", x=shares, y=shares**2),
                    Line.of_draws("random", shares, np.stack([shares, 3 * shares])),
                ],
            ),
        ],
        "report": "report.html",
    }
    return Explored(**fields | changes)


def of_places(n=12):
    """A study of data: one condition, groups without order, nodes at coordinates, no profile."""
    random = np.random.default_rng(0)
    x, y, z = random.normal(size=(3, n))
    return Explored(
        title="made data",
        subtitle="discrete, MMI redundancy, in bits; lag 1 sample.",
        about={"estimator": "discrete, MMI redundancy, in bits"},
        node="region",
        nodes="regions",
        group="network",
        groups="networks",
        labels=[f"region {k}" for k in range(n)],
        group_names=["visual", "limbic"],
        group_of=np.arange(n) % 2,
        views=[
            View(name="from above", x=x, y=y, x_label="x, mm", y_label="y, mm"),
            View(name="from the left", x=y, y=z, x_label="y, mm", y_label="z, mm"),
        ],
        condition="lag",
        conditions=["data"],
        rankings=[NodeValues(name="mean difference", unit="bits", values={"data": x})],
        pairs=[PairValues(name="synergy", unit="bits", values={"data": symmetric(n, 5)})],
    )
