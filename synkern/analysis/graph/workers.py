"""Independent tasks in this process or in several."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import Future, ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_context
from typing import Any, TypeVar

Task = TypeVar("Task")
Done = TypeVar("Done")

_AHEAD = 2
"""Tasks of each worker that are under way or waiting."""


def each(function: Callable[[Task], Done], tasks: Iterable[Task], workers: int) -> Iterator[Done]:
    """What a function of a module makes of each task, in their order.

    Processes and not threads: neither scipy's shortest paths nor scikit-network let another thread
    of Python run. They are spawned, not forked, as a process with running threads (OpenMP's) must
    not be forked.

    Args:
        function: of a module, so that another process finds it.
        tasks: that can be pickled; taken a few at a time, so that not all need to be there.
        workers: number of processes; 1: this one.
    """
    if workers == 1:
        yield from map(function, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: deque[Future[Done]] = deque()
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def check_kept(kept: MutableMapping[str, Any], name: str, *parts: bytes) -> None:
    """Note what pieces of work belong to, or see that those that are there belong to the same.

    Args:
        kept: pieces of work by name, see `synkern.analysis.graph.topology.networks`.
        name: that the note has.
        parts: all that the pieces depend on.

    Raises:
        ValueError: those that are there belong to something else.
    """
    found = sha256(b"|".join(parts)).hexdigest()
    if kept.setdefault(name, found) != found:
        raise ValueError(
            "kept has work of another call, with other matrices, trials or options; give what "
            "this call has left behind, or an empty dict"
        )
