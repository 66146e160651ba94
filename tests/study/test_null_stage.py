"""The null test of a study."""

import shutil

import numpy as np
import pytest

import synkern
from support import tiny_study
from support.tiny_study import ALL, NULLS, RECORDINGS


@pytest.fixture(scope="module")
def tested(model, finished, tmp_path_factory):
    """The finished study with a null test of both models."""
    out = shutil.copytree(finished.out, tmp_path_factory.mktemp("tested") / "out")
    return tiny_study.again(model, out, null="cross_trial", null_draws=39)


def test_the_null_test_is_that_of_the_library(tested):
    assert tested.reused == ALL
    for weights in ("trained", "random"):
        norms = tested.arrays[f"{weights}_series"]
        expected = synkern.null_test(norms, "cross_trial", n=39)
        facts = tested.description["stages"][f"null ({weights})"]
        assert facts["draws"] == 39
        assert facts["smallest_p"] == 0.05
        assert facts["share_needed"] == 1.0
        for atom in ("sts", "rtr"):
            p, q = expected.p[atom], expected.q[atom]
            np.testing.assert_array_equal(tested.arrays[f"{weights}_null_{atom}_p"], p)
            np.testing.assert_array_equal(tested.arrays[f"{weights}_null_{atom}_q"], q)
            away = expected.observed[atom] - expected.null_mean[atom]
            z = tested.arrays[f"{weights}_null_{atom}_z"]
            np.testing.assert_allclose(z * expected.null_sd[atom], away, atol=1e-12)
            upper = np.triu_indices(8, 1)
            found = facts["atoms"][atom]
            assert found["tested"] == np.isfinite(p[upper]).sum()
            assert found["share_p"] == pytest.approx(np.mean(p[upper] <= 0.05))
            assert found["share_q"] == pytest.approx(np.mean(q[upper] <= 0.05))
            above = (q[upper] <= 0.05) & (away[upper] > 0)
            assert found["share_q_above"] == pytest.approx(np.mean(above))
            both = found["share_q_above"] + found["share_q_below"]
            assert both == pytest.approx(found["share_q"])
    assert (tested.out / "null.png").is_file()
    assert "null <code>cross_trial</code>" in tested.report.read_text(encoding="utf-8")


def test_a_null_test_is_kept_while_what_it_depends_on_stays(model, tested, tmp_path):
    out = shutil.copytree(tested.out, tmp_path / "copy")
    null = {"null": "cross_trial", "null_draws": 39}
    assert tiny_study.again(model, out, **null, bootstrap=150).reused == RECORDINGS + NULLS
    assert tiny_study.again(model, out, **null, control=False).reused == (RECORDINGS[0], NULLS[0])
    without = tiny_study.again(model, out, control=False)
    assert not any("null" in name for name in [*without.arrays, *without.description["stages"]])


def test_a_null_test_is_done_again_where_what_it_depends_on_changes(
    model, tested, tmp_path, free_runs
):
    out = shutil.copytree(tested.out, tmp_path / "copy")
    null = {"null": "cross_trial", "null_draws": 39, "control": False}
    for change in ({"null_draws": 40}, {"seed": 3}, {"tau": 2}, {"redundancy": "CCS"}):
        free_runs.clear()
        tiny_study.again(model, out, **null | change)
        assert NULLS[0] in free_runs
