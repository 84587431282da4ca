// GELU in its tanh form (Hendrycks and Gimpel 2016, arXiv:1606.08415), the activation of GPT-2; the same bits as the epilogue gelu_tanh.
//
//     y = x / 2 * (1 + tanh(u)) = x / (1 + e^(-2 u)),    u = sqrt(2 / pi) * (x + 0.044715 x^3)
//
// Error, measured over all floats: at most 1.94 ulp for x > 0, 4.9e-8 for x < 0. -infinity and NaN become NaN.
#pragma once
#include <span>
#include <string>

#include "rows.hpp"

namespace qnt {
inline namespace QNT_BASELINE {

// y[n] = gelu(x[n]); y may be x.
inline void gelu(std::span<float> y, std::span<const float> x, executor_ref executor = {}) {
    if (y.size() != x.size())
        detail::contract_violation("qnt::gelu: y[" + std::to_string(y.size()) + "] must have the size of x[" + std::to_string(x.size()) + "]");
    const auto apply = kernels::gelu_tanh_row[std::size_t(isa::active())];
    constexpr std::size_t block = 1024;
    detail::spread(executor, ceil_div(x.size(), block), 8 * block, [&](std::size_t begin, std::size_t end) {
        const std::size_t from = begin * block, to = end * block < x.size() ? end * block : x.size();
        apply(y.data() + from, x.data() + from, to - from);
    });
}

}  // namespace QNT_BASELINE
}  // namespace qnt
