#include <qnt/nn/gelu.hpp>

#include "nn/reference.hpp"

namespace {

double gelu(double x) { return x / (1 + std::exp(-2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x))); }

std::vector<float> run(const std::vector<float>& x, qnt::executor_ref executor = {}) {
    std::vector<float> y(x.size());
    qnt::gelu(y, x, executor);
    return y;
}

}  // namespace

TEST_CASE("gelu is within its bounds, with the same bits everywhere") {
    std::vector<float> x;
    for (std::uint64_t bits = 0; bits < std::uint64_t{1} << 32; bits += 10007)
        if (const float v = std::bit_cast<float>(std::uint32_t(bits)); qnt::is_finite(v)) x.push_back(v);
    std::vector<float> expected(x.size());
    std::transform(x.begin(), x.end(), expected.begin(), reference::gelu);
    test::on_every_isa([&](auto) { CHECK(test::same_bits(run(x), expected)); });

    double worst_positive = 0, worst_negative = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
        if (x[i] > 0) worst_positive = std::max(worst_positive, reference::ulps(expected[i], gelu(x[i])));
        else worst_negative = std::max(worst_negative, std::abs(double(expected[i]) - gelu(x[i])));
    CHECK(worst_positive <= 1.94);
    CHECK(worst_negative <= 4.9e-8);
}

TEST_CASE("gelu of any length, in place, on any number of threads") {
    for (std::size_t n : {1u, 3u, 15u, 16u, 17u, 257u, 1023u, 1024u, 1025u, 20000u}) {
        const std::vector<float> x = test::random_floats(n, unsigned(n), 3);
        std::vector<float> expected(n);
        std::transform(x.begin(), x.end(), expected.begin(), reference::gelu);
        test::on_every_isa([&](auto) {
            test::guarded<float> from(n), to(n);
            std::copy(x.begin(), x.end(), from.data());
            qnt::gelu(to.span(), from.span());
            CHECK(test::same_bits(to.span(), expected));
            qnt::gelu(from.span(), from.span());
            CHECK(test::same_bits(from.span(), expected));
        });
        reference::with_threads([&](auto& pool) { CHECK(test::same_bits(run(x, pool), expected)); });
    }
}

TEST_CASE("gelu of nothing, and of other sizes") {
    CHECK(run({}).empty());
    std::vector<float> y(3), x(4);
    CHECK_THROWS_AS(qnt::gelu(y, x), qnt::contract_error);
}
