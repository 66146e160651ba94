"""Series of more states than the discrete estimator knows: said once, where the user called."""

import warnings

import numpy as np
import pytest

import synkern
from support.optional import torch
from synkern import calc_PhiID, phiid, phiid_lags, phiid_local, phiid_nodes

SAID = "take more than two levels"


def said(function, *arguments, **options):
    """Messages about levels; all of them name this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*arguments, **options)
    found = [w for w in caught if SAID in str(w.message)]
    assert {w.filename for w in found} <= {__file__}
    assert {w.category for w in found} <= {UserWarning}
    return [str(w.message) for w in found]


def of_levels(rng, number, shape=(2, 200, 3), unit=1.0):
    return unit * rng.integers(0, number, shape)


@pytest.mark.parametrize("number", [3, 5, 20])
@pytest.mark.parametrize("unit", [1.0, 0.1, -2.7])
@pytest.mark.parametrize("nodes", [2, 6])
def test_states_are_named(rng, number, unit, nodes):
    series = of_levels(rng, number, (2, 200, nodes), unit)
    (message,) = said(phiid, series, kind="discrete")
    shown = sorted(unit * np.arange(number))[:5]
    assert f"node 0: {', '.join(f'{level:g}' for level in shown)}" in message
    assert message.startswith(f"{nodes} of {nodes} nodes")
    assert ("..." in message) == (number > 5 or nodes > 3)
    assert "series > threshold" in message


def test_nodes_are_named(rng):
    series = rng.standard_normal((2, 200, 9))
    series[..., [1, 3, 4, 8]] = of_levels(rng, 3, (2, 200, 4))
    (message,) = said(phiid, series, kind="discrete")
    assert message.startswith(
        "4 of 9 nodes take more than two levels "
        "(node 1: 0, 1, 2; node 3: 0, 1, 2; node 4: 0, 1, 2; ...)"
    )


def test_of_chosen_pairs_only_their_nodes(rng):
    series = rng.standard_normal((200, 4))
    series[:, 2] = of_levels(rng, 3, 200)
    for pairs, expected in (([[0, 1], [3, 0]], 0), ([[2, 1]], 1)):
        for function in (phiid, phiid_local):
            assert len(said(function, series, pairs=pairs, kind="discrete")) == expected


@pytest.mark.parametrize(
    "make", [np.asarray, torch.tensor, lambda s: torch.tensor(s, dtype=torch.bfloat16), np.int8]
)
def test_once_from_each_function(rng, make):
    series = of_levels(rng, 3, (400, 2))
    given = make(series)
    assert len(said(phiid_lags, given, kind="discrete", tau=[1, 2])) == 1
    assert len(said(phiid_nodes, given, kind="discrete")) == 1
    assert len(said(phiid_local, given, [[0, 1], [1, 0]], kind="discrete")) == 1
    assert len(said(calc_PhiID, *series.T, 1, kind="discrete")) == 1


def test_once_from_a_null_test(rng):
    series = of_levels(rng, 3, (6, 60, 2))
    assert len(said(synkern.null_test, series, "cross_trial", n=19, kind="discrete")) == 1


def test_states_that_last(rng):
    """Each for longer than the first values show, or in turns."""
    slow = np.repeat(of_levels(rng, 3, (40, 2)), 50, axis=0)
    in_turns = np.stack([np.arange(3000) % 3, np.arange(3000) // 7 % 3], 1)
    for series in (slow, in_turns):
        (message,) = said(phiid, series, kind="discrete")
        assert message.startswith("2 of 2 nodes")


def test_short_trials_together(rng):
    assert said(phiid, of_levels(rng, 3, (20, 8, 2)), kind="discrete")


def thresholded(rng):
    return np.maximum(rng.standard_normal((400, 2)) - 1, 0)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.standard_normal((2, 200, 3)),
        lambda rng: rng.standard_normal((1, 8, 3)),
        lambda rng: rng.standard_normal((50, 8, 3)),
        lambda rng: np.round(rng.standard_normal((400, 2)), 1),
        lambda rng: rng.integers(0, 2, (400, 2)),
        lambda rng: 7.5 * rng.integers(0, 2, (400, 2)) - 2,
        lambda rng: rng.integers(0, 2, (400, 2)) > 0,
        lambda rng: rng.poisson(400, (400, 2)),
        lambda rng: rng.integers(0, 3, (9, 2)),  # too few to tell
        thresholded,  # one level and many others
        lambda rng: np.ones((400, 2)),
    ],
)
def test_nothing_is_said_of_others(rng, draw):
    assert said(phiid, draw(rng), kind="discrete") == []


def test_nothing_is_said_of_gaussian_estimators(rng):
    series = of_levels(rng, 3, (400, 2))
    assert said(phiid, series) == said(phiid_local, series, [[0, 1]]) == []
    assert said(calc_PhiID, *series.T, 1) == []
