"""Kinds of tensor, torch's defaults, threads and forks: nothing of these may change a result."""

import ast
import itertools
import multiprocessing
import os
import signal
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import synkern
from support.bounded import bounded
from support.optional import needs_torch, torch
from synkern import _forks
from synkern._warnings import collected, warn
from synkern.decomposition import preprocess
from synkern.kernels import Limits

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*below 30:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*have no persistence reference:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*have a value in other trials:UserWarning"),
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),
]


@pytest.fixture
def series(rng):
    values = torch.from_numpy(rng.standard_normal((6, 60, 5)))
    values[0, :, 3] = values[0, :, 2] + 1e-7 * values[0, :, 3]  # rescued
    values[1, :, 1] = 2.0  # constant
    values[2, :, 4] = values[2, :, 0]  # duplicate
    return values


def gradient(function):
    def of(series):
        leaf = series.clone().requires_grad_()
        return torch.autograd.grad(torch.nansum(function(leaf)["sts"].double()), leaf)[0]

    return of


def phiid(**options):
    return lambda series: synkern.phiid(series, **options)


def moments(series):
    gathered = synkern.LaggedMoments([1, 2]).update(series[:, :33]).update(series[:, 33:])
    return synkern.phiid(gathered, tau=2, average="concatenate")


CALLS = {
    **{
        f"{kind} {redundancy} {name}": phiid(backend=name, kind=kind, redundancy=redundancy)
        for kind, redundancy, name in itertools.product(
            ("gaussian", "discrete"), ("MMI", "CCS"), ("torch", "auto")
        )
    },
    "all atoms, apart": phiid(backend="torch", atoms="all", average=None),
    "pooled": phiid(backend="torch", average="moments"),
    "float32": phiid(backend="torch", dtype="float32"),
    "gathered pairs": phiid(backend="torch", pairs=[[3, 2], [0, 4]], unit="bits"),
    "within": phiid(backend="torch", pairs="within", groups=[0, 0, 1, 1, 1]),
    "nodes": lambda series: synkern.phiid_nodes(series, backend="torch").arrays,
    "triton": lambda series: synkern.phiid(series[:2, :20, :3], backend="triton"),
    "nodes, triton": lambda series: (
        synkern.phiid_nodes(series[:2, :20, :3], backend="triton").arrays
    ),
    "reference": lambda series: synkern.persistence_reference(series, backend="torch"),
    "moments": moments,
    "excess": lambda s: synkern.phiid(s).excess(synkern.persistence_reference(s)),
    "local": lambda series: synkern.phiid_local(series, [[0, 1], [2, 3]], fit=series[:3]),
    "local discrete": lambda s: synkern.phiid_local(s, [[0, 1]], kind="discrete", unit="nats"),
    "local CCS": lambda series: synkern.phiid_local(series, [[0, 4]], redundancy="CCS"),
    **{
        f"null {null}": lambda series, null=null: synkern.null_test(series, null, n=19).null_sd
        for null in ("cross_trial", "row_shift", "circular", "block", "phase")
    },
    **{name: step for name, step in preprocess.PREPROCESSING.items()},
    "gradient": gradient(phiid()),
    "gradient of CCS": gradient(phiid(redundancy="CCS")),
    "gradient of pairs": gradient(phiid(pairs=[[1, 0]], average=None)),
    "gradient, triton": gradient(lambda s: synkern.phiid(s[:2, :20, :3], backend="triton")),
    "gradient, float32": gradient(phiid(dtype="float32")),
}


def arrays(result):
    return dict(result) if hasattr(result, "keys") else {"": result}


def assert_same(found, expected):
    for name, value in arrays(expected).items():
        assert arrays(found)[name].device.type == "cpu"
        torch.testing.assert_close(arrays(found)[name], value, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_default_device_and_default_dtype_change_nothing(series, call):
    """`meta` stands in for a GPU: what is made there by mistake has no values."""
    expected = call(series)
    with torch.device("meta"):
        assert_same(call(series), expected)
    before = torch.get_default_dtype()
    for dtype in (torch.float64, torch.float16):
        torch.set_default_dtype(dtype)
        try:
            found = call(series)
        finally:
            torch.set_default_dtype(before)
        assert_same(found, expected)


def test_pairs_from_matrices_on_another_default_device(series):
    pairs = list(itertools.combinations(range(5), 2))

    def call(given):
        limits = Limits(gathered=0, matrices=1)
        return bounded(given, limits, backend="torch", pairs=pairs, average=None).arrays

    expected = call(series)
    with torch.device("meta"):
        assert_same(call(series), expected)


# ---- Kinds of tensor -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["auto", "cpu", "numpy", "torch"])
def test_lazy_and_narrow_tensors_are_taken(series, backend):
    values = series[3:, :, [0, 2, 4]]
    negated = torch.complex(-values, -values).conj().imag
    assert negated.is_neg()
    found, expected = (synkern.phiid(s, backend=backend)["sts"] for s in (negated, values))
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        narrow = values.to(dtype)
        found, expected = (
            synkern.phiid(s, backend=backend)["sts"] for s in (narrow, narrow.double())
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.filterwarnings("ignore:.*(Sparse|quantiz|nested|PyTorch API of MaskedTensors)")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda s: s.to_sparse(), r"layout torch.sparse_coo; pass \w+.to_dense\(\)"),
        (lambda s: s[0].to_sparse_csr(), r"layout torch.sparse_csr; pass \w+.to_dense\(\)"),
        (
            lambda s: torch.quantize_per_tensor(s.float(), 0.1, 10, torch.quint8),
            r"quantised, torch.quint8; pass \w+.dequantize\(\)",
        ),
        (lambda s: torch.nested.nested_tensor(list(s)), "nested tensor.*torch.stack"),
        (
            lambda s: torch.nested.nested_tensor(list(s), layout=torch.jagged),
            "nested tensor.*torch.stack",
        ),
        (lambda s: s + 1j, r"must hold real numbers; got dtype torch.complex128: pass \w+.real"),
        (lambda s: torch.masked.masked_tensor(s, s > 0), "masked tensor.*to_tensor"),
        (lambda s: s.to(torch.uint8).view(torch.float4_e2m1fn_x2), "float4.*unpack it"),
    ],
    ids="sparse csr quantised nested jagged complex masked float4".split(),  # noqa: SIM905
)
def test_other_kinds_of_tensor_are_refused_by_name(series, make, said):
    tensor = make(series)
    for name, call in {
        "series": synkern.phiid,
        "series ": lambda s: synkern.phiid(s, backend="torch"),
        " series": lambda s: synkern.phiid_local(s, [[0, 1]]),
        " series ": lambda s: synkern.null_test(s, n=19),
        "chunk": synkern.LaggedMoments().update,
        "series  ": preprocess.zscore,
    }.items():
        with pytest.raises(TypeError, match=f"{name.strip()} .*{said}"):
            call(tensor)


def test_a_tensor_without_values(series):
    meta = series.to("meta")
    for call in (
        synkern.phiid,
        lambda s: synkern.phiid_local(s, [[0, 1]]),
        lambda s: synkern.null_test(s, n=19),
        synkern.LaggedMoments().update,
        preprocess.zscore,
    ):
        with pytest.raises(ValueError, match="device 'meta'.*the CPU"):
            call(meta)


# ---- pandas, lags, pairs -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["Float64", "Int64", "boolean", "UInt8"])
@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_nullable_columns_are_taken(rng, dtype, backend):
    values = rng.integers(0, 2, (50, 3))
    frame = pd.DataFrame(values, columns=list("abc")).astype({"a": dtype, "b": dtype})
    result = synkern.phiid(frame, backend=backend)
    expected = synkern.phiid(values, backend=backend)
    np.testing.assert_array_equal(result["sts"], expected["sts"])
    found, expected = preprocess.zscore(frame), preprocess.zscore(values.astype(np.float64))
    # Columns lie one after another in a frame: sums of 50 values about 1 in another order.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_missing_values_and_text_are_refused_by_column(rng):
    frame = pd.DataFrame(rng.standard_normal((50, 3)), columns=list("abc")).convert_dtypes()
    frame.loc[[7, 9], "b"] = pd.NA
    with pytest.raises(
        ValueError, match="column 'b' of series has 2 missing.*first in row 7.*mask="
    ):
        synkern.phiid(frame)
    frame["b"] = "1.5"
    with pytest.raises(TypeError, match="column 'b' of series must hold real numbers; got dtype"):
        synkern.phiid(frame)


@pytest.mark.parametrize("two", [np.array(2), np.int64(2), np.uint8(2), torch.tensor(2)])
def test_a_lag_of_any_library(rng, two):
    series = rng.standard_normal((50, 3))
    result, expected = synkern.phiid(series, tau=two), synkern.phiid(series, tau=2)
    assert result.tau == 2
    assert type(result.tau) is int
    np.testing.assert_array_equal(result["sts"], expected["sts"])
    assert synkern.phiid_local(series, [[0, 1]], tau=two).shape == (1, 16, 48)
    assert synkern.LaggedMoments(two).tau == 2
    for several in (np.array([1, 2]), torch.tensor([1, 2]), range(1, 3), iter([1, two])):
        assert list(synkern.phiid_lags(series, tau=several)) == [1, 2]


@pytest.mark.parametrize(
    "tau", [np.array(2.0), np.array(True), np.array(0), torch.tensor(1.5), "2"]
)
def test_what_is_no_lag(rng, tau):
    with pytest.raises(ValueError, match="tau must be a positive whole number"):
        synkern.phiid(rng.standard_normal((50, 3)), tau=tau)


def test_pairs_one_by_one(rng):
    series = rng.standard_normal((50, 4))
    listed = list(itertools.combinations(range(4), 2))
    expected = synkern.phiid(series, pairs=listed)
    for pairs in (
        itertools.combinations(range(4), 2),
        (p for p in listed),
        dict.fromkeys(listed).keys(),
    ):
        result = synkern.phiid(series, pairs=pairs)
        np.testing.assert_array_equal(result.pairs, listed)
        np.testing.assert_array_equal(result["sts"], expected["sts"])
    assert synkern.phiid_local(series, zip([0, 1], [2, 3], strict=True)).shape == (2, 16, 49)
    for pairs in (set(listed), frozenset(listed)):
        with pytest.raises(TypeError, match=r"pairs is a set.*no order.*sorted\(pairs\)"):
            synkern.phiid(series, pairs=pairs)


# ---- Threads and forks ---------------------------------------------------------------------------


def test_warnings_stay_as_they_were_after_null_tests_in_threads(rng, monkeypatch):
    """The thread that began last is inside while the first one leaves."""
    series = rng.standard_normal((5, 60, 3))
    meeting = threading.Barrier(2, timeout=30)
    whole = synkern.analysis.nulls.NULLS["cross_trial"]
    met = threading.local()

    def together(recorded, generator):
        if not hasattr(met, "before"):
            met.before = meeting.wait()
            time.sleep(0.05 * threading.current_thread().late)
        return whole(recorded, generator)

    monkeypatch.setitem(synkern.analysis.nulls.NULLS, "cross_trial", together)
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=synkern.null_test, args=(series,), kwargs={"n": 19}) for _ in "ab"
    ]
    for late, thread in enumerate(threads):
        thread.late = late
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="of another library"):
        warnings.warn("of another library", UserWarning, stacklevel=1)


def test_surrogates_are_not_warned_of_but_the_series_are(rng):
    series = rng.standard_normal((5, 25, 3))
    series[0, :, 0] = 1
    with pytest.warns() as caught:
        synkern.null_test(series, n=19)
    assert len(caught) == 2  # few samples, degenerate pairs


def test_warnings_are_collected_in_one_thread_only():
    said = []
    with collected() as messages:
        warn("to this thread")

        def other():
            with collected() as own:
                warn("to the other")
                said.extend(own)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert messages == ["to this thread"]
    assert said == ["to the other"]
    with pytest.warns(UserWarning, match="to the user"):
        warn("to the user")


@needs_torch
def test_a_study_takes_its_warnings_in(rng):
    from synkern.study.stages.excess import excess_averages  # noqa: PLC0415
    from synkern.study.stages.series import decompose  # noqa: PLC0415

    settings = SimpleNamespace(average="trials", backend="auto", on_gpu=False, estimator={})
    settings.nodes, settings.signal = "heads", "norm"
    series = rng.standard_normal((3, 25, 4))
    series[0, :, 1] = 1
    result, messages = decompose(settings, series)
    assert result.degenerate["constant"] == 3
    assert ["25 time points" in messages[0], "degenerate" in messages[1]] == [True, True]
    settings.tau = 1
    assert excess_averages(settings, series).missing >= 3


def test_no_filter_of_the_process_is_changed():
    """`catch_warnings` and the like, anywhere in the package, would change it for all threads.

    But around a trainer, which seeds, logs and draws bars for the whole process anyway.
    """
    names = {"catch_warnings", "simplefilter", "filterwarnings", "resetwarnings"}
    root = Path(synkern.__file__).parent
    files = [*root.rglob("*.py"), *(root.parent / "kernels").rglob("*.py")]
    assert len(files) > 50
    for file in {*files} - {root / "training" / "tuning" / "trainers.py"}:
        used = {
            n.attr for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Attribute)
        }
        assert not used & names, file


@pytest.fixture
def used_threads():
    """torch's threads exist, and a child would wait for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.ones(1 << 20).exp()
    yield
    torch.set_num_threads(before)


def succeeds_in_a_fork(call):
    """Whether it returns in a child, within ten seconds."""
    child = os.fork()
    if child == 0:
        try:
            call()
            os._exit(0)
        except BaseException:
            os._exit(1)
    for _ in range(1000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("name", preprocess.PREPROCESSING)
def test_preprocessing_of_arrays_in_a_fork(rng, name, used_threads):
    series = rng.standard_normal((10, 200, 60))

    def call():
        preprocess.PREPROCESSING[name](series)
        assert torch.get_num_threads() == 2  # no use of torch, nothing to lower

    assert succeeds_in_a_fork(call)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    "kind", [np.asarray, torch.from_numpy, lambda x: torch.from_numpy(x).float()]
)
@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_phiid_in_a_fork_lowers_the_threads_and_says_so(rng, kind, backend, used_threads):
    series = kind(rng.standard_normal((10, 200, 60)))

    def call():
        if backend == "auto" and isinstance(series, np.ndarray):
            synkern.phiid(series)
            return
        with pytest.warns(UserWarning, match="forked.*set_num_threads.*spawn"):
            synkern.phiid(series, backend=backend)
        assert torch.get_num_threads() == 1
        synkern.phiid(series, backend=backend)  # said once
        leaf = torch.as_tensor(series).clone().requires_grad_()
        torch.nansum(synkern.phiid(leaf)["sts"]).backward()

    assert succeeds_in_a_fork(call)


@pytest.mark.parametrize(("method", "forked"), [("fork", True), ("spawn", False), (None, None)])
def test_a_fork_before_the_import_is_noticed(monkeypatch, method, forked):
    """`multiprocessing` says how a worker began; without a parent there was no fork of its."""
    worker = SimpleNamespace(_start_method=method)
    monkeypatch.setattr(multiprocessing, "current_process", lambda: worker)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: worker)
    default = multiprocessing.get_start_method() == "fork"
    assert _forks._forked_by_multiprocessing() is (default if forked is None else forked)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: None)
    assert not _forks._forked_by_multiprocessing()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_who_sets_one_thread_in_a_fork_is_not_warned(rng, used_threads):
    series = rng.standard_normal((10, 200, 60))

    def call():
        torch.set_num_threads(1)
        synkern.phiid(series, backend="torch")

    assert succeeds_in_a_fork(call)
