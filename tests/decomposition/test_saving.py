"""Results go into files and come back; other and damaged files are refused in one way."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

import synkern
from support.optional import torch

DATA = Path(__file__).parents[1] / "data"

pytestmark = pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")


@pytest.fixture
def series(rng):
    """A constant node and a pair of duplicates."""
    series = rng.standard_normal((6, 40, 4))
    series[0, :, 1] = 0
    series[1, :, 3] = 2 * series[1, :, 2]
    return torch.from_numpy(series)


def results(series):
    names = ["V1", "V2", "ö", "a/b"]
    return [
        synkern.phiid(series, tau=2),
        synkern.phiid(series, atoms="all", average=None, unit="bits", node_names=names),
        synkern.phiid(series, pairs=[[[0, 1]], [[3, 2]]], dtype="float32", average=None),
        synkern.phiid(series, kind="discrete", redundancy="CCS", average="concatenate"),
        synkern.phiid_nodes(series, node_names=names),
        synkern.phiid_nodes(series, atoms=["xtx"], average=None),
        synkern.null_test(series, n=19, node_names=names),
        synkern.null_test(series.numpy(), "row_shift", n=20, unit="bits"),
    ]


def same(found, expected):
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        return all(same(found[name], expected[name]) for name in expected)
    if hasattr(expected, "ndim"):
        array = np.asarray(expected)
        return found.dtype == array.dtype and np.array_equal(found, array, equal_nan=True)
    return found == expected and type(found) is type(expected)


@pytest.mark.parametrize("number", range(8))
def test_save_and_load(series, tmp_path, number):
    result = results(series)[number]
    path = tmp_path / "one.file"
    result.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["one.file"]
    loaded = type(result).load(path)
    assert repr(loaded) == repr(result)
    for field in result.__dataclass_fields__:
        assert same(getattr(loaded, field), getattr(result, field)), field
    if isinstance(result, synkern.PhiIDResult):
        np.testing.assert_array_equal(loaded.valid_trials(), result.valid_trials())


def test_options_given_as_scalars_of_numpy_are_saved_as_what_they_are(series, tmp_path):
    test = synkern.null_test(series, n=np.int64(19), seed=np.uint32(3), tau=np.int8(2))
    test.save(tmp_path / "test.npz")
    assert repr(synkern.NullTest.load(tmp_path / "test.npz")) == repr(test)
    for verb, options in (
        (synkern.phiid, {"unit": np.str_("bits"), "average": np.str_("moments")}),
        (synkern.phiid_nodes, {}),
    ):
        result = verb(series, dtype=np.str_("float32"), kind=np.str_("gaussian"), **options)
        result.save(tmp_path / "one.npz")
        loaded = type(result).load(tmp_path / "one.npz")
        for name in ("kind", "average", "unit", "dtype"):
            assert getattr(loaded, name) == getattr(result, name)
        assert type(loaded.dtype) is type(loaded.unit) is str


def test_repr_is_one_line_without_arrays(series):
    scores = synkern.node_scores(synkern.phiid(series))
    for result in (*results(series), scores):
        assert re.fullmatch(r"\w+\([^\n]{10,220}\)", repr(result))
        assert "array" not in repr(result)
        assert "tensor" not in repr(result)
    test = repr(synkern.null_test(series, n=19))
    assert "rtr sts; 4 nodes against 19 surrogates of 'cross_trial'" in test


def test_the_first_format_is_read():
    result = synkern.PhiIDResult.load(DATA / "result_format_1.npz")
    assert (list(result), result.tau, result.average) == (["str", "sts"], 2, None)
    assert result.pairs.tolist() == [[0, 1], [3, 2]]
    assert result.degenerate == {"constant": 1, "deterministic": 0, "duplicate": 1}
    assert np.isnan(result["sts"][0, 0])
    assert abs(result["sts"][1, 1]) < 1e-15
    assert result.node_names is None


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.save(tmp_path / "other.npy", np.zeros(3))
    (tmp_path / "other.txt").write_text("nothing")
    (tmp_path / "other.empty").touch()
    np.savez(tmp_path / "pickle.npz", synkern=np.array([{}], object))
    for path in tmp_path.iterdir():
        for kind in (synkern.PhiIDResult, synkern.NodeMeans, synkern.NullTest):
            with pytest.raises(ValueError, match=f"{path.name}' is not a result saved by synkern"):
                kind.load(path)
    with pytest.raises(FileNotFoundError):
        synkern.PhiIDResult.load(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        synkern.PhiIDResult.load(tmp_path)


def edited(path, **changes):
    """The file with other values, or without them."""
    with np.load(path) as file:
        entries = {name: file[name] for name in file.files}
    meta = json.loads(str(entries["synkern"]))
    for key, value in changes.items():
        name = key.replace("__", "/")
        target = entries if name in entries or hasattr(value, "dtype") else meta
        if value is None:
            del target[name]
        else:
            target[name] = value
    entries["synkern"] = np.array(json.dumps(meta))
    changed = path.with_name("changed")
    with changed.open("wb") as file:
        np.savez(file, **entries)
    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3}, "it has format 3, this synkern reads up to 2"),
        ({"class": "NodeMeans"}, r"it holds a NodeMeans; load it with NodeMeans\.load"),
        ({"constant": None}, "constant"),
        ({"constant": np.zeros((6, 4))}, "constant is not an array of its kind"),
        ({"constant": np.zeros((2, 4), bool)}, r"constant has shape \(2, 4\)"),
        ({"flagged": np.full((1, 4), 9)}, "flagged is out of range"),
        ({"flagged": np.array([[0, 0, 1, 77]])}, "flagged has an unknown outcome"),
        ({"tau": 0}, "tau is 0"),
        ({"tau": "1"}, "tau is '1'"),
        ({"kind": "other"}, "kind is 'other'"),
        ({"unit": ["nats"]}, "unit is"),
        ({"shape": [6, 40]}, "shape"),
        ({"shape": [6, 40, 5]}, "constant has shape"),
        ({"arrays": ["rtr", "xxx"]}, "xxx"),
        ({"arrays__sts": np.zeros((3, 4))}, r"sts has shape \(3, 4\)"),
        ({"node_names": ["a"]}, "node_names are not 4 names"),
        ({"surplus": 1, "backend": 3}, "backend is 3"),
    ],
)
def test_edited_files_are_refused(series, tmp_path, changes, message):
    path = tmp_path / "result"
    synkern.phiid(series).save(path)
    with pytest.raises(ValueError, match=f"changed' cannot be read as a PhiIDResult.*{message}"):
        synkern.PhiIDResult.load(edited(path, **changes))


@pytest.mark.parametrize("number", [1, 4, 6])
def test_damaged_files_are_refused_or_right(series, rng, tmp_path, number):
    """Bytes are changed, cut off and put in: another error than ValueError never comes out."""
    result = results(series)[number]
    path = tmp_path / "result"
    result.save(path)
    whole, refused = path.read_bytes(), []
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 5))):
            at = int(rng.integers(len(data)))
            kind = rng.integers(4)
            if kind == 0:
                data[at] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                data[at : at + int(rng.integers(1, 40))] = bytes(int(rng.integers(40)))
            elif kind == 2:
                del data[at:]
                data = data or bytearray(b"P")
            else:
                data[at:at] = rng.bytes(3)
        path.write_bytes(data)
        try:
            type(result).load(path)
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert all(str(path) in said for said in refused)


def test_an_entry_that_claims_to_be_huge_is_refused(series, tmp_path):
    path = tmp_path / "result"
    synkern.phiid(series).save(path)
    head = b"\x93NUMPY\x01\x00v\x00"
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("zzz.npy", head + text.ljust(117) + b"\n")
    with pytest.raises(ValueError, match="is not a result saved by synkern, or is damaged"):
        synkern.PhiIDResult.load(path)
