// Gaussian variables, common change in surprisal of one pair of nodes, shared by host and device;
// see phiid_math.h, and kernels/formulas/ccs.py for formulas and notation.

#pragma once

#include "phiid_math.h"

namespace phiid {

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

}  // namespace phiid
