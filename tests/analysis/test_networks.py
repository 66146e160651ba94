"""Networks of synergy and redundancy: planted structure stands out from nulls, chance does not."""

import json

import numpy as np
import pytest

import synkern
from synkern.analysis import (
    NetworkIntervals,
    NodeAverages,
    TrialAverages,
    WeightedGraph,
    network_intervals,
    networks,
    plot_network,
)
from synkern.analysis.graph import intervals, measures, topology
from synkern.analysis.graph.communities import adjusted_rand
from synkern.analysis.graph.results import MEASURES, ratio_to_null
from synkern.analysis.graph.weights import DENSITIES

pytest.importorskip("sknetwork", reason="the extra networks is not installed")

NODES = 24
LAYERS = np.repeat(np.arange(6), 4)
HALVES = np.repeat([0, 1], 12)
FAST = {"runs": 5, "draws": 39, "densities": (0.2, 0.4), "resolutions": (0.5,)}


def noise(rng, level=0.4):
    weights = np.triu(np.exp(level * rng.standard_normal((NODES, NODES))), 1)
    return weights + weights.T


def two_graphs():
    rng = np.random.default_rng(15)
    return noise(rng), noise(rng) * np.where(HALVES[:, None] == HALVES, 3.0, 1.0)


@pytest.fixture
def planted():
    """Synergy without structure, redundancy in two halves."""
    return two_graphs()


@pytest.fixture(scope="module")
def found():
    return networks(*two_graphs(), LAYERS, **FAST)


def test_planted_blocks_stand_out_from_every_null(found):
    for null in ("weights", "strengths", "layers"):
        at = found.redundancy.null_densities == 1
        beside = found.redundancy.against(null, "modularity")
        assert beside.p[at] == 2 / 40
        assert beside.ratio[at] > 1.3
        assert beside.z[at] > 5
    np.testing.assert_array_equal(found.redundancy.consensus, HALVES)
    np.testing.assert_array_equal(found.redundancy.partition, HALVES)


def test_chance_does_not(found):
    """Weights without structure are a draw of their own nulls: here no |z| of any is large."""
    for null in ("weights", "strengths", "layers"):
        for measure in ("efficiency", "modularity", "clustering", "path_length"):
            beside = found.synergy.against(null, measure)
            assert (np.abs(beside.z) < 3.5).all(), (null, measure, beside.z)
        for measure in ("efficiency", "modularity"):
            ratio = found.synergy.against(null, measure).ratio[-1]
            np.testing.assert_allclose(ratio, 1, atol=0.2)


def test_p_values_of_chance_are_not_small_too_often():
    """Of 40 graphs without structure, about four have p <= 0.1 by each of two measures."""
    small = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        few = {"runs": 2, "draws": 19, "densities": (), "resolutions": (), "nulls": ("weights",)}
        net = networks(noise(rng), noise(rng), LAYERS, **few)
        for one in (net.synergy, net.redundancy):
            small.append(
                [one.against("weights", m).p[0] <= 0.1 for m in ("efficiency", "modularity")]
            )
    # Binomial(40, 0.1): more than 11 have a chance of 0.0005.
    assert (np.sum(small, axis=0) <= 11).all()


def test_raw_values_are_those_of_the_formulas(planted, found):
    for matrix, net in zip(planted, (found.synergy, found.redundancy), strict=True):
        assert net.published["efficiency"] == measures.paths(matrix).efficiency
        assert net.whole("modularity") == net.published["modularity"] == net.run_modularity.mean()
        best = measures.modularity(matrix, net.partition)
        np.testing.assert_allclose(net.run_modularity.max(), best, rtol=1e-12)
        off = matrix[~np.eye(NODES, dtype=bool)]
        np.testing.assert_allclose(
            net.efficiency_per_weight, net.published["efficiency"] / off.mean(), rtol=1e-12
        )
        np.testing.assert_allclose(net.layer_modularity, measures.modularity(matrix, LAYERS))
        assert net.layer_agreement == adjusted_rand(net.consensus, LAYERS)
        np.testing.assert_allclose(
            net.participation, measures.participation(matrix, net.consensus), rtol=1e-12
        )


def test_densities_and_resolutions(planted, found):
    net = found.redundancy
    assert net.densities.tolist() == net.null_densities.tolist() == [0.2, 0.4, 1.0]
    # The strongest fifth of the pairs: their mean at most, and more than nothing.
    assert (np.diff(net.measured["efficiency"]) > 0).all()
    two = net.measured["modularity"][:2]
    np.testing.assert_allclose(net.area["modularity"], two.mean(), rtol=1e-12)
    assert net.resolutions.tolist() == [0.5, 1.0]
    assert net.swept_communities.tolist() == [1, 2]
    assert net.swept_agreement[0] == 0
    sparse = networks(*planted, LAYERS, runs=2, draws=2, densities=(0.1,), resolutions=())
    assert np.isnan(sparse.synergy.area["efficiency"])
    assert sparse.synergy.resolutions.tolist() == [1.0]


def test_small_world_is_clustering_by_path_length(found):
    net = found.redundancy
    ratio = {m: net.against("weights", m).ratio[-1] for m in ("clustering", "path_length")}
    assert net.small_world == ratio["clustering"] / ratio["path_length"]
    without = networks(noise(np.random.default_rng(0)), noise(np.random.default_rng(1)), LAYERS,
                       runs=2, draws=2, nulls=("layers",))  # fmt: skip
    assert np.isnan(without.synergy.small_world)


def test_many_nodes_have_fewer_nulls(planted, monkeypatch):
    monkeypatch.setattr("synkern.analysis.graph.topology._MANY_NODES", NODES - 1)
    few = {"runs": 2, "densities": (0.3,), "resolutions": (), "nulls": ("weights",)}
    found = networks(*planted, LAYERS, **few)
    assert found.draws == 20
    assert found.synergy.null_densities.tolist() == [1.0]
    assert found.synergy.densities.tolist() == [0.3, 1.0]
    assert found.synergy.against("weights", "modularity").observed == found.synergy.whole(
        "modularity"
    )


def same(one, other):
    for graph in ("synergy", "redundancy"):
        a, b = getattr(one, graph), getattr(other, graph)
        np.testing.assert_array_equal(a.run_modularity, b.run_modularity)
        np.testing.assert_array_equal(a.swept_modularity, b.swept_modularity)
        for measure in a.measured:
            np.testing.assert_array_equal(a.measured[measure], b.measured[measure])
        for null in set(a.nulls) & set(b.nulls):
            for measure, values in a.nulls[null].items():
                np.testing.assert_array_equal(values, b.nulls[null][measure])


def test_a_seed_gives_the_same_whoever_works_and_whatever_else_is_asked(planted):
    few = {"runs": 22, "draws": 2, "densities": (0.3,), "resolutions": (2.0,)}  # 22: in two parts
    one = networks(*planted, LAYERS, seed=3, **few)
    same(one, networks(*planted, LAYERS, seed=3, workers=2, **few))
    same(one, networks(*planted, LAYERS, seed=3, nulls=("layers",), **few))
    other = networks(*planted, LAYERS, seed=4, **few)
    assert (one.synergy.nulls["weights"]["efficiency"] != 0).all()
    assert (
        one.synergy.nulls["weights"]["efficiency"] != other.synergy.nulls["weights"]["efficiency"]
    ).all()


def test_missing_and_negative_pairs_are_in_the_result(planted):
    sts, rtr = planted
    sts[0, 1] = sts[1, 0] = np.nan
    rtr[2, 3] = rtr[3, 2] = -0.1
    found = networks(sts, rtr, LAYERS, runs=2, draws=2, densities=())
    assert found.synergy.graph.missing.tolist() == [[0, 1]]
    assert found.redundancy.graph.negative.tolist() == [[2, 3]]
    assert found.redundancy.graph.negative_sum == -0.1
    assert found.negative.startswith("no edge")
    rtr[:3] = rtr[:, :3] = -1
    with pytest.raises(ValueError, match=r"pairs of rtr are negative"):
        networks(sts, rtr, LAYERS)


def test_the_sign_of_the_correlation_over_nodes(rng):
    level = rng.permutation(np.arange(1.0, NODES + 1))
    sts = level[:, None] + level
    opposite = sts.max() + 1 - sts
    for rtr, sign in ((sts**2, 1), (opposite, -1)):
        found = networks(sts, rtr, LAYERS, runs=2, draws=2, densities=(), nulls=())
        assert found.spearman == pytest.approx(sign, abs=1e-12)
        assert sign * found.pearson > 0.9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": LAYERS[:5]}, "layers has shape"),
        ({"densities": (0.0, 0.5)}, r"one of densities = 0.0; give a share of the pairs, above 0"),
        ({"densities": (0.001,)}, r"= 0.001 of 276 pairs is none of them; give at least 0.0036"),
        ({"densities": (0.1,), "null_densities": (0.2,)}, "choose from densities"),
        ({"resolutions": (0.0,)}, "resolutions has 0.0"),
        ({"runs": 1}, "runs = 1; give a whole number of at least 2"),
        ({"draws": 1}, "draws = 1"),
        ({"workers": 0}, "workers = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"nulls": ("rewired",)}, "nulls must be one of 'weights', 'strengths', 'layers'"),
        ({"rtr": np.ones((5, 5))}, "sts has 24 nodes and rtr 5"),
    ],
)
def test_errors_name_the_argument(planted, options, said):
    given = {"sts": planted[0], "rtr": planted[1], "layers": LAYERS} | options
    with pytest.raises(ValueError, match=said):
        networks(**given)


def averages_of(rng, planted, trials=8):
    sts, rtr = planted
    drawn = [[m * noise(rng, 0.3) for m in (sts, rtr)] for _ in range(trials)]
    atoms = {name: np.array([d[k] for d in drawn]) for k, name in enumerate(("sts", "rtr"))}
    return TrialAverages.of([atoms])


def test_intervals_over_trials(rng, planted):
    averages = averages_of(rng, planted)
    progress = []
    found = network_intervals(averages, LAYERS, bootstrap=30, seed=1, progress=progress.append)
    assert sum(progress) == 30
    assert found.raw["efficiency"].shape == found.ratio["layers"]["modularity"].shape == (30, 2)
    low, high = found.difference("modularity", "weights")
    assert low < high < 0  # redundancy is the one in two halves
    raw = found.interval(found.raw["efficiency"])
    mean = averages.mean()
    # The mean of all trials lies among those of drawn ones.
    assert raw[0, 0] < measures.paths(WeightedGraph.of(mean["sts"]).weights).efficiency < raw[1, 0]
    again = network_intervals(averages, LAYERS, bootstrap=30, seed=1, workers=2)
    np.testing.assert_array_equal(found.spearman, again.spearman)
    np.testing.assert_array_equal(
        found.ratio["strengths"]["modularity"], again.ratio["strengths"]["modularity"]
    )


def test_a_ratio_to_a_null_in_one_piece_is_not_there():
    values, null = np.array([[0.1, 0.2], [0.1, 0.2]]), np.array([[0.05, 0.0], [0.05, -1e-17]])
    found = ratio_to_null("modularity", values, null)
    np.testing.assert_array_equal(found, [[2, np.nan], [2, np.nan]])
    one = NetworkIntervals({}, {}, np.zeros(2), 0, "", 0.95, 2)
    np.testing.assert_array_equal(one.interval(found), [[2, np.nan], [2, np.nan]])
    assert one.interval(np.array([1.0, 1.0])).tolist() == [1, 1]
    # Few that are missing are left out, more are not.
    many = np.arange(100.0)
    many[:5] = np.nan
    assert one.interval(many)[0] == pytest.approx(np.percentile(many[5:], 2.5))
    many[5] = np.nan
    assert np.isnan(one.interval(many)).all()


def test_intervals_need_single_pairs_and_trials(rng, planted):
    series = rng.standard_normal((3, 40, 6))
    by_node = NodeAverages.of([synkern.phiid_nodes(series, average=None)])
    with pytest.raises(ValueError, match="give TrialAverages"):
        network_intervals(by_node, [0, 0, 1, 1, 2, 2])
    averages = averages_of(rng, planted, trials=1)
    with pytest.raises(ValueError, match="at least 2"):
        network_intervals(averages, LAYERS)
    averages = averages_of(rng, planted, trials=2)
    for options in ({"bootstrap": 5}, {"confidence": 1.0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            network_intervals(averages, LAYERS, **options)


def test_the_drawing_has_the_strongest_edges(planted):
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    figure = plot_network(planted[1], LAYERS, density=0.1, title="50 % of $x$")
    axes, bar = figure.axes
    assert axes.get_title() == "50 % of $x$"
    assert bar.get_ylabel() == "layer"
    (edges,) = [c for c in axes.collections if hasattr(c, "get_segments")]
    pairs = NODES * (NODES - 1) // 2
    assert len(edges.get_segments()) == round(0.1 * pairs)
    nodes = [c.get_offsets() for c in axes.collections if not hasattr(c, "get_segments")]
    assert sum(map(len, nodes)) == NODES
    assert np.unique(np.concatenate(nodes), axis=0).shape == (NODES, 2)
    linked, alone = nodes
    assert (np.hypot(*linked.T) <= 1 + 1e-12).all()
    np.testing.assert_allclose(np.hypot(*alone.T), 1.1)
    assert f"{len(alone)} nodes have none" in figure._supxlabel.get_text()
    again = plot_network(planted[1], LAYERS, density=0.1).axes[0]
    (same_edges,) = [c for c in again.collections if hasattr(c, "get_segments")]
    np.testing.assert_array_equal(same_edges.get_segments(), edges.get_segments())


def test_a_drawing_needs_a_density(planted):
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    with pytest.raises(ValueError, match="density = 0"):
        plot_network(planted[0], LAYERS, density=0)


def in_part(kept, share=0.5):
    """The first pieces of work, as a file gives them back."""
    pieces = json.loads(json.dumps([*kept.items()]))
    return dict(pieces[: int(share * len(pieces))])


def counted(monkeypatch, module, name):
    """What a function of a module is called with from now on."""
    calls, function = [], getattr(module, name)

    def counting(task):
        calls.append(task)
        return function(task)

    monkeypatch.setattr(module, name, counting)
    return calls


def test_what_is_kept_is_not_done_again(planted, monkeypatch):
    few = {"runs": 22, "draws": 3, "densities": (0.3,), "resolutions": (2.0,), "seed": 5}
    kept, progress = {}, []
    whole = networks(*planted, LAYERS, kept=kept, **few)
    half = in_part(kept)
    there = len(half)
    calls = counted(monkeypatch, topology, "_done")
    again = networks(
        *planted, LAYERS, kept=half, progress=lambda *where: progress.append(where), **few
    )
    assert len(calls) == len(kept) - there > 0
    pieces = len(kept) - 1  # beside what they belong to
    assert progress[0] == (there - 1, pieces)
    assert progress[-1] == (pieces, pieces)
    same(whole, again)
    for name in ("synergy", "redundancy"):
        for field in ("partition", "consensus", "swept_agreement", "participation"):
            one, other = (getattr(getattr(net, name), field) for net in (whole, again))
            np.testing.assert_array_equal(one, other)
    assert json.dumps(half) == json.dumps(kept)
    with pytest.raises(ValueError, match="kept has work of another call"):
        networks(*planted, LAYERS, kept=half, **few | {"seed": 6})
    with pytest.raises(ValueError, match="kept has work of another call"):
        networks(*planted[::-1], LAYERS, kept=half, **few)


def test_draws_that_are_kept_are_not_drawn_again(rng, planted, monkeypatch):
    averages = averages_of(rng, planted)
    kept, progress = {}, []
    whole = network_intervals(averages, LAYERS, bootstrap=20, seed=2, kept=kept)
    half = in_part(kept)
    calls = counted(monkeypatch, intervals, "_measured")
    again = network_intervals(
        averages, LAYERS, bootstrap=20, seed=2, kept=half, progress=progress.append
    )
    assert len(calls) == 11
    assert progress == [9, *[1] * 11]
    with pytest.raises(ValueError, match="kept has work of another call"):
        network_intervals(averages, LAYERS, bootstrap=20, seed=3, kept=half)
    np.testing.assert_array_equal(whole.spearman, again.spearman)
    for measure in MEASURES:
        np.testing.assert_array_equal(whole.raw[measure], again.raw[measure])
        for null, ratios in whole.ratio.items():
            np.testing.assert_array_equal(ratios[measure], again.ratio[null][measure])


def test_draws_that_make_no_graph_are_counted_and_not_the_end(rng, planted):
    """A tenth of the pairs is negative in one trial, and on average where that is drawn often."""
    trials, bootstrap = 10, 60
    sts, rtr = (np.array([matrix] * trials) for matrix in planted)
    rows, columns = np.triu_indices(NODES, 1)
    bad = rng.choice(len(rows), len(rows) // 10, replace=False)
    for i, j in ((rows[bad], columns[bad]), (columns[bad], rows[bad])):
        sts[0, i, j] *= -6  # less than the nine others have, more than eight have if drawn twice
    averages = TrialAverages.of([{"sts": sts, "rtr": rtr}])
    assert averages.mean()["sts"][rows, columns].min() > 0
    found = network_intervals(averages, LAYERS, bootstrap=bootstrap, nulls=("weights",), seed=1)
    draws = np.random.default_rng(1).multinomial(trials, np.full(trials, 1 / trials), bootstrap)
    drawn = averages.weighted(draws.astype(float))["sts"][:, rows, columns]
    failed = (drawn < 0).mean(1) > 0.05
    assert 0.05 < failed.mean() < 0.95
    assert found.failed_draws == failed.sum()
    assert f"{failed.sum()} of them failed" in repr(found)
    assert "pairs of sts are negative" in found.failure
    for measure in MEASURES:
        for values in (found.raw[measure], found.ratio["weights"][measure]):
            np.testing.assert_array_equal(np.isnan(values), np.stack([failed, failed], 1))
    np.testing.assert_array_equal(np.isnan(found.spearman), failed)
    # Too many for an interval of the others.
    assert np.isnan(found.interval(found.raw["efficiency"])).all()
    assert np.isnan(found.difference("modularity", "weights")).all()


def nearly_equal(rng):
    """Weights that are the same but for 0.01 %: no division is better than none."""
    weights = 1 + 1e-4 * rng.random((NODES, NODES))
    return (weights + weights.T) / 2


def test_nothing_is_divided_by_a_modularity_of_rounding(rng):
    sts, rtr = nearly_equal(rng), nearly_equal(rng)
    found = networks(sts, rtr, LAYERS, runs=2, draws=5, densities=(), resolutions=())
    for graph in (found.synergy, found.redundancy):
        assert abs(graph.whole("modularity")) < 1e-12
        for null in graph.nulls:
            beside = graph.against(null, "modularity")
            assert np.isnan(beside.ratio).all()
            assert np.isnan(beside.z).all()
            assert beside.p == 1  # all are equal
            np.testing.assert_allclose(graph.against(null, "efficiency").ratio, 1, rtol=1e-3)


def test_of_few_nodes_default_densities_that_cannot_join_them_are_left_out(rng):
    few = {"runs": 2, "draws": 2, "resolutions": (), "nulls": ("weights",)}
    for nodes, kept in ((5, (1.0,)), (7, (0.3, 1.0)), (NODES, DENSITIES[1:]), (40, DENSITIES)):
        weights = np.exp(rng.standard_normal((nodes, nodes)))
        weights += weights.T
        found = networks(weights, weights**2, np.arange(nodes) // 2, **few)
        assert tuple(found.synergy.densities) == kept
        assert found.dropped == tuple(one for one in DENSITIES if one not in kept)
        joined = np.round(found.synergy.densities * nodes * (nodes - 1) / 2) >= nodes - 1
        assert joined.all()
    # What is asked for is done if it is any pair at all.
    asked = networks(weights[:5, :5], weights[:5, :5], np.arange(5), densities=(0.1,), **few)
    assert asked.synergy.densities.tolist() == [0.1, 1.0]
    assert asked.dropped == ()


NODE = np.arange(NODES)
ENDS = NODE[:, None] + NODE
ODD = {
    "the same everywhere": lambda m: np.full_like(m, 0.1),
    "in two pieces": lambda m: np.where(HALVES[:, None] == HALVES, m, 0.0),
    "a single edge": lambda m: np.where(ENDS == 1, m, 0.0),
    "a node without edges": lambda m: np.where((NODE == 3) | (NODE[:, None] == 3), 0.0, m),
    "pairs without value": lambda m: np.where(ENDS == 7, np.nan, m),
    "very small": lambda m: 1e-100 * m,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_odd_graphs_are_measured_without_a_warning(planted, change):
    rtr = change(planted[1])
    found = networks(planted[0], rtr, LAYERS, runs=2, draws=3, nulls=("weights", "layers"))
    net = found.redundancy
    assert 0 < net.whole("efficiency") < np.inf
    assert np.isfinite(net.run_modularity).all()
    assert np.isfinite(found.spearman) == (np.ptp(rtr[~np.eye(NODES, dtype=bool)]) != 0)
    for null in net.nulls:
        # Whatever the unit, a ratio to a null is near 1 or not there.
        ratio = net.against(null, "efficiency").ratio
        assert (np.isnan(ratio) | ((ratio > 0.5) & (ratio < 2))).all()
        assert (net.against(null, "modularity").p > 0).all()
