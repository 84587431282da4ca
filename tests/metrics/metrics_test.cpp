#include <qnt/metrics/metrics.hpp>

#include <Eigen/Dense>

#include "catch.hpp"
#include "metrics/reference.hpp"

using namespace qnt;
using namespace reference;

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
