"""Where the time of a study goes: that of `make demo`, in a folder of its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

from synkern.study.run import run_study


def study(say: Callable[[str], None], **options: Any) -> dict[str, Any]:
    """Seconds of each stage of a study from nothing, in order, and of the whole."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = run_study("smollm2-135m", out=folder, progress=False, **options)
        whole = time.perf_counter() - start
    seconds = {
        f"{stage}: {part}": value
        for stage, facts in done.description["stages"].items()
        for part, value in facts["seconds"].items()
    }
    seconds |= {"report": done.description["seconds"]["report"]}
    for stage, value in seconds.items():
        say(f"{stage}: {value:.1f} s")
    facts = done.description["stages"]["analysis (trained)"]
    kept = ("trials", "samples", "nodes", "decompositions", "backend_that_ran")
    return {
        "model": "smollm2-135m",
        **{name: facts[name] for name in kept},
        "seconds": seconds,
        "other": whole - sum(seconds.values()),
        "whole": whole,
    }
