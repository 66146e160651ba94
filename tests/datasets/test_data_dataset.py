"""What a data set that somebody makes is held to."""

import numpy as np
import pytest

from synkern import Dataset
from synkern.data import DataError
from synkern.study import ArgumentError, decompose_data

SERIES = np.random.default_rng(0).standard_normal((3, 40, 2))
NAMES = {"node_names": ("a", "b"), "trial_names": ("x", "y", "z")}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("series", SERIES[0]),
        ("series", SERIES.tolist()),
        ("series", SERIES.astype(np.complex128)),
        ("mask", np.ones((3, 39), bool)),
        ("mask", np.ones((3, 40))),
        ("node_names", ("a",)),
        ("node_names", ("a", "a")),
        ("trial_names", ("x",)),
        ("subjects", ("x",)),
        ("groups", ("A", "B", "C")),
        ("coordinates", np.zeros((3, 3))),
        ("coordinates", np.full((2, 3), np.nan)),
        ("step", float("nan")),
    ],
)
def test_what_does_not_go_together(name, value):
    with pytest.raises(DataError, match=f"^{name}"):
        Dataset(**{"series": SERIES, **NAMES, name: value})


def test_missing_values_that_are_not_masked(tmp_path):
    series = SERIES.copy()
    series[1, 5, 1] = np.nan
    with pytest.raises(ArgumentError, match="trial 'y', sample 5, node 'b'"):
        decompose_data(Dataset(series=series, **NAMES), out=tmp_path / "out", progress=False)
