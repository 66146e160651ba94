// Discrete estimators: tiles of all pairs, from words of bits.

#pragma once

#include <type_traits>

#include "engine.h"
#include "simd.h"
#include "../phiid_discrete.h"

namespace phiid {

// (trials, 3, words, nodes) of the future, the past and both, 64 samples in a word.
struct Words {
    const unsigned long long* values;
    const unsigned char* constant;  // (trials, nodes)
    int64_t trials, nodes, samples;
    const double* table;  // by count: entropy share (MMI), surprisal (CCS)

    int64_t words() const { return (samples + 63) / 64; }
    const unsigned long long* feature(int64_t trial, int feature, int64_t word) const {
        return values + ((trial * 3 + feature) * words() + word) * nodes;
    }
};

// Where entropies of a vector of pairs, `JointEntropies`, find their entries in a table by count:
// COUNTS in all, or half of them in a table of two counts at once, that has the entries of k and
// total - k at (total << SHIFT) + k. Sums are the same to the bit.
struct Places {
    static constexpr int COUNTS = 64, SHIFT = 8, MOST = (1 << SHIFT) - 1;  // samples

    static Numbers of_two(const double* table, int64_t samples) {
        Numbers entries = numbers((samples + 1) << SHIFT);
        for (int64_t total = 0; total <= samples; ++total)
            for (int64_t k = 0; k <= total; ++k)
                entries[(total << SHIFT) + k] = table[k] + table[total - k];
        return entries;
    }

    template <bool TWO>
    static PHIID_FN void find(const Counts<Ints>& n, Ints* to) {
        some<TWO, 4>(n.x, n.xy, to), some<TWO, 4>(n.a, n.ab, to);
        some<TWO, 4>(n.x, n.xb, to), some<TWO, 4>(n.a, n.ay, to);
        some<TWO, 8>(n.xa, n.xay, to), some<TWO, 8>(n.xy, n.xyb, to);
        some<TWO, 8>(n.xa, n.xab, to), some<TWO, 8>(n.ay, n.ayb, to);
        some<TWO, 16>(n.xay, n.xayb, to);
    }

    // Entropies, `apart` from each other.
    template <bool TWO>
    static PHIID_FN void look_up(const double* table, const Ints* from, double* to, int apart) {
        constexpr int PART = TWO ? 2 : 1, TOGETHER = TWO ? 1 : 2;
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k, from += 4 / PART, to += apart)
            add_entries<4 / PART, TOGETHER>(table, from, to);
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k, from += 8 / PART, to += apart)
            add_entries<8 / PART, TOGETHER>(table, from, to);
        add_entries<16 / PART, TOGETHER>(table, from, to);
    }

   private:
    template <bool TWO, int COUNT>
    static PHIID_FN void some(const Ints* totals, const Ints* counts, Ints*& to) {
#pragma GCC unroll 16
        for (int k = 0; k < COUNT; k += TWO ? 2 : 1)
            *to++ = TWO ? (totals[k / 2] << SHIFT) | counts[k] : counts[k];
    }
};

template <bool CCS>
class Discrete : public Sum {
   public:
    explicit Discrete(const Words& data) : data_(data) {
        // A table of two counts takes as long to make as it saves with some pairs a sample, and
        // longer series want more of it than the cache holds.
        if (!CCS && data.samples <= Places::MOST &&
            data.trials * data.nodes * data.nodes > 64 * data.samples)
            of_two_ = Places::of_two(data.table, data.samples);
    }

    int quantities() const override { return 16; }

    void add(const Tile& tile, int64_t first, int64_t last, double* to,
             std::vector<Mark>&) const override {
        clear(to, tile, quantities());
        for (int64_t k = first; k < last; ++k) {
            if (of_two_) trial<true>(tile, k, to);
            else trial<false>(tile, k, to);
        }
    }

   private:
    // Of counts: MMI only adds them and looks them up.
    using Entry = std::conditional_t<CCS, double, int>;
    using Count = std::conditional_t<CCS, Doubles, Ints>;

    // Of the columns of a tile; numbers of samples where the future, the past, both are one.
    struct Columns {
        alignas(64) Entry ones[3][TILE] = {};
        alignas(64) double keep[TILE] = {};  // 1 where the node varies
        alignas(64) double entropies[3][TILE];
    };
    struct Row {
        Count ones[3];
        alignas(64) long long both[9][TILE] = {};  // where features of row and column are one
    };

    template <bool TWO>
    void trial(const Tile& tile, int64_t k, double* to) const {
        const Columns columns = columns_of(tile, k);
        for (int i = 0; i < tile.rows; ++i) {
            if (data_.constant[k * data_.nodes + tile.row + i]) continue;
            const Row row = row_of(tile, k, tile.row + i);
            if constexpr (CCS) {
                for (int j = 0; j < tile.columns; j += DOUBLES) {
                    Informations<Doubles> mean;
                    Redundancies<Doubles> shared;
                    const Counts<Count> n = counts(row, columns, j);
                    discrete_changes(data_.table, samples(), n.xayb, mean, shared);
                    add_to(mean, shared, columns, j, to + i * TILE);
                }
            } else {
                by_entropies<TWO>(row, columns, tile.columns, to + i * TILE);
            }
            checkpoint(tile.columns * (data_.words() * 32 + 200));
        }
    }

    // Three times over the columns, as a vector waits for lanes that were just written one by one.
    template <bool TWO>
    void by_entropies(const Row& row, const Columns& columns, int count, double* to) const {
        constexpr int EACH = Places::COUNTS / (TWO ? 2 : 1);
        alignas(64) Ints places[TILE / DOUBLES][EACH];
        alignas(64) double joint[9][TILE];
        for (int j = 0; j < count; j += DOUBLES)
            Places::find<TWO>(counts(row, columns, j), places[j / DOUBLES]);
        const double* table = TWO ? of_two_.get() : data_.table;
        for (int j = 0; j < count; j += DOUBLES)
            Places::look_up<TWO>(table, places[j / DOUBLES], joint[0] + j, TILE);
        const Entropies<Doubles> first = node_entropies<Doubles>(data_.table, samples(), row.ones);
        for (int j = 0; j < count; j += DOUBLES) {
            const auto of = [&](const double* values) { return load<Doubles>(values + j); };
            const JointEntropies<Doubles> both{of(joint[0]), of(joint[1]), of(joint[2]),
                                               of(joint[3]), of(joint[4]), of(joint[5]),
                                               of(joint[6]), of(joint[7]), of(joint[8])};
            const Entropies<Doubles> second{of(columns.entropies[0]), of(columns.entropies[1]),
                                            of(columns.entropies[2])};
            const Informations<Doubles> mean = informations(both, first, second);
            add_to(mean, least_informations(mean), columns, j, to);
        }
    }

    static PHIID_FN void add_to(const Informations<Doubles>& mean,
                                const Redundancies<Doubles>& shared, const Columns& columns, int j,
                                double* to) {
        Doubles quantities[16];
        cumulative(mean, shared, quantities);
        const Doubles use = load<Doubles>(columns.keep + j);
        for (int q = 0; q < 16; ++q) {
            double* at = to + q * ENTRIES + j;
            store(at, load<Doubles>(at) + use * quantities[q]);
        }
    }

    Columns columns_of(const Tile& tile, int64_t k) const {
        Columns columns;
        for (int f = 0; f < 3; ++f)
            for (int64_t w = 0; w < data_.words(); ++w) {
                const unsigned long long* words = data_.feature(k, f, w) + tile.column;
                for (int j = 0; j < tile.columns; ++j)
                    columns.ones[f][j] += __builtin_popcountll(words[j]);
            }
        for (int j = 0; j < tile.columns; ++j)
            columns.keep[j] = !data_.constant[k * data_.nodes + tile.column + j];
        if constexpr (!CCS)
            for (int j = 0; j < tile.columns; j += DOUBLES) {
                Count ones[3];
                for (int f = 0; f < 3; ++f) ones[f] = load<Count>(columns.ones[f] + j);
                const Entropies<Doubles> of = node_entropies<Doubles>(data_.table, samples(), ones);
                store(columns.entropies[0] + j, of.past);
                store(columns.entropies[1] + j, of.future);
                store(columns.entropies[2] + j, of.both);
            }
        return columns;
    }

    Row row_of(const Tile& tile, int64_t k, int64_t node) const {
        Row row;
        for (int f = 0; f < 3; ++f) {
            Entry ones = 0;
            for (int64_t w = 0; w < data_.words(); ++w) {
                const unsigned long long mine = data_.feature(k, f, w)[node];
                ones += __builtin_popcountll(mine);
                for (int g = 0; g < 3; ++g) {
                    const unsigned long long* words = data_.feature(k, g, w) + tile.column;
                    long long* count = row.both[3 * f + g];
                    for (int j = 0; j < tile.columns; ++j)
                        count[j] += __builtin_popcountll(words[j] & mine);
                }
            }
            row.ones[f] = Count{} + ones;
        }
        return row;
    }

    // Of a row and a vector of columns.
    PHIID_FN Counts<Count> counts(const Row& row, const Columns& columns, int j) const {
        Count each[9], second[3];
        for (int f = 0; f < 9; ++f)
            each[f] = __builtin_convertvector(load<Lanes<double>::Bits>(row.both[f] + j), Count);
        for (int f = 0; f < 3; ++f) second[f] = load<Count>(columns.ones[f] + j);
        Counts<Count> n;
        joint_states(samples(), each, row.ones, second, n.xayb);
        marginals(n);
        return n;
    }

    Count samples() const { return Count{} + Entry(data_.samples); }

    const Words data_;
    Numbers of_two_;  // see Places
};

}  // namespace phiid
