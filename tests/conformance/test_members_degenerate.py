"""Nodes of several columns that are ill-conditioned, dependent, constant, or too short."""

import numpy as np
import pytest

import synkern
from support.backends import MEMBERS
from support.exact_sets import exact_atoms
from support.optional import torch
from synkern import ATOMS
from synkern.decomposition import phiid_pair
from synkern.kernels import Outcome

pytestmark = [pytest.mark.brief, pytest.mark.filterwarnings("ignore:.*the bias of the estimate")]

REDUNDANCIES = ("MMI", "CCS")
PAIR = [[0, 1], [2, 3]]


@pytest.fixture(params=MEMBERS)
def backend(request):
    return request.param


def pair_atoms(series, members=PAIR, **options):
    result = synkern.phiid(series, members=members, atoms="all", **options)
    return np.array([result[name][0, 1] for name in ATOMS]), result


def persistent(rng, columns=4, time=60, rho=0.6):
    series = rng.standard_normal((time, columns))
    for t in range(1, time):
        series[t] += rho * series[t - 1]
    return series


def largest_error(series, members=PAIR, **options):
    found, result = pair_atoms(series, members, **options)
    one, other = (series[:, columns] for columns in members)
    exact = exact_atoms(one, other, redundancy=options.get("redundancy", "MMI"))
    return np.abs(found - exact).max(), result


def test_the_truth_is_the_reference_where_both_can(rng):
    series = persistent(rng, time=30)
    for redundancy in REDUNDANCIES:
        known = phiid_pair(series[:, :2], series[:, 2:], 1, "gaussian", redundancy)
        exact = exact_atoms(series[:, :2], series[:, 2:], redundancy=redundancy)
        np.testing.assert_allclose(exact, list(known.values()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("eps", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8])
def test_nodes_that_nearly_share_a_direction(rng, backend, eps):
    series = persistent(rng)
    series[:, 2] = series[:, 0] - series[:, 1] + eps * series[:, 2]
    error, result = largest_error(series, backend=backend)
    assert error <= (1e-9 if eps >= 1e-3 else 1e-6)
    assert not len(result.flagged)


@pytest.mark.parametrize("eps", [1e-2, 1e-4, 1e-6])
def test_common_change_of_nodes_that_nearly_share_a_direction(rng, backend, eps):
    series = persistent(rng, time=40)
    series[:, 2] = series[:, 0] - series[:, 1] + eps * series[:, 2]
    error, _ = largest_error(series, redundancy="CCS", backend=backend)
    assert error <= 1e-6


@pytest.mark.parametrize("redundancy", REDUNDANCIES)
@pytest.mark.parametrize("eps", [1e-2, 1e-4, 1e-6, 1e-8])
def test_columns_of_a_node_that_are_nearly_dependent(rng, backend, eps, redundancy):
    """The basis is found from the data, to their rounding over what is left."""
    series = persistent(rng, time=40)
    series[:, 1] = 3 * series[:, 0] + eps * series[:, 1]
    error, result = largest_error(series, redundancy=redundancy, backend=backend)
    assert error <= max(1e-9, 100 * 2**-52 / eps)
    assert result.rescued == 0


@pytest.mark.parametrize("eps", [1e-2, 1e-3, 1e-4, 1e-6])
def test_a_future_nearly_fixed_by_the_other_past(rng, backend, eps):
    series = persistent(rng)
    series[1:, 2] = series[:-1, 0] + series[:-1, 1] + eps * series[1:, 2]
    error, result = largest_error(series, backend=backend)
    assert error <= (1e-9 if eps >= 1e-3 else 1e-6)
    assert not len(result.flagged)


@pytest.mark.parametrize("redundancy", REDUNDANCIES)
def test_columns_that_add_nothing_are_dropped_and_told(rng, backend, redundancy):
    series = persistent(rng, columns=8)
    series[:, 4] = series[:, 0]
    series[:, 5] = 0.1
    series[:, 6] = 2 * series[:, 2] - series[:, 3] / 3 + 7
    series[:, 7] = 0.0
    members = [[0, 4, 1, 5], [6, 2, 7, 3]]
    options = {"redundancy": redundancy, "backend": backend}
    with pytest.warns(UserWarning, match=r"2 of 2 .* depend linearly .* of node 0, 2 of its 4"):
        found, result = pair_atoms(series, members, **options)
    wanted, _ = pair_atoms(series, [[0, 1], [2, 3]], **options)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11)
    assert sum(result.degenerate.values()) == 0


def test_rounding_of_float32_is_no_direction(rng, backend):
    series = persistent(rng, columns=5).astype(np.float32)
    series[:, 4] = series[:, 0] + series[:, 1]
    with pytest.warns(UserWarning, match="depend linearly"):
        found, _ = pair_atoms(series, [[0, 1, 4], [2, 3]], backend=backend)
    wanted, _ = pair_atoms(series, PAIR, backend=backend)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_a_node_of_constant_columns_has_no_pairs(rng, backend):
    series = rng.standard_normal((2, 60, 6))
    series[1, :, 2:4] = 5.0
    members = [[0, 1], [2, 3], [4, 5]]
    with pytest.warns(UserWarning, match="2 of 6 .* degenerate: 2 constant"):
        each = synkern.phiid(series, members=members, average=None, backend=backend)
    np.testing.assert_array_equal(np.argwhere(each.constant), [[1, 1]])
    assert np.isnan(each["sts"][1, 1]).all()
    with pytest.warns(UserWarning, match="2 constant"):
        mean = synkern.phiid(series, members=members, backend=backend)
    np.testing.assert_allclose(mean["sts"][0, 1], each["sts"][0, 0, 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("redundancy", REDUNDANCIES)
@pytest.mark.parametrize("whole", [True, False], ids=["a node", "a direction"])
def test_shared_directions_count_once(rng, backend, whole, redundancy):
    series = np.round(persistent(rng) * 2**20) / 2**20  # sums of these are exact
    series[:, 2] = 2 * series[:, 0] - series[:, 1]
    if whole:
        series[:, 3] = series[:, 1] + series[:, 0]
    with pytest.warns(UserWarning, match="1 duplicate"):
        error, result = largest_error(series, redundancy=redundancy, backend=backend)
    assert error <= 1e-9
    assert result.flagged.tolist() == [[0, 0, 1, int(Outcome.DUPLICATE)]]
    if whole:
        assert result["sts"][0, 1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("redundancy", REDUNDANCIES)
def test_a_future_fixed_by_the_past_has_no_value(rng, backend, redundancy):
    series = persistent(rng)
    series[1:, 2] = series[:-1, 0] + series[:-1, 1]
    with pytest.warns(UserWarning, match="1 deterministic"):
        found, result = pair_atoms(series, redundancy=redundancy, backend=backend)
    assert np.isnan(found).all()
    assert result.flagged.tolist() == [[0, 0, 1, int(Outcome.DETERMINISTIC)]]


def test_a_node_that_fixes_its_own_future(rng, backend):
    series = rng.standard_normal((2, 80, 6))
    turn = np.array([[np.cos(0.7), np.sin(0.7)], [-np.sin(0.7), np.cos(0.7)]])
    for t in range(1, 80):
        series[0, t, :2] = series[0, t - 1, :2] @ turn
    members = [[0, 1], [2, 3], [4, 5]]
    with pytest.warns(UserWarning, match="2 deterministic"):
        result = synkern.phiid(series, members=members, average=None, backend=backend)
    np.testing.assert_array_equal(result.flagged[:, :3], [[0, 0, 1], [0, 0, 2]])
    assert np.isfinite(result["sts"][0, 1, 2])


def test_the_gradient_leaves_degenerate_pairs_out(rng):
    values = rng.standard_normal((2, 40, 6))
    values[0, :, 2] = values[0, :, 0]
    series = torch.tensor(values, requires_grad=True)
    with pytest.warns(UserWarning, match="1 duplicate"):
        result = synkern.phiid(series, members=[[0, 1], [2, 3], [4, 5]], average=None)
    result["sts"][0, 0, 1].backward(retain_graph=True)
    assert (series.grad == 0).all()
    result["sts"][0, 1, 2].backward()
    assert torch.isfinite(series.grad).all()
    assert (series.grad[0, :, 2:] != 0).any()


def test_a_column_that_is_dropped_has_no_gradient(rng):
    values = rng.standard_normal((1, 40, 5))
    values[..., 4] = 3 * values[..., 0]
    series = torch.tensor(values, requires_grad=True)
    with pytest.warns(UserWarning, match="depend linearly"):
        result = synkern.phiid(series, members=[[0, 1, 4], [2, 3]])
    result["sts"][0, 1].backward()
    plain = torch.tensor(values[..., :4], requires_grad=True)
    synkern.phiid(plain, members=PAIR)["sts"][0, 1].backward()
    # Either of the two that are one direction may be the one that is kept, in its own unit.
    total = series.grad[..., 0] + 3 * series.grad[..., 4]
    torch.testing.assert_close(total, plain.grad[..., 0], rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(series.grad[..., 1:4], plain.grad[..., 1:4], rtol=1e-8, atol=1e-10)


def test_fewer_samples_than_variables(rng, backend):
    series = rng.standard_normal((3, 32, 20))
    members = [range(8), range(8, 16), range(16, 20)]
    with pytest.raises(
        ValueError, match=r"0 and 1 have 8 and 8 columns, 32 variables .* 31 samples .* least 33"
    ):
        synkern.phiid(series, members=members, backend=backend)
    with pytest.warns(UserWarning, match="below 160 the bias"):
        pooled = synkern.phiid(series, members=members, average="moments", backend=backend)
    assert np.isfinite(pooled["sts"][0, 1])
    # One sample more than variables is enough for full rank.
    small = [range(7), range(7, 15)]
    with pytest.warns(UserWarning, match="about 3.6 nats"):
        last = synkern.phiid(series, members=small, backend=backend)
    assert np.isfinite(last["rtr"][0, 1])


def test_offsets_and_scales(rng, backend):
    series = persistent(rng)
    wanted, _ = pair_atoms(series, backend=backend)
    found, _ = pair_atoms(series * [1e150, 1e-150, 1.0, 1e-3] + [0, 0, 1e6, 0], backend=backend)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8)
