"""Series whose axes or nodes have names: xarray, pandas, polars, Arrow, MNE, data sets.

Names of axes decide which is time; names of nodes and trials travel into the result, and what is
known to be no valid sample is left out.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Hashable, Iterable, KeysView, Mapping, Sequence, Set
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

_Step = TypeVar("_Step", bound=Callable[..., Any])

# Names of axes without case, plural and separators, as `_plain` leaves them.
_TIME = {"time", "t", "sample", "timepoint", "timestep", "timebin", "timestamp", "volume", "tr"}
_TIME |= {"frame", "step", "token", "date", "datetime", "second", "ms", "bin"}
_TRIAL = {"trial", "epoch", "event", "subject", "sub", "participant", "session", "run", "prompt"}
_TRIAL |= {"text", "batch", "repetition", "rep", "condition", "segment"}
_NODE = {"node", "region", "roi", "parcel", "area", "channel", "ch", "sensor", "electrode"}
_NODE |= {"source", "vertex", "voxel", "unit", "neuron", "cell", "head", "expert", "layer"}
_NODE |= {"feature", "variable", "component", "space"}
_ROLES = {"trial": _TRIAL, "time": _TIME, "node": _NODE}


DATA_CHANNELS = dict.fromkeys(("meg", "eeg", "csd", "seeg", "ecog", "dbs", "fnirs"), True)
"""Kinds of MNE's channels that are nodes unless others are asked for, for its `pick_types`."""


class Named(NamedTuple):
    """A series as arrays have it, and what its names say.

    Attributes:
        array: (trials, time, nodes) or (time, nodes), without names.
        nodes: names of the nodes; None if they have none.
        restore: gives an array of that shape, or with fewer time points at the start, its names
            back.
        valid: (time,) or (trials, time) bool NumPy array, True where a sample is valid; None where
            the series does not say.
        trials: names of the trials; None if they have none.
        subjects: whose each trial is; None where the series does not say.
    """

    array: Any
    nodes: tuple[str, ...] | None
    restore: Callable[[Any], Any]
    valid: Any = None
    trials: tuple[str, ...] | None = None
    subjects: tuple[str, ...] | None = None

    def mask(self, given: Any, argument: str = "mask") -> Any:
        """The mask of a call, that of the caller or that which the series brings.

        Raises:
            ValueError: there are two.
        """
        if self.valid is not None and given is not None:
            raise ValueError(
                f"{argument}: the series has a mask of its own, of its bad segments or of its data "
                "set; pass the array alone, and as mask what is valid by both"
            )
        return given if self.valid is None else self.valid

    def whole(self, argument: str) -> Any:
        """The array, for a function that takes no mask with it.

        Raises:
            ValueError: some samples are not valid.
        """
        if self.valid is not None:
            raise ValueError(
                f"{argument} has samples that are not valid, of bad segments or by the mask of its "
                "data set; pass the array alone, with mask= where there is one, or a stretch "
                "without gaps"
            )
        return self.array


def unnamed(series: Any, argument: str) -> Named:
    """Put the axes of a series in order by their names, and take the names off.

    Args:
        series: anything; what has no names comes back as it is.
        argument: its name, for messages.

    Raises:
        ValueError: the axes have names that do not say which of them is time, or several do.
    """
    for library, take in _TAKERS.items():
        if library in sys.modules and (named := take(sys.modules[library], series, argument)):
            return named
    return Named(series, None, _same)


def node_names(names: Iterable[Any] | None, found: Named, nodes: int) -> tuple[str, ...] | None:
    """The names of the nodes: those given, else those that the series had.

    Raises:
        ValueError: not one for each node, in order.
    """
    if names is None:
        return found.nodes
    # A set has no order, a mapping says more than the order, and a text is one name.
    unordered = isinstance(names, Set | Mapping) and not isinstance(names, KeysView)
    if unordered or isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise ValueError(f"node_names must be a name for each node, a list; got {names!r}")
    listed = names.tolist() if hasattr(names, "tolist") else names
    chosen = tuple(str(name) for name in listed)
    if len(chosen) != nodes:
        raise ValueError(f"node_names has {len(chosen)} names for {nodes} nodes")
    return chosen


def keeps_names(step: _Step) -> _Step:
    """Let a function of a series, and what else, take one with names and return one."""

    @functools.wraps(step)
    def on_named(*args: Any, **kwargs: Any) -> Any:
        rest, options = list(args), dict(kwargs)
        named = unnamed(rest.pop(0) if rest else options.pop("series"), "series")
        return named.restore(step(named.whole("series"), *rest, **options))

    return cast("_Step", on_named)


def _same(array: Any) -> Any:
    return array


def _plain(name: Hashable) -> str:
    kept = "".join(letter for letter in str(name).lower() if letter.isalnum())
    return kept[:-1] if len(kept) > 2 and kept.endswith("s") and kept != "ms" else kept


def role_of(name: Hashable) -> str | None:
    """What an axis of this name is: "trial", "time" or "node"; None if the name does not say."""
    plain = _plain(name)
    return next((role for role, known in _ROLES.items() if plain in known), None)


def roles_of(
    names: Sequence[Hashable], role: Callable[[Hashable], str | None] = role_of
) -> tuple[str, ...] | None:
    """What axes of these names are; None if the names do not say of each, or say it of two.

    One that is left over is what is missing: of two axes of which one is time, the other is node.

    Args:
        names: two, three or more.
        role: what an axis of a name is.
    """
    found = [role(name) for name in names]
    if len(names) == 2 and found.count("time") == 1 and found.count("node") == 0:
        return tuple("time" if one == "time" else "node" for one in found)
    wanted = {"time", "node"} - {*found} or ({"trial"} - {*found} if len(names) == 3 else set())
    if found.count(None) == 1 and len(wanted) == 1:
        found = [one or next(iter(wanted)) for one in found]
    roles = tuple(one for one in found if one)
    once = len({*roles}) == len(roles) == len(names)
    return roles if once and {"time", "node"} <= {*roles} else None


def _order(names: Sequence[Hashable], argument: str, kind: str) -> list[int]:
    """Places of the axes trial (of three), time and node.

    Raises:
        ValueError: the names do not say.
    """
    said = f"{argument}: the axes {tuple(names)} of this {kind}"
    remedy = (
        "name them 'trial', 'time' and 'node', or pass the array without names, as "
        "(trials, time, nodes) or (time, nodes)"
    )
    if len(names) not in (2, 3):
        raise ValueError(f"{said} are {len(names)}, and a series has two or three; {remedy}")
    roles = roles_of(names)
    if roles is None:
        raise ValueError(f"{said} do not say which is which; {remedy}")
    return [roles.index(role) for role in ("trial", "time", "node") if role in roles]


def _of_xarray(xarray: Any, series: Any, argument: str) -> Named | None:
    if isinstance(series, xarray.Dataset):
        raise TypeError(
            f"{argument} is an xarray.Dataset, of several variables; pass one of them, or "
            "to_dataarray(dim='node')"
        )
    if isinstance(series, xarray.Variable):  # a DataArray without coordinates
        series = xarray.DataArray(series)
    if not isinstance(series, xarray.DataArray):
        return None
    names = tuple(series.dims)
    if names == tuple(f"dim_{axis}" for axis in range(len(names))):  # xarray's own, by position
        ordered = series
    else:
        ordered = series.transpose(*(names[axis] for axis in _order(names, argument, "DataArray")))
    node, time = ordered.dims[-1], ordered.dims[-2]
    first = ordered.dims[0] if ordered.ndim == 3 else None

    def labels(axis: Hashable | None) -> tuple[str, ...] | None:
        has = axis is not None and axis in ordered.coords
        return tuple(map(_label, ordered[axis].values.tolist())) if has else None

    def restore(array: Any) -> Any:
        late = ordered.isel({time: slice(ordered.sizes[time] - array.shape[-2], None)})
        return late.copy(data=array)

    return Named(ordered.data, labels(node), restore, trials=labels(first))


def _label(name: Any) -> str:
    """A name as text; of several levels, as MultiIndex has them, with a stroke between."""
    return "/".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _of_pandas(pandas: Any, series: Any, argument: str) -> Named | None:
    if not isinstance(series, pandas.DataFrame):
        return None
    axes = (series.index, series.columns)
    names = tuple(axis.name for axis in axes)
    times = (pandas.DatetimeIndex, pandas.TimedeltaIndex, pandas.PeriodIndex)
    is_time = [isinstance(axis, times) or _plain(axis.name) in _TIME for axis in axes]
    is_node = [_plain(axis.name) in _NODE for axis in axes]
    # Rows are time unless a name, or times as labels, say otherwise.
    turned = (is_time[1] and not is_time[0]) or is_node[0]
    if turned and (is_time[0] or is_node[1]):
        raise ValueError(
            f"{argument}: the axes of this DataFrame have the names {names}, which contradict each "
            "other; rows are time and columns nodes"
        )
    frame = series.T if turned else series
    _refuse_trials(frame.index, "rows", argument)
    _refuse_trials(frame.columns, "columns", argument)
    default = isinstance(frame.columns, pandas.RangeIndex)

    def restore(array: Any) -> Any:
        index = frame.index[len(frame.index) - array.shape[-2] :]
        return pandas.DataFrame(array, index=index, columns=frame.columns)

    return Named(frame, None if default else tuple(map(_label, frame.columns)), restore)


def _refuse_trials(index: Any, where: str, argument: str) -> None:
    """Raise ValueError where a level of an index says that trials follow each other."""
    for level, name in enumerate(index.names if index.nlevels > 1 else ()):
        count = index.get_level_values(level).nunique(dropna=False)
        if _plain(name) in _TRIAL and count > 1:
            why, parts = "a lag would reach from one into the next", "frame"
            if where == "columns":
                why, parts = "pairs would be of nodes of different ones", "frame.T"
            part = "part" if where == "rows" else f"part.droplevel({name!r}).T"
            raise ValueError(
                f"{argument}: the {where} of this DataFrame are those of {count} different "
                f"{name!r}, one after the other, and {why}; make trials of them, "
                f"synkern.stack_trials([{part} for _, part in {parts}.groupby(level={name!r})])"
            )


def _of_polars(polars: Any, series: Any, argument: str) -> Named | None:
    if not isinstance(series, polars.DataFrame):
        return None
    for name, dtype in series.schema.items():
        if not (dtype.is_numeric() or dtype == polars.Boolean):
            raise TypeError(
                f"column {name!r} of {argument} must hold real numbers; got dtype {dtype}"
            )

    def restore(array: Any) -> Any:
        return polars.DataFrame(array, schema=series.columns)

    return Named(series.to_numpy(), tuple(series.columns), restore)


def _of_arrow(pyarrow: Any, series: Any, argument: str) -> Named | None:
    if isinstance(series, pyarrow.RecordBatch):
        series = pyarrow.Table.from_batches([series])
    if not isinstance(series, pyarrow.Table):
        return None
    for name in series.column_names:
        column = series[name]
        kinds = pyarrow.types
        real = any(
            is_one(column.type)
            for is_one in (kinds.is_integer, kinds.is_floating, kinds.is_boolean)
        )
        if not real:
            raise TypeError(
                f"column {name!r} of {argument} must hold real numbers; got {column.type}"
            )
        if column.null_count:
            raise ValueError(
                f"column {name!r} of {argument} has {column.null_count} missing values; fill them "
                "with any number and pass mask=, True where a sample is valid"
            )
    array = np.stack([series[name].to_numpy() for name in series.column_names], -1)

    def restore(array: Any) -> Any:
        return pyarrow.table(dict(zip(series.column_names, array.T, strict=True)))

    return Named(array, tuple(series.column_names), restore)


def _of_mne(mne: Any, series: Any, argument: str) -> Named | None:
    """Data channels that are not marked as bad; bad segments are no valid samples."""
    raw, epochs = isinstance(series, mne.io.BaseRaw), isinstance(series, mne.BaseEpochs)
    if not (raw or epochs or isinstance(series, mne.Evoked)):
        return None
    picks = mne.pick_types(series.info, **DATA_CHANNELS, exclude="bads")
    if not len(picks):
        raise ValueError(
            f"{argument}: this {type(series).__name__} has no data channels that are not marked as "
            "bad; say what they are by set_channel_types, or pass its get_data() with time before "
            "nodes"
        )
    marked = {"reject_by_annotation": "NaN", "verbose": "WARNING"} if raw else {}
    array = series.get_data(picks=picks, **marked).swapaxes(-1, -2)
    missing = np.isnan(array).all(-1)
    return Named(
        array,
        tuple(series.ch_names[k] for k in picks),
        _same,
        ~missing if missing.any() else None,
        tuple(map(str, series.selection)) if epochs else None,
    )


def _of_dataset(home: Any, series: Any, argument: str) -> Named | None:
    del argument
    if not isinstance(series, home.Dataset):
        return None
    named = Named(series.series, series.node_names, _same, series.mask, series.trial_names)
    return named._replace(subjects=series.subjects)


_TAKERS = {
    "xarray": _of_xarray,
    "pandas": _of_pandas,
    "polars": _of_polars,
    "pyarrow": _of_arrow,
    "mne": _of_mne,
    "synkern.data.dataset": _of_dataset,
}
