"""Independent tasks in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Task = TypeVar("Task")
Done = TypeVar("Done")


def each(function: Callable[[Task], Done], tasks: Sequence[Task], workers: int) -> Iterator[Done]:
    """What a function of a module makes of each task, in their order.

    Processes and not threads: neither scipy's shortest paths nor scikit-network let another thread
    of Python run. They are spawned, not forked, as a process with running threads (OpenMP's) must
    not be forked.

    Args:
        function: of a module, so that another process finds it.
        tasks: that can be pickled.
        workers: number of processes; 1: this one.
    """
    if workers == 1:
        yield from map(function, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, tasks)
