// A block's work: the sums of its tile over its trials, by an estimator, to an output.

#pragma once

#include "output.cuh"

namespace phiid {

// What the threads of a block share.
template <class Estimator, class Output>
struct BlockMemory {
    union {
        typename Estimator::Memory estimator;
        typename Output::Memory output;
    };
    typename Estimator::Sums sums;
    Tile tile;  // for the output: registers are dear in between
};

// An estimator has
//     Shape, Sums, Memory                    of its tiles; what its threads share
//     spot(p)                                place in the tile of the thread's pair p
//     add(task, tile, sums, memory, mark)    adds trials of the tile's chunk that can be trusted,
//                                            and calls mark(p, trial) for those that cannot
template <class Estimator, class Output, class Task>
PHIID_FN void decompose(Estimator estimator, Output output, const Task& task,
                        BlockMemory<Estimator, Output>& memory) {
    using Sums = typename Estimator::Sums;
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

template <class Estimator, class Output, class Task>
PHIID_FN void decompose(Estimator estimator, Output output, const Task& task) {
    using Memory = BlockMemory<Estimator, Output>;
    PHIID_SHARED(Memory, memory);
    decompose(estimator, output, task, memory);
}

// The same where a block has more shared memory than it gets unasked: an estimator's BYTES, for
// which a launch asks.
template <class Estimator, class Output, class Task>
PHIID_FN void decompose_in_dynamic(Estimator estimator, Output output, const Task& task) {
    using Memory = BlockMemory<Estimator, Output>;
    static_assert(sizeof(Memory) <= Estimator::BYTES, "what is asked for at a launch");
    PHIID_DYNAMIC(Memory, memory);
    decompose(estimator, output, task, memory);
}

}  // namespace phiid
