import os
import threading
from collections import Counter

import pytest

from synkern.study.prompts import Prompt, load_prompts


def test_the_built_in_prompts_are_ten_in_each_of_six_categories():
    prompts = load_prompts()
    counts = Counter(prompt.category for prompt in prompts)
    assert len(counts) == 6
    assert set(counts.values()) == {10}
    assert len({prompt.text for prompt in prompts}) == 60
    assert all(prompt.text == prompt.text.strip() for prompt in prompts)
    # Phrases are no parts of speech.
    tagging = [prompt.text for prompt in prompts if prompt.category == "part-of-speech tagging"]
    assert not any("phrase" in text for text in tagging)


def test_json_keeps_categories_and_order(tmp_path):
    file = tmp_path / "p.json"
    file.write_text('{"b": ["two", "three"], "a": ["one"]}', encoding="utf-8")
    assert load_prompts(file) == (Prompt("b", "two"), Prompt("b", "three"), Prompt("a", "one"))


def test_text_is_one_prompt_per_line(tmp_path):
    file = tmp_path / "p.txt"
    file.write_bytes("\ufeffWas ist Föhn?\r\n\r\n  why?  \n".encode())
    assert load_prompts(str(file)) == (Prompt("", "Was ist Föhn?"), Prompt("", "why?"))


def test_a_list_is_taken_as_it_is():
    assert load_prompts(["a", "b"]) == (Prompt("", "a"), Prompt("", "b"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON.*line 1, column 2"),
        ('["a"]', "JSON list at the top"),
        ('{"a": "b"}', "'a' of .* is a str"),
        ('{"a": ["b", 3]}', "prompt 1 of category 'a' of .* is 3"),
        ('{"a": ["b"], "a": ["c"]}', "names 'a' twice"),
        ('{"a": []}', "holds no prompt"),
        ('{"a": ["b", " "]}', "prompt 1 .* is empty"),
        ('{"a": ["b"], "c": ["d", "b"]}', "prompts 0 and 2 .* are the same"),
    ],
)
def test_a_bad_json_file_is_explained(tmp_path, content, message):
    file = tmp_path / "p.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_prompts(file)


def test_other_bad_sources_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.txt"):
        load_prompts(tmp_path / "absent.txt")
    latin = tmp_path / "latin.txt"
    latin.write_bytes("Föhn".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8.*byte 1"):
        load_prompts(latin)
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(ValueError, match="holds no prompt"):
        load_prompts(tmp_path / "empty.txt")
    with pytest.raises(TypeError, match="prompt 1 is 2"):
        load_prompts(["a", 2])
    with pytest.raises(ValueError, match="prompts 0 and 1 of the list"):
        load_prompts(["a", "a"])


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_only_line_ends_part_prompts(tmp_path, inside):
    file = tmp_path / "p.txt"
    file.write_bytes(f"one{inside}line\nsecond\rthird\r\nfourth".encode())
    texts = [prompt.text for prompt in load_prompts(file)]
    assert texts == [f"one{inside}line", "second", "third", "fourth"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("why?\n{how}\n", [("", "why?"), ("", "{how}")]),
        ('{"a": ["why?"],\n "b": ["how"]}', [("a", "why?"), ("b", "how")]),
        ("{not json}\nhow", [("", "{not json}"), ("", "how")]),
    ],
)
def test_prompts_come_through_a_pipe(tmp_path, content, expected):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(content,))
    writer.start()
    assert [(p.category, p.text) for p in load_prompts(pipe)] == expected
    writer.join()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": ["b", "c \\ud800"]}', r"prompt 1 of .*p\.json' holds '\\ud800' at character 2"),
        ('{"\\udfff": ["b"]}', r"the category of prompt 0 of .* holds '\\udfff'"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a": [' + "9" * 5000 + "]}", "integer string conversion"),
    ],
)
def test_json_that_is_no_text_is_explained(tmp_path, content, message):
    file = tmp_path / "p.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as refused:
        load_prompts(file)
    str(refused.value).encode("utf-8")  # what is said of it can be printed


def test_half_a_character_in_a_list_is_refused():
    with pytest.raises(ValueError, match=r"prompt 1 of the list given holds '\\udc41'"):
        load_prompts(["a", "b\udc41"])


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("", FileNotFoundError, "'' is no name of a file"),
        ("a\0b", FileNotFoundError, r"'a\\x00b' is no name of a file"),
        ("/", IsADirectoryError, r"'/' cannot be read \(Is a directory\)"),
        ("x" * 300, OSError, "cannot be read .*too long"),
        ("/dev/zero", ValueError, "more than 1,000 bytes"),
    ],
)
def test_what_is_no_file_of_prompts_is_explained(source, error, message, monkeypatch):
    monkeypatch.setattr("synkern.study.prompts._MOST_BYTES", 1000)
    with pytest.raises(error, match=message):
        load_prompts(source)
