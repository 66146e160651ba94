"""What the shim finds: orders of threads that matter, planted defects, reports of sanitizers."""

from __future__ import annotations

import itertools
import subprocess

import numpy as np
import pytest

from support.cuda_runs import (
    DISCRETE,
    GAUSSIAN,
    SOME,
    TWO,
    Run,
    expected,
    features_of,
    one_series,
    series,
)
from support.cuda_shim import ORDERS, Launcher, Recorder, build, planted
from synkern.kernels.contract import Rectangle
from synkern.kernels.cupy_backend.source import ONE_SERIES, TOTALS, kernels
from synkern.kernels.lattice import ATOMS

EVERY = [
    *((kind, names, moments, "float32") for kind, names, moments in GAUSSIAN),
    *((kind, names, moments, "float64") for kind, names, moments in GAUSSIAN + DISCRETE),
]


@pytest.mark.parametrize(("kind", "names", "moments", "dtype"), EVERY)
def test_no_order_of_threads_changes_a_bit(library, rng, kind, names, moments, dtype):
    estimator, features = features_of(kind, series(rng, 3, 40, 37, degenerate=True))
    results = []
    for order in ORDERS:
        launched = Launcher(library, order, 3), estimator, features, names, dtype
        results.append([])
        for rectangle in (None, Rectangle(slice(19, 37), slice(0, 19))):
            run = Run(*launched, moments=moments, rectangle=rectangle)
            results[-1] += [*run.matrices(3), *run.node_sums(3, 1)]
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert one.tobytes() == two.tobytes()


# What is broken, and how.
PLANTED = {
    "no_barrier_after_values_are_shared": (
        "            __syncthreads();\n            // On their way",
        "            // On their way",
    ),
    "no_barrier_before_values_are_overwritten": (
        "load<Stretch>(from, start, next);\n            __syncthreads();",
        "load<Stretch>(from, start, next);",
    ),
    "no_barrier_before_a_tile_is_read": (
        "            __syncthreads();\n            Real* here",
        "            Real* here",
    ),
    "a_barrier_for_some": (
        "            __syncthreads();\n            Real* here",
        "            if (threadIdx.x % 2) __syncthreads();\n            Real* here",
    ),
    "one_pair_too_few": ("row < column && column < nodes;", "row < column && column < nodes - 1;"),
    "an_edge_not_written": ("has(task.nodes, before, after)", "has(task.nodes - 1, before, after)"),
    "the_diagonal_for_a_pair": ("return row < column &&", "return row <= column &&"),
    "columns_exchanged": ("lane() % 4 * 2 + p % 2", "lane() % 4 * 2 + 1 - p % 2"),
    "one_trial_too_few": ("last < task.trials ? last", "last < task.trials ? last - 1"),
    "one_sample_too_many": ("place(k).column < samples;", "place(k).column <= samples;"),
    "past_and_future_exchanged_in_a_fragment": (
        "rows[2 * s] = past[s], rows[2 * s + 1] = future[s]",
        "rows[2 * s] = future[s], rows[2 * s + 1] = past[s]",
    ),
    "a_fragment_by_rows_and_not_by_samples": (
        "rows[2 * s] = past[s], rows[2 * s + 1] = future[s]",
        "rows[s] = past[s], rows[STEPS + s] = future[s]",
    ),
    "numbers_of_a_fragment_exchanged": (
        "of_past[0] = c[0], of_past[1] = c[1]",
        "of_past[0] = c[0], of_past[1] = c[2]",
    ),
    "samples_of_columns_in_another_order": (
        "y[s] = values[0][1][first_column() + node][STEPS * quarter + s]",
        "y[s] = values[0][1][first_column() + node][4 * s + quarter]",
    ),
    "own_correlation_of_another": (
        "column < task.nodes ? Real(lagged[column])",
        "row < task.nodes ? Real(lagged[row])",
    ),
}

PLANTED_IN_RECTANGLES = {
    "the_last_row_left_out": ("row < down.end() &&", "row < down.end() - 1 &&"),
    "the_last_column_left_out": ("column < across.end();", "column < across.end() - 1;"),
    "one_row_of_tiles": ("block % of_chunk / width, block % width);", "0, block % width);"),
    "rows_for_columns": (
        "here[(row - rows.first) * wide + column - columns.first]",
        "here[(column - columns.first) * rows.count + row - rows.first]",
    ),
}

PLANTED_IN_CCS = {
    "changes_below_zero_forgotten": ("bound | (all & NEGATIVE)", "bound"),
    "the_sign_of_one_forgotten": ("c & p & q & r & s;", "c & p & q & r;"),
    "upper_words_of_another": ("s = __double2hiint(four)", "s = __double2hiint(three)"),
}

PLANTED_IN_DISCRETE = {
    "no_barrier_before_nodes_are_counted": (
        "            __syncthreads();\n            count_nodes",
        "            count_nodes",
    ),
    "no_barrier_after_nodes_are_counted": (
        "entries, shift, memory);\n            __syncthreads();",
        "entries, shift, memory);",
    ),
    "a_table_of_every_other_number": ("= table[k >> shift];", "= table[k >> shift >> 1];"),
    "counts_in_units_of_one": ("ones[f] <<= shift;", "ones[f] <<= 0;"),
    "independence_by_one_count": ("(long long)one * two;", "(long long)one * one;"),
    "states_of_x_not_exchanged": (
        "there[k] = here[k], here[k] = other;",
        "there[k] = other, here[k] = here[k];",
    ),
}

WITH = {
    "mmi_series<double, {0}::Two, {0}::AllPairs>": PLANTED,
    "mmi_series<double, {0}::Two, {0}::Rectangle>": PLANTED_IN_RECTANGLES,
    "ccs<double, {0}::AllPairs>": PLANTED_IN_CCS,
    "discrete<double, true, {0}::AllPairs>": PLANTED_IN_DISCRETE,
}
"""The kernel in which each is looked for."""


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """One library of many kernels, each with a defect, in a namespace of its own."""
    every = {name: defect for some in WITH.values() for name, defect in some.items()}
    text = "\n".join(planted(defect, name) for name, defect in every.items())
    names = [f"{name}::{kernel.format(name)}" for kernel, some in WITH.items() for name in some]
    return build(tmp_path_factory.mktemp("broken") / "broken.so", names, text=text)


@pytest.mark.parametrize("defect", [name for some in WITH.values() for name in some])
def test_planted_defects_are_found(broken, rng, defect):
    kind, names, rectangle, chunk = ("gaussian", "MMI"), TWO, None, 2
    if defect in PLANTED_IN_RECTANGLES:
        rectangle = Rectangle(slice(0, 41), slice(42, 81))
    elif defect in PLANTED_IN_CCS:
        kind, names = ("gaussian", "CCS"), ATOMS
    elif defect in PLANTED_IN_DISCRETE:
        kind, names, chunk = ("discrete", "CCS"), ATOMS, 3  # more than are counted at once
    estimator, features = features_of(kind, series(rng, 3, 40, 81 if rectangle else 37))
    wanted, _ = expected(estimator, features, names, "float64")
    right = np.stack([wanted[:, k : k + chunk].sum(1) for k in range(0, 3, chunk)], 1)
    if rectangle is not None:
        right = right[:, :, *rectangle]
    found_out = False
    for order in ORDERS:
        run = Run(
            Launcher(broken, order), estimator, features, names, "float64", rectangle=rectangle
        )
        run.namespace = defect
        try:
            found, marks = run.matrices(chunk)
        except RuntimeError:
            found_out = True
        else:
            found_out |= bool(len(marks)) or not np.abs(found - right).max() < 1e-9
    assert found_out


# Each template once, promotion included.
SANITIZED = [
    (("gaussian", "MMI"), TWO, False, "float32"),
    (("gaussian", "MMI"), SOME, True, "float64"),
    (("gaussian", "CCS"), SOME, False, "float32"),
    (("discrete", "CCS"), TWO, False, "float64"),
]


def _from_one_series(recorder, values):
    """Launch what takes atoms from one series; names of these kernels."""
    estimator, features = features_of(("gaussian", "MMI"), values)
    names = {ONE_SERIES["float64"]}
    made = [
        *map(np.empty_like, one_series(values)[:2]),
        np.empty(features.constant.shape, np.uint8),
    ]
    recorder.launch(ONE_SERIES["float64"], 2 * 2, 256, [values, *made, 70, 33])
    rectangles = None, Rectangle(slice(17, 33), slice(0, 17))
    for atoms, rectangle in itertools.product((TWO, ATOMS), rectangles):
        run = Run(recorder, estimator, features, atoms, "float32", lags=values, rectangle=rectangle)
        run.matrices(2)
        run.node_sums(2, 1)
        names |= {run.name(), run.name("_nodes")}
    return names


# For each sanitizer, a defect that it must find and a word of its report.
SANITIZERS = {
    "address,undefined": ("one_sample_too_many", "heap-buffer-overflow"),
    "thread": ("no_barrier_before_values_are_overwritten", "data race"),
}


@pytest.mark.proof
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_sanitizers_are_silent(library, rng, tmp_path, sanitizer):
    defect, report = SANITIZERS[sanitizer]
    launcher = Launcher(library)
    recorder = Recorder(launcher, tmp_path / "launches")
    names = set(TOTALS)
    for kind, atoms, moments, dtype in SANITIZED:
        estimator, features = features_of(kind, series(rng, 2, 23, 33, degenerate=True))
        for rectangle in (None, Rectangle(slice(17, 33), slice(0, 17))):
            run = Run(
                recorder, estimator, features, atoms, dtype, moments=moments, rectangle=rectangle
            )
            run.matrices(2)
            run.node_sums(2, 1)
            names |= {run.name(), run.name("_nodes")}
    names |= _from_one_series(recorder, series(rng, 2, 70, 33, degenerate=True))
    broken = Recorder(launcher, tmp_path / "broken", defect)
    estimator, features = features_of(("gaussian", "MMI"), series(rng, 2, 23, 33))
    run = Run(broken, estimator, features, TWO, "float64")
    run.matrices(2)
    names.add(run.name().replace("phiid", defect))

    checks = ["-g1", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    program = build(
        tmp_path / "replay",
        sorted(names),
        text=kernels() + planted(PLANTED[defect], defect),
        flags=checks,
        header="replay.h",
    )

    def replay(launches):
        command = [program, launches]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    silent = replay(recorder.path)
    assert silent.returncode == 0, silent.stdout + silent.stderr
    # The address sanitizer says that it knows little of fibers, whatever it is told of them.
    assert len(silent.stderr.splitlines()) <= (sanitizer != "thread")
    loud = replay(broken.path)
    assert loud.returncode != 0
    assert report in loud.stderr
