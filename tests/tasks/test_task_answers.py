"""Finding answers in texts, and telling whether two are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synkern.tasks import Task, found_answer, same_answer

FREE = Task("What is it? Answer:", " 7", (), None, "algebra")
WORDS = Task("What is it? Answer:", " x + 1", (), None, "algebra")
SUM = Task("3+4=", "7", (), 1, "addition")
LINE = Task("Sort: 2 1 ->", " 1 2", (), 1, "sorting")
VERB = Task("Choose is or are: The key", " is", (), 1, "agreement")


@pytest.mark.parametrize(
    ("text", "task", "answer"),
    [
        (r"So 3 apples, that is \boxed{42}, not 5.", FREE, "42"),
        (r"\boxed{1} or rather \boxed{\frac{1}{2}}", FREE, r"\frac{1}{2}"),
        (r"\fbox{\{1, 2\}}", FREE, r"\{1, 2\}"),
        (r"\boxed{42", FREE, "42"),  # not closed: the last number
        ("He has 3. Then 1,234.50 dollars.", FREE, "1,234.50"),
        ("It is -3", FREE, "-3"),
        ("5-3", FREE, "3"),
        ("(2)-3", FREE, "3"),
        ("It is −3", FREE, "−3"),  # a true minus
        ("x=.5", FREE, ".5"),
        ("It is 3/4.", FREE, "3/4"),
        ("The numbers 1,2,3", FREE, "3"),
        ("in 1234,567", FREE, "567"),
        ("none", FREE, None),
        ("", FREE, None),
        (" x + 1 \n", WORDS, "x + 1"),
        (" x+1 for x=3", WORDS, "x+1 for x=3"),
        ("", WORDS, None),
        ("7\n8+1=9", SUM, "7"),
        ("\n 3+4 is 7", SUM, "7"),
        ("seven\n8", SUM, None),
        (" 1 2 \nSort", LINE, "1 2"),
        ("  ", LINE, None),
        (" is, of course", VERB, "is"),
        ("...", VERB, None),
    ],
)
def test_the_answer_is_found(text, task, answer):
    assert found_answer(text, task) == answer


SAME = [
    ("7", " 7 "),
    ("7.", "7"),
    ("7.0", "7"),
    ("1,234", "1234"),
    ("-1,234,567.5", "-1234567.50"),
    ("$5", "5"),
    (r"\$3.50", "3.5"),
    ("$x+1$", "x + 1"),
    (r"\frac{1}{2}", "1/2"),
    (r"\dfrac12", "0.5"),
    (r"\tfrac{1}2", r"\frac1{2}"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    (r"\frac{1}{-2}", "-.5"),
    (r"\frac{2}{4}", r"\frac{1}{2}"),
    (r"\left(1,\,2\right)", "(1, 2)"),
    (r"90^\circ", "90"),
    (r"90^{\circ}", "90°"),
    (r"50\%", "50"),
    ("5 cm", "5"),
    (r"5\text{ cm}", "5"),
    (r"5\mbox{ cm}^2", "5"),
    ("60 miles per hour", "60"),
    ("5 hours", "5 hour"),
    (r"\text{Friday}", "Friday"),
    (r"x \le 3", r"x\le 3"),  # \le is not \left
    ("−3", "-3"),
]

OTHER = [
    ("7", "-7"),
    ("7", "70"),
    ("1/2", "2/1"),
    ("5 hours", "5 minutes"),
    ("5m", "5"),
    ("5 million", "5"),
    ("(1,234)", "(1234)"),  # a pair
    ("12,34", "1234"),
    (r"\text{Friday}", "Monday"),
    ("1e5", "100000"),
    ("1/0", "0"),
    ("x", "X"),
    (r"2\pi", "2"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_ways_to_write_the_same(one, other):
    assert same_answer(one, other, FREE)
    assert same_answer(other, one, FREE)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_is_not_the_same(one, other):
    assert not same_answer(one, other, FREE)
    assert not same_answer(other, one, FREE)


@pytest.mark.parametrize("answer", [other for pair in SAME + OTHER for other in pair])
def test_an_answer_is_the_same_as_itself(answer):
    assert same_answer(answer, answer, FREE)


@pytest.mark.parametrize(
    ("given", "same"),
    [("1 2", True), ("1,2.", True), (" 1,  2", True), ("12", False), ("2 1", False), ("", False)],
)
def test_lines_are_the_same_item_by_item(given, same):
    assert same_answer(given, LINE.answer, LINE) == same


def test_a_number_too_large_for_memory_is_a_text():
    assert not same_answer("1e999999999", "10", FREE)


# Pieces of which what models write is made, to come upon what the rules do not foresee.
PIECES = ["\\frac", "\\boxed{", "{", "}", "\\text{", "-", "−", "1", "23", ",", "456", ".", "/", "$"]
PIECES += ["%", " ", "\n", "cm", " m", "^2", "\\left(", ")", "x", "#### ", "0", "\\", "per"]


@given(texts := st.lists(st.sampled_from(PIECES), max_size=12).map("".join), texts)
def test_any_texts_can_be_compared(one, other):
    assert same_answer(one, one, FREE)
    assert same_answer(one, other, FREE) == same_answer(other, one, FREE)
    for task in (FREE, WORDS, SUM, LINE, VERB):
        answer = found_answer(one, task)
        assert answer is None or answer in one
