"""First uses of the backend `cpu`, again and again in one process."""

from pathlib import Path

import numpy as np

import synkern
from synkern import backends
from synkern.kernels import cpu_build, cpu_library

SERIES = np.random.default_rng(0).standard_normal((50, 3))


def forget():
    """Let the next call find the library as the first of a new process does."""
    backends._SAID.clear()
    backends._FAILED.clear()
    cpu_library.load.cache_clear()
    for cached in (cpu_build._digest, cpu_build.flags, cpu_build._version_or_failure):
        cached.cache_clear()


def decompose(backend="auto"):
    """The backend that a new process takes."""
    return synkern.phiid(SERIES, backend=backend).backend


def compiler(folder, does, version="echo mine 1.0"):
    """A compiler that does what a shell script says; $output is the file it is to write.

    Each compilation adds a line to folder/runs, each question for the version one to
    folder/versions.
    """
    path = folder / "c++"
    path.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = --version ]; then echo run >> "{folder}/versions"; {version}; exit; fi\n'
        f'echo run >> "{folder}/runs"\n'
        'for word; do [ "$before" = -o ] && output=$word; before=$word; done\n'
        f"{does}\n"
    )
    path.chmod(0o755)
    return path


def runs(folder, file="runs"):
    """How often the compiler ran."""
    path = Path(folder) / file
    return len(path.read_text().splitlines()) if path.exists() else 0
