"""JSON lines of tasks, as MATH and GSM8K have them, and lines that are none."""

import json
import re

import pytest

from synkern.tasks import Task, read


@pytest.fixture
def file(tmp_path):
    """Writes lines, given as objects or as they are, to a file."""

    def write(*lines):
        path = tmp_path / "tasks.jsonl"
        encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        path.write_bytes(b"\n".join(encoded))
        return path

    return write


def test_math(file):
    line = {
        "problem": "What is $\\frac{2}{4}$?\n",
        "level": "Level 3",
        "type": "Prealgebra",
        "solution": "It is \\boxed{3}, no, \\boxed{\\frac{1}{2}}.",
    }
    path = file(line, line | {"level": "Level ?"}, line | {"answer": "0.5", "subject": "x"})
    first, second, third = read(path)
    prompt = "What is $\\frac{2}{4}$?\nAnswer:"
    assert first == Task(prompt, " \\frac{1}{2}", (), 3, "Prealgebra")
    assert second.level is None
    assert third.answer == " 0.5"


def test_gsm8k(file):
    (task,) = read(file({"question": "How many?", "answer": "2*3=<<2*3=6>>6\n#### 1,006"}, b""))
    assert task == Task("How many?\nAnswer:", " 1,006", (), None, "")


def test_lines_of_ones_own(file):
    path = file(
        {"problem": "1+1?", "answer": 2, "level": 1, "category": "sums", "distractors": [3, "4"]},
        b"  \r",
        b"\xef\xbb\xbf" + b'{"question": "\xc3\xa4?", "answer": "b", "level": "2"}\r',
    )
    assert read(path, template="Q: {problem}\n") == (
        Task("Q: 1+1?\n", "2", ("3", "4"), 1, "sums"),
        Task("Q: ä?\n", "b", (), 2, ""),
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "not JSON"),
        (b"[1]", "a list, not an object"),
        (b"\xff{}", "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
        ({}, 'neither "problem" nor "question" (it has nothing); give it one'),
        ({"Problem": "?"}, "(it has 'Problem')"),
        ({"problem": "?", "question": "?", "answer": "1"}, 'both "problem" and "question"'),
        ({"problem": "", "answer": "1"}, "\"problem\" is ''; make it a text"),
        ({"problem": 3, "answer": "1"}, '"problem" is 3; make it a text'),
        ({"problem": "?"}, 'no "answer", and no "solution"'),
        ({"problem": "?", "answer": None}, 'no "answer", and no "solution"'),
        ({"problem": "?", "answer": True}, '"answer" is True'),
        ({"problem": "?", "answer": ["1"]}, "\"answer\" is ['1']"),
        ({"problem": "?", "answer": "so 3 ####  "}, 'write "#### 42"'),
        ({"problem": "?", "solution": "It is 3."}, "has no \\boxed{answer}"),
        ({"problem": "?", "solution": "\\boxed{3"}, "has no \\boxed{answer}"),
        ({"problem": "?", "answer": "1", "level": "hard"}, "\"level\" is 'hard'; make it a number"),
        ({"problem": "?", "answer": "1", "level": 0}, '"level" is 0'),
        ({"problem": "?", "answer": "1", "level": 1.5}, '"level" is 1.5'),
        ({"problem": "?", "answer": "1", "level": True}, '"level" is True'),
        ({"problem": "?", "answer": "1", "type": ""}, "\"type\" is ''"),
        ({"problem": "?", "answer": "1", "distractors": "2"}, "\"distractors\" is '2'"),
        ({"problem": "?", "answer": "1", "distractors": ["1"]}, "'1' is a choice twice"),
    ],
)
def test_a_bad_line_is_refused_with_its_place(file, line, said):
    path = file({"problem": "?", "answer": "1"}, b"", line)
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")


def test_all_bad_lines_are_told_of_up_to_five(file):
    with pytest.raises(ValueError, match="and 2 more lines") as caught:
        read(file(*[b"{"] * 7))
    assert re.findall(r"line (\d)", str(caught.value)) == list("12345")


def test_what_is_no_file_of_tasks(file, tmp_path):
    with pytest.raises(ValueError, match="has no line with a task"):
        read(file(b""))
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match=re.escape("template must have {problem} in it once")):
        read(file({"problem": "?", "answer": "1"}), template="{question}")
