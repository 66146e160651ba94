"""Who computes: this process, an executor of `concurrent.futures`, a client of dask.

Each hands out blocks, a few at a time, and yields those that are finished; scheduling, repeats and
lost workers are the business of the executors themselves.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import sys
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


def is_client(executor: Any) -> bool:
    """Whether it is a client of dask; imports nothing."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(executor, distributed.Client)


def check_executor(executor: Any) -> None:
    """Raise TypeError unless something can compute."""
    if executor is not None and not isinstance(executor, Executor) and not is_client(executor):
        raise TypeError(
            "executor must be None, an executor of concurrent.futures, or a "
            f"dask.distributed.Client; got {executor!r}"
        )


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
                running.add(executor.submit(run_block, task, number))
                if len(running) >= 2 * workers:
                    break
            if not running:
                return
            done, running = concurrent.futures.wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except concurrent.futures.BrokenExecutor as error:
        raise BlocksError(
            f"a worker of the executor died ({error}), of too little memory perhaps: give a "
            "smaller memory=, or fewer workers, and start again with a new executor"
        ) from error
    finally:
        for future in running:
            future.cancel()


def _by_dask(client: Any, task: Task, todo: Sequence[int]) -> Iterator[Done]:
    distributed: Any = sys.modules["distributed"]
    lost = (concurrent.futures.CancelledError, distributed.CancelledError, OSError, TimeoutError)
    try:
        threads = sum(client.nthreads().values()) or 1
        left = iter(todo)

        def submit(number: int) -> Any:
            key = f"synkern-block-{task.place.digest}-{number}"
            return client.submit(run_block, task, number, key=key, pure=False, retries=RETRIES)

        first = [submit(number) for _, number in zip(range(2 * threads), left, strict=False)]
        running = distributed.as_completed(first)
        for future in running:
            done = future.result()
            future.release()
            for number in left:
                running.add(submit(number))
                break
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
