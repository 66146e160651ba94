"""Compiled kernels: trials that are made ready in blocks give what all at once do, to the bit."""

from dataclasses import fields

import numpy as np
import pytest

from synkern.kernels import ATOMS, ESTIMATORS, Limits, Rectangle, request_for
from synkern.kernels.cpu_backend import layouts
from synkern.kernels.cpu_backend.backend import run
from synkern.kernels.cpu_backend.layouts import Paired, correlated
from synkern.kernels.cpu_backend.record import BACKEND

pytestmark = pytest.mark.skipif(not BACKEND.status().available, reason="needs a C++ compiler")

TIME, NODES = 80, 21
TRIAL = 24 * TIME * NODES  # bytes
NEVER = 1 << 60
TWO = ("rtr", "sts")


def asked(names=TWO, **options):
    options = {
        "per_trial": False,
        "dtype": "float64",
        "tau": 1,
        "limits": Limits(paired=1),
    } | options
    return request_for(names, estimator=ESTIMATORS["gaussian", "MMI"], **options)


def degenerate(trials, nodes=NODES):
    """Nodes that are constant in some trials, and pairs with marks in every block."""
    series = np.random.default_rng(trials).standard_normal((trials, TIME, nodes)).cumsum(1)
    series[::3, :, 2] = 7
    series[trials // 2, :-1, 5] = 1  # a constant past alone
    series[1::2, :, 9] = series[1::2, :, 8]
    series[::4, :, 11] = series[::4, :, 12] + 1e-7 * series[::4, :, 1]
    series[:, :, 14] = 3 - 2 * series[:, :, 15]
    return series


def in_blocks_of(monkeypatch, trials, series, request, threads=1):
    """A result by blocks of so many trials, or whole groups; and whether there were several."""
    monkeypatch.setattr(layouts, "_BLOCK", TRIAL * trials if trials else NEVER)
    monkeypatch.setattr(layouts, "_TURN", 0)
    features = correlated(series, request)
    assert isinstance(features, Paired)
    return run(series, request, threads), features.in_blocks


def assert_equal(found, expected):
    """Of `Pairs` or `Nodes`: every field."""
    for field in fields(expected):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, dict):
            assert list(one) == list(other)
        else:
            one, other = {"": one}, {"": other}
        for name in other:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("names", [TWO, ATOMS], ids=["two", "all"])
@pytest.mark.parametrize("trials", range(1, 14))
def test_any_block(monkeypatch, trials, names):
    series, request = degenerate(trials), asked(names)
    expected, whole = in_blocks_of(monkeypatch, None, series, request)
    assert not whole
    assert expected.rescued > 0 or trials == 1
    for block in (1, 3, 4, 8):
        found, divided = in_blocks_of(monkeypatch, block, series, request)
        group = 4 if names == TWO else 8
        assert divided == (max(block, group) < trials)
        assert_equal(found, expected)


@pytest.mark.parametrize("names", [TWO, ATOMS], ids=["two", "all"])
@pytest.mark.parametrize(
    ("by_node", "dtype"),
    [(False, "float64"), (False, "float32"), (True, "float64")],
    ids=["pairs", "pairs in float32", "nodes"],
)
@pytest.mark.parametrize(
    "rectangle", [None, Rectangle(slice(3, 60), slice(70, 139))], ids=["all", "rectangle"]
)
def test_any_request_and_number_of_threads(monkeypatch, names, dtype, by_node, rectangle):
    series = degenerate(17, 139).astype(dtype)
    request = asked(names, dtype=dtype, by_node=by_node, rectangle=rectangle)
    expected, _ = in_blocks_of(monkeypatch, None, series, request)
    for threads in (1, 2, 5):
        found, divided = in_blocks_of(monkeypatch, 8, series, request, threads)
        assert divided
        assert_equal(found, expected)


def test_a_tau_of_several_samples(monkeypatch):
    series = degenerate(9)
    request = asked(ATOMS, tau=3)
    expected, _ = in_blocks_of(monkeypatch, None, series, request)
    found, divided = in_blocks_of(monkeypatch, 8, series, request)
    assert divided
    assert_equal(found, expected)


@pytest.mark.parametrize("jumps", [slice(0, 4), slice(4, 8), slice(8, 13), slice(12, 13)], ids=str)
@pytest.mark.parametrize("nodes", [1, 3, NODES])
@pytest.mark.parametrize("by_node", [False, True], ids=["pairs", "nodes"])
def test_series_that_begin_with_a_jump(monkeypatch, jumps, nodes, by_node):
    """Whether unit vectors are taken instead does not hang on blocks."""
    series = degenerate(13)
    series[jumps, 0, :nodes] += 1e6
    request = asked(by_node=by_node)
    monkeypatch.setattr(layouts, "_BLOCK", NEVER)
    refused = not isinstance(correlated(series, request), Paired)
    by_trial = np.zeros(13, int)
    by_trial[jumps] = nodes
    assert refused == (by_trial[:8].sum() > 8 * NODES // 64 or by_trial.sum() > 13 * NODES // 64)
    expected = run(series, request)
    for block in (4, 8):
        found, divided = in_blocks_of(monkeypatch, block, series, request)
        assert divided
        assert_equal(found, expected)
    if refused:
        units = asked(by_node=by_node, limits=Limits(paired=10**9))
        assert_equal(expected, run(series, units))


def test_it_takes_less_memory(rng):
    """Than all trials at once: sums that are kept, and what is made of a block."""
    divided = []
    for trials, nodes, names in ((60, 256, TWO), (60, 256, ATOMS), (9, 1024, ATOMS)):
        series = np.broadcast_to(rng.standard_normal((1, 100, nodes)), (trials, 100, nodes))
        request = asked(names)
        features = correlated(series, request)
        assert isinstance(features, Paired)
        divided.append(features.in_blocks)
        if not features.in_blocks:
            continue
        kept = 8 * (2 if names == TWO else 16) * nodes**2 / 2
        whole = trials * features.taps[0].nbytes
        assert features.taps.nbytes + kept < whole
    assert divided == [True, True, False]


def test_blocks_grow_with_what_starting_threads_takes(monkeypatch, rng):
    series = rng.standard_normal((60, 100, 256))
    sizes = []
    for threads in (1, 2, 4, 64):
        monkeypatch.setattr(layouts.native, "threads_for", lambda work, threads=threads: threads)
        sizes.append(len(correlated(series, asked()).taps))
    assert sizes == sorted(sizes)
    assert sizes[0] == 4
    assert sizes[-1] == 60


def test_few_trials_and_matrices_of_trials_are_made_ready_at_once(rng):
    for trials, options in ((4, {}), (60, {"per_trial": True})):
        features = correlated(rng.standard_normal((trials, 60, 200)), asked(**options))
        assert isinstance(features, Paired)
        assert not features.in_blocks
