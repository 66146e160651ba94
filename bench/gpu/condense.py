"""What a run of `bench.gpu.check` left, as a result that bench/results/ keeps.

    python -m bench.gpu.condense bench/results/h100.json COMMIT=FOLDER [COMMIT=FOLDER ...]

COMMIT is that of the checkout which ran ("A or B" if that is not known), FOLDER what `--out` named;
later folders come beside earlier ones, since a stage may have run twice. `python -m bench report`
renders the result.

The rule: the items of a stage become one result (`journal.merged`), which is kept as it is, but for
rows of correctness. Of these stay counts by backend, series and size, and of every group of the
same backend, estimator, what was asked, path and dtype how many there were, how many failed, and
the one with the largest error for its tolerance. Of a traceback, which names folders, the last line
stays, and of items that were not reached the first.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from bench.gpu import journal
from bench.harness.records import Run

_GROUP = ("backend", "kind", "redundancy", "what", "path", "dtype")


def condensed(stage: dict[str, Any]) -> dict[str, Any]:
    """A stage by the rule of this module."""
    found = {name: _text(value) for name, value in stage.items() if name != "rows"}
    if missed := stage.get("not reached"):
        found["not reached"] = f"{missed[0]} and {len(missed) - 1} more"
    if "rows" not in stage:
        return found
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in stage["rows"]:
        groups.setdefault(" ".join(row[key] for key in _GROUP if key in row), []).append(row)
    sizes = Counter(
        f"{row['backend']}, {row['series']}, {' x '.join(map(str, row['size']))}"
        for row in stage["rows"]
    )
    return found | {
        "number of rows": len(stage["rows"]),
        "rows by series and size (trials x samples x nodes)": dict(sizes),
        "groups": {name: _group(rows) for name, rows in groups.items()},
    }


def _group(rows: list[dict[str, Any]]) -> dict[str, Any]:
    worst = max(rows, key=lambda row: row["error"] / row["tolerance"])
    kept = ("error", "tolerance", "series", "size", "average", "atoms")
    return {
        "rows": len(rows),
        "failed": sum(not row["passed"] for row in rows),
        "worst over allowed": worst["error"] / worst["tolerance"],
        "worst": ", ".join(f"{key} {worst[key]}" for key in kept if key in worst),
    }


def _text(value: Any) -> Any:
    """Without what a traceback says of folders."""
    if isinstance(value, str):
        lines = value.strip().splitlines()
        return lines[-1] if "Traceback" in value else value
    if isinstance(value, dict):
        return {key: _text(each) for key, each in value.items()}
    if isinstance(value, list) and any('File "' in str(line) for line in value):
        return value[-1:]
    return value


def run_of(folders: list[tuple[str, Path]], date: str) -> Run:
    """All stages of some runs on one GPU; what ran where is taken from the last that says so."""
    passes, stages = [], {}
    for commit, folder in folders:
        files = sorted(folder.glob("*.jsonl"))
        read = {path.stem: journal.merged(journal.read(path)) for path in files}
        stages |= read
        passes.append({"commit": commit, "stages": {k: condensed(v) for k, v in read.items()}})
    of, cupy = stages.get("environment", {}), stages.get("cupy-environment", {})
    if not of.get("nvidia-smi"):
        raise ValueError(
            f"{folders[-1][1]} does not say what ran: the stage environment has to run on a GPU "
            "with nvidia-smi; python -m bench.gpu.check --stages environment"
        )
    driver, *_, most, _ = of["nvidia-smi"][1].split(", ")
    machine = {
        "device": "cuda",
        "gpu": of["device"],
        "gpu memory": of["memory"],
        "capability": ".".join(map(str, of["capability"])),
        "multiprocessors": of["multiprocessors"],
        "highest clock": most,
        "driver": driver,
    }
    names = ("python", "numpy", "torch", "cuda", "triton", "synkern")
    versions = {name: of[name] for name in names}
    if "cupy" in cupy:
        versions |= {"cupy": cupy["cupy"], "nvrtc": ".".join(map(str, cupy["nvrtc"]))}
    roofline = {}
    if "copy TB/s" in (roof := stages.get("roofline", {})):
        roofline["copy"] = 1e12 * roof["copy TB/s"]
        roofline["float64"] = 1e12 * roof["float64 product TFLOP/s"]
    return Run(machine, versions, folders[-1][0], date, roofline, tables={"gpu check": passes})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("folders", nargs="+", metavar="COMMIT=FOLDER")
    parser.add_argument("--date", required=True, help="of the run, YYYY-MM-DD")
    options = parser.parse_args()
    folders = []
    for given in options.folders:
        commit, equals, folder = given.partition("=")
        if not equals or not Path(folder).is_dir():
            parser.error(f"COMMIT=FOLDER: {given!r} does not name a commit and a folder")
        folders.append((commit, Path(folder)))
    try:
        run = run_of(folders, options.date)
    except ValueError as error:
        parser.error(str(error))
    run.save(options.result)


if __name__ == "__main__":
    main()
