#include <qnt/metrics/metrics.hpp>

#include <Eigen/Dense>
#include <random>

#include "catch.hpp"

using namespace qnt;

static constexpr float infinity = std::numeric_limits<float>::infinity();

static std::vector<float> random_values(std::size_t n, unsigned seed, float scale = 1) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> v(n);
    for (float& x : v) x = normal(random);
    return v;
}

TEST_CASE("errors of matrices are those of Eigen in double") {
    using matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    for (const auto& [rows, cols] : {std::pair<std::size_t, std::size_t>{1, 1}, {3, 7}, {16, 64}, {100, 33}}) {
        const auto a = random_values(rows * cols, 1);
        auto b = random_values(rows * cols, 2, 0.01f);
        for (std::size_t i = 0; i < a.size(); ++i) b[i] += a[i];
        matrix ea(rows, cols), eb(rows, cols);
        for (Eigen::Index i = 0; i < ea.size(); ++i) {
            ea.data()[i] = double(a[std::size_t(i)]);
            eb.data()[i] = double(b[std::size_t(i)]);
        }
        const matrix_view<const float> va{a.data(), rows, cols}, vb{b.data(), rows, cols};
        const double noise = (ea - eb).squaredNorm();
        CHECK(mse(va, vb) == Approx(noise / double(ea.size())).epsilon(1e-12));
        CHECK(sqnr_db(va, vb) == Approx(10 * std::log10(ea.squaredNorm() / noise)).epsilon(1e-12));
        CHECK(cosine(va, vb) == Approx((ea.array() * eb.array()).sum() / (ea.norm() * eb.norm())).epsilon(1e-12));
        CHECK(relative_frobenius(va, vb) == Approx((ea - eb).norm() / ea.norm()).epsilon(1e-12));
        CHECK(max_abs_error(va, vb) == Approx((ea - eb).cwiseAbs().maxCoeff()).epsilon(1e-6));

        CHECK(mse(va.transposed(), vb.transposed()) == Approx(mse(va, vb)).epsilon(1e-12));  // strides
        CHECK(max_abs_error(va.transposed(), vb.transposed()) == max_abs_error(va, vb));
        const std::span<const float> sa(a), sb(b);
        CHECK(mse(sa, sb) == Approx(mse(va, vb)).epsilon(1e-12));
        CHECK(sqnr_db(sa, sb) == Approx(sqnr_db(va, vb)).epsilon(1e-12));
        CHECK(cosine(sa, sb) == Approx(cosine(va, vb)).epsilon(1e-12));
        CHECK(relative_frobenius(sa, sb) == Approx(relative_frobenius(va, vb)).epsilon(1e-12));
        CHECK(max_abs_error(sa, sb) == max_abs_error(va, vb));
    }
}

TEST_CASE("errors of zeros, equals, nothing and NaN") {
    const std::vector<float> zeros(4), ones(4, 1.0f), none;
    std::vector<float> nan = ones;
    nan[2] = quiet_nan();
    const std::span<const float> z(zeros), o(ones), n(nan);
    CHECK(mse(o, o) == 0);
    CHECK(sqnr_db(o, o) == double(infinity));
    CHECK(sqnr_db(z, o) == -double(infinity));
    CHECK(cosine(z, z) == 1);
    CHECK(cosine(z, o) == 0);
    CHECK(relative_frobenius(z, z) == 0);
    CHECK(mse(std::span<const float>(none), none) == 0);
    CHECK(max_abs_error(std::span<const float>(none), none) == 0);
    for (const auto& [a, b] : {std::pair(o, n), std::pair(n, o), std::pair(n, n)}) {
        CHECK(std::isnan(mse(a, b)));
        CHECK(std::isnan(sqnr_db(a, b)));
        CHECK(std::isnan(cosine(a, b)));
        CHECK(std::isnan(max_abs_error(a, b)));
    }
    const std::vector<float> huge(4, 3e38f), minus(4, -3e38f);
    CHECK(mse(std::span<const float>(huge), minus) == Approx(3.6e77));
    CHECK_THROWS_AS(mse(o, std::span<const float>(none)), contract_error);
    CHECK_THROWS_AS(mse(matrix_view<const float>(ones.data(), 2, 2), matrix_view<const float>(ones.data(), 4, 1)), contract_error);
}

static std::vector<long double> log_softmax(std::span<const float> x) {
    long double max = x[0], sum = 0;
    for (const float v : x) max = std::max(max, static_cast<long double>(v));
    for (const float v : x) sum += std::exp(static_cast<long double>(v) - max);
    std::vector<long double> out;
    for (const float v : x) out.push_back(static_cast<long double>(v) - max - std::log(sum));
    return out;
}

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
