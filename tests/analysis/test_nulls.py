import itertools

import numpy as np
import pytest

import synkern
from support.optional import torch
from synkern.analysis.nulls import benjamini_hochberg, null_test
from synkern.analysis.options import NULL_NAMES
from synkern.analysis.surrogates import NULLS, Recorded


def ar1(rng, trials, nodes, rho, time=100):
    noise = rng.standard_normal((trials, time, nodes))
    series = np.empty_like(noise)
    series[:, 0] = noise[:, 0] / np.sqrt(1 - rho**2)
    for t in range(1, time):
        series[:, t] = rho * series[:, t - 1] + noise[:, t]
    return series


def draw(null, series, rng, tau=1, block=10):
    return NULLS[null](Recorded(np, series, tau, block, np.zeros(len(series), int)), rng)


def test_cross_trial_moves_whole_trials(rng):
    series = rng.standard_normal((6, 20, 5))
    surrogate, tau = draw("cross_trial", series, rng, tau=2)
    assert tau == 2
    sources = []
    for node in range(5):
        distance = np.abs(surrogate[:, None, :, node] - series[None, :, :, node]).sum(-1)
        trial, source = np.nonzero(distance == 0)
        np.testing.assert_array_equal(trial, range(6))
        assert sorted(source) == list(range(6))
        sources.append(tuple(source))
    assert len(set(sources)) > 1


def test_row_shift_keeps_the_lag_correlation_of_each_node(rng):
    series = rng.standard_normal((2, 30, 4)).cumsum(1)
    surrogate, lag = draw("row_shift", series, rng, tau=3)
    assert (lag, surrogate.shape) == (27, (2, 54, 4))
    shifts = [set(), set()]
    for trial, node in itertools.product(range(2), range(4)):
        rows = np.stack([series[trial, :-3, node], series[trial, 3:, node]])
        shifted = np.stack([surrogate[trial, :27, node], surrogate[trial, 27:, node]])
        same = [np.array_equal(np.roll(rows, k, 1), shifted) for k in range(27)]
        shifts[trial].add(same.index(True))
    assert all(len(of_trial) > 1 for of_trial in shifts)


def test_circular_rolls_each_node(rng):
    series = rng.standard_normal((2, 20, 3))
    surrogate, _ = draw("circular", series, rng)
    shifts = [set(), set()]
    for trial, node in itertools.product(range(2), range(3)):
        rolled = [np.roll(series[trial, :, node], k) for k in range(20)]
        shifts[trial].add(
            [np.array_equal(surrogate[trial, :, node], r) for r in rolled].index(True)
        )
    assert all(len(of_trial) > 1 for of_trial in shifts)


@pytest.mark.parametrize("time", [40, 43])
def test_blocks_stay_whole(rng, time):
    series = np.broadcast_to(np.arange(float(time))[:, None], (2, time, 3))
    surrogate, _ = draw("block", series, rng, block=8)
    np.testing.assert_array_equal(np.sort(surrogate, 1), series)
    for trial, node in itertools.product(range(2), range(3)):
        seams = np.diff(surrogate[trial, :, node]) != 1
        assert (surrogate[trial, 1:, node][seams] % 8 == 0).all()
        assert 0 < seams.sum() < -(-time // 8)


@pytest.mark.parametrize("time", [40, 41])
def test_phases_keep_the_periodogram(rng, time):
    series = 7 + rng.standard_normal((2, time, 3))
    surrogate, _ = draw("phase", series, rng)
    before, after = (np.abs(np.fft.rfft(s, axis=1)) for s in (series, surrogate))
    np.testing.assert_allclose(after, before, rtol=1e-10)
    assert np.abs(np.corrcoef(series[0, :, 0], surrogate[0, :, 0])[0, 1]) < 0.9


@pytest.mark.parametrize("value", [0.1, 1e6 / 3])
@pytest.mark.parametrize("null", NULLS)
def test_a_constant_node_stays_constant(rng, null, value):
    series = rng.standard_normal((6, 37, 3))
    series[:, :, 1] = value
    for _ in range(5):
        assert (np.ptp(draw(null, series, rng).series[..., 1], axis=1) == 0).all()


@pytest.mark.parametrize("null", NULLS)
@pytest.mark.filterwarnings("ignore:.*below 30 the bias:UserWarning")
def test_statistics_by_hand(rng, null):
    """p, mean and deviation from surrogates that are all kept."""
    series = ar1(rng, 5, 4, 0.6, time=30)
    test = null_test(series, null, n=39, seed=3, atoms=["rtr", "xty"], tau=2)
    again = np.random.default_rng(3)
    drawn = []
    for _ in range(39):
        surrogate = draw(null, series, again, tau=2)
        result = synkern.phiid(surrogate.series, tau=surrogate.tau, atoms=["rtr", "xty"])
        drawn.append([result["rtr"], result["xty"]])
    drawn = np.array(drawn)
    observed = synkern.phiid(series, tau=2, atoms=["rtr", "xty"])
    off = ~np.eye(4, dtype=bool)
    for k, atom in enumerate(["rtr", "xty"]):
        np.testing.assert_array_equal(test.observed[atom], observed[atom])
        np.testing.assert_allclose(test.null_mean[atom], drawn[:, k].mean(0), atol=1e-13)
        np.testing.assert_allclose(test.null_sd[atom], drawn[:, k].std(0, ddof=1), atol=1e-13)
        # A surrogate may be the observed trials in another order: equal but for rounding.
        above = (drawn[:, k] >= observed[atom] - 1e-12).sum(0)
        below = (drawn[:, k] <= observed[atom] + 1e-12).sum(0)
        expected = np.minimum(1, 2 * (1 + np.minimum(above, below)) / 40)
        np.testing.assert_array_equal(test.p[atom][off], expected[off])
        np.testing.assert_array_equal(test.q[atom], benjamini_hochberg(test.p[atom]))
        assert np.isnan(test.p[atom].diagonal()).all()
        assert test.without_value[atom] == 0
    assert (test.null, test.n, test.seed, test.tau) == (null, 39, 3, 2)


@pytest.mark.parametrize("null", NULLS)
def test_torch_gives_the_same(rng, null):
    series = ar1(rng, 5, 4, 0.6)
    host = null_test(series, null, n=19)
    tensor = null_test(torch.from_numpy(series).requires_grad_(), null, n=19)
    for field in ("observed", "null_mean", "null_sd", "p", "q"):
        for atom in ("rtr", "sts"):
            ours = getattr(tensor, field)[atom]
            assert isinstance(ours, torch.Tensor)
            np.testing.assert_allclose(ours, getattr(host, field)[atom], rtol=0, atol=1e-10)
    assert tensor.without_value == host.without_value


def test_seed(rng):
    series = ar1(rng, 6, 3, 0.5)
    first, again, other = (null_test(series, n=19, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.null_mean["sts"], again.null_mean["sts"])
    assert not np.allclose(first.null_mean["sts"], other.null_mean["sts"], equal_nan=True)


@pytest.mark.parametrize(
    ("null", "trials", "rho", "bound"),
    [
        ("cross_trial", 8, 0.97, (0.0, 0.11)),
        ("row_shift", 1, 0.5, (0.0, 0.11)),
        # The documented failures: were they to vanish, the table would be wrong.
        ("circular", 1, 0.97, (0.2, 0.7)),
        ("phase", 1, 0.97, (0.2, 0.7)),
        ("block", 1, 0.97, (0.6, 1.0)),
    ],
)
def test_size_on_unrelated_nodes(null, trials, rho, bound):
    """Measured sizes 0.05, 0.04, 0.42, 0.41, 0.82; the bounds leave three standard errors."""
    series = ar1(np.random.default_rng(17), trials, 40, rho)
    p = null_test(series, null, n=99, atoms=["sts"]).p["sts"]
    rate = (p[np.triu_indices(40, 1)] <= 0.05).mean()
    assert bound[0] <= rate <= bound[1]


@pytest.mark.parametrize("null", NULLS)
def test_related_nodes_are_found(rng, null):
    """Node 1 follows node 0; node 2 is nobody's."""
    series = rng.standard_normal((8, 200, 3))
    series[:, 1:, 1] += 1.5 * series[:, :-1, 0]
    test = null_test(series, null, n=99, atoms=["xty", "sts"])
    assert test.p["xty"][0, 1] == pytest.approx(0.02)
    assert test.q["xty"][0, 1] <= 6 * 0.02
    assert test.p["xty"][0, 2] > 0.02
    assert test.observed["xty"][0, 1] > test.null_mean["xty"][0, 1] + 5 * test.null_sd["xty"][0, 1]


def test_less_synergy_than_by_chance_is_found():
    """The second tail: a common drive lowers the synergy of persistent nodes."""
    series = ar1(np.random.default_rng(3), 10, 2, 0.9)
    series[..., 1] = series[..., 0] + 0.3 * series[..., 1]
    test = null_test(series, n=99)
    assert test.observed["sts"][0, 1] < test.null_mean["sts"][0, 1]
    assert test.p["sts"][0, 1] == pytest.approx(0.02)


def test_two_trials_prove_nothing(rng):
    """Only two pairings exist, one of them the observed: equal values count in both tails."""
    series = rng.standard_normal((2, 100, 3))
    series[:, 1:, 1] += 3 * series[:, :-1, 0]
    with pytest.warns(UserWarning, match="2 trials can be paired in too few ways"):
        test = null_test(series, n=99)
    assert (test.p["rtr"][np.triu_indices(3, 1)] > 0.5).all()


def test_direction(rng):
    """xty from row to column is ytx from column to row."""
    test = null_test(ar1(rng, 6, 3, 0.5), n=19, atoms=["xty", "ytx"])
    for field in ("observed", "null_mean", "p"):
        values = getattr(test, field)
        np.testing.assert_allclose(values["xty"], values["ytx"].T, rtol=0, atol=1e-12)
    assert not np.allclose(test.observed["xty"], test.observed["xty"].T, equal_nan=True)


def test_pairs_without_a_value(rng):
    series = ar1(rng, 6, 4, 0.5)
    series[:, :, 2] = 4
    with pytest.warns(UserWarning, match="18 constant"):
        test = null_test(series, n=19)
    assert test.without_value == {"rtr": 3, "sts": 3}
    for field in ("observed", "p", "q", "null_mean", "null_sd"):
        values = getattr(test, field)["sts"]
        assert np.isnan(values[2]).all()
        assert np.isnan(values[:, 2]).all()
        assert np.isfinite(values[0, [1, 3]]).all()


def test_a_trial_without_a_value_does_not_count(rng):
    series = ar1(rng, 6, 3, 0.5)
    series[4, :, 0] = 1
    with pytest.warns(UserWarning, match="2 constant"):
        test = null_test(series, n=19)
    assert np.isfinite(test.p["sts"][0, 1])
    assert test.without_value["sts"] == 0


def test_false_discovery_rate_by_definition(rng):
    p = np.append(rng.random(40) ** 3, [np.nan, 0.2, 0.2, 1.0])
    q = benjamini_hochberg(p)
    known = p[np.isfinite(p)]
    for value, adjusted in zip(p, q, strict=True):
        if np.isnan(value):
            assert np.isnan(adjusted)
            continue
        rates = [known.size * bound / (known <= bound).sum() for bound in known if bound >= value]
        assert adjusted == pytest.approx(min(rates))
    np.testing.assert_allclose(benjamini_hochberg(np.stack([p, p])), np.stack([q, q]))
    np.testing.assert_allclose(benjamini_hochberg(np.array([0.01, 0.04, 0.03])), [0.03, 0.04, 0.04])


def test_a_single_trial(rng):
    series = ar1(rng, 1, 3, 0.5)
    flat, stacked = null_test(series[0], "circular", n=19), null_test(series, "circular", n=19)
    np.testing.assert_array_equal(flat.p["sts"], stacked.p["sts"])
    with pytest.raises(ValueError, match="different trials.*at least 2; series has 1.*row_shift"):
        null_test(series[0])


def test_backends_agree(rng, backend):
    series = ar1(rng, 5, 3, 0.5)
    found, expected = (null_test(series, n=19, backend=name) for name in (backend, "auto"))
    np.testing.assert_allclose(found.null_mean["sts"], expected.null_mean["sts"], atol=1e-10)


def test_options(rng):
    series = ar1(rng, 5, 3, 0.5)
    with pytest.raises(ValueError, match="null must be one of 'cross_trial', .*'shuffle'"):
        null_test(series, "shuffle")
    with pytest.raises(ValueError, match="n must be a whole number from 19; got 5"):
        null_test(series, n=5)
    with pytest.raises(ValueError, match="seed must be a whole number from 0; got -1"):
        null_test(series, seed=-1)
    with pytest.raises(ValueError, match="block must be a whole number from 1; got 2.5"):
        null_test(series, "block", block=2.5)
    with pytest.raises(ValueError, match="block must leave at least two blocks; got 60 for 100"):
        null_test(series, "block", block=60)
    with pytest.raises(ValueError, match="'row_shift' serves kind 'gaussian' only; got 'discrete'"):
        null_test(series, "row_shift", kind="discrete")
    with pytest.raises(TypeError, match="kind, redundancy, unit and backend of phiid, not average"):
        null_test(series, average=None)
    with pytest.raises(ValueError, match="tau must be a positive"):
        null_test(series, tau=-1)


def test_unit(rng):
    series = ar1(rng, 5, 3, 0.5)
    nats, bits = (null_test(series, n=19, unit=unit) for unit in (None, "bits"))
    assert (nats.kind, nats.redundancy, nats.unit, bits.unit) == ("gaussian", "MMI", "nats", "bits")
    for field in ("observed", "null_mean", "null_sd"):
        both = getattr(nats, field)["sts"], getattr(bits, field)["sts"]
        np.testing.assert_allclose(both[0], both[1] * np.log(2), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(nats.p["sts"], bits.p["sts"])


def test_every_null_has_a_name_for_type_checkers():
    assert tuple(NULLS) == NULL_NAMES
