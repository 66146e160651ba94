"""Made-up runs of a tuning experiment, as its arrays and facts are."""

import numpy as np

SHARES = {
    "synergy": 0.50,
    "redundancy": 0.42,
    "random": 0.46,
    "layer_matched": 0.49,
    "all": 0.55,
}
NODES, TASKS = 24, 300


def arrays(method="sft", *, seeds=5, conditions=tuple(SHARES), again=True, spread=0.012):
    """Arrays, with `again` those of the study done again too; accuracies near `SHARES`."""
    rng = np.random.default_rng(3)
    names = [name for name in conditions for _ in range(seeds)]
    runs, steps = len(names), np.arange(0, 601, 100)
    goal = np.array([SHARES[name] for name in names]) + spread * rng.standard_normal(runs)
    learnt = 1 - np.exp(-steps / 180)
    validation = 0.30 + (goal - 0.30)[:, None] * learnt
    validation[:, 1:] += 0.01 * rng.standard_normal((runs, len(steps) - 1))
    base = rng.standard_normal(NODES)
    order = np.argsort(-base)
    trains = np.zeros((runs, NODES), bool)
    for run, name in enumerate(names):
        chosen = {"synergy": order[:12], "redundancy": order[12:], "all": order}
        trains[run, chosen.get(name, rng.permutation(NODES)[:12])] = True
    logged = np.arange(20, 601, 20)
    found = {
        "condition": np.array(names),
        "seed": np.tile(np.arange(seeds), len(conditions)),
        "draw": np.array(
            [k % seeds if n in ("random", "layer_matched") else -1 for k, n in enumerate(names)]
        ),
        "trained": trains.sum(1) * 1024,
        "trains": trains,
        "steps": steps,
        "validation": validation,
        "selected": validation.argmax(1),
        "level": np.repeat([1, 2, 3], TASKS // 3),
        "category": np.tile(["sums", "products"], TASKS // 2),
        "before": rng.random(TASKS) < 0.3,
        "selected_right": rng.random((runs, TASKS)) < goal[:, None],
        "last_right": rng.random((runs, TASKS)) < goal[:, None] - 0.01,
        "logged_steps": logged,
        "base_scores": base,
    }
    noise = rng.standard_normal((2, runs, NODES))
    if again:
        found["own_scores"] = base + 0.4 * noise[0] + 0.2 * trains
        found["forced_scores"] = base + 0.15 * noise[1] + 0.1 * trains
    curve = np.exp(-logged / 200) + 0.03 * rng.standard_normal((runs, len(logged)))
    if method == "sft":
        return found | {"loss": 0.4 + curve}
    groups = np.full(runs, 1200)
    silent = rng.binomial(1200, 0.35, runs)
    return found | {"reward": 0.7 - 0.4 * curve, "groups": groups, "silent": silent}


def facts(method="sft", *, again=True):
    return {
        "method": method,
        "ranking": "mean_difference",
        "share": 0.5,
        "nodes": NODES,
        "tasks": {"train": 4000, "validation": 200, "test": TASKS},
        "source": "builtin",
        "again": again,
    }
