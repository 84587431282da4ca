// nested<dynamic_u8, 256>: double quantization. The f32 scales of a matrix, less their mean, are quantized to 8 bits themselves,
// in blocks of 256 consecutive scales (row-major [rows, groups]), each with an f32 absmax:
//     scale[i] = value(code[i]) * absmax2[i / 256] + offset
//   offset    mean of the scales: summed in f64 in ascending order, rounded once to f32
//   value     the signed dynamic map: 127 magnitudes of each sign, in 7 decades with 1, 2, 4, .. 64 steps, and 0 and 1
//   rounding  nearest value by comparison with the f32 midpoints, ties to the lower code
//   bits      8 + 32 / 256 per scale as stored; panels hold the expanded f32 scale
//   source    Dettmers et al. 2023 (arXiv:2305.14314), section 3; the map: Dettmers 2015 (arXiv:1511.04561) as in bitsandbytes
#pragma once
#include <array>

#include "../core/float_math.hpp"
#include "per_group.hpp"

namespace qnt {

struct dynamic_u8 {
    // Ascending; value(0) < 0, value(127) = 0, value(255) = 1.
    static constexpr std::array<float, 256> values = [] {
        // The bits of bitsandbytes: torch.linspace(0.1, 1, n + 1) from both ends in f32 with one rounding per edge (sums of these in
        // double are exact), midpoints of neighbours, times a power of ten in f32.
        constexpr float decade[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1e0f};
        std::array<float, 256> v{};
        std::size_t at = 0;
        for (int i = 0; i < 7; ++i) {
            const int n = 1 << i;
            const float first = 0.1f, last = 1.0f, step = (last - first) / float(n);
            const auto edge = [&](int j) {
                return float(j < (n + 1) / 2 ? double(first) + double(step) * double(j) : double(last) - double(step) * double(n - j));
            };
            for (int j = 0; j < n; ++j) {
                const float mean = (edge(j) + edge(j + 1)) / 2.0f;
                v[at++] = decade[i] * mean;
            }
        }
        // 127 ascending magnitudes; mirror them, then put 0 and 1 in place
        std::array<float, 256> out{};
        for (std::size_t j = 0; j < 127; ++j) {
            out[126 - j] = -v[j];
            out[128 + j] = v[j];
        }
        out[127] = 0.0f;
        out[255] = 1.0f;
        return out;
    }();
    static constexpr std::uint8_t encode(float x) {
        std::size_t low = 0, high = 255;  // binary search over the midpoints
        while (low < high) {
            const std::size_t middle = (low + high) / 2;
            if (x > (values[middle] + values[middle + 1]) / 2) low = middle + 1;
            else high = middle;
        }
        return std::uint8_t(low);
    }
};

inline constexpr std::size_t nested_block = 256;

template <class Inner, std::size_t Block> struct nested {};
template <> struct scale_traits<nested<dynamic_u8, nested_block>> {
    static constexpr scalar_type type = scalar_type::f32;
    static constexpr bool is_nested = true;
};

}  // namespace qnt
