"""The command `synkern`.

Only words are imported here: what computes, and with it torch, when a command needs it, so that
help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import synkern
from synkern._faces import MissingExtraError
from synkern.study.choices import CHOICES


class _OutputLostError(Exception):
    """What was to be printed cannot be; the message says why, and is empty where nobody reads."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: as given on the command line; None takes those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 an argument that cannot be used, 130 interrupted.
    """
    try:
        options = _parser().parse_args(arguments)
        return int(options.run(options))
    except KeyboardInterrupt:
        return _failed("interrupted", 130)
    except _OutputLostError as lost:
        return _failed(lost, 1) if str(lost) else 1


class _Parser(argparse.ArgumentParser):
    """Prints help as everything else is printed: argparse passes over what cannot be written."""

    def print_help(self, file: Any = None) -> None:
        """Print the help on standard output."""
        _print(self.format_help().rstrip().splitlines())


class _Version(argparse.Action):
    """Prints the version, likewise."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print and end."""
        _print([f"synkern {synkern.__version__}"])
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="synkern",
        description="Integrated information decomposition of all pairs of nodes.",
    )
    version = "show program's version number and exit"
    parser.add_argument(
        "--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help=version
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    study = commands.add_parser(
        "study",
        help="map synergy over the depth of a language model",
        description="Let a language model answer prompts, decompose all pairs of its attention "
        "heads, and report how synergy and redundancy run over its depth.",
        epilog="Started again with the same folder, a study goes on where it stopped and computes "
        "only what has changed.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    # Beside `command` and `run`, the options are the arguments of run_study.
    study.set_defaults(run=_study)
    add = study.add_argument
    add("--model", default="smollm2-135m", help="smollm2-135m, a model folder, or a hub name")
    add("--out", required=True, metavar="DIR", help="folder to write")
    add("--prompts", metavar="FILE", help="JSON or one prompt per line; default: the built-in 60")
    add("--max-prompts", type=int, metavar="N", help="use only N of the prompts")
    add("--new-tokens", type=int, default=100, metavar="N", help="tokens per answer")
    add("--tau", type=int, default=1, metavar="N", help="lag in tokens")
    for option, what in (
        ("kind", "estimator"),
        ("redundancy", "redundancy function"),
        ("average", "how prompts combine"),
        ("detrend", "what is done to each series before"),
        ("null", "test every pair against a null"),
    ):
        default, *others = CHOICES[option]
        add(f"--{option}", default=default, help=f"{what}: {default}, {', '.join(others)}")
    add(
        "--null-draws",
        type=int,
        default=argparse.SUPPRESS,
        metavar="N",
        help="surrogates of the null (default: 99)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of control weights, bootstrap and null")
    add(
        "--no-control",
        action="store_false",
        dest="control",
        default=argparse.SUPPRESS,
        help="leave out the model with random weights",
    )
    add("--backend", default="auto", help='see "synkern backends"')
    add("--dtype", default=CHOICES["dtype"][0], help="of the model")
    add("--device", default="auto", help="where the model runs: cpu, cuda, ...")
    add("--batch-size", type=int, default=30, metavar="N", help="prompts answered at once")
    add("--bootstrap", type=int, default=1000, metavar="N", help="bootstrap draws")
    add(
        "--trust-remote-code",
        action="store_true",
        help="let Python code that comes with the model run here, with all your rights",
    )
    add(
        "--quiet",
        action="store_false",
        dest="progress",
        default=argparse.SUPPRESS,
        help="no progress bars or messages",
    )

    backends = commands.add_parser(
        "backends",
        help="list the backends and whether they can run here",
        description="List the backends and whether they can run here; if not, why, and what helps.",
    )
    backends.set_defaults(run=_backends)
    return parser


def _study(options: argparse.Namespace) -> int:
    # OpenMP reads it when torch is loaded: a thread that waits for another one sleeps. On a core
    # that another process wants, spinning takes the model ten times as long; where nobody does,
    # sleeping costs 4 %.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    errors = importlib.import_module("synkern.study.folder")
    arguments = {name: v for name, v in vars(options).items() if name not in ("command", "run")}
    # What an argument, a file or the installation explains; all else is a bug and keeps its
    # traceback.
    try:
        done = importlib.import_module("synkern.study").run_study(**arguments)
    except errors.ArgumentError as error:
        return _failed(error, 2)
    except (errors.StudyError, MissingExtraError, OSError) as error:
        return _failed(error, 1)
    except KeyboardInterrupt:
        kept = f"finished stages are kept in {options.out}: run the same command to go on"
        return _failed(f"interrupted; {kept}", 130)
    stages = done.description["stages"]
    lines = [*done.description["summary"], ""]
    lines.append("quadratic term of each profile, slopes before and after its vertex (95 %):")
    for weights, profiles in done.profiles.items():
        for ranking, profile in profiles.items():
            verdict = "inverted U" if profile.inverted_u else "no inverted U"
            if not profile.complete:
                verdict = f"{100 * profile.missing_share:.0f} % missing"
            lines.append(
                f"  {weights:8} {ranking:16} {profile.quadratic:+.4f} "
                f"{_interval(profile.quadratic_interval)}  "
                f"before {_interval(profile.rise_interval)}  "
                f"after {_interval(profile.fall_interval)}  "
                f"{verdict:13}  p = {profile.shuffled_p:.4f} with layers shuffled"
            )
    for weights in done.profiles:
        absent = stages[f"analysis ({weights})"]["excess"]["absent"]
        if absent is not None:
            lines.append(f"no excess synergy, {weights}: {absent}")
    for weights in done.profiles:
        if f"null ({weights})" in stages:
            lines.append(_null(weights, stages[f"null ({weights})"]))
    lines.append(f"report: {done.report}")
    _print(lines)
    return 0


def _null(weights: str, test: Mapping[str, Any]) -> str:
    """How many pairs differ from the null."""
    shares = []
    for atom, found in test["atoms"].items():
        if found["share_q"] is None:
            shares.append(f"{atom} no pair tested")
        else:
            shares.append(f"{atom} {found['share_q']:.1%} (p <= 0.05: {found['share_p']:.1%})")
    said = f"pairs that differ from null {test['null']} at a false-discovery rate of 0.05"
    return f"{said}, {weights}: {', '.join(shares)}"


def _backends(options: argparse.Namespace) -> int:
    rows = [("BACKEND", "RUNS ON", "WHAT IT IS")]
    notes: list[str] = []
    for backend in synkern.decomposition.BACKENDS:
        status = backend.status()
        runs_on = ", ".join(status.devices) if status.available else "not here"
        rows.append((backend.name, runs_on, backend.summary))
        if status.why is not None:
            remedy = f"; what would help: {status.remedy}" if status.remedy else ""
            notes.append(f"{backend.name}: {status.why}{remedy}")
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{n:{widths[0]}}  {runs_on:{widths[1]}}  {summary}" for n, runs_on, summary in rows]
    _print([*lines, "", *notes] if notes else lines)
    return 0


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"[{low:+.4f}, {high:+.4f}]" if math.isfinite(low) else f"{'too few layers':18}"


def _print(lines: Sequence[str]) -> None:
    """Print lines, characters that the reader's encoding lacks as escapes.

    Raises:
        _OutputLostError: they cannot be written.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = "\n".join(lines).encode(encoding, "backslashreplace").decode(encoding)
    with _output():
        print(text)


@contextmanager
def _output() -> Iterator[None]:
    """Find out here, not when Python ends, that what is printed cannot be written."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        with suppress(OSError, ValueError):
            # Else Python tries to write the rest once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        nobody_reads = error.errno == errno.EPIPE
        why = "" if nobody_reads else f"standard output cannot be written to ({error.strerror})"
        raise _OutputLostError(why) from error


def _failed(message: Any, code: int) -> int:
    # One line, also where a library explains itself in several.
    if sys.stderr is None:  # print would take standard output instead
        return code
    with suppress(OSError):
        print("synkern: error:", " ".join(str(message).split()), file=sys.stderr)
    return code
