"""Series of recordings in a file."""

import errno

import numpy as np
import pytest
import torch

import synkern
from support import tiny_study
from support.recordings import STEPS
from support.tiny_models import generate, prompts
from synkern import _memory
from synkern.models.language_model import load
from synkern.recording import RecordingError, record, record_answers, replay
from synkern.recording.store import Store

IDS = [prompts(2, 5, 1), prompts(3, 6, 2)]
PROMPTS = ["the cat sat", "why is it blue on a big mat", "the big cat"]


def recorded(model, **options):
    with record(model, **options) as recording:
        for ids in IDS:
            generate(model, ids, STEPS)
    return recording


def test_a_recording_in_a_file_is_that_in_memory(model, tmp_path):
    expected = recorded(model)
    found = recorded(model, store=tmp_path / "series.npy")
    assert torch.equal(found.series, expected.series)
    assert torch.equal(found.lengths, expected.lengths)
    assert found.series.dtype == torch.float32
    np.testing.assert_array_equal(np.load(tmp_path / "series.npy"), expected.series)
    assert [path.name for path in tmp_path.iterdir()] == ["series.npy"]
    assert torch.equal(found.of("heads").series, expected.series)
    with pytest.warns(UserWarning, match="11 samples"):
        one, other = synkern.phiid(found), synkern.phiid(expected)
    np.testing.assert_array_equal(one["sts"], other["sts"])


def test_what_is_written_to_the_series_stays_out_of_the_file(model, tmp_path):
    found = recorded(model, store=tmp_path / "series.npy")
    before = found.series.clone()
    found.series[:] = 0
    np.testing.assert_array_equal(np.load(tmp_path / "series.npy"), before)


def test_a_replay_in_a_file(model, tmp_path):
    sequences = generate(model, IDS[0], STEPS)
    options = {"new_tokens": STEPS, "attention_mask": torch.ones_like(sequences)}
    expected = replay(model, sequences, **options)
    found = replay(model, sequences, store=tmp_path / "series.npy", **options)
    assert torch.equal(found.series, expected.series)
    np.testing.assert_array_equal(np.load(tmp_path / "series.npy"), expected.series)
    with pytest.raises(FileExistsError, match=r"remove it, or name another: '.*series.npy'"):
        replay(model, sequences, store=tmp_path / "series.npy", **options)


def test_answers_in_a_file(tmp_path):
    loaded = load(tiny_study.save_model(tmp_path))
    seen = []
    options = {"new_tokens": 4, "batch_size": 2, "batch_done": seen.append}
    expected = record_answers(*loaded, PROMPTS, **options)
    found = record_answers(*loaded, PROMPTS, store=tmp_path / "series.npy", **options)
    assert isinstance(found.series, np.memmap)
    np.testing.assert_array_equal(found.series, expected.series)
    np.testing.assert_array_equal(np.concatenate(seen[2:]), expected.series)
    np.testing.assert_array_equal(found.tokens, expected.tokens)


@pytest.mark.parametrize("name", ["series.npy", "a link.npy"])
def test_a_file_that_is_there_is_refused_before_the_work(model, tmp_path, name):
    (tmp_path / "series.npy").write_text("precious")
    (tmp_path / "a link.npy").symlink_to("nowhere")
    with (
        pytest.raises(FileExistsError, match="something at this path already; remove it"),
        record(model, store=tmp_path / name),
    ):
        raise AssertionError("not reached")
    assert (tmp_path / "series.npy").read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_comes_to_be_meanwhile_stays(model, tmp_path):
    def interfered():
        with record(model, store=tmp_path / "series.npy"):
            generate(model, IDS[0], STEPS)
            (tmp_path / "series.npy").write_text("precious")

    with pytest.raises(FileExistsError):
        interfered()
    assert (tmp_path / "series.npy").read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_that_is_none_of_such_a_file(model, tmp_path):
    for name, error, message in (
        ("series.dat", ValueError, "does not end in .npy"),
        ("no folder/series.npy", FileNotFoundError, "no folder"),
    ):
        with pytest.raises(error, match=message), record(model, store=tmp_path / name):
            raise AssertionError("not reached")


def test_an_interruption_leaves_nothing(model, tmp_path):
    def interrupted():
        with record(model, store=tmp_path / "series.npy"):
            generate(model, IDS[0], STEPS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_leaves_cannot_be_read(tmp_path):
    store = Store(tmp_path / "series.npy")
    store.add(torch.ones(2, 3, 4))
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".series.npy.")
    with pytest.raises(ValueError, match=r"pickle|magic"):
        np.load(left)
    store.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_texts_of_other_lengths_are_refused(model, tmp_path):
    def uneven():
        with record(model, store=tmp_path / "series.npy"):
            generate(model, IDS[0], STEPS)
            generate(model, IDS[1], STEPS - 1)

    with pytest.raises(RecordingError, match=f"texts of {STEPS} and of {STEPS - 1} steps do not"):
        uneven()
    assert list(tmp_path.iterdir()) == []


class Full:
    """A file on a disk that has room for so many bytes more."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, content):
        if not self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        some = content[: self._room]
        self._room -= len(some)
        return self._file.write(some)


def test_a_full_disk_is_said(tmp_path):
    with Store(tmp_path / "series.npy") as store:
        store.add(torch.ones(1, 3, 4))
        store._file = Full(store._file, 100)
        with pytest.raises(OSError, match="the disk is full after 3 texts.*make room") as info:
            store.add(torch.ones(4, 3, 4))
        assert info.value.errno == errno.ENOSPC
        store._file._room = 10**6
        store.add(2 * torch.ones(1, 3, 4))  # Of the text that did not fit nothing is left.
        store.finish()
    np.testing.assert_array_equal(np.load(tmp_path / "series.npy")[:, 0, 0], [1, 2])


def test_trials_that_are_taken_back(tmp_path):
    with Store(tmp_path / "series.npy") as store:
        for value in (1.0, 2.0, 3.0):
            store.add(torch.full((1, 3, 4), value))
            if value == 2:
                store.cut(1)
        store.finish()
        assert store.mapped()[:, 0, 0].tolist() == [1, 3]


@pytest.fixture
def little(monkeypatch):
    """100 bytes are free, and asked for however little is needed."""
    monkeypatch.setattr(_memory, "_UNASKED", 0)
    monkeypatch.setattr(_memory, "_host", lambda: iter([100]))


@pytest.mark.usefixtures("little")
def test_series_that_do_not_fit_are_refused_before_they_are_formed(model):
    with pytest.raises(MemoryError, match="the series of 9 nodes take .* take store='PATH.npy'"):
        recorded(model)
    sequences = generate(model, IDS[0], STEPS)
    with pytest.raises(MemoryError, match="take store='PATH.npy'"):
        replay(model, sequences, new_tokens=STEPS, attention_mask=torch.ones_like(sequences))


def test_batches_that_do_not_fit_once_more(model, monkeypatch, tmp_path):
    found = recorded(model)
    stored = recorded(model, store=tmp_path / "series.npy")
    monkeypatch.setattr(_memory, "_UNASKED", 0)
    monkeypatch.setattr(_memory, "_host", lambda: iter([100]))
    with pytest.raises(MemoryError, match="as one array take"):
        _ = found.series
    assert stored.series.shape == (5, STEPS, 9)
