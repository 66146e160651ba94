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


def test_what_is_refused(epochs, tmp_path):
    with pytest.raises(DataError, match="is a EvokedArray"):
        from_mne(epochs.average(picks="eeg"))
    (tmp_path / "bad_raw.fif").write_bytes(bytes(range(200)))
    with pytest.raises(DataError, match="bad_raw.fif cannot be read by MNE"):
        read_series(tmp_path / "bad_raw.fif")


HEADER = """Brain Vision Data Exchange Header File Version 1.0

[Common Infos]
Codepage=UTF-8
DataFile={data}
MarkerFile=made.vmrk
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels=3
SamplingInterval=4000

[Binary Infos]
BinaryFormat={binary}

[Channel Infos]
Ch1=Fz,,{unit},µV
Ch2=Cz,,{unit},µV
Ch3=Pz,,{unit},µV
"""
MARKERS = """Brain Vision Data Exchange Marker File, Version 1.0

[Common Infos]
Codepage=UTF-8
DataFile=made.eeg

[Marker Infos]
Mk1=New Segment,,1,1,0,20260101000000000000
"""


@pytest.mark.parametrize(
    ("binary", "dtype", "unit"), [("INT_16", "<i2", 0.1), ("IEEE_FLOAT_32", "<f4", 1)]
)
def test_brainvision(binary, dtype, unit, rng, tmp_path):
    written = rng.integers(-3000, 3000, (200, 3)).astype(dtype)
    (tmp_path / "made.eeg").write_bytes(written.tobytes())
    header = HEADER.format(data="made.eeg", binary=binary, unit=unit)
    (tmp_path / "sub-3.vhdr").write_text(header, "utf-8")
    (tmp_path / "made.vmrk").write_text(MARKERS, "utf-8")
    data = read_series(tmp_path / "sub-3.vhdr")
    assert (data.node_names, data.step, data.subjects) == (("Fz", "Cz", "Pz"), 0.004, ("3",))
    np.testing.assert_allclose(data.series[0], written * unit * 1e-6, rtol=1e-6)
    # Without its samples a header is nothing to read.
    (tmp_path / "made.eeg").unlink()
    with pytest.raises(DataError, match=r"sub-3\.vhdr cannot be read by MNE"):
        read_series(tmp_path / "sub-3.vhdr")


def european(path, digital, bits):
    """Write (samples, channels) whole numbers as EDF (16 bits) or BDF (24), seconds of 100."""
    names, seconds = ("Fz", "Cz", "Pz"), len(digital) // 100
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    start = "0       " if bits == 16 else "\xffBIOSEMI"
    header = f"{start}{'X X X X':80}{'Startdate X':80}01.01.2601.01.01{256 * 4:<8}{'':44}"
    header += f"{seconds:<8}{1:<8}{3:<4}" + "".join(f"{name:16}" for name in names)
    header += f"{'':80}" * 3 + f"{'uV':8}" * 3  # of which the first are transducers
    for end in (*ends, *ends):  # physical, then digital
        header += f"{end:<8}" * 3
    header += f"{'':80}" * 3 + f"{100:<8}" * 3 + f"{'':32}" * 3
    records = digital.reshape(seconds, 100, 3).transpose(0, 2, 1)
    wide = np.ascontiguousarray(records, "<i4")
    whole = wide.view(np.uint8).reshape(-1, 4)[:, : bits // 8]
    path.write_bytes(header.encode("latin-1") + whole.tobytes())


@pytest.mark.parametrize(("ending", "bits"), [("edf", 16), ("bdf", 24)])
def test_edf_and_bdf(ending, bits, rng, tmp_path):
    most = 2 ** (bits - 1) - 1
    written = rng.integers(-most, most, (300, 3))
    european(tmp_path / f"sub-5.{ending}", written, bits)
    data = read_series(tmp_path / f"sub-5.{ending}")
    assert (data.node_names, data.step, data.subjects) == (("Fz", "Cz", "Pz"), 0.01, ("5",))
    np.testing.assert_allclose(data.series[0], written * 1e-6, rtol=1e-12)
    assert data.coordinates is None


def eeglab(path, values, **fields):
    """Write a file as EEGLAB does: one structure, in which channels come before samples."""
    io = pytest.importorskip("scipy.io")
    channels = np.array([(name,) for name in ("Fz", "Cz", "Pz")], dtype=[("labels", object)])
    samples = values.shape[1]
    fields = {
        "data": values,
        "nbchan": 3.0,
        "pnts": float(samples),
        "trials": 1.0,
        "srate": 250.0,
        "xmin": 0.0,
        "xmax": (samples - 1) / 250.0,
        "chanlocs": channels,
        "event": np.zeros(0),
        "epoch": np.zeros(0),
        "icawinv": np.zeros(0),
        "icaweights": np.zeros(0),
        "icasphere": np.zeros(0),
        **fields,
    }
    io.savemat(path, {"EEG": fields})


def test_eeglab(rng, tmp_path):
    values = rng.standard_normal((3, 200)) * 10
    eeglab(tmp_path / "sub-4.set", values)
    data = read_series(tmp_path / "sub-4.set")
    assert (data.node_names, data.step, data.subjects) == (("Fz", "Cz", "Pz"), 0.004, ("4",))
    np.testing.assert_allclose(data.series[0], values.T * 1e-6, rtol=1e-6)


def test_trials_of_eeglab(rng, tmp_path):
    values = rng.standard_normal((3, 50, 4)) * 10
    kinds = [("type", object), ("latency", object), ("epoch", object)]
    events = np.array([(f"k{k % 2}", 50.0 * k + 1, k + 1.0) for k in range(4)], kinds)
    epochs = np.array(
        [(k + 1.0, f"k{k % 2}", 0.0) for k in range(4)],
        [("event", object), ("eventtype", object), ("eventlatency", object)],
    )
    eeglab(tmp_path / "t.set", values, trials=4.0, event=events, epoch=epochs)
    data = read_series(tmp_path / "t.set")
    assert data.shape == (4, 50, 3)
    np.testing.assert_allclose(data.series, values.transpose(2, 1, 0) * 1e-6, rtol=1e-6)
    assert data.trial_names == ("k0 0", "k1 1", "k0 2", "k1 3")
