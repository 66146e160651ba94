"""The results as one labelled data set, for xarray, NetCDF and zarr."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synkern.kernels import ATOMS, long_name

if TYPE_CHECKING:
    import xarray

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


def labelled(
    description: Mapping[str, Any], by_lag: Mapping[int, Mapping[str, NDArray[Any]]], unit: str
) -> xarray.Dataset:
    """Return the variables of all lags along `tau`, over `x` and `y` (pairs) and `node`.

    Dimensions: `tau` (samples), `x` and `y` (first and second node of a pair), `node`, `subject`
    (`trial` where there are no subjects) and `end` (of an interval).

    Args:
        description: what result.json holds.
        by_lag: the arrays of each lag, under their names without it.
        unit: of the atoms.

    Raises:
        ImportError: xarray is not installed.
    """
    try:
        library = importlib.import_module("xarray")
    except ImportError as error:
        raise ImportError('to_xarray needs xarray: pip install "synkern[data]"') from error
    data, lags = description["data"], list(by_lag)
    whose = "subject" if data["subjects"] else "trial"
    coordinates: dict[str, Any] = {
        "tau": ("tau", lags, {"units": "samples"}),
        **{axis: (axis, data["node_names"]) for axis in ("x", "y", "node")},
        whose: (whose, data["units"]),
        "end": ("end", ["low", "high"]),
    }
    if data["step"] is not None:
        coordinates["lag"] = ("tau", np.array(lags) * data["step"], {"units": "s"})
    if data["groups"] is not None:
        coordinates["group"] = ("node", data["groups"])
    if data["coordinates"] is not None:
        length, space = _SPACES[data["space"]]
        for axis, values in zip("xyz", np.transpose(data["coordinates"]), strict=True):
            coordinates[f"node_{axis}"] = ("node", values, {"units": length, "space": space})
    variables = {}
    for name in next(iter(by_lag.values())):
        dims, about = _described(name, unit, whose)
        stacked = np.stack([arrays[name] for arrays in by_lag.values()])
        variables[name.removeprefix("node_")] = (("tau", *dims), stacked, about)
    found: xarray.Dataset = library.Dataset(
        variables, coords=coordinates, attrs=_about(description, unit)
    )
    return found


def _described(name: str, unit: str, whose: str) -> tuple[tuple[str, ...], dict[str, str]]:
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
        dims = (whose, *pair) if of in ATOMS else (whose, "node")
        return dims, {**of_unit, "long_name": f"{of} of every {whose}"}
    kind, _, of = name.partition("_")
    about = {"long_name": _ABOUT_NODES[of], "units": "1" if of in _WITHOUT_UNIT else unit}
    return (("node", "end") if kind == "interval" else ("node",)), about


def _about(description: Mapping[str, Any], unit: str) -> dict[str, Any]:
    parameters, data = description["parameters"], description["data"]
    names = ("kind", "redundancy", "average", "detrend", "pairs")
    return {
        "title": "integrated information decomposition of all pairs of nodes",
        "sources": json.dumps(data["sources"]),
        "data_sha256": data["sha256"],
        **{name: parameters[name] for name in names},
        "null": description["null"]["name"],
        "trials": data["trials"],
        "units_of_atoms": unit,
        "synkern": description["environment"]["synkern"],
    }
