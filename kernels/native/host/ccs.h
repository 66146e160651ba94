// Gaussian, common change in surprisal: tiles of all pairs.

#pragma once

#include "paired.h"
#include "../phiid_ccs.h"

namespace phiid {

class Ccs : public Sum {
   public:
    Ccs(const Features& data, double limit)
        : data_(data), limit_(limit), none_(local_resolution(double(data.samples))),
          scale_(__builtin_scalbn(1.0, -64 - __builtin_ilogb(none_))),
          root_(__builtin_sqrt(scale_ * weight(double(data.samples)))) {}

    int quantities() const override { return 16; }

    void add(const Tile& tile, int64_t first, int64_t last, double* to,
             std::vector<Mark>& marks) const override {
        for (int64_t k = first; k < last; ++k) trial(tile, k, to, marks);
    }

   private:
    using Bits = Lanes<double>::Bits;
    using Forms = LocalForms<Doubles>;
    using Shared = Redundancies<Doubles>;

    // Local informations are scaled by a power of two such that those which have a sign lie between
    // 2^-63 and 2: their exponents have these bits in common, and so has the conjunction of all.
    // What is smaller lacks one of them, as does what is larger, which takes the careful way too.
    static constexpr long long EXPONENT = 0x3c0LL << 52;

    // Samples of some nodes in whole panels, (samples, 2, PANEL), scaled as informations are.
    Numbers panels_of(int64_t trial, int64_t node, int panels) const {
        const int64_t each = data_.stride();
        Numbers scaled = numbers(panels * each);
        const double* from = data_.panel(trial, node);
        double* to = scaled.get();
        in_stretches(panels * data_.samples, 2 * PANEL, [&](int64_t start, int64_t end) {
            for (int64_t k = start * 2 * PANEL; k < end * 2 * PANEL; ++k) to[k] = root_ * from[k];
        });
        return scaled;
    }

    // Past and future of a node, one after the other.
    void samples_of(int64_t trial, int64_t node, double* to) const {
        const double* from = data_.panel(trial, node) + node % PANEL;
        in_stretches(2 * data_.samples, 1, [&](int64_t start, int64_t end) {
            for (int64_t k = start; k < end; ++k) to[k] = root_ * from[k * PANEL];
        });
    }

    void trial(const Tile& tile, int64_t k, double* to, std::vector<Mark>& marks) const {
        const unsigned char* constants = data_.constant + k * data_.nodes;
        const double* own = data_.own + k * data_.nodes;
        const int before = data_.before(tile), columns = before + tile.columns;
        const Numbers row = numbers(2 * data_.samples);
        const Numbers panels = panels_of(k, tile.column, (columns + PANEL - 1) / PANEL);
        // By column from the first panel's; those of other nodes vary as little as constant ones.
        alignas(64) double own_columns[TILE] = {}, vary[TILE] = {};
        for (int j = before; j < columns; ++j) {
            own_columns[j] = own[tile.column - before + j];
            vary[j] = !constants[tile.column - before + j];
        }
        Across moments;
        for (int i = 0; i < tile.rows; ++i) {
            const int r = int((tile.row + i) % ROWS);
            if (r == 0 || i == 0) across(data_, tile, k, i - r, moments);
            if (constants[tile.row + i]) continue;
            if (tile.diagonal()) vary[before + i] = 0;  // of this row and all that follow
            samples_of(k, tile.row + i, row.get());
            for (int j = tile.diagonal() ? (before + i) / DOUBLES * DOUBLES : 0; j < columns;
                 j += DOUBLES) {
                const Correlations<Doubles> c{load<Doubles>(moments.xy[r] + j),
                                              load<Doubles>(moments.ab[r] + j),
                                              constant<Doubles>(own[tile.row + i]),
                                              load<Doubles>(moments.xb[r] + j),
                                              load<Doubles>(moments.ya[r] + j),
                                              load<Doubles>(own_columns + j)};
                const Lambdas<Doubles> v = lambdas(c);
                const Bits varies = Bits(load<Doubles>(vary + j) > 0.0);
                const Bits use = varies & Bits(trusted(v, constant<Doubles>(limit_)));
                for (int lane = 0; lane < DOUBLES; ++lane)
                    if (varies[lane] && !use[lane])
                        marks.push_back({k, tile.row + i, tile.column - before + j + lane});
                if (!any(use)) continue;
                const double* column = panels.get() + j / PANEL * data_.stride() + j % PANEL;
                add_pairs(c, v, use, row.get(), column, j - before, to + i * TILE);
            }
        }
    }

    // Adds the pairs of a row with a vector of columns, the first of which lies at `j` of the tile.
    void add_pairs(const Correlations<Doubles>& c, const Lambdas<Doubles>& v, Bits use,
                   const double* row, const double* column, int j, double* to) const {
        const double samples = double(data_.samples);
        const Forms forms = local_forms(c, v, samples);
        const Shared shared =
            averaged(changes_of(forms, use, row, column), constant<Doubles>(samples * scale_));
        Doubles quantities[16];
        cumulative(forms.mean, where_correlated(forms, samples, shared), quantities);
        for (int q = 0; q < 16; ++q, to += ENTRIES) {
            const Doubles more = use ? quantities[q] : constant<Doubles>(0);
            if (j >= 0) {
                store(to + j, load<Doubles>(to + j) + more);
            } else {
                for (int lane = -j; lane < DOUBLES; ++lane) to[j + lane] += more[lane];
            }
        }
    }

    // Sums of common changes over the samples, scaled. Those of some hundred are formed on their own
    // and then added, which keeps rounding down in long series.
    Shared changes_of(Forms forms, Bits use, const double* row, const double* column) const {
        constexpr int64_t STRETCH = 256;
        Doubles* mean = &forms.mean.x_a;
        for (int k = 0; k < 9; ++k) mean[k] *= scale_;
        forms.b_once_a *= scale_;
        forms.none *= scale_;
        Shared sum = no_change();
        for (int64_t start = 0; start < data_.samples; start += STRETCH) {
            const int64_t count = std::min(STRETCH, data_.samples - start);
            const double *from = row + start * 2, *with = column + start * 2 * PANEL;
            bool sure;
            Shared part = by_bits(forms, use, from, with, count, sure);
            if (!sure) part = one_by_one(forms, from, with, count);
            add_to(sum, part);
            checkpoint(count * DOUBLES * 25);
        }
        return sum;
    }

    static Shared no_change() {
        const Doubles zero = constant<Doubles>(0);
        return {zero, zero, zero, zero, zero, zero, zero};
    }

    static __attribute__((noinline)) Shared one_by_one(const Forms& forms, const double* row,
                                                       const double* column, int64_t count) {
        Shared sum = no_change();
        for (int64_t t = 0; t < count; ++t, row += 2, column += 2 * PANEL)
            add_to(sum, changes(forms, constant<Doubles>(row[0]), load<Doubles>(column),
                                constant<Doubles>(row[1]), load<Doubles>(column + PANEL)));
        return sum;
    }

    // As `one_by_one` if all local informations have a sign; `sure`: whether they have. Then signs are
    // alike where their bits are, which takes a third of the operations of least and most.
    static PHIID_FN Shared by_bits(const Forms& forms, Bits use, const double* row,
                                   const double* column, int64_t count, bool& sure) {
        Shared sum = no_change();
        Bits large = Bits{} + EXPONENT;
        for (int64_t t = 0; t < count; ++t, row += 2, column += 2 * PANEL) {
            // Less zero rather than more: that needs no arithmetic.
            const Doubles x = row[0] - Doubles{}, a = row[1] - Doubles{};
            const Informations<Doubles> i = local_informations(forms, x, load<Doubles>(column), a,
                                                               load<Doubles>(column + PANEL));
            large &= all(i.x_a, i.x_b, i.y_a) & all(i.y_b, i.xy_a, i.xy_b) &
                     all(i.x_ab, i.y_ab, i.xy_ab);
            const Doubles of_x = i.x_a + i.x_b, of_y = i.y_a + i.y_b;
            const Doubles to_ab = i.x_ab + i.y_ab, of_xy = i.xy_a + i.xy_b - i.xy_ab;
            // The change in rtr is some less others, each a sum, as an addition waits for the last.
            Doubles some = to_ab + of_xy, others = of_x + of_y;
            Doubles change = i.x_a + i.y_a - i.xy_a;
            auto alike = differ(i.x_a, i.y_a, i.xy_a, change) >= 0;
            sum.rtx = alike ? sum.rtx + change : sum.rtx;
            some = alike ? some + change : some;
            change = of_y - i.y_ab;
            alike = differ(i.y_a, i.y_b, i.y_ab, change) >= 0;
            sum.ytr = alike ? sum.ytr + change : sum.ytr;
            others = alike ? others - change : others;
            change = i.x_b + i.y_b - i.xy_b;
            alike = differ(i.x_b, i.y_b, i.xy_b, change) >= 0;
            sum.rty = alike ? sum.rty + change : sum.rty;
            some = alike ? some + change : some;
            change = of_x - i.x_ab;
            alike = differ(i.x_a, i.x_b, i.x_ab, change) >= 0;
            sum.xtr = alike ? sum.xtr + change : sum.xtr;
            others = alike ? others - change : others;
            change = to_ab - i.xy_ab;
            alike = differ(i.x_ab, i.y_ab, i.xy_ab, change) >= 0;
            sum.rts = alike ? sum.rts + change : sum.rts;
            some = alike ? some - change : some;
            alike = differ(i.xy_a, i.xy_b, i.xy_ab, of_xy) >= 0;
            sum.str = alike ? sum.str + of_xy : sum.str;
            others = alike ? others + of_xy : others;
            change = some - others;
            alike = (differ(i.x_a, i.x_b, i.y_a, i.y_b) | (Bits(i.x_a) ^ Bits(change))) >= 0;
            sum.rtr = alike ? sum.rtr + change : sum.rtr;
        }
        sure = !any((large != EXPONENT) & use);
        return sum;
    }

    // Bits that three have in common; bits in which one differs from any other.
    static PHIID_FN Bits all(Doubles one, Doubles two, Doubles three) {
        return Bits(one) & Bits(two) & Bits(three);
    }
    static PHIID_FN Bits differ(Doubles one, Doubles two, Doubles three, Doubles four) {
        return (Bits(one) ^ Bits(two)) | (Bits(one) ^ Bits(three)) | (Bits(one) ^ Bits(four));
    }
    static bool any(Bits mask) {
        long long some = 0;
        for (int lane = 0; lane < DOUBLES; ++lane) some |= mask[lane];
        return some != 0;
    }

    const Features data_;
    const double limit_;
    const double none_, scale_;  // what has no sign; by what informations are multiplied
    const double root_;          // and samples
};

}  // namespace phiid
