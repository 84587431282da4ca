// The numbers of nn/ written a second time, plainly: in their normative order, for equality of bits.
#pragma once
#include <qnt/core/float_math.hpp>
#include <qnt/isa/isa.hpp>
#include <qnt/thread_pool.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "catch.hpp"

namespace nn_test {

// Runs f with each instruction set of this machine.
template <class F>
void on_every_isa(const F& f) {
    for (std::size_t i = 0; i < qnt::isa::count; ++i) {
        const auto id = qnt::isa::id(i);
        if (!qnt::isa::supported(id)) continue;
        REQUIRE(qnt::isa::force(id));
        REQUIRE(qnt::isa::active() == id);
        INFO(qnt::isa::name(id));
        f();
    }
    qnt::isa::reset();
}

// Runs f(executor) with pools of several sizes.
template <class F>
void with_threads(const F& f) {
    for (std::size_t threads : {1, 2, 3, 8}) {
        qnt::thread_pool pool(threads);
        INFO(threads << " threads");
        f(pool);
    }
}

inline std::vector<float> random_floats(std::size_t n, unsigned seed, float spread = 1.0f) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, spread);
    std::vector<float> v(n);
    for (float& x : v) x = normal(random);
    return v;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](float x, float y) { return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y); });
}

// The sum over i < n by 16 partial sums, add(partial, i), and their tree.
template <class Add>
float tree_sum(std::size_t n, const Add& add) {
    float t[16] = {};
    for (std::size_t i = 0; i < n; ++i) t[i % 16] = add(t[i % 16], i);
    for (int width : {8, 4, 2, 1})
        for (int i = 0; i < width; ++i) t[i] += t[i + width];
    return t[0];
}

inline float exp(float x) {
    x = std::clamp(x, -104.0f, 89.0f);
    const float n = std::nearbyint(std::fma(x, 0x1.715476p0f, 0.0f));
    const float r = std::fma(n, 0x1.05c61p-29f, std::fma(n, -0x1.62e43p-1f, x));
    float p = 0x1.6ff098p-10f;
    for (float c : {0x1.1257d2p-7f, 0x1.5552fep-5f, 0x1.555466p-3f, 0.5f}) p = std::fma(p, r, c);
    return std::ldexp(std::fma(p, qnt::mul(r, r), r) + 1.0f, int(n));
}

inline std::vector<float> softmax(const std::vector<float>& x) {
    const float top = *std::max_element(x.begin(), x.end());
    std::vector<float> y(x.size());
    std::transform(x.begin(), x.end(), y.begin(), [&](float v) { return nn_test::exp(v - top); });
    const float sum = tree_sum(y.size(), [&](float s, std::size_t i) { return s + y[i]; });
    for (float& v : y) v /= sum;
    return y;
}

}  // namespace nn_test
