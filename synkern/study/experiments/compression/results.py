"""What a compression says, as a study keeps it in study.json, and the page shows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from synkern.study.numerals import rounded
from synkern.study.stage import Facts

if TYPE_CHECKING:
    from synkern.interventions import Compression


def facts_of(found: Compression) -> Facts:
    """Return what study.json says of a compression."""
    rows = [{name: _rounded(value) for name, value in row.items()} for row in found.rows()]
    compared = []
    for name in found.names:
        if name != "synergy":
            one = asdict(found.compared(name))
            if one["interval"] is not None:
                one["interval"] = [rounded(end) for end in one["interval"]]
            compared.append({key: _rounded(value) for key, value in one.items()})
    return {
        "ranking": found.ranking,
        "nodes": len(found.orders[0].nodes),
        "rows": rows,
        "compared": compared,
        "finding": found.finding,
        "intact": {
            "loss": rounded(found.intact.loss.mean()),
            "agreement": rounded(found.intact.agreement.mean()),
            "accuracy": _rounded(found.intact.accuracy),
            "truncated": None
            if found.intact.truncated is None
            else int(found.intact.truncated.sum()),
        },
        "rounding": asdict(found.ledger.rounding) | {"rest": found.rest},
        "earlier": str(found.earlier or "") or None,
        "errors": _errors(found),
        "weights_of_nodes": found.ledger.in_nodes,
        "weights": int(found.ledger.elements.sum()),
        "tensors": _tensors(found),
    }


def _errors(found: Compression) -> list[Facts]:
    """By bits, the size of what rounding changes, over that of the weights; and over even ones."""
    return [
        {
            "bits": bits,
            "error": rounded((loss.changed / loss.weights) ** 0.5) if loss.weights else None,
            "to_even": rounded((loss.changed / loss.even) ** 0.5) if loss.even else None,
        }
        for bits, loss in found.losses.items()
    ]


def _tensors(found: Compression) -> Facts:
    """The bits of every tensor that holds weights of nodes, at one budget, by order."""
    budget = found.budgets[len(found.budgets) // 2]
    points = {name: found.points_of(name, budget)[0] for name in found.names}
    bits = {name: found.tensor_bits(point) for name, point in points.items()}
    own = dict(
        zip(
            found.ledger.tensors,
            zip(found.ledger.elements.tolist(), found.ledger.own_bits.tolist(), strict=True),
            strict=True,
        )
    )
    as_loaded = {name: elements * width for name, (elements, width) in own.items()}
    changed = [name for name in own if any(each[name] != as_loaded[name] for each in bits.values())]
    rows = [
        {
            "tensor": name,
            "elements": own[name][0],
            "as_loaded": as_loaded[name],
            "bits": {order: each[name] for order, each in bits.items()},
        }
        for name in changed
    ]
    rest = [name for name in own if name not in changed]
    rows.append(
        {
            "tensor": f"{len(rest)} others",
            "elements": sum(own[name][0] for name in rest),
            "as_loaded": sum(as_loaded[name] for name in rest),
            "bits": {order: sum(each[name] for name in rest) for order, each in bits.items()},
        }
    )
    return {"budget": asdict(budget), "rows": rows}


def _rounded(value: Any) -> Any:
    return rounded(value) if isinstance(value, float) else value
