// nf4_code: 4-bit NormalFloat.
//   value     one of 16 quantiles of the normal distribution, scaled to [-1, 1]; scale = absmax
//   nibble    index into the ascending table; 0x7 is zero
//   rounding  to the nearest value by comparison with the f32 midpoints, ties to the lower code
//   error     at most half of the widest gap, 0.152 * absmax (between 0x0 and 0x1)
//   source    Dettmers et al. 2023 (arXiv:2305.14314), appendix E; the table is the one of bitsandbytes
//   normative encode() and decode(); `int8_activations` multiplies by round(127 * value)
#pragma once
#include "code.hpp"

namespace qnt {

struct nf4_code {
    static constexpr const char* name = "nf4";
    static constexpr int bits = 4;
    static constexpr float absmax = 1;
    static constexpr rounding rule = rounding::nearest_value;
    static constexpr float values[16] = {-1.0f,
                                         -0.6961928009986877f,
                                         -0.5250730514526367f,
                                         -0.39491748809814453f,
                                         -0.28444138169288635f,
                                         -0.18477343022823334f,
                                         -0.09105003625154495f,
                                         0.0f,
                                         0.07958029955625534f,
                                         0.16093020141124725f,
                                         0.24611230194568634f,
                                         0.33791524171829224f,
                                         0.44070982933044434f,
                                         0.5626170039176941f,
                                         0.7229568362236023f,
                                         1.0f};
    static constexpr std::uint8_t encode(float x) {
        int q = 0;
        for (int i = 0; i < 15; ++i) q += x > (values[i] + values[i + 1]) / 2 ? 1 : 0;
        return std::uint8_t(q);
    }
    static constexpr float decode(std::uint8_t q) { return values[q & 15]; }
    static constexpr float max_error = 0.1520f;
};

}  // namespace qnt
