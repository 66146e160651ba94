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
_UNITS = (
    "mm cm m km inch inches in ft foot feet yard yards mile miles degree degrees percent dollar "
    "dollars cent cents second seconds minute minutes hour hours day days week weeks month months "
    "year years unit units gram grams kg meter meters point points mph square cubic sq"
).split()
_UNIT = re.compile(rf"(?<=[\d}}])\s*(?:per\s+|(?:{'|'.join(_UNITS)})\b\.?(?:\^\{{?[23]\}}?)?\s*)+$")
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
        if _rational(task.answer) is None:
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
    \left and \right, degrees and per cent, common units after a number and a full stop; fractions
    however they are written; thousands with or without commas. Lines and words: with commas taken
    for spaces, of which many are as good as one, and without a full stop.
    """
    if _FORMS.get(task.category) in ("line", "word"):
        ours, theirs = (each.replace(",", " ").rstrip(". ").split() for each in (one, other))
        return ours == theirs
    left, right = normalised(one), normalised(other)
    numbers = _rational(left), _rational(right)
    return left == right or (None not in numbers and numbers[0] == numbers[1])


def normalised(answer: str) -> str:
    """An answer in one way of writing, see `same_answer`."""
    text = answer.strip().strip("$").replace("−", "-")
    text = re.sub(r"\\(?:left|right)(?![a-z])", "", text)
    text = _SPACES.sub(" ", text)
    text = _TEXT.sub(lambda match: f" {match[1]} ", text)
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    # \frac12, \frac{1}2 and \frac1{2} mean what \frac{1}{2} does.
    text = re.sub(r"\\frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))", _braced, text)
    text = re.sub(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree|°|\\?%|\\\$|\$", "", text)
    text = _UNIT.sub("", text.strip().rstrip("."))
    text = "".join(text.split())
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def _braced(match: re.Match[str]) -> str:
    above, below = match[1] or match[2] or "", match[3] or match[4] or ""
    return f"\\frac{{{above.strip()}}}{{{below.strip()}}}"


def _rational(answer: str) -> Fraction | None:
    """The number that an answer is; None if it is none, or not a rational one."""
    text = normalised(answer)
    fraction = _FRACTION.fullmatch(text)
    try:
        if fraction:
            return Fraction(int(f"{fraction[1]}1") * int(fraction[2]), int(fraction[3]))
        # Without exponents: "1e9" is no answer, and "1e999999999" would take all memory.
        return Fraction(text) if re.fullmatch(r"[-+]?[\d./]+", text) else None
    except (ValueError, ZeroDivisionError):
        return None
