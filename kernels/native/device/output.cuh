// What becomes of the sums of a tile: matrices of all pairs, or sums over the pairs of each node.
//
// Roofline of the latter (see mmi.cuh), rtr and sts: 5 quantities of 2 x 36 x 1152 sums, 3.3 MB,
// written and read, 2 us; at N = 50,000 6.3 GB in bands, 2.6 ms, of 1.1 s for the pairs.

#pragma once

#include "tiles.cuh"

namespace phiid {

// Each tile is written once, and once mirrored, both row by row of the matrix.
template <class Real, class Shape>
struct Matrices {
    Real* out;

    // One more column than there are, so that a column does not lie in one bank.
    struct Memory {
        Real values[Shape::TILE][Shape::TILE + 1];
    };

    PHIID_FN bool tile(const Task& task, Tile& to) const {
        to = folded(task, Shape::TILE, blockIdx.x);
        return true;
    }

    PHIID_FN void mark(const Task& task, const Tile& tile, Spot spot, int, Index trial) {
        append(task, tile, spot, trial);
    }

    template <class Estimator>
    PHIID_FN void write(const Task& task, const Tile& tile, typename Estimator::Sums& sums,
                        Memory& memory) const {
        constexpr int TILE = Shape::TILE;
        const Index nodes = task.nodes, plane = task.chunks() * nodes * nodes;
        for (Index name = 0; name < task.names; ++name) {
            __syncthreads();
            PHIID_UNROLL
            for (int p = 0; p < Shape::PAIRS; ++p) {
                const Spot spot = Estimator::spot(p);
                memory.values[spot.row][spot.column] = Real(atom(task, name, sums, p));
            }
            __syncthreads();
            Real* here = out + name * plane + tile.chunk * nodes * nodes;
            Real* there = out + task.mirror[name] * plane + tile.chunk * nodes * nodes;
            for (int e = threadIdx.x; e < TILE * TILE; e += Shape::THREADS) {
                const int major = e / TILE, minor = e % TILE;
                const Index row = tile.row + major, column = tile.column + minor;
                if (row <= column && column < nodes)
                    here[row * nodes + column] = memory.values[major][minor];
                const Index before = tile.row + minor, after = tile.column + major;
                if (before < after && after < nodes)
                    there[after * nodes + before] = memory.values[minor][major];
            }
        }
    }
};

// Sums of a tile along its rows and, under the name with x and y exchanged, along its columns, each
// in a place of its own: node_totals adds them in order. A pair with a mark stays out.
template <class Shape>
struct NodeSums {
    double *by_row, *by_column;
    Index band, band_tiles, rtr, sts;
    unsigned undone = 0;  // bit p: the thread's pair p has a mark

    struct Memory {
        double values[Shape::TILE][Shape::TILE + 1];
    };

    PHIID_FN bool tile(const Task& task, Tile& to) const {
        const Index wide = tiles_for(task.nodes, Shape::TILE) - band, index = blockIdx.x;
        const Index row = band + index % (band_tiles * wide) / wide, column = band + index % wide;
        to = tile_at(task, Shape::TILE, index / (band_tiles * wide), row, column);
        return row <= column;
    }

    PHIID_FN void mark(const Task&, const Tile&, Spot, int pair, Index) { undone |= 1u << pair; }

    template <class Estimator>
    PHIID_FN void write(const Task& task, const Tile& tile, typename Estimator::Sums& sums,
                        Memory& memory) const {
        Index valued[Shape::PAIRS];  // trials in which the pair has a value
        PHIID_UNROLL
        for (int p = 0; p < Shape::PAIRS; ++p) {
            const Spot spot = Estimator::spot(p);
            const bool marked = undone >> p & 1;
            valued[p] = 0;
            if (marked) append(task, tile, spot, tile.first);
            for (Index trial = tile.first; !marked && trial < tile.last; ++trial)
                valued[p] += varies(task, tile, spot, trial);
        }
        const auto place = [&](Index quantity, Index mirror, auto value) {
            __syncthreads();
            PHIID_UNROLL
            for (int p = 0; p < Shape::PAIRS; ++p) {
                const Spot spot = Estimator::spot(p);
                memory.values[spot.row][spot.column] = valued[p] ? value(p) : 0.0;
            }
            __syncthreads();
            add_up(task, tile, quantity, mirror, memory);
        };
        const auto mean = [&](Index name, int p) {
            return atom(task, name, sums, p) / double(valued[p]);
        };
        for (Index name = 0; name < task.names; ++name)
            place(name, task.mirror[name], [&](int p) { return mean(name, p); });
        place(task.names, task.names, [&](int) { return 1.0; });
        const bool shares = rtr >= 0 && sts >= 0;
        const auto both = [&](int p) { return mean(rtr, p) + mean(sts, p); };
        place(task.names + 1, task.names + 1,
              [&](int p) { return shares && both(p) > 0 ? mean(sts, p) / both(p) : 0.0; });
        place(task.names + 2, task.names + 2,
              [&](int p) { return shares && both(p) > 0 ? 1.0 : 0.0; });
    }

    // One thread for each row and each column.
    PHIID_FN void add_up(const Task& task, const Tile& tile, Index quantity, Index mirror,
                         const Memory& memory) const {
        constexpr int TILE = Shape::TILE;
        static_assert(2 * TILE <= Shape::THREADS, "a thread for each row and column");
        const Index tiles = tiles_for(task.nodes, TILE), chunks = task.chunks();
        const int lane = threadIdx.x % TILE;
        double sum = 0;
        if (threadIdx.x < TILE) {
            for (int k = 0; k < TILE; ++k) sum += memory.values[lane][k];
            const Index slot = (quantity * chunks + tile.chunk) * tiles + tile.column / TILE;
            by_row[slot * band_tiles * TILE + tile.row - band * TILE + lane] = sum;
        } else if (threadIdx.x < 2 * TILE) {
            for (int k = 0; k < TILE; ++k) sum += memory.values[k][lane];
            const Index row = tile.row / TILE - band;
            const Index slot = (mirror * chunks + tile.chunk) * band_tiles + row;
            by_column[slot * tiles * TILE + tile.column + lane] = sum;
        }
    }
};

// Adds one number of a band to `totals`.
PHIID_FN void add_band(const double* by_row, const double* by_column, double* totals, Index index,
                       Index nodes, Index tile, Index band, Index band_tiles) {
    const Index tiles = tiles_for(nodes, int(tile)), node = index % nodes, own = node / tile;
    const Index series = index / nodes;  // of quantity and chunk
    if (own < band) return;
    double sum = 0;
    if (own < band + band_tiles)
        for (Index column = own; column < tiles; ++column)
            sum += by_row[(series * tiles + column) * band_tiles * tile + node - band * tile];
    for (Index row = band; row < band + band_tiles && row <= own; ++row)
        sum += by_column[(series * band_tiles + row - band) * tiles * tile + node];
    totals[index] += sum;
}

}  // namespace phiid
