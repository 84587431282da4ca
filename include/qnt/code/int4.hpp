// int4_code: symmetric 4-bit integers.
//   value     q - 8, an integer in [-7, 7]; scale = absmax / 7
//   nibble    offset binary: 0x8 is zero, 0x1 is -7, 0xF is 7; 0x0 (-8) is never made but decodes
//   rounding  to nearest, ties to even
//   error     at most scale / 2 = absmax / 14 per weight
//   source    group-wise round to nearest: Frantar et al. 2022 (arXiv:2210.17323), section 3
//   normative encode() and decode()
#pragma once
#include "code.hpp"

namespace qnt {

struct int4_code {
    static constexpr const char* name = "int4";
    static constexpr int bits = 4;
    static constexpr float absmax = 7;
    static constexpr rounding rule = rounding::nearest_integer;
    static constexpr std::uint8_t encode(float x) { return std::uint8_t(int(round_even(x < -7.0f ? -7.0f : x > 7.0f ? 7.0f : x)) + 8); }
    static constexpr float decode(std::uint8_t q) { return float(int(q) - 8); }
    static constexpr float max_error = 0.5f;
};

}  // namespace qnt
