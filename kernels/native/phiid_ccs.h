// Gaussian variables, common change in surprisal of one pair of nodes, shared by host and device;
// see phiid_math.h, and kernels/formulas/ccs.py for formulas and notation.

#pragma once

#include "phiid_math.h"

namespace phiid {

// Magnitude up to which a correlation across time is zero; kernels/formulas/uncorrelated.py derives it.
PHIID_FN double resolution(double samples) { return (samples + 65536) * 2.220446049250313e-16; }

// The same for a local information, at one sample.
PHIID_FN double local_resolution(double samples) { return (samples + 64) * 2.220446049250313e-16; }

// Local informations of a pair as squares of linear forms in its samples; see kernels/formulas/ccs.py.
// The samples are unit vectors times the root of `weight`, (samples - 1) / 2: a square over the
// variance of what is squared has the weight that it needs.
template <class Real>
struct LocalForms {
    Informations<Real> mean;
    Real b_once_a;                            // what x and y tell of b once a is known
    Real none;                                // local informations up to it have no sign
    Correlations<Real> c;                     // regressions on one variable, ...
    Real of_a_x, of_b_x, of_a_y, of_b_y;      // ... and one over the variance of what is left;
    Real a_on_y, b_on_y, of_a_xy, of_b_xy;    // on y once x is known,
    Real x_on_b, y_on_b, of_x_ab, of_y_ab;    // on b once a is known,
    Real of_b_a, b_on_a, of_b_axy;            // and of b on a once x and y are known
};

PHIID_FN double weight(double samples) { return 0.5 * (samples - 1); }

template <class Real>
PHIID_FN LocalForms<Real> local_forms(const Correlations<Real>& c, const Lambdas<Real>& v,
                                      double samples) {
    const Real minus = constant<Real>(-0.5), one = constant<Real>(1);
    LocalForms<Real> f;
    f.mean = {minus * ln(v.x_a),  minus * ln(v.x_b),  minus * ln(v.y_a),
              minus * ln(v.y_b),  minus * ln(v.xy_a), minus * ln(v.xy_b),
              minus * ln(v.x_ab), minus * ln(v.y_ab), minus * ln(v.joint / v.future)};
    f.b_once_a = f.mean.xy_ab - f.mean.xy_a;
    f.none = constant<Real>(local_resolution(samples));
    f.c = c;
    f.of_a_x = one / v.x_a, f.of_b_x = one / v.x_b;
    f.of_a_y = one / v.y_a, f.of_b_y = one / v.y_b;
    f.a_on_y = v.on_ya, f.b_on_y = v.on_yb;
    f.of_a_xy = one / v.xy_a, f.of_b_xy = one / v.xy_b;
    f.x_on_b = (c.xb - c.ab * c.xa) * v.inverse_future;
    f.y_on_b = (c.yb - c.ab * c.ya) * v.inverse_future;
    f.of_x_ab = one / v.x_ab, f.of_y_ab = one / v.y_ab;
    f.of_b_a = v.inverse_future;
    f.b_on_a = (c.ab - c.xa * c.xb - v.ya_x * v.on_yb) / v.xy_a;
    f.of_b_axy = v.xy_a / v.joint;
    return f;
}

// Redundancies without those that hang on the sign of an information which is zero but for
// rounding, at all samples alike: source and target are uncorrelated. See kernels/formulas/uncorrelated.py.
template <class Real>
PHIID_FN Redundancies<Real> where_correlated(const LocalForms<Real>& f, double samples,
                                             const Redundancies<Real>& r) {
    const Real zero = constant<Real>(0), least_r = constant<Real>(resolution(samples));
    const auto differs = [&](Real value) { return (value > least_r) | (value < zero - least_r); };
    const auto x_a = differs(f.c.xa), x_b = differs(f.c.xb);
    const auto y_a = differs(f.c.ya), y_b = differs(f.c.yb);
    return {x_a & x_b & y_a & y_b ? r.rtr : zero,
            x_a & y_a ? r.rtx : zero,
            x_b & y_b ? r.rty : zero,
            (x_a | x_b) & (y_a | y_b) ? r.rts : zero,
            x_a & x_b ? r.xtr : zero,
            y_a & y_b ? r.ytr : zero,
            (x_a | y_a) & (x_b | y_b) ? r.str : zero};
}

// Local informations at a sample, or some.
template <class Real>
PHIID_FN Informations<Real> local_informations(const LocalForms<Real>& f, Real x, Real y, Real a,
                                               Real b) {
    // What is left of each variable once others are known, one after the other.
    const Real a_x = a - f.c.xa * x, b_x = b - f.c.xb * x, y_x = y - f.c.xy * x;
    const Real a_y = a - f.c.ya * y, b_y = b - f.c.yb * y;
    const Real x_a = x - f.c.xa * a, y_a = y - f.c.ya * a, b_a = b - f.c.ab * a;
    const Real a_xy = a_x - f.a_on_y * y_x, b_xy = b_x - f.b_on_y * y_x;
    const Real x_ab = x_a - f.x_on_b * b_a, y_ab = y_a - f.y_on_b * b_a;
    const Real b_axy = b_xy - f.b_on_a * a_xy;
    Informations<Real> i;
    i.x_a = f.mean.x_a + a * a - f.of_a_x * a_x * a_x;
    i.x_b = f.mean.x_b + b * b - f.of_b_x * b_x * b_x;
    i.y_a = f.mean.y_a + a * a - f.of_a_y * a_y * a_y;
    i.y_b = f.mean.y_b + b * b - f.of_b_y * b_y * b_y;
    i.xy_a = f.mean.xy_a + a * a - f.of_a_xy * a_xy * a_xy;
    i.xy_b = f.mean.xy_b + b * b - f.of_b_xy * b_xy * b_xy;
    i.x_ab = f.mean.x_ab + x * x - f.of_x_ab * x_ab * x_ab;
    i.y_ab = f.mean.y_ab + y * y - f.of_y_ab * y_ab * y_ab;
    i.xy_ab = i.xy_a + (f.b_once_a + f.of_b_a * b_a * b_a - f.of_b_axy * b_axy * b_axy);
    return i;
}

// Common changes at a sample, or some.
template <class Real>
PHIID_FN Redundancies<Real> changes(const LocalForms<Real>& f, Real x, Real y, Real a, Real b) {
    const Informations<Real> i = local_informations(f, x, y, a, b);
    return common_changes(i, i, f.none);
}

}  // namespace phiid
