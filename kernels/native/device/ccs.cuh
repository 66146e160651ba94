// Gaussian, common change in surprisal: two passes over the samples of a trial, the first for the
// correlations, the second for what is shared at each sample.
//
// Roofline (see mmi.cuh): 133 double-precision instructions a sample, pair and trial, and 600 a
// pair and trial, 550 G, 33 ms; with 264 instructions of all kinds a sample, 36 ms. Not measured.

#pragma once

#include "decompose.cuh"
#include "series.cuh"

namespace phiid {

template <class Real>
struct Ccs {
    using Shape = Pointwise;
    static constexpr int QUANTITIES = 16, DEPTH = 16;
    using Sums = phiid::Sums<Shape, QUANTITIES>;
    using Memory = typename Stretch<Shape, DEPTH, 1>::Memory;
    template <class Number>
    using Values = typename Stretch<Shape, DEPTH, 1>::template Values<Number>;

    Vectors vectors;
    const double* own;
    double limit, limit_double;

    PHIID_FN static Spot spot(int) {
        return {int(threadIdx.x) / Shape::TILE, int(threadIdx.x) % Shape::TILE};
    }

    template <class Mark>
    PHIID_FN void add(const Task& task, const Tile& tile, Sums& sums, Memory& memory,
                      const Mark& mark) const {
        for (Index trial = tile.first; trial < tile.last; ++trial) {
            bool left = varies(task, tile, spot(0), trial);
            one<Real>(task, tile, trial, limit, left, sums, memory);
            if (sizeof(Real) < sizeof(double) && __syncthreads_or(left))
                one<double>(task, tile, trial, limit_double, left, sums, memory);
            if (left) mark(0, trial);
        }
    }

   private:
    // Adds a trial, in arithmetic of type Number, if it is left and can be trusted.
    template <class Number>
    PHIID_FN void one(const Task& task, const Tile& tile, Index trial, double least, bool& left,
                      Sums& sums, Memory& memory) const {
        const Spot at = spot(0);
        const Index row = tile.row + at.row, column = tile.column + at.column;
        const double* lagged = own + trial * task.nodes;
        const bool inside = row < task.nodes && column < task.nodes;
        const Number none = 0;
        Correlations<Number> c{none,
                               none,
                               inside ? Number(lagged[row]) : none,
                               none,
                               none,
                               inside ? Number(lagged[column]) : none};
        vectors.stretches<Number, Stretch<Shape, DEPTH, 1>>(
            tile, trial, memory, [&](const Values<Number>& values, int count) {
                for (int t = 0; t < count; ++t) {
                    const Number x = values[0][0][at.row][t], a = values[1][0][at.row][t];
                    const Number y = values[0][1][at.column][t], b = values[1][1][at.column][t];
                    c.xy += x * y;
                    c.xb += x * b;
                    c.ya += a * y;
                    c.ab += a * b;
                }
            });
        const Lambdas<Number> v = lambdas(c);
        const bool use = left && trusted(v, Number(least));
        if (!__syncthreads_or(use)) return;
        const LocalForms<Number> forms = local_forms(c, v, double(vectors.samples));
        Redundancies<Number> shared{none, none, none, none, none, none, none};
        vectors.stretches<Number, Stretch<Shape, DEPTH, 1>>(
            tile, trial, memory, [&](const Values<Number>& values, int count) {
                for (int t = 0; t < count; ++t)
                    add_to(shared, changes(forms, values[0][0][at.row][t],
                                           values[0][1][at.column][t], values[1][0][at.row][t],
                                           values[1][1][at.column][t]));
            });
        if (!use) return;
        Number quantities[QUANTITIES];
        cumulative(forms.mean, averaged(shared, Number(vectors.samples)), quantities);
        PHIID_UNROLL
        for (int q = 0; q < QUANTITIES; ++q) sums.at(0, q) += quantities[q];
        left = false;
    }
};

}  // namespace phiid
