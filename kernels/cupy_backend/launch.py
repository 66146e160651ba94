"""Grids, outputs and the list of marked pairs: from a problem to what its kernel leaves behind.

Nothing is tuned at a user's first call: tiles and blocks are those of `source.SHAPES`, the numbers
below are constants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..contract import Array, Library, Limits
from ..engine import waves
from ..engine.marks import complete
from .nvrtc import Launcher
from .problem import Problem, from_moments, moments
from .source import TOTALS_THREADS, TWO

FEWEST_NODES = 3
"""For the kernels: of two nodes alone, a tile would be empty but for one pair."""

MEASURED: dict[bool, tuple[float, float]] = {True: (2.95, 3.67), False: (4.47, 5.07)}
"""Milliseconds of Gaussian MMI in float64, by whether of `rtr` and `sts` alone: from the series and
through moments in memory, the library's products among them. An H100, all pairs of 1152 nodes, 60
trials, 99 pairs of samples (bench/results/h100.json), by products of 8 rows; those of 16 rows have
not been measured."""

MEASURED_ON = (9, 0)
"""Compute capability of that GPU."""

ESTIMATED: dict[bool, float] = {True: 0.93, False: 2.6}
"""The same from one series, not measured: the models of native/device/lags.cuh, 0.56 and 0.95,
times what `mmi_series` took there over its own (bench/results/gpu_counts.md), 1.64 and 2.7."""

_MEASURED_SAMPLES = 99
_MEASURED_PAIRS = 60 * 1152 * 1153 // 2
"""Pairs of samples; (trial, pair), the diagonal included."""

_RATE = 28.1
"""Float64 multiply-adds a picosecond of matrix products of that GPU, measured."""

_BANDWIDTH = 2.96
"""Bytes a picosecond of a copy, measured."""

CHUNK_TRIALS = 8
"""Trials of a chunk at least, so that the kernels can share logarithms between trials."""


@dataclass(frozen=True)
class Device:
    """What computes.

    Attributes:
        lib: whole-array operations.
        launcher: of the kernels.
        fewest_nodes: for the kernels; matrices of fewer nodes are left to the library.
    """

    lib: Library
    launcher: Launcher
    fewest_nodes: int = FEWEST_NODES

    def empty(self, shape: tuple[int, ...], dtype: str = "float64") -> Array:
        """Memory that a kernel writes."""
        return self.lib.xp.empty(shape, dtype)


def through_memory(
    sides: tuple[int, int],
    samples: int,
    tile: int,
    workspace: int,
    *,
    rectangle: bool,
    real: str = "double",
    capability: tuple[int, int] = MEASURED_ON,
    one_series: bool = False,
) -> bool:
    """Whether Gaussian MMI is faster from moments in memory than straight from the series.

    As measured on an H100 at 99 samples: float64 is not. To other numbers of samples by a model, in
    picoseconds for a pair and a trial: from the series four products of a pair at half of the
    measured rate; tiles of 16, whose operands cost twice the traffic, at a quarter. Through memory
    six by the vendor's library at 85 %; of a rectangle, which has no mirror image to be computed in
    vain, two products and 16 bytes less. So `rtr` and `sts` of all pairs and more than some 630
    samples go through memory, all atoms of more than 140; of a rectangle from 140 and 100 on.
    From one series, three products: never and more than 450; of a rectangle from 1,300 and 290 on.

    Float32 has products in float64 on GPUs of that kind, and goes as float64 does there. It goes
    through memory on no others, which may have one unit of float64 for 64 of float32.
    Nothing goes there if moments of one trial exceed the workspace.

    Args:
        sides: rows and columns of the matrices.
        samples: their number.
        tile: rows and columns of a tile.
        workspace: bytes.
        rectangle: whether the matrices are those of a rectangle.
        real: "double" or "float", of the arithmetic.
        capability: compute capability of the GPU.
        one_series: whether the other way is that from one series.
    """
    if _moments_size(sides, rectangle) > workspace:
        return False
    if real == "float" and capability != MEASURED_ON:
        return False
    two = tile >= TWO.tile
    series, moments = MEASURED[two]
    products = 4
    if one_series:
        series, products = ESTIMATED[two], 3
    more, each = samples - _MEASURED_SAMPLES, 1e9 / _MEASURED_PAIRS
    fused = series * each + products * more / _RATE / (0.5 if two else 0.25)
    stored = moments * each + 6 * more / _RATE / 0.85
    if rectangle:
        stored -= 2 * samples / _RATE / 0.85 + 16 / _BANDWIDTH
    return stored < fused


def _moments_size(sides: tuple[int, int], rectangle: bool) -> int:
    """Bytes of the moments of one trial."""
    return (4 if rectangle else 3) * 8 * sides[0] * sides[1]


def matrices(
    device: Device, given: Problem, per_trial: bool, limits: Limits
) -> tuple[Array, Array]:
    """Sums of the trusted pairs, and keys of the others.

    Args:
        device: what computes.
        given: kernel and arrays.
        per_trial: keep trials apart instead of summing over them.
        limits: bounds on the workspace and the list of marked pairs.

    Returns:
        (names, rows, columns), or (names, trials, rows, columns); int64 keys (trial * nodes + row)
        * nodes + column, sorted.
    """
    rectangle = given.rectangle is not None
    if given.kernel == "mmi_series" and through_memory(
        given.sides,
        given.samples[0],
        given.shape.tile,
        limits.workspace,
        rectangle=rectangle,
        real=given.real,
        capability=device.launcher.capability,
    ):
        return _marked(
            device, given, limits, lambda *marks: _in_parts(device, given, per_trial, limits, marks)
        )
    return _marked(
        device, given, limits, lambda *marks: _sums(device, given, per_trial, limits, 0, marks)
    )


def _marked(
    device: Device, given: Problem, limits: Limits, run: Callable[..., Array | None]
) -> tuple[Array, Array]:
    """What `run` returns of list and counter, if the kernel wants them; sorted keys of the list."""
    if not given.marks:
        return run(), device.lib.xp.zeros((0,), "int64")
    return complete(device.lib, given.constant, run, limits.capacity, "uint64")


def _sums(
    device: Device,
    given: Problem,
    per_trial: bool,
    limits: Limits,
    first_trial: int,
    marks: tuple[Array, ...],
) -> Array:
    """Sums of one launch, (names, rows, columns) or (names, trials, rows, columns)."""
    trials, names = len(given.constant), len(given.weights)
    dtype = {"double": "float64", "float": "float32"}[given.real]
    rows, columns = given.sides
    down, across = given.tiles
    tiles = down * (down + 1) // 2 if given.rectangle is None else down * across
    size = names * rows * columns * 8
    together = 1 if per_trial else _chunk_trials(device, given, tiles, size, limits)
    chunks = -(-trials // together)
    out = device.empty((names, chunks, rows, columns), dtype)
    arguments = given.arguments((out,), marks, together, first_trial)
    device.launcher.launch(given.matrices, chunks * tiles, given.shape.threads, arguments)
    if per_trial:
        return out
    return out.sum(1) if chunks > 1 else out[:, 0]


def _chunk_trials(device: Device, given: Problem, tiles: int, size: int, limits: Limits) -> int:
    """Trials summed by one block: fewer where else the device would not be busy."""
    trials, names = len(given.constant), len(given.weights)
    multiprocessors = device.launcher.multiprocessors
    wanted = -(-multiprocessors * waves.PROGRAMS // tiles)
    most = max(1, min(wanted, -(-trials // CHUNK_TRIALS), limits.workspace // size))
    slots = multiprocessors * waves.resident(given.shape.threads)
    return waves.chunk_trials(tiles, trials, names, slots=slots, most=most)


def _in_parts(
    device: Device, given: Problem, per_trial: bool, limits: Limits, marks: tuple[Array, ...]
) -> Array:
    """Moments of as many trials at a time as the workspace holds; parts are added in order."""
    trials = len(given.constant)
    size = _moments_size(given.sides, given.rectangle is not None)
    at_once = max(1, limits.workspace // size)
    found: list[Array] = []
    for first in range(0, trials, at_once):
        part = from_moments(given).of_trials(slice(first, first + at_once))
        sums = _sums(device, moments(device.lib, part), per_trial, limits, first, marks)
        if per_trial or not found:
            found.append(sums)
        else:
            found[0] += sums
    return device.lib.xp.concatenate(found, 1) if len(found) > 1 else found[0]


def band(
    device: Device,
    given: Problem,
    totals: Array,
    first_trial: int,
    rows: range,
    limits: Limits,
) -> Array:
    """Add some rows of tiles to sums by node.

    Args:
        device: what computes.
        given: of the trials in question.
        totals: (names + 3, chunks, nodes) float64 C-contiguous, changed in place.
        first_trial: number of the first trial.
        rows: of tiles.
        limits: bounds on the list of marked pairs.

    Returns:
        Keys of the pairs left out, sorted, as of `matrices`.
    """
    trials, nodes = given.constant.shape
    tile, (_, across) = given.shape.tile, given.tiles
    quantities, chunks, _ = totals.shape
    by_row = device.empty((quantities, chunks, across, len(rows) * tile))
    by_column = device.empty((quantities, chunks, len(rows), across * tile))

    def run(*marks: Array) -> None:
        arguments = given.arguments(
            (by_row, by_column),
            marks,
            trials // chunks,
            first_trial,
            (rows.start, len(rows), *given.places),
        )
        columns = across - rows.start if given.rectangle is None else across
        grid = chunks * len(rows) * columns
        device.launcher.launch(given.node_sums, grid, given.shape.threads, arguments)

    _, keys = _marked(device, given, limits, run)
    sizes = (quantities, chunks, nodes, tile, rows.start, len(rows), *given.span)
    grid = -(-totals.size // TOTALS_THREADS)
    device.launcher.launch(given.totals, grid, TOTALS_THREADS, (by_row, by_column, totals, *sizes))
    return keys
