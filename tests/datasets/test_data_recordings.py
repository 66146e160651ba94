"""Recordings through MNE: raw ones, epochs, kinds of channels, bad ones, and places."""

import numpy as np
import pytest

import synkern
from synkern.data import DataError, from_mne, read_series

mne = pytest.importorskip("mne")


@pytest.fixture
def raw(rng):
    info = mne.create_info(["Fz", "Cz", "Pz", "Oz", "STI"], 100.0, ["eeg"] * 4 + ["stim"])
    values = rng.standard_normal((5, 1000)) * 1e-5
    raw = mne.io.RawArray(values, info, verbose="ERROR")
    raw.set_montage("standard_1020", verbose="ERROR")
    raw.set_annotations(mne.Annotations([2.0, 5.0], [1.0, 0.5], ["BAD_blink", "eyes"]))
    return raw


@pytest.fixture
def epochs(raw):
    events = np.array([[100 * k, 0, 1 + k % 2] for k in range(1, 9)])
    return mne.Epochs(
        raw, events, {"a": 1, "b": 2}, 0, 0.5, baseline=None, preload=True, verbose="ERROR"
    )


def test_a_raw_recording_is_one_trial_without_what_is_annotated_as_bad(raw, tmp_path):
    path = tmp_path / "sub-7_raw.fif"
    raw.save(path, verbose="ERROR")
    data = read_series(path)
    assert (data.node_names, data.step) == (("Fz", "Cz", "Pz", "Oz"), 0.01)
    assert (data.subjects, data.space) == (("7",), "head")
    assert np.flatnonzero(~data.mask[0]).tolist() == list(range(200, 300))
    expected = raw.get_data(picks="eeg").T
    np.testing.assert_allclose(data.series[0][data.mask[0]], expected[data.mask[0]], rtol=1e-6)
    np.testing.assert_allclose(data.coordinates[1], raw.info["chs"][1]["loc"][:3], rtol=1e-6)
    assert "'STI'" in " ".join(data.notes)


def test_channels_are_chosen_by_name_pattern_or_kind(raw):
    raw.info["bads"] = ["Cz"]
    data = from_mne(raw)
    assert data.node_names == ("Fz", "Pz", "Oz")
    assert "marked as bad were left out: 'Cz'" in " ".join(data.notes)
    assert from_mne(raw, columns="eeg").node_names == ("Fz", "Pz", "Oz")
    assert from_mne(raw, columns=["Cz", "P*"]).node_names == ("Cz", "Pz")
    assert from_mne(raw, drop=["Fz", "STI"]).node_names == ("Pz", "Oz")
    assert "several kinds" in " ".join(from_mne(raw, columns=["Fz", "STI"]).notes)
    with pytest.raises(DataError, match="no node called 'meg'"):
        from_mne(raw, columns="meg")


def test_a_recording_is_the_same_data_in_a_call_and_in_a_data_set(raw):
    info = mne.create_info(raw.ch_names, 100.0, ["eeg", "csd", "eeg", "eeg", "stim"])
    raw = mne.io.RawArray(raw.get_data(), info, verbose="ERROR").set_annotations(raw.annotations)
    data, result = from_mne(raw), synkern.phiid(raw)
    assert data.node_names == result.node_names == ("Fz", "Cz", "Pz", "Oz")
    np.testing.assert_allclose(result["sts"], synkern.phiid(data)["sts"], rtol=1e-12)


def test_epochs_are_trials(epochs, tmp_path):
    path = tmp_path / "s-epo.fif"
    epochs.save(path, verbose="ERROR")
    for data in (from_mne(epochs), read_series(path)):
        # The second is bad: an annotation says so.
        assert data.trial_names == ("b 0", "b 2", "a 3", "b 4", "a 5", "b 6", "a 7")
        expected = epochs.get_data(picks="eeg").transpose(0, 2, 1)
        np.testing.assert_allclose(data.series, expected, rtol=1e-6)
        assert data.mask is None


def test_edf(raw, tmp_path):
    pytest.importorskip("edfio")
    path = tmp_path / "r.edf"
    raw.pick("eeg").export(path, verbose="ERROR")
    data = read_series(path)
    np.testing.assert_allclose(
        data.series[0], raw.get_data().T * (data.mask[0])[:, None], atol=2e-9
    )
    assert data.coordinates is None


def test_what_is_refused(epochs, tmp_path):
    with pytest.raises(DataError, match="is a EvokedArray"):
        from_mne(epochs.average(picks="eeg"))
    (tmp_path / "bad_raw.fif").write_bytes(bytes(range(200)))
    with pytest.raises(DataError, match="bad_raw.fif cannot be read by MNE"):
        read_series(tmp_path / "bad_raw.fif")
