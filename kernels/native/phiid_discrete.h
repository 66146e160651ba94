// Discrete estimators of one pair of nodes, shared by host and device; see phiid_math.h, and
// kernels/formulas/discrete.py for formulas and notation.

#pragma once

#include "phiid_math.h"

namespace phiid {

// Counts are whole numbers, in a Real or in an integer (or a vector of them) where no products of
// them are needed. Up to 2^24 samples, products of two are exact in float64.

// Counts of a node's states (past, future) = 00, 01, 10, 11 among `total` samples, from those where
// the future, the past, both are one.
template <class Real>
PHIID_FN void states(Real total, Real future, Real past, Real both, Real* out) {
    out[0] = total - future - (past - both);
    out[1] = future - both;
    out[2] = past - both;
    out[3] = both;
}

// Counts of the 16 joint states, at 4 (state of the first node) + state of the second.
//   ones    samples where a feature (future, past, both) of the first node and one of the second
//           are one, at 3 (feature of the first) + feature of the second
//   first   counts of the first node's ones; second: likewise
template <class Real>
PHIID_FN void joint_states(Real samples, const Real* ones, const Real* first, const Real* second,
                           Real* out) {
    Real all[4], future[4], past[4], both[4];  // by the second node's state
    states(samples, second[0], second[1], second[2], all);
    states(first[0], ones[0], ones[1], ones[2], future);
    states(first[1], ones[3], ones[4], ones[5], past);
    states(first[2], ones[6], ones[7], ones[8], both);
    PHIID_UNROLL
    for (int s = 0; s < 4; ++s) {
        Real of_first[4];
        states(all[s], future[s], past[s], both[s], of_first);
        PHIID_UNROLL
        for (int f = 0; f < 4; ++f) out[4 * f + s] = of_first[f];
    }
}

// Sums of counts over variables; indices are bits in the order x a y b, of those that are left.
template <class Real>
struct Counts {
    Real xayb[16], ayb[8], xyb[8], xab[8], xay[8], xa[4], yb[4], xy[4], ab[4], xb[4], ay[4];
    Real x[2], y[2], a[2], b[2];
};

template <class Real>
PHIID_FN void marginals(Counts<Real>& n) {
    PHIID_UNROLL
    for (int k = 0; k < 8; ++k) {
        n.ayb[k] = n.xayb[k] + n.xayb[8 + k];
        n.xyb[k] = n.xayb[k / 4 * 8 + k % 4] + n.xayb[k / 4 * 8 + 4 + k % 4];
        n.xab[k] = n.xayb[k / 2 * 4 + k % 2] + n.xayb[k / 2 * 4 + 2 + k % 2];
        n.xay[k] = n.xayb[2 * k] + n.xayb[2 * k + 1];
    }
    PHIID_UNROLL
    for (int k = 0; k < 4; ++k) {
        n.yb[k] = n.ayb[k] + n.ayb[4 + k];
        n.xb[k] = n.xyb[k / 2 * 4 + k % 2] + n.xyb[k / 2 * 4 + 2 + k % 2];
        n.xy[k] = n.xyb[2 * k] + n.xyb[2 * k + 1];
        n.ab[k] = n.xab[k] + n.xab[4 + k];
        n.xa[k] = n.xay[2 * k] + n.xay[2 * k + 1];
        n.ay[k] = n.xay[k] + n.xay[4 + k];
    }
    PHIID_UNROLL
    for (int k = 0; k < 2; ++k) {
        n.x[k] = n.xa[2 * k] + n.xa[2 * k + 1];
        n.a[k] = n.xa[k] + n.xa[2 + k];
        n.y[k] = n.yb[2 * k] + n.yb[2 * k + 1];
        n.b[k] = n.yb[k] + n.yb[2 + k];
    }
}

// Entropies of a node.
template <class Real>
struct Entropies {
    Real past, future, both;
};

template <class Real, class Count>
PHIID_FN Entropies<Real> node_entropies(const double* table, Count samples, const Count* ones) {
    Count n[4];
    states(samples, ones[0], ones[1], ones[2], n);
    const Count past[2] = {samples - ones[1], ones[1]}, future[2] = {samples - ones[0], ones[0]};
    return {sum_of_entries<2>(table, past), sum_of_entries<2>(table, future),
            sum_of_entries<4>(table, n)};
}

// Entropies of variables of both nodes.
template <class Real>
struct JointEntropies {
    Real xy, ab, xb, ay, xay, xyb, xab, ayb, xayb;
};

// `table` has the share of a state that occurs k times in the entropy.
template <class Real, class Count>
PHIID_FN JointEntropies<Real> joint_entropies(const double* table, const Counts<Count>& n) {
    return {sum_of_entries<4>(table, n.xy),  sum_of_entries<4>(table, n.ab),
            sum_of_entries<4>(table, n.xb),  sum_of_entries<4>(table, n.ay),
            sum_of_entries<8>(table, n.xay), sum_of_entries<8>(table, n.xyb),
            sum_of_entries<8>(table, n.xab), sum_of_entries<8>(table, n.ayb),
            sum_of_entries<16>(table, n.xayb)};
}

// Mean informations.
template <class Real>
PHIID_FN Informations<Real> informations(const JointEntropies<Real>& both,
                                         const Entropies<Real>& first,
                                         const Entropies<Real>& second) {
    const Real x = first.past, y = second.past, a = first.future, b = second.future;
    return {x + a - first.both,          x + b - both.xb,        y + a - both.ay,
            y + b - second.both,         both.xy + a - both.xay, both.xy + b - both.xyb,
            x + both.ab - both.xab,      y + both.ab - both.ayb,
            both.xy + both.ab - both.xayb};
}

template <class Real, class Count>
PHIID_FN Informations<Real> informations(const double* table, const Counts<Count>& n,
                                         const Entropies<Real>& first,
                                         const Entropies<Real>& second) {
    return informations(joint_entropies<Real>(table, n), first, second);
}

// Means over states of the common changes, and of the informations.
//   table   surprisal of a state that occurs k times, finite at 0
template <class Real>
PHIID_FN void discrete_changes(const double* table, Real samples, const Counts<Real>& n,
                               Informations<Real>& mean, Redundancies<Real>& shared) {
    const Real zero = constant<Real>(0);
    Real x[2], y[2], a[2], b[2], xy[4], ab[4];
    PHIID_UNROLL
    for (int k = 0; k < 2; ++k) {
        x[k] = look_up(table, n.x[k]), y[k] = look_up(table, n.y[k]);
        a[k] = look_up(table, n.a[k]), b[k] = look_up(table, n.b[k]);
    }
    PHIID_UNROLL
    for (int k = 0; k < 4; ++k) xy[k] = look_up(table, n.xy[k]), ab[k] = look_up(table, n.ab[k]);
    mean = {zero, zero, zero, zero, zero, zero, zero, zero, zero};
    shared = {zero, zero, zero, zero, zero, zero, zero};
    for (int state = 0; state < 16; ++state) {
        const int u = state >> 3, s = state >> 2 & 1, v = state >> 1 & 1, t = state & 1;
        const int uv = 2 * u + v, st = 2 * s + t;
        // Surprisals and counts of the joint states.
        const auto local = [&](Real one, Real two, Real both) {
            return one + two - look_up(table, both);
        };
        const auto excess = [&](Real one, Real two, Real both) {
            return samples * both - one * two;
        };
        const Real xa = n.xa[2 * u + s], xb = n.xb[2 * u + t], ay = n.ay[2 * s + v];
        const Real yb = n.yb[2 * v + t], xay = n.xay[4 * u + 2 * s + v];
        const Real xyb = n.xyb[4 * u + 2 * v + t], xab = n.xab[4 * u + 2 * s + t];
        const Real ayb = n.ayb[4 * s + 2 * v + t], all = n.xayb[state];
        const Informations<Real> i{
            local(x[u], a[s], xa),     local(x[u], b[t], xb),     local(y[v], a[s], ay),
            local(y[v], b[t], yb),     local(xy[uv], a[s], xay),  local(xy[uv], b[t], xyb),
            local(x[u], ab[st], xab),  local(y[v], ab[st], ayb),  local(xy[uv], ab[st], all)};
        // An information that is zero has no sign, and must not get that of its rounding error.
        const Informations<Real> sign{
            excess(n.x[u], n.a[s], xa),      excess(n.x[u], n.b[t], xb),
            excess(n.y[v], n.a[s], ay),      excess(n.y[v], n.b[t], yb),
            excess(n.xy[uv], n.a[s], xay),   excess(n.xy[uv], n.b[t], xyb),
            excess(n.x[u], n.ab[st], xab),   excess(n.y[v], n.ab[st], ayb),
            excess(n.xy[uv], n.ab[st], all)};
        const Redundancies<Real> r = common_changes(i, sign, constant<Real>(0));
        const Real share = all / samples;
        mean.x_a = mean.x_a + share * i.x_a;
        mean.x_b = mean.x_b + share * i.x_b;
        mean.y_a = mean.y_a + share * i.y_a;
        mean.y_b = mean.y_b + share * i.y_b;
        mean.xy_a = mean.xy_a + share * i.xy_a;
        mean.xy_b = mean.xy_b + share * i.xy_b;
        mean.x_ab = mean.x_ab + share * i.x_ab;
        mean.y_ab = mean.y_ab + share * i.y_ab;
        mean.xy_ab = mean.xy_ab + share * i.xy_ab;
        shared.rtr = shared.rtr + share * r.rtr;
        shared.rtx = shared.rtx + share * r.rtx;
        shared.rty = shared.rty + share * r.rty;
        shared.rts = shared.rts + share * r.rts;
        shared.xtr = shared.xtr + share * r.xtr;
        shared.ytr = shared.ytr + share * r.ytr;
        shared.str = shared.str + share * r.str;
    }
}

}  // namespace phiid
