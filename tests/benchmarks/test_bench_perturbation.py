"""What small models lose on tasks: the suite from models that are hardly trained."""

import json

import pytest

from bench.suites import perturbation as suite
from synkern.tasks import generate


@pytest.mark.filterwarnings("ignore")  # of what so short a study and so bad a model are
def test_all_kinds_of_nodes_of_a_model_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "KINDS", {"moe": ("heads", "experts")})
    said = []
    tables = suite.rehearse(tmp_path, said.append)
    assert {*tables} == {"moe, heads", "moe, experts"}
    # A norm over all heads: every query depends on the weights of all.
    assert "no weights make one head alone" in tables["moe, heads"]["noise"]["refused"]
    noise = tables["moe, experts"]["noise"]
    assert len(noise) == 3
    for part in noise.values():
        assert [row["condition"] for row in part["conditions"]][:2] == ["intact", "synergy"]
        assert part["alpha"] == noise["mean_difference, likelihood"]["alpha"]
    assert tables["moe, experts"]["tasks"] > 20
    for table in tables.values():
        curve = table["ablation"]
        assert curve["fractions"][0] == 0
        assert {row["order"] for row in curve["orders"]} == {
            "synergy",
            "redundancy",
            "random",
            "layer_matched",
        }
        assert {*curve["by level"]} == {"1", "2", "3", "4", "5"}
    json.dumps(tables, allow_nan=False)
    listed = json.loads((tmp_path / "work" / "prompts.json").read_text("utf-8"))
    prompts = {prompt for each in listed.values() for prompt in each}
    splits = {task.split for task in generate(8, seed=2, split="validation", distinct=True)}
    assert (len(prompts), splits) == (8, {"validation"})
