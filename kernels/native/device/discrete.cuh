// Discrete: joint counts of a pair's bits by counting ones in words of 64 samples.
//
// Counts are whole numbers, and look-ups go to shared memory, where up to 16 copies of the table
// lie interleaved.
//
// Counted (see mmi.cuh), 2 words, a pair and trial: MMI 880 instructions (1,360 with counts in
// double precision, of which 84 conversions), 96 of double precision (186), 64 look-ups without a
// conflict; 1.2 ms by the model (3.0). CCS 3,000 (6,550), 654 (2,224), each information formed for
// the states that it depends on; 4.1 ms (11). With the older ones an H100 took 2.7 and 23 ms.

#pragma once

#include "decompose.cuh"
#include "../phiid_discrete.h"

namespace phiid {

using Word = unsigned long long;

template <bool CCS>
struct Discrete {
    using Shape = Pointwise;
    static constexpr int QUANTITIES = 16, TILE = Shape::TILE;
    static constexpr int GROUP = 2;           // trials whose nodes are counted at once
    static constexpr int ENTRIES = 16 * 109;  // as many as there is shared memory for
    using Sums = phiid::Sums<Shape, QUANTITIES>;

    // Of rows and columns: samples where the future, the past, both are one; entropies.
    struct Memory {
        int ones[GROUP][2][TILE][3];
        Entropies<double> entropies[GROUP][2][TILE];
        double table[ENTRIES];  // copies of each number, for lanes that look up others at once
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
        if (samples >= ENTRIES) return add_all(task, tile, sums, memory, {table}, 0);
        int shift = 4;
        while ((samples + 1) << shift > ENTRIES) --shift;
        for (int k = threadIdx.x; k < int(samples + 1) << shift; k += Shape::THREADS)
            memory.table[k] = table[k >> shift];
        const int copy = int(threadIdx.x) & ((1 << shift) - 1);
        add_all(task, tile, sums, memory, {memory.table + copy}, shift);
    }

   private:
    // All counts are in units of 2^shift, the distance of a number of the table from the next.
    template <class Task>
    PHIID_FN void add_all(const Task& task, const Tile& tile, Sums& sums, Memory& memory,
                          const Table& entries, int shift) const {
        const Spot at = spot(0);
        const int total = int(samples) << shift;
        for (Index start = tile.first; start < tile.last; start += GROUP) {
            const int trials = tile.last - start < GROUP ? int(tile.last - start) : GROUP;
            __syncthreads();
            count_nodes(task, tile, start, trials, entries, shift, memory);
            __syncthreads();
            PHIID_ROLLED
            for (int k = 0; k < trials; ++k) {
                if (!varies(task, tile, at, start + k)) continue;
                int ones[9];
                count_pair(task, tile, start + k, ones);
                PHIID_UNROLL
                for (int f = 0; f < 9; ++f) ones[f] <<= shift;
                Counts<int> n;
                joint_states(total, ones, memory.ones[k][0][at.row], memory.ones[k][1][at.column],
                             n.xayb);
                Informations<double> mean;
                Redundancies<double> shared;
                if constexpr (CCS) {
                    discrete_changes(entries, total, n.xayb, mean, shared);
                } else {
                    marginals(n);
                    mean = informations(entries, n, memory.entropies[k][0][at.row],
                                        memory.entropies[k][1][at.column]);
                    shared = least_informations(mean);
                }
                double quantities[QUANTITIES];
                cumulative(mean, shared, quantities);
                PHIID_UNROLL
                for (int q = 0; q < QUANTITIES; ++q) sums.at(0, q) += quantities[q];
            }
        }
    }

    // Words of a node's feature in a trial lie that far apart.
    PHIID_FN Index depth() const { return (samples + 63) / 64; }

    // A thread for each row and column of each trial.
    template <class Task>
    PHIID_FN void count_nodes(const Task& task, const Tile& tile, Index start, int trials,
                              const Table& entries, int shift, Memory& memory) const {
        const int k = int(threadIdx.x) / (2 * TILE), across = int(threadIdx.x) / TILE % 2;
        const int place = int(threadIdx.x) % TILE;
        const Index node = (across ? tile.column : tile.row) + place;
        if (k >= trials || node >= task.nodes) return;
        const Word* from = words + (start + k) * 3 * depth() * task.nodes + node;
        int ones[3];
        PHIID_UNROLL
        for (int f = 0; f < 3; ++f) {
            int count = 0;
            PHIID_ROLLED
            for (Index w = 0; w < depth(); ++w)
                count += __popcll(from[(f * depth() + w) * task.nodes]);
            memory.ones[k][across][place][f] = ones[f] = count << shift;
        }
        if (!CCS)
            memory.entropies[k][across][place] =
                node_entropies<double>(entries, int(samples) << shift, ones);
    }

    // Samples where a feature of the row's node and one of the column's are one.
    template <class Task>
    PHIID_FN void count_pair(const Task& task, const Tile& tile, Index trial,
                             int (&ones)[9]) const {
        const Spot at = spot(0);
        const Word* of_trial = words + trial * 3 * depth() * task.nodes;
        const Word* row = of_trial + tile.row + at.row;
        const Word* column = of_trial + tile.column + at.column;
        PHIID_UNROLL
        for (int f = 0; f < 9; ++f) ones[f] = 0;
        for (Index w = 0; w < depth(); ++w) {
            Word first[3], second[3];
            PHIID_UNROLL
            for (int f = 0; f < 3; ++f) {
                first[f] = row[(f * depth() + w) * task.nodes];
                second[f] = column[(f * depth() + w) * task.nodes];
            }
            PHIID_UNROLL
            for (int f = 0; f < 9; ++f) ones[f] += __popcll(first[f / 3] & second[f % 3]);
        }
    }
};

}  // namespace phiid
