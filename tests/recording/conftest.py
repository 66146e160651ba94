from types import SimpleNamespace

import pytest

from support.recordings import STEPS
from support.tiny_models import build, generate, prompts


@pytest.fixture
def model():
    return build("llama")


def ending(model, ids, row, step):
    """An end token that `row` generates at `step` (from 1) and no row earlier, else None."""
    text = generate(model, ids, STEPS)[:, ids.shape[1] :]
    token = text[row, step - 1]
    return int(token) if not (text[:, : step - 1] == token).any() else None


@pytest.fixture
def early(model):
    """Prompts, and an end token that some trial but not all generate before the last step."""
    for seed in range(100):
        ids = prompts(3, 5, seed)
        for step in range(2, STEPS - 1):
            token = ending(model, ids, 1, step)
            text = generate(model, ids, STEPS)[:, 5:]
            if token is not None and not (text[[0, 2]] == token).any():
                return SimpleNamespace(ids=ids, token=token, step=step)
    raise AssertionError("no such prompt")
