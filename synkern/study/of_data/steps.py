"""What is computed at each lag: which steps there are, what they depend on, what they leave."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synkern._version import VERSION
from synkern.study.of_data.controls import excess_absent, excess_at, null_at
from synkern.study.of_data.decomposing import Arrays, Facts, decompose_at
from synkern.study.of_data.options import (
    DECOMPOSING,
    EXCESS,
    NULL,
    SURROGATES,
    DecomposeOptions,
)
from synkern.study.of_data.preparing import Prepared
from synkern.study.of_data.surrogates import Chosen
from synkern.study.options import names_for
from synkern.study.provenance import digest
from synkern.study.settings import NONE


class Step(NamedTuple):
    """One kind of computation at one lag."""

    kind: str
    tau: int

    @property
    def name(self) -> str:
        """What it is called in result.json and in messages."""
        return f"{self.kind} (lag {self.tau})"


@dataclass(frozen=True, eq=False)
class Work:
    """All that steps take: the options, the recording, and the null that was chosen."""

    options: DecomposeOptions
    found: Prepared
    null: Chosen

    @property
    def kinds(self) -> list[str]:
        """The kinds of steps that are asked for, in order."""
        kinds = [DECOMPOSING]
        kinds += [EXCESS] if excess_absent(self.options) is None else []
        return kinds + ([NULL] if self.null.name != NONE else [])

    @property
    def steps(self) -> list[Step]:
        """All of them, lag by lag."""
        return [Step(kind, tau) for tau in self.options.tau for kind in self.kinds]

    def key(self, step: Step) -> Facts:
        """Return all that the arrays of a step depend on."""
        names = names_for(DecomposeOptions, step.kind)
        key = {name: getattr(self.options, name) for name in names}
        if "null" in key:
            key["null"] = self.null.name
        if step.kind == NULL:
            key["null_draws"] = self.options.null_draws or SURROGATES
        groups = self.found.data.groups
        return key | {
            "tau": step.tau,
            "data": self.found.digest,
            "groups": None if groups is None else digest(list(groups)),
            "synkern": VERSION,
            "numpy": np.__version__,
        }

    def run(self, step: Step) -> tuple[Arrays, Facts]:
        """Compute a step."""
        options, found = self.options, self.found
        if step.kind == DECOMPOSING:
            return decompose_at(options, found, step.tau)
        of_control = excess_at if step.kind == EXCESS else null_at
        return of_control(options, found, step.tau, self.null)


def prefixed(tau: int, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return arrays under the names that tell their lag."""
    return {f"tau{tau}_{name}": array for name, array in arrays.items()}


def of_lag(tau: int, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return the arrays of one lag, under their names without it."""
    prefix = f"tau{tau}_"
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def environment() -> Facts:
    """Return the versions of what computes, and the machine."""
    packages = ("torch", "scipy", "pandas", "h5py", "pyarrow", "zarr", "nibabel", "nilearn", "mne")
    return {
        "synkern": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        **{p: v for p in packages if (v := _version(p)) is not None},
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
