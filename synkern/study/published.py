"""Published numbers to stand beside those of a study: data with sources, one file a subject."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def published(subject: str) -> dict[str, Any]:
    """Return the published numbers of an experiment, or the profiles that a comparison can take.

    Args:
        subject: the name of the experiment, or `profiles`.

    Returns:
        As the file `published/SUBJECT.json` has them. Of an experiment: `unit`, `what`, and
        `tables`, each with `title`, `source`, `error` (how exactly they could be read) and `rows`,
        one a model or a condition. Of profiles: `source`, `error`, `ranking`, and `profiles` by
        name.

    Raises:
        FileNotFoundError: there are none.
    """
    file = resources.files("synkern.study").joinpath("published", f"{subject}.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
