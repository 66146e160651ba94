"""`synkern networks`: synergy and redundancy of a finished study as networks."""

import html
import importlib.util
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import synkern
from support import painting, tiny_study
from synkern.analysis import NULL_GRAPHS, TrialAverages, network_intervals, networks
from synkern.analysis.graph import intervals
from synkern.analysis.graph.results import MEASURES
from synkern.analysis.graph.weights import DENSITIES, NoGraphError
from synkern.analysis.options import NULL_GRAPH_NAMES
from synkern.cli import main
from synkern.study import ArgumentError, MissingPackageError, StudyError, run_networks
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.networks import results as networks_results
from synkern.study.experiments.networks.options import NetworksOptions
from synkern.study.experiments.pieces import Kept
from synkern.study.numerals import rounded
from synkern.study.options import documented
from synkern.study.published import published

pytest.importorskip("scipy", reason="the extra networks is not installed")
pytest.importorskip("sknetwork", reason="the extra networks is not installed")

QUICK = {"runs": 3, "draws": 4, "bootstrap": 20, "densities": (0.2, 0.5), "progress": False}
GRAPHS = ("synergy", "redundancy")


def seen(out, **options):
    return run_networks(out=out, **QUICK | options)


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory):
    """A finished study with its networks; not to be changed."""
    out = tmp_path_factory.mktemp("made") / "study"
    shutil.copytree(finished.out, out)
    with painting.painted():
        return seen(out)


@pytest.fixture(scope="module")
def expected(finished):
    """The same by the library."""
    arrays = finished.arrays
    given = arrays["trained_sts"], arrays["trained_rtr"], arrays["trained_layer"]
    return networks(*given, runs=3, draws=4, densities=(0.2, 0.5))


def test_it_measures_what_the_library_does_with_the_atoms_of_the_study(made, expected):
    arrays, facts = made.arrays, made.facts
    np.testing.assert_array_equal(arrays["densities"], [0.2, 0.5, 1])
    for name in GRAPHS:
        graph = getattr(expected, name)
        found = facts["graphs"][name]
        for place, measure in enumerate(MEASURES):
            np.testing.assert_array_equal(
                arrays[f"{name}_measured"][place], graph.measured[measure]
            )
            for row, null in enumerate(NULL_GRAPHS):
                np.testing.assert_array_equal(
                    arrays[f"{name}_nulls"][row, place], graph.nulls[null][measure]
                )
                against = graph.against(null, measure)
                said = found["against"][null][measure]
                assert said["ratio"]["value"] == rounded(against.ratio[-1])
                assert said["z"] == rounded(against.z[-1])
                assert said["p"] == pytest.approx(against.p[-1], abs=1e-6)
            raw = found["raw"][measure]["value"]
            assert raw == pytest.approx(graph.whole(measure), abs=1e-6)
        np.testing.assert_array_equal(arrays[f"{name}_consensus"], graph.consensus)
        np.testing.assert_array_equal(arrays[f"{name}_participation"], graph.participation)
        assert found["negative_pairs"] == len(graph.graph.negative)
        assert arrays[f"{name}_places"].shape == (8, 2)
    assert facts["spearman"]["value"] == pytest.approx(expected.spearman, abs=1e-6)


def test_intervals_are_those_of_draws_of_the_recorded_prompts(made, finished):
    result = synkern.phiid(finished.arrays["trained_series"], average=None)
    averages = TrialAverages.of([result])
    drawn = network_intervals(averages, finished.arrays["trained_layer"], bootstrap=20)
    np.testing.assert_array_equal(made.arrays["bootstrap_spearman"], drawn.spearman)
    for null, by_measure in made.facts["differences"].items():
        for measure, said in by_measure.items():
            ends = drawn.difference(measure, null or None)
            ends = [end if np.isfinite(end) else None for end in ends]
            assert [said["low"], said["high"]] == pytest.approx(ends, abs=1e-6)


@pytest.mark.parametrize(
    ("measure", "difference", "verdict"),
    [
        ("efficiency", (0.2, 0.1, 0.3), "holds"),
        ("efficiency", (-0.2, -0.3, -0.1), "reversed"),
        ("efficiency", (0.2, -0.1, 0.3), "open"),
        ("efficiency", (-0.2, 0.1, 0.3), "open"),  # a value on the other side of 0
        ("modularity", (-0.2, -0.3, -0.1), "holds"),
        ("modularity", (0.2, 0.1, 0.3), "reversed"),
        ("modularity", (0.2, None, None), None),
        ("clustering", (0.2, 0.1, 0.3), None),
    ],
)
def test_what_becomes_of_what_is_published(measure, difference, verdict):
    given = dict(zip(("value", "low", "high"), difference, strict=True))
    assert networks_results._claim(measure, given) == verdict


def test_the_report_has_figures_tables_published_numbers_and_the_answer(made):
    page = made.report.read_text("utf-8")
    section = page.partition("<h2>What kind of networks are synergy and redundancy?</h2>")[2]
    section, _, _ = section.partition("<h2>How it was done</h2>")
    assert section.count("<img ") == 2
    for picture in ("networks", "networks_drawn"):
        assert (made.out / f"{picture}.png").stat().st_size > 10_000
    text = html.unescape(" ".join(re.sub(r"<[^>]+>", " ", section).split()))
    assert made.facts["finding"] in text
    for table in published("networks")["tables"]:
        assert {"source", "error", "rows"} <= table.keys()
        assert " ".join(table["source"].split()) in text
        for row in table["rows"]:
            numbers = (
                f"{row[m]['synergy']} / {row[m]['redundancy']}" for m in networks_results.CLAIMS
            )
            assert f"{row['model']}, {row['nodes']} [1] {' '.join(numbers)}" in text
    for ranking in synkern.RANKINGS:
        assert f"its rank correlation with {ranking.replace('_', ' ')}" in text
    positions = [text.index(f"correlation with {r.replace('_', ' ')}") for r in synkern.RANKINGS]
    assert positions == sorted(positions)
    assert "no edge (weight 0); refused where more than 5 %" in text
    assert "0 pairs of synergy, 0 pairs of redundancy." in text
    # Nothing was switched off.
    assert "none was switched off" in made.study.description["summary"][2]
    assert made.study.description["summary"][3] == made.facts["finding"]


def test_the_area_is_that_under_the_measures_of_the_thresholds(made):
    for name in GRAPHS:
        found, measured = made.facts["graphs"][name], made.arrays[f"{name}_measured"]
        nulls = made.arrays[f"{name}_nulls"]
        for place, measure in enumerate(MEASURES):
            area = measured[place, :2].mean()  # of two densities, the mean of both ends
            assert found["area"][measure] == pytest.approx(area, abs=1e-6)
            for row, null in enumerate(NULL_GRAPHS):
                of_null = nulls[row, place].mean(0)[:2].mean()
                ratio = area / of_null if abs(of_null) > 1e-12 else None
                assert found["area_ratio"][null][measure] == pytest.approx(ratio, abs=2e-6)


def test_it_needs_no_model_and_is_reused(copy, made, monkeypatch):
    monkeypatch.setattr("synkern.study.models.Models.get", None)
    first = seen(copy)
    assert not first.reused
    np.testing.assert_array_equal(first.arrays["synergy_measured"], made.arrays["synergy_measured"])
    assert seen(copy, workers=2).reused
    assert not seen(copy, seed=1, bootstrap=0, nulls=["layers"]).reused


def test_without_draws_of_prompts_nothing_is_decided(copy):
    found = seen(copy, bootstrap=0, nulls=("weights",))
    assert "bootstrap_ratio" not in found.arrays
    assert "beside nulls nothing is said without intervals" in found.facts["finding"]
    assert any("no interval says" in warning for warning in found.facts["warnings"])
    assert found.facts["differences"]["weights"]["modularity"]["claim"] is None


def test_another_page_is_written_where_the_libraries_are_missing(copy, made, monkeypatch):
    """What was drawn needs them no more."""
    seen(copy)
    find, bring = importlib.util.find_spec, importlib.import_module
    gone = ("scipy", "sknetwork")

    def find_spec(name, *rest):
        return None if name in gone else find(name, *rest)

    def import_module(name, *rest):
        if name.partition(".")[0] in gone:
            raise ModuleNotFoundError(name=name)
        return bring(name, *rest)

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    monkeypatch.setattr("importlib.import_module", import_module)
    message = (
        r"needs the package 'scipy', of the extra 'networks': pip install \"synkern\[networks\]\""
    )
    with pytest.raises(MissingPackageError, match=message):
        seen(copy, seed=1)
    (copy / "report.html").unlink()
    tiny_study.again(json.loads((copy / "study.json").read_text())["parameters"]["model"], copy)
    assert "What kind of networks" in (copy / "report.html").read_text("utf-8")


@pytest.mark.parametrize("nodes", ["layers", "pooled"])
def test_other_studies(nodes, model, tmp_path):
    given = {"nodes": "layers"} if nodes == "layers" else {"average": "moments"}
    tiny_study.again(model, tmp_path / "study", control=False, **given)
    found = seen(tmp_path / "study", nulls=("weights", "layers"))
    assert found.facts["nodes"] == (4 if nodes == "layers" else 8)
    # Of so few nodes, some nulls are one community, to whose modularity, 0, there is no ratio.
    assert np.isfinite(found.arrays["bootstrap_ratio"][:, :3]).all()
    assert np.isfinite(found.arrays["bootstrap_raw"]).all()


def test_a_study_of_few_nodes_has_defaults_that_can_be_used(model, tmp_path):
    tiny_study.again(model, tmp_path / "study", control=False, nodes="layers")
    found = seen(tmp_path / "study", densities=None, bootstrap=0)
    assert found.arrays["densities"].tolist() == [1]
    assert found.facts["dropped_densities"] == [*DENSITIES[:-1]]
    assert found.facts["options"]["drawn"] == 0.5  # 3 of the 6 pairs join 4 layers
    page = " ".join(found.report.read_text("utf-8").split())
    assert "5 %, 10 %, 15 %, 20 %, 30 % are left out: of so few layers that keeps less" in page
    assert "than the 3 edges it takes to join all 4, whatever the weights" in page


def test_too_few_nodes_are_refused(finished, monkeypatch):
    monkeypatch.setattr(FinishedStudy, "nodes", property(lambda study: ["node"] * 3))
    with pytest.raises(StudyError, match=r"has 3 heads; a network needs at least 4: .* other nod"):
        seen(finished.out)


KILLED = """
import os, signal, sys
from synkern.study.experiments.pieces import Kept
keep, stop = Kept.__setitem__, int(sys.argv.pop(1))

def killed(self, name, done):
    keep(self, name, done)
    if len(self) == stop:
        with self._file.open("ab") as file:
            file.write(b'["synergy 1')  # half a line, as of a process in the middle of it
        os.kill(os.getpid(), signal.SIGKILL)

Kept.__setitem__ = killed
from synkern.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("stop", [5, 45])
def test_killed_it_goes_on_and_ends_with_the_same_numbers(stop, copy, made, monkeypatch):
    """Among graphs and nulls, and among draws of prompts."""
    command = [sys.executable, "-c", KILLED, str(stop), "networks", "--out", str(copy)]
    command += ["--runs", "3", "--draws", "4", "--bootstrap", "20", "--densities", "0.2", "0.5"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    (partial,) = copy.glob(".partial-networks-*")
    assert partial.read_bytes().count(b"\n") == stop
    kept = []
    keep = Kept.__setitem__
    monkeypatch.setattr(
        Kept, "__setitem__", lambda self, name, done: (kept.append(name), keep(self, name, done))
    )
    resumed = seen(copy)
    # Of either graph: runs, two thresholds, four resolutions, four nulls of three kinds; then the
    # draws; and of both what they belong to.
    assert len({*kept}) == len(kept) == 2 * (1 + 2 + 4 + 12) + 20 + 2 - stop
    assert resumed.arrays.keys() == made.arrays.keys()
    for name, array in made.arrays.items():
        np.testing.assert_array_equal(resumed.arrays[name], array, err_msg=name)
    differ = {name for name, fact in made.facts.items() if resumed.facts[name] != fact}
    assert differ <= {"seconds", "finished"}
    assert not [*copy.glob(".partial-*")]


def test_what_is_kept_is_there_again_to_the_last_bit(tmp_path):
    file = tmp_path / "kept"
    one = Kept(file)
    one["a"] = {"x": [0.1 + 0.2, float("inf"), 5e-324]}
    one["b"] = [1, float("nan")]
    with file.open("ab") as opened:
        opened.write(b'["c", 1')
    again = Kept(file)
    assert again.keys() == {"a", "b"}
    assert again["a"] == one["a"]
    assert np.isnan(again["b"][1])
    again["c"] = 2
    assert Kept(file)["c"] == 2
    # Damage in the middle costs what comes after it.
    file.write_bytes(file.read_bytes().replace(b'"b"', b"\0\0\0"))
    assert Kept(file).keys() == {"a"}


def test_draws_of_prompts_that_make_no_network_are_told(copy, monkeypatch):
    measure = intervals._of_graph

    def of_graph(task, place):
        if task.key[1] % 5 == 3:
            raise NoGraphError("99 of 100 pairs of sts are negative")
        return measure(task, place)

    monkeypatch.setattr(intervals, "_of_graph", of_graph)
    found = seen(copy, nulls=("weights",))
    assert found.facts["failed_draws"] == 4
    failed = np.arange(20) % 5 == 3
    np.testing.assert_array_equal(np.isnan(found.arrays["bootstrap_spearman"]), failed)
    np.testing.assert_array_equal(np.isnan(found.arrays["bootstrap_raw"]).all((0, 2)), failed)
    assert found.facts["graphs"]["synergy"]["raw"]["efficiency"]["low"] is None
    said = "4 of 20 draws of prompts make no network and are in no interval; the first: 99 of 100"
    assert any(said in warning for warning in found.facts["warnings"])
    page = " ".join(found.report.read_text("utf-8").split())
    assert "4 of the 20 draws of prompts make no network and are in no interval (the fi" in page


def test_an_exact_zero_is_a_number(made):
    facts = json.loads(json.dumps(made.facts))
    same = {"value": 0.0, "low": None, "high": None}
    facts["differences"]["weights"]["efficiency"] = same
    facts["differences"]["layers"]["efficiency"] = same | {"value": None}
    lines = networks_results.lines_of(facts)
    row = lines.index(next(line for line in lines if "efficiency, raw" in line))
    assert lines[row + 1].endswith("  +0")
    assert lines[row + 3].endswith("  undefined")


def test_a_study_without_single_pairs_is_refused(model, tmp_path):
    tiny_study.again(model, tmp_path / "study", control=False, pairs="averaged")
    with pytest.raises(StudyError, match=r"kept means by head .* study it with pairs = 'kept'"):
        seen(tmp_path / "study")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bootstrap": 7}, "bootstrap = 7; give 0, for no intervals, or at least 20"),
        ({"nulls": ["weights", "weights"]}, "names one twice"),
        ({"nulls": ["rewired"]}, "nulls = 'rewired'; choose from weights, strengths, layers"),
        ({"densities": (0.0, 0.5)}, "one of densities = 0.0; give a share of the pairs, above 0"),
        ({"densities": (0.01,)}, "densities = 0.01 of 28 pairs is none of them; give at least 0.0"),
        ({"drawn": 0}, "drawn = 0; give a share of the pairs, above 0"),
        ({"drawn": 0.01}, "drawn = 0.01 of 28 pairs is none of them; give at least 0.036"),
        ({"draws": 1}, "draws = 1; give an integer of at least 2"),
    ],
)
def test_options_that_cannot_be_used(finished, change, message):
    with pytest.raises(ArgumentError, match=message):
        seen(finished.out, **change)


def test_the_command(copy, capsys):
    words = ["networks", "--out", str(copy), "--runs", "2", "--draws", "2", "--bootstrap", "0"]
    assert main([*words, "--nulls", "weights"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Networks of 8 heads: raw, as published, efficiency 0.")
    assert re.search(r"^  modularity, raw .* [+-]0\.\d+$", printed.out, re.M)
    assert "plan: measure the networks of synergy and redundancy of 8 heads, 2 runs" in printed.err
    with pytest.raises(SystemExit):
        main(["networks", "--help"])
    assert "it goes on where it stopped" in " ".join(capsys.readouterr().out.split())


def test_names_that_stand_in_two_places_are_the_same():
    assert tuple(NULL_GRAPHS) == NULL_GRAPH_NAMES == tuple(networks_results.KEEPS)
    assert tuple(MEASURES) == tuple(networks_results.CALLED)
    assert documented(NetworksOptions) in run_networks.__doc__
