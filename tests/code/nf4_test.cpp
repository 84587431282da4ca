#include <qnt/code/nf4.hpp>

#include <cfloat>
#include <cmath>
#include <random>

#include "catch.hpp"

using qnt::nf4_code;

namespace {

// x with P(N(0, 1) <= x) = p, by bisection.
double normal_quantile(double p) {
    double low = -10, high = 10;
    for (int i = 0; i < 200; ++i) {
        const double middle = (low + high) / 2;
        (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
    }
    return (low + high) / 2;
}

// The nearest value in double; where x is the f32 midpoint itself the lower one.
int nearest(float x) {
    int best = 0;
    for (int q = 1; q < 16; ++q) {
        if (x == (nf4_code::values[q - 1] + nf4_code::values[q]) / 2) return q - 1;
        if (std::fabs(double(x) - double(nf4_code::values[q])) < std::fabs(double(x) - double(nf4_code::values[best]))) best = q;
    }
    return best;
}

}  // namespace

// Dettmers et al. 2023: 8 quantiles of the positive half and 7 of the negative one, equally spaced in probability between 1/2 and
// 0.9677083 (bitsandbytes' offset), zero, all divided by the largest.
TEST_CASE("the NF4 table holds quantiles of the normal distribution") {
    constexpr double offset = 0.9677083;
    std::vector<double> expected(16);
    for (int i = 0; i < 8; ++i) expected[std::size_t(15 - i)] = normal_quantile(offset + (0.5 - offset) * i / 8);
    for (int i = 0; i < 7; ++i) expected[std::size_t(i)] = -normal_quantile(offset + (0.5 - offset) * i / 7);
    for (std::size_t q = 0; q < 16; ++q) {
        CAPTURE(q);
        CHECK(double(nf4_code::values[q]) == Approx(expected[q] / expected[15]).epsilon(0).margin(3e-7));
    }
    CHECK(nf4_code::values[0] == -1.0f);
    CHECK(nf4_code::values[7] == 0.0f);
    CHECK(nf4_code::values[15] == 1.0f);
}

TEST_CASE("nf4 encodes to the nearest value, ties to the lower code") {
    for (int q = 0; q < 15; ++q) {
        const float middle = (nf4_code::values[q] + nf4_code::values[q + 1]) / 2;
        CAPTURE(q, middle);
        CHECK(int(nf4_code::encode(middle)) == q);
        CHECK(int(nf4_code::encode(std::nextafter(middle, 2.0f))) == q + 1);
        CHECK(int(nf4_code::encode(std::nextafter(middle, -2.0f))) == q);
    }
    std::mt19937 random(1);
    for (int i = 0; i < 200'000; ++i) {
        const float x = float(double(std::int32_t(random())) * 1.1 * 0x1p-31);
        CAPTURE(x);
        REQUIRE(int(nf4_code::encode(x)) == nearest(x));
    }
    for (double x = -1.05; x < 1.05; x += 1e-4) REQUIRE(int(nf4_code::encode(float(x))) == nearest(float(x)));
}

TEST_CASE("nf4 saturates, and keeps every value and zero") {
    for (const float x : {1.0f, 1.5f, 1e9f, FLT_MAX}) {
        CHECK(nf4_code::encode(x) == 15);
        CHECK(nf4_code::encode(-x) == 0);
    }
    for (int q = 0; q < 16; ++q) CHECK(int(nf4_code::encode(nf4_code::decode(std::uint8_t(q)))) == q);
    CHECK(nf4_code::encode(0.0f) == 7);
    CHECK(nf4_code::encode(-0.0f) == 7);
    CHECK(nf4_code::encode(FLT_TRUE_MIN) == 7);
}

TEST_CASE("nf4's errors keep to max_error, which is not larger than it must be") {
    double worst = 0;
    for (double x = -1; x <= 1; x += 1.0 / 65536) worst = std::fmax(worst, std::fabs(x - double(nf4_code::decode(nf4_code::encode(float(x))))));
    CHECK(worst <= double(nf4_code::max_error));
    CHECK(worst > 0.999 * double(nf4_code::max_error));
}

TEST_CASE("nf4's derived facts") {
    STATIC_REQUIRE(qnt::panel_kind_of<nf4_code> == qnt::panel_kind::nibble);
    STATIC_REQUIRE(qnt::operand_family_of<nf4_code> == qnt::operand_family::nibble_table);
    STATIC_REQUIRE_FALSE(qnt::has_exact_operands<nf4_code>);
    STATIC_REQUIRE_FALSE(qnt::is_affine<nf4_code>);
    STATIC_REQUIRE(qnt::zero_code<nf4_code> == 7);
    STATIC_REQUIRE(qnt::operand_unit<nf4_code> == 1.0f / 127.0f);
    double worst = 0;
    for (std::size_t q = 0; q < 16; ++q) {
        CAPTURE(q);
        CHECK(int(qnt::operand_table<nf4_code>[q]) == int(std::nearbyint(127 * double(nf4_code::values[q]))));
        worst = std::fmax(worst, std::fabs(double(qnt::operand_table<nf4_code>[q]) / 127 - double(nf4_code::values[q])));
    }
    CHECK(worst <= 0.0037);  // of absmax: what code.hpp and matmul.hpp tell users
    CHECK(worst > 0.0030);
}
