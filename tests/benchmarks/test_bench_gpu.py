"""What `bench.gpu.check` leaves becomes a result of the page."""

from bench.gpu.condense import condensed
from bench.harness.records import RESULTS, Run
from bench.page import gpu


def row(error, *, passed=True, **given):
    base = {"backend": "cupy", "kind": "gaussian", "redundancy": "MMI", "what": "all"}
    base |= {"path": "series", "dtype": "float64", "size": [3, 60, 37], "series": "random"}
    return base | {"error": error, "tolerance": 1e-9, "passed": passed} | given


def test_rows_become_counts_and_the_worst():
    rows = [row(1e-12), row(5e-10, series="duplicate"), row(2e-9, passed=False, path="moments")]
    found = condensed({"passed": False, "left out": 4, "rows": rows})
    assert "rows" not in found
    assert (found["passed"], found["left out"], found["number of rows"]) == (False, 4, 3)
    series = found["groups"]["cupy gaussian MMI all series float64"]
    assert (series["rows"], series["failed"], series["worst over allowed"]) == (2, 0, 0.5)
    assert "series duplicate" in series["worst"]
    assert found["groups"]["cupy gaussian MMI all moments float64"]["failed"] == 1
    (name, *cells) = gpu.correctness_rows([{"commit": "c", "stages": {"x-correctness": found}}])[1]
    assert cells == ["cupy", "3", "1", "4 of the stage", "2", "3 x 60 x 37: 3"]
    assert name == "x-correctness, c"


def test_no_folder_of_a_traceback_is_kept():
    trace = 'Traceback (most recent call last):\n  File "/home/a/b.py", line 1\nTypeError: no'
    found = condensed({"error": trace, "memcheck": ['  File "/home/a/b.py"', "TypeError: no"]})
    assert found == {"error": "TypeError: no", "memcheck": ["TypeError: no"]}


def test_the_committed_result_of_a_gpu():
    text = (RESULTS / "h100.json").read_text(encoding="utf-8")
    assert not [line for line in text.splitlines() if 'File "' in line or '"/' in line]
    run = Run.load(RESULTS / "h100.json")
    groups = [
        group
        for each in run.tables["gpu check"]
        for stage in each["stages"].values()
        for group in stage.get("groups", {}).values()
    ]
    assert groups
    assert all(not g["failed"] and g["worst over allowed"] <= 1 for g in groups)
