"""The prompts of a study: the built-in sixty, or a file of the user's own."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

_FORMATS = 'a JSON object {"category": ["prompt", ...], ...} or plain text with one prompt per line'
# Far beyond any study; keeps an endless device, such as /dev/zero, from filling the memory.
_MOST_BYTES = 2**28
# Not str.splitlines: that also breaks at form feeds and at the line and paragraph separators of
# Unicode, which may stand inside a prompt.
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Prompt:
    """One prompt: what is asked, and the category it belongs to ("" where a file names none)."""

    category: str
    text: str


def load_prompts(source: str | Path | Sequence[str] | None = None) -> tuple[Prompt, ...]:
    """The prompts of a study, in the order given.

    Args:
        source: a list of strings, or the path of a file, pipes included: a `.json` file holds
            `{"category": ["prompt", ...], ...}`, any other is plain UTF-8 text with one prompt per
            line (blank lines are skipped; lines end in \\n, \\r\\n or \\r, no other character). A
            pipe has no name that tells: what is a JSON object as a whole is read as one. Prompts
            without a category get "". None reads the built-in prompts: ten in each of six
            categories.

    Raises:
        OSError: there is no such file, or it cannot be read.
        TypeError: something in the list is not a string.
        ValueError: the file is not UTF-8, too large, not one of the two formats, has no prompt, an
            empty one, one that is no text (half a surrogate pair), or the same one twice (a
            repeated prompt is not a second observation: it would make the confidence intervals of
            a study too narrow).
    """
    if source is None:
        builtin = resources.files("synkern.study").joinpath("prompts.json")
        return _from_json(builtin.read_text(encoding="utf-8"), "the built-in prompts")
    if not isinstance(source, str | Path):
        for position, text in enumerate(source):
            if not isinstance(text, str):
                raise TypeError(f"prompts: prompt {position} is {text!r}; give strings")
        return _checked([Prompt("", text) for text in source], "the list given")
    file = Path(source)
    content = _read(source)
    if file.suffix.lower() == ".json" or (not file.is_file() and _is_json_object(content)):
        return _from_json(content, repr(str(file)))
    lines = [line.strip() for line in _LINE_END.split(content)]
    return _checked([Prompt("", line) for line in lines if line], repr(str(file)))


def _read(source: str | Path) -> str:
    """The text of a file or a pipe."""
    if source == "" or "\0" in str(source):
        raise FileNotFoundError(f"prompts: {str(source)!r} is no name of a file; give {_FORMATS}")
    file = Path(source)
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"prompts: there is no file {str(file)!r}; give {_FORMATS}"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise type(error)(
            f"prompts: {str(file)!r} cannot be read ({reason}); give {_FORMATS}"
        ) from error
    if len(data) > _MOST_BYTES:
        raise ValueError(
            f"prompts: {str(file)!r} has more than {_MOST_BYTES:,} bytes; give fewer prompts"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"prompts: {str(file)!r} is not UTF-8 text ({error.reason} at byte {error.start}); "
            "save it as UTF-8"
        ) from None


def _is_json_object(content: str) -> bool:
    if not content.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False


def _from_json(content: str, source: str) -> tuple[Prompt, ...]:
    def without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
        # json.loads keeps the last of two equal keys and would lose the first one's prompts.
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"prompts: {source} names {name!r} twice; join the two lists")
        return dict(pairs)

    try:
        data = json.loads(content, object_pairs_hook=without_repeats)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"prompts: {source} is not valid JSON: {error.msg} at line {error.lineno}, "
            f"column {error.colno}; give {_FORMATS}"
        ) from None
    except RecursionError:
        raise ValueError(f"prompts: {source} is nested too deeply; give {_FORMATS}") from None
    if not isinstance(data, dict):
        raise ValueError(
            f"prompts: {source} holds a JSON {type(data).__name__} at the top; give {_FORMATS}"
        )
    prompts: list[Prompt] = []
    for category, texts in data.items():
        if not isinstance(texts, list):
            raise ValueError(
                f"prompts: category {category!r} of {source} is a {type(texts).__name__}; "
                "give a list of strings"
            )
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(
                    f"prompts: prompt {position} of category {category!r} of {source} is "
                    f"{text!r}; give a string"
                )
            prompts.append(Prompt(category, text))
    return _checked(prompts, source)


def _checked(prompts: list[Prompt], source: str) -> tuple[Prompt, ...]:
    if not prompts:
        raise ValueError(f"prompts: {source} holds no prompt; give {_FORMATS}")
    first_seen: dict[str, int] = {}
    for position, prompt in enumerate(prompts):
        if not prompt.text.strip():
            raise ValueError(
                f"prompts: prompt {position} of {source} is empty; remove it or write one"
            )
        _refuse_surrogates(f"prompt {position} of {source}", prompt.text)
        _refuse_surrogates(f"the category of prompt {position} of {source}", prompt.category)
        earlier = first_seen.setdefault(prompt.text, position)
        if earlier != position:
            raise ValueError(
                f"prompts: prompts {earlier} and {position} of {source} are the same "
                f"({prompt.text!r}); remove one"
            )
    return tuple(prompts)


def _refuse_surrogates(what: str, text: str) -> None:
    """JSON can write half a character, which is no text and which no tokenizer or file takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(
            f"prompts: {what} holds {half!a} at character {error.start}, half of a surrogate pair "
            f"and no text ({text!a}); write the whole character"
        ) from None
