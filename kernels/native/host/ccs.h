// Gaussian, common change in surprisal: tiles of all pairs.

#pragma once

#include "paired.h"
#include "../phiid_ccs.h"

namespace phiid {

class Ccs : public Sum {
   public:
    Ccs(const Features& data, double limit) : data_(data), limit_(limit) {}

    int quantities() const override { return 16; }

    void add(const Tile& tile, int64_t first, int64_t last, double* to,
             std::vector<Mark>& marks) const override {
        clear(to, tile, quantities());
        for (int64_t k = first; k < last; ++k) trial(tile, k, to, marks);
    }

   private:
    static constexpr int FORMS = sizeof(LocalForms<double>) / sizeof(double);
    static_assert(sizeof(LocalForms<Doubles>) == FORMS * sizeof(Doubles), "numbers alone");

    // Past and future of some nodes, a vector of samples after the other; zero beyond the last.
    struct Samples {
        int64_t padded;
        Numbers values;
        Samples(const Features& data, int64_t trial, int64_t node, int count)
            : padded((data.samples + DOUBLES - 1) / DOUBLES * DOUBLES),
              values(numbers(2 * count * padded)) {
            for (int k = 0; k < count; ++k) {
                for (int side = 0; side < 2; ++side)
                    std::fill(of(k, side) + data.samples, of(k, side) + padded, 0.0);
                const double* from = data.panel(trial, node + k) + (node + k) % PANEL;
                in_stretches(data.samples, 2, [&](int64_t start, int64_t end) {
                    for (int64_t t = start; t < end; ++t)
                        for (int side = 0; side < 2; ++side)
                            values[(2 * k + side) * padded + t] = from[(2 * t + side) * PANEL];
                });
            }
        }
        double* of(int k, int side) const { return values.get() + (2 * k + side) * padded; }
    };

    void trial(const Tile& tile, int64_t k, double* to, std::vector<Mark>& marks) const {
        const unsigned char* constants = data_.constant + k * data_.nodes;
        const double* own = data_.own + k * data_.nodes;
        const Samples rows(data_, k, tile.row, tile.rows);
        const Samples columns(data_, k, tile.column, tile.columns);
        alignas(64) double own_columns[TILE] = {};
        std::copy(own + tile.column, own + tile.column + tile.columns, own_columns);
        Across moments;
        const int before = data_.before(tile);
        for (int i = 0; i < tile.rows; ++i) {
            const int r = int((tile.row + i) % ROWS);
            if (r == 0 || i == 0) across(data_, tile, k, i - r, moments);
            if (constants[tile.row + i]) continue;
            for (int j0 = tile.diagonal() ? i / DOUBLES * DOUBLES : 0; j0 < tile.columns;
                 j0 += DOUBLES) {
                const Correlations<Doubles> c{
                    load<Doubles>(moments.xy[r] + before + j0),
                    load<Doubles>(moments.ab[r] + before + j0),
                    constant<Doubles>(own[tile.row + i]),
                    load<Doubles>(moments.xb[r] + before + j0),
                    load<Doubles>(moments.ya[r] + before + j0),
                    load<Doubles>(own_columns + j0)};
                const Lambdas<Doubles> v = lambdas(c);
                const auto sure = trusted(v, constant<Doubles>(limit_));
                const LocalForms<Doubles> forms = local_forms(c, v, double(data_.samples));
                const int first = tile.diagonal() ? std::max(j0, i + 1) : j0;
                for (int j = first; j < std::min(j0 + DOUBLES, tile.columns); ++j) {
                    if (constants[tile.column + j]) continue;
                    if (!sure[j - j0]) {
                        marks.push_back({k, tile.row + i, tile.column + j});
                        continue;
                    }
                    pair(forms, j - j0, rows, i, columns, j, to + i * TILE + j);
                }
            }
            checkpoint(tile.columns * (data_.samples + 50));
        }
    }

    void pair(const LocalForms<Doubles>& all, int lane, const Samples& rows, int i,
              const Samples& columns, int j, double* to) const {
        LocalForms<double> forms;
        const double* from = reinterpret_cast<const double*>(&all) + lane;
        double* form = reinterpret_cast<double*>(&forms);
        for (int n = 0; n < FORMS; ++n) form[n] = from[n * DOUBLES];
        const double *x = rows.of(i, 0), *a = rows.of(i, 1);
        const double *y = columns.of(j, 0), *b = columns.of(j, 1);
        const Doubles zero = constant<Doubles>(0);
        Redundancies<Doubles> sum{zero, zero, zero, zero, zero, zero, zero};
        const int64_t t = data_.samples / DOUBLES * DOUBLES;
        in_stretches(t, 16, [&](int64_t from, int64_t end) {
            for (int64_t s = from; s < end; s += DOUBLES)
                add_to(sum, changes(forms, load<Doubles>(x + s), load<Doubles>(y + s),
                                    load<Doubles>(a + s), load<Doubles>(b + s)));
        });
        Redundancies<double> total = in_lanes(sum, DOUBLES);
        if (t < data_.samples) {
            const Redundancies<double> last =
                in_lanes(changes(forms, load<Doubles>(x + t), load<Doubles>(y + t),
                                 load<Doubles>(a + t), load<Doubles>(b + t)),
                         int(data_.samples - t));
            add_to(total, last);
        }
        const double samples = double(data_.samples);
        double quantities[16];
        cumulative(forms.mean, where_correlated(forms, samples, averaged(total, samples)),
                   quantities);
        for (int q = 0; q < 16; ++q) to[q * ENTRIES] += quantities[q];
    }

    // Sums over the first lanes.
    static Redundancies<double> in_lanes(const Redundancies<Doubles>& each, int count) {
        Redundancies<double> sum{};
        for (int lane = 0; lane < count; ++lane)
            add_to(sum, {each.rtr[lane], each.rtx[lane], each.rty[lane], each.rts[lane],
                             each.xtr[lane], each.ytr[lane], each.str[lane]});
        return sum;
    }

    const Features data_;
    const double limit_;
};

}  // namespace phiid
