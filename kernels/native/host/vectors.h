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

// As formulas.unit_vectors, for a panel of one trial; sums over time have a lane for each node.
// Unit vectors of a segment (samples, PANEL) into `to`, and whether each node is constant.
inline void unit(const double* segment, int64_t samples, double* to, bool* constant) {
    constexpr int64_t STEP = PANEL;
    double low[PANEL], high[PANEL], scale[PANEL], mean[PANEL], norm[PANEL];
    const auto sweep = [&](auto body) {
        in_stretches(samples, PANEL, [&](int64_t from, int64_t end) {
            for (int64_t t = from; t < end; ++t)
                for (int k = 0; k < PANEL; ++k) body(to[t * STEP + k], k);
        });
    };
    const auto centre = [&] {
        double sum[PANEL] = {};
        sweep([&](double& value, int k) { sum[k] += value; });
        for (int k = 0; k < PANEL; ++k) mean[k] = sum[k] / double(samples);
        sweep([&](double& value, int k) { value -= mean[k]; });
    };
    in_stretches(samples, PANEL, [&](int64_t from, int64_t end) {
        std::copy(segment + from * STEP, segment + end * STEP, to + from * STEP);
    });
    std::copy(to, to + PANEL, low);
    std::copy(to, to + PANEL, high);
    sweep([&](double& value, int k) {
        low[k] = value < low[k] ? value : low[k];
        high[k] = value > high[k] ? value : high[k];
    });
    for (int k = 0; k < PANEL; ++k) {
        constant[k] = low[k] == high[k];
        // A power of two near the peak: exact, and keeps sums near the limits in range.
        const double peak = std::max(__builtin_fabs(low[k]), __builtin_fabs(high[k]));
        const int power = peak > 0 ? __builtin_ilogb(peak) : 0;
        scale[k] = __builtin_scalbn(1.0, -std::min(1000, std::max(-1000, power)));
    }
    sweep([&](double& value, int k) { value *= scale[k]; });
    // Twice: the rounding of the first mean is large beside the signal when the offset is.
    centre();
    centre();
    for (int k = 0; k < PANEL; ++k) low[k] = 0;
    sweep([&](double& value, int k) {
        const double size = __builtin_fabs(value);
        low[k] = size > low[k] ? size : low[k];
    });
    // Without the peak, squares overflow from 1e154 on and vanish below 1e-162.
    for (int k = 0; k < PANEL; ++k) {
        scale[k] = constant[k] ? 1 : low[k];
        norm[k] = 0;
    }
    sweep([&](double& value, int k) { value /= scale[k]; });
    sweep([&](double& value, int k) { norm[k] += value * value; });
    for (int k = 0; k < PANEL; ++k) norm[k] = constant[k] ? 0 : 1 / __builtin_sqrt(norm[k]);
    sweep([&](double& value, int k) { value = constant[k] ? 0 : value * norm[k]; });
}

// Correlations of each node's past with its future, of a packed panel.
inline void own_of(const double* panel, int64_t samples, double* own) {
    double sum[PANEL] = {};
    in_stretches(samples, PANEL, [&](int64_t from, int64_t end) {
        for (int64_t t = from; t < end; ++t)
            for (int k = 0; k < PANEL; ++k)
                sum[k] += panel[t * 2 * PANEL + k] * panel[t * 2 * PANEL + PANEL + k];
    });
    std::copy(sum, sum + PANEL, own);
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
            std::copy(from, from + count, to + t * PANEL);
            std::fill(to + t * PANEL + count, to + (t + 1) * PANEL, 0.0);
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
        const Numbers vectors = numbers(samples * PANEL);
        double* to = values + task * samples * 2 * PANEL;
        bool flat[2][PANEL];
        for (int side = 0; side < 2; ++side) {
            phiid::unit(raw.get() + side * tau * PANEL, samples, vectors.get(), flat[side]);
            in_stretches(samples, PANEL, [&](int64_t start, int64_t end) {
                for (int64_t t = start; t < end; ++t)
                    std::copy(vectors.get() + t * PANEL, vectors.get() + (t + 1) * PANEL,
                              to + (t * 2 + side) * PANEL);
            });
        }
        double of_panel[PANEL];
        own_of(to, samples, of_panel);
        for (int k = 0; k < count; ++k) {
            own[trial * nodes + node + k] = of_panel[k];
            constant[trial * nodes + node + k] = flat[0][k] || flat[1][k];
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
