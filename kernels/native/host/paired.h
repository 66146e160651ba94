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
// rounding stays that of plain sums. v1, v2 are to v what u0, u1 are to u: two of the data are half of
// two taps, up to the sign, and are kept as these, so that a node has six lines and not eight.
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

constexpr int POINTS = 4, LINES = 6;
// Lines of the points; data lie in one piece, as a tile has more columns than rows in its cache.
constexpr int TAPS[POINTS] = {0, 2, 3, 5}, DATA[POINTS] = {1, 2, 3, 4};
enum { PAST_SCALE, FUTURE_SCALE, PAST_MEAN, FUTURE_MEAN, FIRST };  // lines of `ends`; 4 + 2 tau

// (trials, panels, LINES, blocks, PANEL); a block is a pair of samples, and those of samples that are
// a multiple of tau apart follow each other.
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
                const Doubles even = 0.5 * (m(1) - m(2)), same = 0.5 * (m(1) + m(2));
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
    const int64_t each = data.blocks * PANEL, apart = LINES * each;
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
        for (int point = 0; point < POINTS; ++point) {
            const double* columns = data.taps + at * apart + DATA[point] * each;
            for (int i = 0; i < ROWS; i += HEIGHT) {
                const double* from = rows + TAPS[point] * each + i;
                if (some == MANY)
                    inner<HEIGHT, MANY * EACH>(from, columns, apart, data.blocks, sums[point] + i);
                else
                    inner<HEIGHT, EACH>(from, columns, apart, data.blocks, sums[point] + i);
            }
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

// Taps and data of a vector of nodes, centred and scaled.
inline void pair_samples(const double* series, int64_t time, int64_t tau, double* to) {
    const int64_t blocks = blocks_of(time, tau), each = blocks * PANEL, own = blocks / tau;
    const auto at = [&](int64_t t) {
        return t < time ? load<Doubles>(series + t * PANEL) : Doubles{};
    };
    for (int64_t phase = 0; phase < tau; ++phase) {
        Doubles before{}, first = at(phase);
        in_stretches(own, LINES * DOUBLES, [&](int64_t from, int64_t end) {
            Doubles v0 = before, u0 = first;
            double* block = to + (phase * own + from) * PANEL;
            for (int64_t k = from; k < end; ++k, block += PANEL) {
                const int64_t t = phase + 2 * k * tau;
                const Doubles u1 = at(t + tau), v3 = at(t + 2 * tau);
                const Doubles values[LINES] = {u0, v0 - u1, u0 + u1, u0 - u1, v3 - u0, u1};
#pragma GCC unroll 6
                for (int line = 0; line < LINES; ++line) store(block + line * each, values[line]);
                v0 = u1, u0 = v3;
            }
            before = v0, first = u0;
        });
    }
}

// What past and future of a vector of nodes are about themselves: `ends`, the correlation of the two,
// and by how much rounding is magnified.
inline void ends_of_nodes(const double* series, int64_t time, int64_t tau,
                          Lanes<double>::Bits constant, double* ends, double* own,
                          double* magnified) {
    const int64_t samples = time - tau;
    const auto x = [&](int64_t t) { return load<Doubles>(series + t * PANEL); };
    const auto a = [&](int64_t t) { return load<Doubles>(series + (t + tau) * PANEL); };
    const Doubles past = over_time(samples, x) / double(samples);
    const Doubles future = over_time(samples, a) / double(samples);
    const auto before = [&](int64_t t) { return x(t) - past; };
    const auto after = [&](int64_t t) { return a(t) - future; };
    const Doubles of_past = over_time(samples, [&](int64_t t) { return before(t) * before(t); });
    const Doubles of_future = over_time(samples, [&](int64_t t) { return after(t) * after(t); });
    const Doubles both = over_time(samples, [&](int64_t t) { return before(t) * after(t); });
    const Doubles p = inverse_root(of_past, constant), f = inverse_root(of_future, constant);
    const double root = __builtin_sqrt(double(samples));
    store(ends + PAST_SCALE * PANEL, p);
    store(ends + FUTURE_SCALE * PANEL, f);
    store(ends + PAST_MEAN * PANEL, root * past);
    store(ends + FUTURE_MEAN * PANEL, root * future);
    for (int64_t t = 0; t < tau; ++t) {
        store(ends + (FIRST + t) * PANEL, x(t));
        store(ends + (FIRST + tau + t) * PANEL, x(samples + t));
    }
    store(own, both * p * f);
    const Doubles larger = p < f ? f * f : p * p, least = Doubles{} + 1;
    store(magnified, larger > least ? larger : least);
}

// As `standardise`, to pairs of samples; `time` is more than 2 tau.
inline void pair_up(const double* series, int64_t trials, int64_t time, int64_t nodes, int64_t tau,
                    const Area& area, double* taps, double* ends, double* own, double* magnified,
                    unsigned char* constant, int threads) {
    each_panel(series, trials, time, nodes, tau, area, constant, threads,
               [&](int64_t task, int64_t trial, int64_t node, int count, const Numbers& raw) {
        double* const to = taps + task * LINES * blocks_of(time, tau) * PANEL;
        double own_of_panel[PANEL], magnified_in_panel[PANEL];
        long long flat[PANEL];
        for (int lane = 0; lane < PANEL; lane += DOUBLES) {
            double* const nodes_of = raw.get() + lane;
            // Samples in past and future, in the past alone, and in the future alone.
            const Range common = range_of(nodes_of + tau * PANEL, time - 2 * tau);
            const Range past = joined(range_of(nodes_of, tau), common);
            const Range future = joined(common, range_of(nodes_of + (time - tau) * PANEL, tau));
            unit(nodes_of, time, joined(past, future), nodes_of, PANEL);
            const auto either = past.flat() | future.flat();
            store(flat + lane, either);
            pair_samples(nodes_of, time, tau, to + lane);
            ends_of_nodes(nodes_of, time, tau, either, ends + task * ends_of(tau) * PANEL + lane,
                          own_of_panel + lane, magnified_in_panel + lane);
        }
        for (int k = 0; k < count; ++k) {
            const int64_t at = trial * nodes + node + k;
            own[at] = own_of_panel[k];
            magnified[at] = magnified_in_panel[k];
            constant[at] = flat[k] != 0;
        }
    });
}

}  // namespace phiid
