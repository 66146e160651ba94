"""The page of a study: that it shows its numbers, and says of each figure what it cannot show."""

import base64
import dataclasses
import html
import io
import re
from unittest import mock

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from support.random_atoms import HEAD, LAYER, atoms, mean_of
from support.tiny_study import HEADS
from synkern.analysis import nulls
from synkern.analysis.scores import RANKINGS
from synkern.study.folder import StudyFolder
from synkern.study.numerals import percent
from synkern.study.report import (
    findings_of,
    layer_profile_curves,
    write_report,
)
from synkern.study.report.figures import STYLE
from synkern.study.stage import Results
from synkern.study.stages import STAGES
from synkern.study.stages.null import FALSE_POSITIVES

pytestmark = pytest.mark.painted

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def arrays():
    out = {}
    for seed, weights in enumerate(("trained", "random")):
        sts, rtr = mean_of(*atoms(seed))
        out |= {f"{weights}_sts": sts, f"{weights}_rtr": rtr}
        out |= {f"{weights}_layer": LAYER, f"{weights}_index": HEAD}
        out |= {f"{weights}_excess_sts": sts - 0.7}
        out |= {f"{weights}_excess_trials": np.full((11, 11), 6) - 6 * np.eye(11, dtype=int)}
        for atom in ("sts", "rtr"):
            out |= {f"{weights}_null_{atom}_{key}": sts / 2 for key in "pqz"}
    return out


EXCESS = {
    "absent": None,
    "missing": 2,
    "missing_share": 2 / 330,
    "complete": True,
    **{"sts_with": 0.111, "sts_without": 0.222, "drift_with": 0.33, "drift_without": 0.44},
}
NULL = {
    "null": "circular",
    "draws": 99,
    "smallest_p": 0.02,
    "share_needed": 0.4,
    "warnings": ["few trials"],
    "seconds": {"null test": 3.0},
    "atoms": {
        "sts": {"share_p": 0.5, "share_q": 0.123, "share_q_above": 0.023, "share_q_below": 0.1},
        "rtr": {"share_p": 0.5, "share_q": 0.3, "share_q_above": 0.2, "share_q_below": 0.1},
    },
}


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
        "correlations": {
            "synergy, redundancy": -0.0001,
            "synergy, autocorrelation": None,
            "redundancy, autocorrelation": 0.31,
            "mean_difference, rank_difference": 0.42,
            "mean_difference, balance": 0.53,
            "excess synergy, autocorrelation": -0.64,
        },
        "unit": "nats",
        "routing": None,
        "decompositions": 330,
        "negative": {"sts": 3, "rtr": 4},
        "excess": EXCESS,
        "backend_that_ran": "torch",
        "degenerate": {"constant": 7, "deterministic": 0, "duplicate": 0},
        "skipped_pair_trials": 7,
        "recomputed_from_data": 3,
        "skipped_nodes": 0,
        "seconds": {"decomposition": 0.5},
    }
    kinds = {"recording": recording, "analysis": analysis}
    if parameters.get("null", "none") != "none":
        kinds["null"] = NULL
    return {
        "parameters": {"model": "a/b<i>", "new_tokens": 40, "tau": 2, "seed": 0, "control": True}
        | {"kind": "gaussian", "redundancy": "MMI", "average": "trials", "detrend": "none"}
        | {"nodes": "heads", "signal": "norm", "pairs": "kept"}
        | {"trust_remote_code": False, "null": "none", "bootstrap": 1000}
        | parameters,
        "nodes": dataclasses.asdict(HEADS),
        "prompts": {"count": 6, "sha256": "0" * 64},
        "environment": {"synkern": "0", "gpu": None},
        "stages": {
            f"{kind} ({weights})": facts
            for kind, facts in kinds.items()
            for weights in ("trained", "random")
        },
    }


def test_the_page_loads_no_other_file_and_shows_the_numbers(tmp_path, arrays, profiles):
    path = written(tmp_path, description(), arrays, profiles)
    page = path.read_text(encoding="utf-8")
    embedded = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    assert len(embedded) == 8
    assert page.count("<img") == page.count('class="limits"') == 8
    # A link to the page to explore, and nothing that a browser would load.
    assert re.findall(r'(?:src|href)="(?!data:)([^"]*)', page) == ["explore.html"]
    files = {file.read_bytes() for file in tmp_path.glob("*.png")}
    assert {base64.b64decode(data) for data in embedded} == files
    assert all(data.startswith(PNG) for data in files)
    for by_ranking in profiles.values():
        for profile in (by_ranking[ranking] for ranking in RANKINGS):
            low, high = profile.quadratic_interval
            shown = f"{profile.quadratic:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")
            assert shown in page
            # This model is too shallow for three layers on both sides of a vertex.
            slopes = (profile.rise_interval, profile.fall_interval)
            assert any(np.isnan(interval).all() for interval in slopes)
            for low, high in slopes:
                number = f"[{low:+.2f}, {high:+.2f}]".replace("-", "−")
                assert ("too few layers" if np.isnan(low) else number) in page
    verdicts = [page.count(f'"{verdict}">{verdict}') for verdict in ("yes", "no", "incomplete")]
    assert sum(verdicts) == 12
    assert verdicts[2] == 2  # both excess profiles of the random weights
    assert "b&lt;i&gt;" in page
    assert "odd &lt;series&gt;" in page
    assert "Only 6 prompts" in page
    assert "undefined" in page
    assert not re.search(r"−0\.0+(?!\d)", page)
    assert "lag 2 tokens" in page


@pytest.mark.parametrize("name", ["a$b", "$\\frac$", "100%_{x}^$y$ \\\\ $"])
def test_no_name_of_a_model_is_a_formula(tmp_path, arrays, profiles, name):
    trained = {"trained": {r: p for r, p in profiles["trained"].items() if "excess" not in r}}
    # As set by a matplotlibrc of the user.
    with mpl.rc_context({"text.usetex": True, "axes.formatter.use_mathtext": True}):
        figure = layer_profile_curves({f"{name} trained": trained["trained"]}, f"{name}: title")
        with mpl.rc_context(STYLE):
            figure.savefig(io.BytesIO(), format="png")  # fails of what is no formula
    assert figure.get_suptitle() == f"{name}: title"
    page = page_of(tmp_path, arrays, profiles, model=f"models/{name}")
    assert f"Synergy over depth: {name}" in page


def test_the_page_begins_with_three_sentences(tmp_path, arrays, profiles):
    page = page_of(tmp_path, arrays, profiles)
    sentences = findings_of(Results(description(), {}, profiles), STAGES)
    start = page.index("Does synergy peak")
    assert page[:start].rstrip().endswith(" ".join(" ".join(sentences).split()))
    assert "trust-remote-code" not in page
    allowed = page_of(tmp_path, arrays, profiles, trust_remote_code=True)
    assert "Python code that comes with the model was allowed to run" in allowed


def test_the_ranking_of_the_published_figures_comes_first_and_is_marked(tmp_path, arrays, profiles):
    page = page_of(tmp_path, arrays, profiles)
    pattern = r"trained(mean difference \(as published\)|rank difference|balance)[+−]"
    rows = re.findall(pattern, page)
    assert rows == ["mean difference (as published)", "rank difference", "balance"]


def test_the_page_of_a_study_without_control_does_not_speak_of_it(tmp_path, arrays, profiles):
    trained = {"trained": profiles["trained"]}
    for stale in ("heads_random.png", "pairs_random.png", "mine.png"):
        (tmp_path / stale).write_bytes(PNG)
    page = written(tmp_path, description(control=False), arrays, trained)
    assert "random weights" not in page.read_text(encoding="utf-8")
    # Figures of the control would belong to another report; a stranger's stay.
    left = {file.name for file in tmp_path.glob("*.png")}
    assert left == {
        *("profiles.png", "synergy.png", "heads_trained.png", "pairs_trained.png"),
        *("excess_trained.png", "mine.png"),
    }


def written(tmp_path, described, arrays, profiles):
    """The page of a study."""
    results = Results(described, arrays, profiles)
    sentences = findings_of(results, STAGES)
    return write_report(StudyFolder(tmp_path), results, STAGES, sentences)


def page_of(tmp_path, arrays, profiles, facts=None, **parameters):
    """The page as plain text, white space as single blanks; `facts` of the analyses are changed."""
    described = description(**parameters)
    for weights in ("trained", "random"):
        described["stages"][f"analysis ({weights})"] |= facts or {}

    # Only the words are looked at: rendering the figures takes seconds.
    def draw(figure, file, **options):
        file.write(PNG)

    with mock.patch.object(Figure, "savefig", draw):
        page = written(tmp_path, described, arrays, profiles)
    text = re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))
    return " ".join(html.unescape(text).split())


def test_under_every_figure_stands_what_it_cannot_show_with_numbers_of_the_run(
    tmp_path, arrays, profiles
):
    page = page_of(tmp_path, arrays, profiles)
    assert page.count("Can show") == page.count("Cannot show") == 8
    assert "mean difference and rank difference: 0.42 (trained weights), 0.42 (random" in page
    assert "rank correlation undefined for synergy, 0.31 for redundancy" in page
    assert "Below zero are 3 pairs in synergy and 4 in redundancy, of 55" in page
    assert "All this is of one model, 6 prompts, lag 2" in page
    # The excess next to that of unrelated heads, the level and the bend.
    beyond = profiles["trained"]["excess_synergy"]
    level = f"{np.nanmean(beyond.scores):+.3f}".replace("-", "−")
    assert f"trained weights, mean {level} and quadratic term" in page
    assert "2 of 330 (prompt, pair), 0.61 %; these correlate with the token's position" in page
    assert "by 0.44 (mean over both heads, without sign) and have 0.222 nats" in page
    assert "nats of synergy, the others 0.33 and 0.111" in page


def test_what_is_missing_is_not_passed_over(tmp_path, arrays, profiles):
    incomplete = EXCESS | {"missing": 200, "missing_share": 200 / 330, "complete": False}
    page = page_of(tmp_path, arrays, profiles, {"excess": incomplete})
    assert "The missing are not a sample of all: they are the drifting pairs" in page
    assert "no verdict is given on it" in page
    assert "200 of 330 (prompt, pair), 61 %" in page
    steady = incomplete | {"drift_without": 0.1}
    page = page_of(tmp_path, arrays, profiles, {"excess": steady})
    assert "The missing are not a sample of all." in page
    assert "drifting" not in page


def test_without_excess_the_page_says_why(tmp_path, arrays, profiles):
    raw = {
        weights: {r: p for r, p in by_ranking.items() if "excess" not in r}
        for weights, by_ranking in profiles.items()
    }
    facts = {"excess": {"absent": "the reference is for <b>others</b>"}, "unit": "bits"}
    page = page_of(tmp_path, arrays, raw, facts, kind="discrete", redundancy="CCS")
    assert "no synergy beyond persistence here: the reference is for <b>others</b>." in page
    assert "AR(1)" not in page
    assert not list(tmp_path.glob("excess_*.png"))
    assert "nats" not in page
    assert "each series one bit, above its mean or not; redundancy: common change in sur" in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"detrend": "linear"}, "after subtracting a straight line over time"),
        ({"detrend": "quadratic"}, "after subtracting a parabola over time"),
        ({"detrend": "difference"}, "as its change from token to token"),
        ({"detrend": "copula"}, "replaced by the normal quantiles of their ranks"),
        ({"detrend": "zscore"}, "centred and divided by its standard deviation"),
        ({"average": "moments"}, "pooled over prompts and decomposed once"),
        ({"average": "concatenate"}, "lags across the seams left out"),
    ],
)
def test_the_page_says_how_it_was_done(tmp_path, arrays, profiles, changes, said):
    assert said in page_of(tmp_path, arrays, profiles, **changes)


def test_the_null_is_shown_with_its_size_and_its_resolution(tmp_path, arrays, profiles):
    page = page_of(tmp_path, arrays, profiles, null="circular", null_draws=99)
    assert (tmp_path / "null.png").is_file()
    assert (
        "trained weights, synergy 12 % of the pairs (higher 2.3 %, lower 10 %; by p alone 50 %),"
        in page
    )
    assert "99 draws give no p below 0.020" in page
    assert "no pair counts unless 40 % of all reach it" in page
    assert "p ≤ 0.05 to a share of .188 / .054 of the pairs (sts / rtr) at coefficient 0.5" in page
    assert "few trials" in page


def test_the_sizes_of_the_nulls_are_those_measured():
    table = {
        row.split("|")[1].strip(" `"): [cell.strip() for cell in row.split("|")[4:6]]
        for row in nulls.__doc__.splitlines()
        if row.startswith("| `")
    }
    assert set(table) == set(nulls.NULLS)
    assert {null: list(sizes) for null, sizes in FALSE_POSITIVES.items()} == table


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.0921, "9.2 %"),
        (0.5816, "58 %"),
        (0.0004, "0.04 %"),
        (0.9996, "99.96 %"),
    ],
)
def test_shares_are_not_rounded_to_nothing_or_all(share, said):
    assert percent(share) == said
