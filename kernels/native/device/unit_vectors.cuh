// Unit vectors of a series: past and future of every node, each centred and scaled on its own.
//
// The steps are those of `formulas.unit_vectors`, which says why they are taken:
//
//     a node is constant where its largest and least value are equal;
//     v = series / (power of two of the largest magnitude)             exact; all values within 4
//     c = v - mean(v),  c = c - mean(c)                                twice: see there
//     u = c / |c|,                                                     0 where constant
//
// The second scaling of the formula, by the peak of c, is left out: that peak is at most 8 and, as
// float64 knows no smaller difference of numbers near 1, at least some 2^-54, that of a node of
// the least subnormal number too, so that no square leaves the range. Sums run in another order, and |c| is
// multiplied by its inverse: results agree to rounding.
//
// A block has 32 nodes of a trial, a warp every eighth sample of them; past and future are read at
// once. Of a short series the first pass alone reads memory, the others the cache: T = 100 takes
// 26 KB a block. Roofline (H100, 3.35 TB/s), N = 1152, 60 trials, T = 100: 55 MB read, 109 MB
// written, 49 us. Not timed.

#pragma once

#include "tiles.cuh"

namespace phiid {

struct Standardising {
    static constexpr int NODES = 32, ROWS = 8, THREADS = NODES * ROWS;

    struct Memory {
        double parts[3][ROWS][NODES];
        double values[2][NODES][NODES + 1];  // so that a node does not lie in one bank
    };
};

// 1 over the power of two of a number, by the bits of its exponent; of 0 as of the least.
PHIID_FN double inverse_power(double number) {
    union {
        double value;
        long long bits;
    } power;
    power.value = number;
    const long long exponent = power.bits >> 52 & 2047;
    power.bits = (2046 - (exponent < 2045 ? exponent : 2045)) << 52;  // normal, and positive
    return power.value;
}

struct Sum {
    static PHIID_FN double of(double one, double other) { return one + other; }
};

struct Largest {
    static PHIID_FN double of(double one, double other) { return one > other ? one : other; }
};

// What all threads of a node have, joined in the order of its samples' warps, to each of them.
template <class Join, int COUNT>
PHIID_FN void join(double (&values)[COUNT], Standardising::Memory& memory) {
    const int lane = threadIdx.x % Standardising::NODES, row = threadIdx.x / Standardising::NODES;
    PHIID_UNROLL
    for (int k = 0; k < COUNT; ++k) memory.parts[k][row][lane] = values[k];
    __syncthreads();
    PHIID_UNROLL
    for (int k = 0; k < COUNT; ++k) {
        values[k] = memory.parts[k][0][lane];
        PHIID_UNROLL
        for (int other = 1; other < Standardising::ROWS; ++other)
            values[k] = Join::of(values[k], memory.parts[k][other][lane]);
    }
    __syncthreads();
}

// Past or future of a node.
struct Segment {
    double power, mean, rest, scale;

    PHIID_FN double centred(double value) const { return (value * power - mean) - rest; }
};

// past, future: (trials, nodes, samples), own: (trials, nodes), constant: (trials, nodes).
template <class Value>
PHIID_FN void standardise(const Value* series, double* past, double* future, double* own,
                          unsigned char* constant, Index time, Index nodes, Index tau,
                          Standardising::Memory& memory) {
    constexpr int NODES = Standardising::NODES, ROWS = Standardising::ROWS;
    const Index blocks = (nodes + NODES - 1) / NODES, samples = time - tau;
    const Index trial = Index(blockIdx.x) / blocks, first = Index(blockIdx.x) % blocks * NODES;
    const int lane = threadIdx.x % NODES, row = threadIdx.x / NODES;
    // A thread without a node does what the last one's do, so that all reach every barrier.
    const Index node = first + lane < nodes ? first + lane : nodes - 1;
    const Value* const x = series + trial * time * nodes + node;
    const Value* const a = x + tau * nodes;

    // Largest values, and largest of the negated.
    double high[2] = {double(x[0]), double(a[0])}, low[2] = {-high[0], -high[1]};
    for (Index t = row; t < samples; t += ROWS) {
        const double both[2] = {double(x[t * nodes]), double(a[t * nodes])};
        PHIID_UNROLL
        for (int side = 0; side < 2; ++side) {
            high[side] = Largest::of(high[side], both[side]);
            low[side] = Largest::of(low[side], -both[side]);
        }
    }
    join<Largest>(high, memory);
    join<Largest>(low, memory);
    Segment segment[2];
    bool still[2];
    PHIID_UNROLL
    for (int side = 0; side < 2; ++side) {
        still[side] = high[side] == -low[side];
        const double peak = Largest::of(high[side], low[side]);  // not negative
        segment[side] = {inverse_power(peak), 0, 0, 0};
    }

    double mean[2] = {0, 0};
    for (Index t = row; t < samples; t += ROWS) {
        mean[0] += segment[0].centred(double(x[t * nodes]));
        mean[1] += segment[1].centred(double(a[t * nodes]));
    }
    join<Sum>(mean, memory);
    segment[0].mean = mean[0] / double(samples);
    segment[1].mean = mean[1] / double(samples);

    double rest[2] = {0, 0};
    for (Index t = row; t < samples; t += ROWS) {
        rest[0] += segment[0].centred(double(x[t * nodes]));
        rest[1] += segment[1].centred(double(a[t * nodes]));
    }
    join<Sum>(rest, memory);
    segment[0].rest = rest[0] / double(samples);
    segment[1].rest = rest[1] / double(samples);

    double squares[3] = {0, 0, 0};  // and the product of the two
    for (Index t = row; t < samples; t += ROWS) {
        const double p = segment[0].centred(double(x[t * nodes]));
        const double f = segment[1].centred(double(a[t * nodes]));
        squares[0] += p * p;
        squares[1] += f * f;
        squares[2] += p * f;
    }
    join<Sum>(squares, memory);
    PHIID_UNROLL
    for (int side = 0; side < 2; ++side)
        segment[side].scale = still[side] ? 0 : 1 / sqrt(squares[side]);
    if (row == 0 && first + lane < nodes) {
        const Index at = trial * nodes + node;
        own[at] = squares[2] * segment[0].scale * segment[1].scale;
        constant[at] = still[0] || still[1];
    }

    // Turned around, so that what is written lies side by side, too.
    for (Index start = 0; start < samples; start += NODES) {
        for (int k = row; k < NODES; k += ROWS) {
            if (start + k >= samples) break;
            const Index at = (start + k) * nodes;
            memory.values[0][lane][k] = segment[0].centred(double(x[at])) * segment[0].scale;
            memory.values[1][lane][k] = segment[1].centred(double(a[at])) * segment[1].scale;
        }
        __syncthreads();
        for (int k = row; k < NODES; k += ROWS) {
            if (first + k >= nodes || start + lane >= samples) break;
            const Index to = (trial * nodes + first + k) * samples + start + lane;
            past[to] = memory.values[0][k][lane];
            future[to] = memory.values[1][k][lane];
        }
        __syncthreads();
    }
}

}  // namespace phiid
