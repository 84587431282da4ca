// Uniform in [-1, 1), the same on every machine.
#pragma once
#include <cstdint>
#include <random>
#include <vector>

namespace bench {

inline std::vector<float> random_floats(std::size_t n, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<float> v(n);
    for (float& x : v) x = float(std::int32_t(random())) * 0x1p-31f;
    return v;
}

}  // namespace bench
