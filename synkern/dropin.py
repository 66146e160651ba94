"""`calc_PhiID`: the call and the return of phyid, one pair at a time, pointwise in time.

For all pairs of many nodes use `synkern.phiid`, whose averages are the means of these.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

import synkern._checks as check
from synkern.kernels.lattice import ATOMS, moebius_matrix
from synkern.kernels.segments import Segments, standardise
from synkern.kernels.stable import UNRESOLVED, Outcome, lambdas_from_data

Local = npt.NDArray[np.float64]  # (samples,), a value for each pair of times t, t + tau

# phyid's names for the variables, in its order, and for sources and targets of an information.
_SINGLES = ("p1", "p2", "t1", "t2")
_ENTROPIES = tuple(
    "".join(members)
    for members in (
        *((name,) for name in _SINGLES),
        *itertools.combinations(_SINGLES, 2),
        *itertools.combinations(_SINGLES, 3),
        _SINGLES,
    )
)
_SOURCES = {"x": "p1", "y": "p2", "xy": "p1p2"}
_TARGETS = {"a": "t1", "b": "t2", "ab": "t1t2"}


def calc_PhiID(  # noqa: N802 (phyid's name)
    src: npt.ArrayLike,
    trg: npt.ArrayLike,
    tau: int,
    kind: str = "gaussian",
    redundancy: str = "MMI",
) -> tuple[dict[str, Local], dict[str, Any]]:
    """Pointwise ΦID of two series, by the call and with the return of `phyid.calculate`.

    A local information is the log-ratio of fitted Gaussian densities at one sample; its mean over
    samples is the information itself. The MMI redundancy is, pointwise, the local information of
    the source whose mean is least.

    Args:
        src: first series, (time,), real and finite.
        trg: second series, as long.
        tau: lag in samples.
        kind: "gaussian".
        redundancy: "MMI".

    Returns:
        `atoms_res`: by atom name, float64 (time - tau,), nats. `calc_res`: `h_res`, the 15 local
        entropies of the variables scaled to unit variance; `I_res`, the nine local informations;
        `R_res`, the six redundancies; `rtr`, the double redundancy.

        Where phyid raises or returns NaN by underflow: series that coincide give synergy 0, as one
        of them is dropped; a constant series, and a future that the past determines, give NaN
        everywhere. All three warn.

    Raises:
        ValueError: series of different length, not finite, too short for tau; unknown options.
    """
    check.choice("kind", kind, ("gaussian",))
    check.choice("redundancy", redundancy, ("MMI",))
    tau = check.lag(tau)
    first, second = np.asarray(src, np.float64), np.asarray(trg, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            "src and trg must be two series of one length, (time,) each; "
            f"got shapes {first.shape} and {second.shape}"
        )
    series = check.series(np, np.stack([first, second], axis=-1), tau)

    entropy = _local_entropies(standardise(np, series, tau))
    information = {
        source + target: entropy[p] + entropy[t] - entropy[p + t]
        for source, p in _SOURCES.items()
        for target, t in _TARGETS.items()
    }
    cumulative = _cumulative(information)
    atoms = moebius_matrix() @ np.stack([cumulative[name] for name in ATOMS])
    return dict(zip(ATOMS, atoms, strict=True)), {
        "h_res": {f"h_{name}": h for name, h in entropy.items()},
        "I_res": {
            f"I_{name}": information[name.replace("t", "", 1)]
            for name in ["xytab", "xta", "xtb", "yta", "ytb", "xyta", "xytb", "xtab", "ytab"]
        },
        "R_res": {
            "R_xyta": cumulative["rtx"],
            "R_xytb": cumulative["rty"],
            "R_xytab": cumulative["rts"],
            "R_abtx": cumulative["xtr"],
            "R_abty": cumulative["ytr"],
            "R_abtxy": cumulative["str"],
        },
        "rtr": cumulative["rtr"],
    }


def _local_entropies(segments: Segments) -> dict[str, Local]:
    """Local entropies of the 15 sets of variables of unit variance, by orthogonal factorisation.

    With Q R the factorisation of the centred unit vectors of a set, log det of its correlation
    matrix is 2 sum log |R_kk|, and the Mahalanobis distance of sample t is (samples - 1) |Q_t|^2,
    so no density underflows and no matrix is inverted.
    """
    past, future = segments.past[0], segments.future[0]
    columns = {"p1": past[0], "p2": past[1], "t1": future[0], "t2": future[1]}
    samples = past.shape[-1]
    outcome, stands_for = _degeneracy(segments)
    if outcome is not None:
        warnings.warn(f"the pair is degenerate: {outcome.name.lower()}", UserWarning, stacklevel=3)
    if outcome in (Outcome.CONSTANT, Outcome.DETERMINISTIC):
        return {name: np.full(samples, np.nan) for name in _ENTROPIES}

    entropies = {}
    for name in _ENTROPIES:
        members = dict.fromkeys(stands_for[name[k : k + 2]] for k in range(0, len(name), 2))
        q, r = np.linalg.qr(np.stack([columns[member] for member in members], axis=-1))
        log_determinant = 2 * np.log(np.abs(np.diagonal(r))).sum()
        distance = (samples - 1) * (q * q).sum(-1)
        constant = len(members) * np.log(2 * np.pi) + log_determinant
        entropies[name] = 0.5 * (constant + distance)
    return entropies


def _degeneracy(segments: Segments) -> tuple[Outcome | None, Mapping[str, str]]:
    """Outcome of the pair, and for each variable the one that stands for it."""
    itself = {name: name for name in _SINGLES}
    if segments.constant.any():
        return Outcome.CONSTANT, itself
    sides = segments.past[0], segments.future[0]
    _, deterministic, duplicate = lambdas_from_data(
        np, *(side[None, node] for side in sides for node in range(2))
    )
    if deterministic[0]:
        return Outcome.DETERMINISTIC, itself
    if not duplicate[0]:
        return None, itself
    for side, (first, second) in zip("pt", sides, strict=True):
        if np.linalg.norm(second - first * (first @ second)) < UNRESOLVED:
            itself[f"{side}2"] = f"{side}1"
    return Outcome.DUPLICATE, itself


def _cumulative(information: Mapping[str, Local]) -> dict[str, Local]:
    """The 16 cumulative quantities of the product lattice; redundancies by least mean."""

    def least(*names: str) -> Local:
        # phyid takes the last of two equal means, and the first of four.
        order = names if len(names) > 2 else names[::-1]
        return information[min(order, key=lambda name: information[name].mean())]

    return {
        "rtr": least("xa", "xb", "ya", "yb"),
        "rtx": least("xa", "ya"),
        "rty": least("xb", "yb"),
        "rts": least("xab", "yab"),
        "xtr": least("xa", "xb"),
        "xtx": information["xa"],
        "xty": information["xb"],
        "xts": information["xab"],
        "ytr": least("ya", "yb"),
        "ytx": information["ya"],
        "yty": information["yb"],
        "yts": information["yab"],
        "str": least("xya", "xyb"),
        "stx": information["xya"],
        "sty": information["xyb"],
        "sts": information["xyab"],
    }
