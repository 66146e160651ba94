"""Labels of nodes or of trials, as numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern._arrays import to_numpy


def numbered(given: Any, count: int, *, argument: str, what: str) -> npt.NDArray[np.int64]:
    """(count,) the number of each label, in the order in which they first come.

    Args:
        given: a label for each, in order.
        count: how many there are to be.
        argument: name of what is given, for messages.
        what: "node" or "trial", likewise.

    Raises:
        TypeError: they have no order, or are not labels.
        ValueError: not one for each, or missing ones.
    """
    labels = _listed(given, argument, what)
    if len(labels) != count:
        raise ValueError(
            f"{argument} must hold a label for each {what}; got {len(labels)} for {count} {what}s"
        )
    missing = [k for k, label in enumerate(labels) if _is_missing(label)]
    if missing:
        raise ValueError(
            f"{argument} has no label for {len(missing)} of {count} {what}s, the first "
            f"{missing[:5]}; give them one, or leave these {what}s out of the series"
        )
    numbers = {label: k for k, label in enumerate(dict.fromkeys(labels))}
    return np.array([numbers[label] for label in labels], np.int64)


def _listed(given: Any, argument: str, what: str) -> list[Any]:
    # A set has no order, and a list of a mapping is that of its keys.
    if isinstance(given, Set | Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"{argument} must be a label for each {what}, a list; got {given!r}")
    # An array of NumPy's may have a mask, which a list of it keeps.
    other = hasattr(given, "__dlpack__") and not isinstance(given, np.ndarray)
    labels = list(to_numpy(given) if other else given)
    for k, label in enumerate(labels):
        if not isinstance(label, Hashable) and label is not np.ma.masked:
            raise TypeError(
                f"{argument} must be a label for each {what}; that of {what} {k} is {label!r}, "
                "which is none: a number or a text is"
            )
    return labels


def _is_missing(label: Any) -> bool:
    """None, NaN, and the NA and NaT of pandas: what is not even equal to itself, or says so."""
    if label is None:
        return True
    same = label == label  # noqa: PLR0124
    return not isinstance(same, bool | np.bool_) or not same
