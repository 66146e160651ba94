"""A decomposition of data: files in, a folder of results, tables and a report out.

Read, prepare, plan; then at each lag decompose all pairs, set them against their persistence, and
test them against a null (`synkern.study.of_data.steps`). What has the same ingredients as the last
time is taken from the folder.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import synkern._checks as check_arguments
from synkern.data import Dataset, ReadOptions, read_series
from synkern.decomposition import BACKENDS
from synkern.study import explorer
from synkern.study.checks import usable_device
from synkern.study.errors import (
    ArgumentError,
    MissingPackageError,
    StudyError,
    checks_of_arguments,
)
from synkern.study.folder import check_name
from synkern.study.of_data.computing import decomposed
from synkern.study.of_data.controls import excess_absent
from synkern.study.of_data.decomposing import MAIN, pooled_alone
from synkern.study.of_data.folder import DataFolder
from synkern.study.of_data.in_blocks import Blocks, in_blocks
from synkern.study.of_data.options import ALL, AUTO, DecomposeOptions
from synkern.study.of_data.plan import Plan, planned
from synkern.study.of_data.preparing import Prepared, prepared
from synkern.study.of_data.result import Decomposition
from synkern.study.of_data.steps import Step, Work, environment, of_lag, prefixed
from synkern.study.of_data.surrogates import chosen
from synkern.study.of_data.tables import write_tables
from synkern.study.options import called_with, check, stated
from synkern.study.settings import NONE

# What is needed, by the extra that brings it.
_EXTRAS = {"tqdm": "data", "matplotlib": "plot", "jinja2": "plot", "bokeh": "plot"}
_OF_FORMATS = {
    "netcdf": ("xarray", "h5netcdf", "h5py"),
    "zarr": ("xarray", "zarr"),
    "parquet": ("pyarrow",),
}


@called_with(DecomposeOptions)
def decompose_data(options: DecomposeOptions) -> Decomposition | Plan | Blocks:
    """Decompose all pairs of nodes of a recording: from files to a folder of results and a report.

    `files` are names of files as `synkern.data.read_series` takes them, with its options, or a
    `synkern.data.Dataset`. Trials are averaged within subjects, and subjects with each other; where
    there are no subjects every trial counts by itself. Intervals are of a bootstrap over subjects,
    or trials.

    The folder `out` receives `result.json` (all that could change a number, what was found),
    `result.npz` (arrays), `nodes.csv`, `pairs.csv`, `report.html` with its figures, `explore.html`
    to click through the same numbers, and what `write` asks for. The arrays, with T for each lag:
    `tauT_A` (nodes, nodes) for each atom A;
    `tauT_node_N` (nodes,) and, with several subjects or trials, `tauT_interval_N` (nodes, 2) for N
    `synergy`, `redundancy`, `mean_difference`, `rank_difference`, `balance`, `persistence` and
    `excess`; `tauT_excess_sts`; `tauT_unit_synergy` and `tauT_unit_redundancy` (subjects or trials,
    nodes); `tauT_null_A_p`, `_q`, `_mean` and `_z`, (nodes, nodes), for A `sts` and `rtr`; with
    `keep_subjects`, `tauT_unit_sts` and `tauT_unit_rtr` (subjects or trials, nodes, nodes).

    Returns:
        `Decomposition`; or with `plan` what would be done, of which nothing has been written. With
        `blocks` `Blocks`, with a store of zarr and means by node in the folder alone.

    Raises:
        ArgumentError: a ValueError: an option or a file that cannot be used; the message says what
            is wrong, where, and what helps.
        MissingPackageError: an ImportError: a package of an extra is missing.
        StudyError: the folder is not one of a decomposition, cannot be written to, or another one
            is at work in it; there is not enough memory or disk; no pair has a value.
        OSError: a file that cannot be read or written.
    """
    if options.blocks:
        check(options)
        check_name(options.out)
        return in_blocks(options)
    if options.scheduler is not None:
        raise ArgumentError(
            f"scheduler = {options.scheduler!r} computes blocks; add blocks (--blocks), or leave "
            "it out"
        )
    options = _checked(options)
    with checks_of_arguments():
        data = _read(options)
    found = prepared(options, data)
    work = Work(options, found, chosen(options, found))
    _try_out(options, found)
    if options.plan:
        return planned(work, _to_do(work))
    with DataFolder.locked(options.out) as folder:
        return _within(work, folder)


def _read(options: DecomposeOptions) -> Dataset:
    if isinstance(options.files, Dataset):
        return options.files
    options.say("reading")
    return read_series(options.files, ReadOptions(**options.of_reading))


def _checked(options: DecomposeOptions) -> DecomposeOptions:
    """The options as they will be used, each checked by itself."""
    check(options)
    check_name(options.out)
    with checks_of_arguments():
        if ALL not in options.atoms:
            check_arguments.atom_names(options.atoms)
    if options.null == NONE and options.null_draws is not None:
        raise ArgumentError(
            f"null_draws = {options.null_draws!r} but null = {NONE!r}, so nothing is drawn; choose "
            "a null, or leave null_draws out"
        )
    needed = dict(_EXTRAS)
    for one in options.write or ():
        needed |= dict.fromkeys(_OF_FORMATS[one], "data")
    for package, extra in needed.items():
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(
                f"this needs the package {package!r}, of the extra {extra!r}: "
                f'pip install "synkern[{extra}]"'
            )
    return replace(options, device=_device(options))


def _device(options: DecomposeOptions) -> str:
    there = importlib.util.find_spec("torch") is not None
    if options.device == AUTO:
        known = [b for b in BACKENDS if options.backend in (AUTO, b.name)]
        useful = any("cuda" in b.status().devices for b in known)
        return usable_device(AUTO) if there and useful else "cpu"
    if options.device == "cpu":
        return "cpu"
    if not there:
        raise MissingPackageError(
            f"device = {options.device!r} needs the package 'torch', of the extra 'torch': "
            'pip install "synkern[torch]"'
        )
    return usable_device(options.device)


def _try_out(options: DecomposeOptions, found: Prepared) -> None:
    """Decompose a few nodes, so that what cannot work is found before the rest.

    Raises:
        ArgumentError: a backend that cannot run here, or that does not have the estimator.
    """
    trial = found.series[:1, found.stretch(0)][..., :2]
    with checks_of_arguments():
        decomposed(options, trial, None, min(options.tau), None, atoms=MAIN, average="trials")


def _to_do(work: Work) -> list[Step]:
    """What is not in the folder yet; the folder is not made."""
    if not (Path(work.options.out) / "result.npz").is_file():
        return work.steps
    folder = DataFolder.open(work.options.out)
    return [s for s in work.steps if folder.difference(s.name, work.key(s)) is not None]


def _within(work: Work, folder: DataFolder) -> Decomposition:
    """Take the steps one after the other in the folder, and report."""
    options = work.options
    about = _about(work)
    _drop_outdated(work, folder)
    reasons = {step: folder.difference(step.name, work.key(step)) for step in work.steps}
    to_do = [step for step in work.steps if reasons[step] is not None]
    for line in planned(work, to_do).lines:
        options.say(line)
    for step, reason in reasons.items():
        if reason is None:
            options.say(f"{step.name}: reused from {folder.path}")
            continue
        options.say(f"{step.name}: " + ("starting" if not reason else f"again, as {reason}"))
        arrays, facts = _computed(work, step)
        facts["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        folder.put(step.name, work.key(step), prefixed(step.tau, arrays), **facts)
        folder.remove_report(["*"])  # it shows what is being replaced
        folder.save(about)
    reused = tuple(step.name for step, reason in reasons.items() if reason is None)
    return _reported(work, folder, about, reused)


def _drop_outdated(work: Work, folder: DataFolder) -> None:
    """Forget what other ingredients have left, but not other lags of the same ones."""
    for name, stage in list(folder.stages.items()):
        step = Step(name.partition(" ")[0], int(stage["key"]["tau"]))
        if step not in work.steps and folder.difference(name, work.key(step)) is not None:
            folder.drop(name)


def _computed(work: Work, step: Step) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        arrays, facts = work.run(step)
    except MemoryError as error:
        raise StudyError(
            f"{step.name}: there is not enough memory ({error}); read fewer nodes, or use fewer "
            "atoms"
        ) from error
    for warning in facts.get("warnings", ()):
        work.options.say(f"{step.name}: {warning}")
    return arrays, facts


def _about(work: Work) -> dict[str, Any]:
    """What result.json says of the whole, before there are results."""
    options, found, data = work.options, work.found, work.found.data
    where = data.coordinates
    parameters = {n: getattr(options, n) for n in stated(DecomposeOptions)}
    return {
        "parameters": parameters,
        "data": {
            "sources": list(data.sources),
            "sha256": found.digest,
            "trials": found.trials,
            "subjects": len(found.units) if found.of_subjects else None,
            "nodes": found.nodes,
            "pairs": found.count,
            "samples": [int(end(found.valid.sum(1))) for end in (min, max)],
            "left_out": int((~found.valid).sum()),
            "step": data.step,
            "space": data.space,
            "node_names": list(data.node_names),
            "groups": None if data.groups is None else list(data.groups),
            "coordinates": None if where is None else where.tolist(),
            "trial_names": list(data.trial_names),
            "units": ["all trials"] if pooled_alone(options, found) else list(found.units),
            "notes": list(data.notes),
        },
        "null": work.null._asdict(),
        "excess_absent": excess_absent(options),
        "environment": environment(),
    }


def _reported(
    work: Work, folder: DataFolder, about: Mapping[str, Any], reused: tuple[str, ...]
) -> Decomposition:
    """Tables, labelled results, page and figures, from what the folder holds."""
    options = work.options
    options.say("report: drawing")
    asked = {step.name for step in work.steps}
    arrays = {
        f"tau{tau}_{name}": array
        for tau in options.tau
        for name, array in of_lag(tau, folder.arrays).items()
    }
    found = Decomposition(
        description={**about, "stages": {n: s for n, s in folder.stages.items() if n in asked}},
        arrays=arrays,
        out=folder.path,
        report=folder.path / "report.html",
        reused=reused,
    )
    page = importlib.import_module("synkern.study.of_data.page")
    findings = importlib.import_module("synkern.study.of_data.findings").findings_of(found)
    found = replace(found, description={**found.description, "summary": findings})
    write_tables(folder, found, options.write or ())
    page.write_page(folder, found)
    shown = importlib.import_module("synkern.study.of_data.exploring").explored_data(found)
    folder.write(explorer.FILE, explorer.explorer_page(shown))
    folder.save({**about, "summary": findings})
    return found
