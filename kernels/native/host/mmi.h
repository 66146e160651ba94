// Gaussian, minimum mutual information: tiles of pairs.

#pragma once

#include <limits>

#include "paired.h"

namespace phiid {

// Which atoms: rtr and sts by paths of their own, or all through their cumulative informations.
// GROUP trials share logarithms; phiid_math.h says why products of eight stay in range.
struct Two {
    using Alone = Two;  // for a single trial
    static constexpr int quantities = 2, GROUP = 4;
    TwoAtoms<Doubles> product = no_trial_two<Doubles>();

    template <class Mask>
    PHIID_FN void multiply(const Lambdas<Doubles>& v, Mask use) {
        phiid::multiply(product, v, use);
    }
    PHIID_FN void logarithms(Doubles* out) const { two_atoms(product, out); }
};

// All of one trial, with nine logarithms in place of sixteen.
struct AllOfOne {
    static constexpr int quantities = 16;
    Doubles informations[16];

    template <class Mask>
    PHIID_FN void multiply(const Lambdas<Doubles>& v, Mask use) {
        const auto of = [use](Doubles lambda) {
            return use ? -0.5 * ln(lambda) : constant<Doubles>(0);
        };
        const Informations<Doubles> i{of(v.x_a),  of(v.x_b),  of(v.y_a),
                                      of(v.y_b),  of(v.xy_a), of(v.xy_b),
                                      of(v.x_ab), of(v.y_ab), of(v.joint * v.inverse_future)};
        cumulative(i, least_informations(i), informations);
    }
    PHIID_FN void logarithms(Doubles* out) const {
#pragma GCC unroll 16
        for (int q = 0; q < 16; ++q) out[q] = informations[q];
    }
};

struct All {
    using Alone = AllOfOne;
    static constexpr int quantities = 16, GROUP = 8;
    Doubles product[16];

    PHIID_FN All() {
        for (auto& factor : product) factor = constant<Doubles>(1);
    }
    template <class Mask>
    PHIID_FN void multiply(const Lambdas<Doubles>& v, Mask use) {
        Doubles each[16];
        cumulative(v, each);
#pragma GCC unroll 16
        for (int q = 0; q < 16; ++q) product[q] *= use ? each[q] : constant<Doubles>(1);
    }
    PHIID_FN void logarithms(Doubles* out) const {
#pragma GCC unroll 16
        for (int q = 0; q < 16; ++q) out[q] = -0.5 * ln(product[q]);
    }
};

template <class Atoms>
class Mmi : public Sum {
   public:
    // `limit`: smallest conditional variance that is trusted. `alone`: as if the nodes did not
    // influence each other.
    Mmi(const Features& data, double limit, bool alone) : data_(data), limit_(limit), alone_(alone) {}

    int quantities() const override { return Atoms::quantities; }
    int64_t scratch() const override { return Atoms::GROUP * sizeof(Across) / sizeof(double); }

    void add(const Tile& tile, int64_t first, int64_t last, double* to,
             std::vector<Mark>& marks) const override {
        go_on(tile, first, last, true, to, to + Atoms::quantities * ENTRIES, marks);
    }

    // As `add`; unless `fresh`, onto sums that are there.
    void go_on(const Tile& tile, int64_t first, int64_t last, bool fresh, double* to,
               double* scratch, std::vector<Mark>& marks) const {
        Across* const moments = reinterpret_cast<Across*>(scratch);
        int64_t k = first;
        const auto over = [&] { return fresh && k == first; };
        if constexpr (Atoms::GROUP == 8)
            for (; k + 8 <= last; k += 8) some<8, Atoms>(tile, k, over(), to, moments, marks);
        for (; k + 4 <= last; k += 4) some<4, Atoms>(tile, k, over(), to, moments, marks);
        for (; k < last; ++k)
            some<1, typename Atoms::Alone>(tile, k, over(), to, moments, marks);
    }

   private:
    // Trials k ... k + TRIALS - 1, with one logarithm for all of them; the `first` ones are written
    // over what was there.
    template <int TRIALS, class Which>
    void some(const Tile& tile, int64_t k, bool first, double* to, Across* moments,
              std::vector<Mark>& marks) const {
        static constexpr double none = std::numeric_limits<double>::infinity();
        alignas(64) double limits[TRIALS][TILE], own[TRIALS][TILE];
        alignas(64) double sure[TRIALS][TILE];
        double varying[TRIALS];  // columns that vary
        for (int g = 0; g < TRIALS; ++g) {
            const int64_t at = (k + g) * data_.nodes + tile.column;
            varying[g] = 0;
            for (int j = 0; j < TILE; ++j) {
                const bool varies = j < tile.columns && !data_.constant[at + j];
                limits[g][j] = varies ? limit(at + j) : none;
                own[g][j] = varies ? data_.own[at + j] : 0;
                varying[g] += varies;
            }
        }
        const int before = data_.before(tile);
        const int columns = (tile.columns + DOUBLES - 1) / DOUBLES * DOUBLES;
        for (int i0 = -int(tile.row % ROWS); i0 < tile.rows; i0 += ROWS) {
            for (int g = 0; g < TRIALS; ++g) across(data_, tile, k + g, i0, moments[g]);
            for (int i = std::max(i0, 0); i < std::min(i0 + ROWS, tile.rows); ++i) {
                double row_own[TRIALS];
                Doubles row_limit[TRIALS], known = constant<Doubles>(0);
                double expected = 0;
                for (int g = 0; g < TRIALS; ++g) {
                    const int64_t at = (k + g) * data_.nodes + tile.row + i;
                    const bool varies = !data_.constant[at];
                    row_own[g] = data_.own[at];
                    row_limit[g] = constant<Doubles>(varies ? limit(at) : none);
                    expected += varies ? varying[g] : 0;
                }
                for (int j = 0; j < columns; j += DOUBLES) {
                    Which atoms;
                    const auto trial = [&](int g) __attribute__((always_inline)) {
                        const Across& m = moments[g];
                        Correlations<Doubles> c{load<Doubles>(m.xy[i - i0] + before + j),
                                                load<Doubles>(m.ab[i - i0] + before + j),
                                                constant<Doubles>(row_own[g]),
                                                load<Doubles>(m.xb[i - i0] + before + j),
                                                load<Doubles>(m.ya[i - i0] + before + j),
                                                load<Doubles>(own[g] + j)};
                        if (alone_) c = without_influence(c);
                        const Lambdas<Doubles> v = lambdas(c);
                        const auto use =
                            trusted(v, most(row_limit[g], load<Doubles>(limits[g] + j)));
                        const Doubles one =
                            use ? constant<Doubles>(1) : constant<Doubles>(0);
                        store(sure[g] + j, one);
                        known += one;
                        atoms.multiply(v, use);
                    };
                    if constexpr (TRIALS <= 4) {
#pragma GCC unroll 4
                        for (int g = 0; g < TRIALS; ++g) trial(g);
                    } else {  // Unrolled, products of all 16 leave the registers.
#pragma GCC unroll 1
                        for (int g = 0; g < TRIALS; ++g) trial(g);
                    }
                    Doubles sums[Atoms::quantities];
                    atoms.logarithms(sums);
#pragma GCC unroll 16
                    for (int q = 0; q < Atoms::quantities; ++q) {
                        double* at = to + q * ENTRIES + i * TILE + j;
                        store(at, first ? sums[q] : load<Doubles>(at) + sums[q]);
                    }
                }
                double number = 0;
                for (int lane = 0; lane < DOUBLES; ++lane) number += known[lane];
                if (number == expected) continue;
                for (int g = 0; g < TRIALS; ++g) {
                    // Not by the limits: what is magnified without bound has none either.
                    const unsigned char* constant = data_.constant + (k + g) * data_.nodes;
                    const int64_t row = tile.row + i;
                    if (constant[row]) continue;
                    for (int j = tile.diagonal() ? i + 1 : 0; j < tile.columns; ++j)
                        if (sure[g][j] == 0 && !constant[tile.column + j])
                            marks.push_back({k + g, row, tile.column + j});
                }
            }
            checkpoint(TRIALS * ROWS * columns * (data_.samples + 50));
        }
    }

    // What is trusted of a node in a trial.
    double limit(int64_t at) const {
        return data_.magnified == nullptr ? limit_ : limit_ * data_.magnified[at];
    }

    const Features data_;
    const double limit_;
    const bool alone_;
};

}  // namespace phiid
