"""The experiment that compares rankings and profiles of a study by category of its prompts."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from synkern import analysis, tasks
from synkern._faces import Later
from synkern._warnings import collected
from synkern.analysis.scores import tied_rank
from synkern.study.errors import ArgumentError, checks_of_arguments, refusals
from synkern.study.experiments.carrying import ExperimentResult, carried_out
from synkern.study.experiments.categories import results as categories_results
from synkern.study.experiments.categories.options import (
    DRAWN,
    POOLED,
    CategoriesOptions,
    Decided,
)
from synkern.study.experiments.experiment import Experiment
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.numerals import digits
from synkern.study.options import called_with
from synkern.study.prompts import load_prompts
from synkern.study.provenance import digest
from synkern.study.settings import TRAINED
from synkern.study.stage import Arrays, Drawn, Facts, Results
from synkern.study.stages.decomposing import averages_of

# With matplotlib, which may be missing: when it is drawn.
if TYPE_CHECKING:
    from synkern.study.experiments.categories import figures as categories_figures
else:
    categories_figures = Later("synkern.study.experiments.categories.figures")

_PLAIN = "{problem}"
_FEWEST = 2
"""Prompts of a group: one has no halves, and no interval."""


class Categories(Experiment):
    """Compares rankings and profiles of groups of prompts.

    Its arrays: `group` (prompts,), the place of each prompt's group in `names` (groups,);
    `activation` (prompts, nodes), mean over the tokens of each answer; and for every ranking R,
    from `synkern.analysis.categories.GroupComparison`: `R_scores` (groups, nodes); `R_profile`,
    `R_lower` and `R_upper` (groups, layers); `R_similarity`, `R_profile_similarity`, `R_ceiling`
    and `R_pair_p` (groups, groups); `R_random_similarity` and `R_random_profile_similarity`
    (permutations, pairs of groups); `R_reliability` (groups,). `layers` (layers,).
    """

    name = "categories"
    options = CategoriesOptions
    command = "categories"
    done = "compared by category"
    title = "Do categories of prompts differ?"
    too_large = "study fewer prompts (max_prompts)"
    pictures = ("categories",)
    words: ClassVar[Mapping[str, Any]] = {"decimals_in_categories": digits}

    def resolved(self, study: FinishedStudy, options: CategoriesOptions) -> Decided:
        """Return the options with all that is left to the study filled in.

        Raises:
            ArgumentError: groups that are not those of the study's prompts, or too few.
        """
        drawn = DRAWN if study.settings.average == "trials" else POOLED
        given = {name: getattr(options, name) or count for name, count in drawn.items()}
        groups, left_out = _groups(study, options)
        return Decided(**vars(options) | given | {"grouping": groups, "left_out": left_out})

    def ingredients(self, study: FinishedStudy, options: Decided) -> Facts:
        """Return a digest of the group of every prompt, and the groups that have none."""
        # Only where there are some: what was found without stays as it is.
        left_out = {"left_out": list(options.left_out)} if options.left_out else {}
        return {"grouping": digest(options.grouping), **left_out}

    def plan(self, study: FinishedStudy, options: Decided) -> str:
        """Say how much is drawn."""
        groups = options.grouping
        return (
            f"decompose the series of {len(groups)} answers again, compare {len({*groups})} groups "
            f"of prompts by {', '.join(study.rankings)}, with {options.permutations} deals at "
            f"random, {options.bootstrap} draws of prompts and {options.splits} halvings of each"
        )

    def run(self, study: FinishedStudy, options: Decided, partial: Path) -> tuple[Arrays, Facts]:
        """Compare.

        Raises:
            StudyError: the prompts of some group give no scores.
        """
        started = time.perf_counter()
        groups = options.grouping
        # A copy: what is recorded may be a file.
        series = np.array(study.series())
        found: dict[str, analysis.GroupComparison] = {}
        slopes: dict[str, analysis.ActivationSlopes] = {}
        drawn = {"permutations": options.permutations, "bootstrap": options.bootstrap}
        with collected() as warnings, refusals("the groups of prompts cannot be compared"):
            averages = averages_of(study.settings, series, TRAINED)
            decomposed = time.perf_counter()
            activation = analysis.mean_activation(series)
            for ranking in study.rankings:
                study.settings.say(f"{self.name}: by {ranking}")
                found[ranking] = analysis.compare_groups(
                    averages,
                    groups,
                    study.trained["layer"],
                    ranking=ranking,
                    splits=options.splits,
                    seed=options.seed,
                    **drawn,
                )
                slopes[ranking] = analysis.activation_slopes(
                    activation,
                    tied_rank(study.scores(ranking)),
                    groups,
                    seed=options.seed,
                    **drawn,
                )
        facts = categories_results.facts_of(
            found, slopes, "groups" if options.groups else "categories"
        )
        facts["seconds"] = {
            "decomposition": round(decomposed - started, 3),
            "comparisons": round(time.perf_counter() - decomposed, 3),
        }
        facts["warnings"] = [*warnings, *categories_results.too_few(found)]
        if options.left_out:
            facts["warnings"].append(
                "groups that have none of the prompts of the study, so that nothing is said of "
                f"them: {', '.join(options.left_out)}"
            )
        return categories_results.arrays_of(found, groups, activation), facts

    def summary(self, results: Results) -> list[str]:
        """Return for each ranking how alike groups are."""
        return categories_results.lines_of(self.told(results))

    def figures(self, results: Results) -> Iterator[Drawn]:
        """Draw profiles, similarities and slopes."""
        arrays, facts = results.of(self.name), self.told(results)
        title = f"{results.name}: {facts['called']} of prompts"
        figure = categories_figures.compared(arrays, facts, title)
        yield Drawn("categories.png", figure, "compared")


def _groups(
    study: FinishedStudy, options: CategoriesOptions
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The group of every prompt of the study, and the groups that have none of them.

    Raises:
        ArgumentError: fewer than two groups, a group of one prompt, or a file that does not name
            every prompt of the study.
    """
    if options.groups is None:
        groups, named = study.categories, {}
        remedy = 'give groups of the prompts in a file (groups), {"group": ["prompt", ...], ...}'
        source = f"the prompts of the study in {str(study.path)!r}"
    else:
        named = _named(study, options.groups)
        groups = tuple(named[prompt.text] for prompt in study.settings.asked)
        remedy = "give at least two groups, of two prompts of the study or more"
        source = f"groups = {str(options.groups)!r}"
    counts = Counter(groups)
    if len(counts) < 2:
        raise ArgumentError(f"{source}: all {len(groups)} prompts are of one group; {remedy}")
    few = [name for name, count in counts.items() if count < _FEWEST]
    if few:
        raise ArgumentError(
            f"{source}: of group {few[0]!r} there is one prompt, which has no interval; {remedy}"
        )
    # In the order of the file, each once.
    return groups, tuple(name for name in dict.fromkeys(named.values()) if name not in counts)


def _level(level: int | None) -> str:
    return "no level" if level is None else f"level {level}"


def _named(study: FinishedStudy, file: str | Path) -> dict[str, str]:
    """The group of every text of a file, which has all prompts of the study."""
    with checks_of_arguments():
        if Path(file).suffix.lower() == ".jsonl":
            # As prompts of a study they have no template around them.
            named: dict[str, str] = {}
            for task in tasks.read(file, template=_PLAIN):
                level = _level(task.level)
                if named.setdefault(task.prompt, level) != level:
                    raise ValueError(
                        f"groups = {str(file)!r}: {json.dumps(task.prompt[:80])} is there as "
                        f"{named[task.prompt]} and as {level}; keep one"
                    )
        else:
            named = {prompt.text: prompt.category for prompt in load_prompts(file)}
    missing = [prompt.text for prompt in study.settings.asked if prompt.text not in named]
    if missing:
        raise ArgumentError(
            f"groups = {str(file)!r}: {len(missing)} of {len(study.settings.asked)} prompts of the "
            f"study are in no group, the first is {json.dumps(missing[0][:80])}; name every one"
        )
    return named


@called_with(CategoriesOptions)
def run_categories(options: CategoriesOptions) -> ExperimentResult:
    """Compare the rankings and the profiles of a finished study by category of its prompts.

    The recorded series are decomposed again; the model is not needed. Every two categories are put
    beside what prompts dealt at random give, and beside the reliability of each, by
    `synkern.analysis.compare_groups`; the activation of nodes in each category is regressed on
    their rank by `synkern.analysis.activation_slopes`. What is found goes to the folder and the
    report of the study; see `synkern.study.experiments.categories.experiment.Categories` for the
    arrays.

    Raises:
        ArgumentError: a ValueError: an option that cannot be used, or not with this study.
        MissingPackageError: an ImportError: a package of the extras `llm` or `plot` is missing.
        StudyError: there is no finished study in the folder, another process is at work in it, or
            some group gives no scores; there is not enough memory.
        OSError: a file that cannot be read or written.
    """
    return carried_out(Categories(), options)
