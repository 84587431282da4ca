// The two 16-bit floating-point types as storage: IEEE 754 binary16 (f16) and bfloat16 (bf16).
// Widening is exact. Narrowing rounds to nearest, ties to even, overflows to infinity and keeps NaN a quiet NaN, the same as F16C,
// AVX-512-BF16 and NEON do; it is plain integer arithmetic, so it is constexpr and no compiler flag changes a bit of it.
#pragma once
#include <bit>

#include "config.hpp"

namespace qnt {

struct f16 {
    std::uint16_t bits = 0;

    constexpr f16() = default;
    constexpr explicit f16(float value) : bits(narrow(value)) {}
    constexpr explicit operator float() const {
        const std::uint32_t sign = std::uint32_t(bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, mantissa = bits & 1023u;
        if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa ? 0x400000u | mantissa << 13 : 0u));
        if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
        const float magnitude = float(mantissa) * 0x1p-24f;  // subnormal: exact in f32
        return sign ? -magnitude : magnitude;
    }
    static constexpr f16 from_bits(std::uint16_t bits) {
        f16 h;
        h.bits = bits;
        return h;
    }
    friend constexpr bool operator==(f16, f16) = default;  // of the bits

private:
    static constexpr std::uint16_t narrow(float value) {
        const std::uint32_t u = std::bit_cast<std::uint32_t>(value), magnitude = u & 0x7fffffffu;
        const std::uint16_t sign = std::uint16_t(u >> 16 & 0x8000u);
        if (magnitude > 0x7f800000u) return std::uint16_t(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
        if (magnitude >= 0x477ff000u) return std::uint16_t(sign | 0x7c00u);  // from 65520 on, the midpoint above the largest f16
        const std::uint32_t exponent = magnitude >> 23;
        if (exponent >= 113) return std::uint16_t(sign | round_shift(magnitude - (112u << 23), 13));
        if (exponent < 102) return sign;  // below half of the smallest subnormal
        return std::uint16_t(sign | round_shift((magnitude & 0x7fffffu) | 0x800000u, 126 - exponent));
    }
    static constexpr std::uint32_t round_shift(std::uint32_t v, std::uint32_t shift) {  // v / 2^shift, nearest even
        const std::uint32_t half = 1u << (shift - 1), odd = v >> shift & 1u;
        return (v + (half - 1) + odd) >> shift;
    }
};

struct bf16 {
    std::uint16_t bits = 0;

    constexpr bf16() = default;
    constexpr explicit bf16(float value) : bits(narrow(value)) {}
    constexpr explicit operator float() const { return std::bit_cast<float>(std::uint32_t(bits) << 16); }
    static constexpr bf16 from_bits(std::uint16_t bits) {
        bf16 h;
        h.bits = bits;
        return h;
    }
    friend constexpr bool operator==(bf16, bf16) = default;  // of the bits

private:
    static constexpr std::uint16_t narrow(float value) {
        const std::uint32_t u = std::bit_cast<std::uint32_t>(value);
        if ((u & 0x7fffffffu) > 0x7f800000u) return std::uint16_t(u >> 16 | 0x40u);
        return std::uint16_t((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
    }
};

// The element types of activations, dense matrices and scales.
enum class scalar_type : std::uint8_t { none, f32, f16, bf16 };

template <class T> inline constexpr scalar_type scalar_type_of = scalar_type::none;
template <> inline constexpr scalar_type scalar_type_of<float> = scalar_type::f32;
template <> inline constexpr scalar_type scalar_type_of<f16> = scalar_type::f16;
template <> inline constexpr scalar_type scalar_type_of<bf16> = scalar_type::bf16;

constexpr std::size_t size_of(scalar_type t) { return t == scalar_type::none ? 0 : t == scalar_type::f32 ? 4 : 2; }
constexpr const char* name_of(scalar_type t) {
    return t == scalar_type::f32 ? "f32" : t == scalar_type::f16 ? "f16" : t == scalar_type::bf16 ? "bf16" : "none";
}

template <class T>
concept scalar = scalar_type_of<T> != scalar_type::none;

}  // namespace qnt
