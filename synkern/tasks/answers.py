"""The answer in what a model wrote, and whether two answers say the same."""

from __future__ import annotations

import re
from fractions import Fraction

from synkern.tasks.task import Task

# How an answer is written, by category; tasks of other categories, as files have, say more.
_FORMS = {
    **dict.fromkeys(("addition", "subtraction", "chain", "word_problem"), "number"),
    **dict.fromkeys(("sorting", "copying", "brackets"), "line"),
    "agreement": "word",
}

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
# A minus after a word, a number or a bracket subtracts; anywhere else it is a sign.
_NUMBER = re.compile(rf"(?:(?<![\w)\]}}.,])[-−])?(?:{_DIGITS})(?:/\d+)?")
_FRACTION = re.compile(r"([-+]?)\\frac\{([-+]?\d+)\}\{([-+]?\d+)\}")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_SPACES = re.compile(r"\\[ !,;:]|~|\\q?quad\b")
# A lone m joined to a number is a variable as well as a metre.
_UNITS = (
    r"\s+m|\s*(?:mm|cm|km|inch(?:es)?|in|ft|foot|feet|yards?|miles?|mph|degrees?|percent|dollars?"
    r"|cents?|seconds?|minutes?|hours?|days?|weeks?|months?|years?|grams?|kg|met(?:er|re)s?|points?"
    r"|units?|square|cubic|sq|per)"
)
_UNIT = re.compile(rf"(?<=[\d}}])((?:(?:{_UNITS})\b\.?(?:\s*\^\{{?[23]\}}?)?)+)$")
_TEXT = re.compile(r"\\(?:text|textbf|mbox|mathrm)\{([^{}]*)\}")


def has_ended(text: str, task: Task) -> bool:
    """Whether what is written further cannot change the answer found in `text`."""
    form, begun = _FORMS.get(task.category), text.lstrip()
    if form == "word":
        return re.match(r"\w+\W", begun) is not None
    return form is not None and "\n" in begun


def found_answer(text: str, task: Task) -> str | None:
    r"""The answer in what a model wrote after the prompt of a task; None if there is none.

    Of the tasks that `generate` makes: the last number, or all, of the first line, or its first
    word, whichever the category asks for. Of others: what is in the last \boxed{}, else the last
    number where the right answer is one, else all of it.
    """
    begun, form = text.strip(), _FORMS.get(task.category)
    if form == "word":
        word = re.match(r"\w+", begun)
        return word and word[0]
    if form is None:
        inside = last_boxed(text)
        if inside is not None:
            return inside
        if _rational(_parts(task.answer)[0]) is None:
            return begun or None
    line = begun.partition("\n")[0].rstrip() if form else begun
    if form == "line":
        return line or None
    numbers = _NUMBER.findall(line)
    return numbers[-1] if numbers else None


def last_boxed(text: str) -> str | None:
    r"""What the last \boxed{} or \fbox{} holds; None where there is none that is closed."""
    for start in reversed([match.end() for match in re.finditer(r"\\(?:boxed|fbox)\s*\{", text)]):
        depth = 1
        for end in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0) * (text[end - 1] != "\\")
            if depth == 0:
                return text[start:end].strip()
    return None


def same_answer(one: str, other: str, task: Task) -> bool:
    r"""Whether two answers to a task say the same.

    Numbers and what files ask for: as texts or as rational numbers, without spaces, dollar signs,
    \left and \right, signs of degrees and per cent, and a full stop; fractions however they are
    written; thousands with or without commas; a common unit after a number may be missing in one of
    the two, but not be another. Lines and words: with commas taken for spaces, of which many are as
    good as one, and without a full stop.
    """
    if _FORMS.get(task.category) in ("line", "word"):
        ours, theirs = (each.replace(",", " ").rstrip(". ").split() for each in (one, other))
        return ours == theirs
    (left, unit), (right, other_unit) = _parts(one), _parts(other)
    if unit and other_unit and unit != other_unit:
        return False
    numbers = _rational(left), _rational(right)
    return left == right or (None not in numbers and numbers[0] == numbers[1])


def _parts(answer: str) -> tuple[str, str]:
    """An answer in one way of writing, see `same_answer`, and its unit ("" if it has none)."""
    text = answer.strip().strip("$").replace("−", "-")
    text = re.sub(r"\\(?:left|right)(?![a-z])", "", text)
    text = _SPACES.sub(" ", text)
    text = _TEXT.sub(lambda match: f" {match[1]} ", text)
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    # \frac12, \frac{1}2 and \frac1{2} mean what \frac{1}{2} does.
    text = re.sub(r"\\frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))", _braced, text)
    text = re.sub(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree|°|\\?%|\\\$|\$", "", text)
    text = text.strip().rstrip(". ")
    match = _UNIT.search(text)
    unit = "".join(match[1].split()).rstrip("s") if match else ""
    text = "".join(_UNIT.sub("", text).split())
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text, unit


def _braced(match: re.Match[str]) -> str:
    above, below = match[1] or match[2] or "", match[3] or match[4] or ""
    return f"\\frac{{{above.strip()}}}{{{below.strip()}}}"


def _rational(text: str) -> Fraction | None:
    """The number that an answer, as `_parts` gives it, is; None if it is no rational number."""
    fraction = _FRACTION.fullmatch(text)
    try:
        if fraction:
            return Fraction(int(f"{fraction[1]}1") * int(fraction[2]), int(fraction[3]))
        # Without exponents: "1e9" is no answer, and "1e999999999" would take all memory.
        return Fraction(text) if re.fullmatch(r"[-+]?[\d./]+", text) else None
    except (ValueError, ZeroDivisionError):
        return None
