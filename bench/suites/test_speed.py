"""Time of every contender and workload on every shape, one sweep over all after the other.

    make bench
    make bench BENCH_ARGS="-k 'SmolLM2 and CCS' --out FILE"

What is not installed, or not right, is reported in the records and has no time; a backend of
synkern that is not right fails. If the sweeps would take longer than `--limit`, fewer are made, and
the records have fewer.
"""

from __future__ import annotations

from bench.conftest import event_rounds_or_none, weight
from bench.harness.measure import Measurement


def test_speed(benchmark, session, roof, say, sweep, case):
    measurement = session.measurements.setdefault(case, Measurement(case))
    if not session.begins(sweep):
        benchmark._mode = "disabled"  # or pytest-benchmark would warn that nothing was timed
        return
    if sweep == 0 and session.elapsed > session.limit:
        measurement.failure = ("failed", f"no time left after {session.limit:.0f} s")

    def rounds(call, setup, count):
        output = benchmark.pedantic(
            call, setup=lambda: (setup(), {}), rounds=count, iterations=1, warmup_rounds=0
        )
        return list(benchmark.stats.stats.data), output

    measurement.sweep(session.budget * weight(case), event_rounds_or_none(case) or rounds)
    record = measurement.record(roof)
    say(record)
    if record.state != "measured":
        if benchmark.stats is not None:  # Nor does pytest-benchmark's table have a time.
            benchmark.stats.stats.data.clear()
        benchmark._mode = "disabled"
    assert record.state != "refused" or case.contender.peer, record.reason
