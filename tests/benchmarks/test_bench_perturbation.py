"""What small models lose on tasks: the suite from models that are hardly trained."""

import json

import pytest

from bench.suites import perturbation as suite
from synkern.tasks import generate


@pytest.mark.filterwarnings("ignore")  # of what so short a study and so bad a model are
def test_all_models_and_kinds_of_nodes_are_measured(tmp_path):
    said = []
    tables = suite.rehearse(tmp_path, said.append)
    assert {*tables} == {"dense, heads", "moe, heads", "moe, experts"}
    # A norm over all heads: every query depends on the weights of all.
    assert "no weights make one head alone" in tables["moe, heads"]["noise"]["refused"]
    for name in ("dense, heads", "moe, experts"):
        noise = tables[name]["noise"]
        assert len(noise) == 3
        for part in noise.values():
            assert [row["condition"] for row in part["conditions"]][:2] == ["intact", "synergy"]
            assert part["alpha"] == noise["mean_difference, likelihood"]["alpha"]
        assert tables[name]["tasks"] > 30
    for table in tables.values():
        curve = table["ablation"]
        assert curve["shares"][0] == 0
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
