// Tiles of pairs: what their pairs are, and what is done with those that cannot be trusted.

#pragma once

#include "pairs.cuh"
#include "scalar.cuh"

namespace phiid {

using Count = unsigned long long;

// Rows and columns of a tile, threads of its block, and (trial, pair) that a thread holds.
template <int ROWS, int BLOCK>
struct Shape {
    static constexpr int TILE = ROWS, THREADS = BLOCK, PAIRS = ROWS * ROWS / BLOCK;
};

// Every thread has one pair, and every quantity of it.
using Pointwise = Shape<16, 256>;

// Arguments that the kernels have in common; see kernels.cuh. Pairs: AllPairs or Rectangle.
template <class Of>
struct Task {
    using Pairs = Of;

    Pairs pairs;
    const unsigned char* constant;
    const double* weights;
    const Index* mirror;
    Index *marked;
    Count* count;
    Index trials, nodes, names, chunk_trials, first_trial, capacity;

    PHIID_FN Index chunks() const { return (trials + chunk_trials - 1) / chunk_trials; }
};

// First row and column of a tile, and a chunk of trials. Fewer than 2^31 of all, in registers that
// are half as many.
struct Tile {
    int row, column, chunk, first, last;
};

// A pair within its tile.
struct Spot {
    int row, column;
};

// The tile in a row and a column of tiles.
template <class Pairs>
PHIID_FN Tile tile_at(const Task<Pairs>& task, int tile, Index chunk, Index row, Index column) {
    const Index first = chunk * task.chunk_trials, last = first + task.chunk_trials;
    return {int(task.pairs.rows(task.nodes).first + row * tile),
            int(task.pairs.columns(task.nodes).first + column * tile), int(chunk), int(first),
            int(last < task.trials ? last : task.trials)};
}

// The tile of a block where every tile with pairs has one. Of all pairs row r has tiles - r tiles.
// Behind each row r is put the row that completes it to a width of tiles + 1 (or tiles, if odd).
PHIID_FN Tile tile_of(const Task<AllPairs>& task, int tile, Index block) {
    const Index tiles = task.pairs.rows(task.nodes).tiles(tile), of_chunk = tiles * (tiles + 1) / 2;
    const Index odd = tiles % 2, width = tiles + 1 - odd;
    const Index row = block % of_chunk / width, column = block % of_chunk % width;
    const Index own = tiles - row, other = own - 1 + odd, chunk = block / of_chunk;
    if (column < own) return tile_at(task, tile, chunk, row, row + column);
    return tile_at(task, tile, chunk, other, other + column - own);
}

PHIID_FN Tile tile_of(const Task<Rectangle>& task, int tile, Index block) {
    const Index width = task.pairs.across.tiles(tile);
    const Index of_chunk = task.pairs.down.tiles(tile) * width;
    return tile_at(task, tile, block / of_chunk, block % of_chunk / width, block % width);
}

template <class Pairs>
PHIID_FN bool stands(const Task<Pairs>& task, const Tile& tile, Spot spot) {
    return task.pairs.has(task.nodes, tile.row + spot.row, tile.column + spot.column);
}

// Whether an entry stands for a pair of nodes that both vary in a trial.
template <class Pairs>
PHIID_FN bool varies(const Task<Pairs>& task, const Tile& tile, Spot spot, Index trial) {
    if (!stands(task, tile, spot)) return false;
    const unsigned char* constant = task.constant + trial * task.nodes;
    return !constant[tile.row + spot.row] && !constant[tile.column + spot.column];
}

template <class Pairs>
PHIID_FN void append(const Task<Pairs>& task, const Tile& tile, Spot spot, Index trial) {
    const Count place = atomicAdd(task.count, Count(1));
    const Index row = (task.first_trial + trial) * task.nodes + tile.row + spot.row;
    if (place < Count(task.capacity))
        task.marked[place] = row * task.nodes + tile.column + spot.column;
}

// Sums of the quantities of a thread's pairs. They are touched once for some trials, and registers
// are dear: they lie in shared memory, of which every thread has places of its own.
template <class Shape, int COUNT>
struct Sums {
    static constexpr int QUANTITIES = COUNT;

    double values[Shape::PAIRS][COUNT][Shape::THREADS];

    PHIID_FN double& at(int pair, int quantity) { return values[pair][quantity][threadIdx.x]; }
};

// An atom from the sums of its pair's quantities.
template <class Task, class Sums>
PHIID_FN double atom(const Task& task, Index name, Sums& sums, int pair) {
    const double* weights = task.weights + name * Sums::QUANTITIES;
    double value = 0;
    PHIID_UNROLL
    for (int q = 0; q < Sums::QUANTITIES; ++q) value += weights[q] * sums.at(pair, q);
    return value;
}

}  // namespace phiid
