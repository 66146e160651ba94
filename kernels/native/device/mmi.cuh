// Gaussian, minimum mutual information.
//
// Roofline, one H200 by its data sheet (4.8 TB/s; float64: 33.5 TFLOP/s, 67 on tensor cores; 132
// multiprocessors that issue 4 instructions in 0.57 ns), N = 1152, 60 trials, T = 100, float64,
// 39.9 million (trial, pair). Counted in the machine code for sm_90, a pair and trial:
//     rtr and sts    64 double-precision instructions of the elimination and 9 of the logarithms
//                    (74 for eight trials): 2.9 G, 0.17 ms; 290 instructions of all kinds: 0.40 ms
//     all atoms      73 and 66 double-precision instructions: 5.5 G, 0.33 ms
//     output         2 matrices: 21 MB, 5 us
// To this come the correlations (series.cuh, lags.cuh, moments.cuh). Floor: 0.7 ms from the series,
// which share the units, 1.4 ms from moments with the library's products. With products of 8 rows an H100
// took 2.95 ms from the series and 3.67 through moments, all atoms 4.47 and 5.07; in float32, which
// then had products of its own, 6.15, 4.41, 10.1 and 5.70. Those of float64 make it 16,300
// instructions of all warps a tile of 32 x 32 and trial, rtr and sts, from 37,800.

#pragma once

#include "decompose.cuh"
#include "moments.cuh"
#include "series.cuh"

namespace phiid {

// Which atoms: rtr and sts by paths of their own, or all through their cumulative informations.
// Factors of several trials have one logarithm; see `TwoAtoms` in phiid_math.h.
constexpr int GROUP = 8;

struct Two : Shape<32, 256> {
    static constexpr int QUANTITIES = 2;
    // In lags.cuh: samples of a stage, trials that share logarithms, blocks of a multiprocessor of
    // sm_90, and bytes of shared memory that a launch asks for (`LAGS_BYTES` in source.py).
    struct Lagged : phiid::Shape<32, 128> {
        static constexpr int STAGE = 64, GROUP = phiid::GROUP, RESIDENT = 2, BYTES = 92192;
    };
    using Sums = phiid::Sums<Shape, QUANTITIES>;
    template <class Real>
    struct Product {
        TwoAtoms<Real> factors = no_trial_two<Real>();

        PHIID_FN void multiply(const Lambdas<Real>& v, bool use) {
            phiid::multiply(factors, v, use);
        }
        template <class Sums>
        PHIID_FN void add_logarithms(Sums& sums, int pair) const {
            Real out[QUANTITIES];
            two_atoms(factors, out);
            PHIID_UNROLL
            for (int q = 0; q < QUANTITIES; ++q) sums.at(pair, q) += out[q];
        }
    };
};

struct All : Shape<16, 128> {
    static constexpr int QUANTITIES = 16;
    // As above. In double no factor is below s^2, with s of 1e-9 at least (see `TwoAtoms`).
    struct Lagged : phiid::Shape<16, 64> {
        static constexpr int STAGE = 32, GROUP = 16, RESIDENT = 4, BYTES = 54368;
    };
    using Sums = phiid::Sums<Shape, QUANTITIES>;
    template <class Real>
    struct Product {
        Real factors[QUANTITIES];

        PHIID_FN Product() {
            PHIID_UNROLL
            for (int q = 0; q < QUANTITIES; ++q) factors[q] = 1;
        }
        PHIID_FN void multiply(const Lambdas<Real>& v, bool use) {
            Real each[QUANTITIES];
            cumulative(v, each);
            PHIID_UNROLL
            for (int q = 0; q < QUANTITIES; ++q) factors[q] *= use ? each[q] : Real(1);
        }
        template <class Sums>
        PHIID_FN void add_logarithms(Sums& sums, int pair) const {
            PHIID_UNROLL
            for (int q = 0; q < QUANTITIES; ++q) sums.at(pair, q) += Real(-0.5) * ln(factors[q]);
        }
    };
};

// Source: Series or Moments of the shape of Atoms.
template <class Real, class Atoms, class Source>
struct Mmi {
    using Shape = Atoms;
    using Memory = typename Source::Memory;
    using Sums = typename Atoms::Sums;
    static constexpr int PAIRS = Atoms::PAIRS;

    Source source;
    double limit, limit_double;
    bool alone;

    PHIID_FN static Spot spot(int p) { return Source::spot(p); }

    template <class Task, class Mark>
    PHIID_FN void add(const Task& task, const Tile& tile, Sums& sums, Memory& memory,
                      const Mark& mark) {
        for (Index start = tile.first; start < tile.last; start += GROUP) {
            const int trials = tile.last - start < GROUP ? int(tile.last - start) : GROUP;
            unsigned left[PAIRS];  // bit k: to be done in trial start + k
            PHIID_UNROLL
            for (int p = 0; p < PAIRS; ++p) {
                left[p] = 0;
                for (int k = 0; k < trials; ++k)
                    left[p] |= unsigned(varies(task, tile, spot(p), start + k)) << k;
            }
            group<Real>(task, tile, start, trials, limit, left, sums, memory);
            if (sizeof(Real) < sizeof(double) && __syncthreads_or(any(left, ~0u)))
                group<double>(task, tile, start, trials, limit_double, left, sums, memory);
            PHIID_UNROLL
            for (int p = 0; p < PAIRS; ++p)
                for (int k = 0; left[p] >> k; ++k)
                    if (left[p] >> k & 1) mark(p, start + k);
        }
    }

   private:
    PHIID_FN static int any(const unsigned (&left)[PAIRS], unsigned bits) {
        unsigned all = 0;
        PHIID_UNROLL
        for (int p = 0; p < PAIRS; ++p) all |= left[p] & bits;
        return all != 0;
    }

    // Adds what is left and can be trusted, in arithmetic of type Number; leaves the rest.
    template <class Number, class Task>
    PHIID_FN void group(const Task& task, const Tile& tile, Index start, int trials, double least,
                        unsigned (&left)[PAIRS], Sums& sums, Memory& memory) {
        typename Atoms::template Product<Number> product[PAIRS];
        PHIID_ROLLED
        for (int k = 0; k < trials; ++k) {
            // Few trials need to be promoted, if any.
            if (sizeof(Number) > sizeof(Real) && !__syncthreads_or(any(left, 1u << k))) continue;
            Correlations<Number> c[PAIRS];
            source.template correlations<Number>(task, tile, start + k, c, memory);
            PHIID_UNROLL
            for (int p = 0; p < PAIRS; ++p) {
                const Lambdas<Number> v = lambdas(alone ? without_influence(c[p]) : c[p]);
                const bool use = left[p] >> k & 1 && trusted(v, Number(least));
                product[p].multiply(v, use);
                left[p] &= ~(unsigned(use) << k);
            }
        }
        PHIID_UNROLL
        for (int p = 0; p < PAIRS; ++p) product[p].add_logarithms(sums, p);
    }
};

}  // namespace phiid
