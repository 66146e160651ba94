// Atoms at every sample of chosen pairs: local entropies, informations, redundancies and atoms.
// Formulas, orders and names: kernels/formulas/pointwise.py. Here is what both kinds share, and the
// walk over pairs; surprisals.h and states.h have what differs.
//
// Values of one node follow each other, a vector holds samples, and the 4 x 4 factors of a pair have
// the orders of its variables as lanes. What cannot be told by these is left to the formulas: pairs
// near singular, and samples so near their mean that its rounding decides.

#pragma once

#include "surprisals.h"
#include "states.h"

namespace phiid {
namespace pointwise {

// Values with their steps in bytes, which need not be aligned: [group][side][node][sample].
struct Strided {
    const double* first;
    int64_t group, side, node, sample;

    Row row(int64_t g, int64_t s, int64_t n) const {
        return {reinterpret_cast<const char*>(first) + g * group + s * side + n * node, sample};
    }
};

// What is computed. Mirrored by bindings.Points.
struct Points {
    int64_t groups, nodes, samples, points, pairs;
    int64_t discrete, ccs;
    int64_t all;                  // rows: 47, or the atoms alone
    Strided fitted, evaluated;    // the latter null: at the samples fitted
    const unsigned char *states, *states_at;  // by group, node and sample: see `States`; may be null
    const int64_t* pair;          // (pairs, 2)
    double* out;                  // (groups, pairs, rows, points)
    int64_t* outcome;             // (groups, pairs): one of those below
    int64_t threads;
    int64_t undecided;            // written: 1 if states cannot be told, and nothing else was done

    int rows() const { return all ? ROWS_OF_ALL : ATOMS; }
    bool apart() const { return evaluated.first != nullptr; }
};

// What became of a pair: CONSTANT as in kernels/contract.py.
enum { ORDINARY = 0, CONSTANT = 1, LEFT = -1 };

// What is known of all nodes: rows for each group, node and side.
class Nodes {
   public:
    Nodes(const Points& p)
        : p_(p), used_(p.nodes), constant_(p.groups * p.nodes * 2),
          samples_(vectors_of(p.samples) * DOUBLES),
          points_(p.apart() ? vectors_of(p.points) * DOUBLES : 0) {
        for (int64_t k = 0; k < 2 * p.pairs; ++k) used_[p.pair[k]] = 1;
    }

    bool used(int64_t node) const { return used_[node]; }
    bool constant(int64_t group, int64_t i, int64_t j) const {
        const unsigned char *one = &constant_[2 * (group * p_.nodes + i)],
                            *other = &constant_[2 * (group * p_.nodes + j)];
        return one[0] | one[1] | other[0] | other[1];
    }

   protected:
    int64_t place(int64_t group, int64_t node) const { return group * p_.nodes + node; }

    const Points& p_;
    std::vector<unsigned char> used_, constant_;
    const int64_t samples_, points_;  // of a row, with what fills its last vector
};

// Unit vectors of all nodes that are used.
class Vectors : public Nodes {
   public:
    Vectors(const Points& p)
        : Nodes(p), memory_(numbers(p.groups * p.nodes * 2 * (samples_ + points_))) {
#ifdef PHIID_PROOF
        std::fill(memory_.get(), memory_.get() + p.groups * p.nodes * 2 * (samples_ + points_),
                  std::numeric_limits<double>::quiet_NaN());
#endif
    }

    void make(int64_t group, int64_t node) {
        for (int side = 0; side < 2; ++side) {
            double* const to = row(group, node, side);
            const Scale scale = unit(p_.fitted.row(group, side, node), p_.samples, to);
            constant_[2 * place(group, node) + side] = scale.constant;
            if (p_.apart())
                apply(scale, p_.evaluated.row(group, side, node), p_.points, to + samples_);
        }
    }

    double* row(int64_t group, int64_t node, int side) const {
        return memory_.get() + (2 * place(group, node) + side) * (samples_ + points_);
    }
    // Where the distributions are evaluated, from a row.
    int64_t at() const { return p_.apart() ? samples_ : 0; }

   private:
    const Numbers memory_;
};

// States of all nodes that are used, 1 for the past above its mean and 4 for the future.
class States : public Nodes {
   public:
    States(const Points& p)
        : Nodes(p), size_(p.samples + (p.apart() ? p.points : 0)),
          memory_(p.states == nullptr ? new unsigned char[p.groups * p.nodes * size_] : nullptr) {}

    // Whether all are decided.
    bool make(int64_t group, int64_t node, double* work) {
        bool decided = true;
        for (int side = 0; side < 2; ++side) {
            const Row fitted = p_.fitted.row(group, side, node);
            const Mean mean = mean_of(fitted, p_.samples, work);
            constant_[2 * place(group, node) + side] = mean.constant;
            if (p_.states != nullptr) continue;
            unsigned char* const to = memory_.get() + place(group, node) * size_;
            decided &= above(mean, fitted, p_.samples, side, to);
            if (p_.apart())
                decided &= above(mean, p_.evaluated.row(group, side, node), p_.points, side,
                                 to + p_.samples);
        }
        return decided;
    }

    const unsigned char* fitted(int64_t group, int64_t node) const {
        return p_.states != nullptr ? p_.states + place(group, node) * p_.samples
                                    : memory_.get() + place(group, node) * size_;
    }
    const unsigned char* evaluated(int64_t group, int64_t node) const {
        if (!p_.apart()) return fitted(group, node);
        return p_.states != nullptr ? p_.states_at + place(group, node) * p_.points
                                    : fitted(group, node) + p_.samples;
    }

   private:
    const int64_t size_;
    const std::unique_ptr<unsigned char[]> memory_;
};

// Calls task(group, i, j, out, outcome, work) for every pair, with memory for `size` numbers.
template <class Task>
void each_pair(const Points& p, int64_t size, const Task& task) {
    const int64_t of_pair = p.rows() * p.points;
    spread(p.groups * p.pairs, int(p.threads), [&] { return numbers(size); },
           [&](const Numbers& work, int64_t k) {
        const int64_t* const pair = p.pair + 2 * (k % p.pairs);
        task(k / p.pairs, pair[0], pair[1], p.out + k * of_pair, p.outcome[k], work.get());
        checkpoint(of_pair);
    });
}

inline void of_gaussians(Points& p) {
    Vectors nodes(p);
    spread(p.groups * p.nodes, int(p.threads), [&](int64_t k) {
        if (nodes.used(k % p.nodes)) nodes.make(k / p.nodes, k % p.nodes);
    });
    const int64_t vectors = vectors_of(p.samples);
    each_pair(p, (VARIABLES - 1) * vectors * DOUBLES,
              [&](int64_t group, int64_t i, int64_t j, double* out, int64_t& outcome, double* work) {
        const double* v[] = {nodes.row(group, i, 0), nodes.row(group, j, 0),
                             nodes.row(group, i, 1), nodes.row(group, j, 1)};
        if (nodes.constant(group, i, j)) {
            std::fill(out, out + p.rows() * p.points, std::numeric_limits<double>::quiet_NaN());
            outcome = CONSTANT;
            return;
        }
        Forms forms;
        if (!forms_of(v, vectors, p.samples, work, forms)) {
            outcome = LEFT;
            return;
        }
        outcome = ORDINARY;
        for (const double*& row : v) row += nodes.at();
        (p.all ? p.ccs ? evaluate<true, true> : evaluate<true, false>
               : p.ccs ? evaluate<false, true> : evaluate<false, false>)(forms, v, p.points, out);
    });
}

inline void of_states(Points& p) {
    States nodes(p);
    std::atomic<bool> decided{true};
    spread(p.groups * p.nodes, int(p.threads), [&] { return numbers(vectors_of(p.samples) * DOUBLES); },
           [&](const Numbers& work, int64_t k) {
        if (nodes.used(k % p.nodes) && !nodes.make(k / p.nodes, k % p.nodes, work.get()))
            decided = false;
    });
    p.undecided = !decided;
    if (!decided) return;
    each_pair(p, 0, [&](int64_t group, int64_t i, int64_t j, double* out, int64_t& outcome, double*) {
        const Counts counts(nodes.fitted(group, i), nodes.fitted(group, j), p.samples);
        const Table table(counts, p.samples, p.ccs != 0, p.all != 0);
        table.look_up(nodes.evaluated(group, i), nodes.evaluated(group, j), p.points, out);
        outcome = nodes.constant(group, i, j) ? CONSTANT : ORDINARY;
    });
}

inline void at_samples(Points& p) { p.discrete ? of_states(p) : of_gaussians(p); }

// ---- One pair ------------------------------------------------------------------------------------

// Two series, not of unit step.
struct Pair {
    const double *src, *trg;
    int64_t src_step, trg_step;  // bytes
    int64_t time, tau, discrete, ccs;
    double spacing;              // below 0: the series need no closer look
    double* out;                 // (47, time - tau)
};

enum { DONE = 0, FAILED = 1, LOOK_CLOSER = 2 };

// Whether a glance shows that there is nothing to be said of a series: it is finite, each node varies
// by more than the rounding of its values and not that much less than the other
// (kernels/formulas/steady.py), and if discrete has more levels than states have, or two.
inline bool plain(const double* both, int64_t time, int64_t tau, double spacing, bool discrete) {
    constexpr double ROUNDINGS = 8, FAINT = 0x1p-40;
    double spread[2];
    for (int node = 0; node < 2; ++node) {
        const double* const series = both + node * time;
        const Limits past = limits_of({series}, time - tau), future = limits_of({series + tau}, time - tau);
        if (!past.finite || !future.finite) return false;
        for (const Limits& l : {past, future})
            if (!(l.high - l.low > ROUNDINGS * spacing * std::max(std::fabs(l.low), std::fabs(l.high))))
                return false;
        spread[node] = std::max(past.high, future.high) - std::min(past.low, future.low);
        if (discrete && !(many_levels(series, time) || two_levels(series, time))) return false;
    }
    return std::min(spread[0], spread[1]) > FAINT * std::max(spread[0], spread[1]);
}

inline int of_pair(const Pair& pair) {
    const int64_t time = pair.time, step = sizeof(double);
    const Numbers both = numbers(2 * time);
    copy({pair.src, pair.src_step}, time, both.get());
    copy({pair.trg, pair.trg_step}, time, both.get() + time);
    const bool discrete = pair.discrete != 0;
    if (pair.spacing >= 0 && !plain(both.get(), time, pair.tau, pair.spacing, discrete))
        return LOOK_CLOSER;
    const int64_t nodes[] = {0, 1}, samples = time - pair.tau;
    int64_t outcome = ORDINARY;
    Points p{};
    p.groups = 1, p.nodes = 2, p.pairs = 1, p.samples = p.points = samples;
    p.discrete = pair.discrete, p.ccs = pair.ccs, p.all = 1, p.threads = 1;
    p.fitted = {both.get(), 0, pair.tau * step, time * step, step};
    p.pair = nodes, p.out = pair.out, p.outcome = &outcome;
    at_samples(p);
    return p.undecided || (outcome != ORDINARY && !discrete) ? LOOK_CLOSER : DONE;
}

}  // namespace pointwise
}  // namespace phiid
