// Softmax: y = e^(x - max x) / sum of e^(x - max x).
//
// Normative: e^ is kernels/math.inl's; its 16 partial sums and their tree are those of layer_norm.hpp; then one IEEE division per element.
// An element -infinity gets 0. If one is NaN or +infinity, or all are -infinity, all of y is NaN.
#pragma once
#include <span>
#include <string>

#include "rows.hpp"

namespace qnt {
inline namespace QNT_BASELINE {

// y[n] = softmax(x[n]); y may be x.
inline void softmax(std::span<float> y, std::span<const float> x) {
    if (y.size() != x.size())
        detail::contract_violation("qnt::softmax: y[" + std::to_string(y.size()) + "] must have the size of x[" + std::to_string(x.size()) + "]");
    if (x.empty()) return;
    const fp_env env;
    kernels::softmax_row[std::size_t(isa::active())](y.data(), x.data(), x.size());
}

}  // namespace QNT_BASELINE
}  // namespace qnt
