// Gaussian MMI from ONE series of a node: lag 1 alone. Past and future of a node are
// the same numbers but for its first and last sample, so that three lagged products take the place
// of four, and half of the operands.
//
// With h a node's samples between the first and the last, about THEIR mean, f and l the first and
// the last about the same mean, n the pairs of samples, C, P, M the sums of h_i[k] h_j[k],
// h_i[k] h_j[k + 1] and h_i[k + 1] h_j[k]:
//
//     xy = C + (1 - 1/n) f_i f_j                    of the past, before it is scaled
//     ab = C + (1 - 1/n) l_i l_j                    of the future
//     xb = P + f_i h_j[0] + (h_i[-1] - f_i / n) l_j         ya: i and j exchanged, M for P
//
// As h adds up to nothing (to 1e-16 of itself), the mean of the past is f / n, that of the future
// l / n. Nothing cancels: h h + (1 - 1/n) f f is what the past is scaled by, so that no term of
// a correlation exceeds 1 (2 at three samples), wherever the energy of a node lies, and no node
// needs another way. About the mean of all samples, or with the ends taken off again, a node whose
// last sample is 1,000 times the others loses as many digits of its past.
//
// h is scaled as the past; `ends` of a node has f, l, h[0], h[-1] - f / n in that scale, then
// future over past, 0 where the node is constant, and the correlation of past and future.
//
// Stages of both sides lie twice in shared memory: one is on its way, by asynchronous copies, while
// the other is multiplied, and a barrier for each is enough. Sums of a block are eliminated while
// those of another are multiplied. Of rtr and sts a warp has 16 x 16 pairs, of all atoms 16 x 8, as
// 16 products of each of a lane's 4 pairs take 128 registers; sums of them take 32 KB of a tile of
// 16 x 16, and stages of 32 samples leave room for four blocks: two warps for every scheduler.
//
// Counted for sm_90 (NVRTC 13.0), 99 samples, a tile of 32 x 32 and trial, by a model of the pipes,
// clocks, and ms for the case of mmi.cuh; of the cache of level 2; not timed:
//                    memory path   tensor cores   double   model          mmi_series   level 2
//     rtr and sts          2,750          2,400    1,400    0.56                1.23    2.1 GB
//     all atoms            5,540          2,400    1,960    0.95                1.44    4.4 GB
// Of the 5,540 some 1,250 are predicated off: copies beyond the end of a stage, and the load that
// the compiler puts before each copy.

#pragma once

#include "decompose.cuh"
#include "interior.cuh"
#include "mmi.cuh"

namespace phiid {

// Atoms: Two or All. A warp has 16 rows of pairs, and of columns BLOCKS times 8.
template <class Atoms>
struct Lags {
    using Shape = typename Atoms::Lagged;
    using Sums = phiid::Sums<Shape, Atoms::QUANTITIES>;
    using Product = typename Atoms::template Product<double>;
    static constexpr int TILE = Shape::TILE, PAIRS = Shape::PAIRS, THREADS = Shape::THREADS;
    static constexpr int BLOCKS = PAIRS / 4, ACROSS = TILE / (8 * BLOCKS);  // warps side by side
    static_assert(ACROSS * TILE / 16 * 32 == THREADS, "whole blocks of columns for every warp");
    static constexpr int STAGE = Shape::STAGE, GROUP = Shape::GROUP, RESIDENT = Shape::RESIDENT;
    static constexpr int BYTES = Shape::BYTES, STEP = 16, SIDES = 2 * TILE;
    static constexpr int STRIDE = STAGE + 4;  // 4 nodes x 4 samples lie in different banks

    struct alignas(16) Memory {
        double values[2][SIDES][STRIDE];
        double ends[2][SIDES][ENDS];
    };

    // Of a node's row: (trials, nodes, samples + 2), samples a multiple of 4; (trials, nodes, ENDS).
    const double *interior, *ends;
    Index nodes;
    int samples;
    double rest;  // 1 - 1/n
    double limit;

    // Of `samples` pairs.
    PHIID_FN static Lags of(const double* interior, const double* ends, Index nodes, Index samples,
                            double limit) {
        return {interior, ends, nodes, int(padded(samples - 1)), 1 - 1 / double(samples), limit};
    }

    PHIID_FN static int lane() { return threadIdx.x % 32; }
    PHIID_FN static int first_row() { return threadIdx.x / 32 / ACROSS * 16; }
    PHIID_FN static int first_column() { return threadIdx.x / 32 % ACROSS * 8 * BLOCKS; }

    // Pairs of a thread are those of two rows, in two columns of each block.
    PHIID_FN static int lower(int p) { return p / 2 / BLOCKS; }
    PHIID_FN static int block(int p) { return p / 2 % BLOCKS; }

    PHIID_FN static Spot spot(int p) {
        return {first_row() + 8 * lower(p) + lane() / 4,
                first_column() + 8 * block(p) + 2 * (lane() % 4) + p % 2};
    }

    template <class Task, class Mark>
    PHIID_FN void add(const Task& task, const Tile& shared, Sums& sums, Memory& memory,
                      const Mark& mark) {
        const Tile tile = shared;  // in registers
        unsigned standing = 0;
        PHIID_UNROLL
        for (int p = 0; p < PAIRS; ++p) standing |= unsigned(stands(task, tile, spot(p))) << p;
        int turn = 0;
        fetch(tile, tile.first, 0, memory, turn);
        for (int start = tile.first; start < tile.last; start += GROUP) {
            const int trials = tile.last - start < GROUP ? tile.last - start : GROUP;
            Product product[PAIRS];
            unsigned left[PAIRS];  // bit k: varies in trial start + k and cannot be trusted
            PHIID_UNROLL
            for (int p = 0; p < PAIRS; ++p) left[p] = 0;
            PHIID_ROLLED
            for (int k = 0; k < trials; ++k) {
                Products sum{};
                PHIID_ROLLED
                for (int first = 0; first < samples; first += STAGE) {
                    wait_for_copies();
                    __syncthreads();
                    // All have this stage, and none reads the one before any more.
                    const bool same = first + STAGE < samples;
                    if (same || start + k + 1 < tile.last)
                        fetch(tile, start + k + !same, same ? first + STAGE : 0, memory, turn ^ 1);
                    sum.add(memory.values[turn], least(samples - first, STAGE));
                    turn ^= 1;
                }
                eliminate(memory.ends[(start + k) % 2], sum, standing, k, product, left);
            }
            PHIID_UNROLL
            for (int p = 0; p < PAIRS; ++p) {
                product[p].add_logarithms(sums, p);
                for (int k = 0; left[p] >> k; ++k)
                    if (left[p] >> k & 1) mark(p, start + k);
            }
        }
    }

   private:
    using Values = double[SIDES][STRIDE];

    // Every fourth sample of a node, and each one's next. (Four in a row are read by fewer
    // instructions, and moved by more to where the products want them.)
    template <int STEPS>
    struct Samples {
        double now[STEPS], next[STEPS];

        PHIID_FN explicit Samples(const double* at) {
            PHIID_UNROLL
            for (int s = 0; s < STEPS; ++s) now[s] = at[4 * s], next[s] = at[4 * s + 1];
        }
    };

    // C, P and M of this lane's pairs: by block of 8 columns; rows l / 4 and l / 4 + 8, 2 columns.
    struct Products {
        double same[BLOCKS][4], later[BLOCKS][4], sooner[BLOCKS][4];

        PHIID_FN void add(const Values& values, int count) {
            const double* row = values[first_row() + lane() / 4] + lane() % 4;
            const double* column = values[TILE + first_column() + lane() / 4] + lane() % 4;
            int k = 0;
            PHIID_ROLLED
            for (; k + STEP <= count; k += STEP) step<STEP / 4>(row + k, column + k);
            PHIID_ROLLED
            for (; k < count; k += 4) step<1>(row + k, column + k);
        }

        // Of 4 STEPS samples.
        template <int STEPS>
        PHIID_FN void step(const double* row, const double* column) {
            const Samples<STEPS> low(row), high(row + 8 * STRIDE);
            PHIID_UNROLL
            for (int block = 0; block < BLOCKS; ++block) {
                const Samples<STEPS> other(column + 8 * block * STRIDE);
                multiply(same[block], low.now, high.now, other.now);
                multiply(later[block], low.now, high.now, other.next);
                multiply(sooner[block], low.next, high.next, other.now);
            }
        }
    };

    // Of 8 rows above 8 others.
    template <int STEPS>
    PHIID_FN static void multiply(double (&c)[4], const double (&low)[STEPS],
                                  const double (&high)[STEPS], const double (&column)[STEPS]) {
        if (PHIID_SIXTEEN_ROWS) {
            double rows[2 * STEPS];
            PHIID_UNROLL
            for (int s = 0; s < STEPS; ++s) rows[2 * s] = low[s], rows[2 * s + 1] = high[s];
            multiply_add(c, rows, column);
        } else {
            double upper[2] = {c[0], c[1]}, lower[2] = {c[2], c[3]};
            multiply_add(upper, low, column);
            multiply_add(lower, high, column);
            c[0] = upper[0], c[1] = upper[1], c[2] = lower[0], c[3] = lower[1];
        }
    }

    // Starts copies of a stage, and with the first one of the trial's ends. Beyond the last node is
    // the last one again: its pairs do not stand.
    PHIID_FN void fetch(const Tile& tile, int trial, int first, Memory& memory, int turn) const {
        constexpr int TOGETHER = THREADS / 8;  // nodes, 8 threads each
        const int piece = threadIdx.x % 8, pieces = least(samples - first, STAGE) / 2 + 1 - piece;
        const int width = samples + 2, local = threadIdx.x / 8;
        const double* from = interior + Index(trial) * nodes * width + first + 2 * piece;
        Place to = place_of(memory.values[turn][local] + 2 * piece);
        PHIID_UNROLL
        for (int n = 0; n < SIDES; n += TOGETHER) {
            copy_pieces<0>(to, from + Index(node(tile, n + local)) * width, pieces);
            to = moved<TOGETHER * STRIDE>(to);
        }
        if (first == 0) {
            const int half = threadIdx.x / SIDES;
            const Index at = Index(trial) * nodes + node(tile, threadIdx.x % SIDES);
            const double* of = ends + at * ENDS + 2 * half;
            to = place_of(memory.ends[trial % 2][threadIdx.x % SIDES] + 2 * half);
            copy_ahead<0>(to, of);
            if (half == 0) copy_ahead<4>(to, of);
        }
        commit_copies();
    }

    // Every eighth of a node's pieces of two numbers, if it is among so many.
    template <int PIECE>
    PHIID_FN static void copy_pieces(Place to, const double* from, int pieces) {
        if (PIECE < pieces) copy_ahead<2 * PIECE>(to, from);
        if constexpr (PIECE + 8 <= STAGE / 2) copy_pieces<PIECE + 8>(to, from, pieces);
    }

    PHIID_FN int node(const Tile& tile, int local) const {
        const int node = local < TILE ? tile.row + local : tile.column + local - TILE;
        return least(node, int(nodes) - 1);
    }

    struct Ends {
        double first, last, next_first, before_last, future, own;

        PHIID_FN explicit Ends(const double (&of)[ENDS])
            : first(of[0]), last(of[1]), next_first(of[2]), before_last(of[3]), future(of[4]),
              own(of[5]) {}
    };

    // Multiplies the products of trials, k in its group, by those pairs that can be trusted.
    PHIID_FN void eliminate(const double (&ends)[SIDES][ENDS], const Products& sum,
                            unsigned standing, int k, Product (&product)[PAIRS],
                            unsigned (&left)[PAIRS]) const {
        PHIID_UNROLL
        for (int p = 0; p < PAIRS; ++p) {
            const Ends i(ends[spot(p).row]), j(ends[TILE + spot(p).column]);
            const int place = 2 * lower(p) + p % 2;
            const double same = sum.same[block(p)][place];
            Correlations<double> c;
            c.xy = same + rest * i.first * j.first;
            c.ab = (same + rest * i.last * j.last) * (i.future * j.future);
            c.xb = (sum.later[block(p)][place] + i.first * j.next_first + i.before_last * j.last) *
                   j.future;
            c.ya = (sum.sooner[block(p)][place] + i.next_first * j.first + i.last * j.before_last) *
                   i.future;
            c.xa = i.own;
            c.yb = j.own;
            const Lambdas<double> v = lambdas(c);
            const bool vary = standing >> p & 1 && i.future != 0 && j.future != 0;
            const bool use = vary && reaches(v, limit);
            if (use) product[p].multiply(v, true);
            left[p] |= unsigned(vary && !use) << k;
        }
    }

    // `trusted` by comparisons alone, of which each is an instruction; least and largest take three.
    // Of a positive joint and xy_a xy_b is positive, too. None holds of NaN.
    PHIID_FN static bool reaches(const Lambdas<double>& v, double limit) {
        const double past = limit * v.past, future = limit * v.future;
        return (v.past > 0) & (v.future > 0) & (v.joint > 0) & (v.xy_a > 0) & (v.x_ab > 0) &
               (v.y_ab > 0) & (v.determinant >= past * v.xy_a) & (v.determinant >= past * v.xy_b) &
               (v.determinant >= future * v.x_ab) & (v.determinant >= future * v.y_ab);
    }
};

}  // namespace phiid
