// Discrete: joint counts of a pair's bits by counting ones in words of 64 samples.
//
// Roofline (see mmi.cuh), 2 words, a pair and trial: 36 counts of 32 bits, 16 a clock and
// multiprocessor, 0.4 ms; some 90 sums in double precision, 0.2 ms; 64 look-ups in a table of 100
// numbers, some 5 lines for the lanes of a warp, 1.7 ms of the cache of level 1. CCS: some 2,100
// double-precision instructions for 16 states, 5 ms. An H100 took 2.7 ms, and 23 ms for CCS.

#pragma once

#include "decompose.cuh"
#include "../phiid_discrete.h"

namespace phiid {

using Word = unsigned long long;

template <bool CCS>
struct Discrete {
    using Shape = Pointwise;
    static constexpr int QUANTITIES = 16, TILE = Shape::TILE;
    using Sums = phiid::Sums<Shape, QUANTITIES>;

    // Of rows and columns: samples where the future, the past, both are one; entropies.
    struct Memory {
        double ones[2][TILE][3];
        Entropies<double> entropies[2][TILE];
    };

    const Word* words;
    const double* table;
    Index samples;

    PHIID_FN static Spot spot(int) {
        return {int(threadIdx.x) / TILE, int(threadIdx.x) % TILE};
    }

    template <class Task, class Mark>
    PHIID_FN void add(const Task& task, const Tile& tile, Sums& sums, Memory& memory,
                      const Mark&) const {
        const Spot at = spot(0);
        const double total = double(samples);
        const Index depth = (samples + 63) / 64;
        for (Index trial = tile.first; trial < tile.last; ++trial) {
            const Word* of_trial = words + trial * 3 * depth * task.nodes;
            __syncthreads();
            count_nodes(task, tile, of_trial, depth, memory);
            __syncthreads();
            if (!varies(task, tile, at, trial)) continue;
            int both[9] = {};
            const Word* row = of_trial + tile.row + at.row;
            const Word* column = of_trial + tile.column + at.column;
            for (Index w = 0; w < depth; ++w) {
                Word first[3], second[3];
                PHIID_UNROLL
                for (int f = 0; f < 3; ++f) {
                    first[f] = row[(f * depth + w) * task.nodes];
                    second[f] = column[(f * depth + w) * task.nodes];
                }
                PHIID_UNROLL
                for (int f = 0; f < 9; ++f) both[f] += __popcll(first[f / 3] & second[f % 3]);
            }
            double ones[9], quantities[QUANTITIES];
            PHIID_UNROLL
            for (int f = 0; f < 9; ++f) ones[f] = both[f];
            Counts<double> n;
            joint_states(total, ones, memory.ones[0][at.row], memory.ones[1][at.column], n.xayb);
            marginals(n);
            Informations<double> mean;
            Redundancies<double> shared;
            if constexpr (CCS) {
                discrete_changes(table, total, n, mean, shared);
            } else {
                mean = informations(table, n, memory.entropies[0][at.row],
                                    memory.entropies[1][at.column]);
                shared = least_informations(mean);
            }
            cumulative(mean, shared, quantities);
            PHIID_UNROLL
            for (int q = 0; q < QUANTITIES; ++q) sums.at(0, q) += quantities[q];
        }
    }

   private:
    // A thread for each row and column.
    template <class Task>
    PHIID_FN void count_nodes(const Task& task, const Tile& tile, const Word* of_trial, Index depth,
                              Memory& memory) const {
        const int across = int(threadIdx.x) / TILE, k = int(threadIdx.x) % TILE;
        const Index node = (across ? tile.column : tile.row) + k;
        if (across > 1 || node >= task.nodes) return;
        double ones[3];
        PHIID_UNROLL
        for (int f = 0; f < 3; ++f) {
            int count = 0;
            for (Index w = 0; w < depth; ++w)
                count += __popcll(of_trial[(f * depth + w) * task.nodes + node]);
            memory.ones[across][k][f] = ones[f] = count;
        }
        if (!CCS) memory.entropies[across][k] = node_entropies<double>(table, double(samples), ones);
    }
};

}  // namespace phiid
