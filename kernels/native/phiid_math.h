// Integrated information decomposition of one pair of nodes: the arithmetic that host and device
// share. Formulas and notation: kernels/formulas/mmi.py, kernels/formulas/ccs.py, kernels/formulas/discrete.py.
//
// Real is a floating-point number, or a vector of them whose lanes are pairs or samples. There are
// no headers here, so that NVRTC compiles this text as it is. Whoever includes it defines before:
//     PHIID_FN                qualifiers of a function
//     constant<Real>(number)  a Real of that value
//     ln(Real)                natural logarithm; NaN of what is not a positive normal number
//     PHIID_UNROLL            what has the compiler unroll the next loop
//     look_up(table, Real)    entries of a table of double, at whole numbers
//     sum_of_entries<COUNT>(table, const Count*)   a Real: sum of those at some of them

namespace phiid {

template <class Real>
PHIID_FN Real least(Real one, Real two) {
    return one < two ? one : two;
}

template <class Real>
PHIID_FN Real most(Real one, Real two) {
    return one < two ? two : one;
}

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

// The change where everything from `low` to `high`, and the change, has one sign; otherwise 0.
// What does not exceed `none` in magnitude has no sign.
template <class Real>
PHIID_FN Real common(Real change, Real low, Real high, Real none) {
    const Real zero = constant<Real>(0);
    return (least(low, change) > none) | (most(high, change) < zero - none) ? change : zero;
}

// Common changes in surprisal from local informations; `sign` has numbers with their signs, and
// those that do not exceed `none` in magnitude have none.
template <class Real>
PHIID_FN Redundancies<Real> common_changes(const Informations<Real>& i,
                                           const Informations<Real>& sign, Real none) {
    const auto common = [none](Real change, Real one, Real two, Real both) {
        return phiid::common(change, least(least(one, two), both), most(most(one, two), both),
                             none);
    };
    Redundancies<Real> r;
    r.rtx = common(i.x_a + i.y_a - i.xy_a, sign.x_a, sign.y_a, sign.xy_a);
    r.rty = common(i.x_b + i.y_b - i.xy_b, sign.x_b, sign.y_b, sign.xy_b);
    r.rts = common(i.x_ab + i.y_ab - i.xy_ab, sign.x_ab, sign.y_ab, sign.xy_ab);
    r.xtr = common(i.x_a + i.x_b - i.x_ab, sign.x_a, sign.x_b, sign.x_ab);
    r.ytr = common(i.y_a + i.y_b - i.y_ab, sign.y_a, sign.y_b, sign.y_ab);
    r.str = common(i.xy_a + i.xy_b - i.xy_ab, sign.xy_a, sign.xy_b, sign.xy_ab);
    // The rtr for which co-information vanishes on the product of both lattices.
    const Real change = (i.x_ab + i.y_ab + i.xy_a + i.xy_b - i.xy_ab) -
                        (i.x_a + i.x_b + i.y_a + i.y_b) + (r.rtx + r.rty - r.rts) +
                        (r.xtr + r.ytr - r.str);
    r.rtr = phiid::common(change, least(least(sign.x_a, sign.x_b), least(sign.y_a, sign.y_b)),
                          most(most(sign.x_a, sign.x_b), most(sign.y_a, sign.y_b)), none);
    return r;
}

// ---- Gaussian, common change in surprisal -------------------------------------------------------

// Local informations of a pair as squares of linear forms in its samples; see kernels/formulas/ccs.py.
// An innovation is what is left of a variable; its weight is (samples - 1) / 2 over its variance.
template <class Real>
struct LocalForms {
    Informations<Real> mean;
    Real half;                                   // weight of a variable itself
    Real a_x, b_x, a_y, b_y;                     // regression on one variable, ...
    Real of_a_x, of_b_x, of_a_y, of_b_y;         // ... and the weight of what is left
    Real a_on_x, a_on_y, b_on_x, b_on_y;         // on x and y
    Real of_a_xy, of_b_xy;
    Real x_on_a, x_on_b, y_on_a, y_on_b;         // on a and b
    Real of_x_ab, of_y_ab;
    Real b_a, of_b_a;                            // of b on a,
    Real b_axy, of_b_axy;                        // and once x and y are known
};

template <class Real>
PHIID_FN LocalForms<Real> local_forms(const Correlations<Real>& c, const Lambdas<Real>& v,
                                      double samples) {
    const Real minus = constant<Real>(-0.5);
    LocalForms<Real> f;
    f.mean = {minus * ln(v.x_a),  minus * ln(v.x_b),  minus * ln(v.y_a),
              minus * ln(v.y_b),  minus * ln(v.xy_a), minus * ln(v.xy_b),
              minus * ln(v.x_ab), minus * ln(v.y_ab), minus * ln(v.joint / v.future)};
    f.half = constant<Real>(0.5 * (samples - 1));
    f.a_x = c.xa, f.b_x = c.xb, f.a_y = c.ya, f.b_y = c.yb;
    f.of_a_x = f.half / v.x_a, f.of_b_x = f.half / v.x_b;
    f.of_a_y = f.half / v.y_a, f.of_b_y = f.half / v.y_b;
    f.a_on_y = v.on_ya, f.a_on_x = c.xa - v.on_ya * c.xy;
    f.b_on_y = v.on_yb, f.b_on_x = c.xb - v.on_yb * c.xy;
    f.of_a_xy = f.half / v.xy_a, f.of_b_xy = f.half / v.xy_b;
    f.x_on_b = (c.xb - c.ab * c.xa) * v.inverse_future, f.x_on_a = c.xa - f.x_on_b * c.ab;
    f.y_on_b = (c.yb - c.ab * c.ya) * v.inverse_future, f.y_on_a = c.ya - f.y_on_b * c.ab;
    f.of_x_ab = f.half / v.x_ab, f.of_y_ab = f.half / v.y_ab;
    f.b_a = c.ab, f.of_b_a = f.half / v.future;
    f.b_axy = (c.ab - c.xa * c.xb - v.ya_x * v.on_yb) / v.xy_a;
    f.of_b_axy = f.half * v.xy_a / v.joint;
    return f;
}

// Magnitude up to which a correlation across time is zero; kernels/formulas/uncorrelated.py derives it.
PHIID_FN double resolution(double samples) { return (samples + 65536) * 2.220446049250313e-16; }

// The same for a local information, at one sample.
PHIID_FN double local_resolution(double samples) { return (samples + 64) * 2.220446049250313e-16; }

// Redundancies without those that hang on the sign of an information which is zero but for
// rounding, at all samples alike: source and target are uncorrelated. See kernels/formulas/uncorrelated.py.
template <class Real>
PHIID_FN Redundancies<Real> where_correlated(const LocalForms<Real>& f, double samples,
                                             const Redundancies<Real>& r) {
    const Real zero = constant<Real>(0), least_r = constant<Real>(resolution(samples));
    const auto differs = [&](Real value) { return (value > least_r) | (value < zero - least_r); };
    const auto x_a = differs(f.a_x), x_b = differs(f.b_x);
    const auto y_a = differs(f.a_y), y_b = differs(f.b_y);
    return {x_a & x_b & y_a & y_b ? r.rtr : zero,
            x_a & y_a ? r.rtx : zero,
            x_b & y_b ? r.rty : zero,
            (x_a | x_b) & (y_a | y_b) ? r.rts : zero,
            x_a & x_b ? r.xtr : zero,
            y_a & y_b ? r.ytr : zero,
            (x_a | y_a) & (x_b | y_b) ? r.str : zero};
}

// Common changes at a sample (or some) of unit vectors.
template <class Form, class Real>
PHIID_FN Redundancies<Real> changes(const LocalForms<Form>& f, Real x, Real y, Real a, Real b) {
    const Real of_x = f.half * x * x, of_y = f.half * y * y;
    const Real of_a = f.half * a * a, of_b = f.half * b * b;
    const Real a_x = a - f.a_x * x, b_x = b - f.b_x * x;
    const Real a_y = a - f.a_y * y, b_y = b - f.b_y * y;
    const Real a_xy = a - f.a_on_x * x - f.a_on_y * y;
    const Real b_xy = b - f.b_on_x * x - f.b_on_y * y;
    const Real x_ab = x - f.x_on_a * a - f.x_on_b * b;
    const Real y_ab = y - f.y_on_a * a - f.y_on_b * b;
    const Real b_a = b - f.b_a * a, b_axy = b_xy - f.b_axy * a_xy;
    const Real of_a_xy = f.of_a_xy * a_xy * a_xy;
    Informations<Real> i;
    i.x_a = f.mean.x_a + of_a - f.of_a_x * a_x * a_x;
    i.x_b = f.mean.x_b + of_b - f.of_b_x * b_x * b_x;
    i.y_a = f.mean.y_a + of_a - f.of_a_y * a_y * a_y;
    i.y_b = f.mean.y_b + of_b - f.of_b_y * b_y * b_y;
    i.xy_a = f.mean.xy_a + of_a - of_a_xy;
    i.xy_b = f.mean.xy_b + of_b - f.of_b_xy * b_xy * b_xy;
    i.x_ab = f.mean.x_ab + of_x - f.of_x_ab * x_ab * x_ab;
    i.y_ab = f.mean.y_ab + of_y - f.of_y_ab * y_ab * y_ab;
    i.xy_ab = f.mean.xy_ab + of_a + f.of_b_a * b_a * b_a - of_a_xy - f.of_b_axy * b_axy * b_axy;
    return common_changes(i, i, constant<Real>(local_resolution(2 * f.half + 1)));
}

// ---- Discrete -----------------------------------------------------------------------------------

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

// Mean informations; `table` has the share of a state that occurs k times in the entropy.
template <class Real, class Count>
PHIID_FN Informations<Real> informations(const double* table, const Counts<Count>& n,
                                         const Entropies<Real>& first,
                                         const Entropies<Real>& second) {
    const Real x = first.past, y = second.past, a = first.future, b = second.future;
    const Real xy = sum_of_entries<4>(table, n.xy), ab = sum_of_entries<4>(table, n.ab);
    Informations<Real> i;
    i.x_a = x + a - first.both;
    i.x_b = x + b - sum_of_entries<4>(table, n.xb);
    i.y_a = y + a - sum_of_entries<4>(table, n.ay);
    i.y_b = y + b - second.both;
    i.xy_a = xy + a - sum_of_entries<8>(table, n.xay);
    i.xy_b = xy + b - sum_of_entries<8>(table, n.xyb);
    i.x_ab = x + ab - sum_of_entries<8>(table, n.xab);
    i.y_ab = y + ab - sum_of_entries<8>(table, n.ayb);
    i.xy_ab = xy + ab - sum_of_entries<16>(table, n.xayb);
    return i;
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
