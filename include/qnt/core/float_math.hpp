// Float arithmetic that means the same under every compiler flag.
#pragma once
#include <bit>
#include <type_traits>

#include "config.hpp"

namespace qnt {

// NaN and infinity by their bits: these hold under -ffinite-math-only too.
constexpr bool is_finite(float x) { return (std::bit_cast<std::uint32_t>(x) & 0x7f800000u) != 0x7f800000u; }
constexpr float magnitude(float x) { return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) & 0x7fffffffu); }
constexpr float quiet_nan() { return std::bit_cast<float>(0x7fc00000u); }

inline namespace QNT_BASELINE {

// An empty instruction that owns the value for a moment, so that no compiler fuses a product into the addition after it
// (g++ does by default inside an FMA region, clang under -ffp-contract=fast).
template <class T> QNT_INLINE void keep_rounded(T& value) {
#if defined(__x86_64__)
    asm("" : "+x"(value));
#elif defined(__aarch64__)
    asm("" : "+w"(value));
#else
    volatile T v = value;
    value = v;
#endif
}

// a * b, rounded.
template <class T> QNT_INLINE constexpr T mul(T a, T b) {
    T product = a * b;
    if (!std::is_constant_evaluated()) keep_rounded(product);
    return product;
}

// a * b + c with one rounding. Without FMA hardware: the product is exact in double, the sum is rounded to odd there, and a number
// rounded to odd with at least two bits to spare rounds to float as the exact one would (Boldo and Melquiond, 2008).
QNT_INLINE float fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    const double product = double(a) * double(b), addend = double(c);
    double sum = product + addend;
    const double back = sum - product, rest = (product - (sum - back)) + (addend - back);  // Knuth's TwoSum: the rounding error
    const std::uint64_t bits = std::bit_cast<std::uint64_t>(sum);
    if (rest != 0 && (bits & 1) == 0 && (bits & 0x7ff0000000000000u) != 0x7ff0000000000000u)
        sum = std::bit_cast<double>((rest > 0) == (sum > 0) ? bits + 1 : bits - 1);
    return float(sum);
#endif
}

// Nearest integer, ties to even, for |x| <= 2^22: adding 1.5 * 2^23 leaves no bit for a fraction.
QNT_INLINE constexpr float round_even(float x) { return (x + 12582912.0f) - 12582912.0f; }

// The 16 partial sums of a row reduction (element i goes to sum i mod 16) as one number: halves added from 8 apart down to 1. Overwrites t.
template <class T> QNT_INLINE T tree_sum(T (&t)[16]) {
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) t[i] += t[i + width];
    return t[0];
}

}  // namespace QNT_BASELINE
}  // namespace qnt
