"""Options of reading: said once, checked, and fit for a command."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synkern.data import ReadOptions, read_series
from synkern.study.options import Option


def test_every_option_is_one_that_a_command_can_take_over():
    for field in dataclasses.fields(ReadOptions):
        option = Option(**field.metadata)
        assert option.help
        assert option.described


def test_help_has_every_option():
    text = ReadOptions.__doc__
    for field in dataclasses.fields(ReadOptions):
        assert f"        {field.name}: {field.metadata['help'][:20]}" in text
    assert text.index("node_names: ") < text.index("Raises:")


def test_options_need_no_numpy():
    code = "import sys, synkern.data.options; assert 'numpy' not in sys.modules, 'numpy'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_paths_lists_and_single_words_are_taken():
    options = ReadOptions(node_names=["a", "b"], drop="x", groups=Path("g.csv"), missing_values=-99)
    assert options.node_names == ("a", "b")
    assert (options.drop, options.groups, options.missing_values) == (("x",), "g.csv", (-99.0,))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"missing": "fill"}, "missing = 'fill'; choose from refuse, mask"),
        ({"step": 0}, "step = 0"),
        ({"step": "quick"}, "step = 'quick'; give a number"),
        ({"drop": []}, "drop is empty"),
        ({"decimal": "x"}, "decimal = 'x'"),
        ({"axes": 3}, "axes = 3; give one text"),
    ],
)
def test_values_that_cannot_be_used_are_refused(given, match):
    with pytest.raises(ValueError, match=match):
        ReadOptions(**given)


def test_names_that_are_no_option_are_refused_with_those_that_are_near(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((9, 2)))
    with pytest.raises(TypeError, match="did you mean node_names"):
        read_series(tmp_path / "a.npy", node_name="x")
    with pytest.raises(TypeError, match="give the one or the others"):
        read_series(tmp_path / "a.npy", ReadOptions(), step=1)


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("a.csv", "pandas", "data"),
        ("a.mat", "scipy", "data"),
        ("a.h5", "h5py", "data"),
        ("a.zarr", "zarr", "data"),
        ("a.nc", "xarray", "data"),
        ("a.nii", "nibabel", "brain"),
        ("a.edf", "mne", "mne"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    tmp_path, monkeypatch, name, package, extra
):
    (tmp_path / name).write_text("1,2\n3,4\n")
    for module in [one for one in sys.modules if one.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Hidden(package), *sys.meta_path])
    said = rf"{name} needs {package}, which is not installed: pip install 'synkern\[{extra}\]'"
    with pytest.raises(ImportError, match=said):
        read_series(tmp_path / name)


class Hidden:
    """A finder that says of one package that it is not there."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, *rest):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
