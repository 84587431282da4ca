// How good an approximation is: errors of numbers, of logits, and perplexity. Sums in f64, ascending, so that the same input gives
// the same result for any number of threads; exp and log are the C library's.
#pragma once
#include <bit>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "../core/matrix_view.hpp"
#include "../report.hpp"

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
        detail::add_errors(rows[r], w.empty() ? reference.row(r) : w.data(), v.empty() ? approximation.row(r) : v.data(), reference.cols, largest);
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

namespace detail {
inline namespace QNT_BASELINE {

// max and log of sum exp(x - max): log softmax(x)_i = (x_i - max) - log_sum.
struct softmax_norm {
    double max, log_sum;
};
inline softmax_norm norm_of(std::span<const float> logits) {
    softmax_norm n{-std::numeric_limits<double>::infinity(), 0};
    for (const float x : logits)
        if (double(x) > n.max) n.max = double(x);
    double sum = 0;
    for (const float x : logits) sum += std::exp(double(x) - n.max);
    n.log_sum = std::log(sum);
    return n;
}
inline std::size_t argmax(std::span<const float> x) {  // the first of equals; x.size() if there is a NaN or nothing at all
    std::size_t best = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        if ((std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu) > 0x7f800000u) return x.size();
        if (x[i] > x[best]) best = i;
    }
    return best;
}
inline void check_logits(const char* function, std::size_t p, std::size_t q) {
    if (p != q)
        contract_violation(std::string(function) + ": logits of " + std::to_string(p) + " and " + std::to_string(q) + " tokens must be equally many");
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// Kullback-Leibler divergence, in nats, of softmax(logits_q) from the reference softmax(logits_p): sum p (log p - log q) >= 0.
// -inf is a token ruled out: where p has one it costs nothing, where only q has one the result is infinite. NaN gives NaN.
inline double kl_divergence(std::span<const float> logits_p, std::span<const float> logits_q) {
    detail::check_logits("qnt::kl_divergence", logits_p.size(), logits_q.size());
    const detail::softmax_norm p = detail::norm_of(logits_p), q = detail::norm_of(logits_q);
    double sum = 0;
    for (std::size_t i = 0; i < logits_p.size(); ++i) {
        const double log_p = double(logits_p[i]) - p.max - p.log_sum, log_q = double(logits_q[i]) - q.max - q.log_sum;
        const double weight = std::exp(log_p);
        if (weight != 0) sum += mul(weight, log_p - log_q);
    }
    return sum < 0 ? 0 : sum;  // rounding only
}

// Do both rank the same token first (of equals: the first)? A row with a NaN agrees with nothing.
inline bool top1_agrees(std::span<const float> logits_p, std::span<const float> logits_q) {
    detail::check_logits("qnt::top1_agrees", logits_p.size(), logits_q.size());
    const std::size_t p = detail::argmax(logits_p);
    return p < logits_p.size() && p == detail::argmax(logits_q);
}

// -log softmax(logits)[target], in nats.
inline double negative_log_likelihood(std::span<const float> logits, std::size_t target) {
    if (target >= logits.size())
        detail::contract_violation("qnt::negative_log_likelihood: token " + std::to_string(target) + " of " + std::to_string(logits.size()) +
                                   " logits");
    const detail::softmax_norm n = detail::norm_of(logits);
    return n.log_sum - (double(logits[target]) - n.max);
}

}  // namespace QNT_BASELINE

// Perplexity over tokens, exp(mean nll), with its standard error by the delta method, ppl * sqrt(sample variance of nll / n), as
// llama.cpp's perplexity tool states them. merge() joins the sums of disjoint sets of tokens: the order of merges, not of threads,
// decides about the last bits.
class perplexity_sum {
public:
    // Contract: target < logits.size().
    void add(std::span<const float> logits, std::size_t target) { add(negative_log_likelihood(logits, target)); }
    void add(double nll) {
        ++count_;
        sum_ += nll;
        sum_of_squares_ += mul(nll, nll);
    }
    void merge(const perplexity_sum& other) {
        count_ += other.count_;
        sum_ += other.sum_;
        sum_of_squares_ += other.sum_of_squares_;
    }
    std::size_t count() const { return count_; }               // tokens
    double mean_nll() const { return sum_ / double(count_); }  // nats per token; NaN for no tokens
    double ppl() const { return std::exp(mean_nll()); }
    double standard_error() const {  // of ppl(); NaN for less than two tokens
        const double variance = sum_of_squares_ / double(count_) - mul(mean_nll(), mean_nll());
        return count_ < 2 ? double(quiet_nan()) : ppl() * std::sqrt((variance < 0 ? 0 : variance) / double(count_ - 1));
    }

private:
    std::size_t count_ = 0;
    double sum_ = 0;
    double sum_of_squares_ = 0;
};

}  // namespace qnt
