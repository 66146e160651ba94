"""A file of parts: what is done is there again, whatever has cut it short."""

import numpy as np
import pytest

from synkern.interventions.kept import Kept, packed, unpacked

OF = {"tasks": "abc", "scores": [0.1, 1 / 3], "seed": 0}


def test_parts_are_there_again(tmp_path):
    file = tmp_path / "deeper" / "parts.jsonl"
    first = Kept(file, OF)
    first.add("one", {"right": "ff"})
    first.add("two", [1, 2])
    again = Kept(file, OF)
    assert [*again] == ["one", "two"]
    assert again["two"] == [1, 2]
    assert "three" not in again
    assert len(again) == 2


def test_a_file_cut_anywhere_has_the_parts_that_are_whole(tmp_path):
    whole = tmp_path / "whole.jsonl"
    kept = Kept(whole, OF)
    head = whole.stat().st_size
    kept.add("one", "é")
    between = whole.stat().st_size
    kept.add("two", 2)
    text = whole.read_bytes()
    for end in range(head, len(text) + 1):
        file = tmp_path / "cut.jsonl"
        file.write_bytes(text[:end])
        cut = Kept(file, OF)
        assert [*cut] == ["one"] * (end >= between) + ["two"] * (end == len(text))
        cut.add("three", 3)
        assert [*Kept(file, OF)] == [*cut]


def test_without_a_file_parts_are_kept_in_memory():
    kept = Kept(None, OF)
    kept.add("one", 1)
    assert kept["one"] == 1


def test_a_file_of_something_else_is_refused_by_what_differs(tmp_path):
    file = tmp_path / "parts.jsonl"
    Kept(file, OF).add("one", 1)
    with pytest.raises(ValueError, match="begun with other tasks, seed; name another file"):
        Kept(file, OF | {"tasks": "abd", "seed": 1})
    for text in ("no JSON at all\n", "[1, 2]\n", "no line", '{"synkern": 1}\n'):
        file.write_text(text)
        with pytest.raises(ValueError, match="is no file of parts"):
            Kept(file, OF)
        assert file.read_text() == text


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_truth_values_packed_are_the_same(rng, count):
    right = rng.random(count) < 0.5
    assert unpacked(packed(right), count).tolist() == right.tolist()
    assert unpacked(packed(right), count).dtype == np.bool_
