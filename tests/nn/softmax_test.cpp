#include <qnt/nn/softmax.hpp>

#include <cfenv>

#include "nn/reference.hpp"

namespace {

std::vector<float> softmax(const std::vector<float>& x) {
    std::vector<float> y(x.size());
    qnt::softmax(y, x);
    return y;
}

bool is_nan(float x) { return (std::bit_cast<std::uint32_t>(x) & 0x7fffffffu) > 0x7f800000u; }

}  // namespace

TEST_CASE("softmax against double, and in the normative order on every instruction set") {
    for (std::size_t n : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 15u, 16u, 17u, 31u, 33u, 257u, 768u, 8192u}) {
        INFO("n " << n);
        const std::vector<float> x = test::random_floats(n, unsigned(n), 10);
        std::vector<float> expected = x;
        const float sum = reference::exp_below_max(expected);
        for (float& v : expected) v /= sum;

        const double top = *std::max_element(x.begin(), x.end());
        double exact_sum = 0;
        for (float v : x) exact_sum += std::exp(double(v) - top);
        test::on_every_isa([&](auto) {
            const std::vector<float> y = softmax(x);
            CHECK(test::same_bits(y, expected));
            double worst = 0;
            for (std::size_t i = 0; i < n; ++i) worst = std::max(worst, std::abs(double(y[i]) - std::exp(double(x[i]) - top) / exact_sum));
            CHECK(worst <= 1e-6);
            std::vector<float> in_place = x;
            qnt::softmax(in_place, in_place);
            CHECK(test::same_bits(in_place, expected));
        });
    }
}

TEST_CASE("softmax of special numbers") {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    test::on_every_isa([&](auto) {
        for (std::size_t n : {3u, 16u, 21u}) {
            std::vector<float> x(n, 2.0f);
            x[0] = -infinity;
            std::vector<float> y = softmax(x);
            CHECK(y[0] == 0.0f);
            CHECK(y[n - 1] == 1.0f / float(n - 1));
            for (std::size_t at : {std::size_t{0}, n - 1})
                for (float bad : {qnt::quiet_nan(), infinity}) {
                    std::vector<float> with_bad(n, 2.0f);
                    with_bad[at] = bad;
                    y = softmax(with_bad);
                    CHECK(std::all_of(y.begin(), y.end(), is_nan));
                }
            y = softmax(std::vector<float>(n, -infinity));
            CHECK(std::all_of(y.begin(), y.end(), is_nan));
            y = softmax(std::vector<float>(n, 3e38f));  // x - max does not overflow
            CHECK(y[n / 2] == 1.0f / float(n));
        }
    });
    qnt::softmax(std::span<float>{}, std::span<const float>{});
}

TEST_CASE("softmax in another rounding mode of its caller") {
    const std::vector<float> x = test::random_floats(100, 1, 100);  // some results are subnormal
    const std::vector<float> expected = softmax(x);
    test::on_every_isa([&](auto) {
        std::fesetround(FE_UPWARD);
        const std::vector<float> y = softmax(x);
        const int mode = std::fegetround();
        std::fesetround(FE_TONEAREST);
        CHECK(mode == FE_UPWARD);
        CHECK(test::same_bits(y, expected));
    });
}

TEST_CASE("softmax touches nothing outside of its spans") {
    test::on_every_isa([&](auto) {
        for (bool at_start : {false, true})
            for (std::size_t n = 1; n < 40; ++n) {
                test::guarded<float> x(n, at_start), y(n, at_start);
                std::fill_n(x.data(), n, 1.0f);
                qnt::softmax(y.span(), x.span());
                CHECK(y.data()[n - 1] == 1.0f / float(n));
            }
    });
}

TEST_CASE("softmax refuses other sizes") {
    std::vector<float> y(3, 7.0f), x(4);
    CHECK_THROWS_AS(qnt::softmax(y, x), qnt::contract_error);
    CHECK(y == std::vector<float>(3, 7.0f));
}
