"""Signals during a long call of the compiled kernel: handled at once; what they raise ends it."""

import os
import signal
import threading
import time
import traceback

import numpy as np
import pytest

import synkern
from synkern.kernels.contract import Rectangle
from synkern.kernels.cpu_backend import bindings as cpu_library
from synkern.kernels.cpu_backend import compiled_samples
from synkern.kernels.cpu_backend.backend import run
from synkern.kernels.engine.all_pairs import request_for
from synkern.kernels.formulas.estimators import ESTIMATORS

DELAY = 0.03
"""Seconds from the start of a compiled function to the signal."""


ATTEMPTS = 20
"""On a busy machine the signal may come before the compiled function begins, or after its end."""


class AlarmError(Exception):
    """What the handler of the tests raises."""


@pytest.fixture
def alarm(monkeypatch):
    """Sends SIGALRM, once, some time after the compiled function of that name is entered."""
    before = signal.getsignal(signal.SIGALRM)
    call = cpu_library.call

    def send(function, handler, delay=DELAY):
        signal.signal(signal.SIGALRM, handler)

        delays = [delay]

        def armed(name, *arguments):
            # A second alarm would meet what follows the call: a test that is being reported.
            if name == function and delays:
                signal.setitimer(signal.ITIMER_REAL, delays.pop())
            return call(name, *arguments)

        monkeypatch.setattr(cpu_library, "call", armed)

    yield send
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def raise_alarm(number, frame):
    raise AlarmError


def ended_inside(error):
    """Whether the exception came out of the compiled function, rather than after it was done."""
    return any("raise_held" in frame.line for frame in traceback.extract_tb(error.__traceback__))


@pytest.fixture(scope="module")
def many():
    """A fifth of a second of MMI by one thread of a fast processor."""
    return np.random.default_rng(0).standard_normal((40, 300, 768))


@pytest.fixture(scope="module")
def long():
    """Two nodes whose packing alone takes long, as one task."""
    return np.random.default_rng(0).standard_normal((1, 1_000_000, 2))


def asked(nodes, key=("gaussian", "MMI"), *, part=False, **options):
    """All pairs of some nodes, or the rectangle of the first half and the others."""
    halves = Rectangle(slice(0, nodes // 2), slice(nodes // 2, nodes)) if part else None
    options = {"per_trial": False, "dtype": "float64"} | options
    return request_for(("rtr", "sts"), estimator=ESTIMATORS[key], rectangle=halves, **options)


CALLS = {
    "matrices": ("matrices_f64", {}),
    "of every trial": ("matrices_f64", {"per_trial": True}),
    "single precision": ("matrices_f32", {"dtype": "float32"}),
    "a rectangle": ("matrices_f64", {"part": True}),
    "CCS": ("matrices_f64", {"key": ("gaussian", "CCS")}),
    "discrete": ("matrices_f64", {"key": ("discrete", "CCS")}),
    "nodes": ("node_sums", {"by_node": True}),
    "nodes of a rectangle": ("node_sums", {"by_node": True, "part": True}),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("function", "options"), CALLS.values(), ids=CALLS)
def test_an_exception_of_a_handler_ends_the_call(alarm, many, function, options, threads):
    few = many[:1, :, ::24]

    def numbers():
        found = run(few, asked(few.shape[2], **options))
        return (found.sums if options.get("by_node") else found.atoms)["sts"]

    expected = numbers()
    for _ in range(ATTEMPTS):
        alarm(function, raise_alarm)
        with pytest.raises(AlarmError) as raised:
            run(many, asked(many.shape[2], **options), threads)
        if ended_inside(raised.value):
            break
    else:
        pytest.fail("no signal ended the function from inside")
    np.testing.assert_array_equal(numbers(), expected)


@pytest.mark.parametrize("function", ["standardise", "matrices_f64"])
@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_a_single_pair_of_a_long_series_can_be_ended(alarm, long, function, redundancy):
    for _ in range(ATTEMPTS):
        alarm(function, raise_alarm, delay=0.001 if function == "matrices_f64" else DELAY)
        with pytest.raises(AlarmError) as raised:
            synkern.phiid(long, redundancy=redundancy, backend="cpu")
        # MMI of a pair is a few milliseconds, in which the thread that waits may not look.
        if ended_inside(raised.value) or (function, redundancy) == ("matrices_f64", "MMI"):
            return
    pytest.fail("no signal ended the function from inside")


@pytest.mark.parametrize("kind", ["gaussian", "discrete"])
def test_atoms_at_every_sample_can_be_ended(alarm, many, kind):
    pairs = np.stack(np.triu_indices(60, 1), -1)
    for _ in range(ATTEMPTS):
        alarm("pointwise", raise_alarm)
        with pytest.raises(AlarmError) as raised:
            synkern.phiid_local(many[:, :, :60], pairs, kind=kind, backend="cpu")
        if ended_inside(raised.value):
            return
    pytest.fail("no signal ended the function from inside")


@pytest.mark.parametrize("kind", ["gaussian", "discrete"])
def test_a_long_pair_can_be_ended(alarm, long, kind):
    cpu_library.load()
    signal.signal(signal.SIGALRM, raise_alarm)
    for _ in range(ATTEMPTS):
        signal.setitimer(signal.ITIMER_REAL, DELAY)
        with pytest.raises(AlarmError) as raised:
            compiled_samples.of_pair(*long[0].T, 1, (kind, "CCS"), 2**-52)
        if ended_inside(raised.value):
            return
    pytest.fail("no signal ended the function from inside")


def test_a_handler_that_raises_nothing_runs_during_the_call(alarm, many):
    expected = synkern.phiid(many, backend="cpu")
    for _ in range(ATTEMPTS):
        seen = []
        alarm("matrices_f64", lambda number, frame, seen=seen: seen.append(time.perf_counter()))
        start = time.perf_counter()
        found = synkern.phiid(many, backend="cpu")
        end = time.perf_counter()
        assert len(seen) == 1
        np.testing.assert_array_equal(found["sts"], expected["sts"])
        if start + DELAY < seen[0] < start + 0.9 * (end - start):
            return
    pytest.fail("the handler never ran before the end of the call")


def test_ctrl_c_ends_the_call(many):
    sent = threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGINT))

    def work():
        sent.start()
        synkern.phiid(many, redundancy="CCS", backend="cpu")

    with pytest.raises(KeyboardInterrupt):
        work()
    sent.join()


def test_a_call_of_another_thread_goes_on(alarm, many):
    """A signal belongs to the main thread; what waits for the other one gets the exception."""
    expected = synkern.phiid(many, backend="cpu")
    found, done = [], threading.Event()

    def work():
        found.append(synkern.phiid(many, backend="cpu"))
        done.set()

    alarm("matrices_f64", raise_alarm)
    threading.Thread(target=work).start()
    with pytest.raises(AlarmError):
        time.sleep(60)
    assert done.wait(60)
    np.testing.assert_array_equal(found[0]["sts"], expected["sts"])
