#include <qnt/code/uint4.hpp>

#include <cfloat>
#include <cmath>
#include <random>

#include "catch.hpp"

using qnt::uint4_code;

namespace {

int nearest(double x, int zero) { return int(std::fmin(15, std::fmax(0, std::nearbyint(x) + zero))); }

}  // namespace

TEST_CASE("uint4 decodes to its level") {
    for (int nibble = 0; nibble < 16; ++nibble) CHECK(uint4_code::decode(std::uint8_t(nibble)) == float(nibble));
}

TEST_CASE("uint4 rounds to the nearest integer, ties to even, adds the zero point and saturates") {
    for (int zero = 0; zero <= uint4_code::max_zero; ++zero)
        for (int halves = -80; halves <= 80; ++halves)
            for (const float x : {float(halves) / 2, std::nextafter(float(halves) / 2, 1e9f), std::nextafter(float(halves) / 2, -1e9f)}) {
                CAPTURE(x, zero);
                REQUIRE(int(uint4_code::encode_level(x, zero)) == nearest(double(x), zero));
            }
    std::mt19937 random(1);
    for (int i = 0; i < 200'000; ++i) {
        const float x = float(double(std::int32_t(random())) * std::ldexp(1.0, -26 - int(random() % 10)));
        const int zero = int(random() % 16);
        CAPTURE(x, zero);
        REQUIRE(int(uint4_code::encode_level(x, zero)) == nearest(double(x), zero));
        REQUIRE(int(uint4_code::encode(x)) == nearest(double(x), 0));
    }
    // The tie is decided before the zero point is added: 0.5 + 1 stays 1, 1.5 + 1 becomes 3.
    CHECK(uint4_code::encode_level(0.5f, 1) == 1);
    CHECK(uint4_code::encode_level(1.5f, 1) == 3);
    CHECK(uint4_code::encode_level(-0.5f, 1) == 1);
    for (const float x : {16.0f, 31.0f, 1e9f, FLT_MAX})
        for (int zero = 0; zero < 16; ++zero) {
            CHECK(uint4_code::encode_level(x, zero) == 15);
            CHECK(uint4_code::encode_level(-x, zero) == 0);
        }
}

TEST_CASE("uint4 keeps zero exact with every zero point") {
    for (int zero = 0; zero < 16; ++zero) {
        const std::uint8_t q = uint4_code::encode_level(0.0f, zero);
        CHECK(uint4_code::decode(q) - float(zero) == 0.0f);
    }
}

// With lo <= 0 <= hi in units of the scale, hi - lo = 15 and z = rne(-lo), as per_group.hpp says.
TEST_CASE("uint4's errors keep to max_error, and to half a step for unrounded scales") {
    double worst = 0;
    for (int i = 0; i <= 15 * 64; ++i) {
        const double low = -double(i) / 64, high = low + 15;
        const int zero = int(std::nearbyint(-low));
        for (double x = low; x <= high; x += 1.0 / 64)
            worst = std::fmax(worst, std::fabs(x - double(int(uint4_code::encode_level(float(x), zero)) - zero)));
    }
    CHECK(worst <= double(uint4_code::max_error));
    CHECK(worst == 0.5);
}

TEST_CASE("uint4's derived facts") {
    STATIC_REQUIRE(qnt::panel_kind_of<uint4_code> == qnt::panel_kind::nibble);
    STATIC_REQUIRE(qnt::operand_family_of<uint4_code> == qnt::operand_family::nibble_affine);
    STATIC_REQUIRE(qnt::operand_unit<uint4_code> == 1.0f);
    STATIC_REQUIRE(qnt::has_exact_operands<uint4_code>);
    STATIC_REQUIRE(qnt::is_affine<uint4_code>);
    STATIC_REQUIRE(qnt::affine_offset<uint4_code> == 0);
    STATIC_REQUIRE(qnt::zero_code<uint4_code> == 0);
    for (int q = 0; q < 16; ++q) CHECK(int(qnt::operand_table<uint4_code>[std::size_t(q)]) == q);
}
