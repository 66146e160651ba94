// Correlations from fewer products, where the future of a node is its past a little later.
//
// What a pair of nodes u, v needs are sums over time at three lags, y_d = sum_t u(t) v(t + d tau) for
// d = -1, 0, 1, of series that are zero beyond their ends: six products for two samples u(t),
// u(t + tau) of the one and the four samples of the other from v(t - tau) to v(t + 2 tau). Four do
// (Winograd, Arithmetic Complexity of Computations, 1980; a short filter with three outputs):
//
//     taps of u                 data of v                        then
//     u0                        v0 - v2                          y-1 = m0 + m1 + m2
//     u0 + u1             x     (v1 + v2) / 2      = m0 ... m3   y0  = m1 - m2
//     u0 - u1                   (v2 - v1) / 2                    y1  = m1 + m2 + m3
//     u1                        v3 - v1
//
// Each m is summed over the pairs of samples first, so that what is done for a pair of nodes are
// four inner products of half the length. As u and v have unit length, no m exceeds 2 in magnitude:
// rounding stays that of plain sums.
//
// Past and future are each centred and scaled on their own. The series u is centred and scaled as a
// whole; with p and f the roots of the sums of squares of its past and its future about their means,
// and P, F these means times the root of their number of samples,
//
//     xy = (y0 - P P' - sum of the last tau of both) / p p'
//     ab = (y0 - F F' - sum of the first tau of both) / f f'
//     xb = (y1 - P F') / p f'          ya = (y-1 - F P') / f p'
//
// where a few samples at one end make up most of a node's variance, rounding is magnified by
// 1 / p^2 or 1 / f^2: the larger one is `magnified`, and raises the limit of trust.

#pragma once

#include "vectors.h"

namespace phiid {

constexpr int POINTS = 4;
enum { PAST_SCALE, FUTURE_SCALE, PAST_MEAN, FUTURE_MEAN, FIRST };  // lines of `ends`; 4 + 2 tau

// (trials, panels, taps and data, POINTS, blocks, PANEL); a block is a pair of samples, and those of
// samples that are a multiple of tau apart follow each other.
inline int64_t blocks_of(int64_t time, int64_t tau) { return ((time + tau - 1) / tau + 1) / 2 * tau; }
inline int64_t ends_of(int64_t tau) { return FIRST + 2 * tau; }

// One of the four sums of HEIGHT rows with COUNT vectors of columns. Rows are taps, columns data,
// both (blocks, PANEL); `apart` lies between the columns of one panel and of the next.
template <int HEIGHT, int COUNT>
inline void inner(const double* rows, const double* columns, int64_t apart, int64_t blocks,
                  double (*to)[TILE]) {
    constexpr int EACH = PANEL / DOUBLES;  // vectors of a panel
    constexpr int64_t STRETCH = 128;
    for (int64_t start = 0; start < blocks; start += STRETCH) {
        const int64_t end = std::min(start + STRETCH, blocks);
        Doubles sums[HEIGHT][COUNT]{};
        const double *row = rows + start * PANEL, *column = columns + start * PANEL;
        for (int64_t t = start; t < end; ++t, row += PANEL, column += PANEL) {
            Doubles some[COUNT];
#pragma GCC unroll 4
            for (int c = 0; c < COUNT; ++c)
                some[c] = in_register(
                    load<Doubles>(column + c / EACH * apart + c % EACH * DOUBLES));
#pragma GCC unroll 4
            for (int r = 0; r < HEIGHT; ++r)
#pragma GCC unroll 4
                for (int c = 0; c < COUNT; ++c) sums[r][c] += row[r] * some[c];
        }
#pragma GCC unroll 4
        for (int r = 0; r < HEIGHT; ++r)
#pragma GCC unroll 4
            for (int c = 0; c < COUNT; ++c) {
                double* at = to[r] + c * DOUBLES;
                store(at, start ? load<Doubles>(at) + sums[r][c] : sums[r][c]);
            }
        if (end < blocks) checkpoint(STRETCH * HEIGHT * COUNT * DOUBLES);
    }
}

// Correlations of ROWS rows with some panels of columns, from the sums.
inline void from_sums(const double (*sums)[ROWS][TILE], const double* rows, const double* columns,
                      int64_t apart, int panels, int64_t tau, Across& to, int j) {
    for (int r = 0; r < ROWS; ++r)
        for (int p = 0; p < panels; ++p)
            for (int lane = 0; lane < PANEL; lane += DOUBLES) {
                const int at = p * PANEL + lane;
                const double *row = rows + r, *column = columns + p * apart + lane;
                const auto of = [&](int line) { return load<Doubles>(column + line * PANEL); };
                const auto m = [&](int point) { return load<Doubles>(sums[point][r] + at); };
                const Doubles even = m(1) + m(2), same = m(1) - m(2);
                Doubles xy = same - row[PAST_MEAN * PANEL] * of(PAST_MEAN);
                Doubles ab = same - row[FUTURE_MEAN * PANEL] * of(FUTURE_MEAN);
                const Doubles xb = even + m(3) - row[PAST_MEAN * PANEL] * of(FUTURE_MEAN);
                const Doubles ya = even + m(0) - row[FUTURE_MEAN * PANEL] * of(PAST_MEAN);
                for (int64_t t = 0; t < tau; ++t) {
                    ab -= row[(FIRST + t) * PANEL] * of(int(FIRST + t));
                    xy -= row[(FIRST + tau + t) * PANEL] * of(int(FIRST + tau + t));
                }
                const double past = row[PAST_SCALE * PANEL], future = row[FUTURE_SCALE * PANEL];
                store(to.xy[r] + j + at, past * of(PAST_SCALE) * xy);
                store(to.ab[r] + j + at, future * of(FUTURE_SCALE) * ab);
                store(to.xb[r] + j + at, past * of(FUTURE_SCALE) * xb);
                store(to.ya[r] + j + at, future * of(PAST_SCALE) * ya);
            }
}

// As `across`, of pairs of samples.
inline void paired(const Features& data, const Tile& tile, int64_t trial, int first, Across& to) {
    constexpr int HEIGHT = 4, MANY = DOUBLES >= 8 ? 4 : 1, EACH = PANEL / DOUBLES;
    static_assert(ROWS % HEIGHT == 0);
    const int64_t each = data.blocks * PANEL, apart = 2 * POINTS * each;
    const int64_t lines = ends_of(data.tau) * PANEL;
    const auto panel = [&](int64_t node) { return trial * data.panels() + node / PANEL; };
    const int64_t row = tile.row + first, column = tile.column - data.before(tile);
    const double* rows = data.taps + panel(row) * apart + row % PANEL;
    const double* row_ends = data.ends + panel(row) * lines + row % PANEL;
    const int panels = (data.before(tile) + tile.columns + PANEL - 1) / PANEL;
    alignas(64) double sums[POINTS][ROWS][TILE];
    for (int j = 0, some; j < panels; j += some) {
        some = panels - j >= MANY ? MANY : 1;
        const int64_t at = panel(column) + j;
        const double* columns = data.taps + at * apart + POINTS * each;
        for (int point = 0; point < POINTS; ++point)
            for (int i = 0; i < ROWS; i += HEIGHT) {
                const double* from = rows + point * each + i;
                if (some == MANY)
                    inner<HEIGHT, MANY * EACH>(from, columns + point * each, apart, data.blocks,
                                               sums[point] + i);
                else
                    inner<HEIGHT, EACH>(from, columns + point * each, apart, data.blocks,
                                        sums[point] + i);
            }
        from_sums(sums, row_ends, data.ends + at * lines, lines, some, data.tau, to, j * PANEL);
    }
}

// Correlations of rows first ... first + ROWS - 1 of a tile with its columns; the first of them
// begins a block of rows, and may lie before the tile.
inline void across(const Features& data, const Tile& tile, int64_t trial, int first, Across& to) {
    const int before = data.before(tile);
    if (data.values != nullptr) {
        const int64_t row = tile.row + first;
        const double* rows = data.panel(trial, row) + row % PANEL;
        for (int j = 0; j < before + tile.columns; j += PANEL)
            products(rows, data.panel(trial, tile.column - before + j), data.samples, to, j);
        return;
    }
    if (data.taps != nullptr) {
        paired(data, tile, trial, first, to);
        return;
    }
    const int64_t n = data.nodes, origin = trial * n * n;
    const int rows = std::min(ROWS, tile.rows - first);
    for (int i = std::max(0, -first); i < rows; ++i) {
        const int64_t row = tile.row + first + i, at = origin + row * n + tile.column;
        for (int j = 0; j < tile.columns; ++j) {
            to.xy[i][j] = data.past[at + j];
            to.ab[i][j] = data.future[at + j];
            to.xb[i][j] = data.lagged[at + j];
            to.ya[i][j] = data.lagged[origin + (tile.column + j) * n + row];
        }
    }
}

// ---- From a series to pairs of samples -----------------------------------------------------------

// Taps and data of a panel of series (time, PANEL) that are centred and scaled.
inline void pair_samples(const double* series, int64_t time, int64_t tau, double* to) {
    const int64_t blocks = blocks_of(time, tau), each = blocks * PANEL, own = blocks / tau;
    double* const taps = to;
    double* const data = to + POINTS * each;
    for (int64_t phase = 0; phase < tau; ++phase)
        for (int64_t k = 0; k < own; ++k) {
            const int64_t t = phase + 2 * k * tau;
            const auto at = [&](int64_t when, int lane) {
                return when < 0 || when >= time ? 0.0 : series[when * PANEL + lane];
            };
            const int64_t block = (phase * own + k) * PANEL;
            for (int lane = 0; lane < PANEL; ++lane) {
                const double before = at(t - tau, lane), u0 = at(t, lane), u1 = at(t + tau, lane);
                const double after = at(t + 2 * tau, lane);
                const int64_t i = block + lane;
                taps[i] = u0;
                taps[each + i] = u0 + u1;
                taps[2 * each + i] = u0 - u1;
                taps[3 * each + i] = u1;
                data[i] = before - u1;
                data[each + i] = 0.5 * (u0 + u1);
                data[2 * each + i] = 0.5 * (u1 - u0);
                data[3 * each + i] = after - u0;
            }
            checkpoint(8 * PANEL);
        }
}

// What past and future of a panel (time, PANEL) are about themselves: `ends`, the correlation of the
// two, and by how much rounding is magnified.
inline void ends_of_panel(const double* series, int64_t time, int64_t tau, const bool* constant,
                          double* ends, double* own, double* magnified) {
    const int64_t samples = time - tau;
    const auto over = [&](auto body) {
        in_stretches(samples, PANEL, [&](int64_t from, int64_t end) {
            for (int64_t t = from; t < end; ++t)
                for (int k = 0; k < PANEL; ++k)
                    body(series[t * PANEL + k], series[(t + tau) * PANEL + k], k);
        });
    };
    double past[PANEL] = {}, future[PANEL] = {}, of_past[PANEL] = {}, of_future[PANEL] = {};
    double both[PANEL] = {};
    over([&](double x, double a, int k) { past[k] += x, future[k] += a; });
    for (int k = 0; k < PANEL; ++k) past[k] /= double(samples), future[k] /= double(samples);
    over([&](double x, double a, int k) {
        x -= past[k], a -= future[k];
        of_past[k] += x * x, of_future[k] += a * a, both[k] += x * a;
    });
    for (int k = 0; k < PANEL; ++k) {
        const double root = __builtin_sqrt(double(samples));
        const double p = constant[k] ? 0 : 1 / __builtin_sqrt(of_past[k]);
        const double f = constant[k] ? 0 : 1 / __builtin_sqrt(of_future[k]);
        ends[PAST_SCALE * PANEL + k] = p;
        ends[FUTURE_SCALE * PANEL + k] = f;
        ends[PAST_MEAN * PANEL + k] = root * past[k];
        ends[FUTURE_MEAN * PANEL + k] = root * future[k];
        for (int64_t t = 0; t < tau; ++t) {
            ends[(FIRST + t) * PANEL + k] = series[t * PANEL + k];
            ends[(FIRST + tau + t) * PANEL + k] = series[(samples + t) * PANEL + k];
        }
        own[k] = both[k] * p * f;
        magnified[k] = std::max(1.0, std::max(p * p, f * f));
    }
}

// As `standardise`, to pairs of samples.
inline void pair_up(const double* series, int64_t trials, int64_t time, int64_t nodes, int64_t tau,
                    const Area& area, double* taps, double* ends, double* own, double* magnified,
                    unsigned char* constant, int threads) {
    each_panel(series, trials, time, nodes, tau, area, constant, threads,
               [&](int64_t task, int64_t trial, int64_t node, int count, const Numbers& raw) {
        const Numbers whole = numbers(time * PANEL);
        bool all[PANEL];
        unsigned char flat[PANEL];
        find_constant(raw.get(), time, PANEL, tau, PANEL, flat);
        unit(raw.get(), time, whole.get(), all);
        for (int k = 0; k < PANEL; ++k) all[k] = flat[k];
        double of_panel[2][PANEL];
        pair_samples(whole.get(), time, tau, taps + task * 2 * POINTS * blocks_of(time, tau) * PANEL);
        ends_of_panel(whole.get(), time, tau, all, ends + task * ends_of(tau) * PANEL, of_panel[0],
                      of_panel[1]);
        for (int k = 0; k < count; ++k) {
            const int64_t at = trial * nodes + node + k;
            own[at] = of_panel[0][k];
            magnified[at] = of_panel[1][k];
            constant[at] = flat[k];
        }
    });
}

}  // namespace phiid
