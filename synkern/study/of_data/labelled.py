"""The results as one labelled data set, for xarray, NetCDF and zarr."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray

from synkern.kernels import ATOMS, long_name
from synkern.study.of_data.result import Decomposition

_ABOUT_NODES = {
    "synergy": "mean sts over the pairs of the node",
    "redundancy": "mean rtr over the pairs of the node",
    "mean_difference": "mean of sts - rtr over the pairs of the node",
    "rank_difference": "rank of mean synergy minus rank of mean redundancy",
    "balance": "mean of sts / (sts + rtr) over the pairs of the node",
    "persistence": "correlation of the node with itself at the lag",
    "excess": "mean over the pairs of sts less that of two AR(1) nodes of the same persistence",
}
_WITHOUT_UNIT = {"rank_difference", "balance", "persistence"}
_ABOUT_NULL = {
    "p": "two-sided p value against the null",
    "q": "p value adjusted for the number of pairs (Benjamini and Hochberg)",
    "mean": "mean over the surrogates of the null",
    "z": "distance from the mean of the surrogates in their standard deviations",
}
_SPACES = {"mni": ("mm", "MNI"), "scanner": ("mm", "scanner"), "head": ("m", "head")}


def labelled(found: Decomposition) -> xarray.Dataset:
    """Return the variables of all lags along `tau`, over `x` and `y` (pairs) and `node`.

    Dimensions: `tau` (samples), `x` and `y` (first and second node of a pair), `node`, `unit`
    (subject, or trial where there are no subjects) and `end` (of an interval).
    """
    data = found.data
    names = list(found.node_names)
    coordinates: dict[str, Any] = {
        "tau": ("tau", list(found.lags), {"units": "samples"}),
        **{axis: (axis, names) for axis in ("x", "y", "node")},
        "unit": ("unit", list(data["units"])),
        "end": ("end", ["low", "high"]),
    }
    if data["step"] is not None:
        lags = np.array(found.lags) * data["step"]
        coordinates["lag"] = ("tau", lags, {"units": "s"})
    if found.groups is not None:
        coordinates["group"] = ("node", list(found.groups))
    where = found.coordinates
    if where is not None:
        unit, space = _SPACES[data["space"]]
        for k, axis in enumerate("xyz"):
            about = {"units": unit, "space": space}
            coordinates[f"node_{axis}"] = ("node", where[:, k], about)
    return xarray.Dataset(_variables(found), coords=coordinates, attrs=_about(found))


def _variables(found: Decomposition) -> dict[str, Any]:
    variables: dict[str, Any] = {}
    for name in found.at(found.lags[0]):
        stacked = np.stack([found.at(tau)[name] for tau in found.lags])
        dims, about = _described(name, found.unit)
        variables[name.removeprefix("node_")] = (("tau", *dims), stacked, about)
    return variables


def _described(name: str, unit: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Dimensions after the lag, and attributes."""
    pair, of_unit = ("x", "y"), {"units": unit}
    if name in ATOMS:
        return pair, {**of_unit, "long_name": long_name(name)}
    if name == "excess_sts":
        return pair, {**of_unit, "long_name": "synergy beyond persistence"}
    if name.startswith("null_"):
        key = name.rpartition("_")[2]
        about = {"long_name": _ABOUT_NULL[key], "units": unit if key == "mean" else "1"}
        return pair, about
    if name.startswith("unit_"):
        of = name.removeprefix("unit_")
        dims = ("unit", *pair) if of in ATOMS else ("unit", "node")
        return dims, {**of_unit, "long_name": f"{of} of every subject or trial"}
    kind, _, of = name.partition("_")
    about = {"long_name": _ABOUT_NODES[of], "units": "1" if of in _WITHOUT_UNIT else unit}
    return (("node", "end") if kind == "interval" else ("node",)), about


def _about(found: Decomposition) -> dict[str, Any]:
    description = found.description
    parameters = description["parameters"]
    first = found.facts(found.lags[0])
    return {
        "title": "integrated information decomposition of all pairs of nodes",
        "sources": json.dumps(found.data["sources"]),
        "data_sha256": found.data["sha256"],
        "kind": parameters["kind"],
        "redundancy": parameters["redundancy"],
        "average": parameters["average"],
        "detrend": parameters["detrend"],
        "pairs": parameters["pairs"],
        "null": description["null"]["name"],
        "trials": found.data["trials"],
        "backend": first["backend_that_ran"],
        "units_of_atoms": found.unit,
        "synkern": description["environment"]["synkern"],
    }
