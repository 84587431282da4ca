// int8_code: symmetric 8-bit integers.
//   value     q, an integer in [-127, 127]; scale = absmax / 127
//   byte      two's complement
//   rounding  to nearest, ties to even; -128 is never made, so that products of two codes fit the 16-bit steps of every ISA
//   error     at most scale / 2 = absmax / 254 per weight
//   source    Jacob et al. 2018 (arXiv:1712.05877), section 2.1, symmetric range
//   normative encode() and decode()
#pragma once
#include "code.hpp"

namespace qnt {

struct int8_code {
    static constexpr const char* name = "int8";
    static constexpr int bits = 8;
    static constexpr float absmax = 127;
    static constexpr rounding rule = rounding::nearest_integer;
    static constexpr std::uint8_t encode(float x) {
        const float q = round_even(x < -127.0f ? -127.0f : x > 127.0f ? 127.0f : x);
        return std::uint8_t(std::int8_t(int(q)));
    }
    static constexpr float decode(std::uint8_t q) { return float(std::int8_t(q)); }
    static constexpr float max_error = 0.5f;  // in units of the scale
};

}  // namespace qnt
