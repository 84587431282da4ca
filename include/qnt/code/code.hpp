// What a code is: the concept every number format's element type satisfies, and the facts derived from it.
//
//     struct ternary_code {
//         static constexpr const char* name = "ternary";
//         static constexpr int bits = 2;                       // 1..8
//         static constexpr float absmax = 1;                   // the group's largest magnitude is scaled to this
//         static constexpr std::uint8_t encode(float x);       // x is weight / scale, finite, any magnitude: saturates
//         static constexpr float decode(std::uint8_t q);       // value before scaling, exact in f32
//     };
//
// A code with a zero point also states `static constexpr int max_zero` and encodes to an integer level (see code/uint4.hpp). One that
// encodes by a rule of `rounding` may say so (`static constexpr rounding rule = ...`): quantize() is then many times as fast.
// Everything else follows: how codes lie in panels, and the signed 8-bit operand that the integer dot product multiplies.
#pragma once
#include <array>
#include <concepts>
#include <limits>

#include "../core/float_math.hpp"
#include "../core/half.hpp"

namespace qnt {

template <class C>
concept quantized_code = requires(float x, std::uint8_t q) {
    { C::bits } -> std::convertible_to<int>;
    { C::absmax } -> std::convertible_to<float>;
    { C::name } -> std::convertible_to<const char*>;
    { C::encode(x) } -> std::same_as<std::uint8_t>;
    { C::decode(q) } -> std::same_as<float>;
} && C::bits >= 1 && C::bits <= 8;

// Numbers stored as they are: code/dense.hpp.
template <class C>
concept dense = requires { typename C::storage; };

template <class C>
concept code = quantized_code<C> || dense<C>;

// How encode() chooses: a rule that kernels know, or one of its own.
enum class rounding : std::uint8_t {
    own,
    nearest_integer,  // values are consecutive integers: to nearest, ties to even; beyond the ends the end
    nearest_value,    // at most 16 ascending values: by comparison with the f32 midpoints, ties to the lower one
};
template <quantized_code C>
inline constexpr rounding rounding_of = [] {
    if constexpr (requires { C::rule; }) return C::rule;
    else return rounding::own;
}();

// How a code lies in a panel line (packed/layout.hpp).
enum class panel_kind : std::uint8_t {
    nibble,  // 1..4 bits: the code in 4 bits, 8 k of 16 rows in 64 bytes
    byte,    // 5..8 bits: one byte, 4 k of 16 rows in 64 bytes
    half,    // f16 and bf16: 4 k of 16 rows in 128 bytes
    word,    // f32: 4 k of 16 rows in 256 bytes
};

namespace detail {
template <quantized_code C> inline constexpr std::size_t levels = std::size_t{1} << C::bits;

// Codes that no encoder makes (int8's -128) do not count.
template <quantized_code C> constexpr bool is_made(std::size_t q) { return C::encode(C::decode(std::uint8_t(q))) == q; }

template <quantized_code C> constexpr bool operands_are_exact(float unit) {
    for (std::size_t q = 0; q < levels<C>; ++q) {
        const float v = C::decode(std::uint8_t(q)) / unit;
        if (is_made<C>(q) && (v < -127.0f || v > 127.0f || round_even(v) != v)) return false;
    }
    return true;
}
// The unit u of the integer operands: decode(q) is operand(q) * u, exactly where some power of two allows it, else rounded with
// u = absmax / 127 (NF4: off by at most 0.37 % of absmax).
template <quantized_code C> consteval float find_operand_unit() {
    for (float unit = 1; unit > 0.01f; unit /= 2)
        if (operands_are_exact<C>(unit)) return unit;
    return C::absmax / 127.0f;
}
}  // namespace detail

template <quantized_code C> inline constexpr float operand_unit = detail::find_operand_unit<C>();

// Are the operands the values themselves, or rounded ones? Kernel ids say `i8table` for the latter.
template <quantized_code C> inline constexpr bool has_exact_operands = detail::operands_are_exact<C>(operand_unit<C>);

// operand(q): what the integer dot product multiplies, in [-127, 127]: what no encoder makes is clamped.
template <quantized_code C>
inline constexpr auto operand_table = [] {
    std::array<std::int8_t, detail::levels<C>> t{};
    for (std::size_t q = 0; q < t.size(); ++q) {
        const float v = round_even(C::decode(std::uint8_t(q)) / operand_unit<C>);
        t[q] = std::int8_t(v < -127 ? -127 : v > 127 ? 127 : v);
    }
    return t;
}();

// An affine code's operand is the code minus an integer, its offset: no table needed.
template <quantized_code C>
inline constexpr bool is_affine = [] {
    if (round_even(C::decode(0)) != C::decode(0)) return false;
    for (std::size_t q = 0; q < detail::levels<C>; ++q)
        if (C::decode(std::uint8_t(q)) != float(int(q)) + C::decode(0)) return false;
    return true;
}();
template <quantized_code C> inline constexpr int affine_offset = is_affine<C> ? int(-C::decode(0)) : 0;

template <code C>
inline constexpr panel_kind panel_kind_of = [] {
    if constexpr (dense<C>) return sizeof(typename C::storage) == 4 ? panel_kind::word : panel_kind::half;
    else return C::bits <= 4 ? panel_kind::nibble : panel_kind::byte;
}();

// What padding holds.
template <quantized_code C> inline constexpr std::uint8_t zero_code = C::encode(0.0f);

// How kernels read the codes of a panel. They are written for these families, so a code of your own needs no kernel.
enum class operand_family : std::uint8_t {
    nibble_affine,  // the nibble is the operand, plus affine_offset
    nibble_table,   // the operand is looked up in a table of 16
    byte_value,     // the panel byte is the operand itself, two's complement (packed/layout.hpp converts)
    byte_table,     // the operand is looked up in a table of 256
    dense_f32,      // the numbers themselves
    dense_f16,
    dense_bf16,
};
constexpr bool is_nibble(operand_family f) { return f == operand_family::nibble_affine || f == operand_family::nibble_table; }
constexpr bool is_dense(operand_family f) { return f >= operand_family::dense_f32; }

template <code C>
inline constexpr operand_family operand_family_of = [] {
    if constexpr (dense<C>) {
        constexpr scalar_type t = scalar_type_of<typename C::storage>;
        return t == scalar_type::f32 ? operand_family::dense_f32 : t == scalar_type::f16 ? operand_family::dense_f16 : operand_family::dense_bf16;
    } else if constexpr (C::bits <= 4) return is_affine<C> ? operand_family::nibble_affine : operand_family::nibble_table;
    else return has_exact_operands<C> ? operand_family::byte_value : operand_family::byte_table;
}();

// What kernels and readers know of a code at run time, indexed by code (tables of fewer levels repeat nothing: the rest is 0).
struct code_tables {
    alignas(64) float values[256] = {};          // decode(q)
    alignas(64) std::int8_t operands[256] = {};  // operand(q)
    float unit = 1;                              // operand_unit
    int offset = 0;                              // affine_offset
    std::uint8_t zero = 0;                       // zero_code
};

template <code C>
inline constexpr code_tables tables_of = [] {
    code_tables t;
    if constexpr (quantized_code<C>) {
        for (std::size_t q = 0; q < detail::levels<C>; ++q) {
            t.values[q] = C::decode(std::uint8_t(q));
            t.operands[q] = operand_table<C>[q];
        }
        t.unit = operand_unit<C>;
        t.offset = affine_offset<C>;
        t.zero = zero_code<C>;
    }
    return t;
}();

// What lies halfway between neighbouring values of at most 16, as a search tree: the children of node i, from 1 on, are 2 i and 2 i + 1 (taken by
// what is greater), and 16 + code is a leaf. Beyond the last value: infinity, which nothing is greater than.
template <quantized_code C>
inline constexpr auto middles_of = [] {
    std::array<float, 16> tree{};
    for (std::size_t node = 1; node < 16; ++node) {
        std::size_t q = 2 * node;  // to the last leaf of its left half
        while (q < 16) q = 2 * q + 1;
        q -= 16;
        tree[node] =
            q + 1 < detail::levels<C> ? (C::decode(std::uint8_t(q)) + C::decode(std::uint8_t(q + 1))) / 2 : std::numeric_limits<float>::infinity();
    }
    return tree;
}();

}  // namespace qnt
