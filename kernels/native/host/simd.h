// What phiid_math.h needs of the host: vectors of the machine's width, and their logarithm.
//
// The logarithm is our own because no library has one for every machine: glibc's vector
// functions lack musl, macOS and older arm64, and are good to 4 units in the last place. It is that
// of FreeBSD's msun (e_log.c, e_logf.c; Copyright (C) 1993 Sun Microsystems, Inc., freely granted),
// without its branches: below one unit in the last place.

#pragma once

#define PHIID_UNROLL _Pragma("GCC unroll 16")
#define PHIID_ROLLED _Pragma("GCC unroll 1")
#define PHIID_FN inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define PHIID_VECTOR_BYTES 64
#elif defined(__AVX__)
#define PHIID_VECTOR_BYTES 32
#else
#define PHIID_VECTOR_BYTES 16
#endif

namespace phiid {

template <class Scalar>
struct Lanes;

template <>
struct Lanes<double> {
    typedef double Vector __attribute__((vector_size(PHIID_VECTOR_BYTES)));
    typedef long long Bits __attribute__((vector_size(PHIID_VECTOR_BYTES)));
    typedef unsigned long long Unsigned __attribute__((vector_size(PHIID_VECTOR_BYTES)));
};

template <>
struct Lanes<float> {
    typedef float Vector __attribute__((vector_size(PHIID_VECTOR_BYTES)));
    typedef int Bits __attribute__((vector_size(PHIID_VECTOR_BYTES)));
    typedef unsigned Unsigned __attribute__((vector_size(PHIID_VECTOR_BYTES)));
};

using Doubles = Lanes<double>::Vector;
using Floats = Lanes<float>::Vector;
typedef int Ints __attribute__((vector_size(PHIID_VECTOR_BYTES / 2)));  // as many as Doubles
constexpr int DOUBLES = PHIID_VECTOR_BYTES / sizeof(double);
constexpr int FLOATS = PHIID_VECTOR_BYTES / sizeof(float);

template <class Real>
PHIID_FN Real constant(double number) {
    return Real{} + number;
}

template <>
PHIID_FN Floats constant<Floats>(double number) {
    return Floats{} + float(number);
}

template <>
PHIID_FN float constant<float>(double number) {
    return float(number);
}

template <class Vector, class Scalar>
PHIID_FN Vector load(const Scalar* from) {
    Vector value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

template <class Vector, class Scalar>
PHIID_FN void store(Scalar* to, Vector value) {
    __builtin_memcpy(to, &value, sizeof value);
}

// Keeps a vector that was loaded in its register: compilers load it again for every product, which
// takes more than the products do.
PHIID_FN Doubles in_register(Doubles value) {
#if defined(__x86_64__) && defined(__AVX512F__)
    asm("" : "+v"(value));
#elif defined(__x86_64__)
    asm("" : "+x"(value));
#elif defined(__aarch64__)
    asm("" : "+w"(value));
#endif
    return value;
}

PHIID_FN Doubles look_up(const double* table, Doubles index) {
    Lanes<double>::Bits places = __builtin_convertvector(index, Lanes<double>::Bits);
    // Through memory: taking the lanes out of a register one by one costs twice as much.
    asm volatile("" : "+m"(places));
    Doubles found;
#pragma GCC unroll 8
    for (int lane = 0; lane < DOUBLES; ++lane)
        found[lane] = table[reinterpret_cast<const long long*>(&places)[lane]];
    return found;
}

// Sum of the entries at several indices: lane by lane, and two indices from a word, as loads are
// what limits it. The barriers, as compilers else make a loop of vectors that are put together
// lane by lane.
template <int COUNT>
PHIID_FN Doubles sum_of_entries(const double* table, const Ints* index) {
    Ints places[COUNT];
    for (int k = 0; k < COUNT; ++k) places[k] = index[k];
    asm volatile("" : "+m"(places));
    double sums[DOUBLES];
#pragma GCC unroll 8
    for (int lane = 0; lane < DOUBLES; lane += 2) {
        double even = 0, odd = 0;
#pragma GCC unroll 16
        for (int k = 0; k < COUNT; ++k) {
            unsigned long long two;
            __builtin_memcpy(&two, reinterpret_cast<const int*>(places + k) + lane, sizeof two);
            even += table[unsigned(two)];
            odd += table[two >> 32];
        }
        sums[lane] = even, sums[lane + 1] = odd;
    }
    asm volatile("" : "+m"(sums));
    return load<Doubles>(sums);
}

PHIID_FN Doubles ln(Doubles x) {
    using Bits = Lanes<double>::Bits;
    using Unsigned = Lanes<double>::Unsigned;
    // x = 2^k (1 + f), with 1 + f between sqrt(1/2) and sqrt(2). The bits of a negative x, whose
    // logarithm is NaN below, less those of the root are out of the range of signed integers.
    const Bits half_root = Bits{} + 0x3fe6a09e667f3bcdLL;
    const Bits from_root = (Bits)((Unsigned)x - (Unsigned)half_root);
    const Bits k = from_root >> 52;
    const Doubles f = (Doubles)((from_root & 0x000fffffffffffffLL) + half_root) - 1.0;
    const Doubles s = f / (2.0 + f);
    const Doubles z = s * s, w = z * z;
    const Doubles even =
        w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    const Doubles odd =
        z * (6.666666666666735130e-01 +
             w * (2.857142874366239149e-01 +
                  w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    const Doubles half = 0.5 * f * f;
    const Doubles e = __builtin_convertvector(k, Doubles);
    const Doubles value =
        e * 6.93147180369123816490e-01 -
        ((half - (s * (half + (even + odd)) + e * 1.90821492927058770002e-10)) - f);
    const Doubles normal = (x >= 2.2250738585072014e-308) & (x <= 1.7976931348623157e308)
                               ? value
                               : constant<Doubles>(__builtin_nan(""));
    return normal;
}

PHIID_FN Floats ln(Floats x) {
    using Bits = Lanes<float>::Bits;
    using Unsigned = Lanes<float>::Unsigned;
    const Bits half_root = Bits{} + 0x3f3504f3;
    const Bits from_root = (Bits)((Unsigned)x - (Unsigned)half_root);
    const Bits k = from_root >> 23;
    const Floats f = (Floats)((from_root & 0x007fffff) + half_root) - 1.0f;
    const Floats s = f / (2.0f + f);
    const Floats z = s * s, w = z * z;
    const Floats even = w * (0.40000972152f + w * 0.24279078841f);
    const Floats odd = z * (0.66666662693f + w * 0.28498786688f);
    const Floats half = 0.5f * f * f;
    const Floats e = __builtin_convertvector(k, Floats);
    const Floats value =
        e * 6.9313812256e-01f - ((half - (s * (half + (even + odd)) + e * 9.0580006145e-06f)) - f);
    return (x >= 1.17549435e-38f) & (x <= 3.40282347e38f) ? value
                                                          : constant<Floats>(__builtin_nan(""));
}

}  // namespace phiid

#include "../phiid_math.h"
