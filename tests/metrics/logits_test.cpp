#include <qnt/metrics/logits.hpp>

#include <numeric>

#include "catch.hpp"
#include "metrics/reference.hpp"

using namespace qnt;
using namespace reference;

TEST_CASE("the KL divergence of logits") {
    for (const float scale : {0.01f, 1.0f, 10.0f, 1000.0f}) {
        const auto p = random_values(8192, 3, scale), noise = random_values(8192, 4, scale * 0.1f);
        auto q = p;
        for (std::size_t i = 0; i < q.size(); ++i) q[i] += noise[i];
        const auto lp = log_softmax(p), lq = log_softmax(q);
        long double expected = 0;
        for (std::size_t i = 0; i < p.size(); ++i) expected += std::exp(lp[i]) * (lp[i] - lq[i]);
        CHECK(kl_divergence(p, q) == Approx(double(expected)).epsilon(1e-9).margin(1e-14));
        CHECK(kl_divergence(p, p) == 0);
        auto shifted = p;
        for (float& x : shifted) x = x * 1 + 64;  // softmax does not see a constant (here up to the rounding of the sum)
        CHECK(kl_divergence(p, shifted) < 1e-9);
    }
    const std::vector<float> a{0, 0}, b{0, std::log(3.0f)};
    CHECK(kl_divergence(a, b) == Approx(0.5 * std::log(4.0 / 3.0)).epsilon(1e-7));  // p = (1/2, 1/2), q = (1/4, 3/4)
    const std::vector<float> ruled_out{0, -infinity}, far{3e38f, -3e38f}, nan{0, quiet_nan()};
    CHECK(kl_divergence(ruled_out, a) == Approx(std::log(2.0)));
    CHECK(kl_divergence(a, ruled_out) == double(infinity));
    CHECK(kl_divergence(ruled_out, ruled_out) == 0);
    CHECK(kl_divergence(far, far) == 0);
    CHECK(std::isnan(kl_divergence(nan, a)));
    CHECK(std::isnan(kl_divergence(a, nan)));
    CHECK_THROWS_AS(kl_divergence(a, std::vector<float>{0}), contract_error);
}

TEST_CASE("top-1 agreement") {
    const std::vector<float> a{1, 3, 2}, b{0, 9, 8}, c{5, 4, 5}, d{5, 0, 0}, nan{1, 3, quiet_nan()}, none;
    CHECK(top1_agrees(a, b));
    CHECK_FALSE(top1_agrees(a, c));
    CHECK(top1_agrees(c, d));  // the first of equals
    CHECK_FALSE(top1_agrees(a, nan));
    CHECK_FALSE(top1_agrees(nan, nan));
    CHECK_FALSE(top1_agrees(none, none));
}

TEST_CASE("perplexity and its standard error") {
    const std::size_t tokens = 500, vocabulary = 97;
    perplexity_sum all, parts[2];
    std::vector<long double> nll;
    for (std::size_t t = 0; t < tokens; ++t) {
        const auto logits = random_values(vocabulary, unsigned(100 + t), 3);
        const std::size_t target = t * 31 % vocabulary;
        all.add(logits, target);
        parts[t >= 200].add(logits, target);
        nll.push_back(-log_softmax(logits)[target]);
    }
    long double mean = 0, variance = 0;
    for (const auto x : nll) mean += x / tokens;
    for (const auto x : nll) variance += (x - mean) * (x - mean) / (tokens - 1);
    CHECK(all.count() == tokens);
    CHECK(all.mean_nll() == Approx(double(mean)).epsilon(1e-12));
    CHECK(all.ppl() == Approx(double(std::exp(mean))).epsilon(1e-12));
    CHECK(all.standard_error() == Approx(double(std::exp(mean) * std::sqrt(variance / tokens))).epsilon(1e-10));
    parts[0].merge(parts[1]);
    CHECK(parts[0].count() == tokens);
    CHECK(parts[0].ppl() == Approx(all.ppl()).epsilon(1e-12));
    CHECK(parts[0].standard_error() == Approx(all.standard_error()).epsilon(1e-10));

    perplexity_sum same;
    CHECK(std::isnan(same.ppl()));
    same.add(std::log(8.0));
    CHECK(same.ppl() == Approx(8));
    CHECK(std::isnan(same.standard_error()));
    same.add(std::log(8.0));
    CHECK(same.standard_error() == Approx(0).margin(1e-6));
    const std::vector<float> uniform(16, -2.5f), ruled_out{0, -infinity};
    CHECK(negative_log_likelihood(uniform, 3) == Approx(std::log(16.0)));
    CHECK(negative_log_likelihood(ruled_out, 1) == double(infinity));
    CHECK_THROWS_AS(same.add(uniform, 16), contract_error);
}

TEST_CASE("compare_logits is its parts") {
    for (unsigned seed = 0; seed < 50; ++seed) {
        const std::size_t vocabulary = 3 + seed * 40, target = seed;
        const auto p = random_values(std::max<std::size_t>(vocabulary, target + 1), seed, 2), noise = random_values(p.size(), seed + 1000, 0.5f);
        auto q = p;
        for (std::size_t i = 0; i < q.size(); ++i) q[i] += noise[i];
        const logit_comparison c = compare_logits(p, q, target);
        CHECK(c.kl == kl_divergence(p, q));
        CHECK(c.nll_p == negative_log_likelihood(p, target));
        CHECK(c.nll_q == negative_log_likelihood(q, target));
        CHECK(c.same_top == top1_agrees(p, q));
        CHECK(c.probability_change() == Approx(double(std::exp(log_softmax(q)[target]) - std::exp(log_softmax(p)[target]))).margin(1e-12));
        const auto first_five = [](const std::vector<float>& x) {
            std::vector<std::size_t> ids(x.size());
            std::iota(ids.begin(), ids.end(), std::size_t{0});
            std::stable_sort(ids.begin(), ids.end(), [&](std::size_t a, std::size_t b) { return x[a] > x[b]; });
            ids.resize(std::min<std::size_t>(5, ids.size()));
            std::sort(ids.begin(), ids.end());
            return ids;
        };
        const auto a = first_five(p), b = first_five(q);
        std::vector<std::size_t> shared;
        std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(shared));
        CHECK(c.shared_top5 == shared.size());
    }
    const std::vector<float> ties{1, 1, 1, 1, 1, 1, 1}, last{0, 0, 9, 8, 7, 6, 5}, nan{1, 2, 3, 4, 5, 6, quiet_nan()};
    CHECK(compare_logits(ties, last, 0).shared_top5 == 3);  // of equals the first five: 0 to 4
    CHECK(compare_logits(nan, last, 0).shared_top5 == 0);
    CHECK_FALSE(compare_logits(nan, nan, 0).same_top);
    CHECK_THROWS_AS(compare_logits(ties, nan, 7), contract_error);
    CHECK_THROWS_AS(compare_logits(ties, std::vector<float>{0}, 0), contract_error);
}
