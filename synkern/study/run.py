"""A whole study of one language model: prompts in, a report on synergy over depth out.

The stages (`synkern.study.stages`): record the nodes while the trained model answers the prompts,
and while the same architecture with random weights does, as a control; decompose all pairs of
nodes, score the nodes by every ranking and fit profiles over depth, also of the synergy beyond
persistence; if asked to, test all pairs against unrelated nodes. Then the report. A stage whose
ingredients have not changed since the last time is taken from the folder instead of being computed
again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from synkern.study import experiments, report, stages
from synkern.study.checks import checked, on_device
from synkern.study.errors import StudyError, checks_of_arguments
from synkern.study.folder import StudyFolder
from synkern.study.models import Models
from synkern.study.options import called_with
from synkern.study.plan import Clock, ask
from synkern.study.provenance import check_packages, environment_of, keys, prompts_digest
from synkern.study.reporting import parts, reported
from synkern.study.room import check_arguments
from synkern.study.settings import CONTROL, TRAINED, Settings, StudyOptions
from synkern.study.stage import Arrays, Facts, Results, Sources, Stage, Step, named, steps_of


@dataclass(frozen=True, repr=False)
class Study(Results):
    """A finished study.

    Attributes:
        description, arrays, profiles: as in `synkern.study.stage.Results`.
        out: its folder.
        report: the HTML page.
        reused: the stages that were taken from an earlier run.
    """

    out: Path
    report: Path
    reused: tuple[str, ...]

    def __repr__(self) -> str:
        """One line: folder, model, weights."""
        model = self.description["parameters"]["model"]
        return f"Study({str(self.out)!r}: {model}, weights {', '.join(self.profiles)})"

    def summary(self) -> list[str]:
        """Return in lines for a terminal what the study has found."""
        return report.summary_of(self, parts())


@called_with(StudyOptions)
def run_study(options: StudyOptions) -> Study:
    """Map synergy and redundancy of a language model's nodes over depth: heads, experts, others.

    Every prompt is answered with exactly `new_tokens` tokens, greedily, the end token suppressed
    (see `synkern.recording.answers.record_answers`). What `signal` reads of a node at each token is
    its series: of a head, the L2 norm of its output. All pairs of series are decomposed, and
    synergy (sts) and redundancy (rtr) averaged over the prompts. The nodes are scored by each
    ranking of `synkern.analysis.scores`, and the scores' profile over depth is fitted with a
    parabola (`synkern.analysis.profile`); so is the synergy itself, as it is and as what it has
    beyond two AR(1) nodes of the same persistence (`synkern.analysis.persistence`). Excess synergy
    exists for Gaussian MMI averaged over trials; else the report says why there is none.

    The folder `out` receives `study.json` (all that could change a number, timings, results),
    `study.npz` (arrays), `texts.jsonl` (what was asked and answered), `report.html` and figures.
    The arrays, with W for `trained` or `random`: `W_layer`, `W_index` (nodes,); `W_series`
    (trials, time, nodes) float32; `W_routed` (trials, nodes), at how many tokens each node took
    part, where a router chooses among them; `W_tokens` (trials, time); `W_natural_end`,
    `W_inputs`, `W_answers` (trials,); `W_sts`, `W_rtr` (nodes, nodes), nats or bits;
    `W_autocorrelation` (nodes,), each node's own correlation at lag tau, mean over the trials; and
    `W_profile_F` for every field F of `synkern.analysis.profile.LayerProfile`, with one row per
    ranking and mean: `W_profile_ranking` (rows,) names them, `W_profile_scores` is (rows, nodes),
    `W_profile_mean` (rows, layers), `W_profile_quadratic_interval` (rows, 2), and so on. Where
    there is excess synergy, `W_excess_sts` (nodes, nodes) is its mean over the prompts in which the
    pair has a reference, and `W_excess_trials` their number. With a null, for A `sts` or `rtr`,
    `W_null_A_p`, `W_null_A_q`, `W_null_A_mean` and `W_null_A_z`, (nodes, nodes): p and q values,
    mean over the surrogates, and the observed mean's distance from it in their standard deviations.

    With pairs averaged by node, as of neurons, `W_synergy` and `W_redundancy` (nodes,) stand for
    `W_sts` and `W_rtr`, there is no excess, null or balance, and the series are in the file
    `W_series.npy`, of which `W_series_sha256` is the digest.

    The arguments are the fields of `synkern.study.settings.StudyOptions`.

    Raises:
        ArgumentError: a ValueError: an argument that cannot be used, or asks for more memory than
            there is.
        TypeError: prompts that are not strings.
        OSError: no such file of prompts, or a file that cannot be written.
        MissingPackageError: an ImportError: a package of the extras `llm` or `plot` is missing.
        StudyError: the folder is not a study's, cannot be written to, or another study is at work
            in it; the model cannot be loaded or recorded, or gives nothing to decompose; a text is
            longer than its context; there is not enough memory or disk.
    """
    settings = checked(options)
    check_packages()
    settings = on_device(settings)
    check_arguments(settings)
    run = _Run(settings)
    run.try_out()
    with StudyFolder.locked(settings.out) as folder:
        return run.within(folder)


class _Run:
    """One run of a study."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.weights = (TRAINED, CONTROL) if settings.control else (TRAINED,)
        self.stages = [stage for stage in stages.STAGES if stage.asked_for(settings)]

    def try_out(self) -> None:
        """Find out with a few random numbers what cannot work.

        Raises:
            ArgumentError: options that exclude each other, or a backend that cannot run here.
        """
        with checks_of_arguments():
            for stage in self.stages:
                stage.try_out(self.settings)

    def within(self, folder: StudyFolder) -> Study:
        """Take the stages one after the other in the folder, and report."""
        settings, about = self.settings, self._about()
        ingredients = keys(self.stages, settings, about["environment"])
        reasons = {name: folder.difference(name, key) for name, key in ingredients.items()}
        kept = experiments.kept(folder, ingredients, settings.say)
        for name in [name for name in folder.stages if name not in kept]:
            if reasons.get(name, "unknown") is not None:
                folder.drop(name)  # in memory: on disk it stays until another has taken its place
        steps = steps_of(self.stages, self.weights)
        to_do = [step for step in steps if reasons[step.name] is not None]
        clock = Clock(settings, to_do)
        sources = Sources(settings, Models(settings), folder.arrays, clock.batch_done)
        ask(sources, self.stages, to_do, folder.path)
        for step in steps:
            reason = reasons[step.name]
            if reason is None:
                settings.say(f"{step.name}: reused from {folder.path}")
                continue
            settings.say(f"{step.name}: " + ("starting" if not reason else f"again, as {reason}"))
            arrays, facts = self._computed(step, sources)
            finished = datetime.now(UTC).isoformat(timespec="seconds")
            facts |= {"finished": finished, "environment": about["environment"]}
            folder.put(step.name, ingredients[step.name], named(step.weights, arrays), **facts)
            # It shows what is being replaced.
            folder.remove_report(name for part in parts() for name in part.pictures)
            folder.save(about)
            self._write_files(folder, step.stage)
        reused = tuple(step.name for step in steps if reasons[step.name] is None)
        return self._reported(folder, about, reused)

    def _computed(self, step: Step, sources: Sources) -> tuple[Arrays, Facts]:
        try:
            arrays, facts = step.stage.run(sources, step.weights)
        except MemoryError as error:
            raise StudyError(
                f"{step.name}: there is not enough memory ({error}); {step.stage.too_large}"
            ) from error
        for warning in facts.get("warnings", ()):
            self.settings.say(f"{step.name}: {warning}")
        return arrays, facts

    def _about(self) -> Facts:
        """What study.json says about the study as a whole, before there are results."""
        settings = self.settings
        categories = Counter(prompt.category for prompt in settings.asked)
        method: Facts = {}
        for stage in stages.STAGES:
            method |= stage.method(settings)
        return {
            "parameters": settings.parameters(),
            "nodes": asdict(settings.words),
            "prompts": {
                "count": len(settings.asked),
                "by_category": dict(categories),
                "sha256": prompts_digest(settings.asked),
            },
            "method": method,
            "environment": environment_of(settings),
        }

    def _reported(self, folder: StudyFolder, about: Facts, reused: tuple[str, ...]) -> Study:
        """The results of all stages, in study.json and on the page."""
        results, page = reported(folder, about, self.weights, self.settings.say)
        for stage in self.stages:
            self._write_files(folder, stage)
        return Study(
            description=results.description,
            arrays=dict(results.arrays),
            profiles=results.profiles,
            out=folder.path,
            report=page,
            reused=reused,
        )

    def _write_files(self, folder: StudyFolder, stage: Stage) -> None:
        for name, content in stage.files(self.settings, folder.arrays).items():
            folder.write(name, content)
