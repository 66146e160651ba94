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

// Numbers by count.
struct Table {
    const double* entries;
};

PHIID_FN double look_up(const Table& table, int index) { return table.entries[index]; }

template <int COUNT>
PHIID_FN double sum_of_entries(const Table& table, const int* index) {
    double even = look_up(table, index[0]), odd = look_up(table, index[1]);
    PHIID_UNROLL
    for (int k = 2; k < COUNT; k += 2) {
        even += look_up(table, index[k]);
        odd += look_up(table, index[k + 1]);
    }
    return even + odd;
}

// A count, not below zero; a conversion is eight times as slow as this sum.
template <class Real>
PHIID_FN double as_real(int count) {
    return __hiloint2double(0x43300000, count) - 4503599627370496.0;
}

// Products of two counts may exceed an int: the upper word of their difference, not 0 if it is not.
PHIID_FN int excess(int samples, int one, int two, int both) {
    const long long difference = (long long)samples * both - (long long)one * two;
    return int(difference >> 32) | (int(difference) != 0);
}

PHIID_FN int least(int one, int two) { return one < two ? one : two; }

// `common` of phiid_math.h by the upper words of the numbers, whose order is that of the numbers
// where they are positive and the reverse where they are negative. Comparisons in double take
// instructions each of its units. What reaches `none`, if that is not 0, exceeds it here.
PHIID_FN double common(double change, double one, double two, double three, double four,
                       double none) {
    constexpr int NEGATIVE = -2147483647 - 1;
    const int c = __double2hiint(change), p = __double2hiint(one), q = __double2hiint(two);
    const int r = __double2hiint(three), s = __double2hiint(four);
    const int all = c & p & q & r & s;  // below zero if all are
    const int low = least(least(c, least(p, q)), least(r, s));
    // The next number without low bits, and of 0 the smallest that is none.
    const int bound = __double2hiint(none) + (__double2loint(none) != 0 || none == 0);
    return low >= (bound | (all & NEGATIVE)) ? change : 0.0;
}

PHIID_FN double common(double change, int one, int two, int three, int four, int) {
    const int c = __double2hiint(change), low = least(least(one, two), least(three, four));
    return (least(c, low) > 0) | ((c & one & two & three & four) < 0) ? change : 0.0;
}

}  // namespace phiid

#include "../phiid_math.h"
