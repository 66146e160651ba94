"""The experiment that takes out more and more nodes: in the order of synergy, and in others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synkern import interventions
from synkern._faces import Later
from synkern._warnings import collected
from synkern.analysis.scores import PUBLISHED
from synkern.interventions.curves.orders import DRAWN, ORDERS
from synkern.study.errors import ArgumentError, StudyError, refusals
from synkern.study.experiments.ablation import results as ablation_results
from synkern.study.experiments.ablation.charts import charts_of
from synkern.study.experiments.ablation.options import AS_PUBLISHED, DRAWS, AblationOptions, Decided
from synkern.study.experiments.carrying import ExperimentResult, carried_out
from synkern.study.experiments.experiment import Intervention
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.options import REFERENCE
from synkern.study.experiments.pace import Pace
from synkern.study.experiments.reading import check_texts, places_of, texts_of
from synkern.study.explorer.explored import Chart
from synkern.study.options import called_with
from synkern.study.published import published
from synkern.study.settings import TRAINED
from synkern.study.stage import Arrays, Drawn, Facts, Results
from synkern.study.stages.decomposing import scores_of

# With matplotlib, which may be missing: when it is drawn.
if TYPE_CHECKING:
    from synkern.interventions import AblationCurve
    from synkern.study.experiments.ablation import figures as ablation_figures
else:
    ablation_figures = Later("synkern.study.experiments.ablation.figures")

_SECOND = "rank_difference"
"""The ranking whose order of synergy stands beside that of the published figures."""

_OF_LAYERS = ("layer_matched", "layer_only")
# Of random numbers: orders have those from 0 on.
_STREAM_OF_HALVES = 100


class Ablation(Intervention):
    """Takes out more and more nodes in several orders, and looks at what the model then expects.

    Its arrays, with the different sets of nodes that are out as entries: `kl`, `loss` and
    `agreement` (entries, texts), means over the tokens of each answer; `sets` (orders, points), the
    entry of each; `counts` (points,), nodes that are out; `order_name` and `order_draw` (orders,);
    `order_nodes` (orders, 2, nodes that are ever taken out), the second row of the texts that are
    not in the first half; `among` (nodes,), which these are; `texts` (texts,), places of the
    prompts that were judged; `first_half` (texts,).
    """

    name = "ablation"
    options = AblationOptions
    command = "ablate"
    done = "ablated"
    title = "What if the nodes are taken out?"
    too_large = "use fewer prompts (max_prompts) or fewer tokens of each answer (answer_tokens)"
    pictures = ("ablation", "ablation_categories")
    words: ClassVar[Mapping[str, Any]] = {"published_ablations": published("ablation")}

    def resolved(self, study: FinishedStudy, options: AblationOptions) -> Decided:
        """Return the options with all that is left to the study filled in.

        Raises:
            ArgumentError: options that exclude each other, or that this study has no use for.
        """
        given = vars(_as_published(options) if options.as_published else options)
        count = int(np.isfinite(study.scores(options.ranking)).sum())
        decided = Decided(
            **given
            | {
                "orders": _orders(study, given["orders"]),
                "step": given["step"] or max(1, round(count / 50)),
                "draws": given["draws"] or DRAWS,
            }
        )
        self._check(study, decided, count)
        return decided

    def _check(self, study: FinishedStudy, options: Decided, nodes: int) -> None:
        texts = len(study.trained["tokens"])
        if round(options.to * nodes) < 1:
            raise ArgumentError(
                f"to = {options.to!r} of {nodes} {study.settings.words.many} is none; give "
                f"{1 / nodes:.2g} or more"
            )
        check_texts(study, options)
        if options.split_half and texts < 4:
            raise ArgumentError(
                f"split_half = True with {texts} prompts; each half needs two: leave it out"
            )

    def plan(self, study: FinishedStudy, options: Decided) -> str:
        """Say how many points there are."""
        many, texts = study.settings.words.many, texts_of(study, options)
        draws = sum(options.draws if order in DRAWN else 1 for order in options.orders)
        nodes = int(np.isfinite(study.scores(options.ranking)).sum())
        points = -(-round(options.to * nodes) // options.step)
        return (
            f"take out {many} ({options.kind}) in {len(options.orders)} orders, {draws} with all "
            f"draws, by {options.ranking}, at {points} points up to {options.to:.0%}, and read "
            f"{len(texts)} answers of {min(map(len, texts.responses))} tokens at each"
        )

    def run(self, study: FinishedStudy, options: Decided, partial: Path) -> tuple[Arrays, Facts]:
        """Take out, and read.

        Raises:
            StudyError: the nodes of the model are not those of the study, or cannot be taken out.
        """
        study.check_nodes()
        started = time.perf_counter()
        scores = {name: study.scores(name) for name in _rankings(study, options)}
        among = np.logical_and.reduce([np.isfinite(each) for each in scores.values()])
        split = _split(study, options) if options.split_half else None
        ranked = time.perf_counter()
        places = places_of(study, options)
        what = f"{study.settings.words.many} of model {study.settings.model!r}"
        with (
            collected() as warnings,
            Pace(study.settings, self.name) as pace,
            refusals(f"the {what} cannot be taken out"),
        ):
            curve = interventions.ablation_curve(
                study.model,
                texts_of(study, options),
                scores,
                orders=options.orders,
                of=study.settings.nodes,
                kind=options.kind,
                step=options.step,
                to=options.to,
                draws=options.draws,
                seed=options.seed,
                batch_size=options.batch_size,
                among=among,
                split=split,
                groups=[study.categories[place] for place in places],
                file=partial,
                progress=pace,
            )
        warnings += study.without_score(among, "are never taken out; shares are of the others")
        seconds = {"ranking": ranked - started, "ablating": time.perf_counter() - ranked}
        facts = ablation_results.facts_of(curve, options)
        facts["seconds"] = {name: round(taken, 3) for name, taken in seconds.items()}
        facts["warnings"] = [*warnings, *ablation_results.too_few(options, len(places))]
        return ablation_results.arrays_of(curve) | {"texts": np.array(places)}, facts

    def finding(self, results: Results) -> str:
        """Say whether the order of synergy does more harm than others."""
        found = self.told(results)
        return (
            f"Ablation ({found['kind']}, judged by {found['texts']} of the model's own answers, "
            f"{found['tokens']} tokens of each): {found['finding']} "
            f"{found['beside']}"
        )

    def summary(self, results: Results) -> list[str]:
        """Return the KL of every order at some shares, and its area."""
        return ablation_results.lines_of(self.told(results))

    def figures(self, results: Results) -> Iterator[Drawn]:
        """Draw the curves of all orders, and those of each category of prompts."""
        curve = self._curve(results)
        facts, words = self.told(results), results.words
        title = f"{results.name}: {words.many} taken out ({facts['kind']}, {facts['ranking']})"
        yield Drawn("ablation.png", ablation_figures.curves(curve, title, words), "curves")
        if facts["categories"]:
            figure = ablation_figures.categories(curve, title, words)
            yield Drawn("ablation_categories.png", figure, "categories")

    def charts(self, results: Results) -> Iterator[Chart]:
        """Return the curves of all orders, beside the published ones."""
        return charts_of(self._curve(results), results.words.many)

    def _curve(self, results: Results) -> AblationCurve:
        arrays, trained = results.of(self.name), results.of(TRAINED)
        facts = self.told(results)
        return ablation_results.curve_of(arrays, trained, facts, results.words.kind)


def _as_published(options: AblationOptions) -> AblationOptions:
    """The options of the published curves, where nothing else is asked for."""
    for name, value in AS_PUBLISHED.items():
        given = getattr(options, name)
        if isinstance(given, list):
            given = tuple(given)
        if given not in (None, value):
            raise ArgumentError(
                f"{name} = {given!r} with as_published = True, which is {name} = {value!r}; leave "
                "one of them out"
            )
    return replace(options, **AS_PUBLISHED)


def _orders(study: FinishedStudy, asked: Sequence[str] | None) -> tuple[str, ...]:
    """The orders asked for, or all that nodes of this kind have."""
    words = study.settings.words
    left_out = () if words.numbered else _OF_LAYERS
    if asked is None:
        return tuple(order for order in ORDERS if order not in left_out)
    orders = tuple(asked)
    if len({*orders}) < len(orders):
        raise ArgumentError(f"orders = {orders!r} names one twice; give each once")
    if REFERENCE not in orders:
        raise ArgumentError(
            f"orders = {orders!r}: {REFERENCE!r} has to be among them, which the others are "
            "compared with"
        )
    for order in orders:
        if order in left_out:
            raise ArgumentError(
                f"orders: {order!r} needs layers with several nodes, and of {words.many} each has "
                "one only; leave it out"
            )
    return orders


def _rankings(study: FinishedStudy, options: Decided) -> tuple[str, ...]:
    """The ranking that decides the orders, and the one that is shown beside it."""
    second = _SECOND if options.ranking != _SECOND else PUBLISHED
    return tuple(name for name in (options.ranking, second) if name in study.rankings)


def _split(
    study: FinishedStudy, options: Decided
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Scores by each half of the prompts, and which of the texts that are read are in the first.

    Raises:
        StudyError: a half of the prompts does not give every node a score; the prompts that are
            judged by are all in one half.
    """
    first, series = _half(study, options.seed), study.series()
    judged = first[places_of(study, options)]
    if judged.all() or not judged.any():
        raise StudyError(
            f"max_prompts = {options.max_prompts}: these prompts are all in one half of those of "
            "the study; give more, or leave split_half out"
        )
    scores = []
    for half in (first, ~first):
        # A copy: what is recorded may be a file.
        recorded = np.array(series[half])
        try:
            scores.append(scores_of(study.settings, recorded, options.ranking, "half"))
        except ValueError as error:
            raise StudyError(
                f"half of the prompts give no scores ({error}); leave split_half out"
            ) from error
    known = np.isfinite(study.scores(options.ranking))
    if not all(np.isfinite(each[known]).all() for each in scores):
        raise StudyError(
            "half of the prompts leave some nodes without a score; leave split_half out, or study "
            "more prompts"
        )
    return scores[0], scores[1], judged


def _half(study: FinishedStudy, seed: int) -> NDArray[np.bool_]:
    """A random half of the prompts, of every category as near to a half as can be."""
    random = np.random.default_rng([seed, _STREAM_OF_HALVES])
    categories = np.array(study.categories)
    mixed = random.permutation(len(categories))
    by_category = mixed[np.argsort(categories[mixed], kind="stable")]
    first = np.zeros(len(categories), bool)
    first[by_category[::2]] = True
    return first


@called_with(AblationOptions)
def run_ablation(options: AblationOptions) -> ExperimentResult:
    """Take more and more nodes out of the model of a finished study, and see what it then expects.

    The model reads the prompts and its own recorded answers again (teacher forcing), with nodes
    taken out in the order of the study's ranking and in other orders, as
    `synkern.ablation_curve` does. KL(intact || ablated), the loss of the answers and the agreement
    with them go to the folder and the report of the study; see
    `synkern.study.experiments.ablation.experiment.Ablation` for the arrays. Interrupted, it goes on
    from the last point when it is called again.

    Raises:
        ArgumentError: a ValueError: an option that cannot be used, or not with this study.
        MissingPackageError: an ImportError: a package of the extras `llm` or `plot` is missing.
        StudyError: there is no finished study in the folder, or another process is at work in it;
            the model cannot be loaded, is not the one that was studied, or its nodes cannot be
            taken out; there is not enough memory.
        OSError: a file that cannot be written.
    """
    return carried_out(Ablation(), options)
