"""Gaussian MMI of all pairs or of a rectangle: which of two kernels, and its launch.

`mmi_series_kernel` forms the correlations from the series, `mmi_moments_kernel` reads them from
memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import triton.language as tl

from ..contract import Limits, Rectangle
from ..formulas.estimators import LOOSE, STRICT
from ..formulas.moments import Moments
from .configurations import (
    FEW,
    MEASURED,
    MEASURED_RECTANGLE,
    Launch,
    Path,
    Size,
    launch_for,
    options,
)
from .device.mmi_moments import mmi_moments_kernel
from .device.mmi_series import mmi_series_kernel
from .launch import (
    MEASURED_ON,
    Area,
    empty,
    grid_for,
    interleaved,
    least_trusted,
    multiprocessors,
    on_device,
    own_correlations,
    total,
)
from .plan import Plan, group, mirrors

_MEASURED_SAMPLES = 99
_MEASURED_PAIRS = 60 * 1152 * 1153 // 2
"""Of `MEASURED`: pairs of samples; (trial, pair), the diagonal included."""

_RATE = 28.1
"""Float64 multiply-adds a picosecond of matrix products of that GPU, measured."""

_BANDWIDTH = 2.96
"""Bytes a picosecond of a copy, measured."""

_MatricesOf = Callable[[slice], tuple[torch.Tensor, ...]]
"""Past, future, lagged and, of a rectangle, lagged back, of some trials."""


def path_for(
    area: Area,
    samples: int,
    per_trial: bool,
    plan: Plan,
    workspace: int = Limits.workspace,
    *,
    dtype: str = "float64",
    capability: tuple[int, int] = MEASURED_ON,
) -> Path:
    """The faster of the two, as measured on an H100 at 99 samples.

    Float64 is taken from the series there; to other numbers of samples by a model, in picoseconds
    for a pair and a trial: four products of a pair at half of the measured rate, at a quarter in
    tiles of 16; through memory six products by the vendor's library at 85 %. Of a rectangle, whose
    matrices hold no pair twice, it is two products and 16 bytes less. So `rtr` and `sts` of more
    than some 500 samples go through memory, more atoms of more than 150, and rectangles of more
    than 10 (`rtr` and `sts`) or 100. Trials apart were not timed through memory, and are taken for
    ones that tiles of 32 suffice.

    Float32 goes through memory, whatever the number of samples, on GPUs of that kind alone: its
    products are the library's in float64, on tensor cores, and others have one unit of float64 for
    64 of float32. Nothing goes there if moments of one trial exceed the workspace, in bytes.
    """
    if _moments_bytes(area) > workspace:
        return "series"
    if dtype == "float32":
        return "moments" if capability == MEASURED_ON else "series"
    size: Size = "few" if len(plan.terms) <= FEW else "many"
    series, moments = MEASURED[dtype, size]
    part, share = area.rectangle is not None, 0.5
    if not per_trial and (part or size == "many"):
        series, share = MEASURED_RECTANGLE if size == "few" else series, 0.25
    more, each = samples - _MEASURED_SAMPLES, 1e9 / _MEASURED_PAIRS
    fused = series * each + 4 * more / _RATE / share
    through_memory = moments * each + 6 * more / _RATE / 0.85
    if part:
        through_memory -= 2 * samples / _RATE / 0.85 + 16 / _BANDWIDTH
    return "series" if fused <= through_memory else "moments"


def _moments_bytes(area: Area) -> int:
    """Bytes of the matrices of one trial."""
    height, width = area.shape
    return (3 if area.rectangle is None else 4) * 8 * height * width


def constants(
    plan: Plan,
    dtype: str,
    per_trial: bool,
    launch: Launch,
    tolerances: Mapping[str, float] = STRICT,
    *,
    rectangle: bool,
) -> dict[str, Any]:
    """What the kernels of Gaussian MMI are specialised to."""
    return {
        "DTYPE": getattr(tl, dtype),
        "GROUP": 1 if per_trial else group(dtype, tolerances),
        "TERMS": plan.terms,
        "COEFFICIENTS": plan.coefficients,
        "MIRRORS": mirrors(plan.names, rectangle),
        "BLOCK": launch.block,
        "RECTANGLE": rectangle,
    }


def fill(
    path: Path,
    past: torch.Tensor,
    future: torch.Tensor,
    constant: torch.Tensor,
    marked: torch.Tensor,
    count: torch.Tensor,
    *,
    plan: Plan,
    per_trial: bool,
    dtype: str,
    alone: bool = False,
    tolerances: Mapping[str, float] = STRICT,
    rectangle: Rectangle | None = None,
    workspace: int = Limits.workspace,
    launch: Launch | None = None,
) -> torch.Tensor:
    """Launch on the device and current stream of `past`, without waiting.

    Args:
        path: which kernel.
        past: (trials, nodes, samples) float64 unit vectors, see `unit_vectors.UnitVectors`.
        future: likewise.
        constant: (trials, nodes) bool.
        marked: (capacity,) int64, filled with the first entries of the list of untrusted pairs.
        count: (1,) int64 zero, becomes the length of that list.
        plan: of the atoms.
        per_trial: keep trials apart.
        dtype: of arithmetic and output.
        alone: as if nodes did not influence each other, see `estimators.PersistenceMMI`.
        tolerances: error in nats that an atom may have, by dtype of the arithmetic.
        rectangle: the pairs; None: all.
        workspace: bytes of moments that the path over memory may hold at once.
        launch: None for the frozen one.

    Returns:
        (atoms, rows, columns) sums over trials, or (atoms, trials, rows, columns).
    """
    launch = launch or launch_for(
        dtype, path, plan, per_trial, alone=alone, rectangle=rectangle is not None
    )
    area = Area(past.shape[1], rectangle)
    own = own_correlations(past, future)
    common = {
        **_common(own, constant, marked, count, past.shape[-1], dtype, tolerances),
        **constants(plan, dtype, per_trial, launch, tolerances, rectangle=rectangle is not None),
        **options(launch),
        "ALONE": alone,
    }
    with on_device(past):
        if path == "series":
            return _from_series(past, future, area, launch, per_trial, dtype, common)

        def products(trials: slice) -> tuple[torch.Tensor, ...]:
            # The library copies what lies side by side, once for every product.
            x, a = past[trials].contiguous(), future[trials].contiguous()
            if rectangle is None:
                return x @ x.mT, a @ a.mT, x @ a.mT
            y, b = x[:, rectangle.columns], a[:, rectangle.columns]
            x, a = x[:, rectangle.rows], a[:, rectangle.rows]
            return x @ y.mT, a @ b.mT, x @ b.mT, y @ a.mT

        at_once = max(1, workspace // _moments_bytes(area))
        return _from_moments(products, at_once, area, launch, per_trial, dtype, common)


def fill_from_moments(
    moments: Moments,
    marked: torch.Tensor,
    count: torch.Tensor,
    *,
    plan: Plan,
    per_trial: bool,
    dtype: str,
    alone: bool = False,
    rectangle: Rectangle | None = None,
) -> torch.Tensor:
    """Launch as `fill` does, from moments that somebody else has gathered."""
    launch = launch_for(
        dtype, "moments", plan, per_trial, alone=alone, rectangle=rectangle is not None
    )
    area = Area(moments.constant.shape[1], rectangle)
    past, future, lagged = (m.to(torch.float64) for m in moments[:3])
    own = torch.diagonal(lagged, 0, -2, -1).contiguous()
    matrices = [past, future, lagged]
    if rectangle is not None:
        rows, columns = rectangle
        matrices = [m[:, rows, columns] for m in matrices] + [lagged[:, columns, rows]]
    matrices = [m.contiguous() for m in matrices]
    common = {
        **_common(own, moments.constant, marked, count, moments.samples, dtype, LOOSE),
        **constants(plan, dtype, per_trial, launch, LOOSE, rectangle=rectangle is not None),
        **options(launch),
        "ALONE": alone,
    }
    with on_device(own):
        return _from_moments(
            lambda trials: tuple(m[trials] for m in matrices),
            len(own),
            area,
            launch,
            per_trial,
            dtype,
            common,
        )


def _common(
    own: torch.Tensor,
    constant: torch.Tensor,
    marked: torch.Tensor,
    count: torch.Tensor,
    samples: int,
    dtype: str,
    tolerances: Mapping[str, float],
) -> dict[str, Any]:
    """Arguments that both kernels have."""
    limit, limit_double = least_trusted(samples, dtype, tolerances)
    return {
        "own": own,
        "constant": constant.contiguous().view(torch.uint8),
        "marked": marked,
        "count": count,
        "capacity": len(marked),
        "limit": limit,
        "limit_double": limit_double,
    }


def _from_series(
    past: torch.Tensor,
    future: torch.Tensor,
    area: Area,
    launch: Launch,
    per_trial: bool,
    dtype: str,
    common: dict[str, Any],
) -> torch.Tensor:
    trials, _, samples = past.shape
    together: int = common["GROUP"]
    atoms = len(common["MIRRORS"])
    grid = grid_for(area, trials, per_trial, launch, atoms, multiprocessors(past), together)
    out = empty(past, dtype, atoms, grid)
    mmi_series_kernel[(grid.programs,)](
        both=interleaved(past, future),
        out=out,
        trials=trials,
        samples=samples,
        DEPTH=launch.depth,
        **grid.arguments,
        **common,
    )
    return out if per_trial else total(out)


def _from_moments(
    matrices_of: _MatricesOf,
    at_once: int,
    area: Area,
    launch: Launch,
    per_trial: bool,
    dtype: str,
    common: dict[str, Any],
) -> torch.Tensor:
    """Moments of some trials at a time, atoms added up in order."""
    own: torch.Tensor = common["own"]
    trials = len(own)
    together: int = common["GROUP"]
    atoms = len(common["MIRRORS"])
    at_once = max(1, at_once // together) * together
    out = own.new_zeros(
        (atoms, trials, *area.shape) if per_trial else (atoms, *area.shape),
        dtype=getattr(torch, dtype),
    )
    for first in range(0, trials, at_once):
        these = slice(first, min(first + at_once, trials))
        number = these.stop - first
        past, future, lagged, *back = matrices_of(these)
        grid = grid_for(area, number, per_trial, launch, atoms, multiprocessors(own), together)
        # Copied, as a part need not begin at a multiple of 16 bytes, for which triton would compile
        # the kernel anew. Told where the part begins instead, it spills more.
        part = common | {name: common[name][these].clone() for name in ("own", "constant")}
        target = empty(own, dtype, atoms, grid)
        mmi_moments_kernel[(grid.programs,)](
            past=past,
            future=future,
            lagged=lagged,
            back=back[0] if back else lagged,
            out=target,
            trials=number,
            first_trial=first,
            **grid.arguments,
            **part,
        )
        if per_trial:
            out[:, these] = target
        else:
            out += total(target)
    return out
