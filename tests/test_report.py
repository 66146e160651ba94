"""The figures and the page of a study: that they show its numbers, whatever the model's shape."""

import base64
import io
import re

import matplotlib as mpl
import numpy as np
import pytest

from synkern.figures import head_maps, layer_profile_curves, pair_matrices
from synkern.profile import average_over_trials, layer_profiles
from synkern.report import write_report
from synkern.scores import RANKINGS
from synkern.study_folder import StudyFolder

LAYER = np.array([0, 0, 0, 1, 1, 2, 2, 2, 5, 5, 5])  # layers may differ in size, or be missing
HEAD = np.array([0, 1, 2, 0, 1, 0, 1, 2, 0, 1, 2])
PNG = b"\x89PNG\r\n\x1a\n"


def atoms(seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for scale in (1.0, 0.3):
        matrix = scale * rng.random((6, 11, 11))
        matrix = matrix + matrix.transpose(0, 2, 1)
        matrix[:, np.arange(11), np.arange(11)] = np.nan
        out.append(matrix)
    return out


@pytest.fixture(scope="module")
def profiles():
    return {
        weights: layer_profiles(*atoms(seed), LAYER, bootstrap=100)
        for seed, weights in enumerate(("trained", "random"))
    }


@pytest.fixture(scope="module")
def arrays():
    out = {}
    for seed, weights in enumerate(("trained", "random")):
        sts, rtr = average_over_trials(*atoms(seed))
        out |= {f"{weights}_sts": sts, f"{weights}_rtr": rtr}
        out |= {f"{weights}_layer": LAYER, f"{weights}_head": HEAD}
    return out


def description(**parameters):
    recording = {
        "layers": 4,
        "chat_template": None,
        "answers_ended_early": 2,
        "seconds": {"loading": 1.0, "answering": 2.0},
        "model": {"class": "Llama", "parameters": 12345},
    }
    analysis = {
        "nodes": 11,
        "pairs": 55,
        "trials": 6,
        "samples": 40,
        "warnings": ["odd <series>"],
        "correlations": {"synergy, redundancy": -0.0001, "synergy, autocorrelation": None},
        "backend_that_ran": "torch",
        "degenerate": {"constant": 7, "deterministic": 0, "duplicate": 0},
        "skipped_pair_trials": 7,
        "recomputed_from_data": 3,
        "skipped_nodes": 0,
        "seconds": {"decomposition": 0.5},
    }
    return {
        "parameters": {"model": "a/b<i>", "new_tokens": 40, "tau": 2, "seed": 0, "control": True}
        | {"bootstrap": 1000}
        | parameters,
        "prompts": {"count": 6, "sha256": "0" * 64},
        "environment": {"synkern": "0", "gpu": None},
        "stages": {
            f"{kind} ({weights})": facts
            for kind, facts in (("recording", recording), ("analysis", analysis))
            for weights in ("trained", "random")
        },
    }


def test_the_page_needs_no_other_file_and_shows_the_numbers(tmp_path, arrays, profiles):
    path = write_report(StudyFolder(tmp_path, arrays=arrays), description(), profiles)
    page = path.read_text(encoding="utf-8")
    embedded = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    assert len(embedded) == 5
    assert page.count("<img") == 5
    assert not re.search(r'(src|href)="(?!data:)', page)
    files = {file.read_bytes() for file in tmp_path.glob("*.png")}
    assert {base64.b64decode(data) for data in embedded} == files
    assert all(data.startswith(PNG) for data in files)
    for by_ranking in profiles.values():
        for profile in by_ranking.values():
            low, high = profile.quadratic_interval
            shown = f"{profile.quadratic:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")
            assert shown in page
            # This model is too shallow for three layers on both sides of a vertex.
            slopes = (profile.rise_interval, profile.fall_interval)
            assert any(np.isnan(interval).all() for interval in slopes)
            for low, high in slopes:
                number = f"[{low:+.2f}, {high:+.2f}]".replace("-", "−")
                assert ("too few layers" if np.isnan(low) else number) in page
    assert page.count("<td>yes</td>") + page.count('"yes">yes') + page.count('"no">no') == 6
    assert "b&lt;i&gt;" in page
    assert "odd &lt;series&gt;" in page
    assert "Only 6 prompts" in page
    assert "undefined" in page
    assert "−0.00" not in page
    assert "lag 2 tokens" in page


def test_the_page_of_a_study_without_control_does_not_speak_of_it(tmp_path, arrays, profiles):
    trained = {"trained": profiles["trained"]}
    folder = StudyFolder(tmp_path, arrays=arrays)
    for stale in ("heads_random.png", "pairs_random.png", "mine.png"):
        (tmp_path / stale).write_bytes(PNG)
    page = write_report(folder, description(control=False), trained)
    assert "random weights" not in page.read_text(encoding="utf-8")
    # Figures of the control would belong to another report; a stranger's stay.
    left = {file.name for file in tmp_path.glob("*.png")}
    assert left == {"profiles.png", "heads_trained.png", "pairs_trained.png", "mine.png"}


def test_pair_matrices_have_layers_and_units():
    sts, rtr = average_over_trials(*atoms())
    figure = pair_matrices(sts, rtr, LAYER, "title")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["Synergy (sts)", "Redundancy (rtr)"]
    for axes, matrix in zip(panels, (sts, rtr), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array().filled(np.nan), matrix)
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2", "5"]
        np.testing.assert_allclose(axes.get_xticks(), [1, 3.5, 6, 9])  # the middle of each layer
        boundaries = sorted(line.get_ydata()[0] for line in axes.lines[::2])
        assert boundaries == [2.5, 4.5, 7.5]
    bars = [axes.get_ylabel() for axes in figure.axes if axes not in panels]
    assert bars == ["synergy (nats)", "redundancy (nats)"]


def test_head_maps_put_every_node_where_it_is():
    scores = {"rank_difference": np.arange(11.0) - 5, "mean_difference": np.arange(11.0)}
    figure = head_maps(scores, LAYER, HEAD, "title")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["rank difference", "mean difference"]
    grid = panels[0].images[0].get_array().filled(np.nan)
    assert grid.shape == (4, 3)
    assert grid[3, 2] == 5
    assert grid[1, 1] == -1
    assert np.isnan(grid[1, 2])  # layer 1 has two heads
    # Around zero: as much colour below as above; otherwise the whole scale.
    assert panels[0].images[0].get_clim() == (-5, 5)
    assert panels[1].images[0].get_clim() == (0, 10)


def test_profile_curves_can_be_told_apart_without_colour(profiles):
    figure = layer_profile_curves(profiles, "title")
    panels = figure.axes
    assert [axes.get_title() for axes in panels] == [r.replace("_", " ") for r in RANKINGS]
    for axes, ranking in zip(panels, RANKINGS, strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        assert lines["trained"].get_linestyle() != lines["random"].get_linestyle()
        np.testing.assert_array_equal(lines["random"].get_ydata(), profiles["random"][ranking].mean)
        assert axes.get_xlabel() == "relative depth"
    assert "scaled" in panels[0].get_ylabel()


def test_drawing_leaves_no_global_state():
    before = dict(mpl.rcParams)
    figure = pair_matrices(*average_over_trials(*atoms()), LAYER, "title")
    figure.savefig(io.BytesIO(), format="png")
    assert dict(mpl.rcParams) == before
