"""Series of recordings in a file, or in zarr."""

import errno
import sys

import numpy as np
import pytest
import torch

import synkern
from support import tiny_study
from support.blocks import same
from support.recordings import STEPS
from support.tiny_models import generate, prompts
from synkern import _memory
from synkern.models.language_model import load
from synkern.recording import RecordingError, read_answers, record, record_answers, replay
from synkern.recording.store import chunk_nodes, store_at
from synkern.scale.columns import given

IDS = [prompts(2, 5, 1), prompts(3, 6, 2)]
PROMPTS = ["the cat sat", "why is it blue on a big mat", "the big cat"]


@pytest.fixture(params=["series.npy", "series.zarr"])
def path(request, tmp_path):
    """Where series are to be, alone in a folder."""
    if request.param.endswith("zarr"):
        pytest.importorskip("zarr")
    return tmp_path / request.param


@pytest.fixture
def folder(tmp_path):
    """Of a zarr array, alone in a folder."""
    pytest.importorskip("zarr")
    return tmp_path / "series.zarr"


def read(path):
    """What another process finds there."""
    if path.suffix == ".npy":
        return np.load(path)
    return pytest.importorskip("zarr").open_array(path, mode="r")[:]


def recorded(model, **options):
    with record(model, **options) as recording:
        for ids in IDS:
            generate(model, ids, STEPS)
    return recording


def test_a_recording_in_a_file_is_that_in_memory(model, path):
    expected = recorded(model)
    found = recorded(model, store=path)
    assert repr(found) == repr(expected).replace("(2, 12, 9), (3, 12, 9)", "(5, 12, 9)")
    assert torch.equal(found.series, expected.series)
    assert torch.equal(found.lengths, expected.lengths)
    assert found.series.dtype == torch.float32
    np.testing.assert_array_equal(read(path), expected.series)
    assert list(path.parent.iterdir()) == [path]
    assert torch.equal(found.of("heads").series, expected.series)
    with pytest.warns(UserWarning, match="11 samples"):
        one, other = synkern.phiid(found), synkern.phiid(expected)
    np.testing.assert_array_equal(one["sts"], other["sts"])


def test_kinds_of_a_recording_in_a_file(model, path):
    options = {"nodes": ("heads", "mlps", "layers")}
    expected, found = recorded(model, **options), recorded(model, store=path, **options)
    for kind in options["nodes"]:
        assert torch.equal(found.of(kind).series, expected.of(kind).series)
    assert torch.equal(found.of("layers").of("layers").series, expected.of("layers").series)


def test_what_is_written_to_the_series_stays_out_of_the_file(model, path):
    found = recorded(model, store=path)
    before = found.series.clone()
    found.series[:] = 0
    assert not found.series.any()
    np.testing.assert_array_equal(read(path), before)


def test_a_replay_in_a_file(model, path):
    sequences = generate(model, IDS[0], STEPS)
    options = {"new_tokens": STEPS, "attention_mask": torch.ones_like(sequences)}
    expected = replay(model, sequences, **options)
    found = replay(model, sequences, store=path, **options)
    assert torch.equal(found.series, expected.series)
    np.testing.assert_array_equal(read(path), expected.series)
    with pytest.raises(FileExistsError, match=rf"remove it, or name another: '.*{path.name}'"):
        replay(model, sequences, store=path, **options)


def test_answers_in_a_file(tmp_path, path):
    loaded = load(tiny_study.save_model(tmp_path))
    seen = []
    options = {"new_tokens": 4, "batch_size": 2, "batch_done": seen.append}
    expected = record_answers(*loaded, PROMPTS, **options)
    found = record_answers(*loaded, PROMPTS, store=path, **options)
    assert isinstance(found.series, np.memmap) == (path.suffix == ".npy")
    np.testing.assert_array_equal(found.series, expected.series)
    np.testing.assert_array_equal(np.concatenate(seen[2:]), expected.series)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    assert repr(expected).startswith(f"Answers(series={expected.series!r}, nodes=(Node(")
    model, tokenizer = loaded
    options = {"batch_size": 2, "store": path.with_stem("again")}
    again = read_answers(model, tokenizer, found.inputs, found.tokens, **options)
    np.testing.assert_allclose(again.series, expected.series, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["series.npy", "a link.npy", "series.zarr", "a link.zarr"])
def test_a_file_that_is_there_is_refused_before_the_work(model, tmp_path, name):
    for kind in ("npy", "zarr"):
        (tmp_path / f"series.{kind}").write_text("precious")
        (tmp_path / f"a link.{kind}").symlink_to("nowhere")
    with (
        pytest.raises(FileExistsError, match="something at this path already; remove it"),
        record(model, store=tmp_path / name),
    ):
        raise AssertionError("not reached")
    assert (tmp_path / name.replace("a link", "series")).read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 4


def test_a_file_that_comes_to_be_meanwhile_stays(model, path):
    def interfered():
        with record(model, store=path):
            generate(model, IDS[0], STEPS)
            path.write_text("precious")

    with pytest.raises(FileExistsError):
        interfered()
    assert path.read_text() == "precious"
    assert list(path.parent.iterdir()) == [path]


def test_a_name_that_is_none_of_such_a_file(model, tmp_path):
    for name, error, message in (
        ("series.dat", ValueError, "'.*series.dat' ends neither in .npy nor in .zarr"),
        ("no folder/series.npy", FileNotFoundError, "no folder"),
        ("no folder/series.zarr", FileNotFoundError, "no folder"),
    ):
        with pytest.raises(error, match=message), record(model, store=tmp_path / name):
            raise AssertionError("not reached")


def test_zarr_that_is_missing_is_said_before_the_work(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    said = r"store = '.*s.zarr' needs zarr, which is not installed: pip install 'synkern\[scale\]'"
    with pytest.raises(ImportError, match=said), record(model, store=tmp_path / "s.zarr"):
        raise AssertionError("not reached")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(model, path):
    def interrupted():
        with record(model, store=path):
            generate(model, IDS[0], STEPS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(path.parent.iterdir()) == []


def test_what_a_killed_process_leaves_cannot_be_read(path):
    store = store_at(path)
    store.add(torch.ones(2, 3, 4))
    [left] = path.parent.iterdir()
    assert left.name.startswith(f".{path.name}.")
    assert left.suffix == ".part"
    if path.suffix == ".npy":
        with pytest.raises(ValueError, match=r"pickle|magic"):
            np.load(left)
    else:
        with pytest.raises(ValueError, match="no zarr array"):
            synkern.phiid_blocks(left, out=None)
    store.__exit__(None, None, None)
    assert list(path.parent.iterdir()) == []


def test_texts_of_other_lengths_are_refused(model, path):
    def uneven():
        with record(model, store=path):
            generate(model, IDS[0], STEPS)
            generate(model, IDS[1], STEPS - 1)

    with pytest.raises(RecordingError, match=f"texts of {STEPS} and of {STEPS - 1} steps do not"):
        uneven()
    assert list(path.parent.iterdir()) == []


class Disk:
    """Has room for so many bytes more, of the file that it writes to."""

    def __init__(self, room):
        self.room, self.file = room, None

    def write(self, content):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        some = content[: self.room]
        self.room -= len(some)
        return self.file.write(some)


def test_a_full_disk_is_said(path, monkeypatch):
    disk = Disk(148)  # three texts of 48 bytes, and a piece

    with store_at(path) as store:
        write = store._write

        def written(file, content):
            disk.file = file
            write(disk, content)

        monkeypatch.setattr(store, "_write", written)
        store.add(torch.ones(1, 3, 4))
        with pytest.raises(OSError, match="the disk is full after 3 texts.*make room") as info:
            store.add(torch.ones(4, 3, 4))
        assert info.value.errno == errno.ENOSPC
        assert info.value.filename == str(path)
        disk.room = 10**6
        store.add(2 * torch.ones(1, 3, 4))  # Of the text that did not fit nothing is left.
        store.finish()
    np.testing.assert_array_equal(read(path)[:, 0, 0], [1, 2])


def test_trials_that_are_taken_back(path):
    with store_at(path) as store:
        store.add(torch.zeros(2, 5, 6))
        store.cut(0)  # Texts of any length may follow.
        for value in (1.0, 2.0, 3.0):
            store.add(torch.full((2, 3, 4), value))
            if value == 2:
                store.cut(1)
        store.finish()
    np.testing.assert_array_equal(read(path)[:, 0, 0], [1, 3, 3])
    assert read(path).shape == (3, 3, 4)


def test_a_recording_in_zarr_goes_into_blocks_as_it_is(model, folder, tmp_path):
    with record(model, nodes="neurons", store=folder) as recording:
        for ids in IDS:
            generate(model, ids, 32)
    names = {"node_names": recording.nodes}
    big = synkern.phiid_blocks(folder, out=tmp_path / "out", **names)
    small = synkern.phiid(recording)
    same(big, small)
    assert big.node_names == small.node_names
    assert not (tmp_path / "out" / "series").exists()
    data = synkern.read_series(folder)
    np.testing.assert_array_equal(data.series, recording.series)


@pytest.mark.parametrize(
    ("steps", "nodes", "expected"),
    [(12, 9, 9), (100, 442_000, 1024), (100, 1030, 576), (1000, 46_080, 256), (2**20, 50, 1)],
)
def test_chunks_of_zarr(folder, steps, nodes, expected):
    width = chunk_nodes(steps, nodes)
    assert width == expected
    assert width == 1 or 4 * width * steps <= 1 << 20
    if steps == 12 or nodes == 1030:
        values = torch.randn(2, steps, nodes)
        values[1, :, -1] = 0
        with store_at(folder) as store:
            store.add(values)
            store.finish()
        array = given(folder, None, None, None).columns.array
        assert array.chunks == (1, steps, width)
        assert array.nchunks_initialized == array.nchunks
        assert array.metadata.dimension_names == ("trial", "time", "node")
        np.testing.assert_array_equal(array[:], values)


def test_zarr_is_cut_narrow_enough_for_usual_sides(folder):
    with store_at(folder) as store:
        store.add(torch.ones(1, 40, 2200))
        store.finish()
    columns = given(folder, None, None, None).columns
    assert not columns.amplified(512)
    assert columns.amplified(256)  # which is why 512 says something


def test_what_is_in_zarr_is_read_when_it_is_asked_for(model, folder, request):
    found = recorded(model, store=folder, nodes=("heads", "mlps"))
    request.getfixturevalue("little")
    said = r"the series of 12 nodes take .* take synkern.phiid_blocks\('.*series.zarr', out="
    with pytest.raises(MemoryError, match=said):
        _ = found.series
    assert "(5, 12, 12)" in repr(found)
    assert found.lengths.tolist() == 5 * [STEPS]
    assert found.routed is None
    assert len(found.responses.responses) == 5
    heads = found.of("heads")
    with pytest.raises(MemoryError, match="the series of 9 nodes"):
        _ = heads.series
    folder.rename(folder.with_name("moved.zarr"))
    with pytest.raises(FileNotFoundError, match="not where they were written; put them back"):
        _ = heads.series


def test_answers_in_zarr_are_read_when_they_are_asked_for(tmp_path, folder, request):
    loaded = load(tiny_study.save_model(tmp_path))
    found = record_answers(*loaded, PROMPTS, store=folder, new_tokens=4, batch_size=2)
    request.getfixturevalue("little")
    assert repr(found).startswith(f"Answers(series=Stored(path={folder!r}, shape=(3, 4, ")
    assert found.tokens.shape == (3, 4)
    assert len(found.responses.responses) == 3
    with pytest.raises(MemoryError, match="phiid_blocks"):
        _ = found.series


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


def test_batches_that_do_not_fit_once_more(model, request, tmp_path):
    found = recorded(model)
    stored = recorded(model, store=tmp_path / "series.npy")
    request.getfixturevalue("little")
    with pytest.raises(MemoryError, match="as one array take"):
        _ = found.series
    assert stored.series.shape == (5, STEPS, 9)
