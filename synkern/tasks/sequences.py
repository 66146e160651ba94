"""Tasks of sequences: sorting numbers, copying letters, closing brackets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import ascii_lowercase

from synkern.tasks.draws import Draft, Draws

# By level, how many numbers, and of how many digits.
_NUMBERS = {1: (3, 1), 2: (5, 1), 3: (4, 2), 4: (6, 2), 5: (8, 2)}
# By level, how many letters.
_LETTERS = {1: 3, 2: 4, 3: 6, 4: 8, 5: 10}
# By level, how many brackets are left open, and how many pairs are closed before.
_BRACKETS = {1: (2, 1), 2: (2, 2), 3: (3, 2), 4: (4, 3), 5: (5, 4)}
_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}


def sorting(draws: Draws, level: int) -> Draft:
    """Make different numbers to sort, "Sort: 5 2 9 ->" and " 2 5 9"."""
    count, digits = _NUMBERS[level]
    all_numbers = range(10 ** (digits - 1) if digits > 1 else 0, 10**digits)
    given = draws.some(all_numbers, count)
    right = sorted(given)
    absent = [each for each in all_numbers if each not in given]
    place = draws.below(count)
    # A number that is not there, at the place that it would have.
    exchanged = sorted([*right[:place], draws.one(absent), *right[place + 1 :]])
    wrong: list[Sequence[object]] = [
        right[::-1],
        given,
        exchanged,
        *draws.shuffled([*_neighbours_swapped(right)]),
    ]
    return Draft(f"Sort:{_spaced(given)} ->", _spaced(right), _mixed(draws, wrong))


def copying(draws: Draws, level: int) -> Draft:
    """Make letters to copy, "Copy: k r b ->" and " k r b"."""
    right = [draws.one(ascii_lowercase) for _ in range(_LETTERS[level])]
    wrong: list[Sequence[object]] = [right[::-1], *_neighbours_swapped(right)]
    wrong += [_one_replaced(draws, right, ascii_lowercase) for _ in range(8)]
    return Draft(f"Copy:{_spaced(right)} ->", _spaced(right), _mixed(draws, wrong))


def brackets(draws: Draws, level: int) -> Draft:
    """Make brackets to close, "Close: ( [ { } ->" and " ] )"."""
    left_open, pairs = _BRACKETS[level]
    opens, closes = left_open + pairs, pairs
    written: list[str] = []
    stack: list[str] = []
    while opens + closes:
        if stack and draws.below(opens + closes) < closes:
            written.append(_CLOSING[stack.pop()])
            closes -= 1
        elif opens:
            stack.append(draws.one("([{<"))
            written.append(stack[-1])
            opens -= 1
    right = [_CLOSING[bracket] for bracket in reversed(stack)]
    wrong: list[Sequence[object]] = [right[::-1], *_neighbours_swapped(right), stack[::-1]]
    wrong += [_one_replaced(draws, right, ")]}>") for _ in range(8)]
    return Draft(f"Close:{_spaced(written)} ->", _spaced(right), _mixed(draws, wrong))


def _spaced(items: Sequence[object]) -> str:
    return "".join(f" {item}" for item in items)


def _mixed(draws: Draws, wrong: Sequence[Sequence[object]]) -> tuple[str, ...]:
    return tuple(draws.shuffled([_spaced(items) for items in wrong]))


def _neighbours_swapped(items: Sequence[object]) -> Iterator[list[object]]:
    for place in range(len(items) - 1):
        yield [*items[:place], items[place + 1], items[place], *items[place + 2 :]]


def _one_replaced(draws: Draws, items: Sequence[str], others: str) -> list[str]:
    place = draws.below(len(items))
    other = draws.one([each for each in others if each != items[place]])
    return [*items[:place], other, *items[place + 1 :]]
