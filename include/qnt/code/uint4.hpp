// uint4_code: asymmetric 4-bit integers with a zero point per group.
//   value     q - z; the range [lo, hi] of a group is widened to include 0, scale = (hi - lo) / 15, z = rne(-lo / scale)
//   nibble    q = clamp(rne(x / scale) + z, 0, 15); z is a nibble too
//   rounding  to nearest, ties to even; zero is always exact
//   error     at most one scale at the ends of the range (z is rounded), scale / 2 inside
//   source    Jacob et al. 2018 (arXiv:1712.05877), section 2.1
//   normative encode(), decode() and scaling/per_group.hpp's zero point rule
#pragma once
#include "code.hpp"

namespace qnt {

struct uint4_code {
    static constexpr const char* name = "uint4";
    static constexpr int bits = 4;
    static constexpr float absmax = 15;
    static constexpr rounding rule = rounding::nearest_integer;
    static constexpr int max_zero = 15;  // zero points run from 0 to here
    // The level without a zero point; encode_level() is the one with.
    static constexpr std::uint8_t encode(float x) { return encode_level(x, 0); }
    static constexpr std::uint8_t encode_level(float x, int zero) {
        const int q = int(round_even(x < -16.0f ? -16.0f : x > 16.0f ? 16.0f : x)) + zero;
        return std::uint8_t(q < 0 ? 0 : q > 15 ? 15 : q);
    }
    static constexpr float decode(std::uint8_t q) { return float(q); }
    static constexpr float max_error = 1.0f;
};

}  // namespace qnt
