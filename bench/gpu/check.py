"""All that only a GPU can prove, in calls of at most ten minutes, from a bare checkout.

    python -m bench.gpu.check [--out FOLDER] [--seconds 570] [--stages triton cupy-timing ...]

Needs Python 3.11, torch, numpy and triton; the stages of `cupy` need CuPy. Nothing has to be
installed or compiled first. `stages.STAGES` is what there is, the most valuable first; those that
prepare others (truths on the CPU, compilation) run beside them on the other cores.

Each stage is a process of its own and writes FOLDER/<stage>.jsonl, a line for everything as soon as
it is known; what it prints goes to FOLDER/<stage>.log. If it crashes, hangs or is killed, the item
that did it is lost, and another process takes the rest while the stage has time. All together need
more than ten minutes: call again with the same folder, and what is there is not run again; what
time did not suffice for is named. To run a stage again, delete its file. Results of other sources
of synkern than these are refused. `bench.gpu.condense` reads the folder.

`--stages` takes names of stages, or what they begin with. Without a GPU the stages that can be
rehearsed are, on small series; the others say that they were not run.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.gpu import journal
from bench.gpu.stage import BROKEN, PLAN
from bench.gpu.stages import STAGES, Stage

ROOT = Path(__file__).resolve().parents[2]
SPARED = 2
"""Cores that are left to the stage on the device while others prepare."""

ORIGIN = "origin.json"
"""File in the folder that says what its results are of."""

LEAST = 5.0
"""Seconds for which no stage is started."""

_POLL = 0.1


def attend(stage: Stage, folder: Path, end: float, part: int = 0, of: int = 1) -> None:
    """Run a stage, or a share of it, until all is done or its time has ended.

    Args:
        stage: what to run.
        folder: of the files.
        end: of the whole check, by `time.monotonic`.
        part: number of the share; items part, part + of, part + 2 * of, ...
        of: number of shares.
    """
    path = folder / f"{stage.name}.jsonl"
    known = journal.read(path)
    if known.plan and not set(known.share(part, of)) - known.ended.keys():
        return
    end = min(end, time.monotonic() + stage.seconds)
    for name in _running(path, part, of):  # Of a call that was killed.
        journal.append(path, {"cut": name})
    while time.monotonic() < end:
        before = _state(path, part, of)
        why = _one_process(stage, folder, end, part, of)
        if why is None:
            return
        kind = "cut" if why == "time" else "lost"
        running = _running(path, part, of)
        if journal.read(path).plan is None and kind == "lost":
            journal.append(path, {"plan": [PLAN]})
            running = [PLAN]
        for name in running:
            line = {"cut": name} if kind == "cut" else {"item": name, "lost": why}
            journal.append(path, line)
        if _state(path, part, of) == before:
            return


def _one_process(stage: Stage, folder: Path, end: float, part: int, of: int) -> str | None:
    """Start a process for a stage and wait; why it did not end by itself, None if it did."""
    path = folder / f"{stage.name}.jsonl"
    command = [sys.executable, "-m", "bench.gpu.stage", stage.function]
    command += [str(folder), stage.name, str(part), str(of)]
    environment = dict(os.environ)
    if stage.beside:  # The stage on the device goes before.
        command = ["nice", "-n", "10", *command]
        environment["OMP_NUM_THREADS"] = "1"
    with (folder / f"{stage.name}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,  # Closes with this process, and then the other ends.
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            return _watched(process, path, stage, end, part, of)
        finally:
            _end(process)


def _watched(
    process: subprocess.Popen[bytes], path: Path, stage: Stage, end: float, part: int, of: int
) -> str | None:
    state, since = _state(path, part, of), time.monotonic()
    looked = since
    while True:
        try:
            status = process.wait(_POLL)
        except subprocess.TimeoutExpired:
            now = time.monotonic()
            if now > end:
                return "time"
            if now - looked > stage.longest / 10:  # Not often: the file may be long.
                looked = now
                if (current := _state(path, part, of)) != state:
                    state, since = current, now
            if now - since > 1.2 * stage.longest:
                return f"hung: nothing for {stage.longest:g} s"
            continue
        if status == 0:
            return None
        if status == BROKEN:
            return "the device no longer answered"
        if status < 0:
            return f"killed by signal {signal.Signals(-status).name}"
        return f"exit status {status}; see {path.stem}.log"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it started, and wait a little: a device may hold it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        print(f"process {process.pid} does not end: the device holds it", flush=True)
    if process.stdin:
        process.stdin.close()


def _running(path: Path, part: int, of: int) -> list[str]:
    found = journal.read(path)
    share = set(found.share(part, of))
    return [name for name in dict.fromkeys(found.running) if name in share]


def _state(path: Path, part: int, of: int) -> tuple[int, int, bool]:
    """What changes whenever a share gets on."""
    found = journal.read(path)
    share = set(found.share(part, of))
    starts = sum(count for name, count in found.starts.items() if name in share)
    return starts, len(share & found.ended.keys()), found.plan is None


def check(stages: Sequence[Stage], folder: Path, seconds: float) -> dict[str, dict[str, Any]]:
    """Run stages, the most valuable first, in what time there is; results by name."""
    end = time.monotonic() + seconds
    ordered = sorted(stages, key=lambda stage: -stage.value)
    beside = [stage for stage in ordered if stage.beside]
    # One of them has the most to do, and the others end soon.
    shares = max(1, ((os.cpu_count() or 1) - SPARED) // 2)
    found: dict[str, dict[str, Any]] = {}
    pool = ThreadPoolExecutor(max(1, shares * len(beside)))
    prepared: dict[str, list[Future[None]]] = {
        stage.name: [
            pool.submit(attend, stage, folder, end, part, shares) for part in range(shares)
        ]
        for stage in beside
    }
    for stage in ordered:
        if stage.beside:
            continue
        if end - time.monotonic() >= min(LEAST, seconds / 2):
            attend(stage, folder, end)
        found[stage.name] = _said(stage, folder)
    for stage in beside:
        for future in prepared[stage.name]:
            future.result()
        found[stage.name] = _said(stage, folder)
    return found


def _said(stage: Stage, folder: Path) -> dict[str, Any]:
    """The result of a stage so far, which is printed in a line."""
    known = journal.read(folder / f"{stage.name}.jsonl")
    result = journal.merged(known)
    state = "FAILED" if result.get("passed") is False else "done"
    if known.plan is None:
        state, result["not reached"] = "not reached", [stage.name]
    elif missed := result.get("not reached"):
        more = f" and {len(missed) - 3} more" if len(missed) > 3 else ""
        state += f", not reached: {'; '.join(missed[:3])}{more}"
    if "not run" in result:
        state += f", not run: {result['not run']}"
    for name, why in result.get("errors", {}).items():
        state += f"\n{'':28}{name}: {why.strip().splitlines()[-1][:200]}"
    print(f"{stage.name:18} {result['seconds']:6.1f} s  {state}", flush=True)
    return result


def _check_origin(folder: Path) -> None:
    """Refuse a folder with results of other sources, or of another GPU."""
    digest = hashlib.sha256()
    for path in sorted(p for part in ("synkern", "kernels") for p in (ROOT / part).rglob("*.*")):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    here = {"sources": digest.hexdigest(), "gpu": _gpu_name()}
    mark = folder / ORIGIN
    if not mark.exists():
        mark.write_text(json.dumps(here, indent=1) + "\n")
    elif (there := json.loads(mark.read_text())) != here:
        (what, *_) = (name for name in here if there.get(name) != here[name])
        raise ValueError(
            f"--out {folder} holds results of other {what} ({there.get(what)!r}, and these are "
            f"{here[what]!r}); name another folder"
        )


def _gpu_name() -> str:
    """Asked for in another process: this one is never to hold the device."""
    if shutil.which("nvidia-smi") is None:
        return "none"
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return ", ".join(done.stdout.split("\n")).strip(", ") or "none"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu_check"))
    parser.add_argument("--seconds", type=float, default=570, help="of all stages together")
    parser.add_argument("--stages", nargs="+", default=[""], metavar="NAME")
    options = parser.parse_args()
    chosen = [stage for stage in STAGES if stage.name.startswith(tuple(options.stages))]
    if not chosen:
        names = ", ".join(stage.name for stage in STAGES)
        parser.error(f"--stages: none begins with {' or '.join(options.stages)}: {names}")
    folder = options.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _check_origin(folder)
    except ValueError as error:
        parser.error(str(error))
    try:
        found = check(chosen, folder, options.seconds)
    except KeyboardInterrupt:
        os._exit(130)  # Threads that prepare would be waited for; their processes end with this.
    return int(any(result.get("passed") is False for result in found.values()))


if __name__ == "__main__":
    sys.exit(main())
