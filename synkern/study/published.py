"""Published numbers to stand beside those of a study: data with sources, one file an experiment."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def published(experiment: str) -> dict[str, Any]:
    """Return the published numbers of an experiment.

    Args:
        experiment: its name.

    Returns:
        As the file `published/EXPERIMENT.json` has them: `unit`, `what`, and `tables`, each with
        `title`, `source`, `error` (how exactly they could be read) and `rows`, one a model.

    Raises:
        FileNotFoundError: there are none.
    """
    file = resources.files("synkern.study").joinpath("published", f"{experiment}.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
