"""Similarity of profiles: the published ones, an independent Spearman, the null, the intervals."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from support.random_atoms import LAYER, atoms, averages
from synkern.analysis.comparison import (
    drawn_profiles,
    profile_as_read,
    profile_of_scores,
    similarities,
)
from synkern.analysis.normalisation import normalised
from synkern.analysis.scores import RANKINGS, scores_from_matrices

FILE = Path(__file__).parents[2] / "synkern" / "study" / "published" / "profiles.json"
PUBLISHED = json.loads(FILE.read_text("utf-8"))
NAMES = ("qwen3_8b", "gemma3_4b", "llama31_8b", "deepseek_v2_lite")


def published(*names):
    rows = PUBLISHED["profiles"]
    return [profile_as_read(n, rows[n]["values"], rows[n]["normalisation"]) for n in names]


def smooth(layers, seed):
    """A random walk: as a profile, without anything to do with another one."""
    walk = np.cumsum(np.random.default_rng(seed).normal(size=layers))
    return profile_as_read(f"walk {seed}", walk, "node_quantile")


def test_published_profiles_are_as_alike_as_computed_from_the_figure():
    """On a grid of 26 points; the figures were read to 0.003, and the values told to 0.005."""
    told = {
        (0, 1): 0.75,
        (0, 2): 0.79,
        (1, 2): 0.82,
        (0, 3): 0.47,
        (1, 3): 0.71,
        (2, 3): 0.74,
    }
    found = similarities(published(*NAMES), "layer_rank", points=26, surrogates=19)
    for (a, b), value in told.items():
        assert found.spearman[a, b] == pytest.approx(value, abs=0.01)
        assert found.spearman[b, a] == found.spearman[a, b]


@pytest.mark.parametrize("name", NAMES)
def test_what_was_read_is_a_rank_of_every_layer(name):
    """Multiples of 1 / (layers - 1), each once: what shows that the figure shows ranks."""
    values = np.array(PUBLISHED["profiles"][name]["values"])
    steps = values * (len(values) - 1)
    # Half of the last digit that was noted, times the steps.
    np.testing.assert_allclose(steps, np.round(steps), atol=0.0006 * (len(values) - 1))
    assert sorted(np.round(steps)) == list(range(len(values)))


def test_published_checkpoints_bend_as_they_were_said_to():
    first, last = published("pythia_1b_step1", "pythia_1b_final")
    assert last.bend("minmax")[0] == pytest.approx(-0.81, abs=0.005)
    trend = json.loads(FILE.with_name("emergence.json").read_text("utf-8"))["rows"]
    # Of three steps together, told to one digit and a zero.
    assert first.bend("minmax")[0] == pytest.approx(trend[0]["quadratic_term"][0], abs=0.05)
    alike = similarities([first, last], "minmax", points=16, surrogates=19).spearman[0, 1]
    low, high = trend[0]["spearman"]
    assert low <= alike <= high


def by_hand(a, b):
    """Spearman's correlation of two arrays without ties, from the differences of ranks."""
    ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
    n = len(a)
    return 1 - 6 * ((ranks[0] - ranks[1]) ** 2).sum() / (n * (n**2 - 1))


def test_similarity_is_spearman_on_the_grid_and_minmax_changes_nothing():
    rng = np.random.default_rng(5)
    layers = [np.repeat(np.arange(n), 4) for n in (7, 12)]
    profiles = [profile_of_scores(str(n), rng.normal(size=len(n)), n) for n in layers]
    grid = np.linspace(0, 1, 40)
    curves = [np.interp(grid, p.depth, p.values["node_quantile"]) for p in profiles]
    found = similarities(profiles, points=40, surrogates=19)
    # Ranks are whole numbers, their correlation a quotient of sums of 40 of them.
    assert found.spearman[0, 1] == pytest.approx(by_hand(*curves), abs=1e-13)
    same = similarities(profiles, "minmax", points=40, surrogates=19)
    np.testing.assert_allclose(same.spearman, found.spearman, atol=1e-13)
    np.testing.assert_array_equal(np.diag(found.spearman), 1)


def test_p_counts_itself_in_and_has_the_resolution_that_is_said():
    found = similarities([smooth(20, seed) for seed in range(4)], "node_quantile", surrogates=19)
    assert found.smallest_p == 1 / 39
    off = found.p[~np.eye(4, dtype=bool)]
    np.testing.assert_allclose(off * 39, np.round(off * 39), atol=1e-9)
    assert off.min() >= 1 / 39
    assert off.max() <= 1
    np.testing.assert_array_equal(found.p, found.p.T)
    assert np.isnan(np.diag(found.p)).all()


def test_the_same_seed_draws_the_same_surrogates():
    profiles = [smooth(20, seed) for seed in range(2)]
    one, same, other = (
        similarities(profiles, "node_quantile", surrogates=199, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.p, same.p)
    assert one.p[0, 1] != other.p[0, 1]


def test_a_p_does_not_depend_on_who_else_is_compared():
    profiles = [smooth(20, seed) for seed in range(3)]
    several = similarities(profiles, "node_quantile", surrogates=99)
    two = similarities(profiles[1:], "node_quantile", surrogates=99)
    np.testing.assert_array_equal(several.p[1:, 1:], two.p)


def test_rough_profiles_that_agree_are_surely_alike_and_mirrored_ones_are_not():
    rough = np.random.default_rng(8).normal(size=30)
    pair = [
        profile_as_read(n, values, "node_quantile")
        for n, values in zip("ab", (rough, -rough), strict=True)
    ]
    same = similarities([pair[0], dataclasses.replace(pair[0], name="c")], surrogates=199)
    assert same.spearman[0, 1] == pytest.approx(1)
    assert same.p[0, 1] == same.smallest_p
    opposite = similarities(pair, surrogates=199)
    assert opposite.spearman[0, 1] == pytest.approx(-1)
    assert opposite.p[0, 1] == 1


def test_unrelated_smooth_profiles_are_seldom_called_alike():
    """Of 200 random walks of 30 layers, 5 % would be 10; shuffled layers call about 56 alike.

    At a true share of 0.05, more than 20 of 200 have a probability of 0.0005; and fewer than 2 one
    of 0.0004, which a test that cannot reject would show.
    """
    profiles = [smooth(30, seed) for seed in range(400)]
    pairs = zip(profiles[::2], profiles[1::2], strict=True)
    p = [similarities(pair, "node_quantile", surrogates=49).p[0, 1] for pair in pairs]
    assert 2 <= (np.array(p) <= 0.05).sum() <= 20


def of_length(length, rng):
    """A Gaussian process over depth with a squared exponential kernel, in noise of a fifth."""
    depth = np.linspace(0, 1, 30)
    kernel = np.exp(-(((depth[:, None] - depth) / length) ** 2) / 2) + 1e-8 * np.eye(30)
    return np.linalg.cholesky(kernel) @ rng.normal(size=30) + 0.2 * rng.normal(size=30)


def hump_anywhere(rng):
    depth = np.linspace(0, 1, 30)
    return np.exp(-(((depth - rng.random()) / 0.2) ** 2) / 2) + 0.15 * rng.normal(size=30)


@pytest.mark.proof
@pytest.mark.parametrize(
    ("drawn_from", "told"),
    [
        (lambda rng: rng.normal(size=30), 0.04),
        (lambda rng: np.cumsum(rng.normal(size=30)), 0.05),
        (lambda rng: of_length(0.1, rng), 0.04),
        (lambda rng: of_length(0.2, rng), 0.05),
        (lambda rng: of_length(0.3, rng), 0.04),
        (hump_anywhere, 0.09),
    ],
)
def test_the_size_of_the_null_is_as_told(drawn_from, told):
    rng = np.random.default_rng(11)
    small = 0
    for _ in range(2000):
        pair = [profile_as_read(name, drawn_from(rng), "node_quantile") for name in "ab"]
        small += similarities(pair, "node_quantile", surrogates=99).p[0, 1] <= 0.05
    # Two samples of 2,000, rounded: four standard deviations of their difference, and a half digit.
    assert small / 2000 == pytest.approx(
        told, abs=4 * np.sqrt(2 * told * (1 - told) / 2000) + 0.005
    )


def test_two_humps_at_one_place_are_often_not_surely_alike():
    """Of equal parabolas in noise the module says that 62 % are; of 100, five of them SD 0.049."""
    hump = 1 - (2 * np.linspace(0, 1, 30) - 1) ** 2
    rng = np.random.default_rng(0)
    small = 0
    for _ in range(100):
        pair = [
            profile_as_read(name, hump + 0.15 * rng.normal(size=30), "node_quantile")
            for name in "ab"
        ]
        small += similarities(pair, "node_quantile", surrogates=99).p[0, 1] <= 0.05
    assert 38 <= small <= 86


@pytest.fixture(scope="module")
def drawn():
    """Profiles of random atoms by ranking, of two models that answered the same prompts."""
    return [
        drawn_profiles(name, averages(*atoms(seed)), LAYER, RANKINGS, bootstrap=300, seed=4)
        for seed, name in enumerate("ab")
    ]


def test_the_profile_of_all_prompts_is_that_of_their_mean_atoms(drawn):
    sts, rtr = averages(*atoms(0)).mean().values()
    for ranking in RANKINGS:
        expected = normalised(scores_from_matrices(sts, rtr, ranking), LAYER)
        for normalisation, values in drawn[0][ranking].values.items():
            np.testing.assert_array_equal(values, expected[normalisation])


def test_draws_are_of_prompts_with_replacement_and_halves_have_none_in_common(drawn):
    sts, rtr = atoms(0)
    rng = np.random.default_rng(4)
    weights = rng.multinomial(6, np.full(6, 1 / 6), size=300)
    one = [(weights[7][:, None, None] * atom).sum(0) / 6 for atom in (sts, rtr)]
    expected = normalised(scores_from_matrices(*one, RANKINGS[0]), LAYER)
    profile = drawn[0][RANKINGS[0]]
    np.testing.assert_allclose(profile.draws["node_quantile"][7], expected["node_quantile"])
    halves = profile.halves["node_quantile"]
    # Of 6 prompts there are 20 halves: the profile of each is one of theirs, with its complement.
    possible = {}
    for half in itertools.combinations(range(6), 3):
        rest = [t for t in range(6) if t not in half]
        both = [
            normalised(
                scores_from_matrices(sts[list(h)].mean(0), rtr[list(h)].mean(0), RANKINGS[0]), LAYER
            )["node_quantile"]
            for h in (half, rest)
        ]
        possible[half] = np.stack(both)
    for pair in halves:
        assert any(np.allclose(pair, one, atol=1e-12) for one in possible.values())


def test_intervals_and_reliability_are_of_these_draws_and_halves(drawn):
    a, b = (profiles["mean_difference"] for profiles in drawn)
    found = similarities([a, b], points=31, surrogates=19)
    grid = np.linspace(0, 1, 31)

    def curves(rows):
        # To 12 decimals: lines that cross the same value do so up to rounding only.
        return [np.round(np.interp(grid, a.depth, row), 12) for row in rows]

    def ranked(x):
        return np.searchsorted(np.sort(x), x) + np.searchsorted(np.sort(x), x, "right")

    def spearman(x, y):
        return np.corrcoef(ranked(x), ranked(y))[0, 1]

    pairs = zip(curves(a.draws["node_quantile"]), curves(b.draws["node_quantile"]), strict=True)
    each = [spearman(x, y) for x, y in pairs]
    low, high = np.percentile(each, [2.5, 97.5])
    assert found.lower[0, 1] == pytest.approx(low, abs=1e-12)
    assert found.upper[1, 0] == pytest.approx(high, abs=1e-12)
    halves = a.halves["node_quantile"]
    own = np.mean([spearman(*curves(pair)) for pair in halves])
    # Of all prompts, not of half of them (Spearman and Brown).
    assert found.reliability[0] == pytest.approx(max(0, 2 * own / (1 + own)), abs=1e-12)
    assert found.failed_draws.sum() == 0


def test_a_model_compared_with_itself_has_no_interval_to_speak_of(drawn):
    """The same prompts are drawn of both: draws that were not joint would differ."""
    a = drawn[0]["mean_difference"]
    found = similarities([a, dataclasses.replace(a, name="again")], surrogates=19)
    assert found.lower[0, 1] == pytest.approx(1)


def test_a_profile_as_read_has_no_draws_and_so_no_interval(drawn):
    read = profile_as_read("read", [0, 1 / 3, 1, 2 / 3], "layer_rank")
    found = similarities([drawn[0]["mean_difference"], read], "layer_rank", surrogates=19)
    assert np.isnan(found.lower).all()
    assert np.isnan(found.reliability[1])
    assert np.isfinite(found.reliability[0])
    assert np.isfinite(found.p[0, 1])
    assert np.isnan(read.bend("layer_rank")[1]).all()


def test_halves_that_disagree_make_no_reliability_and_draws_without_a_layer_no_interval(drawn):
    a, b = (profiles["mean_difference"] for profiles in drawn)
    rising = np.linspace(0, 1, len(a.depth))
    halves = {"node_quantile": np.stack([rising, rising[::-1]])[None]}
    holed = {"node_quantile": np.where(np.arange(len(a.depth)) == 2, np.nan, rising)[None]}
    odd = dataclasses.replace(a, halves=halves, draws=holed)
    assert similarities([odd, b], surrogates=19).reliability[0] == 0
    assert np.isnan(odd.bend("node_quantile")[1]).all()


@pytest.mark.parametrize("normalisation", ["layer_rank", "node_quantile"])
def test_a_profile_that_does_not_vary_is_refused(normalisation):
    with pytest.raises(ValueError, match=r"'flat'.*all its layers (have one|are alike)"):
        profile_as_read("flat", [0.5, 0.5, 0.5, 0.5], normalisation)


def test_draws_without_a_score_in_a_layer_are_left_out_and_counted(drawn):
    a, b = (profiles["mean_difference"] for profiles in drawn)
    holed = a.draws["node_quantile"].copy()
    holed[:50, 2] = np.nan
    holed = dataclasses.replace(a, draws={**a.draws, "node_quantile": holed})
    found = similarities([holed, b], surrogates=19)
    assert found.failed_draws[0, 1] == 50
    rest = [
        dataclasses.replace(p, draws={"node_quantile": p.draws["node_quantile"][50:]})
        for p in (a, b)
    ]
    assert found.lower[0, 1] == similarities(rest, surrogates=19).lower[0, 1]


def test_the_quadratic_term_is_that_of_numpys_polynomial(drawn):
    profile = drawn[0]["mean_difference"]
    term, (low, high) = profile.bend("node_quantile")
    # Of depth squared it is four times that of the centred depth.
    expected = np.polyfit(profile.depth, profile.values["node_quantile"], 2)[0] / 4
    assert term == pytest.approx(expected, abs=1e-12)
    draws = [np.polyfit(profile.depth, row, 2)[0] / 4 for row in profile.draws["node_quantile"]]
    np.testing.assert_allclose([low, high], np.percentile(draws, [2.5, 97.5]), atol=1e-12)


def test_layers_far_apart_keep_their_depth():
    profile = profile_of_scores("a", np.arange(11.0), LAYER)
    np.testing.assert_allclose(profile.depth, [0, 0.2, 0.4, 1])
    assert profile.on_grid("node_quantile", 6)[1] == pytest.approx(
        profile.values["node_quantile"][1]
    )


def test_what_cannot_be_compared_is_refused():
    good = smooth(9, 0)
    with pytest.raises(ValueError, match="two or more"):
        similarities([good])
    with pytest.raises(ValueError, match="surrogates = 18"):
        similarities([good, smooth(9, 1)], surrogates=18)
    with pytest.raises(ValueError, match="confidence = 1"):
        similarities([good, smooth(9, 1)], confidence=1)
    with pytest.raises(ValueError, match="'qwen3_8b' is there as layer_rank only"):
        similarities([good, *published("qwen3_8b")])
    with pytest.raises(ValueError, match="normalisation must be one of"):
        good.on_grid("percentile")
    with pytest.raises(ValueError, match="finite number for each"):
        profile_as_read("x", [0, np.nan, 1], "minmax")
    with pytest.raises(ValueError, match=r"no node_quantile in layers \[1\].*no node there"):
        profile_of_scores("x", np.where(LAYER == 1, np.nan, np.arange(11.0)), LAYER)
    with pytest.raises(ValueError, match="no minmax in layers.*all its layers are alike"):
        profile_of_scores("x", np.ones(11), LAYER)
    with pytest.raises(ValueError, match="bootstrap = 99"):
        drawn_profiles("x", averages(*atoms(0)), LAYER, RANKINGS, bootstrap=99)
    single = averages(*(a[:1] for a in atoms(0)))
    with pytest.raises(ValueError, match="1 prompt"):
        drawn_profiles("x", single, LAYER, RANKINGS)


def test_everything_shows_itself_in_a_line(drawn):
    profile = drawn[0]["balance"]
    assert (
        repr(profile) == "DepthProfile('a'; 4 layers, node_quantile, layer_rank, minmax, 300 draws)"
    )
    shown = repr(similarities([profile, drawn[1]["balance"]], surrogates=19))
    assert shown.startswith("Similarity('node_quantile' of 2 profiles, Spearman ")
