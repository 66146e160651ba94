// Integrated information decomposition of one pair of nodes: the arithmetic that host and device
// share. Here is what all estimators need, and MMI of Gaussian variables; phiid_ccs.h and
// phiid_discrete.h go on from it. Formulas and notation: kernels/formulas/mmi.py.
//
// Real is a floating-point number, or a vector of them whose lanes are pairs or samples. There are
// no headers here, so that NVRTC compiles this text as it is. Whoever includes it defines before:
//     PHIID_FN                qualifiers of a function
//     constant<Real>(number)  a Real of that value
//     ln(Real)                natural logarithm; NaN of what is not a positive normal number
//     PHIID_UNROLL            what has the compiler unroll the next loop,
//     PHIID_ROLLED            and what keeps it from that
//     look_up(table, Real)    entries of a table of double, at whole numbers
//     sum_of_entries<COUNT>(table, const Count*)   a Real: sum of those at some of them

#pragma once

namespace phiid {

template <class Real>
PHIID_FN Real least(Real one, Real two) {
    return one < two ? one : two;
}

template <class Real>
PHIID_FN Real most(Real one, Real two) {
    return one < two ? two : one;
}

// What sts + rtr has to exceed for a pair to have a share of sts in it; LEAST_SUM of kernels/lattice.py.
constexpr double LEAST_SUM = 1.0 / (1ll << 40);

// ---- Gaussian: correlations and Wilks' lambdas --------------------------------------------------

// Correlations among x, y (past) and a, b (future).
template <class Real>
struct Correlations {
    Real xy, ab, xa, xb, ya, yb;
};

// Wilks' lambdas; xy_ab is joint / future.
template <class Real>
struct Lambdas {
    Real x_a, x_b, y_a, y_b, xy_a, xy_b, x_ab, y_ab;
    Real joint;   // det of a and b given x and y
    Real past;    // det of x and y
    Real future;  // det of a and b
    // The smallest conditional variance is determinant / minors; below zero if `positive` is.
    Real positive, determinant, minors;
    Real on_ya, on_yb, ya_x, yb_x, inverse_past, inverse_future;
};

// Those of two AR(1) nodes with the same persistence and lag-0 correlation.
template <class Real>
PHIID_FN Correlations<Real> without_influence(const Correlations<Real>& c) {
    const Real q = constant<Real>(0.5) * (c.xy + c.ab);
    return {q, q, c.xa, c.yb * q, c.xa * q, c.yb};
}

// LDL' elimination, the past first; see mmi.lambdas, also for why not otherwise.
template <class Real>
PHIID_FN Lambdas<Real> lambdas(const Correlations<Real>& c) {
    const Real one = constant<Real>(1);
    Lambdas<Real> v;
    v.past = one - c.xy * c.xy;
    v.future = one - c.ab * c.ab;
    v.x_a = one - c.xa * c.xa;
    v.x_b = one - c.xb * c.xb;
    v.y_a = one - c.ya * c.ya;
    v.y_b = one - c.yb * c.yb;
    v.inverse_past = one / v.past;
    v.inverse_future = one / v.future;

    v.ya_x = c.ya - c.xy * c.xa;
    v.yb_x = c.yb - c.xy * c.xb;
    v.on_ya = v.ya_x * v.inverse_past;
    v.on_yb = v.yb_x * v.inverse_past;
    v.xy_a = v.x_a - v.ya_x * v.on_ya;
    v.xy_b = v.x_b - v.yb_x * v.on_yb;
    const Real ab_xy = c.ab - c.xa * c.xb - v.ya_x * v.on_yb;
    v.joint = v.xy_a * v.xy_b - ab_xy * ab_xy;

    const Real bx_a = c.xb - c.ab * c.xa;
    const Real by_a = c.yb - c.ab * c.ya;
    v.x_ab = v.x_a - bx_a * bx_a * v.inverse_future;
    v.y_ab = v.y_a - by_a * by_a * v.inverse_future;

    // `least` passes on its second argument where the first is NaN. A NaN of any correlation
    // reaches the determinant; one of a division by zero comes with a past or future of zero.
    v.positive = least(least(v.xy_a, v.xy_b), least(v.x_ab, v.y_ab));
    v.positive = least(least(v.positive, v.joint), least(v.past, v.future));
    v.determinant = v.past * v.joint;
    v.minors = most(v.past * most(v.xy_a, v.xy_b), v.future * most(v.x_ab, v.y_ab));
    return v;
}

// Whether the smallest conditional variance reaches a limit; never where it is NaN.
template <class Real>
PHIID_FN auto trusted(const Lambdas<Real>& v, Real limit) {
    return (v.positive > constant<Real>(0)) & (v.determinant >= limit * v.minors);
}

// ---- Gaussian, minimum mutual information -------------------------------------------------------

// rtr is -1/2 ln(shared) and sts is -1/2 ln(above / below). Products over trials of these give
// sums of atoms by one logarithm. A negative factor would turn up as positive in a product of two:
// untrusted pairs multiply by 1. A trusted one has a smallest conditional variance s, hence factors
// between s^4 and 1; with s at least 1e-9 in float64 and 0.07 in float32, products of eight
// are normal numbers.
template <class Real>
struct TwoAtoms {
    Real shared, above, below;
};

template <class Real>
PHIID_FN TwoAtoms<Real> no_trial_two() {
    const Real one = constant<Real>(1);
    return {one, one, one};
}

template <class Real, class Mask>
PHIID_FN void multiply(TwoAtoms<Real>& product, const Lambdas<Real>& v, Mask use) {
    const Real one = constant<Real>(1);
    const Real target_a = most(v.x_a, v.y_a), target_b = most(v.x_b, v.y_b);
    const Real single = least(v.x_a, v.x_b) * least(v.y_a, v.y_b);
    const Real both = least(v.xy_a, v.xy_b) * least(v.x_ab, v.y_ab);
    const Real above = v.joint * single;
    const Real below = v.future * both * least(target_a, target_b);
    product.shared = product.shared * (use ? most(target_a, target_b) : one);
    product.above = product.above * (use ? above : one);
    product.below = product.below * (use ? below : one);
}

template <class Real>
PHIID_FN void two_atoms(const TwoAtoms<Real>& product, Real* out) {
    const Real factor = constant<Real>(-0.5);
    out[0] = factor * ln(product.shared);
    out[1] = factor * ln(product.above / product.below);
}

// The lambdas of the 16 cumulative informations in the order of ATOMS; least informations are
// largest lambdas. The atoms follow by Moebius inversion, which is linear: after the sum over trials.
template <class Real>
PHIID_FN void cumulative(const Lambdas<Real>& v, Real* out) {
    out[1] = most(v.x_a, v.y_a);
    out[2] = most(v.x_b, v.y_b);
    out[0] = most(out[1], out[2]);
    out[3] = most(v.x_ab, v.y_ab);
    out[4] = most(v.x_a, v.x_b);
    out[5] = v.x_a;
    out[6] = v.x_b;
    out[7] = v.x_ab;
    out[8] = most(v.y_a, v.y_b);
    out[9] = v.y_a;
    out[10] = v.y_b;
    out[11] = v.y_ab;
    out[12] = most(v.xy_a, v.xy_b);
    out[13] = v.xy_a;
    out[14] = v.xy_b;
    out[15] = v.joint * v.inverse_future;
}

// ---- Informations and what they share -----------------------------------------------------------

// The nine informations of x, y, xy about a, b, ab; means, or local ones.
template <class Real>
struct Informations {
    Real x_a, x_b, y_a, y_b, xy_a, xy_b, x_ab, y_ab, xy_ab;
};

// The seven redundancies, by their point of the product lattice.
template <class Real>
struct Redundancies {
    Real rtr, rtx, rty, rts, xtr, ytr, str;
};

// Both as the 16 cumulative informations, in the order of ATOMS.
template <class Real>
PHIID_FN void cumulative(const Informations<Real>& i, const Redundancies<Real>& r, Real* out) {
    out[0] = r.rtr;
    out[1] = r.rtx;
    out[2] = r.rty;
    out[3] = r.rts;
    out[4] = r.xtr;
    out[5] = i.x_a;
    out[6] = i.x_b;
    out[7] = i.x_ab;
    out[8] = r.ytr;
    out[9] = i.y_a;
    out[10] = i.y_b;
    out[11] = i.y_ab;
    out[12] = r.str;
    out[13] = i.xy_a;
    out[14] = i.xy_b;
    out[15] = i.xy_ab;
}

// Atoms from the 16 cumulative quantities, in place: Moebius inversion on the lattice r < x, y < s of
// sources, and on that of targets.
template <class Real>
PHIID_FN void moebius(Real* of) {
    PHIID_UNROLL for (int step = 4; step > 0; step -= 3) {
        PHIID_UNROLL for (int k = 0; k < 4; ++k) {
            Real* const r = of + k * (5 - step);
            r[3 * step] = r[3 * step] - r[step] - r[2 * step] + r[0];
            r[2 * step] = r[2 * step] - r[0];
            r[step] = r[step] - r[0];
        }
    }
}

template <class Real>
PHIID_FN Redundancies<Real> least_informations(const Informations<Real>& i) {
    Redundancies<Real> r;
    r.rtx = least(i.x_a, i.y_a);
    r.rty = least(i.x_b, i.y_b);
    r.rtr = least(r.rtx, r.rty);
    r.rts = least(i.x_ab, i.y_ab);
    r.xtr = least(i.x_a, i.x_b);
    r.ytr = least(i.y_a, i.y_b);
    r.str = least(i.xy_a, i.xy_b);
    return r;
}

template <class Real>
PHIID_FN void add_to(Redundancies<Real>& sum, const Redundancies<Real>& more) {
    sum.rtr = sum.rtr + more.rtr;
    sum.rtx = sum.rtx + more.rtx;
    sum.rty = sum.rty + more.rty;
    sum.rts = sum.rts + more.rts;
    sum.xtr = sum.xtr + more.xtr;
    sum.ytr = sum.ytr + more.ytr;
    sum.str = sum.str + more.str;
}

template <class Real>
PHIID_FN Redundancies<Real> averaged(const Redundancies<Real>& sum, Real samples) {
    return {sum.rtr / samples, sum.rtx / samples, sum.rty / samples, sum.rts / samples,
            sum.xtr / samples, sum.ytr / samples, sum.str / samples};
}

// The change where it and four numbers have one sign; otherwise 0. What does not exceed `none` in
// magnitude has no sign.
template <class Real>
PHIID_FN Real common(Real change, Real one, Real two, Real three, Real four, Real none) {
    const Real zero = constant<Real>(0);
    const Real low = least(least(one, two), least(three, four));
    const Real high = most(most(one, two), most(three, four));
    return (least(low, change) > none) | (most(high, change) < zero - none) ? change : zero;
}

// Common changes in surprisal from local informations; `sign` has numbers with their signs, and
// those that do not exceed `none` in magnitude have none.
template <class Real, class Sign>
PHIID_FN Redundancies<Real> common_changes(const Informations<Real>& i,
                                           const Informations<Sign>& sign, Sign none) {
    const auto common = [none](Real change, Sign one, Sign two, Sign both) {
        return phiid::common(change, one, two, both, both, none);
    };
    const Real change_a = i.x_a + i.y_a - i.xy_a, change_b = i.x_b + i.y_b - i.xy_b;
    const Real change_ab = i.x_ab + i.y_ab - i.xy_ab;
    Redundancies<Real> r;
    r.rtx = common(change_a, sign.x_a, sign.y_a, sign.xy_a);
    r.rty = common(change_b, sign.x_b, sign.y_b, sign.xy_b);
    r.rts = common(change_ab, sign.x_ab, sign.y_ab, sign.xy_ab);
    r.xtr = common(i.x_a + i.x_b - i.x_ab, sign.x_a, sign.x_b, sign.x_ab);
    r.ytr = common(i.y_a + i.y_b - i.y_ab, sign.y_a, sign.y_b, sign.y_ab);
    r.str = common(i.xy_a + i.xy_b - i.xy_ab, sign.xy_a, sign.xy_b, sign.xy_ab);
    // The rtr for which co-information vanishes on the product of both lattices.
    const Real change = ((change_ab - r.rts) - (change_a - r.rtx) - (change_b - r.rty)) +
                        (r.xtr + r.ytr - r.str);
    r.rtr = phiid::common(change, sign.x_a, sign.x_b, sign.y_a, sign.y_b, none);
    return r;
}

}  // namespace phiid
