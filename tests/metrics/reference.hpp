// What the tests of metrics share: numbers to measure, and log softmax a second time, in extended precision.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <vector>

namespace reference {

inline constexpr float infinity = std::numeric_limits<float>::infinity();

inline std::vector<float> random_values(std::size_t n, unsigned seed, float scale = 1) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> v(n);
    for (float& x : v) x = normal(random);
    return v;
}

inline std::vector<long double> log_softmax(std::span<const float> x) {
    long double max = x[0], sum = 0;
    for (const float v : x) max = std::max(max, static_cast<long double>(v));
    for (const float v : x) sum += std::exp(static_cast<long double>(v) - max);
    std::vector<long double> out;
    for (const float v : x) out.push_back(static_cast<long double>(v) - max - std::log(sum));
    return out;
}

}  // namespace reference
