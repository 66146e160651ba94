"""The command `synkern`.

Only words are imported here: what computes, and with it torch, when a command needs it, so that
help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import synkern
from synkern import decomposition, study
from synkern._faces import MissingExtraError
from synkern.data import ReadOptions

_FIRST = {
    "decompose": "files come first, before all options",
    "compare": "folders come first, before all options",
    "emergence": "checkpoints come first, before all options",
}
_CODES = (
    "Exit codes: 0 done; 1 failed (a file, the network, a missing package, a full disk); 2 an "
    "argument that cannot be used; 130 interrupted."
)

_OF_THE_PARSER = ("command", "run", "function", "kept")


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
        parser = _parser()
        options, rest = parser.parse_known_args(arguments)
        if rest:
            # Of several folders, what an option has parted from the first ones.
            first = f"; {_FIRST[options.command]}" if options.command in _FIRST else ""
            parser.error(f"unrecognized arguments: {' '.join(rest)}{first}")
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


class _Completion(argparse.Action):
    """Prints what a shell reads to complete the command."""

    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, *__: Any) -> None:
        """Print and end."""
        try:
            shtab = importlib.import_module("shtab")
        except ModuleNotFoundError as error:
            if error.name != "shtab":
                raise
            parser.exit(_failed(_NO_COMPLETION, 1))
        _print(shtab.complete(parser, shell).splitlines())
        parser.exit()


_NO_COMPLETION = (
    "--print-completion needs shtab, which is not installed: pip install 'synkern[completion]'"
)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="synkern",
        description="Integrated information decomposition of all pairs of nodes.",
        epilog=_CODES,
    )
    version = "show program's version number and exit"
    parser.add_argument(
        "--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help=version
    )
    parser.add_argument(
        "--print-completion",
        action=_Completion,
        choices=("bash", "zsh", "tcsh"),
        default=argparse.SUPPRESS,
        help="print what this shell reads to complete the command, and exit",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    one = commands.add_parser(
        "study",
        help="map synergy over the depth of a language model",
        description="Let a language model answer prompts, decompose all pairs of its nodes "
        "(heads, experts, ...), and report how synergy and redundancy run over its depth.",
        epilog="Started again with the same folder, a study goes on where it stopped and computes "
        "only what has changed.",
    )
    one.set_defaults(run=_carry_out, function="run_study", kept="finished stages are")
    study.add_arguments(one, study.StudyOptions)

    data = commands.add_parser(
        "decompose",
        help="decompose all pairs of nodes of a recording: regions, sensors, neurons",
        description="Read series from files, one for each trial or subject or several in one, "
        "decompose all pairs of their nodes, set them against their persistence and a null, and "
        "write results, tables and a report.",
        epilog="Started again with the same folder, it goes on where it stopped and computes only "
        "what has changed.",
    )
    data.set_defaults(run=_carry_out, function="decompose_data", kept="finished steps are")
    data.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help=f"tables, arrays, images or recordings; {_FIRST['decompose']}",
    )
    study.add_arguments(data.add_argument_group("how the files are read"), ReadOptions)
    study.add_arguments(data.add_argument_group("what is done"), study.ComputeOptions)

    for command in study.COMMANDS:
        further = commands.add_parser(
            command.name,
            help=command.help,
            description=command.description,
            epilog="Started again with the same options, it "
            + ("goes on where it stopped." if command.resumed else "takes what is there already."),
        )
        kept = "what is done so far is" if command.resumed else ""
        further.set_defaults(run=_carry_out, function=command.function, kept=kept)
        study.add_arguments(further, command.options)

    several = commands.add_parser(
        "compare",
        help="put finished studies side by side",
        description="Put the profiles over depth of finished studies side by side, and published "
        "ones beside them: how alike they are, how surely, and what differs between the studies.",
    )
    several.set_defaults(run=_carry_out, function="compare", kept="")
    several.add_argument(
        "studies",
        nargs="*",
        metavar="DIR",
        help=f"folder of a finished study; it is only read; {_FIRST['compare']}",
    )
    study.add_arguments(several, study.CompareOptions)

    training = commands.add_parser(
        "emergence",
        help="study the checkpoints of a training",
        description="Study the checkpoints of a training one after the other, with the text that "
        "each writes and with that of the last one, and show what came about when.",
        epilog="Started again with the same folder, it goes on where it stopped; a checkpoint that "
        "cannot be studied is reported, and the rest goes on.",
    )
    kept = "checkpoints that are done are"
    training.set_defaults(run=_carry_out, function="emergence", kept=kept)
    training.add_argument(
        "checkpoints",
        nargs="+",
        metavar="CHECKPOINT",
        help="model folders in the order of training, or revisions on the hub (NAME@step1000); "
        f"{_FIRST['emergence']}",
    )
    study.add_arguments(training, study.EmergenceOptions)

    backends = commands.add_parser(
        "backends",
        help="list the backends and whether they can run here",
        description="List the backends and whether they can run here; if not, why, and what helps.",
    )
    backends.set_defaults(run=_backends)
    return parser


def _carry_out(options: argparse.Namespace) -> int:
    # OpenMP reads it when torch is loaded: a thread that waits for another one sleeps. On a core
    # that another process wants, spinning takes the model ten times as long; where nobody does,
    # sleeping costs 4 %.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Beside what the parser sets, the options are the arguments of the call.
    given = {name: v for name, v in vars(options).items() if name not in _OF_THE_PARSER}
    # What an argument, a file or the installation explains; all else is a bug and keeps its
    # traceback.
    try:
        done = getattr(study, options.function)(**given)
    except study.ArgumentError as error:
        return _failed(error, 2)
    except (study.StudyError, MissingExtraError, OSError) as error:
        return _failed(error, 1)
    except KeyboardInterrupt:
        if not options.kept:
            return _failed("interrupted", 130)
        kept = f"{options.kept} kept in {options.out}: run the same command to go on"
        return _failed(f"interrupted; {kept}", 130)
    _print([*done.summary(), *([f"report: {done.report}"] if done.report else [])])
    return 0


def _backends(options: argparse.Namespace) -> int:
    rows = [("BACKEND", "RUNS ON", "WHAT IT IS")]
    notes: list[str] = []
    for backend in decomposition.BACKENDS:
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
