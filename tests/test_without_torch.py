"""Arrays of NumPy need NumPy alone: torch is imported when a tensor or its backend is met."""

import pytest

from support import without_torch
from support.optional import needs_torch

SERIES = """
import sys
import numpy as np
import synkern
series = np.random.default_rng(0).standard_normal((6, 60, 8))
mask = np.ones((6, 60), bool)
mask[0, 5] = False
"""

NUMBERS = """
from synkern.analysis import NULLS, TrialAverages, layer_profiles
from synkern.decomposition import MEASURES, PREPROCESSING, atoms_of

for backend in ("auto", "cpu", "numpy"):
    for kind in ("gaussian", "discrete"):
        for redundancy in ("MMI", "CCS"):
            options = {"backend": backend, "kind": kind, "redundancy": redundancy}
            result = synkern.phiid(series, atoms="all", **options)
            assert np.isfinite(result["sts"][0, 1]), options
            synkern.phiid(series, mask=mask, average="moments", **options)
            synkern.phiid_local(series, [[0, 1]], mask=mask, **options)
    assert synkern.phiid_nodes(series, backend=backend).balance.shape == (8,)
    synkern.phiid(series, pairs="within", groups=[0, 0, 0, 1, 1, 1, 2, 2], backend=backend)
    synkern.phiid_lags(series, tau=(1, 2), dtype="float32", unit="bits", backend=backend)
for step in PREPROCESSING.values():
    assert type(step(series)) is type(step(series, mask=mask)) is np.ndarray
moments = synkern.LaggedMoments().update(series[:, :30]).update(series[:, 30:])
both = synkern.phiid(moments)["sts"], synkern.phiid(series)["sts"]
np.testing.assert_allclose(*both, atol=1e-9)
synkern.calc_PhiID(series[0, :, 0], series[0, :, 1], 1)
for null in NULLS:
    synkern.null_test(series, null, n=19)
reference = synkern.persistence_reference(series)
result = synkern.phiid(series)
result.excess(reference)
assert synkern.node_scores(result).rank.sum() == 36
averages = TrialAverages.of([synkern.phiid(series, average=None)])
layer_profiles(averages, [0, 0, 1, 1, 2, 2, 3, 3], bootstrap=100)
result = synkern.phiid(series, atoms="all", average=None)
assert all(result.measure(name).shape == (6, 8, 8) for name in MEASURES)
with synkern.limit_threads(1):
    synkern.phiid(synkern.stack_trials([series[0], series[1, :50]])[0][:, :50])
series_of_pairs, tau = synkern.lagged_pairs(series[:, :-1], series[:, 1:])
synkern.phiid(series_of_pairs, tau=tau)
result.trial_mean().save(sys.argv[1])
assert synkern.PhiIDResult.load(sys.argv[1]).atoms == synkern.ATOMS
assert not {"torch", "triton"} & set(sys.modules)
"""

DLPACK = """
class Foreign:
    # What JAX has, in a module of its own.
    __module__ = "foreign"

    def __init__(self, array):
        self.array, self.ndim, self.shape, self.dtype = array, array.ndim, array.shape, array.dtype
        self.__dlpack_device__ = array.__dlpack_device__

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

class foreign:
    from_dlpack = staticmethod(lambda array: Foreign(np.from_dlpack(array)))

sys.modules["foreign"] = foreign
from synkern.decomposition import zscore
for found, expected in (
    (synkern.phiid(Foreign(series))["sts"], synkern.phiid(series)["sts"]),
    (zscore(Foreign(series)), zscore(series)),
):
    assert type(found) is Foreign
    np.testing.assert_array_equal(found.array, expected)
for wrong, said in ((np.ones((9, 3), complex), "series must hold real numbers"),):
    try:
        synkern.phiid(Foreign(wrong))
    except TypeError as error:
        assert said in str(error), error
    else:
        raise AssertionError(wrong.dtype)
"""


def done(code, *arguments, **options):
    found = without_torch.run(code, *arguments, **options)
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.mark.parametrize("hide", [False, True], ids=["unused", "absent"])
def test_numbers_need_no_torch(hide, tmp_path):
    done(SERIES + NUMBERS, str(tmp_path / "result.npz"), hide=hide)


def test_arrays_by_dlpack_need_no_torch():
    done(SERIES + DLPACK)


@pytest.mark.parametrize(
    ("call", "who", "extra"),
    [
        ("synkern.record", "synkern.recording.record", "llm"),
        ("synkern.replay", "synkern.recording.replay", "llm"),
        ("synkern.ablate", "synkern.interventions.ablate", "llm"),
        ("synkern.training_mask", "synkern.training.training_mask", "llm"),
        ("synkern.models.load", "synkern.models.load", "llm"),
        ("synkern.phiid(series, backend='torch')", "backend='torch'", "torch"),
        ("synkern.phiid(series, backend='triton')", "backend='triton'", "triton"),
        ("synkern.phiid_local(series, [[0, 1]], backend='torch')", "backend='torch'", "torch"),
        ("synkern.null_test(series, n=19, backend='torch')", "backend='torch'", "torch"),
        ("synkern.persistence_reference(series, backend='torch')", "backend='torch'", "torch"),
    ],
)
def test_what_needs_torch_says_what_to_install(call, who, extra):
    code = f"""
try:
    {call}
except ImportError as error:
    print(error)
"""
    said = done(SERIES + code).strip()
    assert said == f"{who} needs torch, which is not installed: pip install 'synkern[{extra}]'"


def test_a_study_says_what_to_install_before_it_writes_anything(tmp_path):
    code = f"""
try:
    synkern.study.run_study(out={str(tmp_path / "out")!r})
except synkern.study.MissingPackageError as error:
    print(error)
"""
    expected = "a study needs the package 'torch', of the extra 'llm': pip install"
    assert done(SERIES + code).startswith(expected)
    assert not (tmp_path / "out").exists()


def test_what_is_listed_can_be_had():
    done("""
import inspect, pydoc
from synkern import *
import synkern
assert phiid is synkern.phiid
assert "record" not in {*globals(), *dir(synkern), *synkern.__all__}
assert {"phiid", "models", "recording"} <= {*dir(synkern)}
inspect.getmembers(synkern)
assert "phiid_nodes" in pydoc.render_doc(synkern)
""")


@needs_torch
def test_with_torch_everything_is_listed_and_torch_not_imported():
    done(
        """
import sys
import synkern
assert {"record", "replay", "Node", "Recording"} <= {*dir(synkern)} & {*synkern.__all__}
assert "torch" not in sys.modules
from synkern import *
assert record is synkern.record
""",
        hide=False,
    )


def test_the_command_says_what_to_install(tmp_path):
    backends = done("from synkern.cli import main; main(['backends'])")
    for name, extra in (("torch", "torch"), ("triton", "triton"), ("cupy", "cupy-cuda13")):
        remedy = f"what would help: pip install 'synkern[{extra}]'"
        assert f"{name}: {name} is not installed; {remedy}" in backends
    code = "import sys, synkern.cli as command; sys.exit(command.main(sys.argv[1:]))"
    study = without_torch.run(code, "study", "--out", str(tmp_path / "out"))
    assert (study.returncode, study.stdout) == (1, "")
    assert study.stderr.startswith("synkern: error: a study needs the package 'torch'")
    assert 'pip install "synkern[llm,plot]"' in study.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "code",
    ["import synkern", "from synkern.cli import main\ntry: main(['--help'])\nexcept SystemExit: 0"],
    ids=["import", "help"],
)
def test_the_first_answer_takes_no_time(code):
    spent = done(f"{code}\nimport time; print()\nprint(time.process_time())", hide=False)
    assert float(spent.splitlines()[-1]) <= 0.4  # s of one core, Python's own start included


@pytest.mark.parametrize(
    ("hide", "option", "said"),
    [
        pytest.param(False, "--without-torch", "this has it", marks=needs_torch),
        (True, "--verbose", "torch is not installed; without it, run `make test-numpy`"),
    ],
    ids=["there", "absent"],
)
def test_no_test_is_skipped_for_lack_of_torch_unasked(hide, option, said):
    code = "import sys, pytest; sys.exit(pytest.main(['-p', 'no:cacheprovider', *sys.argv[1:]]))"
    found = without_torch.run(code, option, "tests/formulas/test_parts.py", hide=hide)
    assert found.returncode == pytest.ExitCode.USAGE_ERROR
    assert said in found.stderr
