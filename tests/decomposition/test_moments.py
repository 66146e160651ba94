"""`LaggedMoments`: a series in chunks gives what the whole series gives."""

import tracemalloc

import numpy as np
import pytest

import synkern
from support.optional import needs_torch, torch
from synkern import LaggedMoments
from synkern.kernels.contract import Outcome

SAME = 1e-12  # nats, of well-conditioned nodes


@pytest.fixture
def series(rng):
    """Two trials of five persistent nodes that drive each other, 400 samples."""
    series = rng.standard_normal((2, 400, 5))
    for t in range(1, 400):
        series[:, t] += 0.7 * series[:, t - 1] + 0.2 * np.roll(series[:, t - 1], 1, -1)
    return series


def gathered(series, sizes, tau=1):
    """Moments of a series cut into chunks of these sizes, over and over."""
    moments, start, turn = LaggedMoments(tau), 0, 0
    while start < series.shape[-2]:
        stop = start + sizes[turn % len(sizes)]
        moments.update(series[..., start:stop, :])
        start, turn = stop, turn + 1
    return moments


@pytest.mark.parametrize("average", ["trials", "moments", "concatenate", None])
@pytest.mark.parametrize("sizes", [(400,), (1,), (7, 1, 90), (3,)])
@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_chunks_make_no_difference(series, library, sizes, average):
    series = library(series)
    moments = gathered(series, sizes, tau=2)
    assert moments.shape == (2, 400, 5)
    whole = synkern.phiid(series, tau=2, atoms="all", average=average)
    found = synkern.phiid(moments, atoms="all", average=average)
    assert (found.tau, found.shape, found.backend) == (2, (2, 400, 5), whole.backend)
    for atom in synkern.ATOMS:
        assert type(found[atom]) is type(whole[atom])
        np.testing.assert_allclose(found[atom], whole[atom], rtol=0, atol=SAME)


def test_all_lags_in_one_pass(series):
    moments = gathered(series, (60, 4), tau=(5, 1, 12))
    with pytest.raises(ValueError, match=r"several lags, \(5, 1, 12\): choose one.*phiid_lags"):
        synkern.phiid(moments)
    found = synkern.phiid_lags(moments)
    assert list(found) == [5, 1, 12]
    whole = synkern.phiid_lags(series, tau=[5, 1, 12])
    for lag, result in found.items():
        assert result.tau == whole[lag].tau == lag
        np.testing.assert_allclose(result["sts"], whole[lag]["sts"], rtol=0, atol=SAME)
    one = synkern.phiid(moments, tau=12)
    np.testing.assert_array_equal(one["sts"], found[12]["sts"])


def test_lags_of_a_series_are_those_alone(series):
    for lag, result in synkern.phiid_lags(series, tau=(1, 3)).items():
        np.testing.assert_array_equal(result["sts"], synkern.phiid(series, tau=lag)["sts"])
    assert list(synkern.phiid_lags(series, tau=[4])) == [4]
    for function in (synkern.phiid, synkern.phiid_nodes, synkern.persistence_reference):
        with pytest.raises(TypeError, match=r"one lag; got \[1, 3\]: several lags are phiid_lags"):
            function(series, tau=[1, 3])
    with pytest.raises(ValueError, match="tau must be the lags of a series"):
        synkern.phiid_lags(series)


def test_gathering_goes_on_after_a_look(series):
    moments = gathered(series[:, :150], (40,))
    early = synkern.phiid(moments)["sts"]
    np.testing.assert_allclose(early, synkern.phiid(series[:, :150])["sts"], rtol=0, atol=SAME)
    moments.update(series[:, 150:])
    late = synkern.phiid(moments)["sts"]
    np.testing.assert_allclose(late, synkern.phiid(series)["sts"], rtol=0, atol=SAME)


def test_chunks_may_share_memory(series):
    moments, buffer = LaggedMoments(), np.empty((2, 10, 5))
    for start in range(0, 400, 10):
        buffer[:] = series[:, start : start + 10]
        moments.update(buffer)
    found = synkern.phiid(moments)["sts"]
    np.testing.assert_allclose(found, synkern.phiid(series)["sts"], rtol=0, atol=SAME)


@pytest.mark.parametrize("offset", [1e6, -1e8])
def test_offsets_cost_what_they_must(series, offset):
    """The input itself is rounded to eps |offset|, beside values of size 1."""
    shifted = series + offset
    found = synkern.phiid(gathered(shifted, (9,)), atoms="all")
    whole = synkern.phiid(shifted, atoms="all")
    for atom in synkern.ATOMS:
        np.testing.assert_allclose(
            found[atom], whole[atom], rtol=0, atol=100 * abs(offset) * np.finfo(float).eps
        )


@pytest.mark.parametrize("average", ["trials", "moments", "concatenate"])
@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("offset", [1e12, -1e13, 1e15])
def test_large_offsets_cost_nothing_more(series, offset, size, average):
    """Differences of numbers so near each other are exact: only what the series lost is lost."""
    shifted = series + offset
    shifted[1] += 3
    exact = synkern.phiid(shifted - offset, average=average)
    stacked = LaggedMoments.stack([gathered(trial, (size,)) for trial in shifted])
    for moments in (gathered(shifted, (size,)), stacked):
        found = synkern.phiid(moments, average=average)
        np.testing.assert_allclose(found["sts"], exact["sts"], rtol=0, atol=2e-11)


def test_an_origin_far_from_all_that_follows(series):
    """The first value is none of the future's, which must not be counted from there."""
    series[:, 0, 2] = 1e9
    found = synkern.phiid(gathered(series, (9,)), atoms="all")
    whole = synkern.phiid(series, atoms="all")
    for atom in synkern.ATOMS:
        np.testing.assert_allclose(found[atom], whole[atom], rtol=0, atol=SAME)


@pytest.mark.parametrize("average", ["trials", "moments", "concatenate"])
def test_reference_from_moments(series, average):
    found = synkern.persistence_reference(gathered(series, (33,)), atoms="all", average=average)
    whole = synkern.persistence_reference(series, atoms="all", average=average)
    for atom in synkern.ATOMS:
        np.testing.assert_allclose(found[atom], whole[atom], rtol=0, atol=SAME)
    beyond = synkern.phiid(gathered(series, (33,)), average=average).excess(
        synkern.persistence_reference(series, average=average)
    )
    assert np.isfinite(beyond["sts"][0, 1])


@pytest.mark.parametrize("pairs", [[[0, 1], [4, 2]], [[i, j] for i in range(5) for j in range(i)]])
def test_chosen_pairs(series, pairs):
    found = synkern.phiid(gathered(series, (50,)), pairs=pairs, average=None)
    i, j = np.transpose(pairs)
    expected = synkern.phiid(series, average=None)["sts"][:, i, j]
    np.testing.assert_allclose(found["sts"], expected, rtol=0, atol=SAME)


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@pytest.mark.parametrize("average", ["trials", "moments", "concatenate", None])
def test_degenerate_nodes(series, average):
    series[0, :, 1] = 0.1  # constant in one trial, and none that float64 can sum exactly
    series[:, :, 3] = 3 * series[:, :, 2] + 1  # a duplicate
    moments = gathered(series, (11,))
    found = synkern.phiid(moments, average=average)
    whole = synkern.phiid(series, average=average)
    np.testing.assert_array_equal(found.constant, whole.constant)
    trials = 2 if average in ("trials", None) else 1
    assert {tuple(flag) for flag in found.flagged} == {
        (k, 2, 3, Outcome.UNRESOLVED) for k in range(trials)
    }
    assert found.degenerate["unresolved"] == trials
    missing = np.isnan(found["sts"])
    assert missing[..., 2, 3].all()
    others = np.isnan(whole["sts"])
    others[..., [2, 3], [3, 2]] = True
    np.testing.assert_array_equal(missing, others)
    keep = ~missing
    np.testing.assert_allclose(found["sts"][keep], whole["sts"][keep], rtol=0, atol=SAME)


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@pytest.mark.parametrize("noise", [1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8])
def test_near_copies_are_right_or_flagged(rng, noise):
    series = rng.standard_normal((300, 2)).cumsum(0)
    series[:, 1] = series[:, 0] + noise * rng.standard_normal(300)
    found = synkern.phiid(gathered(series, (64,)))
    whole = synkern.phiid(series)
    if found.degenerate.get("unresolved"):
        assert noise <= 1e-4  # its square, beside the variance of a random walk, is 1e-10
        assert np.isnan(found["sts"][0, 1])
    else:
        assert found["sts"][0, 1] == pytest.approx(whole["sts"][0, 1], abs=1e-6)


def test_trials_of_different_length(series):
    parts = [gathered(series[0], (30,)), gathered(series[1, :170], (30,))]
    stacked = LaggedMoments.stack(parts)
    assert stacked.shape == (2, 400, 5)
    each = synkern.phiid(stacked, average=None)["sts"]
    for k, trial in enumerate((series[0], series[1, :170])):
        np.testing.assert_allclose(each[k], synkern.phiid(trial)["sts"], rtol=0, atol=SAME)
    equal = LaggedMoments.stack([gathered(trial, (30,)) for trial in series])
    for average in ("trials", "moments", "concatenate"):
        np.testing.assert_allclose(
            synkern.phiid(equal, average=average)["sts"],
            synkern.phiid(series, average=average)["sts"],
            rtol=0,
            atol=SAME,
        )
    with pytest.raises(ValueError, match="stacked moments take no further chunks"):
        stacked.update(series)


def test_memory_does_not_grow_with_time(rng):
    moments = LaggedMoments()
    chunk = rng.standard_normal((100, 50))
    moments.update(chunk)
    tracemalloc.start()
    for _ in range(200):
        moments.update(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * (3 * 50 * 50 + 2 * 164 * 50) * 8  # the chunks would take 8 MB
    assert moments.shape == (1, 20100, 50)


def test_float32_arithmetic(series):
    exact = synkern.phiid(series)["sts"]
    single = synkern.phiid(gathered(series, (50,)), dtype="float32")["sts"]
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, exact, rtol=0, atol=1e-5)


def test_repr(series):
    assert repr(LaggedMoments()) == "LaggedMoments(tau=1; 0 trials x 0 time x 0 nodes)"
    assert "tau=(1, 4); 2 trials x 400 time x 5 nodes" in repr(gathered(series, (7,), tau=(1, 4)))


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.zeros(5), r"chunk must be .* got shape \(5,\)"),
        (np.zeros((0, 5)), "nothing empty"),
        (np.full((3, 5), np.nan), "NaN or infinite"),
        (np.zeros((3, 6)), "chunk has 1 trials and 6 nodes, those before it 2 and 5"),
    ],
)
def test_chunks_that_cannot_be_taken(series, chunk, message):
    moments = LaggedMoments().update(series)
    with pytest.raises(ValueError, match=message):
        moments.update(chunk)
    assert moments.shape == (2, 400, 5)  # nothing of it was taken in


def test_kinds_of_array_are_not_mixed(series):
    moments = LaggedMoments().update(series)
    with pytest.raises(TypeError, match="chunk is of torch, those before it of numpy"):
        moments.update(torch.zeros(2, 3, 5))


@pytest.mark.parametrize("tau", [0, (1, 1), (), (1, 0), 1.5, "12"])
def test_lags_are_positive_and_different(tau, series):
    with pytest.raises(ValueError, match="tau must be"):
        LaggedMoments(tau)
    with pytest.raises(ValueError, match="tau must be"):
        synkern.phiid_lags(series, tau=tau)


def test_what_moments_cannot_give(series):
    moments = gathered(series, (100,))
    for options in ({"redundancy": "CCS"}, {"kind": "discrete"}):
        with pytest.raises(ValueError, match="moments suffice for kind 'gaussian'.*pass the ser"):
            synkern.phiid(moments, **options)
    with pytest.raises(ValueError, match="tau = 3 was not gathered; the moments hold 1"):
        synkern.phiid(moments, tau=3)
    with pytest.raises(ValueError, match="4 time points and tau = 2.*2 samples"):
        synkern.phiid(gathered(series[:, :4], (4,), tau=2))
    with pytest.raises(ValueError, match="0 time points and tau = 1"):
        synkern.phiid(LaggedMoments())


@needs_torch
def test_moments_stay_in_the_library_of_their_chunks(series):
    with pytest.raises(ValueError, match="the moments are of numpy; use backend='auto'"):
        synkern.phiid(gathered(series, (100,)), backend="torch")


def test_values_whose_squares_overflow(series):
    series[1, :, 3] *= 1e200
    moments = LaggedMoments().update(series)
    with pytest.raises(ValueError, match="squares of node 3 in trial 1 leave the range of float64"):
        synkern.phiid(moments)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "at least one"),
        ([1, 2], "the same lags"),
        ([1, 1], "the same nodes; got"),
        ([1], "longer than their lag"),
    ],
)
def test_stacks_that_cannot_be(series, parts, message):
    made = [
        LaggedMoments(tau).update(series[0, : 1 if len(parts) == 1 else 40, : 5 - k])
        for k, tau in enumerate(parts)
    ]
    with pytest.raises(ValueError, match=message):
        LaggedMoments.stack(made)
