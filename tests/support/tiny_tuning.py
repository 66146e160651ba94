"""Few steps of training on tasks in the words of the tiny study."""

import json

from support import tiny_study
from synkern.study import run_tuning

WORDS = tiny_study.WORDS
LINES = [
    {"question": f"{one} {two}", "answer": "red", "level": place % 3 + 1, "category": two}
    for place, one in enumerate(WORDS[:9])
    for two in WORDS[9:15]
]
FEW = {
    "template": "{problem}",
    "conditions": ("synergy", "random"),
    "seeds": 1,
    "steps": 4,
    "texts": 4,
    "generations": 2,
    "checks": 2,
    "max_new_tokens": 2,
    "learning_rate": 1e-2,
    "again": False,
    "progress": False,
}


def written(path, lines=LINES):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def tune(out, tasks, **options):
    return run_tuning(out=out, tasks=tasks, **FEW | options)
