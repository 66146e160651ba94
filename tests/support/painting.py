"""Figures that no test looks at stay unpainted: painting is most of the time of a tiny study."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from matplotlib.figure import Figure

# A picture of one point.
BLANK = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
)
_painting = Figure.savefig


@contextmanager
def unpainted() -> Iterator[None]:
    """Figures are made as ever, and their files hold a blank picture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _blank)
        yield


@contextmanager
def painted() -> Iterator[None]:
    """Within `unpainted`: as they are for a user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _painting)
        yield


def _blank(figure: Figure, file: Any, **given: Any) -> None:
    file.write(BLANK)
