import numpy as np
import pytest

from support.optional import torch
from synkern.kernels.contract import Tile
from synkern.kernels.formulas.parts import parts

TILES = [
    Tile(slice(2, 7), slice(3, 17), slice(3, 17)),
    Tile(slice(0, 1), slice(3, 17), slice(17, 40)),
    Tile(slice(4, 9), slice(0, 1), slice(1, 2)),
]


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("entries", "rows"), [(1, 1), (10, 3), (60, 60), (500, 4), (10**6, 40)])
def test_every_pair_is_in_one_part(tile, entries, rows):
    covered = np.zeros([s.stop - s.start for s in tile], int)
    for part, place in parts(tile, entries, rows, np.empty(1)):
        shape = covered[place].shape
        assert shape == tuple(s.stop - s.start for s in part)
        assert [s.start for s in part] == [
            inner.start + outer.start for inner, outer in zip(place, tile, strict=True)
        ]
        assert np.prod(shape) <= entries
        assert shape[1] <= rows
        covered[place] += 1
    assert covered.max() == 1
    if tile.rows == tile.columns:
        covered = covered[:, *np.triu_indices(covered.shape[1], 1)]
    assert (covered == 1).all()


def test_other_devices_take_a_tile_at_once():
    (only,) = parts(TILES[1], 1, 1, torch.empty(1, device="meta"))
    assert only.tile == TILES[1]
    assert only.place == (slice(0, 1), slice(0, 14), slice(0, 23))
