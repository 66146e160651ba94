"""Whether a comparison can be made, asked before anything is read or computed."""

from __future__ import annotations

import errno
import importlib.util
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from synkern import _memory
from synkern.study.comparison.options import CompareOptions, checked_text
from synkern.study.errors import ArgumentError, MissingPackageError, StudyError
from synkern.study.folder import TEMPORARY
from synkern.study.numerals import size
from synkern.study.options import check

_OF_STUDIES = {"torch": "llm", "tqdm": "llm"}
_OF_PAGES = {"matplotlib": "plot", "jinja2": "plot"}
# A page with its figures and numbers is about as large.
_PAGE_BYTES = 2**20
# Arrays of (surrogates or draws, points), float64, that are alive while they are ranked: six and a
# little, as measured.
_COPIES = 7
_FULL = (errno.ENOSPC, errno.EDQUOT)


def checked_folders(options: CompareOptions) -> list[Path]:
    """Check all that can be before a study is read, and return the folders of the studies.

    Raises:
        ArgumentError: an option that cannot be used, by itself or with others, or a comparison that
            memory does not hold.
        MissingPackageError: a package of an extra is not installed.
        StudyError: a place for the page that cannot be written to.
    """
    check(options)
    folders = _folders(options)
    _check_room(options, len(folders))
    if folders:
        _check_packages("to read studies", _OF_STUDIES)
    if options.out is not None:
        _check_packages("the page of a comparison", _OF_PAGES)
        _check_out(str(options.out))
    return folders


def check_names(names: Sequence[str]) -> None:
    """Refuse members that are too few, or that have one name.

    Raises:
        ArgumentError: they are.
    """
    if len(names) < 2:
        raise ArgumentError(
            f"studies and published hold {len(names)} to compare; give two or more in all"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ArgumentError(f"two are called {twice[0]!r}; tell them apart with names")


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Say of an error which file of the page cannot be written.

    Raises:
        StudyError: in the place of an OSError inside the block.
    """
    try:
        yield
    except OSError as error:
        raise StudyError(
            f"{str(file)!r} cannot be written ({error.strerror or error}); "
            f"{'make room there' if error.errno in _FULL else 'make it writable'}, or name another "
            "folder (out); the studies and other folders are as they were"
        ) from error


@contextmanager
def made(out: Path, *, kept: bool) -> Iterator[None]:
    """Make a folder for the block.

    Args:
        out: the folder.
        kept: whether it stays when the block is done. Else, and after an error, it is removed
            again, if it was missing and is empty.

    Raises:
        StudyError: it cannot be made.
    """
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    done = False
    try:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
        yield
        done = kept
    finally:
        if not done:
            with suppress(OSError):
                for folder in missing:
                    folder.rmdir()


def _folders(options: CompareOptions) -> list[Path]:
    given = options.studies
    if isinstance(given, str | Path) or not isinstance(given, Sequence):
        raise ArgumentError(f"studies = {given!r}; give a list of folders")
    folders = [Path(checked_text("studies", one)) for one in given]
    twice = [f for f, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if twice:
        raise ArgumentError(f"studies has {str(twice[0])!r} twice; give every folder once")
    if options.names is not None and len(options.names) != len(folders):
        raise ArgumentError(
            f"names = {options.names!r}; give one for each of the {len(folders)} studies, whose "
            "folders come first"
        )
    if options.names is not None and len(folders) > 1:
        check_names(options.names)
    return folders


def _check_packages(who: str, packages: dict[str, str]) -> None:
    for package, extra in packages.items():
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(
                f"{who} needs the package {package!r}, of the extra {extra!r}: "
                f'pip install "synkern[{extra}]"'
            )


def _check_room(options: CompareOptions, studies: int) -> None:
    """Refuse what would end the process instead: arrays of all surrogates, or draws, by points."""
    free = _memory.available()
    members = studies * (2 if options.control else 1)
    for name, rows in (
        ("surrogates", options.surrogates * _COPIES),
        ("bootstrap", options.bootstrap * (_COPIES + members) if members else 0),
    ):
        needed = 8 * rows * options.points
        if free is not None and needed > free:
            raise ArgumentError(
                f"{name} = {getattr(options, name)} on points = {options.points} takes about "
                f"{size(needed)} of memory, of which {size(free)} are free; lower {name} or points"
            )


def _check_out(given: str) -> None:
    """Refuse a place for the page where it cannot or should not be."""
    out = Path(given)
    if (out / "study.npz").exists():
        raise ArgumentError(
            f"out = {given!r} is the folder of a study, which is only read; name another one"
        )
    if out.exists() and not out.is_dir():
        raise StudyError(f"out = {given!r} is a file; name a folder")
    trial = out / f"{TEMPORARY}trial"
    with made(out, kept=False), writing(out):
        try:
            trial.write_bytes(bytes(_PAGE_BYTES))
        finally:
            trial.unlink(missing_ok=True)
