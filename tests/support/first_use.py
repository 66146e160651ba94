"""First uses of the backend `cpu`, again and again in one process."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import synkern
from synkern.decomposition import backends
from synkern.kernels.cpu_backend import bindings as cpu_library
from synkern.kernels.cpu_backend import build as cpu_build

_TESTS = Path(__file__).parents[1]
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


def explained():
    """What `synkern backends` says of `cpu`: reason and remedy, or None."""
    found = cpu_library.obstacle()
    return None if found is None else str(found)


def left_out(match):
    """Assert that "auto" goes on, and says why, once; returns what it said."""
    with pytest.warns(UserWarning, match=f"backend 'cpu' is left out: .*{match}") as said:
        assert decompose() == "numpy"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decompose() == "numpy"
    assert len(said) == 1
    return str(said[0].message)


def python(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=_TESTS,
        env={**os.environ, "PYTHONPATH": str(_TESTS.parent), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def refuse(monkeypatch, function, path):
    """Let the system deny what root would be allowed."""
    allowed = getattr(os, function)

    def denied(asked, *arguments, **options):
        if str(asked) == str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return allowed(asked, *arguments, **options)

    monkeypatch.setattr(os, function, denied)


def libraries(cache):
    """Names of the files in the cache folder."""
    return [path.name for path in cache.iterdir()]
