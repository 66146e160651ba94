"""Results as the rows of the page's tables."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from bench.harness import compare
from bench.harness.records import Record, Run
from bench.page.numbers import duration, ratio, size
from bench.suites import scaling
from synkern import ATOMS


def backends(run: Run) -> list[tuple[str, str]]:
    """(name, device) of synkern's, in the order of their first record."""
    return list(dict.fromkeys((r.way, r.device) for r in run.records if not r.peer))


def _cell(record: Record | None) -> str:
    if record is None:
        return "-"
    if not record.sweeps:
        return record.state
    said = duration(record.per_decomposition)
    if not record.scaled:
        return said
    # Few trials share less of what a call costs: how many stands beside the time.
    trials = (record.timed or record.shape)["trials"]
    fewer = not record.peer and trials < record.shape["trials"]
    return f"{said} *" + (f" ({trials})" if fewer else "")


def _shapes(run: Run) -> list[dict[str, Any]]:
    return list({r.shape["name"]: r.shape for r in run.records}.values())


def speed_rows(run: Run, work: str, dtype: str = "float64") -> list[list[str]]:
    """Rows by shape: trials x samples x nodes, phyid, backends, times phyid, of the roofline."""
    rows = []
    for shape in _shapes(run):
        every = [compare.found(run, way, work, shape["name"], dtype, d) for way, d in backends(run)]
        if not any(every):
            continue
        phyid = compare.phyid(run, work, shape["name"])
        done = [r for r in every if r and r.sweeps]
        best = min(done, key=lambda r: r.per_decomposition, default=None)
        share = best.of_roofline if best else None
        rows.append(
            [
                shape["name"],
                f"{shape['trials']} x {shape['time']:,} x {shape['nodes']:,}",
                _cell(phyid),
                *map(_cell, every),
                ratio(compare.times(run, phyid, best)),
                "-" if share is None else f"{100 * share:.0f} %",
            ]
        )
    return rows


def peer_rows(run: Run, work: str) -> list[list[str]]:
    """Rows by peer: at each shape with peers time and times synkern's fastest; then its error."""
    names = [s["name"] for s in _shapes(run)]
    with_peers = [
        name
        for name in names
        if any(r.peer and r.way != "phyid" and r.shape["name"] == name for r in run.records)
    ]
    rows = []
    ways = dict.fromkeys(r.way for r in run.records if r.peer and r.work == work)
    for way in ways:
        mine = [r for r in run.records if r.way == way and r.work == work]
        cells, said = [], None
        for name in with_peers:
            record = next((r for r in mine if r.shape["name"] == name), None)
            own = [
                r
                for r in run.records
                if not r.peer
                and r.sweeps
                and (r.work, r.shape["name"]) == (work, name)
                and r.dtype == "float64"
            ]
            best = min(own, key=lambda r: r.per_decomposition, default=None)
            cells += [_cell(record), ratio(compare.times(run, record, best))]
            said = said or (record.reason if record else None)
        checks = [r.check for r in mine if r.check]
        worst = max(checks, key=lambda c: c.error, default=None)
        note = said or (f"{worst.error:.0e} from {worst.truth}" if worst else "-")
        rows.append([way, *cells, note])
    return [["", *with_peers], *rows]


def record_rows(run: Run) -> list[list[str]]:
    """Every record."""
    rows = []
    for r in run.records:
        share = "-" if not r.sweeps or r.of_roofline is None else f"{100 * r.of_roofline:.1f} %"
        error = "-" if r.check is None else f"{r.check.error:.0e} / {r.check.tolerance:.0e}"
        what = duration(r.per_decomposition) if r.sweeps else f"{r.state}: {r.reason}"
        spread = f"{100 * r.spread:.0f} %" if r.sweeps else "-"
        rounds = f"{len(r.sweeps)}: {sum(map(len, r.sweeps))}" if r.sweeps else "-"
        way = r.way + ("" if r.device == "cpu" else f" ({r.device})")
        head = [r.shape["name"], r.work, way, r.dtype, what, spread, rounds]
        rows.append([*head, share, error, r.scaled or ("all" if r.sweeps else "-")])
    return rows


def quoted(run: Run, shape: str) -> list[list[str]]:
    """What the main README says of a shape: phyid, then backends, fastest last."""
    rows = []
    phyid = compare.phyid(run, "MMI rtr+sts", shape)
    if phyid is None or not phyid.sweeps:
        return []
    rows.append([phyid.per_decomposition, "phyid", duration(phyid.per_decomposition), "1"])
    for work in ("MMI 16 atoms", "MMI rtr+sts"):
        for way, device in backends(run):
            record = compare.found(run, way, work, shape, "float64", device)
            if record and record.sweeps:
                what = "all 16 atoms" if work == "MMI 16 atoms" else "`rtr` and `sts`"
                found = compare.times(run, compare.phyid(run, work, shape), record)
                each = duration(record.per_decomposition)
                rows.append(
                    [record.per_decomposition, f"synkern, {what} ({way})", each, ratio(found)]
                )
    return [row[1:] for row in sorted(rows, key=lambda row: -row[0])]


# ---- Accuracy --------------------------------------------------------------------------------


def _configurations(rows: Sequence[dict[str, Any]], redundancy: str) -> list[tuple[str, str]]:
    mine = [r for r in rows if r["redundancy"] == redundancy]
    return sorted({(r["backend"], r["dtype"]) for r in mine}, key=lambda c: (c[1], c[0]))[::-1]


def accuracy_rows(rows: Sequence[dict[str, Any]], redundancy: str) -> list[list[str]]:
    """Head, then by kind: mean and worst error of all atoms by backend and dtype."""
    configurations = _configurations(rows, redundancy)
    table = [["kind", "pairs", *(f"{b} {d}" for b, d in configurations)]]
    for kind in dict.fromkeys(r["kind"] for r in rows):
        of = {
            (r["backend"], r["dtype"]): r
            for r in rows
            if (r["kind"], r["redundancy"]) == (kind, redundancy)
        }
        any_row = next(iter(of.values()))
        cells = []
        for configuration in configurations:
            r = of.get(configuration)
            if r is None or r["worst"] is None:
                cells.append("-" if r is None else "none")
                continue
            mean = sum(r["mean"]) / len(r["mean"])
            odd = [f"{r[name]} {name}" for name in ("broken", "lost", "invented") if r[name]]
            cells.append(f"{mean:.0e} / {max(r['worst']):.0e}" + "".join(f", {o}" for o in odd))
        table.append([f"{kind}: {any_row['what']}", str(any_row["pairs"]), *cells])
    return table


def atom_rows(rows: Sequence[dict[str, Any]], redundancy: str) -> list[list[str]]:
    """Head, then by atom: mean over the kinds and worst of all kinds, by backend and dtype."""
    configurations = _configurations(rows, redundancy)
    table = [["atom", *(f"{b} {d}" for b, d in configurations)]]
    for k, atom in enumerate(ATOMS):
        cells = []
        for backend, dtype in configurations:
            of = [
                r
                for r in rows
                if (r["backend"], r["dtype"], r["redundancy"]) == (backend, dtype, redundancy)
                and r["worst"] is not None
            ]
            mean = sum(r["mean"][k] for r in of) / len(of)
            cells.append(f"{mean:.0e} / {max(r['worst'][k] for r in of):.0e}")
        table.append([atom, *cells])
    return table


# ---- Scaling ---------------------------------------------------------------------------------


def scaling_rows(curves: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Rows by curve: range, last time and memory, exponents, what ended it."""
    rows = []
    for c in curves:
        if not c["points"]:
            rows.append([c["work"], c["axis"], c["backend"], "none", *["-"] * 4, c["ended by"]])
            continue
        first, last = c["points"][0], c["points"][-1]
        exponents = [
            "-" if c["exponents"][name] is None else f"{c['exponents'][name]:.2f}"
            for name in ("seconds", "bytes")
        ]
        span = f"{first['size']:,} to {last['size']:,}"
        rows.append(
            [
                c["work"],
                c["axis"],
                c["backend"],
                span,
                duration(last["seconds"]),
                exponents[0],
                size(last["bytes"]),
                exponents[1],
                c["ended by"],
            ]
        )
    return rows


def takeovers(curves: Sequence[dict[str, Any]]) -> list[str]:
    """Sizes at which a path takes over from another: backends, and means by node from matrices."""
    curves = [curve for curve in curves if curve["points"]]
    said, never = [], []
    for work, axis in dict.fromkeys((c["work"], c["axis"]) for c in curves):
        by_name = {c["backend"]: c for c in curves if (c["work"], c["axis"]) == (work, axis)}
        for first, second in itertools.combinations(by_name, 2):
            pair = (by_name[first]["points"], by_name[second]["points"])
            for cross, later in scaling.crossings(*pair):
                name, other = (first, second) if later == 0 else (second, first)
                said.append(f"{work}: {name} is faster than {other} from {cross:,.0f} {axis} on")
        points = list(by_name.values())
        least = {name: c["points"][-1] for name, c in by_name.items()}
        if len(points) > 1 and not any(line.startswith(f"{work}: ") for line in said):
            size = min(p["size"] for p in least.values())
            at = {
                name: next(p["seconds"] for p in c["points"] if p["size"] == size)
                for name, c in by_name.items()
            }
            order = sorted(at, key=lambda name: at[name])
            never.append(f"{work} by {axis} ({' before '.join(order)})")
    if never:
        said.append("nowhere: " + "; ".join(never))
    for backend in dict.fromkeys(c["backend"] for c in curves):
        both = [
            next((c["points"] for c in curves if _is(c, backend, work)), [])
            for work in ('MMI reduce="nodes"', "MMI rtr+sts")
        ]
        for cross, later in scaling.crossings(*both):
            name = ("means by node are", "matrices are")[later]
            said.append(f"backend {backend}: {name} faster from {cross:,.0f} nodes on")
    return said


def _is(curve: dict[str, Any], backend: str, work: str) -> bool:
    return (curve["backend"], curve["work"], curve["axis"]) == (backend, work, "nodes")
