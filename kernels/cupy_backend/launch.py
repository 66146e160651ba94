"""Grids, outputs and the list of marked pairs: from a problem to what its kernel leaves behind.

Nothing is tuned at a user's first call: tiles and blocks are those of `source.SHAPES`, the numbers
below are constants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..contract import Array
from .library import DeviceLibrary
from .nvrtc import Launcher
from .problem import Problem, from_moments, moments
from .source import TOTALS, TOTALS_THREADS, TWO

CAPACITY = 1 << 16
"""Of the list of marked pairs at first; if it overflows, the kernel runs again."""

BLOCKS_PER_MULTIPROCESSOR = 8
"""Chunks of trials are cut until there are as many, so that the last wave, which is not full,
costs little. Modelled, not yet measured."""

CHUNK_TRIALS = 8
"""Trials of a chunk at least, so that the kernels can share logarithms between trials."""

WORKSPACE = 1 << 29
"""Bytes that moments, chunks of sums or a band of node sums may take at once."""


@dataclass(frozen=True)
class Device:
    """What computes.

    Attributes:
        lib: whole-array operations.
        launcher: of the kernels.
    """

    lib: DeviceLibrary
    launcher: Launcher

    def empty(self, shape: tuple[int, ...], dtype: str = "float64") -> Array:
        """Memory that a kernel writes."""
        return self.lib.xp.empty(shape, dtype)


def through_memory(nodes: int, samples: int, tile: int) -> bool:
    """Whether Gaussian MMI is faster from moments in memory than straight from the series.

    By a model of an H200, not yet measured; picoseconds for a pair and a trial, float64. From the
    series: four products of a pair at half of 33.5 T multiply-adds a second; tiles of 16, whose
    operands cost twice the traffic, at a quarter. Through memory: six by the vendor's library at
    85 %, then 48 bytes written and 32 read at 4.8 TB/s. So `rtr` and `sts` of more than some 600
    samples go through memory, and all atoms of more than 60. Not where moments of one trial exceed
    the workspace.
    """
    fused = 4 * samples / 33.5 / (0.5 if tile >= TWO.tile else 0.25)
    stored = 6 * samples / 33.5 / 0.85 + (48 + 32) / 4.8
    return 3 * 8 * nodes * nodes <= WORKSPACE and stored < fused


def matrices(device: Device, given: Problem, per_trial: bool) -> tuple[Array, Array]:
    """Sums of the trusted pairs, and keys of the others.

    Returns:
        (names, nodes, nodes), or (names, trials, nodes, nodes); int64 keys (trial * nodes + row) *
        nodes + column, sorted.
    """
    nodes = given.constant.shape[1]
    series = given.kernel == "mmi_series"
    if series and through_memory(nodes, given.samples[0], given.shape.tile):
        return _marked(device, given, lambda marks: _in_parts(device, given, per_trial, marks))
    return _marked(device, given, lambda marks: _sums(device, given, per_trial, 0, marks))


def _marked(
    device: Device, given: Problem, run: Callable[[tuple[Array, ...]], Array]
) -> tuple[Array, Array]:
    """What `run` returns, and sorted keys of what it marks; again if the list was too short."""
    xp = device.lib.xp
    if not given.marks:
        return run(()), xp.zeros((0,), "int64")
    capacity = CAPACITY
    while True:
        marked, count = device.empty((capacity,), "int64"), xp.zeros((1,), "uint64")
        found = run((marked, count))
        length = int(count[0])
        if length <= capacity:
            return found, xp.sort(marked[:length]) if length else marked[:0]
        capacity = length


def _sums(
    device: Device, given: Problem, per_trial: bool, first_trial: int, marks: tuple[Array, ...]
) -> Array:
    """One launch; (names, nodes, nodes) or (names, trials, nodes, nodes)."""
    trials, nodes = given.constant.shape
    names, tile = len(given.weights), given.shape.tile
    dtype = {"double": "float64", "float": "float32"}[given.real]
    tiles = -(-nodes // tile)
    pairs = tiles * (tiles + 1) // 2
    together = 1 if per_trial else _chunk_trials(device, trials, pairs, names * nodes * nodes * 8)
    chunks = -(-trials // together)
    out = device.empty((names, chunks, nodes, nodes), dtype)
    arguments = given.arguments((out,), marks, together, first_trial)
    device.launcher.launch(given.matrices, chunks * pairs, given.shape.threads, arguments)
    if per_trial:
        return out
    return out.sum(1) if chunks > 1 else out[:, 0]


def _chunk_trials(device: Device, trials: int, tiles: int, size: int) -> int:
    """Trials summed by one block: fewer where else the device would not be busy."""
    wanted = -(-device.launcher.multiprocessors * BLOCKS_PER_MULTIPROCESSOR // tiles)
    chunks = max(1, min(wanted, -(-trials // CHUNK_TRIALS), WORKSPACE // size))
    return -(-trials // chunks)


def _in_parts(device: Device, given: Problem, per_trial: bool, marks: tuple[Array, ...]) -> Array:
    """Moments of as many trials at a time as the workspace holds; parts are added in order."""
    trials, nodes = given.constant.shape
    at_once = max(1, WORKSPACE // (3 * 8 * nodes * nodes))
    found: list[Array] = []
    for first in range(0, trials, at_once):
        part = from_moments(given).of_trials(slice(first, first + at_once))
        sums = _sums(device, moments(device.lib, part), per_trial, first, marks)
        if per_trial or not found:
            found.append(sums)
        else:
            found[0] += sums
    return device.lib.xp.concatenate(found, 1) if len(found) > 1 else found[0]


def band(
    device: Device, given: Problem, totals: Array, first_trial: int, first: int, rows: int
) -> Array:
    """Add some rows of tiles to sums by node.

    Args:
        device: what computes.
        given: of the trials in question.
        totals: (names + 3, chunks, nodes) float64 C-contiguous, changed in place.
        first_trial: number of the first trial.
        first: row of tiles.
        rows: number of these.

    Returns:
        Keys of the pairs left out, sorted, as of `matrices`.
    """
    trials, nodes = given.constant.shape
    tile = given.shape.tile
    tiles = -(-nodes // tile)
    quantities, chunks, _ = totals.shape
    by_row = device.empty((quantities, chunks, tiles, rows * tile))
    by_column = device.empty((quantities, chunks, rows, tiles * tile))

    def run(marks: tuple[Array, ...]) -> None:
        arguments = given.arguments(
            (by_row, by_column), marks, trials // chunks, first_trial, (first, rows, *given.places)
        )
        grid = chunks * rows * (tiles - first)
        device.launcher.launch(given.node_sums, grid, given.shape.threads, arguments)

    _, keys = _marked(device, given, run)
    arguments = (by_row, by_column, totals, quantities, chunks, nodes, tile, first, rows)
    device.launcher.launch(TOTALS, -(-totals.size // TOTALS_THREADS), TOTALS_THREADS, arguments)
    return keys
