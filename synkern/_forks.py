"""Torch in a process that was forked, where the threads of its parent do not exist."""

from __future__ import annotations

import os
import sys

from synkern._warnings import warn


def one_thread_after_fork() -> None:
    """Keep torch to one thread in a process that was forked, where its others do not exist.

    OpenMP does not notice, and waits for them without end. Called once in each process, before the
    first use of torch, so that who knows better can set the number again.

    Warns:
        UserWarning: the number of torch's threads was lowered.
    """
    if os.getpid() == _process[0]:
        return
    _process[0] = os.getpid()
    torch = sys.modules["torch"]
    threads = torch.get_num_threads()
    if threads > 1:
        torch.set_num_threads(1)
        warn(
            f"this process was forked, and torch's {threads} threads are not in it: torch now uses "
            "one here, as it would wait for the others without end if the parent has used them. "
            "Call torch.set_num_threads(1) first in the process, or start it by spawn or "
            "forkserver; NumPy arrays need no torch"
        )


def _forked_by_multiprocessing() -> bool:
    """Whether this process was forked, perhaps before this module was imported."""
    multiprocessing = sys.modules.get("multiprocessing")  # forked with the rest, if by it
    if multiprocessing is None or multiprocessing.parent_process() is None:
        return False
    own = getattr(multiprocessing.current_process(), "_start_method", None)
    return bool((own or multiprocessing.get_start_method()) == "fork")


_process = [0 if _forked_by_multiprocessing() else os.getpid()]
"""The process whose threads torch has, or that has been seen to; a list to be changed."""
