"""`python -m bench COMMAND`; what takes turns with peers is `make bench`.

accuracy             errors of every backend and dtype, by atom        results/accuracy.json
scaling              time and memory against size; threads             results/scaling.json
sizes                time of a pair against nodes; few trials, many    results/sizes.json
neurons              means by node of 46,080 nodes, all their pairs    results/neurons.json
scale                blocks of pairs in a store; a model of their cost  results/scale.json
study                the recorder's overhead; stages of a study        results/study.json
recording            the recorder's overhead by kind of node           results/recording.json
ablation             a point of an ablation curve over a bare pass     results/ablation.json
perturbation         noise, and ablation, against accuracy on tasks    results/perturbation.json
tuning               what training the core of a small model gains     results/tuning.json
masking              a step of training under a mask over bare steps   results/masking.json
busy                 a study alone and beside busy loops               results/busy.json
report               the page, its figures, and what the README quotes
compare A B          what changed between two results, or two commits
counts [BACKEND]     instructions of the GPU kernels, without a GPU, and a model of their time
smoke                all of these on tiny inputs: a rehearsal, in less than two minutes

`python -m bench.small_models --out DIR` trains two small models and says what they can do:
results/small_models.json
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.harness.records import RESULTS, Run


def _say() -> Callable[[str], None]:
    start = time.monotonic()
    return lambda line: tqdm.write(f"[{time.monotonic() - start:4.0f} s] {line}")


def accuracy(options: argparse.Namespace) -> int:
    """Measure, say what is broken, and save."""
    from bench.suites import accuracy as suite  # noqa: PLC0415

    say = _say()
    run = Run.start()
    rows = suite.measure(suite.kinds(options.draws), say)
    missing = suite.missing()
    if options.heads:
        try:
            rows += suite.measure(suite.heads(options.heads, 100, options.draws, say), say)
        except ImportError as error:
            missing["heads of SmolLM2-135M"] = str(error)
    else:
        missing["heads of SmolLM2-135M"] = "left out by --heads 0"
    for name, why in missing.items():
        say(f"not measured: {name}: {why}")
    run.tables = {"accuracy": rows, "accuracy missing": missing}
    run.save(options.out or RESULTS / "accuracy.json")
    broken = [r for r in rows if r["broken"] or r["lost"] or r["invented"]]
    for r in broken:
        names = ("kind", "redundancy", "backend", "dtype", "broken", "lost", "invented")
        say(", ".join(f"{name} {r[name]}" for name in names))
    say(f"{len(rows)} rows, {sum(r['broken'] for r in rows)} pairs further off than promised")
    return int(any(r["broken"] for r in rows))


def scaling(options: argparse.Namespace) -> int:
    """Measure all curves and save."""
    from bench.suites import scaling as suite  # noqa: PLC0415

    say = _say()
    run = Run.start()
    start, found = time.monotonic(), []
    curves = suite.curves(suite.cpu_backends())
    shares = [5.0 if (c["work"], c["axis"]) == ("MMI rtr+sts", "nodes") else 1.0 for c in curves]
    for k, curve in enumerate(tqdm(curves, unit="curve", disable=None)):
        # What is left is shared out, so that slow curves shorten the others.
        left = options.limit - 60 - (time.monotonic() - start)
        share = max(left, 1.0) * shares[k] / sum(shares[k:])
        seconds = min(options.seconds * shares[k] / 5, share / 1.5)
        found.append(suite.measure(curve, seconds, most=1.5 * seconds + 10))
        points = found[-1]["points"]
        reached = "no size in time"
        if points:
            reached = f"up to {points[-1]['size']:,} in {points[-1]['seconds']:.2f} s"
        say(f"{curve['backend']}, {curve['work']}, {curve['axis']}: {reached}")
    run.tables = {
        "scaling": found,
        "threads": suite.thread_scaling(),
        "chosen": suite.chosen_takeover(),
        "rectangle": suite.rectangle(),
    }
    run.save(options.out or RESULTS / "scaling.json")
    return 0


def sizes(options: argparse.Namespace) -> int:
    """Measure a pair's time by number of nodes and trials, and save."""
    from bench.page import sizes as page  # noqa: PLC0415
    from bench.suites import sizes as suite  # noqa: PLC0415

    if options.quick and not options.out:
        print("--quick is a look and no result: name a file for it by --out")
        return 2
    run = Run.start()
    found = suite.measure(_say(), limit=options.limit, **(suite.QUICK if options.quick else {}))
    run.tables = {"sizes": found}
    run.save(options.out or RESULTS / "sizes.json")
    for line in page.cliffs(found):
        print(line)
    return int(any("refused" in row.get("absent", "") for row in found))


def neurons(options: argparse.Namespace) -> int:
    """Measure means by node of the neurons of a model, and save."""
    from bench.suites import neurons as suite  # noqa: PLC0415

    run = Run.start()
    found = suite.measure(
        _say(), record=options.record, batch_size=options.batch_size, limit=options.limit
    )
    run.tables = {"neurons": found}
    run.save(options.out or RESULTS / "neurons.json")
    return int(found["peak"] > 6e9)


def scale(options: argparse.Namespace) -> int:
    """Measure decompositions in blocks, and save."""
    from bench.suites import scale as suite  # noqa: PLC0415

    run = Run.start()
    run.tables = {"scale": suite.measure(_say(), options.share)}
    run.save(options.out or RESULTS / "scale.json")
    return 0


def study(options: argparse.Namespace) -> int:
    """Measure recording and a whole study, and save."""
    from bench.suites import recording as along  # noqa: PLC0415
    from bench.suites import study as suite  # noqa: PLC0415

    say = _say()
    run = Run.start()
    recording = along.heads(options.rounds, say)
    few = {"max_prompts": options.max_prompts} if options.max_prompts else {}
    run.tables = {"recording": recording, "study": suite.study(say, **few)}
    run.save(options.out or RESULTS / "study.json")
    return 0


def recording(options: argparse.Namespace) -> int:
    """Measure recording by kind of node, say what it costs, and save."""
    from bench.suites import recording as suite  # noqa: PLC0415

    run = Run.start()
    rows = suite.kinds(options.rounds, _say())
    run.tables = {"recording by kind": rows}
    run.save(options.out or RESULTS / "recording.json")
    for row in rows:
        low, high = row["interval"]
        print(
            f"{row['nodes']}: {row['overhead']:+.1%} of plain generation "
            f"({low:+.1%} to {high:+.1%}), {row['beyond_heads']['overhead']:+.1%} beyond heads"
        )
    return 0


def ablation(options: argparse.Namespace) -> int:
    """Measure what a point of an ablation curve costs over a bare forward pass, and save."""
    from bench.suites import ablation as suite  # noqa: PLC0415

    run = Run.start()
    found = suite.measure(options.rounds, _say())
    run.tables = {"ablation": found}
    run.save(options.out or RESULTS / "ablation.json")
    for bare, over in found["over"].items():
        for name, row in over.items():
            low, high = row["interval"]
            print(f"{name}: {row['overhead']:+.1%} of {bare} ({low:+.1%} to {high:+.1%})")
    return int(found["over"][suite.ALL_LOGITS][suite.SOME_OUT]["overhead"] > 0.15)


def perturbation(options: argparse.Namespace) -> int:
    """Measure what the small models lose with noise in nodes and without nodes, and save."""
    from bench.suites import perturbation as suite  # noqa: PLC0415

    run = Run.start()
    found, figures = suite.measure(options.models, options.work, _say())
    run.tables = {"perturbation": found}
    run.save(options.out or RESULTS / "perturbation.json")
    folder = options.out.parent if options.out else RESULTS.parents[1] / "docs"
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path)
        print(path)
    return 0


def tuning(options: argparse.Namespace) -> int:
    """Train heads of a small model in all conditions, supervised and by reinforcement, and save."""
    from bench.suites import tuning as suite  # noqa: PLC0415

    run = Run.start()
    found, pictures = suite.measure(options.model, options.work, _say())
    run.tables = {"tuning": found}
    run.save(options.out or RESULTS / "tuning.json")
    folder = options.out.parent if options.out else RESULTS.parents[1] / "docs"
    for picture in pictures:
        print(shutil.copy(picture, folder))
    return 0


def masking(options: argparse.Namespace) -> int:
    """Measure what a training mask adds to a step and to generation, and save."""
    from bench.suites import masking as suite  # noqa: PLC0415

    run = Run.start()
    found = suite.measure(options.rounds, _say())
    run.tables = {"masking": found}
    run.save(options.out or RESULTS / "masking.json")
    for part, over in found["over"].items():
        for base, row in over.items():
            low, high = row["interval"]
            print(f"{part}: {row['overhead']:+.1%} of {base} ({low:+.1%} to {high:+.1%})")
    return int(found["over"]["step"][suite.WHOLE]["overhead"] > 0.05)


def busy(options: argparse.Namespace) -> int:
    """Measure a study on a quiet machine and on a busy one, and save."""
    from bench.harness import busy as suite  # noqa: PLC0415

    run = Run.start()
    found = suite.measure(_say(), options.study, options.loops, spinning=options.spinning)
    run.tables = {"busy": found}
    run.save(options.out or RESULTS / "busy.json")
    return int(found["ratio"] > 3)


def report(options: argparse.Namespace) -> int:
    """Render what is committed."""
    from bench.page import report as page  # noqa: PLC0415

    for path in page.write(page.load(options.results), figures=not options.no_figures):
        print(path)
    return 0


def compare(options: argparse.Namespace) -> int:
    """Print ratios."""
    from bench.harness import compare as comparison  # noqa: PLC0415

    print(comparison.main(options.a, options.b, options.k, options.sweeps, options.seconds, _say()))
    return 0


def counts(options: argparse.Namespace) -> int:
    """Count instructions of the GPU kernels in their machine code, and model their time."""
    from bench.counts import report as suite  # noqa: PLC0415

    backends = [options.backend] if options.backend else list(suite.BACKENDS)
    return suite.main(backends, options.architecture, options.against, options.only, options.write)


def smoke(options: argparse.Namespace) -> int:
    """Rehearse every command on tiny inputs, and render what they leave elsewhere."""
    del options
    from bench.harness import compare as comparison  # noqa: PLC0415
    from bench.page import report as page  # noqa: PLC0415
    from bench.suites import ablation as points  # noqa: PLC0415
    from bench.suites import accuracy as errors  # noqa: PLC0415
    from bench.suites import masking as training  # noqa: PLC0415
    from bench.suites import neurons as many  # noqa: PLC0415
    from bench.suites import perturbation as noise  # noqa: PLC0415
    from bench.suites import recording as along  # noqa: PLC0415
    from bench.suites import scale as blocks  # noqa: PLC0415
    from bench.suites import scaling as growth  # noqa: PLC0415
    from bench.suites import sizes as steps  # noqa: PLC0415
    from bench.suites import study as stages  # noqa: PLC0415
    from bench.suites import tuning as gained  # noqa: PLC0415

    say = _say()
    run = Run.start()
    with tempfile.TemporaryDirectory() as folder:
        speed = Path(folder) / "speed.json"
        line = ["bench", "-q", "-s", "--tiny", "--benchmark-quiet", "--seconds=4", "--sweeps=2"]
        # A process of its own: pytest warns of plugins that are imported already.
        pytest = [sys.executable, "-m", "pytest", *line, f"--out={speed}"]
        if subprocess.run(pytest, check=False).returncode:
            return 1
        say("speed: done")
        print(comparison.main(str(speed), str(speed), "", 1, 1, say).splitlines()[-1])
        rows = errors.measure(errors.kinds(3), say)
        curves = [c for c in growth.curves(["cpu", "numpy"]) if c["work"] == "MMI rtr+sts"][:2]
        run.tables = {
            "accuracy": rows,
            "accuracy missing": errors.missing(),
            "scaling": [growth.measure(curve, 0.5) for curve in curves],
            "threads": growth.thread_scaling(repeats=2),
            "chosen": growth.chosen_takeover(nodes=64),
            "rectangle": growth.rectangle(nodes=200, side=40, repeats=2),
            "sizes": steps.measure(say, sizes=(64, 100), most=3, rounds=2),
            "neurons": many.measure(say, shape=(2, 60, 1200)),
            "scale": blocks.measure(say, share=0.02),
            "recording": along.heads(1, say, tokens=5),
            "recording by kind": along.kinds(1, say, tokens=5),
            "ablation": points.measure(1, say, texts=2, tokens=5),
            "masking": training.measure(1, say, tokens=20),
            "perturbation": noise.rehearse(Path(folder) / "models", say),
            "tuning": gained.rehearse(Path(folder) / "tuned", say),
            "study": stages.study(say, max_prompts=2, new_tokens=20, bootstrap=100),
        }
        run.save(Path(folder) / "tables.json")
        results = page.load(Path(folder))
        text = page.page(results)
        page.draw(results, Path(folder))
    say(f"a page of {len(text.splitlines())} lines and its figures")
    return int(any(r["broken"] for r in rows))


def _add_sizes(commands: Any) -> None:
    one = commands.add_parser("sizes", help=sizes.__doc__)
    one.add_argument("--quick", action="store_true", help="five sizes, up to 16 trials, a minute")
    one.add_argument("--limit", type=float, default=480, help="for all of it, seconds")
    one.set_defaults(run=sizes)


def _add_perturbation(commands: Any) -> None:
    one = commands.add_parser("perturbation", help=perturbation.__doc__)
    one.add_argument("--models", type=Path, required=True, help="folder of bench.small_models")
    one.add_argument("--work", type=Path, required=True, help="folder for what is done so far")
    one.set_defaults(run=perturbation)


def _add_masking(commands: Any) -> None:
    one = commands.add_parser("masking", help=masking.__doc__)
    one.add_argument("--rounds", type=int, default=60, help="of all of it, in turns")
    one.set_defaults(run=masking)


def _add_tuning(commands: Any) -> None:
    one = commands.add_parser("tuning", help=tuning.__doc__)
    one.add_argument("--model", type=Path, required=True, help="a checkpoint of bench.small_models")
    one.add_argument("--work", type=Path, required=True, help="folder for what is done so far")
    one.set_defaults(run=tuning)


def _add_compare(commands: Any) -> None:
    one = commands.add_parser("compare", help=compare.__doc__)
    one.add_argument("a", help="a file of results, or a commit: before")
    one.add_argument("b", help="the same: after")
    one.add_argument("-k", default="cpu and float64", help="cases, as for pytest; of commits")
    one.add_argument("--sweeps", type=int, default=5, help="pairs of runs; of commits")
    one.add_argument("--seconds", type=float, default=20, help="of timed rounds of each run")
    one.set_defaults(run=compare)


def _add_counts(commands: Any) -> None:
    one = commands.add_parser("counts", help=counts.__doc__)
    one.add_argument("backend", nargs="?", choices=["cupy", "triton"], help="both by default")
    one.add_argument("--architecture", default="sm_90", choices=["sm_80", "sm_90"])
    one.add_argument("--against", metavar="REV", help="a commit: before")
    one.add_argument("--only", default="", metavar="REGEX", help="kernels with this in their name")
    one.add_argument("--write", type=Path, metavar="FILE", help="a page of it, in Markdown")
    one.set_defaults(run=counts)


def main() -> int:
    """Run a command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("accuracy", help=accuracy.__doc__)
    one.add_argument("--draws", type=int, default=24, help="pairs of a kind")
    one.add_argument("--heads", type=int, default=4, help="prompts to record; 0: none")
    one.set_defaults(run=accuracy)

    one = commands.add_parser("scaling", help=scaling.__doc__)
    one.add_argument("--seconds", type=float, default=60, help="for a curve over nodes, at most")
    one.add_argument("--limit", type=float, default=570, help="for all of it, seconds, about")
    one.set_defaults(run=scaling)

    _add_sizes(commands)
    one = commands.add_parser("neurons", help=neurons.__doc__)
    one.add_argument("--record", action="store_true", help="of smollm2-135m; else made like them")
    one.add_argument(
        "--batch-size", type=int, default=4, help="prompts at a time, of the recording"
    )
    one.add_argument("--limit", type=float, help="end after so many seconds, with part of the work")
    one.set_defaults(run=neurons)

    one = commands.add_parser("scale", help=scale.__doc__)
    one.add_argument("--share", type=float, default=1, help="of the nodes")
    one.set_defaults(run=scale)

    one = commands.add_parser("study", help=study.__doc__)
    one.add_argument("--rounds", type=int, default=8, help="of generation, bare and recorded")
    one.add_argument("--max-prompts", type=int, help="of the study; all 60 by default")
    one.set_defaults(run=study)

    one = commands.add_parser("recording", help=recording.__doc__)
    one.add_argument("--rounds", type=int, default=12, help="of generation, in turns")
    one.set_defaults(run=recording)

    one = commands.add_parser("ablation", help=ablation.__doc__)
    one.add_argument("--rounds", type=int, default=12, help="of all of it, in turns")
    one.set_defaults(run=ablation)

    _add_perturbation(commands)
    _add_tuning(commands)
    _add_masking(commands)
    one = commands.add_parser("busy", help=busy.__doc__)
    one.add_argument("--loops", type=int, default=2, help="processes that never rest")
    one.add_argument("--spinning", action="store_true", help="let waiting threads spin")
    one.add_argument("study", nargs="*", help="arguments of the study, after --")
    one.set_defaults(run=busy)

    one = commands.add_parser("report", help=report.__doc__)
    one.add_argument("--results", type=Path, default=RESULTS)
    one.add_argument("--no-figures", action="store_true")
    one.set_defaults(run=report)

    _add_compare(commands)
    _add_counts(commands)
    one = commands.add_parser("smoke", help=smoke.__doc__)
    one.set_defaults(run=smoke)

    for name in sorted({*commands.choices} - {"report", "compare", "counts", "smoke"}):
        commands.choices[name].add_argument("--out", type=Path, help="file for the results")
    options = parser.parse_args()
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
