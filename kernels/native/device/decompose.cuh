// A block's work: the sums of its tile over its trials, by an estimator, to an output.

#pragma once

#include "output.cuh"

namespace phiid {

// An estimator has
//     Shape, Sums, Memory                    of its tiles; what its threads share
//     spot(p)                                place in the tile of the thread's pair p
//     add(task, tile, sums, memory, mark)    adds trials of the tile's chunk that can be trusted,
//                                            and calls mark(p, trial) for those that cannot
template <class Estimator, class Output, class Task>
PHIID_FN void decompose(Estimator estimator, Output output, const Task& task) {
    using Sums = typename Estimator::Sums;
    struct Memory {
        union {
            typename Estimator::Memory estimator;
            typename Output::Memory output;
        };
        Sums sums;
        Tile tile;  // for the output: registers are dear in between
    };
    PHIID_SHARED(Memory, memory);
    Tile tile;
    if (!output.tile(task, tile)) return;
    if (threadIdx.x == 0) memory.tile = tile;
    Sums& sums = memory.sums;
    PHIID_UNROLL
    for (int p = 0; p < Estimator::Shape::PAIRS; ++p) {
        PHIID_UNROLL
        for (int q = 0; q < Sums::QUANTITIES; ++q) sums.at(p, q) = 0;
    }
    __syncthreads();
    estimator.add(task, memory.tile, sums, memory.estimator, [&](int p, Index trial) {
        output.mark(task, memory.tile, Estimator::spot(p), p, trial);
    });
    output.template write<Estimator>(task, memory.tile, sums, memory.output);
}

}  // namespace phiid
