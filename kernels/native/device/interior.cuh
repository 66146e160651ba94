// What lags.cuh reads of a series: every node without its first and last sample, and these two.
//
// The samples between them are scaled by a power of two, centred twice, as in unit_vectors.cuh, and
// scaled as the past; the ends are taken about the same mean. An end may exceed them by any number:
// beyond 2^100 times their norm it is as if it were that, which changes no correlation by more than
// 2^-100. Without samples between that differ, an end is as large as 1.
//
// Roofline (H100, 3.35 TB/s), N = 1152, 60 trials, T = 100: 55 MB read, 60 MB written, 35 us.

#pragma once

#include "unit_vectors.cuh"

namespace phiid {

constexpr int ENDS = 6;  // numbers of a node, see lags.cuh

// Samples of a row, whole products of four; behind them two zeros, one of which these read.
PHIID_FN Index padded(Index samples) { return (samples + 3) / 4 * 4; }

// An end about the mean of the others, whose norm is given.
PHIID_FN double bounded(double end, double norm) {
    const double most = norm > 0 ? norm * 1.2676506002282294e30 : 1.0;
    if (norm > 0) return end > most ? most : end < -most ? -most : end;
    return end > 0 ? most : end < 0 ? -most : 0.0;
}

template <class Value>
PHIID_FN void take_ends_off(const Value* series, double* interior, double* ends,
                            unsigned char* constant, Index time, Index nodes,
                            Standardising::Memory& memory) {
    constexpr int NODES = Standardising::NODES, ROWS = Standardising::ROWS;
    const Index blocks = (nodes + NODES - 1) / NODES, samples = time - 2;
    const Index trial = Index(blockIdx.x) / blocks, first = Index(blockIdx.x) % blocks * NODES;
    const int lane = threadIdx.x % NODES, row = threadIdx.x / NODES;
    // A thread without a node does what the last one's do, so that all reach every barrier.
    const Index node = first + lane < nodes ? first + lane : nodes - 1;
    const Value* const before = series + trial * time * nodes + node;
    const Value* const x = before + nodes;
    const double start = double(before[0]), end = double(x[samples * nodes]);

    double extremes[2] = {double(x[0]), -double(x[0])};  // largest, and largest of the negated
    for (Index t = row; t < samples; t += ROWS) {
        const double value = double(x[t * nodes]);
        extremes[0] = Largest::of(extremes[0], value);
        extremes[1] = Largest::of(extremes[1], -value);
    }
    join<Largest>(extremes, memory);
    const bool still = extremes[0] == -extremes[1];
    Segment segment = {inverse_power(Largest::of(extremes[0], extremes[1])), 0, 0, 0};

    double sum[1] = {0};
    for (Index t = row; t < samples; t += ROWS) sum[0] += segment.centred(double(x[t * nodes]));
    join<Sum>(sum, memory);
    segment.mean = still ? segment.centred(extremes[0]) : sum[0] / double(samples);
    sum[0] = 0;
    for (Index t = row; t < samples; t += ROWS) sum[0] += segment.centred(double(x[t * nodes]));
    join<Sum>(sum, memory);
    segment.rest = sum[0] / double(samples);

    double squares[2] = {0, 0};  // and products with the next
    for (Index t = row; t < samples; t += ROWS) {
        const double now = segment.centred(double(x[t * nodes]));
        squares[0] += now * now;
        if (t + 1 < samples) squares[1] += now * segment.centred(double(x[(t + 1) * nodes]));
    }
    join<Sum>(squares, memory);

    const double norm = sqrt(squares[0]), pairs = double(samples + 1), rest = 1 - 1 / pairs;
    const double f = bounded(segment.centred(start), norm), l = bounded(segment.centred(end), norm);
    const bool constant_past = still && start == extremes[0];
    const bool constant_future = still && end == extremes[0];
    const bool none = constant_past || constant_future;
    const double past = none ? 0 : 1 / sqrt(squares[0] + rest * f * f);
    const double future = none ? 0 : 1 / sqrt(squares[0] + rest * l * l);
    if (row == 0 && first + lane < nodes) {
        const double next_first = segment.centred(double(x[0]));
        const double before_last = segment.centred(double(x[(samples - 1) * nodes])) - f / pairs;
        double* of = ends + (trial * nodes + node) * ENDS;
        of[0] = f * past;
        of[1] = l * past;
        of[2] = next_first * past;
        of[3] = before_last * past;
        of[4] = none ? 0 : future / past;
        of[5] = (squares[1] + f * next_first + before_last * l) * past * future;
        constant[trial * nodes + node] = none;
    }
    // Turned around, so that what is written lies side by side, too.
    const Index width = padded(samples) + 2;
    for (Index from = 0; from < width; from += NODES) {
        for (int k = row; k < NODES; k += ROWS) {
            const Index at = from + k;
            memory.values[0][lane][k] =
                at < samples ? segment.centred(double(x[at * nodes])) * past : 0.0;
        }
        __syncthreads();
        for (int k = row; k < NODES; k += ROWS) {
            if (first + k < nodes && from + lane < width)
                interior[(trial * nodes + first + k) * width + from + lane] =
                    memory.values[0][k][lane];
        }
        __syncthreads();
    }
}

}  // namespace phiid
