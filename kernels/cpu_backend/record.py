"""What the registry knows of the backend `cpu`, and whether it runs here."""

from __future__ import annotations

from ..backend import Backend, Status
from .backend import run
from .bindings import load, obstacle
from .compiled import refuses
from .compiled_samples import at_samples


def status() -> Status:
    """Whether the library is there or can be built, as far as known without building it."""
    found = obstacle()
    if found is None:
        return Status(("cpu",))
    return Status((), found.why, found.remedy, found.broken)


BACKEND = Backend(
    name="cpu",
    summary="compiled for this machine at first use; vectors of pairs, threads over tiles",
    arrays="numpy",
    run=run,
    status=status,
    automatic=("cpu",),
    refuses=refuses,
    shares=("torch",),
    pointwise=at_samples,
    prepare=load,
)
