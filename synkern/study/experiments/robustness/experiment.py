"""The experiment that takes the recording of a study apart in other ways, in one table."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from synkern._faces import Later
from synkern.analysis.profile import LayerProfile
from synkern.analysis.scores import PUBLISHED
from synkern.decomposition.options import OWN_UNIT
from synkern.study.experiments.carrying import ExperimentResult, carried_out
from synkern.study.experiments.experiment import Experiment
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.robustness.options import RobustnessOptions
from synkern.study.experiments.robustness.variants import (
    AS_STUDIED,
    Kept,
    Row,
    Variant,
    rankings_of,
    rows_of,
    variants_of,
)
from synkern.study.numerals import digits, interval, number, rounded
from synkern.study.options import called_with
from synkern.study.plan import duration
from synkern.study.report import called, verdict
from synkern.study.settings import TRAINED, Settings
from synkern.study.stage import Arrays, Drawn, Facts, Results, step_name
from synkern.study.stages.statistics import rank_correlation

# With matplotlib, which may be missing: when it is drawn.
if TYPE_CHECKING:
    from synkern.study.experiments.robustness import figures as robustness_figures
else:
    robustness_figures = Later("synkern.study.experiments.robustness.figures")


class Robustness(Experiment):
    """Decomposes the recorded series once more, with one option of the study changed at a time.

    No model is loaded. Its arrays, of all rows of the table (variants as they are and less the
    persistence reference, in the order of the facts) and all rankings (those of the study, then
    synergy itself): `quadratic` (rows, rankings), `quadratic_interval` (rows, rankings, 2),
    `scores` (rows, rankings, nodes), `mean` (rows, rankings, layers); NaN where there is none.
    """

    name = "robustness"
    options = RobustnessOptions
    command = "robustness"
    done = "taken apart in other ways"
    title = "Does it depend on how it is computed?"
    too_large = "use fewer prompts (max_prompts) in the study"
    pictures = ("robustness",)
    words: ClassVar[Mapping[str, Any]] = {
        "called": called,
        "interval": interval,
        "verdict": verdict,
    }

    def packages(self, settings: Settings) -> tuple[str, ...]:
        """Return what decomposes."""
        return ("synkern", "numpy")

    def plan(self, study: FinishedStudy, options: RobustnessOptions) -> str:
        """Say how many decompositions there are."""
        variants = variants_of(study.settings, options.taus)
        took = study.steps[step_name("analysis", TRAINED)]["seconds"]
        each = float(sum(took.values()))
        return (
            f"take {len(study.trained['tokens'])} recorded answers apart in {len(variants) - 1} "
            f"other ways; about {duration(2 * each * len(variants))} if each takes as long as in "
            f"the study, more where prompts are pooled ({options.bootstrap} decompositions)"
        )

    def run(
        self, study: FinishedStudy, options: RobustnessOptions, partial: Path
    ) -> tuple[Arrays, Facts]:
        """Decompose, score and fit, variant by variant."""
        settings, seconds = study.settings, {}
        kept = Kept(partial, lambda message: settings.say(f"{self.name}: {message}"))
        variants = variants_of(settings, options.taus)
        for place, variant in enumerate(variants):
            if kept.of(variant):
                settings.say(f"{self.name}: {variant.name} is there already")
                continue
            settings.say(f"{self.name}: {variant.name} ({place + 1} of {len(variants)})")
            started = time.perf_counter()
            kept.add(list(rows_of(study, variant, options)))
            seconds[variant.name] = round(time.perf_counter() - started, 3)
        rows, rankings = kept.rows, rankings_of(settings)
        facts: Facts = {
            "seconds": seconds,
            "rankings": list(rankings),
            "trials": len(study.trained["tokens"]),
            "rows": [_told(row, rankings, study, variants) for row in rows],
        }
        facts["finding"] = _finding(facts)
        return _arrays_of(rows, rankings, study), facts

    def finding(self, results: Results) -> str:
        """Say how many of the ways agree with the study."""
        return f"Robustness: {self.told(results)['finding']}"

    def summary(self, results: Results) -> list[str]:
        """Return the table, ranking by ranking."""
        facts = self.told(results)
        lines = []
        wide = max(len(row["name"]) for row in facts["rows"])
        for ranking in facts["rankings"]:
            lines.append(
                f"{called(ranking)}: quadratic term [95 %], verdict, rank correlation with the "
                "study's own over nodes, over layers"
            )
            lines += [f"  {row['name']:{wide}}  {_cells(row, ranking)}" for row in facts["rows"]]
        return lines

    def figures(self, results: Results) -> Iterator[Drawn]:
        """Draw the table."""
        title = f"{results.name}: one recording, taken apart in other ways"
        figure = robustness_figures.table(self.told(results), title)
        yield Drawn("robustness.png", figure, "table")


def _arrays_of(rows: Sequence[Row], rankings: Sequence[str], study: FinishedStudy) -> Arrays:
    layer = study.trained["layer"]
    shape = len(rows), len(rankings)
    arrays = {
        "quadratic": np.full(shape, np.nan),
        "quadratic_interval": np.full((*shape, 2), np.nan),
        "scores": np.full((*shape, len(layer)), np.nan),
        "mean": np.full((*shape, len(np.unique(layer))), np.nan),
    }
    for place, row in enumerate(rows):
        for column, ranking in enumerate(rankings):
            if ranking in row.profiles:
                for name, array in arrays.items():
                    array[place, column] = getattr(row.profiles[ranking], name)
    return arrays


def _told(
    row: Row, rankings: Sequence[str], study: FinishedStudy, variants: Sequence[Variant]
) -> Facts:
    (changes,) = [variant.changes for variant in variants if variant.name == row.variant]
    kind: Any = changes.get("kind", study.settings.kind)
    return {
        "name": row.name,
        "variant": row.variant,
        "reference": row.reference,
        "unit": OWN_UNIT[kind],
        "rankings": {
            ranking: _numbers(row.profiles[ranking], study.profiles[ranking])
            if ranking in row.profiles
            else {"absent": row.absent[ranking]}
            for ranking in rankings
        },
    }


def _numbers(profile: LayerProfile, own: LayerProfile) -> Facts:
    return {
        "absent": None,
        "quadratic_term": rounded(profile.quadratic),
        "quadratic_term_interval": [rounded(end) for end in profile.quadratic_interval],
        "inverted_u": profile.verdict,
        "missing_share": round(profile.missing_share, 6),
        "peak": rounded(profile.depth[np.nanargmax(profile.mean)]),
        "nodes": rank_correlation(profile.scores, own.scores),
        "layers": rank_correlation(profile.mean, own.mean),
    }


def _cells(row: Mapping[str, Any], ranking: str) -> str:
    found = row["rankings"][ranking]
    if found["absent"] is not None:
        return f"not computed: {found['absent']}"
    low, high = (math.nan if end is None else end for end in found["quadratic_term_interval"])
    correlations = "  ".join(
        "undefined" if found[over] is None else number(found[over], 2, signed=True)
        for over in ("nodes", "layers")
    )
    decimals = max(3, digits(found["quadratic_term"], low, high))
    said = verdict(found["inverted_u"])
    return (
        f"{number(found['quadratic_term'], decimals, signed=True)} "
        f"{interval((low, high), decimals)}  "
        f"{said:13}  {correlations}"
    )


def _finding(facts: Facts) -> str:
    """Say what the rows say by the ranking of the published figures, whatever that is."""
    told = {row["name"]: row for row in facts["rows"]}
    own = told[AS_STUDIED]["rankings"][PUBLISHED]
    said = [
        f"by mean difference, the study's own profile is {_article(own)} (quadratic term "
        f"{number(own['quadratic_term'], 3, signed=True)})"
    ]
    for reference, words in ((False, "computed in other ways"), (True, "less persistence")):
        rows = {
            name: row["rankings"][PUBLISHED]
            for name, row in told.items()
            if row["reference"] == reference and name != AS_STUDIED
        }
        said.append(_of_rows({n: r for n, r in rows.items() if r["absent"] is None}, words))
    lost = sum(row["rankings"][PUBLISHED]["absent"] is not None for row in facts["rows"])
    if lost:
        said.append(f"{lost} of {len(told)} rows cannot be computed for this study")
    return f"{'; '.join(said)}."


def _article(found: Mapping[str, Any]) -> str:
    return "an inverted U" if found["inverted_u"] else verdict(found["inverted_u"])


def _of_rows(rows: Mapping[str, Mapping[str, Any]], words: str) -> str:
    if not rows:
        return f"{words}, there is none to compare"
    terms = [row["quadratic_term"] for row in rows.values()]
    agreeing = sum(row["inverted_u"] is True for row in rows.values())
    ends = f"{number(min(terms), 3, signed=True)} to {number(max(terms), 3, signed=True)}"
    text = f"{words}, {agreeing} of {len(rows)} profiles are inverted Us (quadratic terms {ends})"
    known = {name: row["layers"] for name, row in rows.items() if row["layers"] is not None}
    if not known:
        return text
    least = min(known, key=lambda name: known[name])
    return (
        f"{text}, and the one least like the study's own over the layers is {least} (rank "
        f"correlation {number(known[least], 2, signed=True)})"
    )


@called_with(RobustnessOptions)
def run_robustness(options: RobustnessOptions) -> ExperimentResult:
    """Take the recording of a finished study apart in other ways, and see what remains.

    The recorded series are decomposed again with one option of the study changed at a time: lag,
    estimator, preparation of the series, redundancy, and how prompts combine; each as it is, and
    less what persistence alone would give, where there is such a reference. By every ranking, a
    row has quadratic term and verdict of its profile, and how it correlates with the study's own.
    What cannot be computed is a row that says why. See
    `synkern.study.experiments.robustness.experiment.Robustness` for the arrays. Interrupted, it
    goes on with the variant it was at when it is called again. The model is not needed.

    Raises:
        ArgumentError: a ValueError: an option that cannot be used, or not with this study.
        MissingPackageError: an ImportError: a package of the extras `llm` or `plot` is missing.
        StudyError: there is no finished study in the folder, or another process is at work in it;
            its series are missing or were changed; there is not enough memory.
        OSError: a file that cannot be written.
    """
    return carried_out(Robustness(), options)
