// Trials in blocks: pairs of samples of some trials are made ready in memory that stays in the third
// level of the cache, and pairs of nodes are formed of them at once, while sums of all tiles are kept.
//
// A block has whole groups of trials that share logarithms, and later ones go on with the sums of
// earlier ones: results are those of all trials at once, to the bit.

#pragma once

#include <stdexcept>

#include "mmi.h"

namespace phiid {

// Sums over all trials of every tile of an area.
class Kept : public Sum {
   public:
    Kept(const Area& area, int quantities)
        : quantities_(quantities), tiles_(tiles_of(area)), marks_(tiles_.size()),
          memory_(numbers(size())) {
#ifdef PHIID_PROOF
        std::fill(memory_.get(), memory_.get() + size(), std::numeric_limits<double>::quiet_NaN());
#endif
    }

    int quantities() const override { return quantities_; }

    void add(const Tile& tile, int64_t, int64_t, double* to, std::vector<Mark>& marks) const override {
        const auto before = [](const Tile& one, const Tile& other) {
            return std::pair(one.row, one.column) < std::pair(other.row, other.column);
        };
        const size_t place = std::lower_bound(tiles_.begin(), tiles_.end(), tile, before) -
                             tiles_.begin();
        if (place == tiles_.size() || before(tile, tiles_[place]) ||
            tile.rows != tiles_[place].rows || tile.columns != tiles_[place].columns)
            throw std::logic_error("a tile that no sums were kept of");
        for (int q = 0; q < quantities_; ++q)
            std::memcpy(to + q * ENTRIES, sums(place) + q * ENTRIES,
                        sizeof(double) * TILE * tile.rows);
        marks.insert(marks.end(), marks_[place].begin(), marks_[place].end());
    }

    // Adds trials of a block, the first of which is the series' trial `origin`.
    template <class Atoms>
    void add_block(const Mmi<Atoms>& mmi, int64_t origin, int64_t trials, int threads) {
        const auto make = [&] { return numbers(mmi.scratch()); };
        spread(int64_t(tiles_.size()), threads, make, [&](Numbers& scratch, int64_t k) {
            std::vector<Mark>& marks = marks_[k];
            const size_t before = marks.size();
            mmi.go_on(tiles_[k], 0, trials, origin == 0, sums(k), scratch.get(), marks);
            for (size_t m = before; m < marks.size(); ++m) marks[m].trial += origin;
        });
    }

   private:
    int64_t size() const { return int64_t(tiles_.size()) * quantities_ * ENTRIES; }
    double* sums(int64_t tile) const { return memory_.get() + tile * quantities_ * ENTRIES; }

    const int quantities_;
    const std::vector<Tile> tiles_;
    std::vector<std::vector<Mark>> marks_;  // by tile
    const Numbers memory_;
};

// A series, and memory for what is made of it.
struct Series {
    const double* values;  // (trials, time, nodes)
    int64_t trials, time, nodes, tau;
    int64_t block;         // trials at a time
    double *taps, *ends;   // of a block
    double *own, *magnified;
    unsigned char* constant;
};

// More nodes than one in MAGNIFIED may have rounding magnified by no more than that: their pairs are
// done again, one by one.
constexpr int64_t MAGNIFIED = 64;
// Trials after which it is looked again, whatever a block is.
constexpr int64_t TOGETHER = 8;

// Whether rounding is magnified too often among the first trials of a series, counted in turn.
class Often {
   public:
    explicit Often(const Series& series) : series_(series) {}

    bool among(int64_t trials) {
        bool ever = false;
        for (; seen_ < trials;) {
            const double* const of = series_.magnified + seen_++ * series_.nodes;
            number_ += std::count_if(of, of + series_.nodes, [](double by) { return by > MAGNIFIED; });
            const bool look = seen_ % TOGETHER == 0 || seen_ == series_.trials;
            ever = ever || (look && number_ > seen_ * series_.nodes / MAGNIFIED);
        }
        return ever;
    }

   private:
    const Series& series_;
    int64_t seen_ = 0, number_ = 0;
};

// Null if rounding is magnified too often.
template <class Atoms>
std::unique_ptr<Sum> in_blocks(const Series& series, const Area& area, double limit, bool alone,
                               int threads) {
    if (series.block % Atoms::GROUP != 0) throw std::logic_error("a block that ends within a group");
    auto kept = std::make_unique<Kept>(area, int(Atoms::quantities));
    const int64_t nodes = series.nodes;
    Often often(series);
    for (int64_t k = 0; k < series.trials; k += series.block) {
        const int64_t trials = std::min(series.block, series.trials - k);
        const int64_t at = k * nodes;
        pair_up(series.values + at * series.time, trials, series.time, nodes, series.tau, area,
                series.taps, series.ends, series.own + at, series.magnified + at,
                series.constant + at, threads);
        if (often.among(k + trials)) return nullptr;
        const Features features{nullptr, series.taps, series.ends, nullptr, nullptr, nullptr,
                                series.own + at, series.magnified + at, series.constant + at, trials,
                                nodes, series.time - series.tau, blocks_of(series.time, series.tau),
                                series.tau};
        kept->add_block(Mmi<Atoms>(features, limit, alone), k, trials, threads);
    }
    return kept;
}

}  // namespace phiid
