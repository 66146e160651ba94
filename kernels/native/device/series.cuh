// Correlations of a tile from unit vectors: four lagged products, which exist only in registers.
//
// Lanes of a warp hold what `multiply_add` makes of them: a row and two neighbouring columns of an
// 8 x 8 fragment. Past and future of 8 rows are the 16 rows of one product where the tensor cores
// take as many. Which sample of 16 a lane has is free as long as rows and columns agree: four
// neighbours, read at once. In float32 the same lanes form the same numbers by multiply-adds.
//
// Counted in the machine code for sm_90 (NVRTC 13.0), instructions of all warps a tile of 32 x 32
// and trial at 99 samples: 16,000 for rtr and sts (21,000 with products of 8 rows and 16 warps). By
// a model of the pipes: tensor cores 3,600 clocks (7,200), shared memory 3,600, the elimination
// 1,500 behind them; 1.0 ms (1.9). Roofline (see mmi.cuh): 36.7 GFLOP of padded products, 0.55 ms;
// unit vectors from the cache of level 2, 101 KB a tile and trial, 4.1 GB, 0.7 ms at 5.5 TB/s.

#pragma once

#include "tiles.cuh"

namespace phiid {

// A stretch of samples of the nodes of a tile, in shared memory: past and future of rows and of
// columns. PAD keeps in different banks what the lanes of a warp read at once.
template <class Shape, int SAMPLES, int PAD, bool ON_THEIR_WAY>
struct Stretch {
    static constexpr bool AHEAD = ON_THEIR_WAY;  // the next stretch, while the body works
    static constexpr int DEPTH = SAMPLES, TILE = Shape::TILE, THREADS = Shape::THREADS;
    static constexpr int EACH = TILE * DEPTH / THREADS;  // of a side, and of rows or columns
    static_assert(EACH * THREADS == TILE * DEPTH, "as many for every thread");

    template <class Real>
    using Values = Real[2][2][TILE][DEPTH + PAD];  // side; rows or columns; node; sample

    struct alignas(16) Memory {
        Values<double> values;
    };

    template <class Real>
    PHIID_FN static Values<Real>& in(Memory& memory) {
        return reinterpret_cast<Values<Real>&>(memory.values);
    }

    // Where a thread puts value k of a side, and of rows or columns.
    PHIID_FN static Spot place(int k) {
        const int e = k * THREADS + int(threadIdx.x);
        return {e / DEPTH, e % DEPTH};
    }
};

// Unit vectors (trials, nodes, samples).
struct Vectors {
    const double *past, *future;
    Index nodes, samples;

    // Calls body(values, count) for one stretch of samples, times `scale`, after the other, in step
    // with the block.
    template <class Real, class Stretch, class Body>
    PHIID_FN void stretches(const Tile& tile, Index trial, typename Stretch::Memory& memory,
                            Body body, Real scale = 1) const {
        constexpr int DEPTH = Stretch::DEPTH;
        auto& values = Stretch::template in<Real>(memory);
        Index from[2][Stretch::EACH];  // places of this thread's values; -1: none
        PHIID_UNROLL
        for (int across = 0; across < 2; ++across) {
            PHIID_UNROLL
            for (int k = 0; k < Stretch::EACH; ++k) {
                const auto at = Stretch::place(k);
                const Index node = (across ? tile.column : tile.row) + at.row;
                from[across][k] = node < nodes ? (trial * nodes + node) * samples + at.column : -1;
            }
        }
        Real next[2][2][Stretch::EACH];
        if (Stretch::AHEAD) load<Stretch>(from, 0, next);
        for (Index start = 0; start < samples; start += DEPTH) {
            if (!Stretch::AHEAD) load<Stretch>(from, start, next);
            __syncthreads();
            PHIID_UNROLL
            for (int n = 0; n < 4 * Stretch::EACH; ++n) {
                const int side = n / Stretch::EACH / 2, across = n / Stretch::EACH % 2;
                const auto to = Stretch::place(n % Stretch::EACH);
                values[side][across][to.row][to.column] =
                    scale * next[side][across][n % Stretch::EACH];
            }
            __syncthreads();
            // On their way while the body works.
            if (Stretch::AHEAD && start + DEPTH < samples) load<Stretch>(from, start + DEPTH, next);
            body(values, samples - start < DEPTH ? int(samples - start) : DEPTH);
        }
    }

   private:
    // 0 beyond the last node and sample.
    template <class Stretch, class Real>
    PHIID_FN void load(const Index (&from)[2][Stretch::EACH], Index start,
                       Real (&to)[2][2][Stretch::EACH]) const {
        PHIID_UNROLL
        for (int n = 0; n < 4 * Stretch::EACH; ++n) {
            const int across = n / Stretch::EACH % 2, k = n % Stretch::EACH;
            const double* side = n / Stretch::EACH / 2 ? future : past;
            const bool inside =
                from[across][k] >= 0 && start + Stretch::place(k).column < samples;
            to[n / Stretch::EACH / 2][across][k] =
                inside ? Real(side[from[across][k] + start]) : Real(0);
        }
    }
};

template <bool WHETHER, class One, class Two>
struct Either {
    using Type = One;
};

template <class One, class Two>
struct Either<false, One, Two> {
    using Type = Two;
};

template <class ShapeOf>
struct Series {
    using Shape = ShapeOf;
    static constexpr int TILE = Shape::TILE, PAIRS = Shape::PAIRS, FRAGMENTS = PAIRS / 2;
    static constexpr int DEPTH = 16, STEPS = DEPTH / 4, ACROSS = TILE / 8;
    static_assert(PAIRS % 2 == 0 && ACROSS % FRAGMENTS == 0, "whole fragments for every warp");
    using Fragments = Stretch<Shape, DEPTH, 2, true>;  // 8 nodes x 4 samples in different banks
    using Memory = typename Fragments::Memory;
    template <class Real>
    using Values = typename Fragments::template Values<Real>;

    Vectors vectors;
    const double* own;

    // A warp has FRAGMENTS fragments, one below the other.
    PHIID_FN static int first_row() { return threadIdx.x / 32 / ACROSS * 8 * FRAGMENTS; }
    PHIID_FN static int first_column() { return threadIdx.x / 32 % ACROSS * 8; }
    PHIID_FN static int lane() { return threadIdx.x % 32; }

    PHIID_FN static Spot spot(int p) {
        return {first_row() + p / 2 * 8 + lane() / 4, first_column() + lane() % 4 * 2 + p % 2};
    }

    // All of the block call this together.
    template <class Real, class Task>
    PHIID_FN void correlations(const Task& task, const Tile& tile, Index trial,
                               Correlations<Real> (&c)[PAIRS], Memory& memory) {
        using Number = typename Either<PHIID_DOUBLE_PRODUCTS, double, Real>::Type;
        Number xy[FRAGMENTS][2]{}, ab[FRAGMENTS][2]{}, xb[FRAGMENTS][2]{}, ya[FRAGMENTS][2]{};
        vectors.stretches<Number, Fragments>(
            tile, trial, memory,
            [&](const Values<Number>& values, int) { products(values, xy, ab, xb, ya); });
        PHIID_UNROLL
        for (int p = 0; p < PAIRS; ++p) {
            const Index row = tile.row + spot(p).row, column = tile.column + spot(p).column;
            const double* lagged = own + trial * task.nodes;
            c[p].xy = Real(xy[p / 2][p % 2]);
            c[p].ab = Real(ab[p / 2][p % 2]);
            c[p].xb = Real(xb[p / 2][p % 2]);
            c[p].ya = Real(ya[p / 2][p % 2]);
            c[p].xa = row < task.nodes ? Real(lagged[row]) : Real(0);
            c[p].yb = column < task.nodes ? Real(lagged[column]) : Real(0);
        }
    }

   private:
    PHIID_FN static void products(const Values<double>& values, double (&xy)[FRAGMENTS][2],
                                  double (&ab)[FRAGMENTS][2], double (&xb)[FRAGMENTS][2],
                                  double (&ya)[FRAGMENTS][2]) {
        const int node = lane() / 4, quarter = lane() % 4;
        double y[STEPS], b[STEPS];
        PHIID_UNROLL
        for (int s = 0; s < STEPS; ++s) {
            y[s] = values[0][1][first_column() + node][STEPS * quarter + s];
            b[s] = values[1][1][first_column() + node][STEPS * quarter + s];
        }
        PHIID_UNROLL
        for (int f = 0; f < FRAGMENTS; ++f) {
            double x[STEPS], a[STEPS];
            PHIID_UNROLL
            for (int s = 0; s < STEPS; ++s) {
                x[s] = values[0][0][first_row() + 8 * f + node][STEPS * quarter + s];
                a[s] = values[1][0][first_row() + 8 * f + node][STEPS * quarter + s];
            }
            multiply(xy[f], ya[f], x, a, y);
            multiply(xb[f], ab[f], x, a, b);
        }
    }

    // Adds the products of past and of future, one above the other, with the same columns.
    PHIID_FN static void multiply(double (&of_past)[2], double (&of_future)[2],
                                  const double (&past)[STEPS], const double (&future)[STEPS],
                                  const double (&column)[STEPS]) {
        if (PHIID_SIXTEEN_ROWS) {
            double c[4] = {of_past[0], of_past[1], of_future[0], of_future[1]}, rows[2 * STEPS];
            PHIID_UNROLL
            for (int s = 0; s < STEPS; ++s) rows[2 * s] = past[s], rows[2 * s + 1] = future[s];
            multiply_add(c, rows, column);
            of_past[0] = c[0], of_past[1] = c[1], of_future[0] = c[2], of_future[1] = c[3];
        } else {
            multiply_add(of_past, past, column);
            multiply_add(of_future, future, column);
        }
    }

    PHIID_FN static void products(const Values<float>& values, float (&xy)[FRAGMENTS][2],
                                  float (&ab)[FRAGMENTS][2], float (&xb)[FRAGMENTS][2],
                                  float (&ya)[FRAGMENTS][2]) {
        PHIID_UNROLL_FOUR
        for (int t = 0; t < DEPTH; ++t) {
            PHIID_UNROLL
            for (int p = 0; p < PAIRS; ++p) {
                const Spot at = spot(p);
                const float x = values[0][0][at.row][t], a = values[1][0][at.row][t];
                const float y = values[0][1][at.column][t], b = values[1][1][at.column][t];
                xy[p / 2][p % 2] += x * y;
                xb[p / 2][p % 2] += x * b;
                ya[p / 2][p % 2] += a * y;
                ab[p / 2][p % 2] += a * b;
            }
        }
    }
};

}  // namespace phiid
