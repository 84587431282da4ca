// How good an approximation is: errors of numbers here, of logits and perplexity in logits.hpp, of texts in text.hpp. Sums in f64, ascending,
// so that the same input gives the same result for any number of threads.
#pragma once
#include <bit>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "../core/matrix_view.hpp"
#include "../report.hpp"
#include "logits.hpp"
#include "text.hpp"

namespace qnt {

inline namespace QNT_BASELINE {

// All of error_stats at once, as compare() fills it for packed weights. reference[R, C], approximation[R, C], any strides.
// A NaN in either makes mse, sqnr_db, cosine and max_abs.error NaN. Contract: equal shapes.
inline error_stats error_of(const matrix_view<const float>& reference, const matrix_view<const float>& approximation) {
    if (reference.rows != approximation.rows || reference.cols != approximation.cols)
        detail::contract_violation("qnt::error_of: reference[" + std::to_string(reference.rows) + ", " + std::to_string(reference.cols) +
                                   "] must have the shape of the approximation [" + std::to_string(approximation.rows) + ", " +
                                   std::to_string(approximation.cols) + "]");
    std::vector<detail::row_errors> rows(reference.rows);
    std::vector<float> w(reference.col_stride == 1 ? 0 : reference.cols), v(approximation.col_stride == 1 ? 0 : reference.cols);
    float largest = 0;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        for (std::size_t c = 0; c < w.size(); ++c) w[c] = reference(r, c);
        for (std::size_t c = 0; c < v.size(); ++c) v[c] = approximation(r, c);
        detail::set_errors(rows[r], w.empty() ? reference.row(r) : w.data(), v.empty() ? approximation.row(r) : v.data(), reference.cols, largest);
    }
    error_stats s;
    detail::summarize(s, reference.cols, rows);
    const bool is_nan = (std::bit_cast<std::uint64_t>(s.mse) & ~(std::uint64_t{1} << 63)) > 0x7ff0000000000000u;
    if (is_nan) s.max_abs.error = quiet_nan();  // a comparison with NaN finds no maximum
    return s;
}
inline error_stats error_of(std::span<const float> reference, std::span<const float> approximation) {
    return error_of(matrix_view<const float>{reference.data(), 1, reference.size()},
                    matrix_view<const float>{approximation.data(), 1, approximation.size()});
}

// Mean of (reference - approximation)^2; 0 for no elements.
inline double mse(const matrix_view<const float>& reference, const matrix_view<const float>& approximation) {
    return error_of(reference, approximation).mse;
}
inline double mse(std::span<const float> reference, std::span<const float> approximation) { return error_of(reference, approximation).mse; }

// 10 log10(|reference|^2 / |reference - approximation|^2): infinite if they are equal.
inline double sqnr_db(const matrix_view<const float>& reference, const matrix_view<const float>& approximation) {
    return error_of(reference, approximation).sqnr_db;
}
inline double sqnr_db(std::span<const float> reference, std::span<const float> approximation) { return error_of(reference, approximation).sqnr_db; }

// reference . approximation / (|reference| |approximation|); 1 if both are all zeros, 0 if one is.
inline double cosine(const matrix_view<const float>& reference, const matrix_view<const float>& approximation) {
    return error_of(reference, approximation).cosine;
}
inline double cosine(std::span<const float> reference, std::span<const float> approximation) { return error_of(reference, approximation).cosine; }

// Largest |reference - approximation|, the difference in f32.
inline double max_abs_error(const matrix_view<const float>& reference, const matrix_view<const float>& approximation) {
    return double(error_of(reference, approximation).max_abs.error);
}
inline double max_abs_error(std::span<const float> reference, std::span<const float> approximation) {
    return double(error_of(reference, approximation).max_abs.error);
}

// |reference - approximation| / |reference|, Frobenius norms; 0 if they are equal.
inline double relative_frobenius(const matrix_view<const float>& reference, const matrix_view<const float>& approximation) {
    return error_of(reference, approximation).relative_frobenius;
}
inline double relative_frobenius(std::span<const float> reference, std::span<const float> approximation) {
    return error_of(reference, approximation).relative_frobenius;
}

}  // namespace QNT_BASELINE

}  // namespace qnt
