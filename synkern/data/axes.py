"""Which axis of an array is trials, which time, which nodes."""

from __future__ import annotations

import re
from collections.abc import Hashable

import numpy as np

from synkern._names import role_of
from synkern.data.errors import DataError
from synkern.data.found import Found

ROLES = ("subject", "trial", "time", "node")

_SUBJECT = {"subject", "subjects", "sub", "participant", "participants", "subj"}


def told(axes: str) -> tuple[str, ...]:
    """The roles that the option `axes` names.

    Raises:
        ValueError: a word that is none, one twice, or no time or node.
    """
    words = re.split(r"[\s,]+", axes.strip())
    found = tuple(role_in(word) or word for word in words)
    unknown = [one for one in found if one not in ROLES]
    if unknown or len({*found}) < len(found) or not {"time", "node"} <= {*found}:
        wrong = f", where {unknown[0]!r} is unknown" if unknown else ""
        raise ValueError(
            f"axes = {axes!r}{wrong}; give time and node, each once, and trial or subject where "
            "the data have them, with commas between: time,node or trial,node,time"
        )
    return found


def role_in(name: Hashable) -> str | None:
    """What an axis of this name is, of `ROLES`; None if the name does not say."""
    return "subject" if str(name).lower() in _SUBJECT else role_of(name)


def settle(found: Found, axes: str | None, named_nodes: int | None) -> tuple[str, ...]:
    """The role of each axis of an array; what was decided goes to its notes.

    Args:
        found: the array.
        axes: the option.
        named_nodes: how many nodes the user has named, if any.

    Raises:
        DataError: the axes are not told, and the rule is not safe to apply.
    """
    shape = found.values.shape
    if axes is not None:
        roles = told(axes)
        if len(roles) != len(shape):
            raise DataError(
                f"{found.what} has {len(shape)} axes, of shape {shape}, and axes = {axes!r} names "
                f"{len(roles)}; name each axis, or choose another array by variable="
            )
        if found.axes is not None and found.axes != roles:
            found.notes.append(f"axes {found.axes} of the file are read as {roles}, as told")
        return roles
    if found.axes is not None:
        return found.axes
    if len(shape) not in (2, 3):
        four = "; name all by axes=, such as subject,trial,time,node" if len(shape) == 4 else ""
        raise DataError(
            f"{found.what} has {len(shape)} axes, of shape {shape}; a series has two or three, "
            f"time and nodes or trials, time and nodes{four}"
        )
    if named_nodes is not None and shape[-1] != named_nodes and shape[-2] == named_nodes:
        found.notes.append(
            f"axis {len(shape) - 2} of shape {shape} is taken for the nodes, as it is as long as "
            "the list of their names"
        )
        return (*(("trial",) if len(shape) == 3 else ()), "node", "time")
    rule = ("trial", "time", "node")[-len(shape) :]
    if shape[-1] > shape[-2]:
        turned = (*rule[:-2], "node", "time")
        raise DataError(
            f"{found.what} has the shape {shape}, which as {','.join(rule)} would be "
            f"{shape[-2]} samples of {shape[-1]} nodes: more nodes than samples, as if it were "
            f"turned; give axes={','.join(turned)!r}, or axes={','.join(rule)!r} if that is right"
        )
    if len(shape) == 3 and shape[0] > shape[1]:
        raise DataError(
            f"{found.what} has the shape {shape}, which as {','.join(rule)} would be {shape[0]} "
            f"trials of {shape[1]} samples: its longest axis may be time; give "
            f"axes='time,node,trial', or axes={','.join(rule)!r} if that is right"
        )
    found.notes.append(f"the axes, of shape {shape}, are taken for {', '.join(rule)}")
    return rule


def arranged(found: Found, roles: tuple[str, ...]) -> Found:
    """Put the axes in the order trial, time, node; without a copy, but of four axes.

    Returns:
        `found` with three axes, whose `subjects` are filled in from an axis of them.
    """
    order = [roles.index(role) for role in ROLES if role in roles]
    values = found.values.transpose(order)
    present = [role for role in ROLES if role in roles]
    if "subject" in present:
        many = values.shape[0]
        runs = values.shape[1] if "trial" in present else 1
        names = found.subjects if found.subjects is not None else [str(k) for k in range(many)]
        found.subjects = [str(name) for name in np.repeat(np.asarray(names, str), runs)]
        if "trial" not in present:
            found.trial_names = found.subjects
        elif found.trial_names is not None and len(found.trial_names) == runs:
            found.trial_names = [f"{s}:{t}" for s in names for t in found.trial_names]
    if values.ndim == 2:
        values = values[None]
    elif values.ndim == 4:
        values = values.reshape(-1, *values.shape[2:])
    found.values, found.axes = values, ("trial", "time", "node")
    return found
