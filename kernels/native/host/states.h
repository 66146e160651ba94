// Discrete nodes at every sample: two states each, above the mean or not. All quantities depend on the
// state of four bits, so they are computed for its 16 values and looked up. See
// kernels/formulas/pointwise.py, and above_mean.py there for which samples are above their mean.

#pragma once

#include "surprisals.h"

namespace phiid {
namespace pointwise {

constexpr int STATES = 16;

struct Mean {
    double mean, error;  // a value further from the mean than that is above or below for certain
    double sum, samples;
    bool whole;  // sums of these values are exact, as they are whole numbers
    bool constant;
};

// As formulas.above_mean._by_rounded_mean; `work` has room for the row.
inline Mean mean_of(const Row& row, int64_t samples, double* work) {
    constexpr double EXACT = 0x1p52;
    copy(row, samples, work);
    const Limits limits = limits_of(work, samples);
    fill_up(work, samples, 0);
    double sums[2];  // of values, and of what is no whole number in them
    const double peak = std::max(-limits.low, limits.high), n = double(samples);
    const bool small = n * peak < EXACT;
    sum_up<2>(vectors_of(samples), sums, [&](int64_t v, Doubles* sum) {
        const Doubles value = load<Doubles>(work + v * DOUBLES);
        const Doubles rounded = (value + 0x1.8p52) - 0x1.8p52;
        sum[0] += value;
        sum[1] += value == rounded ? Doubles{} : Doubles{} + 1;
    });
    Mean m{sums[0] / n, 0, sums[0], n, small && sums[1] == 0, limits.low == limits.high};
    m.error = peak * ((n + 2) * 0x1p-52) + 0x1p-1073 + (m.mean - m.mean);
    return m;
}

// Whether whole numbers are above a mean of such: n x > sum.
inline bool exactly_above(const Mean& mean, double value, bool& decided) {
    decided &= mean.whole && std::fabs(value) * mean.samples < 0x1p52 && value == std::floor(value);
    return value * mean.samples > mean.sum;
}

// Writes, or adds, the bit of one side; whether all values could be told from the mean.
inline bool above(const Mean& mean, const Row& row, int64_t samples, int side, unsigned char* to) {
    bool decided = true;
    in_stretches(samples, 4, [&](int64_t from, int64_t end) {
        for (int64_t t = from; t < end; ++t) {
            const double value = row[t];
            bool is_above = value > mean.mean + mean.error;
            if (!(is_above || value < mean.mean - mean.error))
                is_above = exactly_above(mean, value, decided);
            to[t] = side == 0 ? is_above : to[t] | is_above << 2;
        }
    });
    return decided;
}

// How often each state of a pair occurs: x + 2 y + 4 a + 8 b.
struct Counts {
    double of[STATES];

    Counts(const unsigned char* one, const unsigned char* other, int64_t samples) {
        int64_t counts[4][STATES]{};  // as an addition to one waits for the one before
        in_stretches(samples, 2, [&](int64_t from, int64_t end) {
            for (int64_t t = from; t < end; ++t) ++counts[t & 3][one[t] + 2 * other[t]];
        });
        for (int s = 0; s < STATES; ++s)
            of[s] = double(counts[0][s] + counts[1][s] + counts[2][s] + counts[3][s]);
    }
};

// Rows of all states, in bits: those of `surprisals.h`, or the atoms alone.
class Table {
   public:
    Table(const Counts& counts, int64_t samples, bool ccs, bool every)
        : rows_(every ? ROWS_OF_ALL : ATOMS) {
        alignas(64) double agree[SETS][STATES];
        for (int k = 0; k < SETS; ++k) agreeing(counts, SET[k], k, agree);
        const Sources sources = ccs ? Sources{} : sources_of(counts, agree, double(samples));
        for (int s = 0; s < STATES; s += DOUBLES) {
            const auto put = [&](int row, Doubles value) {
                const Doubles seen = load<Doubles>(counts.of + s);
                const Doubles none = constant<Doubles>(__builtin_nan(""));
                store(of_[row] + s, seen > 0 ? value : none);
            };
            const Informations<Doubles> i = informations_at(agree, double(samples), s);
            const Redundancies<Doubles> r =
                ccs ? common_changes(i, i, Doubles{}) : chosen(i, sources);
            if (!every) {
                put_all<false>(i, r, put);
                continue;
            }
            for (int k = 0; k < SETS; ++k)
                put(k, -log2(load<Doubles>(agree[k] + s) / double(samples)));
            put_all<true>(i, r, put);
        }
    }

    void look_up(const unsigned char* one, const unsigned char* other, int64_t points,
                 double* out) const {
        in_stretches(points, rows_, [&](int64_t from, int64_t end) {
            constexpr int SOME = 64;
            for (int64_t t = from; t < end; t += SOME) {
                const int count = int(std::min<int64_t>(SOME, end - t));
                unsigned char states[SOME];
                for (int k = 0; k < count; ++k) states[k] = one[t + k] + 2 * other[t + k];
                for (int row = 0; row < rows_; ++row)
                    for (int k = 0; k < count; ++k) out[row * points + t + k] = of_[row][states[k]];
            }
        });
    }

   private:
    // Samples that agree with a state on a set; 1 where there are none, as it does not matter.
    static void agreeing(const Counts& counts, const Set& set, int k, double (*agree)[STATES]) {
        int mask = 0;
        for (int j = 0; j <= set.place; ++j) mask |= 1 << ORDER[set.order][j];
        double sums[STATES]{};
        for (int s = 0; s < STATES; ++s) sums[s & mask] += counts.of[s];
        for (int s = 0; s < STATES; ++s) agree[k][s] = std::max(sums[s & mask], 1.0);
    }

    // The ratio of whole numbers is 1 exactly, and its logarithm 0, where bits are independent: CCS
    // must not take the rounding error of a difference of entropies for a sign.
    static Informations<Doubles> informations_at(const double (*agree)[STATES], double samples,
                                                 int s) {
        const auto of = [&](int source, int target, int joint) {
            const Doubles both = load<Doubles>(agree[joint] + s) * samples;
            return log2(both / (load<Doubles>(agree[source] + s) * load<Doubles>(agree[target] + s)));
        };
        return {of(X, A, XA),  of(X, B, XB),   of(Y, A, YA),   of(Y, B, YB),    of(XY, A, XYA),
                of(XY, B, XYB), of(X, AB, XAB), of(Y, AB, YAB), of(XY, AB, XYAB)};
    }

    static Sources sources_of(const Counts& counts, const double (*agree)[STATES], double samples) {
        Informations<Doubles> sum{};
        for (int s = 0; s < STATES; s += DOUBLES) {
            const Informations<Doubles> i = informations_at(agree, samples, s);
            const Doubles each = load<Doubles>(counts.of + s);
            sum.x_a += each * i.x_a, sum.x_b += each * i.x_b, sum.y_a += each * i.y_a;
            sum.y_b += each * i.y_b, sum.xy_a += each * i.xy_a, sum.xy_b += each * i.xy_b;
            sum.x_ab += each * i.x_ab, sum.y_ab += each * i.y_ab;
        }
        const auto mean = [&](Doubles all) { return sum_of_lanes(all) / samples; };
        return least_informative({mean(sum.x_a), mean(sum.x_b), mean(sum.y_a), mean(sum.y_b),
                                  mean(sum.xy_a), mean(sum.xy_b), mean(sum.x_ab), mean(sum.y_ab), 0});
    }

    const int rows_;
    alignas(64) double of_[ROWS_OF_ALL][STATES];
};

// ---- Whether a series is one of states, at a glance; see synkern/decomposition/states.py --------

// More than 20 levels among the first 32 values.
inline bool many_levels(const double* series, int64_t time) {
    constexpr int GLANCE = 32, MOST_LEVELS = 20;
    const int some = int(std::min<int64_t>(GLANCE, time));
    int levels = 0;
    for (int k = 0; k < some; ++k) {
        int same = 0;
        for (int j = 0; j < k; ++j) same += series[j] == series[k];
        levels += same == 0;
    }
    return levels > MOST_LEVELS;
}

// No more than two levels.
inline bool two_levels(const double* series, int64_t time) {
    const double one = series[0];
    double other = one;
    bool two = true;
    in_stretches(time, 2, [&](int64_t from, int64_t end) {
        for (int64_t t = from; t < end && two; ++t) {
            if (series[t] == one || series[t] == other) continue;
            two = other == one;
            other = series[t];
        }
    });
    return two;
}

}  // namespace pointwise
}  // namespace phiid
