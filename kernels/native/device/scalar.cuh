// What phiid_math.h needs where every thread has a pair of its own: Real is double or float.

#pragma once

namespace phiid {

template <class Real>
PHIID_FN Real constant(double number) {
    return Real(number);
}

// A logarithm exists of positive normal numbers; that of -1 is NaN.
PHIID_FN double ln(double x) {
    return log(x >= 2.2250738585072014e-308 && x <= 1.7976931348623157e308 ? x : -1.0);
}

PHIID_FN float ln(float x) {
    return logf(x >= 1.17549435e-38f && x <= 3.40282347e38f ? x : -1.0f);
}

PHIID_FN double look_up(const double* table, double index) { return table[int(index)]; }

template <int COUNT>
PHIID_FN double sum_of_entries(const double* table, const double* index) {
    double even = look_up(table, index[0]), odd = look_up(table, index[1]);
    PHIID_UNROLL
    for (int k = 2; k < COUNT; k += 2) {
        even += look_up(table, index[k]);
        odd += look_up(table, index[k + 1]);
    }
    return even + odd;
}

}  // namespace phiid

#include "../phiid_math.h"
