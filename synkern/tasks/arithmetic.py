"""Tasks of sums: addition, subtraction, and chains of one to three steps."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence

from synkern.tasks.draws import Draft, Draws

_SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}

# By level, digits of the two numbers.
_DIGITS = {1: (1, 1), 2: (2, 1), 3: (2, 2), 4: (3, 2), 5: (3, 3)}
# By level, steps and digits of the numbers of a chain.
_CHAINS = {1: (1, 1), 2: (2, 1), 3: (3, 1), 4: (2, 2), 5: (3, 2)}


def addition(draws: Draws, level: int) -> Draft:
    """Make a sum, "12+7=" and "19"."""
    first, second = draws.shuffled([number(draws, digits) for digits in _DIGITS[level]])
    answer = first + second
    slips = [*number_slips(answer), _by_digit(first, second, 1), abs(first - second)]
    return Draft(f"{first}+{second}=", str(answer), wrong_numbers(draws, answer, slips))


def subtraction(draws: Draws, level: int) -> Draft:
    """Make a difference that is not negative, "12-7=" and "5"."""
    second, first = sorted(number(draws, digits) for digits in _DIGITS[level])
    answer = first - second
    slips = [*number_slips(answer), _by_digit(first, second, -1), first + second]
    return Draft(f"{first}-{second}=", str(answer), wrong_numbers(draws, answer, slips))


def chain(draws: Draws, level: int) -> Draft:
    """Make one to three steps, "3+4*2-5=" and "6".

    At most one is a product, a single step always; products come before sums. No beginning of the
    chain is negative.
    """
    steps, digits = _CHAINS[level]
    while True:
        signs = [draws.one("+-") for _ in range(steps)]
        product = draws.below(steps) if steps == 1 or draws.below(2) else None
        numbers = [number(draws, digits) for _ in range(steps + 1)]
        if product is not None:
            signs[product] = "*"
            numbers[product + 1] = draws.between(2, 9)
        on_the_way = [value(numbers[: end + 2], signs[: end + 1]) for end in range(steps)]
        if min(on_the_way) >= 0:
            break
    answer = on_the_way[-1]
    slips = [*number_slips(answer), _from_the_left(numbers, signs)]
    slips += on_the_way[:-1]  # the last step forgotten
    for step, sign in enumerate(signs):  # a step taken for another
        other = {"+": "-", "-": "+", "*": "+"}[sign]
        slips.append(value(numbers, [*signs[:step], other, *signs[step + 1 :]]))
    written = "".join(f"{sign}{each}" for sign, each in zip(["", *signs], numbers, strict=True))
    return Draft(f"{written}=", str(answer), wrong_numbers(draws, answer, slips))


def number(draws: Draws, digits: int) -> int:
    """A number of that many digits; 0 has one."""
    return draws.between(10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1)


def value(numbers: Sequence[int], signs: Sequence[str]) -> int:
    """What numbers joined by signs come to, products first."""
    terms = [numbers[0]]
    for sign, each in zip(signs, numbers[1:], strict=True):
        if sign == "*":
            terms[-1] *= each
        else:
            terms.append(each if sign == "+" else -each)
    return sum(terms)


def number_slips(answer: int) -> list[int]:
    """Wrong numbers as people make them: off by one or ten, two digits swapped."""
    return [answer - 10, answer - 1, answer + 1, answer + 10, *_swapped(answer)]


def wrong_numbers(draws: Draws, answer: int, slips: Sequence[int]) -> tuple[str, ...]:
    """Wrong answers: slips in random order, then numbers close by, all as long as the answer.

    A model that knows nothing of sums finds shorter numbers more likely, so that among choices of
    different lengths it would not be right by chance as often as their number says.
    """
    close = (answer + step * side for step in range(2, 30) for side in (1, -1))
    each = (slip for slip in (*draws.shuffled(slips), *close) if slip >= 0)
    return tuple(str(slip) for slip in each if len(str(slip)) == len(str(answer)))


def _from_the_left(numbers: Sequence[int], signs: Sequence[str]) -> int:
    """What comes out if products do not come first."""
    result = numbers[0]
    for sign, each in zip(signs, numbers[1:], strict=True):
        result = _SIGNS[sign](result, each)
    return result


def _swapped(answer: int) -> Iterator[int]:
    """The number with two neighbouring digits exchanged."""
    digits = str(answer)
    for place in range(len(digits) - 1):
        swapped = digits[:place] + digits[place + 1] + digits[place] + digits[place + 2 :]
        if swapped[0] != "0":
            yield int(swapped)


def _by_digit(first: int, second: int, sign: int) -> int:
    """Sum or difference of each pair of digits alone: what should be carried is forgotten."""
    result, place = 0, 1
    while first or second:
        result += abs(first % 10 + sign * (second % 10)) % 10 * place
        first, second, place = first // 10, second // 10, place * 10
    return result
