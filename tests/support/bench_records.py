"""Records of benchmarks that nobody ran."""

from bench.harness.records import Check, Record

SHAPE = {"name": "Big", "nodes": 1000, "trials": 60, "time": 100}


def record(way="cpu", sweeps=((1.0, 2.0, 3.0), (2.0,)), **changes):
    timed = {"trials": 5, "nodes": 101, "pairs": 5050}
    values = {
        "way": way,
        "work": "CCS",
        "shape": SHAPE,
        "dtype": "float64",
        "timed": timed,
        "sweeps": sweeps,
        "seeds": (1, 2),
        "operations": 1e9,
        "bytes": 1e6,
        "floor": 0.5,
        "check": Check(1e-12, 1e-9, 8),
    }
    return Record(**values | changes)
