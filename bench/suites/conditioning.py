"""Errors on ill-conditioned pairs, against the definitions in exact sums and 80 decimal digits.

    python -m bench.suites.conditioning [--draws 8] [--recording FILE.npz] [--phyid PATH]
                                 [--json FILE] [--markdown FILE]

A kind of pair is drawn several times; what is printed is the worst of all draws and all 16
atoms, and the larger of the numpy and torch backends. The truth belongs to the float64 series
exactly as given: rounding of a series is no error of what is computed from it. With r the largest
of the six correlations of x, y, a, b, promised is an error of at most 1e-9 nats where 1 - |r| >=
1e-3, and 1e-6 down to 5e-9. Beyond that, and where three or four variables depend on each other
though no two do (1 - R < 5e-9, R the largest multiple correlation of one with the others), at most
1e-5, or no value and a flag. In float32 1e-5 everywhere. A pair without a finite value must have
none.

`--recording` takes a file with `norms` (trials, time, nodes), of which a sample of pairs is a kind
and the worst conditioned ones another. `--phyid` takes a checkout of phyid to run on the same.
Exits with 1 if a promise is not kept.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import itertools
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import synkern
from bench.cases.peers import find_phyid
from bench.harness.extended_precision import SingularError, exact_atoms, least_gaps, promise
from synkern import ATOMS
from synkern._checks import MIN_SAMPLES
from synkern.kernels.formulas import mmi
from synkern.kernels.formulas.rescue import VANISHED
from synkern.kernels.formulas.unit_vectors import unit_vectors
from synkern.kernels.lattice import zeta_matrix

Values = npt.NDArray[np.float64]

TIME = 100
HALF = TIME // 2  # as a lag: past and future do not overlap
CONFIGURATIONS = tuple(
    itertools.product(("MMI", "CCS"), ("numpy", "torch"), ("float64", "float32"))
)


@dataclass(frozen=True)
class Draws:
    """Pairs of one kind: (draws, time, 2) float64."""

    name: str
    series: Values
    tau: int = 1


# ---- Kinds ---------------------------------------------------------------------------------------


def ar1(rng: np.random.Generator, draws: int, rho: float, time: int = TIME) -> Values:
    """Two independent AR(1) nodes, (draws, time, 2)."""
    series = rng.standard_normal((draws, time, 2))
    for t in range(1, time):
        series[:, t] += rho * series[:, t - 1]
    return series


def kinds(rng: np.random.Generator, draws: int) -> Iterator[Draws]:
    """All but recordings."""
    near = [10.0**-k for k in range(1, 10)]

    def pairs(rho: float = 0.9, time: int = TIME) -> tuple[Values, Values]:
        """Two nodes as views (draws, time) of one array, their base."""
        series = ar1(rng, draws, rho, time)
        return series[..., 0], series[..., 1]

    for eps in near:
        x, y = pairs()
        yield Draws(f"y = x + {eps:.0e} noise", np.stack([x, x + eps * y], -1))
    for eps in near:
        x, y = pairs(0)
        y[:, HALF:] = x[:, HALF:] + eps * y[:, HALF:]
        yield Draws(f"the same in the future only, {eps:.0e}", np.stack([x, y], -1), HALF)
    for eps in near:
        x, y = pairs(0)
        x[:, HALF:] = x[:, :HALF] + eps * x[:, HALF:]
        yield Draws(f"the same for x across time, {eps:.0e}", np.stack([x, y], -1), HALF)
    for eps in near:
        x, y = pairs(0)
        y[:, 1:] = x[:, :-1] + eps * y[:, 1:]
        yield Draws(f"y(t) = x(t-1) + {eps:.0e} noise", np.stack([x, y], -1))
    for eps in near:
        x, y = pairs(0)
        for t in range(1, TIME):
            y[:, t] = 0.6 * (x[:, t - 1] + y[:, t - 1]) + eps * y[:, t]
        yield Draws(f"y(t) = .6 x(t-1) + .6 y(t-1) + {eps:.0e} noise", np.stack([x, y], -1))
    for eps in near:
        x, y = pairs(0)
        a = x[:, HALF:].copy()
        y[:, :HALF] = x[:, :HALF] + eps * (a + eps * y[:, :HALF])
        yield Draws(f"y = x + {eps:.0e} (x(t+tau) + {eps:.0e} noise)", np.stack([x, y], -1), HALF)
    yield from _exact(pairs)
    line = np.linspace(-1, 1, TIME)[:, None]
    for eps in near[2:]:
        noise = rng.standard_normal((draws, TIME, 2))
        yield Draws(f"two linear trends + {eps:.0e} noise", line * [1, -3] + eps * noise)
    for eps in near[2:]:
        trend = ar1(rng, draws, 0)
        trend[..., 0] = line[:, 0] + eps * trend[..., 0]
        yield Draws(f"a linear trend + {eps:.0e} noise, white noise", trend)
    yield from _odd(rng, draws, pairs)


def _exact(pairs: Callable[..., tuple[Values, Values]]) -> Iterator[Draws]:
    x, _ = pairs()
    yield Draws("y = x", np.stack([x, x], -1))
    x, _ = pairs()
    yield Draws("y = -4 x", np.stack([x, -4 * x], -1))
    for name, part in (("past", slice(HALF)), ("future", slice(HALF, None))):
        x, y = pairs(0)
        y[:, part] = x[:, part]
        yield Draws(f"y = x in the {name} only", np.stack([x, y], -1), HALF)
    x, y = pairs(0)
    y[:, 1:] = x[:, :-1]
    yield Draws("y(t) = x(t-1)", np.stack([x, y], -1))
    x, y = pairs(0)
    x[:, HALF:] = x[:, :HALF]
    yield Draws("x(t) = x(t-tau)", np.stack([x, y], -1), HALF)
    x, y = pairs(0)
    y[:] = 0.1
    yield Draws("constant y", np.stack([x, y], -1))
    line = np.broadcast_to(np.arange(float(TIME)), x.shape)
    yield Draws("two linear trends", np.stack([line, 5 - 2 * line], -1))
    yield Draws("a linear trend, white noise", np.stack([line, x], -1))


def _odd(
    rng: np.random.Generator, draws: int, pairs: Callable[..., tuple[Values, Values]]
) -> Iterator[Draws]:
    for name, at in (("x", (700, None)), ("both", (700, 1300)), ("both at once", (700, 700))):
        series = rng.standard_normal((draws, 2000, 2))
        for node, t in enumerate(at):
            if t is not None:
                series[:, t, node] = 1e6
        yield Draws(f"outlier of 1e6 sigma in {name}", series)
    for time in (5, 6, 10, 100, 1000, 10_000, 100_000):
        few = draws if time < 10_000 else 1
        yield Draws(f"{time} time points", ar1(rng, few, 0.9, time))
    for time in (100, 1000, 10_000):
        few = draws if time < 10_000 else 1
        yield Draws(f"AR(1) of .999, {time} time points", ar1(rng, few, 0.999, time))
    x, y = pairs()
    yield Draws("mean of 1e8 sigma", np.stack([x + 1e8, y - 1e8], -1))
    x, y = pairs()
    yield Draws("y = x + 1e-4 noise, mean of 1e8 sigma", np.stack([x, x + 1e-4 * y], -1) + 1e8)
    for scale in (1e-300, 1e300):
        x, y = pairs()
        yield Draws(f"scale of {scale:.0e}", np.stack([x * scale, y], -1))


def recorded(path: str, rng: np.random.Generator, draws: int) -> Iterator[Draws]:
    """Pairs of a recording: some at random, and those with the least conditional variance."""
    with np.load(path) as file:
        norms = np.asarray(file["norms"], np.float64)
    trials, _, nodes = norms.shape
    rows, columns = np.triu_indices(nodes, 1)
    worst: list[tuple[float, int, int]] = []
    for trial in range(trials):
        with np.errstate(all="ignore"):  # the diagonal
            found = mmi.lambdas(np, _correlations(norms[trial : trial + 1], 1))[1]
        variance = found[0][rows, columns]
        worst += [(float(variance[k]), trial, int(k)) for k in np.argsort(variance)[:draws]]
    least = [(trial, k) for _, trial, k in sorted(worst)[:draws]]
    chance = [(int(rng.integers(trials)), int(rng.integers(len(rows)))) for _ in range(4 * draws)]
    for name, chosen in (("random", chance), ("worst conditioned", least)):
        series = np.stack([norms[trial][:, [rows[k], columns[k]]] for trial, k in chosen])
        yield Draws(f"recording, {len(chosen)} {name} pairs", series)


# ---- Ways to compute -----------------------------------------------------------------------------


def synkern_atoms(draws: Draws, options: dict[str, str]) -> tuple[Values, str]:
    """(draws, 18), the 16 atoms and `rtr` and `sts` by themselves; how many had which outcome."""
    call = functools.partial(synkern.phiid, draws.series, tau=draws.tau, average=None, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result, few = call(atoms="all"), call(atoms=("rtr", "sts"))
        except ValueError:
            return np.full((len(draws.series), 18), np.nan), "ValueError"
    counts = {"rescued": result.rescued, **result.degenerate}
    counts = {name: count for name, count in counts.items() if count}
    ordinary = len(draws.series) - sum(counts.values())
    counts = {"value": ordinary, **counts} if ordinary else counts
    said = [n if c == len(draws.series) else f"{c} {n}" for n, c in counts.items()]
    values = [result[atom][:, 0, 1] for atom in ATOMS] + [few[a][:, 0, 1] for a in ("rtr", "sts")]
    return np.stack(values, -1).astype(float), ", ".join(said)


def _correlations(series: Values, tau: int, dtype: str = "float64") -> mmi.Correlations:
    """Correlations of all pairs, (draws, nodes, nodes)."""
    past, future, _ = unit_vectors(np, series, tau)
    p, f = past.astype(dtype), future.astype(dtype)
    own = (p * f).sum(-1)
    across = [u @ v.swapaxes(-1, -2) for u, v in ((p, p), (f, f), (p, f), (f, p))]
    xy, ab, xb, ya = across
    return mmi.Correlations(xy, ab, own[..., :, None], xb, ya, own[..., None, :])


def closed_form(draws: Draws, dtype: str) -> Values:
    """The closed form of `kernels.formulas.mmi` (MMI) in one precision and without a rescue."""
    c = mmi.Correlations(*(r[..., :1, -1:] for r in _correlations(draws.series, draws.tau, dtype)))
    found = mmi.atoms(np, mmi.lambdas(np, c)[0], ATOMS)
    return np.stack([atom[:, 0, 0] for atom in found], -1).astype(float)


def textbook(draws: Draws) -> Values:
    """Schur complements with inverses of blocks, from `numpy.corrcoef` (MMI)."""
    return np.array([_textbook_pair(*series.T, draws.tau) for series in draws.series])


def _textbook_pair(x: Values, y: Values, tau: int) -> Values:
    correlation = np.corrcoef([x[:-tau], y[:-tau], x[tau:], y[tau:]])
    sides = ({"r": (0, 1), "x": (0,), "y": (1,)}, {"r": (2, 3), "x": (2,), "y": (3,)})

    def information(u: list[int], v: list[int]) -> float:
        own = correlation[np.ix_(v, v)]
        across = correlation[np.ix_(u, v)]
        left = own - across.T @ np.linalg.inv(correlation[np.ix_(u, u)]) @ across
        return float(0.5 * np.log(np.linalg.det(own) / np.linalg.det(left)))

    def least(atom: str) -> float:
        past, future = (
            [[0 + 2 * k, 1 + 2 * k]] if atom[2 * k] == "s" else [[v] for v in side[atom[2 * k]]]
            for k, side in enumerate(sides)
        )
        return min(information(u, v) for u, v in itertools.product(past, future))

    try:
        cumulative = [least(atom) for atom in ATOMS]
        return np.asarray(np.linalg.solve(zeta_matrix(), cumulative))
    except np.linalg.LinAlgError:
        return np.full(16, np.nan)


def phyid_atoms(module: Any, draws: Draws, redundancy: str) -> tuple[Values, str | None]:
    """(draws, 16) of phyid, and the exception it raised."""
    found, raised = np.full((len(draws.series), 16), np.nan), None
    for k, (x, y) in enumerate(draws.series.swapaxes(1, 2)):
        try:
            local, _ = module.calc_PhiID(x, y, draws.tau, "gaussian", redundancy)
        except Exception as error:
            raised = type(error).__name__
            continue
        found[k] = [np.mean(local[atom]) for atom in ATOMS]
    return found, raised


# ---- Errors and promises -------------------------------------------------------------------------


def truth(draws: Draws, redundancy: str) -> Values:
    """(draws, 16), NaN where there is no finite value."""
    found = np.full((len(draws.series), 16), np.nan)
    for k, (x, y) in enumerate(draws.series.swapaxes(1, 2)):
        try:
            found[k] = list(exact_atoms(x, y, draws.tau, redundancy).values())
        except SingularError:
            continue
    return found


def error(found: Values, exact: Values) -> float | None:
    """Worst of the draws that have a value; infinite where one has it wrongly, None if none has."""
    has = ~np.isnan(found).all(-1)
    if not has.any():
        return None
    difference = np.abs(found[has] - exact[has])
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")


def gaps(draws: Draws) -> tuple[float, float]:
    """The least 1 - |r| and the least 1 - R of all draws."""
    found = [least_gaps(x, y, draws.tau) for x, y in draws.series.swapaxes(1, 2)]
    pairwise, multiple = np.min(found, axis=0)
    return float(pairwise), float(multiple)


def row(draws: Draws, phyid: Any) -> dict[str, Any]:
    """All that the table says of a kind."""
    pairwise, multiple = gaps(draws)
    line: dict[str, Any] = {"kind": draws.name, "draws": len(draws.series)}
    line |= {"1 - |r|": pairwise, "1 - R": multiple}
    line |= {
        "promise": promise(pairwise, multiple, "float64"),
        "errors": {},
        "outcomes": {},
        "kept": True,
    }
    exact = {redundancy: truth(draws, redundancy) for redundancy in ("MMI", "CCS")}
    for redundancy, backend, dtype in CONFIGURATIONS:
        name = f"{redundancy} {backend} {dtype}"
        options = {"redundancy": redundancy, "backend": backend, "dtype": dtype}
        found, outcome = synkern_atoms(draws, options)
        worst = error(found, exact[redundancy][:, [*range(16), 0, 15]])
        bound = promise(pairwise, multiple, dtype)
        line["errors"][name], line["outcomes"][name] = worst, outcome
        # A value that exists may be missing only beyond resolution, and with too few samples.
        lost = np.isnan(found).any(-1) & np.isfinite(exact[redundancy]).all(-1)
        excused = multiple < VANISHED**2 or outcome == "ValueError"
        line["kept"] &= (worst is None or worst <= bound) and (excused or not lost.any())
    if draws.series.shape[1] - draws.tau >= MIN_SAMPLES:
        with np.errstate(all="ignore"):
            line["naive"] = {
                "textbook": error(_blank(textbook(draws)), exact["MMI"]),
                "closed form": error(_blank(closed_form(draws, "float64")), exact["MMI"]),
                "closed form, float32": error(_blank(closed_form(draws, "float32")), exact["MMI"]),
            }
            for redundancy in ("MMI", "CCS") if phyid else ():
                found, raised = phyid_atoms(phyid, draws, redundancy)
                worst = error(found, exact[redundancy])
                line["naive"][f"phyid {redundancy}"] = raised or worst
    return line


def _blank(found: Values) -> Values:
    """A draw of which anything is not finite has no value."""
    return np.where(np.isfinite(found).all(-1, keepdims=True), found, np.nan)


# ---- The table -----------------------------------------------------------------------------------

COLUMNS = "kind | 1 - abs(r) | 1 - R | promise | outcome | float64 MMI | CCS | float32 MMI | CCS"
NAIVE = ("textbook", "closed form", "closed form, float32", "phyid MMI", "phyid CCS")


def markdown(line: dict[str, Any]) -> str:
    """One line of the table: errors are the larger of numpy and torch."""

    def worst(redundancy: str, dtype: str) -> str:
        values = [line["errors"][f"{redundancy} {b} {dtype}"] for b in ("numpy", "torch")]
        return _number(max((v for v in values if v is not None), default=None))

    cells = [line["kind"], *(f"{line[key]:.0e}" for key in ("1 - |r|", "1 - R", "promise"))]
    cells[3] += "" if line["kept"] else " **missed**"
    outcomes = {key: o for key, o in line["outcomes"].items() if "float64" in key}
    cells.append(" / ".join(dict.fromkeys(outcomes.values())))
    cells += [worst(r, d) for d in ("float64", "float32") for r in ("MMI", "CCS")]
    naive = line.get("naive", {})
    cells += [_number(naive[name]) if name in naive else "" for name in NAIVE]
    return "| " + " | ".join(cells) + " |"


def _number(value: float | str | None) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else f"{value:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recording", help="npz file with norms (trials, time, nodes)")
    parser.add_argument("--phyid", help="path of a checkout of phyid")
    parser.add_argument("--json", help="file for all figures")
    parser.add_argument("--markdown", help="file for the table")
    arguments = parser.parse_args()
    phyid = None
    if arguments.phyid:
        find_phyid(arguments.phyid)
        phyid = importlib.import_module("phyid.calculate")
    rng = np.random.default_rng(arguments.seed)
    chosen = kinds(rng, arguments.draws)
    if arguments.recording:
        chosen = itertools.chain(chosen, recorded(arguments.recording, rng, arguments.draws))
    head = f"| {COLUMNS} | " + " | ".join(NAIVE) + " |"
    table = [head, "|---" * (head.count("|") - 1) + "|"]
    print(*table, sep="\n")
    lines = []
    for draws in chosen:
        lines.append(row(draws, phyid))
        table.append(markdown(lines[-1]))
        print(table[-1], flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(lines, indent=1) + "\n")
    if arguments.markdown:
        Path(arguments.markdown).write_text("\n".join(table) + "\n")
    if not all(line["kept"] for line in lines):
        sys.exit("a promise is not kept")


if __name__ == "__main__":
    main()
