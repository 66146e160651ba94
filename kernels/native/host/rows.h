// Values of a node at its samples, one after the other: a vector holds samples. See pointwise.h.

#pragma once

#include <cmath>

#include "engine.h"
#include "simd.h"

namespace phiid {
namespace pointwise {

// Values of one node, some bytes from each to the next; they need not be aligned.
struct Row {
    const void* first;
    int64_t step = sizeof(double);

    double operator[](int64_t t) const {
        double value;
        __builtin_memcpy(&value, static_cast<const char*>(first) + t * step, sizeof value);
        return value;
    }
};

inline int64_t vectors_of(int64_t samples) { return (samples + DOUBLES - 1) / DOUBLES; }

inline void copy(const Row& from, int64_t samples, double* to) {
    in_stretches(samples, 1, [&](int64_t begin, int64_t end) {
        if (from.step == sizeof(double))
            __builtin_memcpy(to + begin, static_cast<const char*>(from.first) + begin * from.step,
                             (end - begin) * sizeof(double));
        else
            for (int64_t t = begin; t < end; ++t) to[t] = from[t];
    });
}

// From the last value to the end of its vector.
inline void fill_up(double* to, int64_t samples, double value) {
    std::fill(to + samples, to + vectors_of(samples) * DOUBLES, value);
}

inline double sum_of_lanes(Doubles all) {
    double sum = 0;
    for (int lane = 0; lane < DOUBLES; ++lane) sum += all[lane];
    return sum;
}

// Sums over vectors of what add(v, sums) adds, some hundred samples first: that keeps rounding down
// in long series.
template <int COUNT, class Add>
PHIID_FN void sum_up(int64_t vectors, double* to, const Add& add) {
    constexpr int64_t STRETCH = 512 / DOUBLES;
    Doubles all[COUNT]{};
    for (int64_t from = 0; from < vectors; from += STRETCH) {
        const int64_t end = std::min(from + STRETCH, vectors);
        Doubles some[COUNT]{};
        for (int64_t v = from; v < end; ++v) add(v, some);
        for (int k = 0; k < COUNT; ++k) all[k] += some[k];
        checkpoint((end - from) * COUNT * DOUBLES);
    }
    for (int k = 0; k < COUNT; ++k) to[k] = sum_of_lanes(all[k]);
}

struct Limits {
    double low, high;
    bool finite;
};

// Of one value or more.
inline Limits limits_of(const double* values, int64_t samples) {
    Doubles low = Doubles{} + values[0], high = low, zero{};
    in_stretches(samples, 1, [&](int64_t from, int64_t end) {
        const auto take = [&](Doubles value) {
            low = value < low ? value : low;
            high = value > high ? value : high;
            zero += 0 * value;  // NaN where it is not finite
        };
        int64_t t = from;
        for (; t + DOUBLES <= end; t += DOUBLES) take(load<Doubles>(values + t));
        for (; t < end; ++t) take(Doubles{} + values[t]);
    });
    double least = low[0], most = high[0];
    for (int lane = 1; lane < DOUBLES; ++lane) {
        least = low[lane] < least ? low[lane] : least;
        most = high[lane] > most ? high[lane] : most;
    }
    return {least, most, sum_of_lanes(zero) == 0};
}

// How values of a node become those of a unit vector: as formulas.pointwise.unit_vectors.
struct Scale {
    double shrink, low, width, mean, norm;
    bool constant;
};

// The unit vector, with zeros to the end of its last vector; of a constant node zero.
inline Scale unit(const Row& from, int64_t samples, double* to) {
    const int64_t vectors = vectors_of(samples);
    copy(from, samples, to);
    const Limits limits = limits_of(to, samples);
    Scale s{1, limits.low, 0, 0, 1, limits.low == limits.high};
    // By a power of two, where the width would overflow.
    if (std::max(-limits.low, limits.high) > 0x1p1000) s.shrink = 0x1p-100;
    s.low *= s.shrink;
    s.width = s.constant ? 1 : limits.high * s.shrink - s.low;
    fill_up(to, samples, limits.low);
    // Between 0 and 1 no square overflows or vanishes, and no offset drowns the signal in rounding.
    sum_up<1>(vectors, &s.mean, [&](int64_t v, Doubles* sum) {
        const Doubles scaled = (load<Doubles>(to + v * DOUBLES) * s.shrink - s.low) / s.width;
        store(to + v * DOUBLES, scaled);
        sum[0] += scaled;
    });
    s.mean /= double(samples);
    fill_up(to, samples, s.mean);
    double squares;
    sum_up<1>(vectors, &squares, [&](int64_t v, Doubles* sum) {
        const Doubles centred = load<Doubles>(to + v * DOUBLES) - s.mean;
        store(to + v * DOUBLES, centred);
        sum[0] += centred * centred;
    });
    s.norm = s.constant ? 1 : __builtin_sqrt(squares);
    in_stretches(vectors, DOUBLES, [&](int64_t from, int64_t end) {
        for (int64_t v = from; v < end; ++v)
            store(to + v * DOUBLES, load<Doubles>(to + v * DOUBLES) / s.norm);
    });
    return s;
}

// Other values of the node, likewise; the last of them fills the last vector.
inline void apply(const Scale& s, const Row& from, int64_t points, double* to) {
    copy(from, points, to);
    fill_up(to, points, to[points - 1]);
    in_stretches(vectors_of(points), DOUBLES, [&](int64_t begin, int64_t end) {
        for (int64_t v = begin; v < end; ++v) {
            const Doubles value = load<Doubles>(to + v * DOUBLES);
            store(to + v * DOUBLES, ((value * s.shrink - s.low) / s.width - s.mean) / s.norm);
        }
    });
}

}  // namespace pointwise
}  // namespace phiid
