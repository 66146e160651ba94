"""Tasks from files that users have: JSON lines as MATH and GSM8K come in."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synkern.tasks.answers import last_boxed
from synkern.tasks.task import Task

_WANTED = 'a line is {"problem" or "question": text, "answer": text, "level": 1}'
_SHOWN = 5
_BLANK = "{problem}"


def read(path: str | os.PathLike[str], *, template: str = "{problem}\nAnswer:") -> tuple[Task, ...]:
    r"""Read tasks from JSON lines: one object a line, blank lines aside, UTF-8.

    MATH and GSM8K are understood as they are published:

    - "problem" or "question": the text.
    - "answer": text or a number; where "#### " is in it (GSM8K), what follows the last one. Without
      one, what the last \boxed{} of "solution" holds (MATH).
    - "level" (may be missing): a number, or "Level 3". "Level ?", which MATH has, is none.
    - "category", "type" or "subject" (may be missing): the category.
    - "distractors" (may be missing): a list of wrong answers.

    Args:
        path: of the file.
        template: of prompts, with {problem} where the text goes; what a model was taught to read
            around a user's turn can be written out here. Answers follow after one space, unless it
            ends with a space or a line break.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: there are lines that are no tasks, each told with its number and what to do, or
            no line at all, or the template has not one {problem}.
    """
    if template.count(_BLANK) != 1:
        raise ValueError(f"template must have {_BLANK} in it once; got {template!r}")
    found, wrong = [], []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            found.append(_task(_parsed(line), template))
        except ValueError as error:
            wrong.append(f"{os.fspath(path)}, line {number}: {error}")
    if wrong:
        more = f"\nand {len(wrong) - _SHOWN} more lines" if len(wrong) > _SHOWN else ""
        raise ValueError("\n".join(wrong[:_SHOWN]) + more)
    if not found:
        raise ValueError(f"path: {os.fspath(path)} has no line with a task; {_WANTED}")
    return tuple(found)


def _parsed(line: bytes) -> Mapping[str, Any]:
    try:
        made = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error.reason}); save the file as UTF-8") from error
    except (json.JSONDecodeError, RecursionError) as error:
        where = "brackets too deep"
        if isinstance(error, json.JSONDecodeError):
            where = f"{error.msg}, column {error.colno}"
        raise ValueError(
            f"not JSON ({where}); {_WANTED}, whole on one line: write an indented file or an "
            "array of objects out again, one object a line"
        ) from error
    if not isinstance(made, dict):
        raise ValueError(f"a {type(made).__name__}, not an object; {_WANTED}")
    return made


def _task(line: Mapping[str, Any], template: str) -> Task:
    gap = "" if template[-1].isspace() else " "
    prompt, answer = template.replace(_BLANK, _problem(line)), _answer(line)
    distractors = line.get("distractors", [])
    if not isinstance(distractors, list):
        raise ValueError(f'"distractors" is {distractors!r}; make it a list of texts')
    return Task(
        prompt,
        gap + answer,
        tuple(gap + _text("distractors", each) for each in distractors),
        _level(line.get("level")),
        _category(line),
    )


def _problem(line: Mapping[str, Any]) -> str:
    names = [name for name in ("problem", "question") if name in line]
    if len(names) != 1:
        raise ValueError(
            f'it has {"both" if names else "neither"} "problem" {"and" if names else "nor"} '
            f'"question" (it has {", ".join(map(repr, line)) or "nothing"}); give it one'
        )
    return _text(names[0], line[names[0]])


def _answer(line: Mapping[str, Any]) -> str:
    if line.get("answer") is not None:
        whole = _text("answer", line["answer"])
        _, mark, last = whole.rpartition("####")
        if mark and not last.strip():
            raise ValueError('"answer" ends with "####" and no answer after it; write "#### 42"')
        return last.strip()
    if line.get("solution") is None:
        raise ValueError('it has no "answer", and no "solution" with a \\boxed{} one; give it one')
    boxed = last_boxed(_text("solution", line["solution"]))
    if not boxed:
        raise ValueError('"solution" has no \\boxed{answer} in it; add one, or give "answer"')
    return boxed


def _level(level: Any) -> int | None:
    if level in (None, "Level ?"):
        return None
    match = re.fullmatch(r"(?:Level )?([1-9]\d{0,2})", str(level).strip())
    if match is None or isinstance(level, bool):
        raise ValueError(f'"level" is {level!r}; make it a number from 1, or "Level 3"')
    return int(match[1])


def _category(line: Mapping[str, Any]) -> str:
    name = next((name for name in ("category", "type", "subject") if name in line), None)
    return "" if name is None else _text(name, line[name])


def _text(name: str, value: Any) -> str:
    """A text that is not empty; of an answer, a number is as good."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and name in ("answer", "distractors"):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'"{name}" is {value!r}; make it a text that is not empty')
    return value.strip()
