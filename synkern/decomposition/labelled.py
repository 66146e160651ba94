"""Results of the decomposition as tables and as data sets with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from synkern._arrays import to_numpy
from synkern._labelled import FrameLibrary, frame, imported, labels
from synkern.kernels import long_name, swap_nodes

if TYPE_CHECKING:
    import xarray

    from synkern.decomposition.decomposed import Decomposed


def pairs_frame(result: Decomposed, pairs: Any, library: FrameLibrary) -> Any:
    """A row for each pair; see `PhiIDResult.to_frame`."""
    nodes = labels(result.node_names, result.nodes)
    if pairs is None:
        one_way = all(swap_nodes(atom) == atom for atom in result)
        chosen = np.triu(np.ones((result.nodes, result.nodes), bool), 1)
        rows, columns = np.nonzero(chosen if one_way else chosen | chosen.T)
        values = {atom: to_numpy(value)[..., rows, columns] for atom, value in result.items()}
    else:
        rows, columns = pairs[..., 0].reshape(-1), pairs[..., 1].reshape(-1)
        shape = (-1,) if result.average is not None else (result.trials, len(rows))
        values = {atom: to_numpy(value).reshape(shape) for atom, value in result.items()}
    return _frame(result, {"x": nodes[rows], "y": nodes[columns]}, values, library)


def nodes_frame(result: Decomposed, further: Mapping[str, Any], library: FrameLibrary) -> Any:
    """A row for each node; see `NodeMeans.to_frame`."""
    values = {name: to_numpy(value) for name, value in {**result, **further}.items()}
    return _frame(result, {"node": labels(result.node_names, result.nodes)}, values, library)


def _frame(
    result: Decomposed, names: Mapping[str, Any], values: Mapping[str, Any], library: FrameLibrary
) -> Any:
    """Values, (rows,) or (trials, rows), beside the names of the rows."""
    columns = dict(names)
    if result.average is None:
        trials, rows = result.trials, len(next(iter(names.values())))
        columns = {name: np.tile(column, trials) for name, column in columns.items()}
        columns = {"trial": np.repeat(labels(result.trial_names, trials), rows), **columns}
    columns |= {name: value.reshape(-1) for name, value in values.items()}
    return frame(columns, library, "to_frame")


def pairs_dataset(result: Decomposed, pairs: Any, nodes: Sequence[Any] | None) -> xarray.Dataset:
    """Atoms by `x` and `y`; see `PhiIDResult.to_xarray`."""
    given = result.node_names if nodes is None else nodes
    named = list(range(result.nodes)) if given is None else [str(node) for node in given]
    if len(named) != result.nodes:
        raise ValueError(f"nodes has {len(named)} labels for {result.nodes} nodes")
    coordinates: dict[str, Any] = {"x": named, "y": named}
    dims: tuple[str, ...] = ("x", "y")
    if pairs is not None:
        shape = pairs.shape[:-1]
        dims = ("pair",) if len(shape) == 1 else tuple(f"pair_{k}" for k in range(len(shape)))
        at = np.asarray(named)
        coordinates = {name: (dims, at[pairs[..., k]]) for k, name in enumerate("xy")}
    return _dataset(result, result, dims, coordinates)


def nodes_dataset(result: Decomposed, further: Mapping[str, Any]) -> xarray.Dataset:
    """Means by `node`; see `NodeMeans.to_xarray`."""
    coordinates = {"node": labels(result.node_names, result.nodes)}
    return _dataset(result, {**result, **further}, ("node",), coordinates)


def _dataset(
    result: Decomposed,
    variables: Mapping[str, Any],
    dims: tuple[str, ...],
    coordinates: dict[str, Any],
) -> xarray.Dataset:
    library = imported("xarray", "to_xarray")
    if result.average is None:
        dims = ("trial", *dims)
        if result.trial_names is not None:
            coordinates["trial"] = list(result.trial_names)
    said = {atom: {"units": result.unit, "long_name": long_name(atom)} for atom in result}
    made: xarray.Dataset = library.Dataset(
        {name: (dims, to_numpy(value), said.get(name)) for name, value in variables.items()},
        coords={**coordinates, "lag": ((), result.tau, {"units": "samples"})},
        attrs={
            "tau": result.tau,
            "kind": result.kind,
            "redundancy": result.redundancy,
            "backend": result.backend,
            "trials": result.trials,
            **{f"degenerate_{kind}": count for kind, count in result.degenerate.items()},
        },
    )
    return made
