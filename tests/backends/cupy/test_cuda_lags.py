"""Gaussian MMI from one series: three lagged products, and copies that are waited for."""

from __future__ import annotations

import re

import numpy as np
import pytest

from support.cuda_runs import (
    BOUND,
    TWO,
    Run,
    close,
    expected,
    features_of,
    node_sums,
    one_series,
    series,
)
from support.cuda_shim import ORDERS, Launcher, build, planted
from support.cupy_cases import decomposed
from synkern.kernels.contract import Limits, Rectangle, Tile, smallest_trusted
from synkern.kernels.cupy_backend.source import LAGS_BYTES, ONE_SERIES, kernels
from synkern.kernels.engine.libraries import NUMPY as LIBRARY
from synkern.kernels.formulas import estimators
from synkern.kernels.formulas.estimators import STRICT
from synkern.kernels.lattice import ATOMS, swap_nodes

MMI = ("gaussian", "MMI")
EVERY = {"two": TWO, "all": ATOMS}
every = pytest.mark.parametrize("names", EVERY.values(), ids=EVERY)
"""The atoms by which a kernel is chosen."""


def walks(rng, trials, time, nodes):
    return rng.standard_normal((trials, time, nodes)).cumsum(1)


def persistent(rng, trials, time, nodes):
    values = rng.standard_normal((trials, time, nodes))
    for t in range(1, time):
        values[:, t] += 0.95 * values[:, t - 1]
    return values


def far_from_zero(rng, trials, time, nodes):
    return rng.standard_normal((trials, time, nodes)) + 1e6


def trends(rng, trials, time, nodes):
    steps = np.arange(time)[:, None] * rng.standard_normal(nodes)
    return rng.standard_normal((trials, time, nodes)) + steps


def ends_of(first, last):
    """Nodes of which a third start high, a third end high, and some do both."""

    def made(rng, trials, time, nodes):
        values = rng.standard_normal((trials, time, nodes))
        values[:, 0, ::3] = first * (1 + rng.random((trials, len(range(0, nodes, 3)))))
        values[:, -1, 1::4] = -last * (1 + rng.random((trials, len(range(1, nodes, 4)))))
        return values

    return made


def only_the_ends_differ(rng, trials, time, nodes):
    values = rng.standard_normal((trials, time, nodes))
    values[:, 1:-1, ::4] = rng.standard_normal((trials, 1, len(range(0, nodes, 4))))
    values[0, 1:-1, 0] = 0
    values[0, -1, 4] = values[0, 1, 4]  # constant in the future
    values[1, :, 2] = 7  # altogether
    values[:, :, 5] = np.arange(time)  # fixed by its own past, so that no pair of it is trusted
    return values


KINDS = {
    "mixed": series,
    "walks": walks,
    "persistent": persistent,
    "offsets": far_from_zero,
    "trends": trends,
    "ends of 30": ends_of(30, 30),
    "ends of 1e3": ends_of(1e3, 1e5),
    "ends of 1e12": ends_of(1e12, 1),
    "ends of 1e300": ends_of(1e300, 1e200),
    "ends alone": only_the_ends_differ,
    "scales": lambda *size: series(*size) * 10.0 ** np.linspace(-300, 300, size[-1]),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def variances(features):
    """(trials, nodes, nodes): the smallest conditional one of each pair, by the reference."""
    estimator, trials, nodes = estimators.ESTIMATORS[MMI], *features.constant.shape
    tile = Tile(slice(0, trials), slice(0, nodes), slice(0, nodes))
    with np.errstate(all="ignore"):
        found = estimator.of_tile(LIBRARY, features, tile, TWO, "float64", Limits())
    return found.variance


def assert_promised(launcher, values, names, namespace="phiid", run_by=Run):
    """Atoms within the error by which pairs are trusted, of both paths; the same pairs are not.

    But for those at the limit, whose variance may be on either side of it by rounding.
    """
    estimator, features = features_of(MMI, values)
    wanted, keys = expected(estimator, features, names, "float64")
    run = run_by(launcher, estimator, features, names, "float64", lags=values)
    run.namespace = namespace
    found, marks = run.matrices(1)
    assert not np.isnan(found).any()
    variance = variances(features)
    limit = smallest_trusted(features.samples, "float64", STRICT["float64"])
    unsure = np.setxor1d(marks, keys)
    assert (np.abs(variance.reshape(-1)[unsure] / limit - 1) < 0.1).all()
    use = np.zeros(variance.shape, bool)
    use[:] = np.triu(np.ones(variance.shape[1:], bool), 1)
    use.reshape(-1)[unsure] = False
    # What is left out is 0 in both; see `smallest_trusted` for the error.
    error = (4 + np.sqrt(features.samples)) * np.finfo(float).eps
    bound = 2 * error / np.where(variance >= limit / 2, variance, np.inf)
    bound[features.constant[:, :, None] | features.constant[:, None]] = 0
    for name, atom, right in zip(names, found, wanted, strict=True):
        assert (np.abs(atom - right)[use] <= bound[use]).all(), name
        mirrored = found[names.index(swap_nodes(name))]
        assert (atom == mirrored.swapaxes(1, 2)).all(), name


# Stages of both kernels that end within a product of 16 samples, of 4, and with it.
LENGTHS = {"two": (3, 4, 5, 17, 40, 66, 67, 101, 131, 300), "all": (3, 5, 34, 35, 67, 101)}


@kinds
@pytest.mark.parametrize(
    ("names", "time"), [(EVERY[which], time) for which in EVERY for time in LENGTHS[which]]
)
def test_as_in_numpy(launcher, rng, kind, names, time):
    assert_promised(launcher, KINDS[kind](rng, 3, time, 37), names)


@kinds
def test_what_is_made_of_a_series(launcher, rng, kind):
    for time, nodes in ((3, 7), (40, 33), (101, 64)):
        values = KINDS[kind](rng, 3, time, nodes)
        interior, ends, constant = one_series(values)
        found = np.full_like(interior, np.nan), np.full_like(ends, np.nan)
        none = np.full(constant.shape, 9, np.uint8)
        args = [values, *found, none, time, nodes]
        launcher.launch(ONE_SERIES["float64"], 3 * -(-nodes // 32), 256, args)
        assert (none == constant).all()
        assert np.abs(found[0] - interior).max() < 1e-14
        size = 1 + np.abs(ends)
        assert (np.abs(found[1] - ends) <= 1e-13 * size).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("nodes", [2, 3, 37, 65])
@every
def test_sums_over_trials(launcher, rng, names, nodes, dtype):
    values = series(rng, 19, 40, nodes)  # more than share logarithms
    estimator, features = features_of(MMI, values)
    wanted, _ = expected(estimator, features, names, dtype)
    run = Run(launcher, estimator, features, names, dtype, lags=values)
    for chunk in (1, 2, 19):
        found, marks = run.matrices(chunk)
        sums = [wanted[:, k : k + chunk].sum(1) for k in range(0, 19, chunk)]
        close(found, np.stack(sums, 1), dtype, chunk)
        assert len(marks) == 0


@every
def test_products_of_trials_that_are_barely_trusted_are_numbers(launcher, rng, names):
    """As many as share a logarithm, and a product of squares of the least variance."""
    values = rng.standard_normal((16, 40, 3))
    values[:, :, 1:] = values[:, :, :1] + 3e-3 * values[:, :, 1:]
    estimator, features = features_of(MMI, values)
    wanted, keys = expected(estimator, features, names, "float64")
    run = Run(launcher, estimator, features, names, "float64", lags=values)
    found, marks = run.matrices(16)
    limit = smallest_trusted(features.samples, "float64", STRICT["float64"])
    least = variances(features)[:, *np.triu_indices(3, 1)]
    assert (limit < least).all()
    assert (least < 20 * limit).mean() > 0.5
    assert len(keys) == len(marks) == 0
    assert np.abs(found[:, 0] - wanted.sum(1)).max() < 16 * STRICT["float64"]


@pytest.mark.parametrize(
    "rectangle",
    [
        Rectangle(slice(1, 38), slice(40, 65)),
        Rectangle(slice(29, 66), slice(0, 27)),
        Rectangle(slice(5, 6), slice(7, 41)),
    ],
)
@every
def test_rectangles(launcher, rng, names, rectangle):
    values = series(rng, 3, 40, 66)
    estimator, features = features_of(MMI, values)
    wanted, _ = expected(estimator, features, names, "float64")
    run = Run(launcher, estimator, features, names, "float64", lags=values, rectangle=rectangle)
    found, marks = run.matrices(2)
    sums = [wanted[:, k : k + 2].sum(1)[:, *rectangle] for k in (0, 2)]
    close(found, np.stack(sums, 1), "float64", 2)
    assert len(marks) == 0


@every
def test_what_is_not_trusted_is_left_out_and_listed(launcher, rng, names):
    values = series(rng, 5, 60, 19, degenerate=True)
    estimator, features = features_of(MMI, values)
    wanted, keys = expected(estimator, features, names, "float64")
    assert 5 <= len(keys) < 20
    run = Run(launcher, estimator, features, names, "float64", lags=values)
    found, marks = run.matrices(5)
    assert np.abs(found[:, 0] - wanted.sum(1)).max() < 5 * STRICT["float64"]
    assert marks.tolist() == keys.tolist()
    _, marks = run.matrices(1, slice(2, 5))
    assert marks.tolist() == [key for key in keys if key >= 2 * 19**2]
    run.capacity = 3
    _, marks = run.matrices(2)
    assert int(run.count[0]) == len(keys)
    assert len(set(marks.tolist()) & set(keys.tolist())) == 3


@pytest.mark.parametrize(
    ("nodes", "height", "rectangle"),
    [
        (2, 1, None),
        (19, 8, None),
        (65, 2, None),
        (66, 1, Rectangle(slice(1, 38), slice(40, 65))),
        (66, 2, Rectangle(slice(29, 66), slice(0, 27))),
    ],
)
@every
def test_node_sums(launcher, rng, names, nodes, height, rectangle):
    values = series(rng, 3, 40, nodes, degenerate=nodes == 19)
    estimator, features = features_of(MMI, values)
    wanted, keys = expected(estimator, features, names, "float64")
    assert (len(keys) > 0) == (nodes == 19)
    run = Run(launcher, estimator, features, names, "float64", lags=values, rectangle=rectangle)
    for chunk in (1, 3):
        totals, marks = run.node_sums(chunk, height)
        first = np.unique(keys // nodes**2 // chunk * chunk * nodes**2 + keys % nodes**2)
        assert marks.tolist() == first.tolist()
        sums = node_sums(features, wanted, keys, names, chunk, rectangle)
        # Near the limit of trust an atom may be off by as much as the closed form is allowed.
        bound = STRICT["float64"] if nodes == 19 else BOUND["float64"]
        assert np.abs(totals - sums).max() <= bound * nodes * (1 + np.abs(sums).max())


@every
def test_no_order_of_threads_changes_a_bit(library, rng, names):
    for time in (40, 101, 140):
        values = series(rng, 3, time, 37, degenerate=True)
        estimator, features = features_of(MMI, values)
        results = []
        for order in ORDERS:
            results.append([])
            for rectangle in (None, Rectangle(slice(19, 37), slice(0, 19))):
                launched = Launcher(library, order, 3), estimator, features, names, "float64"
                run = Run(*launched, rectangle=rectangle, lags=values)
                results[-1] += [*run.matrices(3), *run.node_sums(3, 1)]
        for other in results[1:]:
            for one, two in zip(results[0], other, strict=True):
                assert one.tobytes() == two.tobytes()


# What is broken, and how.
PLANTED = {
    "no_wait_for_copies": ("                    wait_for_copies();\n", ""),
    "no_barrier_after_copies": (
        "wait_for_copies();\n                    __syncthreads();",
        "wait_for_copies();",
    ),
    "a_wait_after_the_barrier": (
        "wait_for_copies();\n                    __syncthreads();",
        "__syncthreads();\n                    wait_for_copies();",
    ),
    "copies_not_committed": ("        commit_copies();\n    }", "    }"),
    "copies_to_the_stage_that_is_read": ("memory, turn ^ 1);", "memory, turn);"),
    "ends_of_another_trial": ("memory.ends[(start + k) % 2]", "memory.ends[(start + k + 1) % 2]"),
    "the_stage_after_the_next": ("same ? first + STAGE : 0", "same ? first : 0"),
    "lags_exchanged": (
        "multiply(later[block], low.now, high.now, other.next);",
        "multiply(later[block], low.next, high.next, other.now);",
    ),
    "the_last_products_forgotten": ("for (; k < count; k += 4) step", "for (; k < 0; k += 4) step"),
    "the_next_but_one": ("next[s] = at[4 * s + 1];", "next[s] = at[4 * s + 2];"),
    "a_piece_too_few": ("STAGE) / 2 + 1 - piece", "STAGE) / 2 - piece"),
    "first_for_last": ("rest * i.last * j.last", "rest * i.first * j.first"),
    "no_mean_of_the_past": ("same + rest * i.first * j.first", "same + i.first * j.first"),
    "no_mean_between_the_lags": (
        "x[(samples - 1) * nodes])) - f / pairs",
        "x[(samples - 1) * nodes]))",
    ),
    "the_future_scaled_as_the_past": ("* (i.future * j.future)", "* i.future"),
    "rank_one_terms_exchanged": (
        "i.first * j.next_first + i.before_last * j.last",
        "i.first * j.next_first + i.last * j.before_last",
    ),
    "constant_nodes_with_values": ("&& i.future != 0 && j.future != 0", ""),
    "columns_of_another_block": ("sum.same[block(p)]", "sum.same[0]"),
    "rows_of_another_half": ("place = 2 * lower(p) + p", "place = 2 * (1 - lower(p)) + p"),
    # What would lose digits where an end has the energy of a node.
    "about_the_mean_of_the_past": (
        "segment.rest = sum[0] / double(samples);\n\n    double squares",
        "segment.rest = (sum[0] + segment.centred(start)) / double(samples + 1);\n\n"
        "    double squares",
    ),
    "ends_without_bound": ("end > most ? most : end < -most ? -most : end", "end"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """One library of many kernels, each with a defect, in a namespace of its own."""
    text = "\n".join(planted(defect, name) for name, defect in PLANTED.items())
    names = [
        f"{name}::{kernel.format(name)}"
        for name in PLANTED
        for kernel in (
            "mmi_lags<double, {0}::Two, {0}::AllPairs>",
            "mmi_lags<double, {0}::All, {0}::AllPairs>",
            "one_series<double>",
        )
    ]
    return build(tmp_path_factory.mktemp("broken") / "broken.so", names, text=text)


class Made(Run):
    """The same from what the kernel makes of the series."""

    def data(self, trials):
        values = np.ascontiguousarray(self.lags[trials])
        interior, ends, none = one_series(values)
        interior[:], ends[:], none = np.nan, np.nan, none.view(np.uint8).copy()
        self.launcher.launch(
            ONE_SERIES["float64"].replace("phiid", self.namespace),
            len(values) * -(-self.nodes // 32),
            256,
            [values, interior, ends, none, *values.shape[1:]],
        )
        return [interior, ends]


LOUD = (("mixed", 101), ("ends of 1e12", 40), ("ends of 1e300", 40), ("ends alone", 7))
"""Kinds of series, and points in time, among which is one for every defect."""


def wrong(library, namespace, names, rng):
    """Whether any kind of series, in any order of threads, is not as in NumPy."""
    for kind, time in LOUD:
        values = KINDS[kind](rng, 3, time, 37)
        for order in ORDERS:
            try:
                assert_promised(Launcher(library, order), values, names, namespace, Made)
            except (AssertionError, RuntimeError):
                return True
    return False


@pytest.mark.parametrize(
    ("which", "defect"),
    [
        *(("two", defect) for defect in PLANTED),
        # Of blocks a warp has but one.
        *(("all", defect) for defect in PLANTED if defect != "columns_of_another_block"),
    ],
)
def test_planted_defects_are_found(broken, rng, which, defect):
    assert wrong(broken, defect, EVERY[which], rng)


@every
def test_nothing_is_found_where_nothing_is_broken(library, rng, names):
    assert not wrong(library, "phiid", names, rng)


def test_a_launch_asks_for_what_the_kernel_has():
    """The compiler holds the memory of a block to the number of the source."""
    found = re.findall(r"struct (Two|All) .*?\bBYTES = (\d+);", kernels(), re.DOTALL)
    assert {atoms: int(number) for atoms, number in found} == LAGS_BYTES


@pytest.mark.parametrize(
    ("kernel", "options", "capability"),
    [
        ("mmi_lags", {}, (9, 0)),
        ("mmi_lags", {"dtype": "float32"}, (9, 0)),
        ("mmi_series", {}, (8, 0)),  # shared memory for half of the blocks
        ("mmi_series", {}, (12, 0)),  # one unit of float64 for 64 of float32
        ("mmi_series", {"average": "moments"}, (9, 0)),
        ("mmi_lags", {"atoms": ("rtr", "sts", "xts")}, (9, 0)),
        ("mmi_lags", {"atoms": "all", "dtype": "float32"}, (9, 0)),
        ("mmi_series", {"atoms": "all"}, (8, 0)),
        *(("mmi_series", {"tau": tau}, (9, 0)) for tau in (2, 3, 4, 5)),
    ],
)
def test_what_is_not_one_series_takes_four_products(cupy, shim, rng, kernel, options, capability):
    shim.capability = capability
    values = series(rng, 3, 40, 9)
    found = decomposed(cupy.asarray(values), **options)
    assert {name.partition("<")[0] for name in shim.of_pairs} == {f"phiid::{kernel}"}
    dtype = options.get("dtype", "float64")
    wanted = decomposed(values, backend="numpy", **{**options, "dtype": "float64"})
    for atom in wanted:
        np.testing.assert_allclose(found[atom].get(), wanted[atom], rtol=0, atol=STRICT[dtype])


@pytest.mark.parametrize(("by_node", "kernel"), [(False, "mmi_moments"), (True, "mmi_lags_nodes")])
def test_matrices_alone_go_through_memory(cupy, shim, rng, by_node, kernel):
    """Of more samples than all atoms from one series may have."""
    values = series(rng, 2, 500, 9)
    found = decomposed(cupy.asarray(values), atoms="all", by_node=by_node)
    assert shim.of_pairs[0].startswith(f"phiid::{kernel}<")
    wanted = decomposed(values, backend="numpy", atoms="all", by_node=by_node)
    for atom in wanted:
        np.testing.assert_allclose(found[atom].get(), wanted[atom], rtol=0, atol=1e-9)
