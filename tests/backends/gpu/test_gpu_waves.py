"""How trials are cut into programs for a GPU; the numbers are those of an H100."""

import math

import pytest

from synkern.kernels.engine import waves


def waves_times_trials(tiles, trials, size, slots):
    return -(-tiles * -(-trials // size) // slots) * min(size, trials)


@pytest.mark.parametrize("trials", [1, 7, 60, 61, 1000])
@pytest.mark.parametrize("tiles", [1, 45, 131, 666, 2628, 195_625])
@pytest.mark.parametrize("together", [1, 8])
def test_no_number_of_chunks_is_better_by_the_model(tiles, trials, together):
    slots = 132 * waves.resident(128)
    most = max(1, min(-(-132 * waves.PROGRAMS // tiles), -(-trials // together)))
    size = waves.chunk_trials(tiles, trials, 2, slots=slots, most=most, together=together)
    assert size % together == 0
    assert 1 <= -(-trials // size) <= most
    found = waves_times_trials(tiles, trials, size, slots)
    ups = (math.ceil(trials / chunks) for chunks in range(1, most + 1))
    others = {math.ceil(up / together) * together for up in ups}
    least = min(waves_times_trials(tiles, trials, other, slots) for other in others)
    # What chunks cost to write may speak for fewer of them, and for no more than that.
    assert found - least <= waves.WRITTEN * 2 * most * tiles / slots


def test_programs_that_fill_a_multiprocessor():
    """Of 65,536 registers, 255 a thread."""
    assert [waves.resident(32 * warps) for warps in (1, 4, 8, 16)] == [8, 2, 1, 1]


def test_fewer_chunks_where_they_fill_no_wave():
    """666 tiles in 264 places: 3 waves of 60 trials, where two chunks take 6 of 32."""
    options = {"slots": 264, "together": 8}
    assert waves.chunk_trials(666, 60, 2, most=1, **options) == 64
    assert waves.chunk_trials(666, 60, 2, most=2, **options) == 64
    # With 132 places two chunks win: 11 waves of 30, where one chunk takes 6 of 60.
    assert waves.chunk_trials(666, 60, 2, slots=132, most=2) == 30
