"""Kernels of a checkout, compiled without a GPU, disassembled, counted and modelled.

Case: all pairs of 1152 nodes, 60 trials of 100 samples, lag 1.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from bench.counts import build, count, kinds, listing, measured, model
from bench.counts.count import Counted, Sources
from bench.counts.trips import Work
from bench.harness.records import RESULTS, ROOT, Run


class DisassemblerError(RuntimeError):
    """There is none, or it failed; the message says what to do."""


@dataclass(frozen=True)
class Row:
    """A kernel.

    Attributes:
        known: what `build` knows of it.
        counted: of one block.
        of: how many pairs and trials a thread has: what counts are divided by.
        at_once: blocks that a multiprocessor holds.
        modelled: time of all pairs; None of kernels that have none.
        measured: on an H100.
    """

    known: dict[str, Any]
    counted: Counted
    of: float
    at_once: int
    modelled: model.Modelled | None
    measured: measured.Measured | None

    @property
    def name(self) -> str:
        """As `ahead` has it, shorter."""
        return str(self.known["name"]).replace("phiid::", "")

    @property
    def each(self) -> dict[str, float]:
        """Instructions of a thread for each pair and trial, by kind; "all"."""
        found = {kind: number / self.of for kind, number in self.counted.kinds.items()}
        return found | {"all": sum(found.values())}

    def number(self, *those: str) -> float:
        """Instructions of some kinds for each pair and trial."""
        return sum(self.each.get(kind, 0.0) for kind in those)


# ---- From a checkout to rows ---------------------------------------------------------------------


def disassembler() -> Path:
    """The nvdisasm that is at hand: of triton's wheel, of NVIDIA's, of the path.

    Raises:
        DisassemblerError: there is none.
    """
    for package, folder in (("triton", "backends/nvidia/bin"), ("nvidia", "**/bin")):
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            for file in sorted(Path(place).glob(f"{folder}/nvdisasm")):
                return file
    found = shutil.which("nvdisasm")
    if found is None:
        raise DisassemblerError(
            "no nvdisasm to read machine code with: pip install triton, whose wheel has one, or "
            "nvidia-cuda-nvdisasm, or put that of a CUDA toolkit on the PATH"
        )
    return Path(found)


def disassembled(file: Path) -> listing.Function:
    """The kernel of a cubin.

    Raises:
        DisassemblerError: nvdisasm does not take it, or it holds not one kernel.
    """
    line = [str(disassembler()), "-c", "-gi", str(file)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DisassemblerError(f"{' '.join(line)}: {done.stderr.strip()}")
    functions = listing.parse(done.stdout)
    if len(functions) != 1:
        raise DisassemblerError(f"{file}: one kernel was to be in it, not {', '.join(functions)}")
    return next(iter(functions.values()))


def rows(backend: str, target: str, only: str, tree: Path = ROOT) -> tuple[str, list[Row]]:
    """Version of the compiler, and every kernel of a checkout.

    Raises:
        RuntimeError: the checkout's kernels do not compile; the message has the end of the log.
    """
    disassembler()
    run = Run.load(RESULTS / "h100.json")
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-P", str(Path(build.__file__)), backend, target, folder, only]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree), *_rest()])}
        environment.pop("TRITON_INTERPRET", None)
        done = subprocess.run(
            line, cwd=tree, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"kernels of {tree} do not compile: {done.stderr.strip()[-2000:]}")
        made = json.loads((Path(folder) / "kernels.json").read_text(encoding="utf-8"))
        source = Path(folder) / build.SOURCE
        sources = Sources({build.SOURCE: source.read_text("utf-8")} if source.exists() else {})
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            files = [Path(folder) / known["cubin"] for known in made["kernels"]]
            functions = list(pool.map(disassembled, files))
        found = [
            row(known, function, sources, run)
            for known, function in zip(made["kernels"], functions, strict=True)
        ]
    return made["version"], found


def _rest() -> list[str]:
    """What PYTHONPATH has besides checkouts: another version of triton, for example."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [place for place in given if place and not (Path(place) / "kernels").is_dir()]


def row(known: dict[str, Any], function: listing.Function, sources: Sources, run: Run) -> Row:
    """Count a kernel and model it."""
    gpu = kinds.GPUS[known["target"]]
    tile, threads = known["tile"] or 0, known["threads"]
    name = known["name"]
    trials = known["trials"]
    work = Work(
        trials=trials,
        samples=build.SAMPLES,
        names=known["atoms"],
        tile=tile,
        threads=threads,
        group=known["group"],
        depth=known.get("depth", 16),
        nodes=build.NODES,
        stage=known.get("stage", 64),
    )
    found = count.counted(function, known["backend"], work, gpu, sources)
    at_once = model.resident(gpu, known["registers"], threads, known["shared"])
    time = None
    if tile and not _of_rectangle(name) and at_once:
        across = ceil(build.NODES / tile)
        blocks = across * (across + 1) // 2 * ceil(build.TRIALS / trials)
        memory = 32 * tile**2 * trials if "moments" in name else 0  # four numbers of each pair
        time = model.modelled(gpu, found, threads // 32, blocks, at_once, trials, memory)
    took = None
    if known["target"] == "sm_90":
        took = measured.of_kernel(run, known["backend"], name, known.get("launch"))
    of = tile**2 * trials / threads if tile else 1
    return Row(known, found, of, at_once, time, took)


def _of_rectangle(name: str) -> bool:
    return name.endswith(("rectangle", "Rectangle>"))


@contextlib.contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """A checkout of another commit, for a while.

    Raises:
        RuntimeError: there is no such commit.
    """
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        line = [*git, "add", "--detach", str(tree), revision]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"--against {revision}: {done.stderr.strip().splitlines()[-1]}")
        try:
            yield tree
        finally:
            line = [*git, "remove", "--force", str(tree)]
            subprocess.run(line, check=False, capture_output=True)
