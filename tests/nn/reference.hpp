// The numbers of nn/ written a second time, plainly and in their normative order, and what the tests of nn/ share.
#pragma once
#include <qnt/core/float_math.hpp>
#include <qnt/thread_pool.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "support.hpp"

namespace reference {

// f(executor) with several numbers of threads.
template <class F> void with_threads(const F& f) {
    for (std::size_t threads : {1u, 2u, 3u, 8u}) {
        qnt::thread_pool pool(threads);
        INFO(threads << " threads");
        f(pool);
    }
}

// The sum over i < n of terms that add(partial, i) adds, by 16 partial sums and their tree.
template <class Add> float tree_sum(std::size_t n, const Add& add) {
    float t[16] = {};
    for (std::size_t i = 0; i < n; ++i) t[i % 16] = add(t[i % 16], i);
    for (int width : {8, 4, 2, 1})
        for (int i = 0; i < width; ++i) t[i] += t[i + width];
    return t[0];
}

inline float exp(float x) {
    x = std::clamp(x, -104.0f, 89.0f);
    const double n = std::nearbyint(double(x) * double(0x1.715476p0f));
    const float r = std::fma(float(n), 0x1.05c61p-29f, std::fma(float(n), -0x1.62e43p-1f, x));
    float p = 0x1.6ff098p-10f;
    for (float c : {0x1.1257d2p-7f, 0x1.5552fep-5f, 0x1.555466p-3f, 0.5f}) p = std::fma(p, r, c);
    return std::ldexp(std::fma(p, qnt::mul(r, r), r) + 1.0f, int(n));
}

inline float gelu(float x) {
    const float inner = std::fma(qnt::mul(qnt::mul(x, x), x), 0.044715f, x);
    return x / (1.0f + exp(qnt::mul(inner, -1.5957691216f)));
}

// x becomes e^(x - max x); returns the sum.
inline float exp_below_max(std::span<float> x) {
    const float top = *std::max_element(x.begin(), x.end());
    for (float& v : x) v = reference::exp(v - top);
    return tree_sum(x.size(), [&](float sum, std::size_t i) { return sum + x[i]; });
}

// In units of the last place of the float nearest to `expected`.
inline double ulps(float value, double expected) {
    int exponent = 0;
    std::frexp(expected, &exponent);
    return std::abs(double(value) - expected) / std::ldexp(1.0, std::max(exponent - 24, -149));
}

}  // namespace reference
