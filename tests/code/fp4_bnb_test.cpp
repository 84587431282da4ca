#include <qnt/code/fp4_bnb.hpp>

#include <cfloat>
#include <cmath>
#include <random>

#include "catch.hpp"

using qnt::fp4_bnb_code;

namespace {

// bitsandbytes' table before it is divided by 12, in the order of the codes.
constexpr double twelfths[16] = {0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3};

// The nearest value in double; where x is the f32 midpoint itself the lower one.
double nearest(float x) {
    double best = 0;
    for (int q = 0; q < 16; ++q)
        for (int p = 0; p < 16; ++p) {
            const float lower = fp4_bnb_code::values[q], higher = fp4_bnb_code::values[p];
            bool neighbours = lower < higher;
            for (const float v : fp4_bnb_code::values) neighbours = neighbours && !(lower < v && v < higher);
            if (neighbours && x == (lower + higher) / 2) return double(lower);
        }
    for (const float v : fp4_bnb_code::values)
        if (std::fabs(double(x) - double(v)) < std::fabs(double(x) - best)) best = double(v);
    return best;
}

}  // namespace

TEST_CASE("the FP4 table is bitsandbytes'") {
    for (std::size_t q = 0; q < 16; ++q) {
        CAPTURE(q);
        CHECK(fp4_bnb_code::values[q] == float(twelfths[q] / 12));
        CHECK_FALSE((fp4_bnb_code::values[q] == 0 && std::signbit(fp4_bnb_code::values[q])));
    }
    for (int i = 0; i < 15; ++i) CHECK(fp4_bnb_code::values[fp4_bnb_code::ascending[i]] <= fp4_bnb_code::values[fp4_bnb_code::ascending[i + 1]]);
}

TEST_CASE("fp4_bnb encodes to the nearest value, ties to the lower one") {
    for (int i = 0; i < 15; ++i) {
        const float low = fp4_bnb_code::values[fp4_bnb_code::ascending[i]], high = fp4_bnb_code::values[fp4_bnb_code::ascending[i + 1]];
        const float middle = (low + high) / 2;
        CAPTURE(i, middle);
        CHECK(fp4_bnb_code::decode(fp4_bnb_code::encode(middle)) == low);
        CHECK(fp4_bnb_code::decode(fp4_bnb_code::encode(std::nextafter(middle, 2.0f))) == high);
        CHECK(fp4_bnb_code::decode(fp4_bnb_code::encode(std::nextafter(middle, -2.0f))) == low);
    }
    std::mt19937 random(1);
    for (int i = 0; i < 20'000; ++i) {
        const float x = float(double(std::int32_t(random())) * 1.1 * 0x1p-31);
        CAPTURE(x);
        REQUIRE(double(fp4_bnb_code::decode(fp4_bnb_code::encode(x))) == nearest(x));
    }
}

TEST_CASE("fp4_bnb saturates, keeps every value, and has two zeros") {
    for (const float x : {1.0f, 1.5f, 1e9f, FLT_MAX}) {
        CHECK(fp4_bnb_code::encode(x) == 3);
        CHECK(fp4_bnb_code::encode(-x) == 11);
    }
    for (int q = 0; q < 16; ++q) CHECK(int(fp4_bnb_code::encode(fp4_bnb_code::decode(std::uint8_t(q)))) == (q == 8 ? 0 : q));
    CHECK(fp4_bnb_code::encode(0.0f) == 0);
    CHECK(fp4_bnb_code::encode(-0.0f) == 0);
    CHECK(fp4_bnb_code::encode(FLT_TRUE_MIN) == 8);
    CHECK(fp4_bnb_code::encode(-FLT_TRUE_MIN) == 0);
}

TEST_CASE("fp4_bnb's errors keep to max_error, which is not larger than it must be") {
    double worst = 0;
    for (double x = -1; x <= 1; x += 1.0 / 65536)
        worst = std::fmax(worst, std::fabs(double(float(x)) - double(fp4_bnb_code::decode(fp4_bnb_code::encode(float(x))))));
    CHECK(worst <= double(fp4_bnb_code::max_error));
    CHECK(worst > 0.999 * double(fp4_bnb_code::max_error));
}

TEST_CASE("fp4_bnb's derived facts") {
    STATIC_REQUIRE(qnt::panel_kind_of<fp4_bnb_code> == qnt::panel_kind::nibble);
    STATIC_REQUIRE(qnt::operand_family_of<fp4_bnb_code> == qnt::operand_family::nibble_table);
    STATIC_REQUIRE_FALSE(qnt::has_exact_operands<fp4_bnb_code>);
    STATIC_REQUIRE_FALSE(qnt::is_affine<fp4_bnb_code>);
    STATIC_REQUIRE(qnt::zero_code<fp4_bnb_code> == 0);
    for (std::size_t q = 0; q < 16; ++q) {
        CAPTURE(q);
        CHECK(int(qnt::operand_table<fp4_bnb_code>[q]) == int(std::nearbyint(127 * twelfths[q] / 12)));
    }
}
