// Correlations of a tile from matrices in memory, every number read once.
//
// Roofline (see mmi.cuh): 1.3 GB, 0.27 ms, after 47 GFLOP of products (0.71 ms) by the vendor's
// library, which writes 1.9 GB (0.40 ms).

#pragma once

#include "tiles.cuh"

namespace phiid {

template <class ShapeOf>
struct Moments {
    using Shape = ShapeOf;
    static constexpr int TILE = Shape::TILE, PAIRS = Shape::PAIRS, THREADS = Shape::THREADS;

    const double *xy, *ab, *xb, *ya, *own;
    int turn = 0;

    // Of ya the mirrored tile, to be read down its columns. Two, so that one barrier is enough:
    // what is written in one turn was read in the turn before the last.
    struct Memory {
        double mirrored[2][TILE][TILE + 1];
    };

    PHIID_FN static Spot spot(int p) {
        const int e = p * THREADS + int(threadIdx.x);
        return {e / TILE, e % TILE};
    }

    // All of the block call this together.
    template <class Real, class Task>
    PHIID_FN void correlations(const Task& task, const Tile& tile, Index trial,
                               Correlations<Real> (&c)[PAIRS], Memory& memory) {
        const Range rows = task.pairs.rows(task.nodes), columns = task.pairs.columns(task.nodes);
        const Index high = rows.count, wide = columns.count, first = trial * high * wide;
        // Where node 0 would be, of rows and of columns.
        const Index origin = first - rows.first * wide - columns.first;
        const Index turned = first - columns.first * high - rows.first;
        auto& mirrored = memory.mirrored[turn];
        turn ^= 1;
        PHIID_UNROLL
        for (int p = 0; p < PAIRS; ++p) {
            const Spot at = spot(p);
            const Index row = tile.column + at.row, column = tile.row + at.column;
            const bool inside = row < columns.end() && column < rows.end();
            mirrored[at.row][at.column] = inside ? ya[turned + row * high + column] : 0.0;
        }
        __syncthreads();
        PHIID_UNROLL
        for (int p = 0; p < PAIRS; ++p) {
            const Spot at = spot(p);
            const Index row = tile.row + at.row, column = tile.column + at.column;
            const Index place = origin + row * wide + column;
            const double* lagged = own + trial * task.nodes;
            const bool inside = row < rows.end() && column < columns.end();
            c[p].xy = inside ? Real(xy[place]) : Real(0);
            c[p].ab = inside ? Real(ab[place]) : Real(0);
            c[p].xb = inside ? Real(xb[place]) : Real(0);
            c[p].ya = Real(mirrored[at.column][at.row]);
            c[p].xa = inside ? Real(lagged[row]) : Real(0);
            c[p].yb = inside ? Real(lagged[column]) : Real(0);
        }
    }
};

}  // namespace phiid
