"""Who computes: this process, an executor of `concurrent.futures`, a client of dask.

Each hands out blocks, a few at a time, and yields those that are finished; scheduling, repeats and
lost workers are the business of the executors themselves.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import math
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor
from typing import Any

from synkern.scale.errors import BlocksError
from synkern.scale.store import write_block
from synkern.scale.task import Task, compute, forget, run_block

Done = tuple[int, list[str]]
"""Number of a block that is finished, and what is to be said of it."""

RETRIES = 3
"""How often dask computes a block again whose worker failed."""

_LOOK = 1.0
"""Seconds after which workers are counted again."""


def is_client(executor: Any) -> bool:
    """Whether it is a client of dask; imports nothing."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(executor, distributed.Client)


def check_executor(executor: Any) -> None:
    """Check that something can compute.

    Raises:
        TypeError: it is of another kind.
        ValueError: it is closed.
    """
    if executor is not None and not isinstance(executor, Executor) and not is_client(executor):
        raise TypeError(
            "executor must be None, an executor of concurrent.futures, or a "
            f"dask.distributed.Client; got {executor!r}"
        )
    if is_client(executor) and executor.status == "closed":
        raise ValueError("executor is a client of dask that is closed; give one that is open")


def computed(executor: Any, task: Task, todo: Sequence[int]) -> Iterator[Done]:
    """Compute blocks, and yield them as they are finished.

    Raises:
        BlocksError: nobody is left to compute.
    """
    if executor is None:
        return _here(task, todo)
    if is_client(executor):
        return _by_dask(executor, task, todo)
    return _by_futures(executor, task, todo)


def _here(task: Task, todo: Sequence[int]) -> Iterator[Done]:
    """One block after another, each written while the next is computed."""
    waiting: tuple[Future[None], int, list[str]] | None = None
    with ThreadPoolExecutor(1) as writer, contextlib.ExitStack() as after:
        after.callback(forget)
        for number in todo:
            block, messages = compute(task, number)
            if waiting is not None:
                waiting[0].result()
                yield waiting[1:]
            written = writer.submit(write_block, task.place, task.grid, number, block)
            waiting = written, number, messages
            del block
        if waiting is not None:
            waiting[0].result()
            yield waiting[1:]


def _by_futures(executor: Executor, task: Task, todo: Sequence[int]) -> Iterator[Done]:
    workers = int(getattr(executor, "_max_workers", 0)) or 1
    left = iter(todo)
    running: set[Future[Done]] = set()
    try:
        while True:
            for number in left:
                running.add(_submitted(executor, task, number))
                if len(running) >= 2 * workers:
                    break
            if not running:
                return
            done, _ = concurrent.futures.wait(running, _LOOK, return_when=FIRST_COMPLETED)
            # Those that a shutdown cancels are not told of as done.
            done |= {future for future in running if future.cancelled()}
            running -= done
            for future in done:
                yield future.result()
    except concurrent.futures.CancelledError as error:
        said = str(error) or "it cancelled what it had"
        raise BlocksError(
            f"the executor takes no more work ({said}); start again with one that is open"
        ) from error
    except concurrent.futures.BrokenExecutor as error:
        raise BlocksError(
            f"a worker of the executor died ({error}), of too little memory perhaps: give a "
            "smaller memory=, or fewer workers, and start again with a new executor"
        ) from error
    finally:
        for future in running:
            future.cancel()


def _submitted(executor: Executor, task: Task, number: int) -> Future[Done]:
    """Hand a block to an executor; one that is shut down says so by a plain RuntimeError.

    Raises:
        CancelledError: it is shut down, as it cancels what it has then.
        BrokenExecutor: a worker died.
    """
    try:
        return executor.submit(run_block, task, number)
    except concurrent.futures.BrokenExecutor:
        raise
    except RuntimeError as error:
        raise concurrent.futures.CancelledError(str(error)) from error


def _by_dask(client: Any, task: Task, todo: Sequence[int]) -> Iterator[Done]:
    distributed: Any = sys.modules["distributed"]
    lost = (concurrent.futures.CancelledError, distributed.CancelledError, OSError, TimeoutError)
    left = iter(todo)
    running = distributed.as_completed(loop=client.loop)
    room, looked = 0, -math.inf
    try:
        while True:
            if time.monotonic() - looked > _LOOK:  # workers may have come, as they do in a queue
                room, looked = 2 * (sum(client.nthreads().values()) or 1), time.monotonic()
            for number in itertools.islice(left, max(0, room - running.count())):
                # Of this call alone: dask takes one key for one result, whatever the store.
                key = f"synkern-block-{task.place.run}-{number}"
                running.add(
                    client.submit(run_block, task, number, key=key, pure=False, retries=RETRIES)
                )
            if running.is_empty():
                return
            future = next(running)
            done = future.result()
            future.release()
            yield done
    except distributed.KilledWorker as error:
        raise BlocksError(
            f"workers died over the same block again and again ({error}), of too little memory "
            "perhaps: give a smaller memory=, or workers more, and start again"
        ) from error
    except lost as error:
        raise BlocksError(
            f"the scheduler of dask is lost ({type(error).__name__}: {error}); start another and "
            "call again with a new client, which goes on where this run was"
        ) from error
