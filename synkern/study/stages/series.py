"""What stages do with recorded series: prepare them, put them on a device, decompose them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synkern import decomposition
from synkern._faces import Later
from synkern._warnings import collected
from synkern.models.options import ZERO_FILLED
from synkern.study.settings import NONE, Settings

if TYPE_CHECKING:
    import torch
else:
    torch = Later("torch")

# A decomposition that takes longer than this, in seconds, times the draws, is announced.
_LONG = 60.0


def prepared(settings: Settings, recorded: NDArray[Any]) -> NDArray[Any]:
    """Return the series to decompose, (trials, time, nodes): the recorded ones after `detrend`."""
    if settings.detrend == NONE:
        return recorded
    step: Any = settings.detrend
    return np.asarray(decomposition.PREPROCESSING[step](recorded))


def for_backend(settings: Settings, series: NDArray[Any]) -> Any:
    """Return the series where the backend of the settings takes it: on the GPU, or as it is."""
    backends = [b for b in decomposition.BACKENDS if settings.backend in ("auto", b.name)]
    on_gpu = settings.on_gpu and any("cuda" in b.status().devices for b in backends)
    if not on_gpu:
        return series
    return torch.from_numpy(series).to(settings.device)


def decompose(
    settings: Settings, series: NDArray[Any]
) -> tuple[decomposition.PhiIDResult, list[str]]:
    """Return all pairs of the series decomposed, every trial or pooled, and what it warned of.

    On the GPU where both the model and the backend can run there, else on the host.
    """
    average: Any = None if settings.average == "trials" else settings.average
    with collected() as messages:
        result = decomposition.phiid(
            for_backend(settings, series), average=average, **settings.estimator
        )
    return result, _not_meant(settings, messages)


def decompose_by_node(
    settings: Settings, series: NDArray[Any]
) -> tuple[decomposition.NodeMeans, list[str]]:
    """Return the means over the pairs of each node in every trial, and what it warned of.

    On the GPU or the host, as `decompose`.
    """
    with collected() as messages:
        result = decomposition.phiid_nodes(
            for_backend(settings, series), average=None, **settings.estimator
        )
    return result, _not_meant(settings, messages)


def _not_meant(settings: Settings, messages: list[str]) -> list[str]:
    """The warnings of what was not meant: nodes that are 0 when idle are to be made two states."""
    if (settings.nodes, settings.signal) not in ZERO_FILLED:
        return messages
    return [message for message in messages if "take more than two levels" not in message]


def announce(settings: Settings, label: str, seconds: float, times: int) -> None:
    """Say that something takes long, if it does: as many seconds so many times."""
    if seconds * times > _LONG:
        settings.say(f"{label}: {times} decompositions, about {seconds * times / 60:.0f} min")
