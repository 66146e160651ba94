"""The experiment that looks at synergy and redundancy of a study as networks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from synkern import analysis
from synkern._faces import Later
from synkern._warnings import collected
from synkern.analysis.graph.drawing import network_places
from synkern.analysis.graph.weights import FEWEST_NODES, densities_of, edges_at, too_few
from synkern.study.errors import ArgumentError, StudyError, refusals
from synkern.study.experiments.carrying import ExperimentResult, carried_out
from synkern.study.experiments.experiment import Experiment
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.networks import results as networks_results
from synkern.study.experiments.networks.options import (
    DRAWN,
    FEWEST_DRAWS,
    MANY_NODES,
    Decided,
    NetworksOptions,
)
from synkern.study.experiments.pace import Pace
from synkern.study.experiments.pieces import Kept
from synkern.study.numerals import digits
from synkern.study.options import called_with
from synkern.study.published import published
from synkern.study.settings import AVERAGED, KEPT, TRAINED, Settings
from synkern.study.stage import Arrays, Drawn, Facts, Results, step_name
from synkern.study.stages.decomposing import averages_of

# With matplotlib, which may be missing: when it is drawn.
if TYPE_CHECKING:
    from synkern.study.experiments.networks import figures as networks_figures
else:
    networks_figures = Later("synkern.study.experiments.networks.figures")


class Networks(Experiment):
    """Measures the graphs of synergy and redundancy, and null graphs of either.

    Its arrays, for G `synergy` or `redundancy`: `densities` and `null_densities`; `G_measured`
    (measures, densities) and `G_nulls` (nulls, measures, draws, null densities), measures in the
    order of `synkern.analysis.graph.results.MEASURES` and nulls in that of the option; `G_runs`
    (runs,), modularity of each run of Louvain; `G_partition` and `G_consensus` (nodes,),
    communities of the best run and those that the runs have in common; `G_participation` (nodes,);
    `G_places` (nodes, 2), where nodes are drawn. With draws of prompts: `bootstrap_raw` (measures,
    draws, 2), `bootstrap_ratio` (nulls, measures, draws, 2), of synergy and of redundancy, and
    `bootstrap_spearman` (draws,); NaN in draws that make no graph.
    """

    name = "networks"
    options = NetworksOptions
    command = "networks"
    done = "seen as networks"
    title = "What kind of networks are synergy and redundancy?"
    too_large = "leave the draws of prompts out (bootstrap = 0)"
    pictures = ("networks", "networks_drawn")
    words: ClassVar[Mapping[str, Any]] = {
        "published_networks": published("networks"),
        "measures_of_networks": networks_results.CALLED,
        "nulls_of_networks": networks_results.KEEPS,
        "decimals_of": digits,
    }
    extra = ("scipy", "scikit-network")

    def packages(self, settings: Settings) -> tuple[str, ...]:
        """Return what computes."""
        return (*super().packages(settings), *self.extra)

    def resolved(self, study: FinishedStudy, options: NetworksOptions) -> Decided:
        """Return the options with all that is left to the study filled in.

        Raises:
            ArgumentError: options that cannot be used with this study.
            StudyError: a study without single pairs, or with too few nodes.
        """
        nodes, many_nodes = len(study.nodes), study.settings.words.many
        if study.settings.averaged:
            raise StudyError(
                f"the study in {str(study.path)!r} kept means by {study.settings.words.one} "
                f"(pairs = {AVERAGED!r}), and a network is made of single pairs; study it with "
                f"pairs = {KEPT!r} in another folder"
            )
        if nodes < FEWEST_NODES:
            raise StudyError(
                too_few(nodes, many_nodes, f"the study in {str(study.path)!r} has")
                + "; study other nodes, or another model, in another folder"
            )
        if len({*options.nulls}) < len(options.nulls):
            raise ArgumentError(f"nulls = {options.nulls!r} names one twice; give each once")
        # Of few nodes, by default as many edges as could join them all: nodes - 1.
        drawn = max(DRAWN, 2 / nodes) if options.drawn is None else options.drawn
        edges_at("drawn", drawn, nodes)
        many = nodes > MANY_NODES
        bootstrap = options.bootstrap
        if bootstrap is None:
            bootstrap = 0 if many else 200
        if 0 < bootstrap < FEWEST_DRAWS:
            raise ArgumentError(
                f"bootstrap = {bootstrap}; give 0, for no intervals, or at least {FEWEST_DRAWS}"
            )
        densities, dropped = densities_of("densities", options.densities, nodes)
        given = {
            "nulls": tuple(options.nulls),
            "draws": options.draws or (20 if many else 100),
            "densities": densities,
            "bootstrap": bootstrap,
            "drawn": drawn,
            "dropped": dropped,
        }
        return Decided(**vars(options) | given)

    def plan(self, study: FinishedStudy, options: Decided) -> str:
        """Say how much is measured."""
        nodes = len(study.nodes)
        intervals = f"intervals from {options.bootstrap} draws of prompts"
        return (
            f"measure the networks of synergy and redundancy of {nodes} "
            f"{study.settings.words.many}, {options.runs} runs of Louvain on each, beside "
            f"{options.draws} null graphs of each kind ({', '.join(options.nulls)}); "
            + (intervals if options.bootstrap else "no intervals")
        )

    def run(self, study: FinishedStudy, options: Decided, partial: Path) -> tuple[Arrays, Facts]:
        """Measure.

        Raises:
            StudyError: the atoms of the study make no graph.
            OSError: what is done so far cannot be kept.
        """
        kept = Kept(partial)
        started = time.perf_counter()
        what = f"{study.settings.words.many} of the study in {str(study.path)!r}"
        with collected() as warnings, refusals(f"the {what} make no networks"):
            found = self._measured(study, options, kept)
            places = [
                network_places(graph.graph, options.drawn)
                for graph in (found.synergy, found.redundancy)
            ]
            measured = time.perf_counter()
            intervals = self._intervals(study, options, kept) if options.bootstrap else None
        if intervals is None:
            warnings.append(
                "without draws of prompts (bootstrap = 0) no interval says whether synergy and "
                "redundancy differ"
            )
        elif intervals.failed_draws:
            warnings.append(
                f"{intervals.failed_draws} of {options.bootstrap} draws of prompts make no "
                f"network and are in no interval; the first: {intervals.failure}"
            )
        facts = networks_results.facts_of(study, found, intervals)
        facts["dropped_densities"] = list(options.dropped)
        facts["seconds"] = {
            "graphs and nulls": round(measured - started, 3),
            "draws of prompts": round(time.perf_counter() - measured, 3),
        }
        facts["warnings"] = warnings
        arrays = networks_results.arrays_of(found, intervals)
        return arrays | {
            f"{graph}_places": where
            for graph, where in zip(networks_results.GRAPHS, places, strict=True)
        }, facts

    def _measured(self, study: FinishedStudy, options: Decided, kept: Kept) -> analysis.Networks:
        with Pace(study.settings, "networks: graphs and nulls") as pace:
            return analysis.networks(
                study.trained["sts"],
                study.trained["rtr"],
                study.trained["layer"],
                densities=options.densities,
                runs=options.runs,
                nulls=options.nulls,
                draws=options.draws,
                seed=options.seed,
                workers=options.workers,
                progress=pace,
                kept=kept,
            )

    def _intervals(
        self, study: FinishedStudy, options: Decided, kept: Kept
    ) -> analysis.NetworkIntervals:
        done = 0

        def progress(draws: int) -> None:
            nonlocal done
            done += draws
            pace(done, options.bootstrap)

        # A copy: what is recorded may be a file.
        averages = averages_of(study.settings, np.array(study.series()), TRAINED)
        with Pace(study.settings, "networks: draws of prompts") as pace:
            return analysis.network_intervals(
                averages,
                study.trained["layer"],
                bootstrap=options.bootstrap,
                nulls=options.nulls,
                seed=options.seed,
                workers=options.workers,
                progress=progress,
                kept=kept,
            )

    def summary(self, results: Results) -> list[str]:
        """Return the measures of both graphs, raw and beside nulls."""
        return networks_results.lines_of(self.told(results))

    def figures(self, results: Results) -> Iterator[Drawn]:
        """Draw both networks, and their measures beside nulls."""
        arrays, facts = results.of(self.name), self.told(results)
        trained = results.of(TRAINED)
        unit = results.description["stages"][step_name("analysis", TRAINED)]["unit"]
        title = f"{results.name}: networks of {results.words.many}"
        figure = networks_figures.drawn(arrays, trained, facts["options"]["drawn"], title, unit)
        yield Drawn("networks_drawn.png", figure, "drawn")
        figure = networks_figures.measured(arrays, trained["layer"], facts, title)
        yield Drawn("networks.png", figure, "measured")


@called_with(NetworksOptions)
def run_networks(options: NetworksOptions) -> ExperimentResult:
    """Look at synergy and redundancy of a finished study as networks.

    Both graphs are measured raw, as published, and beside null graphs that keep their weights,
    their strengths, or what the distance of layers gives, by `synkern.analysis.networks`. The model
    is not needed. What is found goes to the folder and the report of the study; see
    `synkern.study.experiments.networks.experiment.Networks` for the arrays.

    Raises:
        ArgumentError: a ValueError: an option that cannot be used, or not with this study.
        MissingPackageError: an ImportError: a package of the extras `llm`, `plot` or `networks` is
            missing.
        StudyError: there is no finished study in the folder, another process is at work in it, or
            its atoms make no network; there is not enough memory.
        OSError: a file that cannot be written.
    """
    return carried_out(Networks(), options)
