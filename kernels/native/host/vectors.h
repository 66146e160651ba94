// Unit vectors of past and future, packed for products of many nodes with many; and the products.

#pragma once

#include "engine.h"
#include "simd.h"

namespace phiid {

// (trials, panels, samples, 2, PANEL): past and future of 8 nodes at a sample are two lines of the
// cache. Nodes beyond the last and constant ones are zero.
// In place of values there may be pairs of samples (paired.h), or matrices of correlations.
struct Features {
    const double* values;
    const double *taps, *ends;             // see paired.h
    const double *past, *future, *lagged;  // (trials, nodes, nodes)
    const double* own;                     // (trials, nodes) correlation of past with future
    const double* magnified;               // (trials, nodes), see paired.h; null: 1 throughout
    const unsigned char* constant;         // (trials, nodes)
    int64_t trials, nodes, samples, blocks, tau;

    int64_t panels() const { return (nodes + PANEL - 1) / PANEL; }
    int64_t stride() const { return samples * 2 * PANEL; }
    const double* panel(int64_t trial, int64_t node) const {
        return values + (trial * panels() + node / PANEL) * stride();
    }
    int before(const Tile& tile) const {
        return values == nullptr && taps == nullptr ? 0 : int(tile.column % PANEL);
    }
};

// Correlations of some rows of a tile with its columns, by row and column. Columns come in whole
// panels: `before` says how many of them are those of nodes before the tile.
constexpr int ROWS = 8;
struct Across {
    using Products = double[ROWS][TILE];
    Products xy, ab, xb, ya;
    double beyond[PANEL];  // where the last vector may reach that begins in the last row
};

// Inner products of ROWS nodes with PANEL. Sums of some hundred samples are formed on their own
// and then added, which keeps rounding down in long series.
inline void products(const double* rows, const double* columns, int64_t samples, Across& to, int j) {
    constexpr int64_t STRETCH = 256;
    constexpr int HEIGHT = DOUBLES >= 8 || PHIID_VECTOR_BYTES == 16 ? 4 : 2;
    for (int i = 0; i < ROWS; i += HEIGHT)
        for (int lane = 0; lane < PANEL; lane += DOUBLES)
            for (int64_t start = 0; start < samples; start += STRETCH) {
                Doubles xy[HEIGHT]{}, ab[HEIGHT]{}, xb[HEIGHT]{}, ya[HEIGHT]{};
                const int64_t end = std::min(start + STRETCH, samples);
                const double* row = rows + start * 2 * PANEL + i;
                const double* column = columns + start * 2 * PANEL + lane;
                for (int64_t t = start; t < end; ++t, row += 2 * PANEL, column += 2 * PANEL) {
                    const Doubles y = load<Doubles>(column), b = load<Doubles>(column + PANEL);
#pragma GCC unroll 4
                    for (int r = 0; r < HEIGHT; ++r) {
                        const double x = row[r], a = row[PANEL + r];
                        xy[r] += x * y;
                        xb[r] += x * b;
                        ya[r] += a * y;
                        ab[r] += a * b;
                    }
                }
#pragma GCC unroll 4
                for (int r = 0; r < HEIGHT; ++r) {
                    const auto add = [&](Across::Products& sums, Doubles value) {
                        double* at = sums[i + r] + j + lane;
                        store(at, start ? load<Doubles>(at) + value : value);
                    };
                    add(to.xy, xy[r]);
                    add(to.ab, ab[r]);
                    add(to.xb, xb[r]);
                    add(to.ya, ya[r]);
                }
                if (end < samples) checkpoint(STRETCH * HEIGHT * PANEL);
            }
}

// ---- From a series to unit vectors, a vector of nodes at a time ----------------------------------
// Nodes of a panel lie PANEL numbers from sample to sample; a sum over time has a lane for each.

// Smallest and largest of some samples.
struct Range {
    Doubles low, high;

    Lanes<double>::Bits flat() const { return low == high; }
};

inline Range joined(const Range& one, const Range& other) {
    return {other.low < one.low ? other.low : one.low, other.high > one.high ? other.high : one.high};
}

// Of one sample or more.
inline Range range_of(const double* segment, int64_t samples) {
    Range whole{load<Doubles>(segment), load<Doubles>(segment)};
    in_stretches(samples, DOUBLES, [&](int64_t from, int64_t end) {
        Range part = whole;
        for (int64_t t = from; t < end; ++t) {
            const Doubles value = load<Doubles>(segment + t * PANEL);
            part = joined(part, {value, value});
        }
        whole = part;
    });
    return whole;
}

// The power of two that brings the peak between 1 and 4, or as far as there is one: multiplication is
// exact, and neither sums nor squares about the mean overflow or vanish.
inline Doubles scale_of(const Range& range) {
    using Bits = Lanes<double>::Bits;
    constexpr Bits EXPONENT = Bits{} + 0x7ff0000000000000LL, LAST = Bits{} + (2045LL << 52);
    const Bits low = (Bits)range.low & EXPONENT, high = (Bits)range.high & EXPONENT;
    const Bits peak = low > high ? low : high;
    return (Doubles)((2046LL << 52) - (peak < LAST ? peak : LAST));
}

// Sum over time of term(t): four sums at once, as an addition waits for the one before.
template <class Term>
PHIID_FN Doubles over_time(int64_t samples, const Term& term) {
    Doubles sum{};
    in_stretches(samples, DOUBLES, [&](int64_t from, int64_t end) {
        Doubles parts[4]{};
        int64_t t = from;
        for (; t + 4 <= end; t += 4)
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) parts[k] += term(t + k);
        for (; t < end; ++t) parts[0] += term(t);
        sum += (parts[0] + parts[1]) + (parts[2] + parts[3]);
    });
    return sum;
}

// 1 / sqrt(squares), zero where `none`.
inline Doubles inverse_root(Doubles squares, Lanes<double>::Bits none) {
    Doubles root;
    for (int lane = 0; lane < DOUBLES; ++lane) root[lane] = __builtin_sqrt(squares[lane]);
    return none ? Doubles{} : 1 / root;
}

// As formulas.unit_vectors: unit vectors of a segment, whose range is known, to places `step`
// numbers apart; those may be the segment's own. Zero where the segment is flat.
inline void unit(const double* segment, int64_t samples, const Range& range, double* to,
                 int64_t step) {
    const Doubles scale = scale_of(range), count = constant<Doubles>(double(samples));
    const auto scaled = [&](int64_t t) { return load<Doubles>(segment + t * PANEL) * scale; };
    // Twice: the rounding of the first mean is large beside the signal when the offset is.
    const Doubles mean = over_time(samples, scaled) / count;
    const Doubles rest = over_time(samples, [&](int64_t t) { return scaled(t) - mean; }) / count;
    const Doubles squares = over_time(samples, [&](int64_t t) {
        const Doubles value = scaled(t) - mean - rest;
        store(to + t * step, value);
        return value * value;
    });
    const Doubles norm = inverse_root(squares, range.flat());
    in_stretches(samples, DOUBLES, [&](int64_t from, int64_t end) {
        for (int64_t t = from; t < end; ++t)
            store(to + t * step, load<Doubles>(to + t * step) * norm);
    });
}

// Correlations of each node's past with its future, of a packed panel.
inline void own_of(const double* panel, int64_t samples, double* own) {
    for (int lane = 0; lane < PANEL; lane += DOUBLES)
        store(own + lane, over_time(samples, [&](int64_t t) {
                  const double* past = panel + t * 2 * PANEL + lane;
                  return load<Doubles>(past) * load<Doubles>(past + PANEL);
              }));
}

// Whether each of up to SPAN nodes has a constant past or future, as `unit` says it of a panel.
constexpr int64_t SPAN = 256;
inline void find_constant(const double* series, int64_t time, int64_t stride, int64_t tau, int count,
                          unsigned char* constant) {
    double low[2][SPAN], high[2][SPAN];
    for (int side = 0; side < 2; ++side) {
        std::copy(series + side * tau * stride, series + side * tau * stride + count, low[side]);
        std::copy(low[side], low[side] + count, high[side]);
    }
    in_stretches(time, SPAN, [&](int64_t from, int64_t end) {
        for (int64_t t = from; t < end; ++t)
            for (int side = 0; side < 2; ++side) {
                if (side ? t < tau : t >= time - tau) continue;
                const double* value = series + t * stride;
                for (int k = 0; k < count; ++k) {
                    low[side][k] = value[k] < low[side][k] ? value[k] : low[side][k];
                    high[side][k] = value[k] > high[side][k] ? value[k] : high[side][k];
                }
            }
    });
    for (int k = 0; k < count; ++k)
        constant[k] = low[0][k] == high[0][k] || low[1][k] == high[1][k];
}

// Which panels an area wants; of the nodes of all others it finds out whether they are constant.
inline std::vector<char> wanted_panels(const double* series, int64_t trials, int64_t time,
                                       int64_t nodes, int64_t tau, const Area& area,
                                       unsigned char* constant, int threads) {
    std::vector<char> wanted((nodes + PANEL - 1) / PANEL);
    for (const auto& [from, end] : {std::pair{area.row, area.row_end},
                                    std::pair{area.column, area.column_end}})
        for (int64_t panel = from / PANEL; panel * PANEL < end; ++panel) wanted[panel] = 1;
    if (std::find(wanted.begin(), wanted.end(), 0) != wanted.end()) {
        const int64_t spans = (nodes + SPAN - 1) / SPAN;
        spread(trials * spans, threads, [&](int64_t task) {
            const int64_t trial = task / spans, node = task % spans * SPAN;
            find_constant(series + trial * time * nodes + node, time, nodes, tau,
                          int(std::min(SPAN, nodes - node)), constant + trial * nodes + node);
        });
    }
    return wanted;
}

// (time, PANEL) of some nodes of a trial, zero beyond them.
inline void panel_of(const double* series, int64_t trial, int64_t time, int64_t nodes, int64_t node,
                     int count, double* to) {
    in_stretches(time, PANEL, [&](int64_t start, int64_t end) {
        for (int64_t t = start; t < end; ++t) {
            const double* from = series + (trial * time + t) * nodes + node;
            double* const line = to + t * PANEL;
            if (count == PANEL) {  // A constant size is a few instructions, any other a call.
                std::memcpy(line, from, PANEL * sizeof *line);
                continue;
            }
            std::fill(std::copy(from, from + count, line), line + PANEL, 0.0);
        }
    });
}

// Calls `make` with the samples of each panel of an area, (time, PANEL), of every trial; of all other
// nodes it finds out whether they are constant.
template <class Make>
void each_panel(const double* series, int64_t trials, int64_t time, int64_t nodes, int64_t tau,
                const Area& area, unsigned char* constant, int threads, const Make& make) {
    const int64_t panels = (nodes + PANEL - 1) / PANEL;
    const std::vector<char> wanted = wanted_panels(series, trials, time, nodes, tau, area, constant,
                                                   threads);
    spread(trials * panels, threads, [&](int64_t task) {
        const int64_t trial = task / panels, node = task % panels * PANEL;
        if (!wanted[task % panels]) return;
        const int count = int(std::min<int64_t>(PANEL, nodes - node));
        const Numbers raw = numbers(time * PANEL);
        panel_of(series, trial, time, nodes, node, count, raw.get());
        make(task, trial, node, count, raw);
    });
}

// Packs the nodes of an area out of (trials, time, nodes), in whole panels; of all others it finds
// out whether they are constant, and leaves their values unwritten.
inline void standardise(const double* series, int64_t trials, int64_t time, int64_t nodes,
                        int64_t tau, const Area& area, double* values, double* own,
                        unsigned char* constant, int threads) {
    const int64_t samples = time - tau;
    each_panel(series, trials, time, nodes, tau, area, constant, threads,
               [&](int64_t task, int64_t trial, int64_t node, int count, const Numbers& raw) {
        double* to = values + task * samples * 2 * PANEL;
        long long flat[PANEL];
        for (int lane = 0; lane < PANEL; lane += DOUBLES) {
            Range side[2];
            for (int k = 0; k < 2; ++k) {
                const double* segment = raw.get() + k * tau * PANEL + lane;
                side[k] = range_of(segment, samples);
                unit(segment, samples, side[k], to + k * PANEL + lane, 2 * PANEL);
            }
            store(flat + lane, side[0].flat() | side[1].flat());
        }
        double of_panel[PANEL];
        own_of(to, samples, of_panel);
        for (int k = 0; k < count; ++k) {
            own[trial * nodes + node + k] = of_panel[k];
            constant[trial * nodes + node + k] = flat[k] != 0;
        }
    });
}

// Packs unit vectors (trials, nodes, samples).
inline void pack(const double* past, const double* future, int64_t trials, int64_t nodes,
                 int64_t samples, double* values, double* own, int threads) {
    const int64_t panels = (nodes + PANEL - 1) / PANEL;
    spread(trials * panels, threads, [&](int64_t task) {
        const int64_t trial = task / panels, node = task % panels * PANEL;
        const int count = int(std::min<int64_t>(PANEL, nodes - node));
        double* to = values + task * samples * 2 * PANEL;
        in_stretches(samples, 2 * PANEL, [&](int64_t start, int64_t end) {
            std::fill(to + start * 2 * PANEL, to + end * 2 * PANEL, 0.0);
        });
        for (int k = 0; k < count; ++k) {
            const int64_t from = (trial * nodes + node + k) * samples;
            in_stretches(samples, 2, [&](int64_t start, int64_t end) {
                for (int64_t t = start; t < end; ++t) {
                    to[t * 2 * PANEL + k] = past[from + t];
                    to[(t * 2 + 1) * PANEL + k] = future[from + t];
                }
            });
        }
        double of_panel[PANEL];
        own_of(to, samples, of_panel);
        std::copy(of_panel, of_panel + count, own + trial * nodes + node);
    });
}

}  // namespace phiid
