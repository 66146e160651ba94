"""The experiment that keeps nodes at different numbers of bits, at equal bits in all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import numpy as np

from synkern import interventions
from synkern._warnings import collected
from synkern.interventions.curves.orders import DRAWN
from synkern.study.errors import ArgumentError, refusals
from synkern.study.experiments.asking import tasks_of
from synkern.study.experiments.carrying import ExperimentResult, carried_out
from synkern.study.experiments.compression import results as compression_results
from synkern.study.experiments.compression.charts import charts_of
from synkern.study.experiments.compression.options import CompressionOptions, Decided, pair_of
from synkern.study.experiments.experiment import Intervention
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.options import REFERENCE
from synkern.study.experiments.pace import Pace
from synkern.study.experiments.reading import check_texts, texts_of
from synkern.study.explorer.explored import Chart
from synkern.study.options import called_with
from synkern.study.provenance import digest
from synkern.study.stage import Arrays, Drawn, Facts, Results


class Compression(Intervention):
    """Rounds the nodes' weights, the synergistic ones less than the rest, and in other orders.

    Its arrays are those of `synkern.interventions.Compression.arrays`, which `of_arrays` reads.
    """

    name = "compression"
    options = CompressionOptions
    command = "compress"
    done = "compressed"
    title = "What if nodes are kept at different bits?"
    too_large = "use fewer prompts (max_prompts) or fewer tokens of each answer (answer_tokens)"
    pictures = ("compression", "compression_accuracy")

    def resolved(self, study: FinishedStudy, options: CompressionOptions) -> Decided:
        """Return the options with the tasks themselves.

        Raises:
            ArgumentError: options that this study has no use for.
            OSError: there is no such file of tasks.
        """
        if len({*options.orders}) < len(options.orders) or REFERENCE not in options.orders:
            raise ArgumentError(
                f"orders = {options.orders!r}; give each once, and {REFERENCE!r} among them, which "
                "the others are compared with"
            )
        words = study.settings.words
        if not words.numbered and "layer_matched" in options.orders:
            kept = tuple(order for order in options.orders if not order.startswith("layer_"))
            raise ArgumentError(
                f"orders: of {words.many} each layer has one only, so that there is none to draw "
                f"from; use orders = {kept!r}"
            )
        check_texts(study, options)
        asked = None
        if options.tasks is not None:
            asked = tasks_of(options.tasks, count=options.count, seed=options.seed)
        return Decided(**vars(options) | {"asked": asked})

    def ingredients(self, study: FinishedStudy, options: Decided) -> Facts:
        """Return the tasks' digest."""
        asked = None if options.asked is None else [list(astuple(task)) for task in options.asked]
        return {"tasks": digest(asked)}

    def plan(self, study: FinishedStudy, options: Decided) -> str:
        """Say how many points there are."""
        many, texts = study.settings.words.many, texts_of(study, options)
        orders = sum(options.draws if order in DRAWN else 1 for order in options.orders)
        asked = "" if options.asked is None else f" and answer {len(options.asked)} tasks"
        return (
            f"keep {many} at bits {', '.join(options.pairs)} in {orders} orders, with all draws, "
            f"by {options.ranking}, and {len(options.shares)} shares of them at the higher: at "
            f"most {len(options.pairs) * len(options.shares) * orders} points; read {len(texts)} "
            f"answers of {min(map(len, texts.responses))} tokens{asked} at each"
        )

    def run(self, study: FinishedStudy, options: Decided, partial: Path) -> tuple[Arrays, Facts]:
        """Round, and read.

        Raises:
            StudyError: the nodes of the model are not those of the study, have no weights of their
                own, or cannot be kept at equal bits.
        """
        study.check_nodes()
        scores = study.scores(options.ranking)
        started = time.perf_counter()
        what = f"{study.settings.words.many} of model {study.settings.model!r}"
        with (
            collected() as warnings,
            Pace(study.settings, self.name) as pace,
            refusals(f"the {what} cannot be kept at different bits"),
        ):
            found = interventions.compression(
                study.model,
                texts_of(study, options),
                {options.ranking: scores},
                of=study.settings.nodes,
                pairs=[pair_of("pairs", pair) for pair in options.pairs],
                shares=options.shares,
                orders=options.orders,
                draws=options.draws,
                seed=options.seed,
                group=options.group,
                symmetric=options.symmetric,
                rest=options.rest,
                tasks=options.asked,
                tokenizer=study.tokenizer,
                scoring=_scoring(options),
                batch_size=options.batch_size,
                file=partial,
                progress=pace,
            )
        warnings += study.without_score(
            np.isfinite(scores), "are always at the low bits; shares are of the others"
        )
        facts = compression_results.facts_of(found)
        facts |= {
            "texts": len(found.intact.kl),
            "tokens": options.answer_tokens or study.trained["tokens"].shape[1],
            "source": None if options.tasks is None else Path(options.tasks).name,
            "tasks": 0 if options.asked is None else len(options.asked),
            "seconds": {"compressing": round(time.perf_counter() - started, 3)},
            # Every point may have warned of the same, such as of words that the tokenizer lacks.
            "warnings": list(dict.fromkeys(warnings)),
        }
        return found.arrays(), facts

    def finding(self, results: Results) -> str:
        """Say whether it is better to keep the synergistic nodes at more bits."""
        found = self.told(results)
        return (
            f"Compression (rounding to nearest, judged by {found['texts']} of the model's own "
            f"answers, {found['tokens']} tokens of each): {found['finding']}"
        )

    def summary(self, results: Results) -> list[str]:
        """Return the table of all points."""
        return str(self._found(results)).splitlines()

    def figures(self, results: Results) -> Iterator[Drawn]:
        """Draw divergence and, with tasks, accuracy over bits."""
        found, words = self._found(results), results.words
        title = f"{results.name}: {words.many} at different bits, by {found.ranking}"
        yield Drawn("compression.png", found.plot(title=title), "divergence")
        if found.intact.right is not None:
            figure = found.plot("accuracy", title=title)
            yield Drawn("compression_accuracy.png", figure, "accuracy")

    def charts(self, results: Results) -> Iterator[Chart]:
        """Return divergence and, with tasks, accuracy over bits."""
        return charts_of(self._found(results), results.words.many)

    def _found(self, results: Results) -> interventions.Compression:
        return interventions.Compression.of_arrays(results.of(self.name))


def _scoring(options: Decided) -> interventions.Scoring:
    """By likelihood, which needs distractors, or by what the model writes."""
    choices = options.asked is None or all(task.distractors for task in options.asked)
    return interventions.Scoring(
        "likelihood" if choices else "exact_match",
        batch_size=options.batch_size,
        max_new_tokens=options.max_new_tokens,
    )


@called_with(CompressionOptions)
def run_compression(options: CompressionOptions) -> ExperimentResult:
    """Keep nodes of the model of a finished study at different numbers of bits, at equal bits.

    The most synergistic nodes are kept at more bits than the rest, against the least synergistic
    ones, random ones, and random ones of the same layers, as `synkern.interventions.compression`
    does. KL(as loaded || rounded), the loss of the recorded answers, the agreement with them and,
    if asked for, accuracy on tasks go to the folder and the report of the study. Interrupted, it
    goes on from the last point when it is called again.

    Raises:
        ArgumentError: a ValueError: an option that cannot be used, or not with this study; lines
            of a file that are no tasks.
        MissingPackageError: an ImportError: a package of the extras `llm` or `plot` is missing.
        StudyError: there is no finished study in the folder, or another process is at work in it;
            the model cannot be loaded, is not the one that was studied, or its nodes have no
            weights of their own; there is not enough memory.
        OSError: there is no such file of tasks; a file that cannot be written.
    """
    return carried_out(Compression(), options)
