// Layer normalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450, eq. 4), as in GPT-2.
//
//     y = (x - mean) / sqrt(variance + eps) * gamma + beta,    mean and variance (divided by D) of each row
//
// Normative, in f32: mean = sum(x) / D; d = x - mean; variance = sum(d^2) / D, as fma; factor = 1 / sqrt(variance + eps), both IEEE;
// y = fma(d * factor, gamma, beta). A row is summed in 16 partial sums, element i in sum i mod 16, ascending from +0; then those halves
// are added: 8 apart, 4, 2, 1. So a row's bits depend on nothing but the row. A row with a NaN or an infinity becomes NaN.
#pragma once
#include <span>
#include <string>

#include "rows.hpp"

namespace qnt {
inline namespace QNT_BASELINE {

// y[M, D], x[M, D], gamma[D], beta[D]; y may be x. Rows must be dense (col_stride 1).
inline void layer_norm(const matrix_view<float>& y, const matrix_view<const float>& x, std::span<const float> gamma, std::span<const float> beta,
                       float eps, executor_ref executor = {}) {
    if (y.rows != x.rows || y.cols != x.cols || gamma.size() != x.cols || beta.size() != x.cols)
        detail::contract_violation("qnt::layer_norm: y[" + std::to_string(y.rows) + ", " + std::to_string(y.cols) + "] must have the shape of x[" +
                                   std::to_string(x.rows) + ", " + std::to_string(x.cols) + "], gamma[" + std::to_string(gamma.size()) +
                                   "] and beta[" + std::to_string(beta.size()) + "] its columns");
    if (y.col_stride != 1 || x.col_stride != 1) detail::contract_violation("qnt::layer_norm: the rows of x and y must be dense (col_stride 1)");
    if (x.cols == 0) return;
    const auto normalize = kernels::layer_norm_row[std::size_t(isa::active())];
    detail::spread(executor, x.rows, 4 * x.cols, [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) normalize(y.row(r), x.row(r), gamma.data(), beta.data(), x.cols, eps);
    });
}

}  // namespace QNT_BASELINE
}  // namespace qnt
