"""Arguments of a study that cannot be used, and packages that are not there."""

import importlib.util

import pytest

from support import tiny_study, without_torch
from synkern.study import ArgumentError, MissingPackageError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"new_tokens": 0}, "new_tokens = 0; give an integer of at least 1"),
        ({"new_tokens": 8, "tau": 5}, "new_tokens = 8 with tau = 5 leaves 3 samples"),
        ({"tau": 0}, "tau = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**64}, "seed = 18446744073709551616; give an integer of at most"),
        ({"bootstrap": 5}, "bootstrap = 5; give an integer of at least 100"),
        ({"batch_size": True}, "batch_size = True"),
        ({"dtype": "int8"}, "dtype = 'int8'; choose from float32"),
        ({"device": "moon"}, "device = 'moon'"),
        ({"device": "meta"}, "device = 'meta' cannot be used here .*; use cpu or auto"),
        ({"backend": "abacus"}, "backend.*abacus"),
        ({"prompts": ["only one"]}, "1 given; at least 2"),
        ({"max_prompts": 1}, "max_prompts = 1"),
        ({"kind": "binary"}, "kind = 'binary'; choose from gaussian, discrete"),
        ({"redundancy": "mmi"}, "redundancy = 'mmi'; choose from MMI, CCS"),
        ({"average": None}, "average = None; choose from trials, moments, concatenate"),
        (
            {"detrend": "cubic"},
            "detrend = 'cubic'; choose from none, linear, quadratic",
        ),
        ({"null": "shuffle"}, "null = 'shuffle'; choose from none, cross_trial"),
        ({"null": "block", "null_draws": 18}, "null_draws = 18; give an integer of at least 19"),
        ({"null_draws": 99}, "null_draws = 99 but null = 'none'.*leave null_draws out"),
        (
            {"null": "cross_trial", "average": "moments"},
            "tests means over trials, but average = 'moments'.*use average = 'trials'",
        ),
        ({"nodes": "tails"}, "nodes = 'tails'; choose from heads, experts, shared_experts, mlps"),
        (
            {"signal": "gate"},
            "signal = 'gate' is none of heads; choose from norm, projected, largest, entropy",
        ),
        (
            {"nodes": "experts", "kind": "gaussian"},
            "'weighted' of experts, which is exactly 0 wherever one is idle.*leave kind out, which "
            r"is discrete then, or choose another signal \(gate or dense\)",
        ),
        (
            {"nodes": "experts", "detrend": "linear"},
            "detrend = 'linear' with signal = 'weighted' of experts.*an idle node could count as "
            r"active.*use detrend = 'none', or choose another signal \(gate or dense\)",
        ),
        ({"pairs": "some"}, "pairs = 'some'; choose from kept, averaged"),
        (
            {"nodes": "neurons", "average": "moments"},
            r"pairs = 'averaged' \(for neurons\) averages .* but average = 'moments' pools",
        ),
        (
            {"pairs": "averaged", "null": "block"},
            "null = 'block' tests every pair, but pairs = 'averaged' keeps only their mean",
        ),
        ({"null": "row_shift", "kind": "discrete"}, "'row_shift' serves.*use 'cross_trial'"),
        ({"null": "block", "new_tokens": 19}, "block must leave at least two blocks.*19 time"),
        (
            {"detrend": "difference", "new_tokens": 6},
            "new_tokens = 6 with tau = 1 and detrend = 'difference'.*leaves 4 samples",
        ),
    ],
)
def test_bad_arguments_are_found_before_anything_is_loaded(tmp_path, change, message):
    with pytest.raises(ArgumentError, match=message):
        tiny_study.again("no/such/model", tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_with_its_extra(model, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *args: None if name == "jinja2" else find_spec(name, *args),
    )
    with pytest.raises(ImportError, match=r"'jinja2'.*'plot'.*synkern\[llm,plot\]"):
        tiny_study.again(model, tmp_path)

    def load(*args, **kwargs):
        raise ImportError("needs the package 'gguf'")

    monkeypatch.undo()
    monkeypatch.setattr("synkern.models.load", load)
    with pytest.raises(MissingPackageError, match="cannot be loaded: needs the package 'gguf'"):
        tiny_study.again(model, tmp_path)


def test_without_torch_the_command_names_the_extra(tmp_path):
    code = "import sys; from synkern.cli import main; sys.exit(main(sys.argv[1:]))"
    done = without_torch.run(code, "study", "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stderr == (
        "synkern: error: a study needs the package 'torch', of the extra 'llm': "
        'pip install "synkern[llm,plot]"\n'
    )
    done = without_torch.run(code, "study", "--out", str(tmp_path / "out"), "--tau", "0")
    assert done.returncode == 2
    assert "tau = 0; give an integer of at least 1" in done.stderr
