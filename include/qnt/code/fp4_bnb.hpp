// fp4_bnb_code: the 4-bit floating point numbers of bitsandbytes, which are not those of OCP (E2M1).
//   value     0, 1/192, 1/6, 1/4, 1/3, 1/2, 2/3 or 1, and their negatives, rounded to f32; scale = absmax
//   nibble    sign in bit 3; bits 2..0 are 0 1 6 7 4 5 2 3 for the magnitudes above, so that codes do not ascend with values;
//             0x0 and 0x8 are both +0
//   rounding  to the nearest value by comparison with the f32 midpoints, ties to the lower value; 0x8 is what positive numbers become
//             that round to zero, 0x0 is zero and negative ones
//   error     at most half of the widest gap, 1/6 of absmax (between 2/3 and 1)
//   source    bitsandbytes 0.50, functional.get_4bit_type("fp4") and its quantize_4bit
//   normative encode() and decode(); `int8_activations` multiplies by round(127 * value)
#pragma once
#include "code.hpp"

namespace qnt {

struct fp4_bnb_code {
    static constexpr const char* name = "fp4_bnb";
    static constexpr int bits = 4;
    static constexpr float absmax = 1;
    static constexpr float values[16] = {
        0.0f, 0.0625f / 12,  8.0f / 12,  1.0f,  4.0f / 12,  6.0f / 12,  2.0f / 12,  3.0f / 12,
        0.0f, -0.0625f / 12, -8.0f / 12, -1.0f, -4.0f / 12, -6.0f / 12, -2.0f / 12, -3.0f / 12,
    };
    static constexpr std::uint8_t ascending[16] = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3};  // codes by value
    static constexpr std::uint8_t encode(float x) {
        int rank = 0;
        for (int i = 0; i < 15; ++i) rank += x > (values[ascending[i]] + values[ascending[i + 1]]) / 2 ? 1 : 0;
        return ascending[rank];
    }
    static constexpr float decode(std::uint8_t q) { return values[q & 15]; }
    static constexpr float max_error = 0.16667f;
};

}  // namespace qnt
