// What becomes of the sums of a tile: matrices of the pairs, or sums over the pairs of each node.
//
// Roofline of the latter (see mmi.cuh), rtr and sts: 5 quantities of 2 x 36 x 1152 sums, 3.3 MB,
// written and read, 2 us; at N = 50,000 6.3 GB in bands, 2.6 ms, of 1.1 s for the pairs.

#pragma once

#include "tiles.cuh"

namespace phiid {

// Each tile is written once and, of all pairs, once mirrored, both row by row of the matrix.
template <class Real, class Shape>
struct Matrices {
    Real* out;

    // One more column than there are, so that a column does not lie in one bank.
    struct Memory {
        Real values[Shape::TILE][Shape::TILE + 1];
    };

    template <class Task>
    PHIID_FN bool tile(const Task& task, Tile& to) const {
        to = tile_of(task, Shape::TILE, blockIdx.x);
        return true;
    }

    template <class Task>
    PHIID_FN void mark(const Task& task, const Tile& tile, Spot spot, int, Index trial) {
        append(task, tile, spot, trial);
    }

    template <class Estimator, class Task>
    PHIID_FN void write(const Task& task, const Tile& tile, typename Estimator::Sums& sums,
                        Memory& memory) const {
        constexpr int TILE = Shape::TILE;
        constexpr bool SYMMETRIC = Task::Pairs::SYMMETRIC;
        const Range rows = task.pairs.rows(task.nodes), columns = task.pairs.columns(task.nodes);
        const Index wide = columns.count, matrix = rows.count * wide;
        const Index plane = task.chunks() * matrix;
        for (Index name = 0; name < task.names; ++name) {
            __syncthreads();
            PHIID_UNROLL
            for (int p = 0; p < Shape::PAIRS; ++p) {
                const Spot spot = Estimator::spot(p);
                memory.values[spot.row][spot.column] = Real(atom(task, name, sums, p));
            }
            __syncthreads();
            Real* here = out + name * plane + tile.chunk * matrix;
            Real* there = SYMMETRIC ? out + task.mirror[name] * plane + tile.chunk * matrix : here;
            for (int e = threadIdx.x; e < TILE * TILE; e += Shape::THREADS) {
                const int major = e / TILE, minor = e % TILE;
                const Index row = tile.row + major, column = tile.column + minor;
                if (task.pairs.written(task.nodes, row, column))
                    here[(row - rows.first) * wide + column - columns.first] =
                        memory.values[major][minor];
                if (!SYMMETRIC) continue;
                const Index before = tile.row + minor, after = tile.column + major;
                if (task.pairs.has(task.nodes, before, after))
                    there[after * wide + before] = memory.values[minor][major];
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

    template <class Task>
    PHIID_FN bool tile(const Task& task, Tile& to) const {
        constexpr bool SYMMETRIC = Task::Pairs::SYMMETRIC;
        const Index first = SYMMETRIC ? band : 0;
        const Index wide = task.pairs.columns(task.nodes).tiles(Shape::TILE) - first;
        // Column after column: its nodes are read from memory once a band, those of the few rows
        // stay in the cache. With 64 bits the divisions take so many registers that some spill.
        const unsigned high = unsigned(band_tiles), program = blockIdx.x, across = program / high;
        const Index row = band + program % high, column = first + across % unsigned(wide);
        to = tile_at(task, Shape::TILE, Index(across / unsigned(wide)), row, column);
        return !SYMMETRIC || row <= column;
    }

    template <class Task>
    PHIID_FN void mark(const Task&, const Tile&, Spot, int pair, Index) { undone |= 1u << pair; }

    template <class Estimator, class Task>
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
        // One loop for all quantities: the compiler would make as many copies as there are calls.
        PHIID_ROLLED
        for (Index quantity = 0; quantity < task.names + 3; ++quantity) {
            __syncthreads();
            PHIID_UNROLL
            for (int p = 0; p < Shape::PAIRS; ++p) {
                const Spot spot = Estimator::spot(p);
                memory.values[spot.row][spot.column] =
                    valued[p] ? number(task, quantity, sums, p, double(valued[p])) : 0.0;
            }
            __syncthreads();
            const bool named = quantity < task.names;
            add_up(task, tile, quantity, named ? task.mirror[quantity] : quantity, memory);
        }
    }

   private:
    // Of a pair: an atom's mean; after the atoms 1; the share of sts; whether it has one.
    template <class Task, class Sums>
    PHIID_FN double number(const Task& task, Index quantity, Sums& sums, int pair,
                           double valued) const {
        if (quantity < task.names) return atom(task, quantity, sums, pair) / valued;
        if (quantity == task.names) return 1;
        if (rtr < 0 || sts < 0) return 0;
        const double of_sts = atom(task, sts, sums, pair) / valued;
        const double both = atom(task, rtr, sums, pair) / valued + of_sts;
        if (!(both > LEAST_SUM)) return 0;
        return quantity == task.names + 1 ? of_sts / both : 1.0;
    }

    // Some lanes for each row and each column, which add up parts of it, and then those in pairs.
    template <class Task>
    PHIID_FN void add_up(const Task& task, const Tile& tile, Index quantity, Index mirror,
                         const Memory& memory) const {
        constexpr int TILE = Shape::TILE, LANES = Shape::THREADS / (2 * TILE);
        constexpr int PART = TILE / LANES, SUMS = 32 / LANES;  // of a warp
        static_assert(PART * LANES == TILE && SUMS * LANES == 32, "the same for every lane");
        const int which = int(threadIdx.x) / 32 * SUMS + int(threadIdx.x) % SUMS;
        const int lane = int(threadIdx.x) % 32 / SUMS, line = which % TILE;
        double sum = 0;
        PHIID_UNROLL
        for (int k = 0; k < PART; ++k) {
            const int across = lane * PART + k;
            sum += which < TILE ? memory.values[line][across] : memory.values[across][line];
        }
        PHIID_UNROLL
        for (int apart = SUMS; apart < 32; apart *= 2) sum += __shfl_xor_sync(~0u, sum, apart);
        if (lane != 0) return;
        const Range columns = task.pairs.columns(task.nodes);
        const Index tiles = columns.tiles(TILE), chunks = task.chunks();
        const Index row = tile.row - task.pairs.rows(task.nodes).first - band * TILE;
        const Index column = tile.column - columns.first;
        if (which < TILE) {
            const Index slot = (quantity * chunks + tile.chunk) * tiles + column / TILE;
            by_row[slot * band_tiles * TILE + row + line] = sum;
        } else {
            const Index slot = (mirror * chunks + tile.chunk) * band_tiles + row / TILE;
            by_column[slot * tiles * TILE + column + line] = sum;
        }
    }
};

// Adds one number of a band to `totals`.
template <class Pairs>
PHIID_FN void add_band(const double* by_row, const double* by_column, double* totals, Index index,
                       Index nodes, Index tile, Index band, Index band_tiles, const Pairs& pairs) {
    constexpr bool SYMMETRIC = Pairs::SYMMETRIC;
    const Range rows = pairs.rows(nodes), columns = pairs.columns(nodes);
    const Index tiles = columns.tiles(int(tile)), node = index % nodes;
    const Index series = index / nodes;  // of quantity and chunk
    const Index row = node - rows.first, column = node - columns.first, own = row / tile;
    double sum = 0;
    if (row >= 0 && node < rows.end() && own >= band && own < band + band_tiles)
        for (Index k = SYMMETRIC ? own : 0; k < tiles; ++k)
            sum += by_row[(series * tiles + k) * band_tiles * tile + row - band * tile];
    if (column >= 0 && node < columns.end())
        for (Index k = band; k < band + band_tiles && (!SYMMETRIC || k <= own); ++k)
            sum += by_column[(series * band_tiles + k - band) * tiles * tile + column];
    totals[index] += sum;
}

}  // namespace phiid
