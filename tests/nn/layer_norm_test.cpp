#include <qnt/nn/layer_norm.hpp>

#define EIGEN_DONT_VECTORIZE  // g++ 12 warns falsely inside its own AVX-512 headers where Eigen uses them
#include <Eigen/Dense>

#include "nn/reference.hpp"

namespace {

constexpr float eps = 1e-5f;

struct problem {
    std::size_t rows, cols;
    std::vector<float> x, gamma, beta;

    problem(std::size_t r, std::size_t c)
        : rows(r), cols(c), x(test::random_floats(r * c, 1, 3)), gamma(test::random_floats(c, 2)), beta(test::random_floats(c, 3)) {
        for (std::size_t i = 0; i < r; ++i)
            for (std::size_t j = 0; j < c; ++j) x[i * c + j] += float(i);  // rows with a mean
    }
    std::vector<float> run(qnt::executor_ref executor = {}) const {
        std::vector<float> y(x.size());
        qnt::layer_norm({y.data(), rows, cols}, {x.data(), rows, cols}, gamma, beta, eps, executor);
        return y;
    }
    std::vector<float> normative() const {
        std::vector<float> y(x.size());
        for (std::size_t r = 0; r < rows; ++r) {
            const float* row = x.data() + r * cols;
            const float mean = reference::tree_sum(cols, [&](float sum, std::size_t i) { return sum + row[i]; }) / float(cols);
            const float squares = reference::tree_sum(cols, [&](float sum, std::size_t i) { return std::fma(row[i] - mean, row[i] - mean, sum); });
            const float factor = 1.0f / std::sqrt(squares / float(cols) + eps);
            for (std::size_t i = 0; i < cols; ++i) y[r * cols + i] = std::fma(qnt::mul(row[i] - mean, factor), gamma[i], beta[i]);
        }
        return y;
    }
    double worst_error(const std::vector<float>& y) const {  // against Eigen in double
        const auto vector = [](const float* p, std::size_t n) -> Eigen::ArrayXd {
            return Eigen::Map<const Eigen::ArrayXf>(p, Eigen::Index(n)).cast<double>();
        };
        double worst = 0;
        for (std::size_t r = 0; r < rows; ++r) {
            const Eigen::ArrayXd row = vector(x.data() + r * cols, cols), d = row - row.mean();
            const Eigen::ArrayXd expected = d / std::sqrt(d.square().mean() + double(eps)) * vector(gamma.data(), cols) + vector(beta.data(), cols);
            worst = std::max(worst, (vector(y.data() + r * cols, cols) - expected).abs().maxCoeff());
        }
        return worst;
    }
};

}  // namespace

TEST_CASE("layer_norm against Eigen in double, and in the normative order on every instruction set") {
    for (std::size_t cols : {1u, 2u, 5u, 15u, 16u, 17u, 33u, 257u, 768u})
        for (std::size_t rows : {1u, 7u}) {
            INFO(rows << " x " << cols);
            const problem p(rows, cols);
            const std::vector<float> expected = p.normative();
            CHECK(p.worst_error(expected) <= 1e-5);
            test::on_every_isa([&](auto) { CHECK(test::same_bits(p.run(), expected)); });
        }
}

TEST_CASE("layer_norm on any number of threads") {
    for (std::size_t cols : {257u, 768u}) {
        const problem p(101, cols);
        const std::vector<float> expected = p.normative();
        reference::with_threads([&](auto& pool) { CHECK(test::same_bits(p.run(pool), expected)); });
    }
}

TEST_CASE("layer_norm in place, with strides, next to memory that is not its own") {
    for (std::size_t cols : {1u, 5u, 16u, 33u}) {
        const problem p(3, cols);
        const std::vector<float> expected = p.normative();
        const std::size_t stride = cols + 3;
        test::on_every_isa([&](auto) {
            test::guarded<float> wide(2 * stride + cols), gamma(cols), beta(cols);
            std::fill_n(wide.data(), 2 * stride + cols, 99.0f);
            std::copy(p.gamma.begin(), p.gamma.end(), gamma.data());
            std::copy(p.beta.begin(), p.beta.end(), beta.data());
            for (std::size_t r = 0; r < 3; ++r) std::copy_n(p.x.data() + r * cols, cols, wide.data() + r * stride);
            const qnt::matrix_view<float> rows{wide.data(), 3, cols, stride};
            qnt::layer_norm(rows, rows, gamma.span(), beta.span(), eps);
            for (std::size_t r = 0; r < 3; ++r) {
                CHECK(test::same_bits({rows.row(r), cols}, {expected.data() + r * cols, cols}));
                if (r < 2) CHECK(std::all_of(rows.row(r) + cols, rows.row(r) + stride, [](float v) { return v == 99.0f; }));
            }
        });
    }
}

TEST_CASE("layer_norm refuses shapes that do not fit, with y untouched") {
    std::vector<float> y(6, 7.0f), x(6), v(3), other(2);
    const qnt::matrix_view<float> ym{y.data(), 2, 3}, narrow{y.data(), 2, 2}, columns{y.data(), 2, 3, 1, 2};
    const qnt::matrix_view<const float> xm{x.data(), 2, 3};
    CHECK_THROWS_AS(qnt::layer_norm(narrow, xm, v, v, eps), qnt::contract_error);
    CHECK_THROWS_AS(qnt::layer_norm(ym, xm, other, v, eps), qnt::contract_error);
    CHECK_THROWS_AS(qnt::layer_norm(ym, xm, v, other, eps), qnt::contract_error);
    CHECK_THROWS_AS(qnt::layer_norm(columns, xm, v, v, eps), qnt::contract_error);
    CHECK(y == std::vector<float>(6, 7.0f));
}
