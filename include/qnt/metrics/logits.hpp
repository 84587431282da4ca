// How good logits are: against a reference's, and against the token that came. exp and log are the C library's, sums in f64, ascending.
//
//     logit_comparison c = compare_logits(reference, logits, next_token);   // KL, both likelihoods, agreement: one pass over both
//
// -inf is a token ruled out; NaN in, NaN out.
#pragma once
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <span>
#include <string>

#include "../core/error.hpp"
#include "moments.hpp"

namespace qnt {

// One row of logits q beside those of a reference p. Divergences and likelihoods in nats.
struct logit_comparison {
    double kl = 0;                // of softmax(q) from softmax(p): sum p (log p - log q) >= 0
    double nll_p = 0, nll_q = 0;  // -log of the probability of the token that came
    bool same_top = false;        // both rank the same token first
    std::size_t shared_top5 = 0;  // tokens that are among the first five of both

    // Of the token that came: q's minus p's.
    double probability_change() const { return std::exp(-nll_q) - std::exp(-nll_p); }
};

namespace detail {
inline namespace QNT_BASELINE {

inline bool is_nan_bits(float x) { return (std::bit_cast<std::uint32_t>(x) & 0x7fffffffu) > 0x7f800000u; }

// max and log of sum exp(x - max): log softmax(x)_i = (x_i - max) - log_sum.
struct softmax_norm {
    double max, log_sum;
    double nll(float logit) const { return log_sum - (double(logit) - max); }
};
inline double max_of(std::span<const float> logits) {
    double max = -std::numeric_limits<double>::infinity();
    for (const float x : logits)
        if (double(x) > max) max = double(x);
    return max;
}
inline softmax_norm norm_of(std::span<const float> logits) {
    softmax_norm n{max_of(logits), 0};
    double sum = 0;
    for (const float x : logits) sum += std::exp(double(x) - n.max);
    n.log_sum = std::log(sum);
    return n;
}

// With e_i = exp(p_i - max p): sum p (log p - log q) = sum e_i (p_i - q_i) / sum e_i - (norm of p - norm of q), one exponential a logit.
struct divergence {
    softmax_norm p, q;
    double kl;
};
inline divergence divergence_of(std::span<const float> logits_p, std::span<const float> logits_q) {
    divergence d{{max_of(logits_p), 0}, {max_of(logits_q), 0}, 0};
    double sum_p = 0, sum_q = 0, gap = 0;
    for (std::size_t i = 0; i < logits_p.size(); ++i) {
        const double e = std::exp(double(logits_p[i]) - d.p.max);
        sum_p += e;
        sum_q += std::exp(double(logits_q[i]) - d.q.max);
        if (e != 0) gap += mul(e, double(logits_p[i]) - double(logits_q[i]));
    }
    d.p.log_sum = std::log(sum_p);
    d.q.log_sum = std::log(sum_q);
    d.kl = gap / sum_p - ((d.p.max - d.q.max) + (d.p.log_sum - d.q.log_sum));
    if (d.kl < 0) d.kl = 0;  // rounding only
    return d;
}

// The ids of the K largest, descending, of equals the first; size 0 if there is a NaN, less than K if there are not more.
template <std::size_t K> struct top_ids {
    std::array<std::size_t, K> ids{};
    std::size_t size = 0;

    explicit top_ids(std::span<const float> x) {
        for (std::size_t i = 0; i < x.size(); ++i) {
            if (is_nan_bits(x[i])) {
                size = 0;
                return;
            }
            if (size == K && !(x[i] > x[ids[K - 1]])) continue;
            std::size_t at = size < K ? size++ : K - 1;
            for (; at > 0 && x[i] > x[ids[at - 1]]; --at) ids[at] = ids[at - 1];
            ids[at] = i;
        }
    }
    bool same_first(const top_ids& other) const { return size > 0 && other.size > 0 && ids[0] == other.ids[0]; }
    std::size_t shared(const top_ids& other) const {
        std::size_t n = 0;
        for (std::size_t i = 0; i < size; ++i)
            for (std::size_t k = 0; k < other.size; ++k) n += ids[i] == other.ids[k];
        return n;
    }
};

inline void check_logits(const char* function, std::size_t p, std::size_t q) {
    if (p != q)
        contract_violation(std::string(function) + ": logits of " + std::to_string(p) + " and " + std::to_string(q) + " tokens must be equally many");
}
[[noreturn]] inline void refuse_target(const char* function, std::size_t target, std::size_t logits) {
    contract_violation(std::string(function) + ": token " + std::to_string(target) + " of " + std::to_string(logits) + " logits");
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// Kullback-Leibler divergence, in nats, of softmax(logits_q) from the reference softmax(logits_p): sum p (log p - log q) >= 0
// (S. Kullback and R. Leibler 1951). A token that p rules out costs nothing, where only q does the result is infinite.
inline double kl_divergence(std::span<const float> logits_p, std::span<const float> logits_q) {
    detail::check_logits("qnt::kl_divergence", logits_p.size(), logits_q.size());
    return detail::divergence_of(logits_p, logits_q).kl;
}

// Do both rank the same token first (of equals: the first)? A row with a NaN agrees with nothing.
inline bool top1_agrees(std::span<const float> logits_p, std::span<const float> logits_q) {
    detail::check_logits("qnt::top1_agrees", logits_p.size(), logits_q.size());
    return detail::top_ids<1>(logits_p).same_first(detail::top_ids<1>(logits_q));
}

// -log softmax(logits)[target], in nats.
inline double negative_log_likelihood(std::span<const float> logits, std::size_t target) {
    if (target >= logits.size()) detail::refuse_target("qnt::negative_log_likelihood", target, logits.size());
    return detail::norm_of(logits).nll(logits[target]);
}

// All at once: the same bits as one by one.
inline logit_comparison compare_logits(std::span<const float> logits_p, std::span<const float> logits_q, std::size_t target) {
    detail::check_logits("qnt::compare_logits", logits_p.size(), logits_q.size());
    if (target >= logits_p.size()) detail::refuse_target("qnt::compare_logits", target, logits_p.size());
    const detail::divergence d = detail::divergence_of(logits_p, logits_q);
    const detail::top_ids<5> p(logits_p), q(logits_q);
    return {d.kl, d.p.nll(logits_p[target]), d.q.nll(logits_q[target]), p.same_first(q), p.shared(q)};
}

}  // namespace QNT_BASELINE

// Perplexity over tokens, exp(mean nll), with its standard error by the delta method, ppl * sqrt(sample variance of nll / n), as
// llama.cpp's perplexity tool states them. merge() joins the sums of disjoint sets of tokens: the order of merges, not of threads,
// decides about the last bits.
class perplexity_sum {
public:
    perplexity_sum() = default;
    explicit perplexity_sum(const moments& nll) : nll_(nll) {}

    // Contract: target < logits.size().
    void add(std::span<const float> logits, std::size_t target) { add(negative_log_likelihood(logits, target)); }
    void add(double nll) { nll_.add(nll); }
    void merge(const perplexity_sum& other) { nll_.merge(other.nll_); }
    std::size_t count() const { return nll_.count; }  // tokens
    double mean_nll() const { return nll_.mean(); }   // nats per token; NaN for no tokens
    double ppl() const { return std::exp(mean_nll()); }
    double standard_error() const { return ppl() * nll_.standard_error(); }  // of ppl(); NaN for less than two tokens

private:
    moments nll_;
};

}  // namespace qnt
