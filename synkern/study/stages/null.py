"""The stage that tests synergy and redundancy of every pair against those of unrelated nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synkern import analysis
from synkern._arrays import to_numpy
from synkern._warnings import collected
from synkern.study import report
from synkern.study.errors import refusals
from synkern.study.numerals import percent
from synkern.study.settings import NONE, TRAINED, Settings
from synkern.study.stage import Arrays, Drawn, Facts, Results, Sources, Stage
from synkern.study.stages.series import announce, decompose, for_backend, prepared
from synkern.study.stages.statistics import FALSE_DISCOVERIES, tested

FALSE_POSITIVES = {
    "cross_trial": (".052 / .054", ".052 / .055"),
    "row_shift": (".050 / .054", ".130 / .128"),
    "circular": (".188 / .054", ".721 / .143"),
    "block": (".964 / .072", "1.00 / .807"),
    "phase": (".189 / .051", ".726 / .146"),
}
"""Shares of unrelated pairs with p <= 0.05, sts / rtr, for AR(1) nodes of coefficient 0.5 and of
0.97, mean of ten trials: the table in `synkern.analysis.nulls`."""

_ATOMS = ("sts", "rtr")
_FEW_DRAWS = 19


class Null(Stage):
    """Tests every pair against surrogates of a null.

    Its arrays, for A `sts` or `rtr`: `null_A_p`, `null_A_q`, `null_A_mean` and `null_A_z`, (nodes,
    nodes).
    """

    name = "null"
    after = ("recording",)
    too_large = "use fewer prompts (max_prompts), or pool them (average = 'moments')"
    pictures = ("null",)
    words: ClassVar[Mapping[str, Any]] = {
        "threshold": FALSE_DISCOVERIES,
        "false_positives": FALSE_POSITIVES,
    }

    def asked_for(self, settings: Settings) -> bool:
        """Whether a null was chosen."""
        return settings.null != NONE

    def plan(self, settings: Settings, nodes: int, layers: int) -> str:
        """Say how many decompositions the surrogates take."""
        pairs, draws = nodes * (nodes - 1) // 2, settings.null_draws or 0
        return (
            f"test the pairs against null {settings.null} ({settings.null_draws} draws, "
            f"{draws * pairs * len(settings.asked):,} decompositions)"
        )

    def decompositions(self, settings: Settings) -> int:
        """Return one, and one for each surrogate."""
        return 1 + (settings.null_draws or 0)

    def matrices(self, settings: Settings) -> int:
        """Return four of each atom."""
        return 4 * len(_ATOMS)

    def try_out(self, settings: Settings) -> None:
        """Test a few random numbers.

        Raises:
            ValueError: a null that does not serve the estimator, or series too short for it.
        """
        # As many as there will be, or enough of them: what a null needs is a length at least.
        shape = (2, min(settings.new_tokens, 1000), 3)
        few = prepared(settings, np.random.default_rng(0).normal(size=shape))
        _test(replace(settings, null_draws=_FEW_DRAWS), few)

    def run(self, sources: Sources, weights: str) -> tuple[Arrays, Facts]:
        """Test.

        Raises:
            StudyError: the recording cannot be tested.
        """
        settings = sources.settings
        series = prepared(settings, sources.series(weights))
        started = time.perf_counter()
        decompose(settings, series)
        n = settings.null_draws or 0
        announce(settings, f"{weights}: {settings.null}", time.perf_counter() - started, n)
        with refusals(f"the null test of {weights} weights cannot be done"):
            test, warned = _test(settings, for_backend(settings, series))
        arrays: Arrays = {}
        facts: Facts = {
            "seconds": {"null test": round(time.perf_counter() - started, 3)},
            "null": test.null,
            "draws": test.n,
            "smallest_p": 2 / (test.n + 1),
            # Benjamini and Hochberg: so large a share of the pairs has to reach the smallest p.
            "share_needed": min(1.0, 2 / (test.n + 1) / FALSE_DISCOVERIES),
            "warnings": warned,
            "atoms": {},
        }
        for atom in _ATOMS:
            found, facts["atoms"][atom] = _of_atom(test, atom)
            arrays |= {f"null_{atom}_{name}": matrix for name, matrix in found.items()}
        return arrays, facts

    def method(self, settings: Settings) -> Facts:
        """Return the null."""
        return {"null": settings.null}

    def finding(self, results: Results) -> str:
        """Say how many pairs differ from the null."""
        parameters, facts = results.description["parameters"], results.facts(self.name)
        share = facts[TRAINED]["atoms"]["sts"]["share_q"]
        return f"{percent(share)} of the pairs differ in synergy from null {parameters['null']}"

    def summary(self, results: Results) -> list[str]:
        """Say for each model how many pairs differ from the null."""
        return [_line(weights, test) for weights, test in results.facts(self.name).items()]

    def figures(self, results: Results) -> Iterator[Drawn]:
        """Draw how many pairs of each layer differ from the null, and how far."""
        tests = {
            report.of_weights(weights): {
                atom: {key: results.arrays[f"{weights}_null_{atom}_{key}"] for key in "pqz"}
                for atom in _ATOMS
            }
            for weights in results.profiles
        }
        layer = results.of(TRAINED)["layer"]
        null = results.facts(self.name)[TRAINED]["null"]
        title = f"{results.name}: against null {null!r}"
        figure = report.null_curves(tests, layer, FALSE_DISCOVERIES, title, results.words)
        yield Drawn("null.png", figure, "null")


def _test(settings: Settings, series: Any) -> tuple[analysis.NullTest, list[str]]:
    null: Any = settings.null
    n = settings.null_draws or 0
    with collected() as messages:
        test = analysis.null_test(series, null, n=n, seed=settings.seed, **settings.estimator)
    return test, messages


def _of_atom(test: analysis.NullTest, atom: str) -> tuple[dict[str, NDArray[Any]], Facts]:
    """What a test says of one atom: matrices by what they are, and shares of the pairs."""
    p, q, observed, center, sd = (
        to_numpy(values[atom])
        for values in (test.p, test.q, test.observed, test.null_mean, test.null_sd)
    )
    arrays, facts = tested(p, q, observed, center, sd)
    return arrays, facts | {"without_value": test.without_value[atom]}


def _line(weights: str, test: Facts) -> str:
    shares = []
    for atom, found in test["atoms"].items():
        if found["share_q"] is None:
            shares.append(f"{atom} no pair tested")
        else:
            shares.append(f"{atom} {found['share_q']:.1%} (p <= 0.05: {found['share_p']:.1%})")
    said = f"pairs that differ from null {test['null']} at a false-discovery rate of 0.05"
    return f"{said}, {weights}: {', '.join(shares)}"
