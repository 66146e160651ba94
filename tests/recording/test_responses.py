"""`Responses`: texts as tokens."""

import numpy as np
import pytest

from support.optional import needs_torch
from synkern.recording import Responses


def test_sequences_of_every_type_are_the_same_tokens():
    one = Responses([[1, 2], [3]], [[4], [5, 6]])
    other = Responses([np.array([1, 2]), np.array([3])], [(4,), np.array([5, 6])])
    assert one == other
    assert len(one) == 2
    assert repr(one) == "Responses(2 texts, 1 to 2 tokens in response)"


@needs_torch
def test_tensors_are_tokens():
    import torch  # noqa: PLC0415

    assert Responses(torch.ones(2, 3, dtype=torch.int64), [[1], [1]]).prompts == ((1, 1, 1),) * 2


def test_some_and_shortened():
    texts = Responses([[1], [2], [3]], [[4, 5], [6], [7, 8, 9]])
    assert texts.some([2, 0]) == Responses([[3], [1]], [[7, 8, 9], [4, 5]])
    assert texts.shortened(2).responses == ((4, 5), (6,), (7, 8))
    with pytest.raises(ValueError, match="at least one token"):
        texts.shortened(0)


@pytest.mark.parametrize(
    ("prompts", "responses", "error", "match"),
    [
        ([], [], ValueError, "prompts: there are none"),
        ([[1]], [[]], ValueError, "responses: number 0 .* no tokens"),
        ([[1]], [[1], [2]], ValueError, "responses: 2 for 1 prompts"),
        ([[1.5]], [[1]], TypeError, "1.5 in number 0 is no token"),
        ([[True]], [[1]], TypeError, "is no token"),
        ([[-1]], [[1]], ValueError, "token -1 in number 0"),
    ],
)
def test_what_is_no_text_is_refused(prompts, responses, error, match):
    with pytest.raises(error, match=match):
        Responses(prompts, responses)
