// Gaussian, common change in surprisal: two passes over the samples of a trial, the first for the
// correlations, the second for what is shared at each sample. All arithmetic is double, whatever the
// output: a sign decides whether a sample counts at all, and one that float turns moves the average
// by more than its tolerance.
//
// A block has 128 registers a thread, so that two share a multiprocessor and one computes while the
// other waits: no samples are on their way meanwhile, for which there are no registers.
//
// Counted (see mmi.cuh): 141 instructions a sample, pair and trial (240 before signs came from
// upper words), 69 of them of double precision (130), and some 2,300 a pair and trial. By the model
// 22 ms, 31,000 clocks of the units of double precision a tile and trial (41 ms). With the older
// ones, in one block, an H100 took 63 ms.

#pragma once

#include "decompose.cuh"
#include "series.cuh"
#include "../phiid_ccs.h"

namespace phiid {

struct Ccs {
    using Shape = Pointwise;
    static constexpr int QUANTITIES = 16, DEPTH = 16;
    using Sums = phiid::Sums<Shape, QUANTITIES>;
    using Memory = typename Stretch<Shape, DEPTH, 1, false>::Memory;
    using Values = typename Stretch<Shape, DEPTH, 1, false>::template Values<double>;

    Vectors vectors;
    const double* own;
    double limit;

    PHIID_FN static Spot spot(int) {
        return {int(threadIdx.x) / Shape::TILE, int(threadIdx.x) % Shape::TILE};
    }

    template <class Task, class Mark>
    PHIID_FN void add(const Task& task, const Tile& tile, Sums& sums, Memory& memory,
                      const Mark& mark) const {
        for (int trial = tile.first; trial < tile.last; ++trial)
            one(task, tile, trial, sums, memory, mark);
    }

   private:
    template <class Task, class Mark>
    PHIID_FN void one(const Task& task, const Tile& tile, Index trial, Sums& sums, Memory& memory,
                      const Mark& mark) const {
        const Spot at = spot(0);
        const Index row = tile.row + at.row, column = tile.column + at.column;
        const double* lagged = own + trial * task.nodes;
        const bool inside = row < task.nodes && column < task.nodes;
        Correlations<double> c{0, 0, inside ? lagged[row] : 0.0,
                               0, 0, inside ? lagged[column] : 0.0};
        vectors.stretches<double, Stretch<Shape, DEPTH, 1, false>>(
            tile, trial, memory, [&](const Values& values, int count) {
                for (int t = 0; t < count; ++t) {
                    const double x = values[0][0][at.row][t], a = values[1][0][at.row][t];
                    const double y = values[0][1][at.column][t], b = values[1][1][at.column][t];
                    c.xy += x * y;
                    c.xb += x * b;
                    c.ya += a * y;
                    c.ab += a * b;
                }
            });
        const Lambdas<double> v = lambdas(c);
        const bool stands = varies(task, tile, at, trial), use = stands && trusted(v, limit);
        if (stands && !use) mark(0, trial);
        if (!__syncthreads_or(use)) return;
        LocalForms<double> forms = local_forms(c, v, double(vectors.samples));
        keep(forms.a_on_y), keep(forms.b_on_y), keep(forms.x_on_b), keep(forms.y_on_b);
        Redundancies<double> shared{};
        vectors.stretches<double, Stretch<Shape, DEPTH, 1, false>>(
            tile, trial, memory, [&](const Values& values, int count) {
                for (int t = 0; t < count; ++t)
                    add_to(shared, changes(forms, values[0][0][at.row][t],
                                           values[0][1][at.column][t], values[1][0][at.row][t],
                                           values[1][1][at.column][t]));
            },
            sqrt(weight(double(vectors.samples))));
        if (!use) return;
        forms.mean.xy_ab = forms.mean.xy_a + forms.b_once_a;  // again: registers are dear
        const double samples = double(vectors.samples);
        double quantities[QUANTITIES];
        cumulative(forms.mean, where_correlated(forms, samples, averaged(shared, samples)),
                   quantities);
        PHIID_UNROLL
        for (int q = 0; q < QUANTITIES; ++q) sums.at(0, q) += quantities[q];
    }
};

}  // namespace phiid
