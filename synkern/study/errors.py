"""What a study raises where an argument, a file, the model or the machine explains a failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ArgumentError(ValueError):
    """An argument of a study cannot be used; found before anything is loaded or written."""


class StudyError(Exception):
    """A study cannot go on; the message says why and what would help."""


class MissingPackageError(StudyError, ImportError):
    """A study needs a package that is not installed; the message says which."""


@contextmanager
def checks_of_arguments() -> Iterator[None]:
    """Say of a ValueError that it comes from an argument.

    Raises:
        ArgumentError: in the place of a ValueError inside the block.
    """
    try:
        yield
    except ValueError as error:
        raise ArgumentError(str(error)) from error


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Say of a ValueError what cannot be done for it.

    Args:
        what: what cannot be done, as a clause; the reason comes after a colon.

    Raises:
        StudyError: in the place of a ValueError inside the block.
    """
    try:
        yield
    except ValueError as error:
        raise StudyError(f"{what}: {error}") from error
