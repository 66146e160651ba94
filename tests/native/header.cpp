// The header's functions on arrays, for test_header.py.

#include "host/simd.h"
#include "phiid_ccs.h"

using namespace phiid;

#define EXPORT extern "C" __attribute__((visibility("default")))

template <class Scalar, class Vector>
static void all_atoms(const Scalar* correlations, long count, Scalar* variance, Scalar* two,
                      Scalar* sixteen) {
    constexpr long lanes = sizeof(Vector) / sizeof(Scalar);
    for (long at = 0; at < count; at += lanes) {
        Vector c[6], out[16];
        for (int k = 0; k < 6; ++k) c[k] = load<Vector>(correlations + k * count + at);
        const Lambdas<Vector> v = lambdas<Vector>({c[0], c[1], c[2], c[3], c[4], c[5]});
        const auto use = trusted(v, constant<Vector>(0));
        store(variance + at, use ? v.determinant / v.minors : constant<Vector>(0));
        TwoAtoms<Vector> product = no_trial_two<Vector>();
        multiply(product, v, use);
        two_atoms(product, out);
        for (int k = 0; k < 2; ++k) store(two + k * count + at, out[k]);
        cumulative(v, out);
        for (int k = 0; k < 16; ++k)
            store(sixteen + k * count + at, constant<Vector>(-0.5) * ln(out[k]));
    }
}

// The same sixteen, by nine logarithms.
template <class Scalar, class Vector>
static void nine_logarithms(const Scalar* correlations, long count, Scalar* sixteen) {
    for (long at = 0; at < count; at += sizeof(Vector) / sizeof(Scalar)) {
        Vector c[6], out[16];
        for (int k = 0; k < 6; ++k) c[k] = load<Vector>(correlations + k * count + at);
        const Lambdas<Vector> v = lambdas<Vector>({c[0], c[1], c[2], c[3], c[4], c[5]});
        const auto of = [](Vector lambda) { return constant<Vector>(-0.5) * ln(lambda); };
        const Informations<Vector> i{of(v.x_a),  of(v.x_b),  of(v.y_a),
                                     of(v.y_b),  of(v.xy_a), of(v.xy_b),
                                     of(v.x_ab), of(v.y_ab), of(v.joint * v.inverse_future)};
        cumulative(i, least_informations(i), out);
        for (int k = 0; k < 16; ++k) store(sixteen + k * count + at, out[k]);
    }
}

template <class Scalar, class Vector>
static void logarithms(const Scalar* from, long count, Scalar* to) {
    for (long at = 0; at < count; at += sizeof(Vector) / sizeof(Scalar))
        store(to + at, ln(load<Vector>(from + at)));
}

EXPORT void atoms_float64(const double* c, long n, double* v, double* two, double* all) {
    all_atoms<double, Doubles>(c, n, v, two, all);
}
EXPORT void atoms_float32(const float* c, long n, float* v, float* two, float* all) {
    all_atoms<float, Floats>(c, n, v, two, all);
}
EXPORT void nine_float64(const double* c, long n, double* all) {
    nine_logarithms<double, Doubles>(c, n, all);
}
EXPORT void nine_float32(const float* c, long n, float* all) {
    nine_logarithms<float, Floats>(c, n, all);
}
EXPORT void ln_float64(const double* from, long n, double* to) {
    logarithms<double, Doubles>(from, n, to);
}
EXPORT void ln_float32(const float* from, long n, float* to) {
    logarithms<float, Floats>(from, n, to);
}
EXPORT double resolution_float64(double samples) { return resolution(samples); }
EXPORT double local_resolution_float64(double samples) { return local_resolution(samples); }
EXPORT double least_sum() { return LEAST_SUM; }
