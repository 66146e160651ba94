"""Recordings in place of series, and series that are 0 where nodes are idle."""

import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import synkern
from support.optional import torch
from synkern.decomposition.recorded import is_recording, warn_of_zeros

NAMES = ("L0E0", "L0E1", "L0E2", "L0E3", "L1E0", "L1E1")


@pytest.fixture
def routed(rng):
    """Three trials of six experts, two of which are used at a time; one never in trial 1."""
    scores = rng.standard_normal((3, 80, 6))
    scores[1, :, 4] = -np.inf
    chosen = scores >= np.sort(scores, -1)[..., -2:-1]
    return np.where(chosen, rng.uniform(0.5, 2, scores.shape), 0.0)


def recording(series, *, zero_filled):
    nodes = tuple(SimpleNamespace(label=name) for name in NAMES)
    return SimpleNamespace(series=series, nodes=nodes, zero_filled=zero_filled, kinds=("experts",))


VERBS = {
    "phiid": synkern.phiid,
    "phiid_nodes": synkern.phiid_nodes,
    "phiid_lags": lambda series, **options: synkern.phiid_lags(series, tau=[1], **options)[1],
    "null_test": lambda series, **options: synkern.null_test(series, n=19, **options),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
@pytest.mark.filterwarnings("ignore:.*degenerate|.*fewer than 5:UserWarning")
@pytest.mark.filterwarnings("ignore:cross_trial|.*trials:UserWarning")
def test_a_recording_is_its_series(rng, routed, verb):
    dense = rng.standard_normal((3, 80, 6))
    for series, zero_filled, kind in ((dense, False, "gaussian"), (routed, True, "discrete")):
        found = verb(recording(series, zero_filled=zero_filled))
        assert found.kind == kind
        assert found.node_names == NAMES
        same = verb(series, kind=kind)
        assert same.node_names is None
        values = (found.observed, same.observed) if hasattr(found, "observed") else (found, same)
        np.testing.assert_array_equal(values[0]["sts"], values[1]["sts"])
    asked = verb(recording(dense, zero_filled=False), kind="discrete", node_names=range(6))
    assert asked.kind == "discrete"
    assert asked.node_names == tuple("012345")


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
@pytest.mark.parametrize("kind", ["", 0, False])
def test_what_is_not_given_is_none_alone(rng, verb, kind):
    series = rng.standard_normal((3, 80, 6))
    for given in (series, recording(series, zero_filled=False)):
        with pytest.raises(ValueError, match="kind must be one of 'gaussian', 'discrete'; got"):
            verb(given, kind=kind)


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_no_gaussian_for_idle_nodes(routed, verb):
    message = (
        "kind 'gaussian' does not suit this recording of experts: most samples of a node are "
        "exactly 0.*kind='discrete'.*signal='gate' or 'dense'"
    )
    with pytest.raises(ValueError, match=message):
        verb(recording(routed, zero_filled=True), kind="gaussian")


def test_no_persistence_reference_of_idle_nodes(rng, routed):
    with pytest.raises(ValueError, match="has such a distribution; record another signal"):
        synkern.persistence_reference(recording(routed, zero_filled=True))
    found = synkern.persistence_reference(
        recording(rng.standard_normal((3, 80, 6)), zero_filled=False)
    )
    assert found.node_names == NAMES


def test_several_kinds_have_another_way_out(routed):
    both = recording(routed, zero_filled=True)
    both.kinds = ("heads", "experts")
    with pytest.raises(
        ValueError, match=r"recording of heads and experts: .* \(or series.of\(...\)"
    ):
        synkern.phiid(both, kind="gaussian")


def test_a_node_that_is_never_used_is_constant_and_counted(routed):
    """Its pairs have no value in that trial, and the mean of the others."""
    said = r"5 of 45 \(trial, pair\) are degenerate: 5 constant \(1 of 18 \(trial, node\) are"
    with pytest.warns(UserWarning, match=said):
        found = synkern.phiid(recording(routed, zero_filled=True))
    assert np.argwhere(found.constant).tolist() == [[1, 4]]
    assert found.degenerate["constant"] == 5
    alone = synkern.phiid(routed[[0, 2]], kind="discrete")
    np.testing.assert_allclose(found["sts"][4], alone["sts"][4], rtol=0, atol=1e-15)
    with pytest.warns(UserWarning, match=said):
        apart = synkern.phiid(routed, kind="discrete", average=None)
    assert np.isnan(apart["sts"][1, 4]).all()
    assert np.isfinite(apart["sts"][0, 4, :4]).all()
    with pytest.warns(UserWarning, match=said):
        means = synkern.phiid_nodes(recording(routed, zero_filled=True))
    assert means.constant.sum() == 1
    assert (means.pairs == 5).all()


class Incomplete:
    zero_filled = False
    nodes = ()

    @property
    def series(self):
        raise RuntimeError("not complete")


def test_what_is_a_recording(rng):
    assert not is_recording(rng.standard_normal((3, 2)))
    assert not is_recording([[1.0, 2.0]])
    with pytest.raises(RuntimeError, match="not complete"):
        synkern.phiid(Incomplete())


def test_a_series_of_zeros_is_warned_of(rng, routed):
    routed = routed[[0, 2]]
    with pytest.warns(UserWarning, match=r"6 of 6 nodes are exactly 0 at most samples.*'discrete'"):
        synkern.phiid(routed)
    with pytest.warns(UserWarning, match="6 of 6 nodes"):
        synkern.phiid(torch.from_numpy(routed).float())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        synkern.phiid(routed, kind="discrete")
        dense = rng.standard_normal((2, 80, 6))
        synkern.phiid(dense)
        dense[..., :2] = routed[..., :2]  # few nodes
        synkern.phiid(dense)
        synkern.phiid(np.maximum(rng.standard_normal((2, 80, 6)), -0.3))


def test_the_look_for_zeros_is_short(rng):
    """It takes 1.4 microseconds here, of the 200 of a call; some tens on a busy machine."""
    series = rng.standard_normal((3, 60, 8))
    took = []
    for _ in range(50):
        start = time.process_time()
        for _ in range(20):
            warn_of_zeros(series)
        took.append((time.process_time() - start) / 20)
    assert min(took) < 2e-5
