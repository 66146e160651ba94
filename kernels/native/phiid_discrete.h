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

template <class Real, class Table, class Count>
PHIID_FN Entropies<Real> node_entropies(const Table& table, Count samples, const Count* ones) {
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
template <class Real, class Table, class Count>
PHIID_FN JointEntropies<Real> joint_entropies(const Table& table, const Counts<Count>& n) {
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

template <class Real, class Table, class Count>
PHIID_FN Informations<Real> informations(const Table& table, const Counts<Count>& n,
                                         const Entropies<Real>& first,
                                         const Entropies<Real>& second) {
    return informations(joint_entropies<Real>(table, n), first, second);
}

template <class Real>
PHIID_FN Real as_real(Real count) {
    return count;
}

// A number with the sign of the information of two states that occur `one` and `two` times, and
// `both` times together. An information that is zero has no sign, and must not get that of its
// rounding error.
template <class Count>
PHIID_FN Count excess(Count samples, Count one, Count two, Count both) {
    return samples * both - one * two;
}

// Means over states of the common changes, and of the informations. Each is formed for the states
// that it depends on, and counts as often as they occur.
//   table   surprisal of a state that occurs k times, finite at 0
//   joint   counts of the 16 states
template <class Real, class Table, class Count>
PHIID_FN void discrete_changes(const Table& table, Count samples, const Count (&joint)[16],
                               Informations<Real>& mean, Redundancies<Real>& shared) {
    using Sign = decltype(excess(samples, samples, samples, samples));
    struct Local {
        Real value;
        Sign sign;
    };
    const auto local = [&](Real one, Real two, Count of_one, Count of_two, Count both) {
        return Local{one + two - look_up(table, both), excess(samples, of_one, of_two, both)};
    };
    const auto change = [](const Local& one, const Local& two, const Local& both) {
        return one.value + two.value - both.value;
    };
    const auto common = [](Real change, const Local& one, const Local& two, const Local& both) {
        return phiid::common(change, one.sign, two.sign, both.sign, both.sign, Sign{});
    };
    const Real zero = constant<Real>(0);
    mean = {zero, zero, zero, zero, zero, zero, zero, zero, zero};
    shared = {zero, zero, zero, zero, zero, zero, zero};
    // Counts where x is in one state, and in the other; at 4 s + 2 v + t. Here and below u and v
    // are the states of x and y, s and t those of a and b.
    Count here[8], there[8];
    PHIID_UNROLL
    for (int k = 0; k < 8; ++k) here[k] = joint[k], there[k] = joint[8 + k];
    // Rolled: the compiler of the device has no registers for both states of x at once.
    PHIID_ROLLED
    for (int u = 0; u < 2; ++u) {
        Count ayb[8], xay[4], xyb[4], xab[4], ay[4], yb[4], ab[4];
        Count xa[2], xb[2], xy[2], a[2], b[2], y[2];
        Real of_y[2], of_a[2], of_b[2], of_xy[2], of_ab[4];  // surprisals
        PHIID_UNROLL
        for (int k = 0; k < 8; ++k) ayb[k] = here[k] + there[k];
        PHIID_UNROLL
        for (int k = 0; k < 4; ++k) {
            const int st = k / 2 * 4 + k % 2;
            xay[k] = here[2 * k] + here[2 * k + 1], ay[k] = ayb[2 * k] + ayb[2 * k + 1];
            xyb[k] = here[k] + here[4 + k], yb[k] = ayb[k] + ayb[4 + k];
            xab[k] = here[st] + here[st + 2], ab[k] = ayb[st] + ayb[st + 2];
            of_ab[k] = look_up(table, ab[k]);
        }
        PHIID_UNROLL
        for (int k = 0; k < 2; ++k) {
            xa[k] = xab[2 * k] + xab[2 * k + 1], a[k] = ab[2 * k] + ab[2 * k + 1];
            xb[k] = xab[k] + xab[2 + k], b[k] = ab[k] + ab[2 + k];
            xy[k] = xyb[2 * k] + xyb[2 * k + 1], y[k] = yb[2 * k] + yb[2 * k + 1];
            of_a[k] = look_up(table, a[k]), of_b[k] = look_up(table, b[k]);
            of_xy[k] = look_up(table, xy[k]), of_y[k] = look_up(table, y[k]);
        }
        const Count x = xa[0] + xa[1];
        const Real of_x = look_up(table, x);
        Local x_a[2], x_b[2], x_ab[4];
        Real xtr[4];
        PHIID_UNROLL
        for (int k = 0; k < 2; ++k) {
            x_a[k] = local(of_x, of_a[k], x, a[k], xa[k]);
            x_b[k] = local(of_x, of_b[k], x, b[k], xb[k]);
            mean.x_a = mean.x_a + as_real<Real>(xa[k]) * x_a[k].value;
            mean.x_b = mean.x_b + as_real<Real>(xb[k]) * x_b[k].value;
        }
        PHIID_UNROLL
        for (int k = 0; k < 4; ++k) {
            const Local &one = x_a[k / 2], &two = x_b[k % 2];
            const Real share = as_real<Real>(xab[k]);
            x_ab[k] = local(of_x, of_ab[k], x, ab[k], xab[k]);
            xtr[k] = common(change(one, two, x_ab[k]), one, two, x_ab[k]);
            shared.xtr = shared.xtr + share * xtr[k];
            mean.x_ab = mean.x_ab + share * x_ab[k].value;
        }
        PHIID_UNROLL
        for (int v = 0; v < 2; ++v) {
            Local y_a[2], y_b[2], xy_a[2], xy_b[2];
            Real left_a[2], left_b[2];  // of the changes, without rtx and rty
            PHIID_UNROLL
            for (int k = 0; k < 2; ++k) {
                const Count with_a = xay[2 * k + v], with_b = xyb[2 * v + k];
                const Real share_a = as_real<Real>(with_a), share_b = as_real<Real>(with_b);
                y_a[k] = local(of_y[v], of_a[k], y[v], a[k], ay[2 * k + v]);
                y_b[k] = local(of_y[v], of_b[k], y[v], b[k], yb[2 * v + k]);
                xy_a[k] = local(of_xy[v], of_a[k], xy[v], a[k], with_a);
                xy_b[k] = local(of_xy[v], of_b[k], xy[v], b[k], with_b);
                const Real change_a = change(x_a[k], y_a[k], xy_a[k]);
                const Real change_b = change(x_b[k], y_b[k], xy_b[k]);
                const Real rtx = common(change_a, x_a[k], y_a[k], xy_a[k]);
                const Real rty = common(change_b, x_b[k], y_b[k], xy_b[k]);
                left_a[k] = change_a - rtx, left_b[k] = change_b - rty;
                shared.rtx = shared.rtx + share_a * rtx;
                shared.rty = shared.rty + share_b * rty;
                mean.y_a = mean.y_a + share_a * y_a[k].value;
                mean.y_b = mean.y_b + share_b * y_b[k].value;
                mean.xy_a = mean.xy_a + share_a * xy_a[k].value;
                mean.xy_b = mean.xy_b + share_b * xy_b[k].value;
            }
            PHIID_UNROLL
            for (int k = 0; k < 4; ++k) {
                const int s = k / 2, t = k % 2, state = 4 * s + 2 * v + t;
                const Real share = as_real<Real>(here[state]);
                const Local y_ab = local(of_y[v], of_ab[k], y[v], ab[k], ayb[state]);
                const Local xy_ab = local(of_xy[v], of_ab[k], xy[v], ab[k], here[state]);
                const Real change_ab = change(x_ab[k], y_ab, xy_ab);
                const Real rts = common(change_ab, x_ab[k], y_ab, xy_ab);
                const Real ytr = common(change(y_a[s], y_b[t], y_ab), y_a[s], y_b[t], y_ab);
                const Real str = common(change(xy_a[s], xy_b[t], xy_ab), xy_a[s], xy_b[t], xy_ab);
                // As in `common_changes`.
                const Real rtr = phiid::common(
                    ((change_ab - rts) - left_a[s] - left_b[t]) + (xtr[k] + ytr - str),
                    x_a[s].sign, x_b[t].sign, y_a[s].sign, y_b[t].sign, Sign{});
                shared.rts = shared.rts + share * rts;
                shared.ytr = shared.ytr + share * ytr;
                shared.str = shared.str + share * str;
                shared.rtr = shared.rtr + share * rtr;
                mean.y_ab = mean.y_ab + share * y_ab.value;
                mean.xy_ab = mean.xy_ab + share * xy_ab.value;
            }
        }
        PHIID_UNROLL
        for (int k = 0; k < 8; ++k) {
            const Count other = there[k];
            there[k] = here[k], here[k] = other;
        }
    }
    const Real each = constant<Real>(1) / as_real<Real>(samples);
    Real *means = &mean.x_a, *shares = &shared.rtr;
    PHIID_UNROLL
    for (int k = 0; k < 9; ++k) means[k] = means[k] * each;
    PHIID_UNROLL
    for (int k = 0; k < 7; ++k) shares[k] = shares[k] * each;
}

}  // namespace phiid
