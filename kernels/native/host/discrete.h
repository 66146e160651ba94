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

template <bool CCS>
class Discrete : public Sum {
   public:
    explicit Discrete(const Words& data) : data_(data) {}

    int quantities() const override { return 16; }

    void add(const Tile& tile, int64_t first, int64_t last, double* to,
             std::vector<Mark>&) const override {
        for (int64_t k = first; k < last; ++k) trial(tile, k, to);
    }

   private:
    // Of counts: MMI only adds them and looks them up.
    using Entry = std::conditional_t<CCS, double, int>;
    using Count = std::conditional_t<CCS, Doubles, Ints>;

    void trial(const Tile& tile, int64_t k, double* to) const {
        alignas(64) Entry column_ones[3][TILE] = {};
        alignas(64) double keep[TILE] = {};
        for (int f = 0; f < 3; ++f)
            for (int64_t w = 0; w < data_.words(); ++w) {
                const unsigned long long* words = data_.feature(k, f, w) + tile.column;
                for (int j = 0; j < tile.columns; ++j)
                    column_ones[f][j] += __builtin_popcountll(words[j]);
            }
        for (int j = 0; j < tile.columns; ++j)
            keep[j] = !data_.constant[k * data_.nodes + tile.column + j];
        alignas(64) double entropies[3][TILE];
        if constexpr (!CCS)
            for (int j = 0; j < tile.columns; j += DOUBLES) {
                Count ones[3];
                for (int f = 0; f < 3; ++f) ones[f] = load<Count>(column_ones[f] + j);
                const Entropies<Doubles> of = node_entropies<Doubles>(data_.table, samples(), ones);
                store(entropies[0] + j, of.past);
                store(entropies[1] + j, of.future);
                store(entropies[2] + j, of.both);
            }
        for (int i = 0; i < tile.rows; ++i) {
            const int64_t row = tile.row + i;
            if (data_.constant[k * data_.nodes + row]) continue;
            alignas(64) long long ones[9][TILE] = {};
            Entry row_ones[3] = {};
            for (int f = 0; f < 3; ++f)
                for (int64_t w = 0; w < data_.words(); ++w) {
                    const unsigned long long mine = data_.feature(k, f, w)[row];
                    row_ones[f] += __builtin_popcountll(mine);
                    for (int g = 0; g < 3; ++g) {
                        const unsigned long long* words = data_.feature(k, g, w) + tile.column;
                        long long* count = ones[3 * f + g];
                        for (int j = 0; j < tile.columns; ++j)
                            count[j] += __builtin_popcountll(words[j] & mine);
                    }
                }
            Count first[3];
            for (int f = 0; f < 3; ++f) first[f] = Count{} + row_ones[f];
            Entropies<Doubles> of_first{};
            if constexpr (!CCS) of_first = node_entropies<Doubles>(data_.table, samples(), first);
            for (int j = 0; j < tile.columns; j += DOUBLES) {
                Count each[9], second[3];
                for (int f = 0; f < 9; ++f)
                    each[f] =
                        __builtin_convertvector(load<Lanes<double>::Bits>(ones[f] + j), Count);
                for (int f = 0; f < 3; ++f) second[f] = load<Count>(column_ones[f] + j);
                Counts<Count> n;
                joint_states(samples(), each, first, second, n.xayb);
                if constexpr (!CCS) marginals(n);
                Informations<Doubles> mean;
                Redundancies<Doubles> shared;
                Doubles quantities[16];
                if constexpr (CCS) {
                    discrete_changes(data_.table, samples(), n.xayb, mean, shared);
                } else {
                    const Entropies<Doubles> of_second{load<Doubles>(entropies[0] + j),
                                                       load<Doubles>(entropies[1] + j),
                                                       load<Doubles>(entropies[2] + j)};
                    mean = informations(data_.table, n, of_first, of_second);
                    shared = least_informations(mean);
                }
                cumulative(mean, shared, quantities);
                const Doubles use = load<Doubles>(keep + j);
                for (int q = 0; q < 16; ++q) {
                    double* at = to + q * ENTRIES + i * TILE + j;
                    store(at, load<Doubles>(at) + use * quantities[q]);
                }
            }
            checkpoint(tile.columns * (data_.words() * 32 + 200));
        }
    }

    Count samples() const { return Count{} + Entry(data_.samples); }

    const Words data_;
};

}  // namespace phiid
