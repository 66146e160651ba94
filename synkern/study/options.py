"""Options that stand once: what the call, the command, the documentation and the checks read.

An option is a field of a dataclass with an `Option` in its metadata. `called_with` makes a function
that is called with the fields, `add_arguments` gives a command the same, `documented` lists them
for readers, `check` refuses values that cannot be used. Light: the command lists its options
before NumPy or torch is imported.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from synkern.study.errors import ArgumentError

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

LARGEST = 2**63 - 1
"""Beyond it no array can be counted, and no size be told."""

_WIDTH = 100
_METAVARS = {int: "N", float: "X"}
_OPTION = "option"


@dataclass(frozen=True)
class Option:
    """What is to be known of an option beside its name, its type and its default.

    Attributes:
        help: what it is, in a phrase; all that the command says of it.
        off: what the command says of the flag that takes it away, if its default is True.
        more: what the documentation of the call says beside.
        choices: what it may be, if it is one of a few words, or what each of a list may be.
        least, most: what a number may be, or each of a list.
        stages: the stages of a study whose results depend on it; "recording (random)" is a stage
            with the weights named only. Its value is one of the ingredients that must be the same
            for an earlier result to be reused.
        stated: whether it is a parameter of a finished study: not where a study is written, for
            example, or what becomes part of an ingredient.
        flag: of the command; None makes one of the name, with "no-" in front if the default is
            True.
        metavar: what stands for its value in the command's help; "N" of integers, "X" of others.
        check: refuses a value, given name and value, beside what types and choices say.
    """

    help: str
    off: str = ""
    more: str = ""
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float = LARGEST
    stages: tuple[str, ...] = ()
    stated: bool = True
    flag: str | None = None
    metavar: str | None = None
    check: Callable[[str, Any], None] | None = None

    @property
    def described(self) -> dict[str, Any]:
        """The metadata of a field."""
        return {_OPTION: self}


def options_of(options: type) -> Iterator[tuple[Field[Any], Option]]:
    """Yield the fields of a dataclass that are options, and what is known of each.

    Fields of which the metadata hold the words alone, as those of reading, are options as well.
    """
    for one in fields(options):
        if _OPTION in one.metadata:
            yield one, one.metadata[_OPTION]
        elif "help" in one.metadata:
            yield one, Option(**one.metadata)


def like(options: type, name: str, *, default: Any = MISSING, **changed: Any) -> Any:
    """Return a field that is an option as another dataclass has it.

    Args:
        options: the other dataclass.
        name: of the option there.
        default: its default here; if it is not given, as there.
        changed: what is to be known of it that differs, as `Option` takes it.
    """
    (one, option) = next(each for each in options_of(options) if each[0].name == name)
    return field(
        default=one.default if default is MISSING else default,
        metadata=replace(option, **changed).described,
    )


def stated(options: type) -> tuple[str, ...]:
    """Return the names of the options that are parameters of a finished study."""
    return tuple(one.name for one, option in options_of(options) if option.stated)


def names_for(options: type, *stages: str) -> tuple[str, ...]:
    """Return the names of the options on which any of these stages depends."""
    return tuple(one.name for one, option in options_of(options) if {*stages} & {*option.stages})


def check(given: Any) -> None:
    """Check every option by itself.

    Args:
        given: the object whose fields they are.

    Raises:
        ArgumentError: a value that cannot be used.
    """
    hints = get_type_hints(type(given))
    for one, option in options_of(type(given)):
        name, value = one.name, getattr(given, one.name)
        if value is None and one.default is None:
            continue
        if hints[name] is bool and not isinstance(value, bool):
            raise ArgumentError(f"{name} = {value!r}; give True or False")
        kind, several = _kind_of(hints[name])
        if several and (isinstance(value, str) or not isinstance(value, Sequence) or not value):
            raise ArgumentError(f"{name} = {value!r}; give a list of one or more")
        for each in value if several else (value,):
            _check_one(name, each, kind, option)
        if option.check is not None:
            option.check(name, value)


def called_with(options: Callable[P, T]) -> Callable[[Callable[[T], R]], Callable[P, R]]:
    """Make a function of one object one that is called with what the object is made of.

    Args:
        options: the object's dataclass. Type checkers, `help` and `inspect.signature` see its
            fields as the arguments of the function, and their documentation goes in front of
            "Raises:" in that of the function.
    """

    def decorate(function: Callable[[T], R]) -> Callable[P, R]:
        plain = inspect.signature(function)
        signature = inspect.signature(options).replace(return_annotation=plain.return_annotation)

        @functools.wraps(function)
        def called(*arguments: P.args, **named: P.kwargs) -> R:
            try:
                signature.bind(*arguments, **named)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(options(*arguments, **named))

        shown: Any = called
        shown.__signature__ = signature
        shown.__annotations__ = {
            **{p.name: p.annotation for p in signature.parameters.values()},
            "return": plain.return_annotation,
        }
        if function.__doc__ is not None and isinstance(options, type):
            before, raises, after = function.__doc__.partition("    Raises:\n")
            shown.__doc__ = f"{before}    Args:\n{documented(options)}\n\n{raises}{after}"
        return called

    return decorate


def documented(options: type) -> str:
    """Return the list of the options for a docstring, indented as in one of a function."""
    wrapped = textwrap.TextWrapper(
        _WIDTH,
        initial_indent=" " * 8,
        subsequent_indent=" " * 12,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(wrapped.fill(_entry(one.name, option)) for one, option in options_of(options))


def add_arguments(parser: argparse._ActionsContainer, options: type) -> None:
    """Give a command the options; what the user leaves out is left out of what is parsed."""
    hints = get_type_hints(options)
    for one, option in options_of(options):
        words = one.name.replace("_", "-")
        known: dict[str, Any] = {"dest": one.name, "default": argparse.SUPPRESS}
        known["required"] = one.default is MISSING
        known["help"] = option.help
        if hints[one.name] is bool:
            known["action"] = "store_false" if one.default else "store_true"
            if one.default:
                words, known["help"] = f"no-{words}", option.off
        else:
            kind, several = _kind_of(hints[one.name])
            known |= {"type": kind, "metavar": option.metavar or _METAVARS.get(kind)}
            if several:
                known["nargs"] = "+"
            if option.choices:
                known["help"] += f": {', '.join(option.choices)}"
            if one.default not in (MISSING, None):
                default = " ".join(map(str, one.default)) if several else one.default
                known["help"] += f" (default: {default})"
        known["help"] = known["help"].replace("%", "%%")
        parser.add_argument(option.flag or f"--{words}", **known)


def _entry(name: str, option: Option) -> str:
    said = option.help
    if option.choices:
        said += ": " + ", ".join(f'"{choice}"' for choice in option.choices)
    elif option.least is not None and option.least > 1:
        said += f", at least {option.least}"
    return f"{name}: {said.removesuffix('...')}. {option.more}".rstrip()


def _kind_of(hint: Any) -> tuple[type, bool]:
    """What the value of an option is made of, by its annotation, and whether it is a list of it."""
    several = [one for one in (hint, *get_args(hint)) if get_origin(one) is tuple]
    of = get_args(several[0]) if several else (hint, *get_args(hint))
    return next((kind for kind in (int, float) if kind in of), str), bool(several)


def _check_one(name: str, value: Any, kind: type, option: Option) -> None:
    """Check a value, or one of a list, against choices and bounds."""
    if option.choices and value not in option.choices:
        raise ArgumentError(f"{name} = {value!r}; choose from {', '.join(option.choices)}")
    if option.least is None:
        return
    what = "an integer" if kind is int else "a number"
    right = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if not right or not value >= option.least:
        raise ArgumentError(f"{name} = {value!r}; give {what} of at least {option.least}")
    if value > option.most:
        raise ArgumentError(f"{name} = {value!r}; give {what} of at most {option.most}")
