// From sums of a tile to means over the trials in which its pairs have a value.

#pragma once

#include "engine.h"

namespace phiid {

// Numbers of trials in which both nodes of a pair vary.
class Varying {
   public:
    Varying(const unsigned char* constant, int64_t trials, int64_t nodes)
        : constant_(constant), nodes_(nodes), always_(nodes, 1) {
        for (int64_t k = 0; k < trials; ++k)
            for (int64_t i = 0; i < nodes; ++i)
                if (constant[k * nodes + i]) always_[i] = 0;
    }

    // Whether all nodes of a tile vary in every trial.
    bool always(const Tile& tile) const {
        const auto all = [&](int64_t first, int count) {
            return std::all_of(&always_[first], &always_[first] + count, [](char c) { return c != 0; });
        };
        return all(tile.row, tile.rows) && all(tile.column, tile.columns);
    }

    // Of a node with some others, in trials first ... last - 1.
    void both(int64_t row, int64_t column, int columns, int64_t first, int64_t last,
              double* number) const {
        int count[TILE] = {};
        for (int64_t k = first; k < last; ++k) {
            const unsigned char* constant = constant_ + k * nodes_;
            if (constant[row]) continue;
            for (int j = 0; j < columns; ++j) count[j] += !constant[column + j];
        }
        for (int j = 0; j < TILE; ++j) number[j] = j < columns ? count[j] : 0;
    }

   private:
    const unsigned char* constant_;
    int64_t nodes_;
    std::vector<char> always_;
};

// The means of a tile, over trials first ... last - 1. Pairs with marks have none yet, and are set
// aside where trials are averaged: what the stable path finds has to be added first.
class Means {
   public:
    // The tile's marks are those that `found` has from `before` on.
    Means(const Varying& varying, const Combination& combination, const Tile& tile, int64_t first,
          int64_t last, bool set_aside, size_t before, Found& found, Workspace& space)
        : varying_(varying), combination_(combination), tile_(tile), first_(first), last_(last),
          set_aside_(set_aside), always_(varying.always(tile)),
          marks_(found.marks.size() > before), found_(found), space_(space) {
        if (!marks_) return;
        std::fill(space.marked.begin(), space.marked.end(), 0);
        for (size_t m = before; m < found.marks.size(); ++m) {
            const Mark& mark = found.marks[m];
            space.marked[(mark.row - tile.row) * TILE + mark.column - tile.column] = 1;
        }
    }

    // Turns a row of sums of atoms into means, in place, NaN where there is none; `known` of the
    // workspace says how many trials each is of.
    void of_row(int i) const {
        double* const known = space_.known;
        const int from = tile_.diagonal() ? i + 1 : 0;
        if (always_)
            for (int j = 0; j < TILE; ++j) known[j] = j < tile_.columns ? double(last_ - first_) : 0;
        else
            varying_.both(tile_.row + i, tile_.column, tile_.columns, first_, last_, known);
        if (marks_) take_out(i, from);
        if (always_ && !marks_ && last_ - first_ == 1) return;
        for (int n = 0; n < combination_.names; ++n) {
            double* const atoms = space_.tile + n * ENTRIES + i * TILE;
            for (int j = from / DOUBLES * DOUBLES; j < tile_.columns; j += DOUBLES) {
                const Doubles number = load<Doubles>(known + j);
                const Doubles mean = load<Doubles>(atoms + j) / number;
                store(atoms + j, number > 0 ? mean : constant<Doubles>(__builtin_nan("")));
            }
        }
    }

   private:
    void take_out(int i, int from) const {
        for (int j = from; j < tile_.columns; ++j) {
            if (!space_.marked[i * TILE + j]) continue;
            if (set_aside_) {
                found_.aside.push_back({int64_t(space_.known[j]), tile_.row + i, tile_.column + j});
                for (int n = 0; n < combination_.names; ++n)
                    found_.partial.push_back(space_.tile[n * ENTRIES + i * TILE + j]);
            }
            space_.known[j] = 0;
        }
    }

    const Varying& varying_;
    const Combination& combination_;
    const Tile tile_;
    const int64_t first_, last_;
    const bool set_aside_, always_, marks_;
    Found& found_;
    Workspace& space_;
};

}  // namespace phiid
