"""Masks of valid samples: only pairs count whose two ends are valid, whatever lies elsewhere.

What is expected is put together pair by pair, in loops, and decomposed by the reference.
Tolerances: 1e-12 where only the order of sums differs, of some hundred numbers near 1 (2e-14), seen
through the logarithm of a determinant of about 0.1; 1e-9 is the promise against the reference.
"""

import contextlib
import itertools

import numpy as np
import pytest

import synkern
from support.bounded import bounded
from support.optional import torch
from synkern import ATOMS
from synkern.decomposition.reference import local_pair, phiid_pair
from synkern.kernels import ESTIMATORS, LEAST_SUM, Limits

estimators = pytest.mark.parametrize(("kind", "redundancy"), ESTIMATORS)


@pytest.fixture
def series(rng):
    """Four trials of unequal level; persistent nodes that are related."""
    values = rng.standard_normal((4, 90, 4))
    for t in range(1, 90):
        values[:, t] += 0.6 * values[:, t - 1] + 0.2 * values[:, t - 1, [1, 2, 3, 0]]
    return values + 3 * rng.standard_normal((4, 1, 4))


@pytest.fixture
def mask(rng):
    """Gaps of one to three samples; no two trials keep as many pairs."""
    valid = np.ones((4, 90), bool)
    for trial in range(4):
        for start in rng.choice(87, 2 + 2 * trial, replace=False):
            valid[trial, start : start + rng.integers(1, 4)] = False
    return valid


@pytest.fixture
def holes(series, mask):
    """What a mask must hide."""
    series[~mask] = np.where(np.arange((~mask).sum())[:, None] % 2, np.nan, np.inf)
    return series


def pairs_of(series, mask, tau):
    """(past, future) of every trial, (pairs, nodes) each, one pair after another."""
    found = []
    for trial, valid in zip(series, mask, strict=True):
        times = [t for t in range(len(trial) - tau) if valid[t] and valid[t + tau]]
        found.append(([trial[t] for t in times], [trial[t + tau] for t in times]))
    return [(np.array(past), np.array(future)) for past, future in found]


def expected(pairs, i, j, kind, redundancy):
    """The reference takes a series: the pasts, then the futures."""
    past, future = pairs
    both = np.concatenate([past, future])
    return phiid_pair(both[:, i], both[:, j], len(past), kind, redundancy)


def pooled(pairs, average, kind):
    if average == "moments":
        pairs = [tuple(part - part.mean(0) for part in trial) for trial in pairs]
        if kind == "discrete":
            pairs = [tuple((part > 0).astype(float) for part in trial) for trial in pairs]
    return tuple(np.concatenate(side) for side in zip(*pairs, strict=True))


@estimators
@pytest.mark.parametrize("tau", [1, 3])
def test_only_pairs_of_valid_samples_count(mask, holes, backend, kind, redundancy, tau):
    options = {"tau": tau, "mask": mask, "kind": kind, "redundancy": redundancy}
    options |= {"backend": backend, "atoms": "all"}
    found = synkern.phiid(holes, average=None, **options)
    mean = synkern.phiid(holes, average="trials", **options)
    pairs = pairs_of(holes, mask, tau)
    assert len({len(past) for past, _ in pairs}) == 4
    for i, j in [(0, 1), (3, 2)]:
        each = [expected(trial, i, j, kind, redundancy) for trial in pairs]
        for atom in ATOMS:
            wanted = [one[atom] for one in each]
            assert found[atom][:, i, j] == pytest.approx(wanted, abs=1e-9)
            assert mean[atom][i, j] == pytest.approx(np.mean(wanted), abs=1e-9)
    assert found.shape == mean.shape == (4, 90, 4)
    np.testing.assert_array_equal(mean.valid_trials(), 4 - 4 * np.eye(4))


@estimators
@pytest.mark.parametrize("average", ["moments", "concatenate"])
def test_pooled_pairs(mask, holes, backend, kind, redundancy, average):
    found = synkern.phiid(
        holes, mask=mask, kind=kind, redundancy=redundancy, average=average, backend=backend
    )
    joined = pooled(pairs_of(holes, mask, 1), average, kind)
    for i, j in [(0, 2), (3, 1)]:
        wanted = expected(joined, i, j, kind, redundancy)
        for atom in found:
            assert found[atom][i, j] == pytest.approx(wanted[atom], abs=1e-9)


@estimators
@pytest.mark.parametrize("average", ["trials", None, "moments", "concatenate"])
def test_a_mask_that_leaves_nothing_out_changes_no_bit(series, kind, redundancy, average):
    options = {"kind": kind, "redundancy": redundancy, "average": average}
    without = synkern.phiid(series, **options)
    for mask in (np.ones(90, bool), np.ones((4, 90), bool), [True] * 90, torch.ones(4, 90) > 0):
        found = synkern.phiid(series, mask=mask, **options)
        for atom in found:
            np.testing.assert_array_equal(found[atom], without[atom])


@pytest.mark.parametrize("average", ["trials", None, "moments", "concatenate"])
def test_trials_of_equal_gaps_are_one_batch(series, backend, average):
    """The same mask for all, of (time,): the pieces as if they had been cut out by hand."""
    series = series[:2, :50]  # CCS goes from sample to sample, which takes an interpreter long.
    mask = np.ones(50, bool)
    mask[34:] = False
    options = {"average": average, "backend": backend, "redundancy": "CCS", "tau": (1, 2)}
    found = synkern.phiid_lags(series, mask=mask, **options)
    cut = synkern.phiid_lags(series[:, :34], **options)
    for tau in (1, 2):
        for atom in found[tau]:
            np.testing.assert_allclose(found[tau][atom], cut[tau][atom], rtol=0, atol=1e-12)


@estimators
@pytest.mark.parametrize("average", ["trials", None, "concatenate"])
def test_chosen_pairs_and_node_means(mask, holes, backend, kind, redundancy, average):
    options = {"mask": mask, "kind": kind, "redundancy": redundancy, "average": average}
    options |= {"backend": backend}
    every = synkern.phiid(holes, **options)
    chosen = synkern.phiid(holes, pairs=[[3, 0], [1, 2]], **options)
    nodes = synkern.phiid_nodes(holes, **options)
    both = every["sts"] + every["rtr"]
    share = np.where(both > LEAST_SUM, every["sts"] / np.where(both > LEAST_SUM, both, 1), np.nan)
    for atom in every:
        picked = every[atom][..., [3, 1], [0, 2]]
        np.testing.assert_allclose(chosen[atom], picked, rtol=0, atol=1e-12)
        means = np.nanmean(every[atom], -1)
        np.testing.assert_allclose(nodes[atom], means, rtol=0, atol=1e-12)
    assert (nodes.pairs == 3).all()
    for node in np.ndindex(nodes.balance.shape):
        of_node = share[node][np.isfinite(share[node])]
        wanted = of_node.mean() if len(of_node) else np.nan
        assert nodes.balance[node] == pytest.approx(wanted, abs=1e-9, nan_ok=True)


def test_float32(mask, holes, backend):
    """Its promise is 1e-5; what comes out is of that type however trials are put together."""
    for average in ("trials", None, "concatenate"):
        options = {"mask": mask, "average": average, "backend": backend}
        found = synkern.phiid(holes.astype("f4"), dtype="float32", **options)
        wanted = synkern.phiid(holes.astype("f4"), **options)
        for atom in found:
            assert found[atom].dtype == np.float32
            np.testing.assert_allclose(found[atom], wanted[atom], rtol=0, atol=2e-5)


def test_node_means_of_several_blocks(mask, holes):
    """Blocks and parts of trials as small as they get: the whole is the same."""
    whole = synkern.phiid_nodes(holes, mask=mask, atoms="all")
    cut = bounded(holes, Limits(side=3, apart=1), mask=mask, by_node=True, names=synkern.ATOMS)
    for atom in whole:
        np.testing.assert_allclose(cut[atom], whole[atom], rtol=0, atol=1e-13)
    np.testing.assert_array_equal(cut.pairs, whole.pairs)


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@pytest.mark.parametrize("average", ["trials", None])
def test_degenerate_over_valid_samples(mask, holes, backend, average):
    """Constant, and coinciding, where it is valid; what becomes of it is told as ever."""
    holes[2, mask[2], 1] = 7.0
    holes[3, mask[3], 2] = holes[3, mask[3], 0]
    found = synkern.phiid(holes, mask=mask, average=average, backend=backend)
    constant = np.zeros((4, 4), bool)
    constant[2, 1] = True
    np.testing.assert_array_equal(found.constant, constant)
    assert found.flagged[:, :3].tolist() == [[3, 0, 2]]
    assert found.degenerate == {"constant": 3, "deterministic": 0, "duplicate": 1}
    valid = found.valid_trials()
    assert valid[1, [0, 2, 3]].tolist() == [3, 3, 3]
    assert valid[0, 2] == 4
    pairs = pairs_of(holes, mask, 1)
    wanted = np.mean([expected(pairs[k], 1, 3, "gaussian", "MMI")["sts"] for k in (0, 1, 3)])
    mean = found if average else found.trial_mean()
    assert mean["sts"][1, 3] == pytest.approx(wanted, abs=1e-9)
    nodes = synkern.phiid_nodes(holes, mask=mask, average=average, backend=backend)
    assert nodes.degenerate == found.degenerate
    np.testing.assert_array_equal(nodes.constant, constant)


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@pytest.mark.filterwarnings("ignore:.* nodes take more than two levels:UserWarning")
@pytest.mark.parametrize("kind", ["gaussian", "discrete"])
def test_constant_in_every_trial_but_of_unequal_level(mask, holes, backend, kind):
    """About their own means such trials are constant, whatever rounding makes of the mean."""
    for trial, level in enumerate((0.1, 0.3, 1e6 + 0.1, 0.7)):
        holes[trial, mask[trial], 1] = level
    found = synkern.phiid(holes, mask=mask, average="moments", kind=kind, backend=backend)
    assert found.constant.tolist() == [[False, True, False, False]]
    assert np.isnan(found["sts"][1]).all()


def test_persistence_reference(mask, holes, backend):
    found = synkern.persistence_reference(holes, mask=mask, average=None, backend=backend)
    for trial, (past, future) in enumerate(pairs_of(holes, mask, 1)):
        alone, tau = synkern.lagged_pairs(past, future)
        wanted = synkern.persistence_reference(alone, tau=tau, backend=backend)
        for atom in found:
            np.testing.assert_allclose(found[atom][trial], wanted[atom], rtol=0, atol=1e-12)


def test_gradient_reaches_valid_samples_alone(mask, holes):
    for average in ("trials", "moments", "concatenate", None):
        leaf = torch.tensor(np.nan_to_num(holes, posinf=5.0), requires_grad=True)
        synkern.phiid(leaf, mask=mask, average=average)["sts"][..., 0, 1].sum().backward()
        gradient = leaf.grad.numpy()
        assert np.isfinite(gradient).all()
        assert (gradient[~mask] == 0).all()
        step = 1e-6
        for trial, time in ((0, np.flatnonzero(mask[0])[20]), (3, np.flatnonzero(mask[3])[40])):
            values = []
            for sign in (1, -1):
                moved = leaf.detach().clone()
                moved[trial, time, 0] += sign * step
                atom = synkern.phiid(moved, mask=mask, average=average)["sts"][..., 0, 1]
                values.append(float(atom.sum()))
            # Central differences: step^2 of the third derivative and 1e-15 / step of rounding.
            slope = (values[0] - values[1]) / (2 * step)
            assert gradient[trial, time, 0] == pytest.approx(slope, abs=1e-7)


@pytest.mark.brief
def test_a_short_recording_on_every_backend(mask, holes, backend):
    part = torch.tensor(holes[:2, :40, :2])
    options = {"mask": mask[:2, :40], "average": None}
    found, wanted = (synkern.phiid(part, backend=name, **options) for name in (backend, "numpy"))
    assert found.backend == backend
    for atom in found:
        np.testing.assert_allclose(found[atom], wanted[atom], rtol=0, atol=1e-12)


def test_pieces_equal_stacked_moments(series):
    """Around scrubbed samples: one trial under a mask, its pieces as trials, and as moments."""
    one, mask = series[0], np.ones(90, bool)
    mask[[4, 12, 13, 30, 33, 36, 41, 60, 77]] = False
    edges = np.flatnonzero(np.diff(np.r_[0, mask.astype(int), 0]))
    pieces = [one[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    moments = synkern.LaggedMoments.stack(
        [synkern.LaggedMoments().update(piece) for piece in pieces if len(piece) > 1]
    )
    padded, of_pieces = synkern.stack_trials(pieces)
    assert min(map(len, pieces)) < 5
    found = synkern.phiid(one, mask=mask)
    short = pytest.warns(UserWarning, match="its own mean|for the means of their own")
    for average, said in (("moments", short), ("concatenate", contextlib.nullcontext())):
        with said:
            wanted = synkern.phiid(moments, average=average)
            stacked = synkern.phiid(padded, mask=of_pieces, average=average)
        for atom in found:
            np.testing.assert_allclose(stacked[atom], wanted[atom], rtol=0, atol=1e-12)
            if average == "concatenate":
                np.testing.assert_allclose(found[atom], wanted[atom], rtol=0, atol=1e-12)


@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("average", [None, "moments", "concatenate"])
def test_moments_in_chunks(mask, holes, library, average):
    moments = synkern.LaggedMoments((1, 3))
    cuts = [0, 1, 2, 7, 40, 41, 90]
    for start, stop in itertools.pairwise(cuts):
        moments.update(library(holes[:, start:stop]), mask=mask[:, start:stop])
    found = synkern.phiid_lags(moments, average=average)
    wanted = synkern.phiid_lags(holes, mask=mask, tau=(1, 3), average=average)
    for tau in (1, 3):
        for atom in wanted[tau]:
            np.testing.assert_allclose(found[tau][atom], wanted[tau][atom], rtol=0, atol=1e-12)


def test_moments_of_a_trial_that_begins_late(series):
    """No valid sample in the first products formed, of another trial all."""
    mask = np.ones((2, 90), bool)
    mask[0, :70] = False
    moments = synkern.LaggedMoments()
    for start in (0, 66):
        stop = start + 66
        moments.update(series[:2, start:stop], mask=mask[:, start:stop])
    few = pytest.warns(UserWarning, match="trial 0 has (20 valid|19 samples)")
    for average in (None, "concatenate", "moments"):
        with few if average is None else contextlib.nullcontext():
            found = synkern.phiid(moments, average=average)
            wanted = synkern.phiid(series[:2], mask=mask, average=average)
        for atom in found:
            np.testing.assert_allclose(found[atom], wanted[atom], rtol=0, atol=1e-12)


@estimators
def test_pointwise(mask, holes, kind, redundancy):
    options = {"kind": kind, "redundancy": redundancy}
    found = synkern.phiid_local(holes, [[0, 1], [3, 2]], tau=2, mask=mask, **options)
    assert found.shape == (4, 2, 16, 88)
    counts = mask[:, :-2] & mask[:, 2:]
    for trial, (past, future) in enumerate(pairs_of(holes, mask, 2)):
        both = np.concatenate([past, future])
        for k, (i, j) in enumerate([(0, 1), (3, 2)]):
            wanted = local_pair(both[:, i], both[:, j], len(past), **options)
            for row, atom in enumerate(ATOMS):
                values = found[trial, k, row]
                assert np.isnan(values[~counts[trial]]).all()
                assert values[counts[trial]] == pytest.approx(wanted[atom], abs=1e-9)


@estimators
def test_pointwise_fitted_to_other_samples(mask, holes, kind, redundancy):
    """Fitted to pairs of all trials, evaluated where two are valid; either mask alone too."""
    options = {"kind": kind, "redundancy": redundancy}
    whole = np.nan_to_num(holes, nan=0.5, posinf=-0.5)
    past, future = pooled(pairs_of(holes, mask, 1), "concatenate", kind)
    fit = np.concatenate([past, future])
    # Every pair is a trial of its own time points: no lag but the one that is meant.
    trials = np.stack([past, future], 1)
    wanted = synkern.phiid_local(whole, [[0, 1]], fit=trials, **options)
    assert len(fit) == 2 * len(trials)
    one_mask = synkern.phiid_local(whole, [[0, 1]], fit=holes, fit_mask=mask, **options)
    np.testing.assert_allclose(one_mask, wanted, rtol=0, atol=1e-10)
    both = synkern.phiid_local(holes, [[0, 1]], mask=mask, fit=holes, fit_mask=mask, **options)
    counts = mask[:, :-1] & mask[:, 1:]
    for trial in range(4):
        kept = both[trial][..., counts[trial]]
        np.testing.assert_allclose(kept, wanted[trial][..., counts[trial]], rtol=0, atol=1e-10)
        assert np.isnan(both[trial][..., ~counts[trial]]).all()


def test_null_of_samples_that_all_trials_have(rng):
    series = rng.standard_normal((6, 60, 3))
    mask = np.ones((6, 60), bool)
    mask[1, 10:14] = mask[4, 50:] = False
    series[~mask] = np.nan
    options = {"n": 39, "seed": 3, "redundancy": "MMI"}
    found = synkern.null_test(series, mask=mask, **options)
    common = mask.all(0)
    pairs = pairs_of(series, np.tile(common, (6, 1)), 1)
    alone, tau = synkern.lagged_pairs(*(np.stack(side) for side in zip(*pairs, strict=True)))
    wanted = synkern.null_test(alone, tau=tau, **options)
    for atom in ("rtr", "sts"):
        np.testing.assert_array_equal(found.p[atom], wanted.p[atom])
        np.testing.assert_array_equal(found.observed[atom], wanted.observed[atom])
    assert found.tau == 1
    for null in ("row_shift", "circular", "block", "phase"):
        with pytest.raises(ValueError, match=f"null '{null}' moves values in time past the gaps"):
            synkern.null_test(series, null, mask=mask)
    mask[2, ::2] = False
    with pytest.raises(ValueError, match="mask leaves 0 pairs of samples tau = 1.*each of the 6"):
        synkern.null_test(series, mask=mask)


@pytest.mark.filterwarnings("ignore:.* nodes take more than two levels:UserWarning")
@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@pytest.mark.parametrize("average", ["trials", None, "moments", "concatenate"])
@pytest.mark.parametrize("kind", ["gaussian", "discrete"])
def test_constant_up_to_rounding_and_extreme_over_valid_samples(rng, backend, kind, average):
    """What gaps hide takes no part in either: in the scale of a node, nor in its rounding."""
    series, mask = rng.standard_normal((3, 90, 4)), rng.random((3, 90)) > 0.1
    wanted = synkern.phiid(series, mask=mask, kind=kind, average=average, backend=backend)
    series[..., 0] *= 2.0**1000
    series[:, :, 2] = 0.3 + 2.0**-54 * rng.integers(0, 3, (3, 90))
    series[~mask] = 1e5
    found = synkern.phiid(series, mask=mask, kind=kind, average=average, backend=backend)
    assert found.constant[:, 2].all()
    assert found.constant.sum() == len(found.constant)
    for atom in found:
        others = found[atom][..., [0, 0, 1], [1, 3, 3]]
        same = wanted[atom][..., [0, 0, 1], [1, 3, 3]]
        np.testing.assert_allclose(others, same, rtol=0, atol=1e-12)


def test_moments_of_a_far_offset_with_gaps(rng):
    """Each trial has an origin of its own, the first valid sample, also where it begins late."""
    series, mask = rng.standard_normal((2, 200, 3)), rng.random((2, 200)) > 0.1
    mask[0, :70] = False
    # Of 2^-20, so that the offset of 2^30 leaves it exact.
    series = np.round(series * 2.0**20) / 2.0**20
    moments, near = synkern.LaggedMoments(), synkern.LaggedMoments()
    for start in range(0, 200, 66):
        part = slice(start, start + 66)
        moments.update(series[:, part] + 2.0**30, mask=mask[:, part])
        near.update(series[:, part], mask=mask[:, part])
    found, wanted = (synkern.phiid(m, average=None) for m in (moments, near))
    for atom in found:
        np.testing.assert_allclose(found[atom], wanted[atom], rtol=0, atol=1e-12)
