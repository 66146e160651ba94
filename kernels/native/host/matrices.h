// Matrices of pairs: sums over trials, or means that nothing is left to be done to.
//
// A row of a tile is written in whole lines of the cache, and its mirror image is turned over first:
// entry by entry down a column of a large matrix, every store waits for a line of its own, and where
// the width is a power of two these lines push each other out of the cache. Lines of large matrices
// go past the cache, which need not read them before.

#pragma once

#include "means.h"

namespace phiid {

// Bytes from which matrices are written past the cache; smaller ones are read from it next.
#ifdef PHIID_PROOF
constexpr int64_t STREAMED = 1 << 16;
#else
constexpr int64_t STREAMED = 1 << 22;
#endif

template <class Number>
inline void put_row(const double* from, int count, Number* to, bool streamed) {
    constexpr int LINE = 64 / sizeof(Number);
    int j = 0;
    if (streamed) {
        const int64_t place = reinterpret_cast<uintptr_t>(to) / sizeof(Number) % LINE;
        for (const int head = std::min<int>(count, (LINE - place) % LINE); j < head; ++j)
            to[j] = Number(from[j]);
        for (; j + LINE <= count; j += LINE) {
            alignas(64) Number line[LINE];
            for (int k = 0; k < LINE; ++k) line[k] = Number(from[j + k]);
            stream_line(to + j, line);
        }
    }
    for (; j < count; ++j) to[j] = Number(from[j]);
}

// (groups, rows, columns) for each name; a group is a trial, or all of them. A triangle is written
// with its mirror image, and its diagonal.
template <class Number>
class Matrices {
   public:
    // `out`: by name, null for one that is not written. `varying`: means are written, NaN where there
    // is none; null: sums.
    Matrices(const Sum& sum, int64_t trials, bool per_trial, const Area& area,
             const Combination& combination, Number* const* out, const Varying* varying)
        : sum_(sum), trials_(trials), per_trial_(per_trial), area_(area), combination_(combination),
          out_(out), varying_(varying),
          streamed_(int64_t(sizeof(Number)) * combination.names * (per_trial ? trials : 1) *
                        area.rows() * area.columns() >= STREAMED) {}

    Found write(int threads) const {
        const std::vector<Tile> tiles = tiles_of(area_);
        // Trials apart are tasks apart, some at a time.
        const int64_t depth = per_trial_ ? 16 : trials_, stacks = (trials_ + depth - 1) / depth;
        std::vector<Found> parts(tiles.size() * stacks);
        const auto make = [&] { return Workspace(sum_, combination_); };
        spread(int64_t(parts.size()), threads, make, [&](Workspace& space, int64_t task) {
            const Tile& tile = tiles[task / stacks];
            const int64_t first = task % stacks * depth, last = std::min(first + depth, trials_);
            if (!per_trial_) group(tile, first, last, 0, parts[task], space);
            for (int64_t k = first; per_trial_ && k < last; ++k)
                group(tile, k, k + 1, k, parts[task], space);
            fence();
        });
        return joined(parts);
    }

   private:
    void group(const Tile& tile, int64_t first, int64_t last, int64_t number, Found& found,
               Workspace& space) const {
        const size_t before = found.marks.size();
        sum_.add(tile, first, last, space.tile, found.marks);
        const int64_t origin = number * area_.rows() * area_.columns();
        const bool whole = !area_.triangle || !tile.diagonal();
        for (int i = 0; i < tile.rows; ++i)
            combination_.of_row(space.tile + i * TILE, tile.diagonal() ? i + 1 : 0, tile.columns);
        if (varying_ != nullptr) {
            const Means means(*varying_, combination_, tile, first, last, !per_trial_, before, found,
                              space);
            for (int i = 0; i < tile.rows; ++i) means.of_row(i);
        }
        for (int n = 0; n < combination_.names; ++n) {
            if (out_[n] == nullptr) continue;
            Number* const to = out_[n] + origin;
            if (!whole) {
                both_halves(tile, n, to, space);
                continue;
            }
            for (int i = 0; i < tile.rows; ++i)
                put_row(space.tile + n * ENTRIES + i * TILE, tile.columns,
                        to + place(tile.row + i, tile.column), streamed_);
            if (area_.triangle) mirror_image(tile, n, to, space);
        }
    }

    int64_t place(int64_t row, int64_t column) const {
        return (row - area_.row) * area_.columns() + column - area_.column;
    }

    const double* mirrored(int n, const Workspace& space) const {
        return space.tile + combination_.mirror[n] * ENTRIES;
    }

    void mirror_image(const Tile& tile, int n, Number* to, Workspace& space) const {
        const double* from = mirrored(n, space);
        for (int j = 0; j < tile.columns; j += PANEL) {
            const int lines = std::min(PANEL, tile.columns - j);
            // Whole blocks: beyond the tile's last row there is memory still.
            for (int i = 0; i < tile.rows; i += DOUBLES)
                for (int k = 0; k < lines; k += DOUBLES) {
                    Doubles block[DOUBLES];
                    for (int r = 0; r < DOUBLES; ++r)
                        block[r] = load<Doubles>(from + (i + r) * TILE + j + k);
                    transpose(block);
                    for (int r = 0; r < DOUBLES; ++r) store(space.lines[k + r] + i, block[r]);
                }
            for (int k = 0; k < lines; ++k)
                put_row(space.lines[k], tile.rows, to + place(tile.column + j + k, tile.row),
                        streamed_);
        }
    }

    // A tile on the diagonal, of which the sums above are known.
    void both_halves(const Tile& tile, int n, Number* to, Workspace& space) const {
        const double *above = space.tile + n * ENTRIES, *below = mirrored(n, space);
        for (int i = 0; i < tile.rows; ++i) {
            double* const line = space.lines[0];
            for (int j = 0; j < i; ++j) line[j] = below[j * TILE + i];
            line[i] = varying_ == nullptr ? 0 : __builtin_nan("");
            for (int j = i + 1; j < tile.columns; ++j) line[j] = above[i * TILE + j];
            put_row(line, tile.columns, to + place(tile.row + i, tile.column), streamed_);
        }
    }

    const Sum& sum_;
    const int64_t trials_;
    const bool per_trial_;
    const Area area_;
    const Combination& combination_;
    Number* const* const out_;
    const Varying* const varying_;
    const bool streamed_;
};

}  // namespace phiid
