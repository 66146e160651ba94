// Local entropies of four jointly Gaussian variables of unit variance, in nats, and what follows from
// them at a sample. See kernels/formulas/pointwise.py.

#pragma once

#include "../phiid_ccs.h"
#include "rows.h"

namespace phiid {
namespace pointwise {

constexpr int VARIABLES = 4;  // x, y, a, b
constexpr int SETS = 15, INFORMATIONS = 9, REDUNDANCIES = 7, ATOMS = 16;
constexpr int ROWS_OF_ALL = SETS + INFORMATIONS + REDUNDANCIES + ATOMS;

// Six orders of the variables have every set of them as a beginning.
constexpr int ORDERS = 6, LANES = (ORDERS + DOUBLES - 1) / DOUBLES;
constexpr int ORDER[ORDERS][VARIABLES] = {{0, 1, 2, 3}, {1, 2, 3, 0}, {2, 3, 0, 1},
                                          {3, 0, 1, 2}, {0, 2, 1, 3}, {1, 3, 0, 2}};

// A set of variables, as in formulas.pointwise.SETS: what is left of one without its last variable
// (NONE: nothing), and the order and place in it at which that variable comes after all the others.
struct Set {
    int before, order, place;
};
constexpr int NONE = -1;
enum { X, Y, A, B, XY, AB, XA, XB, YA, YB, XYA, XYB, XAB, YAB, XYAB };
constexpr Set SET[SETS] = {{NONE, 0, 0}, {NONE, 1, 0}, {NONE, 2, 0}, {NONE, 3, 0}, {X, 0, 1},
                           {A, 2, 1},    {X, 4, 1},    {B, 3, 1},    {Y, 1, 1},    {Y, 5, 1},
                           {XY, 0, 2},   {XB, 3, 2},   {AB, 2, 2},   {YA, 1, 2},   {XYA, 0, 3}};

// The nine informations from entropies of sets.
template <class Real>
PHIID_FN Informations<Real> informations_of(const Real* h) {
    return {h[X] + h[A] - h[XA],    h[X] + h[B] - h[XB],    h[Y] + h[A] - h[YA],
            h[Y] + h[B] - h[YB],    h[XY] + h[A] - h[XYA],  h[XY] + h[B] - h[XYB],
            h[X] + h[AB] - h[XAB],  h[Y] + h[AB] - h[YAB],  h[XY] + h[AB] - h[XYAB]};
}

// By which informations the seven redundancies of MMI are, in the order of `Redundancies`.
struct Sources {
    int of[REDUNDANCIES];
};

// Means closer than this are equal, and the preferred comes first; see formulas.pointwise.TIE.
inline Sources least_informative(const Informations<double>& mean) {
    constexpr double TIE = 1e-12;
    const double m[] = {mean.x_a,  mean.x_b,  mean.y_a,  mean.y_b, mean.xy_a,
                        mean.xy_b, mean.x_ab, mean.y_ab};
    const auto of_two = [&](int one, int preferred) {
        return m[one] + TIE < m[preferred] ? one : preferred;
    };
    int least = 0;
    for (int k = 1; k < 4; ++k)
        if (m[k] + k * TIE < m[least] + least * TIE) least = k;
    return {{least, of_two(0, 2), of_two(1, 3), of_two(6, 7), of_two(0, 1), of_two(2, 3),
             of_two(4, 5)}};
}

template <class Real>
PHIID_FN Redundancies<Real> chosen(const Informations<Real>& i, const Sources& sources) {
    const Real all[] = {i.x_a, i.x_b, i.y_a, i.y_b, i.xy_a, i.xy_b, i.x_ab, i.y_ab};
    const int* const of = sources.of;
    return {all[of[0]], all[of[1]], all[of[2]], all[of[3]], all[of[4]], all[of[5]], all[of[6]]};
}

// As NumPy has them: not finite where an information is not.
PHIID_FN Redundancies<Doubles> common_changes_or_none(const Informations<Doubles>& i) {
    Redundancies<Doubles> r = common_changes(i, i, Doubles{});
    const Doubles none = 0 * (i.x_a + i.x_b + i.y_a + i.y_b + i.xy_a + i.xy_b + i.x_ab + i.y_ab +
                              i.xy_ab);
    add_to(r, {none, none, none, none, none, none, none});
    return r;
}

// Writes informations, redundancies and atoms to put(row, value), or the atoms alone as first rows.
template <bool EVERY, class Put>
PHIID_FN void put_all(const Informations<Doubles>& i, const Redundancies<Doubles>& r, const Put& put) {
    constexpr int FIRST = EVERY ? SETS + INFORMATIONS + REDUNDANCIES : 0;
    if (EVERY) {
        const Doubles of[] = {i.x_a,  i.x_b,  i.y_a,   i.y_b, i.xy_a, i.xy_b, i.x_ab, i.y_ab,
                              i.xy_ab, r.rtr, r.rtx, r.rty,  r.rts,  r.xtr,  r.ytr,  r.str};
#pragma GCC unroll 16
        for (int k = 0; k < INFORMATIONS + REDUNDANCIES; ++k) put(SETS + k, of[k]);
    }
    Doubles atoms[ATOMS];
    cumulative(i, r, atoms);
    moebius(atoms);
#pragma GCC unroll 16
    for (int k = 0; k < ATOMS; ++k) put(FIRST + k, atoms[k]);
}

// Entropies of a pair at a sample: each that of a set without its last variable, a constant, and the
// square of a linear form in the variables.
struct Forms {
    double weights[SETS][VARIABLES];  // of variables in their order
    double constants[SETS];           // of what the last variable adds
    double signs[INFORMATIONS];       // CCS: 0 for informations that are zero at every sample
    double none;                      // CCS: informations up to it are zero at a sample
    Sources sources;                  // MMI
};

// Columns of the triangular factor of four unit vectors; `work` holds three. Modified Gram-Schmidt:
// R is that of vectors perturbed by a few units in the last place, as with reflections (Björck 1967).
inline void triangle(const double* const* v, int64_t vectors, double* work,
                     double (&r)[VARIABLES][VARIABLES]) {
    const int64_t size = vectors * DOUBLES;
    double *const y = work, *const a = work + size, *const b = work + 2 * size;
    double dots[VARIABLES];
    const auto row_of = [&](int k) {
        const double spread = __builtin_sqrt(dots[0]);
        for (int j = 0; j < VARIABLES; ++j)
            r[k][j] = j < k ? 0 : j == k ? spread : spread > 0 ? dots[j - k] / spread : 0;
        for (int j = 1; j < VARIABLES - k; ++j) dots[j] = spread > 0 ? dots[j] / dots[0] : 0;
    };
    sum_up<4>(vectors, dots, [&](int64_t k, Doubles* sum) {
        const Doubles one = load<Doubles>(v[0] + k * DOUBLES);
        sum[0] += one * one;
        for (int j = 1; j < VARIABLES; ++j) sum[j] += one * load<Doubles>(v[j] + k * DOUBLES);
    });
    row_of(0);
    const double *const of_x = v[0], on_y = dots[1], on_a = dots[2], on_b = dots[3];
    sum_up<3>(vectors, dots, [&](int64_t k, Doubles* sum) {
        const int64_t at = k * DOUBLES;
        const Doubles one = load<Doubles>(of_x + at);
        const Doubles of_y = load<Doubles>(v[1] + at) - on_y * one;
        const Doubles of_a = load<Doubles>(v[2] + at) - on_a * one;
        const Doubles of_b = load<Doubles>(v[3] + at) - on_b * one;
        store(y + at, of_y), store(a + at, of_a), store(b + at, of_b);
        sum[0] += of_y * of_y, sum[1] += of_y * of_a, sum[2] += of_y * of_b;
    });
    row_of(1);
    const double a_on_y = dots[1], b_on_y = dots[2];
    sum_up<2>(vectors, dots, [&](int64_t k, Doubles* sum) {
        const int64_t at = k * DOUBLES;
        const Doubles one = load<Doubles>(y + at);
        const Doubles of_a = load<Doubles>(a + at) - a_on_y * one;
        const Doubles of_b = load<Doubles>(b + at) - b_on_y * one;
        store(a + at, of_a), store(b + at, of_b);
        sum[0] += of_a * of_a, sum[1] += of_a * of_b;
    });
    row_of(2);
    const double b_on_a = dots[1];
    sum_up<1>(vectors, dots, [&](int64_t k, Doubles* sum) {
        const int64_t at = k * DOUBLES;
        const Doubles of_b = load<Doubles>(b + at) - b_on_a * load<Doubles>(a + at);
        sum[0] += of_b * of_b;
    });
    row_of(3);
}

// Of all orders, a lane each: by place in it.
struct Factors {
    alignas(64) double inverse[VARIABLES][VARIABLES][LANES * DOUBLES];  // R^-1, upper triangle
    alignas(64) double logs[VARIABLES][LANES * DOUBLES];                // of the diagonal of R

    // Whether every conditional variance is `least` or more, squared.
    bool make(const double (&first)[VARIABLES][VARIABLES], double least) {
        bool regular = true;
        for (int lanes = 0; lanes < LANES * DOUBLES; lanes += DOUBLES)
            regular &= some(first, lanes, least);
        return regular;
    }

   private:
    bool some(const double (&first)[VARIABLES][VARIABLES], int lanes, double least) {
        Doubles q[VARIABLES][VARIABLES], r[VARIABLES][VARIABLES], u[VARIABLES][VARIABLES];
        for (int k = 0; k < VARIABLES; ++k)
            for (int row = 0; row < VARIABLES; ++row)
                for (int lane = 0; lane < DOUBLES; ++lane)
                    q[k][row][lane] = first[row][ORDER[(lanes + lane) % ORDERS][k]];
        Doubles smallest = Doubles{} + 1;
        for (int k = 0; k < VARIABLES; ++k) {
            Doubles square{}, spread;
            for (int row = 0; row < VARIABLES; ++row) square += q[k][row] * q[k][row];
            for (int lane = 0; lane < DOUBLES; ++lane) spread[lane] = __builtin_sqrt(square[lane]);
            smallest = smallest < spread ? smallest : spread;
            u[k][k] = 1 / spread;
            store(logs[k] + lanes, ln(spread));
            for (int row = 0; row < VARIABLES; ++row) q[k][row] *= u[k][k];
            for (int j = k + 1; j < VARIABLES; ++j) {
                r[k][j] = Doubles{};
                for (int row = 0; row < VARIABLES; ++row) r[k][j] += q[k][row] * q[j][row];
                for (int row = 0; row < VARIABLES; ++row) q[j][row] -= r[k][j] * q[k][row];
            }
        }
        // Column by column from its end: then R times a column is a unit vector but for rounding of R,
        // and so is the form that it stands for. From the left rounding of both near copies multiplies.
        for (int k = 0; k < VARIABLES; ++k) {
            for (int j = k - 1; j >= 0; --j) {
                Doubles sum{};
                for (int m = j + 1; m <= k; ++m) sum += r[j][m] * u[m][k];
                u[j][k] = -sum * u[j][j];
            }
            for (int j = 0; j <= k; ++j) store(inverse[j][k] + lanes, u[j][k]);
        }
        bool regular = true;
        for (int lane = 0; lane < DOUBLES; ++lane) regular &= smallest[lane] >= least;
        return regular;
    }
};

// The forms of a pair; false where it is so near singular that they are not to be trusted, as
// formulas.pointwise.gaussian looks closer then.
inline bool forms_of(const double* const* v, int64_t vectors, int64_t samples, double* work,
                     Forms& forms) {
    constexpr double VANISHED = 1e-10, HALF_LOG_2_PI = 0.91893853320467274178;
    double r[VARIABLES][VARIABLES];
    triangle(v, vectors, work, r);
    Factors factors;
    if (!factors.make(r, 2 * VANISHED)) return false;
    const double root = __builtin_sqrt(weight(double(samples)));
    double expected[SETS];  // up to constants that cancel in informations
    for (int k = 0; k < SETS; ++k) {
        const Set& set = SET[k];
        for (double& entry : forms.weights[k]) entry = 0;
        for (int j = 0; j <= set.place; ++j)
            forms.weights[k][ORDER[set.order][j]] =
                factors.inverse[j][set.place][set.order] * root;
        const double log = factors.logs[set.place][set.order];
        forms.constants[k] = log + HALF_LOG_2_PI;
        expected[k] = log + (set.before == NONE ? 0 : expected[set.before]);
    }
    forms.sources = least_informative(informations_of(expected));
    // The columns of R have the correlations of the data.
    const auto differ = [&](int past, int future) {
        double correlation = 0;
        for (int k = 0; k <= past; ++k) correlation += r[k][past] * r[k][future];
        return !(std::fabs(correlation) <= resolution(double(samples)));
    };
    const bool x_a = differ(0, 2), x_b = differ(0, 3), y_a = differ(1, 2), y_b = differ(1, 3);
    const bool signs[] = {x_a,        x_b,        y_a,        y_b, x_a || y_a,
                          x_b || y_b, x_a || x_b, y_a || y_b, x_a || x_b || y_a || y_b};
    for (int k = 0; k < INFORMATIONS; ++k) forms.signs[k] = signs[k];
    forms.none = local_resolution(double(samples));
    return true;
}

// What has no sign is zero.
PHIID_FN Informations<Doubles> signed_ones(const Informations<Doubles>& i, const Forms& forms) {
    const auto one = [&](Doubles value, int k) {
        const Doubles sign = Doubles{} + forms.signs[k];
        return value * ((value > forms.none) | (value < -forms.none) ? sign : Doubles{});
    };
    return {one(i.x_a, 0),  one(i.x_b, 1),  one(i.y_a, 2),  one(i.y_b, 3), one(i.xy_a, 4),
            one(i.xy_b, 5), one(i.x_ab, 6), one(i.y_ab, 7), one(i.xy_ab, 8)};
}

// A vector of samples.
template <bool EVERY, bool CCS, class Put>
PHIID_FN void at_some(const Forms& forms, const Doubles (&v)[VARIABLES], const Put& put) {
    Doubles h[SETS];
#pragma GCC unroll 15
    for (int k = 0; k < SETS; ++k) {
        const Set set = SET[k];
        Doubles form = forms.weights[k][ORDER[set.order][0]] * v[ORDER[set.order][0]];
#pragma GCC unroll 4
        for (int j = 1; j <= set.place; ++j)
            form += forms.weights[k][ORDER[set.order][j]] * v[ORDER[set.order][j]];
        h[k] = form * form + forms.constants[k];
        if (set.before != NONE) h[k] += h[set.before];
        if (EVERY) put(k, h[k]);
    }
    const Informations<Doubles> i = informations_of(h);
    if (CCS) {
        const Informations<Doubles> with_sign = signed_ones(i, forms);
        put_all<EVERY>(with_sign, common_changes_or_none(with_sign), put);
    } else {
        put_all<EVERY>(i, chosen(i, forms.sources), put);
    }
}

// Rows of all samples, (47 or 16, points), from rows of the variables that end with whole vectors.
template <bool EVERY, bool CCS>
void evaluate(const Forms& forms, const double* const* v, int64_t points, double* out) {
    const auto at = [&](int64_t t, const auto& put) {
        const Doubles values[] = {load<Doubles>(v[0] + t), load<Doubles>(v[1] + t),
                                  load<Doubles>(v[2] + t), load<Doubles>(v[3] + t)};
        at_some<EVERY, CCS>(forms, values, put);
    };
    const int64_t whole = points / DOUBLES * DOUBLES;
    in_stretches(whole / DOUBLES, ROWS_OF_ALL * DOUBLES, [&](int64_t from, int64_t end) {
        for (int64_t t = from * DOUBLES; t < end * DOUBLES; t += DOUBLES)
            at(t, [&](int row, Doubles value) { store(out + row * points + t, value); });
    });
    if (whole < points)
        at(whole, [&](int row, Doubles value) {
            __builtin_memcpy(out + row * points + whole, &value, (points - whole) * sizeof(double));
        });
}

}  // namespace pointwise
}  // namespace phiid
