"""Other programs that `bench.gpu.check` runs: processes from scratch, and NVIDIA's tools."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bench.gpu.journal import NotRunError
from bench.gpu.stage import Items
from bench.harness.records import ROOT

SECONDS = 55
PROFILER_SECONDS = 80
SANITIZER_SECONDS = 110
"""That one may take; `stages.STAGES` allows its item more."""


def python(script: str, **environment: str) -> str:
    """What a script prints in a new process.

    Raises:
        RuntimeError: it failed; the message is the end of what it wrote.
    """
    return program([sys.executable, "-W", "ignore", "-c", script], environment)


def program(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> str:
    """What a program prints.

    Raises:
        RuntimeError: it failed or took too long; the message is the end of what it wrote.
    """
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | dict(environment or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{command[0]}: not finished in {seconds:g} s") from None
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise RuntimeError(f"{command[0]}: exit status {done.returncode}:\n{said}")
    return done.stdout


def tool(name: str) -> str:
    """The path of a tool of NVIDIA.

    Raises:
        NotRunError: it is not there.
    """
    path = shutil.which(name)
    if path is None:
        raise NotRunError(f"{name} is not on the path")
    return path


def clean(check: str, said: str) -> bool:
    """Whether compute-sanitizer found nothing; racecheck says so in words of its own."""
    if check == "racecheck":
        return "RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)" in said
    return "ERROR SUMMARY: 0 errors" in said


def sanitized(script: str, kernels: str, checks: Sequence[str]) -> Items:
    """A script by itself, which fills the caches of compilers, then under compute-sanitizer.

    Args:
        script: to run.
        kernels: what the names of the kernels that are checked contain.
        checks: of compute-sanitizer.
    """

    def alone() -> dict[str, Any]:
        tool("compute-sanitizer")
        python(script)
        return {"passed": True}

    yield "without the sanitizer", alone
    for check in checks:
        yield check, functools.partial(_sanitized, script, kernels, check)


def _sanitized(script: str, kernels: str, check: str) -> dict[str, Any]:
    command = [tool("compute-sanitizer"), "--tool", check]
    command += ["--kernel-name", f"kernel_substring={kernels}"]
    command += [sys.executable, "-W", "ignore", "-c", script]
    said = program(command, seconds=SANITIZER_SECONDS)
    return {"passed": clean(check, said), check: said.strip().splitlines()[-5:]}
