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

#ifdef __SSE2__
#include <immintrin.h>
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

// Writes 64 bytes that begin a line of the cache past it, where the machine can. What other threads
// do after a `fence` comes after that.
PHIID_FN void stream_line(void* to, const void* from) {
#if defined(__AVX512F__)
    _mm512_stream_si512(static_cast<__m512i*>(to), _mm512_loadu_si512(from));
#elif defined(__AVX__)
    for (int k = 0; k < 2; ++k)
        _mm256_stream_si256(static_cast<__m256i*>(to) + k,
                            _mm256_loadu_si256(static_cast<const __m256i*>(from) + k));
#elif defined(__SSE2__)
    for (int k = 0; k < 4; ++k)
        _mm_stream_si128(static_cast<__m128i*>(to) + k,
                         _mm_loadu_si128(static_cast<const __m128i*>(from) + k));
#else
    __builtin_memcpy(to, from, 64);
#endif
}

PHIID_FN void fence() {
#ifdef __SSE2__
    _mm_sfence();
#endif
}

// Rows become columns of a square block of DOUBLES rows.
PHIID_FN void transpose(Doubles (&rows)[DOUBLES]) {
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define PHIID_SHUFFLED
#endif
#endif
#ifdef PHIID_SHUFFLED
#define PHIID_EXCHANGE(STEP, LOW, HIGH)                                      \
    for (int r = 0; r < DOUBLES; ++r) {                                      \
        if (r & STEP) continue;                                              \
        const Doubles one = rows[r], two = rows[r + STEP];                   \
        rows[r] = __builtin_shufflevector(one, two, PHIID_ALL LOW);          \
        rows[r + STEP] = __builtin_shufflevector(one, two, PHIID_ALL HIGH);  \
    }
#define PHIID_ALL(...) __VA_ARGS__
#if PHIID_VECTOR_BYTES == 64
    PHIID_UNROLL PHIID_EXCHANGE(4, (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))
    PHIID_UNROLL PHIID_EXCHANGE(2, (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15))
    PHIID_UNROLL PHIID_EXCHANGE(1, (0, 8, 2, 10, 4, 12, 6, 14), (1, 9, 3, 11, 5, 13, 7, 15))
#elif PHIID_VECTOR_BYTES == 32
    PHIID_UNROLL PHIID_EXCHANGE(2, (0, 1, 4, 5), (2, 3, 6, 7))
    PHIID_UNROLL PHIID_EXCHANGE(1, (0, 4, 2, 6), (1, 5, 3, 7))
#else
    PHIID_UNROLL PHIID_EXCHANGE(1, (0, 2), (1, 3))
#endif
#undef PHIID_ALL
#undef PHIID_EXCHANGE
#undef PHIID_SHUFFLED
#else
    double entries[DOUBLES][DOUBLES];
    for (int r = 0; r < DOUBLES; ++r)
        for (int c = 0; c < DOUBLES; ++c) entries[c][r] = rows[r][c];
    for (int r = 0; r < DOUBLES; ++r) rows[r] = load<Doubles>(entries[r]);
#endif
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

// Sums of the entries at several indices, `TOGETHER` of them first: lane by lane, and two indices
// from a word, as loads are what limits it.
template <int COUNT, int TOGETHER>
PHIID_FN void add_entries(const double* table, const Ints* index, double* to) {
#pragma GCC unroll 8
    for (int lane = 0; lane < DOUBLES; lane += 2) {
        double even = 0, odd = 0;
#pragma GCC unroll 16
        for (int k = 0; k < COUNT; k += TOGETHER) {
            double one = 0, other = 0;
#pragma GCC unroll 2
            for (int n = k; n < k + TOGETHER; ++n) {
                unsigned long long two;
                __builtin_memcpy(&two, reinterpret_cast<const int*>(index + n) + lane, sizeof two);
                one = n == k ? table[unsigned(two)] : one + table[unsigned(two)];
                other = n == k ? table[two >> 32] : other + table[two >> 32];
            }
            even = k == 0 ? one : even + one;
            odd = k == 0 ? other : odd + other;
        }
        to[lane] = even, to[lane + 1] = odd;
    }
}

// The barriers, as compilers else make a loop of vectors that are put together lane by lane.
template <int COUNT>
PHIID_FN Doubles sum_of_entries(const double* table, const Ints* index) {
    Ints places[COUNT];
    for (int k = 0; k < COUNT; ++k) places[k] = index[k];
    asm volatile("" : "+m"(places));
    double sums[DOUBLES];
    add_entries<COUNT, 2>(table, places, sums);
    asm volatile("" : "+m"(sums));
    return load<Doubles>(sums);
}

// ln x = e ln 2 + f - (half - rest), for a positive normal x.
struct Logarithm {
    Doubles e, f, half, rest;
};

PHIID_FN Logarithm reduced(Doubles x) {
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
    return {__builtin_convertvector(k, Doubles), f, half, s * (half + (even + odd))};
}

PHIID_FN Doubles ln(Doubles x) {
    const Logarithm log = reduced(x);
    const Doubles value =
        log.e * 6.93147180369123816490e-01 -
        ((log.half - (log.rest + log.e * 1.90821492927058770002e-10)) - log.f);
    const Doubles normal = (x >= 2.2250738585072014e-308) & (x <= 1.7976931348623157e308)
                               ? value
                               : constant<Doubles>(__builtin_nan(""));
    return normal;
}

// Of positive normal numbers; exact for powers of two.
PHIID_FN Doubles log2(Doubles x) {
    const Logarithm log = reduced(x);
    return log.e + (log.f - (log.half - log.rest)) * 1.44269504088896340736;
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
