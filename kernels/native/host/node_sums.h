// Sums over the pairs of each node, in place of matrices.

#pragma once

#include "means.h"

namespace phiid {

// Sums over the pairs of each node, of means over trials or of each trial: adds an area's pairs to
// `out`, (names + 3, groups, nodes). After the atoms come the number of pairs with a value, the sum of
// sts / (sts + rtr) and the number of pairs where this sum exceeds LEAST_SUM. Pairs with marks are left
// out, and set aside where trials are averaged. `rtr` and `sts` are places among the names, or below zero.
class NodeSums {
   public:
    NodeSums(const Sum& sum, const unsigned char* constant, int64_t trials, int64_t nodes,
             bool per_trial, const Area& area, const Combination& combination, int rtr, int sts,
             double* out)
        : sum_(sum), varying_(constant, trials, nodes), trials_(trials), nodes_(nodes),
          groups_(per_trial ? trials : 1), per_trial_(per_trial), area_(area),
          combination_(combination), rtr_(rtr), sts_(sts), out_(out) {}

    Found add(int threads) {
        // A task takes some columns of all rows. No other adds to these as columns; what it adds to
        // the rows is kept apart, and so tasks are few.
        const int64_t begin = area_.column / PANEL * PANEL, all = area_.column_end - begin;
        const int64_t width = std::max<int64_t>(1, all / TILE / 64) * TILE;
        const int64_t tasks = (all + width - 1) / width;
        std::vector<std::vector<double>> of_rows(tasks);
        std::vector<Found> parts(tasks);
        const auto make = [&] { return Workspace(sum_, combination_); };
        spread(tasks, threads, make, [&](Workspace& space, int64_t task) {
            of_rows[task].resize(quantities() * groups_ * area_.rows());
            Part part{std::max(begin + task * width, area_.column),
                      std::min(begin + (task + 1) * width, area_.column_end),
                      of_rows[task].data(), parts[task]};
            add_columns(space, part);
        });
        for (const auto& rows : of_rows)
            for (int64_t line = 0; line < quantities() * groups_; ++line)
                for (int64_t i = 0; i < area_.rows(); ++i)
                    out_[line * nodes_ + area_.row + i] += rows[line * area_.rows() + i];
        return joined(parts);
    }

   private:
    struct Part {
        int64_t column, column_end;
        double* rows;  // (names + 3, groups, rows)
        Found& found;
    };

    int64_t quantities() const { return combination_.names + 3; }

    void add_columns(Workspace& space, const Part& part) const {
        const auto add_tile = [&](const Tile& tile) {
            for (int64_t group = 0; group < groups_; ++group) {
                const int64_t first = per_trial_ ? group : 0, last = per_trial_ ? group + 1 : trials_;
                const size_t before = part.found.marks.size();
                sum_.add(tile, first, last, space.tile, part.found.marks);
                const Means means(varying_, combination_, tile, first, last, !per_trial_, before,
                                  part.found, space);
                for (int i = 0; i < tile.rows; ++i) {
                    combination_.of_row(space.tile + i * TILE, tile.diagonal() ? i + 1 : 0,
                                        tile.columns);
                    means.of_row(i);
                    add_row(part, tile, group, i, space);
                }
            }
        };
        in_tiles(area_.row, area_.row_end, [&](int64_t i, int rows) {
            in_tiles(std::max(part.column, area_.first_column(i)), part.column_end,
                     [&](int64_t j, int columns) { add_tile({i, j, rows, columns}); });
        });
    }

    // Adds a row of atoms to its node and to those of its columns: lanes are columns, and those
    // without a value add nothing. What a row adds is summed by lanes, then at once.
    void add_row(const Part& part, const Tile& tile, int64_t group, int i,
                 const Workspace& space) const {
        const int names = combination_.names;
        const int64_t height = area_.rows();
        const double* const means = space.tile + i * TILE;
        double* const in_rows = part.rows + group * height + tile.row + i - area_.row;
        double* const in_columns = out_ + group * nodes_ + tile.column;
        const int from = tile.diagonal() ? i + 1 : 0;
        alignas(64) double known[TILE], values[TILE];
        for (int j = 0; j < TILE; ++j) known[j] = j < from ? 0 : space.known[j];

        const auto add = [&](int64_t own, int64_t mirror, const auto& of) {
            Doubles sum{};
            for (int j = from / DOUBLES * DOUBLES; j < tile.columns; j += DOUBLES) {
                const Doubles value = load<Doubles>(known + j) > 0 ? of(j) : Doubles{};
                sum += value;
                store(values + j, value);
            }
            double& in_row = in_rows[own * groups_ * height];
            for (int lane = 0; lane < DOUBLES; ++lane) in_row += sum[lane];
            double* const to = in_columns + mirror * groups_ * nodes_;
            for (int j = from; j < tile.columns; ++j) to[j] += values[j];
        };
        const auto atom = [&](int n, int j) { return load<Doubles>(means + n * ENTRIES + j); };
        for (int n = 0; n < names; ++n)
            add(n, combination_.mirror[n], [&](int j) { return atom(n, j); });
        add(names, names, [](int) { return constant<Doubles>(1); });
        if (rtr_ < 0 || sts_ < 0) return;
        const auto both = [&](int j) { return atom(sts_, j) + atom(rtr_, j); };
        add(names + 1, names + 1,
            [&](int j) { return both(j) > LEAST_SUM ? atom(sts_, j) / both(j) : Doubles{}; });
        add(names + 2, names + 2,
            [&](int j) { return both(j) > LEAST_SUM ? constant<Doubles>(1) : Doubles{}; });
    }

    const Sum& sum_;
    const Varying varying_;
    const int64_t trials_, nodes_, groups_;
    const bool per_trial_;
    const Area area_;
    const Combination& combination_;
    const int rtr_, sts_;
    double* const out_;
};

}  // namespace phiid
