// Gaussian, common change in surprisal: two passes over the samples of a trial, the first for the
// correlations, the second for what is shared at each sample. All arithmetic is double, whatever the
// output: a sign decides whether a sample counts at all, and one that float turns moves the average
// by more than its tolerance.
//
// Roofline (see mmi.cuh): 133 double-precision instructions a sample, pair and trial, and 600 a
// pair and trial, 550 G, 33 ms; with 264 instructions of all kinds a sample, 36 ms. An H100 took 63 ms.

#pragma once

#include "decompose.cuh"
#include "series.cuh"
#include "../phiid_ccs.h"

namespace phiid {

struct Ccs {
    using Shape = Pointwise;
    static constexpr int QUANTITIES = 16, DEPTH = 16;
    using Sums = phiid::Sums<Shape, QUANTITIES>;
    using Memory = typename Stretch<Shape, DEPTH, 1>::Memory;
    using Values = typename Stretch<Shape, DEPTH, 1>::template Values<double>;

    Vectors vectors;
    const double* own;
    double limit;

    PHIID_FN static Spot spot(int) {
        return {int(threadIdx.x) / Shape::TILE, int(threadIdx.x) % Shape::TILE};
    }

    template <class Task, class Mark>
    PHIID_FN void add(const Task& task, const Tile& tile, Sums& sums, Memory& memory,
                      const Mark& mark) const {
        for (Index trial = tile.first; trial < tile.last; ++trial) {
            bool left = varies(task, tile, spot(0), trial);
            one(task, tile, trial, left, sums, memory);
            if (left) mark(0, trial);
        }
    }

   private:
    // Adds a trial if it is left and can be trusted.
    template <class Task>
    PHIID_FN void one(const Task& task, const Tile& tile, Index trial, bool& left, Sums& sums,
                      Memory& memory) const {
        const Spot at = spot(0);
        const Index row = tile.row + at.row, column = tile.column + at.column;
        const double* lagged = own + trial * task.nodes;
        const bool inside = row < task.nodes && column < task.nodes;
        Correlations<double> c{0, 0, inside ? lagged[row] : 0.0,
                               0, 0, inside ? lagged[column] : 0.0};
        vectors.stretches<double, Stretch<Shape, DEPTH, 1>>(
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
        const bool use = left && trusted(v, limit);
        if (!__syncthreads_or(use)) return;
        const double root = sqrt(weight(double(vectors.samples)));
        const LocalForms<double> forms = local_forms(c, v, double(vectors.samples));
        Redundancies<double> shared{};
        vectors.stretches<double, Stretch<Shape, DEPTH, 1>>(
            tile, trial, memory, [&](const Values& values, int count) {
                for (int t = 0; t < count; ++t)
                    add_to(shared, changes(forms, root * values[0][0][at.row][t],
                                           root * values[0][1][at.column][t],
                                           root * values[1][0][at.row][t],
                                           root * values[1][1][at.column][t]));
            });
        if (!use) return;
        const double samples = double(vectors.samples);
        double quantities[QUANTITIES];
        cumulative(forms.mean, where_correlated(forms, samples, averaged(shared, samples)),
                   quantities);
        PHIID_UNROLL
        for (int q = 0; q < QUANTITIES; ++q) sums.at(0, q) += quantities[q];
        left = false;
    }
};

}  // namespace phiid
